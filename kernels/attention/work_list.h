// How a grid shares the work of a jagged batch, without a host-side schedule (offsets live on the device) and without a
// scheduling kernel of its own.
//
// Every sequence has a number of equal-shaped work items (tiles x heads x ...), 0 for an empty or refused one. The
// items of the whole batch form one list; block i takes items i, i + gridDim, ... Each block finds them by itself: it
// reads the offsets of kThreads sequences at a time and sums their item counts. Which block does an item never changes
// its result, so the grid may have any size: the launcher gives it an upper bound of the number of items, and the
// hardware's own block scheduling balances them.
#ifndef JINDOU_KERNELS_ATTENTION_WORK_LIST_H
#define JINDOU_KERNELS_ATTENTION_WORK_LIST_H

#include "primitives/primitives.h"

namespace jindou::attention {

// In shared memory, the list's own position too: `run` needs the registers.
template <int kThreads>
struct WorkListShared {
  int64_t chunk;                      // the sequences at hand: [chunk, chunk + kThreads)
  uint32_t next;                      // this block's next item, counted from the first item of the chunk
  uint32_t first_item[kThreads + 1];  // of each sequence of the chunk; the last is the chunk's total
  uint32_t warp_total[kThreads / 32];

  JD_DEVICE uint32_t total() const { return first_item[kThreads]; }

  // The last sequence of the chunk that begins at or before `next`.
  JD_DEVICE int sequence() const {
    int s = 0;
#pragma unroll
    for (int half = kThreads / 2; half > 0; half /= 2) s += first_item[s + half] <= next ? half : 0;
    return s;
  }

  // first_item := exclusive prefix sum of each thread's `items`. Begins and ends with shared memory free to use.
  JD_DEVICE void sum(uint32_t items) {
    const int thread = static_cast<int>(prim::thread_idx().x);
    const int lane = thread % 32, warp = thread / 32;
    uint32_t sum = items;
#pragma unroll
    for (int step = 1; step < 32; step *= 2) {
      const uint32_t below = prim::shfl_up(sum, step);
      if (lane >= step) sum += below;
    }
    if (lane == 31) warp_total[warp] = sum;
    prim::sync_threads();
#pragma unroll
    for (int w = 0; w < kThreads / 32; ++w) sum += w < warp ? warp_total[w] : 0;
    first_item[thread] = sum - items;
    if (thread == kThreads - 1) first_item[kThreads] = sum;
    prim::sync_threads();
  }
};

// Calls run(sequence, item of that sequence) for this block's items, with all threads. `count(sequence)` is called by
// one thread a sequence; the counts of kThreads sequences and the size of the grid add up to less than 2^32.
template <int kThreads, class Count, class Run>
JD_DEVICE void for_each_item(int64_t batch, WorkListShared<kThreads> &list, const Count &count, const Run &run) {
  static_assert(kThreads % 32 == 0 && (kThreads & (kThreads - 1)) == 0, "the binary search halves it");
  const int thread = static_cast<int>(prim::thread_idx().x);
  if (thread == 0) {
    list.chunk = 0;
    list.next = prim::block_idx().x;
  }
  prim::sync_threads();
  while (list.chunk < batch) {
    list.sum(list.chunk + thread < batch ? count(list.chunk + thread) : 0);
    while (list.next < list.total()) {
      const int s = list.sequence();
      run(list.chunk + s, list.next - list.first_item[s]);
      prim::sync_threads();
      if (thread == 0) list.next += prim::grid_dim().x;
      prim::sync_threads();
    }
    prim::sync_threads();
    if (thread == 0) {
      list.next -= list.total();
      list.chunk += kThreads;
    }
    prim::sync_threads();
  }
}

}  // namespace jindou::attention

#endif
