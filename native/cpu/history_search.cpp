// history_search on the CPU, by inner products and Hamming distances: how the work is cut into tasks. The kernels are in
// kernels/history_search.h; category_search.cpp has the search for equal categories.
//
// A task is some candidates of one user against the whole history: as many tiles as keep their queries in the L2 cache, so that
// the history is read few times. With fewer tiles than keep the threads busy, a task takes a piece of the history, and a second
// round of tasks merges the lists. The lists are exact, so no choice changes the result.
#include <algorithm>
#include <cstdio>
#include <limits>
#include <new>

#include "core/dtype.h"
#include "cpu/kernels/top_k.h"
#include "cpu/plan.h"

namespace jindou::cpu {
namespace {

constexpr int64_t kQueryBytesOfTask = 384 << 10;
constexpr int64_t kListBytesOfTask = 16 << 20;
constexpr int64_t kMostPieceBytes = 32 << 20;  // lists of all pieces of a run
constexpr int64_t kPieceEvents = 4096;         // at least: each piece fills its lists anew
constexpr int kTasksOfThread = 3;

struct User {
  int64_t first_candidate, candidates, first_event, events, tiles;
};

class HistorySearch final : public Plan {
 public:
  HistorySearch(Device &d, const jdb_allocator &allocator, const jd_history_search_desc &desc)
      : Plan(d, allocator),
        desc_(desc),
        dim_(desc.method == JD_SEARCH_LSH ? desc.dim / 64 : desc.dim),
        lanes_(d.kernels.search_lanes),
        room_(top_k_room(desc.k)),
        tile_floats_(search_tile_floats(desc.dtype, dim_, lanes_)) {}

  jd_status prepare(jd_error *error) {
    const int64_t threads = device.pool.size(), most_tiles = divide(desc_.max_candidates, lanes_);
    const int64_t fitting = std::min(kQueryBytesOfTask / (tile_floats_ * 4), kListBytesOfTask / (int64_t{lanes_} * room_ * 8));
    tiles_of_task_ = std::clamp<int64_t>(fitting, 1, most_tiles);
    if (threads > 1) {
      const int64_t all_tiles = std::min(threads * kTasksOfThread, desc_.max_batch * most_tiles);
      piece_tiles_ = std::min(kMostPieceBytes / (int64_t{lanes_} * room_ * 8),
                              std::min(2 * threads * kTasksOfThread, all_tiles * most_pieces(desc_.max_history)));
    }
    scratch_of_worker_ = static_cast<int64_t>(device.kernels.search_scratch) + tiles_of_task_ * tile_floats_;
    list_lanes_ = tiles_of_task_ * lanes_;

    Layout layout;
    users_at_ = layout.add<User>(desc_.max_batch);
    ends_at_ = layout.add<int64_t>(desc_.max_batch);
    piece_ends_at_ = layout.add<int64_t>(desc_.max_batch);
    scratch_at_ = layout.add<float>(scratch_of_worker_ * threads);
    entries_at_ = layout.add<uint64_t>(list_lanes_ * room_ * threads);
    counts_at_ = layout.add<int32_t>(list_lanes_ * threads);
    piece_entries_at_ = layout.add<uint64_t>(piece_tiles_ * lanes_ * room_);
    piece_counts_at_ = layout.add<int32_t>(piece_tiles_ * lanes_);
    return memory.reserve(layout.bytes(), error);
  }

  void describe(char *text, size_t capacity) const override {
    snprintf(text, capacity, "history_search, %s, on cpu (%s): the %d best by tiles of %d candidates, up to %lld tiles a task",
             desc_.method == JD_SEARCH_LSH ? "lsh" : "dot", device.kernels.isa, desc_.k, lanes_,
             static_cast<long long>(tiles_of_task_));
  }

  jd_status run(Stream &, const void *args, jd_error *) override {
    const auto &a = *static_cast<const jdb_history_search_args *>(args);
    User *users = memory.part<User>(users_at_);
    int64_t tiles = 0, cost = 0, most_events = 0;
    for (int64_t u = 0; u < a.batch; ++u) {
      User &x = users[u];
      x.first_candidate = integer_at(a.candidate_offsets, u);
      x.candidates = integer_at(a.candidate_offsets, u + 1) - x.first_candidate;
      x.first_event = integer_at(a.history_offsets, u);
      x.events = integer_at(a.history_offsets, u + 1) - x.first_event;
      x.tiles = divide(x.candidates, lanes_);
      tiles += x.tiles;
      cost += x.tiles * lanes_ * (x.events + desc_.k) * dim_;
      most_events = std::max(most_events, x.tiles > 0 ? x.events : 0);
    }
    // Long tasks first.
    std::sort(users, users + a.batch, [](const User &x, const User &y) {
      const int64_t work_x = x.tiles * x.events, work_y = y.tiles * y.events;
      return work_x != work_y ? work_x > work_y : x.first_candidate < y.first_candidate;
    });

    const int64_t wanted = int64_t{device.pool.size()} * kTasksOfThread;
    if (piece_tiles_ > 0 && cost >= ThreadPool::kWorthSharing && tiles > 0 && tiles < wanted) {
      const int64_t pieces = std::min({divide(wanted, tiles), piece_tiles_ / tiles, most_pieces(most_events)});
      if (pieces > 1) {
        search_pieces(a, pieces, cost);
        return JD_OK;
      }
    }
    search(a, std::clamp<int64_t>(divide(tiles, wanted), 1, tiles_of_task_), cost);
    return JD_OK;
  }

 private:
  // Of a history. A lane's lists of all pieces must fit beside each other where those of a tile do.
  int64_t most_pieces(int64_t events) const { return std::clamp<int64_t>(events / kPieceEvents, 1, lanes_); }

  // Every user's candidates in tasks of `tiles_of_task` tiles, each against the whole history.
  void search(const jdb_history_search_args &a, int64_t tiles_of_task, int64_t cost) {
    const User *users = memory.part<User>(users_at_);
    int64_t *ends = memory.part<int64_t>(ends_at_);  // tasks of users 0..u
    if (device.pool.size() == 1) tiles_of_task = tiles_of_task_;
    int64_t tasks = 0;
    for (int64_t u = 0; u < a.batch; ++u) ends[u] = tasks += divide(users[u].tiles, tiles_of_task);
    device.pool.run(tasks, cost, [&](int64_t index, int worker) {
      const int64_t u = std::upper_bound(ends, ends + a.batch, index) - ends;
      const User &x = users[u];
      const int64_t chunk = index - (u > 0 ? ends[u - 1] : 0), chunks = divide(x.tiles, tiles_of_task);
      const int64_t first = x.tiles * chunk / chunks * lanes_;
      SearchTask t = task(a, x, first, std::min(x.candidates, x.tiles * (chunk + 1) / chunks * lanes_) - first, worker);
      device.kernels.search(t);
      for (int64_t i = 0; i < t.lanes; ++i) finish(a, x.first_candidate + first + i, t.entries + i * room_, t.counts[i]);
    });
  }

  // A task for each tile and piece of its history, then one for each tile that merges.
  void search_pieces(const jdb_history_search_args &a, int64_t most, int64_t cost) {
    const User *users = memory.part<User>(users_at_);
    int64_t *ends = memory.part<int64_t>(ends_at_), *piece_ends = memory.part<int64_t>(piece_ends_at_);
    int64_t tiles = 0, tasks = 0;  // of users 0..u
    const auto pieces_of = [&](const User &x) { return std::min(most, most_pieces(x.events)); };
    for (int64_t u = 0; u < a.batch; ++u) {
      ends[u] = tiles += users[u].tiles;
      piece_ends[u] = tasks += users[u].tiles * pieces_of(users[u]);
    }
    // The lists of a task: those of one tile and piece, at its own number.
    const auto lists = [&](int64_t number) { return memory.part<uint64_t>(piece_entries_at_) + number * lanes_ * room_; };
    const auto counts = [&](int64_t number) { return memory.part<int32_t>(piece_counts_at_) + number * lanes_; };
    device.pool.run(tasks, cost, [&](int64_t index, int worker) {
      const int64_t u = std::upper_bound(piece_ends, piece_ends + a.batch, index) - piece_ends;
      const User &x = users[u];
      const int64_t within = index - (u > 0 ? piece_ends[u - 1] : 0), pieces = pieces_of(x), piece = within % pieces;
      const int64_t first = within / pieces * lanes_;
      SearchTask t = task(a, x, first, std::min<int64_t>(lanes_, x.candidates - first), worker);
      t.first_key = x.events * piece / pieces;
      t.last_key = x.events * (piece + 1) / pieces;
      t.entries = lists(index);
      t.counts = counts(index);
      device.kernels.search(t);
    });
    device.pool.run(tiles, cost, [&](int64_t index, int worker) {
      const int64_t u = std::upper_bound(ends, ends + a.batch, index) - ends;
      const User &x = users[u];
      const int64_t tile = index - (u > 0 ? ends[u - 1] : 0), pieces = pieces_of(x);
      const int64_t number = (u > 0 ? piece_ends[u - 1] : 0) + tile * pieces;
      uint64_t *all = memory.part<uint64_t>(entries_at_) + list_lanes_ * room_ * worker;
      for (int64_t i = 0; i < lanes_ && tile * lanes_ + i < x.candidates; ++i) {
        int64_t count = 0;
        for (int64_t piece = 0; piece < pieces; ++piece) {
          const uint64_t *list = lists(number + piece) + i * room_;
          count = std::copy(list, list + counts(number + piece)[i], all + count) - all;
        }
        finish(a, x.first_candidate + tile * lanes_ + i, all, count);
      }
    });
  }

  SearchTask task(const jdb_history_search_args &a, const User &x, int64_t first, int64_t count, int worker) const {
    const auto rows = [](const jdb_tensor &t, int64_t row) {
      return HeadRows{static_cast<const char *>(t.data) + row * t.strides[0] * core::element_size(t.dtype), t.strides[0], t.dtype};
    };
    SearchTask t;
    t.dtype = desc_.dtype;
    t.dim = dim_;
    t.k = desc_.k;
    t.lanes = static_cast<int32_t>(count);
    t.queries = rows(a.queries, x.first_candidate + first);
    t.keys = rows(a.keys, x.first_event);
    t.bias = a.bias.data ? static_cast<const float *>(a.bias.data) + x.first_event : nullptr;
    t.first_key = 0;
    t.last_key = x.events;
    t.scratch = memory.part<float>(scratch_at_) + scratch_of_worker_ * worker;
    t.entries = memory.part<uint64_t>(entries_at_) + list_lanes_ * room_ * worker;
    t.counts = memory.part<int32_t>(counts_at_) + list_lanes_ * worker;
    return t;
  }

  // The k best of a candidate's list, best first.
  void finish(const jdb_history_search_args &a, int64_t row, uint64_t *entries, int64_t count) const {
    count = best_first(entries, count, desc_.k);
    int32_t *indices = static_cast<int32_t *>(a.indices.data) + row * a.indices.strides[0];
    for (int64_t i = 0; i < count; ++i) indices[i] = top_k_index(entries[i]);
    std::fill(indices + count, indices + desc_.k, -1);
    if (a.counts.dtype) static_cast<int32_t *>(a.counts.data)[row] = static_cast<int32_t>(count);
    if (!a.scores.dtype) return;
    float *scores = static_cast<float *>(a.scores.data) + row * a.scores.strides[0];
    const bool distances = desc_.method == JD_SEARCH_LSH;
    for (int64_t i = 0; i < count; ++i) scores[i] = distances ? 0.0f - top_k_score(entries[i]) : top_k_score(entries[i]);
    std::fill(scores + count, scores + desc_.k, (distances ? 1 : -1) * std::numeric_limits<float>::infinity());
  }

  const jd_history_search_desc desc_;
  const int32_t dim_;  // elements or words of a row
  const int lanes_, room_;
  const int64_t tile_floats_;
  int64_t tiles_of_task_ = 1, piece_tiles_ = 0, scratch_of_worker_ = 0, list_lanes_ = 0;
  size_t users_at_ = 0, ends_at_ = 0, piece_ends_at_ = 0, scratch_at_ = 0, entries_at_ = 0, counts_at_ = 0;
  size_t piece_entries_at_ = 0, piece_counts_at_ = 0;
};

}  // namespace

jd_status create_history_search(Device &device, const jd_history_search_desc &desc, const jdb_allocator &allocator,
                                Plan **plan, jd_error *error) {
  if (desc.method == JD_SEARCH_HARD) return create_category_search(device, desc, allocator, plan, error);
  return prepared(new (std::nothrow) HistorySearch(device, allocator, desc), plan, error);
}

}  // namespace jindou::cpu
