// search_attention on the CPU: candidates are cut into tasks. The kernel is that of decode_attention (kernels/decode_attention.h),
// to which a candidate's events are pages of one row each.
#include <algorithm>
#include <cstdio>
#include <new>

#include "core/dtype.h"
#include "cpu/pages.h"

namespace jindou::cpu {
namespace {

constexpr int64_t kCandidatesOfTask = 8;

class SearchAttention final : public Plan {
 public:
  SearchAttention(Device &d, const jdb_allocator &allocator, const jd_search_attention_desc &desc)
      : Plan(d, allocator),
        desc_(desc),
        group_(desc.num_heads / desc.num_kv_heads),
        state_floats_(int64_t{group_} * (2 + desc.head_dim_v)),
        scratch_floats_(static_cast<int64_t>(d.kernels.decode_scratch) + int64_t{group_} * desc.head_dim_qk) {}

  jd_status prepare(jd_error *error) {
    const int64_t threads = device.pool.size();
    Layout layout;
    ends_at_ = layout.add<int64_t>(desc_.max_batch);
    events_at_ = layout.add<int32_t>(int64_t{desc_.k} * threads);
    state_at_ = layout.add<float>(state_floats_ * threads);
    scratch_at_ = layout.add<float>(scratch_floats_ * threads);
    return memory.reserve(layout.bytes(), error);
  }

  void describe(char *text, size_t capacity) const override {
    snprintf(text, capacity, "search_attention on cpu (%s): %d events a candidate in blocks of %d, %lld candidates a task",
             device.kernels.isa, desc_.k, kKeyBlock, static_cast<long long>(kCandidatesOfTask));
  }

  jd_status run(Stream &stream, const void *args, jd_error *) override {
    const auto &a = *static_cast<const jdb_search_attention_args *>(args);
    check_indices(stream, a);
    int64_t *ends = memory.part<int64_t>(ends_at_);  // tasks of users 0..u
    int64_t tasks = 0;
    for (int64_t u = 0; u < a.batch; ++u) {
      const int64_t candidates = integer_at(a.candidate_offsets, u + 1) - integer_at(a.candidate_offsets, u);
      ends[u] = tasks += divide(candidates, kCandidatesOfTask);
    }
    const int64_t operations = a.candidates.shape[0] * desc_.k * desc_.num_heads * (desc_.head_dim_qk + desc_.head_dim_v) * 2;
    device.pool.run(tasks, operations, [&](int64_t index, int worker) {
      const int64_t u = std::upper_bound(ends, ends + a.batch, index) - ends;
      const int64_t first =
          integer_at(a.candidate_offsets, u) + (index - (u > 0 ? ends[u - 1] : 0)) * kCandidatesOfTask;
      const int64_t last = std::min(integer_at(a.candidate_offsets, u + 1), first + kCandidatesOfTask);
      for (int64_t row = first; row < last; ++row) attend(a, u, row, worker);
    });
    return JD_OK;
  }

 private:
  static const int32_t *listed(const jdb_search_attention_args &a, int64_t row) {
    return static_cast<const int32_t *>(a.indices.data) + row * a.indices.strides[0];
  }

  // In the order of the rows, so that the first offender is the first.
  void check_indices(Stream &stream, const jdb_search_attention_args &a) const {
    Findings findings(stream, JDB_OP_SEARCH_ATTENTION, desc_.bounds);
    for (int64_t u = 0; u < a.batch; ++u) {
      const int64_t events = integer_at(a.history_offsets, u + 1) - integer_at(a.history_offsets, u);
      for (int64_t row = integer_at(a.candidate_offsets, u); row < integer_at(a.candidate_offsets, u + 1); ++row) {
        const int32_t *list = listed(a, row);
        bool good = true;
        for (int32_t j = 0; j < desc_.k; ++j) good &= list[j] >= -1 && list[j] < events;
        for (int32_t j = 0; !good && j < desc_.k; ++j) {
          if (list[j] < -1 || list[j] >= events) findings.note(JDB_FAULT_INDEX, row * desc_.k + j, list[j], events);
        }
      }
    }
  }

  void attend(const jdb_search_attention_args &a, int64_t u, int64_t row, int worker) const {
    const int64_t begin = integer_at(a.history_offsets, u), events = integer_at(a.history_offsets, u + 1) - begin;
    int32_t *found = memory.part<int32_t>(events_at_) + int64_t{desc_.k} * worker;
    const int32_t *list = listed(a, row);
    int32_t count = 0;
    for (int32_t j = 0; j < desc_.k; ++j) {
      found[count] = list[j];
      count += list[j] >= 0 && list[j] < events;
    }
    for (int32_t head = 0; head < desc_.num_kv_heads; ++head) {
      const int64_t first_head = int64_t{head} * group_;
      DecodeTask t;
      t.dtype = desc_.dtype;
      t.out_dtype = desc_.out_dtype;
      t.dim_qk = desc_.head_dim_qk;
      t.dim_v = desc_.head_dim_v;
      t.rows = t.group = group_;
      t.scale = desc_.scale;
      t.queries = element(a.candidates, row * a.candidates.strides[0] + first_head * a.candidates.strides[1]);
      t.query_row = 0;
      t.query_head = a.candidates.strides[1];
      t.keys = rows(a.keys, begin, head, found);
      t.values = rows(a.values, begin, head, found);
      t.first_key = 0;
      t.last_key = t.end_key = count;
      t.first_position = count - 1;  // the candidate sees all of them
      t.out = element(a.out, row * a.out.strides[0] + first_head * a.out.strides[1]);
      t.out_row = 0;
      t.out_head = a.out.strides[1];
      t.lse = nullptr;
      t.lse_row = t.lse_head = 0;
      if (a.lse.dtype) {
        t.lse = static_cast<float *>(a.lse.data) + row * a.lse.strides[0] + first_head * a.lse.strides[1];
        t.lse_head = a.lse.strides[1];
      }
      t.scratch = memory.part<float>(scratch_at_) + scratch_floats_ * worker;
      t.scaled_queries = t.scratch + device.kernels.decode_scratch;
      t.state = memory.part<float>(state_at_) + state_floats_ * worker;
      if (desc_.activation == JD_ACTIVATION_SILU) t.silu_norm = 1.0f / desc_.scaling_seqlen;
      device.kernels.decode_piece(t);
      device.kernels.decode_finish(t);
    }
  }

  // The events of a user as pages of one row.
  static PagedRows rows(const jdb_tensor &t, int64_t begin, int64_t head, const int32_t *found) {
    if (!t.data) return {};  // no user has any
    const int64_t bytes = core::element_size(t.dtype);
    return {found, static_cast<const char *>(element(t, begin * t.strides[0] + head * t.strides[1])), t.strides[0] * bytes, 0, 1, 0,
            t.dtype, nullptr, 0, 0};
  }

  const jd_search_attention_desc desc_;
  const int32_t group_;
  const int64_t state_floats_, scratch_floats_;  // of a worker
  size_t ends_at_ = 0, events_at_ = 0, state_at_ = 0, scratch_at_ = 0;
};

}  // namespace

jd_status create_search_attention(Device &device, const jd_search_attention_desc &desc, const jdb_allocator &allocator,
                                  Plan **plan, jd_error *error) {
  return prepared(new (std::nothrow) SearchAttention(device, allocator, desc), plan, error);
}

}  // namespace jindou::cpu
