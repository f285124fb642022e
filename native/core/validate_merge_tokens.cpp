// merge_tokens: the rules of jindou/merge_tokens.h and the entry point.
#include <cinttypes>

#include "core/arguments.h"
#include "core/dtype.h"
#include "core/rules.h"
#include "core/stream.h"

namespace jindou::core {
namespace {

constexpr int32_t kMaxMerged = 1024;
constexpr int64_t kMaxRows = int64_t{1} << 31;  // of x, and so of out
constexpr int64_t kMaxRowBytes = 1 << 20;       // of x

void check_row_bytes(Rules &rules, const jdb_tensor &x) {
  if (rules.broken()) return;
  const int64_t size = element_size(x.dtype), columns = x.shape[1];
  if (columns >= 1 && columns <= kMaxRowBytes / size && columns * size % 16 == 0) return;
  rules.fail(JD_INVALID_ARGUMENT, "x", "expected rows of a multiple of 16 bytes up to %" PRId64 ", got %" PRId64 " elements of %s",
             kMaxRowBytes, columns, jd_dtype_name(x.dtype));
}

void check_arguments(Rules &rules, jdb_merge_tokens_args &a) {
  rules.integer("k", a.k, 1, kMaxMerged);
  rules.integer("bounds", a.bounds, JD_BOUNDS_STRICT, JD_BOUNDS_ZERO);
  rules.tensor("x", a.x, a.x.dtype, {kAny, kAny});
  check_row_bytes(rules, a.x);
  rules.aligned_rows("x", a.x);
  rules.dtype("offsets", a.offsets.dtype, {JD_I32, JD_I64});
  rules.tensor("offsets", a.offsets, a.offsets.dtype, {kAny});
  rules.contiguous_last("offsets", a.offsets);
  if (rules.broken()) return;
  a.batch = a.offsets.shape[0] - 1;
  if (a.batch < 0) return rules.fail(JD_INVALID_ARGUMENT, "offsets", "expected B + 1 offsets, got none");
  if (a.x.shape[0] >= kMaxRows) {
    return rules.fail(JD_INVALID_ARGUMENT, "x", "expected fewer than %" PRId64 " rows, got %" PRId64, kMaxRows, a.x.shape[0]);
  }
  rules.tensor("out_offsets", a.out_offsets, a.offsets.dtype, {a.batch + 1});
  rules.contiguous_last("out_offsets", a.out_offsets);
  rules.tensor("out", a.out, a.x.dtype, {kAny, a.k * a.x.shape[1]});
  rules.aligned_rows("out", a.out);
  rules.separate_elements("out", a.out);
  rules.apart("out", a.out, {{"x", a.x}, {"offsets", a.offsets}, {"out_offsets", a.out_offsets}});
}

}  // namespace
}  // namespace jindou::core

using namespace jindou::core;

extern "C" {

jd_status jd_merge_tokens(jd_stream stream_handle, const jd_merge_tokens_args *given, jd_error *error) {
  return guarded(error, [&]() -> jd_status {
    const Context context{error, "merge_tokens"};
    Ref<Stream> stream;
    DeviceUse use;
    if (const jd_status status = use_stream(context, stream_handle, &stream, &use)) return status;
    jd_merge_tokens_args args;
    if (const jd_status status = read_struct(context, "args", given, &args)) return status;
    jdb_merge_tokens_args a{};
    a.k = args.k;
    a.bounds = args.bounds;
    Arguments<4> tensors(context, *stream->device);
    tensors.required("x", args.x, &a.x);
    tensors.required("offsets", args.offsets, &a.offsets);
    tensors.required("out", args.out, &a.out);
    tensors.required("out_offsets", args.out_offsets, &a.out_offsets);
    if (tensors.status() != JD_OK) return tensors.status();
    Rules rules(context);
    rules.zero("reserved", args.reserved);
    check_arguments(rules, a);
    if (rules.broken()) return rules.status();
    return stream->run(context, JDB_OP_MERGE_TOKENS, nullptr, a, tensors.used);
  });
}

}  // extern "C"
