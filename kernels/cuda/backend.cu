// libjindou_cuda.so: the table of functions of the cuda backend. The CUDA runtime is linked statically, so that the library loads
// on a machine without a driver and can say so.
#include <dlfcn.h>

#include <cstdio>
#include <cstring>
#include <new>

#include "core/backend.h"
#include "core/error.h"
#include "cuda/launches.h"

namespace jindou::cuda_backend {
namespace {

struct Event {
  Device *device;
  cudaEvent_t native;
};

Device *device_of(void *handle) { return static_cast<Device *>(handle); }
Stream *stream_of(void *handle) { return static_cast<Stream *>(handle); }
Event *event_of(void *handle) { return static_cast<Event *>(handle); }
Graph *graph_of(void *handle) { return static_cast<Graph *>(handle); }

jd_status out_of_host_memory(jd_error *error) { return fail(error, JD_OUT_OF_MEMORY, "host memory exhausted"); }

// Versions as CUDA counts them: 1000 * major + 10 * minor.
jd_status no_device(jd_error *error, cudaError_t code) {
  cudaGetLastError();
  int runtime = 0, driver = 0;
  cudaRuntimeGetVersion(&runtime);
  cudaDriverGetVersion(&driver);
  if (driver == 0) {
    void *library = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
    if (!library) {
      const char *reason = dlerror();
      return fail(error, JD_NO_DEVICE, "no NVIDIA driver: %s", reason ? reason : "libcuda.so.1 cannot be loaded");
    }
    dlclose(library);
  } else if (code == cudaErrorInsufficientDriver) {
    return fail(error, JD_NO_DEVICE, "the NVIDIA driver supports CUDA %d.%d; this library needs %d.%d", driver / 1000,
                driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
  }
  return fail(error, JD_NO_DEVICE, "no CUDA device: %s (%s)", cudaGetErrorString(code), cudaGetErrorName(code));
}

jd_status device_count(int32_t *count, jd_error *error) {
  int found = 0;
  *count = 0;
  const cudaError_t code = cudaGetDeviceCount(&found);
  if (code != cudaSuccess) return no_device(error, code);
  if (found == 0) return no_device(error, cudaErrorNoDevice);
  *count = found;
  return JD_OK;
}

jd_status device_open(int32_t ordinal, const jd_device_options *, void **device, jd_error *error) {
  int32_t count = 0;
  if (const jd_status status = device_count(&count, error)) return status;
  if (ordinal < 0 || ordinal >= count) {
    return fail(error, JD_NO_DEVICE, "cuda:%d: this machine has %d CUDA device%s, numbered from 0", ordinal, count,
                count == 1 ? "" : "s");
  }
  Device *made = nullptr;
  const jd_status status = Device::open(ordinal, &made, error);
  *device = made;
  return status;
}

void device_close(void *device) { delete device_of(device); }

jd_status device_info(void *device, jd_device_info *info, jd_error *error) {
  const Device &d = *device_of(device);
  int driver = 0;
  if (const cudaError_t code = cudaDriverGetVersion(&driver)) return driver_error(error, code, "read the driver's version");
  info->ordinal = d.context.ordinal;
  info->num_threads = d.properties.multiProcessorCount;
  info->compute_capability = 10 * d.properties.major + d.properties.minor;
  info->total_memory_bytes = static_cast<int64_t>(d.properties.totalGlobalMem);
  info->host_memory = 0;
  info->driver_version = driver;
  snprintf(info->backend, sizeof info->backend, "cuda");
  snprintf(info->name, sizeof info->name, "%.127s", d.properties.name);
  info->isa[0] = 0;
  return JD_OK;
}

jd_status device_synchronize(void *device, jd_error *error) { return device_of(device)->synchronize(error); }

jd_status alloc(void *device, size_t bytes, void **ptr, jd_error *error) { return device_of(device)->alloc(bytes, ptr, error); }

void free_memory(void *device, void *ptr, size_t) { device_of(device)->free(ptr); }

jd_status host_alloc(void *device, size_t bytes, void **ptr, jd_error *error) {
  return device_of(device)->alloc_host(bytes, ptr, error);
}

void host_free(void *device, void *ptr, size_t) { device_of(device)->free_host(ptr); }

jd_status stream_create(void *device, void *external, void **stream, jd_error *error) {
  Stream *made = nullptr;
  const jd_status status = Stream::create(device_of(device), external, &made, error);
  *stream = made;
  return status;
}

void stream_destroy(void *stream) { delete stream_of(stream); }

jd_status stream_synchronize(void *stream, jdb_report *report, jd_error *error) {
  return stream_of(stream)->synchronize(report, error);
}

void *stream_native(void *stream) { return stream_of(stream)->native; }

jd_status copy(void *stream, void *target, const void *source, size_t bytes, int32_t direction, jd_error *error) {
  return stream_of(stream)->copy(target, source, bytes, direction, error);
}

jd_status fill(void *stream, void *target, int32_t byte, size_t bytes, jd_error *error) {
  if (bytes == 0) return JD_OK;
  Stream &s = *stream_of(stream);
  const CurrentContext current(s.device->context);
  return check(error, cudaMemsetAsync(target, byte, bytes, s.native), "fill");
}

jd_status event_create(void *device, void **event, jd_error *error) {
  Device &d = *device_of(device);
  const CurrentContext current(d.context);
  auto *made = new (std::nothrow) Event{&d, nullptr};
  if (!made) return out_of_host_memory(error);
  if (const cudaError_t code = cudaEventCreate(&made->native)) {
    delete made;
    return driver_error(error, code, "create an event");
  }
  *event = made;
  return JD_OK;
}

void event_destroy(void *event) {
  const CurrentContext current(event_of(event)->device->context);
  cudaEventDestroy(event_of(event)->native);
  delete event_of(event);
}

jd_status event_record(void *event, void *stream, jd_error *error) {
  const CurrentContext current(event_of(event)->device->context);
  return check(error, cudaEventRecord(event_of(event)->native, stream_of(stream)->native), "record an event");
}

jd_status event_wait(void *event, void *stream, jd_error *error) {
  const CurrentContext current(event_of(event)->device->context);
  return check(error, cudaStreamWaitEvent(stream_of(stream)->native, event_of(event)->native, 0), "wait for an event");
}

jd_status event_synchronize(void *event, jd_error *error) {
  const CaptureBystander bystander;
  const CurrentContext current(event_of(event)->device->context);
  return check(error, cudaEventSynchronize(event_of(event)->native), "wait for an event");
}

jd_status event_query(void *event, int32_t *done, jd_error *error) {
  const CaptureBystander bystander;
  const CurrentContext current(event_of(event)->device->context);
  const cudaError_t code = cudaEventQuery(event_of(event)->native);
  *done = code == cudaSuccess ? 1 : 0;
  if (code == cudaErrorNotReady) {
    cudaGetLastError();
    return JD_OK;
  }
  return check(error, code, "query an event");
}

jd_status event_elapsed(void *start, void *end, double *milliseconds, jd_error *error) {
  const CaptureBystander bystander;
  const CurrentContext current(event_of(start)->device->context);
  cudaError_t code = cudaEventSynchronize(event_of(start)->native);
  if (code == cudaSuccess) code = cudaEventSynchronize(event_of(end)->native);
  float elapsed = 0;
  if (code == cudaSuccess) code = cudaEventElapsedTime(&elapsed, event_of(start)->native, event_of(end)->native);
  if (code == cudaErrorInvalidResourceHandle) {
    cudaGetLastError();
    return fail(error, JD_INVALID_ARGUMENT, "elapsed: both events must have been recorded");
  }
  *milliseconds = elapsed;
  return check(error, code, "read the time between events");
}

jd_status capture_begin(void *stream, jd_error *error) { return Graph::begin(stream_of(stream), error); }

jd_status capture_end(void *stream, void **graph, jd_error *error) {
  Graph *made = nullptr;
  const jd_status status = Graph::end(stream_of(stream), &made, error);
  *graph = made;
  return status;
}

jd_status graph_launch(void *graph, void *stream, jd_error *error) { return graph_of(graph)->launch(stream_of(stream), error); }

void graph_destroy(void *graph) { delete graph_of(graph); }

jd_status upload(void *context, void *target, const void *source, size_t bytes, jd_error *error) {
  return device_of(context)->upload(target, source, bytes, error);
}

jd_status plan_create(void *device, int32_t op, const void *desc, const jdb_allocator *allocator, void **plan,
                      jd_error *error) {
  const cudaDeviceProp &p = device_of(device)->properties;
#if defined(JINDOU_CUDA_SM90A)
  const bool hopper = p.major == 9 && p.minor == 0;
#else
  const bool hopper = false;  // built without their machine code
#endif
  const PlanResources resources{*allocator, device, upload, p.multiProcessorCount, hopper};
  KernelPlan *made = nullptr;
  const jd_status status = create_plan(resources, op, desc, &made, error);
  *plan = made;
  return status;
}

void plan_destroy(void *plan) { delete static_cast<KernelPlan *>(plan); }

int64_t plan_memory(void *plan) { return static_cast<KernelPlan *>(plan)->buffers.bytes(); }

void plan_describe(void *plan, char *text, size_t capacity) { static_cast<KernelPlan *>(plan)->describe(text, capacity); }

jd_status run_operator(void *stream, void *plan, int32_t op, const void *args, jd_error *error) {
  Executor executor(*stream_of(stream), error);
  return run(executor, static_cast<const KernelPlan *>(plan), op, args, error);
}

jd_backend make_table() {
  jd_backend table{};
  table.version = JDB_VERSION;
  table.name = "cuda";
  table.host_memory = 0;
  table.native_capture = 1;
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
  table.capture_begin = capture_begin;
  table.capture_end = capture_end;
  table.graph_launch = graph_launch;
  table.graph_destroy = graph_destroy;
  table.plan_create = plan_create;
  table.plan_destroy = plan_destroy;
  table.plan_memory = plan_memory;
  table.plan_describe = plan_describe;
  table.run = run_operator;
  return table;
}

}  // namespace
}  // namespace jindou::cuda_backend

extern "C" JD_API const jd_backend *jd_backend_table(void) {
  static const jd_backend table = jindou::cuda_backend::make_table();
  return &table;
}
