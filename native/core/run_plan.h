// How every operator with a plan begins a run.
#ifndef JINDOU_CORE_RUN_PLAN_H
#define JINDOU_CORE_RUN_PLAN_H

#include "core/context.h"
#include "core/plan.h"
#include "core/stream.h"

namespace jindou::core {

// Acquires the plan and the stream, enters their device, reads the caller's struct and calls f(context, plan, stream, args).
template <class Args, class F>
jd_status run_plan(const char *name, int32_t op, jd_plan plan_handle, jd_stream stream_handle, const Args *given, jd_error *error,
                   const F &f) {
  return guarded(error, [&]() -> jd_status {
    const Context context{error, name};
    Ref<Plan> plan;
    Ref<Stream> stream;
    DeviceUse use;
    if (const jd_status status = use_plan(context, plan_handle, op, stream_handle, &plan, &stream, &use)) return status;
    Args args;
    if (const jd_status status = read_struct(context, "args", given, &args)) return status;
    return f(context, plan, stream, args);
  });
}

}  // namespace jindou::core

#endif
