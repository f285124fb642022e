// din_attention: DIN's activation unit (jindou/din_attention.h), many candidates against one history.
//
//   logit_ij = w3 f(W2 f(A_i k_j + c_i) + b2) + b3      A_i = (Wk - Wd) + Wp diag(q_i)      c_i = b1 + (Wq + Wd) q_i
//   out_i = sum_j logit_ij v_j, or with a softmax over j
//
// where W1 = [Wq Wk Wd Wp] are the columns of q, k, q - k and q * k. A_i is folded once for a candidate and segment of the history,
// as dear as one event. So a pair takes d h1 + h1 h2 + h2 multiply-adds, where [q; k; q - k; q * k] would take 4 d h1 + h1 h2 + h2
// (d = 64, h 80 and 40: 8,360, not 23,720), h1 + h2 activations (an exponential each, but for PReLU), and dv multiply-adds of the values.
// Bytes: the history once a task. So the FMA rate is the bound.
//
// Events are the lanes of vectors: a segment's keys are transposed once for all candidates of the task ([d][L] a block of
// L = kVectors * kWidth events), weights and folded weights are broadcast, activations work lane by lane. Register tile as in
// attention_tile.h: kRows units x kVectors vectors of events. Both layers of a block stay in L1.
//
// Where an instruction multiplies bf16 (kBf16Pairs) a float holds two neighbours of the summed dimension: the folded weights, the first
// layer's units and the second's weights are rounded to bf16, keys are as they came; sums, biases and the rest are f32.
//
// Softmax works by segments: maximum (base 2 logarithm), sum, weighted values of each from nothing, merged in order. Candidates never
// meet, so a candidate's bits depend on its own row, its user's history and the network alone.
#ifndef JINDOU_CPU_KERNELS_DIN_ATTENTION_H
#define JINDOU_CPU_KERNELS_DIN_ATTENTION_H

#include "cpu/kernels/kernel_table.h"
#include "cpu/simd/math.h"

namespace jindou::cpu {
namespace {

template <class Isa, bool kBf16Pairs>
struct DinAttention {
  using F = typename Isa::F;
  static constexpr bool kPairs = kBf16Pairs;
  static constexpr int kInFloat = kPairs ? 2 : 1;  // elements of the summed dimension in a float
  static constexpr int kWidth = Isa::kWidth;
  static constexpr int kVectors = Isa::kVectors;
  static constexpr int kRows = Isa::kRows;
  static constexpr int kLanes = kVectors * kWidth;
  static constexpr int kExpDegree = kPairs ? 3 : 5;
  static constexpr int kAbreast = 4;  // vectors of exponentials, or of values, side by side
  static_assert(kRows % kAbreast == 0 && 48 % kLanes == 0, "whole groups of units; whole blocks in a segment");

  // Consecutive arrays, each on a cache line of its own; from null: their sizes only.
  struct Arrays {
    float *const memory;
    size_t floats = 0;
    float *next(int64_t count) {
      float *const at = memory ? memory + floats : nullptr;
      floats += static_cast<size_t>((count + 15) / 16 * 16);
      return at;
    }
  };
  static int64_t whole(int64_t units) { return (units + kRows - 1) / kRows * kRows; }

  // What a hidden unit needs besides its weights, an array each, zeros past the last unit.
  struct Units {
    float *bias, *slope, *mean, *rate;  // rate: 1 / sqrt(variance + eps)
    Units(Arrays &arrays, int64_t count)
        : bias(arrays.next(whole(count))), slope(arrays.next(whole(count))), mean(arrays.next(whole(count))), rate(arrays.next(whole(count))) {}
  };

  // The packed network. Matrices whose rows are broadcast lie in groups of kRows units: [group][input][kRows]. In those that are folded
  // into pairs, even inputs come before odd ones.
  struct Network : Arrays {
    float *key, *product;  // Wk - Wd, Wp
    float *query;          // Wq + Wd, [h1][d]
    Units first;
    float *weight_2;       // [group][h1 / kInFloat][kRows]
    Units second;
    float *weight_3, *bias_3;  // scaled
    Network(const DinShape &s, float *memory)
        : Arrays{memory},
          key(this->next(whole(s.hidden_1) * s.dim)),
          product(this->next(whole(s.hidden_1) * s.dim)),
          query(this->next(int64_t{s.hidden_1} * s.dim)),
          first(*this, s.hidden_1),
          weight_2(this->next(whole(s.hidden_2) * s.hidden_1 / kInFloat)),
          second(*this, s.hidden_2),
          weight_3(this->next(whole(s.hidden_2))),
          bias_3(this->next(1)) {}
  };

  struct Scratch : Arrays {
    float *keys;              // [block][d / kInFloat][kLanes]
    float *q, *spread;        // a candidate; each of its elements kRows times, in the order of Network::product
    float *folded, *constant; // A_i as Network::key, in pairs half as long; c_i
    float *hidden, *sums;     // [h1 / kInFloat][kLanes], [kRows][kLanes]
    float *weights;           // of a segment's events
    float *states;
    Scratch(const DinShape &s, float *memory)
        : Arrays{memory},
          keys(this->next(din_segment(s.dim) * s.dim / kInFloat)),
          q(this->next(s.dim)),
          spread(this->next(int64_t{s.dim} * kRows)),
          folded(this->next(whole(s.hidden_1) * s.dim / kInFloat)),
          constant(this->next(whole(s.hidden_1))),
          hidden(this->next(whole(s.hidden_1) / kInFloat * kLanes)),
          sums(this->next(kRows * kLanes)),
          weights(this->next(din_segment(s.dim))),
          states(this->next(0)) {}
  };

  // Softmax over some events: `o` the weighted sum of their values. Without a softmax m stays 0, so that merging adds.
  struct State {
    float *m, *l, *o;
    explicit State(float *memory) : m(memory), l(memory + 1), o(memory + 2) {}
  };

  const DinTask &t;
  const DinShape &shape;
  const int64_t segment_events, segments;
  const Network network;
  const Scratch scratch;

  explicit DinAttention(const DinTask &task)
      : t(task),
        shape(task.shape),
        segment_events(din_segment(task.shape.dim)),
        segments((task.num_keys + segment_events - 1) / segment_events),
        network(task.shape, const_cast<float *>(task.network)),
        scratch(task.shape, task.scratch) {}

  int64_t state_floats() const { return 2 + shape.dim_v; }
  State total(int64_t candidate) const { return State(scratch.states + candidate * state_floats()); }
  State current() const { return State(scratch.states + t.num_candidates * state_floats()); }
  State partial(int64_t candidate, int64_t segment) const {
    return State(t.partial + (candidate * segments + segment) * state_floats());
  }

  void run() const {
    if (t.phase == DinTask::kSegmentOnly) {
      load_keys(t.segment);
      for (int64_t i = 0; i < t.num_candidates; ++i) attend(i, t.segment, partial(i, t.segment));
      return;
    }
    for (int64_t i = 0; i < t.num_candidates; ++i) clear(total(i));
    for (int64_t segment = 0; segment < segments; ++segment) {
      if (t.phase == DinTask::kWhole) load_keys(segment);
      for (int64_t i = 0; i < t.num_candidates; ++i) {
        if (t.phase == DinTask::kWhole) attend(i, segment, current());
        merge(total(i), t.phase == DinTask::kWhole ? current() : partial(i, segment));
      }
    }
    for (int64_t i = 0; i < t.num_candidates; ++i) write(i);
  }

  // -- packing -----------------------------------------------------------------------------------------------------------
  static void pack(const DinNetwork &given, float *packed) {
    const DinShape &s = given.shape;
    const Network n(s, packed);
    const int64_t d = s.dim, h1 = s.hidden_1, h2 = s.hidden_2, stride = given.weight_1_stride;
    const float *w = given.weight_1;
    for (int64_t unit = 0; unit < h1; ++unit) {
      for_lanes(d, [&](int64_t e, int lanes) {
        const float *at = w + unit * stride + e;
        store(n.query + unit * d + e, Isa::add(load(at, lanes), load(at + 2 * d, lanes)), lanes);
      });
    }
    const auto key = [&](const float *at, int lanes) { return Isa::sub(load(at + d, lanes), load(at + 2 * d, lanes)); };
    const auto product = [&](const float *at, int lanes) { return load(at + 3 * d, lanes); };
    const auto itself = [&](const float *at, int lanes) { return load(at, lanes); };
    pack_groups(w, stride, h1, d, key, n.key);
    pack_groups(w, stride, h1, d, product, n.product);
    if constexpr (kPairs) {
      for (int64_t unit = 0; unit < whole(h2); ++unit) {
        for (int64_t e = 0; e < h1; e += 2) {
          const float *at = given.weight_2 + unit * given.weight_2_stride + e;
          const F pair = unit < h2 ? Isa::bf16_pairs(Isa::set(at[0]), Isa::set(at[1])) : Isa::zero();
          Isa::store_first(n.weight_2 + (unit / kRows * (h1 / 2) + e / 2) * kRows + unit % kRows, pair, 1);
        }
      }
    } else {
      pack_groups(given.weight_2, given.weight_2_stride, h2, h1, itself, n.weight_2);
    }
    pack_units(n.first, h1, given.bias_1, given.slope_1, given.mean_1, given.variance_1, given.dice_eps);
    pack_units(n.second, h2, given.bias_2, given.slope_2, given.mean_2, given.variance_2, given.dice_eps);
    for (int64_t i = 0; i < whole(h2); ++i) n.weight_3[i] = i < h2 ? given.weight_3[i] * given.scale : 0.0f;
    *n.bias_3 = *given.bias_3 * given.scale;
  }

  // to[group][input][kRows] = value of rows [units][inputs], even inputs first where pairs are made of them.
  template <class Value>
  static void pack_groups(const float *rows, int64_t stride, int64_t units, int64_t inputs, const Value &value, float *to) {
    constexpr int kTogether = kRows < kWidth ? kRows : kWidth;  // units of one transposition
    for (int64_t unit = 0; unit < whole(units); unit += kTogether) {
      float *const group = to + unit / kRows * inputs * kRows + unit % kRows;
      for_lanes(inputs, [&](int64_t e, int lanes) {
        F block[kWidth];
        for (int i = 0; i < kWidth; ++i) {
          block[i] = i < kTogether && unit + i < units ? value(rows + (unit + i) * stride + e, lanes) : Isa::zero();
        }
        Isa::transpose(block);
        for (int i = 0; i < lanes; ++i) store(group + place(e + i, inputs) * kRows, block[i], kTogether);
      });
    }
  }
  static int64_t place(int64_t e, int64_t inputs) { return kPairs ? e % 2 * (inputs / 2) + e / 2 : e; }

  static void pack_units(const Units &to, int64_t count, const float *bias, const float *slope, const float *mean,
                         const float *variance, float eps) {
    for (int64_t i = 0; i < whole(count); ++i) {
      const bool present = i < count;
      to.bias[i] = present ? bias[i] : 0.0f;
      to.slope[i] = present && slope ? slope[i] : 0.0f;
      to.mean[i] = present && mean ? mean[i] : 0.0f;
      to.rate[i] = present && variance ? 1.0f / __builtin_sqrtf(variance[i] + eps) : 0.0f;
    }
  }

  // -- vectors of rows that need not be whole ----------------------------------------------------------------------------
  template <class Function>
  static inline __attribute__((always_inline)) void for_lanes(int64_t count, const Function &f) {
    int64_t at = 0;
    for (; at + kWidth <= count; at += kWidth) f(at, kWidth);
    if (at < count) f(at, static_cast<int>(count - at));
  }
  JD_SIMD F load(const float *p, int lanes) { return lanes == kWidth ? Isa::load(p) : Isa::load_first(p, lanes); }
  JD_SIMD void store(float *p, F x, int lanes) {
    if (lanes == kWidth) {
      Isa::store(p, x);
    } else {
      Isa::store_first(p, x, lanes);
    }
  }
  JD_SIMD F load(const void *row, int32_t dtype, int64_t at, int lanes) {
    const float *f32 = static_cast<const float *>(row) + at;
    const uint16_t *half = static_cast<const uint16_t *>(row) + at;
    switch (dtype) {
      case JD_F32: return load(f32, lanes);
      case JD_F16: return lanes == kWidth ? Isa::load_f16(half) : Isa::load_first_f16(half, lanes);
      default: return lanes == kWidth ? Isa::load_bf16(half) : Isa::load_first_bf16(half, lanes);
    }
  }
  static const char *row(const void *rows, int32_t dtype, int64_t i, int64_t stride) {
    return static_cast<const char *>(rows) + i * stride * (dtype == JD_F32 ? 4 : 2);
  }

  int64_t events(int64_t segment) const {
    const int64_t left = t.num_keys - segment * segment_events;
    return left < segment_events ? left : segment_events;
  }

  // Transposes a segment's keys by blocks; lanes past the last event are zeros.
  void load_keys(int64_t segment) const {
    const int64_t count = events(segment), floats = shape.dim / kInFloat;
    const char *keys = row(t.keys.data, t.dtype, segment * segment_events, t.keys.stride);
    for (int64_t first = 0; first < count; first += kWidth) {
      float *const to = scratch.keys + first / kLanes * floats * kLanes + first % kLanes;
      for_lanes(floats, [&](int64_t at, int lanes) {
        F block[kWidth];
        for (int i = 0; i < kWidth; ++i) {
          if (first + i >= count) {
            block[i] = Isa::zero();
          } else if constexpr (kPairs) {
            block[i] = load(reinterpret_cast<const float *>(row(keys, t.dtype, first + i, t.keys.stride)) + at, lanes);
          } else {
            block[i] = load(row(keys, t.dtype, first + i, t.keys.stride), t.dtype, at, lanes);
          }
        }
        Isa::transpose(block);
        for (int i = 0; i < lanes; ++i) Isa::store(to + (at + i) * kLanes, block[i]);
      });
    }
  }

  // -- one candidate against one segment ---------------------------------------------------------------------------------
  void attend(int64_t candidate, int64_t segment, const State &state) const {
    const int count = static_cast<int>(events(segment));
    fold(candidate);
    for (int first = 0; first < count; first += kLanes) {
      const float *keys = scratch.keys + int64_t{first} * (shape.dim / kInFloat);
      switch (count - first < kLanes ? (count - first + kWidth - 1) / kWidth : kVectors) {
        case 1: weigh<1>(keys, scratch.weights + first); break;
        case 2: weigh<2>(keys, scratch.weights + first); break;
        case 3: weigh<3>(keys, scratch.weights + first); break;
      }
    }
    static_assert(kVectors == 3, "the cases above");
    *state.m = *state.l = 0;
    if (t.softmax) softmax(count, state);
    const char *values = row(t.values.data, t.dtype, segment * segment_events, t.values.stride);
    switch (t.dtype) {
      case JD_F32: return add_values<JD_F32>(values, count, state.o);
      case JD_F16: return add_values<JD_F16>(values, count, state.o);
      default: return add_values<JD_BF16>(values, count, state.o);
    }
  }

  // A_i and c_i.
  __attribute__((noinline)) void fold(int64_t candidate) const {
    const int64_t d = shape.dim;
    const char *from = row(t.candidates, t.dtype, candidate, t.candidate_stride);
    for_lanes(d, [&](int64_t e, int lanes) { store(scratch.q + e, load(from, t.dtype, e, lanes), lanes); });
    for (int64_t e = 0; e < d; ++e) {
      for (int r = 0; r < kRows; ++r) scratch.spread[place(e, d) * kRows + r] = scratch.q[e];
    }
    for (int64_t unit = 0; unit < whole(shape.hidden_1); ++unit) {
      F sum = Isa::zero();
      if (unit < shape.hidden_1) {
        const float *w = network.query + unit * d;
        for_lanes(d, [&](int64_t e, int lanes) { sum = Isa::fma(load(w + e, lanes), load(scratch.q + e, lanes), sum); });
      }
      scratch.constant[unit] = network.first.bias[unit] + Isa::sum(sum);
    }
    const int64_t group = d * kRows;
    for (int64_t at = 0; at < whole(shape.hidden_1) * d; at += group) {
      const auto element = [&](int64_t i) {
        return Isa::fma(Isa::load(network.product + at + i), Isa::load(scratch.spread + i), Isa::load(network.key + at + i));
      };
      for (int64_t i = 0; i < group / kInFloat; i += kWidth) {
        if constexpr (kPairs) {
          Isa::store(scratch.folded + at / 2 + i, Isa::bf16_pairs(element(i), element(group / 2 + i)));
        } else {
          Isa::store(scratch.folded + at + i, element(i));
        }
      }
    }
  }

  // Logits of a block of events.
  template <int N>
  void weigh(const float *keys, float *logits) const {
    const int64_t h1 = shape.hidden_1;
    for (int64_t unit = 0; unit < h1; unit += kRows) {
      float *const to = kPairs ? scratch.sums : scratch.hidden + unit * kLanes;
      products<N>(scratch.folded + unit * (shape.dim / kInFloat), keys, shape.dim / kInFloat, scratch.constant + unit, to);
      activate<N>(to, network.first, unit);
      if constexpr (kPairs) {
        for (int r = 0; r < kRows; r += 2) {
          for (int n = 0; n < N * kWidth; n += kWidth) {
            Isa::store(scratch.hidden + (unit + r) / 2 * kLanes + n,
                       Isa::bf16_pairs(Isa::load(to + r * kLanes + n), Isa::load(to + (r + 1) * kLanes + n)));
          }
        }
      }
    }
    F sum[N];
    for (int n = 0; n < N; ++n) sum[n] = Isa::set(*network.bias_3);
    for (int64_t unit = 0; unit < shape.hidden_2; unit += kRows) {
      products<N>(network.weight_2 + unit * (h1 / kInFloat), scratch.hidden, static_cast<int>(h1 / kInFloat),
                  network.second.bias + unit, scratch.sums);
      activate<N>(scratch.sums, network.second, unit);
      for (int r = 0; r < kRows; ++r) {
        const F weight = Isa::set(network.weight_3[unit + r]);
        for (int n = 0; n < N; ++n) sum[n] = Isa::fma(Isa::load(scratch.sums + r * kLanes + n * kWidth), weight, sum[n]);
      }
    }
    for (int n = 0; n < N; ++n) Isa::store(logits + n * kWidth, sum[n]);
  }

  // to[r][i] = start[r] + sum over the depth of w[step][r] * x[step][i].
  template <int N>
  static __attribute__((noinline)) void products(const float *w, const float *x, int depth, const float *start, float *to) {
    F sum[kRows][N];
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) sum[r][n] = Isa::set(start[r]);
    }
#pragma GCC unroll 2
    for (int step = 0; step < depth; ++step) {
      F lanes[N];
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) lanes[n] = Isa::load(x + step * kLanes + n * kWidth);
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        const F weight = Isa::set(w[step * kRows + r]);
#pragma GCC unroll 4
        for (int n = 0; n < N; ++n) {
          if constexpr (kPairs) {
            sum[r][n] = Isa::fma_bf16_pairs(weight, lanes[n], sum[r][n]);
          } else {
            sum[r][n] = Isa::fma(weight, lanes[n], sum[r][n]);
          }
        }
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) Isa::store(to + r * kLanes + n * kWidth, sum[r][n]);
    }
  }

  // The activations of kRows units from `unit` on, in place.
  template <int N>
  __attribute__((noinline)) void activate(float *sums, const Units &units, int64_t unit) const {
    for (int r = 0; r < kRows; r += kAbreast) {
      for (int n = 0; n < N * kWidth; n += kWidth) {
        float *const at = sums + r * kLanes + n;
        F x[kAbreast];
#pragma GCC unroll 8
        for (int i = 0; i < kAbreast; ++i) x[i] = Isa::load(at + i * kLanes);
        activate(x, units, unit + r);
#pragma GCC unroll 8
        for (int i = 0; i < kAbreast; ++i) Isa::store(at + i * kLanes, x[i]);
      }
    }
  }
  inline __attribute__((always_inline)) void activate(F (&x)[kAbreast], const Units &units, int64_t unit) const {
    if (shape.activation == JD_DIN_SIGMOID) return sigmoid<Isa, kExpDegree>(x);
    if (shape.activation == JD_DIN_PRELU) {
#pragma GCC unroll 8
      for (int i = 0; i < kAbreast; ++i) {
        const F slope = Isa::set(units.slope[unit + i]);
        x[i] = Isa::fma(slope, Isa::min(Isa::zero(), x[i]), Isa::max(Isa::zero(), x[i]));
      }
      return;
    }
    F p[kAbreast];
#pragma GCC unroll 8
    for (int i = 0; i < kAbreast; ++i) {
      p[i] = Isa::mul(Isa::sub(x[i], Isa::set(units.mean[unit + i])), Isa::set(units.rate[unit + i]));
    }
    sigmoid<Isa, kExpDegree>(p);
#pragma GCC unroll 8
    for (int i = 0; i < kAbreast; ++i) {  // p x + (1 - p) slope x
      const float slope = units.slope[unit + i];
      x[i] = Isa::mul(x[i], Isa::fma(p[i], Isa::set(1.0f - slope), Isa::set(slope)));
    }
  }

  // Logits, in units of log 2, become weights.
  void softmax(int count, const State &state) const {
    float *const w = scratch.weights;
    float top = w[0];
    for (int j = 1; j < count; ++j) top = w[j] > top || w[j] != w[j] ? w[j] : top;
    for (int j = 0; j < count; j += kWidth) {
      Isa::store(w + j, exp2<Isa>(Isa::sub(Isa::load(w + j), Isa::set(top))));
    }
    F sum = Isa::zero();
    for_lanes(count, [&](int64_t j, int lanes) { sum = Isa::add(sum, load(w + j, lanes)); });
    *state.m = top;
    *state.l = Isa::sum(sum);
  }

  // o = sum of weights[j] * row j of the values: even and odd events apart, so that sums do not wait for each other.
  template <int32_t kDtype>
  __attribute__((noinline)) void add_values(const char *values, int count, float *o) const {
    int64_t column = 0;
    for (; column + kAbreast * kWidth <= shape.dim_v; column += kAbreast * kWidth) {
      F sum[2][kAbreast];
#pragma GCC unroll 8
      for (int i = 0; i < kAbreast; ++i) sum[0][i] = sum[1][i] = Isa::zero();
      int j = 0;
      for (; j + 2 <= count; j += 2) {
#pragma GCC unroll 2
        for (int odd = 0; odd < 2; ++odd) {
          const F weight = Isa::set(scratch.weights[j + odd]);
          const char *from = row(values, kDtype, j + odd, t.values.stride);
#pragma GCC unroll 8
          for (int i = 0; i < kAbreast; ++i) {
            sum[odd][i] = Isa::fma(weight, load(from, kDtype, column + i * kWidth, kWidth), sum[odd][i]);
          }
        }
      }
      for (int i = 0; i < kAbreast; ++i) {
        if (j < count) {
          sum[0][i] = Isa::fma(Isa::set(scratch.weights[j]),
                               load(row(values, kDtype, j, t.values.stride), kDtype, column + i * kWidth, kWidth), sum[0][i]);
        }
        Isa::store(o + column + i * kWidth, Isa::add(sum[0][i], sum[1][i]));
      }
    }
    for_lanes(shape.dim_v - column, [&](int64_t at, int lanes) {
      F sum[2] = {Isa::zero(), Isa::zero()};
      for (int j = 0; j < count; ++j) {
        const F value = load(row(values, kDtype, j, t.values.stride), kDtype, column + at, lanes);
        sum[j % 2] = Isa::fma(Isa::set(scratch.weights[j]), value, sum[j % 2]);
      }
      store(o + column + at, Isa::add(sum[0], sum[1]), lanes);
    });
  }

  // -- states ------------------------------------------------------------------------------------------------------------
  void clear(const State &state) const {
    *state.m = t.softmax ? -__builtin_inff() : 0.0f;
    *state.l = 0;
    for (int64_t i = 0; i < shape.dim_v; ++i) state.o[i] = 0;
  }

  // a = both; b has at least one event.
  void merge(const State &a, const State &b) const {
    const float top = *a.m > *b.m ? *a.m : *b.m;
    const float from_a = power(*a.m - top), from_b = power(*b.m - top);
    *a.m = top;
    *a.l = *a.l * from_a + *b.l * from_b;
    for_lanes(shape.dim_v, [&](int64_t at, int lanes) {
      const F older = Isa::mul(load(a.o + at, lanes), Isa::set(from_a));
      store(a.o + at, Isa::fma(load(b.o + at, lanes), Isa::set(from_b), older), lanes);
    });
  }
  static float power(float x) {
    float all[kWidth];
    Isa::store(all, exp2<Isa>(Isa::set(x)));
    return all[0];
  }

  // A candidate without events has l = 0 and o = 0 and gives zeros.
  void write(int64_t candidate) const {
    const State all = total(candidate);
    const F factor = Isa::set(t.softmax ? 1.0f / (*all.l > 1e-30f ? *all.l : 1e-30f) : 1.0f);
    char *const to = const_cast<char *>(row(t.out, t.out_dtype, candidate, t.out_stride));
    for_lanes(shape.dim_v, [&](int64_t at, int lanes) {
      const F x = Isa::mul(load(all.o + at, lanes), factor);
      uint16_t *half = reinterpret_cast<uint16_t *>(to) + at;
      if (t.out_dtype == JD_F32) {
        store(reinterpret_cast<float *>(to) + at, x, lanes);
      } else if (t.out_dtype == JD_F16) {
        lanes == kWidth ? Isa::store_f16(half, x) : Isa::store_first_f16(half, x, lanes);
      } else {
        lanes == kWidth ? Isa::store_bf16(half, x) : Isa::store_first_bf16(half, x, lanes);
      }
    });
  }
};

}  // namespace
}  // namespace jindou::cpu

#endif
