// softmax_attention on the CPU: how the work is cut into tasks. The kernel is in kernels/softmax_attention.h, the mask in
// attention/softmax_mask.h.
//
// The rows of a sequence and head form tiles; few rows are packed with the query heads that share their key head. What a tile costs is the
// number of keys that some row of it sees. A task is several tiles, of about a fixed share of the run, so that the packing of keys is shared
// but no task is long; the largest tasks go first and in a sequence the last rows, which see most keys under a causal mask. A tile
// that is by itself more than its share, few rows over many keys, is cut into pieces of keys, which a second round merges.
// None of these choices changes a bit of the result: what counts is the number of a sequence's keys, by which its pieces are cut.
#include <algorithm>
#include <climits>
#include <cstdio>
#include <new>

#include "attention/pieces.h"
#include "attention/softmax_mask.h"
#include "attention/t5_buckets.h"
#include "cpu/plan.h"

namespace jindou::cpu {
namespace {

constexpr int64_t kMostTilesOfTask = 8;
constexpr size_t kTileBytesOfTask = 448 << 10;      // queries and sums of a task stay in the L2 cache beside a block of keys
constexpr int64_t kMostPartialBytes = 32 << 20;     // of all pieces of a run
constexpr int kTasksOfThread = 4;                   // wanted, so that no thread waits long for the last one
constexpr attention::Pieces kPieces{kSegment, 64, kKeyBlock};

// One sequence of a run.
struct Sequence {
  int64_t first_query, first_key;
  int32_t queries, keys;
  int32_t number;         // in the batch
  int32_t group;          // query heads that are packed together; the rest is for one such group
  int32_t tiles, tiles_of_task;
  int32_t pieces;         // more than 1: each is a task
  int64_t cost;           // pairs of lane and key
  int64_t partial;        // where its states begin, in floats
  int64_t task_cost() const { return pieces > 1 ? cost / tiles / pieces : cost / std::max(1, tiles) * tiles_of_task; }
};

// What the rows of a task see, in the form the kernel wants: memory of one worker.
struct Sight {
  SoftmaxTile *tiles;
  float *begin, *hole_begin, *hole_end, *end;
};

// The number between key j-1 and key j.
float before(int32_t j) { return static_cast<float>(j) - 0.5f; }

class SoftmaxAttention final : public Plan {
 public:
  SoftmaxAttention(Device &d, const jdb_allocator &allocator, const jd_softmax_attention_desc &desc)
      : Plan(d, allocator),
        desc_(desc),
        group_(desc.num_heads / desc.num_kv_heads),
        lanes_(d.kernels.attention_lanes),
        scratch_(d.kernels.softmax_attention_scratch(desc.dtype, desc.head_dim_qk, desc.head_dim_v)) {}

  jd_status prepare(jd_error *error) {
    const int threads = device.pool.size();
    const int64_t most_tiles = divide(desc_.max_queries * group_, lanes_);
    const int64_t fitting = std::max<int64_t>(1, kTileBytesOfTask / (scratch_.tile * sizeof(float)));
    tiles_of_task_ = std::min({kMostTilesOfTask, fitting, most_tiles});
    if (threads > 1 && kPieces.most_up_to(desc_.max_keys) > 1) {
      const int64_t tiles = std::min<int64_t>(2 * threads, desc_.max_batch * desc_.num_heads * most_tiles);
      partial_floats_ = std::min<int64_t>(tiles * kPieces.most_up_to(desc_.max_keys) * static_cast<int64_t>(scratch_.partial),
                                          kMostPartialBytes / static_cast<int64_t>(sizeof(float)));
    }
    floats_of_worker_ = scratch_.task + static_cast<size_t>(tiles_of_task_) * scratch_.tile;

    Layout layout;
    sequences_at_ = layout.add<Sequence>(desc_.max_batch);
    ends_at_ = layout.add<int64_t>(desc_.max_batch);
    partial_at_ = layout.add<float>(partial_floats_);
    tiles_at_ = layout.add<SoftmaxTile>(tiles_of_task_ * threads);
    rows_at_ = layout.add<float>(4 * tiles_of_task_ * lanes_ * threads);
    scratch_at_ = layout.add<float>(static_cast<int64_t>(floats_of_worker_) * threads);
    T5Buckets buckets{};
    if (desc_.bias == JD_BIAS_T5) {
      buckets = T5Buckets::make(desc_.t5_num_buckets, desc_.t5_max_distance, desc_.t5_bidirectional != 0);
      const int64_t farthest = std::max(desc_.max_queries, desc_.max_keys);  // distance of a row and a key
      limit_ = static_cast<int32_t>(std::min<int64_t>(buckets.logarithmic[buckets.side - buckets.exact - 1], farthest));
      buckets_at_ = layout.add<int32_t>(2 * limit_ + 1);
    }
    if (const jd_status status = memory.reserve(layout.bytes(), error)) return status;
    for (int32_t r = -limit_; desc_.bias == JD_BIAS_T5 && r <= limit_; ++r) {
      memory.part<int32_t>(buckets_at_)[limit_ + r] = buckets.bucket(r);
    }
    return JD_OK;
  }

  void describe(char *text, size_t capacity) const override {
    snprintf(text, capacity,
             "softmax_attention on cpu (%s): tiles of %d rows x heads, up to %lld tiles a task, keys in blocks of %d and pieces of %lld "
             "and more",
             device.kernels.isa, lanes_, static_cast<long long>(tiles_of_task_), kKeyBlock, static_cast<long long>(kSegment));
  }

  jd_status run(Stream &, const void *args, jd_error *) override {
    const auto &a = *static_cast<const jdb_softmax_attention_args *>(args);
    Sequence *sequences = memory.part<Sequence>(sequences_at_);
    int64_t cost = 0;
    for (int64_t b = 0; b < a.batch; ++b) {
      sequences[b] = sequence(a, b);
      cost += sequences[b].cost * groups(sequences[b]);
    }
    const int64_t operations = cost * (desc_.head_dim_qk + desc_.head_dim_v);
    cut(sequences, a.batch, cost, operations);
    std::sort(sequences, sequences + a.batch, [](const Sequence &x, const Sequence &y) {
      const int64_t of_x = x.task_cost(), of_y = y.task_cost();
      return of_x != of_y ? of_x > of_y : x.number < y.number;
    });

    int64_t *ends = memory.part<int64_t>(ends_at_);  // tasks of sequences 0..b
    int64_t tasks = 0, merges = 0;
    for (int64_t b = 0; b < a.batch; ++b) {
      const Sequence &x = sequences[b];
      tasks += groups(x) * (x.pieces > 1 ? int64_t{x.tiles} * x.pieces : divide(x.tiles, x.tiles_of_task));
      ends[b] = tasks;
      if (x.pieces > 1) merges += groups(x) * x.tiles;
    }
    device.pool.run(tasks, operations, [&](int64_t index, int worker) {
      const int64_t b = std::upper_bound(ends, ends + a.batch, index) - ends;
      const Sequence &x = sequences[b];
      const int64_t from_end = ends[b] - 1 - index, head = from_end % groups(x), rest = from_end / groups(x);
      if (x.pieces > 1) {
        run_task(a, x, SoftmaxAttentionTask::kPieceOnly, head, rest / x.pieces, rest / x.pieces + 1, rest % x.pieces, worker);
      } else {
        run_task(a, x, SoftmaxAttentionTask::kWhole, head, rest * x.tiles_of_task,
                 std::min<int64_t>(x.tiles, (rest + 1) * x.tiles_of_task), 0, worker);
      }
    });
    if (merges == 0) return JD_OK;
    for (int64_t b = 0, so_far = 0; b < a.batch; ++b) {
      if (sequences[b].pieces > 1) so_far += groups(sequences[b]) * sequences[b].tiles;
      ends[b] = so_far;
    }
    device.pool.run(merges, merges * static_cast<int64_t>(scratch_.partial) * 4, [&](int64_t index, int worker) {
      const int64_t b = std::upper_bound(ends, ends + a.batch, index) - ends;
      const int64_t within = index - (b > 0 ? ends[b - 1] : 0), head = within % groups(sequences[b]), tile = within / groups(sequences[b]);
      run_task(a, sequences[b], SoftmaxAttentionTask::kMergeOnly, head, tile, tile + 1, 0, worker);
    });
    return JD_OK;
  }

 private:
  int64_t groups(const Sequence &x) const { return desc_.num_heads / x.group; }

  SoftmaxMask mask(const Sequence &x) const {
    return SoftmaxMask(x.queries, x.keys, desc_.left, desc_.right, desc_.sink, desc_.prefix, desc_.num_global);
  }

  Sequence sequence(const jdb_softmax_attention_args &a, int64_t b) const {
    Sequence x = {};
    x.number = static_cast<int32_t>(b);
    x.first_query = integer_at(a.q_offsets, b);
    x.first_key = integer_at(a.k_offsets, b);
    x.queries = static_cast<int32_t>(integer_at(a.q_offsets, b + 1) - x.first_query);
    x.keys = static_cast<int32_t>(integer_at(a.k_offsets, b + 1) - x.first_key);
    x.group = x.queries < lanes_ ? group_ : 1;  // many rows fill tiles by themselves
    x.tiles = static_cast<int32_t>(divide(int64_t{x.queries} * x.group, lanes_));
    const SoftmaxMask seen_by = mask(x);
    for (int64_t tile = 0; tile < x.tiles; ++tile) {
      const SoftmaxMask::Keys keys = seen_by.tile_keys(first_row(x, tile), last_row(x, tile + 1));
      x.cost += lanes_ * (int64_t{keys.end - keys.begin} - (keys.hole_end - keys.hole_begin) + 16);
    }
    return x;
  }

  // Rows of tiles first..last-1.
  int32_t first_row(const Sequence &x, int64_t first) const { return static_cast<int32_t>(first * lanes_ / x.group); }
  int32_t last_row(const Sequence &x, int64_t last) const {
    return static_cast<int32_t>(std::min<int64_t>(x.queries, divide(last * lanes_, x.group)));
  }

  // How many tiles are a task of each sequence, or how many pieces they are cut into.
  void cut(Sequence *sequences, int64_t batch, int64_t cost, int64_t operations) const {
    const int64_t threads = device.pool.size();
    const bool shared = threads > 1 && operations >= ThreadPool::kWorthSharing;
    int64_t partials = 0;
    for (int64_t b = 0; b < batch; ++b) {
      Sequence &x = sequences[b];
      x.tiles_of_task = static_cast<int32_t>(tiles_of_task_);
      x.pieces = 1;
      if (!shared || x.tiles == 0) continue;
      const int64_t of_tile = x.cost / x.tiles, pieces = kPieces.number(x.keys);
      x.tiles_of_task = static_cast<int32_t>(
          std::clamp<int64_t>(cost / (threads * kTasksOfThread) / std::max<int64_t>(1, of_tile), 1, tiles_of_task_));
      const int64_t floats = groups(x) * x.tiles * pieces * static_cast<int64_t>(scratch_.partial);
      if (pieces == 1 || of_tile * 2 * threads < cost || partials + floats > partial_floats_) continue;
      x.pieces = static_cast<int32_t>(pieces);
      x.partial = partials;
      partials += floats;
    }
  }

  void run_task(const jdb_softmax_attention_args &a, const Sequence &x, SoftmaxAttentionTask::Phase phase, int64_t group_of_heads,
                int64_t first_tile, int64_t last_tile, int64_t piece, int worker) const {
    const int64_t head = group_of_heads * x.group, kv_head = head / group_;
    SoftmaxAttentionTask t;
    t.dtype = desc_.dtype;
    t.out_dtype = desc_.out_dtype;
    t.dim_qk = desc_.head_dim_qk;
    t.dim_v = desc_.head_dim_v;
    t.group = x.group;
    t.scale = desc_.scale;
    t.softcap = desc_.softcap;
    t.first_lane = first_tile * lanes_;
    t.last_lane = std::min<int64_t>(int64_t{x.queries} * x.group, last_tile * lanes_);
    t.queries = element(a.queries, x.first_query * a.queries.strides[0] + head * a.queries.strides[1]);
    t.query_row = a.queries.strides[0];
    t.query_head = a.queries.strides[1];
    t.keys = head_rows(a.keys, x.first_key, kv_head);
    t.values = head_rows(a.values, x.first_key, kv_head);
    t.num_keys = x.keys;
    t.shift = x.keys - x.queries;
    t.bias = bias(a, x, head);
    t.out = element(a.out, x.first_query * a.out.strides[0] + head * a.out.strides[1]);
    t.out_row = a.out.strides[0];
    t.out_head = a.out.strides[1];
    t.lse = a.lse.dtype ? static_cast<float *>(a.lse.data) + x.first_query * a.lse.strides[0] + head : nullptr;
    t.lse_row = a.lse.strides[0];
    t.lse_head = 1;
    t.scratch = memory.part<float>(scratch_at_) + floats_of_worker_ * static_cast<size_t>(worker);
    t.piece_keys = kPieces.length(x.keys);
    t.phase = phase;
    t.piece = piece;
    t.partial = memory.part<float>(partial_at_) + x.partial +
                group_of_heads * x.tiles * x.pieces * static_cast<int64_t>(scratch_.partial);

    const int64_t rows = tiles_of_task_ * lanes_;
    float *memory_of_rows = memory.part<float>(rows_at_) + 4 * rows * worker;
    const Sight sight = {memory.part<SoftmaxTile>(tiles_at_) + tiles_of_task_ * worker, memory_of_rows, memory_of_rows + rows,
                         memory_of_rows + 2 * rows, memory_of_rows + 3 * rows};
    if (phase != SoftmaxAttentionTask::kMergeOnly) see(x, first_tile, last_tile, sight);
    t.tiles = sight.tiles;
    t.begin = sight.begin;
    t.hole_begin = sight.hole_begin;
    t.hole_end = sight.hole_end;
    t.end = sight.end;
    device.kernels.softmax_attention(t);
  }

  void see(const Sequence &x, int64_t first_tile, int64_t last_tile, const Sight &s) const {
    const SoftmaxMask seen_by = mask(x);
    for (int64_t tile = first_tile; tile < last_tile; ++tile) {
      const int32_t first = first_row(x, tile), last = last_row(x, tile + 1);
      const SoftmaxMask::Keys some = seen_by.tile_keys(first, last);
      const SoftmaxMask::FullKeys all = seen_by.full_keys(first, last);
      s.tiles[tile - first_tile] = {some.begin, some.end, some.hole_begin, some.hole_end, all.first, all.begin, all.end};
    }
    const int64_t first = first_tile * lanes_, end = last_tile * lanes_, last = std::min(end, int64_t{x.queries} * x.group);
    SoftmaxMask::Keys keys = {};
    for (int64_t lane = first, row = -1; lane < last; ++lane) {
      if (lane / x.group != row) keys = seen_by.row_keys(static_cast<int32_t>(row = lane / x.group));
      s.begin[lane - first] = before(keys.begin);
      s.hole_begin[lane - first] = before(keys.hole_begin);
      s.hole_end[lane - first] = before(keys.hole_end);
      s.end[lane - first] = before(keys.end);
    }
    for (int64_t at = last - first; at < end - first; ++at) {  // lanes without a row see nothing
      s.begin[at] = s.hole_begin[at] = s.hole_end[at] = s.end[at] = 0.0f;
    }
  }

  SoftmaxBias bias(const jdb_softmax_attention_args &a, const Sequence &x, int64_t head) const {
    SoftmaxBias bias = {};
    switch (desc_.bias) {
      case JD_BIAS_ALIBI: bias.slopes = static_cast<const float *>(a.alibi_slopes.data) + head; break;
      case JD_BIAS_T5:
        bias.table = static_cast<const float *>(a.t5_bias.data) + head;
        bias.table_row = a.t5_bias.strides[0];
        bias.buckets = memory.part<int32_t>(buckets_at_) + limit_;
        bias.limit = limit_;
        break;
      case JD_BIAS_DENSE: {
        const int64_t *strides = a.bias.strides + (a.bias.rank - 3);  // of heads, rows, keys
        const int64_t of_sequence = a.bias.rank == 4 ? x.number * a.bias.strides[0] : 0;
        bias.matrix = static_cast<const float *>(a.bias.data) + of_sequence + head * strides[0];
        bias.matrix_head = strides[0];
        bias.matrix_row = strides[1];
        break;
      }
      default: break;
    }
    return bias;
  }

  static HeadRows head_rows(const jdb_tensor &t, int64_t row, int64_t head) {
    return {element(t, row * t.strides[0] + head * t.strides[1]), t.strides[0], t.dtype};
  }

  const jd_softmax_attention_desc desc_;
  const int32_t group_;
  const int lanes_;
  const AttentionScratch scratch_;
  int64_t tiles_of_task_ = 1, partial_floats_ = 0;
  size_t floats_of_worker_ = 0;
  int32_t limit_ = 0;  // of distances with a bucket of their own
  size_t sequences_at_ = 0, ends_at_ = 0, partial_at_ = 0, tiles_at_ = 0, rows_at_ = 0, scratch_at_ = 0, buckets_at_ = 0;
};

}  // namespace

jd_status create_softmax_attention(Device &device, const jd_softmax_attention_desc &desc, const jdb_allocator &allocator,
                                   Plan **plan, jd_error *error) {
  return prepared(new (std::nothrow) SoftmaxAttention(device, allocator, desc), plan, error);
}

jd_status run_merge_attention_states(Stream &stream, const jdb_merge_attention_states_args &a, jd_error *) {
  Device &device = stream.device;
  const int64_t heads = a.out_a.shape[1], dim = a.out_a.shape[2], rows = a.out_a.shape[0] * heads;
  const int64_t rows_of_task = std::max<int64_t>(1, (1 << 14) / dim);
  device.pool.run(divide(rows, rows_of_task), rows * dim * 4, [&](int64_t index, int) {
    MergeStatesTask t;
    t.dtype = a.out_a.dtype;
    t.out_dtype = a.out.dtype;
    t.dim = static_cast<int32_t>(dim);
    t.heads = heads;
    t.first = index * rows_of_task;
    t.last = std::min(rows, t.first + rows_of_task);
    const jdb_tensor *out[2] = {&a.out_a, &a.out_b}, *lse[2] = {&a.lse_a, &a.lse_b};
    for (int side = 0; side < 2; ++side) {
      t.out[side] = out[side]->data;
      t.out_row[side] = out[side]->strides[0];
      t.out_head[side] = out[side]->strides[1];
      t.lse[side] = static_cast<const float *>(lse[side]->data);
      t.lse_row[side] = lse[side]->strides[0];
    }
    t.merged = a.out.data;
    t.merged_row = a.out.strides[0];
    t.merged_head = a.out.strides[1];
    t.merged_lse = static_cast<float *>(a.lse.data);
    t.merged_lse_row = a.lse.strides[0];
    device.kernels.merge_states(t);
  });
  return JD_OK;
}

}  // namespace jindou::cpu
