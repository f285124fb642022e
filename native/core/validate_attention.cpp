// target_attention and hstu_attention: the rules of jindou/attention.h and the entry points.
#include "core/arguments.h"
#include "core/attention_rules.h"
#include "core/paged_rules.h"
#include "core/rules.h"
#include "core/run_plan.h"

namespace jindou::core {
namespace {

// -- descriptions ---------------------------------------------------------------------------------------------------

jd_status check_description(const Context &context, jd_target_attention_desc &d) {
  if (d.out_dtype == 0) d.out_dtype = d.dtype;
  if (d.num_kv_heads == 0) d.num_kv_heads = d.num_heads;
  Rules rules(context);
  rules.integer("activation", d.activation, JD_ACTIVATION_SOFTMAX, JD_ACTIVATION_SILU);
  if (d.activation == JD_ACTIVATION_SILU) rules.finite_above_zero("scaling_seqlen", d.scaling_seqlen);
  check_dtypes(rules, d.dtype, d.out_dtype, d.offset_dtype);
  rules.integer("num_heads", d.num_heads, 1, kMaxHeads);
  rules.integer("num_kv_heads", d.num_kv_heads, 1, d.num_heads);
  if (!rules.broken() && d.num_heads % d.num_kv_heads != 0) {
    rules.fail(JD_INVALID_ARGUMENT, "num_kv_heads", "expected a divisor of num_heads = %d, got %d", d.num_heads,
               d.num_kv_heads);
  }
  rules.head_dim("head_dim_qk", d.head_dim_qk);
  rules.head_dim("head_dim_v", d.head_dim_v);
  rules.finite("scale", d.scale);
  rules.flag("self_key", d.self_key);
  rules.integer("bounds", d.bounds, JD_BOUNDS_STRICT, JD_BOUNDS_ZERO);
  rules.zero("reserved", d.reserved);
  rules.integer("num_latest", d.num_latest, 0, INT64_MAX);
  rules.integer("max_batch", d.max_batch, 1, kMaxBatch);
  rules.integer("max_candidates", d.max_candidates, 1, kMaxCandidates);
  rules.integer("max_history", d.max_history, 1, kMaxLength);
  if (d.num_latest == 0) d.num_latest = INT64_MAX;
  return rules.status();
}

jd_status check_description(const Context &context, jd_hstu_attention_desc &d) {
  if (d.out_dtype == 0) d.out_dtype = d.dtype;
  Rules rules(context);
  check_dtypes(rules, d.dtype, d.out_dtype, d.offset_dtype);
  rules.integer("num_heads", d.num_heads, 1, kMaxHeads);
  rules.head_dim("head_dim_qk", d.head_dim_qk);
  rules.head_dim("head_dim_v", d.head_dim_v);
  rules.finite("alpha", d.alpha);
  rules.finite_above_zero("scaling_seqlen", d.scaling_seqlen);
  rules.flag("causal", d.causal);
  rules.integer("contextual_seq_len", d.contextual_seq_len, 0, kMaxLength);
  rules.integer("max_attn_len", d.max_attn_len, 0, kMaxLength);
  rules.integer("min_full_attn_seq_len", d.min_full_attn_seq_len, 0, kMaxLength);
  rules.integer("bounds", d.bounds, JD_BOUNDS_STRICT, JD_BOUNDS_ZERO);
  rules.integer("max_batch", d.max_batch, 1, kMaxBatch);
  rules.integer("max_seq_len", d.max_seq_len, 1, kMaxLength);
  return rules.status();
}

// -- arguments ------------------------------------------------------------------------------------------------------

// A bias [n] shared by the heads, or [heads, n]; n > 0.
void check_bias(Rules &rules, const char *name, const jdb_tensor &t, int64_t heads) {
  if (t.rank == 2) {
    rules.tensor(name, t, JD_F32, {heads, kAny});
  } else {
    rules.tensor(name, t, JD_F32, {kAny});
  }
  rules.contiguous_last(name, t);
  if (!rules.broken() && t.dtype && t.shape[t.rank - 1] < 1) {
    rules.fail(JD_INVALID_ARGUMENT, name, "expected at least one number, got none");
  }
}

void check_arguments(Rules &rules, const Plan &plan, jdb_target_attention_args &a) {
  const jd_target_attention_desc &d = plan.desc.target_attention;
  const int64_t heads = d.num_heads, kv_heads = d.num_kv_heads, dqk = d.head_dim_qk, dv = d.head_dim_v;
  check_rows(rules, "candidates", a.candidates, d.dtype, kAny, heads, dqk);
  check_rows(rules, "keys", a.keys, d.dtype, kAny, kv_heads, dqk);
  if (rules.broken()) return;
  const int64_t candidates = a.candidates.shape[0], history = a.keys.shape[0];
  check_rows(rules, "values", a.values, d.dtype, history, kv_heads, dv);
  check_offsets(rules, "candidate_offsets", a.candidate_offsets, d.offset_dtype, d.max_batch, &a.batch);
  rules.tensor("history_offsets", a.history_offsets, d.offset_dtype, {a.candidate_offsets.shape[0]});
  rules.contiguous_last("history_offsets", a.history_offsets);
  const char *reason = d.self_key ? "the plan has self_key" : "the plan has no self_key";
  rules.presence("candidate_keys", a.candidate_keys, d.self_key, reason);
  rules.presence("candidate_values", a.candidate_values, d.self_key, reason);
  check_rows(rules, "candidate_keys", a.candidate_keys, d.dtype, candidates, kv_heads, dqk);
  check_rows(rules, "candidate_values", a.candidate_values, d.dtype, candidates, kv_heads, dv);
  check_rows(rules, "out", a.out, d.out_dtype, candidates, heads, dv);
  rules.separate_elements("out", a.out);
  rules.apart("out", a.out,
              {{"candidates", a.candidates},
               {"keys", a.keys},
               {"values", a.values},
               {"candidate_keys", a.candidate_keys},
               {"candidate_values", a.candidate_values},
               {"candidate_offsets", a.candidate_offsets},
               {"history_offsets", a.history_offsets}});
}

// Keys and values as rows.
void check_keys_values(Rules &rules, const jd_hstu_attention_desc &d, jdb_hstu_attention_args &a) {
  for (const Rules::Input &absent : {Rules::Input{"value_pages", a.value_pages}, {"page_table", a.page_table},
                                     {"seq_lens", a.seq_lens}, {"key_scales", a.key_scales}, {"value_scales", a.value_scales}}) {
    rules.presence(absent.name, absent.tensor, false, "there are no key_pages");
  }
  check_rows(rules, "keys", a.keys, d.dtype, a.q_offsets.dtype ? kAny : a.queries.shape[0], d.num_heads, d.head_dim_qk);
  if (rules.broken()) return;
  check_rows(rules, "values", a.values, d.dtype, a.keys.shape[0], d.num_heads, d.head_dim_v);
  check_offsets(rules, "offsets", a.offsets, d.offset_dtype, d.max_batch, &a.batch);
  rules.tensor("q_offsets", a.q_offsets, d.offset_dtype, {a.offsets.shape[0]});
  rules.contiguous_last("q_offsets", a.q_offsets);
}

// Keys and values in pages: of the queries' dtype, or quantised.
void check_pages(Rules &rules, const jd_hstu_attention_desc &d, jdb_hstu_attention_args &a) {
  for (const Rules::Input &absent : {Rules::Input{"keys", a.keys}, {"values", a.values}, {"offsets", a.offsets}}) {
    rules.presence(absent.name, absent.tensor, false, "there are key_pages");
  }
  for (const Rules::Input &present : {Rules::Input{"value_pages", a.value_pages}, {"page_table", a.page_table},
                                      {"seq_lens", a.seq_lens}, {"q_offsets", a.q_offsets}}) {
    rules.presence(present.name, present.tensor, true, "there are key_pages");
  }
  if (rules.broken()) return;
  check_offsets(rules, "q_offsets", a.q_offsets, d.offset_dtype, d.max_batch, &a.batch);
  const int32_t dtype = a.key_pages.dtype;
  if (dtype != d.dtype) rules.dtype("key_pages", dtype, {d.dtype, JD_F8_E4M3, JD_I8});
  if (!rules.broken() && a.key_pages.rank == 4) check_page_size(rules, "key_pages", a.key_pages.shape[1]);
  if (rules.broken()) return;
  check_paged_cache(rules, {a.key_pages, a.value_pages, a.page_table, a.seq_lens, a.key_scales, a.value_scales}, dtype,
                    a.key_pages.rank == 4 ? a.key_pages.shape[1] : kAny, d.num_heads, d.head_dim_qk, d.head_dim_v, a.batch);
}

void check_arguments(Rules &rules, const Plan &plan, jdb_hstu_attention_args &a) {
  const jd_hstu_attention_desc &d = plan.desc.hstu_attention;
  const int64_t heads = d.num_heads, dqk = d.head_dim_qk, dv = d.head_dim_v;
  check_rows(rules, "queries", a.queries, d.dtype, kAny, heads, dqk);
  if (rules.broken()) return;
  const int64_t queries = a.queries.shape[0];
  const bool is_paged = a.key_pages.dtype != 0;
  if (is_paged) {
    check_pages(rules, d, a);
  } else {
    check_keys_values(rules, d, a);
  }
  if (rules.broken()) return;
  rules.tensor("num_targets", a.num_targets, JD_I32, {a.batch});
  rules.contiguous_last("num_targets", a.num_targets);
  rules.tensor("attn_scale", a.attn_scale, JD_F32, {queries});
  rules.contiguous_last("attn_scale", a.attn_scale);
  check_bias(rules, "position_bias", a.position_bias, heads);
  if (!rules.broken() && a.position_bias.dtype) {
    const int64_t distances = a.position_bias.shape[a.position_bias.rank - 1];
    if (distances % 2 == 0 || distances < 2 * d.max_seq_len - 1) {
      rules.fail(JD_INVALID_ARGUMENT, "position_bias",
                 "expected 2 N - 1 distances, N >= %" PRId64 " (max_seq_len of the plan), got %" PRId64, d.max_seq_len,
                 distances);
    }
  }
  check_bias(rules, "time_bias", a.time_bias, heads);
  rules.presence("timestamps", a.timestamps, a.time_bias.dtype != 0,
                 a.time_bias.dtype != 0 ? "there is a time_bias" : "there is no time_bias");
  if (is_paged) {
    rules.tensor("timestamps", a.timestamps, JD_I64, {a.batch, kAny});
  } else {
    rules.tensor("timestamps", a.timestamps, JD_I64, {a.keys.shape[0]});
  }
  rules.contiguous_last("timestamps", a.timestamps);
  check_rows(rules, "out", a.out, d.out_dtype, queries, heads, dv);
  rules.separate_elements("out", a.out);
  rules.apart("out", a.out,
              {{"queries", a.queries},
               {"keys", a.keys},
               {"values", a.values},
               {"offsets", a.offsets},
               {"q_offsets", a.q_offsets},
               {"num_targets", a.num_targets},
               {"attn_scale", a.attn_scale},
               {"timestamps", a.timestamps},
               {"position_bias", a.position_bias},
               {"time_bias", a.time_bias},
               {"key_pages", a.key_pages},
               {"value_pages", a.value_pages},
               {"page_table", a.page_table},
               {"seq_lens", a.seq_lens},
               {"key_scales", a.key_scales},
               {"value_scales", a.value_scales}});
}

}  // namespace
}  // namespace jindou::core

using namespace jindou::core;

extern "C" {

jd_status jd_target_attention_plan(jd_device device, const jd_target_attention_desc *desc, jd_plan *plan,
                                   jd_error *error) {
  return guarded(error, [&]() -> jd_status {
    return make_plan({error, "target_attention"}, JDB_OP_TARGET_ATTENTION, device, desc,
                     &Plan::Description::target_attention, check_description, plan);
  });
}

jd_status jd_target_attention_run(jd_plan plan_handle, jd_stream stream_handle, const jd_target_attention_args *given,
                                  jd_error *error) {
  return run_plan("target_attention", JDB_OP_TARGET_ATTENTION, plan_handle, stream_handle, given, error,
                  [&](auto &context, auto &plan, auto &stream, auto &args) -> jd_status {
    jdb_target_attention_args a;
    Arguments<8> tensors(context, *stream->device);
    tensors.required("candidates", args.candidates, &a.candidates);
    tensors.required("candidate_offsets", args.candidate_offsets, &a.candidate_offsets);
    tensors.required("keys", args.keys, &a.keys);
    tensors.required("values", args.values, &a.values);
    tensors.required("history_offsets", args.history_offsets, &a.history_offsets);
    tensors.optional("candidate_keys", args.candidate_keys, &a.candidate_keys);
    tensors.optional("candidate_values", args.candidate_values, &a.candidate_values);
    tensors.required("out", args.out, &a.out);
    if (tensors.status() != JD_OK) return tensors.status();
    Rules rules(context);
    rules.zero("reserved", args.reserved);
    check_arguments(rules, *plan, a);
    if (rules.broken()) return rules.status();
    return stream->run(context, JDB_OP_TARGET_ATTENTION, plan.get(), a, tensors.used);
  });
}

jd_status jd_hstu_attention_plan(jd_device device, const jd_hstu_attention_desc *desc, jd_plan *plan, jd_error *error) {
  return guarded(error, [&]() -> jd_status {
    return make_plan({error, "hstu_attention"}, JDB_OP_HSTU_ATTENTION, device, desc, &Plan::Description::hstu_attention,
                     check_description, plan);
  });
}

jd_status jd_hstu_attention_run(jd_plan plan_handle, jd_stream stream_handle, const jd_hstu_attention_args *given,
                                jd_error *error) {
  return run_plan("hstu_attention", JDB_OP_HSTU_ATTENTION, plan_handle, stream_handle, given, error,
                  [&](auto &context, auto &plan, auto &stream, auto &args) -> jd_status {
    jdb_hstu_attention_args a;
    Arguments<17> tensors(context, *stream->device);
    tensors.required("queries", args.queries, &a.queries);
    const auto rows = args.key_pages == 0 ? &Arguments<17>::required : &Arguments<17>::optional;
    (tensors.*rows)("keys", args.keys, &a.keys);
    (tensors.*rows)("values", args.values, &a.values);
    (tensors.*rows)("offsets", args.offsets, &a.offsets);
    tensors.optional("key_pages", args.key_pages, &a.key_pages);
    tensors.optional("value_pages", args.value_pages, &a.value_pages);
    tensors.optional("page_table", args.page_table, &a.page_table);
    tensors.optional("seq_lens", args.seq_lens, &a.seq_lens);
    tensors.optional("key_scales", args.key_scales, &a.key_scales);
    tensors.optional("value_scales", args.value_scales, &a.value_scales);
    tensors.optional("num_targets", args.num_targets, &a.num_targets);
    tensors.optional("attn_scale", args.attn_scale, &a.attn_scale);
    tensors.optional("q_offsets", args.q_offsets, &a.q_offsets);
    tensors.optional("timestamps", args.timestamps, &a.timestamps);
    tensors.optional("position_bias", args.position_bias, &a.position_bias);
    tensors.optional("time_bias", args.time_bias, &a.time_bias);
    tensors.required("out", args.out, &a.out);
    if (tensors.status() != JD_OK) return tensors.status();
    Rules rules(context);
    rules.zero("reserved", args.reserved);
    check_arguments(rules, *plan, a);
    if (rules.broken()) return rules.status();
    return stream->run(context, JDB_OP_HSTU_ATTENTION, plan.get(), a, tensors.used);
  });
}

}  // extern "C"
