// The k best of a stream of scored items, for any search: each list is a buffer with room for k entries and as many again. Items
// better than the list's threshold are appended, whatever their order; when the buffer is full its k largest entries stay, and the
// smallest of them becomes the threshold. So of n items in random order about k * log2(n / k) are ever appended, and one in
// k of these makes the list do work in proportion to its length.
//
// What is left in the end is exact: entries are compared whole, and no two are equal. So neither the order of the stream nor how
// it was cut among threads shows in the result. Against a threshold an item is compared by its score alone, with <: right when the
// items that come later lose ties, so a stream that begins with the largest index.
#ifndef JINDOU_CPU_KERNELS_TOP_K_H
#define JINDOU_CPU_KERNELS_TOP_K_H

#include <stdint.h>
#include <string.h>

#include <algorithm>
#include <functional>

namespace jindou::cpu {
namespace {

// Score and index in one number: the larger is the better, of equal scores that with the larger index. -0 is +0; the score is no NaN.
inline uint64_t top_k_entry(float score, int32_t index) {
  const float canonical = score + 0.0f;
  uint32_t bits;
  memcpy(&bits, &canonical, sizeof bits);
  bits ^= bits >> 31 ? 0xffffffffu : 0x80000000u;  // in the order of floats
  return static_cast<uint64_t>(bits) << 32 | static_cast<uint32_t>(index);
}
inline float top_k_score(uint64_t entry) {
  uint32_t bits = static_cast<uint32_t>(entry >> 32);
  bits ^= bits >> 31 ? 0x80000000u : 0xffffffffu;
  float score;
  memcpy(&score, &bits, sizeof score);
  return score;
}
inline int32_t top_k_index(uint64_t entry) { return static_cast<int32_t>(static_cast<uint32_t>(entry)); }

// The same where of equal scores the lower index is the better; index >= 0.
inline uint64_t item_entry(float score, int64_t item) { return top_k_entry(score, static_cast<int32_t>(~item)); }
inline int64_t entry_item(uint64_t entry) { return ~top_k_index(entry); }

// Entries of a buffer. At least 64 more than k: short lists would be full again at once.
inline int top_k_room(int k) { return k < 64 ? k + 64 : 2 * k; }

// Moves the k largest of `count` > k entries to the front, in no order; gives the smallest of them. Quickselect, its partition
// without branches; pivots are medians of three places drawn by a generator, so that no order of entries is slow.
inline __attribute__((noinline)) uint64_t keep_largest(uint64_t *entries, int count, int k) {
  uint32_t state = 1;
  int low = 0, high = count;  // the front of the list ends in here
  while (high - low > 1) {
    const uint32_t width = static_cast<uint32_t>(high - low);
    uint64_t three[3];
    for (uint64_t &x : three) {
      state = state * 1664525u + 1013904223u;
      x = entries[low + static_cast<int>(static_cast<uint64_t>(state) * width >> 32)];
    }
    const uint64_t less = three[0] < three[1] ? three[0] : three[1], more = three[0] < three[1] ? three[1] : three[0];
    const uint64_t pivot = three[2] < less ? less : three[2] > more ? more : three[2];
    int at = low;
    for (int i = low; i < high; ++i) {
      const uint64_t x = entries[i];
      entries[i] = entries[at];
      entries[at] = x;
      at += x >= pivot;
    }
    if (at == k) break;
    if (at < k) {
      low = at;
      continue;
    }
    if (at < high) {
      high = at;
      continue;
    }
    // The pivot was the smallest: it alone goes to the end.
    int place = low;
    while (entries[place] != pivot) ++place;
    entries[place] = entries[high - 1];
    entries[high - 1] = pivot;
    if (--high == k) break;
  }
  uint64_t smallest = entries[0];
  for (int i = 1; i < k; ++i) smallest = entries[i] < smallest ? entries[i] : smallest;
  return smallest;
}

// Sorts the k best of `count` entries to the front, best first; gives how many there are.
inline int64_t best_first(uint64_t *entries, int64_t count, int64_t k) {
  if (count > k) {
    std::nth_element(entries, entries + k - 1, entries + count, std::greater<uint64_t>());
    count = k;
  }
  std::sort(entries, entries + count, std::greater<uint64_t>());
  return count;
}

}  // namespace
}  // namespace jindou::cpu

#endif
