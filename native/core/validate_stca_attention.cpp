// stca_attention: the rules of jindou/stca_attention.h and the entry points.
#include "core/arguments.h"
#include "core/attention_rules.h"
#include "core/rules.h"
#include "core/run_plan.h"
#include "core/stca_way.h"

namespace jindou::core {
namespace {

constexpr int32_t kMaxModelDim = 1024, kMaxStcaHeads = 64;
constexpr int64_t kMaxTotal = int64_t{1} << 31;  // rows a run

jd_status check_description(const Context &context, jd_stca_attention_desc &d) {
  if (d.out_dtype == 0) d.out_dtype = d.dtype;
  if (d.max_total_candidates == 0) d.max_total_candidates = d.max_candidates;
  if (d.max_total_events == 0) d.max_total_events = d.max_history;
  Rules rules(context);
  check_dtypes(rules, d.dtype, d.out_dtype, d.offset_dtype);
  if (d.model_dim < 32 || d.model_dim > kMaxModelDim || d.model_dim % 32 != 0) {
    rules.fail(JD_INVALID_ARGUMENT, "model_dim", "expected a multiple of 32 in 32..%d, got %d", kMaxModelDim, d.model_dim);
  }
  rules.integer("num_heads", d.num_heads, 1, kMaxStcaHeads);
  rules.head_dim("head_dim", d.head_dim);
  rules.finite("scale", d.scale);
  rules.integer("path", d.path, JD_STCA_AUTO, JD_STCA_REORDERED);
  rules.flag("keep_keys", d.keep_keys);
  if (d.keep_keys && d.path == JD_STCA_REORDERED) {
    rules.fail(JD_INVALID_ARGUMENT, "keep_keys", "expected 0 with JD_STCA_REORDERED, which makes no keys, got 1");
  }
  rules.integer("bounds", d.bounds, JD_BOUNDS_STRICT, JD_BOUNDS_ZERO);
  rules.zero("reserved", d.reserved);
  rules.integer("max_batch", d.max_batch, 1, kMaxBatch);
  rules.integer("max_candidates", d.max_candidates, 1, kMaxCandidates);
  rules.integer("max_history", d.max_history, 1, kMaxLength);
  rules.integer("max_total_candidates", d.max_total_candidates, 1, kMaxTotal);
  rules.integer("max_total_events", d.max_total_events, 1, kMaxTotal);
  if (d.path == JD_STCA_AUTO) {
    const bool fewer = d.max_candidates <= stca_crossing(d);
    d.path = fewer && !d.keep_keys ? JD_STCA_REORDERED : JD_STCA_MATERIALISED;
  }
  return rules.status();
}

void check_matrix(Rules &rules, const char *name, const jdb_tensor &t, int32_t dtype, int64_t rows, int64_t columns) {
  rules.tensor(name, t, dtype, {rows, columns});
  rules.aligned_rows(name, t);
}

// What sizes a plan's scratch.
void check_total(Rules &rules, const char *name, const jdb_tensor &t, const char *declared, int64_t most) {
  if (rules.broken() || t.shape[0] <= most) return;
  rules.fail(JD_INVALID_ARGUMENT, name, "expected at most %" PRId64 " rows (%s of the plan), got shape %s", most, declared,
             ShapeText(t.shape, t.rank).text);
}

void check_arguments(Rules &rules, const Plan &plan, jdb_stca_attention_args &a) {
  const jd_stca_attention_desc &d = plan.desc.stca_attention;
  const int64_t width = int64_t{d.num_heads} * d.head_dim;
  check_matrix(rules, "candidates", a.candidates, d.dtype, kAny, d.model_dim);
  check_total(rules, "candidates", a.candidates, "max_total_candidates", d.max_total_candidates);
  check_matrix(rules, "events", a.events, d.dtype, kAny, d.model_dim);
  check_total(rules, "events", a.events, "max_total_events", d.max_total_events);
  if (rules.broken()) return;
  check_offsets(rules, "candidate_offsets", a.candidate_offsets, d.offset_dtype, d.max_batch, &a.batch);
  rules.tensor("history_offsets", a.history_offsets, d.offset_dtype, {a.candidate_offsets.shape[0]});
  rules.contiguous_last("history_offsets", a.history_offsets);
  check_matrix(rules, "query_weight", a.query_weight, JD_F32, width, d.model_dim);
  check_matrix(rules, "key_weight", a.key_weight, JD_F32, width, d.model_dim);
  check_matrix(rules, "value_weight", a.value_weight, JD_F32, width, d.model_dim);
  const char *reason = d.keep_keys ? "the plan has keep_keys" : "the plan has no keep_keys";
  const Rules::Input inputs[] = {{"candidates", a.candidates},           {"candidate_offsets", a.candidate_offsets},
                                 {"events", a.events},                   {"history_offsets", a.history_offsets},
                                 {"query_weight", a.query_weight},       {"key_weight", a.key_weight},
                                 {"value_weight", a.value_weight},       {"keys", a.keys},
                                 {"values", a.values}};
  for (const Rules::Input &kept : {inputs[7], inputs[8]}) {
    rules.presence(kept.name, kept.tensor, d.keep_keys, reason);
    check_matrix(rules, kept.name, kept.tensor, d.dtype, a.events.shape[0], width);
    rules.separate_elements(kept.name, kept.tensor);
    if (kept.tensor.dtype == 0) continue;
    rules.apart(kept.name, kept.tensor, {inputs[0], inputs[1], inputs[2], inputs[3], inputs[4], inputs[5], inputs[6]});
  }
  if (a.values.dtype != 0) rules.apart("values", a.values, {inputs[7]});
  check_matrix(rules, "out", a.out, d.out_dtype, a.candidates.shape[0], width);
  rules.separate_elements("out", a.out);
  rules.apart("out", a.out,
              {inputs[0], inputs[1], inputs[2], inputs[3], inputs[4], inputs[5], inputs[6], inputs[7], inputs[8]});
}

}  // namespace
}  // namespace jindou::core

using namespace jindou::core;

extern "C" {

jd_status jd_stca_attention_plan(jd_device device, const jd_stca_attention_desc *desc, jd_plan *plan, jd_error *error) {
  return guarded(error, [&]() -> jd_status {
    return make_plan({error, "stca_attention"}, JDB_OP_STCA_ATTENTION, device, desc, &Plan::Description::stca_attention,
                     check_description, plan);
  });
}

jd_status jd_stca_attention_run(jd_plan plan_handle, jd_stream stream_handle, const jd_stca_attention_args *given, jd_error *error) {
  return run_plan("stca_attention", JDB_OP_STCA_ATTENTION, plan_handle, stream_handle, given, error,
                  [&](auto &context, auto &plan, auto &stream, auto &args) -> jd_status {
    jdb_stca_attention_args a;
    Arguments<10> tensors(context, *stream->device);
    tensors.required("candidates", args.candidates, &a.candidates);
    tensors.required("candidate_offsets", args.candidate_offsets, &a.candidate_offsets);
    tensors.required("events", args.events, &a.events);
    tensors.required("history_offsets", args.history_offsets, &a.history_offsets);
    tensors.required("query_weight", args.query_weight, &a.query_weight);
    tensors.required("key_weight", args.key_weight, &a.key_weight);
    tensors.required("value_weight", args.value_weight, &a.value_weight);
    tensors.optional("keys", args.keys, &a.keys);
    tensors.optional("values", args.values, &a.values);
    tensors.required("out", args.out, &a.out);
    if (tensors.status() != JD_OK) return tensors.status();
    Rules rules(context);
    rules.zero("reserved", args.reserved);
    check_arguments(rules, *plan, a);
    if (rules.broken()) return rules.status();
    return stream->run(context, JDB_OP_STCA_ATTENTION, plan.get(), a, tensors.used);
  });
}

}  // extern "C"
