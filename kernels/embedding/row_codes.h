// Numbers to the codes of a row (jindou/quantize.h), once for the kernels and the CPU: every device writes the same bytes.
#ifndef JINDOU_KERNELS_EMBEDDING_ROW_CODES_H
#define JINDOU_KERNELS_EMBEDDING_ROW_CODES_H

#include <math.h>
#include <stdint.h>

#include "core/row_formats.h"
#include "primitives/float8.h"

namespace jindou::embedding {

// What a row's codes are computed with.
struct RowScale {
  float scale, bias;
  uint32_t header[2];  // as they stand in the row
  bool holds;          // the format can hold the row

  JD_HOST_DEVICE JD_INLINE static bool is_finite(float x) { return (prim::as_uint(x) & 0x7f800000u) != 0x7f800000u; }

  // Of a row whose least and largest elements are these, all elements finite where `finite` says so.
  JD_HOST_DEVICE JD_INLINE static RowScale of(const RowLayout &layout, float least, float largest, bool finite) {
    RowScale r{1.0f, 0.0f, {0u, 0u}, finite};
    if (!finite) return r;
    if (layout.header == kHeaderScale) {
      const float most = -least > largest ? -least : largest;
      r.scale = static_cast<float>(static_cast<double>(most) / 448.0);
      if (r.scale == 0.0f) r.scale = 1.0f;
      r.header[0] = prim::as_uint(r.scale);
      return r;
    }
    const double codes = static_cast<double>((1u << layout.bits) - 1u);
    const float bias = least + 0.0f;  // -0 becomes 0
    if (layout.header == kHeaderFloats) {
      r.bias = bias;
      r.scale = static_cast<float>((static_cast<double>(largest) - static_cast<double>(bias)) / codes);
      if (r.scale == 0.0f) r.scale = 1.0f;
      r.header[0] = prim::as_uint(r.scale);
      r.header[1] = prim::as_uint(r.bias);
    } else {
      const prim::f16 bias16 = prim::from_float<prim::f16>(bias);
      r.bias = prim::to_float(bias16);
      prim::f16 scale16 =
          prim::from_float<prim::f16>(static_cast<float>((static_cast<double>(largest) - static_cast<double>(r.bias)) / codes));
      if ((scale16.bits & 0x7fffu) == 0) scale16 = prim::from_float<prim::f16>(1.0f);
      r.scale = prim::to_float(scale16);
      r.header[0] = scale16.bits | static_cast<uint32_t>(bias16.bits) << 16;
    }
    r.holds = is_finite(r.scale) && is_finite(r.bias);
    return r;
  }

  JD_HOST_DEVICE JD_INLINE uint32_t code(const RowLayout &layout, float x) const {
    if (layout.header == kHeaderScale) {
      return prim::from_float<prim::e4m3>(static_cast<float>(static_cast<double>(x) / static_cast<double>(scale))).bits;
    }
    const double most = static_cast<double>((1u << layout.bits) - 1u);
    double c = rint((static_cast<double>(x) - static_cast<double>(bias)) / static_cast<double>(scale));
    c = c < 0.0 ? 0.0 : c > most ? most : c;
    return static_cast<uint32_t>(c);
  }

  // Four codes, the first in the lowest bits.
  JD_HOST_DEVICE JD_INLINE uint32_t codes(const RowLayout &layout, const float (&x)[4]) const {
    uint32_t packed = 0;
    for (int e = 0; e < 4; ++e) packed |= code(layout, x[e]) << (layout.bits * e);
    return packed;
  }
};

}  // namespace jindou::embedding

#endif
