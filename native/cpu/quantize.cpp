// quantize_rows and dequantize_rows on the CPU (jindou/quantize.h): a task is some rows. Codes are computed by what the CUDA kernels
// compute them with (embedding/row_codes.h); reading them is embedding_bag's affair (kernels/embedding_bag.h).
#include <algorithm>
#include <atomic>
#include <cstring>

#include "core/dtype.h"
#include "core/table_rules.h"
#include "cpu/pages.h"
#include "cpu/table_rows.h"
#include "embedding/row_codes.h"

namespace jindou::cpu {
namespace {

constexpr int64_t kElementsOfTask = 1 << 16;
constexpr int64_t kOperationsAnElement = 16;  // a float64 division

// What tasks met, whichever thread met it.
struct BadRows {
  std::atomic<int64_t> count{0}, first{INT64_MAX};

  void note(int64_t row) {
    count.fetch_add(1, std::memory_order_relaxed);
    for (int64_t known = first.load(std::memory_order_relaxed); row < known;) {
      if (first.compare_exchange_weak(known, row, std::memory_order_relaxed)) break;
    }
  }
};

// Whether the format can hold the row.
bool quantize(const RowLayout &layout, const float *x, int64_t dim, char *to) {
  float least = x[0], largest = x[0];
  bool finite = true;
  for (int64_t d = 0; d < dim; ++d) {
    finite &= embedding::RowScale::is_finite(x[d]);
    least = x[d] < least ? x[d] : least;
    largest = x[d] > largest ? x[d] : largest;
  }
  const auto scale = embedding::RowScale::of(layout, least, largest, finite);
  if (!scale.holds) return false;
  std::memcpy(to + layout.header_at, scale.header, layout.header == kHeaderFloats ? 8 : 4);
  char *codes = to + layout.codes_at;
  const int bytes = layout.bits / 2;  // of four
  for (int64_t d = 0; d < dim; d += 4, codes += bytes) {
    const uint32_t word = scale.codes(layout, {x[d], x[d + 1], x[d + 2], x[d + 3]});
    std::memcpy(codes, &word, static_cast<size_t>(bytes));
  }
  return true;
}

int64_t rows_of_task(int64_t dim) { return std::max<int64_t>(1, kElementsOfTask / dim); }

}  // namespace

jd_status run_quantize_rows(Stream &stream, const jdb_quantize_rows_args &a, jd_error *) {
  const int64_t n = a.numbers.shape[0], dim = a.numbers.shape[1], each = rows_of_task(dim);
  const RowLayout layout = row_layout(a.format, dim);
  const KernelTable &kernels = stream.device.kernels;
  BadRows bad;
  stream.device.pool.run(divide(n, each), n * dim * kOperationsAnElement, [&](int64_t index, int) {
    float widened[core::kMaxTableDim];
    for (int64_t row = index * each; row < std::min(n, (index + 1) * each); ++row) {
      const void *from =
          static_cast<const char *>(a.numbers.data) + row * a.numbers.strides[0] * core::element_size(a.numbers.dtype);
      const float *x = static_cast<const float *>(from);
      if (a.numbers.dtype != JD_F32) {
        kernels.widen(from, a.numbers.dtype, dim, widened);
        x = widened;
      }
      char *to = static_cast<char *>(a.rows.data) + row * a.rows.strides[0];
      const bool held = quantize(layout, x, dim, to);
      if (!held) bad.note(row);
      const int64_t written = held ? layout.row_bytes : 0;
      std::memset(to + written, 0, static_cast<size_t>(a.rows.shape[1] - written));
    }
  });
  if (a.bounds != JD_BOUNDS_TRUST && bad.count > 0) {
    Findings findings(stream, JDB_OP_QUANTIZE_ROWS, a.bounds);
    const int64_t first = bad.first;
    for (int64_t i = 0; i < bad.count; ++i) findings.note(JDB_FAULT_ROW, first, first, n);
  }
  return JD_OK;
}

jd_status run_dequantize_rows(Stream &stream, const jdb_quantize_rows_args &a, jd_error *) {
  const int64_t n = a.numbers.shape[0], dim = a.numbers.shape[1], each = rows_of_task(dim);
  EmbeddingTask task{};
  task.rows = static_cast<const char *>(a.rows.data);
  task.row_bytes = a.rows.strides[0];
  task.dim = static_cast<int32_t>(dim);
  task.layout = row_layout(a.format, dim);
  task.elements = elements_of(JD_U8, task.layout, a.format);
  task.out_dtype = a.numbers.dtype;
  task.out = static_cast<char *>(a.numbers.data);
  task.out_row_bytes = a.numbers.strides[0] * core::element_size(a.numbers.dtype);
  stream.device.pool.run(divide(n, each), n * dim, [&](int64_t index, int) {
    EmbeddingTask part = task;
    part.first_id = index * each;
    part.last_id = std::min(n, (index + 1) * each);
    stream.device.kernels.widen_rows(part);
  });
  return JD_OK;
}

}  // namespace jindou::cpu
