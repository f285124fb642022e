// Rules of the operators whose rows share one prefix, in rows or in pages: beam_attention, and longer_attention, to which it is a history.
#ifndef JINDOU_CORE_PREFIX_RULES_H
#define JINDOU_CORE_PREFIX_RULES_H

#include "core/attention_rules.h"
#include "core/paged_rules.h"

namespace jindou::core {

// The fields that the descriptions have in common, defaults filled in.
template <class Desc>
void check_prefix_description(Rules &rules, Desc &d) {
  if (d.out_dtype == 0) d.out_dtype = d.dtype;
  if (d.cache_dtype == 0) d.cache_dtype = d.dtype;
  if (d.num_kv_heads == 0) d.num_kv_heads = d.num_heads;
  rules.dtype("dtype", d.dtype, {JD_F32, JD_F16, JD_BF16});
  if (rules.broken()) return;
  if (d.dtype != JD_F32) {
    rules.dtype("out_dtype", d.out_dtype, {d.dtype, JD_F32});
  } else {
    rules.dtype("out_dtype", d.out_dtype, {JD_F32});
  }
  rules.dtype("cache_dtype", d.cache_dtype, {d.dtype, JD_F8_E4M3, JD_I8});
  rules.dtype("offset_dtype", d.offset_dtype, {JD_I32, JD_I64});
  rules.integer("num_heads", d.num_heads, 1, kMaxHeads);
  rules.integer("num_kv_heads", d.num_kv_heads, 1, d.num_heads);
  if (!rules.broken() && d.num_heads % d.num_kv_heads != 0) {
    rules.fail(JD_INVALID_ARGUMENT, "num_kv_heads", "expected a divisor of num_heads = %d, got %d", d.num_heads, d.num_kv_heads);
  }
  check_cache_dim(rules, "head_dim_qk", d.head_dim_qk);
  check_cache_dim(rules, "head_dim_v", d.head_dim_v);
  rules.finite("scale", d.scale);
  rules.integer("bounds", d.bounds, JD_BOUNDS_STRICT, JD_BOUNDS_ZERO);
}

inline void check_presence(Rules &rules, std::initializer_list<Rules::Input> tensors, bool wanted, const char *reason) {
  for (const Rules::Input &t : tensors) rules.presence(t.name, t.tensor, wanted, reason);
}

// Rows with offsets that the operator calls `offsets_name`, or pages; one of the two.
template <class Desc>
void check_prefix(Rules &rules, const Desc &d, const char *offsets_name, const jdb_beam_attention_args &a) {
  const bool is_paged = a.key_pages.dtype != 0;
  const std::initializer_list<Rules::Input> rows = {{"keys", a.keys}, {"values", a.values}, {offsets_name, a.prefix_offsets}};
  const std::initializer_list<Rules::Input> pages = {
      {"value_pages", a.value_pages}, {"page_table", a.page_table}, {"seq_lens", a.seq_lens}};
  check_presence(rules, rows, !is_paged, is_paged ? "there are key_pages" : "there are no key_pages");
  check_presence(rules, pages, is_paged, is_paged ? "there are key_pages" : "there are no key_pages");
  if (rules.broken()) return;
  if (is_paged) {
    if (a.key_pages.rank == 4) check_page_size(rules, "key_pages", a.key_pages.shape[1]);
    return check_paged_cache(rules, {a.key_pages, a.value_pages, a.page_table, a.seq_lens, a.key_scales, a.value_scales},
                             d.cache_dtype, a.key_pages.rank == 4 ? a.key_pages.shape[1] : kAny, d.num_kv_heads, d.head_dim_qk,
                             d.head_dim_v, a.batch);
  }
  if (d.cache_dtype != d.dtype) {
    rules.fail(JD_INVALID_ARGUMENT, "keys", "expected key_pages (the plan's cache_dtype is %s), got rows",
               jd_dtype_name(d.cache_dtype));
  }
  check_presence(rules, {{"key_scales", a.key_scales}, {"value_scales", a.value_scales}}, false, "there are no key_pages");
  check_rows(rules, "keys", a.keys, d.dtype, kAny, d.num_kv_heads, d.head_dim_qk);
  if (rules.broken()) return;
  check_rows(rules, "values", a.values, d.dtype, a.keys.shape[0], d.num_kv_heads, d.head_dim_v);
  rules.tensor(offsets_name, a.prefix_offsets, d.offset_dtype, {a.batch + 1});
  rules.contiguous_last(offsets_name, a.prefix_offsets);
}

}  // namespace jindou::core

#endif
