// lsh_signatures: bit b of row i = projection_b . x_i > 0 (jindou/history_search.h).
//
// Shapes: x [n, d], projection [bits, d], signatures [n, bits / 64] of 64-bit words, written as halves.
//
// A block of four warps owns 32 rows and 32 projections, all of d in shared memory as f32. Thread `lane` of a warp has projection
// `lane` and 8 rows; one vote makes 32 bits of a row. FLOPs 2 * d * n * bits: per 4 elements 9 vectors of 16 bytes, 8 of them the
// same for a warp, for 32 multiply-adds: bound by the FMA units. The order of the sums is that of the dimensions.
#ifndef JINDOU_KERNELS_SEARCH_LSH_SIGNATURES_H
#define JINDOU_KERNELS_SEARCH_LSH_SIGNATURES_H

#include "decode/pages.h"

namespace jindou::search {

struct SignatureParams {
  const void *x, *projection;
  int64_t x_row, projection_row;  // strides
  int64_t rows;
  int32_t dim, bits, dtype;
  uint32_t *signatures;           // halves of words
  int64_t signature_row;          // stride in halves
};

struct SignatureKernel {
  using Params = SignatureParams;
  static constexpr int kThreads = 128;
  static constexpr int kMinBlocks = 3;
  static constexpr int kRows = 32, kBits = 32;
  static constexpr int kMaxDim = 256;
  static constexpr int kWarpRows = kRows / (kThreads / 32);
  // Floats: rows are 16 bytes apart from whole turns of the banks, so that 8 neighbours touch all of them.
  static constexpr int kPitch = kMaxDim + 4;

  struct Shared {
    alignas(16) float rows[kRows * kPitch];
    alignas(16) float projection[kBits * kPitch];
  };
  static constexpr size_t shared_bytes() { return sizeof(Shared); }

  JD_DEVICE static void run(const Params &p, char *shared_memory) {
    Shared &shared = *reinterpret_cast<Shared *>(shared_memory);
    const int32_t words = p.bits / kBits;
    const int64_t first_row = int64_t{prim::block_idx().x} / words * kRows;
    const int32_t word = static_cast<int32_t>(prim::block_idx().x % words);
    const int64_t left = p.rows - first_row;
    widen(shared.rows, p.x, first_row, p.x_row, left < kRows ? static_cast<int>(left) : kRows, p);
    widen(shared.projection, p.projection, int64_t{word} * kBits, p.projection_row, kBits, p);
    prim::sync_threads();

    const int lane = prim::lane_id(), first = prim::warp_id() * kWarpRows;
    const float *projection = shared.projection + lane * kPitch, *rows = shared.rows + first * kPitch;
    float sum[kWarpRows];
#pragma unroll
    for (int r = 0; r < kWarpRows; ++r) sum[r] = 0.0f;
    for (int d = 0; d < p.dim; d += 4) {
      const prim::Vec4u a = prim::load_shared16(projection + d);
#pragma unroll
      for (int r = 0; r < kWarpRows; ++r) {
        const prim::Vec4u x = prim::load_shared16(rows + r * kPitch + d);
        sum[r] = prim::fma(prim::as_float(a.x), prim::as_float(x.x), sum[r]);
        sum[r] = prim::fma(prim::as_float(a.y), prim::as_float(x.y), sum[r]);
        sum[r] = prim::fma(prim::as_float(a.z), prim::as_float(x.z), sum[r]);
        sum[r] = prim::fma(prim::as_float(a.w), prim::as_float(x.w), sum[r]);
      }
    }
#pragma unroll
    for (int r = 0; r < kWarpRows; ++r) {
      const uint32_t bits = prim::ballot(sum[r] > 0.0f);
      if (lane == r && first + r < left) p.signatures[(first_row + first + r) * p.signature_row + word] = bits;
    }
  }

 private:
  // `count` rows from `first` on; those past it become zeros.
  JD_DEVICE static void widen(float *to, const void *from, int64_t first, int64_t stride, int count, const Params &p) {
    const int chunks = p.dim / 8;
    for (int i = static_cast<int>(prim::thread_idx().x); i < kRows * chunks; i += kThreads) {
      const int row = i / chunks, d = i % chunks * 8;
      float x[8] = {};
      if (row < count) paged::load_elements(from, (first + row) * stride + d, p.dtype, x);
#pragma unroll
      for (int e = 0; e < 8; e += 4) {
        prim::store_shared16(to + row * kPitch + d + e, prim::Vec4u{prim::as_uint(x[e]), prim::as_uint(x[e + 1]),
                                                                    prim::as_uint(x[e + 2]), prim::as_uint(x[e + 3])});
      }
    }
  }
  static_assert(kRows == kBits, "one shape of tile");
};

}  // namespace jindou::search

#endif
