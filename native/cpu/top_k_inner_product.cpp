// top_k_inner_product on the CPU: how the work is cut into tasks. The kernels are in kernels/top_k_inner_product.h.
//
// A task is some queries against all items: as many as keep their rows in the L2 cache, so that the items are read few times. With fewer
// tiles of queries than keep the threads busy, a task takes a piece of the items, and a second round of tasks merges the lists. The lists
// are exact, so no choice changes the result.
#include <algorithm>
#include <cstdio>
#include <limits>
#include <new>

#include "core/dtype.h"
#include "cpu/kernels/top_k.h"
#include "cpu/plan.h"
#include "cpu/table_rows.h"

namespace jindou::cpu {
namespace {

constexpr int64_t kQueryBytesOfTask = 384 << 10;
constexpr int64_t kListBytesOfTask = 16 << 20;
constexpr int64_t kMostPieceBytes = 32 << 20;  // lists of all pieces of a run
constexpr int64_t kPieceItems = 4096;          // at least: each piece fills its lists anew
constexpr int kTasksOfThread = 3;

class TopKInnerProduct final : public Plan {
 public:
  TopKInnerProduct(Device &d, const jdb_allocator &allocator, const jd_top_k_inner_product_desc &desc)
      : Plan(d, allocator),
        desc_(desc),
        lanes_(d.kernels.search_lanes),
        room_(top_k_room(desc.k)),
        tile_floats_(search_tile_floats(desc.dtype, desc.dim, lanes_)) {
    codes_.dim = desc.dim;
    codes_.layout = row_layout(desc.row_format, desc.dim);
    codes_.elements = elements_of(JD_U8, codes_.layout, desc.row_format);
    codes_.out_dtype = JD_F32;
  }

  jd_status prepare(jd_error *error) {
    const int64_t threads = device.pool.size(), most_tiles = divide(desc_.max_queries, lanes_);
    const int64_t list_bytes = int64_t{lanes_} * room_ * 8;  // of a tile
    tiles_of_task_ = std::clamp<int64_t>(std::min(kQueryBytesOfTask / (tile_floats_ * 4), kListBytesOfTask / list_bytes), 1, most_tiles);
    if (threads > 1) piece_tiles_ = std::min(kMostPieceBytes / list_bytes, 2 * threads * kTasksOfThread);
    scratch_of_worker_ = item_block_floats(desc_.dim) + tiles_of_task_ * tile_floats_;
    list_lanes_ = tiles_of_task_ * lanes_;

    Layout layout;
    scratch_at_ = layout.add<float>(scratch_of_worker_ * threads);
    entries_at_ = layout.add<uint64_t>(list_lanes_ * room_ * threads);
    counts_at_ = layout.add<int32_t>(list_lanes_ * threads);
    piece_entries_at_ = layout.add<uint64_t>(piece_tiles_ * lanes_ * room_);
    piece_counts_at_ = layout.add<int32_t>(piece_tiles_ * lanes_);
    return memory.reserve(layout.bytes(), error);
  }

  void describe(char *text, size_t capacity) const override {
    snprintf(text, capacity, "top_k_inner_product on cpu (%s): the %d best by tiles of %d queries, up to %lld tiles a task",
             device.kernels.isa, desc_.k, lanes_, static_cast<long long>(tiles_of_task_));
  }

  jd_status run(Stream &, const void *args, jd_error *) override {
    const auto &a = *static_cast<const jdb_top_k_inner_product_args *>(args);
    const int64_t queries = a.queries.shape[0], items = a.items.shape[0], tiles = divide(queries, lanes_);
    EmbeddingTask codes = codes_;
    codes.rows = static_cast<const char *>(a.items.data);
    codes.row_bytes = a.items.strides[0];
    const int64_t wanted = int64_t{device.pool.size()} * kTasksOfThread, cost = queries * (items + desc_.k) * desc_.dim;
    if (tiles > 0 && tiles < wanted && piece_tiles_ > 0 && cost >= ThreadPool::kWorthSharing) {
      // A query's lists of all pieces must fit beside each other where those of a tile do.
      const int64_t most = std::min({divide(wanted, tiles), piece_tiles_ / tiles, items / kPieceItems, int64_t{lanes_}});
      if (most > 1) {
        search_pieces(a, codes, tiles, most, cost);
        return JD_OK;
      }
    }
    const int64_t sharing = device.pool.size() == 1 ? tiles_of_task_ : std::clamp<int64_t>(divide(tiles, wanted), 1, tiles_of_task_);
    search(a, codes, tiles, sharing, cost);
    return JD_OK;
  }

 private:
  // `sharing` tiles a task, each against all items.
  void search(const jdb_top_k_inner_product_args &a, const EmbeddingTask &codes, int64_t tiles, int64_t sharing, int64_t cost) {
    const int64_t tasks = divide(tiles, sharing);
    device.pool.run(tasks, cost, [&](int64_t index, int worker) {
      const int64_t first = tiles * index / tasks * lanes_, end = std::min(a.queries.shape[0], tiles * (index + 1) / tasks * lanes_);
      const TopKTask t = task(a, codes, first, end - first, worker);
      device.kernels.top_k(t);
      for (int64_t i = 0; i < t.lanes; ++i) finish(a, first + i, t.entries + i * room_, t.counts[i]);
    });
  }

  // A task for each tile and piece of the items, then one for each tile that merges.
  void search_pieces(const jdb_top_k_inner_product_args &a, const EmbeddingTask &codes, int64_t tiles, int64_t pieces, int64_t cost) {
    const int64_t queries = a.queries.shape[0], items = a.items.shape[0], blocks = divide(items, kItemBlock);
    const auto lists = [&](int64_t number) { return memory.part<uint64_t>(piece_entries_at_) + number * lanes_ * room_; };
    const auto counts = [&](int64_t number) { return memory.part<int32_t>(piece_counts_at_) + number * lanes_; };
    device.pool.run(tiles * pieces, cost, [&](int64_t index, int worker) {
      const int64_t first = index / pieces * lanes_, piece = index % pieces;
      TopKTask t = task(a, codes, first, std::min<int64_t>(lanes_, queries - first), worker);
      t.first_item = blocks * piece / pieces * kItemBlock;
      t.last_item = std::min(items, blocks * (piece + 1) / pieces * kItemBlock);
      t.entries = lists(index);
      t.counts = counts(index);
      device.kernels.top_k(t);
    });
    device.pool.run(tiles, cost, [&](int64_t tile, int worker) {
      uint64_t *all = memory.part<uint64_t>(entries_at_) + list_lanes_ * room_ * worker;
      for (int64_t i = 0; i < lanes_ && tile * lanes_ + i < queries; ++i) {
        int64_t count = 0;
        for (int64_t piece = 0; piece < pieces; ++piece) {
          const uint64_t *list = lists(tile * pieces + piece) + i * room_;
          count = std::copy(list, list + counts(tile * pieces + piece)[i], all + count) - all;
        }
        finish(a, tile * lanes_ + i, all, count);
      }
    });
  }

  TopKTask task(const jdb_top_k_inner_product_args &a, const EmbeddingTask &codes, int64_t first, int64_t count, int worker) const {
    TopKTask t;
    t.dtype = desc_.dtype;
    t.dim = desc_.dim;
    t.k = desc_.k;
    t.lanes = static_cast<int32_t>(count);
    t.queries = static_cast<const char *>(a.queries.data) + first * a.queries.strides[0] * core::element_size(desc_.dtype);
    t.query_stride = a.queries.strides[0];
    t.items = a.items.data;
    t.item_stride = a.items.strides[0];
    t.codes = desc_.row_format == JD_ROWS_PLAIN ? nullptr : &codes;
    t.widen_rows = device.kernels.widen_rows;
    const bool each = a.allowed.rank == 2;  // a bitmap for each query
    // A stride says nothing where there is one query, and 0 means that there is one bitmap.
    t.allowed_stride = each && a.queries.shape[0] > 1 ? a.allowed.strides[0] : 0;
    t.allowed = a.allowed.dtype ? static_cast<const uint8_t *>(a.allowed.data) + first * t.allowed_stride : nullptr;
    t.first_item = 0;
    t.last_item = a.items.shape[0];
    t.scratch = memory.part<float>(scratch_at_) + scratch_of_worker_ * worker;
    t.entries = memory.part<uint64_t>(entries_at_) + list_lanes_ * room_ * worker;
    t.counts = memory.part<int32_t>(counts_at_) + list_lanes_ * worker;
    return t;
  }

  // The k best of a query's list, best first.
  void finish(const jdb_top_k_inner_product_args &a, int64_t row, uint64_t *entries, int64_t count) const {
    count = best_first(entries, count, desc_.k);
    int64_t *indices = static_cast<int64_t *>(a.indices.data) + row * a.indices.strides[0];
    for (int64_t i = 0; i < count; ++i) indices[i] = entry_item(entries[i]);
    std::fill(indices + count, indices + desc_.k, -1);
    if (!a.scores.dtype) return;
    float *scores = static_cast<float *>(a.scores.data) + row * a.scores.strides[0];
    for (int64_t i = 0; i < count; ++i) scores[i] = top_k_score(entries[i]);
    std::fill(scores + count, scores + desc_.k, -std::numeric_limits<float>::infinity());
  }

  const jd_top_k_inner_product_desc desc_;
  const int lanes_, room_;
  const int64_t tile_floats_;
  EmbeddingTask codes_{};  // of items that are codes, without their rows
  int64_t tiles_of_task_ = 1, piece_tiles_ = 0, scratch_of_worker_ = 0, list_lanes_ = 0;
  size_t scratch_at_ = 0, entries_at_ = 0, counts_at_ = 0, piece_entries_at_ = 0, piece_counts_at_ = 0;
};

}  // namespace

jd_status create_top_k_inner_product(Device &device, const jd_top_k_inner_product_desc &desc, const jdb_allocator &allocator,
                                     Plan **plan, jd_error *error) {
  return prepared(new (std::nothrow) TopKInnerProduct(device, allocator, desc), plan, error);
}

}  // namespace jindou::cpu
