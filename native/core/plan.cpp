#include "core/plan.h"

#include "core/launch.h"
#include "core/stream.h"

namespace jindou::core {

jd_status finish_plan(const Context &context, std::unique_ptr<Plan> plan, const void *desc, jd_plan *handle) {
  Device &device = *plan->device;
  const jdb_allocator allocator = plan_allocator(device);
  const jd_status status =
      device.backend.plan_create(device.native, plan->op, desc, &allocator, &plan->native, context.error);
  if (status != JD_OK) {
    plan->native = nullptr;
    return backend_result(context.error, status, "plan_create");
  }
  *handle = publish(std::move(plan));
  return JD_OK;
}

jd_status use_plan(const Context &context, jd_plan plan_handle, int32_t op, jd_stream stream_handle, Ref<Plan> *plan,
                   Ref<Stream> *stream, DeviceUse *use) {
  if (const jd_status status = acquire(context, "plan", plan_handle, plan)) return status;
  if (__builtin_expect((*plan)->op != op, 0)) {
    return fail_argument(context, JD_INVALID_HANDLE, "plan", "expected a plan of %s, got a plan of %s",
                         operator_name(op), operator_name((*plan)->op));
  }
  if (const jd_status status = acquire(context, "stream", stream_handle, stream)) return status;
  Device &device = *(*stream)->device;
  if (__builtin_expect((*plan)->device.get() != &device, 0)) {
    return refuse_foreign(context, "stream", device, "the plan", *(*plan)->device);
  }
  return use->enter(context, "stream", device);
}

namespace {

jd_status use_plan_alone(const Context &context, jd_plan handle, Ref<Plan> *plan, DeviceUse *use) {
  if (const jd_status status = acquire(context, "plan", handle, plan)) return status;
  return use->enter(context, "plan", *(*plan)->device);
}

}  // namespace
}  // namespace jindou::core

using namespace jindou;
using namespace jindou::core;

extern "C" {

jd_status jd_plan_destroy(jd_plan handle, jd_error *error) {
  return guarded(error, [&]() -> jd_status {
    Ref<Plan> plan;
    return close(Context{error}, "plan", handle, &plan);
  });
}

jd_status jd_plan_memory(jd_plan handle, int64_t *bytes, jd_error *error) {
  return guarded(error, [&]() -> jd_status {
    const Context context{error};
    if (const jd_status status = expect_pointer(context, "bytes", bytes)) return status;
    *bytes = 0;
    Ref<Plan> plan;
    DeviceUse use;
    if (const jd_status status = use_plan_alone(context, handle, &plan, &use)) return status;
    *bytes = plan->device->backend.plan_memory(plan->native);
    return JD_OK;
  });
}

jd_status jd_plan_describe(jd_plan handle, char *text, int64_t capacity, jd_error *error) {
  return guarded(error, [&]() -> jd_status {
    const Context context{error};
    if (const jd_status status = expect_pointer(context, "text", text)) return status;
    if (capacity < 1) {
      return fail_argument(context, JD_INVALID_ARGUMENT, "capacity", "expected at least 1, got %lld",
                           static_cast<long long>(capacity));
    }
    text[0] = 0;
    Ref<Plan> plan;
    DeviceUse use;
    if (const jd_status status = use_plan_alone(context, handle, &plan, &use)) return status;
    plan->device->backend.plan_describe(plan->native, text, static_cast<size_t>(capacity));
    text[capacity - 1] = 0;
    return JD_OK;
  });
}

}  // extern "C"
