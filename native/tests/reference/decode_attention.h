// decode_attention in float64, straight from jindou/decode.h. Keys and values are dense [total, Hkv, d]: what the pages stand for.
#ifndef JINDOU_TESTS_REFERENCE_DECODE_ATTENTION_H
#define JINDOU_TESTS_REFERENCE_DECODE_ATTENTION_H

#include <cmath>
#include <cstdint>
#include <vector>

namespace jindou::reference {

struct DecodeAttentionCase {
  int64_t heads = 1, kv_heads = 1, dqk = 32, dv = 32;
  double scale = 1;
  std::vector<int64_t> q_offsets, k_offsets;
  std::vector<double> queries, keys, values;
};

struct DecodeAttentionResult {
  std::vector<double> out, lse;  // [sum nq, H, dv], [sum nq, H]
};

inline DecodeAttentionResult decode_attention(const DecodeAttentionCase &c) {
  const size_t batch = c.q_offsets.size() - 1;
  DecodeAttentionResult r;
  r.out.assign(c.q_offsets[batch] * c.heads * c.dv, 0.0);
  r.lse.assign(c.q_offsets[batch] * c.heads, -INFINITY);
  for (size_t b = 0; b < batch; ++b) {
    const int64_t nq = c.q_offsets[b + 1] - c.q_offsets[b], nk = c.k_offsets[b + 1] - c.k_offsets[b];
    for (int64_t i = 0; i < nq; ++i) {
      const int64_t last = nk - nq + i;
      for (int64_t h = 0; h < c.heads; ++h) {
        const int64_t row = (c.q_offsets[b] + i) * c.heads + h, kv_head = h / (c.heads / c.kv_heads);
        std::vector<double> s;
        double top = -INFINITY, sum = 0;
        for (int64_t j = 0; j <= last; ++j) {
          const double *k = &c.keys[((c.k_offsets[b] + j) * c.kv_heads + kv_head) * c.dqk];
          double dot = 0;
          for (int64_t d = 0; d < c.dqk; ++d) dot += c.queries[row * c.dqk + d] * k[d];
          s.push_back(dot * c.scale);
          top = std::fmax(top, s.back());
        }
        for (const double x : s) sum += std::exp(x - top);
        for (int64_t j = 0; j <= last; ++j) {
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

}  // namespace jindou::reference

#endif
