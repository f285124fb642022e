// The target_attention kernels in the emulator against the float64 reference, and their properties.
#include "attention/tests/target_attention_case.h"

namespace jindou {
namespace {

using testing::expect_close;
using testing::expect_same_bits;
using testing::poison_rows;
using testing::run;
using testing::run_and_expect_close;
using testing::TargetCase;
using testing::TargetOutcome;

// Around the tiles of rows (64, 128) and of keys (32, 64), with users without candidates, without history, and without
// both.
const std::vector<int64_t> kCandidates = {0, 1, 63, 64, 65, 0, 127, 128, 129, 5, 67, 1};
const std::vector<int64_t> kHistory = {5, 0, 1, 31, 32, 0, 33, 63, 64, 65, 97, 200};

// One case a compiled kernel. Those of 16-bit rows are of both dtypes: the larger tile is tested with bf16, the smaller
// with f16, and every one around its edges with either.
struct KernelCase {
  int32_t dtype;
  int32_t columns;
  int32_t tile_rows;
};

std::vector<KernelCase> every_kernel() {
  std::vector<KernelCase> cases;
  attention::TargetAttentionKernels::visit([&](auto tag) {
    using Kernel = typename decltype(tag)::type;
    const int32_t half = Kernel::kTileRows == attention::kLargeTile ? JD_BF16 : JD_F16;
    cases.push_back({sizeof(typename Kernel::Element) == 4 ? JD_F32 : half, Kernel::kColumns, Kernel::kTileRows});
    return false;
  });
  return cases;
}

std::string name_of(const ::testing::TestParamInfo<KernelCase> &info) {
  return std::string(info.param.dtype == JD_F32 ? "f32" : "half") + "_columns" +
         std::to_string(info.param.columns) + "_rows" + std::to_string(info.param.tile_rows);
}

TargetCase case_of(const KernelCase &kernel) {
  TargetCase c;
  c.dtype = c.out_dtype = kernel.dtype;
  c.dqk = c.dv = kernel.columns;
  c.scale = 1.0f / std::sqrt(static_cast<float>(kernel.columns));
  c.multiprocessors = kernel.tile_rows == attention::kLargeTile ? 1 : 64;  // so that the schedule picks the tile
  return c;
}

class TargetAttentionKernel : public ::testing::TestWithParam<KernelCase> {};
INSTANTIATE_TEST_SUITE_P(Every, TargetAttentionKernel, ::testing::ValuesIn(every_kernel()), name_of);

TEST_P(TargetAttentionKernel, equals_the_reference_around_tile_edges) {
  for (const int32_t half : {JD_BF16, JD_F16}) {
    TargetCase c = case_of(GetParam());
    if (c.dtype != JD_F32) c.dtype = c.out_dtype = half;
    c.candidates = kCandidates;
    c.history = kHistory;
    c.heads = c.kv_heads = 1;
    c.draw();
    EXPECT_EQ(run_and_expect_close(c).schedule.tile_rows, GetParam().tile_rows);
    if (c.dtype == JD_F32) break;
  }
}

TEST_P(TargetAttentionKernel, sees_each_candidates_own_key) {
  TargetCase c = case_of(GetParam());
  c.candidates = {1, 65, 3, 0, 129};
  c.history = {0, 33, 64, 7, 1};
  c.heads = c.kv_heads = 1;
  c.self_key = true;
  c.scale *= 4.0f;
  c.draw();
  EXPECT_EQ(run_and_expect_close(c).schedule.tile_rows, GetParam().tile_rows);
}

TEST_P(TargetAttentionKernel, shares_key_value_heads) {
  TargetCase c = case_of(GetParam());
  c.candidates = {23, 1, 50};
  c.history = {40, 65, 3};
  c.heads = 6;
  c.kv_heads = 2;
  c.self_key = true;
  c.draw();
  run_and_expect_close(c);
}

// Pieces spread over blocks and merged by a second kernel, or taken in turn by one block, give the same bits.
TEST_P(TargetAttentionKernel, pieces_give_the_same_bits_split_or_not) {
  TargetCase c = case_of(GetParam());
  c.candidates = {7, 2, 1};
  c.history = {1025, 70, 2049};
  c.heads = 2;
  c.kv_heads = 1;
  c.self_key = true;
  c.draw();
  c.split_limit = 1000;
  const TargetOutcome split = run_and_expect_close(c);
  EXPECT_TRUE(split.schedule.split);
  c.split_limit = 0;
  const TargetOutcome whole = run(c);
  EXPECT_FALSE(whole.schedule.split);
  expect_same_bits(split.out, whole.out);
}

TEST_P(TargetAttentionKernel, bits_do_not_depend_on_the_batch_or_on_the_order_of_threads) {
  TargetCase c = case_of(GetParam());
  c.candidates = {3, 65, 1, 2};
  c.history = {70, 33, 1030, 0};
  c.heads = 2;
  c.kv_heads = 1;
  c.self_key = true;
  c.draw();
  const TargetOutcome together = run_and_expect_close(c);
  for (const uint64_t seed : {1, 2, 3}) {
    c.simt_seed = seed;
    expect_same_bits(together.out, run(c).out);
  }
  std::vector<float> alone;
  for (size_t b = 0; b < c.candidates.size(); ++b) {
    TargetCase user = c.users(b, b + 1);
    user.simt_seed = b;
    const std::vector<float> out = run(user).out;
    alone.insert(alone.end(), out.begin(), out.end());
  }
  expect_same_bits(together.out, alone);
}

// A user whose every row is NaN, between two others.
TEST_P(TargetAttentionKernel, reads_no_row_of_another_user) {
  TargetCase c = case_of(GetParam());
  c.candidates = {5, 70, 66};
  c.history = {33, 100, 65};
  c.self_key = true;
  c.draw();
  poison_rows(c.q, c.heads * c.dqk, 5, 75);
  poison_rows(c.self_k, c.kv_heads * c.dqk, 5, 75);
  poison_rows(c.self_v, c.kv_heads * c.dv, 5, 75);
  poison_rows(c.k, c.kv_heads * c.dqk, 33, 133);
  poison_rows(c.v, c.kv_heads * c.dv, 33, 133);
  const TargetOutcome outcome = run(c);
  expect_close(c, outcome, 0, 5);
  expect_close(c, outcome, 75, 141);
}

// All candidates but one are NaN.
TEST_P(TargetAttentionKernel, ignores_other_candidates) {
  TargetCase c = case_of(GetParam());
  c.candidates = {131};
  c.history = {77};
  c.heads = c.kv_heads = 1;
  c.self_key = true;
  c.draw();
  const TargetOutcome whole = run_and_expect_close(c);
  for (std::vector<float> *x : {&c.q, &c.self_k, &c.self_v}) {
    poison_rows(*x, c.dqk, 0, 66);
    poison_rows(*x, c.dqk, 67, 131);
  }
  const TargetOutcome one = run(c);
  const auto row = [&](const TargetOutcome &o) {
    return std::vector<float>(o.out.begin() + 66 * c.dv, o.out.begin() + 67 * c.dv);
  };
  expect_same_bits(row(whole), row(one));
}

TEST_P(TargetAttentionKernel, takes_the_latest_events) {
  TargetCase c = case_of(GetParam());
  c.candidates = {2, 3, 1, 2};
  c.history = {100, 37, 36, 1100};
  c.num_latest = 37;
  c.draw();
  run_and_expect_close(c);
  // The events before are not read.
  poison_rows(c.k, c.kv_heads * c.dqk, 0, 63);
  poison_rows(c.v, c.kv_heads * c.dv, 0, 63);
  expect_close(c, run(c), 0, c.candidate_rows());
}

// Tile sizes and the number of multiprocessors choose how work is spread, never what comes out.
TEST(TargetAttention, bits_do_not_depend_on_the_tile_size) {
  for (const int32_t columns : {32, 64, 96, 128}) {
    TargetCase c = case_of({columns % 64 == 0 ? JD_BF16 : JD_F16, columns, attention::kLargeTile});
    c.candidates = {130, 64};
    c.history = {1100, 129};
    c.self_key = true;
    c.heads = 2;
    c.kv_heads = 1;
    c.draw();
    const TargetOutcome large = run(c);
    c.multiprocessors = 64;
    const TargetOutcome small = run(c);
    EXPECT_EQ(large.schedule.tile_rows, attention::kLargeTile);
    EXPECT_EQ(small.schedule.tile_rows, attention::kSmallTile);
    expect_same_bits(large.out, small.out);
  }
}

TEST(TargetAttention, takes_gaps_between_heads_and_tokens_both_offsets_and_both_outputs) {
  for (const int32_t dtype : {JD_F32, JD_BF16, JD_F16}) {
    for (const int32_t offset_dtype : {JD_I32, JD_I64}) {
      for (const int32_t out_dtype : {int32_t{JD_F32}, dtype}) {
        TargetCase c;
        c.dtype = dtype;
        c.out_dtype = out_dtype;
        c.offset_dtype = offset_dtype;
        c.candidates = {3, 66};
        c.history = {65, 34};
        c.heads = 3;
        c.kv_heads = 1;
        c.self_key = true;
        c.gaps = {8, 16};
        c.draw();
        run_and_expect_close(c);
      }
    }
  }
}

// Every pair of head dims: columns past a row's own dim are neither read (they are NaN in memory) nor written.
TEST(TargetAttention, takes_every_pair_of_head_dims) {
  for (const int32_t dtype : {JD_F32, JD_BF16, JD_F16}) {
    for (const int64_t dqk : {32, 64, 96, 128, 192, 256}) {
      for (const int64_t dv : {32, 64, 96, 128, 192, 256}) {
        SCOPED_TRACE(std::to_string(dqk) + " and " + std::to_string(dv));
        TargetCase c;
        c.dtype = c.out_dtype = dtype;
        c.dqk = dqk;
        c.dv = dv;
        c.scale = 1.0f / std::sqrt(static_cast<float>(dqk));
        c.candidates = {3, 1};
        c.history = {35, 17};
        c.self_key = true;
        c.gaps = {256, 0};
        c.multiprocessors = dqk == 64 ? 1 : 64;
        c.draw();
        run_and_expect_close(c);
        if (::testing::Test::HasFatalFailure()) return;
      }
    }
  }
}

// Partial results are of dv columns; what a block parks, of the kernel's.
TEST(TargetAttention, pieces_of_other_head_dims_give_the_same_bits_split_or_not) {
  for (const int32_t dtype : {JD_F32, JD_F16}) {
    for (const bool wide_values : {false, true}) {
      TargetCase c;
      c.dtype = c.out_dtype = dtype;
      c.dqk = wide_values ? 32 : 192;
      c.dv = wide_values ? 192 : 32;
      c.candidates = {3, 1};
      c.history = {1025, 1100};
      c.gaps = {256, 0};
      c.draw();
      c.split_limit = 1000;
      const TargetOutcome split = run_and_expect_close(c);
      EXPECT_TRUE(split.schedule.split);
      c.split_limit = 0;
      expect_same_bits(split.out, run(c).out);
    }
  }
}

// Scale of either sign, zero, and large enough that one key takes all the weight and earlier maxima are overtaken.
TEST(TargetAttention, takes_every_scale) {
  for (const int32_t dtype : {JD_F32, JD_BF16, JD_F16}) {
    for (const float scale : {0.0f, -0.0f, 1e-30f, -0.5f, 3.0f, -40.0f}) {
      TargetCase c;
      c.dtype = c.out_dtype = dtype;
      c.scale = scale;
      c.candidates = {9};
      c.history = {200};
      c.self_key = true;
      c.draw();
      for (size_t i = 0; i < c.k.size(); ++i)
        c.k[i] = testing::rounded(c.k[i] * (1.0f + static_cast<float>(i) * 1e-4f), dtype);
      run_and_expect_close(c);
    }
  }
}

TEST(TargetAttention, zero_scale_averages) {
  for (const int32_t dtype : {JD_F32, JD_BF16, JD_F16}) {
    TargetCase c;
    c.dtype = dtype;
    c.out_dtype = JD_F32;
    c.scale = 0.0f;
    c.candidates = {2};
    c.history = {33};
    c.heads = c.kv_heads = 1;
    c.draw();
    const TargetOutcome outcome = run(c);
    for (int64_t column = 0; column < c.dv; ++column) {
      double mean = 0;
      for (int64_t j = 0; j < 33; ++j) mean += c.v[static_cast<size_t>(j * c.dv + column)] / 33.0;
      EXPECT_NEAR(outcome.out[static_cast<size_t>(column)], mean, 1e-6);
    }
  }
}

TEST(TargetAttention, a_candidate_without_any_key_gives_zeros) {
  for (const int32_t dtype : {JD_F32, JD_BF16, JD_F16}) {
    TargetCase c;
    c.dtype = c.out_dtype = dtype;
    c.candidates = {2, 3};
    c.history = {0, 0};
    c.draw();
    for (const float x : run(c).out) EXPECT_EQ(x, 0.0f);
  }
}

// More users than a block looks at at once, and more items than blocks.
TEST(TargetAttention, many_short_users) {
  for (const int32_t dtype : {JD_F32, JD_BF16, JD_F16}) {
    TargetCase c;
    c.dtype = c.out_dtype = dtype;
    c.heads = c.kv_heads = 1;
    c.multiprocessors = 1;
    for (int64_t b = 0; b < 300; ++b) {
      c.candidates.push_back(b % 5 == 0 ? 0 : b % 3);
      c.history.push_back((b * 7) % 11);
    }
    c.draw();
    run_and_expect_close(c);
  }
}

TEST(TargetAttention, empty_batch_and_no_candidates) {
  TargetCase c;
  c.draw();
  EXPECT_TRUE(run(c).out.empty());
  c.candidates = {0, 0};
  c.history = {3, 0};
  c.draw();
  const TargetOutcome outcome = run(c);
  EXPECT_TRUE(outcome.out.empty());
  EXPECT_EQ(outcome.report.has_error, 0);
}

// More than 32 pieces of 1,024 events: pieces grow instead of becoming more.
TEST(TargetAttention, very_long_history) {
  TargetCase c;
  c.candidates = {2};
  c.history = {33001};
  c.max_history = 40000;
  c.heads = c.kv_heads = 1;
  c.out_dtype = JD_F32;
  c.draw();
  EXPECT_TRUE(run_and_expect_close(c).schedule.split);
}

// -- schedules, without a kernel -------------------------------------------------------------------------
TEST(TargetAttentionSchedule, grids_hold_every_item_and_scratch_stays_bounded) {
  std::mt19937_64 random(7);
  for (int round = 0; round < 200; ++round) {
    TargetCase c;
    c.heads = 8;
    c.kv_heads = 1 << (random() % 4);
    c.dqk = 32 * (1 + random() % 8);
    c.dv = 32 * (1 + random() % 8);
    c.dtype = random() % 2 ? JD_BF16 : JD_F32;
    c.max_candidates = random() % 2 ? 4096 : 1000;
    c.max_history = 131072;
    const size_t batch = 1 + random() % 40;
    for (size_t b = 0; b < batch; ++b) {
      c.candidates.push_back(static_cast<int64_t>(random() % (random() % 2 ? 10 : 1000)));
      c.history.push_back(static_cast<int64_t>(random() % 20000));
    }
    testing::PlanMemory memory;
    const TargetAttentionPlan plan(memory.resources(132), testing::desc_of(c));
    const TargetAttentionSchedule s = plan.schedule(static_cast<int64_t>(batch), c.candidate_rows(), c.history_rows());
    int64_t items = 0;
    for (size_t b = 0; b < batch; ++b) {
      const int64_t rows = c.candidates[b] * c.heads / c.kv_heads;
      items += (rows + s.tile_rows - 1) / s.tile_rows * c.kv_heads *
               (s.split ? attention::target_pieces().number(static_cast<int32_t>(c.history[b])) : 1);
    }
    EXPECT_GE(s.items, items);
    const size_t states = size_t{8} * 132 * 4 * 1024 + (size_t{132} << 12) * 32;
    EXPECT_LE(plan.scratch_bytes(), static_cast<size_t>(TargetAttentionPlan::kScratchBudget) + states);
    // Whatever rows a tensor has: a split run has room, another may park.
    const int64_t many = static_cast<int64_t>(random() % (int64_t{1} << (random() % 40)));
    const TargetAttentionSchedule t = plan.schedule(static_cast<int64_t>(batch), many, c.history_rows());
    if (t.split) {
      EXPECT_LE(t.pieces * many * c.heads * c.dv * 4, static_cast<int64_t>(plan.scratch_bytes()));
    } else if (attention::target_pieces().most_up_to(c.history_rows()) > 1) {
      EXPECT_LE(t.most_blocks * attention::kLargeTile * plan.columns * 4, static_cast<int64_t>(plan.scratch_bytes()));
    }
  }
}

TEST(TargetAttentionPlan, says_what_it_runs_and_gives_memory_back) {
  TargetCase c;
  c.candidates = {1};
  testing::PlanMemory memory;
  jd_error error{};
  error.struct_size = sizeof error;
  KernelPlan *made = nullptr;
  ASSERT_EQ(TargetAttentionPlan::create(memory.resources(132), testing::desc_of(c), &made, &error), JD_OK);
  char text[256];
  made->describe(text, sizeof text);
  EXPECT_NE(std::string(text).find("mma.sync"), std::string::npos) << text;
  EXPECT_GT(memory.alive_bytes, 0);
  delete made;
  EXPECT_EQ(memory.alive_bytes, 0);

  memory.limit_bytes = 1000;
  EXPECT_EQ(TargetAttentionPlan::create(memory.resources(132), testing::desc_of(c), &made, &error), JD_OUT_OF_MEMORY);
  EXPECT_EQ(memory.alive_bytes, 0);

  jd_target_attention_desc silu = testing::desc_of(c);
  silu.activation = JD_ACTIVATION_SILU;
  silu.scaling_seqlen = 100;
  memory.limit_bytes = INT64_MAX;
  ASSERT_EQ(TargetAttentionPlan::create(memory.resources(132), silu, &made, &error), JD_OK);
  made->describe(text, sizeof text);
  EXPECT_NE(std::string(text).find("silu"), std::string::npos) << text;
  delete made;
  EXPECT_EQ(memory.alive_bytes, 0);
}

// -- what only the device can see -----------------------------------------------------------------------------------
struct BadOffsets {
  const char *what;
  std::vector<int64_t> candidates, history;  // offsets of 4 users
  int32_t fault, table;
  int64_t position, value, limit;
  std::vector<int> refused;
};

// The tensors hold 40 candidates and 50 events; declared: 20 candidates, 30 events a user.
std::vector<BadOffsets> bad_offsets() {
  const std::vector<int64_t> c = {0, 10, 20, 30, 40}, h = {0, 5, 20, 20, 50};
  return {
      {"start", {1, 10, 20, 30, 40}, h, JDB_FAULT_OFFSET_START, 0, 0, 1, 0, {0}},
      {"negative start", c, {-3, 5, 20, 20, 50}, JDB_FAULT_OFFSET_START, 1, 0, -3, 0, {0}},
      {"order", {0, 10, 4, 22, 40}, h, JDB_FAULT_OFFSET_ORDER, 0, 1, 4, 10, {1}},
      {"order of the history", c, {0, 5, 25, 20, 50}, JDB_FAULT_OFFSET_ORDER, 1, 2, 20, 25, {2}},
      {"negative", c, {0, -7, 20, 20, 50}, JDB_FAULT_OFFSET_ORDER, 1, 0, -7, 0, {0, 1}},
      {"far away", c, {0, INT64_MIN, INT64_MAX, 20, 50}, JDB_FAULT_OFFSET_ORDER, 1, 0, INT64_MIN, 0, {0, 1, 2}},
      {"overrun", {0, 10, 20, 30, 41}, h, JDB_FAULT_OFFSET_OVERRUN, 0, 3, 41, 40, {3}},
      {"overrun in the middle", {0, 10, 60, 30, 40}, h, JDB_FAULT_OFFSET_OVERRUN, 0, 1, 60, 40, {1, 2}},
      {"short", c, {0, 5, 20, 20, 49}, JDB_FAULT_OFFSET_OVERRUN, 1, 3, 49, 50, {3}},
      {"too many candidates", {0, 10, 10, 31, 40}, h, JDB_FAULT_LENGTH, 0, 2, 21, 20, {2}},
      {"too long a history", c, {0, 0, 31, 31, 50}, JDB_FAULT_LENGTH, 1, 1, 31, 30, {1}},
  };
}

TEST(TargetAttentionFaults, name_the_first_offender_and_leave_the_others_alone) {
  for (const int32_t dtype : {JD_F32, JD_BF16, JD_F16}) {
    for (const int32_t bounds : {JD_BOUNDS_STRICT, JD_BOUNDS_ZERO}) {
      for (const BadOffsets &bad : bad_offsets()) {
        SCOPED_TRACE(bad.what);
        TargetCase c;
        c.dtype = c.out_dtype = dtype;
        c.bounds = bounds;
        c.offset_dtype = JD_I64;
        c.heads = c.kv_heads = 1;
        c.candidates = {10, 10, 10, 10};
        c.history = {5, 15, 0, 30};
        c.max_candidates = 20;
        c.max_history = 30;
        c.draw();
        c.candidate_offsets = bad.candidates;
        c.history_offsets = bad.history;
        for (const uint64_t seed : {0, 5}) {
          c.simt_seed = seed;
          const TargetOutcome outcome = run(c);
          if (bounds == JD_BOUNDS_ZERO) {
            EXPECT_EQ(outcome.report.has_error, 0);
            EXPECT_EQ(outcome.report.skipped, static_cast<int64_t>(bad.refused.size()));
          } else {
            EXPECT_EQ(outcome.report.has_error, 1);
            EXPECT_EQ(outcome.report.skipped, 0);
            EXPECT_EQ(outcome.report.op, JDB_OP_TARGET_ATTENTION);
            EXPECT_EQ(outcome.report.fault, bad.fault);
            EXPECT_EQ(outcome.report.table, bad.table);
            EXPECT_EQ(outcome.report.position, bad.position);
            EXPECT_EQ(outcome.report.value, bad.value);
            EXPECT_EQ(outcome.report.limit, bad.limit);
          }
          // Rows of users that were not refused, as if they were alone; where a bad offset gives two users the same
          // row, either.
          std::vector<int> owners(40, 0);
          for (int b = 0; b < 4; ++b) {
            if (std::find(bad.refused.begin(), bad.refused.end(), b) != bad.refused.end()) continue;
            for (int64_t i = bad.candidates[b]; i < bad.candidates[b + 1]; ++i) ++owners[static_cast<size_t>(i)];
          }
          for (int b = 0; b < 4; ++b) {
            if (std::find(bad.refused.begin(), bad.refused.end(), b) != bad.refused.end()) continue;
            const int64_t c0 = bad.candidates[b], c1 = bad.candidates[b + 1];
            const int64_t h0 = bad.history[b], h1 = bad.history[b + 1];
            TargetCase alone = c;
            alone.bounds = JD_BOUNDS_STRICT;
            alone.candidates = {c1 - c0};
            alone.history = {h1 - h0};
            alone.draw();
            alone.q.assign(c.q.begin() + c0 * c.dqk, c.q.begin() + c1 * c.dqk);
            alone.k.assign(c.k.begin() + h0 * c.dqk, c.k.begin() + h1 * c.dqk);
            alone.v.assign(c.v.begin() + h0 * c.dv, c.v.begin() + h1 * c.dv);
            const TargetOutcome expected = run(alone);
            for (int64_t i = c0; i < c1; ++i) {
              if (owners[static_cast<size_t>(i)] > 1) continue;
              const auto row = [&](const std::vector<float> &out, int64_t at) {
                return std::vector<float>(out.begin() + at * c.dv, out.begin() + (at + 1) * c.dv);
              };
              expect_same_bits(row(outcome.out, i), row(expected.out, i - c0));
            }
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace jindou
