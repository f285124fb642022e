// What layer_norm and l2_normalize share: one row held in registers by a warp or by a thread block, and its sums.
//
// Rows of up to 1024 floats belong to one warp (four rows a block of 128 threads); wider rows, up to 8192, to a block
// of 256 threads. A thread holds kVectors 16-byte vectors: vector t + i*kLanes of the row is element i of thread t, so
// that a warp reads 512 contiguous bytes at once. Which of them is used depends on the row's width alone, and sums are
// made in one fixed order: a row's bits depend on that row only.
#ifndef JINDOU_KERNELS_BLOCKS_ROWS_H
#define JINDOU_KERNELS_BLOCKS_ROWS_H

#include <stdint.h>

#include "blocks/float4.h"

namespace jindou::blocks {

template <int kLanesT, int kVectorsT>
struct RowTraits {
  static constexpr int kLanes = kLanesT;      // threads a row: 32 or 256
  static constexpr int kVectors = kVectorsT;  // vectors a thread
};

template <class Traits>
struct RowOwner {
  static constexpr int kLanes = Traits::kLanes;
  static constexpr int kVectors = Traits::kVectors;
  static constexpr int kThreads = kLanes == 32 ? 128 : kLanes;
  static constexpr int kRowsPerBlock = kThreads / kLanes;
  static constexpr int kWarps = kLanes / 32;  // a row

  // One partial sum a warp, for every sum of a kernel: rows of a block of warps need no barrier between two sums.
  struct Arena {
    float partial[2][kWarps];
  };
  static constexpr size_t shared_bytes() { return kWarps > 1 ? sizeof(Arena) : 0; }

  // Row of this thread, or -1 past the end (a whole warp; a block when kWarps > 1).
  JD_DEVICE JD_INLINE static int64_t row(int64_t rows) {
    const int64_t at = static_cast<int64_t>(prim::block_idx().x) * kRowsPerBlock + prim::thread_idx().x / kLanes;
    return at < rows ? at : -1;
  }

  JD_DEVICE JD_INLINE static int lane() { return prim::thread_idx().x % kLanes; }

  // Vector i of this thread, counted in the row.
  JD_DEVICE JD_INLINE static int vector(int i) { return lane() + i * kLanes; }

  // Zeros past the row's end.
  JD_DEVICE JD_INLINE static void read(const float *row, int vectors, Float4 (&x)[kVectors]) {
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      x[i] = vector(i) < vectors ? load(row + 4 * vector(i)) : Float4{0.0f, 0.0f, 0.0f, 0.0f};
    }
  }

  // Sum over the threads of a row; every thread gets it. `which` numbers the sums of a kernel, 0 and 1.
  JD_DEVICE JD_INLINE static float sum(float value, int which, char *shared) {
#pragma unroll
    for (int step = 16; step > 0; step /= 2) value += prim::shfl_xor(value, step);
    if constexpr (kWarps > 1) {
      Arena &arena = *reinterpret_cast<Arena *>(shared);
      if (prim::lane_id() == 0) arena.partial[which][prim::warp_id()] = value;
      prim::sync_threads();
      value = 0.0f;
#pragma unroll
      for (int w = 0; w < kWarps; ++w) value += arena.partial[which][w];
    }
    return value;
  }
};

}  // namespace jindou::blocks

#endif
