// hash_insert and hash_erase: the keys of some partitions of a table (jindou/hash_table.h; the decisions are in embedding/hash_buckets.h).
//
// A key costs two buckets, their scores and the row's slot, all at random places. Of a block of keys, hashed in vectors, those of the task's
// partitions are listed and their buckets asked for; the keys of the block before are put in meanwhile; and rows are copied some keys
// later still, into slots that were asked for when the key was put in.
#ifndef JINDOU_CPU_KERNELS_HASH_WRITE_H
#define JINDOU_CPU_KERNELS_HASH_WRITE_H

#include <string.h>

#include "cpu/kernels/hash_places.h"
#include "cpu/kernels/hash_rows.h"
#include "cpu/kernels/kernel_table.h"
#include "cpu/simd/simd.h"
#include "embedding/hash_buckets.h"

namespace jindou::cpu {
namespace {

// hashing::insert's Bucket, in vectors.
template <class Isa>
struct VectorBucket {
  JD_SIMD int place_of(const int64_t *keys, int64_t key) {
    const uint32_t equal = Isa::equal8(keys, key);
    return equal == 0 ? -1 : __builtin_ctz(equal);
  }
  JD_SIMD int place_of_least(const int64_t *scores) {
    int64_t least = scores[0];
    for (int i = 1; i < hashing::kBucketSlots; ++i) least = scores[i] < least ? scores[i] : least;
    return __builtin_ctz(Isa::equal8(scores, least));
  }
};

// hashing::insert's Table.
template <class Isa>
struct HashTableMemory {
  using Bucket = VectorBucket<Isa>;

  const HashWriteTask &t;
  const hashing::Geometry geometry;
  int64_t *const keys, *const scores;
  uint8_t *const sights;
  const int32_t eviction, admission;
  const int64_t tick;
  hashing::MoveSearch search;

  explicit HashTableMemory(const HashWriteTask &task)
      : t(task),
        geometry(task.num_slots),
        keys(task.table_keys),
        scores(task.table_scores),
        sights(task.table_sights),
        eviction(task.eviction),
        admission(task.admission),
        tick(task.tick) {}

  void write_key(int64_t slot, int64_t key) { keys[slot] = key; }
  void write_score(int64_t slot, int64_t score) { scores[slot] = score; }
  void write_sight(int64_t at, uint8_t count) { sights[at] = count; }
  // Only where nothing is evicted: there are no scores.
  void move(int64_t from, int64_t to) {
    keys[to] = keys[from];
    memcpy(row(to), row(from), static_cast<size_t>(t.row_bytes));
  }
  char *row(int64_t slot) const { return t.table_rows + slot * t.table_row_bytes; }
};

template <class Isa>
class HashWrite {
 public:
  explicit HashWrite(const HashWriteTask &task) : t(task), table_(task) {}

  void insert(HashWritten &written) {
    RowCopies copies(table_);
    for_keys([&](int64_t i, int64_t key, const hashing::Places &places) {
      const hashing::Inserted done = hashing::insert(table_, key, places, t.scores ? t.scores[i] : 0);
      if (done.slot >= 0) copies.add(done.slot, i);
      written.grown += done.outcome == JD_HASH_INSERTED;
      // A score too low is a refusal, but no fault.
      const bool fault = done.outcome == JD_HASH_REFUSED && t.eviction == JD_EVICT_NONE && key != hashing::kEmptyKey;
      if (fault && written.refused++ == 0) written.position = i;
      if (t.outcomes) t.outcomes[i] = done.outcome;
      if (t.evicted_keys) t.evicted_keys[i] = done.evicted;
    });
    copies.finish();
    // A key may have moved, or gone, after it was put in: slots are those at the end of the call.
    if (!t.slots) return;
    for_keys([&](int64_t i, int64_t key, const hashing::Places &places) { t.slots[i] = find(places, key); });
  }

  void erase(HashWritten &written) {
    for_keys([&](int64_t i, int64_t key, const hashing::Places &places) {
      const int64_t slot = find(places, key);
      if (slot >= 0) {
        table_.write_key(slot, hashing::kEmptyKey);
        if (table_.scores) table_.write_score(slot, 0);
        --written.grown;
      }
      if (t.slots) t.slots[i] = slot;
      if (t.outcomes) t.outcomes[i] = slot >= 0 ? JD_HASH_ASSIGNED : JD_HASH_MISSING;
    });
  }

 private:
  // The rows of keys that were put in. In order, so that of two rows in one slot the later stays. Where insertions move rows, at once.
  class RowCopies {
   public:
    explicit RowCopies(const HashTableMemory<Isa> &table) : table_(table) {}

    void add(int64_t slot, int64_t at) {
      const Copy copy = {table_.row(slot), table_.t.rows + at * table_.t.rows_stride};
      if (table_.eviction == JD_EVICT_NONE) return run(copy);
      for_lines(copy.to, table_.t.row_bytes, [](const char *line) { __builtin_prefetch(line, 1); });
      if (end_ - begin_ == kAhead) run(waiting_[begin_++ % kAhead]);
      waiting_[end_++ % kAhead] = copy;
    }

    void finish() {
      while (begin_ < end_) run(waiting_[begin_++ % kAhead]);
    }

   private:
    static constexpr int kAhead = 8;
    struct Copy {
      char *to;
      const char *from;
    };

    void run(const Copy &copy) const { copy_row(copy.to, copy.from, table_.t.row_bytes); }

    const HashTableMemory<Isa> &table_;
    Copy waiting_[kAhead];
    int64_t begin_ = 0, end_ = 0;
  };

  int64_t find(const hashing::Places &places, int64_t key) const { return hashing::find<VectorBucket<Isa>>(table_.keys, places, key); }

  static constexpr int kBlock = 64;

  // The task's keys of one block.
  struct Listed {
    int count;
    int64_t at[kBlock];
    hashing::Places places[kBlock];
  };

  // function(i, key, places) for the task's keys, in order.
  template <class Function>
  void for_keys(const Function &function) {
    Listed blocks[2];
    blocks[1].count = 0;
    int next = 0;
    for (int64_t first = 0; first < t.count + kBlock; first += kBlock, next ^= 1) {
      list(first, blocks[next]);
      const Listed &block = blocks[next ^ 1];
      for (int n = 0; n < block.count; ++n) function(block.at[n], t.keys[block.at[n]], block.places[n]);
    }
  }

  // Those from `first` on, their buckets on their way.
  void list(int64_t first, Listed &block) const {
    block.count = 0;
    for (int64_t some = first; some < t.count && some < first + kBlock; some += kHashedTogether) {
      const int count = static_cast<int>(t.count - some < kHashedTogether ? t.count - some : kHashedTogether);
      int64_t partitions[kHashedTogether], buckets[2][kHashedTogether];
      hash_keys(table_.geometry, t.keys + some, count, partitions, buckets[0], buckets[1]);
      for (int i = 0; i < count; ++i) {  // whose a key is, nothing foretells: no branch
        block.at[block.count] = some + i;
        block.places[block.count] = {partitions[i], {buckets[0][i], buckets[1][i]}};
        block.count += partitions[i] >= t.first && partitions[i] < t.last;
      }
    }
    for (int n = 0; n < block.count; ++n) {
      for (const int64_t bucket : block.places[n].bucket) {
        prefetch(t.table_keys + bucket * hashing::kBucketSlots);
        if (t.table_scores) prefetch(t.table_scores + bucket * hashing::kBucketSlots);
      }
    }
  }

  const HashWriteTask t;
  HashTableMemory<Isa> table_;
};

}  // namespace
}  // namespace jindou::cpu

#endif
