// Tiles of bf16 rows in shared memory and the two products of attention on them, with mma.sync m16n8k16 (sm_80 and up).
//
// A warp owns 16 * kMTiles query rows, all keys of the tile and all output columns, so that scores, weights and outputs never
// leave its registers: the accumulators of the first product are, element for element, the left operand of the second.
// With kMTiles = 2 each fragment of keys and values read from shared memory feeds two products: one tile would need 2 cycles
// of shared memory (256 bytes at 128 bytes a cycle) for each product, more than the tensor cores of sm_90 take for it.
//
// Fragment of thread `lane` (PTX ISA, mma.m16n8k16), g = lane / 4, t = lane % 4:
//   accumulator  c0 c1: row g, columns 2t, 2t+1;  c2 c3: row g + 8
//   left         a0: row g, k 2t..;  a1: row g + 8;  a2: row g, k 2t+8..;  a3: row g + 8, k 2t+8..
//   right        b0: k 2t.., column g;  b1: k 2t+8..
#ifndef JINDOU_KERNELS_ATTENTION_MMA_TILES_H
#define JINDOU_KERNELS_ATTENTION_MMA_TILES_H

#include "primitives/primitives.h"

namespace jindou::attention {

// Rows of kD bf16 in 16-byte chunks, chunks permuted by row so that the 8 rows one ldmatrix phase reads at a column, and the
// 8 chunks a copy writes at once, fall on all 32 banks. Rows of 64 or 128 elements start at bank 0: chunk ^ row % 8. Rows of 32
// or 96 alternate between two halves of the banks by themselves: chunk ^ row / 2 % 4.
template <int kD>
struct Bf16Tile {
  static_assert(kD % 32 == 0, "");
  static constexpr int kChunks = kD / 8;
  static constexpr int kRowBytes = kD * 2;

  JD_DEVICE static int swizzle(int row) { return kChunks % 8 == 0 ? row & 7 : (row >> 1) & 3; }
  JD_DEVICE static int offset(int row, int chunk) { return row * kRowBytes + (chunk ^ swizzle(row)) * 16; }
};

// How the threads of a block share the chunks of a tile: kLanes neighbours take a run of a row, so that global reads are
// contiguous. A thread's rows are kRowsAPass apart, a multiple of the swizzle's period: all its offsets are one number plus
// constants.
template <int kD, int kThreads>
class Bf16TileCopy {
  using Tile = Bf16Tile<kD>;
  static constexpr int kLanes = Tile::kChunks % 8 == 0 ? 8 : 4;
  static constexpr int kRowsAPass = kThreads / kLanes;
  static_assert(kRowsAPass % 8 == 0, "");

 public:
  JD_DEVICE explicit Bf16TileCopy(uint32_t thread)
      : row(static_cast<int>(thread / kLanes)), chunk(static_cast<int>(thread % kLanes)), offset_(Tile::offset(row, chunk)) {}

  const int row, chunk;  // this thread's first

  // f(row, chunk, offset in the tile) for this thread's chunks of a tile of kRows rows.
  template <int kRows, class F>
  JD_DEVICE void for_each_chunk(const F &f) const {
    static_assert(kRows % kRowsAPass == 0, "");
#pragma unroll
    for (int pass = 0; pass < kRows / kRowsAPass; ++pass) {
#pragma unroll
      for (int run = 0; run < Tile::kChunks / kLanes; ++run) {
        f(row + pass * kRowsAPass, chunk + run * kLanes,
          offset_ + pass * kRowsAPass * Tile::kRowBytes + run * kLanes * 16);
      }
    }
  }

  // Copies kRows rows, `stride` elements apart; rows from `valid` on become zeros and are not read. `mine` is where this thread's
  // first chunk lies.
  template <int kRows>
  JD_DEVICE void copy_async(char *tile, const prim::bf16 *mine, int64_t stride, int valid) const {
#pragma unroll
    for (int pass = 0; pass < kRows / kRowsAPass; ++pass) {
#pragma unroll
      for (int run = 0; run < Tile::kChunks / kLanes; ++run) {
        prim::cp_async_16(tile + offset_ + pass * kRowsAPass * Tile::kRowBytes + run * kLanes * 16,
                          mine + run * kLanes * 8, row + pass * kRowsAPass < valid);
      }
      mine += kRowsAPass * stride;
    }
  }

 private:
  const int offset_;
};

// Where lane reads row `row` of a tile at chunks c, c ^ 2, c ^ 4...: the swizzle is an exclusive or, hence so is a step.
template <int kD>
class TileReader {
 public:
  JD_DEVICE TileReader(int row, int chunk)
      : row_(row * Bf16Tile<kD>::kRowBytes), chunk_((chunk ^ Bf16Tile<kD>::swizzle(row)) * 16) {}

  // `rows` a multiple of 8, `chunks` even.
  JD_DEVICE const char *at(const char *tile, int rows, int chunks) const {
    return tile + row_ + rows * Bf16Tile<kD>::kRowBytes + (chunk_ ^ (chunks * 16));
  }

 private:
  int row_, chunk_;
};

// The queries of one warp as left operands: kept in registers for the whole loop over keys when the head is narrow, read from
// shared memory for each tile of keys when registers are dear.
template <int kMTiles, int kD, bool kInRegisters>
class QueryFragments {
 public:
  JD_DEVICE QueryFragments(const char *tile, int first_row, int lane) : rows_(tile + first_row * Bf16Tile<kD>::kRowBytes) {
    if constexpr (kInRegisters) {
      const TileReader<kD> reader(lane & 15, lane >> 4);
#pragma unroll
      for (int k = 0; k < kD / 16; ++k) {
#pragma unroll
        for (int m = 0; m < kMTiles; ++m) prim::ldmatrix_x4(kept_[k][m], reader.at(rows_, m * 16, k * 2));
      }
    }
  }

  JD_DEVICE void get(uint32_t (&a)[4], int k, int m, const TileReader<kD> &reader) const {
    if constexpr (kInRegisters) {
#pragma unroll
      for (int i = 0; i < 4; ++i) a[i] = kept_[k][m][i];
    } else {
      prim::ldmatrix_x4(a, reader.at(rows_, m * 16, k * 2));
    }
  }

 private:
  const char *rows_;
  uint32_t kept_[kInRegisters ? kD / 16 : 1][kMTiles][4];
};

// scores[m][n] = queries . keys^T over all kD elements.
template <int kMTiles, int kNTiles, int kD, bool kInRegisters>
JD_DEVICE void multiply_queries_keys(float (&scores)[kMTiles][kNTiles][4],
                                     const QueryFragments<kMTiles, kD, kInRegisters> &queries, const char *keys,
                                     int lane) {
  const TileReader<kD> query_reader(lane & 15, lane >> 4);
  const TileReader<kD> key_reader((lane & 7) + (lane >> 4) * 8, lane >> 3 & 1);
#pragma unroll
  for (int m = 0; m < kMTiles; ++m) {
#pragma unroll
    for (int n = 0; n < kNTiles; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) scores[m][n][i] = 0.0f;
    }
  }
#pragma unroll
  for (int k = 0; k < kD / 16; ++k) {
    uint32_t a[kMTiles][4];
#pragma unroll
    for (int m = 0; m < kMTiles; ++m) queries.get(a[m], k, m, query_reader);
#pragma unroll
    for (int n = 0; n < kNTiles; n += 2) {
      uint32_t b[4];  // keys n*8 .. n*8+15: two right operands
      prim::ldmatrix_x4(b, key_reader.at(keys, n * 8, k * 2));
#pragma unroll
      for (int m = 0; m < kMTiles; ++m) {
        prim::mma_m16n8k16_bf16(scores[m][n], a[m], b);
        prim::mma_m16n8k16_bf16(scores[m][n + 1], a[m], b + 2);
      }
    }
  }
}

// out += weights . values; the weights are rounded to bf16 on the way.
template <int kMTiles, int kNTiles, int kD>
JD_DEVICE void multiply_weights_values(float (&out)[kMTiles][kD / 8][4], const float (&weights)[kMTiles][kNTiles][4],
                                       const char *values, int lane) {
  const TileReader<kD> reader(lane & 15, lane >> 4);
#pragma unroll
  for (int k = 0; k < kNTiles; k += 2) {  // 16 keys
    uint32_t a[kMTiles][4];
#pragma unroll
    for (int m = 0; m < kMTiles; ++m) {
      a[m][0] = prim::pack_bf16x2(weights[m][k][0], weights[m][k][1]);
      a[m][1] = prim::pack_bf16x2(weights[m][k][2], weights[m][k][3]);
      a[m][2] = prim::pack_bf16x2(weights[m][k + 1][0], weights[m][k + 1][1]);
      a[m][3] = prim::pack_bf16x2(weights[m][k + 1][2], weights[m][k + 1][3]);
    }
#pragma unroll
    for (int n = 0; n < kD / 8; n += 2) {
      uint32_t b[4];  // columns n*8 .. n*8+15
      prim::ldmatrix_x4_trans(b, reader.at(values, k * 8, n));
#pragma unroll
      for (int m = 0; m < kMTiles; ++m) {
        prim::mma_m16n8k16_bf16(out[m][n], a[m], b);
        prim::mma_m16n8k16_bf16(out[m][n + 1], a[m], b + 2);
      }
    }
  }
}

}  // namespace jindou::attention

#endif
