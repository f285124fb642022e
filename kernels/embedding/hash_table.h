// hash_lookup, hash_insert and hash_erase (jindou/hash_table.h).
//
// Lookup: 8 lanes own a key: one load of 64 bytes is its bucket, a vote finds the place, and the same lanes copy the row. Each group
// keeps kKeysAhead keys on their way. Bytes: a bucket, for some keys a second one, and the row, in and out: bound by memory.
//
// Insert and erase: a block is one warp and owns a partition. It looks at all keys of the call, 128 at a time, and takes
// those of its partition in their order; its lanes take the same decisions (hash_buckets.h), lane 0 writes, all copy rows. Nobody else
// touches the partition: no lock, no atomic, the same table whatever the grid. Made for updates of thousands of keys, not for loading
// a table: every block reads all keys of the call.
#ifndef JINDOU_KERNELS_EMBEDDING_HASH_TABLE_H
#define JINDOU_KERNELS_EMBEDDING_HASH_TABLE_H

#include "embedding/hash_buckets.h"
#include "faults.h"

namespace jindou::embedding {

struct HashTableParams {
  int64_t *table_keys;
  char *table_rows;
  int64_t *table_scores;  // or null
  uint8_t *table_sights;  // or null
  int64_t *table_size;
  int64_t num_slots;
  int64_t table_stride;   // bytes from row to row
  int64_t row_bytes;
  int32_t vector_bytes;   // 16 where every row is aligned to 16, else 4
  int32_t eviction, admission;
  int64_t tick;
  const int64_t *keys;
  int64_t n;
  char *rows;             // lookup: written; insert: read; or null
  int64_t rows_stride;
  const int64_t *scores;
  const char *default_row;
  int64_t *slots;
  int32_t *outcomes;
  int64_t *evicted_keys;
  int32_t reports_missing, keeps_missing;
  FaultSink sink;
};

struct HashLookupKernel {
  using Params = HashTableParams;
  static constexpr int kThreads = 128;
  static constexpr int kMinBlocks = 8;
  static constexpr int kLanes = hashing::kBucketSlots;
  static constexpr int kGroups = kThreads / kLanes;
  static constexpr int kKeysAhead = 4;
  static constexpr int kKeysABlock = kGroups * kKeysAhead;
  static constexpr size_t shared_bytes() { return 0; }

  JD_DEVICE static void run(const Params &p, char *) {
    const int lane = static_cast<int>(prim::thread_idx().x) % kLanes, group = static_cast<int>(prim::thread_idx().x) / kLanes;
    const hashing::Geometry geometry(p.num_slots);
    for (int64_t base = prim::block_idx().x * int64_t{kKeysABlock}; base < p.n; base += prim::grid_dim().x * int64_t{kKeysABlock}) {
      const int64_t first = base + group * kKeysAhead;
      int64_t key[kKeysAhead], bucket[kKeysAhead], other[kKeysAhead], seen[kKeysAhead], slot[kKeysAhead];
#pragma unroll
      for (int u = 0; u < kKeysAhead; ++u) {
        key[u] = first + u < p.n ? p.keys[first + u] : hashing::kEmptyKey;
        const hashing::Places places = geometry.places(key[u]);
        bucket[u] = places.bucket[0];
        other[u] = places.bucket[1];
        seen[u] = p.table_keys[bucket[u] * kLanes + lane];
      }
#pragma unroll
      for (int u = 0; u < kKeysAhead; ++u) {
        slot[u] = vote(seen[u], key[u], bucket[u]);
        if (slot[u] < 0) seen[u] = p.table_keys[other[u] * kLanes + lane];
      }
#pragma unroll
      for (int u = 0; u < kKeysAhead; ++u) {
        const int64_t second = vote(seen[u], key[u], other[u]);
        if (slot[u] < 0) slot[u] = second;
        if (first + u < p.n) finish(p, lane, first + u, key[u], slot[u]);
      }
    }
  }

 private:
  // All lanes of the warp; each group gets its own answer. A bucket already found is asked about again in vain.
  JD_DEVICE static int64_t vote(int64_t seen, int64_t key, int64_t bucket) {
    const uint32_t votes = prim::ballot(seen == key && key != hashing::kEmptyKey);
    const uint32_t mine = (votes >> (prim::lane_id() / kLanes * kLanes)) & 0xffu;
    return mine != 0 ? bucket * kLanes + prim::ffs(mine) - 1 : -1;
  }

  JD_DEVICE static void finish(const Params &p, int lane, int64_t at, int64_t key, int64_t slot) {
    if (lane == 0) {
      if (p.slots != nullptr) p.slots[at] = slot;
      if (p.outcomes != nullptr) p.outcomes[at] = slot >= 0 ? JD_HASH_ASSIGNED : JD_HASH_MISSING;
      if (slot >= 0 && p.eviction == JD_EVICT_LFU) prim::atomic_add(p.table_scores + slot, 1);
      if (slot >= 0 && p.eviction == JD_EVICT_LRU) prim::atomic_max(p.table_scores + slot, p.tick);
      if (slot < 0 && key != hashing::kEmptyKey && p.reports_missing) {
        report_fault(p.sink, Fault{JDB_FAULT_KEY_MISSING, -1, at, key, 0});
      }
    }
    if (p.rows == nullptr || (slot < 0 && p.keeps_missing)) return;
    const char *from = slot >= 0 ? p.table_rows + slot * p.table_stride : p.default_row;
    char *to = p.rows + at * p.rows_stride;
    for (int64_t i = lane * p.vector_bytes; i < p.row_bytes; i += kLanes * p.vector_bytes) {
      if (p.vector_bytes == 16) {
        prim::store16_streaming(to + i, from != nullptr ? prim::load16(from + i) : prim::Vec4u{0, 0, 0, 0});
      } else {
        prim::store4(to + i, from != nullptr ? prim::load4(from + i) : 0);
      }
    }
  }
};

// What the warp that owns a partition does to it: hashing::insert's table.
struct HashWriter {
  using Bucket = hashing::ScalarBucket;

  const HashTableParams &p;
  const hashing::Geometry geometry;
  int64_t *const keys, *const scores;
  uint8_t *const sights;
  const int32_t eviction, admission;
  const int64_t tick;
  hashing::MoveSearch &search;
  int lane;

  JD_DEVICE HashWriter(const HashTableParams &params, hashing::MoveSearch &moves)
      : p(params),
        geometry(params.num_slots),
        keys(params.table_keys),
        scores(params.table_scores),
        sights(params.table_sights),
        eviction(params.eviction),
        admission(params.admission),
        tick(params.tick),
        search(moves),
        lane(prim::lane_id()) {}

  // All lanes have read what they decide by before one writes, and see what was written before they go on.
  template <class Write>
  JD_DEVICE void alone(const Write &write) {
    prim::sync_warp();
    if (lane == 0) write();
    prim::sync_warp();
  }
  JD_DEVICE void write_key(int64_t slot, int64_t key) {
    alone([&] { keys[slot] = key; });
  }
  JD_DEVICE void write_score(int64_t slot, int64_t score) {
    alone([&] { scores[slot] = score; });
  }
  JD_DEVICE void write_sight(int64_t at, uint8_t count) {
    alone([&] { sights[at] = count; });
  }
  // Only where nothing is evicted: there are no scores.
  JD_DEVICE void move(int64_t from, int64_t to) {
    alone([&] { keys[to] = keys[from]; });
    copy_row(p.table_rows + from * p.table_stride, p.table_rows + to * p.table_stride);
  }
  // Rows of the table may have been written by this launch: no read-only loads.
  JD_DEVICE void copy_row(const char *from, char *to) {
    for (int64_t i = lane * 4; i < p.row_bytes; i += 32 * 4) {
      *reinterpret_cast<uint32_t *>(to + i) = *reinterpret_cast<const uint32_t *>(from + i);
    }
    prim::sync_warp();
  }
};

// kInserts: hash_insert, else hash_erase.
template <bool kInserts>
struct HashWriteKernel {
  using Params = HashTableParams;
  static constexpr int kThreads = 32;
  static constexpr int kMinBlocks = 16;
  static constexpr int kKeysAhead = 4;
  static constexpr size_t shared_bytes() { return kInserts ? sizeof(hashing::MoveSearch) : 0; }

  JD_DEVICE static void run(const Params &p, char *shared) {
    HashWriter table(p, *reinterpret_cast<hashing::MoveSearch *>(shared));
    for (int64_t partition = prim::block_idx().x; partition < table.geometry.partitions; partition += prim::grid_dim().x) {
      int64_t grown = 0;
      for_keys(p, table, partition, [&](int64_t i, int64_t key) { grown += kInserts ? insert(p, table, i, key) : erase(p, table, i, key); });
      // A key may have moved, or gone, after it was put in: slots are those at the end of the call.
      if (kInserts && p.slots != nullptr) {
        for_keys(p, table, partition, [&](int64_t i, int64_t key) {
          const int64_t slot = hashing::find<HashWriter::Bucket>(table.keys, table.geometry.places(key), key);
          if (table.lane == 0) p.slots[i] = slot;
        });
      }
      if (table.lane == 0 && grown != 0) prim::atomic_add(p.table_size, grown);
    }
  }

 private:
  // function(i, key) by the whole warp for the keys of a partition, in order. Most keys are another's: a lane has several on their way.
  template <class Function>
  JD_DEVICE static void for_keys(const Params &p, const HashWriter &table, int64_t partition, const Function &function) {
    for (int64_t base = 0; base < p.n; base += 32 * kKeysAhead) {
      int64_t key[kKeysAhead];
      uint32_t mine[kKeysAhead];
#pragma unroll
      for (int u = 0; u < kKeysAhead; ++u) {
        const int64_t i = base + u * 32 + table.lane;
        key[u] = p.keys[i < p.n ? i : p.n - 1];
      }
#pragma unroll
      for (int u = 0; u < kKeysAhead; ++u) {
        const bool valid = base + u * 32 + table.lane < p.n;
        mine[u] = prim::ballot(valid && table.geometry.partition(key[u]) == partition);
      }
#pragma unroll 1
      for (int u = 0; u < kKeysAhead; ++u) {  // one copy of the function; the masks move up, so that none is looked up by a number
        for (uint32_t left = mine[0]; left != 0; left &= left - 1) {
          const int64_t i = base + u * 32 + prim::ffs(left) - 1;
          function(i, p.keys[i]);
        }
#pragma unroll
        for (int v = 1; v < kKeysAhead; ++v) mine[v - 1] = mine[v];
      }
    }
  }

  JD_DEVICE static int64_t insert(const Params &p, HashWriter &table, int64_t i, int64_t key) {
    const hashing::Inserted done = hashing::insert(table, key, table.geometry.places(key), p.scores != nullptr ? p.scores[i] : 0);
    if (done.slot >= 0) table.copy_row(p.rows + i * p.rows_stride, p.table_rows + done.slot * p.table_stride);
    if (table.lane == 0) {
      // A score too low is a refusal, but no fault.
      if (done.outcome == JD_HASH_REFUSED && p.eviction == JD_EVICT_NONE && key != hashing::kEmptyKey) {
        report_fault(p.sink, Fault{JDB_FAULT_KEY_REFUSED, -1, i, key, p.num_slots});
      }
      if (p.outcomes != nullptr) p.outcomes[i] = done.outcome;
      if (p.evicted_keys != nullptr) p.evicted_keys[i] = done.evicted;
    }
    return done.outcome == JD_HASH_INSERTED ? 1 : 0;
  }

  JD_DEVICE static int64_t erase(const Params &p, HashWriter &table, int64_t i, int64_t key) {
    const int64_t slot = hashing::find<HashWriter::Bucket>(table.keys, table.geometry.places(key), key);
    if (slot >= 0) {
      table.write_key(slot, hashing::kEmptyKey);
      if (table.scores != nullptr) table.write_score(slot, 0);
    }
    if (table.lane == 0) {
      if (p.slots != nullptr) p.slots[i] = slot;
      if (p.outcomes != nullptr) p.outcomes[i] = slot >= 0 ? JD_HASH_ASSIGNED : JD_HASH_MISSING;
    }
    return slot >= 0 ? -1 : 0;
  }
};

}  // namespace jindou::embedding

#endif
