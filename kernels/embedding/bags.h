// What both embedding kernels share: offsets and their check, the check of an id, and output rows.
#ifndef JINDOU_KERNELS_EMBEDDING_BAGS_H
#define JINDOU_KERNELS_EMBEDDING_BAGS_H

#include "embedding/table.h"
#include "faults.h"

namespace jindou::embedding {

// The jagged input of a launch, the same for both kernels.
struct Jagged {
  const void *ids;       // [total] int32 or int64
  const void *offsets;   // [tables * batch + 1] int32 or int64
  const float *weights;  // [total] or null
  int64_t batch;         // bags a table
  int64_t bags;          // tables * batch
  int64_t total;         // ids
  int64_t padding_id;
  int32_t id_bytes;      // 4 or 8
  int32_t offset_bytes;  // 4 or 8
  int32_t has_padding_id;
  FaultSink sink;
};

JD_DEVICE JD_INLINE int64_t load_integer(const void *array, int32_t bytes, int64_t at) {
  if (bytes == 4) return static_cast<const int32_t *>(array)[at];
  return static_cast<const int64_t *>(array)[at];
}

JD_DEVICE JD_INLINE int64_t load_id(const Jagged &in, int64_t at) { return load_integer(in.ids, in.id_bytes, at); }

JD_DEVICE JD_INLINE int64_t load_offset(const Jagged &in, int64_t at) {
  return load_integer(in.offsets, in.offset_bytes, at);
}

// Bad values met by one thread: reported at once or, under JD_BOUNDS_ZERO, counted with one addition a warp.
struct Faults {
  uint32_t skipped = 0;

  JD_DEVICE JD_INLINE void meet(const Jagged &in, const Fault &fault) {
    if (in.sink.bounds == JD_BOUNDS_ZERO) {
      ++skipped;
    } else {
      report_fault(in.sink, fault);
    }
  }

  // Every lane of the warp takes part.
  JD_DEVICE JD_INLINE void settle(const Jagged &in) {
    if (!prim::any(skipped != 0)) return;
    uint32_t sum = skipped;
#pragma unroll
    for (int step = 16; step > 0; step /= 2) sum += prim::shfl_xor(sum, step);
    if (prim::lane_id() == 0) prim::atomic_add(&in.sink.record->skipped, static_cast<unsigned long long>(sum));
  }
};

// ids[begin .. begin + length) of bag `bag` (= table * batch + b). A bag with bad offsets is met as a fault and is
// empty, so that no read leaves `ids` whatever the offsets hold. Offsets are checked in every bounds mode.
JD_DEVICE JD_INLINE bool read_bag(const Jagged &in, int64_t bag, int32_t table, bool report, Faults &faults,
                                  int64_t &begin, int64_t &length) {
  const int64_t from = load_offset(in, bag);
  const int64_t to = load_offset(in, bag + 1);
  begin = 0;
  length = 0;
  int32_t fault = JDB_FAULT_NONE;
  int64_t value = to, limit = in.total;
  if (bag == 0 && from != 0) {
    fault = JDB_FAULT_OFFSET_START;
    value = from;
    limit = 0;
  } else if (to < from) {
    fault = JDB_FAULT_OFFSET_ORDER;
    limit = from;
  } else if (to > in.total || (bag == in.bags - 1 && to != in.total)) {
    fault = JDB_FAULT_OFFSET_OVERRUN;
  } else if (from < 0) {
    return false;  // the offset before it has been met as out of order or as a bad start
  }
  if (fault != JDB_FAULT_NONE) {
    if (report) faults.meet(in, Fault{fault, table, bag, value, limit});
    return false;
  }
  begin = from;
  length = to - from;
  return true;
}

// Rows without pooling: the table that holds `position`, or -1.
JD_DEVICE JD_INLINE int find_table(const Jagged &in, int num_tables, int64_t position) {
  int low = 0, high = num_tables;  // low: the last table known to begin at or before position, if any does
  while (high - low > 1) {
    const int middle = low + (high - low) / 2;
    if (load_offset(in, middle * in.batch) <= position) {
      low = middle;
    } else {
      high = middle;
    }
  }
  const bool inside = load_offset(in, low * in.batch) <= position && position < load_offset(in, (low + 1) * in.batch);
  return inside ? low : -1;
}

// Where rows without pooling lie in an output of one block a table: row i of table t at
//
//   sum_{s<t} (ids of s) * dim_s + (i - offsets[t*B]) * dim_t  =  i * dim_t - sum_{0<s<=t} offsets[s*B] * (dim_s - dim_{s-1})
//
// of which only tables that are not as wide as the one before ask for their offset (tables with pooling, which have no such rows, count
// as of width 0). Terms first..t of that sum, every `step`-th; modulo 2^64, for offsets may hold anything.
JD_DEVICE JD_INLINE uint64_t block_terms(const Jagged &in, const TableMeta *tables, int first, int t, int step) {
  uint64_t sum = 0;
#pragma unroll 1
  for (int s = first; s <= t; s += step) {
    const int64_t wider = tables[s].dim_step;
    if (wider != 0) sum += static_cast<uint64_t>(load_offset(in, s * in.batch)) * static_cast<uint64_t>(wider);
  }
  return sum;
}

// The first element of a row of `dim` in blocks of `elements`, or -1 where bad offsets would have it written outside them.
JD_DEVICE JD_INLINE int64_t block_element(int64_t position, int64_t dim, uint64_t terms, int64_t elements) {
  const auto at = static_cast<int64_t>(static_cast<uint64_t>(position) * static_cast<uint64_t>(dim) - terms);
  return at >= 0 && at <= elements - dim ? at : -1;
}

// Whether an id contributes: not the padding id and, unless the caller is trusted, one that the table takes.
JD_DEVICE JD_INLINE bool check_id(const Jagged &in, const TableMeta &table, int64_t id, int64_t position, bool report,
                                  Faults &faults) {
  if (in.has_padding_id && id == in.padding_id) return false;
  if (in.sink.bounds == JD_BOUNDS_TRUST || table.limit == keys::kAnyId) return true;
  if (id >= 0 && id < table.limit) return true;
  const int32_t fault = table.num_functions == 0 ? JDB_FAULT_ID : JDB_FAULT_KEY;
  if (report) faults.meet(in, Fault{fault, table.table, position, id, table.limit});
  return false;
}

// Address of an output element.
JD_DEVICE JD_INLINE void *element_address(void *out, int32_t dtype, int64_t element) {
  return static_cast<char *>(out) + element * (dtype == JD_F32 ? 4 : 2);
}

// Writes consecutive elements of an output row. A table's columns begin at a multiple of 4 elements and output rows are
// 16-byte aligned: 16 bytes at a time for f32, 8 for 16-bit outputs.
template <int kElements>
JD_DEVICE JD_INLINE void store_row(void *target, int32_t dtype, const float (&x)[kElements]) {
  char *to = static_cast<char *>(target);
#pragma unroll
  for (int i = 0; i < kElements; i += 4) {
    if (dtype == JD_F32) {
      prim::store16(to + 4 * i, prim::Vec4u{prim::as_uint(x[i]), prim::as_uint(x[i + 1]), prim::as_uint(x[i + 2]),
                                            prim::as_uint(x[i + 3])});
    } else if (dtype == JD_F16) {
      prim::store8(to + 2 * i, prim::Vec2u{prim::pack_f16x2(x[i], x[i + 1]), prim::pack_f16x2(x[i + 2], x[i + 3])});
    } else {
      prim::store8(to + 2 * i, prim::Vec2u{prim::pack_bf16x2(x[i], x[i + 1]), prim::pack_bf16x2(x[i + 2], x[i + 3])});
    }
  }
}

}  // namespace jindou::embedding

#endif
