// top_k_inner_product: queries against items, scores filtered in registers (jindou/top_k_inner_product.h).
//
//   s_qj = q_q . k_j
//
// Two arrangements of one sum, a chain of multiply-adds in the order of the dimensions, so that a score has the same bits in both:
//   QueryLanes   queries are the lanes of vectors, items are broadcast (search_tile.h): no transposition, but lanes without a query
//                cost as much as others
//   ItemLanes    for few queries: items are the lanes, transposed in registers once for all queries, which are broadcast. A
//                16 x 16 transposition is 64 shuffles for 16 multiply-adds a query.
// Each query has a threshold, the score of the k-th best entry of its list (top_k.h). Scores are compared with the thresholds where they
// were summed; what passes, a few in ten thousand, is looked up in the query's bitmap and appended. No score is stored that does not pass.
//
// Items go from the first to the last, so that comparing scores alone is exact: of equals the one met first stays. With one bitmap for
// all queries only the allowed items are scored: those of several blocks are collected until a tile is full.
//
// FLOPs 2 * dim * queries * items; bytes dim * items once a task. From some ten queries a core on the FMA rate is the bound, below it memory.
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

// Hands the items of a task to `take(first, numbers, count)` in order, `kMost` at a time but for the last: items first..first+count-1
// where `numbers` is null, else those numbers. With one bitmap for all queries, only the allowed ones.
template <int kMost, class Take>
inline void for_each_items(const TopKTask &t, const Take &take) {
  static_assert(kItemBlock % kMost == 0, "whole parts of a block");
  if (!t.allowed || t.allowed_stride != 0) {
    for (int64_t first = t.first_item; first < t.last_item; first += kMost) {
      take(first, static_cast<const int64_t *>(nullptr), static_cast<int>(t.last_item - first < kMost ? t.last_item - first : kMost));
    }
    return;
  }
  int64_t numbers[kItemBlock + kMost];
  int pending = 0;
  for (int64_t first = t.first_item; first < t.last_item; first += kItemBlock) {
    const int64_t count = t.last_item - first < kItemBlock ? t.last_item - first : kItemBlock;
    uint64_t word = 0;
    for (int64_t byte = 0; byte < (count + 7) / 8; ++byte) word |= static_cast<uint64_t>(t.allowed[first / 8 + byte]) << (byte * 8);
    if (count < kItemBlock) word &= (uint64_t{1} << count) - 1;
    if (pending == 0 && word == ~uint64_t{0}) {  // all allowed: as they lie
      for (int64_t at = first; at < first + kItemBlock; at += kMost) take(at, static_cast<const int64_t *>(nullptr), kMost);
      continue;
    }
    for (; word != 0; word &= word - 1) numbers[pending++] = first + __builtin_ctzll(word);
    int done = 0;
    for (; pending - done >= kMost; done += kMost) take(0, numbers + done, kMost);
    for (int i = 0; done > 0 && i < pending - done; ++i) numbers[i] = numbers[done + i];
    pending -= done;
  }
  if (pending > 0) take(0, numbers, pending);
}

template <class Isa, bool kPairs>
struct QueryLanes {
  using Tile = SearchTile<Isa, kPairs>;
  using F = typename Isa::F;
  static constexpr int kWidth = Tile::kWidth, kLanes = Tile::kLanes;

  const TopKTask &t;
  const TopKLists lists;
  const HeadRows queries, items;
  const int tiles, steps;

  explicit QueryLanes(const TopKTask &task)
      : t(task),
        lists(task),
        queries{task.queries, task.query_stride, task.dtype},
        items{task.items, task.item_stride, task.dtype},
        tiles((task.lanes + kLanes - 1) / kLanes),
        steps(Tile::steps(task.dim)) {}

  float *tile_queries(int tile) const { return t.scratch + Tile::kBlockFloats + tile * search_tile_floats(t.dtype, t.dim, kLanes); }
  float *thresholds(int tile) const { return tile_queries(tile) + int64_t{kLanes} * t.dim; }

  void run() const {
    for (int tile = 0; tile < tiles; ++tile) {
      const int count = t.lanes - tile * kLanes;
      Tile::pack(queries, t.dtype, t.dim, tile * kLanes, count, tile_queries(tile));
      for (int i = 0; i < kLanes; ++i) thresholds(tile)[i] = i < count ? -__builtin_inff() : __builtin_inff();
    }
    for_each_items<Tile::kBlock>(t, [&](int64_t first, const int64_t *numbers, int count) {
      const typename Tile::Block block = numbers ? gathered(numbers, count) : Tile::block(items, t.dtype, t.dim, first, count, t.scratch);
      for (int tile = 0; tile < tiles; ++tile) {
        if (!numbers) fetch_ahead(first + Tile::kBlock, tile);
        const int vectors = (t.lanes - tile * kLanes + kWidth - 1) / kWidth;
        switch (vectors) {
          case 1: scan<1>(tile, block, first, numbers, count); break;
          case 2: scan<2>(tile, block, first, numbers, count); break;
          default: scan<3>(tile, block, first, numbers, count); break;
        }
      }
    });
  }
  static_assert(Isa::kVectors == 3, "the cases of run");
  static_assert(Tile::kBlock == kItemBlock, "");

  // Rows that lie apart, side by side.
  typename Tile::Block gathered(const int64_t *numbers, int count) const {
    for (int i = 0; i < count; ++i) {
      const typename Tile::Block one = Tile::block(items, t.dtype, t.dim, numbers[i], 1, t.scratch + int64_t{i} * steps);
      if (one.rows == t.scratch + int64_t{i} * steps) continue;  // widened to where it belongs
      memcpy(t.scratch + int64_t{i} * steps, one.rows, sizeof(float) * steps);
    }
    return {t.scratch, steps};
  }

  // Each tile fetches its share of the block that begins with item `first`.
  void fetch_ahead(int64_t first, int tile) const {
    const int64_t left = t.last_item - first, count = left < Tile::kBlock ? left : Tile::kBlock;
    for (int64_t j = count * tile / tiles; j < count * (tile + 1) / tiles; ++j) Tile::prefetch(items, t.dtype, t.dim, first + j);
  }

  template <int N>
  void scan(int tile, const typename Tile::Block &block, int64_t first, const int64_t *numbers, int count) const {
    constexpr int kRows = N == 1 ? 2 * Tile::kRows : Tile::kRows;  // one vector of sums a row leaves registers for more rows
    int j = 0;
    for (; j + kRows <= count; j += kRows) score<N, kRows>(tile, block, first, numbers, j);
    for (; j < count; ++j) score<N, 1>(tile, block, first, numbers, j);
  }

  // Rows j..j+R-1 of the block.
  template <int N, int R>
  __attribute__((noinline)) void score(int tile, const typename Tile::Block &block, int64_t first, const int64_t *numbers, int j) const {
    F sum[R][N];
    Tile::template multiply<N, R>(tile_queries(tile), block.rows + j * block.stride, block.stride, steps, sum);
    const float *threshold = thresholds(tile);
    uint64_t passed[R];
    uint32_t rows = 0;
#pragma GCC unroll 16
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
#pragma GCC unroll 16
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

template <class Isa, bool kPairs>
struct ItemLanes {
  using Tile = SearchTile<Isa, kPairs>;
  using F = typename Isa::F;
  static constexpr int kWidth = Isa::kWidth;
  static constexpr int kMostQueries = kWidth / 2;  // beyond, QueryLanes has less to do

  const TopKTask &t;
  const TopKLists lists;
  const int steps;

  explicit ItemLanes(const TopKTask &task) : t(task), lists(task), steps(Tile::steps(task.dim)) {}

  void run() const {
    // [query][steps], as floats or pairs.
    const HeadRows rows{t.queries, t.query_stride, t.dtype};
    for (int q = 0; q < t.lanes; ++q) {
      const char *from = Tile::row(rows, t.dtype, q);
      for (int step = 0; step < steps; ++step) {
        float *to = t.scratch + int64_t{q} * steps + step;
        if (kPairs) {
          memcpy(to, from + step * 4, 4);
        } else {
          *to = Tile::widened(from, t.dtype, step);
        }
      }
    }
    switch (kPairs ? JD_F32 : t.dtype) {
      case JD_F16: return scan<JD_F16>();
      case JD_BF16: return scan<JD_BF16>();
      default: return scan<JD_F32>();
    }
  }

  // kAs: how elements are read; pairs of bf16 are moved as f32 are.
  template <int32_t kAs>
  void scan() const {
    constexpr int64_t kSize = kAs == JD_F32 ? 4 : 2;
    const int64_t row_bytes = t.item_stride * (kPairs || kAs != JD_F32 ? 2 : 4);
    const char *base = static_cast<const char *>(t.items);
    float thresholds[kMostQueries];
    for (float &x : thresholds) x = -__builtin_inff();
    for_each_items<kWidth>(t, [&](int64_t first, const int64_t *numbers, int count) {
      const char *rows[kWidth];
      for (int i = 0; i < kWidth; ++i) rows[i] = base + (numbers ? numbers[i < count ? i : 0] : first + (i < count ? i : 0)) * row_bytes;
      float sums[kMostQueries * kWidth] = {};
      for (int at = 0; at < steps; at += kWidth) multiply<kAs>(rows, at, sums);
      const uint32_t present = count == kWidth ? ~0u : (1u << count) - 1;
      for (int q = 0; q < t.lanes; ++q) {
        const F sum = Isa::load(sums + q * kWidth);
        uint32_t passed = Isa::bits(Isa::less(Isa::set(thresholds[q]), sum)) & present;  // a NaN does not pass
        for (; passed != 0; passed &= passed - 1) {
          const int i = __builtin_ctz(passed);
          if (sums[q * kWidth + i] > thresholds[q]) lists.push(q, sums[q * kWidth + i], numbers ? numbers[i] : first + i, &thresholds[q]);
        }
      }
      if (!numbers && first + kAhead + kWidth <= t.last_item) {
        for (int i = 0; i < kWidth; ++i) {
          for (int64_t line = 0; line < steps * kSize; line += 64) __builtin_prefetch(rows[i] + kAhead * row_bytes + line, 0, 2);
        }
      }
    });
  }
  static constexpr int64_t kAhead = 64;  // rows

  // sums[q] += the elements at.. of the rows times those of query q.
  template <int32_t kAs>
  inline __attribute__((always_inline)) void multiply(const char *const (&rows)[kWidth], int at, float *sums) const {
    F x[kWidth];
    const int left = steps - at;
#pragma GCC unroll 16
    for (int i = 0; i < kWidth; ++i) x[i] = left >= kWidth ? load<kAs>(rows[i], at) : load_first<kAs>(rows[i], at, left);
    Isa::transpose(x);
    if (__builtin_expect(left >= kWidth, 1)) {
      for (int q = 0; q < t.lanes; ++q) {
        F sum = Isa::load(sums + q * kWidth);
#pragma GCC unroll 16
        for (int d = 0; d < kWidth; ++d) sum = multiply_add(x[d], Isa::set(t.scratch[q * steps + at + d]), sum);
        Isa::store(sums + q * kWidth, sum);
      }
      return;
    }
    float columns[kWidth * kWidth];
#pragma GCC unroll 16
    for (int d = 0; d < kWidth; ++d) Isa::store(columns + d * kWidth, x[d]);
    for (int q = 0; q < t.lanes; ++q) {
      F sum = Isa::load(sums + q * kWidth);
      for (int d = 0; d < left; ++d) sum = multiply_add(Isa::load(columns + d * kWidth), Isa::set(t.scratch[q * steps + at + d]), sum);
      Isa::store(sums + q * kWidth, sum);
    }
  }

  // In the order of operands that Tile::multiply has.
  static inline __attribute__((always_inline)) F multiply_add(F item, F query, F sum) {
    if constexpr (kPairs) {
      return Isa::fma_bf16_pairs(item, query, sum);
    } else {
      return Isa::fma(item, query, sum);
    }
  }
  template <int32_t kAs>
  static inline __attribute__((always_inline)) F load(const char *row, int at) {
    if constexpr (kAs == JD_F16) return Isa::load_f16(reinterpret_cast<const uint16_t *>(row) + at);
    if constexpr (kAs == JD_BF16) return Isa::load_bf16(reinterpret_cast<const uint16_t *>(row) + at);
    return Isa::load(reinterpret_cast<const float *>(row) + at);
  }
  template <int32_t kAs>
  static inline __attribute__((always_inline)) F load_first(const char *row, int at, int count) {
    if constexpr (kAs == JD_F16) return Isa::load_first_f16(reinterpret_cast<const uint16_t *>(row) + at, count);
    if constexpr (kAs == JD_BF16) return Isa::load_first_bf16(reinterpret_cast<const uint16_t *>(row) + at, count);
    return Isa::load_first(reinterpret_cast<const float *>(row) + at, count);
  }
};

}  // namespace
}  // namespace jindou::cpu

#endif
