// A paged cache for tests: pages poisoned, page numbers shuffled, filled by paged_append; and what its rows stand for, in
// float64, by arithmetic of its own.
#ifndef JINDOU_TESTS_PAGED_SUPPORT_H
#define JINDOU_TESTS_PAGED_SUPPORT_H

#include "operators_support.h"
#include "reference/float8.h"

namespace jindou::testing {

struct PagedShape {
  int32_t cache_dtype = JD_F32;
  int64_t page_size = 16, heads = 1, dim_k = 32, dim_v = 32, batch = 1, max_pages = 1;
  bool scale_a_page = false;  // fp8: a scale a page and head, else one for all
  int64_t padding = 0;        // between rows of a page, in elements
};

// Rows of one head as a cache keeps them: rounded, or code * scale in f32.
inline std::vector<double> kept(const std::vector<double> &row, int32_t cache_dtype, float scale) {
  std::vector<double> result;
  float most = 0;
  for (const double x : row) most = std::max(most, static_cast<float>(std::fabs(x)));
  if (cache_dtype == JD_I8) scale = most / 127.0f;
  for (const double x : row) {
    const float quotient = static_cast<float>(x) / scale;
    if (cache_dtype == JD_F8_E4M3) {
      result.push_back(static_cast<float>(reference::e4m3_value(reference::e4m3_code(quotient))) * scale);
    } else if (cache_dtype == JD_I8) {
      result.push_back(scale == 0 ? 0.0 : static_cast<float>(std::nearbyint(quotient)) * scale);
    } else {
      result.push_back(rounded(x, cache_dtype));
    }
  }
  return result;
}

class PagedStore {
 public:
  PagedStore(Rig &r, const PagedShape &s, uint64_t seed = 1) : rig(r), shape(s), num_pages(s.batch * s.max_pages + 3) {
    std::vector<int64_t> numbers;
    for (int64_t i = 0; i < num_pages; ++i) numbers.push_back(i);
    std::mt19937_64 engine(seed);
    std::shuffle(numbers.begin(), numbers.end(), engine);
    table.assign(numbers.begin(), numbers.begin() + s.batch * s.max_pages);
    lengths.assign(static_cast<size_t>(s.batch), 0);
    key_pages = pages(s.dim_k);
    value_pages = pages(s.dim_v);
    Random random(seed + 7);
    if (s.cache_dtype == JD_F8_E4M3) {
      const int64_t count = s.scale_a_page ? num_pages * s.heads : 1;
      for (auto *all : {&key_scale, &value_scale}) {
        for (int64_t i = 0; i < count; ++i) all->push_back(static_cast<float>(random.uniform(0.002, 0.02)));
      }
      const std::vector<int64_t> of = s.scale_a_page ? std::vector<int64_t>{num_pages, s.heads} : std::vector<int64_t>{1};
      key_scales = rig.tensor(JD_F32, of, key_scale);
      value_scales = rig.tensor(JD_F32, of, value_scale);
    } else if (s.cache_dtype == JD_I8) {
      key_scales = rig.poisoned(JD_F32, {num_pages, s.page_size, s.heads});
      value_scales = rig.poisoned(JD_F32, {num_pages, s.page_size, s.heads});
    }
  }

  // The desc and args of append and gather but for the rows.
  jd_paged_cache_desc desc(int32_t dtype, int32_t offset_dtype = JD_I64) const {
    jd_paged_cache_desc d{};
    d.struct_size = sizeof d;
    d.dtype = dtype;
    d.cache_dtype = shape.cache_dtype;
    d.offset_dtype = offset_dtype;
    d.page_size = static_cast<int32_t>(shape.page_size);
    d.num_kv_heads = static_cast<int32_t>(shape.heads);
    d.head_dim_k = static_cast<int32_t>(shape.dim_k);
    d.head_dim_v = static_cast<int32_t>(shape.dim_v);
    d.max_batch = std::max<int64_t>(shape.batch, 1);
    return d;
  }
  jd_paged_cache_args args() {
    jd_paged_cache_args a{};
    a.struct_size = sizeof a;
    a.key_pages = key_pages;
    a.value_pages = value_pages;
    a.page_table = page_table();
    a.seq_lens = seq_lens();
    a.key_scales = key_scales;
    a.value_scales = value_scales;
    return a;
  }
  jd_tensor page_table() {
    return rig.tensor(JD_I32, {shape.batch, shape.max_pages}, std::vector<double>(table.begin(), table.end()));
  }
  jd_tensor seq_lens() { return rig.integers(JD_I32, lengths); }

  // Appends counts[b] rows to sequence b; keys and values dense [total, heads, dim] numbers of `dtype`. The tensor of keys
  // has gaps between heads, that of values has none.
  void append(int32_t dtype, const std::vector<int64_t> &counts, const std::vector<double> &keys,
              const std::vector<double> &values, int32_t offset_dtype = JD_I64) {
    const std::vector<int64_t> offsets = offsets_of(counts);
    const jd_paged_cache_desc d = desc(dtype, offset_dtype);
    Error error;
    jd_plan plan = 0;
    rig.check(jd_paged_append_plan(rig.device, &d, &plan, &error), error);
    rig.keep(plan);
    jd_paged_cache_args a = args();
    a.keys = rig.tensor(dtype, {offsets.back(), shape.heads, shape.dim_k}, keys, 8);
    a.values = rig.tensor(dtype, {offsets.back(), shape.heads, shape.dim_v}, values);
    a.offsets = rig.integers(offset_dtype, offsets);
    rig.check(jd_paged_append_run(plan, rig.stream, &a, &error), error);
    rig.check(jd_stream_synchronize(rig.stream, &error), error);
    for (size_t b = 0; b < counts.size(); ++b) lengths[b] += counts[b];
  }

  // The scale of a row that a quantised cache was given (fp8).
  float scale(const std::vector<double> &scales, int64_t b, int64_t row, int64_t head) const {
    if (scales.empty()) return 1;
    if (!shape.scale_a_page) return static_cast<float>(scales[0]);
    return static_cast<float>(scales[table[b * shape.max_pages + row / shape.page_size] * shape.heads + head]);
  }

  // What the rows [total, heads, dim], jagged by counts, the first of each sequence being row first[b], stand for.
  std::vector<double> as_kept(const std::vector<double> &rows, int64_t dim, const std::vector<double> &scales,
                              const std::vector<int64_t> &counts, const std::vector<int64_t> &first) const {
    std::vector<double> result;
    size_t at = 0;
    for (size_t b = 0; b < counts.size(); ++b) {
      for (int64_t i = 0; i < counts[b]; ++i) {
        for (int64_t h = 0; h < shape.heads; ++h, at += dim) {
          const std::vector<double> row(rows.begin() + at, rows.begin() + at + dim);
          const std::vector<double> x = kept(row, shape.cache_dtype, scale(scales, b, first[b] + i, h));
          result.insert(result.end(), x.begin(), x.end());
        }
      }
    }
    return result;
  }

  Rig &rig;
  const PagedShape shape;
  const int64_t num_pages;
  std::vector<int64_t> table, lengths;
  std::vector<double> key_scale, value_scale;  // fp8
  jd_tensor key_pages = 0, value_pages = 0, key_scales = 0, value_scales = 0;

 private:
  jd_tensor pages(int64_t dim) {
    return rig.poisoned(shape.cache_dtype, {num_pages, shape.page_size, shape.heads, dim}, shape.padding);
  }
};

}  // namespace jindou::testing

#endif
