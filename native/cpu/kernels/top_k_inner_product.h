// top_k_inner_product: queries against items, scores filtered in registers (jindou/top_k_inner_product.h).
//
//   s_qj = q_q . k_j
//
// Queries are the lanes of vectors, items are broadcast as they lie (search_tile.h): no transposition, and items stream by in order. A
// score is one chain of multiply-adds in the order of the dimensions, whatever is computed beside it. Lanes without a query cost as
// much as others, so few queries are the lanes of a vector half as wide (Isa::Half), of which a core multiplies two at a time.
// Each query has a threshold, the score of the k-th best entry of its list (top_k.h). Scores are compared with the thresholds where they
// were summed; what passes, a few in ten thousand, is looked up in the query's bitmap and appended. No score is stored that does not pass.
//
// Items go from the first to the last, so that comparing scores alone is exact: of equals the one met first stays. With one bitmap for
// all queries only the allowed items are scored: those of several blocks are collected until a tile is full.
//
// FLOPs 2 * dim * lanes * items; bytes: the items once a task. From some eight queries on the FMA rate is the bound, below it memory.
#ifndef JINDOU_CPU_KERNELS_TOP_K_INNER_PRODUCT_H
#define JINDOU_CPU_KERNELS_TOP_K_INNER_PRODUCT_H

#include "cpu/kernels/search_tile.h"
#include "cpu/kernels/top_k.h"

namespace jindou::cpu {
namespace {

// The lists of a task's queries.
struct TopKLists {
  const TopKTask &t;
  const int room;

  explicit TopKLists(const TopKTask &task) : t(task), room(top_k_room(task.k)) {
    for (int i = 0; i < t.lanes; ++i) t.counts[i] = 0;
  }

  // A score above the query's threshold. True when the list was cut: its k best then score at least `*threshold`.
  bool push(int query, float score, int64_t item, float *threshold) const {
    if (t.allowed_stride != 0 && !(t.allowed[query * t.allowed_stride + item / 8] >> (item % 8) & 1)) return false;
    uint64_t *list = t.entries + int64_t{query} * room;
    list[t.counts[query]++] = item_entry(score, item);
    if (__builtin_expect(t.counts[query] < room, 1)) return false;
    *threshold = top_k_score(keep_largest(list, room, t.k));
    t.counts[query] = t.k;
    return true;
  }
};

// Hands the items of a task to `take(first, numbers, count)` in order, a block at a time: items first..first+count-1 where `numbers` is
// null, else those numbers. With one bitmap for all queries only the allowed ones, of as many blocks as it takes to fill one.
template <class Take>
inline void for_each_block(const TopKTask &t, const Take &take) {
  const bool shared = t.allowed && t.allowed_stride == 0;
  int64_t numbers[2 * kItemBlock];
  int pending = 0;
  for (int64_t first = t.first_item; first < t.last_item; first += kItemBlock) {
    const int count = static_cast<int>(t.last_item - first < kItemBlock ? t.last_item - first : kItemBlock);
    uint64_t word = ~uint64_t{0} >> (kItemBlock - count);
    if (shared) {
      uint64_t allowed = 0;
      for (int byte = 0; byte < (count + 7) / 8; ++byte) allowed |= static_cast<uint64_t>(t.allowed[first / 8 + byte]) << (byte * 8);
      word &= allowed;
    }
    if (pending == 0 && (!shared || word == ~uint64_t{0})) {
      take(first, static_cast<const int64_t *>(nullptr), count);
      continue;
    }
    for (; word != 0; word &= word - 1) numbers[pending++] = first + __builtin_ctzll(word);
    if (pending < kItemBlock) continue;
    take(0, numbers, static_cast<int>(kItemBlock));
    pending -= static_cast<int>(kItemBlock);
    for (int i = 0; i < pending; ++i) numbers[i] = numbers[kItemBlock + i];
  }
  if (pending > 0) take(0, numbers, pending);
}

template <class Isa, bool kPairs>
struct TopKSearch {
  using Tile = SearchTile<Isa, kPairs>;
  using F = typename Isa::F;
  static constexpr int kWidth = Tile::kWidth, kLanes = Tile::kLanes;

  const TopKTask &t;
  const TopKLists lists;
  const HeadRows queries, items;
  const int tiles, steps;

  explicit TopKSearch(const TopKTask &task)
      : t(task),
        lists(task),
        queries{task.queries, task.query_stride, task.dtype},
        items{task.items, task.item_stride, task.dtype},
        tiles((task.lanes + kLanes - 1) / kLanes),
        steps(Tile::steps(task.dim)) {}

  float *tile_queries(int tile) const {
    return t.scratch + item_block_floats(t.dim) + tile * search_tile_floats(t.dtype, t.dim, kLanes);
  }
  float *thresholds(int tile) const { return tile_queries(tile) + int64_t{kLanes} * t.dim; }

  void run() const {
    for (int tile = 0; tile < tiles; ++tile) {
      const int count = t.lanes - tile * kLanes;
      Tile::pack(queries, t.dtype, t.dim, tile * kLanes, count, tile_queries(tile));
      for (int i = 0; i < kLanes; ++i) thresholds(tile)[i] = i < count ? -__builtin_inff() : __builtin_inff();
    }
    for_each_block(t, [&](int64_t first, const int64_t *numbers, int count) {
      const typename Tile::Block block = numbers ? gathered(numbers, count) : block_of(first, count, t.scratch);
      for (int tile = 0; tile < tiles; ++tile) {
        // The first tile asks for the next block.
        const bool asks = tile == 0 && !numbers && first + 2 * Tile::kBlock <= t.last_item;
        const typename Tile::Ahead coming = asks ? ahead(first + Tile::kBlock) : Tile::none(block);
        const int vectors = (t.lanes - tile * kLanes + kWidth - 1) / kWidth;
        switch (vectors) {
          case 1: scan<1>(tile, block, coming, first, numbers, count); break;
          case 2: scan<2>(tile, block, coming, first, numbers, count); break;
          default: scan<3>(tile, block, coming, first, numbers, count); break;
        }
      }
    });
  }
  static_assert(Isa::kVectors == 3, "the cases of run");
  static_assert(Tile::kBlock == kItemBlock, "");

  // Items first..first+count-1 as `multiply` reads them: where they lie, or widened to `to`.
  typename Tile::Block block_of(int64_t first, int count, float *to) const {
    if (!t.codes) return Tile::block(items, t.dtype, t.dim, first, count, to);
    EmbeddingTask part = *t.codes;
    part.rows += first * part.row_bytes;
    part.first_id = 0;
    part.last_id = count;
    part.out = reinterpret_cast<char *>(to);
    part.out_row_bytes = int64_t{t.dim} * 4;
    t.widen_rows(part);
    return {to, t.dim};
  }

  typename Tile::Ahead ahead(int64_t first) const {
    if (!t.codes) return Tile::ahead(items, t.dtype, first);
    return {t.codes->rows + first * t.codes->row_bytes, t.codes->row_bytes, 1};  // a byte an element, or less
  }

  // Rows that lie apart, side by side.
  typename Tile::Block gathered(const int64_t *numbers, int count) const {
    for (int i = 0; i < count; ++i) {
      const typename Tile::Block one = block_of(numbers[i], 1, t.scratch + int64_t{i} * steps);
      if (one.rows == t.scratch + int64_t{i} * steps) continue;  // widened to where it belongs
      memcpy(t.scratch + int64_t{i} * steps, one.rows, sizeof(float) * steps);
    }
    return {t.scratch, steps};
  }

  template <int N>
  void scan(int tile, const typename Tile::Block &block, const typename Tile::Ahead &coming, int64_t first, const int64_t *numbers,
            int count) const {
    constexpr int kRows = N == 1 ? 8 : Tile::kRows;  // eight chains of sums hide the latency
    int j = 0;
    for (; j + kRows <= count; j += kRows) score<N, kRows>(tile, block, coming, first, numbers, j);
    for (; j < count; ++j) score<N, 1>(tile, block, coming, first, numbers, j);
  }

  // Rows j..j+R-1 of the block.
  template <int N, int R>
  __attribute__((noinline)) void score(int tile, const typename Tile::Block &block, const typename Tile::Ahead &coming, int64_t first,
                                       const int64_t *numbers, int j) const {
    F sum[R][N];
    Tile::template multiply<N, R>(tile_queries(tile), block.rows + j * block.stride, block.stride, steps, coming.from(j), sum);
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
    for (; rows != 0; rows &= rows - 1) {  // the lower item first
      const int r = __builtin_ctz(rows);
      const int64_t item = numbers ? numbers[j + r] : first + j + r;
      for (uint64_t lanes = passed[r]; lanes != 0; lanes &= lanes - 1) {
        const int lane = __builtin_ctzll(lanes);
        lists.push(tile * kLanes + lane, scores[r][lane], item, thresholds(tile) + lane);
      }
    }
  }
};

}  // namespace
}  // namespace jindou::cpu

#endif
