#include "core/memory.h"

#include <cinttypes>

#include "core/context.h"
#include "core/device.h"

namespace jindou::core {
namespace {

jd_status out_of_memory(Device &device, int64_t bytes, const char *cause, jd_error *error) {
  const MemoryAccount &memory = device.memory;
  char limit[32] = "none";
  if (memory.limit() > 0) snprintf(limit, sizeof limit, "%" PRId64 " bytes", memory.limit());
  return fail(error, JD_OUT_OF_MEMORY,
              "out of memory on device %s: requested %" PRId64 " bytes, used %" PRId64 " bytes, limit %s%s%s",
              device.label(), bytes, memory.used(), limit, *cause ? "; " : "", cause);
}

jd_status plan_alloc(void *context, size_t bytes, void **data, jd_error *error) {
  Device &device = *static_cast<Device *>(context);
  *data = nullptr;
  if (bytes > static_cast<size_t>(INT64_MAX)) return out_of_memory(device, INT64_MAX, "the request overflows", error);
  return allocate(device, static_cast<int64_t>(bytes), data, error);
}

void plan_free(void *context, void *data, size_t bytes) {
  deallocate(*static_cast<Device *>(context), data, static_cast<int64_t>(bytes));
}

}  // namespace

bool MemoryAccount::reserve(int64_t bytes) {
  int64_t used = used_.load(std::memory_order_relaxed);
  do {
    const int64_t ceiling = limit_ > 0 ? limit_ : INT64_MAX;
    if (bytes > ceiling - used) return false;
  } while (!used_.compare_exchange_weak(used, used + bytes, std::memory_order_relaxed));
  used += bytes;
  int64_t peak = peak_.load(std::memory_order_relaxed);
  while (peak < used && !peak_.compare_exchange_weak(peak, used, std::memory_order_relaxed)) {
  }
  return true;
}

jd_status allocate(Device &device, int64_t bytes, void **data, jd_error *error) {
  *data = nullptr;
  if (bytes == 0) return JD_OK;
  if (!device.memory.reserve(bytes)) return out_of_memory(device, bytes, "", error);
  const jd_status status =
      backend_result(error, device.backend.alloc(device.native, static_cast<size_t>(bytes), data, error), "alloc");
  if (status == JD_OK) return JD_OK;
  device.memory.give_back(bytes);
  if (status != JD_OUT_OF_MEMORY || !writable(error)) return status;
  char cause[sizeof error->message];
  snprintf(cause, sizeof cause, "%.700s", error->message);
  const int32_t code = error->backend_code;
  out_of_memory(device, bytes, cause, error);
  error->backend_code = code;
  return status;
}

void deallocate(Device &device, void *data, int64_t bytes) {
  if (bytes == 0) return;
  device.backend.free(device.native, data, static_cast<size_t>(bytes));
  device.memory.give_back(bytes);
}

jdb_allocator plan_allocator(Device &device) { return {&device, plan_alloc, plan_free}; }

}  // namespace jindou::core
