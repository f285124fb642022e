#include "core/device.h"

#include <cinttypes>
#include <cstdio>

#include "core/registry.h"

namespace jindou::core {

template <>
constexpr uint32_t kFirstSize<jd_device_options> = 24;  // without late_streams

Device::Device(const jd_backend &owner, void *native_device, const char *name, const jd_device_options &options)
    : Object(kKind),
      backend(owner),
      native(native_device),
      late_streams(options.late_streams != 0 && !owner.host_memory && !owner.native_capture),
      memory(options.memory_limit_bytes) {
  static std::atomic<uint32_t> opened{0};
  snprintf(label_, sizeof label_, "%s (#%u)", name, opened.fetch_add(1, std::memory_order_relaxed) + 1);
}

bool Device::enter() {
  if (__builtin_expect(!(gate_.fetch_add(1, std::memory_order_acquire) & kShut), 1)) return true;
  leave();
  return false;
}

void Device::leave() {
  const uint64_t before = gate_.fetch_sub(1, std::memory_order_release);
  if (__builtin_expect(before != (kShut | 1), 1)) return;
  std::lock_guard<std::mutex> lock(mutex_);  // so that the wake-up cannot fall between the closer's check and its wait
  left_.notify_all();
}

void Device::shut() {
  gate_.fetch_or(kShut, std::memory_order_acq_rel);
  std::unique_lock<std::mutex> lock(mutex_);
  left_.wait(lock, [this] { return gate_.load(std::memory_order_acquire) == kShut; });
}

jd_status DeviceUse::refuse(const Context &context, const char *argument, const Device &device) {
  return fail_argument(context, JD_CLOSED, argument, "its device %s has been closed", device.label());
}

jd_status refuse_foreign(const Context &context, const char *argument, const Device &actual, const char *other,
                         const Device &expected) {
  return fail_argument(context, JD_INVALID_HANDLE, argument, "belongs to device %s, but %s to device %s",
                       actual.label(), other, expected.label());
}

namespace {

constexpr int32_t kMaxThreads = 1024;

jd_status read_options(const Context &context, const jd_device_options *given, jd_device_options *options) {
  *options = {};
  options->struct_size = sizeof *options;
  if (given) {
    if (const jd_status status = read_struct(context, "options", given, options)) return status;
  }
  if (options->num_threads < 0 || options->num_threads > kMaxThreads) {
    return fail_argument(context, JD_INVALID_ARGUMENT, "num_threads", "expected 0..%d, got %d", kMaxThreads,
                         options->num_threads);
  }
  if (options->memory_limit_bytes < 0) {
    return fail_argument(context, JD_INVALID_ARGUMENT, "memory_limit_bytes", "expected >= 0, got %" PRId64,
                         options->memory_limit_bytes);
  }
  if (options->late_streams != 0 && options->late_streams != 1) {
    return fail_argument(context, JD_INVALID_ARGUMENT, "late_streams", "expected 0 or 1, got %d", options->late_streams);
  }
  if (options->reserved != 0) {
    return fail_argument(context, JD_INVALID_ARGUMENT, "reserved", "expected 0, got %d", options->reserved);
  }
  return JD_OK;
}

// Acquires the device a call names and enters it.
jd_status use_device(const Context &context, jd_device handle, Ref<Device> *device, DeviceUse *use) {
  if (const jd_status status = acquire(context, "device", handle, device)) return status;
  return use->enter(context, "device", **device);
}

}  // namespace
}  // namespace jindou::core

using namespace jindou;
using namespace jindou::core;

extern "C" {

jd_status jd_device_count(const char *backend, int32_t *count, jd_error *error) {
  return guarded(error, [&]() -> jd_status {
    const Context context{error};
    if (const jd_status status = expect_pointer(context, "count", count)) return status;
    *count = 0;
    const jd_backend *table = nullptr;
    if (const jd_status status = find_backend(context, backend, &table)) return status;
    return count_devices(context, *table, count);
  });
}

jd_status jd_device_open(const char *name, const jd_device_options *options, jd_device *device, jd_error *error) {
  return guarded(error, [&]() -> jd_status {
    const Context context{error};
    if (const jd_status status = expect_pointer(context, "device", device)) return status;
    *device = 0;
    DeviceName parsed;
    if (const jd_status status = parse_device_name(context, name, &parsed)) return status;
    jd_device_options read;
    if (const jd_status status = read_options(context, options, &read)) return status;
    const jd_backend *backend = nullptr;
    if (const jd_status status = find_backend(context, parsed.backend, &backend)) return status;
    int32_t count = 0;
    if (const jd_status status = count_devices(context, *backend, &count)) return status;
    if (parsed.ordinal >= count) {
      return fail_argument(context, JD_NO_DEVICE, "name", "expected one of the %d %s device%s here, got '%s'", count,
                           parsed.backend, count == 1 ? "" : "s", name);
    }
    void *native = nullptr;
    if (const jd_status status = backend->device_open(parsed.ordinal, &read, &native, error)) {
      return backend_result(error, status, "device_open");
    }
    std::unique_ptr<Device> opened;
    try {
      opened = std::make_unique<Device>(*backend, native, parsed.full, read);
    } catch (...) {
      backend->device_close(native);
      throw;
    }
    *device = publish(std::move(opened));
    return JD_OK;
  });
}

jd_status jd_device_close(jd_device handle, jd_error *error) {
  return guarded(error, [&]() -> jd_status {
    Ref<Device> device;
    if (const jd_status status = close(Context{error}, "device", handle, &device)) return status;
    device->shut();
    return JD_OK;
  });
}

jd_status jd_device_get_info(jd_device handle, jd_device_info *info, jd_error *error) {
  return guarded(error, [&]() -> jd_status {
    const Context context{error};
    if (const jd_status status = expect_struct(context, "info", info)) return status;
    Ref<Device> device;
    DeviceUse use;
    if (const jd_status status = use_device(context, handle, &device, &use)) return status;
    jd_device_info filled = {};
    filled.struct_size = sizeof filled;
    if (const jd_status status = device->backend.device_info(device->native, &filled, error)) {
      return backend_result(error, status, "device_info");
    }
    filled.host_memory = device->backend.host_memory;
    snprintf(filled.backend, sizeof filled.backend, "%s", device->backend.name);
    write_struct(info, filled);
    return JD_OK;
  });
}

jd_status jd_device_memory(jd_device handle, jd_memory_info *info, jd_error *error) {
  return guarded(error, [&]() -> jd_status {
    const Context context{error};
    if (const jd_status status = expect_struct(context, "info", info)) return status;
    Ref<Device> device;
    DeviceUse use;
    if (const jd_status status = use_device(context, handle, &device, &use)) return status;
    jd_memory_info filled = {};
    filled.used_bytes = device->memory.used();
    filled.peak_bytes = device->memory.peak();
    filled.limit_bytes = device->memory.limit();
    write_struct(info, filled);
    return JD_OK;
  });
}

jd_status jd_device_synchronize(jd_device handle, jd_error *error) {
  return guarded(error, [&]() -> jd_status {
    const Context context{error};
    Ref<Device> device;
    DeviceUse use;
    if (const jd_status status = use_device(context, handle, &device, &use)) return status;
    if (device->capturing.load(std::memory_order_relaxed) > 0) {
      return fail_argument(context, JD_INVALID_ARGUMENT, "device",
                           "expected no capturing stream at a synchronisation, got %d",
                           device->capturing.load(std::memory_order_relaxed));
    }
    if (device->late_streams) {
      return fail_argument(context, JD_UNSUPPORTED, "device", "its streams run late, each until it is synchronised by itself");
    }
    return backend_result(error, device->backend.device_synchronize(device->native, error), "device_synchronize");
  });
}

jd_status jd_noop(jd_device handle, jd_error *error) {
  Ref<Device> device;
  DeviceUse use;
  return use_device(Context{error}, handle, &device, &use);
}

}  // extern "C"
