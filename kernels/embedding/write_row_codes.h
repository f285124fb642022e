// A row of numbers as 8-bit codes with a scale: what a warp does with it, for pooled rows and for rows of tables.
//
//   x = weight * row,  scale = max|x| / 127,  code = x / scale to nearest even;  zeros: scale 0, codes 0;
//   an element that is no finite number: scale NaN, codes 0
//
// The row is read once for the largest, joined by shuffles, and once more, out of L1, for the codes, four or eight a lane.
#ifndef JINDOU_KERNELS_EMBEDDING_WRITE_ROW_CODES_H
#define JINDOU_KERNELS_EMBEDDING_WRITE_ROW_CODES_H

#include "embedding/table.h"

namespace jindou::embedding {

template <class Row>
JD_DEVICE JD_INLINE void read_weighted(const char *row, int vector, const CodeLayout &layout, float weight, float (&x)[Row::kElements]) {
  Row::widen(Row::load(row, static_cast<uint32_t>(vector), layout), layout, x);
#pragma unroll
  for (int e = 0; e < Row::kElements; ++e) x[e] *= weight;
}

// All lanes of the warp take part.
template <class Row>
JD_DEVICE JD_INLINE void write_row_codes(const char *row, int vectors, const CodeLayout &layout, float weight, char *out, float *scale_out) {
  const int lane = prim::lane_id();
  // Magnitudes are compared as integers: a NaN is larger than an infinity, and that than any number.
  uint32_t most = 0;
#pragma unroll 1
  for (int v = lane; v < vectors; v += 32) {
    float x[Row::kElements];
    read_weighted<Row>(row, v, layout, weight, x);
#pragma unroll
    for (int e = 0; e < Row::kElements; ++e) {
      const uint32_t size = prim::as_uint(x[e]) & 0x7fffffffu;
      most = size > most ? size : most;
    }
  }
#pragma unroll
  for (int step = 16; step > 0; step /= 2) {
    const uint32_t other = prim::shfl_xor(most, step);
    most = other > most ? other : most;
  }
  const float scale = most < 0x7f800000u ? prim::div(prim::as_float(most), 127.0f) : prim::as_float(0x7fc00000u);
  if (lane == 0) *scale_out = scale;
#pragma unroll 1
  for (int v = lane; v < vectors; v += 32) {
    float x[Row::kElements];
    read_weighted<Row>(row, v, layout, weight, x);
#pragma unroll
    for (int e = 0; e < Row::kElements; e += 4) {
      uint32_t word = 0;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        float code = scale > 0.0f ? rintf(prim::div(x[e + i], scale)) : 0.0f;
        code = code > 127.0f ? 127.0f : code < -127.0f ? -127.0f : code;  // past 127 where the scale is subnormal
        word |= (static_cast<uint32_t>(static_cast<int>(code)) & 0xffu) << (8 * i);
      }
      prim::store4(out + v * Row::kElements + e, word);
    }
  }
}

}  // namespace jindou::embedding

#endif
