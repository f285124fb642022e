// What softmax_attention may do to a score besides scaling it: a soft-cap, then a bias (jindou/softmax_attention.h). Scores
// leave in units of log 2.
#ifndef JINDOU_KERNELS_ATTENTION_SCORE_OPTIONS_H
#define JINDOU_KERNELS_ATTENTION_SCORE_OPTIONS_H

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

JD_DEVICE inline float capped(float score, const ScoreOptions &o) {
  return o.softcap == 0.0f ? score : o.softcap * tanh_accurate(score * o.inverse_softcap);
}

// The bias of one row, as a function of the key.
struct RowBias {
  const ScoreOptions &options;
  const float *data;   // of the row's head; matrices: of the row itself
  float slope;
  int32_t position;    // p_i

  JD_DEVICE RowBias(const ScoreOptions &o, int64_t sequence, int32_t head, int32_t row, int32_t position_of_row)
      : options(o), data(o.data), slope(0.0f), position(position_of_row) {
    if (o.bias == JD_BIAS_ALIBI) {
      slope = o.data[head];
    } else if (o.bias == JD_BIAS_T5) {
      data += head;
    } else if (o.bias == JD_BIAS_DENSE) {
      data += sequence * o.batch_stride + head * o.head_stride + row * o.row_stride;
    }
  }

  JD_DEVICE float at(int32_t key) const {
    switch (options.bias) {
      case JD_BIAS_ALIBI: {
        const int32_t distance = key - position;
        return -slope * static_cast<float>(distance < 0 ? -distance : distance);
      }
      case JD_BIAS_T5: return data[options.buckets->bucket(key - position) * options.row_stride];
      case JD_BIAS_DENSE: return data[key];
      default: return 0.0f;
    }
  }
};

}  // namespace jindou::attention

#endif
