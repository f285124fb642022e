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
// A second kernel merges a query's lists, a block each. Rows of more than 256 elements pass in slices (top_k_slices.h).
//
// Items come in one round or two (top_k.h). The lists of all rounds are exact, as is comparing scores alone: items of later rounds have larger
// indices and lose ties.
//
// FLOPs 2 * d * m * N. Bytes: the items once a tile of queries, from memory for the first of them and from L2 for the others, which run beside
// it. Up to 16 queries (f32; 64 in 16 bit) reading the items is the bound.
#ifndef JINDOU_KERNELS_SEARCH_TOP_K_INNER_PRODUCT_H
#define JINDOU_KERNELS_SEARCH_TOP_K_INNER_PRODUCT_H

#include "search/top_k_block.h"
#include "search/top_k_merge.h"

namespace jindou::search {

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
  JD_DEVICE static void add(SearchMmaScores<kGroup> &scores, const SearchMmaRows<kDim> &rows, const char *items, int32_t is_f16, int lane) {
    if (is_f16) {
      SearchMmaCore<prim::f16, kDim, kGroup>::add(scores, rows, items, lane);
    } else {
      SearchMmaCore<prim::bf16, kDim, kGroup>::add(scores, rows, items, lane);
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
  JD_DEVICE static void add(typename Base::Scores &scores, const typename Base::Rows &rows, const char *items, int32_t, int lane) {
    Base::add(scores, rows, items, lane);
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
  using Block = TopKBlock<Shape>;
  using Share = typename Block::Share;
  static constexpr int kItemWarps = Shape::kItemWarps;
  static constexpr int kQueries = Block::kQueries, kThreads = Block::kThreads;
  static constexpr int kMinBlocks = Shape::kMinBlocks;
  static constexpr int kItems = Shape::kItems, kSlots = Shape::kSlots, kGroup = Shape::kGroup;
  static_assert(kItems % (kGroup * kItemWarps) == 0, "");

  struct Shared {
    alignas(128) char queries[kQueries * Tile::kRowBytes];
    alignas(128) char ring[kSlots][kItems * Tile::kRowBytes];
    typename Block::Lists lists;
  };
  static constexpr size_t shared_bytes() { return sizeof(Shared); }

  JD_DEVICE static void run(const Params &p, char *shared_memory) {
    scan(p, *reinterpret_cast<Shared *>(shared_memory), Block::share_of_block(p.problem));
  }

 private:
  JD_DEVICE static void scan(const Params &p, Shared &shared, const Share &share) {
    const int thread = static_cast<int>(prim::thread_idx().x), lane = thread & 31, warp = thread >> 5;
    const int first = warp / kItemWarps * kWarpCandidates;  // the warp's first query of the block
    Block::start(p.problem, shared.lists, share, thread);

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
      Block::sync_sharing();
      if (tile + 1 < tiles) Block::cut_full(p.problem, shared.lists, share, first, warp, lane);
    }
    prim::cp_async_wait<0>();
    Block::finish(p.problem, shared.lists, share, first, warp, lane);
  }

  // Appends what passes of a tile's items begin..begin+count-1: this warp's groups of them.
  JD_DEVICE static void filter(const Params &p, Shared &shared, const Share &share, int first, const typename Core::Rows &rows,
                               const char *tile, int32_t begin, int32_t count, int item_warp, int lane) {
    float thresholds[Core::Scores::kRows];
#pragma unroll
    for (int r = 0; r < Core::Scores::kRows; ++r) thresholds[r] = shared.lists.thresholds[first + Core::row(lane, r)];
#pragma unroll 1
    for (int group = item_warp * kGroup; group < count; group += kItemWarps * kGroup) {
      typename Core::Scores scores;
      Core::score(scores, rows, tile + group * Tile::kRowBytes, p.dim, p.is_f16, lane);
      if (count - group < kGroup) hide_past<Core>(scores, count - group, lane);
      Block::template take<Core>(p.problem, shared.lists, share, first, scores, thresholds, begin + group, lane);
    }
  }
};

// A query's lists become its result, or what the next round starts from: a block a query, a large one where there are few.
template <int kThreads_>
struct TopKMergeKernel {
  using Params = TopKProblem;
  static constexpr int kThreads = kThreads_;
  static constexpr int kMinBlocks = 1024 / kThreads;
  using Merge = TopKMerge<kThreads, kMostTopK>;
  using Shared = typename Merge::Shared;
  static constexpr size_t shared_bytes() { return sizeof(Shared); }

  JD_DEVICE static void run(const Params &p, char *shared_memory) {
    Shared &shared = *reinterpret_cast<Shared *>(shared_memory);
    const int64_t query = prim::block_idx().x, carried = p.list_number(query, 0);
    const int thread = static_cast<int>(prim::thread_idx().x);
    const int64_t first = carried + (p.carries ? 0 : 1);
    const TopKLists lists{p.lists + first * p.room, p.counts + first, p.pieces + p.carries, p.room};
    const int32_t found = Merge::run(lists, p.k, shared, thread);
    if (!p.last) return Merge::carry(shared, found, p.k, p.lists + carried * p.room, p.counts + carried, p.thresholds + query, thread);
    const int64_t row = p.first_query + query;
    for (int32_t i = thread; i < p.k; i += kThreads) {
      const bool is_found = i < found;
      p.indices[row * p.index_row + i] = is_found ? entry_item(shared.best[i]) : -1;
      if (p.scores != nullptr) p.scores[row * p.score_row + i] = is_found ? top_k_score(shared.best[i]) : -INFINITY;
    }
  }
};

}  // namespace jindou::search

#endif
