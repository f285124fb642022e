// hash_lookup: keys to rows (jindou/hash_table.h).
//
// Bound by random reads: of a bucket (one cache line), of the row, now and then of the key's other bucket. What a random place costs is less
// its lines than the translation of its address, so a row of two lines costs little more than a bucket, and all must be on their way while
// others are worked on.
//
// A pass over keys is a line of three stages, a block of keys apart, each asking for what the next one reads (into L2,
// kernels/embedding_bag.h says why): hash the keys, ask for their buckets; find them there, ask for their rows; copy the rows.
//
// Which keys of a full table are not in their first bucket (about an eighth), nothing foretells: so nothing branches on it. Such a key's row
// is "copied" from where it should go, the key is put on a list, and the same pass goes over that list with the second buckets. Those left
// then are not in the table.
#ifndef JINDOU_CPU_KERNELS_HASH_TABLE_H
#define JINDOU_CPU_KERNELS_HASH_TABLE_H

#include <string.h>

#include "core/hash_geometry.h"
#include "cpu/kernels/hash_places.h"
#include "cpu/kernels/hash_rows.h"
#include "cpu/kernels/kernel_table.h"
#include "cpu/simd/simd.h"

namespace jindou::cpu {
namespace {

template <class Isa>
struct HashLookup {
  const HashLookupTask t;
  HashFindings &findings;
  const hashing::Geometry geometry;

  HashLookup(const HashLookupTask &task, HashFindings &found) : t(task), findings(found), geometry(task.num_slots) {}

  void run() const {
    if (!t.rows) return run<kNoRows>();
    const bool whole_lines = reinterpret_cast<uintptr_t>(t.table_rows) % kLine == 0 && t.table_row_bytes % kLine == 0;
    switch (whole_lines ? t.row_bytes : 0) {
      case 1 * kLine: return run<1>();
      case 2 * kLine: return run<2>();
      case 3 * kLine: return run<3>();
      case 4 * kLine: return run<4>();
      case 6 * kLine: return run<6>();
      case 8 * kLine: return run<8>();
      default: return run<kAnyBytes>();
    }
  }

 private:
  static constexpr int kBlock = 64;
  static constexpr int kRing = 2 * kBlock;           // keys of which one stage tells the next
  static constexpr int kChunk = 1024;                // keys of a first pass
  static constexpr int kNoRows = -1, kAnyBytes = 0;  // in place of a row's lines

  // Keys of the call from `first` on. After a pass: the slots found so far, -1 for the others, which `rest` lists.
  struct Chunk {
    int64_t first;
    int count, num_rest;
    int64_t slot[kChunk];
    struct {
      int64_t key[kChunk];
      int position[kChunk];  // from `first`
    } rest;
  };

  template <int kLines>
  void run() const {
    Chunk c;
    for (int64_t first = t.first; first < t.last; first += kChunk) {
      c.first = first;
      c.count = static_cast<int>(t.last - first < kChunk ? t.last - first : kChunk);
      c.num_rest = 0;
      pass<0, kLines>(t.keys + first, c.count, c);
      pass<1, kLines>(c.rest.key, c.num_rest, c);
      finish(c);
    }
  }

  // Looks at bucket kSide of each key; the keys and positions of pass 1 are the list that it shortens.
  template <int kSide, int kLines>
  void pass(const int64_t *keys, int count, Chunk &c) const {
    int64_t buckets[kRing];
    struct {
      const char *from;
      char *to;
    } copies[kRing];
    int num_rest = 0;

    const auto ask = [&](int i) __attribute__((always_inline)) {
      if (i % kHashedTogether == 0) {
        int64_t *const next = buckets + i % kRing;
        hash_keys(geometry, keys + i, count - i, nullptr, kSide == 0 ? next : nullptr, kSide == 1 ? next : nullptr);
      }
      prefetch(bucket(buckets[i % kRing]));
    };
    const auto find = [&](int i) __attribute__((always_inline)) {
      const int64_t key = keys[i], at = buckets[i % kRing];
      uint32_t equal = Isa::equal8(bucket(at), key);
      equal &= key == hashing::kEmptyKey ? 0u : ~0u;
      const int64_t nowhere = -static_cast<int64_t>(equal == 0);  // all bits, or none
      const int64_t slot = at * hashing::kBucketSlots + __builtin_ctz(equal | (1u << hashing::kBucketSlots));
      const int position = kSide == 0 ? i : c.rest.position[i];
      c.slot[position] = slot | nowhere;
      c.rest.key[num_rest] = key;
      c.rest.position[num_rest] = position;
      num_rest -= static_cast<int>(nowhere);
      if (t.table_scores) prefetch(t.table_scores + (slot & ~nowhere));
      if (kLines == kNoRows) return;
      char *const to = t.rows + (c.first + position) * t.rows_stride;
      const char *const from = nowhere ? to : t.table_rows + slot * t.table_row_bytes;
      copies[i % kRing] = {from, to};
      prefetch_row<kLines>(from);
    };
    const auto copy = [&](int i) __attribute__((always_inline)) {
      copy_row(copies[i % kRing].to, copies[i % kRing].from, kLines > 0 ? kLines * kLine : t.row_bytes);
    };

    const auto block = [&](int first, const auto &work) __attribute__((always_inline)) {
      const int end = first + kBlock < count ? first + kBlock : count;
      for (int i = first < 0 ? 0 : first; i < end; ++i) work(i);
    };
    for (int first = 0; first < count + 2 * kBlock; first += kBlock) {
      if (kLines != kNoRows) block(first - 2 * kBlock, copy);
      block(first - kBlock, find);
      block(first, ask);
    }
    c.num_rest = num_rest;
  }

  const int64_t *bucket(int64_t at) const { return t.table_keys + at * hashing::kBucketSlots; }

  template <int kLines>
  void prefetch_row(const char *row) const {
    if (kLines > 0) {
#pragma GCC unroll 8
      for (int line = 0; line < kLines; ++line) prefetch(row + line * kLine);
      return;
    }
    for_lines(row, t.row_bytes, [](const char *line) { prefetch(line); });
  }

  // What else is written, and the rows of the keys that are nowhere.
  void finish(const Chunk &c) const {
    for (int n = 0; n < c.num_rest; ++n) {
      const int64_t at = c.first + c.rest.position[n];
      if (c.rest.key[n] != hashing::kEmptyKey && findings.missing++ == 0) findings.position = at;
      if (!t.rows || t.keeps_missing) continue;
      char *const to = t.rows + at * t.rows_stride;
      if (t.default_row) {
        memcpy(to, t.default_row, static_cast<size_t>(t.row_bytes));
      } else {
        memset(to, 0, static_cast<size_t>(t.row_bytes));
      }
    }
    if (t.slots) memcpy(t.slots + c.first, c.slot, sizeof(int64_t) * static_cast<size_t>(c.count));
    if (t.outcomes) {
      for (int i = 0; i < c.count; ++i) t.outcomes[c.first + i] = c.slot[i] < 0 ? JD_HASH_MISSING : JD_HASH_ASSIGNED;
    }
    if (t.table_scores) {
      for (int i = 0; i < c.count; ++i) {
        if (c.slot[i] >= 0) touch(c.slot[i]);
      }
    }
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
