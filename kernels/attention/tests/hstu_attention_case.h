// One hstu_attention problem in the emulator: described as the float64 reference wants it, run as a backend would run
// it.
#ifndef JINDOU_KERNELS_ATTENTION_TESTS_HSTU_ATTENTION_CASE_H
#define JINDOU_KERNELS_ATTENTION_TESTS_HSTU_ATTENTION_CASE_H

#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "attention/hstu_attention_launch.h"
#include "attention/tests/rows.h"
#include "simt/backend/executor.h"
#include "testing/plan_memory.h"
#include "tests/reference/hstu_attention.h"
#include "tests/tolerance.h"

namespace jindou::testing {

struct HstuCase {
  std::vector<int64_t> lengths;
  std::vector<int64_t> targets;  // empty: none
  int64_t heads = 1, dqk = 32, dv = 32;
  int32_t dtype = JD_BF16, out_dtype = JD_BF16, offset_dtype = JD_I32;
  float alpha = 0.5f, scaling_seqlen = 50.0f;
  bool scale_rows = false;  // attn_scale instead of scaling_seqlen
  reference::HstuMaskParams mask;
  int32_t bounds = JD_BOUNDS_STRICT;
  Gaps gaps;
  uint64_t values_seed = 1;
  // Kept by hand when they are to be wrong or poisoned.
  std::vector<int64_t> offsets;
  std::vector<float> q, k, v, row_scale;
  std::vector<float> position_bias, time_bias;  // one for each head, one after the other; empty: none
  std::vector<int64_t> timestamps;
  int64_t max_seq_len = 2048;
  // How it runs.
  uint64_t simt_seed = 0;
  int32_t multiprocessors = 2;
  bool hopper = false;  // the kernels of sm_90a, where there are any
  int64_t window = 0;   // query rows of a launch; 0: the plan's own

  int64_t rows() const { return offsets_of_lengths(lengths).back(); }

  void draw() {
    offsets = offsets_of_lengths(lengths);
    const auto values = [&](int64_t dim, uint64_t seed) {
      return random_values(static_cast<size_t>(rows() * heads * dim), dtype, values_seed * 16 + seed);
    };
    q = values(dqk, 0);
    k = values(dqk, 1);
    v = values(dv, 2);
    row_scale = random_values(static_cast<size_t>(rows()), JD_F32, values_seed * 16 + 3);
  }

  reference::HstuAttentionResult expected() const {
    reference::HstuAttentionCase c;
    c.heads = heads;
    c.dqk = dqk;
    c.dv = dv;
    c.alpha = alpha;
    c.scaling_seqlen = scaling_seqlen;
    c.mask = mask;
    c.offsets = offsets;
    c.num_targets = targets;
    if (scale_rows) c.attn_scale.assign(row_scale.begin(), row_scale.end());
    c.position_bias.assign(position_bias.begin(), position_bias.end());
    c.time_bias.assign(time_bias.begin(), time_bias.end());
    c.timestamps = timestamps;
    c.bias_per_head = true;
    c.queries.assign(q.begin(), q.end());
    c.keys.assign(k.begin(), k.end());
    c.values.assign(v.begin(), v.end());
    return reference::hstu_attention(c);
  }

  // Sequence b, a batch of its own.
  HstuCase sequence(size_t b) const {
    HstuCase part = *this;
    const int64_t first = offsets[b], last = offsets[b + 1];
    const auto slice = [&](std::vector<float> &x, int64_t width) {
      x = std::vector<float>(x.begin() + first * width, x.begin() + last * width);
    };
    slice(part.q, heads * dqk);
    slice(part.k, heads * dqk);
    slice(part.v, heads * dv);
    slice(part.row_scale, 1);
    if (!timestamps.empty()) part.timestamps = std::vector<int64_t>(timestamps.begin() + first, timestamps.begin() + last);
    part.lengths = {last - first};
    if (!targets.empty()) part.targets = {targets[b]};
    part.offsets = {0, last - first};
    return part;
  }
};

struct HstuOutcome {
  std::vector<float> out;  // [rows, heads, dv]
  jdb_report report;
  int32_t tile_rows;
};

inline jd_hstu_attention_desc desc_of(const HstuCase &c) {
  jd_hstu_attention_desc desc{};
  desc.struct_size = sizeof desc;
  desc.dtype = c.dtype;
  desc.out_dtype = c.out_dtype;
  desc.offset_dtype = c.offset_dtype;
  desc.num_heads = static_cast<int32_t>(c.heads);
  desc.head_dim_qk = static_cast<int32_t>(c.dqk);
  desc.head_dim_v = static_cast<int32_t>(c.dv);
  desc.alpha = c.alpha;
  desc.scaling_seqlen = c.scaling_seqlen;
  desc.causal = c.mask.causal;
  desc.contextual_seq_len = static_cast<int32_t>(c.mask.contextual_seq_len);
  desc.max_attn_len = static_cast<int32_t>(c.mask.max_attn_len);
  desc.min_full_attn_seq_len = static_cast<int32_t>(c.mask.min_full_attn_seq_len);
  desc.bounds = c.bounds;
  desc.max_batch = static_cast<int64_t>(c.lengths.size());
  desc.max_seq_len = c.max_seq_len;
  return desc;
}

inline HstuOutcome run(const HstuCase &c) {
  const auto rows = [&](int64_t dim, const std::vector<float> &values) {
    RowsInMemory memory(c.dtype, c.rows(), c.heads, dim, c.gaps);
    memory.fill(values);
    return memory;
  };
  const RowsInMemory q = rows(c.dqk, c.q), k = rows(c.dqk, c.k), v = rows(c.dv, c.v);
  const RowsInMemory out(c.out_dtype, c.rows(), c.heads, c.dv, c.gaps);
  const DeviceArray offsets = DeviceArray::integers(c.offset_dtype, c.offsets);
  const DeviceArray targets = DeviceArray::integers(JD_I32, c.targets);
  const DeviceArray row_scale = DeviceArray::floats(JD_F32, c.row_scale);
  const DeviceArray position = DeviceArray::floats(JD_F32, c.position_bias), time = DeviceArray::floats(JD_F32, c.time_bias);
  const DeviceArray timestamps = DeviceArray::integers(JD_I64, c.timestamps);

  jdb_hstu_attention_args args{};
  args.queries = q.tensor();
  args.keys = k.tensor();
  args.values = v.tensor();
  args.offsets = offsets.tensor({static_cast<int64_t>(c.offsets.size())});
  if (!c.targets.empty()) args.num_targets = targets.tensor({static_cast<int64_t>(c.targets.size())});
  if (c.scale_rows) args.attn_scale = row_scale.tensor({c.rows()});
  const auto each_head = [&](const std::vector<float> &all) { return static_cast<int64_t>(all.size()) / c.heads; };
  if (!c.position_bias.empty()) args.position_bias = position.tensor({c.heads, each_head(c.position_bias)});
  if (!c.time_bias.empty()) {
    args.time_bias = time.tensor({c.heads, each_head(c.time_bias)});
    args.timestamps = timestamps.tensor({c.rows()});
  }
  args.out = out.tensor();
  args.batch = static_cast<int64_t>(c.offsets.size()) - 1;

  simt_backend::Device device{2, c.simt_seed};
  simt_backend::Stream stream{};
  stream.device = &device;
  jd_error error{};
  error.struct_size = sizeof error;
  PlanMemory memory;
  HstuOutcome outcome{};
  {
    KernelPlan *made = nullptr;
    PlanResources resources = memory.resources(c.multiprocessors);
    resources.hopper = c.hopper;
    EXPECT_EQ(HstuAttentionPlan::create(resources, desc_of(c), &made, &error), JD_OK) << error.message;
    const std::unique_ptr<KernelPlan> plan(made);
    auto &hstu = static_cast<HstuAttentionPlan &>(*plan);
    if (c.window > 0) hstu.window = c.window;
    outcome.tile_rows = hstu.tile_rows(args.batch, c.rows(), false);
    simt_backend::Executor executor(stream, &error);
    EXPECT_EQ(launch_hstu_attention(executor, hstu, args), JD_OK) << error.message;
  }
  EXPECT_EQ(memory.alive_bytes, 0);
  EXPECT_TRUE(out.gaps_untouched());
  outcome.out = out.dense();
  outcome.report = report_of(stream.faults);
  return outcome;
}

// Rows [first, last) are written and within the error bound of the dtypes.
inline void expect_close(const HstuCase &c, const HstuOutcome &outcome, int64_t first, int64_t last) {
  const reference::HstuAttentionResult expected = c.expected();
  int64_t longest = 1;
  for (const int64_t n : c.lengths) longest = std::max(longest, n);
  // Values, and biases, are in (-1, 1).
  const double score = std::fabs(c.alpha) * static_cast<double>(c.dqk) + (c.position_bias.empty() ? 0 : 1) + (c.time_bias.empty() ? 0 : 1);
  for (int64_t i = first * c.heads * c.dv; i < last * c.heads * c.dv; ++i) {
    const auto at = static_cast<size_t>(i);
    const double norm =
        c.scale_rows ? std::fabs(c.row_scale[static_cast<size_t>(i / (c.heads * c.dv))]) : 1.0 / c.scaling_seqlen;
    const double allowed = tolerance::hstu_attention(longest, c.dqk, score, expected.terms[at], expected.out[at], c.dtype,
                                                     c.out_dtype) +
                           tolerance::hstu_scores(c.dqk, score, norm * static_cast<double>(longest));
    // Negated, so that a NaN fails.
    ASSERT_TRUE(std::fabs(outcome.out[at] - expected.out[at]) <= allowed)
        << "row " << i / (c.heads * c.dv) << " head " << i / c.dv % c.heads << " column " << i % c.dv << ": got "
        << outcome.out[at] << ", expected " << expected.out[at] << " +- " << allowed;
  }
}

inline HstuOutcome run_and_expect_close(const HstuCase &c) {
  HstuOutcome outcome = run(c);
  expect_close(c, outcome, 0, c.rows());
  EXPECT_EQ(outcome.report.has_error, 0);
  EXPECT_EQ(outcome.report.skipped, 0);
  return outcome;
}

}  // namespace jindou::testing

#endif
