// Softmax over keys that arrive in tiles: a running maximum `top`, the sum of the weights exp2(score - top), and
// outputs that are rescaled when the maximum rises. (Milakov & Gimelshein, arXiv 1805.02867; FlashAttention-2, arXiv
// 2307.08691.)
//
// Partial states of the same row over different keys merge into one. Long histories are cut into pieces at places that
// depend on their length alone and merged in the order of the pieces, by whichever kernel, with the very arithmetic
// below: the bits of a result do not depend on how the pieces were spread over blocks.
#ifndef JINDOU_KERNELS_ATTENTION_ONLINE_SOFTMAX_H
#define JINDOU_KERNELS_ATTENTION_ONLINE_SOFTMAX_H

#include "primitives/primitives.h"

namespace jindou::attention {

// A partial result of one row, without its outputs. Scores in units of log 2.
struct SoftmaxState {
  float top;  // -inf: no key yet
  float sum;
};

// What the outputs of two partial results are multiplied by before they are added.
struct MergeFactors {
  float older, newer;
};

// older := older and newer together. Of a result that has seen no key nothing is taken, whatever its outputs are: pieces
// in which a row sees nothing may be merged or left out, with the same bits.
JD_DEVICE inline MergeFactors merge(SoftmaxState &older, const SoftmaxState &newer) {
  if (newer.top == -INFINITY) return MergeFactors{1.0f, 0.0f};
  if (older.top == -INFINITY) {
    older = newer;
    return MergeFactors{0.0f, 1.0f};
  }
  const float top = prim::max(older.top, newer.top);
  const MergeFactors factors{prim::exp2_approx(older.top - top), prim::exp2_approx(newer.top - top)};
  older = SoftmaxState{top, prim::fma(older.sum, factors.older, newer.sum * factors.newer)};
  return factors;
}

JD_DEVICE inline float merge_outputs(float older, float newer, const MergeFactors &factors) {
  if (factors.newer == 0.0f) return older * factors.older;
  if (factors.older == 0.0f) return newer * factors.newer;
  return prim::fma(older, factors.older, newer * factors.newer);
}

// A row that saw no key has sum 0 and gives zeros; any other has a sum of 1 at least, from its highest score.
JD_DEVICE inline float softmax_normalizer(float sum) { return sum == 0.0f ? 0.0f : prim::rcp_approx(sum); }

// Turns one row's scores of a tile of keys into weights, in place. This thread holds kCount of them, score(i) -> float
// &; reduce_max takes the maximum over the threads that share the row. `scale` > 0 brings scores to units of log 2;
// `top` is kept unscaled, `sum` is this thread's part. Scores of -inf are hidden keys: their weight is 0, also where the
// row has seen no other. Returns what outputs accumulated so far must be multiplied by.
template <int kCount, class Score, class ReduceMax>
JD_DEVICE float weigh_row(const Score &score, float scale, float &top, float &sum, const ReduceMax &reduce_max) {
  float highest = score(0);
#pragma unroll
  for (int i = 1; i < kCount; ++i) highest = prim::max(highest, score(i));
  highest = prim::max(top, reduce_max(highest));
  // Products rounded before they are subtracted: where the maximum stays, the factor is 1, and a tile in which the row sees
  // nothing changes nothing.
  const float base = highest == -INFINITY ? 0.0f : prim::fma(highest, scale, 0.0f);
  const float factor = prim::exp2_approx(prim::fma(top, scale, 0.0f) - base);
  float tile_sum = 0.0f;
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    float &s = score(i);
    s = prim::exp2_approx(prim::fma(s, scale, -base));
    tile_sum += s;
  }
  top = highest;
  sum = prim::fma(sum, factor, tile_sum);
  return factor;
}

}  // namespace jindou::attention

#endif
