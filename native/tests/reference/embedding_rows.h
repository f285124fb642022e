// Rows of codes, byte by byte from the layouts that jindou/embedding.h documents, and the numbers they stand for in float64.
// Shares nothing with any quantiser, nor with what the kernels know of the layouts.
#ifndef JINDOU_TESTS_REFERENCE_EMBEDDING_ROWS_H
#define JINDOU_TESTS_REFERENCE_EMBEDDING_ROWS_H

#include <jindou/embedding.h>

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "reference/float8.h"

namespace jindou::reference {

// f16 of a number that it holds exactly, and that is 0 or not subnormal.
inline uint16_t exact_half(double x) {
  if (x == 0) return 0;
  const int exponent = std::ilogb(x);
  const double fraction = std::ldexp(std::fabs(x), 10 - exponent);
  if (exponent < -14 || exponent > 15 || fraction != std::floor(fraction)) std::abort();
  return static_cast<uint16_t>((x < 0 ? 0x8000 : 0) | (exponent + 15) << 10 | (static_cast<int>(fraction) - 1024));
}

struct RowsOfCodes {
  int64_t row_bytes = 0;           // of a row, its padding included
  std::vector<uint8_t> bytes;      // [rows, row_bytes]
  std::vector<double> values;      // [rows, dim]
};

// Random codes, scales and biases; every row followed by `padding` bytes of 0xff.
inline RowsOfCodes rows_of_codes(int32_t format, int64_t rows, int64_t dim, int64_t padding, uint64_t seed) {
  std::mt19937_64 random(seed);
  RowsOfCodes r;
  for (int64_t i = 0; i < rows; ++i) {
    // At most 10 digits and no subnormals: exact in f16.
    const double scale = std::ldexp(1.0 + static_cast<double>(random() % 1000), -14);
    const double bias = std::ldexp(static_cast<double>(static_cast<int64_t>(random() % 2000) - 1000), -10);
    std::vector<uint8_t> codes, header;
    const auto halves = [&] {
      for (const double x : {scale, bias}) {
        const uint16_t bits = exact_half(x);
        header.push_back(static_cast<uint8_t>(bits & 0xff));
        header.push_back(static_cast<uint8_t>(bits >> 8));
      }
    };
    const auto floats = [&](std::initializer_list<double> numbers) {
      for (const double x : numbers) {
        const float single = static_cast<float>(x);
        uint32_t bits;
        std::memcpy(&bits, &single, 4);
        for (int b = 0; b < 4; ++b) header.push_back(static_cast<uint8_t>(bits >> (8 * b)));
      }
    };
    bool first = false;
    switch (format) {
      case JD_ROWS_INT8:
      case JD_ROWS_INT8_FLOAT:
        for (int64_t d = 0; d < dim; ++d) {
          codes.push_back(static_cast<uint8_t>(random()));
          r.values.push_back(codes.back() * scale + bias);
        }
        break;
      case JD_ROWS_INT4:
      case JD_ROWS_INT4_LAST:
        for (int64_t d = 0; d < dim; d += 2) {
          const int even = static_cast<int>(random() % 16), odd = static_cast<int>(random() % 16);
          codes.push_back(static_cast<uint8_t>(odd * 16 + even));
          r.values.push_back(even * scale + bias);
          r.values.push_back(odd * scale + bias);
        }
        break;
      case JD_ROWS_INT2:
      case JD_ROWS_INT2_LAST:
        for (int64_t d = 0; d < dim; d += 4) {
          int byte = 0, unit = 1;
          for (int e = 0; e < 4; ++e, unit *= 4) {
            const int code = static_cast<int>(random() % 4);
            byte += code * unit;
            r.values.push_back(code * scale + bias);
          }
          codes.push_back(static_cast<uint8_t>(byte));
        }
        break;
      default:  // fp8, with a scale (JD_ROWS_E4M3) or without
        for (int64_t d = 0; d < dim; ++d) {
          uint8_t code = static_cast<uint8_t>(random());
          if ((code & 0x7f) == 0x7f) code ^= 1;  // no NaN
          codes.push_back(code);
          r.values.push_back(e4m3_value(code) * (format == JD_ROWS_E4M3 ? scale : 1.0));
        }
    }
    switch (format) {
      case JD_ROWS_INT8:
      case JD_ROWS_INT4:
      case JD_ROWS_INT2:
        first = true;
        halves();
        break;
      case JD_ROWS_INT4_LAST:
      case JD_ROWS_INT2_LAST: halves(); break;
      case JD_ROWS_INT8_FLOAT: floats({scale, bias}); break;
      case JD_ROWS_E4M3:
        first = true;
        floats({scale});
        break;
      default: break;
    }
    if (first) r.bytes.insert(r.bytes.end(), header.begin(), header.end());
    r.bytes.insert(r.bytes.end(), codes.begin(), codes.end());
    if (!first) r.bytes.insert(r.bytes.end(), header.begin(), header.end());
    r.bytes.insert(r.bytes.end(), static_cast<size_t>(padding), 0xff);
    r.row_bytes = static_cast<int64_t>(header.size() + codes.size()) + padding;
  }
  return r;
}

}  // namespace jindou::reference

#endif
