// hash_lookup: keys to rows (jindou/hash_table.h).
//
// Bound by random reads: a bucket (one cache line), now and then the key's other bucket, the row. Each is known only after the
// one before has arrived. So keys go down a line of stages, a block of keys at a time, and every stage asks for what the next one reads:
// at any moment as many lines are on their way as the machine has room for, which is L2's room (kernels/embedding_bag.h says why).
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
  static constexpr int64_t kBlock = 64;
  static constexpr int64_t kStages = 4;
  static constexpr int64_t kLine = 64;
  static constexpr int64_t kMostPrefetched = 1024;  // bytes of a row; the hardware fetches the rest behind them

  const HashLookupTask &t;
  HashFindings &findings;
  const hashing::Geometry geometry;

  HashLookup(const HashLookupTask &task, HashFindings &found) : t(task), findings(found), geometry(task.num_slots) {}

  void run() const {
    Block ring[kStages];
    const int64_t keys = t.last - t.first, blocks = (keys + kBlock - 1) / kBlock;
    for (int64_t next = 0; next < blocks + kStages - 1; ++next) {
      if (next < blocks) {
        const int64_t first = next * kBlock, left = keys - first;
        ask(ring[next % kStages], t.first + first, static_cast<int>(left < kBlock ? left : kBlock));
      }
      const auto stage = [&](int64_t behind) -> Block * {
        const int64_t block = next - behind;
        return block < 0 || block >= blocks ? nullptr : ring + block % kStages;
      };
      if (Block *const block = stage(1)) find(*block);
      if (Block *const block = stage(2)) find_second(*block);
      if (Block *const block = stage(3)) copy(*block);
    }
  }

 private:
  static constexpr int64_t kNowhere = -1;

  struct Block {
    int64_t first;  // position of its first key
    int count, num_elsewhere;
    hashing::Geometry::First place[kBlock];
    int64_t slot[kBlock];
    int elsewhere[kBlock];  // keys that their first bucket does not have
    int64_t second[kBlock];  // buckets of those
  };

  void ask(Block &b, int64_t first, int count) const {
    b.first = first;
    b.count = count;
    for (int i = 0; i < count; ++i) {
      b.place[i] = geometry.first(t.keys[first + i]);
      prefetch_bucket(b.place[i].bucket);
    }
  }

  // About a quarter of the keys of a full table are in their second bucket, and nothing foretells which: so nothing branches on it.
  void find(Block &b) const {
    b.num_elsewhere = 0;
    for (int i = 0; i < b.count; ++i) {
      b.slot[i] = in_bucket(b.place[i].bucket, t.keys[b.first + i]);
      b.elsewhere[b.num_elsewhere] = i;
      b.num_elsewhere += b.slot[i] < 0;
    }
    for (int i = 0; i < b.count; ++i) prefetch_row(b.slot[i] < 0 ? 0 : b.slot[i]);
    for (int n = 0; n < b.num_elsewhere; ++n) {
      b.second[n] = geometry.second(b.place[b.elsewhere[n]]);
      prefetch_bucket(b.second[n]);
    }
  }

  void find_second(Block &b) const {
    for (int n = 0; n < b.num_elsewhere; ++n) {
      const int i = b.elsewhere[n];
      b.slot[i] = in_bucket(b.second[n], t.keys[b.first + i]);
      prefetch_row(b.slot[i] < 0 ? 0 : b.slot[i]);
    }
  }

  void copy(const Block &b) const {
    for (int i = 0; i < b.count; ++i) copy(b.first + i, b.slot[i]);
  }

  int64_t in_bucket(int64_t bucket, int64_t key) const {
    uint32_t equal = Isa::equal8(t.table_keys + bucket * hashing::kBucketSlots, key);
    equal &= key == hashing::kEmptyKey ? 0u : ~0u;
    const int64_t slot = bucket * hashing::kBucketSlots + __builtin_ctz(equal | (1u << hashing::kBucketSlots));
    return slot | -static_cast<int64_t>(equal == 0);  // kNowhere has all bits
  }

  void prefetch_bucket(int64_t bucket) const {
    prefetch(t.table_keys + bucket * hashing::kBucketSlots);
  }

  void prefetch_row(int64_t slot) const {
    if (t.table_scores) prefetch(t.table_scores + slot);
    if (!t.rows) return;
    const char *row = t.table_rows + slot * t.table_row_bytes;
    const char *end = row + (t.row_bytes < kMostPrefetched ? t.row_bytes : kMostPrefetched);
    for (const char *line = row - reinterpret_cast<uintptr_t>(row) % kLine; line < end; line += kLine) prefetch(line);
  }

  void copy(int64_t at, int64_t slot) const {
    if (slot < 0 && t.keys[at] != hashing::kEmptyKey && findings.missing++ == 0) findings.position = at;
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

  // Other lookups may touch the same score. A tick is written, not exchanged for a smaller one: that would cost as much as the rest of
  // the lookup of a cached row, and only lookups beside each other could tell, whose ticks are in no order anyway.
  void touch(int64_t slot) const {
    int64_t *score = t.table_scores + slot;
    if (t.eviction == JD_EVICT_LFU) {
      __atomic_fetch_add(score, 1, __ATOMIC_RELAXED);
    } else if (t.eviction == JD_EVICT_LRU && __atomic_load_n(score, __ATOMIC_RELAXED) < t.tick) {
      __atomic_store_n(score, t.tick, __ATOMIC_RELAXED);
    }
  }
};

}  // namespace
}  // namespace jindou::cpu

#endif
