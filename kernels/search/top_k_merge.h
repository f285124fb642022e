// Many lists of one search become its k best (top_k.h), a block a search.
//
// Lists lie at equal distances in memory (L2), each with a count of its own. Their entries are few enough for shared memory, kBuffer,
// or bytes from the top are found by passing over the lists until those are that could still be among the k best. There the
// search goes on. A pass reads four lists a warp at a time: a load takes half a microsecond, whatever it brings.
#ifndef JINDOU_KERNELS_SEARCH_TOP_K_MERGE_H
#define JINDOU_KERNELS_SEARCH_TOP_K_MERGE_H

#include "search/top_k.h"

namespace jindou::search {

struct TopKLists {
  uint64_t *entries;  // [number][room]
  int32_t *counts;    // [number]
  int32_t number, room;
};

// The entries of all lists, spread over the warps of a block.
template <int kWarps>
struct TopKListEntries {
  static constexpr int kTogether = 4;  // lists
  static_assert(32 % kTogether == 0, "");
  const TopKLists &lists;
  const int warp, lane;

  // f(entry, whether there is one), with all lanes of a warp.
  template <class F>
  JD_DEVICE void for_each(const F &f) const {
    // The warp's lists are kWarps apart; a lane knows the count of one.
    for (int32_t first = warp; first < lists.number; first += kWarps * 32) {
      const int32_t own = first + lane * kWarps;
      const int32_t own_count = own < lists.number ? lists.counts[own] : 0;
      for (int i = 0; i < 32 && first + i * kWarps < lists.number; i += kTogether) {
        int32_t counts[kTogether], most = 0;
#pragma unroll
        for (int t = 0; t < kTogether; ++t) {
          counts[t] = prim::shfl(own_count, i + t);
          most = counts[t] > most ? counts[t] : most;
        }
        for (int32_t base = 0; base < most; base += 32) {
          const int32_t at = base + lane;
          uint64_t entries[kTogether];
#pragma unroll
          for (int t = 0; t < kTogether; ++t) {
            const int64_t list = first + (i + t) * kWarps;
            entries[t] = at < counts[t] ? lists.entries[list * lists.room + at] : 0;
          }
#pragma unroll
          for (int t = 0; t < kTogether; ++t) {
            if (base < counts[t]) f(entries[t], at < counts[t]);
          }
        }
      }
    }
  }
};

template <int kThreads, int kMostK>
struct TopKMerge {
  using Group = BlockGroup<kThreads>;
  static constexpr int kWarps = kThreads / 32;
  static constexpr int kBuffer = 4096;
  static_assert(kMostK <= kBuffer, "the k best fit there");

  struct Shared {
    uint64_t best[kMostK];
    uint64_t buffer[kBuffer];
    uint32_t histogram[kDigits];
    int32_t total, buffered, found;
  };

  // The k best of all entries into shared.best, sorted; how many there are. Begins and ends with shared memory free to use.
  JD_DEVICE static int32_t run(const TopKLists &lists, int32_t k, Shared &shared, int thread) {
    if (thread == 0) shared.total = shared.buffered = shared.found = 0;
    Group::sync();
    int32_t counted = 0;
    for (int32_t i = thread; i < lists.number; i += kThreads) counted += lists.counts[i];
    if (counted > 0) prim::atomic_add(&shared.total, counted);
    Group::sync();

    // Until the buffer holds what reaches the bound.
    TopKDigits digits(k, shared.total);
    const TopKListEntries<kWarps> in_lists{lists, thread >> 5, thread & 31};
    const auto reaching = [&] { return static_cast<uint32_t>(k) - digits.wanted + digits.agreeing; };
    while (reaching() > kBuffer) find_digit<Group>(digits, in_lists, shared.histogram, thread);
    collect(in_lists, digits.bound(), shared.buffer, shared.buffered, thread & 31);
    Group::sync();

    const BufferEntries in_buffer{shared.buffer, shared.buffered, thread};
    while (!digits.is_known()) find_digit<Group>(digits, in_buffer, shared.histogram, thread);
    collect(in_buffer, digits.bound(), shared.best, shared.found, thread & 31);
    Group::sync();

    const int32_t found = shared.found;
    int32_t sorted = 1;
    while (sorted < found) sorted *= 2;
    for (int32_t i = found + thread; i < sorted; i += kThreads) shared.best[i] = 0;
    Group::sync();
    sort_descending<Group>(shared.best, sorted, thread);
    return found;
  }

  // What the next round of a search begins with: these entries as a list. All threads.
  JD_DEVICE static void carry(const Shared &shared, int32_t found, int32_t k, uint64_t *list, int32_t *count, float *threshold,
                              int thread) {
    for (int32_t i = thread; i < found; i += kThreads) list[i] = shared.best[i];
    if (thread == 0) {
      *count = found;
      *threshold = found == k ? top_k_score(shared.best[k - 1]) : -INFINITY;
    }
  }

 private:
  struct BufferEntries {
    const uint64_t *entries;
    const int32_t count;
    const int thread;

    template <class F>
    JD_DEVICE void for_each(const F &f) const {
      for (int32_t base = thread & ~31; base < count; base += kThreads) {
        const int32_t at = base + (thread & 31);
        f(at < count ? entries[at] : 0, at < count);
      }
    }
  };

  // Those that reach the bound, in any order.
  template <class Entries>
  JD_DEVICE static void collect(const Entries &entries, uint64_t bound, uint64_t *to, int32_t &number, int lane) {
    entries.for_each([&](uint64_t entry, bool present) {
      const bool reaches = present && entry >= bound;
      const uint32_t reaching = prim::ballot(reaches);
      if (reaching == 0) return;
      int32_t first = 0;
      if (lane == 0) first = prim::atomic_add(&number, prim::popc(reaching));
      first = prim::shfl(first, 0);
      if (reaches) to[first + prim::popc(reaching & ((1u << lane) - 1))] = entry;
    });
  }
};

}  // namespace jindou::search

#endif
