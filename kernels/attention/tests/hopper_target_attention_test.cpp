// The target_attention kernels of sm_90a in the emulator: against the float64 reference, and their properties.
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

TargetCase case_of(int32_t d) {
  TargetCase c;
  c.dqk = c.dv = d;
  c.scale = 1.0f / std::sqrt(static_cast<float>(d));
  c.hopper = true;
  return c;
}

class HopperTargetAttention : public ::testing::TestWithParam<int32_t> {};
INSTANTIATE_TEST_SUITE_P(Every, HopperTargetAttention, ::testing::Values(64, 128, 256),
                         [](const ::testing::TestParamInfo<int32_t> &info) { return "d" + std::to_string(info.param); });

TEST_P(HopperTargetAttention, equals_the_reference_around_tile_edges) {
  TargetCase c = case_of(GetParam());
  c.candidates = {0, 1, 63, 64, 65, 0, 127, 128, 129, 5, 67, 1};
  c.history = {5, 0, 1, 127, 128, 0, 129, 63, 64, 257, 97, 200};
  c.heads = c.kv_heads = 1;
  c.draw();
  run_and_expect_close(c);
}

TEST_P(HopperTargetAttention, sees_each_candidates_own_key) {
  TargetCase c = case_of(GetParam());
  c.candidates = {1, 65, 3, 0, 129};
  c.history = {0, 33, 64, 7, 1};
  c.heads = c.kv_heads = 1;
  c.self_key = true;
  c.scale *= 4.0f;
  c.draw();
  run_and_expect_close(c);
  c.scale = -c.scale;
  run_and_expect_close(c);
  c.scale = 0.0f;
  run_and_expect_close(c);
}

// A tile's rows are a box of the candidates' tensor: 1, 2 and 8 heads of 128, 64 and 16 candidates.
TEST_P(HopperTargetAttention, shares_key_value_heads) {
  for (const int64_t group : {2, 8}) {
    TargetCase c = case_of(GetParam());
    c.candidates = {23, 1, 70};
    c.history = {40, 129, 3};
    c.heads = 2 * group;
    c.kv_heads = 2;
    c.self_key = true;
    c.gaps = {8, 16};
    c.draw();
    run_and_expect_close(c);
  }
}

// Pieces spread over blocks and merged by a second kernel, or taken in turn by one block, give the same bits.
TEST_P(HopperTargetAttention, pieces_give_the_same_bits_split_or_not) {
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

TEST_P(HopperTargetAttention, bits_do_not_depend_on_the_batch_or_on_the_order_of_threads) {
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
    c.multiprocessors = static_cast<int32_t>(seed * seed);
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

// Items that blocks would have none of otherwise are dealt by halves of 64 rows: whole candidates, so not where 128 heads share a key.
TEST_P(HopperTargetAttention, halves_of_tiles_give_the_same_bits) {
  for (const int64_t group : {1, 8, 64, 128}) {
    TargetCase c = case_of(GetParam());
    c.candidates = {group == 1 ? 150 : 19, 3};
    if (group > 8) c.candidates = {3, 1};
    c.history = {140, 30};
    c.heads = group;
    c.kv_heads = 1;
    c.self_key = true;
    c.draw();
    c.multiprocessors = 1;
    const TargetOutcome whole = run_and_expect_close(c);
    c.multiprocessors = 16;
    expect_same_bits(whole.out, run(c).out);
  }
}

// A user whose every row is NaN, between two others: tiles are copied with what follows a user's rows.
TEST_P(HopperTargetAttention, shows_no_row_of_another_user) {
  TargetCase c = case_of(GetParam());
  c.candidates = {5, 70, 66};
  c.history = {33, 200, 65};
  c.self_key = true;
  c.draw();
  poison_rows(c.q, c.heads * c.dqk, 5, 75);
  poison_rows(c.self_k, c.kv_heads * c.dqk, 5, 75);
  poison_rows(c.self_v, c.kv_heads * c.dv, 5, 75);
  poison_rows(c.k, c.kv_heads * c.dqk, 33, 233);
  poison_rows(c.v, c.kv_heads * c.dv, 33, 233);
  const TargetOutcome outcome = run(c);
  expect_close(c, outcome, 0, 5);
  expect_close(c, outcome, 75, 141);
}

TEST_P(HopperTargetAttention, takes_the_latest_events) {
  TargetCase c = case_of(GetParam());
  c.candidates = {2, 3, 1, 2};
  c.history = {200, 137, 136, 1100};
  c.num_latest = 137;
  c.draw();
  run_and_expect_close(c);
  // The events before do not show.
  poison_rows(c.k, c.kv_heads * c.dqk, 0, 63);
  poison_rows(c.v, c.kv_heads * c.dv, 0, 63);
  expect_close(c, run(c), 0, c.candidate_rows());
}

TEST(HopperTargetAttentionFaults, are_reported_and_leave_the_others_alone) {
  TargetCase c = case_of(64);
  c.candidates = {5, 6, 7};
  c.history = {33, 200, 65};
  c.max_history = 150;
  c.draw();
  const TargetOutcome outcome = run(c);
  EXPECT_EQ(outcome.report.has_error, 1);
  EXPECT_EQ(outcome.report.fault, JDB_FAULT_LENGTH);
  EXPECT_EQ(outcome.report.position, 1);
  expect_close(c, outcome, 0, 5);
  expect_close(c, outcome, 11, 18);
}

TEST(HopperTargetAttentionPlan, says_what_it_runs) {
  TargetCase c = case_of(128);
  testing::PlanMemory memory;
  jd_error error{};
  error.struct_size = sizeof error;
  const auto description = [&](bool hopper) {
    PlanResources resources = memory.resources(132);
    resources.hopper = hopper;
    KernelPlan *made = nullptr;
    EXPECT_EQ(TargetAttentionPlan::create(resources, testing::desc_of(c), &made, &error), JD_OK) << error.message;
    char text[512] = {};
    made->describe(text, sizeof text);
    delete made;
    return std::string(text);
  };
  EXPECT_NE(description(true).find("wgmma"), std::string::npos) << description(true);
  EXPECT_EQ(description(false).find("wgmma"), std::string::npos) << description(false);
  c.heads = 6;  // three query heads a key head: no box
  EXPECT_EQ(description(true).find("wgmma"), std::string::npos) << description(true);
  c.heads = 2;
  c.dv = 64;
  EXPECT_EQ(description(true).find("wgmma"), std::string::npos) << description(true);
}

}  // namespace
}  // namespace jindou
