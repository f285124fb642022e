// din_attention on the CPU: how the work is cut into tasks. The kernel is in kernels/din_attention.h.
//
// A task is some candidates of one user, for which each segment of the history is transposed once. With too few candidates for the
// threads there are, a task is one candidate against one segment, and a second round merges. Neither choice changes a bit.
#include <algorithm>
#include <cstdio>
#include <new>

#include "cpu/plan.h"

namespace jindou::cpu {
namespace {

constexpr int64_t kCandidatesOfTask = 32;        // transposing the keys is then no work to speak of
constexpr int kTasksOfThread = 4;                // wanted, so that no thread waits long for the last one
constexpr int64_t kMostPartialBytes = 16 << 20;  // states of all segments of a run

const float *floats(const jdb_tensor &t) { return static_cast<const float *>(t.data); }

// One user of a run.
struct User {
  int64_t first_candidate, candidates, first_key, keys, segments;
};

class DinAttention final : public Plan {
 public:
  DinAttention(Device &d, const jdb_allocator &allocator, const jd_din_attention_desc &desc)
      : Plan(d, allocator),
        desc_(desc),
        shape_{desc.dim, desc.dim_v, desc.hidden_1, desc.hidden_2, desc.activation},
        state_floats_(2 + int64_t{desc.dim_v}) {}

  jd_status prepare(jd_error *error) {
    const int threads = device.pool.size();
    const KernelTable &kernels = device.kernels;
    if (threads > 1) {
      const int64_t candidates = std::min<int64_t>(split_below(), desc_.max_batch * desc_.max_candidates);
      const int64_t floats = candidates * segments_of(std::min(desc_.max_history, desc_.num_latest)) * state_floats_;
      partial_floats_ = std::min<int64_t>(floats, kMostPartialBytes / static_cast<int64_t>(sizeof(float)));
    }
    scratch_of_worker_ = static_cast<int64_t>(kernels.din_scratch(shape_, desc_.dtype)) + (kCandidatesOfTask + 1) * state_floats_;
    scratch_of_worker_ = divide(scratch_of_worker_, 16) * 16;

    Layout layout;
    users_at_ = layout.add<User>(desc_.max_batch);
    ends_at_ = layout.add<int64_t>(desc_.max_batch);
    partial_ends_at_ = layout.add<int64_t>(desc_.max_batch);
    partial_at_ = layout.add<float>(partial_floats_);
    network_at_ = layout.add<float>(static_cast<int64_t>(kernels.din_network(shape_, desc_.dtype)));
    scratch_at_ = layout.add<float>(scratch_of_worker_ * threads);
    return memory.reserve(layout.bytes(), error);
  }

  void describe(char *text, size_t capacity) const override {
    const int64_t pair = int64_t{desc_.dim} * desc_.hidden_1 + int64_t{desc_.hidden_1} * desc_.hidden_2 + desc_.hidden_2;
    snprintf(text, capacity,
             "din_attention on cpu (%s): first layer folded into one %d x %d matrix a candidate, %lld multiply-adds and %d activations a "
             "pair, history in segments of %lld",
             device.kernels.isa, desc_.hidden_1, desc_.dim, static_cast<long long>(pair), desc_.hidden_1 + desc_.hidden_2,
             static_cast<long long>(din_segment(desc_.dim)));
  }

  jd_status run(Stream &, const void *args, jd_error *) override {
    const auto &a = *static_cast<const jdb_din_attention_args *>(args);
    User *users = memory.part<User>(users_at_);
    int64_t candidates = 0, most_segments = 0, partials = 0, pairs = 0;
    for (int64_t u = 0; u < a.batch; ++u) {
      users[u] = user(a, u);
      candidates += users[u].candidates;
      most_segments = std::max(most_segments, users[u].segments);
      partials += users[u].candidates * users[u].segments;
      pairs += users[u].candidates * users[u].keys;
    }
    if (candidates == 0) return JD_OK;
    device.kernels.din_pack(network(a), desc_.dtype, memory.part<float>(network_at_));

    const int64_t cost = pairs * (int64_t{desc_.dim} * desc_.hidden_1 + int64_t{desc_.hidden_1} * desc_.hidden_2) + candidates * desc_.dim_v;
    const int threads = device.pool.size();
    const bool split = threads > 1 && candidates < split_below() && most_segments > 1 && cost >= ThreadPool::kWorthSharing &&
                       partials * state_floats_ <= partial_floats_;
    if (split) {
      run_round(a, DinTask::kSegmentOnly, 1, cost);
      run_round(a, DinTask::kMergeOnly, 1, partials * state_floats_);
    } else {
      const int64_t even = divide(candidates, int64_t{threads} * kTasksOfThread);
      run_round(a, DinTask::kWhole, threads == 1 ? kCandidatesOfTask : std::min(kCandidatesOfTask, even), cost);
    }
    return JD_OK;
  }

 private:
  int64_t split_below() const { return int64_t{kTasksOfThread} * device.pool.size(); }
  int64_t segments_of(int64_t keys) const { return divide(keys, din_segment(desc_.dim)); }

  User user(const jdb_din_attention_args &a, int64_t u) const {
    User x;
    x.first_candidate = integer_at(a.candidate_offsets, u);
    x.candidates = integer_at(a.candidate_offsets, u + 1) - x.first_candidate;
    const int64_t begin = integer_at(a.history_offsets, u), end = integer_at(a.history_offsets, u + 1);
    x.first_key = end - begin > desc_.num_latest ? end - desc_.num_latest : begin;
    x.keys = end - x.first_key;
    x.segments = segments_of(x.keys);
    return x;
  }

  DinNetwork network(const jdb_din_attention_args &a) const {
    DinNetwork n;
    n.shape = shape_;
    n.dice_eps = desc_.dice_eps;
    n.scale = desc_.softmax ? desc_.scale * 1.44269504088896341f : desc_.scale;
    n.weight_1 = floats(a.weight_1);
    n.bias_1 = floats(a.bias_1);
    n.slope_1 = floats(a.slope_1);
    n.mean_1 = floats(a.mean_1);
    n.variance_1 = floats(a.variance_1);
    n.weight_2 = floats(a.weight_2);
    n.bias_2 = floats(a.bias_2);
    n.slope_2 = floats(a.slope_2);
    n.mean_2 = floats(a.mean_2);
    n.variance_2 = floats(a.variance_2);
    n.weight_3 = floats(a.weight_3);
    n.bias_3 = floats(a.bias_3);
    n.weight_1_stride = a.weight_1.strides[0];
    n.weight_2_stride = a.weight_2.strides[0];
    return n;
  }

  // One task for each (user, `together` of its candidates) and, in kSegmentOnly, segment.
  void run_round(const jdb_din_attention_args &a, DinTask::Phase phase, int64_t together, int64_t cost) {
    const User *users = memory.part<User>(users_at_);
    int64_t *ends = memory.part<int64_t>(ends_at_);  // tasks of users 0..u
    int64_t *partial_ends = memory.part<int64_t>(partial_ends_at_);
    int64_t tasks = 0, partials = 0;
    for (int64_t u = 0; u < a.batch; ++u) {
      tasks += divide(users[u].candidates, together) * (phase == DinTask::kSegmentOnly ? users[u].segments : 1);
      partials += users[u].candidates * users[u].segments;
      ends[u] = tasks;
      partial_ends[u] = partials;
    }
    device.pool.run(tasks, cost, [&](int64_t index, int worker) {
      const int64_t u = std::upper_bound(ends, ends + a.batch, index) - ends;
      const User &x = users[u];
      const int64_t within = index - (u > 0 ? ends[u - 1] : 0), chunks = divide(x.candidates, together);
      const int64_t first = within % chunks * together;

      DinTask t;
      t.shape = shape_;
      t.dtype = desc_.dtype;
      t.out_dtype = desc_.out_dtype;
      t.softmax = desc_.softmax != 0;
      t.network = memory.part<float>(network_at_);
      t.candidates = element(a.candidates, (x.first_candidate + first) * a.candidates.strides[0]);
      t.candidate_stride = a.candidates.strides[0];
      t.num_candidates = std::min(together, x.candidates - first);
      t.keys = {element(a.keys, x.first_key * a.keys.strides[0]), a.keys.strides[0], desc_.dtype};
      t.values = {element(a.values, x.first_key * a.values.strides[0]), a.values.strides[0], desc_.dtype};
      t.num_keys = x.keys;
      t.out = element(a.out, (x.first_candidate + first) * a.out.strides[0]);
      t.out_stride = a.out.strides[0];
      t.scratch = memory.part<float>(scratch_at_) + scratch_of_worker_ * worker;
      t.phase = phase;
      t.segment = within / chunks;
      t.partial = nullptr;
      if (phase != DinTask::kWhole) {
        const int64_t before = (u > 0 ? partial_ends[u - 1] : 0) + first * x.segments;
        t.partial = memory.part<float>(partial_at_) + before * state_floats_;
      }
      device.kernels.din_attention(t);
    });
  }

  const jd_din_attention_desc desc_;
  const DinShape shape_;
  const int64_t state_floats_;
  int64_t partial_floats_ = 0, scratch_of_worker_ = 0;
  size_t users_at_ = 0, ends_at_ = 0, partial_ends_at_ = 0, partial_at_ = 0, network_at_ = 0, scratch_at_ = 0;
};

}  // namespace

jd_status create_din_attention(Device &device, const jd_din_attention_desc &desc, const jdb_allocator &allocator, Plan **plan,
                               jd_error *error) {
  return prepared(new (std::nothrow) DinAttention(device, allocator, desc), plan, error);
}

}  // namespace jindou::cpu
