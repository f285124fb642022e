// history_search in float64, straight from jindou/history_search.h: every score of every event, sorted whole.
#ifndef JINDOU_TESTS_REFERENCE_HISTORY_SEARCH_H
#define JINDOU_TESTS_REFERENCE_HISTORY_SEARCH_H

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace jindou::reference {

struct Found {
  int64_t index;
  double score;
};

// The events of one candidate that can be found, the best first; `score(j)` of event j, larger is better.
template <class Score>
std::vector<Found> ranked(int64_t events, const Score &score) {
  std::vector<Found> all;
  for (int64_t j = 0; j < events; ++j) {
    const double s = score(j);
    if (s > -INFINITY) all.push_back({j, s});  // neither NaN nor -infinity
  }
  std::sort(all.begin(), all.end(), [](const Found &a, const Found &b) {
    return a.score != b.score ? a.score > b.score : a.index > b.index;
  });
  return all;
}

struct HistorySearchCase {
  enum Method { hard, dot, lsh } method = dot;
  int64_t dim = 0;  // elements; words of a signature
  int64_t k = 1;
  std::vector<int64_t> candidate_offsets, history_offsets;
  std::vector<double> queries, keys, bias;               // dot; bias may be empty
  std::vector<int64_t> query_categories, key_categories; // hard
  std::vector<uint64_t> query_words, key_words;          // lsh
};

// The score of candidate i and event j, both counted over the batch: q . k + bias; 0 or -infinity; minus the Hamming distance.
inline double search_score(const HistorySearchCase &c, int64_t i, int64_t j) {
  switch (c.method) {
    case HistorySearchCase::hard: return c.query_categories[i] == c.key_categories[j] ? 0.0 : -INFINITY;
    case HistorySearchCase::lsh: {
      int64_t distance = 0;
      for (int64_t w = 0; w < c.dim; ++w) {
        for (uint64_t x = c.query_words[i * c.dim + w] ^ c.key_words[j * c.dim + w]; x != 0; x &= x - 1) ++distance;
      }
      return -static_cast<double>(distance);
    }
    default: {
      double sum = c.bias.empty() ? 0.0 : c.bias[j];
      for (int64_t d = 0; d < c.dim; ++d) sum += c.queries[i * c.dim + d] * c.keys[j * c.dim + d];
      return sum;
    }
  }
}

// For each candidate all events that can be found, the best first (the operator gives the first k).
inline std::vector<std::vector<Found>> history_search(const HistorySearchCase &c) {
  std::vector<std::vector<Found>> all;
  for (size_t b = 0; b + 1 < c.candidate_offsets.size(); ++b) {
    const int64_t begin = c.history_offsets[b], events = c.history_offsets[b + 1] - begin;
    for (int64_t i = c.candidate_offsets[b]; i < c.candidate_offsets[b + 1]; ++i) {
      all.push_back(ranked(events, [&](int64_t j) { return search_score(c, i, begin + j); }));
    }
  }
  return all;
}

}  // namespace jindou::reference

#endif
