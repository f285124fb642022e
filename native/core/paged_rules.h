// Rules of a paged cache's tensors (jindou/paged_cache.h), for every operator that reads or writes one.
#ifndef JINDOU_CORE_PAGED_RULES_H
#define JINDOU_CORE_PAGED_RULES_H

#include <cinttypes>

#include "core/rules.h"

namespace jindou::core {

inline constexpr int64_t kMaxPagedRows = 1 << 30;  // of a sequence, by the width of a page table

inline void check_page_size(Rules &rules, const char *name, int64_t rows) {
  if (rows == 16 || rows == 32 || rows == 64 || rows == 128) return;
  rules.fail(JD_INVALID_ARGUMENT, name, "expected pages of 16, 32, 64 or 128 rows, got %" PRId64, rows);
}

inline void check_cache_dim(Rules &rules, const char *name, int32_t dim) {
  if (dim >= 32 && dim <= 256 && dim % 32 == 0) return;
  rules.fail(JD_INVALID_ARGUMENT, name, "expected a multiple of 32 up to 256, got %d", dim);
}

// Absent for pages that are not quantised; else shaped as the cache's dtype asks.
inline void check_page_scales(Rules &rules, const char *name, const jdb_tensor &t, int32_t cache_dtype, int64_t num_pages,
                              int64_t page_size, int64_t heads) {
  const bool wanted = cache_dtype == JD_F8_E4M3 || cache_dtype == JD_I8;
  rules.presence(name, t, wanted, wanted ? "the pages are quantised" : "the pages are not quantised");
  if (rules.broken() || !wanted) return;
  if (cache_dtype == JD_I8) {
    rules.tensor(name, t, JD_F32, {num_pages, page_size, heads});
  } else if (t.rank == 1) {
    rules.tensor(name, t, JD_F32, {1});
  } else {
    rules.tensor(name, t, JD_F32, {num_pages, heads});
  }
  rules.contiguous_last(name, t);
}

struct PagedTensors {
  const jdb_tensor &key_pages, &value_pages, &page_table, &seq_lens, &key_scales, &value_scales;
};

// Pages of `cache_dtype`; batch sequences.
inline void check_paged_cache(Rules &rules, const PagedTensors &t, int32_t cache_dtype, int64_t page_size, int64_t heads,
                              int64_t dim_k, int64_t dim_v, int64_t batch) {
  rules.tensor("key_pages", t.key_pages, cache_dtype, {kAny, page_size, heads, dim_k});
  rules.aligned_rows("key_pages", t.key_pages);
  if (rules.broken()) return;
  const int64_t num_pages = t.key_pages.shape[0];
  if (num_pages > INT32_MAX) rules.fail(JD_INVALID_ARGUMENT, "key_pages", "expected at most 2147483647 pages, got %" PRId64, num_pages);
  rules.tensor("value_pages", t.value_pages, cache_dtype, {num_pages, page_size, heads, dim_v});
  rules.aligned_rows("value_pages", t.value_pages);
  rules.tensor("page_table", t.page_table, JD_I32, {batch, kAny});
  rules.contiguous_last("page_table", t.page_table);
  rules.tensor("seq_lens", t.seq_lens, JD_I32, {batch});
  rules.contiguous_last("seq_lens", t.seq_lens);
  if (rules.broken()) return;
  if (t.page_table.shape[1] > kMaxPagedRows / page_size) {
    rules.fail(JD_INVALID_ARGUMENT, "page_table", "expected at most %" PRId64 " pages a sequence, got %" PRId64,
               kMaxPagedRows / page_size, t.page_table.shape[1]);
  }
  check_page_scales(rules, "key_scales", t.key_scales, cache_dtype, num_pages, page_size, heads);
  check_page_scales(rules, "value_scales", t.value_scales, cache_dtype, num_pages, page_size, heads);
}

}  // namespace jindou::core

#endif
