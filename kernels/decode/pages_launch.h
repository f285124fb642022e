// Host side: a paged cache's tensors as kernel parameters. No CUDA.
#ifndef JINDOU_KERNELS_DECODE_PAGES_LAUNCH_H
#define JINDOU_KERNELS_DECODE_PAGES_LAUNCH_H

#include "attention/launch_support.h"
#include "decode/pages.h"

namespace jindou::paged {

inline PageTable page_table_of(const jdb_tensor &table, const jdb_tensor &pages) {
  int32_t shift = 0;
  while ((int64_t{1} << shift) < pages.shape[1]) ++shift;
  return PageTable{static_cast<const int32_t *>(table.data), attention::stride_of(table, 0),
                   static_cast<int32_t>(table.shape[1]), static_cast<int32_t>(pages.shape[0]), shift};
}

inline Pages pages_of(const jdb_tensor &t) {
  return Pages{t.data, attention::stride_of(t, 0), attention::stride_of(t, 1), attention::stride_of(t, 2)};
}

// [1], [pages, heads] or [pages, rows, heads]; all zero for an absent tensor.
inline PageScales scales_of(const jdb_tensor &t) {
  PageScales scales{static_cast<float *>(t.data), 0, 0, 0};
  if (t.rank >= 2) {
    scales.page_stride = attention::stride_of(t, 0);
    scales.row_stride = t.rank == 3 ? attention::stride_of(t, 1) : 0;
    scales.head_stride = attention::stride_of(t, t.rank - 1);
  }
  return scales;
}

}  // namespace jindou::paged

#endif
