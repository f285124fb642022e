// What kernels report when only they can see that an input is bad: an id past its table, offsets that decrease, a
// sequence longer than declared. They skip the offender (nothing outside a tensor is ever read or written) and call
// `report_fault`.
//
// STRICT operators write the first offender of a stream: the lowest (launch, position), whichever block comes first.
// The record is guarded by a spin lock that only faulty input ever touches. ZERO operators count what they skipped.
#ifndef JINDOU_KERNELS_FAULTS_H
#define JINDOU_KERNELS_FAULTS_H

#include <stdint.h>

#include "core/backend.h"
#include "primitives/primitives.h"

namespace jindou {

// One a stream, in device memory. All zero bytes = nothing found; a backend copies it to the host when it synchronises
// (see `report_of`) and zeroes it.
struct FaultRecord {
  uint32_t lock;
  int32_t has_error;
  int32_t fault;  // JDB_FAULT_*
  int32_t op;     // JDB_OP_*
  int32_t table;
  uint32_t launch;
  int64_t position;
  int64_t value;
  int64_t limit;
  unsigned long long skipped;
};

// Where and how a launch reports; part of every kernel's Params that checks its input.
struct FaultSink {
  FaultRecord *record;  // device memory
  uint32_t launch;      // number of this run among the runs of the stream
  int32_t op;           // JDB_OP_*
  int32_t bounds;       // JD_BOUNDS_STRICT or JD_BOUNDS_ZERO
};

struct Fault {
  int32_t fault;  // JDB_FAULT_*; JDB_FAULT_NONE = 0
  int32_t table;  // embedding table, else -1
  int64_t position;
  int64_t value;
  int64_t limit;
};

// Volatile: another multiprocessor may have written the record last.
JD_DEVICE inline bool is_first_offender(const volatile FaultRecord *record, uint32_t launch, int64_t position) {
  if (record->has_error == 0) return true;
  prim::threadfence();
  const uint32_t known = record->launch;
  prim::threadfence();
  return launch != known ? launch < known : position < record->position;
}

// Reports one offender. To be called once for each, by one thread.
JD_DEVICE inline void report_fault(const FaultSink &sink, const Fault &f) {
  FaultRecord *record = sink.record;
  if (sink.bounds == JD_BOUNDS_ZERO) {
    prim::atomic_add(&record->skipped, 1ull);
    return;
  }
  // Asked once without the lock, so that a million bad ids do not queue for it. Safe because the record is written in
  // the order position, launch, has_error, and during one launch its position only falls.
  for (bool done = !is_first_offender(record, sink.launch, f.position); !done;) {
    if (prim::atomic_cas(&record->lock, 0u, 1u) != 0u) continue;
    prim::threadfence();
    if (is_first_offender(record, sink.launch, f.position)) {
      volatile FaultRecord *first = record;
      first->position = f.position;
      first->fault = f.fault;
      first->op = sink.op;
      first->table = f.table;
      first->value = f.value;
      first->limit = f.limit;
      prim::threadfence();
      first->launch = sink.launch;
      prim::threadfence();
      first->has_error = 1;
    }
    prim::threadfence();
    prim::atomic_exch(&record->lock, 0u);
    done = true;
  }
}

// Host side: a record copied back, as the table of functions between core and a backend gives it.
inline jdb_report report_of(const FaultRecord &record) {
  jdb_report report{};
  report.has_error = record.has_error;
  report.fault = record.fault;
  report.op = record.op;
  report.table = record.has_error ? record.table : -1;
  report.position = record.position;
  report.value = record.value;
  report.limit = record.limit;
  report.skipped = static_cast<int64_t>(record.skipped);
  return report;
}

}  // namespace jindou

#endif
