// beam_attention: the rules of jindou/beam_attention.h and the entry points.
#include <algorithm>

#include "core/arguments.h"
#include "core/attention_rules.h"
#include "core/prefix_rules.h"
#include "core/rules.h"
#include "core/run_plan.h"

namespace jindou::core {
namespace {

constexpr int64_t kMaxBeams = 4096;

jd_status check_description(const Context &context, jd_beam_attention_desc &d) {
  Rules rules(context);
  check_prefix_description(rules, d);
  rules.integer("max_beams", d.max_beams, 1, kMaxBeams);
  rules.integer("max_batch", d.max_batch, 1, kMaxBatch);
  rules.integer("max_prefix", d.max_prefix, 1, kMaxLength);
  return rules.status();
}

void check_suffix(Rules &rules, const jd_beam_attention_desc &d, jdb_beam_attention_args &a) {
  const bool is_present = a.suffix_keys.dtype != 0;
  check_presence(rules, {{"suffix_values", a.suffix_values}, {"ancestry", a.ancestry}}, is_present,
                 is_present ? "there are suffix_keys" : "there are no suffix_keys");
  if (!is_present) rules.presence("suffix_lens", a.suffix_lens, false, "there are no suffix_keys");
  a.most_beams = d.max_beams;
  if (rules.broken() || !is_present) return;
  rules.tensor("suffix_keys", a.suffix_keys, d.dtype, {a.batch, kAny, kAny, d.num_kv_heads, d.head_dim_qk});
  rules.aligned_rows("suffix_keys", a.suffix_keys);
  if (rules.broken()) return;
  const int64_t levels = a.suffix_keys.shape[1], slots = a.suffix_keys.shape[2];
  for (const int64_t size : {levels, slots}) {
    if (size > INT32_MAX) {
      rules.fail(JD_INVALID_ARGUMENT, "suffix_keys", "expected at most 2147483647 levels and slots, got %" PRId64, size);
    }
  }
  rules.tensor("suffix_values", a.suffix_values, d.dtype, {a.batch, levels, slots, d.num_kv_heads, d.head_dim_v});
  rules.aligned_rows("suffix_values", a.suffix_values);
  rules.tensor("ancestry", a.ancestry, JD_I32, {a.batch, levels, slots});
  rules.contiguous_last("ancestry", a.ancestry);
  rules.tensor("suffix_lens", a.suffix_lens, JD_I32, {a.batch});
  rules.contiguous_last("suffix_lens", a.suffix_lens);
  a.most_beams = std::min(a.most_beams, slots);
}

void check_arguments(Rules &rules, const Plan &plan, jdb_beam_attention_args &a) {
  const jd_beam_attention_desc &d = plan.desc.beam_attention;
  check_rows(rules, "queries", a.queries, d.dtype, kAny, d.num_heads, d.head_dim_qk);
  if (rules.broken()) return;
  const int64_t beams = a.queries.shape[0];
  check_offsets(rules, "beam_offsets", a.beam_offsets, d.offset_dtype, d.max_batch, &a.batch);
  if (rules.broken()) return;
  check_prefix(rules, d, "prefix_offsets", a);
  check_suffix(rules, d, a);
  check_rows(rules, "out", a.out, d.out_dtype, beams, d.num_heads, d.head_dim_v);
  rules.separate_elements("out", a.out);
  rules.tensor("lse", a.lse, JD_F32, {beams, d.num_heads});
  rules.contiguous_last("lse", a.lse);
  rules.separate_elements("lse", a.lse);
  for (const Rules::Input &out : {Rules::Input{"out", a.out}, {"lse", a.lse}}) {
    if (out.tensor.dtype == 0) continue;
    rules.apart(out.name, out.tensor,
                {{"queries", a.queries},
                 {"beam_offsets", a.beam_offsets},
                 {"keys", a.keys},
                 {"values", a.values},
                 {"prefix_offsets", a.prefix_offsets},
                 {"key_pages", a.key_pages},
                 {"value_pages", a.value_pages},
                 {"page_table", a.page_table},
                 {"seq_lens", a.seq_lens},
                 {"key_scales", a.key_scales},
                 {"value_scales", a.value_scales},
                 {"suffix_keys", a.suffix_keys},
                 {"suffix_values", a.suffix_values},
                 {"ancestry", a.ancestry},
                 {"suffix_lens", a.suffix_lens}});
  }
  if (a.lse.dtype != 0) rules.apart("lse", a.lse, {{"out", a.out}});
}

}  // namespace
}  // namespace jindou::core

using namespace jindou::core;

extern "C" {

jd_status jd_beam_attention_plan(jd_device device, const jd_beam_attention_desc *desc, jd_plan *plan, jd_error *error) {
  return guarded(error, [&]() -> jd_status {
    return make_plan({error, "beam_attention"}, JDB_OP_BEAM_ATTENTION, device, desc, &Plan::Description::beam_attention,
                     check_description, plan);
  });
}

jd_status jd_beam_attention_run(jd_plan plan_handle, jd_stream stream_handle, const jd_beam_attention_args *given,
                                jd_error *error) {
  return run_plan("beam_attention", JDB_OP_BEAM_ATTENTION, plan_handle, stream_handle, given, error,
                  [&](auto &context, auto &plan, auto &stream, auto &args) -> jd_status {
    jdb_beam_attention_args a;
    Arguments<17> tensors(context, *stream->device);
    tensors.required("queries", args.queries, &a.queries);
    tensors.required("beam_offsets", args.beam_offsets, &a.beam_offsets);
    tensors.optional("keys", args.keys, &a.keys);
    tensors.optional("values", args.values, &a.values);
    tensors.optional("prefix_offsets", args.prefix_offsets, &a.prefix_offsets);
    tensors.optional("key_pages", args.key_pages, &a.key_pages);
    tensors.optional("value_pages", args.value_pages, &a.value_pages);
    tensors.optional("page_table", args.page_table, &a.page_table);
    tensors.optional("seq_lens", args.seq_lens, &a.seq_lens);
    tensors.optional("key_scales", args.key_scales, &a.key_scales);
    tensors.optional("value_scales", args.value_scales, &a.value_scales);
    tensors.optional("suffix_keys", args.suffix_keys, &a.suffix_keys);
    tensors.optional("suffix_values", args.suffix_values, &a.suffix_values);
    tensors.optional("ancestry", args.ancestry, &a.ancestry);
    tensors.optional("suffix_lens", args.suffix_lens, &a.suffix_lens);
    tensors.required("out", args.out, &a.out);
    tensors.optional("lse", args.lse, &a.lse);
    if (tensors.status() != JD_OK) return tensors.status();
    Rules rules(context);
    rules.zero("reserved", args.reserved);
    check_arguments(rules, *plan, a);
    if (rules.broken()) return rules.status();
    return stream->run(context, JDB_OP_BEAM_ATTENTION, plan.get(), a, tensors.used);
  });
}

}  // extern "C"
