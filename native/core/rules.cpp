#include "core/rules.h"

#include <cmath>
#include <cstdarg>

#include "core/dtype.h"

namespace jindou::core {
namespace {

constexpr int64_t kAlignment = 16;  // bytes: one vector load

bool same_layout(const jdb_tensor &a, const jdb_tensor &b) {
  if (a.data != b.data || a.dtype != b.dtype || a.rank != b.rank) return false;
  for (int i = 0; i < a.rank; ++i) {
    if (a.shape[i] != b.shape[i]) return false;
    if (a.shape[i] > 1 && a.strides[i] != b.strides[i]) return false;
  }
  return true;
}

// Bytes spanned by one step of dimension 0.
int64_t inner_bytes(const jdb_tensor &t) {
  int64_t last = 0;
  for (int i = 1; i < t.rank; ++i) last += (t.shape[i] - 1) * t.strides[i];
  return (last + 1) * element_size(t.dtype);
}

}  // namespace

void Rules::fail(jd_status status, const char *name, const char *format, ...) {
  if (broken()) return;
  char text[640];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  status_ = fail_argument(context_, status, name, "%s", text);
}

void Rules::integer(const char *name, int64_t value, int64_t least, int64_t most) {
  if (value >= least && value <= most) return;
  if (most == INT64_MAX)
    return fail(JD_INVALID_ARGUMENT, name, "expected at least %" PRId64 ", got %" PRId64, least, value);
  fail(JD_INVALID_ARGUMENT, name, "expected %" PRId64 "..%" PRId64 ", got %" PRId64, least, most, value);
}

void Rules::dtype(const char *name, int32_t value, std::initializer_list<int32_t> allowed) {
  for (const int32_t each : allowed) {
    if (value == each) return;
  }
  char list[96];
  int at = 0;
  size_t i = 0;
  for (const int32_t each : allowed) {
    const char *separator = i == 0 ? "" : i + 1 == allowed.size() ? " or " : ", ";
    at += snprintf(list + at, sizeof list - at, "%s%s", separator, jd_dtype_name(each));
    ++i;
  }
  fail(JD_INVALID_ARGUMENT, name, "expected %s, got %s (%d)", list, jd_dtype_name(value), value);
}

void Rules::head_dim(const char *name, int32_t value) {
  if (value == 32 || value == 64 || value == 96 || value == 128 || value == 192 || value == 256) return;
  fail(JD_INVALID_ARGUMENT, name, "expected 32, 64, 96, 128, 192 or 256, got %d", value);
}

void Rules::equal(const char *name, int64_t value, const char *other, int64_t expected) {
  if (value == expected) return;
  fail(JD_INVALID_ARGUMENT, name, "expected %" PRId64 " as %s, got %" PRId64, expected, other, value);
}

void Rules::finite(const char *name, float value) {
  if (std::isfinite(value)) return;
  fail(JD_INVALID_ARGUMENT, name, "expected a finite number, got %g", static_cast<double>(value));
}

void Rules::finite_at_least(const char *name, float value, float least) {
  if (std::isfinite(value) && value >= least) return;
  fail(JD_INVALID_ARGUMENT, name, "expected a finite number >= %g, got %g", static_cast<double>(least),
       static_cast<double>(value));
}

void Rules::finite_above_zero(const char *name, float value) {
  if (std::isfinite(value) && value > 0) return;
  fail(JD_INVALID_ARGUMENT, name, "expected a finite number > 0, got %g", static_cast<double>(value));
}

void Rules::zero(const char *name, int64_t value) {
  if (value == 0) return;
  fail(JD_INVALID_ARGUMENT, name, "expected 0, got %" PRId64, value);
}

void Rules::tensor(const char *name, const jdb_tensor &t, int32_t dtype, std::initializer_list<int64_t> shape) {
  if (t.dtype == 0) return;
  if (t.dtype != dtype) {
    return fail(JD_INVALID_ARGUMENT, name, "expected dtype %s, got %s", jd_dtype_name(dtype), jd_dtype_name(t.dtype));
  }
  if (t.rank != static_cast<int32_t>(shape.size())) {
    return fail(JD_INVALID_ARGUMENT, name, "expected rank %zu, shape %s, got rank %d, shape %s", shape.size(),
                ShapeText(shape.begin(), static_cast<int32_t>(shape.size())).text, t.rank,
                ShapeText(t.shape, t.rank).text);
  }
  const int64_t *expected = shape.begin();
  for (int i = 0; i < t.rank; ++i) {
    if (expected[i] == kAny || expected[i] == t.shape[i]) continue;
    return fail(JD_INVALID_ARGUMENT, name, "expected shape %s, got %s", ShapeText(expected, t.rank).text,
                ShapeText(t.shape, t.rank).text);
  }
}

void Rules::column_multiple(const char *name, const jdb_tensor &t, int64_t multiple, int64_t least, int64_t most) {
  if (t.dtype == 0 || broken()) return;
  const int64_t columns = t.shape[t.rank - 1];
  if (columns >= least && columns <= most && columns % multiple == 0) return;
  if (most == INT64_MAX) {
    return fail(JD_INVALID_ARGUMENT, name,
                "expected a multiple of %" PRId64 " columns, at least %" PRId64 ", got shape %s", multiple, least,
                ShapeText(t.shape, t.rank).text);
  }
  fail(JD_INVALID_ARGUMENT, name,
       "expected a multiple of %" PRId64 " columns in %" PRId64 "..%" PRId64 ", got shape %s", multiple, least, most,
       ShapeText(t.shape, t.rank).text);
}

void Rules::contiguous_last(const char *name, const jdb_tensor &t) {
  if (t.dtype == 0 || broken() || t.rank == 0) return;
  if (t.shape[t.rank - 1] <= 1 || t.strides[t.rank - 1] == 1) return;
  fail(JD_INVALID_ARGUMENT, name, "expected a contiguous last dimension (stride 1), got strides %s",
       ShapeText(t.strides, t.rank).text);
}

void Rules::aligned_data(const char *name, const jdb_tensor &t) {
  if (reinterpret_cast<uintptr_t>(t.data) % kAlignment == 0 || spanned_bytes(t) == 0) return;
  fail(JD_INVALID_ARGUMENT, name, "expected data aligned to %d bytes, got address %p", static_cast<int>(kAlignment),
       t.data);
}

void Rules::aligned_rows(const char *name, const jdb_tensor &t) {
  if (t.dtype == 0 || broken()) return;
  contiguous_last(name, t);
  aligned_data(name, t);
  const int64_t size = element_size(t.dtype);
  for (int i = 0; i + 1 < t.rank; ++i) {
    if (t.shape[i] <= 1 || t.strides[i] * size % kAlignment == 0) continue;
    return fail(JD_INVALID_ARGUMENT, name,
                "expected strides that are multiples of %d bytes (%d elements of %s), got strides %s",
                static_cast<int>(kAlignment), static_cast<int>(kAlignment / size), jd_dtype_name(t.dtype),
                ShapeText(t.strides, t.rank).text);
  }
}

void Rules::separate_elements(const char *name, const jdb_tensor &t) {
  if (t.dtype == 0 || broken()) return;
  // Dimensions by rising stride: each step must clear all that the smaller ones span.
  int order[JD_MAX_RANK];
  int count = 0;
  for (int i = 0; i < t.rank; ++i) {
    if (t.shape[i] == 0) return;
    if (t.shape[i] == 1) continue;
    int at = count++;
    for (; at > 0 && t.strides[order[at - 1]] > t.strides[i]; --at) order[at] = order[at - 1];
    order[at] = i;
  }
  int64_t spanned = 1;
  for (int i = 0; i < count; ++i) {
    const int d = order[i];
    if (t.strides[d] < spanned) {
      return fail(JD_INVALID_ARGUMENT, name,
                  "expected every element at an address of its own, got shape %s, strides %s",
                  ShapeText(t.shape, t.rank).text, ShapeText(t.strides, t.rank).text);
    }
    spanned += (t.shape[d] - 1) * t.strides[d];
  }
}

void Rules::presence(const char *name, const jdb_tensor &t, bool wanted, const char *reason) {
  const bool present = t.dtype != 0;
  if (present == wanted) return;
  fail(JD_INVALID_ARGUMENT, name, "expected %s (%s), got %s", wanted ? "a tensor" : "no tensor", reason,
       present ? "one" : "none");
}

void Rules::apart(const char *out_name, const jdb_tensor &out, std::initializer_list<Input> inputs) {
  if (broken()) return;
  const char *begin = static_cast<const char *>(out.data), *end = begin + spanned_bytes(out);
  for (const Input &in : inputs) {
    // The usual case first: an input that lies behind the output, or before it.
    const char *at = static_cast<const char *>(in.tensor.data);
    if (at >= end || in.tensor.dtype == 0 || at + spanned_bytes(in.tensor) <= begin) continue;
    if (!may_overlap(out, in.tensor)) continue;
    return fail(JD_INVALID_ARGUMENT, out_name, "expected memory apart from '%s', got an overlap", in.name);
  }
}

void Rules::apart_or_same(const char *out_name, const jdb_tensor &out, const char *name, const jdb_tensor &in) {
  if (broken() || !may_overlap(out, in) || same_layout(out, in)) return;
  fail(JD_INVALID_ARGUMENT, out_name, "expected memory apart from '%s' or exactly the same tensor, got an overlap",
       name);
}

int64_t spanned_bytes(const jdb_tensor &t) {
  int64_t last = 0;
  for (int i = 0; i < t.rank; ++i) {
    if (t.shape[i] == 0) return 0;
    last += (t.shape[i] - 1) * t.strides[i];
  }
  return (last + 1) * element_size(t.dtype);
}

bool may_overlap(const jdb_tensor &a, const jdb_tensor &b) {
  if (a.dtype == 0 || b.dtype == 0) return false;
  const int64_t bytes_a = spanned_bytes(a), bytes_b = spanned_bytes(b);
  if (bytes_a == 0 || bytes_b == 0) return false;
  const uintptr_t at_a = reinterpret_cast<uintptr_t>(a.data), at_b = reinterpret_cast<uintptr_t>(b.data);
  if (at_a + bytes_a <= at_b || at_b + bytes_b <= at_a) return false;
  // Column ranges of one wider tensor: equal row strides, and within a row the two ranges do not meet.
  const bool rows_a = a.rank > 1 && a.shape[0] > 1, rows_b = b.rank > 1 && b.shape[0] > 1;
  if (a.rank < 2 || b.rank < 2 || !(rows_a || rows_b)) return true;
  const int64_t row_a = rows_a ? a.strides[0] * element_size(a.dtype) : 0;
  const int64_t row_b = rows_b ? b.strides[0] * element_size(b.dtype) : 0;
  const int64_t row = rows_a ? row_a : row_b;
  if (row <= 0 || (rows_a && rows_b && row_a != row_b)) return true;
  const int64_t inner_a = inner_bytes(a), inner_b = inner_bytes(b);
  const int64_t distance = at_b >= at_a ? static_cast<int64_t>((at_b - at_a) % row)
                                        : (row - static_cast<int64_t>((at_a - at_b) % row)) % row;
  return !(inner_a <= distance && distance + inner_b <= row);
}

}  // namespace jindou::core
