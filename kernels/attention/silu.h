// SiLU(x) = x * sigmoid(x) = x / (1 + exp(-x)): the weights of attention without a softmax. SiLU(0) = 0.
#ifndef JINDOU_KERNELS_ATTENTION_SILU_H
#define JINDOU_KERNELS_ATTENTION_SILU_H

#include "primitives/primitives.h"

namespace jindou::attention {

JD_DEVICE inline float silu(float x) {
  return x * prim::rcp_approx(1.0f + prim::exp2_approx(x * -1.4426950408889634f));
}

// Scores become SiLU(scale * score).
template <class Scores>
JD_DEVICE void weigh_silu(Scores &scores, float scale) {
#pragma unroll
  for (int r = 0; r < Scores::kRows; ++r) {
#pragma unroll
    for (int i = 0; i < Scores::kCount; ++i) scores.at(r, i) = silu(scores.at(r, i) * scale);
  }
}

}  // namespace jindou::attention

#endif
