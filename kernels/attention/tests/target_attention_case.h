// One target_attention problem in the emulator: described as the float64 reference wants it, run as a backend would run
// it.
#ifndef JINDOU_KERNELS_ATTENTION_TESTS_TARGET_ATTENTION_CASE_H
#define JINDOU_KERNELS_ATTENTION_TESTS_TARGET_ATTENTION_CASE_H

#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "attention/target_attention_launch.h"
#include "attention/tests/rows.h"
#include "simt/backend/executor.h"
#include "testing/plan_memory.h"
#include "tests/reference/target_attention.h"
#include "tests/tolerance.h"

namespace jindou::testing {

struct TargetCase {
  std::vector<int64_t> candidates, history;  // rows a user
  int64_t heads = 2, kv_heads = 2, dqk = 32, dv = 32;
  int32_t dtype = JD_BF16, out_dtype = JD_BF16, offset_dtype = JD_I32;
  float scale = 0.3f;
  bool self_key = false;
  int64_t num_latest = INT64_MAX;
  int32_t bounds = JD_BOUNDS_STRICT;
  Gaps gaps;
  uint64_t values_seed = 1;
  // Kept by hand when they are to be wrong or poisoned.
  std::vector<int64_t> candidate_offsets, history_offsets;
  std::vector<float> q, k, v, self_k, self_v;
  int64_t max_candidates = 256, max_history = 4096;  // scratch follows
  // How it runs.
  uint64_t simt_seed = 0;
  int32_t multiprocessors = 2;
  int64_t split_limit = -1;  // the plan's own
  bool hopper = false;       // the kernels of sm_90a, where there are any

  int64_t candidate_rows() const { return total(candidates); }
  int64_t history_rows() const { return total(history); }
  static int64_t total(const std::vector<int64_t> &lengths) { return offsets_of_lengths(lengths).back(); }

  void draw() {
    candidate_offsets = offsets_of_lengths(candidates);
    history_offsets = offsets_of_lengths(history);
    const auto rows = [&](int64_t n, int64_t width, uint64_t seed) {
      return random_values(static_cast<size_t>(n * width), dtype, values_seed * 16 + seed);
    };
    q = rows(candidate_rows(), heads * dqk, 0);
    k = rows(history_rows(), kv_heads * dqk, 1);
    v = rows(history_rows(), kv_heads * dv, 2);
    self_k = rows(candidate_rows(), kv_heads * dqk, 3);
    self_v = rows(candidate_rows(), kv_heads * dv, 4);
  }

  std::vector<double> expected() const {
    reference::TargetAttentionCase c;
    c.heads = heads;
    c.kv_heads = kv_heads;
    c.dqk = dqk;
    c.dv = dv;
    c.scale = scale;
    c.self_key = self_key;
    c.num_latest = num_latest == INT64_MAX ? 0 : num_latest;
    c.candidate_offsets = candidate_offsets;
    c.history_offsets = history_offsets;
    c.candidates.assign(q.begin(), q.end());
    c.keys.assign(k.begin(), k.end());
    c.values.assign(v.begin(), v.end());
    c.candidate_keys.assign(self_k.begin(), self_k.end());
    c.candidate_values.assign(self_v.begin(), self_v.end());
    return reference::target_attention(c);
  }

  // Of users [first, last), a batch of their own.
  TargetCase users(size_t first, size_t last) const {
    TargetCase part = *this;
    const auto slice = [](std::vector<float> &x, int64_t width, int64_t from, int64_t to) {
      x = std::vector<float>(x.begin() + from * width, x.begin() + to * width);
    };
    const int64_t c0 = candidate_offsets[first], c1 = candidate_offsets[last];
    const int64_t h0 = history_offsets[first], h1 = history_offsets[last];
    slice(part.q, heads * dqk, c0, c1);
    slice(part.self_k, kv_heads * dqk, c0, c1);
    slice(part.self_v, kv_heads * dv, c0, c1);
    slice(part.k, kv_heads * dqk, h0, h1);
    slice(part.v, kv_heads * dv, h0, h1);
    part.candidates.assign(candidates.begin() + first, candidates.begin() + last);
    part.history.assign(history.begin() + first, history.begin() + last);
    part.candidate_offsets = offsets_of_lengths(part.candidates);
    part.history_offsets = offsets_of_lengths(part.history);
    return part;
  }
};

struct TargetOutcome {
  std::vector<float> out;  // [candidates, heads, dv]
  jdb_report report;
  TargetAttentionSchedule schedule;
};

inline jd_target_attention_desc desc_of(const TargetCase &c) {
  jd_target_attention_desc desc{};
  desc.struct_size = sizeof desc;
  desc.dtype = c.dtype;
  desc.out_dtype = c.out_dtype;
  desc.offset_dtype = c.offset_dtype;
  desc.num_heads = static_cast<int32_t>(c.heads);
  desc.num_kv_heads = static_cast<int32_t>(c.kv_heads);
  desc.head_dim_qk = static_cast<int32_t>(c.dqk);
  desc.head_dim_v = static_cast<int32_t>(c.dv);
  desc.scale = c.scale;
  desc.self_key = c.self_key;
  desc.bounds = c.bounds;
  desc.num_latest = c.num_latest;
  desc.max_batch = static_cast<int64_t>(c.candidates.size());
  desc.max_candidates = c.max_candidates;
  desc.max_history = c.max_history;
  return desc;
}

inline TargetOutcome run(const TargetCase &c) {
  const auto rows = [&](int64_t n, int64_t heads, int64_t dim, const std::vector<float> &values) {
    RowsInMemory memory(c.dtype, n, heads, dim, c.gaps);
    memory.fill(values);
    return memory;
  };
  const RowsInMemory q = rows(c.candidate_rows(), c.heads, c.dqk, c.q);
  const RowsInMemory k = rows(c.history_rows(), c.kv_heads, c.dqk, c.k);
  const RowsInMemory v = rows(c.history_rows(), c.kv_heads, c.dv, c.v);
  const RowsInMemory self_k = rows(c.candidate_rows(), c.kv_heads, c.dqk, c.self_k);
  const RowsInMemory self_v = rows(c.candidate_rows(), c.kv_heads, c.dv, c.self_v);
  const RowsInMemory out(c.out_dtype, c.candidate_rows(), c.heads, c.dv, c.gaps);
  const DeviceArray candidate_offsets = DeviceArray::integers(c.offset_dtype, c.candidate_offsets);
  const DeviceArray history_offsets = DeviceArray::integers(c.offset_dtype, c.history_offsets);

  jdb_target_attention_args args{};
  args.candidates = q.tensor();
  args.candidate_offsets = candidate_offsets.tensor({static_cast<int64_t>(c.candidate_offsets.size())});
  args.keys = k.tensor();
  args.values = v.tensor();
  args.history_offsets = history_offsets.tensor({static_cast<int64_t>(c.history_offsets.size())});
  if (c.self_key) {
    args.candidate_keys = self_k.tensor();
    args.candidate_values = self_v.tensor();
  }
  args.out = out.tensor();
  args.batch = static_cast<int64_t>(c.candidate_offsets.size()) - 1;

  simt_backend::Device device{2, c.simt_seed};
  simt_backend::Stream stream{};
  stream.device = &device;
  jd_error error{};
  error.struct_size = sizeof error;
  PlanMemory memory;
  TargetOutcome outcome{};
  {
    PlanResources resources = memory.resources(c.multiprocessors);
    resources.hopper = c.hopper;
    TargetAttentionPlan plan(resources, desc_of(c));
    if (c.split_limit >= 0) plan.split_limit = c.split_limit;
    EXPECT_EQ(plan.allocate(&error), JD_OK) << error.message;
    EXPECT_EQ(plan.scratch_bytes(), static_cast<size_t>(plan.buffers.bytes()));
    outcome.schedule = plan.schedule(args.batch, c.candidate_rows(), c.history_rows());
    simt_backend::Executor executor(stream, &error);
    EXPECT_EQ(launch_target_attention(executor, plan, args), JD_OK) << error.message;
  }
  EXPECT_EQ(memory.alive_bytes, 0);
  EXPECT_TRUE(out.gaps_untouched());
  outcome.out = out.dense();
  outcome.report = report_of(stream.faults);
  return outcome;
}

// Candidates [first, last) are written and within the error bound of the dtypes.
inline void expect_close(const TargetCase &c, const TargetOutcome &outcome, int64_t first, int64_t last) {
  const std::vector<double> expected = c.expected();
  // |scale * q . k| and |v| are bounded by what the values can be: (-1, 1) times any factor a test gave them.
  const auto highest = [](const std::vector<float> &x) {
    double top = 0;
    for (const float value : x) top = std::fabs(value) > top ? std::fabs(value) : top;
    return top;
  };
  const double value = std::max(highest(c.v), c.self_key ? highest(c.self_v) : 0.0);
  const double key = std::max(highest(c.k), c.self_key ? highest(c.self_k) : 0.0);
  const double score = std::fabs(c.scale) * highest(c.q) * key * static_cast<double>(c.dqk);
  for (int64_t i = first * c.heads * c.dv; i < last * c.heads * c.dv; ++i) {
    const double allowed =
        tolerance::softmax_attention(c.dqk, score, value, expected[static_cast<size_t>(i)], c.dtype, c.out_dtype);
    // Negated, so that a NaN fails.
    ASSERT_TRUE(std::fabs(outcome.out[static_cast<size_t>(i)] - expected[static_cast<size_t>(i)]) <= allowed)
        << "candidate " << i / (c.heads * c.dv) << " head " << i / c.dv % c.heads << " column " << i % c.dv << ": got "
        << outcome.out[static_cast<size_t>(i)] << ", expected " << expected[static_cast<size_t>(i)] << " +- "
        << allowed;
  }
}

inline TargetOutcome run_and_expect_close(const TargetCase &c) {
  TargetOutcome outcome = run(c);
  expect_close(c, outcome, 0, c.candidate_rows());
  EXPECT_EQ(outcome.report.has_error, 0);
  EXPECT_EQ(outcome.report.skipped, 0);
  return outcome;
}

}  // namespace jindou::testing

#endif
