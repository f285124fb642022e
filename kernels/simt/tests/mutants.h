// Small kernels, each with bugs to choose from: one dropped, weakened or misplaced line of the kind that real kernels
// suffer from. mutation_test.cpp asserts that the emulator finds every one, under every seed.
#ifndef JINDOU_SIMT_TESTS_MUTANTS_H
#define JINDOU_SIMT_TESTS_MUTANTS_H

#include <stddef.h>
#include <stdint.h>

#include "primitives/primitives.h"

namespace jindou::simt::mutants {

// -- C = A B^T, bf16, a pipeline of cp.async -------------------------------------------------------------------------------
enum class Gemm {
  correct,
  no_barrier,               // nothing between a tile's arrival and its use, nor between its use and the next copy into it
  no_wait,                  // copies are never waited for
  weak_wait,                // one group too many may still be on its way
  wait_after_barrier,       // each thread knows of its own copies only
  copy_before_barrier,      // the next tile is copied over one that slower warps still read
  copy_into_current_stage,  // off by one: over the tile that is about to be read
  no_commit,                // copies that belong to no group
  no_commit_at_the_end,     // the last iterations commit nothing, so the wait counts wrong
  no_predicate,             // past the last column: whatever lies there
  no_zero_fill,             // past the last column: nothing is copied, the old bytes stay
  odd_pitch,                // rows that ldmatrix cannot address
  arena_one_stage_short,    // the last stage lies past the end of shared memory
  diverged_mma,             // some lanes skip an iteration's last product
};

template <Gemm kBug>
struct GemmKernel {
  struct Params {
    const prim::bf16 *a;  // [m, k]
    const prim::bf16 *b;  // [n, k]
    float *c;             // [m, n]
    int m, n, k;          // k a multiple of 8
  };
  static constexpr int kThreads = 128;  // 2 x 2 warps, 16 x 16 of the tile each
  static constexpr int kMinBlocks = 1;
  static constexpr int kTile = 32;
  static constexpr int kStages = 3;
  static constexpr int kPitch = kTile + (kBug == Gemm::odd_pitch ? 4 : 8);
  struct Stage {
    prim::bf16 a[kTile][kPitch];
    prim::bf16 b[kTile][kPitch];
  };
  static constexpr size_t shared_bytes() {
    return sizeof(Stage) * (kBug == Gemm::arena_one_stage_short ? kStages - 1 : kStages);
  }

  static void copy(const Params &p, Stage &stage, int tile) {
    const int row = static_cast<int>(prim::thread_idx().x) / 4;
    const int column = static_cast<int>(prim::thread_idx().x) % 4 * 8;
    const int k = tile * kTile + column;
    const int a_row = static_cast<int>(prim::block_idx().y) * kTile + row;
    const int b_row = static_cast<int>(prim::block_idx().x) * kTile + row;
    const bool inside = k < p.k || kBug == Gemm::no_predicate;
    if (kBug == Gemm::no_zero_fill && !inside) return;
    prim::cp_async_16(&stage.a[row][column], p.a + static_cast<ptrdiff_t>(a_row) * p.k + k, inside && a_row < p.m);
    prim::cp_async_16(&stage.b[row][column], p.b + static_cast<ptrdiff_t>(b_row) * p.k + k, inside && b_row < p.n);
  }

  static void run(const Params &p, char *shared) {
    auto *stages = reinterpret_cast<Stage *>(shared);
    const int lane = prim::lane_id();
    const int row0 = prim::warp_id() / 2 * 16, column0 = prim::warp_id() % 2 * 16;
    const int tiles = (p.k + kTile - 1) / kTile;
    float d[2][4] = {};

    for (int t = 0; t < kStages - 1; ++t) {
      if (t < tiles) copy(p, stages[t], t);
      if (kBug != Gemm::no_commit) prim::cp_async_commit();
    }
    for (int t = 0; t < tiles; ++t) {
      const int next = t + kStages - 1;
      const int target = (kBug == Gemm::copy_into_current_stage ? t : next) % kStages;
      if (kBug == Gemm::wait_after_barrier) prim::sync_threads();
      if (kBug == Gemm::weak_wait) {
        prim::cp_async_wait<kStages - 1>();
      } else if (kBug != Gemm::no_wait) {
        prim::cp_async_wait<kStages - 2>();
      }
      if (kBug == Gemm::copy_before_barrier && next < tiles) copy(p, stages[target], next);
      if (kBug != Gemm::no_barrier && kBug != Gemm::wait_after_barrier) prim::sync_threads();
      if (kBug != Gemm::copy_before_barrier && next < tiles) copy(p, stages[target], next);
      if (kBug != Gemm::no_commit && (next < tiles || kBug != Gemm::no_commit_at_the_end)) prim::cp_async_commit();

      const Stage &stage = stages[t % kStages];
      for (int k = 0; k < kTile; k += 16) {
        uint32_t a[4], b[4];
        prim::ldmatrix_x4(a, &stage.a[row0 + lane % 16][k + lane / 16 * 8]);
        prim::ldmatrix_x4(b, &stage.b[column0 + lane % 8 + lane / 16 * 8][k + lane / 8 % 2 * 8]);
        prim::mma_m16n8k16_bf16(d[0], a, b);
        if (kBug == Gemm::diverged_mma && t == 1 && lane % 4 == 3) continue;
        prim::mma_m16n8k16_bf16(d[1], a, b + 2);
      }
    }
    if (kBug != Gemm::no_wait) prim::cp_async_wait<0>();

    for (int half = 0; half < 2; ++half) {
      for (int i = 0; i < 4; ++i) {
        const int row = static_cast<int>(prim::block_idx().y) * kTile + row0 + lane / 4 + i / 2 * 8;
        const int column = static_cast<int>(prim::block_idx().x) * kTile + column0 + half * 8 + lane % 4 * 2 + i % 2;
        if (row < p.m && column < p.n) p.c[static_cast<ptrdiff_t>(row) * p.n + column] = d[half][i];
      }
    }
  }
};

// -- sums over a block, one a round: shuffles, then one partial sum a warp in shared memory --------------------------------
enum class Sum {
  correct,
  no_barrier_before_read,
  no_barrier_after_read,  // the next round overwrites what slow threads still read
  short_shuffle,          // 16 of the lanes
  early_return,           // threads without data go home before the barrier
  one_barrier_skipped,    // the first warp trusts that it comes last
};

template <Sum kBug>
struct SumKernel {
  struct Params {
    const int32_t *in;  // [rounds, n]
    int32_t *out;       // [rounds, kThreads]: every thread writes the sum of the round
    int rounds, n;      // n < kThreads
  };
  static constexpr int kThreads = 256;
  static constexpr int kMinBlocks = 1;
  static constexpr size_t shared_bytes() { return kThreads / 32 * sizeof(int32_t); }

  static void run(const Params &p, char *shared) {
    auto *partial = reinterpret_cast<int32_t *>(shared);
    const int t = static_cast<int>(prim::thread_idx().x);
    if (kBug == Sum::early_return && t >= (p.n + 31) / 32 * 32) return;
    for (int round = 0; round < p.rounds; ++round) {
      int32_t sum = t < p.n ? p.in[round * p.n + t] : 0;
      for (int d = kBug == Sum::short_shuffle ? 8 : 16; d > 0; d /= 2) sum += prim::shfl_xor(sum, d);
      if (prim::lane_id() == 0) partial[prim::warp_id()] = sum;
      const bool skip = kBug == Sum::one_barrier_skipped && prim::warp_id() == 0 && round == 2;
      if (kBug != Sum::no_barrier_before_read && !skip) prim::sync_threads();
      int32_t total = 0;
      for (int w = 0; w < kThreads / 32; ++w) total += partial[w];
      p.out[round * kThreads + t] = total;
      if (kBug != Sum::no_barrier_after_read) prim::sync_threads();
    }
  }
};

// -- a warp transposes 32 x 32 tiles through shared memory -----------------------------------------------------------------
enum class Transpose {
  correct,
  no_sync_before_read,
  no_sync_after_read,  // the next tile overwrites what slow lanes still read
  sync_of_half_the_lanes,
};

template <Transpose kBug>
struct TransposeKernel {
  struct Params {
    const int32_t *in;  // [tiles, 32, 32]
    int32_t *out;       // the same, each tile transposed
    int tiles;
  };
  static constexpr int kThreads = 32;
  static constexpr int kMinBlocks = 1;
  static constexpr size_t shared_bytes() { return 32 * 33 * sizeof(int32_t); }

  static void run(const Params &p, char *shared) {
    auto *tile = reinterpret_cast<int32_t (*)[33]>(shared);
    const int lane = prim::lane_id();
    const uint32_t mask = kBug == Transpose::sync_of_half_the_lanes ? (lane < 16 ? 0xffffu : 0xffff0000u) : prim::kFullMask;
    for (int t = 0; t < p.tiles; ++t) {
      for (int i = 0; i < 32; ++i) tile[lane][i] = p.in[(t * 32 + lane) * 32 + i];
      if (kBug != Transpose::no_sync_before_read) prim::sync_warp(mask);
      for (int i = 0; i < 32; ++i) p.out[(t * 32 + lane) * 32 + i] = tile[i][lane];
      if (kBug != Transpose::no_sync_after_read) prim::sync_warp(mask);
    }
  }
};

// -- two warps produce, two consume, named barriers between ----------------------------------------------------------------
enum class Relay {
  correct,
  wrong_count,         // the consumers' barrier waits for the consumers alone
  no_arrive,           // the producers never say that the buffer is full
  no_full_wait,        // the consumers do not wait for it
  no_empty_wait,       // the producers do not wait for the buffer to be free
  empty_is_full,       // one barrier for both messages
  producer_warp_lost,  // one of the producers' warps goes home early
};

template <Relay kBug>
struct RelayKernel {
  struct Params {
    const int32_t *in;  // [steps, 64]
    int32_t *out;       // [steps, 64]: each step reversed
    int steps;
  };
  static constexpr int kThreads = 128;
  static constexpr int kMinBlocks = 1;
  static constexpr int kFull = 1;
  static constexpr int kEmpty = kBug == Relay::empty_is_full ? 1 : 2;
  static constexpr size_t shared_bytes() { return 64 * sizeof(int32_t); }

  static void run(const Params &p, char *shared) {
    auto *buffer = reinterpret_cast<int32_t *>(shared);
    const int t = static_cast<int>(prim::thread_idx().x);
    if (t < 64) {
      for (int step = 0; step < p.steps; ++step) {
        if (kBug == Relay::producer_warp_lost && t >= 32 && step == p.steps - 1) return;
        if (kBug != Relay::no_empty_wait && step > 0) prim::named_barrier_sync(kEmpty, 128);
        buffer[t] = p.in[step * 64 + t];
        if (kBug != Relay::no_arrive) prim::named_barrier_arrive(kFull, 128);
      }
    } else {
      for (int step = 0; step < p.steps; ++step) {
        if (kBug != Relay::no_full_wait) prim::named_barrier_sync(kFull, kBug == Relay::wrong_count ? 64 : 128);
        p.out[step * 64 + t - 64] = buffer[127 - t];
        if (step + 1 < p.steps) prim::named_barrier_arrive(kEmpty, 128);
      }
    }
  }
};

// -- a histogram in shared memory, added to one in global memory under a lock ----------------------------------------------
enum class Histogram {
  correct,
  not_zeroed,
  no_barrier_after_zeroing,
  no_barrier_before_adding,
  lock_not_released,
  vector_misaligned,  // reads its ids 4 at a time, from an address that allows 2
};

template <Histogram kBug>
struct HistogramKernel {
  struct Params {
    const int32_t *ids;  // [blocks * kThreads * 4], 16-byte aligned
    int32_t *counts;     // [kBins], zero at the start
    uint32_t *lock;      // zero at the start
  };
  static constexpr int kThreads = 96;
  static constexpr int kMinBlocks = 1;
  static constexpr int kBins = 64;
  static constexpr size_t shared_bytes() { return kBins * sizeof(int32_t); }

  static void run(const Params &p, char *shared) {
    auto *bins = reinterpret_cast<int32_t *>(shared);
    const int t = static_cast<int>(prim::thread_idx().x);
    const int bin = kBins - 1 - t;  // not by the thread that adds it up
    if (kBug != Histogram::not_zeroed && bin >= 0) bins[bin] = 0;
    if (kBug != Histogram::no_barrier_after_zeroing) prim::sync_threads();
    const int32_t *ids = p.ids + (static_cast<int>(prim::block_idx().x) * kThreads + t) * 4;
    const prim::Vec4u four = prim::load16(ids + (kBug == Histogram::vector_misaligned ? 2 : 0));
    for (const uint32_t id : {four.x, four.y, four.z, four.w}) prim::atomic_add(&bins[id % kBins], 1);
    if (kBug != Histogram::no_barrier_before_adding) prim::sync_threads();
    if (t != 0) return;
    while (prim::atomic_cas(p.lock, 0u, 1u) != 0u) {
    }
    prim::threadfence();
    for (int i = 0; i < kBins; ++i) p.counts[i] += bins[i];
    prim::threadfence();
    if (kBug != Histogram::lock_not_released) prim::atomic_exch(p.lock, 0u);
  }
};

}  // namespace jindou::simt::mutants

#endif
