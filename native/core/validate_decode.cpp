// decode_attention: the rules of jindou/decode.h and the entry points.
#include "core/arguments.h"
#include "core/attention_rules.h"
#include "core/paged_rules.h"
#include "core/rules.h"
#include "core/run_plan.h"

namespace jindou::core {
namespace {

constexpr int64_t kMaxDecodeQueries = 16;

jd_status check_description(const Context &context, jd_decode_attention_desc &d) {
  if (d.out_dtype == 0) d.out_dtype = d.dtype;
  if (d.cache_dtype == 0) d.cache_dtype = d.dtype;
  if (d.num_kv_heads == 0) d.num_kv_heads = d.num_heads;
  Rules rules(context);
  rules.dtype("dtype", d.dtype, {JD_F32, JD_F16, JD_BF16});
  if (rules.broken()) return rules.status();
  if (d.dtype != JD_F32) {
    rules.dtype("out_dtype", d.out_dtype, {d.dtype, JD_F32});
  } else {
    rules.dtype("out_dtype", d.out_dtype, {JD_F32});
  }
  rules.dtype("cache_dtype", d.cache_dtype, {d.dtype, JD_F8_E4M3, JD_I8});
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
  rules.integer("bounds", d.bounds, JD_BOUNDS_STRICT, JD_BOUNDS_ZERO);
  rules.integer("max_queries", d.max_queries, 1, kMaxDecodeQueries);
  rules.integer("max_batch", d.max_batch, 1, kMaxBatch);
  rules.integer("max_seq_len", d.max_seq_len, 1, kMaxLength);
  return rules.status();
}

void check_arguments(Rules &rules, const Plan &plan, jdb_decode_attention_args &a) {
  const jd_decode_attention_desc &d = plan.desc.decode_attention;
  check_rows(rules, "queries", a.queries, d.dtype, kAny, d.num_heads, d.head_dim_qk);
  if (rules.broken()) return;
  const int64_t queries = a.queries.shape[0];
  check_offsets(rules, "q_offsets", a.q_offsets, d.offset_dtype, d.max_batch, &a.batch);
  if (rules.broken()) return;
  if (a.key_pages.rank == 4) check_page_size(rules, "key_pages", a.key_pages.shape[1]);
  check_paged_cache(rules, {a.key_pages, a.value_pages, a.page_table, a.seq_lens, a.key_scales, a.value_scales}, d.cache_dtype,
                    a.key_pages.rank == 4 ? a.key_pages.shape[1] : kAny, d.num_kv_heads, d.head_dim_qk, d.head_dim_v, a.batch);
  check_rows(rules, "out", a.out, d.out_dtype, queries, d.num_heads, d.head_dim_v);
  rules.separate_elements("out", a.out);
  rules.tensor("lse", a.lse, JD_F32, {queries, d.num_heads});
  rules.contiguous_last("lse", a.lse);
  rules.separate_elements("lse", a.lse);
  for (const Rules::Input &out : {Rules::Input{"out", a.out}, {"lse", a.lse}}) {
    if (out.tensor.dtype == 0) continue;
    rules.apart(out.name, out.tensor,
                {{"queries", a.queries},
                 {"q_offsets", a.q_offsets},
                 {"key_pages", a.key_pages},
                 {"value_pages", a.value_pages},
                 {"page_table", a.page_table},
                 {"seq_lens", a.seq_lens},
                 {"key_scales", a.key_scales},
                 {"value_scales", a.value_scales}});
  }
  if (a.lse.dtype != 0) rules.apart("lse", a.lse, {{"out", a.out}});
}

}  // namespace
}  // namespace jindou::core

using namespace jindou::core;

extern "C" {

jd_status jd_decode_attention_plan(jd_device device, const jd_decode_attention_desc *desc, jd_plan *plan, jd_error *error) {
  return guarded(error, [&]() -> jd_status {
    return make_plan({error, "decode_attention"}, JDB_OP_DECODE_ATTENTION, device, desc,
                     &Plan::Description::decode_attention, check_description, plan);
  });
}

jd_status jd_decode_attention_run(jd_plan plan_handle, jd_stream stream_handle, const jd_decode_attention_args *given,
                                  jd_error *error) {
  return run_plan("decode_attention", JDB_OP_DECODE_ATTENTION, plan_handle, stream_handle, given, error,
                  [&](auto &context, auto &plan, auto &stream, auto &args) -> jd_status {
    jdb_decode_attention_args a;
    Arguments<10> tensors(context, *stream->device);
    tensors.required("queries", args.queries, &a.queries);
    tensors.required("q_offsets", args.q_offsets, &a.q_offsets);
    tensors.required("key_pages", args.key_pages, &a.key_pages);
    tensors.required("value_pages", args.value_pages, &a.value_pages);
    tensors.required("page_table", args.page_table, &a.page_table);
    tensors.required("seq_lens", args.seq_lens, &a.seq_lens);
    tensors.optional("key_scales", args.key_scales, &a.key_scales);
    tensors.optional("value_scales", args.value_scales, &a.value_scales);
    tensors.required("out", args.out, &a.out);
    tensors.optional("lse", args.lse, &a.lse);
    if (tensors.status() != JD_OK) return tensors.status();
    Rules rules(context);
    rules.zero("reserved", args.reserved);
    check_arguments(rules, *plan, a);
    if (rules.broken()) return rules.status();
    return stream->run(context, JDB_OP_DECODE_ATTENTION, plan.get(), a, tensors.used);
  });
}

}  // extern "C"
