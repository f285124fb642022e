// hstu_attention in float64, straight from the specification (jindou/attention.h). The mask is written out here a second
// time on purpose: the reference must not share the kernels' formula.
#ifndef JINDOU_TESTS_REFERENCE_HSTU_ATTENTION_H
#define JINDOU_TESTS_REFERENCE_HSTU_ATTENTION_H

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace jindou::reference {

struct HstuMaskParams {
  bool causal = true;
  int64_t contextual_seq_len = 0;
  int64_t max_attn_len = 0;
  int64_t min_full_attn_seq_len = 0;
};

// generative-recommenders, _get_valid_attn_mask, for row i and column j of a sequence of n rows with t targets.
inline bool hstu_allowed(const HstuMaskParams &m, int64_t n, int64_t t, int64_t i, int64_t j) {
  int64_t row = i, col = j, max_id = n;
  if (m.contextual_seq_len > 0) {
    row = std::max<int64_t>(row - m.contextual_seq_len + 1, 0);
    col = std::max<int64_t>(col - m.contextual_seq_len + 1, 0);
    max_id = n - m.contextual_seq_len + 1;
  }
  max_id -= t;
  row = std::min(row, max_id);
  col = std::min(col, max_id);
  int64_t distance = row - col;
  if (!m.causal && distance < 0) distance = -distance;
  bool valid = i == j || distance > 0;
  if (m.max_attn_len > 0) {
    const bool near = distance <= m.max_attn_len;
    const bool full = m.min_full_attn_seq_len > 0 && row >= max_id - m.min_full_attn_seq_len;
    valid = valid && (near || full);
  }
  if (m.contextual_seq_len > 0) valid = valid || (row == 0 && col < max_id);
  return valid;
}

// Dense, contiguous tensors [total, H, d]; values already rounded to the inputs' dtype.
struct HstuAttentionCase {
  int64_t heads = 1, dqk = 32, dv = 32;
  double alpha = 1, scaling_seqlen = 1;
  HstuMaskParams mask;
  std::vector<int64_t> offsets;      // [B + 1]
  std::vector<int64_t> num_targets;  // [B] or empty
  std::vector<double> attn_scale;    // [total] or empty
  std::vector<double> queries, keys, values;
};

struct HstuAttentionResult {
  std::vector<double> out;    // [total, H, dv]
  std::vector<double> terms;  // same shape: sum_j |a_ij v_j|, for error bounds
};

inline HstuAttentionResult hstu_attention(const HstuAttentionCase &c) {
  const int64_t batch = static_cast<int64_t>(c.offsets.size()) - 1;
  HstuAttentionResult r;
  r.out.assign(c.offsets[batch] * c.heads * c.dv, 0.0);
  r.terms.assign(r.out.size(), 0.0);
  for (int64_t b = 0; b < batch; ++b) {
    const int64_t first = c.offsets[b];
    const int64_t n = c.offsets[b + 1] - first;
    const int64_t t = c.num_targets.empty() ? 0 : c.num_targets[b];
    for (int64_t i = 0; i < n; ++i) {
      const double norm = c.attn_scale.empty() ? 1.0 / c.scaling_seqlen : c.attn_scale[first + i];
      for (int64_t j = 0; j < n; ++j) {
        if (!hstu_allowed(c.mask, n, t, i, j)) continue;
        for (int64_t h = 0; h < c.heads; ++h) {
          const double *q = &c.queries[((first + i) * c.heads + h) * c.dqk];
          const double *k = &c.keys[((first + j) * c.heads + h) * c.dqk];
          const double *v = &c.values[((first + j) * c.heads + h) * c.dv];
          double s = 0;
          for (int64_t d = 0; d < c.dqk; ++d) s += q[d] * k[d];
          s *= c.alpha;
          const double a = s / (1.0 + std::exp(-s)) * norm;
          double *o = &r.out[((first + i) * c.heads + h) * c.dv];
          double *e = &r.terms[((first + i) * c.heads + h) * c.dv];
          for (int64_t d = 0; d < c.dv; ++d) {
            o[d] += a * v[d];
            e[d] += std::fabs(a * v[d]);
          }
        }
      }
    }
  }
  return r;
}

}  // namespace jindou::reference

#endif
