// rq_encode: vectors to codes of residual quantisation.
//
//   at level l:  code = argmax_k r . c_lk - |c_lk|^2 / 2  (the first of equals),  r = r - c_l,code;   at the end |r|
//
// x [n, d] in f32, f16 or bf16; codebooks [L, K, d] f32; codes [n, L] int32; residual_norm [n] or null. Strides free.
//
// Work: a thread block owns kRows rows through all levels. Their residuals stay in shared memory; codes pass through it in tiles of
// kCodes x 16, two stages of cp.async deep, with zeros past the edges. 16 threads stand side by side along the codes; a thread
// owns kThreadRows rows (ty + i * kDown) times 4 codes (tx + 16 j) of a tile: for 4 values of k it reads kThreadRows + 4 vectors
// of 16 bytes for 16 * kThreadRows FMAs. Rows are read as broadcasts, codes 20 floats apart touch all banks. Four threads a code
// sum its square on the way. Each thread keeps the best score of its rows; the 16 of a row compare by shuffles once a level: no
// score goes to memory, none waits in it.
//
// Tiles (rq_launch.h chooses): 64 rows of up to 128 or 256 floats (4 x 4 a thread); 16 rows of up to 1024 (2 x 4), which are also for few
// rows, so that more blocks share them.
//
// Order: a score is one accumulator over k = 0, 1, 2, ... in fused multiply-adds, less half of a square summed by quarters of 16
// k; residual norms likewise by quarters: neither depends on the tile, so a row's bits depend on that row and the codebooks alone.
//
// Floor: 2*n*L*K*d FLOPs on the f32 pipe (H200: 67 TFLOP/s): a tf32 product would not tell close codes apart. Bytes: x, codes and,
// for each block, the codebooks from L2.
#ifndef JINDOU_KERNELS_EMBEDDING_RQ_ENCODE_H
#define JINDOU_KERNELS_EMBEDDING_RQ_ENCODE_H

#include <stdint.h>

#include "blocks/float4.h"
#include "core/backend.h"

namespace jindou::embedding {

template <int kRowsT, int kThreadRowsT, int kMaxDimT, int kMinBlocksT>
struct RqTraits {
  static constexpr int kRows = kRowsT;              // rows a block
  static constexpr int kThreadRows = kThreadRowsT;  // of a thread
  static constexpr int kMaxDim = kMaxDimT;
  static constexpr int kMinBlocks = kMinBlocksT;
};

using RqNarrow = RqTraits<64, 4, 128, 2>;
using RqMiddle = RqTraits<64, 4, 256, 2>;
using RqFewRows = RqTraits<16, 2, 1024, 2>;

template <class Traits>
struct RqEncodeKernel {
  static constexpr int kRows = Traits::kRows;
  static constexpr int kThreadRows = Traits::kThreadRows;
  static constexpr int kAcross = 16;  // threads along the codes
  static constexpr int kThreadCodes = 4;
  static constexpr int kCodes = kAcross * kThreadCodes;
  static constexpr int kDown = kRows / kThreadRows;
  static constexpr int kThreads = kAcross * kDown;
  static constexpr int kMinBlocks = Traits::kMinBlocks;
  static constexpr int kBlockK = 16;
  static constexpr int kPitch = Traits::kMaxDim + 4;  // floats from one residual to the next
  static constexpr int kCodePitch = kBlockK + 4;
  static constexpr int kSquares = 4 * kCodes / kThreads;  // codes whose squares a thread sums a quarter of
  static_assert(Traits::kMaxDim % kBlockK == 0, "a row is padded to whole steps");

  struct Arena {
    float residual[kRows * kPitch];
    float codes[2][kCodes * kCodePitch];
    float half_square[kCodes];
    int32_t chosen[kRows];
  };
  static constexpr size_t shared_bytes() { return sizeof(Arena); }

  struct Params {
    const void *x;
    const float *codebooks;
    int32_t *codes;
    float *residual_norm;  // or null
    int64_t n, x_stride, level_stride, code_stride, codes_stride;
    int32_t dtype;  // of x
    int32_t levels, num_codes, dim;
  };

  JD_DEVICE static void run(const Params &p, char *shared) {
    Arena &arena = *reinterpret_cast<Arena *>(shared);
    const int thread = prim::thread_idx().x;
    const int64_t row0 = static_cast<int64_t>(prim::block_idx().x) * kRows;
    load_rows(p, arena, row0, thread);
#pragma unroll 1
    for (int level = 0; level < p.levels; ++level) {
      find_best(p, arena, p.codebooks + level * p.level_stride, thread);
      prim::sync_threads();  // the codes chosen, for all; and nobody reads residuals any more
      subtract(p, arena, p.codebooks + level * p.level_stride, row0, level, thread);
    }
    if (!p.residual_norm) return;
    prim::sync_threads();
    write_norms(p, arena, row0, thread);
  }

 private:
  // Residuals begin as rows of x; zeros past the last row, and past a row's end up to whole steps.
  JD_DEVICE JD_INLINE static void load_rows(const Params &p, Arena &arena, int64_t row0, int thread) {
    const int vectors = (p.dim + kBlockK - 1) / kBlockK * (kBlockK / 4);
    const int bytes = p.dtype == JD_F32 ? 4 : 2;
#pragma unroll 1
    for (int at = thread; at < kRows * vectors; at += kThreads) {
      const int row = at / vectors, column = at % vectors * 4;
      blocks::Float4 v{0.0f, 0.0f, 0.0f, 0.0f};
      if (row0 + row < p.n && column < p.dim) {
        const char *from = static_cast<const char *>(p.x) + ((row0 + row) * p.x_stride + column) * bytes;
        if (p.dtype == JD_F32) {
          v = blocks::load(reinterpret_cast<const float *>(from));
        } else {
          const prim::Vec2u halves = prim::load8(from);
          if (p.dtype == JD_F16) {
            prim::unpack2<prim::f16>(halves.x, v.x, v.y);
            prim::unpack2<prim::f16>(halves.y, v.z, v.w);
          } else {
            prim::unpack2<prim::bf16>(halves.x, v.x, v.y);
            prim::unpack2<prim::bf16>(halves.y, v.z, v.w);
          }
        }
      }
      store_shared(arena.residual + row * kPitch + column, v);
    }
  }

  // arena.chosen of every row.
  JD_DEVICE JD_INLINE static void find_best(const Params &p, Arena &arena, const float *codebook, int thread) {
    const int tx = thread % kAcross, ty = thread / kAcross;
    float best[kThreadRows];
    int32_t code[kThreadRows];
#pragma unroll
    for (int i = 0; i < kThreadRows; ++i) {
      best[i] = -INFINITY;
      code[i] = 0;
    }
    float acc[kThreadRows][kThreadCodes] = {};
    float square[kSquares] = {};

    // All steps of all tiles of codes in one loop; while one is computed, the next arrives.
    const int steps_a_tile = (p.dim + kBlockK - 1) / kBlockK;
    const int steps = (p.num_codes + kCodes - 1) / kCodes * steps_a_tile;
    load_codes(p, arena.codes[0], codebook, 0, 0, thread);
    prim::cp_async_commit();
    int first_code = 0, k = 0, next_code = 0, next_k = 0;
#pragma unroll 1
    for (int step = 0; step < steps; ++step) {
      prim::cp_async_wait<0>();
      prim::sync_threads();  // all see this step's codes (the first time: residuals), all have read the stage loaded next
      next_k += kBlockK;
      if (next_k >= p.dim) {
        next_k = 0;
        next_code += kCodes;
      }
      if (step + 1 < steps) load_codes(p, arena.codes[(step + 1) % 2], codebook, next_code, next_k, thread);
      prim::cp_async_commit();
      const float *codes = arena.codes[step % 2];
      multiply(arena.residual + k, codes, tx, ty, acc);
      add_squares(codes, thread, square);
      if (next_k == 0) {
        finish_squares(arena, thread, square);
        prim::sync_threads();
        compare(p, arena, first_code, tx, acc, best, code);
      }
      k = next_k;
      first_code = next_code;
    }

    // The 16 threads of a row are neighbours.
#pragma unroll
    for (int i = 0; i < kThreadRows; ++i) {
#pragma unroll
      for (int step = kAcross / 2; step > 0; step /= 2) {
        const float other = prim::shfl_xor(best[i], step, kAcross);
        const int32_t other_code = prim::shfl_xor(code[i], step, kAcross);
        if (other > best[i] || (other == best[i] && other_code < code[i])) {
          best[i] = other;
          code[i] = other_code;
        }
      }
      if (tx == 0) arena.chosen[ty + i * kDown] = code[i];
    }
  }

  // Codes first.. of a level, columns k.. k + 16, zeros outside.
  JD_DEVICE JD_INLINE static void load_codes(const Params &p, float *tile, const float *codebook, int first, int k, int thread) {
    constexpr int kVectors = kBlockK / 4;
#pragma unroll
    for (int at = 0; at < kCodes * kVectors; at += kThreads) {
      const int code = (at + thread) / kVectors, column = (at + thread) % kVectors * 4;
      const bool inside = first + code < p.num_codes && k + column < p.dim;
      prim::cp_async_16(tile + code * kCodePitch + column,
                        inside ? codebook + (first + code) * p.code_stride + k + column : codebook, inside);
    }
  }
  static_assert(kCodes * (kBlockK / 4) % kThreads == 0, "load_codes has no remainder");

  JD_DEVICE JD_INLINE static void multiply(const float *residuals, const float *codes, int tx, int ty,
                                           float (&acc)[kThreadRows][kThreadCodes]) {
#pragma unroll 2
    for (int k = 0; k < kBlockK; k += 4) {
      blocks::Float4 r[kThreadRows];
#pragma unroll
      for (int i = 0; i < kThreadRows; ++i) r[i] = blocks::load_shared(residuals + (ty + i * kDown) * kPitch + k);
#pragma unroll
      for (int j = 0; j < kThreadCodes; ++j) {
        const blocks::Float4 c = blocks::load_shared(codes + (tx + j * kAcross) * kCodePitch + k);
#pragma unroll
        for (int i = 0; i < kThreadRows; ++i) {
          float sum = acc[i][j];
          sum = prim::fma(r[i].x, c.x, sum);
          sum = prim::fma(r[i].y, c.y, sum);
          sum = prim::fma(r[i].z, c.z, sum);
          acc[i][j] = prim::fma(r[i].w, c.w, sum);
        }
      }
    }
  }

  JD_DEVICE JD_INLINE static float add_square(const blocks::Float4 &v, float sum) {
    sum = prim::fma(v.x, v.x, sum);
    sum = prim::fma(v.y, v.y, sum);
    sum = prim::fma(v.z, v.z, sum);
    return prim::fma(v.w, v.w, sum);
  }

  JD_DEVICE JD_INLINE static void add_squares(const float *codes, int thread, float (&square)[kSquares]) {
#pragma unroll
    for (int s = 0; s < kSquares; ++s) {
      const int code = thread / 4 + s * (kThreads / 4);
      square[s] = add_square(blocks::load_shared(codes + code * kCodePitch + thread % 4 * 4), square[s]);
    }
  }

  JD_DEVICE JD_INLINE static void finish_squares(Arena &arena, int thread, float (&square)[kSquares]) {
#pragma unroll
    for (int s = 0; s < kSquares; ++s) {
      float sum = square[s];
      sum += prim::shfl_xor(sum, 1);
      sum += prim::shfl_xor(sum, 2);
      if (thread % 4 == 0) arena.half_square[thread / 4 + s * (kThreads / 4)] = 0.5f * sum;
      square[s] = 0.0f;
    }
  }

  // A NaN is not more than anything, an equal score not more than an earlier one.
  JD_DEVICE JD_INLINE static void compare(const Params &p, const Arena &arena, int first_code, int tx,
                                          float (&acc)[kThreadRows][kThreadCodes], float (&best)[kThreadRows],
                                          int32_t (&code)[kThreadRows]) {
#pragma unroll
    for (int j = 0; j < kThreadCodes; ++j) {
      const int at = tx + j * kAcross;
      const float half_square = arena.half_square[at];
#pragma unroll
      for (int i = 0; i < kThreadRows; ++i) {
        const float score = acc[i][j] - half_square;
        acc[i][j] = 0.0f;
        if (first_code + at < p.num_codes && score > best[i]) {
          best[i] = score;
          code[i] = first_code + at;
        }
      }
    }
  }

  // r -= c; and the code goes out.
  JD_DEVICE JD_INLINE static void subtract(const Params &p, Arena &arena, const float *codebook, int64_t row0, int level,
                                           int thread) {
    const int vectors = p.dim / 4;
#pragma unroll 1
    for (int at = thread; at < kRows * vectors; at += kThreads) {
      const int row = at / vectors, column = at % vectors * 4;
      float *residual = arena.residual + row * kPitch + column;
      const blocks::Float4 c = blocks::load(codebook + arena.chosen[row] * p.code_stride + column);
      const blocks::Float4 r = blocks::load_shared(residual);
      store_shared(residual, blocks::Float4{r.x - c.x, r.y - c.y, r.z - c.z, r.w - c.w});
    }
    if (thread < kRows && row0 + thread < p.n) p.codes[(row0 + thread) * p.codes_stride + level] = arena.chosen[thread];
  }

  // Four threads a row, each a quarter of every 16 floats.
  JD_DEVICE JD_INLINE static void write_norms(const Params &p, const Arena &arena, int64_t row0, int thread) {
    if (thread >= 4 * kRows) return;  // whole warps
    const int row = thread / 4;
    float sum = 0.0f;
#pragma unroll 1
    for (int column = thread % 4 * 4; column < p.dim; column += kBlockK) {
      sum = add_square(blocks::load_shared(arena.residual + row * kPitch + column), sum);
    }
    sum += prim::shfl_xor(sum, 1);
    sum += prim::shfl_xor(sum, 2);
    if (thread % 4 == 0 && row0 + row < p.n) p.residual_norm[row0 + row] = prim::sqrt(sum);
  }
  static_assert(4 * kRows <= kThreads && 4 * kRows % 32 == 0, "the threads of write_norms");

  JD_DEVICE JD_INLINE static void store_shared(float *to, const blocks::Float4 &v) {
    prim::store_shared16(to, prim::Vec4u{prim::as_uint(v.x), prim::as_uint(v.y), prim::as_uint(v.z), prim::as_uint(v.w)});
  }
};

}  // namespace jindou::embedding

#endif
