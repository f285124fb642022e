// longer_attention in float64, straight from jindou/longer_attention.h: for every row and key whether it sees it, then a softmax. The history
// is dense [total, Hkv, d]: what pages stand for.
#ifndef JINDOU_TESTS_REFERENCE_LONGER_ATTENTION_H
#define JINDOU_TESTS_REFERENCE_LONGER_ATTENTION_H

#include <cmath>
#include <cstdint>
#include <vector>

namespace jindou::reference {

struct LongerAttentionCase {
  int64_t heads = 1, kv_heads = 1, dqk = 32, dv = 32;
  int64_t num_global = 0, num_shared = 0;
  bool candidates_only = false;
  double scale = 1;
  std::vector<int64_t> q_offsets, global_offsets, k_offsets;  // global_offsets: zeros where there is no global
  std::vector<double> queries, global_keys, global_values, keys, values;
};

struct LongerAttentionResult {
  std::vector<double> out, lse;
};

// A row or a key of one user.
struct LongerToken {
  enum Sort { kShared, kOwn, kEvent } sort;
  int64_t number;  // kOwn: of the candidate; kEvent: of the event
};

inline bool longer_sees(const LongerToken &row, const LongerToken &key) {
  switch (key.sort) {
    case LongerToken::kShared: return true;
    case LongerToken::kOwn: return row.sort == LongerToken::kOwn && row.number == key.number;
    default: return row.sort != LongerToken::kEvent || key.number <= row.number;
  }
}

inline LongerAttentionResult longer_attention(const LongerAttentionCase &c) {
  const size_t batch = c.q_offsets.size() - 1;
  LongerAttentionResult r;
  r.out.assign(c.q_offsets[batch] * c.heads * c.dv, 0.0);
  r.lse.assign(c.q_offsets[batch] * c.heads, -INFINITY);
  for (size_t b = 0; b < batch; ++b) {
    const int64_t globals = c.global_offsets[b + 1] - c.global_offsets[b], events = c.k_offsets[b + 1] - c.k_offsets[b];
    const int64_t rows = c.q_offsets[b + 1] - c.q_offsets[b];
    std::vector<LongerToken> queries, keys;
    for (int64_t i = 0; i < globals; ++i) {
      const bool shared = i < c.num_shared;
      const LongerToken token = {shared ? LongerToken::kShared : LongerToken::kOwn,
                                 shared ? 0 : (i - c.num_shared) / (c.num_global - c.num_shared)};
      keys.push_back(token);
      if (!shared || !c.candidates_only) queries.push_back(token);
    }
    const int64_t recent = rows - static_cast<int64_t>(queries.size());
    for (int64_t e = 0; e < events; ++e) keys.push_back({LongerToken::kEvent, e});
    for (int64_t i = 0; i < recent; ++i) queries.push_back({LongerToken::kEvent, events - recent + i});
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t h = 0; h < c.heads; ++h) {
        const int64_t row = (c.q_offsets[b] + i) * c.heads + h, kv_head = h / (c.heads / c.kv_heads);
        std::vector<double> s(keys.size(), -INFINITY);
        double top = -INFINITY, sum = 0;
        const auto place = [&](size_t j) {
          const bool global = j < static_cast<size_t>(globals);
          const int64_t at = global ? c.global_offsets[b] + static_cast<int64_t>(j) : c.k_offsets[b] + static_cast<int64_t>(j) - globals;
          return at * c.kv_heads + kv_head;
        };
        for (size_t j = 0; j < keys.size(); ++j) {
          if (!longer_sees(queries[i], keys[j])) continue;
          const double *k = &(j < static_cast<size_t>(globals) ? c.global_keys : c.keys)[place(j) * c.dqk];
          double dot = 0;
          for (int64_t d = 0; d < c.dqk; ++d) dot += c.queries[row * c.dqk + d] * k[d];
          s[j] = dot * c.scale;
          top = std::fmax(top, s[j]);
        }
        if (top == -INFINITY) continue;
        for (const double x : s) sum += std::exp(x - top);
        for (size_t j = 0; j < keys.size(); ++j) {
          if (s[j] == -INFINITY) continue;
          const double *v = &(j < static_cast<size_t>(globals) ? c.global_values : c.values)[place(j) * c.dv];
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
