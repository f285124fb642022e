// Rows of numbers to bytes, from the words of jindou/quantize.h, in float64; and bytes to numbers, by the layouts of
// jindou/embedding.h. Shares nothing with the library.
#ifndef JINDOU_TESTS_REFERENCE_QUANTIZE_H
#define JINDOU_TESTS_REFERENCE_QUANTIZE_H

#include <jindou/quantize.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "operators_support.h"
#include "reference/float8.h"

namespace jindou::reference {

struct RowShape {
  int bits;
  int64_t header;      // bytes of scale and bias
  bool header_first;
  bool halves;         // they are f16

  static RowShape of(int32_t format) {
    switch (format) {
      case JD_ROWS_INT8: return {8, 4, true, true};
      case JD_ROWS_INT4: return {4, 4, true, true};
      case JD_ROWS_INT2: return {2, 4, true, true};
      case JD_ROWS_INT8_FLOAT: return {8, 8, false, false};
      case JD_ROWS_INT4_LAST: return {4, 4, false, true};
      case JD_ROWS_INT2_LAST: return {2, 4, false, true};
      default: return {8, 4, true, false};
    }
  }
  int64_t code_bytes(int64_t dim) const { return dim * bits / 8; }
  int64_t bytes(int64_t dim) const { return header + code_bytes(dim); }
};

// `length` bytes; all zeros where the format cannot hold the row.
inline std::vector<uint8_t> quantized_row(int32_t format, const double *x, int64_t dim, int64_t length) {
  const RowShape shape = RowShape::of(format);
  std::vector<uint8_t> row(static_cast<size_t>(length), 0);
  for (int64_t d = 0; d < dim; ++d) {
    if (!std::isfinite(x[d])) return row;
  }
  const double least = *std::min_element(x, x + dim) + 0.0, largest = *std::max_element(x, x + dim);
  const int32_t dtype = shape.halves ? JD_F16 : JD_F32;
  const bool e4m3 = format == JD_ROWS_E4M3;
  const double most = (1 << shape.bits) - 1;
  const double bias = e4m3 ? 0 : testing::rounded(least, dtype);
  double scale = e4m3 ? std::max(-least, largest) / 448 : (largest - bias) / most;
  scale = testing::rounded(testing::rounded(scale, JD_F32), dtype);
  if (scale == 0) scale = 1;
  if (shape.halves && (std::fabs(scale) > 65504 || std::fabs(bias) > 65504)) return row;
  if (std::isinf(static_cast<float>(scale))) return row;

  uint8_t *header = row.data() + (shape.header_first ? 0 : shape.code_bytes(dim));
  if (shape.halves) {
    for (const double value : {scale, bias}) {
      const uint16_t bits = testing::to_half_bits(value, JD_F16);
      *header++ = static_cast<uint8_t>(bits & 0xff);
      *header++ = static_cast<uint8_t>(bits >> 8);
    }
  } else {
    const float values[2] = {static_cast<float>(scale), static_cast<float>(bias)};
    std::memcpy(header, values, static_cast<size_t>(shape.header));  // E4M3: the scale alone
  }
  uint8_t *codes = row.data() + (shape.header_first ? shape.header : 0);
  for (int64_t d = 0; d < dim; ++d) {
    int code;
    if (e4m3) {
      code = e4m3_code(static_cast<float>(x[d] / scale));
    } else {
      code = static_cast<int>(std::clamp(std::nearbyint((x[d] - bias) / scale), 0.0, most));
    }
    codes[d * shape.bits / 8] = static_cast<uint8_t>(codes[d * shape.bits / 8] | code << (d * shape.bits % 8));
  }
  return row;
}

inline std::vector<double> numbers_of_row(int32_t format, const uint8_t *row, int64_t dim) {
  const RowShape shape = RowShape::of(format);
  const uint8_t *header = row + (shape.header_first ? 0 : shape.code_bytes(dim));
  const uint8_t *codes = row + (shape.header_first ? shape.header : 0);
  double scale, bias = 0;
  if (shape.halves) {
    scale = testing::from_half_bits(static_cast<uint16_t>(header[0] | header[1] << 8), JD_F16);
    bias = testing::from_half_bits(static_cast<uint16_t>(header[2] | header[3] << 8), JD_F16);
  } else {
    float values[2] = {};
    std::memcpy(values, header, static_cast<size_t>(shape.header));
    scale = values[0];
    bias = values[1];
  }
  std::vector<double> x;
  for (int64_t d = 0; d < dim; ++d) {
    const int code = codes[d * shape.bits / 8] >> (d * shape.bits % 8) & ((1 << shape.bits) - 1);
    x.push_back((format == JD_ROWS_E4M3 ? e4m3_value(static_cast<uint8_t>(code)) : code) * scale + bias);
  }
  return x;
}

}  // namespace jindou::reference

#endif
