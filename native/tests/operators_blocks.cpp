// linear, layer_norm and l2_normalize through the C ABI against their float64 references.
#include "operators_support.h"
#include "reference/blocks.h"

namespace jindou::testing {
namespace {

class Blocks : public ::testing::TestWithParam<std::string> {
 protected:
  struct LinearCase {
    int64_t n, k, m;
    bool bias = false, residual = false, silu = false;
    int64_t padding = 0;
  };

  // Runs on x (n rows of k), w (m rows of k); gives the output tensor.
  jd_tensor run_linear(Rig &rig, const LinearCase &c, const std::vector<double> &x, const std::vector<double> &w,
                       const std::vector<double> &bias, const std::vector<double> &residual) {
    jd_linear_args a{};
    a.struct_size = sizeof a;
    a.activation = c.silu ? JD_LINEAR_SILU : JD_LINEAR_IDENTITY;
    a.x = rig.tensor(JD_F32, {c.n, c.k}, x, c.padding);
    a.weight = rig.tensor(JD_F32, {c.m, c.k}, w, c.padding);
    if (c.bias) a.bias = rig.tensor(JD_F32, {c.m}, bias);
    if (c.residual) a.residual = rig.tensor(JD_F32, {c.n, c.m}, residual, c.padding);
    a.out = rig.poisoned(JD_F32, {c.n, c.m}, c.padding);
    Error error;
    rig.check(jd_linear(rig.stream, &a, &error), error);
    rig.check(jd_stream_synchronize(rig.stream, &error), error);
    return a.out;
  }

  void compare_linear(Rig &rig, const LinearCase &c) {
    Random random(c.n * 31 + c.k * 7 + c.m);
    const auto x = random.values(c.n * c.k, JD_F32), w = random.values(c.m * c.k, JD_F32);
    const auto bias = c.bias ? random.values(c.m, JD_F32) : std::vector<double>();
    const auto residual = c.residual ? random.values(c.n * c.m, JD_F32) : std::vector<double>();
    const jd_tensor out = run_linear(rig, c, x, w, bias, residual);
    const double terms = static_cast<double>(c.k) / 2 + 2;  // |x w| is 1/4 on average
    expect_near(rig.read(out), reference::linear(c.n, c.k, c.m, x, w, bias, residual, c.silu),
                [&](size_t) { return tolerance::linear(c.k, terms); },
                std::to_string(c.n) + " x " + std::to_string(c.k) + " x " + std::to_string(c.m));
    bool gaps_intact = false;
    rig.bits(out, &gaps_intact);
    EXPECT_TRUE(gaps_intact);
  }

  jd_tensor run_layer_norm(Rig &rig, int64_t n, int64_t d, const std::vector<double> &x, const std::vector<double> &weight,
                           const std::vector<double> &bias, const std::vector<double> &multiplier, double eps,
                           int64_t padding, bool in_place) {
    jd_layer_norm_args a{};
    a.struct_size = sizeof a;
    a.eps = static_cast<float>(eps);
    a.x = rig.tensor(JD_F32, {n, d}, x, padding);
    a.weight = rig.tensor(JD_F32, {d}, weight);
    a.bias = rig.tensor(JD_F32, {d}, bias);
    if (!multiplier.empty()) a.multiplier = rig.tensor(JD_F32, {n, d}, multiplier, padding);
    a.out = in_place ? a.x : rig.poisoned(JD_F32, {n, d}, padding);
    Error error;
    rig.check(jd_layer_norm(rig.stream, &a, &error), error);
    rig.check(jd_stream_synchronize(rig.stream, &error), error);
    return a.out;
  }

  jd_tensor run_l2_normalize(Rig &rig, int64_t n, int64_t d, const std::vector<double> &x, double eps, int64_t padding,
                             bool in_place, int32_t dtype = JD_F32, int32_t out_dtype = JD_F32) {
    jd_l2_normalize_args a{};
    a.struct_size = sizeof a;
    a.eps = static_cast<float>(eps);
    a.x = rig.tensor(dtype, {n, d}, x, padding);
    a.out = in_place ? a.x : rig.poisoned(out_dtype, {n, d}, padding);
    Error error;
    rig.check(jd_l2_normalize(rig.stream, &a, &error), error);
    rig.check(jd_stream_synchronize(rig.stream, &error), error);
    return a.out;
  }
};

TEST_P(Blocks, the_instruction_set_asked_for_is_the_one_used) {
  Rig rig(GetParam());
  const char *forced = std::getenv("JINDOU_CPU_ISA");
  if (std::string(rig.info.backend) != "cpu" || !forced) return;
  EXPECT_STREQ(rig.info.isa, forced);
}

TEST_P(Blocks, linear_around_every_tile) {
  Rig rig(GetParam());
  for (const int64_t n : {1, 2, 3, 4, 5, 7, 8, 9, 17}) {
    for (const int64_t m : {4, 8, 12, 16, 20, 24, 28, 44, 48, 52, 96, 100}) {
      for (const int64_t k : {4, 8, 12, 16, 20, 36, 64}) {
        if (!rig.fast() && (n + m + k) % 3 != 0) continue;
        compare_linear(rig, {n, k, m});
      }
    }
  }
}

TEST_P(Blocks, linear_with_every_epilogue) {
  Rig rig(GetParam());
  for (const bool bias : {false, true}) {
    for (const bool residual : {false, true}) {
      for (const bool silu : {false, true}) {
        for (const int64_t padding : {0, 12}) compare_linear(rig, {11, 20, 60, bias, residual, silu, padding});
      }
    }
  }
}

TEST_P(Blocks, linear_deeper_than_a_panel_and_with_many_rows) {
  Rig rig(GetParam());
  for (const int64_t k : {508, 512, 516, 1024, 1300}) compare_linear(rig, {rig.scaled(9, 3), k, 28, true, true, true});
  compare_linear(rig, {rig.scaled(300, 20), 1028, 28, true});
  compare_linear(rig, {rig.scaled(10007, 65), 32, 36, true});
  compare_linear(rig, {3, 64, rig.scaled(10008, 200)});
}

TEST_P(Blocks, linear_of_no_rows) {
  Rig rig(GetParam());
  compare_linear(rig, {0, 8, 12, true, true});
}

TEST_P(Blocks, linear_residual_may_be_out) {
  Rig rig(GetParam());
  Random random(1);
  const auto x = random.values(7 * 12, JD_F32), w = random.values(36 * 12, JD_F32), r = random.values(7 * 36, JD_F32);
  jd_linear_args a{};
  a.struct_size = sizeof a;
  a.x = rig.tensor(JD_F32, {7, 12}, x);
  a.weight = rig.tensor(JD_F32, {36, 12}, w);
  a.residual = a.out = rig.tensor(JD_F32, {7, 36}, r, 4);
  Error error;
  rig.check(jd_linear(rig.stream, &a, &error), error);
  expect_near(rig.read(a.out), reference::linear(7, 12, 36, x, w, {}, r, false),
              [&](size_t) { return tolerance::linear(12, 8); }, "in place");
}

TEST_P(Blocks, a_row_of_linear_does_not_depend_on_the_others_nor_on_threads) {
  Rig one(GetParam(), 1), three(GetParam(), 3);
  Random random(2);
  LinearCase c{one.scaled(260, 19), 64, one.scaled(500, 60), true, false, true};
  const auto x = random.values(c.n * c.k, JD_F32), w = random.values(c.m * c.k, JD_F32), bias = random.values(c.m, JD_F32);
  const auto together = one.bits(run_linear(one, c, x, w, bias, {}));
  EXPECT_EQ(three.bits(run_linear(three, c, x, w, bias, {})), together);
  for (const int64_t row : {int64_t{0}, int64_t{5}, c.n - 1}) {
    LinearCase alone = c;
    alone.n = 1;
    const std::vector<double> x_row(x.begin() + row * c.k, x.begin() + (row + 1) * c.k);
    const auto bits = one.bits(run_linear(one, alone, x_row, w, bias, {}));
    EXPECT_TRUE(std::equal(bits.begin(), bits.end(), together.begin() + row * c.m)) << "row " << row;
  }
}

TEST_P(Blocks, layer_norm_of_every_width) {
  Rig rig(GetParam());
  for (const int64_t d : {4, 8, 12, 16, 20, 28, 32, 36, 60, 64, 68, 100, 128, 132, 1024, 8188, 8192}) {
    for (const bool multiplied : {false, true}) {
      for (const bool in_place : {false, true}) {
        Random random(d);
        const int64_t n = 5, padding = d % 8;
        auto x = random.values(n * d, JD_F32, 3);
        for (double &e : x) e = rounded(e + 10, JD_F32);
        const auto weight = random.values(d, JD_F32), bias = random.values(d, JD_F32);
        const auto multiplier = multiplied ? random.values(n * d, JD_F32) : std::vector<double>();
        const jd_tensor out = run_layer_norm(rig, n, d, x, weight, bias, multiplier, 1e-5f, padding, in_place);
        // The mean is off by a few roundings of |x| <= 13, the result by that over the deviation of 1.7.
        expect_near(rig.read(out), reference::layer_norm(n, d, x, weight, bias, multiplier, 1e-5f), [&](size_t) {
          return 16 * std::sqrt(static_cast<double>(d) + 16) * tolerance::unit_roundoff(JD_F32) * 13;
        }, "d " + std::to_string(d));
        bool gaps_intact = false;
        rig.bits(out, &gaps_intact);
        EXPECT_TRUE(gaps_intact);
      }
    }
  }
}

TEST_P(Blocks, layer_norm_of_equal_elements_gives_the_bias) {
  Rig rig(GetParam());
  const int64_t d = 36;
  Random random(3);
  const auto bias = random.values(d, JD_F32);
  const std::vector<double> x(2 * d, 4.0), weight(d, 1.0);
  const auto got = rig.read(run_layer_norm(rig, 2, d, x, weight, bias, {}, 1e-5f, 0, false));
  expect_near(got, reference::layer_norm(2, d, x, weight, bias, {}, 1e-5f), [](size_t) { return 1e-6; }, "constant row");
}

TEST_P(Blocks, l2_normalize_of_every_width) {
  Rig rig(GetParam());
  for (const int64_t d : {4, 8, 12, 20, 32, 36, 64, 100, 128, 1024, 8192}) {
    for (const bool in_place : {false, true}) {
      Random random(d);
      const auto x = random.values(6 * d, JD_F32, 5);
      const jd_tensor out = run_l2_normalize(rig, 6, d, x, 1e-6f, 4, in_place);
      expect_near(rig.read(out), reference::l2_normalize(6, d, x, 1e-6f), [&](size_t) {
        return 4 * std::sqrt(static_cast<double>(d) + 16) * tolerance::unit_roundoff(JD_F32);
      }, "d " + std::to_string(d));
    }
  }
}

TEST_P(Blocks, l2_normalize_from_and_to_every_dtype) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_F16, JD_BF16}) {
    for (const int32_t out_dtype : {JD_F32, JD_F16, JD_BF16}) {
      for (const int64_t d : {4, 8, 12, 20, 28, 36, 100, 128, 516, 1028, 8192}) {
        const int64_t padding = 16 - d % 8;  // rows of 16-bit elements begin at 16 bytes
        Random random(d);
        const auto x = random.values(5 * d, dtype, 5);
        const std::string what = std::string(jd_dtype_name(dtype)) + " to " + jd_dtype_name(out_dtype) + ", d " + std::to_string(d);
        const auto expected = reference::l2_normalize(5, d, x, 1e-6f);
        const auto allowed = [&](size_t i) {
          return 4 * std::sqrt(static_cast<double>(d) + 16) * tolerance::unit_roundoff(JD_F32) + tolerance::output(expected[i], out_dtype);
        };
        const jd_tensor out = run_l2_normalize(rig, 5, d, x, 1e-6f, padding, false, dtype, out_dtype);
        expect_near(rig.read(out), expected, allowed, what);
        bool gaps_intact = false;
        const auto bits = rig.bits(out, &gaps_intact);
        EXPECT_TRUE(gaps_intact) << what;
        if (dtype == out_dtype) {
          EXPECT_EQ(rig.bits(run_l2_normalize(rig, 5, d, x, 1e-6f, padding, true, dtype, dtype)), bits) << what << ", in place";
        }
        const std::vector<double> one(x.begin() + 3 * d, x.begin() + 4 * d);
        const auto alone = rig.bits(run_l2_normalize(rig, 1, d, one, 1e-6f, padding, false, dtype, out_dtype));
        EXPECT_TRUE(std::equal(alone.begin(), alone.end(), bits.begin() + 3 * d)) << what << ", a row alone";
      }
    }
  }
}

// Sums are f32: what f16 cannot hold, and what vanishes in it.
TEST_P(Blocks, l2_normalize_of_halves_at_their_limits) {
  Rig rig(GetParam());
  for (const double size : {65504.0, std::ldexp(1.0, -24)}) {
    const auto out = rig.read(run_l2_normalize(rig, 2, 64, std::vector<double>(128, size), 1e-12f, 0, false, JD_F16, JD_F16));
    for (const double x : out) EXPECT_EQ(x, 0.125);
  }
}

TEST_P(Blocks, a_nan_makes_its_row_nan) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_F16, JD_BF16}) {
    std::vector<double> x(2 * 40, 1.0);
    x[7] = NAN;
    const auto out = rig.read(run_l2_normalize(rig, 2, 40, x, 1e-6f, 0, false, dtype, dtype));
    for (int64_t i = 0; i < 80; ++i) EXPECT_EQ(std::isnan(out[i]), i < 40) << i;
  }
}

// Rows whose squares leave f32, above and below: as good as any. Widths of a warp's rows and of a block's.
TEST_P(Blocks, l2_normalize_of_elements_of_any_size) {
  Rig rig(GetParam());
  constexpr float kLargest = std::numeric_limits<float>::max(), kTiny = 1e-37f;
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    for (const int64_t d : {4, 20, 1024, 8192}) {
      for (const double size : {double{kLargest} / 4, 1e25, 1e19, 1e16, 1e-14, 1e-19, 1e-22, 1e-30, std::ldexp(1.0, -140)}) {
        Random random(d);
        auto x = random.values(3 * d, JD_F32);
        for (double &e : x) e = rounded(e * size, dtype);
        for (int64_t i = 2 * d; i < 3 * d - 1; ++i) x[static_cast<size_t>(i)] = 0;
        x[static_cast<size_t>(3 * d - 1)] = rounded(size, dtype);
        for (const float eps : {kTiny, 1e-12f, 1e20f}) {
          const auto expected = reference::l2_normalize(3, d, x, eps);
          const auto got = rig.read(run_l2_normalize(rig, 3, d, x, eps, dtype == JD_F32 ? 0 : 16 - d % 8, false, dtype, JD_F32));
          const std::string what = std::string(jd_dtype_name(dtype)) + ", d " + std::to_string(d) + ", size " + std::to_string(std::log2(size)) +
                                   " (log2), eps " + std::to_string(std::log2(eps));
          expect_near(got, expected, [&](size_t i) {
            return 4 * std::sqrt(static_cast<double>(d) + 16) * tolerance::unit_roundoff(JD_F32) * std::fabs(expected[i]) + std::ldexp(1.0, -149);
          }, what);
        }
      }
    }
  }
}

TEST_P(Blocks, l2_normalize_of_the_largest_and_of_infinity) {
  Rig rig(GetParam());
  for (const int64_t d : {8, 8192}) {
    std::vector<double> x(static_cast<size_t>(3 * d), std::numeric_limits<float>::max());
    for (int64_t i = 0; i < d; ++i) x[static_cast<size_t>(d + i)] = i;
    x[static_cast<size_t>(d + 3)] = -INFINITY;
    x[static_cast<size_t>(2 * d + 1)] = INFINITY;
    x[static_cast<size_t>(2 * d + 2)] = NAN;
    const auto out = rig.read(run_l2_normalize(rig, 3, d, x, 1e-12f, 0, false));
    for (int64_t i = 0; i < d; ++i) {
      EXPECT_NEAR(out[static_cast<size_t>(i)] * std::sqrt(static_cast<double>(d)), 1, 1e-5);
      const double of_infinite = out[static_cast<size_t>(d + i)];
      EXPECT_TRUE(i == 3 ? std::isnan(of_infinite) : of_infinite == 0) << i;
      EXPECT_TRUE(std::isnan(out[static_cast<size_t>(2 * d + i)])) << i;
    }
  }
}

TEST_P(Blocks, l2_normalize_of_zeros_divides_by_eps) {
  Rig rig(GetParam());
  for (const double x : rig.read(run_l2_normalize(rig, 2, 8, std::vector<double>(16, 0.0), 1e-6f, 0, false))) EXPECT_EQ(x, 0.0);
  const auto small = rig.read(run_l2_normalize(rig, 1, 4, {1e-8, 0, 0, 0}, 1e-3f, 0, false));
  EXPECT_NEAR(small[0], 1e-5, 1e-9);
}

TEST_P(Blocks, rows_of_norms_do_not_depend_on_the_others_nor_on_threads) {
  Rig one(GetParam(), 1), three(GetParam(), 3);
  const int64_t n = one.scaled(10007, 70), d = 68;
  Random random(4);
  const auto x = random.values(n * d, JD_F32), weight = random.values(d, JD_F32), bias = random.values(d, JD_F32);
  const auto norm = one.bits(run_layer_norm(one, n, d, x, weight, bias, {}, 1e-5f, 0, false));
  EXPECT_EQ(three.bits(run_layer_norm(three, n, d, x, weight, bias, {}, 1e-5f, 0, false)), norm);
  const auto unit = one.bits(run_l2_normalize(one, n, d, x, 1e-6f, 0, false));
  EXPECT_EQ(three.bits(run_l2_normalize(three, n, d, x, 1e-6f, 0, false)), unit);
  for (const int64_t row : {int64_t{0}, n / 2, n - 1}) {
    const std::vector<double> x_row(x.begin() + row * d, x.begin() + (row + 1) * d);
    const auto a = one.bits(run_layer_norm(one, 1, d, x_row, weight, bias, {}, 1e-5f, 0, false));
    EXPECT_TRUE(std::equal(a.begin(), a.end(), norm.begin() + row * d));
    const auto b = one.bits(run_l2_normalize(one, 1, d, x_row, 1e-6f, 0, false));
    EXPECT_TRUE(std::equal(b.begin(), b.end(), unit.begin() + row * d));
  }
}

JD_INSTANTIATE_ON_DEVICES(Blocks);

}  // namespace
}  // namespace jindou::testing
