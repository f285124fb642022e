// hash_lookup: keys to rows (jindou/hash_table.h).
//
// Bound by random reads: a bucket (one cache line), now and then the key's other bucket, the row. Each is known only after the
// one before has arrived. So keys go down a line of stages, kDistance keys from one stage to the next, and every stage asks for what the
// next one reads: at any moment as many lines are on their way as the machine has room for.
#ifndef JINDOU_CPU_KERNELS_HASH_TABLE_H
#define JINDOU_CPU_KERNELS_HASH_TABLE_H

#include <string.h>

#include "core/hash_geometry.h"
#include "cpu/kernels/kernel_table.h"
#include "cpu/simd/simd.h"

namespace jindou::cpu {
namespace {

template <class Isa>
struct HashLookup {
  static constexpr int64_t kDistance = 8;
  static constexpr int64_t kRing = 32;  // keys in the stages: 3 * kDistance + 1, as a power of two
  static constexpr int64_t kLine = 64;
  static constexpr int64_t kMostPrefetched = 1024;  // bytes of a row; the hardware fetches the rest behind them

  const HashLookupTask &t;
  HashFindings &findings;
  const hashing::Geometry geometry;

  HashLookup(const HashLookupTask &task, HashFindings &found) : t(task), findings(found), geometry(task.num_slots) {}

  void run() const {
    Key ring[kRing];
    const int64_t keys = t.last - t.first;
    for (int64_t i = 0; i < keys + 3 * kDistance; ++i) {
      if (i < keys) ask(t.keys[t.first + i], ring[i % kRing]);
      const int64_t a = i - kDistance, b = a - kDistance, c = b - kDistance;
      if (a >= 0 && a < keys) find(ring[a % kRing]);
      if (b >= 0 && b < keys) find_second(ring[b % kRing]);
      if (c >= 0) copy(t.first + c, ring[c % kRing]);
    }
  }

 private:
  static constexpr int64_t kNowhere = -1, kElsewhere = -2;  // not in the first bucket

  struct Key {
    int64_t key, slot;
    hashing::Geometry::First place;
  };

  void ask(int64_t key, Key &k) const {
    k.key = key;
    k.place = geometry.first(key);
    __builtin_prefetch(t.table_keys + k.place.bucket * hashing::kBucketSlots);
  }

  void find(Key &k) const {
    k.slot = in_bucket(k.place.bucket, k.key);
    if (__builtin_expect(k.slot >= 0, 1)) {
      prefetch_row(k.slot);
    } else {
      k.slot = kElsewhere;
      k.place.bucket = geometry.second(k.place);
      __builtin_prefetch(t.table_keys + k.place.bucket * hashing::kBucketSlots);
    }
  }

  void find_second(Key &k) const {
    if (__builtin_expect(k.slot != kElsewhere, 1)) return;
    k.slot = in_bucket(k.place.bucket, k.key);
    if (k.slot >= 0) prefetch_row(k.slot);
  }

  int64_t in_bucket(int64_t bucket, int64_t key) const {
    const uint32_t equal = Isa::equal8(t.table_keys + bucket * hashing::kBucketSlots, key);
    return equal && key != hashing::kEmptyKey ? bucket * hashing::kBucketSlots + __builtin_ctz(equal) : kNowhere;
  }

  void prefetch_row(int64_t slot) const {
    if (!t.rows) return;
    const char *row = t.table_rows + slot * t.table_row_bytes;
    const char *end = row + (t.row_bytes < kMostPrefetched ? t.row_bytes : kMostPrefetched);
    for (const char *line = row - reinterpret_cast<uintptr_t>(row) % kLine; line < end; line += kLine) __builtin_prefetch(line);
  }

  void copy(int64_t at, const Key &k) const {
    const int64_t slot = k.slot;
    if (slot < 0 && k.key != hashing::kEmptyKey && findings.missing++ == 0) findings.position = at;
    if (slot >= 0 && t.table_scores) touch(slot);
    if (t.slots) t.slots[at] = slot;
    if (t.outcomes) t.outcomes[at] = slot >= 0 ? JD_HASH_ASSIGNED : JD_HASH_MISSING;
    if (!t.rows || (slot < 0 && t.keeps_missing)) return;
    char *to = t.rows + at * t.rows_stride;
    const char *from = slot >= 0 ? t.table_rows + slot * t.table_row_bytes : t.default_row;
    if (from) {
      copy_row(to, from);
    } else {
      memset(to, 0, static_cast<size_t>(t.row_bytes));
    }
  }

  // Whole lines without a call.
  void copy_row(char *to, const char *from) const {
    int64_t at = 0;
    for (; at + kLine <= t.row_bytes; at += kLine) memcpy(to + at, from + at, kLine);
    if (at < t.row_bytes) memcpy(to + at, from + at, static_cast<size_t>(t.row_bytes - at));
  }

  // Other lookups may touch the same score: whatever the order, it ends as the largest tick, or the number of lookups.
  void touch(int64_t slot) const {
    int64_t *score = t.table_scores + slot;
    if (t.eviction == JD_EVICT_LFU) {
      __atomic_fetch_add(score, 1, __ATOMIC_RELAXED);
    } else if (t.eviction == JD_EVICT_LRU) {
      int64_t known = __atomic_load_n(score, __ATOMIC_RELAXED);
      while (known < t.tick &&
             !__atomic_compare_exchange_n(score, &known, t.tick, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
      }
    }
  }
};

}  // namespace
}  // namespace jindou::cpu

#endif
