// Where the running results of a tile of candidates (tile_results.h) go, and how they start where each candidate has a key
// of its own.
#ifndef JINDOU_KERNELS_ATTENTION_TARGET_ATTENTION_ROWS_H
#define JINDOU_KERNELS_ATTENTION_TARGET_ATTENTION_ROWS_H

#include "attention/silu.h"
#include "attention/target_attention_problem.h"
#include "attention/tile_results.h"

namespace jindou::attention {

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

// For the merge kernel.
template <class P, class A>
JD_DEVICE void store_partial(const TargetAttentionUsers &p, const TargetAttentionItem &work, const P &place,
                             int32_t piece, A &acc) {
  store_partials(p.partial_outputs, p.partial_states, p.shape.dim_v, place, acc, [&](int local) -> int64_t {
    const TargetAttentionRow row = read_row(p, work, local);
    return row.valid ? partial_row(p, piece, row.candidate, row.head) : -1;
  });
}

template <class P, class A>
JD_DEVICE void store_out(const TargetAttentionUsers &p, const TargetAttentionItem &work, const P &place, A &acc) {
  const auto element = [&](int local) -> int64_t {
    const TargetAttentionRow row = read_row(p, work, local);
    return row.valid ? p.out.at(row.candidate, row.head) : -1;
  };
  store_results(p.out, p.shape.dim_v, place, acc, element, [&](float sum) { return p.normalizer(sum); });
}

}  // namespace jindou::attention

#endif
