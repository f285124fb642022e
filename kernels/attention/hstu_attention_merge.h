// The second kernel of hstu_attention where keys are cut into pieces: out = norm * the sums of the pieces that a row sees something of, in
// their order.
//
// A block owns kThreads groups of four output elements of one sequence, numbered over [query, head, dv / 4]; a thread one group. Reads
// pieces * dv floats a row, from L2 as a rule: bound by latency. Sequences of one piece have their result already.
#ifndef JINDOU_KERNELS_ATTENTION_HSTU_ATTENTION_MERGE_H
#define JINDOU_KERNELS_ATTENTION_HSTU_ATTENTION_MERGE_H

#include "attention/hstu_attention_problem.h"
#include "attention/work_list.h"

namespace jindou::attention {

template <class T>
struct HstuAttentionMergeKernel {
  using Params = HstuAttentionParams<T>;
  using Shared = WorkListShared<128>;

  static constexpr int kThreads = 128;
  static constexpr int kMinBlocks = 4;
  static constexpr size_t shared_bytes() { return sizeof(Shared); }

  JD_DEVICE static void run(const Params &p, char *shared_memory) {
    const int32_t groups = p.shape.dim_v / 4;  // of a row
    const auto units = [&](const HstuSequence &s) { return int64_t{s.queries.length} * p.heads * groups; };
    for_each_item(
        p.batch, *reinterpret_cast<Shared *>(shared_memory),
        [&](int64_t b) -> uint32_t {
          const HstuSequence s = read_hstu_sequence(p, b);
          return p.pieces(s.rows.length) == 1 ? 0 : static_cast<uint32_t>((units(s) + kThreads - 1) / kThreads);
        },
        [&](int64_t b, uint32_t item) {
          const HstuSequence s = read_hstu_sequence(p, b);
          const int64_t at = int64_t{item} * kThreads + prim::thread_idx().x;
          if (at >= units(s)) return;
          const int64_t row = at / groups;
          merge_row(p, s, static_cast<int32_t>(row / p.heads), static_cast<int32_t>(row % p.heads), static_cast<int32_t>(at % groups) * 4);
        });
  }

 private:
  // `query`: of the window's of the sequence.
  JD_DEVICE static void merge_row(const Params &p, const HstuSequence &s, int32_t query, int32_t head, int32_t column) {
    const int32_t pieces = p.pieces(s.rows.length);
    const int32_t row = s.first_row + query;
    const int64_t token = s.queries.begin + query;
    const HstuMask::RowKeys seen = p.mask_of(s.rows.length, s.targets).row_keys(row);
    float out[4] = {};
    for (int32_t piece = 0; piece < pieces; ++piece) {
      if (!seen.meets(row, piece * HstuPieces::kKeys, (piece + 1) * HstuPieces::kKeys)) continue;
      const float *sums = p.partials + p.partial_sums(token, head, piece) + column;
#pragma unroll
      for (int i = 0; i < 4; ++i) out[i] += sums[i];
    }
    const float norm = p.attn_scale != nullptr ? p.attn_scale[token] : p.norm;
    const int64_t at = p.out.at(token, head) + column;
    p.out.store_pair(at, out[0] * norm, out[1] * norm);
    p.out.store_pair(at + 2, out[2] * norm, out[3] * norm);
  }
};

}  // namespace jindou::attention

#endif
