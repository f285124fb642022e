// The kernels of an STCA layer in the emulator: what does not show through the C ABI. (Results: native/tests/operators_stca_attention.cpp.)
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "attention/stca_attention_launch.h"
#include "attention/tests/rows.h"
#include "simt/backend/executor.h"
#include "testing/plan_memory.h"

namespace jindou {
namespace {

using testing::DeviceArray;
using testing::offsets_of_lengths;
using testing::random_values;

struct StcaCase {
  std::vector<int64_t> candidates, history;
  int32_t dtype = JD_BF16, dim = 288, heads = 2, head_dim = 32, bounds = JD_BOUNDS_STRICT, path = JD_STCA_REORDERED;
  int64_t max_candidates = 3, max_history = 1000;
  std::vector<int64_t> history_offsets;  // by hand, when they are to be wrong
  int64_t split_rows = -1;               // the plan's own
  uint64_t simt_seed = 0;
};

jd_stca_attention_desc desc_of(const StcaCase &c) {
  jd_stca_attention_desc desc{};
  desc.struct_size = sizeof desc;
  desc.dtype = c.dtype;
  desc.out_dtype = JD_F32;
  desc.offset_dtype = JD_I64;
  desc.model_dim = c.dim;
  desc.num_heads = c.heads;
  desc.head_dim = c.head_dim;
  desc.scale = 0.01f;
  desc.path = c.path;
  desc.bounds = c.bounds;
  desc.max_batch = static_cast<int64_t>(c.candidates.size());
  desc.max_candidates = c.max_candidates;
  desc.max_history = c.max_history;
  desc.max_total_candidates = desc.max_batch * c.max_candidates;
  desc.max_total_events = desc.max_batch * c.max_history;
  return desc;
}

struct Outcome {
  std::vector<float> out;
  jdb_report report;
};

Outcome run(const StcaCase &c) {
  const std::vector<int64_t> co = offsets_of_lengths(c.candidates), ho = offsets_of_lengths(c.history);
  const int64_t width = c.heads * c.head_dim;
  const auto matrix = [&](int64_t rows, int32_t dtype, uint64_t seed) {
    return DeviceArray::floats(dtype, random_values(static_cast<size_t>(rows * c.dim), dtype, seed));
  };
  const DeviceArray candidates = matrix(co.back(), c.dtype, 1), events = matrix(ho.back(), c.dtype, 2);
  const DeviceArray query_weight = matrix(width, JD_F32, 3), key_weight = matrix(width, JD_F32, 4), value_weight = matrix(width, JD_F32, 5);
  const DeviceArray candidate_offsets = DeviceArray::integers(JD_I64, co);
  const DeviceArray history_offsets = DeviceArray::integers(JD_I64, c.history_offsets.empty() ? ho : c.history_offsets);
  const DeviceArray out(JD_F32, static_cast<size_t>(co.back() * width));

  jdb_stca_attention_args args{};
  args.candidates = candidates.tensor({co.back(), c.dim});
  args.candidate_offsets = candidate_offsets.tensor({static_cast<int64_t>(co.size())});
  args.events = events.tensor({ho.back(), c.dim});
  args.history_offsets = history_offsets.tensor({static_cast<int64_t>(ho.size())});
  args.query_weight = query_weight.tensor({width, c.dim});
  args.key_weight = key_weight.tensor({width, c.dim});
  args.value_weight = value_weight.tensor({width, c.dim});
  args.out = out.tensor({co.back(), width});
  args.batch = static_cast<int64_t>(c.candidates.size());

  simt_backend::Device device{2, c.simt_seed};
  simt_backend::Stream stream{};
  stream.device = &device;
  jd_error error{};
  error.struct_size = sizeof error;
  testing::PlanMemory memory;
  {
    const PlanResources resources = memory.resources(2);
    StcaAttentionPlan plan(resources, desc_of(c));
    if (c.split_rows >= 0) plan.split_rows = c.split_rows;
    EXPECT_EQ(plan.allocate(resources, &error), JD_OK) << error.message;
    EXPECT_EQ(memory.alive_bytes, plan.buffers.bytes());
    simt_backend::Executor executor(stream, &error);
    EXPECT_EQ(launch_stca_attention(executor, plan, args), JD_OK) << error.message;
  }
  EXPECT_EQ(memory.alive_bytes, 0);
  Outcome outcome;
  for (size_t i = 0; i < out.size(); ++i) outcome.out.push_back(out.get(i));
  outcome.report = report_of(stream.faults);
  return outcome;
}

void expect_same_bits(const std::vector<float> &a, const std::vector<float> &b, size_t first, size_t last) {
  for (size_t i = first; i < last; ++i) ASSERT_TRUE(std::isfinite(a[i]) && memcmp(&a[i], &b[i], sizeof(float)) == 0) << i;
}

// Pieces spread over blocks and merged by a second kernel, or taken in turn by one block, give the same bits, in any order of threads.
TEST(StcaAttention, pieces_give_the_same_bits_split_or_not) {
  for (const int32_t dtype : {JD_F32, JD_F16, JD_BF16}) {
    StcaCase c;
    c.dtype = dtype;
    c.candidates = {3, 1};
    c.history = {300, 97};
    const Outcome split = run(c);
    c.split_rows = 0;
    c.simt_seed = 7;
    const Outcome whole = run(c);
    expect_same_bits(split.out, whole.out, 0, split.out.size());
    EXPECT_EQ(whole.report.has_error, 0);
  }
}

// A user that is skipped gives zeros, not what an earlier run left in scratch.
TEST(StcaAttention, a_refused_user_gives_zeros) {
  StcaCase c;
  c.candidates = {1, 2};
  c.history = {40, 30};
  const Outcome good = run(c);
  c.bounds = JD_BOUNDS_ZERO;
  c.max_history = 39;
  const Outcome skipped = run(c);
  EXPECT_EQ(skipped.report.skipped, 1);
  const size_t width = 64;
  for (size_t i = 0; i < width; ++i) EXPECT_EQ(skipped.out[i], 0.0f);
  expect_same_bits(good.out, skipped.out, width, 3 * width);
}

// Of tensors that end where their last element does: several tiles of rows and columns, and parts of them.
TEST(StcaAttention, both_ways_agree_and_read_nothing_outside) {
  for (const int32_t dtype : {JD_F32, JD_F16, JD_BF16}) {
    for (const int64_t candidates : {5, 70}) {  // exact products for few, others for many
      StcaCase c;
      c.dtype = dtype;
      c.dim = 352;
      c.heads = 5;
      c.candidates = {candidates, 1};
      c.history = {131, 7};
      c.max_candidates = candidates;
      const Outcome reordered = run(c);
      c.path = JD_STCA_MATERIALISED;
      const Outcome materialised = run(c);
      const double rounded = dtype == JD_F32 ? 1e-5 : dtype == JD_F16 ? 0.02 : 0.15;
      ASSERT_EQ(reordered.out.size(), static_cast<size_t>((candidates + 1) * 160));
      for (size_t i = 0; i < reordered.out.size(); ++i) {
        ASSERT_TRUE(std::fabs(reordered.out[i] - materialised.out[i]) <= rounded * 12)  // values are about 10, scores too
            << i << ": " << reordered.out[i] << ", " << materialised.out[i];
      }
    }
  }
}

TEST(StcaAttentionPlan, scratch_stays_bounded) {
  StcaCase c;
  c.candidates.resize(1);
  c.dim = 1024;
  c.heads = 16;
  c.head_dim = 64;
  c.max_history = 131072;
  for (const int64_t candidates : {1, 64, 300}) {
    c.max_candidates = candidates;
    testing::PlanMemory memory;
    const StcaAttentionPlan plan(memory.resources(132), desc_of(c));
    const int64_t partials = plan.split_rows * plan.pieces(c.max_history) * (c.dim + 2) * 4;
    EXPECT_LE(partials, StcaAttentionPlan::kScratchBudget);
    EXPECT_GE(plan.split_rows, std::min<int64_t>(candidates * c.heads, 64));
  }
}

}  // namespace
}  // namespace jindou
