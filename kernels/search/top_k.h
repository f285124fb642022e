// The k best of a stream of scored items for any search: what native/cpu/kernels/top_k.h is on the CPU.
//
// A list has room for top_k_room(k) entries in any memory. Items that score above its threshold are appended by whichever thread
// meets them; before there could be more than room, a warp keeps the k largest, the smallest of which is the new threshold. Entries
// are compared whole and no two are equal, so the order in which threads append does not show in the result. Items whose score equals
// the threshold are left out: right when they come later only if their index is smaller, so streams begin with the largest.
//
// A list begins empty and takes in all that comes until it is first cut. Many lists of one stream therefore hold far more than k
// entries among them, and a launcher lets a short round of the stream come first, whose k-th best is the threshold that the lists
// of the rest begin with (top_k_rounds.h).
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

// Between two cuts a list takes in 128 items at least, whatever comes, and kTopKLeastRoom of them are never cut.
constexpr int32_t kTopKLeastRoom = 256;
JD_HOST_DEVICE inline int32_t top_k_room(int32_t k) { return k < kTopKLeastRoom ? k + kTopKLeastRoom : 2 * k; }

constexpr int kDigits = 256;  // of a histogram: a byte

// Threads that work on one list together.
struct WarpGroup {
  static constexpr int kThreads = 32;
  JD_DEVICE static void sync() { prim::sync_warp(); }
};
template <int kThreads_>
struct BlockGroup {
  static constexpr int kThreads = kThreads_;
  JD_DEVICE static void sync() { prim::sync_threads(); }
};

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

// A search for the k-th largest of different entries, byte by byte from the top.
struct TopKDigits {
  uint64_t prefix;    // bytes known
  int shift;          // of the last of them; 64: none is
  uint32_t wanted;    // of the entries that agree with the prefix so many are among the k largest
  uint32_t agreeing;  // and so many there are

  JD_DEVICE TopKDigits(int32_t k, int32_t count)
      : prefix(0), shift(64), wanted(static_cast<uint32_t>(k)), agreeing(static_cast<uint32_t>(count)) {}

  JD_DEVICE bool agrees(uint64_t entry) const { return shift == 64 || entry >> shift == prefix; }
  JD_DEVICE bool is_known() const { return agreeing <= wanted || shift == 0; }
  // Reached by the k largest once it is known, by all where they are no more; before, by k - wanted + agreeing entries.
  JD_DEVICE uint64_t bound() const { return shift == 64 ? 0 : prefix << shift; }
};

// One byte more: the entries that agree so far are counted by it. `histogram`: kDigits counters in shared memory. All threads of
// the group, to which the entries are visible; each warp finds the same.
template <class Group, class Entries>
JD_DEVICE void find_digit(TopKDigits &digits, const Entries &entries, uint32_t *histogram, int thread) {
  for (int i = thread; i < kDigits; i += Group::kThreads) histogram[i] = 0;
  Group::sync();
  const int shift = digits.shift - 8;
  entries.for_each([&](uint64_t entry, bool present) {
    if (present && digits.agrees(entry)) prim::atomic_add(&histogram[entry >> shift & (kDigits - 1)], 1u);
  });
  Group::sync();
  const int lane = thread & 31;
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
  const int source = prim::ffs(prim::ballot(above < digits.wanted && digits.wanted <= reached)) - 1;
  uint32_t digit = 0, count = 0;
  bool found = false;
#pragma unroll
  for (int i = kDigits / 32 - 1; i >= 0; --i) {
    if (found) continue;
    if (above + mine[i] >= digits.wanted) {
      digit = static_cast<uint32_t>(lane * (kDigits / 32) + i);
      count = mine[i];
      found = true;
    } else {
      above += mine[i];
    }
  }
  digits.prefix = digits.prefix << 8 | prim::shfl(digit, source);
  digits.shift = shift;
  digits.wanted -= prim::shfl(above, source);
  digits.agreeing = prim::shfl(count, source);
  Group::sync();  // before the histogram is cleared
}

// Moves the k largest of `count` > k entries to the front, in no order; gives the smallest of them. All lanes of a warp, whose
// entries are visible to each other (sync_warp); they are so again at the end.
JD_DEVICE inline uint64_t keep_largest(uint64_t *list, int32_t count, int32_t k, uint32_t *histogram, int lane) {
  const TopKEntries entries(list, count, lane);
  TopKDigits digits(k, count);
  while (!digits.is_known()) find_digit<WarpGroup>(digits, entries, histogram, lane);
  const uint64_t bound = digits.bound();
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

// Sorts `count` numbers in shared memory, a power of two, the largest first: a bitonic network. All threads of a group.
template <class Group>
JD_DEVICE void sort_descending(uint64_t *list, int32_t count, int thread) {
  for (int32_t size = 2; size <= count; size *= 2) {
    for (int32_t stride = size / 2; stride > 0; stride /= 2) {
      for (int32_t i = thread; i < count / 2; i += Group::kThreads) {
        const int32_t a = 2 * i - (i & (stride - 1)), b = a + stride;
        const bool descending = (a & size) == 0;
        const uint64_t x = list[a], y = list[b];
        if ((x < y) == descending) {
          list[a] = y;
          list[b] = x;
        }
      }
      Group::sync();
    }
  }
}

}  // namespace jindou::search

#endif
