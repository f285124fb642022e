// hstu_attention: pointwise attention under HSTU's mask (jindou/attention.h).
//
//   a_ij = SiLU(alpha * q_i . k_j + rab_ij) * norm_i * m_ij       out_i = sum_j a_ij v_j
//
// FLOPs 2 * (dqk + dv) * allowed pairs; the FMA rate is the bound. A task owns some tiles of query rows of one head of one sequence.
//
// What a row sees is its own key and one interval of keys with at most one hole (attention/hstu_mask.h); the caller gives
// both for each row, and for each tile the keys that no row or every row sees. Blocks that no row sees are skipped; blocks
// that every row sees need no mask; in the others the weights outside a lane's interval are set to zero. An own key that does
// not border on the interval (a target's) is one more product a lane, not a block: so a tile of targets never touches the
// other targets.
//
// Biases. By position: along the lanes of one key the distance falls by one, so a reversed piece of the table is added. By time:
// for some keys and one vector of rows the least and the largest difference in time bound the buckets. Far from the diagonal
// that is one bucket, or two to five told apart by comparisons of 64-bit integers; where there are more, the keys are halved.
//
// There is no softmax and no maximum: sums over blocks of keys are added in order. A masked weight adds zero, so a row's bits
// do not depend on the rows that share its tile.
#ifndef JINDOU_CPU_KERNELS_HSTU_ATTENTION_H
#define JINDOU_CPU_KERNELS_HSTU_ATTENTION_H

#include "cpu/kernels/attention_tile.h"

namespace jindou::cpu {
namespace {

template <class Isa, bool kBf16Pairs>
struct HstuAttention {
  using Tile = AttentionTile<Isa, kBf16Pairs>;
  using F = typename Isa::F;
  static constexpr int kWidth = Isa::kWidth;
  static constexpr int kLanes = Tile::kLanes;
  static constexpr bool kPairs = Tile::kPairs;
  static constexpr int kExpDegree = kPairs ? 3 : 5;  // weights are rounded to bf16 where pairs are

  // Keys are never split between tasks: there are no partial results.
  static AttentionScratch scratch(int dim_qk, int dim_v) {
    const Tile tile(dim_qk, dim_v);
    return {tile.block_floats(), tile.query_floats() + tile.out_floats(), 0};
  }

  static int32_t computing_dtype(const HstuAttentionTask &task) { return task.dtype; }

  const HstuAttentionTask &t;
  const Tile shape;
  const AttentionScratch floats;
  const int tiles;
  float *const s, *const k, *const v;
  float key_factors[kKeyBlock], value_factors[kKeyBlock];  // of the block at hand, see Tile::scale_factors

  explicit HstuAttention(const HstuAttentionTask &task)
      : t(task),
        shape(t.dim_qk, t.dim_v),
        floats(scratch(t.dim_qk, t.dim_v)),
        tiles(t.num_tiles),
        s(t.scratch),
        k(s + Tile::kScoreFloats),
        v(k + shape.key_floats()) {}

  float *queries(int tile) const { return t.scratch + floats.task + tile * floats.tile; }
  float *out(int tile) const { return queries(tile) + shape.query_floats(); }
  int64_t first_row(int tile) const { return t.tiles[tile].first_row; }
  int lanes(int tile) const { return t.tiles[tile].rows; }
  int vectors(int tile) const { return (lanes(tile) + kWidth - 1) / kWidth; }

  void run() {
    int begin = t.tiles[0].begin, end = t.tiles[0].end;
    for (int tile = 0; tile < tiles; ++tile) {
      load(tile);
      if (t.tiles[tile].begin < begin) begin = t.tiles[tile].begin;
      if (t.tiles[tile].end > end) end = t.tiles[tile].end;
    }
    for (int first = begin / kKeyBlock * kKeyBlock; first < end; first += kKeyBlock) {
      const int last = first + kKeyBlock < end ? first + kKeyBlock : end;
      const int next = end - last < kKeyBlock ? end - last : kKeyBlock;
      auto ahead = paged() ? shape.ahead(t.paged_keys, t.paged_values, last, next) : shape.ahead(t.keys, t.values, last, next);
      bool packed = false;
      for (int tile = 0; tile < tiles; ++tile) {
        const int from = t.tiles[tile].begin > first ? t.tiles[tile].begin : first;
        const int to = t.tiles[tile].end < last ? t.tiles[tile].end : last;
        if (from >= to || (t.tiles[tile].empty_begin <= from && to <= t.tiles[tile].empty_end)) continue;
        if (!packed) pack(first, last - first);
        packed = true;
        Tile::share(ahead, next, tile, tiles);
        switch (vectors(tile)) {
          case 1: attend_block<1>(tile, first, from, to, ahead); break;
          case 2: attend_block<2>(tile, first, from, to, ahead); break;
          case 3: attend_block<3>(tile, first, from, to, ahead); break;
        }
      }
    }
    for (int tile = 0; tile < tiles; ++tile) {
      if (t.tiles[tile].own) attend_own_keys(tile);
      write(tile);
    }
  }
  static_assert(Isa::kVectors == 3, "the cases of run");

  bool paged() const { return t.paged_keys.pages != nullptr; }

  bool scaled() const { return t.paged_keys.scales != nullptr; }

  void pack(int first, int count) {
    if (!paged()) {
      shape.pack_keys(t.keys, first, count, k);
      return shape.pack_values(t.values, first, count, v);
    }
    shape.pack_keys(t.paged_keys, first, count, k);
    shape.pack_values(t.paged_values, first, count, v);
    if (kPairs && scaled()) {
      Tile::scale_factors(t.paged_keys, first, count, t.alpha, key_factors);
      Tile::scale_factors(t.paged_values, first, count, 1.0f, value_factors);
    }
  }

  // Rows first.. of the lanes, one a lane, as gather_lanes gives them; codes without their scales.
  template <bool kRaw>
  void gather_rows(const HeadRows &rows, const PagedRows &paged_rows, int64_t first, int dim, int count, float *to) const {
    if (!paged()) {
      Tile::template gather_lanes<kRaw>([&](int lane) { return Tile::address(rows, first + lane); }, dim, count, t.dtype, 1.0f,
                                        to);
    } else if (!paged_rows.scales) {
      Tile::template gather_lanes<kRaw>([&](int lane) { return Tile::address(paged_rows, first + lane); }, dim, count, t.dtype,
                                        1.0f, to);
    } else {
      float numbers[kMaxHeadDim];
      float unpacked[kWidth * kMaxHeadDim];  // rows of f32, or of bf16
      const int64_t row_bytes = int64_t{dim} * (kRaw ? 2 : 4);
      char *all = reinterpret_cast<char *>(unpacked);
      for (int lane = 0; lane < kWidth && lane < count; ++lane) {
        float *row = kRaw ? numbers : reinterpret_cast<float *>(all + lane * row_bytes);
        Tile::widen_row(Tile::address(paged_rows, first + lane), paged_rows.dtype, 1.0f, dim, row);
        if constexpr (kRaw) {
          for (int d = 0; d < dim; d += kWidth) {
            Isa::store_bf16(reinterpret_cast<uint16_t *>(all + lane * row_bytes) + d, Isa::load(row + d));
          }
        }
      }
      Tile::template gather_lanes<kRaw>([&](int lane) { return all + lane * row_bytes; }, dim, count, JD_F32, 1.0f, to);
    }
  }

  // The scales of rows first.. of the lanes; 1 where there are none.
  F lane_scales(const PagedRows &rows, int64_t first, int count) const {
    float scales[kWidth];
    for (int lane = 0; lane < kWidth; ++lane) scales[lane] = rows.scales && lane < count ? Tile::scale_of(rows, first + lane) : 1.0f;
    return Isa::load(scales);
  }

  void load(int tile) const {
    for (int i = 0; i < lanes(tile); i += kWidth) {
      const int64_t query = first_row(tile) - t.first_query + i;
      Tile::template gather_lanes<kPairs>([&](int lane) { return Tile::address(t.queries, query + lane); }, t.dim_qk,
                                          lanes(tile) - i, t.dtype, t.alpha, queries(tile) + i);
      for (int d = 0; d < t.dim_v; ++d) Isa::store(out(tile) + d * kLanes + i, Isa::zero());
    }
  }

  // Keys from..to-1 of the block that starts with key `first`.
  template <int N>
  void attend_block(int tile, int first, int from, int to, const typename Tile::Ahead &ahead) const {
    const HstuTile &seen = t.tiles[tile];
    from -= (from - first) % Tile::kRows;
    const bool full = (seen.full_begin[0] <= from && to <= seen.full_end[0]) ||
                      (seen.full_begin[1] <= from && to <= seen.full_end[1]);
    const int begin = from - first, end = to - first;
    if (kPairs && scaled()) {
      const typename Tile::KeyFactors factors = {key_factors};
      Tile::template scores<N, false>(queries(tile), k, shape.steps, begin, end, factors, s, nullptr, ahead);
    } else {
      const typename Tile::OneFactor factor = {t.alpha};
      Tile::template scores<N, false>(queries(tile), k, shape.steps, begin, end, factor, s, nullptr, ahead);
    }
    float by_row[kKeyBlock + kLanes], of_time[kLanes];
    if (t.bias.time) add_time_biases(tile, N, first, begin, end, of_time);
    if (t.bias.position) cut_position_bias(tile, N, first, begin, end, by_row);
    const Biases biases = {t.bias.time ? of_time : nullptr, t.bias.position ? by_row + end - 1 : nullptr};
    if (full) {
      weights<N, false>(tile, first, begin, end, biases);
    } else {
      weights<N, true>(tile, first, begin, end, biases);
    }
    Tile::template weigh<N, false>(s, v, t.dim_v, kPairs ? begin / 2 : begin, kPairs ? (end + 1) / 2 : end, nullptr, out(tile));
  }

  // -- biases ------------------------------------------------------------------------------------------------------------
  // What is still to be added to the scores of a block: to lane i, time[i], and, of key j, position[i - j]; null: nothing.
  struct Biases {
    const float *time, *position;
  };

  // by_row[i] = the bias of distance row - key, from the least of the block on.
  __attribute__((noinline)) void cut_position_bias(int tile, int vectors, int first, int begin, int end, float *by_row) const {
    const int row = static_cast<int>(first_row(tile)), least = row - (first + end - 1);
    const int most = row + lanes(tile) - 1 - (first + begin);  // lanes past the last row see nothing
    const int count = end - begin - 1 + vectors * kWidth, known = most - least + 1;
    const float *table = t.bias.position - least;
    for (int i = 0; i < known; ++i) by_row[i] = table[-i];
    for (int i = known; i < count; ++i) by_row[i] = 0;
  }

  // Adds time biases to the scores, but where all keys from begin to end-1 have the same for a vector of rows: those go to
  // of_time, zero elsewhere.
  __attribute__((noinline)) void add_time_biases(int tile, int vectors, int first, int begin, int end, float *of_time) const {
    int64_t rows[kLanes];
    const int count = lanes(tile);
    for (int i = 0; i < vectors * kWidth; ++i) rows[i] = t.bias.timestamps[first_row(tile) + (i < count ? i : count - 1)];
    const int64_t *keys = t.bias.timestamps + first;
    for (int n = 0; n < vectors * kWidth; n += kWidth) {
      const Span of_rows = span(rows + n, kWidth);
      const Buckets buckets = buckets_between(of_rows, span(keys + begin, end - begin));
      const bool one = buckets.least == buckets.most;
      Isa::store(of_time + n, Isa::set(one ? t.bias.time[buckets.least] : 0.0f));
      if (!one) add_time_bias(rows + n, of_rows, keys, begin, end, buckets, s + n);
    }
  }

  struct Span {
    int64_t least, most;
  };
  struct Buckets {
    int least, most;
  };

  static Span span(const int64_t *times, int count) {
    Span s = {times[0], times[0]};
    for (int i = 1; i < count; ++i) {
      s.least = times[i] < s.least ? times[i] : s.least;
      s.most = times[i] > s.most ? times[i] : s.most;
    }
    return s;
  }

  int bucket(uint64_t distance) const { return t.bias.buckets->bucket(distance, t.bias.num_buckets); }

  Buckets buckets_between(const Span &rows, const Span &keys) const {
    const uint64_t one = TimeBuckets::distance(rows.most, keys.least), other = TimeBuckets::distance(keys.most, rows.least);
    const bool apart = rows.least > keys.most || keys.least > rows.most;
    const uint64_t gap = rows.least > keys.most ? TimeBuckets::distance(rows.least, keys.most)
                                                : TimeBuckets::distance(keys.least, rows.most);
    return {bucket(apart ? gap : 0), bucket(one > other ? one : other)};
  }

  static constexpr int kBucketsApart = 5;  // told apart by comparisons; more cost more than to look again at half the keys

  // Of one vector of rows and keys begin..end-1, whose differences lie in `buckets`; scores[j * kLanes]: of key j.
  void add_time_bias(const int64_t *rows, const Span &of_rows, const int64_t *keys, int begin, int end, const Buckets &buckets,
                     float *scores) const {
    if (buckets.most - buckets.least < kBucketsApart) {
      const typename Isa::Times times = Isa::load_times(rows);
      const F least = Isa::set(t.bias.time[buckets.least]);
      for (int j = begin; j < end; ++j) {
        const typename Isa::Times distance = Isa::distance(times, keys[j]);
        F bias = least;
        for (int b = buckets.least + 1; b <= buckets.most; ++b) {
          bias = Isa::select(Isa::at_least(distance, t.bias.buckets->begin[b]), Isa::set(t.bias.time[b]), bias);
        }
        Isa::store(scores + j * kLanes, Isa::add(Isa::load(scores + j * kLanes), bias));
      }
    } else if (end - begin == 1) {
      for (int i = 0; i < kWidth; ++i) {
        scores[begin * kLanes + i] += t.bias.time[bucket(TimeBuckets::distance(rows[i], keys[begin]))];
      }
    } else {
      const int middle = begin + (end - begin) / 2;
      add_time_bias(rows, of_rows, keys, begin, middle, buckets_between(of_rows, span(keys + begin, middle - begin)), scores);
      add_time_bias(rows, of_rows, keys, middle, end, buckets_between(of_rows, span(keys + middle, end - middle)), scores);
    }
  }

  // What a lane sees, see HstuAttentionTask.
  struct Interval {
    F begin, hole_begin, hole_end, end;
    JD_SIMD F keep(const Interval &i, F key, F x) {
      return Isa::keep(Isa::either(Isa::both(Isa::less(i.begin, key), Isa::less(key, i.hole_begin)),
                                   Isa::both(Isa::less(i.hole_end, key), Isa::less(key, i.end))), x);
    }
  };

  // Turns scores of keys begin..end-1 of a block into weights.
  template <int N, bool kMasked>
  __attribute__((noinline)) void weights(int tile, int first, int begin, int end, const Biases &biases) const {
    const float *factors = kPairs && scaled() ? value_factors : nullptr;
    for (int n = 0; n < N * kWidth; n += kWidth) {
      Interval interval;
      if constexpr (kMasked) {
        const int64_t at = first_row(tile) - t.first_row + n;
        interval = {Isa::load(t.begin + at), Isa::load(t.hole_begin + at), Isa::load(t.hole_end + at), Isa::load(t.end + at)};
      }
      const F time = biases.time ? Isa::load(biases.time + n) : Isa::zero();
      for (int j = begin; j < end; j += 2) {
        float *at = s + j * kLanes + n;
        const bool second = j + 1 < end;
        F x[2] = {Isa::load(at), second ? Isa::load(at + kLanes) : Isa::zero()};
        if (biases.time) {
          x[0] = Isa::add(x[0], time);
          if (second) x[1] = Isa::add(x[1], time);  // or a weight that is not zero, of whatever key another tile of rows sees there
        }
        if (biases.position) {
          x[0] = Isa::add(x[0], Isa::load(biases.position + n - j));
          if (second) x[1] = Isa::add(x[1], Isa::load(biases.position + n - j - 1));
        }
        silu<Isa, kExpDegree>(x);
        if constexpr (kMasked) {
          x[0] = Interval::keep(interval, Isa::set(static_cast<float>(first + j)), x[0]);
          x[1] = Interval::keep(interval, Isa::set(static_cast<float>(first + j + 1)), x[1]);
        }
        if constexpr (kPairs) {
          if (factors) {
            x[0] = Isa::mul(x[0], Isa::set(factors[j]));
            if (second) x[1] = Isa::mul(x[1], Isa::set(factors[j + 1]));
          }
          Isa::store(s + j / 2 * kLanes + n, Isa::bf16_pairs(x[0], x[1]));
        } else {
          Isa::store(at, x[0]);
          if (second) Isa::store(at + kLanes, x[1]);
        }
      }
    }
  }

  // Adds each lane's own key where t.own says so.
  void attend_own_keys(int tile) const {
    float bias = 0;
    if (t.bias.time) bias += t.bias.time[bucket(0)];
    if (t.bias.position) bias += t.bias.position[0];
    for (int i = 0; i < lanes(tile); i += kWidth) {
      const int count = lanes(tile) - i;
      const int64_t first = first_row(tile) + i;
      const float *q = queries(tile) + i;
      gather_rows<kPairs>(t.keys, t.paged_keys, first, t.dim_qk, count, s);
      F sums[4] = {Isa::zero(), Isa::zero(), Isa::zero(), Isa::zero()};  // one would wait for itself
      for (int d = 0; d < shape.steps; d += 4) {
#pragma GCC unroll 4
        for (int i4 = 0; i4 < 4; ++i4) {
          sums[i4] = Tile::product(Isa::load(s + (d + i4) * kLanes), Isa::load(q + (d + i4) * kLanes), sums[i4]);
        }
      }
      F x[1] = {Isa::add(Isa::add(sums[0], sums[1]), Isa::add(sums[2], sums[3]))};
      if constexpr (kPairs) x[0] = Isa::mul(x[0], Isa::set(t.alpha));
      if (scaled()) x[0] = Isa::mul(x[0], lane_scales(t.paged_keys, first, count));
      if (bias != 0) x[0] = Isa::add(x[0], Isa::set(bias));
      silu<Isa, kExpDegree>(x);
      F weight = Isa::mul(x[0], Isa::load(t.own + (first - t.first_row)));
      if (scaled()) weight = Isa::mul(weight, lane_scales(t.paged_values, first, count));
      gather_rows<false>(t.values, t.paged_values, first, t.dim_v, count, s);
      for (int d = 0; d < t.dim_v; ++d) {
        float *o = out(tile) + d * kLanes + i;
        Isa::store(o, Isa::fma(Isa::load(s + d * kLanes), weight, Isa::load(o)));
      }
    }
  }

  void write(int tile) const {
    for (int i = 0; i < lanes(tile); i += kWidth) {
      const int count = lanes(tile) - i;
      const int64_t first = first_row(tile) - t.first_query + i;
      F norm = Isa::set(t.common_norm);
      if (t.norm) norm = count < kWidth ? Isa::load_first(t.norm + first, count) : Isa::load(t.norm + first);
      Tile::scatter_lanes(
          out(tile) + i, norm,
          [&](int lane) {
            return static_cast<char *>(t.out) + (first + lane) * t.out_stride * element_bytes(t.out_dtype);
          },
          t.dim_v, count, t.out_dtype);
    }
  }
};

}  // namespace
}  // namespace jindou::cpu

#endif
