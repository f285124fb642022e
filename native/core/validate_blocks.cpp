// linear, layer_norm, l2_normalize: the rules of jindou/blocks.h and the entry points. No plans: rank 2.
#include "core/arguments.h"
#include "core/rules.h"
#include "core/stream.h"

namespace jindou::core {
namespace {

constexpr int64_t kMaxNormWidth = 8192;

void check_matrix(Rules &rules, const char *name, const jdb_tensor &t, int64_t rows, int64_t columns) {
  rules.tensor(name, t, JD_F32, {rows, columns});
  rules.aligned_rows(name, t);
}

void check_vector(Rules &rules, const char *name, const jdb_tensor &t, int64_t size) {
  rules.tensor(name, t, JD_F32, {size});
  rules.aligned_rows(name, t);
}

// The input whose columns the rest follows.
void check_input(Rules &rules, const jdb_tensor &x, int64_t most_columns, int32_t dtype = JD_F32) {
  rules.tensor("x", x, dtype, {kAny, kAny});
  rules.column_multiple("x", x, 4, 4, most_columns);
  rules.aligned_rows("x", x);
}

void check(Rules &rules, const jdb_linear_args &a) {
  rules.integer("activation", a.activation, JD_LINEAR_IDENTITY, JD_LINEAR_SILU);
  check_input(rules, a.x, INT64_MAX);
  if (rules.broken()) return;
  check_matrix(rules, "weight", a.weight, kAny, a.x.shape[1]);
  if (rules.broken()) return;
  const int64_t rows = a.x.shape[0], columns = a.weight.shape[0];
  if (columns % 4 != 0 || columns < 4) {
    return rules.fail(JD_INVALID_ARGUMENT, "weight", "expected a multiple of 4 rows (out), at least 4, got shape %s",
                      ShapeText(a.weight.shape, 2).text);
  }
  check_vector(rules, "bias", a.bias, columns);
  check_matrix(rules, "residual", a.residual, rows, columns);
  check_matrix(rules, "out", a.out, rows, columns);
  rules.separate_elements("out", a.out);
  rules.apart("out", a.out, {{"x", a.x}, {"weight", a.weight}, {"bias", a.bias}});
  rules.apart_or_same("out", a.out, "residual", a.residual);
}

void check(Rules &rules, const jdb_layer_norm_args &a) {
  rules.finite_at_least("eps", a.eps, 0);
  check_input(rules, a.x, kMaxNormWidth);
  if (rules.broken()) return;
  const int64_t rows = a.x.shape[0], width = a.x.shape[1];
  check_vector(rules, "weight", a.weight, width);
  check_vector(rules, "bias", a.bias, width);
  check_matrix(rules, "multiplier", a.multiplier, rows, width);
  check_matrix(rules, "out", a.out, rows, width);
  rules.separate_elements("out", a.out);
  rules.apart_or_same("out", a.out, "x", a.x);
  rules.apart("out", a.out, {{"weight", a.weight}, {"bias", a.bias}, {"multiplier", a.multiplier}});
}

void check(Rules &rules, const jdb_l2_normalize_args &a) {
  rules.finite_above_zero("eps", a.eps);
  rules.dtype("x", a.x.dtype, {JD_F32, JD_F16, JD_BF16});
  check_input(rules, a.x, kMaxNormWidth, a.x.dtype);
  rules.dtype("out", a.out.dtype, {JD_F32, JD_F16, JD_BF16});
  if (rules.broken()) return;
  rules.tensor("out", a.out, a.out.dtype, {a.x.shape[0], a.x.shape[1]});
  rules.aligned_rows("out", a.out);
  rules.separate_elements("out", a.out);
  rules.apart_or_same("out", a.out, "x", a.x);
}

}  // namespace
}  // namespace jindou::core

using namespace jindou::core;

extern "C" {

jd_status jd_linear(jd_stream stream_handle, const jd_linear_args *given, jd_error *error) {
  return guarded(error, [&]() -> jd_status {
    const Context context{error, "linear"};
    Ref<Stream> stream;
    DeviceUse use;
    if (const jd_status status = use_stream(context, stream_handle, &stream, &use)) return status;
    jd_linear_args args;
    if (const jd_status status = read_struct(context, "args", given, &args)) return status;
    jdb_linear_args a;
    a.activation = args.activation;
    Arguments<5> tensors(context, *stream->device);
    tensors.required("x", args.x, &a.x);
    tensors.required("weight", args.weight, &a.weight);
    tensors.optional("bias", args.bias, &a.bias);
    tensors.optional("residual", args.residual, &a.residual);
    tensors.required("out", args.out, &a.out);
    if (tensors.status() != JD_OK) return tensors.status();
    Rules rules(context);
    check(rules, a);
    if (rules.broken()) return rules.status();
    return stream->run(context, JDB_OP_LINEAR, nullptr, a, tensors.used);
  });
}

jd_status jd_layer_norm(jd_stream stream_handle, const jd_layer_norm_args *given, jd_error *error) {
  return guarded(error, [&]() -> jd_status {
    const Context context{error, "layer_norm"};
    Ref<Stream> stream;
    DeviceUse use;
    if (const jd_status status = use_stream(context, stream_handle, &stream, &use)) return status;
    jd_layer_norm_args args;
    if (const jd_status status = read_struct(context, "args", given, &args)) return status;
    jdb_layer_norm_args a;
    a.eps = args.eps;
    Arguments<5> tensors(context, *stream->device);
    tensors.required("x", args.x, &a.x);
    tensors.required("weight", args.weight, &a.weight);
    tensors.required("bias", args.bias, &a.bias);
    tensors.optional("multiplier", args.multiplier, &a.multiplier);
    tensors.required("out", args.out, &a.out);
    if (tensors.status() != JD_OK) return tensors.status();
    Rules rules(context);
    check(rules, a);
    if (rules.broken()) return rules.status();
    return stream->run(context, JDB_OP_LAYER_NORM, nullptr, a, tensors.used);
  });
}

jd_status jd_l2_normalize(jd_stream stream_handle, const jd_l2_normalize_args *given, jd_error *error) {
  return guarded(error, [&]() -> jd_status {
    const Context context{error, "l2_normalize"};
    Ref<Stream> stream;
    DeviceUse use;
    if (const jd_status status = use_stream(context, stream_handle, &stream, &use)) return status;
    jd_l2_normalize_args args;
    if (const jd_status status = read_struct(context, "args", given, &args)) return status;
    jdb_l2_normalize_args a;
    a.eps = args.eps;
    Arguments<2> tensors(context, *stream->device);
    tensors.required("x", args.x, &a.x);
    tensors.required("out", args.out, &a.out);
    if (tensors.status() != JD_OK) return tensors.status();
    Rules rules(context);
    check(rules, a);
    if (rules.broken()) return rules.status();
    return stream->run(context, JDB_OP_L2_NORMALIZE, nullptr, a, tensors.used);
  });
}

}  // extern "C"
