// paged_append and paged_gather through the C ABI: what is appended comes back, bit for bit what the dtype keeps of it.
#include "paged_support.h"

namespace jindou::testing {
namespace {

class PagedCache : public ::testing::TestWithParam<std::string> {
 protected:
  // The last counts[b] rows of each sequence, as numbers of `dtype`; a failed run gives its message.
  struct Rows {
    std::vector<double> keys, values;
    std::vector<uint32_t> key_bits;
    std::string failure;
    int64_t skipped = 0;
  };
  Rows gather(PagedStore &store, int32_t dtype, const std::vector<int64_t> &counts, int32_t bounds = JD_BOUNDS_STRICT) {
    Rig &rig = store.rig;
    const std::vector<int64_t> offsets = offsets_of(counts);
    jd_paged_cache_desc d = store.desc(dtype);
    d.bounds = bounds;
    Error error;
    jd_plan plan = 0;
    rig.check(jd_paged_gather_plan(rig.device, &d, &plan, &error), error);
    rig.keep(plan);
    char text[256];
    rig.check(jd_plan_describe(plan, text, sizeof text, &error), error);
    EXPECT_NE(std::string(text).find("paged_gather"), std::string::npos);
    jd_paged_cache_args a = store.args();
    a.keys = rig.poisoned(dtype, {offsets.back(), store.shape.heads, store.shape.dim_k}, 16);
    a.values = rig.poisoned(dtype, {offsets.back(), store.shape.heads, store.shape.dim_v});
    a.offsets = rig.integers(JD_I64, offsets);
    rig.check(jd_paged_gather_run(plan, rig.stream, &a, &error), error);
    Rows rows;
    if (jd_stream_synchronize(rig.stream, &error) != JD_OK) rows.failure = error.message;
    jd_stream_take_skipped(rig.stream, &rows.skipped, &error);
    bool gaps_intact = false;
    rows.key_bits = rig.bits(a.keys, &gaps_intact);
    EXPECT_TRUE(gaps_intact) << "wrote between the rows";
    rows.keys = rig.read(a.keys);
    rows.values = rig.read(a.values);
    return rows;
  }

  static std::vector<double> slice(const std::vector<double> &rows, int64_t width, int64_t begin, int64_t end) {
    return {rows.begin() + begin * width, rows.begin() + end * width};
  }
};

TEST_P(PagedCache, rows_come_back_for_every_dtype) {
  Rig rig(GetParam());
  for (const int32_t cache : {JD_F32, JD_F16, JD_BF16, JD_F8_E4M3, JD_I8}) {
    for (const int32_t dtype : {JD_F32, JD_F16, JD_BF16}) {
      for (const int64_t page_size : {16, 64}) {
        PagedShape s;
        s.cache_dtype = cache;
        s.page_size = page_size;
        s.heads = 3;
        s.dim_k = page_size == 16 ? 96 : 32;
        s.dim_v = page_size == 16 ? 64 : 256;
        s.batch = 3;
        s.max_pages = page_size == 16 ? 5 : 2;
        s.scale_a_page = dtype == JD_BF16;
        s.padding = dtype == JD_F32 ? 16 : 0;
        PagedStore store(rig, s, static_cast<uint64_t>(cache * 10 + dtype));
        Random random(3);
        // Two appends, the second across page borders; then all rows, and the last ones alone.
        const std::vector<int64_t> first = {5, 0, 31}, second = {40, 17, 1}, all = {45, 17, 32};
        const int64_t wk = s.heads * s.dim_k, wv = s.heads * s.dim_v;
        const auto keys1 = random.values(36 * wk, dtype, 3), values1 = random.values(36 * wv, dtype);
        const auto keys2 = random.values(58 * wk, dtype, 3), values2 = random.values(58 * wv, dtype);
        store.append(dtype, first, keys1, values1, dtype == JD_F16 ? JD_I32 : JD_I64);
        store.append(dtype, second, keys2, values2);
        const auto expected = [&](const std::vector<double> &one, const std::vector<double> &two, int64_t dim,
                                  const std::vector<double> &scales) {
          const auto a = store.as_kept(one, dim, scales, first, {0, 0, 0}), b = store.as_kept(two, dim, scales, second, first);
          std::vector<double> joined;
          for (int64_t i = 0, at1 = 0, at2 = 0; i < 3; ++i) {
            for (const double x : slice(a, s.heads * dim, at1, at1 + first[i])) joined.push_back(rounded(x, dtype));
            for (const double x : slice(b, s.heads * dim, at2, at2 + second[i])) joined.push_back(rounded(x, dtype));
            at1 += first[i];
            at2 += second[i];
          }
          return joined;
        };
        const std::string what = std::string(jd_dtype_name(dtype)) + " in " + jd_dtype_name(cache);
        const auto keys = expected(keys1, keys2, s.dim_k, store.key_scale), values = expected(values1, values2, s.dim_v, store.value_scale);
        const Rows rows = gather(store, dtype, all);
        EXPECT_EQ(rows.failure, "") << what;
        EXPECT_EQ(rows.keys, keys) << what;
        EXPECT_EQ(rows.values, values) << what;
        const Rows last = gather(store, dtype, {2, 17, 0});
        std::vector<double> wanted = slice(keys, wk, 43, 62);
        EXPECT_EQ(last.keys, wanted) << what;
      }
    }
  }
}

TEST_P(PagedCache, numbers_past_what_a_code_holds) {
  Rig rig(GetParam());
  PagedShape s;
  s.cache_dtype = JD_F8_E4M3;
  PagedStore store(rig, s);
  std::vector<double> keys(32, 0.0), values(32, 0.0);
  const float scale = store.scale(store.key_scale, 0, 0, 0);
  keys[0] = 1e30;
  keys[1] = -1e30;
  keys[2] = INFINITY;
  keys[3] = NAN;
  store.append(JD_F32, {1}, keys, values);
  const Rows rows = gather(store, JD_F32, {1});
  EXPECT_EQ(rows.keys[0], 448.0f * scale);
  EXPECT_EQ(rows.keys[1], -448.0f * scale);
  EXPECT_EQ(rows.keys[2], 448.0f * scale);
  EXPECT_TRUE(std::isnan(rows.keys[3]));
  EXPECT_EQ(rows.keys[4], 0.0);

  s.cache_dtype = JD_I8;
  s.max_pages = 2;
  PagedStore bytes(rig, s);
  std::vector<double> rows_of_bytes(4 * 32, 1.0);
  for (int i = 0; i < 32; ++i) rows_of_bytes[i] = 0;
  rows_of_bytes[32 + 5] = NAN;
  rows_of_bytes[64 + 31] = -INFINITY;
  rows_of_bytes[96] = -1;
  bytes.append(JD_F32, {4}, rows_of_bytes, std::vector<double>(4 * 32, 2.5));
  const Rows back = gather(bytes, JD_F32, {4});
  for (int i = 0; i < 32; ++i) {
    EXPECT_EQ(back.keys[i], 0.0);
    EXPECT_TRUE(std::isnan(back.keys[32 + i])) << "a row with a NaN, element " << i;
    EXPECT_TRUE(std::isnan(back.keys[64 + i])) << "a row with an infinity, element " << i;
    EXPECT_EQ(back.keys[96 + i], static_cast<double>((i == 0 ? -127.0f : 127.0f) * (1.0f / 127.0f)));
    EXPECT_EQ(back.values[i], static_cast<double>(127.0f * (2.5f / 127.0f)));
  }
}

TEST_P(PagedCache, nothing_but_the_new_rows_is_written) {
  Rig rig(GetParam());
  for (const int32_t cache : {JD_F32, JD_BF16, JD_F8_E4M3, JD_I8}) {
    PagedShape s;
    s.cache_dtype = cache;
    s.heads = 2;
    s.batch = 2;
    s.max_pages = 3;
    s.padding = 16;
    PagedStore store(rig, s);
    Random random(5);
    store.append(JD_F32, {20, 7}, random.values(27 * 64, JD_F32), random.values(27 * 64, JD_F32));
    const std::vector<uint32_t> before = rig.bits(store.key_pages);
    store.append(JD_F32, {15, 0}, random.values(15 * 64, JD_F32), random.values(15 * 64, JD_F32));
    bool gaps_intact = false;
    const std::vector<uint32_t> after = rig.bits(store.key_pages, &gaps_intact);
    EXPECT_TRUE(gaps_intact);
    for (int64_t row = 0; row < store.num_pages * 16; ++row) {
      const int64_t page = row / 16, within = row % 16;
      const bool is_new = (page == store.table[1] && within >= 4) || (page == store.table[2] && within < 3);
      const bool same = std::equal(before.begin() + row * 64, before.begin() + (row + 1) * 64, after.begin() + row * 64);
      EXPECT_EQ(same, !is_new) << jd_dtype_name(cache) << " page " << page << " row " << within;
    }
  }
}

TEST_P(PagedCache, refused_pages_are_reported_or_skipped) {
  Rig rig(GetParam());
  for (const int64_t bad : {int64_t{-1}, int64_t{9}, int64_t{INT32_MAX}, int64_t{INT32_MIN}}) {
    PagedShape s;
    s.batch = 2;
    s.max_pages = 3;  // of 9 pages
    PagedStore store(rig, s);
    Random random(6);
    const auto keys = random.values(70 * 32, JD_F32);
    store.append(JD_F32, {35, 35}, keys, keys);
    const int64_t good = store.table[4];
    store.table[4] = bad;  // rows 16..31 of sequence 1
    const Rows strict = gather(store, JD_F32, {35, 35});
    EXPECT_NE(strict.failure.find("argument 'page_table': expected a page in 0..8"), std::string::npos) << strict.failure;
    EXPECT_NE(strict.failure.find("got " + std::to_string(bad) + " at position 4"), std::string::npos) << strict.failure;
    const Rows zero = gather(store, JD_F32, {35, 35}, JD_BOUNDS_ZERO);
    EXPECT_EQ(zero.failure, "");
    EXPECT_EQ(zero.skipped, 1);
    std::vector<double> expected = keys;
    std::fill(expected.begin() + 51 * 32, expected.begin() + 67 * 32, 0.0);
    EXPECT_EQ(zero.keys, expected);
    // Appending past it: the rows of the refused page are left out, the others written.
    store.lengths = {35, 30};
    jd_paged_cache_desc d = store.desc(JD_F32);
    d.bounds = JD_BOUNDS_ZERO;
    Error error;
    jd_plan plan = 0;
    rig.check(jd_paged_append_plan(rig.device, &d, &plan, &error), error);
    rig.keep(plan);
    const auto more = random.values(4 * 32, JD_F32);
    jd_paged_cache_args a = store.args();
    a.keys = rig.tensor(JD_F32, {4, 1, 32}, more);
    a.values = rig.tensor(JD_F32, {4, 1, 32}, more);
    a.offsets = rig.integers(JD_I64, {0, 0, 4});
    rig.check(jd_paged_append_run(plan, rig.stream, &a, &error), error);
    rig.check(jd_stream_synchronize(rig.stream, &error), error);
    int64_t skipped = 0;
    jd_stream_take_skipped(rig.stream, &skipped, &error);
    EXPECT_EQ(skipped, 1);
    store.table[4] = good;
    store.lengths = {35, 35};
    std::copy(more.begin() + 64, more.end(), expected.begin() + 67 * 32);
    std::copy(keys.begin() + 51 * 32, keys.begin() + 67 * 32, expected.begin() + 51 * 32);
    EXPECT_EQ(gather(store, JD_F32, {35, 35}).keys, expected);
  }
}

TEST_P(PagedCache, refused_lengths_are_reported_or_skipped) {
  Rig rig(GetParam());
  PagedShape s;
  s.batch = 3;
  s.max_pages = 2;
  PagedStore store(rig, s);
  Random random(6);
  const auto keys = random.values(30 * 32, JD_F32);
  store.append(JD_F32, {10, 10, 10}, keys, keys);
  for (const int64_t bad : {-1, 33, INT32_MAX}) {
    store.lengths = {10, bad, 10};
    const Rows strict = gather(store, JD_F32, {10, 0, 10});
    EXPECT_NE(strict.failure.find("argument 'seq_lens': expected 0..32"), std::string::npos) << strict.failure;
    EXPECT_NE(strict.failure.find("got " + std::to_string(bad) + " in sequence 1"), std::string::npos) << strict.failure;
    const Rows zero = gather(store, JD_F32, {10, 3, 10}, JD_BOUNDS_ZERO);
    EXPECT_EQ(zero.skipped, 1);
    EXPECT_TRUE(std::equal(zero.keys.begin(), zero.keys.begin() + 320, keys.begin()));
    EXPECT_TRUE(std::equal(zero.keys.begin() + 13 * 32, zero.keys.end(), keys.begin() + 640));
  }
  store.lengths = {10, 10, 10};
  EXPECT_NE(gather(store, JD_F32, {10, 11, 3}).failure.find("expected at most 10 rows (seq_lens of the sequence), got 11"),
            std::string::npos);
  // Appending past the last page.
  jd_paged_cache_desc d = store.desc(JD_F32);
  Error error;
  jd_plan plan = 0;
  rig.check(jd_paged_append_plan(rig.device, &d, &plan, &error), error);
  rig.keep(plan);
  const std::vector<uint32_t> before = rig.bits(store.key_pages);
  jd_paged_cache_args a = store.args();
  a.keys = rig.tensor(JD_F32, {23, 1, 32}, random.values(23 * 32, JD_F32));
  a.values = a.keys;
  a.offsets = rig.integers(JD_I64, {0, 0, 0, 23});
  rig.check(jd_paged_append_run(plan, rig.stream, &a, &error), error);
  EXPECT_EQ(jd_stream_synchronize(rig.stream, &error), JD_OUT_OF_BOUNDS);
  EXPECT_NE(std::string(error.message).find("got 33 in sequence 2"), std::string::npos) << error.message;
  EXPECT_EQ(rig.bits(store.key_pages), before);
}

TEST_P(PagedCache, empty_batches_and_sequences) {
  Rig rig(GetParam());
  PagedShape s;
  s.batch = 2;
  PagedStore store(rig, s);
  store.append(JD_F32, {0, 0}, {}, {});
  EXPECT_TRUE(gather(store, JD_F32, {0, 0}).keys.empty());
  s.batch = 0;
  PagedStore none(rig, s);
  none.append(JD_F32, {}, {}, {});
  EXPECT_TRUE(gather(none, JD_F32, {}).keys.empty());
}

TEST_P(PagedCache, ten_thousand_and_seven_rows) {
  Rig rig(GetParam());
  const int64_t n = rig.scaled(10007, 1009);
  PagedShape s;
  s.cache_dtype = JD_BF16;
  s.page_size = 128;
  s.max_pages = (n + 127) / 128;
  PagedStore store(rig, s);
  Random random(9);
  const auto keys = random.values(n * 32, JD_BF16), values = random.values(n * 32, JD_BF16);
  store.append(JD_BF16, {n}, keys, values);
  const Rows rows = gather(store, JD_BF16, {n});
  EXPECT_EQ(rows.keys, keys);
  EXPECT_EQ(rows.values, values);
}

JD_INSTANTIATE_ON_DEVICES(PagedCache);

}  // namespace
}  // namespace jindou::testing
