// Rules that history_search and search_attention share: how many, and the tensors of results.
#ifndef JINDOU_CORE_SEARCH_RULES_H
#define JINDOU_CORE_SEARCH_RULES_H

#include "core/attention_rules.h"

namespace jindou::core {

inline constexpr int64_t kMaxFound = 2048;                // events a candidate
inline constexpr int64_t kMaxSearchCandidates = 1 << 20;  // of a user
inline constexpr int64_t kMaxSearchHistory = 1 << 30;     // events of a user

template <class Desc>
void check_search_limits(Rules &rules, const Desc &d) {
  rules.integer("k", d.k, 1, kMaxFound);
  rules.integer("bounds", d.bounds, JD_BOUNDS_STRICT, JD_BOUNDS_ZERO);
  rules.zero("reserved", d.reserved);
  rules.integer("max_batch", d.max_batch, 1, kMaxBatch);
  rules.integer("max_candidates", d.max_candidates, 1, kMaxSearchCandidates);
  rules.integer("max_history", d.max_history, 1, kMaxSearchHistory);
}

// A tensor of `columns` results a row.
inline void check_results(Rules &rules, const char *name, const jdb_tensor &t, int32_t dtype, int64_t rows, int64_t columns) {
  rules.tensor(name, t, dtype, {rows, columns});
  rules.contiguous_last(name, t);
}

}  // namespace jindou::core

#endif
