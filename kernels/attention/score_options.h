// What softmax_attention may do to a score besides scaling it: a bias, then a soft-cap (jindou/softmax_attention.h). Scores
// leave in units of log 2.
#ifndef JINDOU_KERNELS_ATTENTION_SCORE_OPTIONS_H
#define JINDOU_KERNELS_ATTENTION_SCORE_OPTIONS_H

#include "attention/hiding_bias.h"
#include "attention/t5_buckets.h"
#include "core/backend.h"
#include "primitives/primitives.h"

namespace jindou::attention {

struct ScoreOptions {
  float softcap, inverse_softcap;                  // 0: none
  int32_t bias;                                    // JD_BIAS_*
  const float *data;                               // slopes [heads], table [buckets, heads] or matrices
  int64_t batch_stride, head_stride, row_stride;   // of matrices; of the table, row_stride
  const T5Buckets *buckets;
};

// tanh with a relative error of a few 2^-23: exp2 and a reciprocal, and for small x, where their difference from 1
// cancels, a series.
JD_DEVICE inline float tanh_accurate(float x) {
  const float magnitude = prim::abs(x);
  if (magnitude < 0.3f) {
    const float s = x * x;
    const float series = prim::fma(
        s, prim::fma(s, prim::fma(s, prim::fma(s, 0.0218694885f, -0.0539682540f), 0.1333333333f), -0.3333333333f), 1.0f);
    return x * series;
  }
  const float e = prim::exp2_approx(magnitude * 2.8853900817779268f);  // infinite for large x: then tanh is 1
  const float t = prim::fma(-2.0f, prim::rcp_approx(1.0f + e), 1.0f);
  return x < 0.0f ? -t : t;
}

// A row of scores: of query `row` of a sequence, at `position` among its keys.
struct ScoreRow {
  int64_t sequence;
  int32_t head, row, position;
};

// One row's scores of a tile of keys, in place: log2(e) * cap(scale * score + bias). This thread holds kCount of them,
// score(i) -> float &, of the keys key(i). The choices are a branch a row.
template <int kCount, class Score, class Key>
JD_DEVICE void apply_options(const ScoreOptions &o, const ScoreRow &at, float scale, const Score &score, const Key &key) {
  static_assert(kCount <= 32, "one bit a key");
  const bool capped = o.softcap != 0.0f;
  const float unit = capped ? o.inverse_softcap : 1.0f;  // of a score before the cap
  const float factor = scale * unit;
#pragma unroll
  for (int i = 0; i < kCount; ++i) score(i) *= factor;
  uint32_t hidden = 0;  // keys that a dense bias hides
  switch (o.bias) {
    case JD_BIAS_ALIBI: {
      const float slope = o.data[at.head] * unit;
#pragma unroll
      for (int i = 0; i < kCount; ++i)
        score(i) = prim::fma(-slope, prim::abs(static_cast<float>(key(i) - at.position)), score(i));
      break;
    }
    case JD_BIAS_T5: {
      const float *table = o.data + at.head;
#pragma unroll
      for (int i = 0; i < kCount; ++i)
        score(i) = prim::fma(table[o.buckets->bucket(key(i) - at.position) * o.row_stride], unit, score(i));
      break;
    }
    case JD_BIAS_DENSE: {
      const float *row = o.data + at.sequence * o.batch_stride + at.head * o.head_stride + at.row * o.row_stride;
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        const float bias = row[key(i)];
        score(i) = prim::fma(bias, unit, score(i));
        hidden |= bias < kHidingBias ? 1u << i : 0u;
      }
      break;
    }
    default: break;
  }
  if (capped) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) score(i) = o.softcap * tanh_accurate(score(i));
  }
  if (hidden != 0u) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) score(i) = hidden >> i & 1u ? score(i) - INFINITY : score(i);  // a NaN stays one
  }
#pragma unroll
  for (int i = 0; i < kCount; ++i) score(i) *= 1.4426950408889634f;
}

}  // namespace jindou::attention

#endif
