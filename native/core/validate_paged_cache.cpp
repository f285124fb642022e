// paged_append and paged_gather: the rules of jindou/paged_cache.h and the entry points.
#include "core/arguments.h"
#include "core/attention_rules.h"
#include "core/paged_rules.h"
#include "core/rules.h"
#include "core/run_plan.h"

namespace jindou::core {
namespace {

jd_status check_description(const Context &context, jd_paged_cache_desc &d) {
  Rules rules(context);
  rules.dtype("dtype", d.dtype, {JD_F32, JD_F16, JD_BF16});
  rules.dtype("cache_dtype", d.cache_dtype, {JD_F32, JD_F16, JD_BF16, JD_F8_E4M3, JD_I8});
  rules.dtype("offset_dtype", d.offset_dtype, {JD_I32, JD_I64});
  check_page_size(rules, "page_size", d.page_size);
  rules.integer("num_kv_heads", d.num_kv_heads, 1, kMaxHeads);
  check_cache_dim(rules, "head_dim_k", d.head_dim_k);
  check_cache_dim(rules, "head_dim_v", d.head_dim_v);
  rules.integer("bounds", d.bounds, JD_BOUNDS_STRICT, JD_BOUNDS_ZERO);
  rules.zero("reserved", d.reserved);
  rules.integer("max_batch", d.max_batch, 1, kMaxBatch);
  return rules.status();
}

// What is written shares memory with nothing else of the call.
void check_outputs(Rules &rules, std::initializer_list<Rules::Input> outputs, std::initializer_list<Rules::Input> inputs) {
  for (const Rules::Input &out : outputs) {
    rules.separate_elements(out.name, out.tensor);
    if (out.tensor.dtype) rules.apart(out.name, out.tensor, inputs);
    for (const Rules::Input &other : outputs) {
      if (&other > &out) rules.apart(out.name, out.tensor, {other});
    }
  }
}

void check_arguments(Rules &rules, const Plan &plan, jdb_paged_cache_args &a) {
  const jd_paged_cache_desc &d = plan.desc.paged_cache;
  check_rows(rules, "keys", a.keys, d.dtype, kAny, d.num_kv_heads, d.head_dim_k);
  if (rules.broken()) return;
  check_rows(rules, "values", a.values, d.dtype, a.keys.shape[0], d.num_kv_heads, d.head_dim_v);
  check_offsets(rules, "offsets", a.offsets, d.offset_dtype, d.max_batch, &a.batch);
  if (rules.broken()) return;
  check_paged_cache(rules, {a.key_pages, a.value_pages, a.page_table, a.seq_lens, a.key_scales, a.value_scales}, d.cache_dtype,
                    d.page_size, d.num_kv_heads, d.head_dim_k, d.head_dim_v, a.batch);
  if (rules.broken()) return;
  const Rules::Input keys{"keys", a.keys}, values{"values", a.values}, offsets{"offsets", a.offsets},
      key_pages{"key_pages", a.key_pages}, value_pages{"value_pages", a.value_pages}, table{"page_table", a.page_table},
      lengths{"seq_lens", a.seq_lens}, key_scales{"key_scales", a.key_scales}, value_scales{"value_scales", a.value_scales};
  if (plan.op == JDB_OP_PAGED_GATHER) {
    check_outputs(rules, {keys, values}, {offsets, key_pages, value_pages, table, lengths, key_scales, value_scales});
  } else if (d.cache_dtype == JD_I8) {
    check_outputs(rules, {key_pages, value_pages, key_scales, value_scales}, {keys, values, offsets, table, lengths});
  } else {
    check_outputs(rules, {key_pages, value_pages}, {keys, values, offsets, table, lengths, key_scales, value_scales});
  }
}

jd_status run_paged_cache(const char *name, int32_t op, jd_plan plan_handle, jd_stream stream_handle,
                          const jd_paged_cache_args *given, jd_error *error) {
  return run_plan(name, op, plan_handle, stream_handle, given, error,
                  [&](auto &context, auto &plan, auto &stream, auto &args) -> jd_status {
    jdb_paged_cache_args a;
    Arguments<9> tensors(context, *stream->device);
    tensors.required("keys", args.keys, &a.keys);
    tensors.required("values", args.values, &a.values);
    tensors.required("offsets", args.offsets, &a.offsets);
    tensors.required("key_pages", args.key_pages, &a.key_pages);
    tensors.required("value_pages", args.value_pages, &a.value_pages);
    tensors.required("page_table", args.page_table, &a.page_table);
    tensors.required("seq_lens", args.seq_lens, &a.seq_lens);
    tensors.optional("key_scales", args.key_scales, &a.key_scales);
    tensors.optional("value_scales", args.value_scales, &a.value_scales);
    if (tensors.status() != JD_OK) return tensors.status();
    Rules rules(context);
    rules.zero("reserved", args.reserved);
    check_arguments(rules, *plan, a);
    if (rules.broken()) return rules.status();
    return stream->run(context, op, plan.get(), a, tensors.used);
  });
}

}  // namespace
}  // namespace jindou::core

using namespace jindou::core;

extern "C" {

jd_status jd_paged_append_plan(jd_device device, const jd_paged_cache_desc *desc, jd_plan *plan, jd_error *error) {
  return guarded(error, [&]() -> jd_status {
    return make_plan({error, "paged_append"}, JDB_OP_PAGED_APPEND, device, desc, &Plan::Description::paged_cache,
                     check_description, plan);
  });
}

jd_status jd_paged_append_run(jd_plan plan, jd_stream stream, const jd_paged_cache_args *args, jd_error *error) {
  return run_paged_cache("paged_append", JDB_OP_PAGED_APPEND, plan, stream, args, error);
}

jd_status jd_paged_gather_plan(jd_device device, const jd_paged_cache_desc *desc, jd_plan *plan, jd_error *error) {
  return guarded(error, [&]() -> jd_status {
    return make_plan({error, "paged_gather"}, JDB_OP_PAGED_GATHER, device, desc, &Plan::Description::paged_cache,
                     check_description, plan);
  });
}

jd_status jd_paged_gather_run(jd_plan plan, jd_stream stream, const jd_paged_cache_args *args, jd_error *error) {
  return run_paged_cache("paged_gather", JDB_OP_PAGED_GATHER, plan, stream, args, error);
}

}  // extern "C"
