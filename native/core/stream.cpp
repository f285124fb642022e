#include "core/stream.h"

#include <cstring>
#include <utility>

#include "core/launch.h"
#include "core/plan.h"
#include "core/report.h"

namespace jindou::core {

Stream::Stream(Ref<Device> owner, void *native_stream)
    : Object(kKind),
      device(std::move(owner)),
      native(native_stream),
      late_(device->late_streams ? std::make_unique<Recording>() : nullptr) {}

Stream::~Stream() {
  drop_capture();
  device->backend.stream_destroy(native);
}

jd_status Stream::run(const Context &context, int32_t op, Plan *plan, const void *args, size_t size,
                      const Ref<Tensor> *used, size_t count) {
  std::lock_guard<std::mutex> lock(mutex);
  Recording *const into = noted();
  if (__builtin_expect(!into, 1)) return launch(context, *device, native, op, plan, args);
  for (size_t i = 0; i < count; ++i) {
    if (used[i]) into->keep(used[i]);
  }
  if (plan) into->keep(Ref<Plan>::share(plan));
  if (device->backend.native_capture) return launch(context, *device, native, op, plan, args);
  into->add_operator(op, plan, args, size);
  return JD_OK;
}

jd_status Stream::copy(const Context &context, void *target, const void *source, int64_t bytes,
                       const Ref<Tensor> (&used)[2]) {
  std::lock_guard<std::mutex> lock(mutex);
  if (Recording *const into = noted()) {
    into->keep(used[0]);
    into->keep(used[1]);
    if (!device->backend.native_capture) {
      into->add_copy(target, source, bytes);
      return JD_OK;
    }
  }
  return launch_copy(context, *device, native, target, source, bytes);
}

jd_status Stream::fill(const Context &context, void *target, uint8_t byte, int64_t bytes, const Ref<Tensor> &used) {
  std::lock_guard<std::mutex> lock(mutex);
  if (Recording *const into = noted()) {
    into->keep(used);
    if (!device->backend.native_capture) {
      into->add_fill(target, byte, bytes);
      return JD_OK;
    }
  }
  return launch_fill(context, *device, native, target, byte, bytes);
}

jd_status Stream::copy_host(const Context &context, void *target, const void *source, int64_t bytes, int32_t direction,
                            const Ref<Tensor> &tensor, const Ref<Object> &memory) {
  if (late_) {
    late_->keep(tensor);
    late_->keep(memory);
    late_->add_copy(target, source, bytes);
    if (direction == JDB_DEVICE_TO_HOST) std::memset(target, 0xff, static_cast<size_t>(bytes));  // whoever looks too early sees that
    return JD_OK;
  }
  return backend_result(context.error,
                        device->backend.copy(native, target, source, static_cast<size_t>(bytes), direction, context.error),
                        "copy");
}

jd_status Stream::run_late(const Context &context) {
  const Recording work = std::exchange(*late_, Recording());
  return work.replay(context.error, *device, native);
}

void Stream::abandon() {
  std::lock_guard<std::mutex> lock(mutex);
  drop_capture();
  catch_up(Context{nullptr});
  jdb_report report = {};
  device->backend.stream_synchronize(native, &report, nullptr);
}

jd_status Stream::expect_not_capturing(const Context &context) const {
  if (__builtin_expect(!recording_, 1)) return JD_OK;
  return fail_argument(context, JD_INVALID_ARGUMENT, "stream",
                       "is capturing: only operators, copies and fills may be "
                       "enqueued until the capture ends");
}

jd_status Stream::synchronize(const Context &context) {
  if (const jd_status status = catch_up(context)) return status;
  jdb_report report = {};
  const jd_status status = device->backend.stream_synchronize(native, &report, context.error);
  skipped += report.skipped;
  if (status != JD_OK) return backend_result(context.error, status, "stream_synchronize");
  return report.has_error ? fail_report(context.error, report) : JD_OK;
}

jd_status Stream::begin_capture(const Context &context) {
  if (recording_) return fail_argument(context, JD_INVALID_ARGUMENT, "stream", "is capturing already");
  auto recording = std::make_unique<Recording>();
  if (device->backend.native_capture) {
    if (const jd_status status = device->backend.capture_begin(native, context.error)) {
      return backend_result(context.error, status, "capture_begin");
    }
  }
  recording_ = std::move(recording);
  device->capturing.fetch_add(1, std::memory_order_relaxed);
  return JD_OK;
}

jd_status Stream::end_capture(const Context &context, jd_graph *graph) {
  if (!recording_) return fail_argument(context, JD_INVALID_ARGUMENT, "stream", "is not capturing");
  // Whatever happens below, the capture is over.
  Recording recording = std::move(*recording_);
  recording_.reset();
  device->capturing.fetch_sub(1, std::memory_order_relaxed);
  void *native_graph = nullptr;
  if (device->backend.native_capture) {
    if (const jd_status status = device->backend.capture_end(native, &native_graph, context.error)) {
      return backend_result(context.error, status, "capture_end");
    }
  }
  std::unique_ptr<Graph> made;
  try {
    made = std::make_unique<Graph>(device, std::move(recording), native_graph);
  } catch (...) {
    if (native_graph) device->backend.graph_destroy(native_graph);
    throw;
  }
  *graph = publish(std::move(made));
  return JD_OK;
}

void Stream::drop_capture() {
  if (!recording_) return;
  device->capturing.fetch_sub(1, std::memory_order_relaxed);
  if (device->backend.native_capture) {
    void *graph = nullptr;
    if (device->backend.capture_end(native, &graph, nullptr) == JD_OK && graph) device->backend.graph_destroy(graph);
  }
  recording_.reset();
}

jd_status use_stream(const Context &context, jd_stream handle, Ref<Stream> *stream, DeviceUse *use) {
  if (const jd_status status = acquire(context, "stream", handle, stream)) return status;
  return use->enter(context, "stream", *(*stream)->device);
}

namespace {

jd_status create(const Context &context, jd_device handle, void *external, jd_stream *stream) {
  Ref<Device> device;
  DeviceUse use;
  if (const jd_status status = acquire(context, "device", handle, &device)) return status;
  if (const jd_status status = use.enter(context, "device", *device)) return status;
  if (external && !device->backend.native_capture) {
    return fail_argument(context, JD_UNSUPPORTED, "device",
                         "streams of %s cannot wrap a cudaStream_t; those of cuda can", device->label());
  }
  void *native = nullptr;
  if (const jd_status status = device->backend.stream_create(device->native, external, &native, context.error)) {
    return backend_result(context.error, status, "stream_create");
  }
  std::unique_ptr<Stream> made;
  try {
    made = std::make_unique<Stream>(device, native);
  } catch (...) {
    device->backend.stream_destroy(native);
    throw;
  }
  *stream = publish(std::move(made));
  return JD_OK;
}

}  // namespace
}  // namespace jindou::core

using namespace jindou;
using namespace jindou::core;

extern "C" {

jd_status jd_stream_create(jd_device device, jd_stream *stream, jd_error *error) {
  return guarded(error, [&]() -> jd_status {
    const Context context{error};
    if (const jd_status status = expect_pointer(context, "stream", stream)) return status;
    *stream = 0;
    return create(context, device, nullptr, stream);
  });
}

jd_status jd_stream_wrap(jd_device device, void *cuda_stream, jd_stream *stream, jd_error *error) {
  return guarded(error, [&]() -> jd_status {
    const Context context{error};
    if (const jd_status status = expect_pointer(context, "stream", stream)) return status;
    *stream = 0;
    if (const jd_status status = expect_pointer(context, "cuda_stream", cuda_stream)) return status;
    return create(context, device, cuda_stream, stream);
  });
}

jd_status jd_stream_destroy(jd_stream handle, jd_error *error) {
  return guarded(error, [&]() -> jd_status {
    const Context context{error};
    Ref<Stream> stream;
    if (const jd_status status = acquire(context, "stream", handle, &stream)) return status;
    if (stream->device->late_streams) {  // before it is closed: an event on it that finds it closed counts as happened
      std::lock_guard<std::mutex> lock(stream->mutex);
      stream->catch_up(Context{nullptr});
    }
    if (const jd_status status = close(context, "stream", handle, &stream)) return status;
    stream->abandon();
    return JD_OK;
  });
}

jd_status jd_stream_synchronize(jd_stream handle, jd_error *error) {
  return guarded(error, [&]() -> jd_status {
    const Context context{error};
    Ref<Stream> stream;
    DeviceUse use;
    if (const jd_status status = use_stream(context, handle, &stream, &use)) return status;
    std::lock_guard<std::mutex> lock(stream->mutex);
    if (const jd_status status = stream->expect_not_capturing(context)) return status;
    return stream->synchronize(context);
  });
}

jd_status jd_stream_take_skipped(jd_stream handle, int64_t *skipped, jd_error *error) {
  return guarded(error, [&]() -> jd_status {
    const Context context{error};
    if (const jd_status status = expect_pointer(context, "skipped", skipped)) return status;
    *skipped = 0;
    Ref<Stream> stream;
    DeviceUse use;
    if (const jd_status status = use_stream(context, handle, &stream, &use)) return status;
    std::lock_guard<std::mutex> lock(stream->mutex);
    if (const jd_status status = stream->expect_not_capturing(context)) return status;
    if (const jd_status status = stream->synchronize(context)) return status;
    *skipped = std::exchange(stream->skipped, 0);
    return JD_OK;
  });
}

jd_status jd_stream_native(jd_stream handle, void **cuda_stream, jd_error *error) {
  return guarded(error, [&]() -> jd_status {
    const Context context{error};
    if (const jd_status status = expect_pointer(context, "cuda_stream", cuda_stream)) return status;
    *cuda_stream = nullptr;
    Ref<Stream> stream;
    DeviceUse use;
    if (const jd_status status = use_stream(context, handle, &stream, &use)) return status;
    const Device &device = *stream->device;
    if (device.backend.native_capture) *cuda_stream = device.backend.stream_native(stream->native);
    return JD_OK;
  });
}

jd_status jd_stream_begin_capture(jd_stream handle, jd_error *error) {
  return guarded(error, [&]() -> jd_status {
    const Context context{error};
    Ref<Stream> stream;
    DeviceUse use;
    if (const jd_status status = use_stream(context, handle, &stream, &use)) return status;
    std::lock_guard<std::mutex> lock(stream->mutex);
    return stream->begin_capture(context);
  });
}

jd_status jd_stream_end_capture(jd_stream handle, jd_graph *graph, jd_error *error) {
  return guarded(error, [&]() -> jd_status {
    const Context context{error};
    if (const jd_status status = expect_pointer(context, "graph", graph)) return status;
    *graph = 0;
    Ref<Stream> stream;
    DeviceUse use;
    if (const jd_status status = use_stream(context, handle, &stream, &use)) return status;
    std::lock_guard<std::mutex> lock(stream->mutex);
    return stream->end_capture(context, graph);
  });
}

}  // extern "C"
