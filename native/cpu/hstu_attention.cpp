// hstu_attention on the CPU: how the work is cut into tasks. The kernel is in kernels/hstu_attention.h, the mask in
// attention/hstu_mask.h.
//
// The queries may be the last rows of each sequence only. A task is some query rows of one head of one sequence: up to eight tiles,
// so many that a task has about as many pairs as any other and there are four for each thread. Where even single tiles are
// too few for that, a task is one or two vectors of a tile if that should end sooner, for each task copies its keys together.
// The longest sequences go first, and in each the last rows, which see most keys, so that the last tasks are short ones.
// None of these choices changes a bit of the result.
#include <algorithm>
#include <climits>
#include <cstdio>
#include <new>

#include "attention/hstu_mask.h"
#include "cpu/pages.h"
#include "cpu/plan.h"

namespace jindou::cpu {
namespace {

constexpr int64_t kTilesOfTask = 8;
constexpr int kTasksOfThread = 4;
constexpr int kMostSimulated = 16;  // threads
constexpr int64_t kPackingRows = 10;  // a task's copying of keys and values takes as long as so many rows' products

// One sequence of a run: its queries are its last rows.
struct Sequence {
  int64_t first, first_query;  // first: of keys and values; in pages, of timestamps
  int32_t rows, queries, targets;
  int32_t number;              // in the batch
  int32_t rows_of_task;
  int32_t most_seen;           // keys that its last row sees, about
  int64_t pairs;               // of query rows and keys, about
};

// What the rows of a task see, in the form the kernel wants: memory of one worker.
struct Sight {
  HstuTile *tiles;
  float *begin, *hole_begin, *hole_end, *end, *own;
};

// The number between key j-1 and key j.
float before(int32_t j) { return static_cast<float>(j) - 0.5f; }

// The own key of row i joins an interval that it borders on (every row's of a history does): then it is no case of its own.
HstuMask::RowKeys with_own_key(HstuMask::RowKeys keys, int32_t i) {
  const bool low = keys.begin < keys.hole_begin, high = keys.hole_end < keys.end;
  if (!low && !high) {
    keys = {i, i + 1, i + 1, i + 1};
  } else if (high && keys.hole_end == i + 1) {
    keys.hole_end = i;
    if (low && keys.hole_begin == i) keys.hole_begin = keys.hole_end = keys.end;
  } else if (high && keys.end == i) {
    keys.end = i + 1;
  } else if (low && keys.hole_begin == i && (!high || i + 1 < keys.hole_end)) {
    ++keys.hole_begin;
  }
  return keys;
}

HstuTile see(const HstuMask &mask, int32_t first_row, int32_t last_row, const Sight &s, int64_t at, int lanes) {
  HstuTile tile = {first_row, last_row - first_row, INT_MAX, 0, 0, INT_MAX, {0, 0}, {INT_MAX, INT_MAX}, false};
  for (int32_t i = first_row; i < last_row; ++i, ++at) {
    const HstuMask::RowKeys keys = with_own_key(mask.row_keys(i), i);
    s.begin[at] = before(keys.begin);
    s.hole_begin[at] = before(keys.hole_begin);
    s.hole_end[at] = before(keys.hole_end);
    s.end[at] = before(keys.end);
    const bool low = keys.begin < keys.hole_begin, high = keys.hole_end < keys.end;
    const bool inside = (low && i >= keys.begin && i < keys.hole_begin) || (high && i >= keys.hole_end && i < keys.end);
    s.own[at] = inside ? 0.0f : 1.0f;
    tile.own = tile.own || !inside;

    if (low || high) {
      tile.begin = std::min(tile.begin, low ? keys.begin : keys.hole_end);
      tile.end = std::max(tile.end, high ? keys.end : keys.hole_begin);
      if (low) tile.empty_begin = std::max(tile.empty_begin, keys.hole_begin);
      if (high) tile.empty_end = std::min(tile.empty_end, keys.hole_end);
    }
    tile.full_begin[0] = std::max(tile.full_begin[0], keys.begin);
    tile.full_end[0] = std::min(tile.full_end[0], keys.hole_begin);
    tile.full_begin[1] = std::max(tile.full_begin[1], keys.hole_end);
    tile.full_end[1] = std::min(tile.full_end[1], keys.end);
  }
  tile.begin = std::min(tile.begin, tile.end);
  for (const int64_t end = (at + lanes - 1) / lanes * lanes; at < end; ++at) {  // lanes without a row see nothing
    s.begin[at] = s.hole_begin[at] = s.hole_end[at] = s.end[at] = s.own[at] = 0.0f;
  }
  return tile;
}

class HstuAttention final : public Plan {
 public:
  HstuAttention(Device &d, const jdb_allocator &allocator, const jd_hstu_attention_desc &desc)
      : Plan(d, allocator),
        desc_(desc),
        lanes_(d.kernels.attention_lanes),
        scratch_(d.kernels.hstu_attention_scratch(desc.dtype, desc.head_dim_qk, desc.head_dim_v)),
        floats_of_worker_(static_cast<int64_t>(scratch_.task + kTilesOfTask * scratch_.tile)) {}

  jd_status prepare(jd_error *error) {
    const int threads = device.pool.size();
    Layout layout;
    sequences_at_ = layout.add<Sequence>(desc_.max_batch);
    ends_at_ = layout.add<int64_t>(desc_.max_batch);
    tiles_at_ = layout.add<HstuTile>(kTilesOfTask * threads);
    rows_at_ = layout.add<float>(5 * kTilesOfTask * lanes_ * threads);
    scratch_at_ = layout.add<float>(floats_of_worker_ * threads);
    return memory.reserve(layout.bytes(), error);
  }

  void describe(char *text, size_t capacity) const override {
    snprintf(text, capacity, "hstu_attention on cpu (%s): tiles of %d rows, up to %lld tiles a task, keys in blocks of %d",
             device.kernels.isa, lanes_, static_cast<long long>(kTilesOfTask), kKeyBlock);
  }

  jd_status run(Stream &stream, const void *args, jd_error *) override {
    const auto &a = *static_cast<const jdb_hstu_attention_args *>(args);
    Sequence *sequences = memory.part<Sequence>(sequences_at_);
    const int32_t *targets = static_cast<const int32_t *>(a.num_targets.data);
    int64_t pairs = 0;
    const bool paged = a.key_pages.dtype != 0;
    for (int64_t b = 0; b < a.batch; ++b) {
      const jdb_tensor &of_queries = a.q_offsets.dtype ? a.q_offsets : a.offsets;
      const int64_t first_query = integer_at(of_queries, b);
      int64_t queries = integer_at(of_queries, b + 1) - first_query, first, rows;
      if (paged) {
        first = a.timestamps.dtype ? b * a.timestamps.strides[0] : 0;
        rows = rows_in_pages(stream, a, b, queries, targets ? targets[b] : 0);
        if (rows < 0) rows = queries = 0;
      } else {
        first = integer_at(a.offsets, b);
        rows = integer_at(a.offsets, b + 1) - first;
      }
      sequences[b] = {first, first_query, static_cast<int32_t>(rows), static_cast<int32_t>(queries),
                      targets && queries > 0 ? targets[b] : 0, static_cast<int32_t>(b), 0, 0, 0};
      count_pairs(sequences[b]);
      pairs += sequences[b].pairs;
    }
    std::sort(sequences, sequences + a.batch, [](const Sequence &x, const Sequence &y) {
      return x.rows != y.rows ? x.rows > y.rows : x.number < y.number;
    });

    int64_t *ends = memory.part<int64_t>(ends_at_);
    cut(sequences, a.batch, pairs, ends);
    const int64_t tasks = a.batch > 0 ? ends[a.batch - 1] : 0;
    device.pool.run(tasks, pairs * desc_.num_heads * (desc_.head_dim_qk + desc_.head_dim_v), [&](int64_t index, int worker) {
      const int64_t b = std::upper_bound(ends, ends + a.batch, index) - ends;
      const Sequence &x = sequences[b];
      const int64_t from_end = (ends[b] - 1 - index) / desc_.num_heads;  // chunk of rows, the last one first
      const int64_t first_row = x.rows - x.queries + from_end * x.rows_of_task;
      run_task(a, x, index % desc_.num_heads, first_row, std::min<int64_t>(x.rows, first_row + x.rows_of_task), worker);
    });
    return JD_OK;
  }

 private:
  // How many keys rows see: a row of a history those up to itself, but no more than a window holds, a target the history.
  void count_pairs(Sequence &x) const {
    const int64_t history = x.rows - x.targets, window = desc_.max_attn_len, first = x.rows - x.queries;
    int64_t most = history + 1;
    if (window > 0) most = std::min(most, (desc_.causal ? window : 2 * window) + 1);
    const int64_t rising = desc_.causal ? std::max<int64_t>(0, std::min(most, int64_t{x.rows}) - first) : 0;  // rows first.. see first + 1..
    x.most_seen = static_cast<int32_t>(most);
    x.pairs = rising * (2 * first + rising + 1) / 2 + (x.queries - rising) * most;
  }

  // Rows of a task for each sequence; the tasks of sequences 0..b go to ends[b].
  void cut(Sequence *sequences, int64_t batch, int64_t pairs, int64_t *ends) const {
    const int64_t threads = device.pool.size(), tasks_wanted = threads * kTasksOfThread;
    const int64_t share = threads == 1 ? INT64_MAX : pairs * desc_.num_heads / tasks_wanted;  // pairs of a task
    int64_t tasks = 0;
    for (int64_t b = 0; b < batch; ++b) {
      const int64_t tiles = share / (std::max<int64_t>(1, sequences[b].most_seen) * lanes_);
      sequences[b].rows_of_task = static_cast<int32_t>(std::clamp<int64_t>(tiles, 1, kTilesOfTask) * lanes_);
      tasks += tasks_of(sequences[b]);
      ends[b] = tasks;
    }
    const bool few = threads <= kMostSimulated && batch * desc_.num_heads <= kTasksOfThread * threads;
    if (threads == 1 || (tasks >= 2 * threads && !few)) return;
    int32_t best = lanes_;
    int64_t least = INT64_MAX;
    const auto consider = [&](int32_t rows) {
      const int64_t end = few ? simulated_end_of(sequences, batch, rows) : end_of(sequences, batch, rows);
      if (end < least) least = end, best = rows;
    };
    for (int32_t tiles = few ? kTilesOfTask : 1; tiles > 1; --tiles) consider(tiles * lanes_);
    for (int32_t rows = lanes_; rows > 0; rows -= device.kernels.attention_vector) consider(rows);
    tasks = 0;
    for (int64_t b = 0; b < batch; ++b) {
      if (few || best < lanes_) sequences[b].rows_of_task = best;
      tasks += tasks_of(sequences[b]);
      ends[b] = tasks;
    }
  }

  int64_t tasks_of(const Sequence &x) const { return (x.queries + x.rows_of_task - 1) / x.rows_of_task * desc_.num_heads; }

  // When all tasks of so many rows should be done, in pairs: an even share of the work, and the largest task at the end.
  int64_t end_of(const Sequence *sequences, int64_t batch, int32_t rows) const {
    const int64_t threads = device.pool.size();
    int64_t work = 0, largest = 0;
    for (int64_t b = 0; b < batch; ++b) {
      const Sequence &x = sequences[b];
      const int64_t chunks = divide(x.queries, rows);
      work += (x.pairs + chunks * kPackingRows * x.most_seen) * desc_.num_heads;
      largest = std::max(largest, (rows + kPackingRows) * x.most_seen);
    }
    return work / threads + largest - largest / threads;
  }

  // The same for a few tasks on a few threads, each taking the next one when it is free.
  int64_t simulated_end_of(const Sequence *sequences, int64_t batch, int32_t rows) const {
    int64_t ends[kMostSimulated] = {};
    int64_t *const last = ends + device.pool.size();
    for (int64_t b = 0; b < batch; ++b) {
      const Sequence &x = sequences[b];
      for (int64_t chunk = divide(x.queries, rows) - 1; chunk >= 0; --chunk) {
        const int64_t cost = (std::min<int64_t>(rows, x.queries - chunk * rows) + kPackingRows) * x.most_seen;
        for (int64_t head = 0; head < desc_.num_heads; ++head) *std::min_element(ends, last) += cost;
      }
    }
    return *std::max_element(ends, last);
  }

  // The rows of a sequence in pages, or -1 where it is refused.
  int64_t rows_in_pages(Stream &stream, const jdb_hstu_attention_args &a, int64_t b, int64_t queries, int64_t targets) const {
    Findings findings(stream, JDB_OP_HSTU_ATTENTION, desc_.bounds);
    const PageTable table(a.page_table, a.key_pages);
    const int64_t rows = static_cast<const int32_t *>(a.seq_lens.data)[b];
    int64_t most = std::min(desc_.max_seq_len, table.rows());
    if (a.timestamps.dtype) most = std::min(most, a.timestamps.shape[1]);
    if (rows < 0 || rows > most) {
      findings.note(JDB_FAULT_CACHE_LENGTH, b, rows, most);
    } else if (queries > rows) {
      findings.note(JDB_FAULT_QUERIES, b, queries, rows);
    } else if (targets < 0 || targets > rows) {
      findings.note(JDB_FAULT_TARGETS, b, targets, rows);
    } else if (table.check(findings, b, 0, rows)) {
      return rows;
    }
    return -1;
  }

  // Of so many rows that are left. A tile of one vector has too few sums at work for the latency of bf16 dot products:
  // rather than leave one to the end the tile before takes a vector less.
  int64_t rows_of_tile(int64_t left) const {
    const int64_t vector = device.kernels.attention_vector;
    if (desc_.dtype == JD_BF16 && left > lanes_ && left <= lanes_ + vector) return lanes_ - vector;
    return std::min<int64_t>(left, lanes_);
  }

  void run_task(const jdb_hstu_attention_args &a, const Sequence &x, int64_t head, int64_t first_row, int64_t last_row,
                int worker) const {
    const int64_t rows = kTilesOfTask * lanes_;
    float *memory_of_rows = memory.part<float>(rows_at_) + 5 * rows * worker;
    const Sight sight = {memory.part<HstuTile>(tiles_at_) + kTilesOfTask * worker, memory_of_rows, memory_of_rows + rows,
                         memory_of_rows + 2 * rows, memory_of_rows + 3 * rows, memory_of_rows + 4 * rows};
    const HstuMask mask(desc_.causal != 0, x.rows, x.targets, desc_.contextual_seq_len, desc_.max_attn_len,
                        desc_.min_full_attn_seq_len);
    HstuAttentionTask t;
    t.num_tiles = 0;
    for (int64_t row = first_row; row < last_row; row += sight.tiles[t.num_tiles++].rows) {
      const int64_t end = row + rows_of_tile(last_row - row);
      sight.tiles[t.num_tiles] =
          see(mask, static_cast<int32_t>(row), static_cast<int32_t>(end), sight, row - first_row, lanes_);
    }
    t.dtype = desc_.dtype;
    t.out_dtype = desc_.out_dtype;
    t.dim_qk = desc_.head_dim_qk;
    t.dim_v = desc_.head_dim_v;
    t.alpha = desc_.alpha;
    t.first_row = first_row;
    t.first_query = x.rows - x.queries;
    t.queries = head_rows(a.queries, x.first_query, head);
    if (a.key_pages.dtype) {
      const PageTable table(a.page_table, a.key_pages);
      t.keys = t.values = {};
      t.paged_keys = paged_rows(a.key_pages, a.key_scales, table, x.number, head);
      t.paged_values = paged_rows(a.value_pages, a.value_scales, table, x.number, head);
    } else {
      t.keys = head_rows(a.keys, x.first, head);
      t.values = head_rows(a.values, x.first, head);
      t.paged_keys = t.paged_values = {};
    }
    t.out = element(a.out, x.first_query * a.out.strides[0] + head * a.out.strides[1]);
    t.out_stride = a.out.strides[0];
    t.norm = a.attn_scale.data ? static_cast<const float *>(a.attn_scale.data) + x.first_query : nullptr;
    t.common_norm = 1.0f / desc_.scaling_seqlen;
    t.tiles = sight.tiles;
    t.begin = sight.begin;
    t.hole_begin = sight.hole_begin;
    t.hole_end = sight.hole_end;
    t.end = sight.end;
    t.own = sight.own;
    t.bias.position = nullptr;
    if (a.position_bias.dtype) t.bias.position = of_head(a.position_bias, head) + columns(a.position_bias) / 2;
    t.bias.time = a.time_bias.dtype ? of_head(a.time_bias, head) : nullptr;
    t.bias.timestamps = static_cast<const int64_t *>(a.timestamps.data) + (a.timestamps.data ? x.first : 0);
    t.bias.buckets = &time_buckets_;
    t.bias.num_buckets = a.time_bias.dtype ? static_cast<int32_t>(columns(a.time_bias)) - 1 : 0;
    t.scratch = memory.part<float>(scratch_at_) + floats_of_worker_ * worker;
    device.kernels.hstu_attention(t);
  }

  static HeadRows head_rows(const jdb_tensor &t, int64_t row, int64_t head) {
    return {element(t, row * t.strides[0] + head * t.strides[1]), t.strides[0], t.dtype};
  }

  // A bias [n] or [heads, n].
  static int64_t columns(const jdb_tensor &bias) { return bias.shape[bias.rank - 1]; }
  static const float *of_head(const jdb_tensor &bias, int64_t head) {
    return static_cast<const float *>(bias.data) + (bias.rank == 2 ? head * bias.strides[0] : 0);
  }

  const jd_hstu_attention_desc desc_;
  const TimeBuckets time_buckets_ = TimeBuckets::make();
  const int lanes_;
  const AttentionScratch scratch_;
  const int64_t floats_of_worker_;
  size_t sequences_at_ = 0, ends_at_ = 0, tiles_at_ = 0, rows_at_ = 0, scratch_at_ = 0;
};

}  // namespace

jd_status create_hstu_attention(Device &device, const jd_hstu_attention_desc &desc, const jdb_allocator &allocator,
                                Plan **plan, jd_error *error) {
  return prepared(new (std::nothrow) HstuAttention(device, allocator, desc), plan, error);
}

}  // namespace jindou::cpu
