// din_attention: the rules of jindou/din_attention.h and the entry points.
#include "core/arguments.h"
#include "core/attention_rules.h"
#include "core/rules.h"
#include "core/run_plan.h"

namespace jindou::core {
namespace {

constexpr int64_t kMaxWidth = 256;  // of rows and of hidden layers

void check_width(Rules &rules, const char *name, int32_t value, int32_t multiple) {
  if (value >= multiple && value <= kMaxWidth && value % multiple == 0) return;
  rules.fail(JD_INVALID_ARGUMENT, name, "expected a multiple of %d in %d..%" PRId64 ", got %d", multiple, multiple, kMaxWidth, value);
}

jd_status check_description(const Context &context, jd_din_attention_desc &d) {
  if (d.out_dtype == 0) d.out_dtype = d.dtype;
  Rules rules(context);
  check_dtypes(rules, d.dtype, d.out_dtype, d.offset_dtype);
  check_width(rules, "dim", d.dim, 8);
  check_width(rules, "dim_v", d.dim_v, 8);
  check_width(rules, "hidden_1", d.hidden_1, 4);
  check_width(rules, "hidden_2", d.hidden_2, 4);
  rules.integer("activation", d.activation, JD_DIN_SIGMOID, JD_DIN_DICE);
  rules.flag("softmax", d.softmax);
  rules.finite("scale", d.scale);
  if (d.activation == JD_DIN_DICE) rules.finite_above_zero("dice_eps", d.dice_eps);
  rules.integer("bounds", d.bounds, JD_BOUNDS_STRICT, JD_BOUNDS_ZERO);
  rules.zero("reserved", d.reserved);
  rules.integer("num_latest", d.num_latest, 0, INT64_MAX);
  rules.integer("max_batch", d.max_batch, 1, kMaxBatch);
  rules.integer("max_candidates", d.max_candidates, 1, kMaxCandidates);
  rules.integer("max_history", d.max_history, 1, kMaxLength);
  if (d.num_latest == 0) d.num_latest = INT64_MAX;
  return rules.status();
}

void check_matrix(Rules &rules, const char *name, const jdb_tensor &t, int32_t dtype, int64_t rows, int64_t columns) {
  rules.tensor(name, t, dtype, {rows, columns});
  rules.aligned_rows(name, t);
}

void check_vector(Rules &rules, const char *name, const jdb_tensor &t, int64_t size) {
  rules.tensor(name, t, JD_F32, {size});
  rules.aligned_rows(name, t);
}

void check_arguments(Rules &rules, const Plan &plan, jdb_din_attention_args &a) {
  const jd_din_attention_desc &d = plan.desc.din_attention;
  check_matrix(rules, "candidates", a.candidates, d.dtype, kAny, d.dim);
  check_matrix(rules, "keys", a.keys, d.dtype, kAny, d.dim);
  if (rules.broken()) return;
  check_matrix(rules, "values", a.values, d.dtype, a.keys.shape[0], d.dim_v);
  check_offsets(rules, "candidate_offsets", a.candidate_offsets, d.offset_dtype, d.max_batch, &a.batch);
  rules.tensor("history_offsets", a.history_offsets, d.offset_dtype, {a.candidate_offsets.shape[0]});
  rules.contiguous_last("history_offsets", a.history_offsets);

  check_matrix(rules, "weight_1", a.weight_1, JD_F32, d.hidden_1, int64_t{4} * d.dim);
  check_vector(rules, "bias_1", a.bias_1, d.hidden_1);
  check_matrix(rules, "weight_2", a.weight_2, JD_F32, d.hidden_2, d.hidden_1);
  check_vector(rules, "bias_2", a.bias_2, d.hidden_2);
  check_matrix(rules, "weight_3", a.weight_3, JD_F32, 1, d.hidden_2);
  check_vector(rules, "bias_3", a.bias_3, 1);
  const bool slopes = d.activation != JD_DIN_SIGMOID, statistics = d.activation == JD_DIN_DICE;
  static constexpr const char *kReasons[] = {"the activation is JD_DIN_SIGMOID", "the activation is JD_DIN_PRELU",
                                             "the activation is JD_DIN_DICE"};
  const char *reason = kReasons[d.activation];
  const auto check_optional = [&](const char *name, const jdb_tensor &t, bool wanted, int64_t size) {
    rules.presence(name, t, wanted, reason);
    check_vector(rules, name, t, size);
  };
  check_optional("slope_1", a.slope_1, slopes, d.hidden_1);
  check_optional("mean_1", a.mean_1, statistics, d.hidden_1);
  check_optional("variance_1", a.variance_1, statistics, d.hidden_1);
  check_optional("slope_2", a.slope_2, slopes, d.hidden_2);
  check_optional("mean_2", a.mean_2, statistics, d.hidden_2);
  check_optional("variance_2", a.variance_2, statistics, d.hidden_2);

  check_matrix(rules, "out", a.out, d.out_dtype, a.candidates.shape[0], d.dim_v);
  rules.separate_elements("out", a.out);
  rules.apart("out", a.out,
              {{"candidates", a.candidates},
               {"candidate_offsets", a.candidate_offsets},
               {"keys", a.keys},
               {"values", a.values},
               {"history_offsets", a.history_offsets},
               {"weight_1", a.weight_1},
               {"bias_1", a.bias_1},
               {"slope_1", a.slope_1},
               {"mean_1", a.mean_1},
               {"variance_1", a.variance_1},
               {"weight_2", a.weight_2},
               {"bias_2", a.bias_2},
               {"slope_2", a.slope_2},
               {"mean_2", a.mean_2},
               {"variance_2", a.variance_2},
               {"weight_3", a.weight_3},
               {"bias_3", a.bias_3}});
}

}  // namespace
}  // namespace jindou::core

using namespace jindou::core;

extern "C" {

jd_status jd_din_attention_plan(jd_device device, const jd_din_attention_desc *desc, jd_plan *plan, jd_error *error) {
  return guarded(error, [&]() -> jd_status {
    return make_plan({error, "din_attention"}, JDB_OP_DIN_ATTENTION, device, desc, &Plan::Description::din_attention,
                     check_description, plan);
  });
}

jd_status jd_din_attention_run(jd_plan plan_handle, jd_stream stream_handle, const jd_din_attention_args *given, jd_error *error) {
  return run_plan("din_attention", JDB_OP_DIN_ATTENTION, plan_handle, stream_handle, given, error,
                  [&](auto &context, auto &plan, auto &stream, auto &args) -> jd_status {
    jdb_din_attention_args a;
    Arguments<18> tensors(context, *stream->device);
    tensors.required("candidates", args.candidates, &a.candidates);
    tensors.required("candidate_offsets", args.candidate_offsets, &a.candidate_offsets);
    tensors.required("keys", args.keys, &a.keys);
    tensors.required("values", args.values, &a.values);
    tensors.required("history_offsets", args.history_offsets, &a.history_offsets);
    tensors.required("weight_1", args.weight_1, &a.weight_1);
    tensors.required("bias_1", args.bias_1, &a.bias_1);
    tensors.optional("slope_1", args.slope_1, &a.slope_1);
    tensors.optional("mean_1", args.mean_1, &a.mean_1);
    tensors.optional("variance_1", args.variance_1, &a.variance_1);
    tensors.required("weight_2", args.weight_2, &a.weight_2);
    tensors.required("bias_2", args.bias_2, &a.bias_2);
    tensors.optional("slope_2", args.slope_2, &a.slope_2);
    tensors.optional("mean_2", args.mean_2, &a.mean_2);
    tensors.optional("variance_2", args.variance_2, &a.variance_2);
    tensors.required("weight_3", args.weight_3, &a.weight_3);
    tensors.required("bias_3", args.bias_3, &a.bias_3);
    tensors.required("out", args.out, &a.out);
    if (tensors.status() != JD_OK) return tensors.status();
    Rules rules(context);
    rules.zero("reserved", args.reserved);
    check_arguments(rules, *plan, a);
    if (rules.broken()) return rules.status();
    return stream->run(context, JDB_OP_DIN_ATTENTION, plan.get(), a, tensors.used);
  });
}

}  // extern "C"
