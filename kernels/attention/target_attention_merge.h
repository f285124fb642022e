// The second kernel of target_attention over split histories: out = the merged partial results of a row, in the order
// of the pieces (online_softmax.h).
//
// A block owns kThreads groups of four output elements of one user, numbered over [candidate, head, dv / 4]; a thread
// one group. Reads pieces * (dv + 2) floats a row, from L2 as a rule: bound by latency, hence all pieces' loads are
// independent. Users with one piece have their result already.
#ifndef JINDOU_KERNELS_ATTENTION_TARGET_ATTENTION_MERGE_H
#define JINDOU_KERNELS_ATTENTION_TARGET_ATTENTION_MERGE_H

#include "attention/target_attention_problem.h"
#include "attention/work_list.h"

namespace jindou::attention {

// How many pieces a user's history has.
JD_DEVICE inline int32_t pieces_of(const TargetAttentionUsers &, const User &user) {
  return target_pieces().number(user.history.length);
}

// Four outputs of a row, from `column` on: those of its pieces in their order. row(piece): where a piece's result lies.
template <class Params, class Row>
JD_DEVICE SoftmaxState merge_pieces(const Params &p, int32_t pieces, const Row &row, int32_t column, float (&out)[4]) {
  SoftmaxState state{};
  for (int32_t piece = 0; piece < pieces; ++piece) {
    const int64_t at = row(piece);
    const SoftmaxState newer = p.partial_states[at];
    const float *partial = p.partial_outputs + at * p.shape.dim_v + column;
    if (piece == 0) {
      state = newer;
#pragma unroll
      for (int i = 0; i < 4; ++i) out[i] = partial[i];
    } else {
      const MergeFactors factors = merge(state, newer);
#pragma unroll
      for (int i = 0; i < 4; ++i) out[i] = merge_outputs(out[i], partial[i], factors);
    }
  }
  return state;
}

// Users: TargetAttentionUsers, or what is derived from it with pieces_of of its own.
template <class Users>
struct PiecesMerge {
  using Params = Users;
  using Shared = WorkListShared<128>;

  static constexpr int kThreads = 128;
  static constexpr int kMinBlocks = 4;
  static constexpr size_t shared_bytes() { return sizeof(Shared); }

  JD_DEVICE static void run(const Params &p, char *shared_memory) {
    const int32_t groups = p.shape.dim_v / 4;  // of a row
    for_each_item(
        p.batch, *reinterpret_cast<Shared *>(shared_memory),
        [&](int64_t b) -> uint32_t {
          const User user = read_user(p, b);
          if (pieces_of(p, user) == 1) return 0;
          return static_cast<uint32_t>((rows_of(p, user) * groups + kThreads - 1) / kThreads);
        },
        [&](int64_t b, uint32_t item) {
          const User user = read_user(p, b);
          const int64_t at = int64_t{item} * kThreads + prim::thread_idx().x;
          if (at < rows_of(p, user) * groups) merge_row(p, user, at / groups, static_cast<int32_t>(at % groups) * 4);
        });
  }

 private:
  JD_DEVICE static int64_t rows_of(const Params &p, const User &user) {
    return int64_t{user.candidates.length} * p.kv_heads * p.group;
  }

  JD_DEVICE static void merge_row(const Params &p, const User &user, int64_t row, int32_t column) {
    const int32_t heads = p.kv_heads * p.group;
    const int64_t candidate = user.candidates.begin + row / heads;
    const int32_t head = static_cast<int32_t>(row % heads);
    float out[4] = {};
    const auto row_of = [&](int32_t piece) { return partial_row(p, piece, candidate, head); };
    const SoftmaxState state = merge_pieces(p, pieces_of(p, user), row_of, column, out);
    const float normalizer = p.normalizer(state.sum);
    const int64_t at = p.out.at(candidate, head) + column;
    p.out.store_pair(at, out[0] * normalizer, out[1] * normalizer);
    p.out.store_pair(at + 2, out[2] * normalizer, out[3] * normalizer);
  }
};

struct TargetAttentionMergeKernel : PiecesMerge<TargetAttentionUsers> {};

}  // namespace jindou::attention

#endif
