// longer_attention: the rules of jindou/longer_attention.h and the entry points.
#include "core/arguments.h"
#include "core/longer_as_beams.h"
#include "core/prefix_rules.h"
#include "core/rules.h"
#include "core/run_plan.h"

namespace jindou::core {
namespace {

constexpr int32_t kMaxGlobals = 256;  // that a candidate sees

jd_status check_description(const Context &context, jd_longer_attention_desc &d) {
  Rules rules(context);
  check_prefix_description(rules, d);
  rules.integer("num_global", d.num_global, 0, kMaxGlobals);
  if (rules.broken()) return rules.status();
  rules.integer("num_shared_globals", d.num_shared_globals, 0, d.num_global);
  rules.flag("candidates_only", d.candidates_only);
  const bool has_candidates = d.num_shared_globals < d.num_global;
  if (d.candidates_only == 1 && !has_candidates) {
    rules.fail(JD_INVALID_ARGUMENT, "candidates_only", "expected 0 where all %d globals are shared, got 1", d.num_global);
  }
  if (!has_candidates) d.max_candidates = 1;
  if (d.candidates_only == 1) d.max_recent = 0;
  rules.integer("max_batch", d.max_batch, 1, kMaxBatch);
  rules.integer("max_candidates", d.max_candidates, 1, kMaxCandidates);
  rules.integer("max_recent", d.max_recent, 0, kMaxLength);
  rules.integer("max_history", d.max_history, 1, kMaxLength);
  return rules.status();
}

void check_globals(Rules &rules, const jd_longer_attention_desc &d, const jdb_longer_attention_args &a) {
  check_presence(rules, {{"global_keys", a.globals.keys}, {"global_values", a.globals.values}, {"global_offsets", a.globals.offsets}},
                 d.num_global > 0, d.num_global > 0 ? "num_global of the plan is not 0" : "num_global of the plan is 0");
  if (rules.broken() || d.num_global == 0) return;
  check_rows(rules, "global_keys", a.globals.keys, d.dtype, kAny, d.num_kv_heads, d.head_dim_qk);
  if (rules.broken()) return;
  check_rows(rules, "global_values", a.globals.values, d.dtype, a.globals.keys.shape[0], d.num_kv_heads, d.head_dim_v);
  rules.tensor("global_offsets", a.globals.offsets, d.offset_dtype, {a.rows.batch + 1});
  rules.contiguous_last("global_offsets", a.globals.offsets);
}

void check_arguments(Rules &rules, const Plan &plan, jdb_longer_attention_args &a) {
  const jd_longer_attention_desc &d = plan.desc.longer_attention;
  jdb_beam_attention_args &r = a.rows;
  check_rows(rules, "queries", r.queries, d.dtype, kAny, d.num_heads, d.head_dim_qk);
  if (rules.broken()) return;
  const int64_t rows = r.queries.shape[0];
  check_offsets(rules, "q_offsets", r.beam_offsets, d.offset_dtype, d.max_batch, &r.batch);
  if (rules.broken()) return;
  r.most_beams = as_beams(d).max_beams;
  check_globals(rules, d, a);
  check_prefix(rules, d, "k_offsets", r);
  check_rows(rules, "out", r.out, d.out_dtype, rows, d.num_heads, d.head_dim_v);
  rules.separate_elements("out", r.out);
  rules.tensor("lse", r.lse, JD_F32, {rows, d.num_heads});
  rules.contiguous_last("lse", r.lse);
  rules.separate_elements("lse", r.lse);
  for (const Rules::Input &out : {Rules::Input{"out", r.out}, {"lse", r.lse}}) {
    if (out.tensor.dtype == 0) continue;
    rules.apart(out.name, out.tensor,
                {{"queries", r.queries},
                 {"q_offsets", r.beam_offsets},
                 {"global_keys", a.globals.keys},
                 {"global_values", a.globals.values},
                 {"global_offsets", a.globals.offsets},
                 {"keys", r.keys},
                 {"values", r.values},
                 {"k_offsets", r.prefix_offsets},
                 {"key_pages", r.key_pages},
                 {"value_pages", r.value_pages},
                 {"page_table", r.page_table},
                 {"seq_lens", r.seq_lens},
                 {"key_scales", r.key_scales},
                 {"value_scales", r.value_scales}});
  }
  if (r.lse.dtype != 0) rules.apart("lse", r.lse, {{"out", r.out}});
}

}  // namespace
}  // namespace jindou::core

using namespace jindou::core;

extern "C" {

jd_status jd_longer_attention_plan(jd_device device, const jd_longer_attention_desc *desc, jd_plan *plan, jd_error *error) {
  return guarded(error, [&]() -> jd_status {
    return make_plan({error, "longer_attention"}, JDB_OP_LONGER_ATTENTION, device, desc, &Plan::Description::longer_attention,
                     check_description, plan);
  });
}

jd_status jd_longer_attention_run(jd_plan plan_handle, jd_stream stream_handle, const jd_longer_attention_args *given,
                                  jd_error *error) {
  return run_plan("longer_attention", JDB_OP_LONGER_ATTENTION, plan_handle, stream_handle, given, error,
                  [&](auto &context, auto &plan, auto &stream, auto &args) -> jd_status {
    jdb_longer_attention_args a{};
    Arguments<16> tensors(context, *stream->device);
    tensors.required("queries", args.queries, &a.rows.queries);
    tensors.required("q_offsets", args.q_offsets, &a.rows.beam_offsets);
    tensors.optional("global_keys", args.global_keys, &a.globals.keys);
    tensors.optional("global_values", args.global_values, &a.globals.values);
    tensors.optional("global_offsets", args.global_offsets, &a.globals.offsets);
    tensors.optional("keys", args.keys, &a.rows.keys);
    tensors.optional("values", args.values, &a.rows.values);
    tensors.optional("k_offsets", args.k_offsets, &a.rows.prefix_offsets);
    tensors.optional("key_pages", args.key_pages, &a.rows.key_pages);
    tensors.optional("value_pages", args.value_pages, &a.rows.value_pages);
    tensors.optional("page_table", args.page_table, &a.rows.page_table);
    tensors.optional("seq_lens", args.seq_lens, &a.rows.seq_lens);
    tensors.optional("key_scales", args.key_scales, &a.rows.key_scales);
    tensors.optional("value_scales", args.value_scales, &a.rows.value_scales);
    tensors.required("out", args.out, &a.rows.out);
    tensors.optional("lse", args.lse, &a.rows.lse);
    if (tensors.status() != JD_OK) return tensors.status();
    Rules rules(context);
    rules.zero("reserved", args.reserved);
    check_arguments(rules, *plan, a);
    if (rules.broken()) return rules.status();
    return stream->run(context, JDB_OP_LONGER_ATTENTION, plan.get(), a, tensors.used);
  });
}

}  // extern "C"
