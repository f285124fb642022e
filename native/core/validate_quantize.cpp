// quantize_rows, dequantize_rows: the rules of jindou/quantize.h and the entry points. No plans.
#include "core/arguments.h"
#include "core/row_formats.h"
#include "core/rules.h"
#include "core/stream.h"
#include "core/table_rules.h"

namespace jindou::core {
namespace {

void check_format(Rules &rules, int32_t format) { rules.integer("format", format, JD_ROWS_INT8, JD_ROWS_E4M3); }

// Numbers [n, D].
void check_numbers(Rules &rules, const char *name, const jdb_tensor &t) {
  rules.dtype(name, t.dtype, {JD_F32, JD_F16, JD_BF16});
  rules.tensor(name, t, t.dtype, {kAny, kAny});
  rules.column_multiple(name, t, 4, 4, kMaxTableDim);
  rules.aligned_rows(name, t);
}

// Codes of numbers [n, D].
void check_codes(Rules &rules, const jdb_tensor &rows, int32_t format, const jdb_tensor &numbers) {
  rules.tensor("rows", rows, JD_U8, {numbers.shape[0], kAny});
  rules.contiguous_last("rows", rows);
  if (rules.broken()) return;
  const int64_t least = row_layout(format, numbers.shape[1]).row_bytes;
  if (rows.shape[1] < least) {
    rules.fail(JD_INVALID_ARGUMENT, "rows", "expected rows of at least %" PRId64 " bytes (D = %" PRId64 ", format = %d), got shape %s",
               least, numbers.shape[1], format, ShapeText(rows.shape, rows.rank).text);
  }
}

}  // namespace
}  // namespace jindou::core

using namespace jindou::core;

extern "C" {

jd_status jd_quantize_rows(jd_stream stream_handle, const jd_quantize_rows_args *given, jd_error *error) {
  return guarded(error, [&]() -> jd_status {
    const Context context{error, "quantize_rows"};
    Ref<Stream> stream;
    DeviceUse use;
    if (const jd_status status = use_stream(context, stream_handle, &stream, &use)) return status;
    jd_quantize_rows_args args;
    if (const jd_status status = read_struct(context, "args", given, &args)) return status;
    jdb_quantize_rows_args a;
    a.format = args.format;
    a.bounds = args.bounds;
    Arguments<2> tensors(context, *stream->device);
    tensors.required("x", args.x, &a.numbers);
    tensors.required("rows", args.rows, &a.rows);
    if (tensors.status() != JD_OK) return tensors.status();
    Rules rules(context);
    rules.zero("reserved", args.reserved);
    check_format(rules, a.format);
    rules.integer("bounds", a.bounds, JD_BOUNDS_STRICT, JD_BOUNDS_TRUST);
    check_numbers(rules, "x", a.numbers);
    if (!rules.broken()) check_codes(rules, a.rows, a.format, a.numbers);
    rules.separate_elements("rows", a.rows);
    rules.apart("rows", a.rows, {{"x", a.numbers}});
    if (rules.broken()) return rules.status();
    return stream->run(context, JDB_OP_QUANTIZE_ROWS, nullptr, a, tensors.used);
  });
}

jd_status jd_dequantize_rows(jd_stream stream_handle, const jd_dequantize_rows_args *given, jd_error *error) {
  return guarded(error, [&]() -> jd_status {
    const Context context{error, "dequantize_rows"};
    Ref<Stream> stream;
    DeviceUse use;
    if (const jd_status status = use_stream(context, stream_handle, &stream, &use)) return status;
    jd_dequantize_rows_args args;
    if (const jd_status status = read_struct(context, "args", given, &args)) return status;
    jdb_quantize_rows_args a;
    a.format = args.format;
    a.bounds = JD_BOUNDS_TRUST;
    Arguments<2> tensors(context, *stream->device);
    tensors.required("rows", args.rows, &a.rows);
    tensors.required("out", args.out, &a.numbers);
    if (tensors.status() != JD_OK) return tensors.status();
    Rules rules(context);
    check_format(rules, a.format);
    check_numbers(rules, "out", a.numbers);
    if (!rules.broken()) check_codes(rules, a.rows, a.format, a.numbers);
    rules.separate_elements("out", a.numbers);
    rules.apart("out", a.numbers, {{"rows", a.rows}});
    if (rules.broken()) return rules.status();
    return stream->run(context, JDB_OP_DEQUANTIZE_ROWS, nullptr, a, tensors.used);
  });
}

}  // extern "C"
