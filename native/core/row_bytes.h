// From row to row of a matrix, in bytes: 0 where there is no second row, whose stride means nothing.
#ifndef JINDOU_CORE_ROW_BYTES_H
#define JINDOU_CORE_ROW_BYTES_H

#include "core/backend.h"
#include "core/dtype.h"

namespace jindou::core {

inline int64_t row_stride_bytes(const jdb_tensor &t) {
  return t.rank == 2 && t.shape[0] > 1 ? t.strides[0] * element_size(t.dtype) : 0;
}

}  // namespace jindou::core

#endif
