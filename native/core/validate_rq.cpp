// rq_encode, rq_decode: the rules of jindou/rq.h and the entry points.
#include "core/arguments.h"
#include "core/attention_rules.h"
#include "core/rules.h"
#include "core/run_plan.h"

namespace jindou::core {
namespace {

constexpr int64_t kMaxDim = 1024;
constexpr int64_t kMaxLevels = 64;
constexpr int64_t kMaxCodes = 65536;

jd_status check_description(const Context &context, jd_rq_encode_desc &d) {
  Rules rules(context);
  rules.dtype("dtype", d.dtype, {JD_F32, JD_F16, JD_BF16});
  if (!rules.broken() && (d.dim < 4 || d.dim > kMaxDim || d.dim % 4 != 0)) {
    rules.fail(JD_INVALID_ARGUMENT, "dim", "expected a multiple of 4 in 4..%" PRId64 ", got %d", kMaxDim, d.dim);
  }
  rules.integer("num_levels", d.num_levels, 1, kMaxLevels);
  rules.integer("num_codes", d.num_codes, 1, kMaxCodes);
  rules.zero("reserved", d.reserved);
  return rules.status();
}

void check_codes(Rules &rules, const jdb_tensor &codes, int64_t rows, int64_t levels) {
  rules.tensor("codes", codes, JD_I32, {rows, levels});
  rules.contiguous_last("codes", codes);
}

void check_arguments(Rules &rules, const jd_rq_encode_desc &d, const jdb_rq_encode_args &a) {
  rules.tensor("x", a.x, d.dtype, {kAny, d.dim});
  rules.aligned_rows("x", a.x);
  rules.tensor("codebooks", a.codebooks, JD_F32, {d.num_levels, d.num_codes, d.dim});
  rules.aligned_rows("codebooks", a.codebooks);
  if (rules.broken()) return;
  const int64_t rows = a.x.shape[0];
  check_codes(rules, a.codes, rows, d.num_levels);
  rules.separate_elements("codes", a.codes);
  rules.tensor("residual_norm", a.residual_norm, JD_F32, {rows});
  rules.contiguous_last("residual_norm", a.residual_norm);
  rules.apart("codes", a.codes, {{"x", a.x}, {"codebooks", a.codebooks}});
  if (a.residual_norm.dtype != 0) {
    rules.apart("residual_norm", a.residual_norm, {{"x", a.x}, {"codebooks", a.codebooks}, {"codes", a.codes}});
  }
}

void check_arguments(Rules &rules, const jdb_rq_decode_args &a) {
  rules.integer("bounds", a.bounds, JD_BOUNDS_STRICT, JD_BOUNDS_TRUST);
  rules.tensor("codebooks", a.codebooks, JD_F32, {kAny, kAny, kAny});
  rules.column_multiple("codebooks", a.codebooks, 4, 4, kMaxDim);
  rules.aligned_rows("codebooks", a.codebooks);
  if (rules.broken()) return;
  const int64_t levels = a.codebooks.shape[0], codes = a.codebooks.shape[1], dim = a.codebooks.shape[2];
  if (levels < 1 || levels > kMaxLevels || codes < 1 || codes > kMaxCodes) {
    return rules.fail(JD_INVALID_ARGUMENT, "codebooks", "expected 1..%" PRId64 " levels of 1..%" PRId64 " codes, got shape %s",
                      kMaxLevels, kMaxCodes, ShapeText(a.codebooks.shape, 3).text);
  }
  check_codes(rules, a.codes, kAny, levels);
  if (rules.broken()) return;
  rules.dtype("out", a.out.dtype, {JD_F32, JD_F16, JD_BF16});
  rules.tensor("out", a.out, a.out.dtype, {a.codes.shape[0], dim});
  rules.aligned_rows("out", a.out);
  rules.separate_elements("out", a.out);
  rules.apart("out", a.out, {{"codes", a.codes}, {"codebooks", a.codebooks}});
}

}  // namespace
}  // namespace jindou::core

using namespace jindou::core;

extern "C" {

jd_status jd_rq_encode_plan(jd_device device, const jd_rq_encode_desc *desc, jd_plan *plan, jd_error *error) {
  return guarded(error, [&]() -> jd_status {
    return make_plan({error, "rq_encode"}, JDB_OP_RQ_ENCODE, device, desc, &Plan::Description::rq_encode, check_description,
                     plan);
  });
}

jd_status jd_rq_encode_run(jd_plan plan_handle, jd_stream stream_handle, const jd_rq_encode_args *given, jd_error *error) {
  return run_plan("rq_encode", JDB_OP_RQ_ENCODE, plan_handle, stream_handle, given, error,
                  [&](auto &context, auto &plan, auto &stream, auto &args) -> jd_status {
    jdb_rq_encode_args a;
    Arguments<4> tensors(context, *stream->device);
    tensors.required("x", args.x, &a.x);
    tensors.required("codebooks", args.codebooks, &a.codebooks);
    tensors.required("codes", args.codes, &a.codes);
    tensors.optional("residual_norm", args.residual_norm, &a.residual_norm);
    if (tensors.status() != JD_OK) return tensors.status();
    Rules rules(context);
    rules.zero("reserved", args.reserved);
    check_arguments(rules, plan->desc.rq_encode, a);
    if (rules.broken()) return rules.status();
    return stream->run(context, JDB_OP_RQ_ENCODE, plan.get(), a, tensors.used);
  });
}

jd_status jd_rq_decode(jd_stream stream_handle, const jd_rq_decode_args *given, jd_error *error) {
  return guarded(error, [&]() -> jd_status {
    const Context context{error, "rq_decode"};
    Ref<Stream> stream;
    DeviceUse use;
    if (const jd_status status = use_stream(context, stream_handle, &stream, &use)) return status;
    jd_rq_decode_args args;
    if (const jd_status status = read_struct(context, "args", given, &args)) return status;
    jdb_rq_decode_args a;
    a.bounds = args.bounds;
    Arguments<3> tensors(context, *stream->device);
    tensors.required("codes", args.codes, &a.codes);
    tensors.required("codebooks", args.codebooks, &a.codebooks);
    tensors.required("out", args.out, &a.out);
    if (tensors.status() != JD_OK) return tensors.status();
    Rules rules(context);
    check_arguments(rules, a);
    if (rules.broken()) return rules.status();
    return stream->run(context, JDB_OP_RQ_DECODE, nullptr, a, tensors.used);
  });
}

}  // extern "C"
