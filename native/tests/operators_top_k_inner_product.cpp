// top_k_inner_product through the C ABI against its float64 reference.
//
// Most inputs are small integers, of which every product and sum is exact in every dtype: results must then be the reference's to
// the last index, the many ties included.
#include "operators_support.h"
#include "reference/embedding_rows.h"
#include "reference/top_k_inner_product.h"

namespace jindou::testing {
namespace {

using reference::TopKCase;

struct Variant {
  int32_t dtype = JD_F32;
  int64_t padding = 0;      // elements between the rows of everything
  bool scores = true;
  int64_t max_queries = 0;  // 0: what the case has
  int32_t row_format = JD_ROWS_PLAIN;
  const reference::RowsOfCodes *codes = nullptr;  // the items, where they are no numbers
};

struct Result {
  std::vector<int64_t> indices;
  std::vector<uint32_t> score_bits;
  std::string message;
  bool gaps_intact = true;

  float score(size_t at) const {
    float x;
    std::memcpy(&x, &score_bits[at], sizeof x);
    return x;
  }
};

constexpr uint8_t kPoison = 0x77;  // -1 is all ones: an output never written must not look like it

// A tensor [rows, columns] of poison with `padding` elements between its rows, and its bytes read back.
class Poisoned {
 public:
  Poisoned(Rig &rig, int32_t dtype, int64_t rows, int64_t columns, int64_t padding)
      : rig_(rig), rows_(rows), columns_(columns), stride_(columns + padding), size_(jd_dtype_size(dtype)) {
    whole_ = rig.bytes(dtype, {rows * stride_}, std::vector<uint8_t>(static_cast<size_t>(rows * stride_ * size_), kPoison));
    view = rig.view(whole_, {rows, columns}, {stride_, 1});
  }

  template <class T>
  std::vector<T> read(bool *gaps_intact) const {
    std::vector<uint8_t> bytes(static_cast<size_t>(rows_ * stride_ * size_));
    Error error;
    if (!bytes.empty()) rig_.check(jd_tensor_read(rig_.stream, whole_, bytes.data(), static_cast<int64_t>(bytes.size()), &error), error);
    std::vector<T> values(static_cast<size_t>(rows_ * columns_));
    for (int64_t i = 0; i < rows_; ++i) {
      std::memcpy(values.data() + i * columns_, bytes.data() + i * stride_ * size_, static_cast<size_t>(columns_ * size_));
      for (int64_t at = (i * stride_ + columns_) * size_; at < (i + 1) * stride_ * size_; ++at) *gaps_intact &= bytes[at] == kPoison;
    }
    return values;
  }

  jd_tensor view = 0;

 private:
  Rig &rig_;
  const int64_t rows_, columns_, stride_, size_;
  jd_tensor whole_ = 0;
};

// Bit j % 8 of byte j / 8; bits past the last item are ones.
jd_tensor bitmap(Rig &rig, const TopKCase &c, int64_t padding) {
  const int64_t bytes = (c.num_items + 7) / 8;
  const bool shared = static_cast<int64_t>(c.allowed.size()) == c.num_items;
  const int64_t rows = shared ? 1 : c.num_queries, stride = bytes + (shared ? 0 : padding);
  std::vector<uint8_t> bits(static_cast<size_t>(rows * stride), 0xff);
  for (int64_t q = 0; q < rows; ++q) {
    for (int64_t j = 0; j < c.num_items; ++j) {
      if (!c.allowed[q * c.num_items + j]) bits[q * stride + j / 8] &= static_cast<uint8_t>(~(1u << (j % 8)));
    }
  }
  const jd_tensor whole = rig.bytes(JD_U8, {rows * stride}, bits);
  return shared ? whole : rig.view(whole, {rows, bytes}, {stride, 1});
}

class TopKInnerProduct : public ::testing::TestWithParam<std::string> {
 protected:
  static Result run(Rig &rig, const TopKCase &c, const Variant &v = {}) {
    jd_top_k_inner_product_desc d{};
    d.struct_size = sizeof d;
    d.dtype = v.dtype;
    d.dim = static_cast<int32_t>(c.dim);
    d.k = static_cast<int32_t>(c.k);
    d.max_queries = v.max_queries ? v.max_queries : std::max<int64_t>(1, c.num_queries);
    d.row_format = v.row_format;
    jd_top_k_inner_product_args a{};
    a.struct_size = sizeof a;
    a.queries = rig.tensor(v.dtype, {c.num_queries, c.dim}, c.queries, v.padding);
    a.items = v.codes ? rig.bytes(JD_U8, {c.num_items, v.codes->row_bytes}, v.codes->bytes)
                      : rig.tensor(v.dtype, {c.num_items, c.dim}, c.items, 2 * v.padding);
    if (!c.allowed.empty()) a.allowed = bitmap(rig, c, v.padding);
    const Poisoned indices(rig, JD_I64, c.num_queries, c.k, v.padding), scores(rig, JD_F32, c.num_queries, c.k, v.padding / 2);
    a.indices = indices.view;
    if (v.scores) a.scores = scores.view;
    Error error;
    jd_plan plan = 0;
    rig.check(jd_top_k_inner_product_plan(rig.device, &d, &plan, &error), error);
    rig.keep(plan);
    Result r;
    jd_status status = jd_top_k_inner_product_run(plan, rig.stream, &a, &error);
    if (status == JD_OK) status = jd_stream_synchronize(rig.stream, &error);
    if (status != JD_OK) r.message = error.message;
    r.indices = indices.read<int64_t>(&r.gaps_intact);
    r.score_bits = scores.read<uint32_t>(&r.gaps_intact);
    return r;
  }

  // Exactly the reference's list.
  static void expect_exact(Rig &rig, const TopKCase &c, const Variant &v, const std::string &what) {
    const Result r = run(rig, c, v);
    ASSERT_EQ(r.message, "") << what;
    EXPECT_TRUE(r.gaps_intact) << what << ": wrote between the rows";
    const auto expected = reference::top_k_inner_product(c);
    for (int64_t q = 0; q < c.num_queries; ++q) {
      const int64_t found = std::min<int64_t>(c.k, static_cast<int64_t>(expected[q].size()));
      for (int64_t n = 0; n < c.k; ++n) {
        const auto at = static_cast<size_t>(q * c.k + n);
        ASSERT_EQ(r.indices[at], n < found ? expected[q][n].index : -1) << what << ", query " << q << ", place " << n;
        if (!v.scores) continue;
        ASSERT_EQ(r.score(at), n < found ? expected[q][n].score : -INFINITY) << what << ", query " << q << ", place " << n;
      }
    }
  }

  // Every index and bit of every score.
  static std::vector<int64_t> all_bits(Rig &rig, const TopKCase &c, const Variant &v = {}) {
    const Result r = run(rig, c, v);
    EXPECT_EQ(r.message, "");
    std::vector<int64_t> all;
    for (size_t i = 0; i < r.indices.size(); ++i) {
      all.push_back(r.indices[i]);
      all.push_back(r.score_bits[i]);
    }
    return all;
  }
};

// Integers in -3..3.
TopKCase whole_numbers(uint64_t seed, int64_t dim, int64_t k, int64_t queries, int64_t items) {
  Random random(seed);
  TopKCase c;
  c.dim = dim;
  c.k = k;
  c.num_queries = queries;
  c.num_items = items;
  c.queries.resize(static_cast<size_t>(queries * dim));
  c.items.resize(static_cast<size_t>(items * dim));
  for (double &x : c.queries) x = static_cast<double>(random.integer(-3, 3));
  for (double &x : c.items) x = static_cast<double>(random.integer(-3, 3));
  return c;
}

TopKCase fractions(uint64_t seed, int32_t dtype, int64_t dim, int64_t k, int64_t queries, int64_t items) {
  TopKCase c = whole_numbers(seed, dim, k, queries, items);
  Random random(seed);
  c.queries = random.values(queries * dim, dtype);
  c.items = random.values(items * dim, dtype);
  return c;
}

// `share` of the items, for all queries or each query's own.
void allow(TopKCase &c, uint64_t seed, double share, bool each) {
  Random random(seed);
  c.allowed.assign(static_cast<size_t>(c.num_items * (each ? c.num_queries : 1)), false);
  for (size_t i = 0; i < c.allowed.size(); ++i) c.allowed[i] = random.uniform(0, 1) < share;
}

// The queries first..last-1.
TopKCase part_of(const TopKCase &c, int64_t first, int64_t last) {
  TopKCase p = c;
  p.num_queries = last - first;
  p.queries.assign(c.queries.begin() + first * c.dim, c.queries.begin() + last * c.dim);
  if (static_cast<int64_t>(c.allowed.size()) > c.num_items) {
    p.allowed.assign(c.allowed.begin() + first * c.num_items, c.allowed.begin() + last * c.num_items);
  }
  return p;
}

std::vector<int64_t> rows_of(const std::vector<int64_t> &bits, int64_t k, int64_t first, int64_t last) {
  return {bits.begin() + first * k * 2, bits.begin() + last * k * 2};
}

const int32_t kDtypes[] = {JD_F32, JD_F16, JD_BF16};

// -- the k largest products -----------------------------------------------------------------------------------------------
TEST_P(TopKInnerProduct, matches_the_reference_for_every_dtype_and_dim) {
  Rig rig(GetParam());
  for (const int32_t dtype : kDtypes) {
    for (const int64_t dim : {8, 16, 24, 40, 64, 72, 128, 136, 200, 256}) {
      for (const int64_t m : {3, 18}) {  // few and many
        Variant v;
        v.dtype = dtype;
        v.padding = 8;
        expect_exact(rig, whole_numbers(static_cast<uint64_t>(dim), dim, 5, m, 133), v,
                     std::string(jd_dtype_name(dtype)) + ", dim " + std::to_string(dim) + ", " + std::to_string(m) + " queries");
      }
    }
  }
}

// Rows that a GPU takes in slices of 32 or 64 elements, around the tiles of queries and items.
TEST_P(TopKInnerProduct, long_rows_of_every_dtype) {
  Rig rig(GetParam());
  const std::vector<int64_t> dims =
      rig.fast() ? std::vector<int64_t>{264, 288, 320, 384, 504, 512, 768, 1000, 1024, 1032, 1536, 2040, 2048} : std::vector<int64_t>{264, 776};
  for (const int32_t dtype : kDtypes) {
    for (const int64_t dim : dims) {
      for (const int64_t m : {1, 16, 17, 67}) {
        for (const int64_t n : {1, 63, 64, 65, 133}) {
          if (!rig.fast() && (m + n + dim / 8) % 5 != 0 && n != 65) continue;
          Variant v;
          v.dtype = dtype;
          v.padding = 8;
          TopKCase c = whole_numbers(static_cast<uint64_t>(dim), dim, 5, m, n);
          if (m == 17) allow(c, 61, 0.6, n == 65);
          expect_exact(rig, c, v, std::string(jd_dtype_name(dtype)) + ", dim " + std::to_string(dim) + ", " + std::to_string(m) + " x " +
                                      std::to_string(n));
        }
      }
    }
  }
  // Two rounds of items, and lists that are cut.
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    Variant v;
    v.dtype = dtype;
    expect_exact(rig, whole_numbers(41, 264, 3, 2, rig.scaled(20011, 1100)), v, std::string(jd_dtype_name(dtype)) + ", many items");
    TopKCase rising = whole_numbers(42, 264, 40, 18, rig.scaled(2000, 400));
    for (int64_t q = 0; q < rising.num_queries; ++q) std::fill_n(rising.queries.begin() + q * 264, 264, 0.0), rising.queries[q * 264 + 263] = 1;
    for (int64_t j = 0; j < rising.num_items; ++j) rising.items[j * 264 + 263] = static_cast<double>(j / 8);
    expect_exact(rig, rising, v, std::string(jd_dtype_name(dtype)) + ", rising");
  }
}

TEST_P(TopKInnerProduct, numbers_of_queries_around_every_tile) {
  Rig rig(GetParam());
  for (const int64_t m : {0, 1, 2, 3, 4, 5, 7, 8, 9, 12, 13, 15, 16, 17, 24, 25, 31, 33, 47, 48, 49, 63, 64, 65, 97, 130}) {
    if (!rig.fast() && m % 12 == 1 && m > 1) continue;
    for (const int32_t dtype : {JD_F32, JD_BF16}) {
      Variant v;
      v.dtype = dtype;
      expect_exact(rig, whole_numbers(3, 16, 3, m, 67), v, std::to_string(m) + " queries");
    }
  }
}

TEST_P(TopKInnerProduct, numbers_of_items_around_every_block) {
  Rig rig(GetParam());
  for (const int64_t n : {0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 71, 127, 128, 129, 191, 193, 255, 257, 1021, 10007}) {
    if (!rig.fast() && n > 200) continue;
    for (const int32_t dtype : kDtypes) {
      for (const int64_t m : {2, 19}) {
        Variant v;
        v.dtype = dtype;
        expect_exact(rig, whole_numbers(4, 8, 7, m, n), v, std::to_string(n) + " items, " + std::to_string(m) + " queries");
      }
    }
  }
}

TEST_P(TopKInnerProduct, every_k_small_equal_and_beyond_the_items) {
  Rig rig(GetParam());
  for (const int64_t k : {1, 2, 31, 32, 33, 63, 64, 65, 96, 127, 128, 129, 200, 512, 1000, 1023, 1024}) {
    for (const int64_t m : {2, 20}) {
      for (const int64_t n : {rig.scaled(5000, k > 200 ? 130 : 190), k}) {
        if (!rig.fast() && n > 200) continue;
        expect_exact(rig, whole_numbers(5, 8, k, m, n), {}, "k " + std::to_string(k) + ", " + std::to_string(n) + " items");
      }
    }
  }
}

TEST_P(TopKInnerProduct, of_equal_scores_the_lower_index_comes_first) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    for (const int64_t m : {5, 40}) {
      Variant v;
      v.dtype = dtype;
      TopKCase c = whole_numbers(10, 16, 20, m, rig.scaled(9000, 190));
      for (double &x : c.items) x = 1;  // all items alike
      expect_exact(rig, c, v, "all equal");
      const Result r = run(rig, c, v);
      for (int64_t n = 0; n < 20; ++n) EXPECT_EQ(r.indices[n], n);
      for (int64_t i = 0; i < c.num_items * 16; ++i) c.items[i] = i / 16 % 2 ? -0.0 : 0.0;  // zeros of both signs
      expect_exact(rig, c, v, "zeros");
      for (int64_t i = 0; i < c.num_items * 16; ++i) c.items[i] = static_cast<double>(i / 16 % 4);
      expect_exact(rig, c, v, "four kinds");
    }
  }
}

TEST_P(TopKInnerProduct, scores_that_rise_and_fall_along_the_items) {
  Rig rig(GetParam());
  const int64_t n = rig.scaled(30000, 2500);  // on a GPU lists are cut again and again
  for (const int direction : {1, -1}) {
    for (const int64_t m : {3, 17}) {
      TopKCase c = whole_numbers(11, 8, 33, m, n);
      for (int64_t i = 0; i < m * 8; ++i) c.queries[i] = i % 8 == 0 ? (i % 16 ? 1 : 2) : 0;
      for (int64_t j = 0; j < n; ++j) c.items[j * 8] = static_cast<double>(direction * j);
      expect_exact(rig, c, {}, direction > 0 ? "rising" : "falling");
    }
  }
}

TEST_P(TopKInnerProduct, numbers_that_are_none_are_not_found) {
  Rig rig(GetParam());
  for (const int32_t dtype : kDtypes) {
    for (const int64_t m : {4, 20}) {
      Variant v;
      v.dtype = dtype;
      TopKCase c = whole_numbers(12, 24, 12, m, 100);
      for (int64_t j = 0; j < 100; ++j) {
        if (j % 4 != 1) c.items[j * 24 + j % 24] = NAN;
      }
      for (int64_t d = 0; d < 24; ++d) c.queries[3 * 24 + d] = d ? 0 : NAN;  // this query finds nothing
      expect_exact(rig, c, v, std::string(jd_dtype_name(dtype)) + ", NaN");
      c = whole_numbers(13, 24, 30, m, 100);
      for (double &x : c.queries) x = std::fabs(x) + 1;
      for (int64_t j = 0; j < 100; ++j) {
        if (j % 4 == 1) c.items[j * 24] = j % 8 == 1 ? INFINITY : -INFINITY;  // ahead of all, the lower index first; never found
      }
      expect_exact(rig, c, v, std::string(jd_dtype_name(dtype)) + ", infinities");
    }
  }
}

TEST_P(TopKInnerProduct, numbers_with_fractions) {
  Rig rig(GetParam());
  const int64_t k = 40;
  for (const int32_t dtype : kDtypes) {
    for (const auto &[dim, m] : {std::pair<int64_t, int64_t>{64, 5}, {64, 50}, {776, 5}, {776, 18}}) {
      const int64_t n = dim > 256 ? rig.scaled(1009, 90) : rig.scaled(10007, 201);
      const TopKCase c = fractions(14, dtype, dim, k, m, n);
      Variant v;
      v.dtype = dtype;
      const Result r = run(rig, c, v);
      ASSERT_EQ(r.message, "");
      const auto expected = reference::top_k_inner_product(c);
      for (int64_t q = 0; q < m; ++q) {
        // Every place holds a score as good as the reference's there, and it is that item's score.
        for (int64_t at = q * k; at < (q + 1) * k; ++at) {
          const int64_t j = r.indices[at];
          ASSERT_TRUE(j >= 0 && j < n);
          const double score = r.score(at);
          double terms = 0;
          for (int64_t d = 0; d < dim; ++d) terms += std::fabs(c.queries[q * dim + d] * c.items[j * dim + d]);
          const double allowed = tolerance::sum(dim, terms, score, JD_F32);
          ASSERT_NEAR(score, c.score(q, j), allowed) << "query " << q << ", place " << at - q * k;
          ASSERT_NEAR(score, expected[q][at - q * k].score, 2 * allowed) << "query " << q << ", place " << at - q * k;
          if (at == q * k) continue;
          ASSERT_TRUE(score < r.score(at - 1) || (score == r.score(at - 1) && j > r.indices[at - 1]));
        }
      }
    }
  }
}

// -- items of codes -------------------------------------------------------------------------------------------------------
const int32_t kFormats[] = {JD_ROWS_INT8,      JD_ROWS_INT4,      JD_ROWS_INT2, JD_ROWS_INT8_FLOAT,
                            JD_ROWS_INT4_LAST, JD_ROWS_INT2_LAST, JD_ROWS_E4M3};

// A case of these items; their values are rounded to f32, what code * scale + bias is in one multiply-add.
TopKCase of_codes(const reference::RowsOfCodes &codes, int32_t dtype, int64_t dim, int64_t k, int64_t m, int64_t n) {
  TopKCase c = fractions(71, dtype, dim, k, m, n);
  c.items = codes.values;
  for (double &x : c.items) x = static_cast<float>(x);
  return c;
}

// The bits of f32 queries and items of what the codes stand for, whatever the queries' dtype.
TEST_P(TopKInnerProduct, items_of_codes_score_as_what_they_stand_for) {
  Rig rig(GetParam(), 2);
  for (const int32_t format : kFormats) {
    for (const int64_t dim : {8, 40, 264, 1032}) {
      if (!rig.fast() && dim > 264) continue;
      for (const int64_t padding : {0, 3}) {
        for (const int64_t m : {1, 16, 19, 67}) {
          if (!rig.fast() && (m + dim / 8 + padding + format) % 4 != 0) continue;
          const int64_t n = 133;
          const reference::RowsOfCodes codes = reference::rows_of_codes(format, n, dim, padding, 70 + static_cast<uint64_t>(format));
          Variant v;
          v.dtype = kDtypes[(m + dim / 8 + padding) % 3];
          TopKCase c = of_codes(codes, v.dtype, dim, 9, m, n);
          if (m > 1) allow(c, 72, 0.7, m == 19);
          const std::vector<int64_t> plain = all_bits(rig, c);
          v.row_format = format;
          v.codes = &codes;
          EXPECT_EQ(all_bits(rig, c, v), plain) << "format " << format << ", dim " << dim << ", rows " << padding << " bytes longer, " << m
                                                << " queries of " << jd_dtype_name(v.dtype);
        }
      }
    }
  }
}

// Whole numbers, of which every score is exact: the reference's list, ties included.
TEST_P(TopKInnerProduct, items_of_codes_are_exact) {
  Rig rig(GetParam());
  for (const int32_t dtype : kDtypes) {
    for (const int64_t m : {2, 20}) {
      for (const int64_t n : {1, 65, 190}) {
        const int64_t dim = 48;
        TopKCase c = whole_numbers(73, dim, 12, m, n);
        reference::RowsOfCodes codes;
        codes.row_bytes = dim + 4;
        for (int64_t j = 0; j < n; ++j) {
          const uint16_t scale = reference::exact_half(1), bias = reference::exact_half(-3);
          for (const uint16_t half : {scale, bias}) {
            codes.bytes.push_back(static_cast<uint8_t>(half & 0xff));
            codes.bytes.push_back(static_cast<uint8_t>(half >> 8));
          }
          for (int64_t d = 0; d < dim; ++d) codes.bytes.push_back(static_cast<uint8_t>(c.items[j * dim + d] + 3));
        }
        Variant v;
        v.dtype = dtype;
        v.row_format = JD_ROWS_INT8;
        v.codes = &codes;
        expect_exact(rig, c, v, std::string(jd_dtype_name(dtype)) + ", " + std::to_string(m) + " x " + std::to_string(n));
      }
    }
  }
}

TEST_P(TopKInnerProduct, bits_over_codes_depend_on_the_query_and_the_items_alone) {
  Rig rig(GetParam(), 2), five(GetParam(), 5);
  const int64_t n = rig.scaled(9001, 600), m = 35, k = 21, dim = 40;
  const reference::RowsOfCodes codes = reference::rows_of_codes(JD_ROWS_INT8, n, dim, 0, 74);
  TopKCase c = of_codes(codes, JD_BF16, dim, k, m, n);
  Variant v;
  v.dtype = JD_BF16;
  v.row_format = JD_ROWS_INT8;
  v.codes = &codes;
  for (const int filter : {0, 1, 2}) {
    if (filter) allow(c, 75, 0.4, filter == 2);
    const std::vector<int64_t> together = all_bits(rig, c, v);
    for (const auto &[first, last] : std::vector<std::pair<int64_t, int64_t>>{{0, 1}, {3, 19}, {1, 18}}) {
      EXPECT_EQ(all_bits(five, part_of(c, first, last), v), rows_of(together, k, first, last)) << "filter " << filter;
    }
  }
}

// Enough items for several threads, for several pieces of a GPU and for two rounds of them.
TEST_P(TopKInnerProduct, many_items_in_pieces_and_rounds) {
  Rig rig(GetParam(), 2);
  const int64_t n = rig.scaled(70001, 2500);
  for (const int64_t k : {5, 130}) {
    for (const int64_t m : {1, 11, 18}) {
      TopKCase c = whole_numbers(40, 8, k, m, n);
      expect_exact(rig, c, {}, "all");
      if (m == 11 || rig.fast()) {
        allow(c, 41, 0.3, false);
        expect_exact(rig, c, {}, "filtered");
      }
      // The best come last: what the sample knows is of no use.
      for (int64_t j = 0; j < n; ++j) c.items[j * 8] = static_cast<double>(j / 100);
      for (int64_t q = 0; q < m; ++q) c.queries[q * 8] = 1;
      if (m < 12 && k == 5) expect_exact(rig, c, {}, "rising");
    }
  }
}

// On a GPU lists of all queries and pieces share a scratch memory: with enough of them queries come in windows.
TEST_P(TopKInnerProduct, more_queries_than_lists_fit) {
  Rig rig(GetParam(), 2);
  expect_exact(rig, whole_numbers(39, 8, 1024, rig.info.host_memory ? 1100 : 4099, 5), {}, "many queries");
}

// -- filters --------------------------------------------------------------------------------------------------------------
TEST_P(TopKInnerProduct, only_allowed_items_are_found) {
  Rig rig(GetParam());
  for (const int32_t dtype : kDtypes) {
    for (const int64_t m : {1, 6, 19, 70}) {
      if (!rig.fast() && (m == 70) != (dtype == JD_F32)) continue;
      for (const bool each : {false, true}) {
        for (const double share : {0.0, 0.02, 0.3, 0.97, 1.0}) {
          for (const int64_t n : {67, static_cast<int>(rig.scaled(1003, 193))}) {
            if (!rig.fast() && n > 100 && share != 0.3) continue;
            Variant v;
            v.dtype = dtype;
            v.padding = 8;
            TopKCase c = whole_numbers(60, 24, 9, m, n);
            allow(c, 61, share, each);
            expect_exact(rig, c, v,
                         std::string(jd_dtype_name(dtype)) + ", " + std::to_string(m) + " queries, " + (each ? "each " : "all ") +
                             std::to_string(share) + " of " + std::to_string(n));
          }
        }
      }
    }
  }
}

TEST_P(TopKInnerProduct, filters_with_long_gaps_and_whole_blocks) {
  Rig rig(GetParam(), 2);
  const int64_t n = rig.scaled(20011, 400);
  for (const int64_t m : {3, 20}) {
    for (const int64_t run_length : {16, 64, 65, 128, 200}) {
      TopKCase c = whole_numbers(62, 16, 10, m, n);
      for (int64_t j = 0; j < n; ++j) c.allowed.push_back(j / run_length % 3 == 1);
      expect_exact(rig, c, {}, "runs of " + std::to_string(run_length));
      for (int64_t j = 0; j < n; ++j) c.allowed[j] = !c.allowed[j];
      expect_exact(rig, c, {}, "all but runs of " + std::to_string(run_length));
    }
    TopKCase c = whole_numbers(63, 16, 10, m, n);
    c.allowed.assign(static_cast<size_t>(n), false);
    for (const int64_t j : {int64_t{0}, n / 2, n - 1}) c.allowed[j] = true;
    expect_exact(rig, c, {}, "three items");
  }
}

// A filter that hides nothing, and items that are hidden whatever is in them.
TEST_P(TopKInnerProduct, a_filter_changes_no_bit_of_what_it_leaves) {
  Rig rig(GetParam());
  for (const int32_t dtype : kDtypes) {
    for (const int64_t m : {4, 30}) {
      Variant v;
      v.dtype = dtype;
      TopKCase c = fractions(64, dtype, 40, 15, m, rig.scaled(3000, 150));
      const std::vector<int64_t> plain = all_bits(rig, c, v);
      allow(c, 65, 2.0, false);
      EXPECT_EQ(all_bits(rig, c, v), plain);
      allow(c, 65, 2.0, true);
      EXPECT_EQ(all_bits(rig, c, v), plain);
      allow(c, 66, 0.5, false);
      const std::vector<int64_t> half = all_bits(rig, c, v);
      const int64_t n = c.num_items;
      const std::vector<bool> one = c.allowed;
      for (int64_t q = 1; q < m; ++q) c.allowed.insert(c.allowed.end(), one.begin(), one.end());
      EXPECT_EQ(all_bits(rig, c, v), half) << "the same bitmap for each query";
      c.allowed = one;
      for (int64_t j = 0; j < n; ++j) {
        for (int64_t d = 0; d < 40 && !one[j]; ++d) c.items[j * 40 + d] = j % 2 ? NAN : INFINITY;
      }
      EXPECT_EQ(all_bits(rig, c, v), half) << "hidden items of no numbers";
    }
  }
}

// -- what a result depends on ---------------------------------------------------------------------------------------------
// Not on the other queries, nor on the declared maximum, nor on threads: so not on how work was cut.
TEST_P(TopKInnerProduct, bits_depend_on_the_query_and_the_items_alone) {
  Rig rig(GetParam(), 2), one(GetParam(), 1), five(GetParam(), 5);
  const int64_t m = 51, k = 21;
  struct Search {
    int32_t dtype;
    int64_t dim;
    int filter;  // 0: none, 1: one for all queries, 2: each its own
  };
  for (const Search s : {Search{JD_F32, 40, 0}, {JD_F32, 64, 1}, {JD_F32, 24, 2}, {JD_F16, 40, 1}, {JD_BF16, 64, 0}, {JD_BF16, 40, 2},
                       {JD_F32, 392, 0}, {JD_F16, 392, 2}, {JD_BF16, 776, 1}}) {
    const int64_t n = s.dim > 256 ? rig.scaled(3001, 90) : rig.scaled(12301, 400);
    TopKCase c = fractions(25, s.dtype, s.dim, k, m, n);
    if (s.filter) allow(c, 26, 0.4, s.filter == 2);
    Variant v;
    v.dtype = s.dtype;
    const std::vector<int64_t> together = all_bits(rig, c, v);
    EXPECT_EQ(all_bits(one, c, v), together);
    EXPECT_EQ(all_bits(five, c, v), together);
    Variant wide = v;
    wide.max_queries = 1000;
    for (const auto &[first, last] : std::vector<std::pair<int64_t, int64_t>>{{0, 1}, {7, 12}, {50, 51}, {3, 12}, {20, 36}, {1, 18}}) {
      EXPECT_EQ(all_bits(five, part_of(c, first, last), wide), rows_of(together, k, first, last))
          << jd_dtype_name(s.dtype) << ", queries " << first << ".." << last << ", filter " << s.filter;
    }
  }
}

TEST_P(TopKInnerProduct, permuted_queries_give_permuted_rows) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    Variant v;
    v.dtype = dtype;
    const int64_t m = 53, k = 11;
    const TopKCase c = fractions(28, dtype, 40, k, m, rig.scaled(900, 190));
    TopKCase turned = c;
    for (int64_t i = 0; i < m; ++i) std::copy_n(c.queries.begin() + (i * 7 % m) * c.dim, c.dim, turned.queries.begin() + i * c.dim);
    const std::vector<int64_t> straight = all_bits(rig, c, v), permuted = all_bits(rig, turned, v);
    for (int64_t i = 0; i < m; ++i) {
      const int64_t from = i * 7 % m;
      EXPECT_EQ(rows_of(permuted, k, i, i + 1), rows_of(straight, k, from, from + 1)) << i;
    }
  }
}

// Items in two halves, each searched alone: their lists merged are the list of all.
TEST_P(TopKInnerProduct, lists_of_parts_merge_to_the_list_of_all) {
  Rig rig(GetParam());
  for (const int32_t dtype : kDtypes) {
    for (const int64_t m : {2, 20}) {
      Variant v;
      v.dtype = dtype;
      const int64_t k = 25, n = rig.scaled(3001, 190), cut = n / 3;
      const TopKCase c = fractions(30, dtype, 32, k, m, n);
      TopKCase low = c, high = c;
      low.num_items = cut;
      low.items.resize(static_cast<size_t>(cut * 32));
      high.num_items = n - cut;
      high.items.assign(c.items.begin() + cut * 32, c.items.end());
      const Result all = run(rig, c, v), a = run(rig, low, v), b = run(rig, high, v);
      for (int64_t q = 0; q < m; ++q) {
        int64_t i = q * k, j = q * k;
        for (int64_t at = q * k; at < (q + 1) * k; ++at) {
          const bool from_low = a.score(i) >= b.score(j);
          ASSERT_EQ(all.indices[at], from_low ? a.indices[i] : b.indices[j] + cut);
          ASSERT_EQ(all.score_bits[at], from_low ? a.score_bits[i] : b.score_bits[j]);
          from_low ? ++i : ++j;
        }
      }
    }
  }
}

TEST_P(TopKInnerProduct, a_shorter_list_begins_a_longer_one) {
  Rig rig(GetParam());
  const int64_t m = 20, n = rig.scaled(2000, 190);
  for (const int32_t dtype : kDtypes) {
    Variant v;
    v.dtype = dtype;
    const std::vector<int64_t> longer = all_bits(rig, fractions(29, dtype, 40, 150, m, n), v);
    for (const int64_t k : {1, 10, 149}) {
      const std::vector<int64_t> shorter = all_bits(rig, fractions(29, dtype, 40, k, m, n), v);
      for (int64_t q = 0; q < m; ++q) {
        EXPECT_TRUE(std::equal(shorter.begin() + q * k * 2, shorter.begin() + (q + 1) * k * 2, longer.begin() + q * 150 * 2)) << k;
      }
    }
  }
}

TEST_P(TopKInnerProduct, scores_may_be_left_out) {
  Rig rig(GetParam());
  Variant v;
  v.scores = false;
  for (const int64_t m : {3, 20}) {
    const TopKCase c = whole_numbers(30, 16, 5, m, 60);
    expect_exact(rig, c, v, "indices alone");
    const Result r = run(rig, c, v);
    for (const uint32_t bits : r.score_bits) EXPECT_EQ(bits, 0x77777777u);
  }
}

// What a plan holds does not grow with the items, and is bounded whatever the queries.
TEST_P(TopKInnerProduct, memory_is_bounded) {
  Rig rig(GetParam(), 2);
  for (const int32_t k : {1, 100, 1024}) {
    for (const int64_t max_queries : {1, 16, 1 << 20}) {
      jd_top_k_inner_product_desc d{};
      d.struct_size = sizeof d;
      d.dtype = JD_F32;
      d.dim = 2048;
      d.k = k;
      d.max_queries = max_queries;
      Error error;
      jd_plan plan = 0;
      rig.check(jd_top_k_inner_product_plan(rig.device, &d, &plan, &error), error);
      int64_t bytes = 0;
      rig.check(jd_plan_memory(plan, &bytes, &error), error);
      EXPECT_LT(bytes, int64_t{200} << 20);
      char text[256];
      rig.check(jd_plan_describe(plan, text, sizeof text, &error), error);
      EXPECT_NE(std::string(text).find("top_k_inner_product"), std::string::npos) << text;
      jd_plan_destroy(plan, nullptr);
    }
  }
}

JD_INSTANTIATE_ON_DEVICES(TopKInnerProduct);

}  // namespace
}  // namespace jindou::testing
