// Rules that the attention operators share: limits, dtypes, jagged rows and their offsets; and how a plan is made.
#ifndef JINDOU_CORE_ATTENTION_RULES_H
#define JINDOU_CORE_ATTENTION_RULES_H

#include <cinttypes>

#include "core/plan.h"
#include "core/rules.h"

namespace jindou::core {

inline constexpr int32_t kMaxHeads = 256;
inline constexpr int64_t kMaxBatch = 1 << 20;
inline constexpr int64_t kMaxCandidates = 4096;
inline constexpr int64_t kMaxLength = 131072;

inline void check_dtypes(Rules &rules, int32_t dtype, int32_t out_dtype, int32_t offset_dtype) {
  rules.dtype("dtype", dtype, {JD_F32, JD_F16, JD_BF16});
  if (dtype == JD_F32) {
    rules.dtype("out_dtype", out_dtype, {JD_F32});
  } else {
    rules.dtype("out_dtype", out_dtype, {dtype, JD_F32});
  }
  rules.dtype("offset_dtype", offset_dtype, {JD_I32, JD_I64});
}

// Offsets of at most max_batch sequences; gives their number.
inline void check_offsets(Rules &rules, const char *name, const jdb_tensor &offsets, int32_t dtype,
                          int64_t max_batch, int64_t *batch) {
  rules.tensor(name, offsets, dtype, {kAny});
  rules.contiguous_last(name, offsets);
  if (rules.broken()) return;
  *batch = offsets.shape[0] - 1;
  if (*batch < 0 || *batch > max_batch) {
    rules.fail(JD_INVALID_ARGUMENT, name,
               "expected B + 1 offsets with B in 0..%" PRId64 " (max_batch of the plan), got %" PRId64, max_batch,
               offsets.shape[0]);
  }
}

// A jagged tensor [rows, heads, dim].
inline void check_rows(Rules &rules, const char *name, const jdb_tensor &t, int32_t dtype, int64_t rows,
                       int64_t heads, int64_t dim) {
  rules.tensor(name, t, dtype, {rows, heads, dim});
  rules.aligned_rows(name, t);
}

// Every plan's way from the caller's description, checked by check_description(context, desc), to a handle.
template <class Desc>
jd_status make_plan(const Context &context, int32_t op, jd_device handle, const Desc *given,
                    Desc Plan::Description::*member, jd_status (*check_description)(const Context &, Desc &),
                    jd_plan *plan_handle) {
  if (const jd_status status = expect_pointer(context, "plan", plan_handle)) return status;
  *plan_handle = 0;
  Ref<Device> device;
  DeviceUse use;
  if (const jd_status status = acquire(context, "device", handle, &device)) return status;
  if (const jd_status status = use.enter(context, "device", *device)) return status;
  Desc desc;
  if (const jd_status status = read_struct(context, "desc", given, &desc)) return status;
  if (const jd_status status = check_description(context, desc)) return status;
  auto plan = std::make_unique<Plan>(device, op);
  plan->desc.*member = desc;
  return finish_plan(context, std::move(plan), &desc, plan_handle);
}

}  // namespace jindou::core

#endif
