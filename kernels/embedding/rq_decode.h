// rq_decode: out = sum of the codebook rows that a row of codes names, in the order of levels.
//
// codes [n, L] int32; codebooks [L, K, d] f32; out [n, d] in f32, f16 or bf16. Strides free.
//
// Work: a thread owns four columns of a row. All threads of a row read the same codes (broadcasts) and write neighbouring
// columns; thread 0 of a row reports codes out of range, which contribute nothing.
//
// Floor: bytes = n * (L * 4 + d * output bytes) and the codebooks, which L2 holds: bandwidth bound by the output.
#ifndef JINDOU_KERNELS_EMBEDDING_RQ_DECODE_H
#define JINDOU_KERNELS_EMBEDDING_RQ_DECODE_H

#include <stdint.h>

#include "blocks/float4.h"
#include "embedding/bags.h"
#include "faults.h"

namespace jindou::embedding {

struct RqDecodeKernel {
  static constexpr int kThreads = 256;
  static constexpr int kMinBlocks = 6;
  static constexpr size_t shared_bytes() { return 0; }

  struct Params {
    const int32_t *codes;
    const float *codebooks;
    void *out;
    int64_t n, codes_stride, level_stride, code_stride, out_stride;
    int32_t out_dtype;
    int32_t levels, num_codes;
    int32_t vectors;  // d / 4
    FaultSink sink;
  };

  JD_DEVICE static void run(const Params &p, char *) {
    const int64_t at = static_cast<int64_t>(prim::block_idx().x) * kThreads + prim::thread_idx().x;
    const int64_t row = at / p.vectors;
    if (row >= p.n) return;
    const int vector = static_cast<int>(at % p.vectors);
    float sum[4] = {};
#pragma unroll 1
    for (int level = 0; level < p.levels; ++level) {
      const int32_t code = p.codes[row * p.codes_stride + level];
      if (p.sink.bounds != JD_BOUNDS_TRUST && static_cast<uint32_t>(code) >= static_cast<uint32_t>(p.num_codes)) {
        if (vector == 0) report_fault(p.sink, Fault{JDB_FAULT_ID, level, row * p.levels + level, code, p.num_codes});
        continue;
      }
      const blocks::Float4 c = blocks::load(p.codebooks + level * p.level_stride + code * p.code_stride + 4 * vector);
      sum[0] += c.x;
      sum[1] += c.y;
      sum[2] += c.z;
      sum[3] += c.w;
    }
    store_row(element_address(p.out, p.out_dtype, row * p.out_stride + 4 * vector), p.out_dtype, sum);
  }
};

}  // namespace jindou::embedding

#endif
