// hash_lookup, hash_insert and hash_erase on the CPU (jindou/hash_table.h). A lookup is tasks of some keys each (kernels/hash_table.h). An
// insertion or erasure is tasks of some partitions each: a task looks at all keys of the call and takes those of its partitions, in their
// order (kernels/hash_write.h).
#include <algorithm>
#include <cstdio>
#include <mutex>
#include <new>

#include "core/dtype.h"
#include "core/error.h"
#include "core/row_bytes.h"
#include "cpu/pages.h"
#include "core/hash_geometry.h"

namespace jindou::cpu {
namespace {

constexpr int64_t kKeysOfTask = 128;
constexpr int64_t kTasksOfThread = 4;
// As many elementary operations take as long as a key without its row: its bucket lies at a random place in memory.
constexpr int64_t kOperationsOfKey = 700;

template <class T>
T *data_of(const jdb_tensor &t) {
  return static_cast<T *>(t.data);
}

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
  // What the tasks of a run met. It lies with the caller, not in the plan, which many may run at the same time.
  class Met {
   public:
    // Faults of a task, the first of them, and how many keys more the table has.
    void add(int64_t faults, int64_t position, int64_t grown) {
      if (faults == 0 && grown == 0) return;
      std::lock_guard<std::mutex> lock(mutex_);
      // The lowest position counts, whichever task comes first.
      if (faults > 0 && (faults_ == 0 || position < position_)) position_ = position;
      faults_ += faults;
      grown_ += grown;
    }
    int64_t grown() const { return grown_; }

    void report(Findings &findings, int32_t fault, const jdb_hash_table_args &a) const {
      const int64_t *keys = data_of<int64_t>(a.keys);
      for (int64_t i = 0; i < faults_; ++i) {  // STRICT keeps the first, ZERO counts each
        findings.note(fault, position_, keys[position_], a.table_keys.shape[0] * hashing::kBucketSlots);
      }
    }

   private:
    std::mutex mutex_;
    int64_t faults_ = 0, position_ = 0, grown_ = 0;
  };

  void look_up(const jdb_hash_table_args &a, Findings &findings) {
    const int64_t n = a.keys.shape[0];
    const int64_t threads = device.pool.size(), most_tasks = threads == 1 ? 1 : kTasksOfThread * threads;
    const int64_t tasks = std::max<int64_t>(1, std::min(most_tasks, n / kKeysOfTask));
    Met met;
    device.pool.run(tasks, n * (row_bytes_ + kOperationsOfKey), [&](int64_t index, int) {
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
      if (desc_.missing == JD_MISSING_REPORT) met.add(missing.missing, missing.position, 0);
    });
    met.report(findings, JDB_FAULT_KEY_MISSING, a);
  }

  void write(const jdb_hash_table_args &a, Findings &findings) {
    const int64_t n = a.keys.shape[0], operations = n * (row_bytes_ + kOperationsOfKey);
    const hashing::Geometry geometry(a.table_keys.shape[0] * hashing::kBucketSlots);
    // Each task looks at all keys: what is not shared is one, and else there are as many as threads.
    const int64_t threads = device.pool.is_worth_sharing(operations) ? device.pool.size() : 1;
    const int64_t tasks = std::min(threads, geometry.partitions);
    Met met;
    device.pool.run(tasks, operations, [&](int64_t index, int) {
      HashWriteTask t;
      t.table_keys = data_of<int64_t>(a.table_keys);
      t.num_slots = a.table_keys.shape[0] * hashing::kBucketSlots;
      t.table_rows = data_of<char>(a.table_rows);
      t.table_row_bytes = core::row_stride_bytes(a.table_rows);
      t.table_scores = data_of<int64_t>(a.table_scores);
      t.table_sights = data_of<uint8_t>(a.table_sights);
      t.eviction = desc_.eviction;
      t.admission = desc_.admission;
      t.tick = a.tick;
      t.keys = data_of<int64_t>(a.keys);
      t.count = n;
      t.first = geometry.partitions * index / tasks;
      t.last = geometry.partitions * (index + 1) / tasks;
      t.row_bytes = row_bytes_;
      t.rows = data_of<char>(a.rows);
      t.rows_stride = core::row_stride_bytes(a.rows);
      t.scores = data_of<int64_t>(a.scores);
      t.slots = data_of<int64_t>(a.slots);
      t.outcomes = data_of<int32_t>(a.outcomes);
      t.evicted_keys = data_of<int64_t>(a.evicted_keys);
      HashWritten written = {0, 0, 0};
      (op_ == JDB_OP_HASH_INSERT ? device.kernels.hash_insert : device.kernels.hash_erase)(t, written);
      met.add(written.refused, written.position, written.grown);
    });
    *data_of<int64_t>(a.table_size) += met.grown();
    met.report(findings, JDB_FAULT_KEY_REFUSED, a);  // an erasure refuses none
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
