// linear: out = activation(x W^T + bias) + residual, true f32.
//
// x [n, in], W [out, in], bias [out], residual and out [n, out]; row strides free (multiples of 16 bytes). Both
// operands are contiguous along `in`, the summed dimension.
//
// Work: a thread block of 256 threads owns a kBlockM x kBlockN tile of the output and walks `in` in steps of kBlockK =
// 16; both operand tiles of a step go to shared memory by 16-byte cp.async, kStages deep, with zeros past the edges. A
// thread owns kThreadM x kThreadN outputs: rows ty + i*(threads along M), columns tx + j*(threads along N). For every 4
// values of k it reads one 16-byte vector a row and one a column (16 vectors for 256 FMAs in the 8 x 8 tile). Shared
// rows are 20 floats apart: 8 lanes that read neighbouring columns touch 8 different groups of 4 banks, lanes that read
// the same row share a broadcast.
//
// Tiles (blocks_launch.h chooses by the number of blocks they make): 128 x 128 (8 x 8 a thread) reads each operand
// least often; 64 x 64 (4 x 4) fills the GPU on smaller problems; 16 x 64 (2 x 2, four stages) is for a few rows, where
// time goes into reading W.
//
// Order: every output is one accumulator over k = 0, 1, 2, ... in fused multiply-adds, whatever the tile: a row's bits
// depend neither on the other rows nor on the tile chosen.
//
// Floor: 2*n*in*out FLOPs on the f32 pipe (H200: 67 TFLOP/s), 4*(n*in + in*out + n*out [+ residual]) bytes; compute
// bound from about n = 28 rows on (67e12 / 4.8e12 * 4 bytes / 2 FLOPs a weight).
#ifndef JINDOU_KERNELS_BLOCKS_LINEAR_H
#define JINDOU_KERNELS_BLOCKS_LINEAR_H

#include <stdint.h>

#include "blocks/float4.h"

namespace jindou::blocks {

template <int kBlockMT, int kBlockNT, int kThreadMT, int kThreadNT, int kStagesT, int kMinBlocksT>
struct LinearTraits {
  static constexpr int kBlockM = kBlockMT;      // rows of x a block
  static constexpr int kBlockN = kBlockNT;      // rows of W a block
  static constexpr int kThreadM = kThreadMT;    // outputs a thread
  static constexpr int kThreadN = kThreadNT;
  static constexpr int kStages = kStagesT;        // tiles of one step in shared memory
  static constexpr int kMinBlocks = kMinBlocksT;  // a multiprocessor
};

using LinearLarge = LinearTraits<128, 128, 8, 8, 2, 2>;
using LinearMedium = LinearTraits<64, 64, 4, 4, 2, 3>;
using LinearFewRows = LinearTraits<16, 64, 2, 2, 4, 4>;

template <class Traits>
struct LinearKernel {
  static constexpr int kBlockM = Traits::kBlockM;
  static constexpr int kBlockN = Traits::kBlockN;
  static constexpr int kThreadM = Traits::kThreadM;
  static constexpr int kThreadN = Traits::kThreadN;
  static constexpr int kBlockK = 16;
  static constexpr int kStages = Traits::kStages;
  static constexpr int kPitch = kBlockK + 4;           // floats from one shared row to the next
  static constexpr int kVectors = kBlockK / 4;         // 16-byte vectors a shared row
  static constexpr int kAcross = kBlockN / kThreadN;   // threads along the columns
  static constexpr int kDown = kBlockM / kThreadM;     // threads along the rows
  static constexpr int kThreads = kAcross * kDown;
  static constexpr int kMinBlocks = Traits::kMinBlocks;
  static_assert(kAcross % 8 == 0, "eight neighbouring lanes read eight neighbouring columns");

  struct Arena {
    float x[kStages][kBlockM * kPitch];
    float w[kStages][kBlockN * kPitch];
  };
  static constexpr size_t shared_bytes() { return sizeof(Arena); }

  struct Params {
    const float *x;
    const float *weight;
    const float *bias;      // or null
    const float *residual;  // or null
    float *out;
    int64_t n, in, m;  // m: columns of out
    int64_t x_stride, weight_stride, residual_stride, out_stride;
    int64_t blocks_across;  // blocks along m; blocks of one row of tiles are neighbours
    int32_t silu;
  };

  JD_DEVICE static void run(const Params &p, char *shared) {
    Arena &arena = *reinterpret_cast<Arena *>(shared);
    const int thread = prim::thread_idx().x;
    const int tx = thread % kAcross;
    const int ty = thread / kAcross;
    const int64_t block = prim::block_idx().x;
    const int64_t row0 = block / p.blocks_across * kBlockM;
    const int64_t column0 = block % p.blocks_across * kBlockN;

    float acc[kThreadM][kThreadN] = {};
    const int64_t steps = (p.in + kBlockK - 1) / kBlockK;

    // Main loop: while step s is computed, steps s + 1 .. s + kStages - 1 arrive. A step past the end is an empty
    // group.
#pragma unroll
    for (int s = 0; s < kStages - 1; ++s) {
      if (s < steps) load(p, arena, thread, row0, column0, s, s);
      prim::cp_async_commit();
    }
    for (int64_t step = 0; step < steps; ++step) {
      prim::cp_async_wait<kStages - 2>();
      prim::sync_threads();  // all see this step's tiles, and all have read the stage that is loaded next
      const int64_t ahead = step + kStages - 1;
      if (ahead < steps) load(p, arena, thread, row0, column0, ahead, static_cast<int>(ahead % kStages));
      prim::cp_async_commit();
      const int stage = static_cast<int>(step % kStages);
      multiply(arena.x[stage], arena.w[stage], tx, ty, acc);
    }

    // Epilogue: 16 lanes (or more) write neighbouring columns.
#pragma unroll
    for (int j = 0; j < kThreadN; ++j) {
      const int64_t column = column0 + tx + j * kAcross;
      if (column >= p.m) continue;
      const float bias = p.bias ? p.bias[column] : 0.0f;
#pragma unroll
      for (int i = 0; i < kThreadM; ++i) {
        const int64_t row = row0 + ty + i * kDown;
        if (row >= p.n) continue;
        float y = acc[i][j] + bias;
        if (p.silu) y = silu(y);
        if (p.residual) y += p.residual[row * p.residual_stride + column];
        p.out[row * p.out_stride + column] = y;
      }
    }
  }

 private:
  JD_DEVICE JD_INLINE static float silu(float y) { return prim::div(y, 1.0f + prim::exp_approx(-y)); }

  // Rows first.. of a matrix, columns k.. k + 16, zeros outside.
  template <int kRows>
  JD_DEVICE JD_INLINE static void load_tile(float *tile, const float *matrix, int64_t stride, int64_t first,
                                            int64_t rows, int64_t k, int64_t columns, int thread) {
    constexpr int kCopies = kRows * kVectors;
#pragma unroll
    for (int at = 0; at < kCopies; at += kThreads) {
      const int copy = at + thread;
      if (kCopies % kThreads != 0 && copy >= kCopies) break;
      const int row = copy / kVectors;
      const int column = copy % kVectors * 4;
      const bool inside = first + row < rows && k + column < columns;
      prim::cp_async_16(tile + row * kPitch + column, inside ? matrix + (first + row) * stride + k + column : matrix,
                        inside);
    }
  }

  JD_DEVICE JD_INLINE static void load(const Params &p, Arena &arena, int thread, int64_t row0, int64_t column0,
                                       int64_t step, int stage) {
    const int64_t k = step * kBlockK;
    load_tile<kBlockM>(arena.x[stage], p.x, p.x_stride, row0, p.n, k, p.in, thread);
    load_tile<kBlockN>(arena.w[stage], p.weight, p.weight_stride, column0, p.m, k, p.in, thread);
  }

  JD_DEVICE JD_INLINE static void multiply(const float *x, const float *w, int tx, int ty,
                                           float (&acc)[kThreadM][kThreadN]) {
    // Not unrolled: 128 x 128 tiles have no registers left for the next vectors; the other warps cover the wait.
#pragma unroll 1
    for (int k = 0; k < kBlockK; k += 4) {
      Float4 a[kThreadM];
#pragma unroll
      for (int i = 0; i < kThreadM; ++i) a[i] = load_shared(x + (ty + i * kDown) * kPitch + k);
#pragma unroll
      for (int j = 0; j < kThreadN; ++j) {
        const Float4 b = load_shared(w + (tx + j * kAcross) * kPitch + k);
#pragma unroll
        for (int i = 0; i < kThreadM; ++i) {
          float sum = acc[i][j];
          sum = prim::fma(a[i].x, b.x, sum);
          sum = prim::fma(a[i].y, b.y, sum);
          sum = prim::fma(a[i].z, b.z, sum);
          acc[i][j] = prim::fma(a[i].w, b.w, sum);
        }
      }
    }
  }
};

}  // namespace jindou::blocks

#endif
