// beam_attention and longer_attention on the CPU: how the work is cut into tasks. The kernel is in kernels/beam_attention.h; to it a user
// of longer_attention is a request, whose rows are beams and whose history is their prefix (core/longer_as_beams.h).
//
// As target_attention's: a request's lanes (beams x query heads of one key head) form tiles; a task is several tiles of one request
// and key head, as many as stay in the L2 cache beside a block of keys. When there are fewer tiles than threads can share, tasks
// are single segments of a prefix, and a second round merges them and adds the suffixes. None of these choices changes a bit of
// the result.
#include <algorithm>
#include <cstdio>
#include <new>

#include "core/longer_as_beams.h"
#include "cpu/pages.h"

namespace jindou::cpu {
namespace {

constexpr size_t kTileBytesOfTask = 448 << 10;   // queries and sums of a task
constexpr int64_t kMostPartialBytes = 16 << 20;  // of all segments of a run
constexpr int kTasksOfThread = 3;                // wanted, so that no thread waits long for the last one

// A prefix that lies row after row is one page, longer than any.
constexpr int32_t kOnePageShift = 30;
constexpr int32_t kFirstPage = 0;

// One request of a run; a refused one has no lanes.
struct Request {
  int64_t number, first_beam, first_key, keys, lanes, tiles, segments, cost;
  int32_t levels;
  LongerRows rows;
  int64_t first_global;  // of longer_attention
};

class BeamAttention final : public Plan {
 public:
  BeamAttention(Device &d, const jdb_allocator &allocator, int32_t op, const jd_beam_attention_desc &desc, const Globals &globals)
      : Plan(d, allocator),
        op_(op),
        desc_(desc),
        globals_(globals),
        group_(desc.num_heads / desc.num_kv_heads),
        lanes_(d.kernels.attention_lanes),
        scratch_(d.kernels.beam_attention_scratch(desc.cache_dtype == desc.dtype ? desc.dtype : JD_F32, desc.head_dim_qk,
                                                  desc.head_dim_v)) {}

  jd_status prepare(jd_error *error) {
    const int threads = device.pool.size();
    const int64_t most_tiles = divide(desc_.max_beams * group_, lanes_);
    const int64_t fitting = std::max<int64_t>(1, kTileBytesOfTask / (scratch_.tile * sizeof(float)));
    tiles_of_task_ = std::min(fitting, most_tiles);
    if (threads > 1) {
      const int64_t tiles = std::min<int64_t>(split_below(), desc_.max_batch * desc_.num_kv_heads * most_tiles);
      const int64_t floats = tiles * divide(desc_.max_prefix, kSegment) * static_cast<int64_t>(scratch_.partial);
      partial_floats_ = std::min<int64_t>(floats, kMostPartialBytes / static_cast<int64_t>(sizeof(float)));
    }
    scratch_of_worker_ = scratch_.task + static_cast<size_t>(tiles_of_task_) * scratch_.tile;

    Layout layout;
    requests_at_ = layout.add<Request>(desc_.max_batch);
    ends_at_ = layout.add<int64_t>(desc_.max_batch);
    partial_ends_at_ = layout.add<int64_t>(desc_.max_batch);
    partial_at_ = layout.add<float>(partial_floats_);
    scratch_at_ = layout.add<float>(static_cast<int64_t>(scratch_of_worker_) * threads);
    return memory.reserve(layout.bytes(), error);
  }

  void describe(char *text, size_t capacity) const override {
    const bool is_longer = op_ == JDB_OP_LONGER_ATTENTION;
    snprintf(text, capacity, "%s on cpu (%s): tiles of %d %s x heads, up to %lld tiles a task, keys in blocks of %d and segments of %lld",
             is_longer ? "longer_attention" : "beam_attention", device.kernels.isa, lanes_, is_longer ? "rows" : "beams",
             static_cast<long long>(tiles_of_task_), kKeyBlock, static_cast<long long>(kSegment));
  }

  jd_status run(Stream &stream, const void *args, jd_error *) override {
    const auto *longer = op_ == JDB_OP_LONGER_ATTENTION ? static_cast<const jdb_longer_attention_args *>(args) : nullptr;
    const auto &a = longer ? longer->rows : *static_cast<const jdb_beam_attention_args *>(args);
    const jdb_global_rows *globals = longer ? &longer->globals : nullptr;
    Request *requests = memory.part<Request>(requests_at_);
    int64_t tiles = 0, most_segments = 0, cost = 0, partials = 0;
    for (int64_t b = 0; b < a.batch; ++b) {
      requests[b] = read(stream, a, globals, b);
      tiles += requests[b].tiles * desc_.num_kv_heads;
      cost += requests[b].cost * desc_.num_kv_heads;
      most_segments = std::max(most_segments, requests[b].segments);
      partials += requests[b].tiles * requests[b].segments * desc_.num_kv_heads;
    }
    std::sort(requests, requests + a.batch,
              [](const Request &x, const Request &y) { return x.cost != y.cost ? x.cost > y.cost : x.number < y.number; });

    const int threads = device.pool.size();
    const bool split = threads > 1 && tiles < split_below() && most_segments > 1 && cost >= ThreadPool::kWorthSharing &&
                       partials * static_cast<int64_t>(scratch_.partial) <= partial_floats_;
    if (split) {
      run_round(a, globals, BeamAttentionTask::kSegmentOnly, 1, cost);
      run_round(a, globals, BeamAttentionTask::kMergeOnly, 1, partials * static_cast<int64_t>(scratch_.partial));
    } else {
      const int64_t even = divide(tiles, int64_t{threads} * kTasksOfThread);
      const int64_t tiles_of_task = threads == 1 ? tiles_of_task_ : std::max<int64_t>(1, std::min(tiles_of_task_, even));
      run_round(a, globals, BeamAttentionTask::kWhole, tiles_of_task, cost);
    }
    return JD_OK;
  }

 private:
  int64_t split_below() const { return int64_t{2} * device.pool.size(); }

  // A request, and what is wrong with it.
  Request read(Stream &stream, const jdb_beam_attention_args &a, const jdb_global_rows *globals, int64_t b) const {
    Findings findings(stream, op_, desc_.bounds);
    Request x{};
    x.number = b;
    x.first_beam = integer_at(a.beam_offsets, b);
    const int64_t beams = integer_at(a.beam_offsets, b + 1) - x.first_beam;
    bool good = true;
    if (a.suffix_keys.dtype) {
      const int64_t most = a.suffix_keys.shape[1];
      x.levels = static_cast<int32_t>(a.suffix_lens.dtype ? integer_at(a.suffix_lens, b) : most);
      if (x.levels < 0 || x.levels > most) {
        findings.note(JDB_FAULT_SUFFIX_LENGTH, b, x.levels, most);
        good = false;
      }
    }
    if (a.keys.dtype) {
      x.first_key = integer_at(a.prefix_offsets, b);
      x.keys = integer_at(a.prefix_offsets, b + 1) - x.first_key;
    } else {
      const PageTable table(a.page_table, a.key_pages);
      const int64_t most = std::min(desc_.max_prefix, table.rows());
      x.keys = integer_at(a.seq_lens, b);
      if (good && (x.keys < 0 || x.keys > most)) {
        findings.note(JDB_FAULT_CACHE_LENGTH, b, x.keys, most);
        good = false;
      }
      if (!good || beams == 0) return x;
      good = table.check(findings, b, 0, x.keys);
    }
    for (int64_t level = 0; level < x.levels && beams > 0; ++level) check_ancestors(findings, a, b, level, beams);
    if (!globals) x.rows = LongerRows::beams(static_cast<int32_t>(beams), static_cast<int32_t>(x.keys));
    if (globals && good) good = read_user(findings, *globals, b, beams, x);
    if (!good) return x;
    x.lanes = beams * group_;
    x.tiles = divide(x.lanes, lanes_);
    x.segments = divide(x.keys, kSegment);
    x.cost = x.lanes * (x.keys + 16 * (1 + x.levels)) * (desc_.head_dim_qk + desc_.head_dim_v);
    return x;
  }

  // All but the number of events among the rows of a history in pages was checked before (host_checks.cpp).
  bool read_user(Findings &findings, const jdb_global_rows &globals, int64_t b, int64_t rows, Request &x) const {
    LongerUser user = {0, rows, x.keys};
    if (globals.offsets.dtype) {
      x.first_global = integer_at(globals.offsets, b);
      user.globals = integer_at(globals.offsets, b + 1) - x.first_global;
    }
    if (user.judge(globals_.shared, globals_.own, globals_.candidates_only, globals_.most_recent) != LongerUser::kGood) {
      findings.note(JDB_FAULT_QUERIES, b, rows - user.global_rows(globals_.shared, globals_.candidates_only),
                    user.most_recent(globals_.candidates_only, globals_.most_recent));
      return false;
    }
    x.rows = user.read(globals_.shared, globals_.own, globals_.candidates_only);
    x.levels = user.globals > globals_.shared ? globals_.own : 0;
    return true;
  }

  static void check_ancestors(Findings &findings, const jdb_beam_attention_args &a, int64_t b, int64_t level, int64_t beams) {
    const int64_t levels = a.suffix_keys.shape[1], slots = a.suffix_keys.shape[2];
    const int32_t *row = ancestors(a, b) + level * a.ancestry.strides[1];
    for (int64_t w = 0; w < beams; ++w) {
      if (row[w] >= 0 && row[w] < slots) continue;
      findings.note(JDB_FAULT_ANCESTRY, (b * levels + level) * slots + w, row[w], slots);
    }
  }
  static const int32_t *ancestors(const jdb_beam_attention_args &a, int64_t b) {
    return static_cast<const int32_t *>(a.ancestry.data) + b * a.ancestry.strides[0];
  }

  // One task for each (request, chunk of up to `tiles_of_task` tiles, key head) and, in kSegmentOnly, segment.
  void run_round(const jdb_beam_attention_args &a, const jdb_global_rows *globals, BeamAttentionTask::Phase phase, int64_t tiles_of_task,
                 int64_t cost) {
    const Request *requests = memory.part<Request>(requests_at_);
    int64_t *ends = memory.part<int64_t>(ends_at_);  // tasks of requests 0..r
    int64_t *partial_ends = memory.part<int64_t>(partial_ends_at_);
    int64_t tasks = 0, partials = 0;
    for (int64_t r = 0; r < a.batch; ++r) {
      const int64_t parts = phase == BeamAttentionTask::kSegmentOnly ? requests[r].segments : 1;
      tasks += divide(requests[r].tiles, tiles_of_task) * desc_.num_kv_heads * parts;
      partials += requests[r].tiles * requests[r].segments * desc_.num_kv_heads;
      ends[r] = tasks;
      partial_ends[r] = partials;
    }
    device.pool.run(tasks, cost, [&](int64_t index, int worker) {
      const int64_t r = std::upper_bound(ends, ends + a.batch, index) - ends;
      const Request &x = requests[r];
      int64_t rest = index - (r > 0 ? ends[r - 1] : 0);
      const int64_t head = rest % desc_.num_kv_heads;
      rest /= desc_.num_kv_heads;
      const int64_t chunks = divide(x.tiles, tiles_of_task), chunk = rest % chunks;
      BeamAttentionTask t{};
      fill(a, x, head, &t);
      if (globals && globals->keys.dtype) fill_globals(*globals, x, head, &t);
      t.first_lane = x.tiles * chunk / chunks * lanes_;
      t.last_lane = std::min(x.lanes, x.tiles * (chunk + 1) / chunks * lanes_);
      t.scratch = memory.part<float>(scratch_at_) + scratch_of_worker_ * static_cast<size_t>(worker);
      t.phase = phase;
      t.segment = rest / chunks;
      if (phase != BeamAttentionTask::kWhole) {
        const int64_t before = (r > 0 ? partial_ends[r - 1] : 0) + head * x.tiles * x.segments;
        t.partial = memory.part<float>(partial_at_) + before * static_cast<int64_t>(scratch_.partial);
      }
      device.kernels.beam_attention(t);
    });
  }

  void fill(const jdb_beam_attention_args &a, const Request &x, int64_t head, BeamAttentionTask *t) const {
    t->dtype = desc_.dtype;
    t->out_dtype = desc_.out_dtype;
    t->dim_qk = desc_.head_dim_qk;
    t->dim_v = desc_.head_dim_v;
    t->group = static_cast<int32_t>(group_);
    t->scale = desc_.scale;
    t->queries = lane_rows(a.queries, x.first_beam, head);
    t->query_row = a.queries.strides[0];
    t->query_head = a.queries.strides[1];
    t->num_keys = x.keys;
    if (a.keys.dtype) {
      t->prefix_keys = one_page(a.keys, x.first_key, head);
      t->prefix_values = one_page(a.values, x.first_key, head);
    } else {
      const PageTable table(a.page_table, a.key_pages);
      t->prefix_keys = paged_rows(a.key_pages, a.key_scales, table, x.number, head);
      t->prefix_values = paged_rows(a.value_pages, a.value_scales, table, x.number, head);
    }
    t->levels = x.levels;
    t->rows = x.rows;
    if (a.suffix_keys.dtype && x.levels > 0) {
      t->suffix_keys = suffix_rows(a.suffix_keys, x.number, head);
      t->suffix_values = suffix_rows(a.suffix_values, x.number, head);
      t->suffix_key_level = a.suffix_keys.strides[1];
      t->suffix_value_level = a.suffix_values.strides[1];
      t->ancestry = ancestors(a, x.number);
      t->ancestry_level = a.ancestry.strides[1];
      t->slots = static_cast<int32_t>(a.suffix_keys.shape[2]);
    }
    t->out = lane_rows(a.out, x.first_beam, head);
    t->out_row = a.out.strides[0];
    t->out_head = a.out.strides[1];
    if (!a.lse.dtype) return;
    t->lse_row = a.lse.strides[0];
    t->lse_head = a.lse.strides[1];
    t->lse = static_cast<float *>(a.lse.data) + x.first_beam * t->lse_row + head * group_ * t->lse_head;
  }

  // The shared globals are rows that all see; those of candidate i at level l are row l of its c.
  void fill_globals(const jdb_global_rows &globals, const Request &x, int64_t head, BeamAttentionTask *t) const {
    t->num_shared = globals_.shared;
    t->shared_keys = one_page(globals.keys, x.first_global, head);
    t->shared_values = one_page(globals.values, x.first_global, head);
    if (x.levels == 0) return;
    t->suffix_keys = own_globals(globals.keys, x, head);
    t->suffix_values = own_globals(globals.values, x, head);
    t->suffix_key_level = globals.keys.strides[0];
    t->suffix_value_level = globals.values.strides[0];
    t->slots = INT32_MAX;
  }
  HeadRows own_globals(const jdb_tensor &t, const Request &x, int64_t head) const {
    return {element(t, (x.first_global + globals_.shared) * t.strides[0] + head * t.strides[1]), globals_.own * t.strides[0], t.dtype};
  }

  // The first of the query heads that read key head `head`.
  void *lane_rows(const jdb_tensor &t, int64_t row, int64_t head) const {
    return element(t, row * t.strides[0] + head * group_ * t.strides[1]);
  }
  static PagedRows one_page(const jdb_tensor &t, int64_t row, int64_t head) {
    return {&kFirstPage, static_cast<const char *>(element(t, row * t.strides[0] + head * t.strides[1])), 0,
            t.strides[0] * core::element_size(t.dtype), 1 << kOnePageShift, kOnePageShift, t.dtype, nullptr, 0, 0};
  }
  static HeadRows suffix_rows(const jdb_tensor &t, int64_t request, int64_t head) {
    return {element(t, request * t.strides[0] + head * t.strides[3]), t.strides[2], t.dtype};
  }

  const int32_t op_;
  const jd_beam_attention_desc desc_;
  const Globals globals_;
  const int64_t group_;
  const int lanes_;
  const AttentionScratch scratch_;
  int64_t tiles_of_task_ = 1;
  int64_t partial_floats_ = 0;
  size_t scratch_of_worker_ = 0;
  size_t requests_at_ = 0, ends_at_ = 0, partial_ends_at_ = 0, partial_at_ = 0, scratch_at_ = 0;
};

jd_status create(Device &device, const jdb_allocator &allocator, int32_t op, const jd_beam_attention_desc &desc, const Globals &globals,
                 Plan **plan, jd_error *error) {
  return prepared(new (std::nothrow) BeamAttention(device, allocator, op, desc, globals), plan, error);
}

}  // namespace

jd_status create_beam_attention(Device &device, const jd_beam_attention_desc &desc, const jdb_allocator &allocator, Plan **plan,
                                jd_error *error) {
  return create(device, allocator, JDB_OP_BEAM_ATTENTION, desc, Globals(), plan, error);
}

jd_status create_longer_attention(Device &device, const jd_longer_attention_desc &desc, const jdb_allocator &allocator, Plan **plan,
                                  jd_error *error) {
  return create(device, allocator, JDB_OP_LONGER_ATTENTION, as_beams(desc), Globals(desc), plan, error);
}

}  // namespace jindou::cpu
