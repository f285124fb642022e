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

// The same, two at a time: 1 / a and 1 / b from one reciprocal of a b. For tensor cores so fast that the special functions are the limit.
// What is below -43.6 counts as that, so that a b stays finite: its SiLU is 1e-17 and less.
template <class Scores>
JD_DEVICE void weigh_silu_by_twos(Scores &scores, float scale) {
  static_assert(Scores::kCount % 2 == 0);
#pragma unroll
  for (int r = 0; r < Scores::kRows; ++r) {
#pragma unroll
    for (int i = 0; i < Scores::kCount; i += 2) {
      const float x = prim::max_or_nan(scores.at(r, i) * scale, -43.6f);
      const float y = prim::max_or_nan(scores.at(r, i + 1) * scale, -43.6f);
      const float a = 1.0f + prim::exp2_approx(x * -1.4426950408889634f);
      const float b = 1.0f + prim::exp2_approx(y * -1.4426950408889634f);
      const float both = prim::rcp_approx(a * b);
      scores.at(r, i) = x * (both * b);
      scores.at(r, i + 1) = y * (both * a);
    }
  }
}

}  // namespace jindou::attention

#endif
