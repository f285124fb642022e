// beam_attention in float64, straight from jindou/beam_attention.h. The prefix is dense [total, Hkv, d]: what pages stand for. An
// ancestry entry outside the slots hides its level from its beam.
#ifndef JINDOU_TESTS_REFERENCE_BEAM_ATTENTION_H
#define JINDOU_TESTS_REFERENCE_BEAM_ATTENTION_H

#include <cmath>
#include <cstdint>
#include <vector>

namespace jindou::reference {

struct BeamAttentionCase {
  int64_t heads = 1, kv_heads = 1, dqk = 32, dv = 32, levels = 0, slots = 1;
  double scale = 1;
  std::vector<int64_t> beam_offsets, prefix_offsets, suffix_lens;
  std::vector<double> queries, keys, values;           // [sum W, H, dqk], [total, Hkv, d]
  std::vector<double> suffix_keys, suffix_values;      // [B, L, S, Hkv, d]
  std::vector<int64_t> ancestry;                       // [B, L, S]
};

struct BeamAttentionResult {
  std::vector<double> out, lse;  // [sum W, H, dv], [sum W, H]
};

inline BeamAttentionResult beam_attention(const BeamAttentionCase &c) {
  const size_t batch = c.beam_offsets.size() - 1;
  BeamAttentionResult r;
  r.out.assign(c.beam_offsets[batch] * c.heads * c.dv, 0.0);
  r.lse.assign(c.beam_offsets[batch] * c.heads, -INFINITY);
  for (size_t b = 0; b < batch; ++b) {
    for (int64_t w = 0; w < c.beam_offsets[b + 1] - c.beam_offsets[b]; ++w) {
      for (int64_t h = 0; h < c.heads; ++h) {
        const int64_t row = (c.beam_offsets[b] + w) * c.heads + h, kv_head = h / (c.heads / c.kv_heads);
        std::vector<const double *> keys, values;
        for (int64_t j = c.prefix_offsets[b]; j < c.prefix_offsets[b + 1]; ++j) {
          keys.push_back(&c.keys[(j * c.kv_heads + kv_head) * c.dqk]);
          values.push_back(&c.values[(j * c.kv_heads + kv_head) * c.dv]);
        }
        for (int64_t l = 0; l < (c.levels ? c.suffix_lens[b] : 0); ++l) {
          const int64_t level = static_cast<int64_t>(b) * c.levels + l, slot = c.ancestry[level * c.slots + w];
          if (slot < 0 || slot >= c.slots) continue;
          keys.push_back(&c.suffix_keys[((level * c.slots + slot) * c.kv_heads + kv_head) * c.dqk]);
          values.push_back(&c.suffix_values[((level * c.slots + slot) * c.kv_heads + kv_head) * c.dv]);
        }
        std::vector<double> s;
        double top = -INFINITY, sum = 0;
        for (const double *k : keys) {
          double dot = 0;
          for (int64_t d = 0; d < c.dqk; ++d) dot += c.queries[row * c.dqk + d] * k[d];
          s.push_back(dot * c.scale);
          top = std::fmax(top, s.back());
        }
        if (s.empty()) continue;
        for (const double x : s) sum += std::exp(x - top);
        for (size_t j = 0; j < s.size(); ++j) {
          const double weight = std::exp(s[j] - top) / sum;
          for (int64_t d = 0; d < c.dv; ++d) r.out[row * c.dv + d] += weight * values[j][d];
        }
        r.lse[row] = top + std::log(sum);
      }
    }
  }
  return r;
}

}  // namespace jindou::reference

#endif
