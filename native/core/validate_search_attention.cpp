// search_attention: the rules of jindou/search_attention.h and the entry points.
#include "core/arguments.h"
#include "core/paged_rules.h"
#include "core/run_plan.h"
#include "core/search_rules.h"

namespace jindou::core {
namespace {

jd_status check_description(const Context &context, jd_search_attention_desc &d) {
  if (d.out_dtype == 0) d.out_dtype = d.dtype;
  if (d.num_kv_heads == 0) d.num_kv_heads = d.num_heads;
  Rules rules(context);
  rules.dtype("dtype", d.dtype, {JD_F32, JD_F16, JD_BF16});
  if (rules.broken()) return rules.status();
  if (d.dtype != JD_F32) {
    rules.dtype("out_dtype", d.out_dtype, {d.dtype, JD_F32});
  } else {
    rules.dtype("out_dtype", d.out_dtype, {JD_F32});
  }
  rules.dtype("offset_dtype", d.offset_dtype, {JD_I32, JD_I64});
  rules.integer("num_heads", d.num_heads, 1, kMaxHeads);
  rules.integer("num_kv_heads", d.num_kv_heads, 1, d.num_heads);
  if (!rules.broken() && d.num_heads % d.num_kv_heads != 0) {
    rules.fail(JD_INVALID_ARGUMENT, "num_kv_heads", "expected a divisor of num_heads = %d, got %d", d.num_heads,
               d.num_kv_heads);
  }
  check_cache_dim(rules, "head_dim_qk", d.head_dim_qk);
  check_cache_dim(rules, "head_dim_v", d.head_dim_v);
  rules.finite("scale", d.scale);
  rules.integer("activation", d.activation, JD_ACTIVATION_SOFTMAX, JD_ACTIVATION_SILU);
  if (d.activation == JD_ACTIVATION_SILU) rules.finite_above_zero("scaling_seqlen", d.scaling_seqlen);
  check_search_limits(rules, d);
  return rules.status();
}

void check_arguments(Rules &rules, const Plan &plan, jdb_search_attention_args &a) {
  const jd_search_attention_desc &d = plan.desc.search_attention;
  check_rows(rules, "candidates", a.candidates, d.dtype, kAny, d.num_heads, d.head_dim_qk);
  check_rows(rules, "keys", a.keys, d.dtype, kAny, d.num_kv_heads, d.head_dim_qk);
  if (rules.broken()) return;
  const int64_t candidates = a.candidates.shape[0], events = a.keys.shape[0];
  check_rows(rules, "values", a.values, d.dtype, events, d.num_kv_heads, d.head_dim_v);
  check_offsets(rules, "candidate_offsets", a.candidate_offsets, d.offset_dtype, d.max_batch, &a.batch);
  rules.tensor("history_offsets", a.history_offsets, d.offset_dtype, {a.candidate_offsets.shape[0]});
  rules.contiguous_last("history_offsets", a.history_offsets);
  check_results(rules, "indices", a.indices, JD_I32, candidates, d.k);
  check_rows(rules, "out", a.out, d.out_dtype, candidates, d.num_heads, d.head_dim_v);
  if (d.activation != JD_ACTIVATION_SOFTMAX) rules.presence("lse", a.lse, false, "the plan has no softmax");
  check_results(rules, "lse", a.lse, JD_F32, candidates, d.num_heads);
  for (const Rules::Input &out : {Rules::Input{"out", a.out}, {"lse", a.lse}}) {
    if (out.tensor.dtype == 0) continue;
    rules.separate_elements(out.name, out.tensor);
    rules.apart(out.name, out.tensor,
                {{"candidates", a.candidates},
                 {"candidate_offsets", a.candidate_offsets},
                 {"keys", a.keys},
                 {"values", a.values},
                 {"history_offsets", a.history_offsets},
                 {"indices", a.indices}});
  }
  if (a.lse.dtype != 0) rules.apart("lse", a.lse, {{"out", a.out}});
}

}  // namespace
}  // namespace jindou::core

using namespace jindou::core;

extern "C" {

jd_status jd_search_attention_plan(jd_device device, const jd_search_attention_desc *desc, jd_plan *plan, jd_error *error) {
  return guarded(error, [&]() -> jd_status {
    return make_plan({error, "search_attention"}, JDB_OP_SEARCH_ATTENTION, device, desc,
                     &Plan::Description::search_attention, check_description, plan);
  });
}

jd_status jd_search_attention_run(jd_plan plan_handle, jd_stream stream_handle, const jd_search_attention_args *given,
                                  jd_error *error) {
  return run_plan("search_attention", JDB_OP_SEARCH_ATTENTION, plan_handle, stream_handle, given, error,
                  [&](auto &context, auto &plan, auto &stream, auto &args) -> jd_status {
    jdb_search_attention_args a;
    Arguments<8> tensors(context, *stream->device);
    tensors.required("candidates", args.candidates, &a.candidates);
    tensors.required("candidate_offsets", args.candidate_offsets, &a.candidate_offsets);
    tensors.required("keys", args.keys, &a.keys);
    tensors.required("values", args.values, &a.values);
    tensors.required("history_offsets", args.history_offsets, &a.history_offsets);
    tensors.required("indices", args.indices, &a.indices);
    tensors.required("out", args.out, &a.out);
    tensors.optional("lse", args.lse, &a.lse);
    if (tensors.status() != JD_OK) return tensors.status();
    Rules rules(context);
    rules.zero("reserved", args.reserved);
    check_arguments(rules, *plan, a);
    if (rules.broken()) return rules.status();
    return stream->run(context, JDB_OP_SEARCH_ATTENTION, plan.get(), a, tensors.used);
  });
}

}  // extern "C"
