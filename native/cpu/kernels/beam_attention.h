// beam_attention: many beams, one prefix, a suffix a beam (jindou/beam_attention.h).
//
// To the beams of a request its prefix is what the history is to the candidates of a user: target_attention's tiles, blocks and
// segments of keys serve it, in pages. So the prefix is read once for all tiles of a task, and the FMA rate is the bound from a few
// dozen rows (beams x heads) on. What is added here: the suffix, level by level, each one more softmax over one key, whose row is
// another one in every lane; and lse.
//
// longer_attention's rows are such beams (BeamAttentionTask). Those that are events see of the history what came before them: of the
// blocks of keys that hold the last of them some scores are hidden. The shared globals are one more, short, segment of keys.
//
// Lanes never meet: a beam's bits depend on its query and the keys it sees alone.
#ifndef JINDOU_CPU_KERNELS_BEAM_ATTENTION_H
#define JINDOU_CPU_KERNELS_BEAM_ATTENTION_H

#include "cpu/kernels/target_attention.h"

namespace jindou::cpu {
namespace {

template <class Isa, bool kBf16Pairs>
struct BeamAttention : TargetAttention<Isa, kBf16Pairs> {
  using Base = TargetAttention<Isa, kBf16Pairs>;
  using typename Base::F;
  using typename Base::State;
  using typename Base::Tile;
  using Base::clear, Base::current, Base::kLanes, Base::kPairs, Base::kWidth, Base::lanes, Base::merge, Base::partial, Base::queries,
      Base::query_scale, Base::s, Base::segments, Base::shape, Base::tiles, Base::total, Base::vectors;

  const BeamAttentionTask &t;

  // Of a segment an event may see nothing.
  explicit BeamAttention(const BeamAttentionTask &task) : Base(task, kHidden), t(task) {}

  // Codes are widened to f32, and so are the queries and the suffix then.
  static int32_t computing_dtype(const BeamAttentionTask &task) {
    return Tile::is_code(task.prefix_keys.dtype) ? JD_F32 : task.dtype;
  }

  void run() const {
    this->load_queries();
    if (t.phase == BeamAttentionTask::kSegmentOnly) return attend_prefix(t.segment, [this](int tile) { return partial(tile, t.segment); });
    for (int tile = 0; tile < tiles; ++tile) clear(total(tile), vectors(tile));
    for (int64_t segment = 0; segment < segments; ++segment) {
      const bool is_known = t.phase == BeamAttentionTask::kMergeOnly;
      if (!is_known) attend_prefix(segment, [this](int tile) { return current(tile); });
      for (int tile = 0; tile < tiles; ++tile) {
        merge(total(tile), is_known ? partial(tile, segment) : current(tile), vectors(tile));
      }
    }
    if (t.num_shared > 0) {
      this->attend_segment(t.shared_keys, t.shared_values, t.num_shared, 0, [this](int tile) { return current(tile); });
      for (int tile = 0; tile < tiles; ++tile) merge(total(tile), current(tile), vectors(tile));
    }
    for (int tile = 0; tile < tiles; ++tile) {
      for (int level = 0; level < t.levels && has_suffixes(tile); ++level) attend_level(tile, level);
      this->write(tile);
      if (t.lse) write_lse(tile);
    }
  }

  int64_t first_lane(int tile) const { return t.first_lane + int64_t(tile) * kLanes; }
  // The beams of a tile.
  int32_t first_beam(int tile) const { return static_cast<int32_t>(first_lane(tile) / t.group); }
  int32_t end_beam(int tile) const { return static_cast<int32_t>((first_lane(tile) + lanes(tile) - 1) / t.group + 1); }

  bool has_suffixes(int tile) const { return t.rows.has_candidates(first_beam(tile), end_beam(tile)); }

  // A beam sees the first keys of the prefix (AllSeen).
  struct FirstSeen {
    const BeamAttention &of;
    bool some(int tile, int64_t end) const { return end > of.t.rows.least_seen(of.first_beam(tile), of.end_beam(tile)); }
    bool all(int tile, int64_t begin) const { return begin >= of.t.rows.most_seen(of.first_beam(tile), of.end_beam(tile)); }
    void hide(int vectors, int tile, int64_t first, int count, float *scores, float *top) const {
      for (int n = 0; n < vectors * kWidth; n += kWidth) {
        float seen[kWidth];  // as numbers of keys, which floats hold
        for (int i = 0; i < kWidth; ++i) {
          seen[i] = static_cast<float>(of.t.rows.seen(static_cast<int32_t>((of.first_lane(tile) + n + i) / of.t.group)));
        }
        const F end = Isa::load(seen), hidden = Isa::set(kHidden);
        F best = Isa::load(top + n);
        for (int j = 0; j < count; ++j) {
          float *at = scores + j * kLanes + n;
          const auto is_seen = Isa::less(Isa::set(static_cast<float>(first + j)), end);
          const F x = Isa::add(Isa::keep(is_seen, Isa::load(at)), Isa::sub(hidden, Isa::keep(is_seen, hidden)));
          Isa::store(at, x);
          best = Isa::max(best, x);
        }
        Isa::store(top + n, best);
      }
    }
  };

  template <class StateOf>
  void attend_prefix(int64_t segment, const StateOf &state_of) const {
    this->attend_segment(t.prefix_keys, t.prefix_values, t.num_keys, segment, state_of, FirstSeen{*this});
  }

  // The row that a lane sees at a level, of `rows`; null for an ancestor that is none.
  const char *ancestor(const HeadRows &rows, int64_t level_stride, int level, int64_t lane) const {
    const auto beam = static_cast<int32_t>(lane / t.group);
    const int32_t slot = t.ancestry ? t.ancestry[level * t.ancestry_level + beam] : t.rows.candidate(beam);
    if (slot < 0 || slot >= t.slots) return nullptr;
    return Tile::address(rows, slot) + level * level_stride * element_bytes(rows.dtype);
  }

  void attend_level(int tile, int level) const {
    static constexpr float kNoRow[256] = {};
    const State all = total(tile);
    const float *q = queries(tile);
    for (int i = 0; i < lanes(tile); i += kWidth) {
      const int64_t first = t.first_lane + int64_t(tile) * kLanes + i;
      const int count = lanes(tile) - i;
      const char *rows[kWidth] = {};
      float unseen[kWidth] = {};
      const auto find = [&](const HeadRows &of, int64_t level_stride) {
        for (int lane = 0; lane < kWidth && lane < count; ++lane) {
          rows[lane] = ancestor(of, level_stride, level, first + lane);
          if (rows[lane]) continue;
          rows[lane] = reinterpret_cast<const char *>(kNoRow);
          unseen[lane] = -__builtin_inff();
        }
      };
      find(t.suffix_keys, t.suffix_key_level);
      Tile::template gather_lanes<kPairs>([&](int lane) { return rows[lane]; }, t.dim_qk, count, t.dtype, 1.0f, s);
      F score = Isa::zero();
      for (int d = 0; d < shape.steps; ++d) {
        score = Tile::product(Isa::load(s + d * kLanes), Isa::load(q + d * kLanes + i), score);
      }
      if constexpr (kPairs) score = Isa::mul(score, Isa::set(query_scale));
      score = Isa::add(score, Isa::load(unseen));

      // A lane may have seen no key yet, and see none now: its maximum stays -inf and its sums 0.
      const F least = Isa::set(-__FLT_MAX__);
      const F top = Isa::max(Isa::load(all.m + i), score), base = Isa::max(least, top);
      const F older = exp2<Isa>(Isa::sub(Isa::load(all.m + i), base));
      const F own = Isa::keep(Isa::less(least, score), exp2<Isa>(Isa::sub(score, base)));
      Isa::store(all.m + i, top);
      Isa::store(all.l + i, Isa::fma(Isa::load(all.l + i), older, own));
      find(t.suffix_values, t.suffix_value_level);
      Tile::template gather_lanes<false>([&](int lane) { return rows[lane]; }, t.dim_v, count, t.dtype, 1.0f, s);
      for (int d = 0; d < t.dim_v; ++d) {
        float *o = all.o + d * kLanes + i;
        Isa::store(o, Isa::fma(Isa::load(s + d * kLanes), own, Isa::mul(Isa::load(o), older)));
      }
    }
  }

  void write_lse(int tile) const {
    const State all = total(tile);
    for (int i = 0; i < lanes(tile); ++i) {
      const int64_t lane = t.first_lane + int64_t(tile) * kLanes + i;
      t.lse[lane / t.group * t.lse_row + lane % t.group * t.lse_head] =
          all.l[i] == 0 ? -__builtin_inff() : (all.m[i] + __builtin_log2f(all.l[i])) * 0.693147180559945309f;
    }
  }
};

}  // namespace
}  // namespace jindou::cpu

#endif
