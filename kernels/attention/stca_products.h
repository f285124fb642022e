// The small products of an STCA layer, of candidates and a weight: exact f32, with fused multiply-adds.
//
// StcaRowProductKernel   out_h = x_h W_h^T    x [rows, (heads,) depth] f32, bf16 or f16, W [columns, depth] f32; out [rows, columns]
// StcaWideQueryKernel    out_h = q_h W_h      q [rows, heads * dh] f32, W [heads * dh, D] f32; out [rows, heads, D]
//
// There are few rows, one at the least: what takes time is reading W, once from HBM. So blocks are small, and all are on their way at once. Both
// own 8 rows. RowProduct: a warp has 4 columns, its lanes share the depth, 16 bytes each; lanes add up at the end, with 31 shuffles for the 32 sums.
// WideQuery: a lane has 4 columns, a warp 128, a block 512 of one head.
//
// Order: whatever the number of rows, a sum is made in the same order: a row's bits depend on that row alone.
//
// FLOPs 2 * rows * D * H * dh, each; bytes 4 * D * H * dh of W (from L2 after the first 8 rows).
#ifndef JINDOU_KERNELS_ATTENTION_STCA_PRODUCTS_H
#define JINDOU_KERNELS_ATTENTION_STCA_PRODUCTS_H

#include "attention/jagged.h"

namespace jindou::attention {

constexpr int kProductRows = 8;  // a block

struct Floats4 {
  float v[4];
};
JD_DEVICE JD_INLINE Floats4 load_floats(const float *address, int32_t) {
  const prim::Vec4u w = prim::load16(address);
  return Floats4{{prim::as_float(w.x), prim::as_float(w.y), prim::as_float(w.z), prim::as_float(w.w)}};
}
JD_DEVICE JD_INLINE Floats4 load_floats(const uint16_t *address, int32_t dtype) {
  const prim::Vec2u w = prim::load8(address);
  Floats4 x;
  unpack_pair(w.x, dtype, x.v[0], x.v[1]);
  unpack_pair(w.y, dtype, x.v[2], x.v[3]);
  return x;
}

// T: float, or uint16_t for bf16 and f16.
template <class T>
struct StcaRowProductKernel {
  static constexpr int kThreads = 256;
  static constexpr int kMinBlocks = 2;
  static constexpr int kWarpColumns = 4;
  static constexpr int kBlockColumns = kThreads / 32 * kWarpColumns;  // of one head: head dims are multiples of 32
  static constexpr size_t shared_bytes() { return 0; }

  struct Params {
    Rows<const T> x;  // heads that share their rows: head_stride 0
    const float *weight;
    OutRows out;
    int64_t rows, weight_stride;
    int64_t blocks_across;
    int32_t depth, head_dim, dtype;  // depth: a multiple of 4
  };

  JD_DEVICE static void run(const Params &p, char *) {
    const int lane = prim::lane_id();
    const int64_t row0 = prim::block_idx().x / p.blocks_across * kProductRows;
    const int32_t column = static_cast<int32_t>(prim::block_idx().x % p.blocks_across) * kBlockColumns + prim::warp_id() * kWarpColumns;
    const int32_t head = column / p.head_dim;
    const float *weight = p.weight + column * p.weight_stride;

    float sums[kProductRows * kWarpColumns] = {};
#pragma unroll 1
    for (int32_t at = lane * 4; at < p.depth; at += 128) {
      Floats4 w[kWarpColumns];
#pragma unroll
      for (int c = 0; c < kWarpColumns; ++c) w[c] = load_floats(weight + c * p.weight_stride + at, JD_F32);
#pragma unroll
      for (int r = 0; r < kProductRows; ++r) {
        const int64_t row = row0 + r < p.rows ? row0 + r : row0;  // past the last: anything
        const Floats4 x = load_floats(p.x.at(row, head) + at, p.dtype);
#pragma unroll
        for (int c = 0; c < kWarpColumns; ++c) {
#pragma unroll
          for (int e = 0; e < 4; ++e) sums[r * kWarpColumns + c] = prim::fma(x.v[e], w[c].v[e], sums[r * kWarpColumns + c]);
        }
      }
    }
    // Each step halves the sums a lane has and adds another lane's to the rest: lane i ends with sum i.
#pragma unroll
    for (int step = 0; step < 5; ++step) {
      const int half = 16 >> step;
      const bool upper = (lane & half) != 0;
#pragma unroll
      for (int i = 0; i < 16; ++i) {
        if (i >= half) continue;
        const float kept = upper ? sums[i + half] : sums[i], given = upper ? sums[i] : sums[i + half];
        sums[i] = kept + prim::shfl_xor(given, half);
      }
    }
    // Columns 2 i and 2 i + 1 are neighbouring lanes'.
    const float next = prim::shfl_down(sums[0], 1);
    const int64_t row = row0 + lane / kWarpColumns;
    if (lane % 2 == 0 && row < p.rows) p.out.store_pair(p.out.at(row, 0) + column + lane % kWarpColumns, sums[0], next);
  }
};

struct StcaWideQueryKernel {
  static constexpr int kThreads = 128;
  static constexpr int kMinBlocks = 4;
  static constexpr int kBlockColumns = kThreads * 4;
  static constexpr size_t shared_bytes() { return 0; }

  struct Params {
    const float *query;  // dense
    const float *weight;
    OutRows out;
    float *cleared;  // dense, [rows, heads, dim]: becomes zeros
    int64_t rows, weight_stride;
    int32_t heads, head_dim, dim;
    int32_t blocks_across;  // of one head
  };

  JD_DEVICE static void run(const Params &p, char *) {
    const int32_t across = p.blocks_across * p.heads, block = static_cast<int32_t>(prim::block_idx().x % across);
    const int32_t head = block / p.blocks_across;
    const int32_t column = block % p.blocks_across * kBlockColumns + static_cast<int32_t>(prim::thread_idx().x) * 4;
    if (column >= p.dim) return;
    const int64_t row0 = prim::block_idx().x / across * kProductRows;
    const int64_t width = int64_t{p.heads} * p.head_dim;
    const float *query = p.query + int64_t{head} * p.head_dim;
    const float *weight = p.weight + int64_t{head} * p.head_dim * p.weight_stride + column;

    float sums[kProductRows][4] = {};
#pragma unroll 1
    for (int32_t at = 0; at < p.head_dim; at += 4) {
      Floats4 w[4];
#pragma unroll
      for (int e = 0; e < 4; ++e) w[e] = load_floats(weight + (at + e) * p.weight_stride, JD_F32);
#pragma unroll
      for (int r = 0; r < kProductRows; ++r) {
        const int64_t row = row0 + r < p.rows ? row0 + r : row0;
        const Floats4 q = load_floats(query + row * width + at, JD_F32);
#pragma unroll
        for (int e = 0; e < 4; ++e) {
#pragma unroll
          for (int c = 0; c < 4; ++c) sums[r][c] = prim::fma(q.v[e], w[e].v[c], sums[r][c]);
        }
      }
    }
#pragma unroll
    for (int r = 0; r < kProductRows; ++r) {
      const int64_t row = row0 + r;
      if (row >= p.rows) break;
      const int64_t at = p.out.at(row, head) + column;
      p.out.store_pair(at, sums[r][0], sums[r][1]);
      p.out.store_pair(at + 2, sums[r][2], sums[r][3]);
      prim::store16(p.cleared + (row * p.heads + head) * p.dim + column, prim::Vec4u{0, 0, 0, 0});
    }
  }
};

}  // namespace jindou::attention

#endif
