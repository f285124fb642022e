// top_k_inner_product: the k best items of each query by inner product (jindou/top_k_inner_product.h).
//
// Shapes: queries [m, d], items [N, d]; lists [queries of a window, slots, room].
//
// Items are cut into pieces. A block of four warps owns some queries against one piece, whose items pass by in tiles through a ring of
// asynchronous copies; scores (search_core.h) are compared with the queries' thresholds in the registers they were summed in, and what
// passes is appended to the query's list for the piece in scratch memory (L2), unless the bitmap hides it. Two shapes of block:
//   many queries: 64 (32 where rows are a KiB), 16 a warp, which has their lists to itself
//   few queries:  16; the warps share them and each takes a quarter of a tile of items, so that all four work when there is little to
//                 do for an item: tiles are 16 or 32 KiB, and two or three of them in flight in each block keep the memory busy
// A second kernel merges a query's lists, a block each.
//
// With many short pieces a list would take in most of what passes by. So items come in rounds, a short one first: the k-th best of a
// sample is a threshold that few later items beat (k * items / sample), wherever they are. The lists of all rounds are exact, as is
// comparing scores alone: items of later rounds have larger indices and lose ties.
//
// FLOPs 2 * d * m * N. Bytes: the items once a tile of queries, from memory for the first of them and from L2 for the others, which run beside
// it. Up to 16 queries (f32; 64 in 16 bit) reading the items is the bound.
#ifndef JINDOU_KERNELS_SEARCH_TOP_K_INNER_PRODUCT_H
#define JINDOU_KERNELS_SEARCH_TOP_K_INNER_PRODUCT_H

#include "search/search_core.h"
#include "search/top_k.h"

namespace jindou::search {

constexpr int kMostTopK = 1024;
constexpr int kMostTileItems = 128;

// Before a tile a list has place for all of its items.
JD_HOST_DEVICE inline int32_t top_k_list_room(int32_t k) { return k < kMostTileItems ? k + kMostTileItems : 2 * k; }

// One round of one window of queries.
struct TopKProblem {
  int64_t queries, first_query;     // of the window; its first among all
  int64_t first_item, last_item;    // of the round
  int64_t piece_items;
  int32_t pieces;
  int32_t slots;                    // lists a query: pieces at most, and in the last what earlier rounds have found
  int32_t k, room;
  int32_t carries;                  // 1: there was a round before
  int32_t last;                     // 1: there is none after
  const uint8_t *allowed;           // bit j: item j; or null
  int64_t allowed_row;              // bytes; 0: one bitmap for all queries
  uint64_t *lists;                  // [queries][slots][room]
  int32_t *counts;                  // [queries][slots]
  float *thresholds;                // [queries]: of what is carried
  int64_t *indices;                 // of query 0 of all
  int64_t index_row;                // stride
  float *scores;                    // or null
  int64_t score_row;

  JD_DEVICE int64_t list_number(int64_t query, int32_t slot) const { return query * slots + slot; }
};

template <class T>
struct TopKScanParams {
  TopKProblem problem;
  const T *queries, *items;      // of query 0 and item 0 of all
  int64_t query_row, item_row;   // strides
  int32_t dim;
  int32_t is_f16;                // of 16-bit elements
};

// SearchMmaCore for both kinds of 16-bit elements: they lie in memory and in registers alike.
template <int kDim, int kGroup = kGroupEvents>
struct TopKMmaCore : SearchMmaCore<prim::bf16, kDim, kGroup> {
  JD_DEVICE static void score(SearchMmaScores<kGroup> &scores, const SearchMmaRows<kDim> &rows, const char *items, int32_t dim,
                              int32_t is_f16, int lane) {
    if (is_f16) {
      SearchMmaCore<prim::f16, kDim, kGroup>::score(scores, rows, items, dim, lane);
    } else {
      SearchMmaCore<prim::bf16, kDim, kGroup>::score(scores, rows, items, dim, lane);
    }
  }
};

template <int kDim, int kGroup = kGroupEvents>
struct TopKFmaCore : SearchFmaCore<kDim, kGroup> {
  using Base = SearchFmaCore<kDim, kGroup>;
  JD_DEVICE static void score(typename Base::Scores &scores, const typename Base::Rows &rows, const char *items, int32_t dim, int32_t,
                              int lane) {
    Base::score(scores, rows, items, dim, lane);
  }
};

// Shapes of a block. Core: of kGroup items. kItemWarps warps share 16 queries.
template <class Core_, int kGroup_>
struct ManyQueries {
  using Core = Core_;
  static constexpr int kGroup = kGroup_;
  static constexpr int kQueryWarps = Core::kCandidates / kWarpCandidates, kItemWarps = 1;
  static constexpr int kItems = Core::kEvents, kSlots = Core::kSlots;
  static constexpr int kMinBlocks = Core::kMinBlocks;
};
template <class Core_, int kGroup_>
struct FewQueries {
  using Core = Core_;
  static constexpr int kGroup = kGroup_;
  static constexpr int kQueryWarps = 1, kItemWarps = 4;
  static constexpr int kItems = kItemWarps * kGroup;
  static constexpr int kSlots = kItems * Core::Tile::kRowBytes > 16384 ? 2 : 3;
  static constexpr int kMinBlocks = kSlots == 3 ? 4 : 2;
};

template <class Shape>
struct TopKScanKernel {
  using Core = typename Shape::Core;
  using Element = typename Core::Element;
  using Params = TopKScanParams<Element>;
  using Tile = typename Core::Tile;
  static constexpr int kQueryWarps = Shape::kQueryWarps, kItemWarps = Shape::kItemWarps;
  static constexpr int kQueries = kQueryWarps * kWarpCandidates;  // of a block
  static constexpr int kThreads = kQueryWarps * kItemWarps * 32;
  static constexpr int kMinBlocks = Shape::kMinBlocks;
  static constexpr int kItems = Shape::kItems, kSlots = Shape::kSlots, kGroup = Shape::kGroup;
  static_assert(kItems <= kMostTileItems && kItems % (kGroup * kItemWarps) == 0, "");

  struct Shared {
    alignas(128) char queries[kQueries * Tile::kRowBytes];
    alignas(128) char ring[kSlots][kItems * Tile::kRowBytes];
    float thresholds[kQueries];
    int32_t counts[kQueries];
    uint32_t histograms[kThreads / 32][kDigits];
  };
  static constexpr size_t shared_bytes() { return sizeof(Shared); }

  // The share of a block. Tiles of queries of one piece follow each other, so that blocks running together share it in L2.
  struct Share {
    int64_t first_query;  // of the window
    int32_t queries;      // 1..kQueries
    int32_t piece;
    int64_t begin, end;   // items
  };

  JD_DEVICE static void run(const Params &p, char *shared_memory) {
    Shared &shared = *reinterpret_cast<Shared *>(shared_memory);
    const TopKProblem &problem = p.problem;
    const uint32_t tiles = static_cast<uint32_t>((problem.queries + kQueries - 1) / kQueries);
    const uint32_t block = prim::block_idx().x;
    Share share;
    share.first_query = static_cast<int64_t>(block % tiles) * kQueries;
    share.queries = problem.queries - share.first_query < kQueries ? static_cast<int32_t>(problem.queries - share.first_query) : kQueries;
    share.piece = static_cast<int32_t>(block / tiles);
    share.begin = problem.first_item + share.piece * problem.piece_items;
    share.end = problem.last_item - share.begin < problem.piece_items ? problem.last_item : share.begin + problem.piece_items;
    scan(p, shared, share);
  }

 private:
  // Of the warps that share lists.
  JD_DEVICE static void sync_sharing() {
    if (kItemWarps == 1) {
      prim::sync_warp();
    } else {
      prim::sync_threads();
    }
  }

  JD_DEVICE static void scan(const Params &p, Shared &shared, const Share &share) {
    const int thread = static_cast<int>(prim::thread_idx().x), lane = thread & 31, warp = thread >> 5;
    const int first = warp / kItemWarps * kWarpCandidates;  // the warp's first query of the block
    for (int i = thread; i < kQueries; i += kThreads) {
      shared.counts[i] = 0;
      float threshold = INFINITY;  // queries past the last find nothing
      if (i < share.queries) threshold = p.problem.carries ? p.problem.thresholds[share.first_query + i] : -INFINITY;
      shared.thresholds[i] = threshold;
    }

    const Element *queries = p.queries + (p.problem.first_query + share.first_query) * p.query_row;
    Tile::template copy<kThreads>(shared.queries, kQueries, share.queries, p.dim, [&](int r) { return queries + r * p.query_row; },
                                  thread);
    const int32_t tiles = static_cast<int32_t>((share.end - share.begin + kItems - 1) / kItems);
    int32_t started = 0;
    const auto start_next = [&] {
      if (started < tiles) {
        const int64_t begin = share.begin + static_cast<int64_t>(started) * kItems;
        const int32_t count = share.end - begin < kItems ? static_cast<int32_t>(share.end - begin) : kItems;
        const Element *items = p.items + begin * p.item_row;
        Tile::template copy<kThreads>(shared.ring[started % kSlots], kItems, count, p.dim, [&](int r) { return items + r * p.item_row; },
                                      thread);
      }
      prim::cp_async_commit();  // empty past the end, so that the count to wait for stays constant
      ++started;
    };
#pragma unroll
    for (int i = 0; i < kSlots - 1; ++i) start_next();

    typename Core::Rows rows;
#pragma unroll 1
    for (int32_t tile = 0; tile < tiles; ++tile) {
      prim::cp_async_wait<kSlots - 2>();
      prim::sync_threads();  // everyone's part has landed, everyone is done with the tile before, and lists are cut
      start_next();
      if (tile == 0) Core::load(rows, shared.queries + first * Tile::kRowBytes, lane);
      const int64_t begin = share.begin + static_cast<int64_t>(tile) * kItems;
      const int32_t count = share.end - begin < kItems ? static_cast<int32_t>(share.end - begin) : kItems;
      filter(p, shared, share, first, rows, shared.ring[tile % kSlots], static_cast<int32_t>(begin), count, warp % kItemWarps, lane);
      sync_sharing();
      cut_lists(p, shared, share, first, p.problem.room - kItems, warp, lane);
    }
    prim::cp_async_wait<0>();
    sync_sharing();
    cut_lists(p, shared, share, first, p.problem.k, warp, lane);
    sync_sharing();
    for (int i = warp % kItemWarps * 32 + lane; i < kWarpCandidates; i += kItemWarps * 32) {
      const int query = first + i;
      if (query < share.queries) p.problem.counts[p.problem.list_number(share.first_query + query, share.piece)] = shared.counts[query];
    }
  }

  // Appends what passes of a tile's items begin..begin+count-1: this warp's groups of them.
  JD_DEVICE static void filter(const Params &p, Shared &shared, const Share &share, int first, const typename Core::Rows &rows,
                               const char *tile, int32_t begin, int32_t count, int item_warp, int lane) {
    float thresholds[Core::Scores::kRows];
#pragma unroll
    for (int r = 0; r < Core::Scores::kRows; ++r) thresholds[r] = shared.thresholds[first + Core::row(lane, r)];
#pragma unroll 1
    for (int group = item_warp * kGroup; group < count; group += kItemWarps * kGroup) {
      typename Core::Scores scores;
      Core::score(scores, rows, tile + group * Tile::kRowBytes, p.dim, p.is_f16, lane);
#pragma unroll
      for (int i = 0; i < Core::Scores::kCount; ++i) {
        const int at = group + Core::event(lane, i);
        if (at >= count) continue;
#pragma unroll
        for (int r = 0; r < Core::Scores::kRows; ++r) {
          const float score = scores.at(r, i);
          if (!(score > thresholds[r])) continue;  // nor does a NaN
          append(p, shared, share, first + Core::row(lane, r), score, begin + at);
        }
      }
    }
  }

  JD_DEVICE static void append(const Params &p, Shared &shared, const Share &share, int query, float score, int32_t item) {
    const TopKProblem &problem = p.problem;
    const int64_t row = share.first_query + query;
    if (problem.allowed != nullptr) {
      const uint8_t byte = problem.allowed[(problem.first_query + row) * problem.allowed_row + item / 8];
      if ((byte >> (item % 8) & 1) == 0) return;
    }
    const int32_t place = prim::atomic_add(&shared.counts[query], 1);
    problem.lists[problem.list_number(row, share.piece) * problem.room + place] = item_entry(score, item);
  }

  // Lists with more than `most` entries keep their k best. The warps that share lists take turns.
  JD_DEVICE static void cut_lists(const Params &p, Shared &shared, const Share &share, int first, int32_t most, int warp, int lane) {
    const bool mine = lane < kWarpCandidates && lane % kItemWarps == warp % kItemWarps;
    const bool full = mine && shared.counts[first + lane] > most;
    for (uint32_t left = prim::ballot(full); left != 0; left &= left - 1) {
      const int query = first + prim::ffs(left) - 1;
      uint64_t *list = p.problem.lists + p.problem.list_number(share.first_query + query, share.piece) * p.problem.room;
      const uint64_t least = keep_largest(list, shared.counts[query], p.problem.k, shared.histograms[warp], lane);
      if (lane == 0) {
        shared.counts[query] = p.problem.k;
        shared.thresholds[query] = top_k_score(least);
      }
    }
    prim::sync_warp();
  }
};

// A query's lists become its result, or what the next round starts from: a block a query. The k best are found byte by byte from the top, as
// in top_k_bound, over the entries of all lists where they lie.
struct TopKMergeKernel {
  using Params = TopKProblem;
  static constexpr int kThreads = 256;
  static constexpr int kWarps = kThreads / 32;
  static constexpr int kMinBlocks = 4;
  static_assert(kThreads == kDigits, "a thread a digit");

  struct Shared {
    uint64_t best[kMostTopK];
    uint32_t histogram[kDigits];
    uint64_t prefix;
    uint32_t wanted, agreeing;
    int32_t total, found;
  };
  static constexpr size_t shared_bytes() { return sizeof(Shared); }

  JD_DEVICE static void run(const Params &p, char *shared_memory) {
    Shared &shared = *reinterpret_cast<Shared *>(shared_memory);
    const int64_t query = prim::block_idx().x;
    const int thread = static_cast<int>(prim::thread_idx().x);
    if (thread == 0) {
      shared.total = shared.found = 0;
      shared.prefix = 0;
      shared.wanted = static_cast<uint32_t>(p.k);
    }
    prim::sync_threads();
    const int32_t lists = p.pieces + p.carries;
    int32_t total = 0;
    for (int32_t i = thread; i < lists; i += kThreads) total += p.counts[p.list_number(query, slot(p, i))];
    if (total > 0) prim::atomic_add(&shared.total, total);
    prim::sync_threads();
    total = shared.total;
    const uint64_t bound = total > p.k ? find_bound(p, shared, query, thread) : 0;
    for_each(p, query, thread, [&](uint64_t entry) {
      if (entry >= bound) shared.best[prim::atomic_add(&shared.found, 1)] = entry;
    });
    prim::sync_threads();
    const int32_t count = shared.found;
    if (p.last) {
      write(p, shared, query, count, thread);
    } else {
      carry(p, shared, query, count, thread);
    }
  }

 private:
  // Where the i-th list lies: those of the pieces, then what is carried.
  JD_DEVICE static int32_t slot(const Params &p, int32_t i) { return i < p.pieces ? i : p.slots - 1; }

  template <class F>
  JD_DEVICE static void for_each(const Params &p, int64_t query, int thread, const F &f) {
    const int32_t lists = p.pieces + p.carries;
    for (int32_t i = thread >> 5; i < lists; i += kWarps) {
      const int64_t number = p.list_number(query, slot(p, i));
      const uint64_t *list = p.lists + number * p.room;
      const int32_t count = p.counts[number];
      for (int32_t at = thread & 31; at < count; at += 32) f(list[at]);
    }
  }

  // The smallest number that exactly k of the more than k entries reach.
  JD_DEVICE static uint64_t find_bound(const Params &p, Shared &shared, int64_t query, int thread) {
    for (int shift = 56;; shift -= 8) {
      const uint64_t prefix = shared.prefix;
      const uint32_t wanted = shared.wanted;
      shared.histogram[thread] = 0;
      prim::sync_threads();
      for_each(p, query, thread, [&](uint64_t entry) {
        if (shift == 56 || entry >> shift >> 8 == prefix) prim::atomic_add(&shared.histogram[entry >> shift & (kDigits - 1)], 1u);
      });
      prim::sync_threads();
      // How many entries have this thread's digit or a larger one.
      uint32_t reached = shared.histogram[thread];
      const uint32_t mine = reached;
      for (int step = 1; step < kDigits; step *= 2) {
        const uint32_t above = thread + step < kDigits ? shared.histogram[thread + step] : 0;
        prim::sync_threads();
        reached += above;
        shared.histogram[thread] = reached;
        prim::sync_threads();
      }
      const uint32_t above = reached - mine;
      if (above < wanted && wanted <= reached) {  // one thread
        shared.prefix = prefix << 8 | static_cast<uint32_t>(thread);
        shared.wanted = wanted - above;
        shared.agreeing = mine;
      }
      prim::sync_threads();
      if (shared.agreeing == shared.wanted || shift == 0) return shared.prefix << shift;
    }
  }

  JD_DEVICE static void carry(const Params &p, Shared &shared, int64_t query, int32_t count, int thread) {
    const int64_t number = p.list_number(query, p.slots - 1);
    for (int32_t i = thread; i < count; i += kThreads) p.lists[number * p.room + i] = shared.best[i];
    // The least of k entries: by halves.
    for (int32_t i = count + thread; i < kMostTopK; i += kThreads) shared.best[i] = ~uint64_t{0};
    for (int32_t half = kMostTopK / 2; half > 0; half /= 2) {
      prim::sync_threads();
      for (int32_t i = thread; i < half; i += kThreads) {
        const uint64_t other = shared.best[i + half];
        shared.best[i] = other < shared.best[i] ? other : shared.best[i];
      }
    }
    if (thread == 0) {
      p.counts[number] = count;
      p.thresholds[query] = count == p.k ? top_k_score(shared.best[0]) : -INFINITY;
    }
  }

  JD_DEVICE static void write(const Params &p, Shared &shared, int64_t query, int32_t count, int thread) {
    int32_t sorted = 1;
    while (sorted < count) sorted *= 2;
    for (int32_t i = count + thread; i < sorted; i += kThreads) shared.best[i] = 0;
    for (int32_t size = 2; size <= sorted; size *= 2) {  // a bitonic network, the largest first
      for (int32_t stride = size / 2; stride > 0; stride /= 2) {
        prim::sync_threads();
        for (int32_t i = thread; i < sorted / 2; i += kThreads) {
          const int32_t a = 2 * i - (i & (stride - 1)), b = a + stride;
          const bool descending = (a & size) == 0;
          const uint64_t x = shared.best[a], y = shared.best[b];
          if ((x < y) == descending) {
            shared.best[a] = y;
            shared.best[b] = x;
          }
        }
      }
    }
    prim::sync_threads();
    const int64_t row = p.first_query + query;
    for (int32_t i = thread; i < p.k; i += kThreads) {
      const bool found = i < count;
      p.indices[row * p.index_row + i] = found ? entry_item(shared.best[i]) : -1;
      if (p.scores != nullptr) p.scores[row * p.score_row + i] = found ? top_k_score(shared.best[i]) : -INFINITY;
    }
  }
};

}  // namespace jindou::search

#endif
