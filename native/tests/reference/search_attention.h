// search_attention in float64, straight from jindou/search_attention.h.
#ifndef JINDOU_TESTS_REFERENCE_SEARCH_ATTENTION_H
#define JINDOU_TESTS_REFERENCE_SEARCH_ATTENTION_H

#include <cmath>
#include <cstdint>
#include <vector>

namespace jindou::reference {

struct SearchAttentionCase {
  int64_t heads = 1, kv_heads = 1, dqk = 32, dv = 32, k = 1;
  double scale = 1;
  double scaling_seqlen = 0;  // 0 = softmax, else SiLU
  std::vector<int64_t> candidate_offsets, history_offsets;
  std::vector<double> candidates, keys, values;
  std::vector<int64_t> indices;  // [sum nc, k]
};

struct SearchAttentionResult {
  std::vector<double> out, lse;  // [sum nc, H, dv], [sum nc, H]
  std::vector<double> terms;     // with SiLU: sum_j |weight_j v_j| of each element of out
};

// Indices out of range count as -1.
inline SearchAttentionResult search_attention(const SearchAttentionCase &c) {
  const size_t batch = c.candidate_offsets.size() - 1;
  SearchAttentionResult r;
  r.out.assign(c.candidate_offsets[batch] * c.heads * c.dv, 0.0);
  r.terms = r.out;
  r.lse.assign(c.candidate_offsets[batch] * c.heads, -INFINITY);
  for (size_t b = 0; b < batch; ++b) {
    const int64_t begin = c.history_offsets[b], events = c.history_offsets[b + 1] - begin;
    for (int64_t i = c.candidate_offsets[b]; i < c.candidate_offsets[b + 1]; ++i) {
      for (int64_t h = 0; h < c.heads; ++h) {
        const int64_t row = i * c.heads + h, kv_head = h / (c.heads / c.kv_heads);
        std::vector<double> scores;
        std::vector<int64_t> rows;
        double top = -INFINITY, sum = 0;
        for (int64_t n = 0; n < c.k; ++n) {
          const int64_t index = c.indices[i * c.k + n];
          if (index < 0 || index >= events) continue;
          const int64_t key = (begin + index) * c.kv_heads + kv_head;
          double dot = 0;
          for (int64_t d = 0; d < c.dqk; ++d) dot += c.candidates[row * c.dqk + d] * c.keys[key * c.dqk + d];
          scores.push_back(dot * c.scale);
          rows.push_back(key);
          top = std::fmax(top, scores.back());
        }
        for (const double s : scores) sum += std::exp(s - top);
        for (size_t n = 0; n < scores.size(); ++n) {
          const double weight = c.scaling_seqlen != 0 ? scores[n] / (1 + std::exp(-scores[n])) / c.scaling_seqlen
                                                      : std::exp(scores[n] - top) / sum;
          for (int64_t d = 0; d < c.dv; ++d) {
            r.out[row * c.dv + d] += weight * c.values[rows[n] * c.dv + d];
            r.terms[row * c.dv + d] += std::fabs(weight * c.values[rows[n] * c.dv + d]);
          }
        }
        if (!scores.empty()) r.lse[row] = top + std::log(sum);
      }
    }
  }
  return r;
}

}  // namespace jindou::reference

#endif
