// lsh_signatures: signs of random projections (jindou/history_search.h).
//
//   bit b of row i = projection_b . x_i > 0
//
// Projections are the lanes of search_tile.h, rows are broadcast: the comparison of a register tile with 0 is the bits. FLOPs
// 2 * dim * bits * rows: the FMA rate is the bound.
#ifndef JINDOU_CPU_KERNELS_LSH_SIGNATURES_H
#define JINDOU_CPU_KERNELS_LSH_SIGNATURES_H

#include "cpu/kernels/search_tile.h"

namespace jindou::cpu {
namespace {

template <class Isa, bool kPairs>
struct LshSignatures {
  using Tile = SearchTile<Isa, kPairs>;
  using F = typename Isa::F;
  static constexpr int kWidth = Tile::kWidth, kLanes = Tile::kLanes, kRows = Tile::kRows;
  static_assert(64 % kWidth == 0, "the bits of a vector lie in one word");

  const SignatureTask &t;
  float *const q, *const widened;  // [dim][kLanes], [kRows][dim]

  explicit LshSignatures(const SignatureTask &task) : t(task), q(t.scratch), widened(q + int64_t{kLanes} * Tile::kMaxDim) {}

  void run() const {
    for (int64_t i = t.first_row; i < t.last_row; ++i) {
      for (int w = 0; w < t.bits / 64; ++w) t.signatures[i * t.signature_stride + w] = 0;
    }
    for (int first = 0; first < t.bits; first += kLanes) {
      const int count = t.bits - first < kLanes ? t.bits - first : kLanes;
      Tile::pack(t.projection, t.dtype, t.dim, first, count, q);
      int64_t i = t.first_row;
      for (; i + kRows <= t.last_row; i += kRows) sign<kRows>(i, first);
      for (; i < t.last_row; ++i) sign<1>(i, first);
    }
  }

  template <int R>
  __attribute__((noinline)) void sign(int64_t i, int first) const {
    const typename Tile::Block rows = Tile::block(t.rows, t.dtype, t.dim, i, R, widened);
    F sum[R][Tile::kVectors];
    Tile::template multiply<Tile::kVectors, R>(q, rows.rows, rows.stride, Tile::steps(t.dim), Tile::none(rows), sum);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
      for (int n = 0; n < Tile::kVectors; ++n) {
        const int bit = first + n * kWidth;
        if (bit >= t.bits) break;
        t.signatures[(i + r) * t.signature_stride + bit / 64] |= static_cast<uint64_t>(Isa::bits(Isa::less(Isa::zero(), sum[r][n])))
                                                                 << (bit % 64);
      }
    }
  }
};

}  // namespace
}  // namespace jindou::cpu

#endif
