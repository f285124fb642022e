// hstu_attention: pointwise attention under HSTU's mask (jindou/attention.h).
//
//   a_ij = SiLU(alpha * q_i . k_j + rab_ij) * norm_i * m_ij       out_i = sum_j a_ij v_j
//
// FLOPs 2 * (dqk + dv) * allowed pairs; the FMA rate is the bound. A task owns some tiles of query rows of one head of one sequence.
//
// What a row sees is its own key and one interval of keys with at most one hole (attention/hstu_mask.h); the caller gives
// both for each row, and for each tile the keys that no row or every row sees. Blocks that no row sees are skipped; blocks
// that every row sees need no mask; in the others the weights outside a lane's interval are set to zero. The own key is one
// more product a lane, not a block: so a tile of targets never touches the other targets.
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

  // Codes are multiplied as f32, whatever the queries' dtype.
  static int32_t computing_dtype(const HstuAttentionTask &task) { return task.paged_keys.scales ? JD_F32 : task.dtype; }

  const HstuAttentionTask &t;
  const Tile shape;
  const AttentionScratch floats;
  const int tiles;
  float *const s, *const k, *const v;

  explicit HstuAttention(const HstuAttentionTask &task)
      : t(task),
        shape(t.dim_qk, t.dim_v),
        floats(scratch(t.dim_qk, t.dim_v)),
        tiles(static_cast<int>((t.last_row - t.first_row + kLanes - 1) / kLanes)),
        s(t.scratch),
        k(s + Tile::kScoreFloats),
        v(k + shape.key_floats()) {}

  float *queries(int tile) const { return t.scratch + floats.task + tile * floats.tile; }
  float *out(int tile) const { return queries(tile) + shape.query_floats(); }
  int64_t first_row(int tile) const { return t.first_row + int64_t(tile) * kLanes; }
  int lanes(int tile) const {
    const int64_t left = t.last_row - first_row(tile);
    return left < kLanes ? static_cast<int>(left) : kLanes;
  }
  int vectors(int tile) const { return (lanes(tile) + kWidth - 1) / kWidth; }

  void run() const {
    int begin = t.tiles[0].begin, end = t.tiles[0].end;
    for (int tile = 0; tile < tiles; ++tile) {
      load(tile);
      if (t.tiles[tile].begin < begin) begin = t.tiles[tile].begin;
      if (t.tiles[tile].end > end) end = t.tiles[tile].end;
    }
    for (int first = begin / kKeyBlock * kKeyBlock; first < end; first += kKeyBlock) {
      const int last = first + kKeyBlock < end ? first + kKeyBlock : end;
      bool packed = false;
      for (int tile = 0; tile < tiles; ++tile) {
        const int from = t.tiles[tile].begin > first ? t.tiles[tile].begin : first;
        const int to = t.tiles[tile].end < last ? t.tiles[tile].end : last;
        if (from >= to || (t.tiles[tile].empty_begin <= from && to <= t.tiles[tile].empty_end)) continue;
        if (!packed) {
          if (paged()) {
            shape.pack_keys(t.paged_keys, first, last - first, k);
            shape.pack_values(t.paged_values, first, last - first, v);
          } else {
            shape.pack_keys(t.keys, first, last - first, k);
            shape.pack_values(t.values, first, last - first, v);
          }
          packed = true;
        }
        const auto ahead = share(last, end, tile);
        switch (vectors(tile)) {
          case 1: attend_block<1>(tile, first, from, to, ahead); break;
          case 2: attend_block<2>(tile, first, from, to, ahead); break;
          case 3: attend_block<3>(tile, first, from, to, ahead); break;
        }
      }
    }
    for (int tile = 0; tile < tiles; ++tile) {
      attend_own_keys(tile);
      write(tile);
    }
  }
  static_assert(Isa::kVectors == 3, "the cases of run");

  bool paged() const { return t.paged_keys.pages != nullptr; }

  // Each tile fetches its share of the next block of keys and values, so that packing finds them in the cache.
  typename Tile::Ahead share(int first, int end, int tile) const {
    const int count = end - first < kKeyBlock ? end - first : kKeyBlock;
    const int begin = first + count * tile / tiles, stop = first + count * (tile + 1) / tiles;
    if (!paged()) return shape.ahead(t.keys, t.values, begin, stop);
    if (begin == stop) return {};
    const PagedRows &keys = t.paged_keys, &values = t.paged_values;
    if (keys.page_size >= kKeyBlock) {  // in one page
      return shape.ahead(Tile::address(keys, begin), keys.row_bytes, Tile::address(values, begin), values.row_bytes, keys.dtype,
                         stop - begin);
    }
    for (int j = begin; j < stop; ++j) {
      Tile::prefetch_row(Tile::address(keys, j), t.dim_qk * element_bytes(keys.dtype));
      Tile::prefetch_row(Tile::address(values, j), t.dim_v * element_bytes(values.dtype));
    }
    return {};
  }

  // Rows first.. of the lanes, one a lane, as gather_lanes gives them.
  template <bool kRaw>
  void gather_rows(const HeadRows &rows, const PagedRows &paged_rows, int64_t first, int dim, int count, float *to) const {
    if (!paged()) {
      Tile::template gather_lanes<kRaw>([&](int lane) { return Tile::address(rows, first + lane); }, dim, count, t.dtype, 1.0f,
                                        to);
    } else if (!paged_rows.scales) {
      Tile::template gather_lanes<kRaw>([&](int lane) { return Tile::address(paged_rows, first + lane); }, dim, count, t.dtype,
                                        1.0f, to);
    } else {
      float unpacked[kWidth * kMaxHeadDim];
      for (int lane = 0; lane < kWidth && lane < count; ++lane) {
        Tile::widen_row(Tile::address(paged_rows, first + lane), paged_rows.dtype, Tile::scale_of(paged_rows, first + lane), dim,
                        unpacked + lane * dim);
      }
      Tile::template gather_lanes<false>([&](int lane) { return reinterpret_cast<const char *>(unpacked + lane * dim); }, dim,
                                         count, JD_F32, 1.0f, to);
    }
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
    Tile::template scores<N, false>(queries(tile), k, shape.steps, begin, end, t.alpha, s, nullptr, ahead);
    if (t.bias.position) add_position_bias<N>(tile, first, begin, end);
    if (t.bias.time) add_time_bias<N>(tile, first, begin, end);
    if (full) {
      weights<N, false>(tile, first, begin, end);
    } else {
      weights<N, true>(tile, first, begin, end);
    }
    Tile::template weigh<N, false>(s, v, t.dim_v, kPairs ? begin / 2 : begin, kPairs ? (end + 1) / 2 : end, nullptr, out(tile));
  }

  // Along the lanes of one key the distance j - i falls by one: a reversed piece of the table, cut once for a block.
  template <int N>
  __attribute__((noinline)) void add_position_bias(int tile, int first, int begin, int end) const {
    float by_row[kKeyBlock + N * kWidth];  // of row - key, from the least
    const int row = static_cast<int>(first_row(tile)), least = row - (first + end - 1);
    const int most = row + lanes(tile) - 1 - (first + begin);  // lanes past the last row see nothing
    for (int i = 0; i < end - begin - 1 + N * kWidth; ++i) {
      by_row[i] = t.bias.position[-(least + i < most ? least + i : most)];
    }
    for (int j = begin; j < end; ++j) {
      const float *bias = by_row + (end - 1 - j);
      for (int n = 0; n < N * kWidth; n += kWidth) {
        float *at = s + j * kLanes + n;
        Isa::store(at, Isa::add(Isa::load(at), Isa::load(bias + n)));
      }
    }
  }

  template <int N>
  __attribute__((noinline)) void add_time_bias(int tile, int first, int begin, int end) const {
    const int64_t *rows = t.bias.timestamps + first_row(tile), *keys = t.bias.timestamps + first;
    const int count = lanes(tile);
    for (int j = begin; j < end; ++j) {
      for (int i = 0; i < count; ++i) s[j * kLanes + i] += time_bias(rows[i], keys[j]);
    }
  }

  float time_bias(int64_t row, int64_t key) const {
    return t.bias.time[t.bias.buckets->bucket(TimeBuckets::distance(row, key), t.bias.num_buckets)];
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
  __attribute__((noinline)) void weights(int tile, int first, int begin, int end) const {
    for (int n = 0; n < N * kWidth; n += kWidth) {
      Interval interval;
      if constexpr (kMasked) {
        const int64_t at = first_row(tile) - t.first_row + n;
        interval = {Isa::load(t.begin + at), Isa::load(t.hole_begin + at), Isa::load(t.hole_end + at), Isa::load(t.end + at)};
      }
      for (int j = begin; j < end; j += 2) {
        float *at = s + j * kLanes + n;
        const bool second = j + 1 < end;
        F x[2] = {Isa::load(at), second ? Isa::load(at + kLanes) : Isa::zero()};
        silu<Isa, kExpDegree>(x);
        if constexpr (kMasked) {
          x[0] = Interval::keep(interval, Isa::set(static_cast<float>(first + j)), x[0]);
          x[1] = Interval::keep(interval, Isa::set(static_cast<float>(first + j + 1)), x[1]);
        }
        if constexpr (kPairs) {
          Isa::store(s + j / 2 * kLanes + n, Isa::bf16_pairs(x[0], x[1]));
        } else {
          Isa::store(at, x[0]);
          if (second) Isa::store(at + kLanes, x[1]);
        }
      }
    }
  }

  void attend_own_keys(int tile) const {
    float bias = 0;
    if (t.bias.position) bias += t.bias.position[0];
    if (t.bias.time) bias += time_bias(0, 0);
    for (int i = 0; i < lanes(tile); i += kWidth) {
      const int count = lanes(tile) - i;
      const int64_t first = first_row(tile) + i;
      const float *q = queries(tile) + i;
      gather_rows<kPairs>(t.keys, t.paged_keys, first, t.dim_qk, count, s);
      F x[1] = {Isa::zero()};
      for (int d = 0; d < shape.steps; ++d) x[0] = Tile::product(Isa::load(s + d * kLanes), Isa::load(q + d * kLanes), x[0]);
      if constexpr (kPairs) x[0] = Isa::mul(x[0], Isa::set(t.alpha));
      if (bias != 0) x[0] = Isa::add(x[0], Isa::set(bias));
      silu<Isa, kExpDegree>(x);
      const F weight = Isa::mul(x[0], Isa::load(t.own + (first - t.first_row)));
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
