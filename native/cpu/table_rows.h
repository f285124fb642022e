// What the elements of an embedding table's rows are to the kernels.
#ifndef JINDOU_CPU_TABLE_ROWS_H
#define JINDOU_CPU_TABLE_ROWS_H

#include "cpu/kernels/kernel_table.h"

namespace jindou::cpu {

inline RowElements elements_of(int32_t dtype, const RowLayout &layout, int32_t format) {
  switch (dtype) {
    case JD_F32: return RowElements::f32;
    case JD_F16: return RowElements::f16;
    case JD_BF16: return RowElements::bf16;
    case JD_F8_E4M3: return RowElements::e4m3;
    default: break;
  }
  if (format == JD_ROWS_E4M3) return RowElements::e4m3;
  return layout.bits == 8 ? RowElements::u8 : layout.bits == 4 ? RowElements::u4 : RowElements::u2;
}

}  // namespace jindou::cpu

#endif
