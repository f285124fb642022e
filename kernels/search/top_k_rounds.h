// Whether a search takes its items in one round or two (top_k.h), and how many come first. Every choice gives the same result.
#ifndef JINDOU_KERNELS_SEARCH_TOP_K_ROUNDS_H
#define JINDOU_KERNELS_SEARCH_TOP_K_ROUNDS_H

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "search/top_k.h"

namespace jindou::search {

// Of items in random order. One round: a list takes in all until it is full, then k for each e-fold of what it has seen. Two: all of the
// first, of the second what beats the k-th best of the first, whatever the lists.
inline double entries_of_one_round(int32_t k, double items, double lists) {
  const double each = items / lists, room = top_k_room(k);
  return lists * (each <= room ? each : room + k * std::log(each / room));
}
inline double entries_of_two_rounds(int32_t k, double items, double first) { return first + k * (items - first) / first; }

// Items of the first round: all of them where a second one would not pay. `lists`: of a search, if there is one round; `searches`: of a
// launch.
inline int64_t first_round(int32_t k, int64_t items, int64_t lists, int64_t searches, int32_t multiprocessors) {
  // Entries are fewest where both rounds have as many, k * items = first^2; those of the first, which come 32 a warp, cost less.
  constexpr int64_t kUnit = 256;
  const double wanted = std::sqrt(2.0 * k * static_cast<double>(items));
  const int64_t first = (static_cast<int64_t>(wanted) + kUnit) / kUnit * kUnit;
  if (2 * first > items) return items;
  const double all = static_cast<double>(items);
  const double saved = entries_of_one_round(k, all, static_cast<double>(lists)) - entries_of_two_rounds(k, all, static_cast<double>(first));
  // A round is two launches: some 8 us, in which a block merges 16,384 entries, and a multiprocessor writes and merges 8,192.
  const bool pays = saved > 16384 || saved * static_cast<double>(searches) > 8192.0 * multiprocessors;
  return pays ? first : items;
}

}  // namespace jindou::search

#endif
