// How a grid of one block a multiprocessor shares a jagged batch whose offsets only the device knows, without atomics: every item has a
// cost, costs are laid end to end, and block k takes the items whose middles lie in the k-th of grid equal parts. What a block does
// differs from the mean by less than its dearest item. Which block does an item never changes its result.
//
// Items are a sequence's tiles of rows, head by head: a block's consecutive items read the same keys and values. Costs follow a formula,
// so that no block has to look at every tile: tile t costs 1 + min(first + t + 1, most), in tiles of keys.
#ifndef JINDOU_KERNELS_ATTENTION_HOPPER_SCHEDULE_H
#define JINDOU_KERNELS_ATTENTION_HOPPER_SCHEDULE_H

#include "primitives/primitives.h"

namespace jindou::attention {

struct TileCosts {
  int32_t tiles, first, most;

  JD_DEVICE uint32_t of(int32_t t) const { return static_cast<uint32_t>(1 + (first + t + 1 < most ? first + t + 1 : most)); }
  // Of all tiles before t.
  JD_DEVICE uint64_t before(int32_t t) const {
    const int32_t room = most - first;
    const int32_t growing = room < 0 ? 0 : room < t ? room : t;
    const uint64_t m = static_cast<uint64_t>(growing), flat = static_cast<uint64_t>(t - growing);
    return static_cast<uint64_t>(t) + m * static_cast<uint64_t>(first) + m * (m + 1) / 2 + flat * static_cast<uint64_t>(most);
  }
  JD_DEVICE uint64_t total() const { return before(tiles); }
};

struct HopperSchedule {
  static constexpr int kRuns = 128;  // of sequences, as even as can be: one a thread that sums
  uint64_t before[kRuns + 1];        // costs of what lies before each
  uint64_t warp_totals[kRuns / 32];

  // All threads: costs(sequence) of every sequence is called once in the block. Ends with a barrier.
  template <class Costs>
  JD_DEVICE void sum(int64_t batch, int32_t heads, const Costs &costs) {
    const int thread = static_cast<int>(prim::thread_idx().x), lane = thread % 32, warp = thread / 32;
    uint64_t mine = 0, sum = 0;
    if (thread < kRuns) {
      const int64_t run = run_length(batch);
      for (int64_t b = thread * run; b < (thread + 1) * run && b < batch; ++b)
        mine += costs(b).total() * static_cast<uint64_t>(heads);
      sum = mine;
#pragma unroll
      for (int step = 1; step < 32; step *= 2) {
        const uint64_t below = prim::shfl_up(sum, step);
        if (lane >= step) sum += below;
      }
      if (lane == 31) warp_totals[warp] = sum;
    }
    prim::sync_threads();
    if (thread < kRuns) {
      for (int w = 0; w < warp; ++w) sum += warp_totals[w];
      before[thread] = sum - mine;
      if (thread == kRuns - 1) before[kRuns] = sum;
    }
    prim::sync_threads();
  }

  // f(sequence, head, tile) for every item of this block, by whoever calls.
  template <class Costs, class F>
  JD_DEVICE void for_each_item(int64_t batch, int32_t heads, const Costs &costs, const F &f) const {
    const uint64_t twice = before[kRuns] * 2;
    const uint64_t begin = twice * prim::block_idx().x / prim::grid_dim().x;
    const uint64_t end = twice * (prim::block_idx().x + 1) / prim::grid_dim().x;
    int run = 0;  // the last that begins at or before `begin`
#pragma unroll
    for (int half = kRuns / 2; half > 0; half /= 2) run += before[run + half] * 2 <= begin ? half : 0;
    uint64_t at = before[run] * 2;
    for (int64_t b = run * run_length(batch); b < batch && at < end; ++b) {
      const TileCosts c = costs(b);
      const uint64_t a_head = c.total() * 2;
      if (at + a_head * static_cast<uint64_t>(heads) <= begin) {
        at += a_head * static_cast<uint64_t>(heads);
        continue;
      }
      for (int32_t head = 0; head < heads; ++head, at += a_head) {
        if (at + a_head <= begin || at >= end) continue;
        const auto middle = [&](int32_t t) { return at + c.before(t) * 2 + c.of(t); };
        int32_t low = 0, high = c.tiles;  // the first tile whose middle is not before `begin`
        while (low < high) {
          const int32_t t = (low + high) / 2;
          if (middle(t) < begin) {
            low = t + 1;
          } else {
            high = t;
          }
        }
        for (int32_t t = low; t < c.tiles && middle(t) < end; ++t) f(b, head, t);
      }
    }
  }

 private:
  JD_DEVICE static int64_t run_length(int64_t batch) { return (batch + kRuns - 1) / kRuns; }
};

}  // namespace jindou::attention

#endif
