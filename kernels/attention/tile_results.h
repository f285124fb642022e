// The running results of a tile of rows: how they start, take in the weights of a tile of keys, rest between pieces, and
// end. One text for tensor cores and for FMA, which differ in the elements a thread holds.
//
// Accumulators `A`: kRows rows and kColumns columns a thread; out(r, c) -> float &; top[kRows], sum[kRows] as in
// online_softmax.h. Place `P`, a thread's part of the tile: thread; row(r); column(c), even c and c + 1 being
// neighbours; leads(), true for one of the threads that share a row; add(x), highest(x): over them. A Place is made
// anew in every phase from prim::opaque_thread_index: kept, it would cost the loop over keys its registers.
#ifndef JINDOU_KERNELS_ATTENTION_TILE_RESULTS_H
#define JINDOU_KERNELS_ATTENTION_TILE_RESULTS_H

#include "attention/jagged.h"
#include "attention/online_softmax.h"

namespace jindou::attention {

// Core::Accumulators with the state of each row.
template <class Core>
struct TileResults : Core::Accumulators {
  float top[Core::Accumulators::kRows];
  float sum[Core::Accumulators::kRows];
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

// Scores of a tile of keys become weights. After the first tiles the maximum of a row rarely rises: then nothing is
// rescaled.
template <class P, class Scores, class A>
JD_DEVICE void weigh_tile(Scores &scores, float scale, A &acc) {
  float factor[A::kRows];
  bool risen = false;
#pragma unroll
  for (int r = 0; r < A::kRows; ++r) {
    factor[r] = weigh_row<Scores::kCount>([&](int i) -> float & { return scores.at(r, i); }, scale, acc.top[r],
                                          acc.sum[r], [](float x) { return P::highest(x); });
    risen |= factor[r] != 1.0f;
  }
  if (!prim::any(risen)) return;
#pragma unroll
  for (int r = 0; r < A::kRows; ++r) {
#pragma unroll
    for (int c = 0; c < A::kColumns; ++c) acc.out(r, c) *= factor[r];
  }
}

// Until here a thread has summed its own weights, and the maximum is in units of its scores. Its product is rounded here,
// in every kernel: a compiler may join none but its own products with sums.
template <class P, class A>
JD_DEVICE void finish_states(const P &place, float scale, A &acc) {
#pragma unroll
  for (int r = 0; r < A::kRows; ++r) {
    acc.sum[r] = place.add(acc.sum[r]);
    acc.top[r] = prim::fma(acc.top[r], scale, 0.0f);
  }
}

// One block's scratch between pieces.
struct ParkedRows {
  float *outputs;
  SoftmaxState *states;
};

// In floats and states: every thread keeps the states of its rows.
template <class Core>
struct ParkingSpace {
  static constexpr int64_t kOutputs = int64_t{Core::kRows} * Core::kD;
  static constexpr int64_t kStates = int64_t{Core::kThreads} * Core::Accumulators::kRows;

  JD_DEVICE static ParkedRows of_block(float *outputs, SoftmaxState *states) {
    return ParkedRows{outputs + prim::block_idx().x * kOutputs, states + prim::block_idx().x * kStates};
  }
};

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

// For a merge kernel: states [n], outputs [n, dim_v]. number(local row) -> int64_t: where in them, -1 for a row past the
// last.
template <class P, class A, class Number>
JD_DEVICE void store_partials(float *outputs, SoftmaxState *states, int32_t dim_v, const P &place, A &acc,
                              const Number &number) {
#pragma unroll
  for (int r = 0; r < A::kRows; ++r) {
    const int64_t at = number(place.row(r));
    if (at < 0) continue;
    if (place.leads()) states[at] = SoftmaxState{acc.top[r], acc.sum[r]};
#pragma unroll
    for (int c = 0; c < A::kColumns; c += 2) {
      if (place.column(c) >= dim_v) continue;
      prim::store8(outputs + at * dim_v + place.column(c),
                   prim::Vec2u{prim::as_uint(acc.out(r, c)), prim::as_uint(acc.out(r, c + 1))});
    }
  }
}

// element(local row) -> int64_t: where the row's output begins, -1 for a row past the last; normalizer(sum of the row's
// weights) -> float.
template <class P, class A, class Element, class Normalizer>
JD_DEVICE void store_results(const OutRows &out, int32_t dim_v, const P &place, A &acc, const Element &element,
                             const Normalizer &normalizer) {
#pragma unroll
  for (int r = 0; r < A::kRows; ++r) {
    const int64_t at = element(place.row(r));
    if (at < 0) continue;
    const float factor = normalizer(acc.sum[r]);
#pragma unroll
    for (int c = 0; c < A::kColumns; c += 2) {
      if (place.column(c) >= dim_v) continue;
      out.store_pair(at + place.column(c), acc.out(r, c) * factor, acc.out(r, c + 1) * factor);
    }
  }
}

}  // namespace jindou::attention

#endif
