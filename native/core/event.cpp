#include "core/event.h"

#include <utility>

#include "core/stream.h"

namespace jindou::core {
namespace {

// Acquires an event and a stream of one device, and enters it.
jd_status use_event_on_stream(const Context &context, jd_event event_handle, jd_stream stream_handle, Ref<Event> *event,
                              Ref<Stream> *stream, DeviceUse *use) {
  if (const jd_status status = acquire(context, "event", event_handle, event)) return status;
  if (const jd_status status = acquire(context, "stream", stream_handle, stream)) return status;
  Device &device = *(*stream)->device;
  if ((*event)->device.get() != &device) {
    return refuse_foreign(context, "event", *(*event)->device, "the stream", device);
  }
  return use->enter(context, "stream", device);
}

jd_status use_event(const Context &context, const char *argument, jd_event handle, Ref<Event> *event, DeviceUse *use) {
  if (const jd_status status = acquire(context, argument, handle, event)) return status;
  return use->enter(context, argument, *(*event)->device);
}

// Where streams run late: what the event comes after. Whoever calls holds no lock.
jd_status catch_up(const Context &context, Event &event) {
  if (__builtin_expect(!event.device->late_streams, 1)) return JD_OK;
  jd_stream handle = 0;
  {
    std::lock_guard<std::mutex> lock(event.mutex);
    handle = event.recorded_on;
  }
  Ref<Stream> stream;
  if (handle == 0 || acquire(Context{nullptr}, "stream", handle, &stream) != JD_OK) return JD_OK;  // closed: it has caught up
  std::lock_guard<std::mutex> lock(stream->mutex);
  return stream->catch_up(context);
}

jd_status wait_for(const Context &context, Event &event) {
  if (!event.recorded.load(std::memory_order_acquire)) return JD_OK;
  if (const jd_status status = catch_up(context, event)) return status;
  return backend_result(context.error, event.device->backend.event_synchronize(event.native, context.error),
                        "event_synchronize");
}

}  // namespace
}  // namespace jindou::core

using namespace jindou;
using namespace jindou::core;

extern "C" {

jd_status jd_event_create(jd_device handle, jd_event *event, jd_error *error) {
  return guarded(error, [&]() -> jd_status {
    const Context context{error};
    if (const jd_status status = expect_pointer(context, "event", event)) return status;
    *event = 0;
    Ref<Device> device;
    DeviceUse use;
    if (const jd_status status = acquire(context, "device", handle, &device)) return status;
    if (const jd_status status = use.enter(context, "device", *device)) return status;
    void *native = nullptr;
    if (const jd_status status = device->backend.event_create(device->native, &native, error)) {
      return backend_result(error, status, "event_create");
    }
    std::unique_ptr<Event> made;
    try {
      made = std::make_unique<Event>(device, native);
    } catch (...) {
      device->backend.event_destroy(native);
      throw;
    }
    *event = publish(std::move(made));
    return JD_OK;
  });
}

jd_status jd_event_destroy(jd_event handle, jd_error *error) {
  return guarded(error, [&]() -> jd_status {
    Ref<Event> event;
    return close(Context{error}, "event", handle, &event);
  });
}

jd_status jd_event_record(jd_event event_handle, jd_stream stream_handle, jd_error *error) {
  return guarded(error, [&]() -> jd_status {
    const Context context{error};
    Ref<Event> event;
    Ref<Stream> stream;
    DeviceUse use;
    if (const jd_status status = use_event_on_stream(context, event_handle, stream_handle, &event, &stream, &use))
      return status;
    std::lock_guard<std::mutex> lock_stream(stream->mutex);
    if (const jd_status status = stream->expect_not_capturing(context)) return status;
    std::lock_guard<std::mutex> lock_event(event->mutex);
    const jd_status status = stream->device->backend.event_record(event->native, stream->native, error);
    if (status != JD_OK) return backend_result(error, status, "event_record");
    event->recorded.store(true, std::memory_order_release);
    event->recorded_on = stream_handle;
    return JD_OK;
  });
}

jd_status jd_event_wait(jd_event event_handle, jd_stream stream_handle, jd_error *error) {
  return guarded(error, [&]() -> jd_status {
    const Context context{error};
    Ref<Event> event;
    Ref<Stream> stream;
    DeviceUse use;
    if (const jd_status status = use_event_on_stream(context, event_handle, stream_handle, &event, &stream, &use))
      return status;
    if (const jd_status status = catch_up(context, *event)) return status;
    std::lock_guard<std::mutex> lock_stream(stream->mutex);
    if (const jd_status status = stream->expect_not_capturing(context)) return status;
    std::lock_guard<std::mutex> lock_event(event->mutex);
    if (!event->recorded.load(std::memory_order_acquire)) return JD_OK;
    return backend_result(error, stream->device->backend.event_wait(event->native, stream->native, error),
                          "event_wait");
  });
}

jd_status jd_event_synchronize(jd_event handle, jd_error *error) {
  return guarded(error, [&]() -> jd_status {
    const Context context{error};
    Ref<Event> event;
    DeviceUse use;
    if (const jd_status status = use_event(context, "event", handle, &event, &use)) return status;
    return wait_for(context, *event);
  });
}

jd_status jd_event_query(jd_event handle, int32_t *done, jd_error *error) {
  return guarded(error, [&]() -> jd_status {
    const Context context{error};
    if (const jd_status status = expect_pointer(context, "done", done)) return status;
    *done = 0;
    Ref<Event> event;
    DeviceUse use;
    if (const jd_status status = use_event(context, "event", handle, &event, &use)) return status;
    if (const jd_status status = catch_up(context, *event)) return status;
    std::lock_guard<std::mutex> lock(event->mutex);
    if (!event->recorded.load(std::memory_order_acquire)) {
      *done = 1;
      return JD_OK;
    }
    return backend_result(error, event->device->backend.event_query(event->native, done, error), "event_query");
  });
}

jd_status jd_event_elapsed(jd_event start_handle, jd_event end_handle, double *milliseconds, jd_error *error) {
  return guarded(error, [&]() -> jd_status {
    const Context context{error};
    if (const jd_status status = expect_pointer(context, "milliseconds", milliseconds)) return status;
    *milliseconds = 0;
    Ref<Event> start, end;
    DeviceUse use;
    if (const jd_status status = use_event(context, "start", start_handle, &start, &use)) return status;
    if (const jd_status status = acquire(context, "end", end_handle, &end)) return status;
    if (start->device.get() != end->device.get()) {
      return refuse_foreign(context, "end", *end->device, "'start'", *start->device);
    }
    for (const auto &[name, event] : {std::pair{"start", &start}, std::pair{"end", &end}}) {
      if (!(*event)->recorded.load(std::memory_order_acquire)) {
        return fail_argument(context, JD_INVALID_ARGUMENT, name, "expected a recorded event, got one never recorded");
      }
      if (const jd_status status = wait_for(context, **event)) return status;
    }
    if (start.get() == end.get()) return JD_OK;
    std::scoped_lock lock(start->mutex, end->mutex);
    return backend_result(error, start->device->backend.event_elapsed(start->native, end->native, milliseconds, error),
                          "event_elapsed");
  });
}

}  // extern "C"
