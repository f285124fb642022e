// bf16 and f16 conversions, exhaustively or against arithmetic in double.
#include "primitives/types.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

namespace jindou::prim {
namespace {

struct Format {
  int exponent_bits, fraction_bits;
};
constexpr Format kBf16{8, 7};
constexpr Format kF16{5, 10};

// From the definition of a binary interchange format.
double decode(uint16_t bits, Format f) {
  const int exponent = bits >> f.fraction_bits & ((1 << f.exponent_bits) - 1);
  const int fraction = bits & ((1 << f.fraction_bits) - 1);
  const int bias = (1 << (f.exponent_bits - 1)) - 1;
  const double sign = bits >> 15 ? -1.0 : 1.0;
  if (exponent == (1 << f.exponent_bits) - 1) {
    return fraction ? std::numeric_limits<double>::quiet_NaN() : sign * std::numeric_limits<double>::infinity();
  }
  if (exponent == 0) return sign * std::ldexp(fraction, 1 - bias - f.fraction_bits);
  return sign * std::ldexp((1 << f.fraction_bits) + fraction, exponent - bias - f.fraction_bits);
}

template <class T>
void every_value_is_decoded_and_comes_back(Format format) {
  for (uint32_t i = 0; i < 65536; ++i) {
    const T x{static_cast<uint16_t>(i)};
    const double expected = decode(x.bits, format);
    const float value = to_float(x);
    if (std::isnan(expected)) {
      ASSERT_TRUE(std::isnan(value)) << i;
      ASSERT_EQ(from_float<T>(value).bits, 0x7fff) << i;
    } else {
      ASSERT_EQ(value, expected) << i;
      ASSERT_EQ(std::signbit(value), std::signbit(expected)) << i;
      ASSERT_EQ(from_float<T>(value).bits, x.bits) << i;
    }
  }
}

TEST(Types, bf16_every_value_is_decoded_and_comes_back) { every_value_is_decoded_and_comes_back<bf16>(kBf16); }
TEST(Types, f16_every_value_is_decoded_and_comes_back) { every_value_is_decoded_and_comes_back<f16>(kF16); }

// Around the middle between each two neighbours: nearest, and even of two equally near.
template <class T>
void rounds_to_nearest_even(Format format) {
  const uint32_t infinity = ((1u << format.exponent_bits) - 1) << format.fraction_bits;
  for (uint32_t i = 0; i < infinity; ++i) {
    const double low = decode(static_cast<uint16_t>(i), format);
    // Above the largest value the format would go on, were its exponent not used up.
    const double high = i + 1 < infinity ? decode(static_cast<uint16_t>(i + 1), format)
                                         : 2 * low - decode(static_cast<uint16_t>(i - 1), format);
    const auto middle = static_cast<float>((low + high) / 2);
    ASSERT_EQ(middle, (low + high) / 2);
    for (const float sign : {1.0f, -1.0f}) {
      const uint32_t bit = sign < 0 ? 0x8000u : 0u;
      ASSERT_EQ(from_float<T>(sign * middle).bits, (i % 2 == 0 ? i : i + 1) | bit) << i;
      ASSERT_EQ(from_float<T>(sign * std::nextafter(middle, 0.0f)).bits, i | bit) << i;
      ASSERT_EQ(from_float<T>(sign * std::nextafter(middle, INFINITY)).bits, (i + 1) | bit) << i;
    }
  }
  ASSERT_EQ(from_float<T>(INFINITY).bits, infinity);
  ASSERT_EQ(from_float<T>(-INFINITY).bits, infinity | 0x8000u);
}

TEST(Types, bf16_rounds_to_nearest_even) { rounds_to_nearest_even<bf16>(kBf16); }
TEST(Types, f16_rounds_to_nearest_even) { rounds_to_nearest_even<f16>(kF16); }

TEST(Types, every_nan_becomes_7fff) {
  for (const uint32_t bits : {0x7f800001u, 0x7fc00000u, 0x7fffffffu, 0xff800001u, 0xffffffffu, 0x7f801000u}) {
    EXPECT_EQ(from_float<bf16>(as_float(bits)).bits, 0x7fff);
    EXPECT_EQ(from_float<f16>(as_float(bits)).bits, 0x7fff);
  }
}

TEST(Types, tiny_and_huge_floats) {
  EXPECT_EQ(from_float<f16>(1e-30f).bits, 0);
  EXPECT_EQ(from_float<f16>(-1e-30f).bits, 0x8000);
  EXPECT_EQ(from_float<f16>(std::numeric_limits<float>::denorm_min()).bits, 0);
  EXPECT_EQ(from_float<f16>(65519.99f).bits, 0x7bff);
  EXPECT_EQ(from_float<f16>(65520.0f).bits, 0x7c00);
  EXPECT_EQ(from_float<f16>(std::numeric_limits<float>::max()).bits, 0x7c00);
  EXPECT_EQ(from_float<bf16>(std::numeric_limits<float>::max()).bits, 0x7f80);
  EXPECT_EQ(from_float<bf16>(std::numeric_limits<float>::denorm_min()).bits, 0);
}

TEST(Types, pairs_have_the_first_element_in_the_low_half) {
  std::mt19937 random(7);
  std::uniform_real_distribution<float> value(-100.0f, 100.0f);
  for (int i = 0; i < 1000; ++i) {
    const float low = value(random), high = value(random);
    EXPECT_EQ(pack_bf16x2(low, high), from_float<bf16>(low).bits + 65536u * from_float<bf16>(high).bits);
    EXPECT_EQ(pack_f16x2(low, high), from_float<f16>(low).bits + 65536u * from_float<f16>(high).bits);
    EXPECT_EQ(pack2<bf16>(low, high), pack_bf16x2(low, high));
    EXPECT_EQ(pack2<f16>(low, high), pack_f16x2(low, high));
    float a, b;
    unpack2<f16>(pack_f16x2(low, high), a, b);
    EXPECT_EQ(a, to_float(from_float<f16>(low)));
    EXPECT_EQ(b, to_float(from_float<f16>(high)));
  }
}

TEST(Types, bit_counting) {
  EXPECT_EQ(popc(0), 0);
  EXPECT_EQ(popc(0xf00f0001u), 9);
  EXPECT_EQ(ffs(0), 0);
  EXPECT_EQ(ffs(0x80000000u), 32);
  EXPECT_EQ(ffs(12), 3);
  EXPECT_EQ(clz(0), 32);
  EXPECT_EQ(clz(1), 31);
  EXPECT_EQ(clz(0xffffffffu), 0);
  EXPECT_EQ(as_uint(1.0f), 0x3f800000u);
  EXPECT_EQ(as_float(0xc0000000u), -2.0f);
}

}  // namespace
}  // namespace jindou::prim
