// softmax_attention: attention under masks, with biases and a soft-cap (jindou/softmax_attention.h).
//
//   s_ij = cap(scale * q_i . k_j + bias_ij)      out_i = sum_j softmax_j(s_ij) v_j      over the keys that row i sees
//
// FLOPs 2 * (dqk + dv) * pairs; the FMA rate is the bound. A task owns some tiles of lanes of one sequence (SoftmaxAttentionTask), which
// share each block of keys.
//
// Blocks that no row of a tile sees are skipped. A block that every row sees, without cap and bias, takes three steps: scores with
// their maximum, weights, sums. The others take up to three more between the first two: the bias, the cap, and what hides the keys that
// a lane does not see and finds the maximum. These steps are passes over a tile of scores in the cache, not variants of the loops.
//
// The softmax is in powers of two (kernels/online_softmax.h): log2(e) is part of the scale and of the biases. With a cap these have its
// inverse in them instead, and its height has log2(e).
#ifndef JINDOU_CPU_KERNELS_SOFTMAX_ATTENTION_H
#define JINDOU_CPU_KERNELS_SOFTMAX_ATTENTION_H

#include "attention/hiding_bias.h"
#include "cpu/kernels/online_softmax.h"

namespace jindou::cpu {
namespace {

template <class Isa, bool kBf16Pairs>
struct SoftmaxAttention {
  using Softmax = OnlineSoftmax<Isa, kBf16Pairs>;
  using Tile = typename Softmax::Tile;
  using State = typename Softmax::State;
  using F = typename Isa::F;
  static constexpr int kWidth = Isa::kWidth;
  static constexpr int kLanes = Tile::kLanes;
  static constexpr bool kPairs = Tile::kPairs;

  // Scratch of a task: scores and one block of keys and values; then for each tile its queries and two states.
  static AttentionScratch scratch(int dim_qk, int dim_v) {
    const Tile tile(dim_qk, dim_v);
    const size_t state = Softmax::state_floats(tile);
    return {tile.block_floats(), tile.query_floats() + 2 * state, state};
  }

  static int32_t computing_dtype(const SoftmaxAttentionTask &task) { return task.dtype; }

  const SoftmaxAttentionTask &t;
  const Tile shape;
  const AttentionScratch floats;
  const int tiles;
  const int64_t pieces;
  const bool biased;
  const float factor;  // of a product of queries and keys
  const float unit;    // of a bias
  float *const s, *const k, *const v;

  explicit SoftmaxAttention(const SoftmaxAttentionTask &task)
      : t(task),
        shape(t.dim_qk, t.dim_v),
        floats(scratch(t.dim_qk, t.dim_v)),
        tiles(static_cast<int>((t.last_lane - t.first_lane + kLanes - 1) / kLanes)),
        pieces((int64_t{t.num_keys} + t.piece_keys - 1) / t.piece_keys),
        biased(t.bias.slopes || t.bias.table || t.bias.matrix),
        factor(t.softcap > 0 ? t.scale / t.softcap : t.scale * kLog2E),
        unit(t.softcap > 0 ? 1 / t.softcap : kLog2E),
        s(t.scratch),
        k(s + Tile::kScoreFloats),
        v(k + shape.key_floats()) {}

  float *queries(int tile) const { return t.scratch + floats.task + tile * floats.tile; }
  // Of the piece at hand; of all pieces so far; of a piece that another task sums.
  State current(int tile) const { return State(queries(tile) + shape.query_floats()); }
  State total(int tile) const { return State(queries(tile) + shape.query_floats() + floats.partial); }
  State partial(int tile, int64_t piece) const {
    return State(t.partial + ((t.first_lane / kLanes + tile) * pieces + piece) * floats.partial);
  }

  int64_t first_lane(int tile) const { return t.first_lane + int64_t(tile) * kLanes; }
  int lanes(int tile) const {
    const int64_t left = t.last_lane - first_lane(tile);
    return left < kLanes ? static_cast<int>(left) : kLanes;
  }
  int vectors(int tile) const { return (lanes(tile) + kWidth - 1) / kWidth; }
  int64_t row_of(int64_t lane) const { return t.group == 1 ? lane : lane / t.group; }
  int64_t head_of(int64_t lane) const { return t.group == 1 ? 0 : lane % t.group; }

  void run() const {
    switch (t.phase) {
      case SoftmaxAttentionTask::kWhole:
        load_queries();
        for (int64_t piece = 0; piece < pieces || piece == 0; ++piece) {
          attend_piece(piece, [&](int tile) { return piece == 0 ? total(tile) : current(tile); });
          for (int tile = 0; piece > 0 && tile < tiles; ++tile) merge(total(tile), current(tile), tile);
        }
        for (int tile = 0; tile < tiles; ++tile) write(tile, total(tile));
        return;
      case SoftmaxAttentionTask::kPieceOnly:
        load_queries();
        return attend_piece(t.piece, [&](int tile) { return partial(tile, t.piece); });
      case SoftmaxAttentionTask::kMergeOnly:
        for (int tile = 0; tile < tiles; ++tile) {
          for (int64_t piece = 1; piece < pieces; ++piece) merge(partial(tile, 0), partial(tile, piece), tile);
          write(tile, partial(tile, 0));
        }
        return;
    }
  }

  void merge(const State &all, const State &newer, int tile) const { Softmax::merge(all, newer, t.dim_v, vectors(tile)); }

  const char *query(int64_t lane) const {
    return static_cast<const char *>(t.queries) +
           (row_of(lane) * t.query_row + head_of(lane) * t.query_head) * element_bytes(t.dtype);
  }

  void load_queries() const {
    for (int tile = 0; tile < tiles; ++tile) {
      for (int i = 0; i < lanes(tile); ++i) Tile::prefetch_row(query(first_lane(tile) + i), t.dim_qk * element_bytes(t.dtype));
      for (int at = 0; at < lanes(tile); at += kWidth) {
        const int64_t first = first_lane(tile) + at;
        Tile::template gather_lanes<kPairs>([&](int lane) { return query(first + lane); }, t.dim_qk, lanes(tile) - at, t.dtype,
                                            factor, queries(tile) + at);
      }
    }
  }

  // Every tile's softmax over one piece of the keys.
  template <class StateOf>
  void attend_piece(int64_t piece, const StateOf &state_of) const {
    int begin = t.num_keys, end = 0;  // what the tiles see together
    for (int tile = 0; tile < tiles; ++tile) {
      Softmax::clear(state_of(tile), t.dim_v, vectors(tile), kHidden);
      begin = smaller(begin, t.tiles[tile].begin);
      end = larger(end, t.tiles[tile].end);
    }
    begin = larger(begin, static_cast<int>(piece * t.piece_keys));
    end = static_cast<int>(smaller(int64_t{end}, (piece + 1) * t.piece_keys));
    for (int j = begin; j < end && j < begin + kKeyBlock; ++j) {
      Tile::prefetch_row(Tile::address(t.keys, j), t.dim_qk * element_bytes(t.dtype));
      Tile::prefetch_row(Tile::address(t.values, j), t.dim_v * element_bytes(t.dtype));
    }
    for (int first = begin / kKeyBlock * kKeyBlock; first < end; first += kKeyBlock) {
      const int last = smaller(first + kKeyBlock, end), next = smaller(end - last, kKeyBlock);
      auto ahead = shape.ahead(t.keys, t.values, last, next);  // the next block, so that packing finds it in the cache
      bool packed = false;
      for (int tile = 0; tile < tiles; ++tile) {
        const SoftmaxTile &seen = t.tiles[tile];
        const int from = larger(seen.begin, first), to = smaller(seen.end, last);
        if (from >= to || (seen.hole_begin <= from && to <= seen.hole_end)) continue;
        if (!packed) {
          shape.pack_keys(t.keys, first, last - first, k);
          shape.pack_values(t.values, first, last - first, v);
          packed = true;
        }
        Tile::share(ahead, next, tile, tiles);
        switch (vectors(tile)) {
          case 1: attend_block<1>(tile, first, from, to, state_of(tile), ahead); break;
          case 2: attend_block<2>(tile, first, from, to, state_of(tile), ahead); break;
          case 3: attend_block<3>(tile, first, from, to, state_of(tile), ahead); break;
        }
      }
    }
  }
  static_assert(Isa::kVectors == 3, "the cases of attend_piece");

  template <class T>
  static T smaller(T a, T b) {
    return a < b ? a : b;
  }
  template <class T>
  static T larger(T a, T b) {
    return a < b ? b : a;
  }

  // Keys from..to-1 of the block that starts with key `first`.
  template <int N>
  void attend_block(int tile, int first, int from, int to, const State &state, const typename Tile::Ahead &ahead) const {
    from -= (from - first) % Tile::kRows;
    const SoftmaxTile &seen = t.tiles[tile];
    const bool full = to <= seen.full_first || (seen.full_begin <= from && to <= seen.full_end);
    const int begin = from - first, end = to - first;
    float top[N * kWidth], older[N * kWidth];
    for (int n = 0; n < N * kWidth; n += kWidth) Isa::store(top + n, Isa::load(state.m + n));
    if (full && !biased && t.softcap == 0) {
      Tile::template scores<N, true>(queries(tile), k, shape.steps, begin, end, typename Tile::OneFactor{factor}, s, top, ahead);
      Softmax::template weigh<N, false>(s, begin, end, state, top, older);
    } else {
      Tile::template scores<N, false>(queries(tile), k, shape.steps, begin, end, typename Tile::OneFactor{factor}, s, nullptr, ahead);
      if (t.bias.slopes) add_alibi(N, tile, first, begin, end);
      if (t.bias.table) add_t5(N, tile, first, begin, end);
      if (t.bias.matrix) {
        add_matrix(N, tile, first, begin, end);  // and the cap
      } else if (t.softcap > 0) {
        cap(N, begin, end);
      }
      if (full) {
        hide<false>(N, tile, first, begin, end, top);
      } else {
        hide<true>(N, tile, first, begin, end, top);
      }
      Softmax::template weigh<N, true>(s, begin, end, state, top, older);
    }
    Tile::template weigh<N, true>(s, v, t.dim_v, kPairs ? begin / 2 : begin, kPairs ? (end + 1) / 2 : end, older, state.o);
  }

  // Scores come as (scale * q . k + bias) / softcap.
  __attribute__((noinline)) void cap(int vectors, int begin, int end) const {
    const F height = Isa::set(t.softcap * kLog2E);
    for (int j = begin; j < end; ++j) {
      for (int n = 0; n < vectors * kWidth; n += kWidth) {
        float *at = s + j * kLanes + n;
        Isa::store(at, Isa::mul(tanh<Isa>(Isa::load(at)), height));
      }
    }
  }

  int position(int tile, int lane) const { return t.shift + static_cast<int>(row_of(first_lane(tile) + lane)); }

  __attribute__((noinline)) void add_alibi(int vectors, int tile, int first, int begin, int end) const {
    float positions[kLanes], slopes[kLanes];
    for (int i = 0; i < vectors * kWidth; ++i) {
      positions[i] = static_cast<float>(position(tile, i));
      slopes[i] = -unit * t.bias.slopes[head_of(first_lane(tile) + i)];
    }
    for (int n = 0; n < vectors * kWidth; n += kWidth) {
      const F at_row = Isa::load(positions + n), slope = Isa::load(slopes + n);
      for (int j = begin; j < end; ++j) {
        float *at = s + j * kLanes + n;
        const F after = Isa::sub(at_row, Isa::set(static_cast<float>(first + j)));
        Isa::store(at, Isa::fma(slope, Isa::max(after, Isa::sub(Isa::zero(), after)), Isa::load(at)));
      }
    }
  }

  // Along the lanes of one head the distance key - row falls by one: a reversed piece of the biases by distance, cut once for a block.
  __attribute__((noinline)) void add_t5(int vectors, int tile, int first, int begin, int end) const {
    if (t.group > 1) return add_t5_of_heads(tile, first, begin, end);
    float by_row[kKeyBlock + kLanes];  // of row - key, from the least
    const int least = position(tile, 0) - (first + end - 1);
    for (int i = 0; i < end - begin - 1 + vectors * kWidth; ++i) by_row[i] = t5(-(least + i), 0);
    for (int j = begin; j < end; ++j) {
      const float *bias = by_row + (end - 1 - j);
      for (int n = 0; n < vectors * kWidth; n += kWidth) {
        float *at = s + j * kLanes + n;
        Isa::store(at, Isa::add(Isa::load(at), Isa::load(bias + n)));
      }
    }
  }

  void add_t5_of_heads(int tile, int first, int begin, int end) const {
    for (int i = 0; i < lanes(tile); ++i) {
      const int row = position(tile, i);
      const int64_t head = head_of(first_lane(tile) + i);
      for (int j = begin; j < end; ++j) s[j * kLanes + i] += t5(first + j - row, head);
    }
  }

  float t5(int relative, int64_t head) const {
    const int limit = t.bias.limit, clipped = relative < -limit ? -limit : relative > limit ? limit : relative;
    return t.bias.table[t.bias.buckets[clipped] * t.bias.table_row + head] * unit;
  }

  // The rows of the matrix are transposed as the queries are. The cap follows at once, while it is known which biases hide their keys:
  // it would make -softcap of them. What hides is added, so that a NaN stays one.
  __attribute__((noinline)) void add_matrix(int vectors, int tile, int first, int begin, int end) const {
    const F of_bias = Isa::set(unit), height = Isa::set(t.softcap * kLog2E), hidden = Isa::set(kHidden), hiding = Isa::set(kHidingBias);
    for (int n = 0; n < vectors * kWidth; n += kWidth) {
      for (int from = begin; from < end; from += kWidth) {
        const int count = smaller(end - from, kWidth);
        F block[kWidth];
        for (int lane = 0; lane < kWidth; ++lane) {
          block[lane] = Isa::zero();
          if (n + lane >= lanes(tile)) continue;
          const int64_t of = first_lane(tile) + n + lane;
          const float *row = t.bias.matrix + head_of(of) * t.bias.matrix_head + row_of(of) * t.bias.matrix_row + first + from;
          block[lane] = count < kWidth ? Isa::load_first(row, count) : Isa::load(row);
        }
        Isa::transpose(block);
        for (int j = 0; j < count; ++j) {
          float *at = s + (from + j) * kLanes + n;
          F x = Isa::fma(block[j], of_bias, Isa::load(at));
          if (t.softcap > 0) {
            x = Isa::add(Isa::mul(tanh<Isa>(x), height), Isa::keep(Isa::less(block[j], hiding), hidden));
          }
          Isa::store(at, x);
        }
      }
    }
  }

  // Hides the keys that a lane does not see; top becomes the maximum.
  template <bool kMasked>
  __attribute__((noinline)) void hide(int vectors, int tile, int first, int begin, int end, float *top) const {
    const F hidden = Isa::set(kHidden);
    for (int n = 0; n < vectors * kWidth; n += kWidth) {
      const int64_t lane = first_lane(tile) - t.first_lane + n;
      F best = Isa::load(top + n);
      F seen_begin, hole_begin, hole_end, seen_end;
      if constexpr (kMasked) {
        seen_begin = Isa::load(t.begin + lane);
        hole_begin = Isa::load(t.hole_begin + lane);
        hole_end = Isa::load(t.hole_end + lane);
        seen_end = Isa::load(t.end + lane);
      }
      for (int j = begin; j < end; ++j) {
        float *at = s + j * kLanes + n;
        F x = Isa::load(at);
        if constexpr (kMasked) {
          const F key = Isa::set(static_cast<float>(first + j));
          const auto seen = Isa::either(Isa::both(Isa::less(seen_begin, key), Isa::less(key, hole_begin)),
                                        Isa::both(Isa::less(hole_end, key), Isa::less(key, seen_end)));
          x = Isa::add(Isa::keep(seen, x), Isa::sub(hidden, Isa::keep(seen, hidden)));
          Isa::store(at, x);
        }
        best = Isa::max(best, x);
      }
      Isa::store(top + n, best);
    }
  }

  void write(int tile, const State &all) const {
    for (int i = 0; i < lanes(tile); i += kWidth) {
      const int64_t first = first_lane(tile) + i;
      // A lane without any key has l = 0 and o = 0 and gives zeros. With one, l is at least 1/2: its largest weight is about 1.
      const F inverse = Isa::div(Isa::set(1.0f), Isa::max(Isa::set(1e-30f), Isa::load(all.l + i)));
      Tile::scatter_lanes(
          all.o + i, inverse,
          [&](int lane) {
            return static_cast<char *>(t.out) +
                   (row_of(first + lane) * t.out_row + head_of(first + lane) * t.out_head) * element_bytes(t.out_dtype);
          },
          t.dim_v, lanes(tile) - i, t.out_dtype);
    }
    for (int i = 0; t.lse && i < lanes(tile); ++i) {
      const int64_t lane = first_lane(tile) + i;
      const float natural = (all.m[i] + __builtin_log2f(all.l[i])) * 0.693147180559945309f;
      t.lse[row_of(lane) * t.lse_row + head_of(lane) * t.lse_head] = all.l[i] == 0 ? -__builtin_inff() : natural;
    }
  }
};

}  // namespace
}  // namespace jindou::cpu

#endif
