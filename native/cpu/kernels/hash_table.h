// hash_lookup: keys to rows (jindou/hash_table.h).
//
// Bound by random reads: a bucket (one cache line), now and then the key's other bucket, the row. Each is known only after the
// one before has arrived, so keys go in groups, a step at a time for the whole group, and every step asks for what the next
// one reads: as many lines are on their way as the machine has room for.
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
  static constexpr int kGroup = 32;
  static constexpr int64_t kMostPrefetched = 1024;  // bytes of a row; the hardware fetches the rest behind them

  const HashLookupTask &t;
  HashFindings &findings;
  const hashing::Geometry geometry;

  HashLookup(const HashLookupTask &task, HashFindings &found) : t(task), findings(found), geometry(task.num_slots) {}

  void run() const {
    Group next, current;
    ask(t.first, next);
    for (int64_t first = t.first; first < t.last; first += kGroup) {
      current = next;
      ask(first + kGroup, next);  // the buckets of the group after this one
      find(current);
      copy(first, current);
    }
  }

 private:
  struct Group {
    int count;
    hashing::Places places[kGroup];
    int64_t keys[kGroup], slots[kGroup];
  };

  void ask(int64_t first, Group &g) const {
    const int64_t left = t.last - first;
    g.count = left < kGroup ? static_cast<int>(left > 0 ? left : 0) : kGroup;
    for (int i = 0; i < g.count; ++i) {
      g.keys[i] = t.keys[first + i];
      g.places[i] = geometry.places(g.keys[i]);
      __builtin_prefetch(t.table_keys + g.places[i].bucket[0] * hashing::kBucketSlots);
    }
  }

  void find(Group &g) const {
    int left[kGroup], waiting = 0;
    for (int i = 0; i < g.count; ++i) {
      g.slots[i] = in_bucket(g.places[i].bucket[0], g.keys[i]);
      if (g.slots[i] >= 0) {
        prefetch_row(g.slots[i]);
      } else {
        __builtin_prefetch(t.table_keys + g.places[i].bucket[1] * hashing::kBucketSlots);
        left[waiting++] = i;
      }
    }
    for (int w = 0; w < waiting; ++w) {
      const int i = left[w];
      g.slots[i] = in_bucket(g.places[i].bucket[1], g.keys[i]);
      if (g.slots[i] >= 0) prefetch_row(g.slots[i]);
    }
  }

  int64_t in_bucket(int64_t bucket, int64_t key) const {
    const uint32_t equal = Isa::equal8(t.table_keys + bucket * hashing::kBucketSlots, key);
    return equal && key != hashing::kEmptyKey ? bucket * hashing::kBucketSlots + __builtin_ctz(equal) : -1;
  }

  void prefetch_row(int64_t slot) const {
    if (!t.rows) return;
    const char *row = t.table_rows + slot * t.table_row_bytes;
    const int64_t bytes = t.row_bytes < kMostPrefetched ? t.row_bytes : kMostPrefetched;
    for (int64_t at = 0; at < bytes; at += 64) __builtin_prefetch(row + at);
    __builtin_prefetch(row + bytes - 1);
  }

  void copy(int64_t first, const Group &g) const {
    for (int i = 0; i < g.count; ++i) {
      const int64_t slot = g.slots[i], at = first + i;
      if (slot < 0 && g.keys[i] != hashing::kEmptyKey && findings.missing++ == 0) findings.position = at;
      if (slot >= 0 && t.table_scores) touch(slot);
      if (t.slots) t.slots[at] = slot;
      if (t.outcomes) t.outcomes[at] = slot >= 0 ? JD_HASH_ASSIGNED : JD_HASH_MISSING;
      if (!t.rows || (slot < 0 && t.keeps_missing)) continue;
      char *to = t.rows + at * t.rows_stride;
      const char *from = slot >= 0 ? t.table_rows + slot * t.table_row_bytes : t.default_row;
      if (from) {
        memcpy(to, from, static_cast<size_t>(t.row_bytes));
      } else {
        memset(to, 0, static_cast<size_t>(t.row_bytes));
      }
    }
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
