// Moves what the kernels of a graph found into the record of the stream it was launched on.
//
// A graph is recorded on one stream and launched on any other, also after the first is gone. Its kernels therefore report to a
// record of the graph's own, and this kernel is its last node: into the record of the stream of the launch, which keeps an
// earlier error. The record comes out empty, ready for the next launch. One thread; launches of a graph never overlap.
#ifndef JINDOU_KERNELS_CUDA_MERGE_FAULTS_H
#define JINDOU_KERNELS_CUDA_MERGE_FAULTS_H

#include "faults.h"
#include "primitives/primitives.h"

namespace jindou::cuda_backend {

struct MergeFaultsKernel {
  struct Params {
    FaultRecord *from;
    FaultRecord *into;
  };
  static constexpr int kThreads = 32;
  static constexpr int kMinBlocks = 1;
  static constexpr size_t shared_bytes() { return 0; }

  JD_DEVICE static void run(const Params &p, char *) {
    if (prim::thread_idx().x != 0) return;
    p.into->skipped += p.from->skipped;
    p.from->skipped = 0;
    if (p.from->has_error == 0) return;
    if (p.into->has_error == 0) {
      p.into->position = p.from->position;
      p.into->fault = p.from->fault;
      p.into->op = p.from->op;
      p.into->table = p.from->table;
      p.into->value = p.from->value;
      p.into->limit = p.from->limit;
      p.into->launch = 0;  // before every later run of the stream: those count from 1
      p.into->has_error = 1;
    }
    p.from->has_error = 0;
  }
};

}  // namespace jindou::cuda_backend

#endif
