// Scalar functions against double arithmetic.
#include "primitives/math.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

namespace jindou::prim {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

template <class F, class G>
void expect_relative(F f, G exact, float from, float to, double bound) {
  std::mt19937 random(3);
  std::uniform_real_distribution<float> value(from, to);
  for (int i = 0; i < 20000; ++i) {
    const float x = value(random);
    const double want = exact(static_cast<double>(x));
    ASSERT_LE(std::abs(f(x) - want), bound * std::abs(want)) << x;
  }
}

TEST(Math, approximations_are_within_their_bounds) {
  expect_relative(exp2_approx, [](double x) { return std::exp2(x); }, -120.0f, 120.0f, 0x1p-22);
  expect_relative(exp_approx, [](double x) { return std::exp(x); }, -10.0f, 10.0f, 0x1p-22 + 10 * 0x1p-23);
  expect_relative(log2_approx, [](double x) { return std::log2(x); }, 2.0f, 1e6f, 0x1p-22);
  expect_relative(rcp_approx, [](double x) { return 1 / x; }, 1e-3f, 1e6f, 0x1p-23);
  expect_relative(rsqrt_approx, [](double x) { return 1 / std::sqrt(x); }, 1e-3f, 1e6f, 0x1p-22);
  expect_relative(tanh_approx, [](double x) { return std::tanh(x); }, -4.0f, 4.0f, 0x1p-11);
}

TEST(Math, approximations_at_the_edges) {
  EXPECT_EQ(exp2_approx(-kInf), 0.0f);
  EXPECT_EQ(exp2_approx(0.0f), 1.0f);
  EXPECT_EQ(exp2_approx(128.0f), kInf);
  EXPECT_EQ(exp2_approx(-126.0f), 0x1p-126f);
  EXPECT_EQ(exp2_approx(-127.0f), 0.0f) << "subnormal results are flushed";
  EXPECT_EQ(rcp_approx(0.0f), kInf);
  EXPECT_EQ(rcp_approx(-0.0f), -kInf);
  EXPECT_EQ(rcp_approx(1e-40f), kInf) << "subnormal arguments are flushed";
  EXPECT_EQ(rcp_approx(kInf), 0.0f);
  EXPECT_EQ(rsqrt_approx(0.0f), kInf);
  EXPECT_EQ(log2_approx(0.0f), -kInf);
  EXPECT_EQ(log2_approx(1.0f), 0.0f);
  EXPECT_TRUE(std::isnan(log2_approx(-1.0f)));
  EXPECT_TRUE(std::isnan(exp2_approx(NAN)));
}

TEST(Math, exact_functions_round_once) {
  EXPECT_EQ(fma(1.0f + 0x1p-23f, 1.0f + 0x1p-23f, -1.0f), static_cast<float>(0x1p-22 + 0x1p-46));
  EXPECT_EQ(div(1.0f, 3.0f), 1.0f / 3.0f);
  EXPECT_EQ(sqrt(2.0f), static_cast<float>(std::sqrt(2.0)));
  EXPECT_EQ(max(1.0f, 2.0f), 2.0f);
  EXPECT_EQ(max(NAN, 2.0f), 2.0f);
  EXPECT_EQ(min(1.0f, NAN), 1.0f);
  EXPECT_EQ(abs(-3.0f), 3.0f);
}

}  // namespace
}  // namespace jindou::prim
