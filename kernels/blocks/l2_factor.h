// What l2_normalize multiplies a row by before it sums its squares once more: 1 where the first sum is good. For the kernels and the CPU.
//
//   sum past f32      2^-80: its largest element is at least 2^57 (8192 elements), so what vanishes beside it does not count, and the sum
//                     of scaled squares is below 2^110
//   sum below 2^-100  2^100: squares vanished, perhaps. Elements are below 2^-50. Where eps is not below 2^-49 it is what divides
//
// A power of two, so that nothing is rounded but what vanishes. A NaN or an infinite element gives what it gave.
#ifndef JINDOU_KERNELS_BLOCKS_L2_FACTOR_H
#define JINDOU_KERNELS_BLOCKS_L2_FACTOR_H

#include "primitives/compiler.h"

namespace jindou::blocks {

// static: code of one instruction set stays in its object.
JD_HOST_DEVICE static JD_INLINE float l2_factor(float square, float eps) {
  if (square > 3.402823466e38f) return 0x1p-80f;
  return square < 0x1p-100f && eps < 0x1p-49f ? 0x1p100f : 1.0f;
}

}  // namespace jindou::blocks

#endif
