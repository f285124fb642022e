// The rows of a tile between the products: how target_attention's running results start, rest between pieces, and end.
// One text for tensor cores and for FMA, which differ in the elements a thread holds.
//
// Accumulators `A`: kRows rows and kColumns columns a thread; out(r, c) -> float &; top[kRows], sum[kRows] as in
// online_softmax.h. Place `P`, a thread's part of the tile: thread; row(r); column(c), even c and c + 1 being
// neighbours; leads(), true for one of the threads that share a row; add(x), the sum of x over them. A Place is made
// anew in every phase from prim::opaque_thread_index: kept, it would cost the loop over keys its registers.
#ifndef JINDOU_KERNELS_ATTENTION_TARGET_ATTENTION_ROWS_H
#define JINDOU_KERNELS_ATTENTION_TARGET_ATTENTION_ROWS_H

#include "attention/silu.h"
#include "attention/target_attention_problem.h"

namespace jindou::attention {

// One block's scratch between pieces, in shared memory.
struct ParkedRows {
  float *outputs;
  SoftmaxState *states;
};

// No key yet. Without a softmax `top` stays 0, so that merging two results adds them.
template <class A>
JD_DEVICE void start_empty(bool is_silu, A &acc) {
#pragma unroll
  for (int r = 0; r < A::kRows; ++r) {
    acc.top[r] = is_silu ? 0.0f : -INFINITY;
    acc.sum[r] = 0.0f;
#pragma unroll
    for (int c = 0; c < A::kColumns; ++c) acc.out(r, c) = 0.0f;
  }
}

// A candidate's own key, with score `dot(local row, its key)` added up over the threads of the row, is its first; its
// own value the output so far, weighted where there is no softmax. Rows past the user's last stay empty.
template <class P, class A, class T, class Dot>
JD_DEVICE void start_with_own_keys(const TargetAttentionParams<T> &p, const TargetAttentionItem &work, const P &place,
                                   const Dot &dot, A &acc) {
#pragma unroll
  for (int r = 0; r < A::kRows; ++r) {
    const TargetAttentionRow row = read_row(p.users, work, place.row(r));
    const float part = row.valid ? dot(place.row(r), p.candidate_keys.at(row.candidate, work.kv_head)) : 0.0f;
    const float score = place.add(part);
    if (!row.valid) continue;
    if (!p.users.is_silu()) {
      acc.top[r] = score;
      acc.sum[r] = place.leads() ? 1.0f : 0.0f;
    }
    const T *value = p.candidate_values.at(row.candidate, work.kv_head);
#pragma unroll
    for (int c = 0; c < A::kColumns; c += 2) {
      if (place.column(c) < p.users.shape.dim_v)
        load_pair(value + place.column(c), p.users.shape.dtype, acc.out(r, c), acc.out(r, c + 1));
    }
    if (p.users.is_silu()) {
      const float weight = silu(score * p.scale);
#pragma unroll
      for (int c = 0; c < A::kColumns; ++c) acc.out(r, c) *= weight;
    }
  }
}

// Until here a thread has summed its own weights, and the maximum is in units of its scores.
template <class P, class A>
JD_DEVICE void finish_states(const P &place, float scale, A &acc) {
#pragma unroll
  for (int r = 0; r < A::kRows; ++r) {
    acc.sum[r] = place.add(acc.sum[r]);
    acc.top[r] *= scale;
  }
}

// A thread parks its accumulators in words of its own.
template <int kThreads, class P, class A>
JD_DEVICE void park(const ParkedRows &parked, const P &place, A &acc) {
#pragma unroll
  for (int r = 0; r < A::kRows; ++r) {
    parked.states[r * kThreads + place.thread] = SoftmaxState{acc.top[r], acc.sum[r]};
#pragma unroll
    for (int c = 0; c < A::kColumns; ++c)
      parked.outputs[(r * A::kColumns + c) * kThreads + place.thread] = acc.out(r, c);
  }
}

// acc := what was parked and the newer acc together.
template <int kThreads, class P, class A>
JD_DEVICE void merge_parked(const ParkedRows &parked, const P &place, A &acc) {
#pragma unroll
  for (int r = 0; r < A::kRows; ++r) {
    SoftmaxState older = parked.states[r * kThreads + place.thread];
    const MergeFactors factors = merge(older, SoftmaxState{acc.top[r], acc.sum[r]});
    acc.top[r] = older.top;
    acc.sum[r] = older.sum;
#pragma unroll
    for (int c = 0; c < A::kColumns; ++c) {
      const float before = parked.outputs[(r * A::kColumns + c) * kThreads + place.thread];
      acc.out(r, c) = merge_outputs(before, acc.out(r, c), factors);
    }
  }
}

// For the merge kernel.
template <class P, class A>
JD_DEVICE void store_partial(const TargetAttentionUsers &p, const TargetAttentionItem &work, const P &place,
                             int32_t piece, A &acc) {
#pragma unroll
  for (int r = 0; r < A::kRows; ++r) {
    const TargetAttentionRow row = read_row(p, work, place.row(r));
    if (!row.valid) continue;
    const int64_t at = partial_row(p, piece, row.candidate, row.head);
    if (place.leads()) p.partial_states[at] = SoftmaxState{acc.top[r], acc.sum[r]};
    float *out = p.partial_outputs + at * p.shape.dim_v;
#pragma unroll
    for (int c = 0; c < A::kColumns; c += 2) {
      if (place.column(c) >= p.shape.dim_v) continue;
      prim::store8(out + place.column(c),
                   prim::Vec2u{prim::as_uint(acc.out(r, c)), prim::as_uint(acc.out(r, c + 1))});
    }
  }
}

template <class P, class A>
JD_DEVICE void store_out(const TargetAttentionUsers &p, const TargetAttentionItem &work, const P &place, A &acc) {
#pragma unroll
  for (int r = 0; r < A::kRows; ++r) {
    const TargetAttentionRow row = read_row(p, work, place.row(r));
    if (!row.valid) continue;
    const float normalizer = p.is_silu() ? p.silu_norm : softmax_normalizer(acc.sum[r]);
    const int64_t at = p.out.at(row.candidate, row.head);
#pragma unroll
    for (int c = 0; c < A::kColumns; c += 2) {
      if (place.column(c) >= p.shape.dim_v) continue;
      p.out.store_pair(at + place.column(c), acc.out(r, c) * normalizer, acc.out(r, c + 1) * normalizer);
    }
  }
}

}  // namespace jindou::attention

#endif
