// The k best of a stream of scored items, a warp at a time, for any search: what native/cpu/kernels/top_k.h is on the CPU.
//
// A list has room for top_k_room(k) entries in any memory. Items that score above its threshold are appended by whichever thread
// meets them; before there could be more than room, the warp keeps the k largest, the smallest of which is the new threshold. Entries
// are compared whole and no two are equal, so the order in which threads append does not show in the result. Items whose score equals
// the threshold are left out: right when they come later only if their index is smaller, so streams begin with the largest.
#ifndef JINDOU_KERNELS_SEARCH_TOP_K_H
#define JINDOU_KERNELS_SEARCH_TOP_K_H

#include "primitives/primitives.h"

namespace jindou::search {

// Score and index in one number: the larger is the better, of equal scores that with the larger index. -0 is +0; the score is no NaN.
// 0 is no entry.
JD_HOST_DEVICE inline uint64_t top_k_entry(float score, int32_t index) {
  uint32_t bits = prim::as_uint(score + 0.0f);
  bits ^= bits >> 31 ? 0xffffffffu : 0x80000000u;  // in the order of floats
  return static_cast<uint64_t>(bits) << 32 | static_cast<uint32_t>(index);
}
JD_HOST_DEVICE inline float top_k_score(uint64_t entry) {
  uint32_t bits = static_cast<uint32_t>(entry >> 32);
  bits ^= bits >> 31 ? 0x80000000u : 0xffffffffu;
  return prim::as_float(bits);
}
JD_HOST_DEVICE inline int32_t top_k_index(uint64_t entry) { return static_cast<int32_t>(static_cast<uint32_t>(entry)); }

// The same where of equal scores the lower index is the better; index >= 0.
JD_HOST_DEVICE inline uint64_t item_entry(float score, int32_t item) { return top_k_entry(score, ~item); }
JD_HOST_DEVICE inline int32_t entry_item(uint64_t entry) { return ~top_k_index(entry); }

// At least 64 more than k: as many items may be appended between two looks at a list.
JD_HOST_DEVICE inline int32_t top_k_room(int32_t k) { return k < 64 ? k + 64 : 2 * k; }

constexpr int kDigits = 256;  // of a histogram: a byte

// The entries of a list, spread over the lanes of a warp; the first kCached of each lane are kept in registers.
class TopKEntries {
 public:
  static constexpr int kCached = 4;

  JD_DEVICE TopKEntries(const uint64_t *entries, int32_t count, int lane) : entries_(entries), count_(count), lane_(lane) {
#pragma unroll
    for (int i = 0; i < kCached; ++i) cached_[i] = i * 32 + lane < count ? entries[i * 32 + lane] : 0;
  }

  // f(entry, whether there is one), with all lanes, a round of 32 neighbours at a time.
  template <class F>
  JD_DEVICE void for_each(const F &f) const {
#pragma unroll
    for (int i = 0; i < kCached; ++i) {
      if (i * 32 < count_) f(cached_[i], i * 32 + lane_ < count_);
    }
    for (int32_t base = kCached * 32; base < count_; base += 32) {
      const bool present = base + lane_ < count_;
      f(present ? entries_[base + lane_] : 0, present);
    }
  }

 private:
  const uint64_t *entries_;
  const int32_t count_;
  const int lane_;
  uint64_t cached_[kCached];
};

// The smallest number that exactly k of `count` > k different entries reach, found byte by byte from the top: for each the
// entries that agree so far are counted by the next byte. `histogram`: kDigits counters of the warp in shared memory.
JD_DEVICE inline uint64_t top_k_bound(const TopKEntries &entries, int32_t k, uint32_t *histogram, int lane) {
  uint64_t prefix = 0;
  uint32_t wanted = static_cast<uint32_t>(k);  // of those that agree with the prefix
  for (int shift = 56;; shift -= 8) {
#pragma unroll
    for (int i = 0; i < kDigits / 32; ++i) histogram[i * 32 + lane] = 0;
    prim::sync_warp();
    entries.for_each([&](uint64_t entry, bool present) {
      const bool agrees = shift == 56 || entry >> shift >> 8 == prefix;
      if (present && agrees) prim::atomic_add(&histogram[entry >> shift & (kDigits - 1)], 1u);
    });
    prim::sync_warp();
    uint32_t mine[kDigits / 32], sum = 0;  // of digits lane * 8, ...
#pragma unroll
    for (int i = 0; i < kDigits / 32; ++i) {
      mine[i] = histogram[lane * (kDigits / 32) + i];
      sum += mine[i];
    }
    uint32_t reached = sum;  // entries of these digits and all above
#pragma unroll
    for (int step = 1; step < 32; step *= 2) {
      const uint32_t above = prim::shfl_down(reached, step);
      if (lane + step < 32) reached += above;
    }
    uint32_t above = reached - sum;
    const int source = prim::ffs(prim::ballot(above < wanted && wanted <= reached)) - 1;
    uint32_t digit = 0, count = 0;
    bool found = false;
#pragma unroll
    for (int i = kDigits / 32 - 1; i >= 0; --i) {
      if (found) continue;
      if (above + mine[i] >= wanted) {
        digit = static_cast<uint32_t>(lane * (kDigits / 32) + i);
        count = mine[i];
        found = true;
      } else {
        above += mine[i];
      }
    }
    prefix = prefix << 8 | prim::shfl(digit, source);
    wanted -= prim::shfl(above, source);
    count = prim::shfl(count, source);
    prim::sync_warp();  // before the histogram is cleared
    if (count == wanted || shift == 0) return prefix << shift;
  }
}

// Moves the k largest of `count` > k entries to the front, in no order; gives the smallest of them. All lanes of a warp, whose
// entries are visible to each other (sync_warp); they are so again at the end.
JD_DEVICE inline uint64_t keep_largest(uint64_t *list, int32_t count, int32_t k, uint32_t *histogram, int lane) {
  const TopKEntries entries(list, count, lane);
  const uint64_t bound = top_k_bound(entries, k, histogram, lane);
  uint64_t least = ~uint64_t{0};
  int32_t kept = 0;
  entries.for_each([&](uint64_t entry, bool present) {
    const bool keep = present && entry >= bound;
    const uint32_t keeping = prim::ballot(keep);  // all have read theirs: what is written lies before what is read next
    if (keep) {
      list[kept + prim::popc(keeping & ((1u << lane) - 1))] = entry;
      least = entry < least ? entry : least;
    }
    kept += prim::popc(keeping);
  });
#pragma unroll
  for (int step = 16; step > 0; step /= 2) {
    const uint64_t other = prim::shfl_xor(least, step);
    least = other < least ? other : least;
  }
  prim::sync_warp();
  return least;
}

// Sorts `count` numbers, a power of two, the largest first: a bitonic network. All lanes of a warp; list in shared memory.
JD_DEVICE inline void sort_descending(uint64_t *list, int32_t count, int lane) {
  for (int32_t size = 2; size <= count; size *= 2) {
    for (int32_t stride = size / 2; stride > 0; stride /= 2) {
      for (int32_t i = lane; i < count / 2; i += 32) {
        const int32_t a = 2 * i - (i & (stride - 1)), b = a + stride;
        const bool descending = (a & size) == 0;
        const uint64_t x = list[a], y = list[b];
        if ((x < y) == descending) {
          list[a] = y;
          list[b] = x;
        }
      }
      prim::sync_warp();
    }
  }
}

}  // namespace jindou::search

#endif
