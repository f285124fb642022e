// paged_append and paged_gather: rows into pages, rounded or quantised, and back.
//
//   f8_e4m3  code = e4m3(x / scale)                  i8  scale = max|x| / 127, code = round(x / scale)
//   back     x = code * scale, rounded to the rows' dtype
//
// Shapes: rows [total, Hkv, d], jagged; pages [num_pages, page_size, Hkv, d]; keys and values in one launch.
//
// A block owns 16 rows of one sequence, all heads, keys and values. One head of a row is the work of d / 8 neighbouring
// threads (rounded up to a power of two), 8 elements each, whose largest magnitude meets by shuffles. dtypes are uniform branches
// of 8 elements.
//
// Bytes: every row read once and written once; bound by memory (append: a few hundred rows, by the launch).
#ifndef JINDOU_KERNELS_DECODE_PAGED_CACHE_H
#define JINDOU_KERNELS_DECODE_PAGED_CACHE_H

#include "attention/jagged.h"
#include "attention/work_list.h"
#include "decode/pages.h"

namespace jindou::paged {

// Keys or values.
struct PagedCopySide {
  attention::Rows<char> rows;  // strides in elements; data as bytes
  Pages pages;
  PageScales scales;
  int32_t dim;
};

struct PagedCopyParams {
  PagedCopySide sides[2];
  attention::Offsets offsets;
  PageTable table;
  const int32_t *seq_lens;
  int64_t batch;
  int64_t total;  // of rows
  int32_t heads;
  int32_t dtype, cache_dtype;
  int32_t lanes;  // that share one head of a row: 4, 8, 16 or 32
  FaultSink sink;
};

// kIntoPages: append, else gather.
template <bool kIntoPages>
struct PagedCopyKernel {
  using Params = PagedCopyParams;
  static constexpr int kThreads = 128;
  static constexpr int kMinBlocks = 8;
  static constexpr int kRows = 16;
  using Shared = attention::WorkListShared<kThreads>;
  static constexpr size_t shared_bytes() { return sizeof(Shared); }

  JD_DEVICE static void run(const Params &p, char *shared_memory) {
    attention::for_each_item(
        p.batch, *reinterpret_cast<Shared *>(shared_memory),
        [&](int64_t b) -> uint32_t {
          Range range;
          const Fault fault = read(p, b, range);
          if (fault.fault != JDB_FAULT_NONE && prim::block_idx().x == 0) report_fault(p.sink, fault);
          return static_cast<uint32_t>((range.rows.length + kRows - 1) / kRows);
        },
        [&](int64_t b, uint32_t item) {
          Range range;
          read(p, b, range);
          copy(p, b, range, static_cast<int32_t>(item) * kRows);
        });
  }

 private:
  struct Range {
    attention::Sequence rows;
    int32_t first;  // row of the sequence that the first one is
  };

  // A sequence with any fault has no rows.
  JD_DEVICE static Fault read(const Params &p, int64_t b, Range &range) {
    range.first = 0;
    Fault fault = attention::read_sequence(p.offsets, b, p.batch, p.total, INT32_MAX, range.rows);
    if (fault.fault != JDB_FAULT_NONE) return fault;
    const int64_t length = p.seq_lens[b], after = kIntoPages ? length + range.rows.length : length;
    if (length < 0 || after > p.table.rows()) {
      fault = Fault{JDB_FAULT_CACHE_LENGTH, -1, b, length < 0 ? length : after, p.table.rows()};
    } else if (!kIntoPages && range.rows.length > length) {
      fault = Fault{JDB_FAULT_CACHE_ROWS, -1, b, range.rows.length, length};
    }
    if (fault.fault != JDB_FAULT_NONE) range.rows.length = 0;
    range.first = static_cast<int32_t>(kIntoPages ? length : length - range.rows.length);
    return fault;
  }

  JD_DEVICE static void copy(const Params &p, int64_t b, const Range &range, int32_t begin) {
    const int thread = static_cast<int>(prim::thread_idx().x);
    const int lane = thread % p.lanes, group = thread / p.lanes, groups = kThreads / p.lanes;
    const int32_t left = range.rows.length - begin, rows = left < kRows ? left : kRows;
    const int32_t units = rows * p.heads * 2;
    // The lanes of a warp go round together: they meet in shuffles.
    for (int32_t base = 0; base < units; base += groups) {
      const int32_t unit = base + group;
      const bool present = unit < units;
      const int32_t local = present ? unit / (p.heads * 2) : 0, rest = present ? unit % (p.heads * 2) : 0;
      const int32_t head = rest / 2, at = range.first + begin + local;
      const int32_t page = p.table.row(b)[p.table.index(at)];
      const bool valid = p.table.valid(page);
      if (present && !valid && rest == 0 && lane == 0 && (p.table.within(at) == 0 || at == range.first)) {
        report_fault(p.sink, Fault{JDB_FAULT_PAGE, -1, b * p.table.max_pages + p.table.index(at), page, p.table.num_pages});
      }
      const PagedCopySide &side = p.sides[rest % 2];
      const int64_t row = (range.rows.begin + begin + local) * side.rows.token_stride + head * side.rows.head_stride + lane * 8;
      const bool mine = present && lane * 8 < side.dim;
      if constexpr (kIntoPages) {
        append(p, side, mine && valid, lane, row, valid ? page : 0, p.table.within(at), head);
      } else if (mine) {
        gather(p, side, valid, lane, row, page, p.table.within(at), head);
      }
    }
  }

  JD_DEVICE static void append(const Params &p, const PagedCopySide &side, bool mine, int lane, int64_t row, int32_t page,
                               int32_t within, int32_t head) {
    float x[8] = {};
    if (mine) load_elements(side.rows.data, row, p.dtype, x);
    if (p.cache_dtype == JD_I8) {
      // Magnitudes are compared as integers: a NaN is larger than an infinity, and that than any number.
      uint32_t most = 0;
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const uint32_t magnitude = prim::as_uint(x[i]) & 0x7fffffffu;
        most = magnitude > most ? magnitude : most;
      }
      for (int step = p.lanes / 2; step > 0; step /= 2) {
        const uint32_t other = prim::shfl_xor(most, step);
        most = other > most ? other : most;
      }
      const float scale = prim::div(prim::as_float(most), 127.0f);
#pragma unroll
      for (int i = 0; i < 8; ++i) x[i] = prim::quantise_i8(x[i], scale);
      if (mine && lane == 0) *side.scales.at(page, within, head) = scale;
    } else if (p.cache_dtype == JD_F8_E4M3) {
      const float scale = mine ? *side.scales.at(page, within, head) : 1.0f;
#pragma unroll
      for (int i = 0; i < 8; ++i) x[i] = prim::div(x[i], scale);
    }
    if (mine) store_elements(side.pages.data, side.pages.at(page, within, head) + lane * 8, p.cache_dtype, x);
  }

  JD_DEVICE static void gather(const Params &p, const PagedCopySide &side, bool valid, int lane, int64_t row, int32_t page,
                               int32_t within, int32_t head) {
    float x[8] = {};
    if (valid) {
      load_elements(side.pages.data, side.pages.at(page, within, head) + lane * 8, p.cache_dtype, x);
      if (side.scales.data != nullptr) {
        const float scale = *side.scales.at(page, within, head);
#pragma unroll
        for (int i = 0; i < 8; ++i) x[i] *= scale;
      }
    }
    store_elements(side.rows.data, row, p.dtype, x);
  }
};

}  // namespace jindou::paged

#endif
