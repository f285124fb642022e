// Products of a tile of vectors with rows: what history_search, top_k_inner_product and lsh_signatures share.
//
//   s[r][i] = row_r . q_i
//
// The vectors of the tile are the lanes (i), rows are broadcast as they lie in memory: no transposition and no horizontal sum
// over the many rows. Each product is one chain of FMAs in the order of the dimensions, whatever is computed beside it. The
// register tile is that of attention_tile.h: kRows x kVectors sums. FLOPs 2 * dim a product; a row is read once for kLanes lanes.
//
// kPairs: an instruction multiplies bf16, a float of q and of the rows holds two of them.
#ifndef JINDOU_CPU_KERNELS_SEARCH_TILE_H
#define JINDOU_CPU_KERNELS_SEARCH_TILE_H

#include "cpu/kernels/kernel_table.h"
#include "cpu/simd/simd.h"

namespace jindou::cpu {
namespace {

template <class Isa, bool kBf16Pairs>
struct SearchTile {
  using F = typename Isa::F;
  static constexpr bool kPairs = kBf16Pairs;
  static constexpr int kWidth = Isa::kWidth;
  static constexpr int kVectors = Isa::kVectors;
  static constexpr int kRows = Isa::kRows;
  static constexpr int kLanes = kVectors * kWidth;
  static constexpr int kMaxDim = 256;
  static constexpr int kBlock = 64;  // rows that all tiles visit while they are in the cache
  static constexpr size_t kBlockFloats = size_t{kBlock} * kMaxDim;
  static_assert(kBlock % kRows == 0 && kLanes <= 64, "whole register tiles; masks of 64 bits");

  static int steps(int dim) { return kPairs ? dim / 2 : dim; }  // floats of a row

  static float widened(const void *row, int32_t dtype, int at) {
    switch (dtype) {
      case JD_F32: return static_cast<const float *>(row)[at];
      case JD_F16: return Isa::half(static_cast<const uint16_t *>(row)[at]);
      default: {
        const uint32_t bits = static_cast<uint32_t>(static_cast<const uint16_t *>(row)[at]) << 16;
        float x;
        memcpy(&x, &bits, sizeof x);
        return x;
      }
    }
  }

  static const char *row(const HeadRows &rows, int32_t dtype, int64_t i) {
    return static_cast<const char *>(rows.data) + i * rows.stride * (dtype == JD_F32 ? 4 : 2);
  }

  // q[step][lane] = row `first` + lane; zero past `count` lanes.
  static void pack(const HeadRows &rows, int32_t dtype, int dim, int64_t first, int count, float *q) {
    for (int lane = 0; lane < kLanes; ++lane) {
      const char *from = lane < count ? row(rows, dtype, first + lane) : nullptr;
      for (int step = 0; step < steps(dim); ++step) {
        float x = 0;
        if (from && kPairs) {
          memcpy(&x, from + step * 4, 4);
        } else if (from) {
          x = widened(from, dtype, step);
        }
        q[step * kLanes + lane] = x;
      }
    }
  }

  struct Block {
    const float *rows;
    int64_t stride;  // floats
  };

  // Rows first..first+count-1 as `multiply` reads them: where they lie, or widened into `scratch`.
  static Block block(const HeadRows &rows, int32_t dtype, int dim, int64_t first, int count, float *scratch) {
    const char *from = row(rows, dtype, first);
    if (kPairs || dtype == JD_F32) {
      return {reinterpret_cast<const float *>(from), kPairs ? rows.stride / 2 : rows.stride};
    }
    for (int j = 0; j < count; ++j) {
      const uint16_t *x = reinterpret_cast<const uint16_t *>(from) + j * rows.stride;
      float *to = scratch + j * dim;
      int at = 0;
      for (; at + kWidth <= dim; at += kWidth) Isa::store(to + at, dtype == JD_F16 ? Isa::load_f16(x + at) : Isa::load_bf16(x + at));
      for (; at < dim; ++at) to[at] = widened(x, dtype, at);
    }
    return {scratch, dim};
  }

  // Rows to ask for while others are multiplied, a line of each at a time: prefetches that come faster than memory serves them are dropped, and
  // what is dropped is waited for.
  struct Ahead {
    const char *row;
    int64_t stride;  // bytes
    int step;

    Ahead from(int64_t i) const { return {row + i * stride, stride, step}; }
  };
  static Ahead ahead(const HeadRows &rows, int32_t dtype, int64_t first) {
    return {row(rows, dtype, first), rows.stride * (dtype == JD_F32 ? 4 : 2), kPairs || dtype == JD_F32 ? 4 : 2};
  }
  // Nothing but what is at work.
  static Ahead none(const Block &block) { return {reinterpret_cast<const char *>(block.rows), block.stride * 4, 4}; }

  // sum[r][n]: rows `rows`, `rows` + stride, ... with vectors 0..N-1 of lanes; row r asks for that of `coming`.
  template <int N, int R>
  static inline __attribute__((always_inline)) void multiply(const float *q, const float *rows, int64_t stride, int steps,
                                                             const Ahead &coming, F (&sum)[R][N]) {
    constexpr int kLine = 16;  // steps, of f32 and of pairs
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) sum[r][n] = Isa::zero();
    }
    const auto add = [&](int d) __attribute__((always_inline)) {
      F lanes[N];
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) lanes[n] = Isa::load(q + d * kLanes + n * kWidth);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        const F x = Isa::set(rows[r * stride + d]);
#pragma GCC unroll 4
        for (int n = 0; n < N; ++n) {
          if constexpr (kPairs) {
            sum[r][n] = Isa::fma_bf16_pairs(x, lanes[n], sum[r][n]);
          } else {
            sum[r][n] = Isa::fma(x, lanes[n], sum[r][n]);
          }
        }
      }
    };
    int d = 0;
    for (; d + kLine <= steps; d += kLine) {
      constexpr int kBetween = kLine / R;
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        cpu::prefetch(coming.row + r * coming.stride + d * coming.step);
#pragma GCC unroll 16
        for (int i = kBetween * r; i < kBetween * (r + 1); ++i) add(d + i);
      }
#pragma GCC unroll 16
      for (int i = kBetween * R; i < kLine; ++i) add(d + i);
    }
#pragma GCC unroll 2
    for (; d < steps; ++d) add(d);
  }
};

}  // namespace
}  // namespace jindou::cpu

#endif
