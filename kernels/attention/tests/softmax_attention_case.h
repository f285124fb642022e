// One softmax_attention problem in the emulator: described as the float64 reference wants it, run as a backend would run
// it.
#ifndef JINDOU_KERNELS_ATTENTION_TESTS_SOFTMAX_ATTENTION_CASE_H
#define JINDOU_KERNELS_ATTENTION_TESTS_SOFTMAX_ATTENTION_CASE_H

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "attention/softmax_attention_launch.h"
#include "attention/tests/rows.h"
#include "simt/backend/executor.h"
#include "testing/plan_memory.h"
#include "tests/reference/softmax_attention.h"
#include "tests/tolerance.h"

namespace jindou::testing {

struct SoftmaxCase {
  std::vector<int64_t> queries, keys;  // rows a sequence
  int64_t heads = 2, kv_heads = 2, dqk = 32, dv = 32;
  int32_t dtype = JD_BF16, out_dtype = JD_BF16, offset_dtype = JD_I32;
  float scale = 0.3f, softcap = 0.0f;
  reference::SoftmaxMaskParams mask;
  int32_t bias = JD_BIAS_NONE;
  int32_t t5_num_buckets = 8, t5_max_distance = 40;
  bool t5_bidirectional = false;
  bool bias_batch = false;  // dense: a matrix for each sequence
  bool with_lse = true;
  int32_t bounds = JD_BOUNDS_STRICT;
  Gaps gaps;
  uint64_t values_seed = 1;
  // Kept by hand when they are to be wrong or poisoned.
  std::vector<int64_t> q_offsets, k_offsets;
  std::vector<float> q, k, v, bias_values;
  int64_t max_queries = 300, max_keys = 1200;  // scratch follows
  // How it runs.
  uint64_t simt_seed = 0;
  int32_t multiprocessors = 2;
  int64_t split_limit = -1;  // the plan's own
  bool hopper = false;       // the kernels of sm_90a, where there are any

  int64_t query_rows() const { return offsets_of_lengths(queries).back(); }
  int64_t key_rows() const { return offsets_of_lengths(keys).back(); }
  int64_t longest_queries() const { return queries.empty() ? 0 : *std::max_element(queries.begin(), queries.end()); }
  int64_t longest_keys() const { return keys.empty() ? 0 : *std::max_element(keys.begin(), keys.end()); }

  void draw() {
    q_offsets = offsets_of_lengths(queries);
    k_offsets = offsets_of_lengths(keys);
    const auto rows = [&](int64_t n, int64_t width, uint64_t seed) {
      return random_values(static_cast<size_t>(n * width), dtype, values_seed * 16 + seed);
    };
    q = rows(query_rows(), heads * dqk, 0);
    k = rows(key_rows(), kv_heads * dqk, 1);
    v = rows(key_rows(), kv_heads * dv, 2);
    int64_t numbers = 0;
    if (bias == JD_BIAS_ALIBI) numbers = heads;
    if (bias == JD_BIAS_T5) numbers = t5_num_buckets * heads;
    if (bias == JD_BIAS_DENSE) {
      numbers = (bias_batch ? static_cast<int64_t>(queries.size()) : 1) * heads * longest_queries() * longest_keys();
    }
    bias_values = random_values(static_cast<size_t>(numbers), JD_F32, values_seed * 16 + 3);
  }

  reference::AttentionState expected() const {
    reference::SoftmaxAttentionCase c;
    c.heads = heads;
    c.kv_heads = kv_heads;
    c.dqk = dqk;
    c.dv = dv;
    c.scale = scale;
    c.softcap = softcap;
    c.mask = mask;
    std::vector<double> numbers(bias_values.begin(), bias_values.end());
    if (bias == JD_BIAS_ALIBI) c.alibi_slopes = numbers;
    if (bias == JD_BIAS_T5) {
      c.t5_bias = numbers;
      c.t5_num_buckets = t5_num_buckets;
      c.t5_max_distance = t5_max_distance;
      c.t5_bidirectional = t5_bidirectional;
    }
    if (bias == JD_BIAS_DENSE) {
      c.bias = numbers;
      c.bias_rows = longest_queries();
      c.bias_keys = longest_keys();
      c.bias_batch = bias_batch;
    }
    c.q_offsets = q_offsets;
    c.k_offsets = k_offsets;
    c.queries.assign(q.begin(), q.end());
    c.keys.assign(k.begin(), k.end());
    c.values.assign(v.begin(), v.end());
    return reference::softmax_attention(c);
  }

  // Sequence b, a batch of its own. Not with a dense bias.
  SoftmaxCase sequence(size_t b) const {
    SoftmaxCase part = *this;
    const auto slice = [](std::vector<float> &x, int64_t width, int64_t from, int64_t to) {
      x = std::vector<float>(x.begin() + from * width, x.begin() + to * width);
    };
    slice(part.q, heads * dqk, q_offsets[b], q_offsets[b + 1]);
    slice(part.k, kv_heads * dqk, k_offsets[b], k_offsets[b + 1]);
    slice(part.v, kv_heads * dv, k_offsets[b], k_offsets[b + 1]);
    part.queries = {q_offsets[b + 1] - q_offsets[b]};
    part.keys = {k_offsets[b + 1] - k_offsets[b]};
    part.q_offsets = {0, part.queries[0]};
    part.k_offsets = {0, part.keys[0]};
    return part;
  }
};

struct SoftmaxOutcome {
  std::vector<float> out;  // [queries, heads, dv]
  std::vector<float> lse;  // [queries, heads]
  jdb_report report;
  SoftmaxAttentionSchedule schedule;
};

inline jd_softmax_attention_desc desc_of(const SoftmaxCase &c) {
  jd_softmax_attention_desc desc{};
  desc.struct_size = sizeof desc;
  desc.dtype = c.dtype;
  desc.out_dtype = c.out_dtype;
  desc.offset_dtype = c.offset_dtype;
  desc.num_heads = static_cast<int32_t>(c.heads);
  desc.num_kv_heads = static_cast<int32_t>(c.kv_heads);
  desc.head_dim_qk = static_cast<int32_t>(c.dqk);
  desc.head_dim_v = static_cast<int32_t>(c.dv);
  desc.scale = c.scale;
  desc.softcap = c.softcap;
  // As core hands it over: every mask is a window.
  const bool causal = c.mask.kind == reference::SoftmaxMaskKind::causal;
  const bool window = c.mask.kind == reference::SoftmaxMaskKind::window;
  desc.mask = causal ? JD_MASK_CAUSAL : window ? JD_MASK_WINDOW : JD_MASK_NONE;
  desc.left = window ? static_cast<int32_t>(c.mask.left) : -1;
  desc.right = window ? static_cast<int32_t>(c.mask.right) : causal ? 0 : -1;
  desc.sink = static_cast<int32_t>(c.mask.sink);
  desc.prefix = static_cast<int32_t>(c.mask.prefix);
  desc.num_global = static_cast<int32_t>(c.mask.num_global);
  desc.bias = c.bias;
  desc.t5_num_buckets = c.t5_num_buckets;
  desc.t5_max_distance = c.t5_max_distance;
  desc.t5_bidirectional = c.t5_bidirectional;
  desc.bounds = c.bounds;
  desc.max_batch = std::max<int64_t>(1, static_cast<int64_t>(c.queries.size()));
  desc.max_queries = c.max_queries;
  desc.max_keys = c.max_keys;
  return desc;
}

inline SoftmaxOutcome run(const SoftmaxCase &c) {
  const auto rows = [&](int64_t n, int64_t heads, int64_t dim, const std::vector<float> &values) {
    RowsInMemory memory(c.dtype, n, heads, dim, c.gaps);
    memory.fill(values);
    return memory;
  };
  const RowsInMemory q = rows(c.query_rows(), c.heads, c.dqk, c.q);
  const RowsInMemory k = rows(c.key_rows(), c.kv_heads, c.dqk, c.k);
  const RowsInMemory v = rows(c.key_rows(), c.kv_heads, c.dv, c.v);
  const RowsInMemory out(c.out_dtype, c.query_rows(), c.heads, c.dv, c.gaps);
  const RowsInMemory lse(JD_F32, c.query_rows(), 1, c.heads, c.gaps);
  const DeviceArray q_offsets = DeviceArray::integers(c.offset_dtype, c.q_offsets);
  const DeviceArray k_offsets = DeviceArray::integers(c.offset_dtype, c.k_offsets);
  const DeviceArray bias = DeviceArray::floats(JD_F32, c.bias_values);

  jdb_softmax_attention_args args{};
  args.queries = q.tensor();
  args.q_offsets = q_offsets.tensor({static_cast<int64_t>(c.q_offsets.size())});
  args.keys = k.tensor();
  args.values = v.tensor();
  args.k_offsets = k_offsets.tensor({static_cast<int64_t>(c.k_offsets.size())});
  args.out = out.tensor();
  if (c.with_lse) {
    args.lse = lse.tensor();  // [rows, 1, heads]
    args.lse.rank = 2;
    args.lse.shape[1] = c.heads;
    args.lse.strides[1] = 1;
  }
  if (c.bias == JD_BIAS_ALIBI) args.alibi_slopes = bias.tensor({c.heads});
  if (c.bias == JD_BIAS_T5) args.t5_bias = bias.tensor({c.t5_num_buckets, c.heads});
  if (c.bias == JD_BIAS_DENSE) {
    const int64_t nq = c.longest_queries(), nk = c.longest_keys();
    args.bias = c.bias_batch ? bias.tensor({static_cast<int64_t>(c.queries.size()), c.heads, nq, nk})
                             : bias.tensor({c.heads, nq, nk});
  }
  args.batch = static_cast<int64_t>(c.q_offsets.size()) - 1;

  simt_backend::Device device{2, c.simt_seed};
  simt_backend::Stream stream{};
  stream.device = &device;
  jd_error error{};
  error.struct_size = sizeof error;
  PlanMemory memory;
  SoftmaxOutcome outcome{};
  {
    KernelPlan *made = nullptr;
    PlanResources resources = memory.resources(c.multiprocessors);
    resources.hopper = c.hopper;
    EXPECT_EQ(SoftmaxAttentionPlan::create(resources, desc_of(c), &made, &error), JD_OK)
        << error.message;
    const std::unique_ptr<KernelPlan> owner(made);
    auto &plan = static_cast<SoftmaxAttentionPlan &>(*made);
    if (c.split_limit >= 0) plan.split_limit = c.split_limit;
    outcome.schedule = plan.schedule(args.batch, c.query_rows(), c.key_rows());
    simt_backend::Executor executor(stream, &error);
    EXPECT_EQ(launch_softmax_attention(executor, plan, args), JD_OK) << error.message;
  }
  EXPECT_EQ(memory.alive_bytes, 0);
  EXPECT_TRUE(out.gaps_untouched());
  EXPECT_TRUE(lse.gaps_untouched());
  outcome.out = out.dense();
  if (c.with_lse) outcome.lse = lse.dense();
  outcome.report = report_of(stream.faults);
  return outcome;
}

// Query rows [first, last) are written and within the error bound of the dtypes.
inline void expect_close(const SoftmaxCase &c, const SoftmaxOutcome &outcome, int64_t first, int64_t last) {
  const reference::AttentionState expected = c.expected();
  // |q . k| and |v| are bounded by what the values can be: (-1, 1) times any factor a test gave them.
  const auto highest = [](const std::vector<float> &x) {
    double top = 0;
    for (const float value : x) {
      if (std::isfinite(value)) top = std::max<double>(top, std::fabs(value));
    }
    return top;
  };
  double score = std::fabs(c.scale) * highest(c.q) * highest(c.k) * static_cast<double>(c.dqk);
  if (c.bias == JD_BIAS_ALIBI) {
    score += highest(c.bias_values) * static_cast<double>(c.longest_queries() + c.longest_keys());
  } else {
    score += highest(c.bias_values);
  }
  const double value = highest(c.v);
  for (int64_t row = first * c.heads; row < last * c.heads; ++row) {
    for (int64_t column = 0; column < c.dv; ++column) {
      const auto at = static_cast<size_t>(row * c.dv + column);
      const double allowed = tolerance::softmax_attention(c.dqk, score, value, expected.out[at], c.dtype, c.out_dtype);
      // Negated, so that a NaN fails.
      ASSERT_TRUE(std::fabs(outcome.out[at] - expected.out[at]) <= allowed)
          << "row " << row / c.heads << " head " << row % c.heads << " column " << column << ": got " << outcome.out[at]
          << ", expected " << expected.out[at] << " +- " << allowed;
    }
    if (!c.with_lse) continue;
    const double lse = expected.lse[static_cast<size_t>(row)], got = outcome.lse[static_cast<size_t>(row)];
    ASSERT_TRUE(got == lse || std::fabs(got - lse) <= tolerance::log_sum_exp(c.dqk, score, lse, c.dtype))
        << "lse of row " << row / c.heads << " head " << row % c.heads << ": got " << got << ", expected " << lse;
  }
}

inline SoftmaxOutcome run_and_expect_close(const SoftmaxCase &c) {
  SoftmaxOutcome outcome = run(c);
  expect_close(c, outcome, 0, c.query_rows());
  EXPECT_EQ(outcome.report.has_error, 0);
  EXPECT_EQ(outcome.report.skipped, 0);
  return outcome;
}

inline void expect_same_bits(const SoftmaxOutcome &a, const SoftmaxOutcome &b) {
  expect_same_bits(a.out, b.out);
  expect_same_bits(a.lse, b.lse);
}

}  // namespace jindou::testing

#endif
