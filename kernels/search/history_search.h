// history_search: for each candidate the k best events of its user's history (jindou/history_search.h).
//
// Shapes: queries [sum nc, d], keys [sum nk, d], d in elements or 32-bit words; lists [rows, pieces, room].
//
// A block of four warps owns 64 candidates (two and 32 where rows are a KiB) against one piece of the history (search_problem.h), 16 a warp, which passes by from the
// most recent event on in tiles of 32 or 64 through a ring of asynchronous copies. Scores (search_core.h) are compared with the
// candidates' thresholds in the registers they were summed in; what passes, a few in a hundred at first and in a thousand later, is
// appended to the candidate's list in scratch memory (L2). Lists are a warp's own: only the ring has barriers of the block.
//
// FLOPs 2 * d * candidates * events. Bytes: the history once a tile of candidates, from L2; 8 an appended entry, some
// k * (1 + log2(piece / k)) a candidate and piece. 16-bit dot products are bound by shared memory (1.5 KiB for 4 products), f32 by
// the FMA units.
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
      mine.thresholds[lane] = first + lane < item.rows ? -INFINITY : INFINITY;  // rows past the last find nothing
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
      cut_full_lists(p, item, mine, first, lane);
    }
    prim::cp_async_wait<0>();
    finish_lists(p, item, mine, first, lane);
    prim::sync_threads();  // shared memory is free
  }

  // Appends what passes of a tile's events begin..begin+count-1.
  JD_DEVICE static void filter(const Params &p, const SearchItem &item, WarpShared &mine, int first, const typename Core::Rows &rows,
                               const char *tile, int32_t begin, int32_t count, int lane) {
    float thresholds[Core::Scores::kRows];
#pragma unroll
    for (int r = 0; r < Core::Scores::kRows; ++r) thresholds[r] = mine.thresholds[Core::row(lane, r)];
#pragma unroll 1
    for (int group = 0; group < count; group += kGroupEvents) {
      typename Core::Scores scores;
      Core::score(scores, rows, tile + group * Tile::kRowBytes, p.dim, lane);
#pragma unroll
      for (int i = 0; i < Core::Scores::kCount; ++i) {
        const int at = group + Core::event(lane, i);
        if (at >= count) continue;
        const int32_t event = begin + at;
        float bias = 0.0f;
        if (p.bias != nullptr) bias = prim::as_float(prim::load4(p.bias + item.history + event));
#pragma unroll
        for (int r = 0; r < Core::Scores::kRows; ++r) {
          const float score = scores.at(r, i) + bias;
          if (!(score > thresholds[r])) continue;  // nor does a NaN
          const int row = Core::row(lane, r);
          const int32_t place = prim::atomic_add(&mine.counts[row], 1);
          p.problem.list(item.first_row + first + row, item.piece)[place] = top_k_entry(score, event);
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
    uint64_t *list = p.problem.list(item.first_row + first + row, item.piece);
    const uint64_t least = keep_largest(list, mine.counts[row], p.problem.k, mine.histogram, lane);
    if (lane == 0) {
      mine.counts[row] = p.problem.k;
      mine.thresholds[row] = top_k_score(least);
    }
  }

  // Exactly k entries a list, the last of them 0 where fewer were found.
  JD_DEVICE static void finish_lists(const Params &p, const SearchItem &item, WarpShared &mine, int first, int lane) {
    prim::sync_warp();
    for (int row = 0; row < kWarpCandidates && first + row < item.rows; ++row) {
      const int32_t count = mine.counts[row];
      if (count > p.problem.k) cut(p, item, mine, first, row, lane);
      uint64_t *list = p.problem.list(item.first_row + first + row, item.piece);
      for (int32_t i = count + lane; i < p.problem.k; i += 32) list[i] = 0;
    }
  }
};

// The lists of a candidate's pieces become its result: a warp a candidate. kMostK: entries that are sorted in shared memory.
template <int kMostK>
struct SearchMergeKernel {
  using Params = SearchProblem;
  static constexpr int kThreads = 128;
  static constexpr int kWarps = kThreads / 32;
  static constexpr int kMinBlocks = kMostK <= 128 ? 5 : 3;

  struct WarpShared {
    uint64_t sorted[kMostK];
    uint32_t histogram[kDigits];
  };
  struct Shared {
    WarpShared warps[kWarps];
    attention::WorkListShared<kThreads> list;
  };
  static constexpr size_t shared_bytes() { return sizeof(Shared); }

  JD_DEVICE static void run(const Params &p, char *shared_memory) {
    Shared &shared = *reinterpret_cast<Shared *>(shared_memory);
    attention::for_each_item(
        p.batch, shared.list,
        [&](int64_t b) { return static_cast<uint32_t>((read_user(p, b).candidates.length + kWarps - 1) / kWarps); },
        [&](int64_t b, uint32_t item) {
          const SearchUser user = read_user(p, b);
          const int32_t candidate = static_cast<int32_t>(item) * kWarps + prim::warp_id();
          if (candidate < user.candidates.length) {
            merge(p, shared.warps[prim::warp_id()], user.candidates.begin + candidate, p.pieces(user.history.length), prim::lane_id());
          }
        });
  }

 private:
  JD_DEVICE static void merge(const Params &p, WarpShared &mine, int64_t row, int32_t pieces, int lane) {
    // The first piece's list takes the others in.
    uint64_t *list = p.list(row, 0);
    uint64_t bound = 0;  // what is not larger is no entry, or not among the k best
    int32_t count = 0;
    for (int32_t piece = 0; piece < pieces; ++piece) {
      const uint64_t *other = p.list(row, piece);
      for (int32_t i = 0; i < p.k; i += 32) {
        const uint64_t entry = i + lane < p.k ? other[i + lane] : 0;
        if (!prim::any(entry != 0)) break;  // nor are the rest
        const bool passes = entry > bound;
        const uint32_t passing = prim::ballot(passes);  // all have read: the first list is written where it was read
        if (passes) list[count + prim::popc(passing & ((1u << lane) - 1))] = entry;
        count += prim::popc(passing);
        if (count > p.room - 32) {
          prim::sync_warp();
          bound = keep_largest(list, count, p.k, mine.histogram, lane);
          count = p.k;
        }
      }
    }
    prim::sync_warp();
    if (count > p.k) {
      keep_largest(list, count, p.k, mine.histogram, lane);
      count = p.k;
    }
    int32_t sorted = 1;
    while (sorted < count) sorted *= 2;
    for (int32_t i = lane; i < sorted; i += 32) mine.sorted[i] = i < count ? list[i] : 0;
    prim::sync_warp();
    sort_descending(mine.sorted, sorted, lane);
    for (int32_t i = lane; i < p.k; i += 32) {
      const bool found = i < count;
      const uint64_t entry = found ? mine.sorted[i] : 0;
      p.indices[row * p.index_row + i] = found ? top_k_index(entry) : -1;
      if (p.scores != nullptr) {
        const float score = found ? top_k_score(entry) : -INFINITY;
        p.scores[row * p.score_row + i] = p.distances ? 0.0f - score : score;
      }
    }
    if (p.counts != nullptr && lane == 0) p.counts[row] = count;
    prim::sync_warp();  // before the next candidate is sorted
  }
};

}  // namespace jindou::search

#endif
