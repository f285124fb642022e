// history_search and lsh_signatures through the C ABI against their float64 reference.
//
// Most inputs are small integers, of which every product and sum is exact in every dtype: results must then be the reference's to
// the last index, the many ties included.
#include "operators_support.h"
#include "reference/history_search.h"

namespace jindou::testing {
namespace {

using reference::Found;
using reference::HistorySearchCase;

struct Variant {
  int32_t dtype = JD_F32;  // of dot; of hard JD_I32 or JD_I64
  int32_t offset_dtype = JD_I64;
  int32_t bounds = JD_BOUNDS_STRICT;
  int64_t padding = 0;     // elements between the rows of everything
  bool scores = true, counts = true;
  int64_t max_batch = 0, max_candidates = 0, max_history = 0;  // 0: what the case has
};

struct Result {
  jd_tensor indices = 0, scores = 0, counts = 0;
  jd_status status = JD_OK;
  std::string message;
};

int64_t longest(const std::vector<int64_t> &offsets) {
  int64_t most = 1;
  for (size_t i = 1; i < offsets.size(); ++i) most = std::max(most, offsets[i] - offsets[i - 1]);
  return most;
}

// 64-bit words do not fit into the doubles that tensors are made from.
jd_tensor words(Rig &rig, const std::vector<uint64_t> &values, int64_t rows, int64_t columns, int64_t padding) {
  std::vector<uint8_t> bytes(static_cast<size_t>((rows * (columns + padding)) * 8), 0xff);
  for (int64_t i = 0; i < rows; ++i) std::memcpy(bytes.data() + i * (columns + padding) * 8, values.data() + i * columns, columns * 8);
  const jd_tensor whole = rig.bytes(JD_I64, {rows * (columns + padding)}, bytes);
  return rig.view(whole, {rows, columns}, {columns + padding, 1});
}

std::vector<uint64_t> read_words(Rig &rig, jd_tensor t, int64_t rows, int64_t columns) {
  std::vector<uint64_t> all(static_cast<size_t>(rows * columns));
  Error error;
  if (!all.empty()) rig.check(jd_tensor_read(rig.stream, t, all.data(), static_cast<int64_t>(all.size() * 8), &error), error);
  return all;
}

class HistorySearch : public ::testing::TestWithParam<std::string> {
 protected:
  static Result run(Rig &rig, const HistorySearchCase &c, const Variant &v = {}) {
    jd_history_search_desc d{};
    d.struct_size = sizeof d;
    d.offset_dtype = v.offset_dtype;
    d.k = static_cast<int32_t>(c.k);
    d.bounds = v.bounds;
    d.max_batch = v.max_batch ? v.max_batch : std::max<int64_t>(1, static_cast<int64_t>(c.candidate_offsets.size()) - 1);
    d.max_candidates = v.max_candidates ? v.max_candidates : longest(c.candidate_offsets);
    d.max_history = v.max_history ? v.max_history : longest(c.history_offsets);
    jd_history_search_args a{};
    a.struct_size = sizeof a;
    // By what there is, so that offsets may be wrong.
    const auto rows = [&](const std::vector<double> &x, const std::vector<uint64_t> &w, const std::vector<int64_t> &category) {
      const size_t numbers = c.method == HistorySearchCase::hard ? category.size() : std::max(x.size(), w.size()) / c.dim;
      return static_cast<int64_t>(numbers);
    };
    const int64_t candidates = rows(c.queries, c.query_words, c.query_categories);
    const int64_t events = rows(c.keys, c.key_words, c.key_categories);
    switch (c.method) {
      case HistorySearchCase::hard:
        d.method = JD_SEARCH_HARD;
        d.dtype = v.dtype == JD_I32 ? JD_I32 : JD_I64;
        a.queries = rig.integers(d.dtype, c.query_categories);
        a.keys = rig.integers(d.dtype, c.key_categories);
        break;
      case HistorySearchCase::dot:
        d.method = JD_SEARCH_DOT;
        d.dtype = v.dtype;
        d.dim = static_cast<int32_t>(c.dim);
        a.queries = rig.tensor(d.dtype, {candidates, c.dim}, c.queries, v.padding);
        a.keys = rig.tensor(d.dtype, {events, c.dim}, c.keys, v.padding);
        if (!c.bias.empty()) a.bias = rig.tensor(JD_F32, {events}, c.bias);
        break;
      case HistorySearchCase::lsh:
        d.method = JD_SEARCH_LSH;
        d.dtype = JD_I64;
        d.dim = static_cast<int32_t>(c.dim * 64);
        a.queries = words(rig, c.query_words, candidates, c.dim, v.padding);
        a.keys = words(rig, c.key_words, events, c.dim, v.padding);
        break;
    }
    a.candidate_offsets = rig.integers(v.offset_dtype, c.candidate_offsets);
    a.history_offsets = rig.integers(v.offset_dtype, c.history_offsets);
    a.indices = rig.poisoned(JD_I32, {candidates, c.k}, v.padding);
    if (v.scores && c.method != HistorySearchCase::hard) a.scores = rig.poisoned(JD_F32, {candidates, c.k}, v.padding);
    if (v.counts) a.counts = rig.poisoned(JD_I32, {candidates});
    Error error;
    jd_plan plan = 0;
    rig.check(jd_history_search_plan(rig.device, &d, &plan, &error), error);
    rig.keep(plan);
    Result r{a.indices, a.scores, a.counts, JD_OK, ""};
    r.status = jd_history_search_run(plan, rig.stream, &a, &error);
    if (r.status == JD_OK) r.status = jd_stream_synchronize(rig.stream, &error);
    if (r.status != JD_OK) r.message = error.message;
    return r;
  }

  static std::vector<int64_t> integers(Rig &rig, jd_tensor t, bool *intact = nullptr) {
    std::vector<int64_t> values;
    for (const uint32_t x : rig.bits(t, intact)) values.push_back(static_cast<int32_t>(x));
    return values;
  }

  // Exactly the reference's list.
  static void expect_exact(Rig &rig, const HistorySearchCase &c, const Variant &v, const std::string &what) {
    const Result r = run(rig, c, v);
    ASSERT_EQ(r.message, "") << what;
    bool intact = false;
    const std::vector<int64_t> indices = integers(rig, r.indices, &intact);
    EXPECT_TRUE(intact) << what << ": wrote between the rows of indices";
    const std::vector<double> scores = r.scores ? rig.read(r.scores) : std::vector<double>{};
    const std::vector<int64_t> counts = r.counts ? integers(rig, r.counts) : std::vector<int64_t>{};
    const auto expected = reference::history_search(c);
    const double nothing = c.method == HistorySearchCase::lsh ? INFINITY : -INFINITY;
    for (size_t i = 0; i < expected.size(); ++i) {
      const int64_t found = std::min<int64_t>(c.k, static_cast<int64_t>(expected[i].size()));
      if (r.counts) {
        ASSERT_EQ(counts[i], found) << what << ", candidate " << i;
      }
      for (int64_t n = 0; n < c.k; ++n) {
        const size_t at = i * static_cast<size_t>(c.k) + static_cast<size_t>(n);
        ASSERT_EQ(indices[at], n < found ? expected[i][n].index : -1) << what << ", candidate " << i << ", place " << n;
        if (!r.scores) continue;
        const double sign = c.method == HistorySearchCase::lsh ? -1 : 1;
        ASSERT_EQ(scores[at], n < found ? sign * expected[i][n].score : nothing) << what << ", candidate " << i << ", place " << n;
      }
    }
  }

  static std::vector<uint32_t> all_bits(Rig &rig, const HistorySearchCase &c, const Variant &v = {}) {
    const Result r = run(rig, c, v);
    EXPECT_EQ(r.message, "");
    std::vector<uint32_t> all = rig.bits(r.indices);
    for (const jd_tensor t : {r.scores, r.counts}) {
      if (!t) continue;
      const std::vector<uint32_t> more = rig.bits(t);
      all.insert(all.end(), more.begin(), more.end());
    }
    return all;
  }
};

// Integers in -3..3.
HistorySearchCase dots(uint64_t seed, int64_t dim, int64_t k, const std::vector<int64_t> &candidates,
                       const std::vector<int64_t> &events) {
  Random random(seed);
  HistorySearchCase c;
  c.dim = dim;
  c.k = k;
  c.candidate_offsets = offsets_of(candidates);
  c.history_offsets = offsets_of(events);
  c.queries.resize(c.candidate_offsets.back() * dim);
  c.keys.resize(c.history_offsets.back() * dim);
  for (double &x : c.queries) x = static_cast<double>(random.integer(-3, 3));
  for (double &x : c.keys) x = static_cast<double>(random.integer(-3, 3));
  return c;
}

HistorySearchCase categories(uint64_t seed, int64_t number, int64_t k, const std::vector<int64_t> &candidates,
                             const std::vector<int64_t> &events) {
  Random random(seed);
  HistorySearchCase c;
  c.method = HistorySearchCase::hard;
  c.k = k;
  c.candidate_offsets = offsets_of(candidates);
  c.history_offsets = offsets_of(events);
  for (int64_t i = 0; i < c.candidate_offsets.back(); ++i) c.query_categories.push_back(random.integer(-number / 2, number / 2));
  for (int64_t j = 0; j < c.history_offsets.back(); ++j) c.key_categories.push_back(random.integer(-number / 2, number / 2));
  return c;
}

// Signatures with few bits that ever differ: many ties.
HistorySearchCase signatures(uint64_t seed, int64_t dim, int64_t k, const std::vector<int64_t> &candidates,
                             const std::vector<int64_t> &events, bool sparse) {
  Random random(seed);
  HistorySearchCase c;
  c.method = HistorySearchCase::lsh;
  c.dim = dim;
  c.k = k;
  c.candidate_offsets = offsets_of(candidates);
  c.history_offsets = offsets_of(events);
  const auto word = [&] {
    const uint64_t x = static_cast<uint64_t>(random.integer(INT64_MIN, INT64_MAX));
    return sparse ? x & 0x8000000100000801u : x;
  };
  for (int64_t i = 0; i < c.candidate_offsets.back() * dim; ++i) c.query_words.push_back(word());
  for (int64_t j = 0; j < c.history_offsets.back() * dim; ++j) c.key_words.push_back(word());
  return c;
}

// -- dot -----------------------------------------------------------------------------------------------------------------
TEST_P(HistorySearch, dot_matches_the_reference_for_every_dtype_and_dim) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_F16, JD_BF16}) {
    for (const int64_t dim : {8, 16, 24, 40, 64, 72, 128, 200, 256}) {
      Variant v;
      v.dtype = dtype;
      v.padding = 8;
      v.offset_dtype = dim % 16 ? JD_I32 : JD_I64;
      expect_exact(rig, dots(static_cast<uint64_t>(dim), dim, 5, {3, 0, 18}, {70, 5, 133}), v,
                   std::string(jd_dtype_name(dtype)) + ", dim " + std::to_string(dim));
    }
  }
}

TEST_P(HistorySearch, dot_numbers_of_candidates_around_every_tile) {
  Rig rig(GetParam());
  for (const int64_t n : {1, 7, 8, 9, 15, 16, 17, 31, 33, 47, 48, 49, 63, 64, 65, 96, 97, 130}) {
    if (!rig.fast() && n % 16 == 9) continue;
    for (const int32_t dtype : {JD_F32, JD_BF16}) {
      Variant v;
      v.dtype = dtype;
      expect_exact(rig, dots(3, 16, 3, {n}, {37}), v, std::to_string(n) + " candidates");
    }
  }
}

TEST_P(HistorySearch, dot_history_lengths_around_every_block) {
  Rig rig(GetParam());
  for (const int64_t n : {0, 1, 2, 7, 8, 9, 15, 17, 31, 32, 33, 63, 64, 65, 71, 127, 128, 129, 191, 193, 257, 1021}) {
    if (!rig.fast() && n > 200) continue;
    for (const int32_t dtype : {JD_F32, JD_F16, JD_BF16}) {
      Variant v;
      v.dtype = dtype;
      expect_exact(rig, dots(4, 8, 7, {5}, {n}), v, std::to_string(n) + " events");
    }
  }
}

TEST_P(HistorySearch, every_k_small_equal_and_beyond_the_history) {
  Rig rig(GetParam());
  for (const int64_t k : {1, 2, 31, 32, 33, 63, 64, 65, 96, 127, 128, 129, 200, 1024, 2048}) {
    const int64_t n = rig.scaled(700, k > 200 ? 130 : 190);
    expect_exact(rig, dots(5, 8, k, {2, 3}, {n, 129}), {}, "dot, k " + std::to_string(k));
    expect_exact(rig, signatures(6, 1, k, {2, 3}, {n, 128}, true), {}, "lsh, k " + std::to_string(k));
    expect_exact(rig, categories(7, 3, k, {2, 3}, {n, 127}), {}, "hard, k " + std::to_string(k));
  }
}

TEST_P(HistorySearch, bias_is_added_and_hides) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_F16, JD_BF16}) {
    HistorySearchCase c = dots(8, 32, 9, {4, 20}, {90, 140});
    Random random(9);
    for (int64_t j = 0; j < c.history_offsets.back(); ++j) {
      c.bias.push_back(j % 3 == 0 ? -INFINITY : j % 7 == 0 ? NAN : static_cast<double>(random.integer(-50, 50)));
    }
    c.bias[10] = INFINITY;
    Variant v;
    v.dtype = dtype;
    expect_exact(rig, c, v, jd_dtype_name(dtype));
    for (int64_t j = 0; j < 88; ++j) c.bias[j] = -INFINITY;  // leaves two events of the first user
    expect_exact(rig, c, v, "nearly all hidden");
  }
}

TEST_P(HistorySearch, of_equal_scores_the_more_recent_event_comes_first) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    Variant v;
    v.dtype = dtype;
    HistorySearchCase c = dots(10, 16, 20, {40}, {150});
    for (double &x : c.keys) x = 1;  // all events alike
    expect_exact(rig, c, v, "all equal");
    const std::vector<int64_t> indices = integers(rig, run(rig, c, v).indices);
    for (int64_t n = 0; n < 20; ++n) EXPECT_EQ(indices[n], 149 - n);
    for (int64_t j = 0; j < 150; ++j) {  // zeros of both signs
      for (int64_t d = 0; d < 16; ++d) c.keys[j * 16 + d] = j % 2 ? -0.0 : 0.0;
    }
    expect_exact(rig, c, v, "zeros");
    for (int64_t j = 0; j < 150; ++j) {
      for (int64_t d = 0; d < 16; ++d) c.keys[j * 16 + d] = static_cast<double>(j % 4);
    }
    expect_exact(rig, c, v, "four kinds");
  }
}

TEST_P(HistorySearch, scores_that_rise_and_fall_along_the_history) {
  Rig rig(GetParam());
  const int64_t n = rig.scaled(3000, 700);  // on a GPU lists are cut again and again
  for (const int direction : {1, -1}) {
    HistorySearchCase c = dots(11, 8, 33, {17}, {n});
    for (int64_t i = 0; i < 17 * 8; ++i) c.queries[i] = i % 8 == 0 ? (i % 16 ? 1 : 2) : 0;
    for (int64_t j = 0; j < n; ++j) c.keys[j * 8] = static_cast<double>(direction * j);
    expect_exact(rig, c, {}, direction > 0 ? "rising" : "falling");
  }
}

TEST_P(HistorySearch, numbers_that_are_none_are_not_found) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_F16, JD_BF16}) {
    Variant v;
    v.dtype = dtype;
    HistorySearchCase c = dots(12, 24, 12, {20}, {100});
    for (int64_t j = 0; j < 100; ++j) {
      if (j % 4 != 1) c.keys[j * 24 + j % 24] = NAN;
    }
    for (int64_t d = 0; d < 24; ++d) c.queries[3 * 24 + d] = d ? 0 : NAN;  // this candidate finds nothing
    expect_exact(rig, c, v, std::string(jd_dtype_name(dtype)) + ", NaN");
    c = dots(13, 24, 12, {20}, {100});
    for (double &x : c.queries) x = std::fabs(x) + 1;
    for (int64_t j = 0; j < 100; ++j) {
      if (j % 4 == 1) c.keys[j * 24] = j % 8 == 1 ? INFINITY : -INFINITY;
    }
    expect_exact(rig, c, v, std::string(jd_dtype_name(dtype)) + ", infinities");
  }
}

TEST_P(HistorySearch, dot_of_numbers_with_fractions) {
  Rig rig(GetParam());
  const int64_t dim = 64, candidates = 50, n = rig.scaled(10007, 201), k = 40;
  for (const int32_t dtype : {JD_F32, JD_F16, JD_BF16}) {
    HistorySearchCase c = dots(14, dim, k, {candidates}, {n});
    Random random(15);
    c.queries = random.values(candidates * dim, dtype);
    c.keys = random.values(n * dim, dtype);
    Variant v;
    v.dtype = dtype;
    const Result r = run(rig, c, v);
    ASSERT_EQ(r.message, "");
    const std::vector<int64_t> indices = integers(rig, r.indices), counts = integers(rig, r.counts);
    const std::vector<double> scores = rig.read(r.scores);
    const auto expected = reference::history_search(c);
    for (int64_t i = 0; i < candidates; ++i) {
      ASSERT_EQ(counts[i], k);
      // Every place holds a score as good as the reference's there, and it is that event's score.
      for (int64_t m = 0; m < k; ++m) {
        const int64_t at = i * k + m, j = indices[at];
        ASSERT_TRUE(j >= 0 && j < n);
        double terms = 0;
        for (int64_t d = 0; d < dim; ++d) terms += std::fabs(c.queries[i * dim + d] * c.keys[j * dim + d]);
        const double allowed = tolerance::sum(dim, terms, scores[at], JD_F32);
        ASSERT_NEAR(scores[at], reference::search_score(c, i, j), allowed) << "candidate " << i << ", place " << m;
        ASSERT_NEAR(scores[at], expected[i][m].score, 2 * allowed) << "candidate " << i << ", place " << m;
        if (m == 0) continue;
        ASSERT_TRUE(scores[at] < scores[at - 1] || (scores[at] == scores[at - 1] && j < indices[at - 1]));
      }
    }
  }
}

TEST_P(HistorySearch, ten_thousand_events) {
  Rig rig(GetParam());
  const int64_t n = rig.scaled(10007, 1031), nc = rig.scaled(49, 18);
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    Variant v;
    v.dtype = dtype;
    expect_exact(rig, dots(16, 16, 50, {nc}, {n}), v, "dot");
  }
  expect_exact(rig, signatures(17, 2, 50, {nc}, {n}, false), {}, "lsh");
  expect_exact(rig, categories(18, 40, 50, {nc}, {n}), {}, "hard");
}

// On a GPU lists of all candidates and pieces share a scratch memory: enough of them make several rounds.
TEST_P(HistorySearch, more_candidates_than_lists_fit) {
  Rig rig(GetParam());
  const int64_t nc = 4099;
  expect_exact(rig, categories(39, 2, 2048, {3, nc, 1}, {2, 3, 5}), {}, "hard");
}

TEST_P(HistorySearch, long_histories_in_pieces) {
  Rig rig(GetParam(), 2);
  const std::vector<int64_t> events = {rig.scaled(20000, 4500), 2048, 2049};
  for (const int64_t k : {5, 130}) {
    expect_exact(rig, dots(40, 8, k, {2, 1, 1}, events), {}, "dot");
    expect_exact(rig, categories(41, 3, k, {2, 1, 1}, events), {}, "hard");
    expect_exact(rig, categories(42, 4000, k, {2, 1, 1}, events), {}, "hard, few found");
  }
}

// On a GPU the most recent events come first, in a round of their own; users with fewer have no other.
TEST_P(HistorySearch, long_histories_in_rounds) {
  Rig rig(GetParam(), 8);
  const int64_t n = rig.scaled(20000, 4099);
  const std::vector<int64_t> candidates = {60, 3, 2}, events = {n, 0, 300};
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    Variant v;
    v.dtype = dtype;
    HistorySearchCase c = dots(43, 8, 20, candidates, events);
    expect_exact(rig, c, v, "dot");
    if (dtype == JD_F32) continue;
    // The best are the oldest: what the first round knows is of no use.
    for (int64_t i = 0; i < 65; ++i) c.queries[i * 8] = 1;
    for (int64_t j = 0; j < c.history_offsets.back(); ++j) c.keys[j * 8] = static_cast<double>(-(j / 100));  // to 203: exact
    expect_exact(rig, c, v, "falling");
  }
  expect_exact(rig, signatures(44, 1, 20, candidates, events, true), {}, "lsh");
  expect_exact(rig, categories(45, 3, 20, candidates, events), {}, "hard");
  expect_exact(rig, categories(46, 4000, 20, candidates, events), {}, "hard, few found");
  // One candidate's lists hold more than the merge has shared memory for.
  expect_exact(rig, dots(47, 8, 130, {1}, {rig.scaled(20000, 9001)}), {}, "one candidate");
}

// -- hard, lsh ------------------------------------------------------------------------------------------------------------
TEST_P(HistorySearch, hard_finds_the_last_events_of_the_category) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_I32, JD_I64}) {
    Variant v;
    v.dtype = dtype;
    v.padding = 3;
    for (const int64_t n : {0, 1, 31, 32, 33, 127, 128, 129, 200}) {
      for (const int64_t number : {1, 5, 300}) {
        expect_exact(rig, categories(19, number, 6, {7, 0, 40}, {n, 3, 100}), v,
                     std::to_string(n) + " events of " + std::to_string(number) + " categories");
      }
    }
    HistorySearchCase c = categories(20, 2, 4, {5}, {60});
    const int64_t least = dtype == JD_I32 ? INT32_MIN : -(int64_t{1} << 53), most = dtype == JD_I32 ? INT32_MAX : int64_t{1} << 53;
    c.query_categories = {least, most, 0, -1, 77};
    for (size_t j = 0; j < 60; ++j) c.key_categories[j] = c.query_categories[j % 4];
    expect_exact(rig, c, v, "extreme numbers");
  }
}

TEST_P(HistorySearch, hard_with_many_candidates) {
  Rig rig(GetParam());
  const int64_t nc = rig.scaled(2100, 70);
  expect_exact(rig, categories(21, 900, 3, {nc, 5}, {rig.scaled(5000, 150), 40}), {}, "many candidates");
  HistorySearchCase c = categories(22, 1, 3, {40}, {100});
  for (size_t i = 0; i < 40; ++i) c.query_categories[i] = static_cast<int64_t>(i) << 32;  // differ in their high halves alone
  for (size_t j = 0; j < 100; ++j) c.key_categories[j] = static_cast<int64_t>(j % 50) << 32;
  expect_exact(rig, c, {}, "high halves");
}

TEST_P(HistorySearch, lsh_matches_the_reference_for_every_width) {
  Rig rig(GetParam());
  for (const int64_t dim : {1, 2, 3, 4, 8, 15, 16}) {
    for (const bool sparse : {true, false}) {
      Variant v;
      v.padding = dim % 2;
      expect_exact(rig, signatures(static_cast<uint64_t>(dim), dim, 9, {3, 0, 50}, {130, 0, 67}, sparse), v,
                   std::to_string(dim) + " words");
    }
  }
  HistorySearchCase c = signatures(23, 16, 5, {2}, {80}, false);
  for (int64_t w = 0; w < 16; ++w) {
    c.query_words[w] = 0;
    for (int64_t j = 0; j < 80; ++j) c.key_words[j * 16 + w] = ~uint64_t{0};  // as far as can be
  }
  expect_exact(rig, c, {}, "all bits differ");
}

TEST_P(HistorySearch, lsh_signatures_are_signs) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_F16, JD_BF16}) {
    for (const int64_t dim : {8, 24, 64, 256}) {
      for (const int64_t bits : {64, 128, 320}) {
        if (!rig.fast() && dim * bits > 64 * 128) continue;
        for (const int64_t n : {0, 1, 7, 8, 33}) {
          Random random(static_cast<uint64_t>(dim + bits));
          std::vector<double> x = random.values(n * dim, dtype);
          const std::vector<double> projection = random.values(bits * dim, dtype);
          if (n > 2) {
            for (int64_t d = 0; d < dim; ++d) x[d] = 0;  // no projection is above 0
            x[dim] = NAN;
          }
          jd_lsh_signatures_args a{};
          a.struct_size = sizeof a;
          a.x = rig.tensor(dtype, {n, dim}, x, 8);
          a.projection = rig.tensor(dtype, {bits, dim}, projection, 16);
          a.signatures = rig.bytes(JD_I64, {n, bits / 64}, std::vector<uint8_t>(static_cast<size_t>(n * bits / 8), 0xff));
          Error error;
          rig.check(jd_lsh_signatures(rig.stream, &a, &error), error);
          const std::vector<uint64_t> got = read_words(rig, a.signatures, n, bits / 64);
          for (int64_t i = 0; i < n; ++i) {
            for (int64_t b = 0; b < bits; ++b) {
              double sum = 0, terms = 0;
              for (int64_t d = 0; d < dim; ++d) {
                sum += x[i * dim + d] * projection[b * dim + d];
                terms += std::fabs(x[i * dim + d] * projection[b * dim + d]);
              }
              if (terms > 0 && std::fabs(sum) < tolerance::sum(dim, terms, 0, JD_F32)) continue;  // rounding decides
              ASSERT_EQ(got[i * (bits / 64) + b / 64] >> (b % 64) & 1, sum > 0 ? 1u : 0u)
                  << jd_dtype_name(dtype) << ", dim " << dim << ", row " << i << ", bit " << b;
            }
          }
        }
      }
    }
  }
}

TEST_P(HistorySearch, a_signature_depends_on_its_row_alone) {
  Rig rig(GetParam(), 2);
  const int64_t n = rig.scaled(2500, 40), dim = 24, bits = 128;
  for (const int32_t dtype : {JD_F32, JD_F16, JD_BF16}) {
    Random random(24);
    const std::vector<double> x = random.values(n * dim, dtype), projection = random.values(bits * dim, dtype);
    const auto signatures_of = [&](int64_t first, int64_t count) {
      jd_lsh_signatures_args a{};
      a.struct_size = sizeof a;
      a.x = rig.tensor(dtype, {count, dim}, std::vector<double>(x.begin() + first * dim, x.begin() + (first + count) * dim));
      a.projection = rig.tensor(dtype, {bits, dim}, projection);
      a.signatures = rig.bytes(JD_I64, {count, bits / 64}, std::vector<uint8_t>(static_cast<size_t>(count * bits / 8), 0xff));
      Error error;
      rig.check(jd_lsh_signatures(rig.stream, &a, &error), error);
      return read_words(rig, a.signatures, count, bits / 64);
    };
    const std::vector<uint64_t> all = signatures_of(0, n);
    for (const int64_t i : {int64_t{0}, int64_t{5}, n - 1}) {
      EXPECT_EQ(signatures_of(i, 1), std::vector<uint64_t>(all.begin() + i * 2, all.begin() + i * 2 + 2)) << i;
    }
  }
}

// -- what a result depends on ---------------------------------------------------------------------------------------------
HistorySearchCase fractions(uint64_t seed, int32_t dtype, int64_t k, const std::vector<int64_t> &candidates,
                            const std::vector<int64_t> &events) {
  HistorySearchCase c = dots(seed, 40, k, candidates, events);
  Random random(seed);
  c.queries = random.values(c.candidate_offsets.back() * c.dim, dtype);
  c.keys = random.values(c.history_offsets.back() * c.dim, dtype);
  c.bias = random.values(c.history_offsets.back(), JD_F32);
  return c;
}

// The candidates first..last-1 of user b alone.
HistorySearchCase part_of(const HistorySearchCase &c, int64_t b, int64_t first, int64_t last) {
  HistorySearchCase p = c;
  const int64_t begin = c.history_offsets[b], end = c.history_offsets[b + 1], from = c.candidate_offsets[b];
  p.candidate_offsets = {0, last - first};
  p.history_offsets = {0, end - begin};
  const auto cut = [](const auto &all, int64_t at, int64_t until, int64_t width) {
    using Vector = std::decay_t<decltype(all)>;
    return all.empty() ? Vector{} : Vector(all.begin() + at * width, all.begin() + until * width);
  };
  p.queries = cut(c.queries, from + first, from + last, c.dim);
  p.keys = cut(c.keys, begin, end, c.dim);
  p.bias = cut(c.bias, begin, end, 1);
  p.query_words = cut(c.query_words, from + first, from + last, c.dim);
  p.key_words = cut(c.key_words, begin, end, c.dim);
  p.query_categories = cut(c.query_categories, from + first, from + last, 1);
  p.key_categories = cut(c.key_categories, begin, end, 1);
  return p;
}

// Rows first..last-1 of what all_bits gives for `rows` candidates.
std::vector<uint32_t> rows_of(const std::vector<uint32_t> &bits, int64_t rows, int64_t k, int64_t first, int64_t last) {
  std::vector<uint32_t> part;
  int64_t at = 0;
  while (at < static_cast<int64_t>(bits.size())) {
    const int64_t width = static_cast<int64_t>(bits.size()) - at >= rows * k ? k : 1;
    part.insert(part.end(), bits.begin() + at + first * width, bits.begin() + at + last * width);
    at += rows * width;
  }
  return part;
}

// Neither on the batch, nor on the declared maxima, nor on other candidates, nor on threads: so not on how work was cut.
TEST_P(HistorySearch, bits_depend_on_the_candidate_and_its_history_alone) {
  Rig rig(GetParam(), 2), one(GetParam(), 1), five(GetParam(), 5);
  const int64_t n = rig.scaled(20011, 400);
  const std::vector<int64_t> candidates = {3, 50, 0, 20}, events = {n, 301, 50, 64};
  std::vector<std::pair<HistorySearchCase, Variant>> cases;
  for (const int32_t dtype : {JD_F32, JD_F16, JD_BF16}) {
    Variant v;
    v.dtype = dtype;
    cases.push_back({fractions(25, dtype, 21, candidates, events), v});
  }
  cases.push_back({signatures(26, 2, 21, candidates, events, true), {}});
  cases.push_back({categories(27, 4, 21, candidates, events), {}});
  for (const auto &[c, v] : cases) {
    const int64_t total = c.candidate_offsets.back();
    const std::vector<uint32_t> together = all_bits(rig, c, v);
    EXPECT_EQ(all_bits(one, c, v), together);
    EXPECT_EQ(all_bits(five, c, v), together);
    Variant wide = v;
    wide.max_batch = 3;
    wide.max_candidates = 60;
    wide.max_history = 1 << 30;
    for (const int64_t b : {0, 1, 3}) {
      for (const int64_t first : {int64_t{0}, candidates[b] / 2}) {
        const std::vector<uint32_t> alone = all_bits(five, part_of(c, b, first, candidates[b]), wide);
        EXPECT_EQ(alone, rows_of(together, total, c.k, c.candidate_offsets[b] + first, c.candidate_offsets[b + 1])) << "user " << b;
      }
    }
  }
}

TEST_P(HistorySearch, permuted_candidates_give_permuted_rows) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    Variant v;
    v.dtype = dtype;
    const int64_t nc = 53, k = 11;
    const HistorySearchCase c = fractions(28, dtype, k, {nc}, {rig.scaled(900, 190)});
    HistorySearchCase turned = c;
    for (int64_t i = 0; i < nc; ++i) {
      std::copy_n(c.queries.begin() + (i * 7 % nc) * c.dim, c.dim, turned.queries.begin() + i * c.dim);
    }
    const std::vector<uint32_t> straight = all_bits(rig, c, v), permuted = all_bits(rig, turned, v);
    for (int64_t i = 0; i < nc; ++i) {
      const int64_t from = i * 7 % nc;
      EXPECT_EQ(rows_of(permuted, nc, k, i, i + 1), rows_of(straight, nc, k, from, from + 1)) << i;
    }
  }
}

TEST_P(HistorySearch, a_shorter_list_begins_a_longer_one) {
  Rig rig(GetParam());
  const std::vector<int64_t> nc = {30}, n = {rig.scaled(2000, 190)};
  for (const int32_t dtype : {JD_F32, JD_F16, JD_BF16}) {
    Variant v;
    v.dtype = dtype;
    v.scores = v.counts = false;
    const std::vector<uint32_t> longer = all_bits(rig, fractions(29, dtype, 150, nc, n), v);
    for (const int64_t k : {1, 10, 149}) {
      const std::vector<uint32_t> shorter = all_bits(rig, fractions(29, dtype, k, nc, n), v);
      for (int64_t i = 0; i < 30; ++i) {
        EXPECT_TRUE(std::equal(shorter.begin() + i * k, shorter.begin() + (i + 1) * k, longer.begin() + i * 150)) << k;
      }
    }
  }
}

TEST_P(HistorySearch, results_may_be_left_out) {
  Rig rig(GetParam());
  for (const bool scores : {false, true}) {
    Variant v;
    v.scores = scores;
    v.counts = !scores;
    expect_exact(rig, dots(30, 16, 5, {9}, {60}), v, "dot");
    expect_exact(rig, signatures(31, 1, 5, {9}, {60}, false), v, "lsh");
    expect_exact(rig, categories(32, 3, 5, {9}, {60}), v, "hard");
  }
}

TEST_P(HistorySearch, empty_users_histories_and_batches) {
  Rig rig(GetParam());
  for (const std::vector<int64_t> &candidates : std::vector<std::vector<int64_t>>{{}, {0}, {0, 3, 0}, {4, 0, 2}}) {
    std::vector<int64_t> events(candidates.size(), 0);
    for (const bool some : {false, true}) {
      if (some && !events.empty()) events.back() = 30;
      expect_exact(rig, dots(33, 8, 3, candidates, events), {}, "dot");
      expect_exact(rig, signatures(34, 1, 3, candidates, events, false), {}, "lsh");
      expect_exact(rig, categories(35, 3, 3, candidates, events), {}, "hard");
    }
  }
}

// What a plan holds does not grow with the histories.
TEST_P(HistorySearch, memory_is_bounded) {
  Rig rig(GetParam(), 2);
  for (const int32_t method : {JD_SEARCH_HARD, JD_SEARCH_DOT, JD_SEARCH_LSH}) {
    int64_t bytes[2];
    for (int i = 0; i < 2; ++i) {
      jd_history_search_desc d{};
      d.struct_size = sizeof d;
      d.method = method;
      d.dtype = method == JD_SEARCH_DOT ? JD_F32 : JD_I64;
      d.offset_dtype = JD_I64;
      d.dim = method == JD_SEARCH_HARD ? 0 : 128;
      d.k = 64;
      d.max_batch = 8;
      d.max_candidates = 512;
      d.max_history = i ? 1 << 30 : 1000000;
      Error error;
      jd_plan plan = 0;
      rig.check(jd_history_search_plan(rig.device, &d, &plan, &error), error);
      rig.check(jd_plan_memory(plan, &bytes[i], &error), error);
      char text[256];
      rig.check(jd_plan_describe(plan, text, sizeof text, &error), error);
      EXPECT_NE(std::string(text).find("history_search"), std::string::npos) << text;
      jd_plan_destroy(plan, nullptr);
    }
    EXPECT_EQ(bytes[0], bytes[1]);
    EXPECT_LT(bytes[0], int64_t{200} << 20);
  }
}

// Offsets that the host does not see (they are refused by core elsewhere): found by the kernels.
TEST_P(HistorySearch, bad_offsets_follow_the_bounds_mode) {
  Rig rig(GetParam());
  std::vector<HistorySearchCase> cases = {dots(36, 8, 4, {3, 2, 4}, {40, 20, 30}), signatures(37, 1, 4, {3, 2, 4}, {40, 20, 30}, false),
                                          categories(38, 3, 4, {3, 2, 4}, {40, 20, 30})};
  for (HistorySearchCase &c : cases) {
    const std::vector<uint32_t> good = all_bits(rig, c);
    const std::vector<int64_t> candidates = c.candidate_offsets, events = c.history_offsets;
    const auto refused = [&](const std::string &argument, const std::string &part) {
      const Result strict = run(rig, c, [] {
        Variant v;
        v.max_candidates = 4;
        v.max_history = 40;
        return v;
      }());
      EXPECT_EQ(strict.status, rig.info.host_memory ? JD_INVALID_ARGUMENT : JD_OUT_OF_BOUNDS);
      EXPECT_NE(strict.message.find("history_search: argument '" + argument + "'"), std::string::npos) << strict.message;
      EXPECT_NE(strict.message.find(part), std::string::npos) << strict.message;
      if (!rig.info.host_memory) {
        Variant v;
        v.bounds = JD_BOUNDS_ZERO;
        v.max_candidates = 4;
        v.max_history = 40;
        const Result zero = run(rig, c, v);
        EXPECT_EQ(zero.message, "");
        int64_t skipped = 0;
        Error error;
        rig.check(jd_stream_take_skipped(rig.stream, &skipped, &error), error);
        EXPECT_GE(skipped, 1);
        // The first user is whole.
        const std::vector<uint32_t> bits = rig.bits(zero.indices);
        EXPECT_TRUE(std::equal(bits.begin(), bits.begin() + 3 * c.k, good.begin()));
      }
      c.candidate_offsets = candidates;
      c.history_offsets = events;
    };
    c.candidate_offsets[2] = 2;
    refused("candidate_offsets", "non-decreasing");
    c.history_offsets[2] = 85;
    refused("history_offsets", "at most 40");
    c.history_offsets[3] = 89;
    refused("history_offsets", "89");
  }
}

// A refused user has rows too, so that tensors may have more of them than a plan's users can have together: whatever keeps the lists of
// the others' pieces must not go by them. (On the cpu the host refuses such offsets.)
TEST_P(HistorySearch, many_rows_of_refused_users) {
  if (GetParam() == "cpu") return;
  Rig rig(GetParam(), 2);
  for (const size_t good : {0, 1}) {
    std::vector<int64_t> candidates = {1000, 1000}, history = {3, 3};
    candidates[good] = 4;
    history[good] = 600;
    const HistorySearchCase c = dots(39, 8, 5, candidates, history);
    HistorySearchCase alone = c;
    alone.candidate_offsets = {0, 4};
    alone.history_offsets = {0, 600};
    alone.queries.assign(c.queries.begin() + c.candidate_offsets[good] * 8, c.queries.begin() + c.candidate_offsets[good + 1] * 8);
    alone.keys.assign(c.keys.begin() + c.history_offsets[good] * 8, c.keys.begin() + c.history_offsets[good + 1] * 8);
    Variant v;
    v.bounds = JD_BOUNDS_ZERO;
    v.max_candidates = 4;
    const std::vector<uint32_t> all = all_bits(rig, c, v);
    EXPECT_EQ(rows_of(all, 1004, 5, c.candidate_offsets[good], c.candidate_offsets[good + 1]), rows_of(all_bits(rig, alone, v), 4, 5, 0, 4)) << good;
    int64_t skipped = 0;
    Error error;
    jd_stream_take_skipped(rig.stream, &skipped, &error);
    EXPECT_EQ(skipped, 1);
  }
}

JD_INSTANTIATE_ON_DEVICES(HistorySearch);

}  // namespace
}  // namespace jindou::testing
