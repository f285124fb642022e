// Small tensors for the probes: one sequence of a few rows.
#ifndef JINDOU_TESTS_OPERATOR_TABLE_ROWS_H
#define JINDOU_TESTS_OPERATOR_TABLE_ROWS_H

#include "operator_table/probe.h"
#include "paged_support.h"

namespace jindou::operator_table {

constexpr int64_t kHeads = 2, kRows = 5, kQueries = 2;

inline jd_tensor rows(testing::Rig &rig, int32_t dtype, int64_t count, int64_t dim, int64_t heads = kHeads) {
  return rig.tensor(dtype, {count, heads, dim}, testing::Random(3).values(count * heads * dim, dtype));
}

inline jd_tensor offsets(testing::Rig &rig, int64_t count) { return rig.integers(JD_I64, {0, count}); }

// A cache that holds kRows rows of one sequence; `cache_dtype` 0: the shape's dtype.
struct Cache {
  Cache(testing::Rig &rig, const Shape &s, int32_t cache_dtype, int64_t heads = kHeads)
      : store(rig, paged_shape(s, cache_dtype, heads)) {
    testing::Random random(4);
    store.append(s.dtype, {kRows}, random.values(kRows * heads * s.dqk, s.dtype),
                 random.values(kRows * heads * s.dv, s.dtype));
    args = store.args();
  }

  static testing::PagedShape paged_shape(const Shape &s, int32_t cache_dtype, int64_t heads) {
    testing::PagedShape p;
    p.cache_dtype = cache_dtype ? cache_dtype : s.dtype;
    p.heads = heads;
    p.dim_k = s.dqk;
    p.dim_v = s.dv;
    return p;
  }

  testing::PagedStore store;
  jd_paged_cache_args args;
};

}  // namespace jindou::operator_table

#endif
