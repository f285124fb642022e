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

// Research HSTU's bucket of a time difference.
inline int64_t hstu_time_bucket(int64_t a, int64_t b, int64_t num_buckets) {
  const long double dt = std::fabs(static_cast<long double>(a) - static_cast<long double>(b));
  const auto bucket = static_cast<int64_t>(std::floor(std::log(static_cast<double>(std::max<long double>(1, dt))) / 0.301));
  return std::min(std::max<int64_t>(bucket, 0), num_buckets);
}

// Dense, contiguous tensors [total, H, d]; values already rounded to the inputs' dtype. Queries are the last rows of each
// sequence where there are q_offsets.
struct HstuAttentionCase {
  int64_t heads = 1, dqk = 32, dv = 32;
  double alpha = 1, scaling_seqlen = 1;
  HstuMaskParams mask;
  std::vector<int64_t> offsets;      // [B + 1]
  std::vector<int64_t> num_targets;  // [B] or empty
  std::vector<double> attn_scale;    // [total queries] or empty
  std::vector<double> queries, keys, values;
  std::vector<int64_t> q_offsets;    // [B + 1] or empty: `offsets`
  std::vector<int64_t> timestamps;   // [total]
  std::vector<double> position_bias, time_bias;  // [n], [heads, n], or empty
  bool bias_per_head = false;

  // The position and time bias of head h, query row i and key row j of a sequence that begins with row `first`.
  double bias(int64_t first, int64_t h, int64_t i, int64_t j) const {
    const int64_t sets = bias_per_head ? heads : 1, set = bias_per_head ? h : 0;
    double sum = 0;
    if (!position_bias.empty()) {
      const int64_t distances = static_cast<int64_t>(position_bias.size()) / sets;
      sum += position_bias[static_cast<size_t>(set * distances + (distances + 1) / 2 - 1 + j - i)];
    }
    if (!time_bias.empty()) {
      const int64_t buckets = static_cast<int64_t>(time_bias.size()) / sets;
      sum += time_bias[static_cast<size_t>(
          set * buckets + hstu_time_bucket(timestamps[first + i], timestamps[first + j], buckets - 1))];
    }
    return sum;
  }
};

struct HstuAttentionResult {
  std::vector<double> out;    // [total, H, dv]
  std::vector<double> terms;  // same shape: sum_j |a_ij v_j|, for error bounds
};

inline HstuAttentionResult hstu_attention(const HstuAttentionCase &c) {
  const int64_t batch = static_cast<int64_t>(c.offsets.size()) - 1;
  const std::vector<int64_t> &of_queries = c.q_offsets.empty() ? c.offsets : c.q_offsets;
  HstuAttentionResult r;
  r.out.assign(of_queries[batch] * c.heads * c.dv, 0.0);
  r.terms.assign(r.out.size(), 0.0);
  for (int64_t b = 0; b < batch; ++b) {
    const int64_t first = c.offsets[b];
    const int64_t n = c.offsets[b + 1] - first;
    const int64_t t = c.num_targets.empty() ? 0 : c.num_targets[b];
    const int64_t first_row = n - (of_queries[b + 1] - of_queries[b]);
    for (int64_t i = first_row; i < n; ++i) {
      const int64_t query = of_queries[b] + i - first_row;
      const double norm = c.attn_scale.empty() ? 1.0 / c.scaling_seqlen : c.attn_scale[query];
      for (int64_t j = 0; j < n; ++j) {
        if (!hstu_allowed(c.mask, n, t, i, j)) continue;
        for (int64_t h = 0; h < c.heads; ++h) {
          const double *q = &c.queries[(query * c.heads + h) * c.dqk];
          const double *k = &c.keys[((first + j) * c.heads + h) * c.dqk];
          const double *v = &c.values[((first + j) * c.heads + h) * c.dv];
          double s = 0;
          for (int64_t d = 0; d < c.dqk; ++d) s += q[d] * k[d];
          s = s * c.alpha + c.bias(first, h, i, j);
          const double a = s / (1.0 + std::exp(-s)) * norm;
          double *o = &r.out[(query * c.heads + h) * c.dv];
          double *e = &r.terms[(query * c.heads + h) * c.dv];
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
