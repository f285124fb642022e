// libjindou_simt.so: the CUDA kernels, compiled by the host compiler and executed by the SIMT emulator, behind the
// table of functions that every backend offers. Streams are synchronous; what kernels find in their input is reported
// when a stream synchronises, as on a GPU. For tests and for machines without a GPU; not for speed.
#include "core/backend.h"

#include <sched.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <new>

#include "core/error.h"
#include "dispatch.h"
#include "simt/backend/device.h"
#include "simt/backend/executor.h"
#include "simt/backend/launches.h"

namespace jindou::simt_backend {

int32_t usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  const int count = CPU_COUNT(&set);
  return count > 0 ? count : 1;
}

int64_t physical_memory() {
  return static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<int64_t>(sysconf(_SC_PAGESIZE));
}

namespace {

constexpr size_t kAlignment = 256;

Device *device_of(void *handle) { return static_cast<Device *>(handle); }
Stream *stream_of(void *handle) { return static_cast<Stream *>(handle); }
Event *event_of(void *handle) { return static_cast<Event *>(handle); }

jd_status device_count(int32_t *count, jd_error *) {
  *count = 1;
  return JD_OK;
}

jd_status device_open(int32_t ordinal, const jd_device_options *options, void **device, jd_error *error) {
  if (ordinal != 0) return fail(error, JD_NO_DEVICE, "simt has one device, number 0; asked for %d", ordinal);
  auto *made = new (std::nothrow) Device{};
  if (!made) return fail(error, JD_OUT_OF_MEMORY, "host memory exhausted");
  made->os_threads = options && options->num_threads > 0 ? options->num_threads : usable_cores();
  made->seed = options ? options->simt_seed : 0;
  const char *arch = getenv("JINDOU_SIMT_ARCH");
  made->hopper = arch && strcmp(arch, "90") == 0;
  *device = made;
  return JD_OK;
}

void device_close(void *device) { delete device_of(device); }

jd_status device_info(void *device, jd_device_info *info, jd_error *) {
  info->ordinal = 0;
  info->num_threads = device_of(device)->os_threads;
  info->compute_capability = 0;
  info->total_memory_bytes = physical_memory();
  info->host_memory = 0;
  info->driver_version = 0;
  snprintf(info->backend, sizeof info->backend, "simt");
  snprintf(info->name, sizeof info->name, "SIMT emulator%s, seed %llu", device_of(device)->hopper ? " of sm_90a" : "",
           static_cast<unsigned long long>(device_of(device)->seed));
  info->isa[0] = 0;
  return JD_OK;
}

// Streams run their work before a call returns.
jd_status device_synchronize(void *, jd_error *) { return JD_OK; }

// The block has exactly `bytes` usable bytes, so that a sanitizer sees the first byte past it, and is filled with 0xff
// (NaN, -1), so that a kernel that reads what nothing wrote is found out.
jd_status alloc(void *, size_t bytes, void **ptr, jd_error *error) {
  *ptr = nullptr;
  if (bytes <= static_cast<uint64_t>(physical_memory())) {
    if (posix_memalign(ptr, kAlignment, bytes > 0 ? bytes : 1) != 0) *ptr = nullptr;
  }
  if (!*ptr) return fail(error, JD_OUT_OF_MEMORY, "simt: cannot allocate %zu bytes of host memory", bytes);
  memset(*ptr, 0xff, bytes);
  return JD_OK;
}

void free_memory(void *, void *ptr, size_t) { free(ptr); }

// Streams run their work before a call returns, copies included.
jd_status host_alloc(void *device, size_t bytes, void **ptr, jd_error *error) { return alloc(device, bytes, ptr, error); }

void host_free(void *device, void *ptr, size_t bytes) { free_memory(device, ptr, bytes); }

jd_status stream_create(void *device, void *external, void **stream, jd_error *error) {
  if (external) return fail(error, JD_UNSUPPORTED, "simt has no external streams to wrap; cuda has");
  auto *made = new (std::nothrow) Stream{};
  if (!made) return fail(error, JD_OUT_OF_MEMORY, "host memory exhausted");
  made->device = device_of(device);
  *stream = made;
  return JD_OK;
}

void stream_destroy(void *stream) { delete stream_of(stream); }

jd_status stream_synchronize(void *stream, jdb_report *report, jd_error *) {
  Stream &s = *stream_of(stream);
  if (report) *report = report_of(s.faults);
  s.faults = FaultRecord{};
  s.launches = 0;
  return JD_OK;
}

void *stream_native(void *) { return nullptr; }

jd_status copy(void *, void *target, const void *source, size_t bytes, int32_t, jd_error *) {
  if (bytes > 0) memmove(target, source, bytes);
  return JD_OK;
}

jd_status fill(void *, void *target, int32_t byte, size_t bytes, jd_error *) {
  if (bytes > 0) memset(target, byte, bytes);
  return JD_OK;
}

jd_status event_create(void *, void **event, jd_error *error) {
  *event = new (std::nothrow) Event{};
  return *event ? JD_OK : fail(error, JD_OUT_OF_MEMORY, "host memory exhausted");
}

void event_destroy(void *event) { delete event_of(event); }

jd_status event_record(void *event, void *, jd_error *) {
  event_of(event)->time = std::chrono::steady_clock::now();
  event_of(event)->recorded = true;
  return JD_OK;
}

jd_status event_wait(void *, void *, jd_error *) { return JD_OK; }
jd_status event_synchronize(void *, jd_error *) { return JD_OK; }

jd_status event_query(void *, int32_t *done, jd_error *) {
  *done = 1;
  return JD_OK;
}

jd_status event_elapsed(void *start, void *end, double *milliseconds, jd_error *error) {
  if (!event_of(start)->recorded || !event_of(end)->recorded) {
    return fail(error, JD_INVALID_ARGUMENT, "elapsed: both events must have been recorded");
  }
  *milliseconds =
      std::chrono::duration<double, std::milli>(event_of(end)->time - event_of(start)->time).count();
  return JD_OK;
}

jd_status upload(void *, void *target, const void *source, size_t bytes, jd_error *) {
  if (bytes > 0) memcpy(target, source, bytes);
  return JD_OK;
}

jd_status plan_create(void *device, int32_t op, const void *desc, const jdb_allocator *allocator, void **plan,
                      jd_error *error) {
  const PlanResources resources{*allocator, nullptr, upload, device_of(device)->os_threads, device_of(device)->hopper};
  KernelPlan *made = nullptr;
  const jd_status status = create_plan(resources, op, desc, &made, error);
  *plan = made;
  return status;
}

void plan_destroy(void *plan) { delete static_cast<KernelPlan *>(plan); }

int64_t plan_memory(void *plan) { return static_cast<KernelPlan *>(plan)->buffers.bytes(); }

void plan_describe(void *plan, char *text, size_t capacity) {
  static_cast<KernelPlan *>(plan)->describe(text, capacity);
}

jd_status run_operator(void *stream, void *plan, int32_t op, const void *args, jd_error *error) {
  try {
    Executor executor(*stream_of(stream), error);
    return run(executor, static_cast<const KernelPlan *>(plan), op, args, error);
  } catch (const std::exception &e) {  // nothing is thrown across the table of functions
    return fail(error, JD_INTERNAL, "simt: %s", e.what());
  }
}

constexpr jd_backend make_table() {
  jd_backend table{};
  table.version = JDB_VERSION;
  table.name = "simt";
  table.host_memory = 0;
  table.native_capture = 0;
  table.device_count = device_count;
  table.device_open = device_open;
  table.device_close = device_close;
  table.device_info = device_info;
  table.device_synchronize = device_synchronize;
  table.alloc = alloc;
  table.free = free_memory;
  table.stream_create = stream_create;
  table.stream_destroy = stream_destroy;
  table.stream_synchronize = stream_synchronize;
  table.stream_native = stream_native;
  table.host_alloc = host_alloc;
  table.host_free = host_free;
  table.copy = copy;
  table.fill = fill;
  table.event_create = event_create;
  table.event_destroy = event_destroy;
  table.event_record = event_record;
  table.event_wait = event_wait;
  table.event_synchronize = event_synchronize;
  table.event_query = event_query;
  table.event_elapsed = event_elapsed;
  table.plan_create = plan_create;
  table.plan_destroy = plan_destroy;
  table.plan_memory = plan_memory;
  table.plan_describe = plan_describe;
  table.run = run_operator;
  return table;
}

}  // namespace
}  // namespace jindou::simt_backend

extern "C" JD_API const jd_backend *jd_backend_table(void) {
  static constexpr jd_backend table = jindou::simt_backend::make_table();
  return &table;
}
