// rq_encode and rq_decode among the kernels of an instruction set (kernel_table.h). Strides count elements.
#ifndef JINDOU_CPU_KERNELS_RQ_TABLE_H
#define JINDOU_CPU_KERNELS_RQ_TABLE_H

#include <stddef.h>
#include <stdint.h>

namespace jindou::cpu {

// Codes of one level and panel.
struct RqPackTask {
  const float *from;  // the panel's first code
  int64_t code_stride;
  int32_t dim, codes;  // codes: 1..rq_lanes
  float *packed;       // [dim][rq_lanes]
  float *start;        // [rq_lanes]: -|c|^2 / 2; -inf past the last code
};

struct RqEncodeTask {
  int32_t dtype, dim, levels, num_codes;
  int64_t panels;  // a level
  const void *x;
  int64_t x_stride;
  const float *packed, *start;  // of all levels and panels
  const float *codebooks;
  int64_t level_stride, code_stride;
  int32_t *codes;
  int64_t codes_stride;
  float *residual_norm;  // or null
  int64_t first_row, last_row;
  float *scratch;
};

struct RqDecodeTask {
  int32_t out_dtype, bounds, dim, levels, num_codes;
  const int32_t *codes;
  int64_t codes_stride;
  const float *codebooks;
  int64_t level_stride, code_stride;
  void *out;
  int64_t out_stride;
  int64_t first_row, last_row;
};

// The first bad code of a task and how many there were.
struct RqFindings {
  int64_t bad_codes, position;
  int32_t level, code;
};

struct RqKernels {
  int rq_lanes;  // codes of a panel
  int rq_group;  // rows that share a reading of the codebooks
  size_t (*rq_scratch)(int32_t dim);  // floats, of a worker
  void (*rq_pack)(const RqPackTask &);
  void (*rq_encode)(const RqEncodeTask &);
  void (*rq_decode)(const RqDecodeTask &, RqFindings &);
};

}  // namespace jindou::cpu

#endif
