// merge_tokens, straight from jindou/merge_tokens.h: out row j of a sequence of n events and m merged tokens holds in its slot s the event
// j * k + s - (m * k - n), or nothing (-1).
#ifndef JINDOU_TESTS_REFERENCE_MERGE_TOKENS_H
#define JINDOU_TESTS_REFERENCE_MERGE_TOKENS_H

#include <cstdint>
#include <vector>

namespace jindou::reference {

struct MergedTokens {
  std::vector<int64_t> offsets;  // of the merged tokens
  std::vector<int64_t> events;   // [merged tokens, k]: rows of x, -1 for zeros
};

inline MergedTokens merge_tokens(const std::vector<int64_t> &offsets, int64_t k) {
  MergedTokens r;
  r.offsets.push_back(0);
  for (size_t b = 0; b + 1 < offsets.size(); ++b) {
    const int64_t n = offsets[b + 1] - offsets[b];
    int64_t m = 0;
    while (m * k < n) ++m;
    r.offsets.push_back(r.offsets.back() + m);
    for (int64_t place = 0; place < m * k; ++place) {
      const int64_t event = place - (m * k - n);
      r.events.push_back(event < 0 ? -1 : offsets[b] + event);
    }
  }
  return r;
}

}  // namespace jindou::reference

#endif
