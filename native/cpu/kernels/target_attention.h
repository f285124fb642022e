// target_attention: many candidates, one history (jindou/attention.h).
//
//   out_i = sum_j softmax_j(scale * q_i . k_j) v_j      j over the history and, with self keys, i's own row
//   out_i = sum_j SiLU(scale * q_i . k_j) v_j * norm    with the SiLU activation: the maximum stays 0, nothing is rescaled
//
// FLOPs 2 * (dqk + dv) * lanes * keys. Bytes: the history once for each task, whose tiles of candidates share each block of keys; so
// the FMA rate is the bound from a few dozen candidates on. A task owns some tiles of one user's lanes (see
// TargetAttentionTask).
//
// The softmax is online, in powers of two (kernels/online_softmax.h): log2(e) is part of the scale. Keys are summed in segments
// of 2,048 that start from nothing and are merged in order (see kSegment). Lanes never meet, so a candidate's bits depend on
// its own row and its user's history alone.
#ifndef JINDOU_CPU_KERNELS_TARGET_ATTENTION_H
#define JINDOU_CPU_KERNELS_TARGET_ATTENTION_H

#include "cpu/kernels/online_softmax.h"

namespace jindou::cpu {
namespace {

template <class Isa, bool kBf16Pairs>
struct TargetAttention {
  using Softmax = OnlineSoftmax<Isa, kBf16Pairs>;
  using Tile = typename Softmax::Tile;
  using State = typename Softmax::State;
  using F = typename Isa::F;
  static constexpr int kWidth = Isa::kWidth;
  static constexpr int kLanes = Tile::kLanes;
  static constexpr bool kPairs = Tile::kPairs;
  static constexpr int kExpDegree = Softmax::kExpDegree;

  // Scratch of a task: scores and one block of keys and values; then for each tile its queries and two states.
  static AttentionScratch scratch(int dim_qk, int dim_v) {
    const Tile tile(dim_qk, dim_v);
    const size_t state = Softmax::state_floats(tile);
    return {tile.block_floats(), tile.query_floats() + 2 * state, state};
  }

  static int32_t computing_dtype(const TargetAttentionTask &task) { return task.dtype; }

  const TargetAttentionTask &t;
  const Tile shape;
  const AttentionScratch floats;
  const int tiles;
  const int64_t segments;
  const bool is_silu;
  const float query_scale;  // softmax works in powers of two
  const float no_key;       // the maximum of a lane that has seen none
  float *const s, *const k, *const v;

  // Without a softmax all states have the same maximum, so that merging them adds them.
  explicit TargetAttention(const TargetAttentionTask &task)
      : TargetAttention(task, task.silu_norm != 0 ? 0.0f : -__builtin_inff()) {}

  TargetAttention(const TargetAttentionTask &task, float maximum_of_none)
      : t(task),
        shape(t.dim_qk, t.dim_v),
        floats(scratch(t.dim_qk, t.dim_v)),
        tiles(static_cast<int>((t.last_lane - t.first_lane + kLanes - 1) / kLanes)),
        segments((t.num_keys + kSegment - 1) / kSegment),
        is_silu(t.silu_norm != 0),
        query_scale(is_silu ? t.scale : t.scale * kLog2E),
        no_key(maximum_of_none),
        s(t.scratch),
        k(s + Tile::kScoreFloats),
        v(k + shape.key_floats()) {}

  float *queries(int tile) const { return t.scratch + floats.task + tile * floats.tile; }
  // Of the segment at hand; of all segments so far; of a segment that another task sums.
  State current(int tile) const { return State(queries(tile) + shape.query_floats()); }
  State total(int tile) const { return State(queries(tile) + shape.query_floats() + floats.partial); }
  State partial(int tile, int64_t segment) const {
    return State(t.partial + ((t.first_lane / kLanes + tile) * segments + segment) * floats.partial);
  }

  int lanes(int tile) const {
    const int64_t left = t.last_lane - t.first_lane - int64_t(tile) * kLanes;
    return left < kLanes ? static_cast<int>(left) : kLanes;
  }
  int vectors(int tile) const { return (lanes(tile) + kWidth - 1) / kWidth; }

  void run() const {
    switch (t.phase) {
      case TargetAttentionTask::kWhole:
        load_queries();
        for (int tile = 0; tile < tiles; ++tile) clear(total(tile), vectors(tile));
        for (int64_t segment = 0; segment < segments; ++segment) {
          attend_segment(t.keys, t.values, t.num_keys, segment, [this](int tile) { return current(tile); });
          for (int tile = 0; tile < tiles; ++tile) merge(total(tile), current(tile), vectors(tile));
        }
        return finish();
      case TargetAttentionTask::kSegmentOnly:
        load_queries();
        return attend_segment(t.keys, t.values, t.num_keys, t.segment, [this](int tile) { return partial(tile, t.segment); });
      case TargetAttentionTask::kMergeOnly:
        if (t.self_keys.data) load_queries();
        for (int tile = 0; tile < tiles; ++tile) {
          clear(total(tile), vectors(tile));
          for (int64_t segment = 0; segment < segments; ++segment) {
            merge(total(tile), partial(tile, segment), vectors(tile));
          }
        }
        return finish();
    }
  }

  void finish() const {
    for (int tile = 0; tile < tiles; ++tile) {
      if (t.self_keys.data) attend_own_keys(tile);
      write(tile);
    }
  }

  // The address of a lane's row in queries or out.
  static const char *lane_row(const void *base, int32_t dtype, int64_t row, int64_t head, int64_t lane, int group) {
    return static_cast<const char *>(base) + (lane / group * row + lane % group * head) * element_bytes(dtype);
  }

  void load_queries() const {
    for (int tile = 0; tile < tiles; ++tile) {
      for (int at = 0; at < lanes(tile); at += kWidth) {
        const int64_t first = t.first_lane + int64_t(tile) * kLanes + at;
        Tile::template gather_lanes<kPairs>(
            [&](int lane) { return lane_row(t.queries, t.dtype, t.query_row, t.query_head, first + lane, t.group); },
            t.dim_qk, lanes(tile) - at, t.dtype, query_scale, queries(tile) + at);
      }
    }
  }

  void clear(const State &state, int vectors) const { Softmax::clear(state, t.dim_v, vectors, no_key); }

  void merge(const State &all, const State &newer, int vectors) const { Softmax::merge(all, newer, t.dim_v, vectors); }

  // Every row sees every key. Another such rule hides keys from begin..end-1 on from some rows of a tile (`some`) or all (`all`), and
  // then `hide`s them among `count` scores of which the first is that of key `begin`; top becomes the maximum of each lane.
  struct AllSeen {
    static constexpr bool some(int, int64_t) { return false; }
    static constexpr bool all(int, int64_t) { return false; }
    static void hide(int, int, int64_t, int, float *, float *) {}
  };

  // Every tile's softmax over one segment of `total` keys. Rows: HeadRows or PagedRows.
  template <class Rows, class StateOf, class Seen = AllSeen>
  void attend_segment(const Rows &keys, const Rows &values, int64_t total, int64_t segment, const StateOf &state_of,
                      const Seen &seen = {}) const {
    const int64_t begin = segment * kSegment;
    const int64_t end = begin + kSegment < total ? begin + kSegment : total;
    for (int tile = 0; tile < tiles; ++tile) clear(state_of(tile), vectors(tile));
    for (int64_t first = begin; first < end; first += kKeyBlock) {
      const int count = end - first < kKeyBlock ? static_cast<int>(end - first) : kKeyBlock;
      shape.pack_keys(keys, first, count, k);
      shape.pack_values(values, first, count, v);
      const int64_t left = total - first - count;
      const int next = left < kKeyBlock ? static_cast<int>(left) : kKeyBlock;
      auto ahead = shape.ahead(keys, values, first + count, next);  // so that packing finds them in the cache
      for (int tile = 0; tile < tiles; ++tile) {
        if (seen.all(tile, first)) continue;
        Tile::share(ahead, next, tile, tiles);
        switch (vectors(tile)) {
          case 1: attend_block<1>(tile, first, count, state_of(tile), ahead, seen); break;
          case 2: attend_block<2>(tile, first, count, state_of(tile), ahead, seen); break;
          case 3: attend_block<3>(tile, first, count, state_of(tile), ahead, seen); break;
        }
      }
    }
  }
  static_assert(Isa::kVectors == 3, "the cases of attend_segment");

  template <int N, class Seen>
  void attend_block(int tile, int64_t first, int count, const State &state, const typename Tile::Ahead &ahead, const Seen &seen) const {
    const float *q = queries(tile);
    const int pairs = kPairs ? (count + 1) / 2 : count;
    if (is_silu) {
      Tile::template scores<N, false>(q, k, shape.steps, 0, count, typename Tile::OneFactor{query_scale}, s, nullptr, ahead);
      silu_block<N>(count);
      return Tile::template weigh<N, false>(s, v, t.dim_v, 0, pairs, nullptr, state.o);
    }
    float top[N * kWidth], factor[N * kWidth];
    for (int n = 0; n < N; ++n) Isa::store(top + n * kWidth, Isa::load(state.m + n * kWidth));
    if (seen.some(tile, first + count)) {
      Tile::template scores<N, false>(q, k, shape.steps, 0, count, typename Tile::OneFactor{query_scale}, s, nullptr, ahead);
      seen.hide(N, tile, first, count, s, top);
      Softmax::template weigh<N, true>(s, 0, count, state, top, factor);
    } else {
      Tile::template scores<N, true>(q, k, shape.steps, 0, count, typename Tile::OneFactor{query_scale}, s, top, ahead);
      Softmax::template weigh<N, false>(s, 0, count, state, top, factor);
    }
    Tile::template weigh<N, true>(s, v, t.dim_v, 0, pairs, factor, state.o);
  }

  // Turns scores into SiLU weights.
  template <int N>
  __attribute__((noinline)) void silu_block(int count) const {
    for (int j = 0; j < count; j += 2) {
      const bool second = j + 1 < count;
      for (int n = 0; n < N * kWidth; n += kWidth) {
        float *at = s + j * kLanes + n;
        F x[2] = {Isa::load(at), second ? Isa::load(at + kLanes) : Isa::zero()};
        silu<Isa, kExpDegree>(x);
        if constexpr (kPairs) {
          Isa::store(s + j / 2 * kLanes + n, Isa::bf16_pairs(x[0], x[1]));
        } else {
          Isa::store(at, x[0]);
          if (second) Isa::store(at + kLanes, x[1]);
        }
      }
    }
  }

  // Adds each lane's own key: one more softmax, over one key.
  void attend_own_keys(int tile) const {
    const State all = total(tile);
    const float *q = queries(tile);
    for (int i = 0; i < lanes(tile); i += kWidth) {
      const int64_t first = t.first_lane + int64_t(tile) * kLanes + i;
      const int count = lanes(tile) - i;
      Tile::template gather_lanes<kPairs>([&](int lane) { return Tile::address(t.self_keys, (first + lane) / t.group); }, t.dim_qk,
                                          count, t.dtype, 1.0f, s);
      F score = Isa::zero();
      for (int d = 0; d < shape.steps; ++d) {
        score = Tile::product(Isa::load(s + d * kLanes), Isa::load(q + d * kLanes + i), score);
      }
      if constexpr (kPairs) score = Isa::mul(score, Isa::set(query_scale));

      F older = Isa::set(1.0f), own;
      if (is_silu) {
        F x[1] = {score};
        silu<Isa, kExpDegree>(x);
        own = x[0];
      } else {
        const F top = Isa::max(Isa::load(all.m + i), score);
        older = exp2<Isa>(Isa::sub(Isa::load(all.m + i), top));
        own = exp2<Isa>(Isa::sub(score, top));
        Isa::store(all.m + i, top);
        Isa::store(all.l + i, Isa::fma(Isa::load(all.l + i), older, own));
      }
      Tile::template gather_lanes<false>([&](int lane) { return Tile::address(t.self_values, (first + lane) / t.group); }, t.dim_v,
                                         count, t.dtype, 1.0f, s);
      for (int d = 0; d < t.dim_v; ++d) {
        float *o = all.o + d * kLanes + i;
        Isa::store(o, Isa::fma(Isa::load(s + d * kLanes), own, Isa::mul(Isa::load(o), older)));
      }
    }
  }

  void write(int tile) const {
    const State all = total(tile);
    for (int i = 0; i < lanes(tile); i += kWidth) {
      const int64_t first = t.first_lane + int64_t(tile) * kLanes + i;
      // A lane without any key has l = 0 and o = 0 and gives zeros. With one, l is at least 1/2: its largest weight is about 1.
      const F factor = is_silu ? Isa::set(t.silu_norm)
                               : Isa::div(Isa::set(1.0f), Isa::max(Isa::set(1e-30f), Isa::load(all.l + i)));
      Tile::scatter_lanes(
          all.o + i, factor,
          [&](int lane) {
            return const_cast<char *>(lane_row(t.out, t.out_dtype, t.out_row, t.out_head, first + lane, t.group));
          },
          t.dim_v, lanes(tile) - i, t.out_dtype);
    }
  }
};

}  // namespace
}  // namespace jindou::cpu

#endif
