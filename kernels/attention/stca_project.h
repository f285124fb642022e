// What an STCA layer projects of many rows in 16 bit: out = x W^T, with mma.sync m16n8k16 (sm_80 and up).
//
// x [rows, depth] bf16 or f16, W [columns, depth] f32, out [rows, columns] in x's dtype or f32; row strides free multiples of 16 bytes; depth a
// multiple of 32. W is rounded to x's dtype on its way to shared memory: a copy of it in 16 bit would be one more tensor, one more kernel a run and
// no fewer products. Sums are f32.
//
// Work: a block of 8 warps owns 128 rows x 128 columns and walks the depth in steps of 32; a warp 32 x 64 of it, so that each fragment read from
// shared memory feeds 2 or 8 products. While a step is multiplied, the next one's rows of x arrive by cp.async and its rows of W in 16 registers
// a thread. Two buffers of 16 KiB, one barrier a step.
//
// Order: an output is one accumulator over the depth in steps of 16, wherever its row lies in the tile: a row's bits depend on that row alone.
//
// FLOPs 2 * rows * depth * columns; bytes rows * (depth + columns) * 2 + depth * columns * 4: bound by the tensor cores from some hundred rows on.
#ifndef JINDOU_KERNELS_ATTENTION_STCA_PROJECT_H
#define JINDOU_KERNELS_ATTENTION_STCA_PROJECT_H

#include "attention/mma_core.h"

namespace jindou::attention {

struct StcaProjectKernel {
  static constexpr int kThreads = 256;
  static constexpr int kMinBlocks = 2;
  static constexpr int kBlockRows = 128, kBlockColumns = 128;
  static constexpr int kStep = 32;                              // of the depth
  static constexpr int kWarpRows = 32, kWarpColumns = 64;       // 4 x 2 warps
  static constexpr int kMTiles = kWarpRows / 16, kNTiles = kWarpColumns / 8;
  using Tile = HalfTile<kStep>;
  static constexpr int kRuns = kBlockRows * Tile::kChunks / kThreads;  // chunks of either tile a thread brings

  struct Params {
    const uint16_t *x;
    const float *weight;
    OutRows out;  // of one head
    int64_t rows, x_stride, weight_stride;
    int64_t blocks_across;  // blocks along the columns; those of one tile of rows are neighbours
    int32_t depth, columns, dtype;
  };

  struct Shared {
    alignas(128) char x[2][kBlockRows * Tile::kRowBytes];
    alignas(128) char w[2][kBlockColumns * Tile::kRowBytes];
  };
  static constexpr size_t shared_bytes() { return sizeof(Shared); }

  JD_DEVICE static void run(const Params &p, char *shared_memory) {
    if (p.dtype == JD_F16) {
      run_as<prim::f16>(p, *reinterpret_cast<Shared *>(shared_memory));
    } else {
      run_as<prim::bf16>(p, *reinterpret_cast<Shared *>(shared_memory));
    }
  }

 private:
  // A thread's part of a step of W: two vectors of four floats for each of its chunks.
  struct WeightPart {
    prim::Vec4u vectors[2 * kRuns];
  };

  template <class T>
  JD_DEVICE static void run_as(const Params &p, Shared &shared) {
    const int thread = static_cast<int>(prim::thread_idx().x), lane = thread & 31, warp = thread >> 5;
    const int64_t block = prim::block_idx().x;
    const int64_t row0 = block / p.blocks_across * kBlockRows;
    const int32_t column0 = static_cast<int32_t>(block % p.blocks_across) * kBlockColumns;
    const int first_row = warp / 2 * kWarpRows, first_column = warp % 2 * kWarpColumns;
    const TileReader<kStep> row_reader(lane & 15, lane >> 4), column_reader((lane & 7) + (lane >> 4) * 8, lane >> 3 & 1);

    float acc[kMTiles][kNTiles][4] = {};
    WeightPart part;
    copy_rows(p, shared.x[0], row0, 0, thread);
    load_weights(p, part, column0, 0, thread);
    store_weights<T>(part, shared.w[0], thread);
    const int steps = p.depth / kStep;
    for (int step = 0; step < steps; ++step) {
      prim::cp_async_wait<0>();
      prim::sync_threads();  // this step's tiles are there, and everyone is done with the other buffers
      const int at = step & 1;
      const bool more = step + 1 < steps;
      if (more) {
        copy_rows(p, shared.x[at ^ 1], row0, (step + 1) * kStep, thread);
        load_weights(p, part, column0, (step + 1) * kStep, thread);
      }
#pragma unroll
      for (int k = 0; k < kStep / 16; ++k) {
        uint32_t a[kMTiles][4];
#pragma unroll
        for (int m = 0; m < kMTiles; ++m) prim::ldmatrix_x4(a[m], row_reader.at(shared.x[at], first_row + m * 16, k * 2));
#pragma unroll
        for (int n = 0; n < kNTiles; n += 2) {
          uint32_t b[4];
          prim::ldmatrix_x4(b, column_reader.at(shared.w[at], first_column + n * 8, k * 2));
#pragma unroll
          for (int m = 0; m < kMTiles; ++m) {
            prim::mma_m16n8k16<T>(acc[m][n], a[m], b);
            prim::mma_m16n8k16<T>(acc[m][n + 1], a[m], b + 2);
          }
        }
      }
      if (more) store_weights<T>(part, shared.w[at ^ 1], thread);
    }

#pragma unroll
    for (int m = 0; m < kMTiles; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int64_t row = row0 + first_row + m * 16 + half * 8 + lane / 4;
        if (row >= p.rows) continue;
#pragma unroll
        for (int n = 0; n < kNTiles; ++n) {
          const int32_t column = column0 + first_column + n * 8 + (lane & 3) * 2;
          if (column < p.columns) p.out.store_pair(p.out.at(row, 0) + column, acc[m][n][half * 2], acc[m][n][half * 2 + 1]);
        }
      }
    }
  }

  // Rows past the last become zeros.
  JD_DEVICE JD_INLINE static void copy_rows(const Params &p, char *tile, int64_t row0, int32_t depth, int thread) {
#pragma unroll
    for (int run = 0; run < kRuns; ++run) {
      const int chunk = (thread + run * kThreads) % Tile::kChunks, row = (thread + run * kThreads) / Tile::kChunks;
      const bool inside = row0 + row < p.rows;
      prim::cp_async_16(tile + Tile::offset(row, chunk), inside ? p.x + (row0 + row) * p.x_stride + depth + chunk * 8 : p.x, inside);
    }
    prim::cp_async_commit();
  }

  JD_DEVICE JD_INLINE static void load_weights(const Params &p, WeightPart &part, int32_t column0, int32_t depth, int thread) {
#pragma unroll
    for (int run = 0; run < kRuns; ++run) {
      const int chunk = (thread + run * kThreads) % Tile::kChunks, row = (thread + run * kThreads) / Tile::kChunks;
      const float *from = p.weight + (column0 + row) * p.weight_stride + depth + chunk * 8;
      const bool inside = column0 + row < p.columns;
      part.vectors[run * 2] = inside ? prim::load16(from) : prim::Vec4u{0, 0, 0, 0};
      part.vectors[run * 2 + 1] = inside ? prim::load16(from + 4) : prim::Vec4u{0, 0, 0, 0};
    }
  }

  template <class T>
  JD_DEVICE JD_INLINE static void store_weights(const WeightPart &part, char *tile, int thread) {
#pragma unroll
    for (int run = 0; run < kRuns; ++run) {
      const int chunk = (thread + run * kThreads) % Tile::kChunks, row = (thread + run * kThreads) / Tile::kChunks;
      const prim::Vec4u a = part.vectors[run * 2], b = part.vectors[run * 2 + 1];
      prim::store_shared16(tile + Tile::offset(row, chunk), prim::Vec4u{pack<T>(a.x, a.y), pack<T>(a.z, a.w), pack<T>(b.x, b.y), pack<T>(b.z, b.w)});
    }
  }

  template <class T>
  JD_DEVICE JD_INLINE static uint32_t pack(uint32_t low, uint32_t high) {
    return prim::pack2<T>(prim::as_float(low), prim::as_float(high));
  }
};

}  // namespace jindou::attention

#endif
