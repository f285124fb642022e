// hash_lookup, hash_insert and hash_erase: from a run to a kernel launch (dispatch.h). Their plans hold no memory.
#ifndef JINDOU_KERNELS_EMBEDDING_HASH_TABLE_LAUNCH_H
#define JINDOU_KERNELS_EMBEDDING_HASH_TABLE_LAUNCH_H

#include <algorithm>
#include <cstdio>
#include <memory>

#include "core/dtype.h"
#include "core/row_bytes.h"
#include "embedding/hash_table.h"
#include "plan.h"

namespace jindou {

struct HashTablePlan : KernelPlan {
  static constexpr int64_t kBlocksAMultiprocessor = 32;

  HashTablePlan(int32_t op, const PlanResources &resources, const jd_hash_table_desc &description)
      : KernelPlan(op, resources), desc(description) {}

  static jd_status create(int32_t op, const PlanResources &resources, const jd_hash_table_desc &desc, KernelPlan **plan, jd_error *) {
    *plan = std::make_unique<HashTablePlan>(op, resources, desc).release();
    return JD_OK;
  }

  void describe(char *text, size_t capacity) const override {
    const long long bytes = desc.dim * static_cast<long long>(core::element_size(desc.dtype));
    if (op == JDB_OP_HASH_LOOKUP) {
      snprintf(text, capacity, "hash_lookup: rows of %lld bytes, 8 lanes a key, %d keys on their way", bytes,
               embedding::HashLookupKernel::kKeysAhead);
    } else {
      snprintf(text, capacity, "%s: rows of %lld bytes, a warp a partition", op == JDB_OP_HASH_INSERT ? "hash_insert" : "hash_erase",
               bytes);
    }
  }

  const jd_hash_table_desc desc;
};

namespace embedding {

inline bool hash_rows_aligned(const jdb_tensor &t, int64_t stride) {
  return (reinterpret_cast<uintptr_t>(t.data) | static_cast<uintptr_t>(stride)) % 16 == 0;
}

}  // namespace embedding

template <class Exec>
jd_status launch_hash_table(Exec &exec, const HashTablePlan &plan, const jdb_hash_table_args &args) {
  using namespace embedding;
  const int64_t n = args.keys.shape[0];
  if (n == 0) return JD_OK;
  const jd_hash_table_desc &desc = plan.desc;
  HashTableParams p{};
  p.table_keys = static_cast<int64_t *>(args.table_keys.data);
  p.table_rows = static_cast<char *>(args.table_rows.data);
  p.table_scores = static_cast<int64_t *>(args.table_scores.data);
  p.table_sights = static_cast<uint8_t *>(args.table_sights.data);
  p.table_size = static_cast<int64_t *>(args.table_size.data);
  p.num_slots = args.table_keys.shape[0] * hashing::kBucketSlots;
  p.table_stride = core::row_stride_bytes(args.table_rows);
  p.row_bytes = desc.dim * core::element_size(desc.dtype);
  p.rows = static_cast<char *>(args.rows.data);
  p.rows_stride = core::row_stride_bytes(args.rows);
  p.default_row = static_cast<const char *>(args.default_row.data);
  const bool aligned = p.row_bytes % 16 == 0 && hash_rows_aligned(args.table_rows, p.table_stride) &&
                       hash_rows_aligned(args.rows, p.rows_stride) && hash_rows_aligned(args.default_row, 0);
  p.vector_bytes = aligned ? 16 : 4;
  p.eviction = desc.eviction;
  p.admission = desc.admission;
  p.tick = args.tick;
  p.keys = static_cast<const int64_t *>(args.keys.data);
  p.n = n;
  p.scores = static_cast<const int64_t *>(args.scores.data);
  p.slots = static_cast<int64_t *>(args.slots.data);
  p.outcomes = static_cast<int32_t *>(args.outcomes.data);
  p.evicted_keys = static_cast<int64_t *>(args.evicted_keys.data);
  p.reports_missing = desc.missing == JD_MISSING_REPORT;
  p.keeps_missing = desc.missing == JD_MISSING_KEEP;
  p.sink = FaultSink{exec.faults(), exec.launch_number(), plan.op, desc.bounds};
  const int64_t most = HashTablePlan::kBlocksAMultiprocessor * plan.multiprocessors;
  if (plan.op == JDB_OP_HASH_LOOKUP) {
    const int64_t blocks = (n + HashLookupKernel::kKeysABlock - 1) / HashLookupKernel::kKeysABlock;
    return exec.template launch<HashLookupKernel>(prim::Grid{static_cast<uint32_t>(std::min(blocks, most)), 1, 1}, p);
  }
  const int64_t blocks = std::min(hashing::Geometry(p.num_slots).partitions, most);
  const prim::Grid grid{static_cast<uint32_t>(blocks), 1, 1};
  if (plan.op == JDB_OP_HASH_INSERT) return exec.template launch<HashWriteKernel<true>>(grid, p);
  return exec.template launch<HashWriteKernel<false>>(grid, p);
}

}  // namespace jindou

#endif
