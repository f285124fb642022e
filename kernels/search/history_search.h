// history_search: for each candidate the k best events of its user's history (jindou/history_search.h).
//
// Shapes: queries [sum nc, d], keys [sum nk, d], d in elements or 32-bit words; lists [rows, slots, room].
//
// A block of four warps owns 64 candidates (two and 32 where rows are a KiB) against one piece of the history (search_problem.h), 16 a
// warp, which passes by from the most recent event on in tiles of 32 or 64 through a ring of asynchronous copies. Scores
// (search_core.h) are compared with the candidates' thresholds in the registers they were summed in; what passes, all in the first
// round and a few in a hundred later, is appended to the candidate's list in scratch memory (L2). Lists are a warp's own: only the
// ring has barriers of the block.
//
// FLOPs 2 * d * candidates * events. Bytes: the history once a tile of candidates, from L2; 8 an appended entry, some
// 2 * sqrt(k * events) a candidate. 16-bit dot products are bound by shared memory (1.5 KiB for 4 products), f32 by the FMA units.
#ifndef JINDOU_KERNELS_SEARCH_HISTORY_SEARCH_H
#define JINDOU_KERNELS_SEARCH_HISTORY_SEARCH_H

#include "attention/work_list.h"
#include "search/search_core.h"
#include "search/search_problem.h"

namespace jindou::search {

template <class T>
struct SearchParams {
  SearchProblem problem;
  const T *queries, *keys;
  int64_t query_row, key_row;  // strides
  int32_t dim;                 // elements of a row
  const float *bias;           // of the first event of all, or null
};

template <class Core>
struct SearchKernel {
  using Element = typename Core::Element;
  using Params = SearchParams<Element>;
  using Tile = typename Core::Tile;
  static constexpr int kCandidates = Core::kCandidates;  // of a tile
  static constexpr int kWarps = kCandidates / kWarpCandidates;
  static constexpr int kThreads = kWarps * 32;
  static constexpr int kMinBlocks = Core::kMinBlocks;
  static constexpr int kEvents = Core::kEvents, kSlots = Core::kSlots;

  // One warp's: of its 16 candidates.
  struct WarpShared {
    uint32_t histogram[kDigits];
    float thresholds[kWarpCandidates];
    int32_t counts[kWarpCandidates];
  };
  struct Shared {
    alignas(128) char queries[kCandidates * Tile::kRowBytes];
    alignas(128) char ring[kSlots][kEvents * Tile::kRowBytes];
    WarpShared warps[kWarps];
    attention::WorkListShared<kThreads> list;
  };
  static constexpr size_t shared_bytes() { return sizeof(Shared); }

  JD_DEVICE static void run(const Params &p, char *shared_memory) {
    Shared &shared = *reinterpret_cast<Shared *>(shared_memory);
    attention::for_each_item(
        p.problem.batch, shared.list, [&](int64_t b) { return count_items<kCandidates>(p.problem, b); },
        [&](int64_t b, uint32_t index) { search(p, shared, read_item<kCandidates>(p.problem, b, index)); });
  }

 private:
  JD_DEVICE static void search(const Params &p, Shared &shared, const SearchItem &item) {
    const int thread = prim::opaque_thread_index(), lane = thread & 31, warp = thread >> 5;
    WarpShared &mine = shared.warps[warp];
    const int first = warp * kWarpCandidates;  // candidate of the tile
    if (lane < kWarpCandidates) {
      mine.counts[lane] = 0;
      float threshold = INFINITY;  // rows past the last find nothing
      if (first + lane < item.rows) threshold = p.problem.carries ? p.problem.thresholds[row_of(p, item, first + lane)] : -INFINITY;
      mine.thresholds[lane] = threshold;
    }

    // Queries, then tiles from the end of the piece on: the i-th ends where the one before began.
    const Element *queries = p.queries + item.first_row * p.query_row;
    Tile::template copy<kThreads>(shared.queries, kCandidates, item.rows, p.dim, [&](int r) { return queries + r * p.query_row; },
                                  thread);
    const int32_t tiles = (item.end - item.begin + kEvents - 1) / kEvents;
    int32_t started = 0;
    const auto start_next = [&] {
      if (started < tiles) {
        const int32_t end = item.end - started * kEvents, begin = end - kEvents > item.begin ? end - kEvents : item.begin;
        const Element *keys = p.keys + (item.history + begin) * p.key_row;
        Tile::template copy<kThreads>(shared.ring[started % kSlots], kEvents, end - begin, p.dim,
                                      [&](int r) { return keys + r * p.key_row; }, thread);
      }
      prim::cp_async_commit();  // empty past the end, so that the count to wait for stays constant
      ++started;
    };
#pragma unroll
    for (int i = 0; i < kSlots - 1; ++i) start_next();

    typename Core::Rows rows;
    for (int32_t tile = 0; tile < tiles; ++tile) {
      prim::cp_async_wait<kSlots - 2>();
      prim::sync_threads();  // everyone's part has landed, and everyone is done with the tile before
      start_next();
      if (tile == 0) Core::load(rows, shared.queries + first * Tile::kRowBytes, lane);
      const int32_t end = item.end - tile * kEvents, begin = end - kEvents > item.begin ? end - kEvents : item.begin;
      filter(p, item, mine, first, rows, shared.ring[tile % kSlots], begin, end - begin, lane);
      prim::sync_warp();
      if (tile + 1 < tiles) cut_full_lists(p, item, mine, first, lane);
    }
    prim::cp_async_wait<0>();
    if (lane < kWarpCandidates && first + lane < item.rows) {
      p.problem.counts_of_lists[p.problem.list_number(item.first_row + first + lane, item.slot)] = mine.counts[lane];
    }
    prim::sync_threads();  // shared memory is free
  }

  // Of the window.
  JD_DEVICE static int64_t row_of(const Params &p, const SearchItem &item, int row) {
    return item.first_row - p.problem.first_row + row;
  }

  // Appends what passes of a tile's events begin..begin+count-1.
  JD_DEVICE static void filter(const Params &p, const SearchItem &item, WarpShared &mine, int first, const typename Core::Rows &rows,
                               const char *tile, int32_t begin, int32_t count, int lane) {
    float thresholds[Core::Scores::kRows];
#pragma unroll
    for (int r = 0; r < Core::Scores::kRows; ++r) thresholds[r] = mine.thresholds[Core::row(lane, r)];
    uint64_t *lists = p.problem.list(item.first_row + first, item.slot);
    const int32_t next_list = p.problem.slots * p.problem.room;  // of the next candidate
#pragma unroll 1
    for (int group = 0; group < count; group += kGroupEvents) {
      typename Core::Scores scores;
      Core::score(scores, rows, tile + group * Tile::kRowBytes, p.dim, lane);
      if (p.bias != nullptr) {
#pragma unroll
        for (int i = 0; i < Core::Scores::kCount; ++i) {
          const int at = group + Core::event(lane, i);
          const float bias = at < count ? prim::as_float(prim::load4(p.bias + item.history + begin + at)) : 0.0f;
#pragma unroll
          for (int r = 0; r < Core::Scores::kRows; ++r) scores.at(r, i) += bias;
        }
      }
      if (count - group < kGroupEvents) hide_past<Core>(scores, count - group, lane);
#pragma unroll
      for (int i = 0; i < Core::Scores::kCount; ++i) {
#pragma unroll
        for (int r = 0; r < Core::Scores::kRows; ++r) {
          const float score = scores.at(r, i);
          if (!(score > thresholds[r])) continue;  // nor does a NaN
          const int row = Core::row(lane, r);
          const int32_t place = prim::atomic_add(&mine.counts[row], 1);
          lists[int64_t{row} * next_list + place] = top_k_entry(score, begin + group + Core::event(lane, i));
        }
      }
    }
  }

  // Lists that a tile of events could overfill.
  JD_DEVICE static void cut_full_lists(const Params &p, const SearchItem &item, WarpShared &mine, int first, int lane) {
    const bool full = lane < kWarpCandidates && mine.counts[lane] > p.problem.room - kEvents;
    for (uint32_t left = prim::ballot(full); left != 0; left &= left - 1) {
      const int row = prim::ffs(left) - 1;
      cut(p, item, mine, first, row, lane);
    }
    prim::sync_warp();
  }

  JD_DEVICE static void cut(const Params &p, const SearchItem &item, WarpShared &mine, int first, int row, int lane) {
    uint64_t *list = p.problem.list(item.first_row + first + row, item.slot);
    const uint64_t least = keep_largest(list, mine.counts[row], p.problem.k, mine.histogram, lane);
    if (lane == 0) {
      mine.counts[row] = p.problem.k;
      mine.thresholds[row] = top_k_score(least);
    }
  }
};

// The lists of a candidate become its result, or what the next round begins with: a block a candidate.
template <int kMostK>
struct SearchMergeKernel {
  using Params = SearchProblem;
  static constexpr int kThreads = 256;
  static constexpr int kMinBlocks = 4;
  using Merge = TopKMerge<kThreads, kMostK>;

  struct Shared {
    typename Merge::Shared merge;
    attention::WorkListShared<kThreads> list;
  };
  static constexpr size_t shared_bytes() { return sizeof(Shared); }

  JD_DEVICE static void run(const Params &p, char *shared_memory) {
    Shared &shared = *reinterpret_cast<Shared *>(shared_memory);
    attention::for_each_item(
        p.batch, shared.list, [&](int64_t b) { return static_cast<uint32_t>(read_user(p, b).candidates.length); },
        [&](int64_t b, uint32_t item) {
          const User user = read_user(p, b);
          merge(p, shared.merge, user.candidates.begin + item, user.history.length, static_cast<int>(prim::thread_idx().x));
        });
  }

 private:
  JD_DEVICE static void merge(const Params &p, typename Merge::Shared &shared, int64_t row, int32_t length, int thread) {
    const int32_t found = Merge::run(p.lists_of(row, length), p.k, shared, thread);
    if (!p.last) {
      const int64_t carried = p.list_number(row, 0);
      return Merge::carry(shared, found, p.k, p.lists + carried * p.room, p.counts_of_lists + carried, p.thresholds + row - p.first_row,
                          thread);
    }
    for (int32_t i = thread; i < p.k; i += kThreads) {
      const bool is_found = i < found;
      const uint64_t entry = is_found ? shared.best[i] : 0;
      p.indices[row * p.index_row + i] = is_found ? top_k_index(entry) : -1;
      if (p.scores != nullptr) {
        const float score = is_found ? top_k_score(entry) : -INFINITY;
        p.scores[row * p.score_row + i] = p.distances ? 0.0f - score : score;
      }
    }
    if (p.counts != nullptr && thread == 0) p.counts[row] = found;
  }
};

}  // namespace jindou::search

#endif
