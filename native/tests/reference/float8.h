// fp8 e4m3 from its definition (OCP 8-bit floating point), by search: shares nothing with the conversions under test.
#ifndef JINDOU_TESTS_REFERENCE_FLOAT8_H
#define JINDOU_TESTS_REFERENCE_FLOAT8_H

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace jindou::reference {

inline double e4m3_value(uint8_t code) {
  const int exponent = code >> 3 & 15, fraction = code & 7;
  if (exponent == 15 && fraction == 7) return std::nan("");
  const double magnitude = exponent == 0 ? std::ldexp(fraction, -9) : std::ldexp(8 + fraction, exponent - 10);
  return code & 0x80 ? -magnitude : magnitude;
}

// To the nearest number, of two equally near ones to the one with an even code; past 448, and for infinities, 448.
inline uint8_t e4m3_code(double x) {
  if (std::isnan(x)) return 0x7f;
  const uint8_t sign = std::signbit(x) ? 0x80 : 0;
  const double magnitude = std::fabs(x);
  if (magnitude >= 448) return sign | 0x7e;
  static const std::vector<double> values = [] {
    std::vector<double> all;
    for (int code = 0; code <= 0x7e; ++code) all.push_back(e4m3_value(static_cast<uint8_t>(code)));
    return all;
  }();
  // Magnitudes rise with their codes: the nearest is the first at least as large or the one before it.
  auto best = std::lower_bound(values.begin(), values.end(), magnitude) - values.begin();
  if (best > 0) {
    const double above = values[static_cast<size_t>(best)] - magnitude, below = magnitude - values[static_cast<size_t>(best - 1)];
    if (below < above || (below == above && best % 2 != 0)) --best;
  }
  return static_cast<uint8_t>(sign | best);
}

}  // namespace jindou::reference

#endif
