// e4m3: every code, every tie between neighbours, and what lies past the ends; against the definition.
#include "primitives/float8.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace jindou::prim {
namespace {

double decode(uint8_t code) {
  const int exponent = code >> 3 & 15, fraction = code & 7;
  if (exponent == 15 && fraction == 7) return std::numeric_limits<double>::quiet_NaN();
  const double magnitude = exponent == 0 ? std::ldexp(fraction, -9) : std::ldexp(8 + fraction, exponent - 10);
  return code & 0x80 ? -magnitude : magnitude;
}

TEST(Float8, every_code_is_decoded_and_comes_back) {
  for (int code = 0; code < 256; ++code) {
    const double expected = decode(static_cast<uint8_t>(code));
    const float value = to_float(e4m3{static_cast<uint8_t>(code)});
    float four[4];
    unpack_e4m3x4(0x00380000u | static_cast<uint32_t>(code) << 24 | static_cast<uint32_t>(code), four);
    if (std::isnan(expected)) {
      ASSERT_TRUE(std::isnan(value) && std::isnan(four[0]) && std::isnan(four[3])) << code;
      ASSERT_EQ(from_float<e4m3>(value).bits, 0x7f);
      continue;
    }
    ASSERT_EQ(value, expected) << code;
    ASSERT_EQ(std::signbit(value), code >= 128) << code;
    ASSERT_EQ(four[0], expected);
    ASSERT_EQ(four[1], 0.0f);
    ASSERT_EQ(four[2], 1.0f);
    ASSERT_EQ(four[3], expected);
    ASSERT_EQ(from_float<e4m3>(value).bits, code);
    ASSERT_EQ(pack_e4m3x4({value, 1.0f, 0.0f, value}), 0x00003800u | static_cast<uint32_t>(code) << 24 | static_cast<uint32_t>(code));
  }
}

TEST(Float8, ties_go_to_the_even_code_and_neighbours_of_ties_to_the_nearer) {
  for (const int sign : {0, 0x80}) {
    const float direction = sign ? -1.0f : 1.0f;
    for (int code = 0; code < 0x7e; ++code) {
      const auto middle = static_cast<float>((decode(static_cast<uint8_t>(code)) + decode(static_cast<uint8_t>(code + 1))) / 2);
      ASSERT_EQ(from_float<e4m3>(direction * middle).bits, sign | (code % 2 == 0 ? code : code + 1)) << code;
      ASSERT_EQ(from_float<e4m3>(direction * std::nextafter(middle, 0.0f)).bits, sign | code) << code;
      ASSERT_EQ(from_float<e4m3>(direction * std::nextafter(middle, 1000.0f)).bits, sign | (code + 1)) << code;
    }
  }
}

TEST(Float8, numbers_past_448_become_448_and_tiny_ones_zero) {
  for (const float x : {448.0f, 449.0f, 463.9f, 464.0f, 465.0f, 480.0f, 1e10f, 3.4e38f, INFINITY}) {
    EXPECT_EQ(from_float<e4m3>(x).bits, 0x7e) << x;
    EXPECT_EQ(from_float<e4m3>(-x).bits, 0xfe) << x;
  }
  for (const float x : {0.0f, 1e-45f, 1e-38f, 0x1p-11f, 0x1p-10f}) {
    EXPECT_EQ(from_float<e4m3>(x).bits, 0) << x;
    EXPECT_EQ(from_float<e4m3>(-x).bits, 0x80) << x;
  }
  EXPECT_EQ(from_float<e4m3>(-NAN).bits, 0x7f);
}

TEST(Float8, every_signed_byte) {
  for (int x = -128; x < 128; ++x) {
    float four[4];
    unpack_i8x4(static_cast<uint32_t>(x & 0xff) | 0x7f00ff00u, four);
    EXPECT_EQ(four[0], x);
    EXPECT_EQ(four[1], -1);
    EXPECT_EQ(four[2], 0);
    EXPECT_EQ(four[3], 127);
    if (x > -128) {
      EXPECT_EQ(pack_i8x4(four), static_cast<uint32_t>(x & 0xff) | 0x7f00ff00u);
    }
  }
}

TEST(Float8, bytes_are_rounded_to_nearest_even_and_cut) {
  for (int x = -127; x < 127; ++x) {
    EXPECT_EQ(quantise_i8(static_cast<float>(x) * 0.5f, 0.5f), x);
    EXPECT_EQ(quantise_i8(static_cast<float>(x) + 0.5f, 1.0f), x % 2 == 0 ? x : x + 1) << x;
  }
  EXPECT_EQ(quantise_i8(1e30f, 1.0f), 127);
  EXPECT_EQ(quantise_i8(-1e30f, 1.0f), -127);
  EXPECT_EQ(quantise_i8(0.0f, 0.0f), 0);
  EXPECT_EQ(quantise_i8(1.0f, NAN), 0);
  EXPECT_EQ(quantise_i8(INFINITY, INFINITY), 0);
}

}  // namespace
}  // namespace jindou::prim
