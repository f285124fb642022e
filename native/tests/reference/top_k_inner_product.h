// top_k_inner_product in float64, straight from jindou/top_k_inner_product.h: every score of every allowed item, sorted whole.
#ifndef JINDOU_TESTS_REFERENCE_TOP_K_INNER_PRODUCT_H
#define JINDOU_TESTS_REFERENCE_TOP_K_INNER_PRODUCT_H

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace jindou::reference {

struct TopKCase {
  int64_t dim = 8, k = 1, num_queries = 0, num_items = 0;
  std::vector<double> queries, items;
  // By item, or by query and item; empty: all.
  std::vector<bool> allowed;

  bool allows(int64_t q, int64_t j) const {
    if (allowed.empty()) return true;
    return allowed[static_cast<int64_t>(allowed.size()) == num_items ? j : q * num_items + j];
  }
  double score(int64_t q, int64_t j) const {
    double sum = 0;
    for (int64_t d = 0; d < dim; ++d) sum += queries[q * dim + d] * items[j * dim + d];
    return sum;
  }
};

struct FoundItem {
  int64_t index;
  double score;
};

// For each query all items that can be found, the best first (the operator gives the first k).
inline std::vector<std::vector<FoundItem>> top_k_inner_product(const TopKCase &c) {
  std::vector<std::vector<FoundItem>> all(static_cast<size_t>(c.num_queries));
  for (int64_t q = 0; q < c.num_queries; ++q) {
    std::vector<FoundItem> &found = all[q];
    for (int64_t j = 0; j < c.num_items; ++j) {
      if (!c.allows(q, j)) continue;
      const double s = c.score(q, j);
      if (s > -INFINITY) found.push_back({j, s});  // neither NaN nor -infinity
    }
    std::stable_sort(found.begin(), found.end(), [](const FoundItem &a, const FoundItem &b) { return a.score > b.score; });
  }
  return all;
}

}  // namespace jindou::reference

#endif
