// softmax_attention and merge_attention_states: the rules of jindou/softmax_attention.h and the entry points.
#include "core/arguments.h"
#include "core/attention_rules.h"
#include "core/rules.h"
#include "core/run_plan.h"

namespace jindou::core {
namespace {

constexpr int64_t kMaxSoftmaxLength = 1 << 20;
constexpr int32_t kMaxT5Buckets = 1024;
constexpr int32_t kMaxT5Distance = 1 << 20;

// -- softmax_attention ------------------------------------------------------------------------------------------------------

void check_mask(Rules &rules, jd_softmax_attention_desc &d) {
  rules.integer("mask", d.mask, JD_MASK_NONE, JD_MASK_WINDOW);
  if (rules.broken()) return;
  if (d.mask == JD_MASK_WINDOW) {
    rules.integer("left", d.left, -1, INT32_MAX);
    rules.integer("right", d.right, -1, INT32_MAX);
  } else {  // to a backend every mask is a window
    d.left = -1;
    d.right = d.mask == JD_MASK_CAUSAL ? 0 : -1;
  }
  rules.integer("sink", d.sink, 0, INT32_MAX);
  rules.integer("prefix", d.prefix, 0, INT32_MAX);
  rules.integer("num_global", d.num_global, 0, INT32_MAX);
}

void check_t5(Rules &rules, const jd_softmax_attention_desc &d) {
  rules.flag("t5_bidirectional", d.t5_bidirectional);
  if (rules.broken()) return;
  rules.integer("t5_num_buckets", d.t5_num_buckets, d.t5_bidirectional ? 4 : 2, kMaxT5Buckets);
  if (!rules.broken() && d.t5_bidirectional && d.t5_num_buckets % 2 != 0) {
    rules.fail(JD_INVALID_ARGUMENT, "t5_num_buckets", "expected an even number (half for each direction), got %d",
               d.t5_num_buckets);
  }
  if (rules.broken()) return;
  const int32_t exact = d.t5_num_buckets / (d.t5_bidirectional ? 4 : 2);
  rules.integer("t5_max_distance", d.t5_max_distance, exact + 1, kMaxT5Distance);
}

jd_status check_description(const Context &context, jd_softmax_attention_desc &d) {
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
  rules.head_dim("head_dim_qk", d.head_dim_qk);
  rules.head_dim("head_dim_v", d.head_dim_v);
  rules.finite("scale", d.scale);
  rules.finite_at_least("softcap", d.softcap, 0);
  check_mask(rules, d);
  rules.integer("bias", d.bias, JD_BIAS_NONE, JD_BIAS_DENSE);
  if (d.bias == JD_BIAS_T5) check_t5(rules, d);
  rules.integer("bounds", d.bounds, JD_BOUNDS_STRICT, JD_BOUNDS_ZERO);
  rules.zero("reserved", d.reserved);
  rules.integer("max_batch", d.max_batch, 1, kMaxBatch);
  rules.integer("max_queries", d.max_queries, 1, kMaxSoftmaxLength);
  rules.integer("max_keys", d.max_keys, 1, kMaxSoftmaxLength);
  return rules.status();
}

// The tensor of the plan's bias, and of no other.
void check_bias(Rules &rules, const jd_softmax_attention_desc &d, const jdb_softmax_attention_args &a) {
  const auto wanted = [&](const char *name, const jdb_tensor &t, int32_t bias) {
    rules.presence(name, t, d.bias == bias, d.bias == bias ? "the bias of the plan" : "the plan has another bias, or none");
    rules.contiguous_last(name, t);
  };
  wanted("alibi_slopes", a.alibi_slopes, JD_BIAS_ALIBI);
  rules.tensor("alibi_slopes", a.alibi_slopes, JD_F32, {d.num_heads});
  wanted("t5_bias", a.t5_bias, JD_BIAS_T5);
  rules.tensor("t5_bias", a.t5_bias, JD_F32, {d.t5_num_buckets, d.num_heads});
  wanted("bias", a.bias, JD_BIAS_DENSE);
  if (a.bias.rank == 4) {
    rules.tensor("bias", a.bias, JD_F32, {a.batch, d.num_heads, kAny, kAny});
  } else {
    rules.tensor("bias", a.bias, JD_F32, {d.num_heads, kAny, kAny});
  }
}

void check_arguments(Rules &rules, const Plan &plan, jdb_softmax_attention_args &a) {
  const jd_softmax_attention_desc &d = plan.desc.softmax_attention;
  check_rows(rules, "queries", a.queries, d.dtype, kAny, d.num_heads, d.head_dim_qk);
  check_offsets(rules, "q_offsets", a.q_offsets, d.offset_dtype, d.max_batch, &a.batch);
  check_rows(rules, "keys", a.keys, d.dtype, kAny, d.num_kv_heads, d.head_dim_qk);
  if (rules.broken()) return;
  const int64_t queries = a.queries.shape[0];
  check_rows(rules, "values", a.values, d.dtype, a.keys.shape[0], d.num_kv_heads, d.head_dim_v);
  rules.tensor("k_offsets", a.k_offsets, d.offset_dtype, {a.batch + 1});
  rules.contiguous_last("k_offsets", a.k_offsets);
  check_bias(rules, d, a);
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
                 {"keys", a.keys},
                 {"values", a.values},
                 {"k_offsets", a.k_offsets},
                 {"alibi_slopes", a.alibi_slopes},
                 {"t5_bias", a.t5_bias},
                 {"bias", a.bias}});
  }
  if (a.lse.dtype != 0) rules.apart("lse", a.lse, {{"out", a.out}});
}

// -- merge_attention_states -------------------------------------------------------------------------------------------------

void check_state(Rules &rules, const char *out_name, const jdb_tensor &out, const char *lse_name, const jdb_tensor &lse,
                 int32_t dtype, const int64_t (&shape)[3]) {
  rules.tensor(out_name, out, dtype, {shape[0], shape[1], shape[2]});
  rules.aligned_rows(out_name, out);
  rules.tensor(lse_name, lse, JD_F32, {shape[0], shape[1]});
  rules.contiguous_last(lse_name, lse);
}

void check_arguments(Rules &rules, const jdb_merge_attention_states_args &a) {
  const int32_t dtype = a.out_a.dtype;
  rules.dtype("out_a", dtype, {JD_F32, JD_F16, JD_BF16});
  rules.tensor("out_a", a.out_a, dtype, {kAny, kAny, kAny});
  rules.column_multiple("out_a", a.out_a, 32, 32, 256);
  if (rules.broken()) return;
  const int64_t shape[3] = {a.out_a.shape[0], a.out_a.shape[1], a.out_a.shape[2]};
  check_state(rules, "out_a", a.out_a, "lse_a", a.lse_a, dtype, shape);
  check_state(rules, "out_b", a.out_b, "lse_b", a.lse_b, dtype, shape);
  if (dtype == JD_F32) {
    rules.dtype("out", a.out.dtype, {JD_F32, JD_F16, JD_BF16});
  } else {
    rules.dtype("out", a.out.dtype, {dtype, JD_F32});
  }
  check_state(rules, "out", a.out, "lse", a.lse, a.out.dtype, shape);
  rules.separate_elements("out", a.out);
  rules.apart_or_same("out", a.out, "out_a", a.out_a);
  rules.apart_or_same("out", a.out, "out_b", a.out_b);
  rules.apart("out", a.out, {{"lse_a", a.lse_a}, {"lse_b", a.lse_b}});
  if (a.lse.dtype == 0) return;
  rules.separate_elements("lse", a.lse);
  rules.apart_or_same("lse", a.lse, "lse_a", a.lse_a);
  rules.apart_or_same("lse", a.lse, "lse_b", a.lse_b);
  rules.apart("lse", a.lse, {{"out_a", a.out_a}, {"out_b", a.out_b}, {"out", a.out}});
}

}  // namespace
}  // namespace jindou::core

using namespace jindou::core;

extern "C" {

jd_status jd_softmax_attention_plan(jd_device device, const jd_softmax_attention_desc *desc, jd_plan *plan,
                                    jd_error *error) {
  return guarded(error, [&]() -> jd_status {
    return make_plan({error, "softmax_attention"}, JDB_OP_SOFTMAX_ATTENTION, device, desc,
                     &Plan::Description::softmax_attention, check_description, plan);
  });
}

jd_status jd_softmax_attention_run(jd_plan plan_handle, jd_stream stream_handle, const jd_softmax_attention_args *given,
                                   jd_error *error) {
  return run_plan("softmax_attention", JDB_OP_SOFTMAX_ATTENTION, plan_handle, stream_handle, given, error,
                  [&](auto &context, auto &plan, auto &stream, auto &args) -> jd_status {
    jdb_softmax_attention_args a;
    Arguments<10> tensors(context, *stream->device);
    tensors.required("queries", args.queries, &a.queries);
    tensors.required("q_offsets", args.q_offsets, &a.q_offsets);
    tensors.required("keys", args.keys, &a.keys);
    tensors.required("values", args.values, &a.values);
    tensors.required("k_offsets", args.k_offsets, &a.k_offsets);
    tensors.optional("alibi_slopes", args.alibi_slopes, &a.alibi_slopes);
    tensors.optional("t5_bias", args.t5_bias, &a.t5_bias);
    tensors.optional("bias", args.bias, &a.bias);
    tensors.required("out", args.out, &a.out);
    tensors.optional("lse", args.lse, &a.lse);
    if (tensors.status() != JD_OK) return tensors.status();
    Rules rules(context);
    rules.zero("reserved", args.reserved);
    check_arguments(rules, *plan, a);
    if (rules.broken()) return rules.status();
    return stream->run(context, JDB_OP_SOFTMAX_ATTENTION, plan.get(), a, tensors.used);
  });
}

jd_status jd_merge_attention_states(jd_stream stream_handle, const jd_merge_attention_states_args *given, jd_error *error) {
  return guarded(error, [&]() -> jd_status {
    const Context context{error, "merge_attention_states"};
    Ref<Stream> stream;
    DeviceUse use;
    if (const jd_status status = use_stream(context, stream_handle, &stream, &use)) return status;
    jd_merge_attention_states_args args;
    if (const jd_status status = read_struct(context, "args", given, &args)) return status;
    jdb_merge_attention_states_args a;
    Arguments<6> tensors(context, *stream->device);
    tensors.required("out_a", args.out_a, &a.out_a);
    tensors.required("lse_a", args.lse_a, &a.lse_a);
    tensors.required("out_b", args.out_b, &a.out_b);
    tensors.required("lse_b", args.lse_b, &a.lse_b);
    tensors.required("out", args.out, &a.out);
    tensors.optional("lse", args.lse, &a.lse);
    if (tensors.status() != JD_OK) return tensors.status();
    Rules rules(context);
    rules.zero("reserved", args.reserved);
    check_arguments(rules, a);
    if (rules.broken()) return rules.status();
    return stream->run(context, JDB_OP_MERGE_ATTENTION_STATES, nullptr, a, tensors.used);
  });
}

}  // extern "C"
