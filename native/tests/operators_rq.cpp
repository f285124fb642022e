// rq_encode and rq_decode through the C ABI against their float64 references.
#include "operators_support.h"
#include "reference/rq.h"

namespace jindou::testing {
namespace {

class Rq : public ::testing::TestWithParam<std::string> {
 protected:
  struct Shape {
    int64_t n, levels, codes, dim;
    int32_t dtype = JD_F32;
    int64_t padding = 0;  // of rows of x, of codes and of the output, in elements
  };
  struct Encoded {
    std::vector<int64_t> codes;
    std::vector<double> norms;
    std::vector<uint32_t> norm_bits;
  };

  // Codebooks of falling size, as trained ones have.
  static reference::RqCase random_case(const Shape &s, uint64_t seed) {
    Random random(seed);
    reference::RqCase c;
    c.n = s.n;
    c.levels = s.levels;
    c.codes = s.codes;
    c.dim = s.dim;
    c.x = random.values(s.n * s.dim, s.dtype);
    double scale = 1;
    for (int64_t level = 0; level < s.levels; ++level, scale = std::max(scale / 2, 0.1)) {
      const auto book = random.values(s.codes * s.dim, JD_F32, scale);
      c.codebooks.insert(c.codebooks.end(), book.begin(), book.end());
    }
    return c;
  }

  static Encoded encode(Rig &rig, const Shape &s, const reference::RqCase &c, bool with_norm = true) {
    jd_rq_encode_desc d{};
    d.struct_size = sizeof d;
    d.dtype = s.dtype;
    d.dim = static_cast<int32_t>(c.dim);
    d.num_levels = static_cast<int32_t>(c.levels);
    d.num_codes = static_cast<int32_t>(c.codes);
    Error error;
    jd_plan plan = 0;
    rig.check(jd_rq_encode_plan(rig.device, &d, &plan, &error), error);
    rig.keep(plan);
    jd_rq_encode_args a{};
    a.struct_size = sizeof a;
    a.x = rig.tensor(s.dtype, {c.n, c.dim}, c.x, s.padding);
    a.codebooks = rig.tensor(JD_F32, {c.levels, c.codes, c.dim}, c.codebooks, s.padding);
    a.codes = rig.poisoned(JD_I32, {c.n, c.levels}, s.padding ? 3 : 0);
    if (with_norm) a.residual_norm = rig.poisoned(JD_F32, {c.n});
    rig.check(jd_rq_encode_run(plan, rig.stream, &a, &error), error);
    rig.check(jd_stream_synchronize(rig.stream, &error), error);
    Encoded result;
    bool gaps_intact = false;
    for (const uint32_t code : rig.bits(a.codes, &gaps_intact)) result.codes.push_back(static_cast<int32_t>(code));
    EXPECT_TRUE(gaps_intact);
    if (with_norm) {
      result.norms = rig.read(a.residual_norm);
      result.norm_bits = rig.bits(a.residual_norm);
    }
    return result;
  }

  static void compare(Rig &rig, const Shape &s) {
    const reference::RqCase c = random_case(s, s.n * 31 + s.levels * 7 + s.codes * 3 + s.dim);
    const std::string what = std::to_string(s.n) + " of " + std::to_string(s.dim) + ", " + std::to_string(s.levels) +
                             " levels of " + std::to_string(s.codes) + ", dtype " + std::to_string(s.dtype);
    expect_nearest(c, encode(rig, s, c), what);
  }

  static void expect_nearest(const reference::RqCase &c, const Encoded &got, const std::string &what) {
    ASSERT_EQ(static_cast<int64_t>(got.codes.size()), c.n * c.levels) << what;
    for (size_t i = 0; i < got.codes.size(); ++i) {
      ASSERT_TRUE(got.codes[i] >= 0 && got.codes[i] < c.codes) << what << ": code " << i << " is " << got.codes[i];
    }
    std::vector<double> norms;
    const auto levels = reference::rq_levels(c, got.codes, &norms);
    int64_t undecided = 0;
    for (size_t i = 0; i < levels.size(); ++i) {
      const reference::RqLevel &l = levels[i];
      ASSERT_LE(l.chosen, l.best + tolerance::rq_distance(c.dim, l.residual, l.code)) << what << ": code " << i;
      undecided += got.codes[i] != l.nearest;
    }
    // Random codes are rarely so close to each other that rounding decides.
    EXPECT_LE(undecided, 1 + static_cast<int64_t>(levels.size()) / 1000) << what;
    expect_near(got.norms, norms, [&](size_t i) {
      const double residual = levels[i * c.levels].residual + c.levels * levels[i * c.levels].code;
      return 4 * (std::sqrt(static_cast<double>(c.dim)) + 4) * tolerance::unit_roundoff(JD_F32) * std::sqrt(residual) + 1e-30;
    }, what);
  }

  struct Decoded {
    std::vector<double> out;
    jd_status status = JD_OK;
    Error error;
    int64_t skipped = 0;
  };
  static Decoded decode(Rig &rig, const reference::RqCase &c, const std::vector<int64_t> &codes, int32_t out_dtype,
                        int32_t bounds, int64_t padding = 0) {
    jd_rq_decode_args a{};
    a.struct_size = sizeof a;
    a.bounds = bounds;
    a.codes = rig.tensor(JD_I32, {c.n, c.levels}, std::vector<double>(codes.begin(), codes.end()), padding ? 1 : 0);
    a.codebooks = rig.tensor(JD_F32, {c.levels, c.codes, c.dim}, c.codebooks, padding);
    a.out = rig.poisoned(out_dtype, {c.n, c.dim}, padding);
    Decoded result;
    rig.check(jd_rq_decode(rig.stream, &a, &result.error), result.error);
    result.status = jd_stream_synchronize(rig.stream, &result.error);
    jd_stream_take_skipped(rig.stream, &result.skipped, nullptr);
    bool gaps_intact = false;
    rig.bits(a.out, &gaps_intact);
    EXPECT_TRUE(gaps_intact);
    result.out = rig.read(a.out);
    return result;
  }
};

TEST_P(Rq, the_nearest_code_of_every_level_around_every_tile) {
  Rig rig(GetParam());
  for (const int64_t n : {1, 2, 7, 8, 9, 16, 17, 31, 32, 33, 65}) {
    for (const int64_t codes : {1, 2, 11, 12, 13, 24, 47, 48, 49, 64, 65, 97}) {
      for (const int64_t dim : {4, 8, 12, 16, 20, 64}) {
        if (!rig.fast() && (n + codes + dim / 4) % 7 != 0) continue;
        compare(rig, {n, 1 + (n + codes) % 3, codes, dim});
      }
    }
  }
}

TEST_P(Rq, every_dtype_and_stride) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_F16, JD_BF16}) {
    for (const int64_t padding : {0, 8}) {
      for (const int64_t dim : {8, 24, 64}) compare(rig, {37, 3, 50, dim, dtype, padding});
    }
  }
}

TEST_P(Rq, wide_vectors_and_many_codes) {
  Rig rig(GetParam());
  for (const int64_t dim : {124, 128, 132, 252, 256, 260, 1024}) {
    compare(rig, {rig.scaled(70, 18), 2, rig.scaled(130, 30), dim, dim % 8 == 0 ? JD_BF16 : JD_F32});
  }
  compare(rig, {3, 1, rig.scaled(65536, 300), 4});
  compare(rig, {2, 64, 5, 8});
  compare(rig, {rig.scaled(10007, 131), 3, rig.scaled(256, 20), 32});
}

TEST_P(Rq, no_rows) {
  Rig rig(GetParam());
  compare(rig, {0, 3, 5, 8});
}

TEST_P(Rq, the_residual_norm_is_optional_and_changes_nothing) {
  Rig rig(GetParam());
  const Shape s{19, 3, 33, 16};
  const auto c = random_case(s, 1);
  EXPECT_EQ(encode(rig, s, c, false).codes, encode(rig, s, c).codes);
}

TEST_P(Rq, of_equal_codes_the_first_is_chosen) {
  Rig rig(GetParam());
  for (const int64_t codes : {5, 48, 100, 260}) {
    const Shape s{21, 2, rig.scaled(codes, std::min<int64_t>(codes, 70)), 12};
    auto c = random_case(s, 2);
    // The codes of each level come again, in the same order: every one has a twin of higher number.
    const int64_t half = (s.codes + 1) / 2;
    for (int64_t level = 0; level < s.levels; ++level) {
      for (int64_t k = half; k < s.codes; ++k) {
        for (int64_t d = 0; d < s.dim; ++d) c.codebooks[(level * s.codes + k) * s.dim + d] = c.code(level, k - half)[d];
      }
    }
    for (const int64_t code : encode(rig, s, c).codes) EXPECT_LT(code, half);
  }
}

TEST_P(Rq, a_vector_that_is_a_code_is_found_and_leaves_nothing) {
  Rig rig(GetParam());
  const Shape s{40, 1, 40, 20};
  auto c = random_case(s, 3);
  c.x = c.codebooks;
  const Encoded got = encode(rig, s, c);
  for (int64_t i = 0; i < s.n; ++i) {
    EXPECT_EQ(got.codes[i], i);
    EXPECT_EQ(got.norms[i], 0.0);
  }
}

TEST_P(Rq, a_row_depends_on_itself_alone) {
  Rig rig(GetParam());
  const Shape s{rig.scaled(300, 83), 3, rig.scaled(130, 40), 16};
  const auto c = random_case(s, 4);
  const Encoded together = encode(rig, s, c);
  EXPECT_EQ(encode(rig, s, c).norm_bits, together.norm_bits);
  // Split in two, and one row alone.
  for (const auto &[first, last] : std::vector<std::pair<int64_t, int64_t>>{{0, 9}, {9, s.n}, {70, 71}, {s.n - 1, s.n}}) {
    auto part = c;
    part.n = last - first;
    part.x.assign(c.x.begin() + first * s.dim, c.x.begin() + last * s.dim);
    const Encoded got = encode(rig, s, part);
    EXPECT_TRUE(std::equal(got.codes.begin(), got.codes.end(), together.codes.begin() + first * s.levels)) << first;
    EXPECT_TRUE(std::equal(got.norm_bits.begin(), got.norm_bits.end(), together.norm_bits.begin() + first)) << first;
  }
  // Rows in the opposite order.
  auto turned = c;
  for (int64_t i = 0; i < s.n; ++i) {
    std::copy_n(c.x.begin() + i * s.dim, s.dim, turned.x.begin() + (s.n - 1 - i) * s.dim);
  }
  const Encoded back = encode(rig, s, turned);
  for (int64_t i = 0; i < s.n; ++i) EXPECT_EQ(back.norm_bits[s.n - 1 - i], together.norm_bits[i]);
}

TEST_P(Rq, threads_change_no_bit) {
  Rig one(GetParam(), 1), three(GetParam(), 3);
  // On the emulator 70 rows are many for one multiprocessor and few for three: they fall into different tiles.
  for (const int64_t dim : {32, 132, 256, 260}) {
    const Shape s{one.scaled(1500, 70), 3, one.scaled(256, 20), dim};
    const auto c = random_case(s, 5);
    const Encoded alone = encode(one, s, c), shared = encode(three, s, c);
    expect_nearest(c, alone, "one thread");
    EXPECT_EQ(alone.codes, shared.codes) << dim;
    EXPECT_EQ(alone.norm_bits, shared.norm_bits) << dim;
  }
}

TEST_P(Rq, a_code_is_always_in_range) {
  Rig rig(GetParam());
  const Shape s{9, 3, 50, 8};
  auto c = random_case(s, 6);
  const Encoded healthy = encode(rig, s, c);
  c.x[2 * s.dim + 5] = NAN;                       // row 2
  for (int64_t d = 0; d < s.dim; ++d) c.x[4 * s.dim + d] = INFINITY;  // row 4
  c.codebooks[(1 * s.codes + 17) * s.dim + 3] = NAN;                  // code 17 of level 1
  const Encoded got = encode(rig, s, c);
  for (int64_t i = 0; i < s.n; ++i) {
    for (int64_t level = 0; level < s.levels; ++level) {
      const int64_t code = got.codes[i * s.levels + level];
      EXPECT_TRUE(code >= 0 && code < s.codes);
      if (i == 2) {
        EXPECT_EQ(code, 0) << "of a vector with a NaN";
      } else if (level == 1) {
        EXPECT_NE(code, 17) << "a code with a NaN";
      }
    }
    if (i == 2 || i == 4) continue;
    EXPECT_EQ(got.codes[i * s.levels], healthy.codes[i * s.levels]) << "row " << i;
  }
  EXPECT_TRUE(std::isnan(got.norms[2]));
}

// 0 * infinity is a NaN, which never wins; a score of plus infinity does, wherever it stands.
TEST_P(Rq, an_infinite_score_wins_over_a_nan) {
  Rig rig(GetParam());
  for (const int64_t codes : {2, 70}) {
    for (const int64_t place : {int64_t{0}, codes - 1}) {
      reference::RqCase c;
      c.n = 1;
      c.levels = 1;
      c.codes = codes;
      c.dim = 4;
      c.x = {INFINITY, 1, 1, 1};
      c.codebooks.assign(static_cast<size_t>(4 * codes), 0);
      c.codebooks[static_cast<size_t>(4 * place)] = 1;
      EXPECT_EQ(encode(rig, {1, 1, codes, 4}, c).codes[0], place) << codes << " codes";
    }
  }
}

TEST_P(Rq, decode_sums_codes) {
  Rig rig(GetParam());
  for (const int64_t dim : {4, 8, 12, 64, 104}) {
    for (const int64_t levels : {1, 3, 8}) {
      for (const int32_t out : {JD_F32, JD_F16, JD_BF16}) {
        const Shape s{rig.scaled(dim == 64 ? 1009 : 33, 33), levels, 17, dim};
        const auto c = random_case(s, 7 + dim + levels);
        Random random(8);
        std::vector<int64_t> codes(s.n * levels);
        for (int64_t &code : codes) code = random.integer(0, s.codes - 1);
        std::vector<double> terms;
        const auto expected = reference::rq_decode(c, codes, &terms);
        for (const int64_t padding : {0, 8}) {
          if (out != JD_F32 && (dim + padding) % 8 != 0) continue;  // rows are 16-byte aligned
          const Decoded got = decode(rig, c, codes, out, JD_BOUNDS_STRICT, padding);
          EXPECT_EQ(got.status, JD_OK) << got.error.message;
          expect_near(got.out, expected, [&](size_t i) { return tolerance::sum(levels, terms[i], expected[i], out); }, "decode");
        }
      }
    }
  }
  auto none = random_case({0, 2, 3, 8}, 1);
  EXPECT_EQ(decode(rig, none, {}, JD_F32, JD_BOUNDS_STRICT).status, JD_OK);
}

TEST_P(Rq, decode_of_encode_is_what_encode_took_away) {
  Rig rig(GetParam());
  const Shape s{45, 4, 60, 24};
  const auto c = random_case(s, 9);
  const Encoded encoded = encode(rig, s, c);
  const Decoded decoded = decode(rig, c, encoded.codes, JD_F32, JD_BOUNDS_STRICT);
  for (int64_t i = 0; i < s.n; ++i) {
    double square = 0;
    for (int64_t d = 0; d < s.dim; ++d) square += std::pow(c.x[i * s.dim + d] - decoded.out[i * s.dim + d], 2);
    EXPECT_NEAR(std::sqrt(square), encoded.norms[i], 1e-5);
  }
}

TEST_P(Rq, decode_bounds) {
  Rig rig(GetParam());
  const Shape s{rig.scaled(5000, 60), 3, 10, 64};
  const auto c = random_case(s, 10);
  Random random(11);
  std::vector<int64_t> codes(s.n * s.levels);
  for (int64_t &code : codes) code = random.integer(0, s.codes - 1);
  EXPECT_EQ(decode(rig, c, codes, JD_F32, JD_BOUNDS_TRUST).status, JD_OK);
  codes[(s.n - 1) * s.levels] = 12345678;
  codes[31 * s.levels + 1] = -1;
  codes[47 * s.levels + 2] = s.codes;
  std::vector<double> terms;
  const auto expected = reference::rq_decode(c, codes, &terms);
  for (const int32_t bounds : {JD_BOUNDS_STRICT, JD_BOUNDS_ZERO}) {
    const Decoded got = decode(rig, c, codes, JD_F32, bounds);
    expect_near(got.out, expected, [&](size_t i) { return tolerance::sum(s.levels, terms[i], expected[i], JD_F32); }, "bounds");
    if (bounds == JD_BOUNDS_ZERO) {
      EXPECT_EQ(got.status, JD_OK);
      EXPECT_EQ(got.skipped, 3);
    } else {
      EXPECT_EQ(got.status, JD_OUT_OF_BOUNDS);
      EXPECT_EQ(got.error.position, 31 * s.levels + 1);
      EXPECT_EQ(got.error.table, 1);
      EXPECT_EQ(got.error.value, -1);
      EXPECT_NE(std::string(got.error.message).find("argument 'codes': expected a code in 0..9, got -1"), std::string::npos)
          << got.error.message;
    }
  }
}

TEST_P(Rq, plans_say_what_they_are) {
  Rig rig(GetParam());
  jd_rq_encode_desc d{};
  d.struct_size = sizeof d;
  d.dtype = JD_F32;
  d.dim = 64;
  d.num_levels = 3;
  d.num_codes = 256;
  Error error;
  jd_plan plan = 0;
  rig.check(jd_rq_encode_plan(rig.device, &d, &plan, &error), error);
  rig.keep(plan);
  char text[256];
  rig.check(jd_plan_describe(plan, text, sizeof text, &error), error);
  EXPECT_NE(std::string(text).find("rq_encode"), std::string::npos) << text;
}

JD_INSTANTIATE_ON_DEVICES(Rq);

}  // namespace
}  // namespace jindou::testing
