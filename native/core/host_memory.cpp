#include "core/host_memory.h"

#include <cinttypes>

#include "core/rules.h"
#include "core/stream.h"
#include "core/tensor.h"
#include "core/transfer_rules.h"

namespace jindou::core {
namespace {

// The two copies: between a tensor and host memory of one device, which the stream is entered for.
jd_status transfer(const Context &context, jd_stream stream_handle, jd_tensor tensor_handle, const char *argument,
                   jd_host_memory memory_handle, int64_t offset, int64_t bytes, int32_t direction) {
  Ref<Stream> stream;
  Ref<Tensor> tensor;
  Ref<HostMemory> memory;
  DeviceUse use;
  if (const jd_status status = use_stream(context, stream_handle, &stream, &use)) return status;
  Device &device = *stream->device;
  if (const jd_status status = acquire_tensor(context, "tensor", tensor_handle, device, "the stream", &tensor)) return status;
  if (const jd_status status = acquire(context, argument, memory_handle, &memory)) return status;
  if (memory->device.get() != &device) return refuse_foreign(context, argument, *memory->device, "the stream", device);
  if (const jd_status status = expect_contiguous(context, "tensor", *tensor)) return status;
  if (const jd_status status = expect_bytes(context, *tensor, bytes)) return status;
  if (offset < 0 || offset > memory->bytes - bytes) {
    return fail_argument(context, JD_INVALID_ARGUMENT, "offset",
                         "expected 0..%" PRId64 " (%" PRId64 " of %" PRId64 " bytes of '%s' are copied), got %" PRId64,
                         memory->bytes - bytes, bytes, memory->bytes, argument, offset);
  }
  const std::lock_guard<std::mutex> lock(stream->mutex);
  if (const jd_status status = stream->expect_not_capturing(context)) return status;
  if (bytes == 0) return JD_OK;
  char *host = static_cast<char *>(memory->data) + offset;
  const bool up = direction == JDB_PINNED_TO_DEVICE;
  return stream->copy_host(context, up ? tensor->t.data : host, up ? host : tensor->t.data, bytes, direction, tensor, memory);
}

}  // namespace
}  // namespace jindou::core

using namespace jindou;
using namespace jindou::core;

extern "C" {

jd_status jd_host_memory_create(jd_device handle, int64_t bytes, jd_host_memory *memory, void **data, jd_error *error) {
  return guarded(error, [&]() -> jd_status {
    const Context context{error};
    if (const jd_status status = expect_pointer(context, "memory", memory)) return status;
    *memory = 0;
    if (const jd_status status = expect_pointer(context, "data", data)) return status;
    *data = nullptr;
    Ref<Device> device;
    DeviceUse use;
    if (const jd_status status = acquire(context, "device", handle, &device)) return status;
    if (const jd_status status = use.enter(context, "device", *device)) return status;
    if (bytes < 0) return fail_argument(context, JD_INVALID_ARGUMENT, "bytes", "expected at least 0, got %" PRId64, bytes);
    void *allocated = nullptr;
    if (bytes > 0) {
      const jd_status status = device->backend.host_alloc(device->native, static_cast<size_t>(bytes), &allocated, error);
      if (status != JD_OK) return backend_result(error, status, "host_alloc");
    }
    std::unique_ptr<HostMemory> made;
    try {
      made = std::make_unique<HostMemory>(device, allocated, bytes);
    } catch (...) {
      if (allocated) device->backend.host_free(device->native, allocated, static_cast<size_t>(bytes));
      throw;
    }
    *memory = publish(std::move(made));
    *data = allocated;
    return JD_OK;
  });
}

jd_status jd_host_memory_destroy(jd_host_memory handle, jd_error *error) {
  return guarded(error, [&]() -> jd_status {
    Ref<HostMemory> memory;
    return close(Context{error}, "memory", handle, &memory);
  });
}

jd_status jd_tensor_write_from(jd_stream stream, jd_tensor tensor, jd_host_memory source, int64_t offset, int64_t bytes,
                               jd_error *error) {
  return guarded(error, [&]() -> jd_status {
    return transfer(Context{error}, stream, tensor, "source", source, offset, bytes, JDB_PINNED_TO_DEVICE);
  });
}

jd_status jd_tensor_read_into(jd_stream stream, jd_tensor tensor, jd_host_memory target, int64_t offset, int64_t bytes,
                              jd_error *error) {
  return guarded(error, [&]() -> jd_status {
    return transfer(Context{error}, stream, tensor, "target", target, offset, bytes, JDB_DEVICE_TO_HOST);
  });
}

}  // extern "C"
