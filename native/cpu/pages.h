// A paged cache (jindou/paged_cache.h) on the CPU: where rows lie, which pages are refused, and how that is told.
#ifndef JINDOU_CPU_PAGES_H
#define JINDOU_CPU_PAGES_H

#include "core/dtype.h"
#include "cpu/plan.h"

namespace jindou::cpu {

// What an operator finds wrong in the order of its sequences: STRICT keeps the first offender, ZERO counts.
class Findings {
 public:
  Findings(Stream &stream, int32_t op, int32_t bounds) : report_(stream.report), op_(op), bounds_(bounds) {}

  void note(int32_t fault, int64_t position, int64_t value, int64_t limit) {
    if (bounds_ == JD_BOUNDS_ZERO) {
      ++report_.skipped;
    } else if (!report_.has_error) {  // an earlier run comes first
      report_.has_error = 1;
      report_.fault = fault;
      report_.op = op_;
      report_.table = -1;
      report_.position = position;
      report_.value = value;
      report_.limit = limit;
    }
  }

 private:
  jdb_report &report_;
  const int32_t op_, bounds_;
};

struct PageTable {
  const int32_t *data;
  int64_t row_stride, max_pages, num_pages, page_size;

  PageTable(const jdb_tensor &table, const jdb_tensor &pages)
      : data(static_cast<const int32_t *>(table.data)),
        row_stride(table.strides[0]),
        max_pages(table.shape[1]),
        num_pages(pages.shape[0]),
        page_size(pages.shape[1]) {}

  int64_t rows() const { return max_pages * page_size; }
  const int32_t *row(int64_t sequence) const { return data + sequence * row_stride; }
  bool valid(int32_t page) const { return page >= 0 && page < num_pages; }

  // Notes every refused page among those that hold rows begin..end-1 of a sequence; whether there is none.
  bool check(Findings &findings, int64_t sequence, int64_t begin, int64_t end) const {
    bool good = true;
    for (int64_t i = begin / page_size; i * page_size < end; ++i) {
      const int32_t page = row(sequence)[i];
      if (valid(page)) continue;
      findings.note(JDB_FAULT_PAGE, sequence * max_pages + i, page, num_pages);
      good = false;
    }
    return good;
  }
};

// The scale of a row: one for all [1], one a page and head [pages, heads], one a row and head [pages, rows, heads].
struct PageScales {
  float *data;
  int64_t page_stride = 0, row_stride = 0, head_stride = 0;

  explicit PageScales(const jdb_tensor &t) : data(static_cast<float *>(t.data)) {
    if (t.rank < 2) return;
    page_stride = t.strides[0];
    row_stride = t.rank == 3 ? t.strides[1] : 0;
    head_stride = t.strides[t.rank - 1];
  }
  float *at(int64_t page, int64_t row, int64_t head) const {
    return data + page * page_stride + row * row_stride + head * head_stride;
  }
};

// One head of a sequence, as kernels want it.
inline PagedRows paged_rows(const jdb_tensor &pages, const jdb_tensor &scales, const PageTable &table, int64_t sequence,
                            int64_t head) {
  const int64_t size = core::element_size(pages.dtype);
  const PageScales s(scales);
  return {table.row(sequence),
          static_cast<const char *>(pages.data) + head * pages.strides[2] * size,
          pages.strides[0] * size,
          pages.strides[1] * size,
          static_cast<int32_t>(table.page_size),
          __builtin_ctzll(static_cast<uint64_t>(table.page_size)),
          pages.dtype,
          s.data ? s.data + head * s.head_stride : nullptr,
          s.page_stride,
          s.row_stride};
}

}  // namespace jindou::cpu

#endif
