// A block's part of a scan for top_k_inner_product (top_k_inner_product.h, top_k_slices.h): which queries and items are its own, and what
// becomes of a score. The queries' lists lie in scratch memory, their thresholds and counts in shared memory; kItemWarps warps share the
// lists of 16 queries.
#ifndef JINDOU_KERNELS_SEARCH_TOP_K_BLOCK_H
#define JINDOU_KERNELS_SEARCH_TOP_K_BLOCK_H

#include "search/search_core.h"
#include "search/top_k.h"

namespace jindou::search {

constexpr int kMostTopK = 1024;

// One round of one window of queries.
struct TopKProblem {
  int64_t queries, first_query;     // of the window; its first among all
  int64_t first_item, last_item;    // of the round
  int64_t piece_items;
  int32_t pieces;
  int32_t slots;                    // lists a query: what earlier rounds have found, then one a piece
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

// Shape: kQueryWarps, kItemWarps, kItems of a tile.
template <class Shape>
struct TopKBlock {
  static constexpr int kQueryWarps = Shape::kQueryWarps, kItemWarps = Shape::kItemWarps, kItems = Shape::kItems;
  static constexpr int kQueries = kQueryWarps * kWarpCandidates;
  static constexpr int kThreads = kQueryWarps * kItemWarps * 32;
  static_assert(kItems <= kTopKLeastRoom / 2, "");

  // In shared memory.
  struct Lists {
    float thresholds[kQueries];
    int32_t counts[kQueries];
    uint32_t histograms[kThreads / 32][kDigits];
  };

  // The share of a block. Tiles of queries of one piece follow each other, so that blocks running together share it in L2.
  struct Share {
    int64_t first_query;  // of the window
    int32_t queries;      // 1..kQueries
    int32_t slot;         // of their lists
    int64_t begin, end;   // items
  };

  JD_DEVICE static Share share_of_block(const TopKProblem &problem) {
    const uint32_t tiles = static_cast<uint32_t>((problem.queries + kQueries - 1) / kQueries);
    const uint32_t block = prim::block_idx().x;
    Share share;
    share.first_query = static_cast<int64_t>(block % tiles) * kQueries;
    share.queries = problem.queries - share.first_query < kQueries ? static_cast<int32_t>(problem.queries - share.first_query) : kQueries;
    const int32_t piece = static_cast<int32_t>(block / tiles);
    share.slot = piece + 1;
    share.begin = problem.first_item + piece * problem.piece_items;
    share.end = problem.last_item - share.begin < problem.piece_items ? problem.last_item : share.begin + problem.piece_items;
    return share;
  }

  // All threads, whose next barrier makes it visible.
  JD_DEVICE static void start(const TopKProblem &problem, Lists &lists, const Share &share, int thread) {
    for (int i = thread; i < kQueries; i += kThreads) {
      lists.counts[i] = 0;
      float threshold = INFINITY;  // queries past the last find nothing
      if (i < share.queries) threshold = problem.carries ? problem.thresholds[share.first_query + i] : -INFINITY;
      lists.thresholds[i] = threshold;
    }
  }

  // Of the warps that share lists.
  JD_DEVICE static void sync_sharing() {
    if (kItemWarps == 1) {
      prim::sync_warp();
    } else {
      prim::sync_threads();
    }
  }

  // Appends what passes of the scores of queries `first`.. of the block and items `item`...
  template <class Core>
  JD_DEVICE static void take(const TopKProblem &problem, Lists &lists, const Share &share, int first, typename Core::Scores &scores,
                             const float (&thresholds)[Core::Scores::kRows], int32_t item, int lane) {
#pragma unroll
    for (int i = 0; i < Core::Scores::kCount; ++i) {
#pragma unroll
      for (int r = 0; r < Core::Scores::kRows; ++r) {
        const float score = scores.at(r, i);
        if (!(score > thresholds[r])) continue;  // nor does a NaN
        append(problem, lists, share, first + Core::row(lane, r), score, item + Core::event(lane, i));
      }
    }
  }

  // Lists that a tile of items could overfill. The warps that share lists take turns.
  JD_DEVICE static void cut_full(const TopKProblem &problem, Lists &lists, const Share &share, int first, int warp, int lane) {
    const bool mine = lane < kWarpCandidates && lane % kItemWarps == warp % kItemWarps;
    const bool full = mine && lists.counts[first + lane] > problem.room - kItems;
    for (uint32_t left = prim::ballot(full); left != 0; left &= left - 1) {
      const int query = first + prim::ffs(left) - 1;
      uint64_t *list = problem.lists + problem.list_number(share.first_query + query, share.slot) * problem.room;
      const uint64_t least = keep_largest(list, lists.counts[query], problem.k, lists.histograms[warp], lane);
      if (lane == 0) {
        lists.counts[query] = problem.k;
        lists.thresholds[query] = top_k_score(least);
      }
    }
    prim::sync_warp();
  }

  // After the last tile and sync_sharing.
  JD_DEVICE static void finish(const TopKProblem &problem, const Lists &lists, const Share &share, int first, int warp, int lane) {
    for (int i = warp % kItemWarps * 32 + lane; i < kWarpCandidates; i += kItemWarps * 32) {
      const int query = first + i;
      if (query < share.queries) problem.counts[problem.list_number(share.first_query + query, share.slot)] = lists.counts[query];
    }
  }

 private:
  JD_DEVICE static void append(const TopKProblem &problem, Lists &lists, const Share &share, int query, float score, int32_t item) {
    const int64_t row = share.first_query + query;
    if (problem.allowed != nullptr) {
      const uint8_t byte = problem.allowed[(problem.first_query + row) * problem.allowed_row + item / 8];
      if ((byte >> (item % 8) & 1) == 0) return;
    }
    const int32_t place = prim::atomic_add(&lists.counts[query], 1);
    problem.lists[problem.list_number(row, share.slot) * problem.room + place] = item_entry(score, item);
  }
};

}  // namespace jindou::search

#endif
