// paged_append and paged_gather on the CPU (jindou/paged_cache.h): a task is 16 rows of a sequence, all heads, keys and
// values. Where rows and pages have one dtype a row is a copy; else its elements pass through floats. Bound by memory, but for
// the quantising of new rows.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <new>

#include "cpu/pages.h"
#include "primitives/float8.h"

namespace jindou::cpu {
namespace {

constexpr int64_t kRowsOfTask = 16;
constexpr int kMaxDim = 256;
constexpr int64_t kOperationsAByte = 2;  // read and written: multiply-adds that take as long

template <class T>
void widen(const void *from, int dim, float *x) {
  for (int i = 0; i < dim; ++i) x[i] = prim::to_float(static_cast<const T *>(from)[i]);
}
template <class T>
void narrow(const float *x, int dim, void *to) {
  for (int i = 0; i < dim; ++i) static_cast<T *>(to)[i] = prim::from_float<T>(x[i]);
}

void to_floats(const void *from, int32_t dtype, int dim, float *x) {
  switch (dtype) {
    case JD_F32: return widen<float>(from, dim, x);
    case JD_F16: return widen<prim::f16>(from, dim, x);
    case JD_BF16: return widen<prim::bf16>(from, dim, x);
    case JD_F8_E4M3: return widen<prim::e4m3>(from, dim, x);
    default:
      for (int i = 0; i < dim; ++i) x[i] = static_cast<const int8_t *>(from)[i];
  }
}

void from_floats(const float *x, int32_t dtype, int dim, void *to) {
  switch (dtype) {
    case JD_F32: return narrow<float>(x, dim, to);
    case JD_F16: return narrow<prim::f16>(x, dim, to);
    case JD_BF16: return narrow<prim::bf16>(x, dim, to);
    case JD_F8_E4M3: return narrow<prim::e4m3>(x, dim, to);
    default:
      for (int i = 0; i < dim; ++i) static_cast<int8_t *>(to)[i] = static_cast<int8_t>(x[i]);
  }
}

// The scale of a row in i8. Magnitudes are compared as integers: a NaN is larger than an infinity, and that than any number.
float row_scale(const float *x, int dim) {
  uint32_t most = 0;
  for (int i = 0; i < dim; ++i) most = std::max(most, prim::as_uint(x[i]) & 0x7fffffffu);
  return prim::as_float(most) / 127.0f;
}

struct Sequence {
  int64_t first_row, rows;  // of keys and values
  int64_t begin;            // the row of the sequence that the first one is
};

// Rows of a sequence that lie in one page.
struct RowsOfPage {
  int64_t row, count;  // of keys and values
  int32_t page;
  bool valid;
  int64_t within;      // where the first one lies in the page
};

class PagedCache final : public Plan {
 public:
  PagedCache(Device &d, int32_t op, const jdb_allocator &allocator, const jd_paged_cache_desc &desc)
      : Plan(d, allocator), op_(op), desc_(desc) {}

  jd_status prepare(jd_error *error) {
    Layout layout;
    sequences_at_ = layout.add<Sequence>(desc_.max_batch);
    ends_at_ = layout.add<int64_t>(desc_.max_batch);
    return memory.reserve(layout.bytes(), error);
  }

  void describe(char *text, size_t capacity) const override {
    snprintf(text, capacity, "%s on cpu: pages of %d rows, tasks of %d rows", appends() ? "paged_append" : "paged_gather",
             desc_.page_size, static_cast<int>(kRowsOfTask));
  }

  jd_status run(Stream &stream, const void *args, jd_error *) override {
    const auto &a = *static_cast<const jdb_paged_cache_args *>(args);
    const PageTable table(a.page_table, a.key_pages);
    const int32_t *lengths = static_cast<const int32_t *>(a.seq_lens.data);
    Sequence *sequences = memory.part<Sequence>(sequences_at_);
    int64_t *ends = memory.part<int64_t>(ends_at_);  // tasks of sequences 0..b
    Findings findings(stream, op_, desc_.bounds);
    int64_t tasks = 0;
    for (int64_t b = 0; b < a.batch; ++b) {
      const int64_t first = integer_at(a.offsets, b), rows = integer_at(a.offsets, b + 1) - first;
      const int64_t length = lengths[b], after = appends() ? length + rows : length;
      Sequence &x = sequences[b];
      x = {first, rows, appends() ? length : length - rows};
      if (length < 0 || after > table.rows()) {
        findings.note(JDB_FAULT_CACHE_LENGTH, b, length < 0 ? length : after, table.rows());
        x.rows = 0;
      } else if (!appends() && rows > length) {
        findings.note(JDB_FAULT_CACHE_ROWS, b, rows, length);
        x.rows = 0;
      }
      if (x.rows > 0) table.check(findings, b, x.begin, x.begin + x.rows);
      tasks += divide(x.rows, kRowsOfTask);
      ends[b] = tasks;
    }
    const int64_t bytes = a.keys.shape[0] * desc_.num_kv_heads * (desc_.head_dim_k + desc_.head_dim_v) *
                          (core::element_size(desc_.dtype) + core::element_size(desc_.cache_dtype));
    device.pool.run(tasks, bytes * kOperationsAByte, [&](int64_t index, int) {
      const int64_t b = std::upper_bound(ends, ends + a.batch, index) - ends;
      const int64_t first = (index - (b > 0 ? ends[b - 1] : 0)) * kRowsOfTask;
      const int64_t last = std::min(sequences[b].rows, first + kRowsOfTask);
      const PageScales key_scales(a.key_scales), value_scales(a.value_scales);
      for (int64_t row = first, count; row < last; row += count) {
        const int64_t at = sequences[b].begin + row, within = at % table.page_size;
        count = std::min(last - row, table.page_size - within);
        const int32_t page = table.row(b)[at / table.page_size];
        const RowsOfPage run = {sequences[b].first_row + row, count, page, table.valid(page), within};
        copy(a.keys, a.key_pages, key_scales, desc_.head_dim_k, run);
        copy(a.values, a.value_pages, value_scales, desc_.head_dim_v, run);
      }
    });
    return JD_OK;
  }

 private:
  bool appends() const { return op_ == JDB_OP_PAGED_APPEND; }

  static char *address(const jdb_tensor &t, int64_t at) { return static_cast<char *>(t.data) + at * core::element_size(t.dtype); }

  // Rows into their page, or back. Where heads lie side by side and nothing is converted, as is usual, a row is one copy.
  void copy(const jdb_tensor &rows, const jdb_tensor &pages, const PageScales &scales, int dim,
            const RowsOfPage &run) const {
    const bool whole = run.valid && rows.dtype == pages.dtype && rows.strides[1] == dim && pages.strides[2] == dim;
    const size_t bytes = static_cast<size_t>(desc_.num_kv_heads * dim) * core::element_size(rows.dtype);
    for (int64_t i = 0; i < run.count; ++i) {
      const int64_t row = run.row + i, within = run.within + i;
      if (whole) {
        char *outside = address(rows, row * rows.strides[0]);
        char *inside = address(pages, run.page * pages.strides[0] + within * pages.strides[1]);
        std::memcpy(appends() ? inside : outside, appends() ? outside : inside, bytes);
        continue;
      }
      for (int64_t head = 0; head < desc_.num_kv_heads; ++head) {
        copy_head(rows, pages, scales, dim, row, run.page, run.valid, within, head);
      }
    }
  }

  // One head of a row into its page, or back. A row whose page is refused is left out, or read as zeros.
  void copy_head(const jdb_tensor &rows, const jdb_tensor &pages, const PageScales &scales, int dim, int64_t row,
                 int32_t page, bool valid, int64_t within, int64_t head) const {
    char *outside = address(rows, row * rows.strides[0] + head * rows.strides[1]);
    const size_t bytes = static_cast<size_t>(dim) * core::element_size(rows.dtype);
    if (!valid) {
      if (!appends()) std::memset(outside, 0, bytes);
      return;
    }
    char *inside = address(pages, page * pages.strides[0] + within * pages.strides[1] + head * pages.strides[2]);
    if (rows.dtype == pages.dtype) {
      std::memcpy(appends() ? inside : outside, appends() ? outside : inside, bytes);
      return;
    }
    float x[kMaxDim];
    if (appends()) {
      to_floats(outside, rows.dtype, dim, x);
      if (pages.dtype == JD_I8) {
        const float scale = row_scale(x, dim);
        *scales.at(page, within, head) = scale;
        for (int i = 0; i < dim; ++i) x[i] = prim::quantise_i8(x[i], scale);
      } else if (pages.dtype == JD_F8_E4M3) {
        const float scale = *scales.at(page, within, head);
        for (int i = 0; i < dim; ++i) x[i] /= scale;
      }
      from_floats(x, pages.dtype, dim, inside);
    } else {
      to_floats(inside, pages.dtype, dim, x);
      if (scales.data) {
        const float scale = *scales.at(page, within, head);
        for (int i = 0; i < dim; ++i) x[i] *= scale;
      }
      from_floats(x, rows.dtype, dim, outside);
    }
  }

  const int32_t op_;
  const jd_paged_cache_desc desc_;
  size_t sequences_at_ = 0, ends_at_ = 0;
};

}  // namespace

jd_status create_paged_cache(Device &device, int32_t op, const jd_paged_cache_desc &desc, const jdb_allocator &allocator,
                             Plan **plan, jd_error *error) {
  return prepared(new (std::nothrow) PagedCache(device, op, allocator, desc), plan, error);
}

}  // namespace jindou::cpu
