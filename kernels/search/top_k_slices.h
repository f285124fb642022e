// top_k_inner_product of long rows, of more than 256 elements: what top_k_inner_product.h does, but rows pass in slices of 128 bytes, as in a
// product of matrices.
//
// A step of the ring brings a slice of the block's queries and of a tile of 64 items; scores stay in registers from a tile's first slice
// to its last, and are then compared with the thresholds. So neither shared memory nor registers grow with d, and a score is the same
// sum, in the order of the dimensions, in both shapes of block: the zeros past d add nothing. Queries are read again for each tile,
// from L2: a byte for each of the items' where there are 64 of them, a quarter where there are 16.
//
// Three slots of 16 KiB (many queries) or 10 KiB (few): four blocks fit a multiprocessor of 164 KiB (few) or 228 KiB.
#ifndef JINDOU_KERNELS_SEARCH_TOP_K_SLICES_H
#define JINDOU_KERNELS_SEARCH_TOP_K_SLICES_H

#include "search/top_k_inner_product.h"

namespace jindou::search {

// Shapes of a block. Core: of a slice, and of the items of a warp.
template <class Core_, int kGroup>
struct ManyQueriesSliced {
  using Core = Core_;
  static constexpr int kQueryWarps = 4, kItemWarps = 1, kItems = kGroup;
};
template <class Core_, int kGroup>
struct FewQueriesSliced {
  using Core = Core_;
  static constexpr int kQueryWarps = 1, kItemWarps = 4, kItems = kItemWarps * kGroup;
};

// What a block does with slices, however they come into its slots (top_k_codes.h has another way).
template <class Shape>
struct TopKSlices {
  using Core = typename Shape::Core;
  using Tile = typename Core::Tile;
  using Block = TopKBlock<Shape>;
  using Share = typename Block::Share;
  using Lists = typename Block::Lists;
  using Scores = typename Core::Scores;
  static constexpr int kItemWarps = Shape::kItemWarps, kItems = Shape::kItems;
  static constexpr int kQueries = Block::kQueries, kThreads = Block::kThreads;
  static constexpr int kMinBlocks = 4;
  static constexpr int kColumns = Tile::kRowBytes / static_cast<int>(sizeof(typename Core::Element));  // of a slice

  struct Slot {
    alignas(128) char queries[kQueries * Tile::kRowBytes];
    alignas(128) char items[kItems * Tile::kRowBytes];
  };

  // Where a thread is: its warp's first query of the block and first item of a tile.
  struct Place {
    int thread, lane, warp, first, group;
  };
  JD_DEVICE static Place place() {
    const int thread = static_cast<int>(prim::thread_idx().x), warp = thread >> 5;
    return Place{thread, thread & 31, warp, warp / kItemWarps * kWarpCandidates, warp % kItemWarps * (kItems / kItemWarps)};
  }

  // Of a tile's slices, one after the other.
  JD_DEVICE static void multiply(Scores &scores, const Slot &slot, bool is_first, int32_t is_f16, const Place &at) {
    if (is_first) Core::clear(scores);
    typename Core::Rows rows;
    Core::load(rows, slot.queries + at.first * Tile::kRowBytes, at.lane);
    Core::add(scores, rows, slot.items + at.group * Tile::kRowBytes, is_f16, at.lane);
  }

  // After a tile's last slice: appends what passes. begin: the tile's first item.
  JD_DEVICE static void take(const TopKProblem &problem, Lists &lists, const Share &share, Scores &scores, int64_t begin, bool is_last,
                             const Place &at) {
    float thresholds[Scores::kRows];
#pragma unroll
    for (int r = 0; r < Scores::kRows; ++r) thresholds[r] = lists.thresholds[at.first + Core::row(at.lane, r)];
    if (share.end - begin < kItems) hide_past<Core>(scores, static_cast<int32_t>(share.end - begin) - at.group, at.lane);
    Block::template take<Core>(problem, lists, share, at.first, scores, thresholds, static_cast<int32_t>(begin) + at.group, at.lane);
    Block::sync_sharing();
    if (!is_last) Block::cut_full(problem, lists, share, at.first, at.warp, at.lane);
  }
};

template <class Shape>
struct TopKSliceKernel : TopKSlices<Shape> {
  using Slices = TopKSlices<Shape>;
  using typename Slices::Block, typename Slices::Place, typename Slices::Share, typename Slices::Slot, typename Slices::Tile;
  using Element = typename Shape::Core::Element;
  using Params = TopKScanParams<Element>;
  using Slices::kItems, Slices::kQueries, Slices::kThreads;
  static constexpr int kSlots = 3;

  struct Shared {
    Slot ring[kSlots];
    typename Block::Lists lists;
  };
  static constexpr size_t shared_bytes() { return sizeof(Shared); }

  JD_DEVICE static void run(const Params &p, char *shared_memory) {
    scan(p, *reinterpret_cast<Shared *>(shared_memory), Block::share_of_block(p.problem));
  }

 private:
  // A slice of a tile of items.
  struct Step {
    int64_t begin;  // the tile's first item
    int32_t column;
    int32_t slot;   // of the ring

    JD_DEVICE void advance(int32_t dim) {
      slot = slot + 1 < kSlots ? slot + 1 : 0;
      column += Slices::kColumns;
      if (column < dim) return;
      column = 0;
      begin += kItems;
    }
  };

  JD_DEVICE static void scan(const Params &p, Shared &shared, const Share &share) {
    const Place at = Slices::place();
    Block::start(p.problem, shared.lists, share, at.thread);

    const Element *queries = p.queries + (p.problem.first_query + share.first_query) * p.query_row;
    Step next{share.begin, 0, 0};
    const auto start_next = [&] {
      if (next.begin < share.end) {
        const int32_t count = share.end - next.begin < kItems ? static_cast<int32_t>(share.end - next.begin) : kItems;
        const Element *slice = queries + next.column, *items = p.items + next.begin * p.item_row + next.column;
        Slot &slot = shared.ring[next.slot];
        const int32_t columns = p.dim - next.column;
        Tile::template copy<kThreads>(slot.queries, kQueries, share.queries, columns, [&](int r) { return slice + r * p.query_row; }, at.thread);
        Tile::template copy<kThreads>(slot.items, kItems, count, columns, [&](int r) { return items + r * p.item_row; }, at.thread);
        next.advance(p.dim);
      }
      prim::cp_async_commit();  // empty past the end, so that the count to wait for stays constant
    };
#pragma unroll
    for (int i = 0; i < kSlots - 1; ++i) start_next();

    typename Slices::Scores scores;
    Step step{share.begin, 0, 0};
#pragma unroll 1
    while (step.begin < share.end) {
      prim::cp_async_wait<kSlots - 2>();
      prim::sync_threads();  // everyone's part has landed, everyone is done with the step before, and lists are cut
      start_next();
      Slices::multiply(scores, shared.ring[step.slot], step.column == 0, p.is_f16, at);
      const int64_t begin = step.begin;
      step.advance(p.dim);
      if (step.begin != begin) Slices::take(p.problem, shared.lists, share, scores, begin, step.begin >= share.end, at);
    }
    prim::cp_async_wait<0>();
    Block::finish(p.problem, shared.lists, share, at.first, at.warp, at.lane);
  }
};

}  // namespace jindou::search

#endif
