// softmax_attention and merge_attention_states in float64, straight from jindou/softmax_attention.h.
#ifndef JINDOU_TESTS_REFERENCE_SOFTMAX_ATTENTION_H
#define JINDOU_TESTS_REFERENCE_SOFTMAX_ATTENTION_H

#include <cmath>
#include <cstdint>
#include <vector>

namespace jindou::reference {

enum class SoftmaxMaskKind { none, causal, window };

// Rows and keys of one sequence.
struct SoftmaxMaskParams {
  SoftmaxMaskKind kind = SoftmaxMaskKind::none;
  int64_t left = -1, right = -1;  // of a window
  int64_t sink = 0, prefix = 0, num_global = 0;
};

inline bool softmax_allowed(const SoftmaxMaskParams &m, int64_t nq, int64_t nk, int64_t i, int64_t j) {
  const int64_t p = nk - nq + i;
  if (j < m.sink || j < m.num_global || i < m.num_global) return true;
  if (p < m.prefix && j < m.prefix) return true;
  switch (m.kind) {
    case SoftmaxMaskKind::none: return true;
    case SoftmaxMaskKind::causal: return j <= p;
    default: return (m.left < 0 || p - m.left <= j) && (m.right < 0 || j <= p + m.right);
  }
}

// transformers' T5Attention._relative_position_bucket, with logarithms in float64; a quotient within their rounding of an
// integer is that integer.
inline int64_t t5_bucket(int64_t relative, int64_t num_buckets, int64_t max_distance, bool bidirectional) {
  int64_t bucket = 0;
  if (bidirectional) {
    num_buckets /= 2;
    if (relative > 0) bucket += num_buckets;
    relative = relative < 0 ? -relative : relative;
  } else {
    relative = relative < 0 ? -relative : 0;
  }
  const int64_t max_exact = num_buckets / 2;
  if (relative < max_exact) return bucket + relative;
  const double exact = static_cast<double>(max_exact);
  const double x = std::log(static_cast<double>(relative) / exact) / std::log(static_cast<double>(max_distance) / exact) *
                   static_cast<double>(num_buckets - max_exact);
  const int64_t large = max_exact + static_cast<int64_t>(std::floor(x + 1e-12));
  return bucket + (large < num_buckets - 1 ? large : num_buckets - 1);
}

// Dense, contiguous tensors; values already rounded to the inputs' dtype.
struct SoftmaxAttentionCase {
  int64_t heads = 1, kv_heads = 1, dqk = 32, dv = 32;
  double scale = 1, softcap = 0;
  SoftmaxMaskParams mask;
  std::vector<double> alibi_slopes;             // [H], or empty
  std::vector<double> t5_bias;                  // [t5_num_buckets, H], or empty
  int64_t t5_num_buckets = 0, t5_max_distance = 0;
  bool t5_bidirectional = false;
  std::vector<double> bias;                     // [H, bias_rows, bias_keys], or with bias_batch [B, H, ...], or empty
  int64_t bias_rows = 0, bias_keys = 0;
  bool bias_batch = false;
  std::vector<int64_t> q_offsets, k_offsets;    // [B + 1]
  std::vector<double> queries, keys, values;    // [sum nq, H, dqk], [sum nk, Hkv, dqk], [sum nk, Hkv, dv]
};

struct AttentionState {
  std::vector<double> out, lse;  // [sum nq, H, dv], [sum nq, H]
};

inline double softmax_bias(const SoftmaxAttentionCase &c, size_t b, int64_t h, int64_t i, int64_t j, int64_t p) {
  double bias = 0;
  if (!c.alibi_slopes.empty()) bias -= c.alibi_slopes[h] * static_cast<double>(p > j ? p - j : j - p);
  if (!c.t5_bias.empty()) {
    bias += c.t5_bias[t5_bucket(j - p, c.t5_num_buckets, c.t5_max_distance, c.t5_bidirectional) * c.heads + h];
  }
  if (!c.bias.empty()) {
    const int64_t matrix = (c.bias_batch ? static_cast<int64_t>(b) * c.heads : 0) + h;
    bias += c.bias[(matrix * c.bias_rows + i) * c.bias_keys + j];
  }
  return bias;
}

inline AttentionState softmax_attention(const SoftmaxAttentionCase &c) {
  const size_t batch = c.q_offsets.size() - 1;
  AttentionState r;
  r.out.assign(c.q_offsets[batch] * c.heads * c.dv, 0.0);
  r.lse.assign(c.q_offsets[batch] * c.heads, -INFINITY);
  for (size_t b = 0; b < batch; ++b) {
    const int64_t nq = c.q_offsets[b + 1] - c.q_offsets[b], nk = c.k_offsets[b + 1] - c.k_offsets[b];
    for (int64_t i = 0; i < nq; ++i) {
      for (int64_t h = 0; h < c.heads; ++h) {
        const int64_t row = (c.q_offsets[b] + i) * c.heads + h, kv_head = h / (c.heads / c.kv_heads);
        std::vector<double> s(nk, -INFINITY);
        double top = -INFINITY, sum = 0;
        for (int64_t j = 0; j < nk; ++j) {
          if (!softmax_allowed(c.mask, nq, nk, i, j)) continue;
          const double *k = &c.keys[((c.k_offsets[b] + j) * c.kv_heads + kv_head) * c.dqk];
          double x = 0;
          for (int64_t d = 0; d < c.dqk; ++d) x += c.queries[row * c.dqk + d] * k[d];
          x *= c.scale;
          const double bias = softmax_bias(c, b, h, i, j, nk - nq + i);
          x += bias;
          if (c.softcap > 0) x = c.softcap * std::tanh(x / c.softcap);
          s[j] = x < -1e30 || (!c.bias.empty() && bias < -1e30) ? -INFINITY : x;
          top = std::fmax(top, s[j]);
        }
        if (top == -INFINITY) continue;
        for (const double x : s) sum += x == -INFINITY ? 0 : std::exp(x - top);
        for (int64_t j = 0; j < nk; ++j) {
          if (s[j] == -INFINITY) continue;
          const double *v = &c.values[((c.k_offsets[b] + j) * c.kv_heads + kv_head) * c.dv];
          const double weight = std::exp(s[j] - top) / sum;
          for (int64_t d = 0; d < c.dv; ++d) r.out[row * c.dv + d] += weight * v[d];
        }
        r.lse[row] = top + std::log(sum);
      }
    }
  }
  return r;
}

// `rows` states of d columns.
inline AttentionState merge_attention_states(const AttentionState &a, const AttentionState &b, int64_t d) {
  AttentionState r;
  r.out.assign(a.out.size(), 0.0);
  r.lse.assign(a.lse.size(), -INFINITY);
  for (size_t row = 0; row < a.lse.size(); ++row) {
    const double top = std::fmax(a.lse[row], b.lse[row]);
    if (top == -INFINITY) continue;
    const double from_a = std::exp(a.lse[row] - top), from_b = std::exp(b.lse[row] - top);
    for (int64_t at = static_cast<int64_t>(row) * d; at < static_cast<int64_t>(row + 1) * d; ++at) {
      if (from_a > 0) r.out[at] += from_a / (from_a + from_b) * a.out[at];
      if (from_b > 0) r.out[at] += from_b / (from_a + from_b) * b.out[at];
    }
    r.lse[row] = top + std::log(from_a + from_b);
  }
  return r;
}

}  // namespace jindou::reference

#endif
