// What the hstu_attention kernels do to the scores and rows a thread holds, whatever core multiplies them.
#ifndef JINDOU_KERNELS_ATTENTION_HSTU_ATTENTION_ROWS_H
#define JINDOU_KERNELS_ATTENTION_HSTU_ATTENTION_ROWS_H

#include "attention/hstu_attention_problem.h"

namespace jindou::attention {

// Scores, or weights, of pairs the mask forbids become 0, whatever they were. `key`: the tile's first. What a row sees is counted from the
// thread's first key, so that its others are constants and take no registers.
template <class Core>
JD_DEVICE void hide_masked(typename Core::Scores &scores, const HstuItem &item, int32_t key) {
  const typename Core::Place place;
#pragma unroll
  for (int r = 0; r < Core::Scores::kRows; ++r) {
    const int32_t row = item.first_row + place.row(r);
    const int32_t first = key + place.key(0);
    const HstuMask::RowKeys seen = item.mask.row_keys(row).from(first);
#pragma unroll
    for (int i = 0; i < Core::Scores::kCount; ++i) {
      if (!seen.contains(row - first, place.key(i) - place.key(0))) scores.at(r, i) = 0.0f;
    }
  }
}

// Reports the refused pages of a sequence of so many rows: threads 0..threads-1, each some of them.
template <class T>
JD_DEVICE void check_hstu_pages(const HstuAttentionParams<T> &p, int64_t b, int32_t length, int thread, int threads) {
  const paged::PageTable &table = p.pages.table;
  const int32_t *page_of = table.row(b);
  const int32_t pages = length == 0 ? 0 : table.index(length - 1) + 1;
  for (int32_t i = thread; i < pages; i += threads) {
    const int32_t page = page_of[i];
    if (!table.valid(page)) report_fault(p.sink, Fault{JDB_FAULT_PAGE, -1, b * table.max_pages + i, page, table.num_pages});
  }
}

// After a piece of several that a block takes in turn: acc becomes the total so far, which rests in scratch memory while the next piece is
// summed. Every thread has words of its own there.
template <class Core, int kThreads, class T>
JD_DEVICE void add_up_pieces(const HstuAttentionParams<T> &p, bool first, bool last, typename Core::Accumulators &acc) {
  constexpr int kRows = Core::Accumulators::kRows, kColumns = Core::Accumulators::kColumns;
  static_assert(kThreads * kRows * kColumns == Core::kRows * Core::kD, "a block's totals");
  if (first && last) return;
  float *total = p.partials + int64_t{prim::block_idx().x} * (Core::kRows * Core::kD) + typename Core::Place().thread;
  const auto parked = [&](int r, int c) -> float & { return total[(r * kColumns + c) * kThreads]; };
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      const float before = first ? 0.0f : parked(r, c);
      acc.out(r, c) += before;
      if (!last) parked(r, c) = acc.out(r, c);
    }
  }
}

// Of all keys: the result. Of a piece: its sums. A total begins with 0, as the second kernel's does: a sum may be -0.
template <class Core, class T>
JD_DEVICE void store_hstu_rows(const HstuAttentionParams<T> &p, const HstuItem &item, typename Core::Accumulators &acc) {
  const typename Core::Place place;
  const bool partial = item.piece >= 0;
  OutRows out = p.out;
  if (partial) {
    out.data = p.partials;
    out.dtype = JD_F32;
  }
#pragma unroll
  for (int r = 0; r < Core::Accumulators::kRows; ++r) {
    const int32_t row = item.first_row + place.row(r);
    if (row >= item.last_row) continue;
    const int64_t token = item.first_query + row;
    const float norm = partial ? 1.0f : p.attn_scale != nullptr ? p.attn_scale[token] : p.norm;
    const int64_t at = partial ? p.partial_sums(token, item.head, item.piece) : p.out.at(token, item.head);
#pragma unroll
    for (int c = 0; c < Core::Accumulators::kColumns; c += 2) {
      if (place.column(c) >= p.shape.dim_v) continue;
      out.store_pair(at + place.column(c), (0.0f + acc.out(r, c)) * norm, (0.0f + acc.out(r, c + 1)) * norm);
    }
  }
}

}  // namespace jindou::attention

#endif
