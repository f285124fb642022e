// Where the running results of a tile of queries (tile_results.h) go.
#ifndef JINDOU_KERNELS_ATTENTION_SOFTMAX_ATTENTION_ROWS_H
#define JINDOU_KERNELS_ATTENTION_SOFTMAX_ATTENTION_ROWS_H

#include "attention/softmax_attention_problem.h"
#include "attention/tile_results.h"

namespace jindou::attention {

// For the merge kernel.
template <class P, class A>
JD_DEVICE void store_partial(const SoftmaxAttentionSequences &p, const SoftmaxItem &item, const P &place, int32_t piece, A &acc) {
  store_partials(p.partial_outputs, p.partial_states, p.shape.dim_v, place, acc, [&](int local) {
    const SoftmaxRow row = read_row(p, item, local);
    return row.valid ? partial_row(p, piece, row.token, row.head) : -1;
  });
}

template <class P, class A>
JD_DEVICE void store_out(const SoftmaxAttentionSequences &p, const SoftmaxItem &item, const P &place, A &acc) {
  const auto element = [&](int local) {
    const SoftmaxRow row = read_row(p, item, local);
    return row.valid ? p.out.at(row.token, row.head) : -1;
  };
  store_results(p.out, p.shape.dim_v, place, acc, element, [](float sum) { return softmax_normalizer(sum); });
#pragma unroll
  for (int r = 0; r < A::kRows; ++r) {
    const SoftmaxRow row = read_row(p, item, place.row(r));
    if (row.valid && place.leads()) store_lse(p, row.token, row.head, acc.top[r], acc.sum[r]);
  }
}

}  // namespace jindou::attention

#endif
