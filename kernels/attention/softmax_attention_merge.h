// The second kernel of softmax_attention over sequences cut into pieces: out and lse = the merged partial results of a
// row, in the order of the pieces (online_softmax.h).
//
// A block owns kThreads groups of four output elements of one sequence, numbered over [query, head, dv / 4]; a thread one
// group. Reads pieces * (dv + 2) floats a row, from L2 as a rule: bound by latency. Sequences of one piece have their
// result already.
#ifndef JINDOU_KERNELS_ATTENTION_SOFTMAX_ATTENTION_MERGE_H
#define JINDOU_KERNELS_ATTENTION_SOFTMAX_ATTENTION_MERGE_H

#include "attention/softmax_attention_problem.h"
#include "attention/work_list.h"

namespace jindou::attention {

struct SoftmaxAttentionMergeKernel {
  using Params = SoftmaxAttentionSequences;
  using Shared = WorkListShared<128>;

  static constexpr int kThreads = 128;
  static constexpr int kMinBlocks = 4;
  static constexpr size_t shared_bytes() { return sizeof(Shared); }

  JD_DEVICE static void run(const Params &p, char *shared_memory) {
    const int32_t groups = p.shape.dim_v / 4;  // of a row
    const int32_t heads = p.kv_heads * p.group;
    for_each_item(
        p.batch, *reinterpret_cast<Shared *>(shared_memory),
        [&](int64_t b) -> uint32_t {
          const SoftmaxSequence s = read_softmax_sequence(p, b);
          if (pieces_of(p, s).count == 1) return 0;
          return static_cast<uint32_t>((int64_t{s.queries.length} * heads * groups + kThreads - 1) / kThreads);
        },
        [&](int64_t b, uint32_t item) {
          const SoftmaxSequence s = read_softmax_sequence(p, b);
          const int64_t at = int64_t{item} * kThreads + prim::thread_idx().x, row = at / groups;
          if (row >= int64_t{s.queries.length} * heads) return;
          merge_row(p, pieces_of(p, s).count, s.queries.begin + row / heads, static_cast<int32_t>(row % heads),
                    static_cast<int32_t>(at % groups) * 4);
        });
  }

 private:
  JD_DEVICE static void merge_row(const Params &p, int32_t pieces, int64_t token, int32_t head, int32_t column) {
    SoftmaxState state{-INFINITY, 0.0f};
    float out[4] = {};
    for (int32_t piece = 0; piece < pieces; ++piece) {
      const int64_t at = partial_row(p, piece, token, head);
      const SoftmaxState newer = p.partial_states[at];
      if (newer.top == -INFINITY) continue;  // its outputs may never have been written
      const float *partial = p.partial_outputs + at * p.shape.dim_v + column;
      const MergeFactors factors = merge(state, newer);
#pragma unroll
      for (int i = 0; i < 4; ++i) out[i] = merge_outputs(out[i], partial[i], factors);
    }
    const float normalizer = softmax_normalizer(state.sum);
    const int64_t at = p.out.at(token, head) + column;
    p.out.store_pair(at, out[0] * normalizer, out[1] * normalizer);
    p.out.store_pair(at + 2, out[2] * normalizer, out[3] * normalizer);
    if (column == 0) store_lse(p, token, head, state.top, state.sum);
  }
};

}  // namespace jindou::attention

#endif
