// sequence_embedding among the kernels of an instruction set (kernel_table.h).
#ifndef JINDOU_CPU_KERNELS_SEQUENCE_TABLE_H
#define JINDOU_CPU_KERNELS_SEQUENCE_TABLE_H

#include <stdint.h>

#include "embedding/sequence_places.h"

namespace jindou::cpu {

struct EmbeddingTask;

// Rows of positions or buckets. `rows` is null for an absent table.
struct PlaceRows {
  const char *rows;
  int64_t row_bytes;
  int32_t dtype;               // of codes JD_F32: what they become
  const EmbeddingTask *codes;  // null: rows are numbers; else how they are read
};

// Events first..last-1 of all sequences together.
struct SequenceTask {
  const EmbeddingTask *tables;  // [num_tables]: rows, ids, bounds and padding are read
  const int32_t *columns;       // [num_tables]: first column of each; all 0 for sums
  int32_t num_tables, width, offset_dtype, out_dtype;
  float scale;
  PlaceRows positions, times;
  const SequencePlaces *places;
  const void *offsets;
  int64_t batch;
  const int64_t *timestamps;   // with `times`
  const int64_t *query_times;  // or null: of the sequence's last event
  const int32_t *num_targets;  // or null
  char *out;
  int64_t out_row_bytes;
  int64_t first, last, total;
  int32_t block;   // events at a time
  float *scratch;  // [block][width]
  float *widened;  // [2][width], where positions or times are codes
};

// The bad id at the lowest position of a task (the caller's table * total + event), and how many there were; `table` is one of the
// task's.
struct SequenceFindings {
  int64_t bad_ids, position, id;
  int32_t table;
};

struct SequenceKernels {
  void (*sequence_embedding)(const SequenceTask &, SequenceFindings &);
};

}  // namespace jindou::cpu

#endif
