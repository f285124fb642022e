// target_attention on the CPU: how the work is cut into tasks. The kernel is in kernels/target_attention.h.
//
// A user's lanes (candidates x query heads of one key head) form tiles; a task is several tiles of one user and key head, as
// many as stay in the L2 cache beside a block of keys, so that the history is packed few times; of tiles so wide that not two do, as many as
// stay in a share of L3. Users with most work go first.
// When there are fewer tiles than threads can share, tasks are single segments of a history, and a second round merges them.
// None of these choices changes a bit of the result.
#include <algorithm>
#include <cstdio>
#include <new>

#include "cpu/plan.h"

namespace jindou::cpu {
namespace {

constexpr size_t kTileBytesOfTask = 448 << 10;        // queries and sums of a task; every block of keys touches two thirds
constexpr size_t kWideTileBytesOfTask = 4 << 20;      // of tiles wider than half of that
constexpr int64_t kMostPartialBytes = 16 << 20;       // of all segments of a run
constexpr int kTasksOfThread = 3;                     // wanted, so that no thread waits long for the last one

// One user of a run.
struct User {
  int64_t first_candidate, first_key, keys, lanes, tiles, segments, cost;
};

class TargetAttention final : public Plan {
 public:
  TargetAttention(Device &d, const jdb_allocator &allocator, const jd_target_attention_desc &desc)
      : Plan(d, allocator),
        desc_(desc),
        group_(desc.num_heads / desc.num_kv_heads),
        lanes_(d.kernels.attention_lanes),
        scratch_(d.kernels.target_attention_scratch(desc.dtype, desc.head_dim_qk, desc.head_dim_v)) {}

  jd_status prepare(jd_error *error) {
    const int threads = device.pool.size();
    const int64_t most_tiles = divide(desc_.max_candidates * group_, lanes_);
    const size_t tile_bytes = scratch_.tile * sizeof(float);
    const auto fitting = static_cast<int64_t>((2 * tile_bytes <= kTileBytesOfTask ? kTileBytesOfTask : kWideTileBytesOfTask) / tile_bytes);
    tiles_of_task_ = std::max<int64_t>(1, std::min(fitting, most_tiles));
    if (threads > 1) {
      const int64_t tiles = std::min<int64_t>(split_below(), desc_.max_batch * desc_.num_kv_heads * most_tiles);
      const int64_t floats = tiles * divide(desc_.max_history, kSegment) * static_cast<int64_t>(scratch_.partial);
      partial_floats_ = std::min<int64_t>(floats, kMostPartialBytes / static_cast<int64_t>(sizeof(float)));
    }
    scratch_of_worker_ = scratch_.task + static_cast<size_t>(tiles_of_task_) * scratch_.tile;

    Layout layout;
    users_at_ = layout.add<User>(desc_.max_batch);
    ends_at_ = layout.add<int64_t>(desc_.max_batch);
    partial_ends_at_ = layout.add<int64_t>(desc_.max_batch);
    partial_at_ = layout.add<float>(partial_floats_);
    scratch_at_ = layout.add<float>(static_cast<int64_t>(scratch_of_worker_) * threads);
    return memory.reserve(layout.bytes(), error);
  }

  void describe(char *text, size_t capacity) const override {
    snprintf(text, capacity,
             "target_attention on cpu (%s): tiles of %d candidates x heads, up to %lld tiles a task, keys in blocks of %d and "
             "segments of %lld",
             device.kernels.isa, lanes_, static_cast<long long>(tiles_of_task_), kKeyBlock, static_cast<long long>(kSegment));
  }

  jd_status run(Stream &, const void *args, jd_error *) override {
    const auto &a = *static_cast<const jdb_target_attention_args *>(args);
    User *users = memory.part<User>(users_at_);
    int64_t tiles = 0, most_segments = 0, cost = 0, partials = 0;
    for (int64_t u = 0; u < a.batch; ++u) {
      users[u] = user(a, u);
      tiles += users[u].tiles * desc_.num_kv_heads;
      cost += users[u].cost * desc_.num_kv_heads;
      most_segments = std::max(most_segments, users[u].segments);
      partials += users[u].tiles * users[u].segments * desc_.num_kv_heads;
    }
    std::sort(users, users + a.batch, [](const User &x, const User &y) {
      return x.cost != y.cost ? x.cost > y.cost : x.first_candidate < y.first_candidate;
    });

    const int threads = device.pool.size();
    const bool split = threads > 1 && tiles < split_below() && most_segments > 1 && cost >= ThreadPool::kWorthSharing &&
                       partials * static_cast<int64_t>(scratch_.partial) <= partial_floats_;
    if (split) {
      run_round(a, TargetAttentionTask::kSegmentOnly, 1, cost);
      run_round(a, TargetAttentionTask::kMergeOnly, 1, partials * static_cast<int64_t>(scratch_.partial));
    } else {
      const int64_t even = divide(tiles, int64_t{threads} * kTasksOfThread);
      const int64_t tiles_of_task = threads == 1 ? tiles_of_task_ : std::max<int64_t>(1, std::min(tiles_of_task_, even));
      run_round(a, TargetAttentionTask::kWhole, tiles_of_task, cost);
    }
    return JD_OK;
  }

 private:
  int64_t split_below() const { return int64_t{2} * device.pool.size(); }

  User user(const jdb_target_attention_args &a, int64_t u) const {
    User x;
    x.first_candidate = integer_at(a.candidate_offsets, u);
    const int64_t begin = integer_at(a.history_offsets, u), end = integer_at(a.history_offsets, u + 1);
    x.first_key = end - begin > desc_.num_latest ? end - desc_.num_latest : begin;
    x.keys = end - x.first_key;
    x.lanes = (integer_at(a.candidate_offsets, u + 1) - x.first_candidate) * group_;
    x.tiles = divide(x.lanes, lanes_);
    x.segments = divide(x.keys, kSegment);
    x.cost = x.lanes * (x.keys + 16) * (desc_.head_dim_qk + desc_.head_dim_v);
    return x;
  }

  // One task for each (user, chunk of up to `tiles_of_task` tiles, key head) and, in kSegmentOnly, segment.
  void run_round(const jdb_target_attention_args &a, TargetAttentionTask::Phase phase, int64_t tiles_of_task, int64_t cost) {
    const User *users = memory.part<User>(users_at_);
    int64_t *ends = memory.part<int64_t>(ends_at_);  // tasks of users 0..u
    int64_t *partial_ends = memory.part<int64_t>(partial_ends_at_);
    int64_t tasks = 0, partials = 0;
    for (int64_t u = 0; u < a.batch; ++u) {
      const int64_t parts = phase == TargetAttentionTask::kSegmentOnly ? users[u].segments : 1;
      tasks += divide(users[u].tiles, tiles_of_task) * desc_.num_kv_heads * parts;
      partials += users[u].tiles * users[u].segments * desc_.num_kv_heads;
      ends[u] = tasks;
      partial_ends[u] = partials;
    }
    device.pool.run(tasks, cost, [&](int64_t index, int worker) {
      const int64_t u = std::upper_bound(ends, ends + a.batch, index) - ends;
      const User &x = users[u];
      int64_t rest = index - (u > 0 ? ends[u - 1] : 0);
      const int64_t head = rest % desc_.num_kv_heads;
      rest /= desc_.num_kv_heads;
      const int64_t chunks = divide(x.tiles, tiles_of_task);

      TargetAttentionTask t;
      t.dtype = desc_.dtype;
      t.out_dtype = desc_.out_dtype;
      t.dim_qk = desc_.head_dim_qk;
      t.dim_v = desc_.head_dim_v;
      t.group = static_cast<int32_t>(group_);
      t.scale = desc_.scale;
      t.silu_norm = desc_.activation == JD_ACTIVATION_SILU ? 1.0f / desc_.scaling_seqlen : 0.0f;
      const int64_t chunk = rest % chunks;
      t.first_lane = x.tiles * chunk / chunks * lanes_;
      t.last_lane = std::min(x.lanes, x.tiles * (chunk + 1) / chunks * lanes_);
      t.queries = lane_rows(a.candidates, x.first_candidate, head);
      t.query_row = a.candidates.strides[0];
      t.query_head = a.candidates.strides[1];
      t.keys = head_rows(a.keys, x.first_key, head);
      t.values = head_rows(a.values, x.first_key, head);
      t.num_keys = x.keys;
      t.self_keys = head_rows(a.candidate_keys, x.first_candidate, head);
      t.self_values = head_rows(a.candidate_values, x.first_candidate, head);
      t.out = lane_rows(a.out, x.first_candidate, head);
      t.out_row = a.out.strides[0];
      t.out_head = a.out.strides[1];
      t.scratch = memory.part<float>(scratch_at_) + scratch_of_worker_ * static_cast<size_t>(worker);
      t.phase = phase;
      t.segment = rest / chunks;
      t.partial = nullptr;
      if (phase != TargetAttentionTask::kWhole) {
        const int64_t before = (u > 0 ? partial_ends[u - 1] : 0) + head * x.tiles * x.segments;
        t.partial = memory.part<float>(partial_at_) + before * static_cast<int64_t>(scratch_.partial);
      }
      device.kernels.target_attention(t);
    });
  }

  // The first of the query heads that read key head `head`.
  void *lane_rows(const jdb_tensor &t, int64_t row, int64_t head) const {
    return element(t, row * t.strides[0] + head * group_ * t.strides[1]);
  }
  static HeadRows head_rows(const jdb_tensor &t, int64_t row, int64_t head) {
    if (!t.data) return {};
    return {element(t, row * t.strides[0] + head * t.strides[1]), t.strides[0], t.dtype};
  }

  const jd_target_attention_desc desc_;
  const int64_t group_;
  const int lanes_;
  const AttentionScratch scratch_;
  int64_t tiles_of_task_ = 1;
  int64_t partial_floats_ = 0;
  size_t scratch_of_worker_ = 0;
  size_t users_at_ = 0, ends_at_ = 0, partial_ends_at_ = 0, partial_at_ = 0, scratch_at_ = 0;
};

}  // namespace

jd_status create_target_attention(Device &device, const jd_target_attention_desc &desc, const jdb_allocator &allocator,
                                  Plan **plan, jd_error *error) {
  return prepared(new (std::nothrow) TargetAttention(device, allocator, desc), plan, error);
}

}  // namespace jindou::cpu
