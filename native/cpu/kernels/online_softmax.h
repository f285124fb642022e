// Softmax over keys that come in blocks, for the lanes of a tile (kernels/attention_tile.h), in powers of two.
//
// With every block the maximum m, the sum l and the sums o of a lane move to the new maximum and the block is added. log2(e) is
// folded into the scores. Lanes never meet, so that a row's bits do not depend on the rows beside it; a block of which a lane sees
// nothing leaves the lane's bits as they are.
#ifndef JINDOU_CPU_KERNELS_ONLINE_SOFTMAX_H
#define JINDOU_CPU_KERNELS_ONLINE_SOFTMAX_H

#include "cpu/kernels/attention_tile.h"

namespace jindou::cpu {
namespace {

// A score not above this hides its key. Finite: differences of two of them are numbers.
constexpr float kHidden = -0x1p100f;

template <class Isa, bool kBf16Pairs>
struct OnlineSoftmax {
  using Tile = AttentionTile<Isa, kBf16Pairs>;
  using F = typename Isa::F;
  static constexpr int kWidth = Isa::kWidth;
  static constexpr int kLanes = Tile::kLanes;
  static constexpr bool kPairs = Tile::kPairs;
  static constexpr int kExpDegree = kPairs ? 3 : 5;  // weights are rounded to bf16 where pairs are
  static constexpr int kAbreast = 4;                 // vectors of exponentials side by side

  // Softmax over some keys: maximum (base 2 logarithm), sum of weights, weighted sum of values.
  struct State {
    float *m, *l, *o;  // [kLanes], [kLanes], [dim_v][kLanes]
    explicit State(float *memory) : m(memory), l(memory + kLanes), o(memory + 2 * kLanes) {}
  };
  static size_t state_floats(const Tile &tile) { return 2 * kLanes + tile.out_floats(); }

  // No key seen.
  static void clear(const State &state, int dim_v, int vectors, float maximum) {
    for (int i = 0; i < vectors * kWidth; i += kWidth) {
      Isa::store(state.m + i, Isa::set(maximum));
      Isa::store(state.l + i, Isa::zero());
      for (int d = 0; d < dim_v; ++d) Isa::store(state.o + d * kLanes + i, Isa::zero());
    }
  }

  // a = the softmax over the keys of both; one of them has a key.
  static void merge(const State &a, const State &b, int dim_v, int vectors) {
    for (int i = 0; i < vectors * kWidth; i += kWidth) {
      const F top = Isa::max(Isa::load(a.m + i), Isa::load(b.m + i));
      const F from_a = exp2<Isa>(Isa::sub(Isa::load(a.m + i), top));
      const F from_b = exp2<Isa>(Isa::sub(Isa::load(b.m + i), top));
      Isa::store(a.m + i, top);
      Isa::store(a.l + i, Isa::fma(Isa::load(b.l + i), from_b, Isa::mul(Isa::load(a.l + i), from_a)));
      for (int d = 0; d < dim_v; ++d) {
        float *o = a.o + d * kLanes + i;
        Isa::store(o, Isa::fma(Isa::load(b.o + d * kLanes + i), from_b, Isa::mul(Isa::load(o), from_a)));
      }
    }
  }

  // 2^(score - top); kHiding: nothing for a hidden key. A NaN stays one.
  template <bool kHiding, int N>
  JD_SIMD void weights_of(F top, F (&x)[N]) {
    F hidden[N];
    if constexpr (kHiding) {
#pragma GCC unroll 8
      for (int n = 0; n < N; ++n) hidden[n] = x[n];
    }
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) x[n] = Isa::sub(x[n], top);
    exp2<Isa, kExpDegree>(x);
    if constexpr (kHiding) {
#pragma GCC unroll 8
      for (int n = 0; n < N; ++n) x[n] = Isa::sub(x[n], Isa::keep(Isa::less(hidden[n], Isa::set(0.99f * kHidden)), x[n]));
    }
  }

  // Moves m and l of the lanes to the new maximum `maximum`, gives the factor by which their older sums shrink, and turns the
  // scores of keys begin..end-1 of a block, begin even, into weights.
  template <int N, bool kHiding>
  static __attribute__((noinline)) void weigh(float *s, int begin, int end, const State &state, const float *maximum,
                                              float *factor) {
    for (int n = 0; n < N * kWidth; n += kWidth) {
      const F top = Isa::load(maximum + n);
      const F older = exp2<Isa>(Isa::sub(Isa::load(state.m + n), top));
      F sum = Isa::zero();
      int j = begin;
      if constexpr (kPairs) {
        for (; j + 1 < end; j += 2) {
          const float *at = s + j * kLanes + n;
          F x[2] = {Isa::load(at), Isa::load(at + kLanes)};
          weights_of<kHiding>(top, x);
          sum = Isa::add(sum, Isa::add(x[0], x[1]));
          Isa::store(s + j / 2 * kLanes + n, Isa::bf16_pairs(x[0], x[1]));
        }
        if (j < end) {
          F x[1] = {Isa::load(s + j * kLanes + n)};
          weights_of<kHiding>(top, x);
          sum = Isa::add(sum, x[0]);
          Isa::store(s + j / 2 * kLanes + n, Isa::bf16_pairs(x[0], Isa::zero()));
        }
      } else {
        for (; j + kAbreast <= end; j += kAbreast) {
          float *at = s + j * kLanes + n;
          F x[kAbreast];
#pragma GCC unroll 8
          for (int i = 0; i < kAbreast; ++i) x[i] = Isa::load(at + i * kLanes);
          weights_of<kHiding>(top, x);
#pragma GCC unroll 8
          for (int i = 0; i < kAbreast; ++i) {
            sum = Isa::add(sum, x[i]);
            Isa::store(at + i * kLanes, x[i]);
          }
        }
        for (; j < end; ++j) {
          float *at = s + j * kLanes + n;
          F x[1] = {Isa::load(at)};
          weights_of<kHiding>(top, x);
          sum = Isa::add(sum, x[0]);
          Isa::store(at, x[0]);
        }
      }
      Isa::store(factor + n, older);
      Isa::store(state.m + n, top);
      Isa::store(state.l + n, Isa::fma(Isa::load(state.l + n), older, sum));
    }
  }
};

}  // namespace
}  // namespace jindou::cpu

#endif
