// hash_lookup, hash_insert and hash_erase on the CPU (jindou/hash_table.h). A lookup is tasks of some thousand keys
// (kernels/hash_table.h). An insertion or erasure is tasks of some partitions each: a task looks at all keys of the call and takes those
// of its partitions, in their order.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <new>

#include "core/dtype.h"
#include "core/error.h"
#include "core/row_bytes.h"
#include "cpu/pages.h"
#include "embedding/hash_buckets.h"

namespace jindou::cpu {
namespace {

constexpr int64_t kKeysOfTask = 2048;
constexpr int64_t kTasksOfThread = 2;

template <class T>
T *data_of(const jdb_tensor &t) {
  return static_cast<T *>(t.data);
}

// What hashing::insert works on.
struct Writer {
  const hashing::Geometry geometry;
  int64_t *const keys, *const scores;
  uint8_t *const sights;
  char *const rows;
  const int64_t stride, row_bytes;
  const int32_t eviction, admission;
  const int64_t tick;
  hashing::MoveSearch search;

  void write_key(int64_t slot, int64_t key) { keys[slot] = key; }
  void write_score(int64_t slot, int64_t score) { scores[slot] = score; }
  void write_sight(int64_t at, uint8_t count) { sights[at] = count; }
  // Only where nothing is evicted: there are no scores.
  void move(int64_t from, int64_t to) {
    keys[to] = keys[from];
    std::memcpy(rows + to * stride, rows + from * stride, static_cast<size_t>(row_bytes));
  }
};

// The rows of keys that were put in, copied some keys later: their slots, at random places in memory, are fetched meanwhile. In order, so
// that of two rows in one slot the later stays. Where insertions move rows, at once.
class RowCopies {
 public:
  RowCopies(const Writer &table, const char *rows, int64_t stride) : table_(table), rows_(rows), stride_(stride) {}

  void add(int64_t slot, int64_t row) {
    if (table_.eviction == JD_EVICT_NONE) return copy({slot, row});
    for (int64_t at = 0; at < table_.row_bytes && at < kMostPrefetched; at += 64) {
      __builtin_prefetch(table_.rows + slot * table_.stride + at, 1);
    }
    if (end_ - begin_ == kAhead) copy(waiting_[begin_++ % kAhead]);
    waiting_[end_++ % kAhead] = {slot, row};
  }

  void finish() {
    while (begin_ < end_) copy(waiting_[begin_++ % kAhead]);
  }

 private:
  static constexpr int kAhead = 4;
  static constexpr int64_t kMostPrefetched = 1024;
  struct Copy {
    int64_t slot, row;
  };

  void copy(const Copy &c) const {
    std::memcpy(table_.rows + c.slot * table_.stride, rows_ + c.row * stride_, static_cast<size_t>(table_.row_bytes));
  }

  const Writer &table_;
  const char *const rows_;
  const int64_t stride_;
  Copy waiting_[kAhead];
  int64_t begin_ = 0, end_ = 0;
};

class HashTable final : public Plan {
 public:
  HashTable(Device &d, int32_t op, const jdb_allocator &allocator, const jd_hash_table_desc &desc)
      : Plan(d, allocator), op_(op), desc_(desc), row_bytes_(desc.dim * core::element_size(desc.dtype)) {}

  void describe(char *text, size_t capacity) const override {
    const char *name = op_ == JDB_OP_HASH_LOOKUP ? "hash_lookup" : op_ == JDB_OP_HASH_INSERT ? "hash_insert" : "hash_erase";
    snprintf(text, capacity, "%s on cpu (%s): rows of %lld bytes, two buckets of %d keys each", name, device.kernels.isa,
             static_cast<long long>(row_bytes_), hashing::kBucketSlots);
  }

  jd_status run(Stream &stream, const void *args, jd_error *) override {
    const auto &a = *static_cast<const jdb_hash_table_args *>(args);
    Findings findings(stream, op_, desc_.bounds);
    if (op_ == JDB_OP_HASH_LOOKUP) {
      look_up(a, findings);
    } else {
      write(a, findings);
    }
    return JD_OK;
  }

 private:
  // What a task met.
  struct Found {
    int64_t count, position;  // keys refused (or missing), the first of them
    int64_t inserted;         // keys more in the table
  };

  // What the tasks of a run met. It lies with the caller, not in the plan, which many may run at the same time.
  class FoundByAll {
   public:
    void add(const Found &found) {
      if (found.count == 0 && found.inserted == 0) return;
      std::lock_guard<std::mutex> lock(mutex_);
      // The lowest position counts, whichever task comes first.
      if (found.count > 0 && (all_.count == 0 || found.position < all_.position)) all_.position = found.position;
      all_.count += found.count;
      all_.inserted += found.inserted;
    }
    const Found &all() const { return all_; }

   private:
    std::mutex mutex_;
    Found all_ = {0, 0, 0};
  };

  int64_t most_tasks() const { return device.pool.size() == 1 ? 1 : kTasksOfThread * device.pool.size(); }

  void look_up(const jdb_hash_table_args &a, Findings &findings) {
    const int64_t n = a.keys.shape[0];
    const int64_t tasks = std::max<int64_t>(1, std::min(most_tasks(), n / kKeysOfTask));
    FoundByAll found;
    device.pool.run(tasks, n * (row_bytes_ + 64), [&](int64_t index, int) {
      HashLookupTask t;
      t.table_keys = data_of<int64_t>(a.table_keys);
      t.num_slots = a.table_keys.shape[0] * hashing::kBucketSlots;
      t.table_rows = data_of<char>(a.table_rows);
      t.table_row_bytes = core::row_stride_bytes(a.table_rows);
      t.table_scores = desc_.eviction == JD_EVICT_SCORE ? nullptr : data_of<int64_t>(a.table_scores);
      t.eviction = desc_.eviction;
      t.tick = a.tick;
      t.keys = data_of<int64_t>(a.keys);
      t.first = n * index / tasks;
      t.last = n * (index + 1) / tasks;
      t.row_bytes = row_bytes_;
      t.rows = data_of<char>(a.rows);
      t.rows_stride = core::row_stride_bytes(a.rows);
      t.default_row = data_of<char>(a.default_row);
      t.keeps_missing = desc_.missing == JD_MISSING_KEEP;
      t.slots = data_of<int64_t>(a.slots);
      t.outcomes = data_of<int32_t>(a.outcomes);
      HashFindings missing = {0, 0};
      device.kernels.hash_lookup(t, missing);
      if (desc_.missing == JD_MISSING_REPORT) found.add({missing.missing, missing.position, 0});
    });
    report(findings, JDB_FAULT_KEY_MISSING, found.all(), a);
  }

  void write(const jdb_hash_table_args &a, Findings &findings) {
    const int64_t n = a.keys.shape[0];
    const hashing::Geometry geometry(a.table_keys.shape[0] * hashing::kBucketSlots);
    const int64_t operations = n * (row_bytes_ + 256);
    // Each task looks at all keys: what one thread does anyway is one.
    const int64_t tasks = operations < ThreadPool::kWorthSharing ? 1 : std::min(most_tasks(), geometry.partitions);
    FoundByAll found;
    device.pool.run(tasks, operations, [&](int64_t index, int) {
      const int64_t first = geometry.partitions * index / tasks, last = geometry.partitions * (index + 1) / tasks;
      found.add(op_ == JDB_OP_HASH_INSERT ? insert(a, geometry, first, last) : erase(a, geometry, first, last));
    });
    *data_of<int64_t>(a.table_size) += found.all().inserted;
    report(findings, JDB_FAULT_KEY_REFUSED, found.all(), a);  // an erasure refuses none
  }

  static void report(Findings &findings, int32_t fault, const Found &found, const jdb_hash_table_args &a) {
    const int64_t *keys = data_of<int64_t>(a.keys);
    for (int64_t i = 0; i < found.count; ++i) {  // STRICT keeps the first, ZERO counts each
      findings.note(fault, found.position, keys[found.position], a.table_keys.shape[0] * hashing::kBucketSlots);
    }
  }

  Found insert(const jdb_hash_table_args &a, const hashing::Geometry &geometry, int64_t first, int64_t last) const {
    Writer table = {geometry,           data_of<int64_t>(a.table_keys), data_of<int64_t>(a.table_scores),
                    data_of<uint8_t>(a.table_sights), data_of<char>(a.table_rows), core::row_stride_bytes(a.table_rows), row_bytes_,
                    desc_.eviction,     desc_.admission,                a.tick, {}};
    const int64_t *keys = data_of<int64_t>(a.keys), *scores = data_of<int64_t>(a.scores);
    Found found = {0, 0, 0};
    RowCopies copies = {table, data_of<char>(a.rows), core::row_stride_bytes(a.rows)};
    for_keys(a, geometry, first, last, [&](int64_t i, const hashing::Places &places) {
      const hashing::Inserted done = hashing::insert(table, keys[i], places, scores ? scores[i] : 0);
      if (done.slot >= 0) copies.add(done.slot, i);
      found.inserted += done.outcome == JD_HASH_INSERTED;
      // A score too low is a refusal, but no fault.
      const bool fault = done.outcome == JD_HASH_REFUSED && desc_.eviction == JD_EVICT_NONE && keys[i] != hashing::kEmptyKey;
      if (fault && found.count++ == 0) found.position = i;
      if (a.outcomes.data) data_of<int32_t>(a.outcomes)[i] = done.outcome;
      if (a.evicted_keys.data) data_of<int64_t>(a.evicted_keys)[i] = done.evicted;
    });
    copies.finish();
    // A key may have moved, or gone, after it was put in: slots are those at the end of the call.
    if (a.slots.data) {
      for_keys(a, geometry, first, last, [&](int64_t i, const hashing::Places &places) {
        data_of<int64_t>(a.slots)[i] = hashing::find(table.keys, places, keys[i]);
      });
    }
    return found;
  }

  Found erase(const jdb_hash_table_args &a, const hashing::Geometry &geometry, int64_t first, int64_t last) const {
    int64_t *table_keys = data_of<int64_t>(a.table_keys), *scores = data_of<int64_t>(a.table_scores);
    const int64_t *keys = data_of<int64_t>(a.keys);
    Found found = {0, 0, 0};
    for_keys(a, geometry, first, last, [&](int64_t i, const hashing::Places &places) {
      const int64_t slot = hashing::find(table_keys, places, keys[i]);
      if (slot >= 0) {
        table_keys[slot] = hashing::kEmptyKey;
        if (scores) scores[slot] = 0;
        --found.inserted;
      }
      if (a.slots.data) data_of<int64_t>(a.slots)[i] = slot;
      if (a.outcomes.data) data_of<int32_t>(a.outcomes)[i] = slot >= 0 ? JD_HASH_ASSIGNED : JD_HASH_MISSING;
    });
    return found;
  }

  // function(i, places) for the keys of partitions first..last-1, in order; the buckets of those to come are on their way.
  template <class Function>
  static void for_keys(const jdb_hash_table_args &a, const hashing::Geometry &geometry, int64_t first, int64_t last,
                       const Function &function) {
    constexpr int kAhead = 16;
    const int64_t *keys = data_of<int64_t>(a.keys), *table = data_of<int64_t>(a.table_keys), *scores = data_of<int64_t>(a.table_scores);
    const int64_t n = a.keys.shape[0];
    struct {
      int64_t key;
      hashing::Places places;
    } waiting[kAhead];
    const auto next = [&](int64_t at) { function(waiting[at % kAhead].key, waiting[at % kAhead].places); };
    int64_t begin = 0, end = 0;  // of the ring
    for (int64_t i = 0; i < n; ++i) {
      const hashing::Places places = geometry.places(keys[i]);
      if (places.partition < first || places.partition >= last) continue;
      for (const int64_t bucket : places.bucket) {
        __builtin_prefetch(table + bucket * hashing::kBucketSlots);
        if (scores) __builtin_prefetch(scores + bucket * hashing::kBucketSlots);
      }
      if (end - begin == kAhead) next(begin++);
      waiting[end++ % kAhead] = {i, places};
    }
    while (begin < end) next(begin++);
  }

  const int32_t op_;
  const jd_hash_table_desc desc_;
  const int64_t row_bytes_;
};

}  // namespace

jd_status create_hash_table(Device &device, int32_t op, const jd_hash_table_desc &desc, const jdb_allocator &allocator,
                            Plan **plan, jd_error *error) {
  *plan = new (std::nothrow) HashTable(device, op, allocator, desc);
  return *plan ? JD_OK : fail(error, JD_OUT_OF_MEMORY, "cpu: no host memory for a plan");
}

}  // namespace jindou::cpu
