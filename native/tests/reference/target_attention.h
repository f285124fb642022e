// target_attention in float64, straight from the specification (jindou/attention.h).
#ifndef JINDOU_TESTS_REFERENCE_TARGET_ATTENTION_H
#define JINDOU_TESTS_REFERENCE_TARGET_ATTENTION_H

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace jindou::reference {

// Dense, contiguous tensors; values already rounded to the inputs' dtype.
struct TargetAttentionCase {
  int64_t heads = 1, kv_heads = 1, dqk = 32, dv = 32;
  double scale = 1;
  bool self_key = false;
  int64_t num_latest = 0;                                      // 0 = all
  double scaling_seqlen = 0;                                   // 0 = softmax, else SiLU
  std::vector<int64_t> candidate_offsets, history_offsets;     // [B + 1]
  std::vector<double> candidates;                              // [sum nc, H, dqk]
  std::vector<double> keys, values;                            // [sum nk, Hkv, d]
  std::vector<double> candidate_keys, candidate_values;        // [sum nc, Hkv, d] or empty
};

// `terms` (optional), with SiLU: sum_j |weight_j v_j| of each element, for error bounds.
inline std::vector<double> target_attention(const TargetAttentionCase &c, std::vector<double> *terms = nullptr) {
  const int64_t batch = static_cast<int64_t>(c.candidate_offsets.size()) - 1;
  std::vector<double> out(c.candidate_offsets[batch] * c.heads * c.dv, 0.0);
  if (terms) terms->assign(out.size(), 0.0);
  std::vector<double> score;
  std::vector<const double *> value;
  for (int64_t b = 0; b < batch; ++b) {
    const int64_t end = c.history_offsets[b + 1];
    int64_t begin = c.history_offsets[b];
    if (c.num_latest > 0) begin = std::max(begin, end - c.num_latest);
    for (int64_t i = c.candidate_offsets[b]; i < c.candidate_offsets[b + 1]; ++i) {
      for (int64_t h = 0; h < c.heads; ++h) {
        const int64_t kv = h / (c.heads / c.kv_heads);
        const double *q = &c.candidates[(i * c.heads + h) * c.dqk];
        score.clear();
        value.clear();
        auto see = [&](const std::vector<double> &keys, const std::vector<double> &values, int64_t j) {
          double s = 0;
          for (int64_t d = 0; d < c.dqk; ++d) s += q[d] * keys[(j * c.kv_heads + kv) * c.dqk + d];
          score.push_back(s * c.scale);
          value.push_back(&values[(j * c.kv_heads + kv) * c.dv]);
        };
        for (int64_t j = begin; j < end; ++j) see(c.keys, c.values, j);
        if (c.self_key) see(c.candidate_keys, c.candidate_values, i);
        if (score.empty()) continue;
        if (c.scaling_seqlen != 0) {
          for (size_t j = 0; j < score.size(); ++j) {
            const double a = score[j] / (1 + std::exp(-score[j])) / c.scaling_seqlen;
            for (int64_t d = 0; d < c.dv; ++d) {
              out[(i * c.heads + h) * c.dv + d] += a * value[j][d];
              if (terms) (*terms)[(i * c.heads + h) * c.dv + d] += std::fabs(a * value[j][d]);
            }
          }
          continue;
        }
        const double top = *std::max_element(score.begin(), score.end());
        double sum = 0;
        double *o = &out[(i * c.heads + h) * c.dv];
        for (size_t j = 0; j < score.size(); ++j) {
          const double p = std::exp(score[j] - top);
          sum += p;
          for (int64_t d = 0; d < c.dv; ++d) o[d] += p * value[j][d];
        }
        for (int64_t d = 0; d < c.dv; ++d) o[d] /= sum;
      }
    }
  }
  return out;
}

}  // namespace jindou::reference

#endif
