// history_search by inner products and by Hamming distances: candidates against the history, scores filtered in registers
// (jindou/history_search.h).
//
//   s_ij = q_i . k_j + bias_j                   dot
//   s_ij = -popcount(q_i xor k_j)               lsh
//
// Candidates are the lanes of vectors, events are broadcast (search_tile.h). Each lane has a threshold, the score of the k-th
// best entry of its list (top_k.h); a register tile of scores is compared with the thresholds where it was summed, and what passes,
// a few in a thousand, is appended to the lists. No score is stored that does not pass.
//
// Events go from the most recent to the oldest, so that comparing scores alone is exact: of equals the one met first stays.
// Blocks of 64 events are visited by all tiles of a task; the history is read from memory once a task.
//
// FLOPs 2 * dim * lanes * events: the FMA rate is the bound. Bytes: lists 16 * k a lane, which live in L2 up to a k of 100 or so.
#ifndef JINDOU_CPU_KERNELS_HISTORY_SEARCH_H
#define JINDOU_CPU_KERNELS_HISTORY_SEARCH_H

#include "cpu/kernels/search_tile.h"
#include "cpu/kernels/top_k.h"

namespace jindou::cpu {
namespace {

// The lists of a task's lanes.
struct SearchLists {
  uint64_t *const entries;
  int32_t *const counts;
  const int k, room;

  explicit SearchLists(const SearchTask &t) : entries(t.entries), counts(t.counts), k(t.k), room(top_k_room(t.k)) {
    for (int i = 0; i < t.lanes; ++i) counts[i] = 0;
  }

  // True when the list was cut: its k best then score at least `*threshold`.
  bool push(int lane, float score, int64_t event, float *threshold) const {
    uint64_t *list = entries + int64_t{lane} * room;
    list[counts[lane]++] = top_k_entry(score, static_cast<int32_t>(event));
    if (__builtin_expect(counts[lane] < room, 1)) return false;
    *threshold = top_k_score(keep_largest(list, room, k));
    counts[lane] = k;
    return true;
  }
};

template <class Isa, bool kPairs>
struct DotSearch {
  using Tile = SearchTile<Isa, kPairs>;
  using F = typename Isa::F;
  static constexpr int kWidth = Tile::kWidth, kLanes = Tile::kLanes, kRows = Tile::kRows;

  const SearchTask &t;
  const SearchLists lists;
  const int tiles, steps;

  explicit DotSearch(const SearchTask &task)
      : t(task), lists(task), tiles((task.lanes + kLanes - 1) / kLanes), steps(Tile::steps(task.dim)) {}

  float *queries(int tile) const { return t.scratch + Tile::kBlockFloats + tile * search_tile_floats(t.dtype, t.dim, kLanes); }
  float *thresholds(int tile) const { return queries(tile) + int64_t{kLanes} * t.dim; }

  void run() const {
    for (int tile = 0; tile < tiles; ++tile) {
      const int count = t.lanes - tile * kLanes;
      Tile::pack(t.queries, t.dtype, t.dim, tile * kLanes, count, queries(tile));
      for (int i = 0; i < kLanes; ++i) thresholds(tile)[i] = i < count ? -__builtin_inff() : __builtin_inff();
    }
    for (int64_t end = t.last_key; end > t.first_key;) {
      const int64_t begin = end - t.first_key > Tile::kBlock ? end - Tile::kBlock : t.first_key;
      const int count = static_cast<int>(end - begin);
      const typename Tile::Block block = Tile::block(t.keys, t.dtype, t.dim, begin, count, t.scratch);
      for (int tile = 0; tile < tiles; ++tile) {
        // The first tile asks for the next block.
        const bool asks = tile == 0 && begin - t.first_key >= Tile::kBlock;
        const typename Tile::Ahead coming = asks ? Tile::ahead(t.keys, t.dtype, begin - Tile::kBlock) : Tile::none(block);
        const int vectors = (t.lanes - tile * kLanes + kWidth - 1) / kWidth;
        switch (vectors) {
          case 1: scan<1>(tile, block, coming, begin, count); break;
          case 2: scan<2>(tile, block, coming, begin, count); break;
          default: scan<3>(tile, block, coming, begin, count); break;
        }
      }
      end = begin;
    }
  }
  static_assert(Isa::kVectors == 3, "the cases of run");

  template <int N>
  void scan(int tile, const typename Tile::Block &block, const typename Tile::Ahead &coming, int64_t begin, int count) const {
    int j = count;
    for (; j >= kRows; j -= kRows) score<N, kRows>(tile, block, coming, begin, j - kRows);
    for (; j > 0; --j) score<N, 1>(tile, block, coming, begin, j - 1);
  }

  // Rows j..j+R-1 of the block that begins with event `begin`.
  template <int N, int R>
  __attribute__((noinline)) void score(int tile, const typename Tile::Block &block, const typename Tile::Ahead &coming, int64_t begin,
                                       int j) const {
    F sum[R][N];
    Tile::template multiply<N, R>(queries(tile), block.rows + j * block.stride, block.stride, steps, coming.from(j), sum);
    if (t.bias) {
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        const F bias = Isa::set(t.bias[begin + j + r]);
#pragma GCC unroll 4
        for (int n = 0; n < N; ++n) sum[r][n] = Isa::add(sum[r][n], bias);
      }
    }
    const float *threshold = thresholds(tile);
    uint64_t passed[R];
    uint32_t rows = 0;
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      passed[r] = 0;
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) {  // a NaN does not pass
        passed[r] |= static_cast<uint64_t>(Isa::bits(Isa::less(Isa::load(threshold + n * kWidth), sum[r][n]))) << (n * kWidth);
      }
      rows |= (passed[r] != 0 ? 1u : 0u) << r;
    }
    if (rows == 0) return;
    float scores[R][N * kWidth];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) Isa::store(scores[r] + n * kWidth, sum[r][n]);
    }
    // The most recent first.
    while (rows != 0) {
      const int r = 31 - __builtin_clz(rows);
      rows ^= 1u << r;
      uint64_t lanes = passed[r];
      do {
        const int lane = __builtin_ctzll(lanes);
        lists.push(tile * kLanes + lane, scores[r][lane], begin + j + r, thresholds(tile) + lane);
        lanes &= lanes - 1;
      } while (lanes != 0);
    }
  }
};

template <class Isa>
struct LshSearch {
  using W = typename Isa::W;
  static constexpr int kWidth = Isa::kWidth / 2;  // words of a vector
  static constexpr int kLanes = SearchTile<Isa, false>::kLanes;
  static constexpr int kVectors = kLanes / kWidth;
  static constexpr int kBlock = 256;  // events that all tiles visit

  const SearchTask &t;
  const SearchLists lists;
  const int tiles;

  explicit LshSearch(const SearchTask &task) : t(task), lists(task), tiles((task.lanes + kLanes - 1) / kLanes) {}

  // Words [dim][kLanes], then a distance for each lane: what is nearer passes.
  uint64_t *queries(int tile) const { return reinterpret_cast<uint64_t *>(t.scratch) + int64_t{tile} * kLanes * (t.dim + 1); }
  uint64_t *thresholds(int tile) const { return queries(tile) + int64_t{kLanes} * t.dim; }
  const uint64_t *words(const HeadRows &rows, int64_t i) const {
    return static_cast<const uint64_t *>(rows.data) + i * rows.stride;
  }

  void run() const {
    for (int tile = 0; tile < tiles; ++tile) {
      const int count = t.lanes - tile * kLanes;
      for (int i = 0; i < kLanes; ++i) {
        for (int w = 0; w < t.dim; ++w) queries(tile)[w * kLanes + i] = i < count ? words(t.queries, tile * kLanes + i)[w] : 0;
        thresholds(tile)[i] = i < count ? 64u * static_cast<uint64_t>(t.dim) + 1 : 0;
      }
    }
    for (int64_t end = t.last_key; end > t.first_key;) {
      const int64_t begin = end - t.first_key > kBlock ? end - kBlock : t.first_key;
      for (int tile = 0; tile < tiles; ++tile) {
        for (int64_t j = end; j-- > begin;) measure(tile, j);
      }
      end = begin;
    }
  }

  void measure(int tile, int64_t event) const {
    const uint64_t *q = queries(tile), *key = words(t.keys, event), *threshold = thresholds(tile);
    W distance[kVectors];
    uint64_t passed = 0;
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) distance[v] = Isa::different_bits(Isa::load_words(q + v * kWidth), Isa::set_words(key[0]));
    for (int w = 1; w < t.dim; ++w) {
      const W word = Isa::set_words(key[w]);
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) {
        distance[v] = Isa::add_words(distance[v], Isa::different_bits(Isa::load_words(q + w * kLanes + v * kWidth), word));
      }
    }
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      passed |= static_cast<uint64_t>(Isa::less_words(distance[v], Isa::load_words(threshold + v * kWidth))) << (v * kWidth);
    }
    if (passed == 0) return;
    uint64_t all[kLanes];
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) Isa::store_words(all + v * kWidth, distance[v]);
    for (; passed != 0; passed &= passed - 1) {
      const int lane = __builtin_ctzll(passed);
      float least;
      if (lists.push(tile * kLanes + lane, -static_cast<float>(all[lane]), event, &least)) {
        thresholds(tile)[lane] = static_cast<uint64_t>(-least);
      }
    }
  }
};

}  // namespace
}  // namespace jindou::cpu

#endif
