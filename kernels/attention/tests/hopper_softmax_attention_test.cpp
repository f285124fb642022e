// The softmax_attention kernels of sm_90a in the emulator: against the float64 reference, and their properties.
#include "attention/tests/softmax_attention_case.h"

namespace jindou {
namespace {

using reference::SoftmaxMaskKind;
using reference::SoftmaxMaskParams;
using testing::expect_close;
using testing::expect_same_bits;
using testing::poison_rows;
using testing::run;
using testing::run_and_expect_close;
using testing::SoftmaxCase;
using testing::SoftmaxOutcome;

SoftmaxCase case_of(int32_t d) {
  SoftmaxCase c;
  c.dqk = c.dv = d;
  c.scale = 3.0f / std::sqrt(static_cast<float>(d));
  c.hopper = true;
  return c;
}

SoftmaxMaskParams causal() {
  SoftmaxMaskParams mask;
  mask.kind = SoftmaxMaskKind::causal;
  return mask;
}

SoftmaxMaskParams window(int64_t left, int64_t right) {
  SoftmaxMaskParams mask;
  mask.kind = SoftmaxMaskKind::window;
  mask.left = left;
  mask.right = right;
  return mask;
}

class HopperSoftmaxAttention : public ::testing::TestWithParam<int32_t> {};
INSTANTIATE_TEST_SUITE_P(Every, HopperSoftmaxAttention, ::testing::Values(64, 128, 256),
                         [](const ::testing::TestParamInfo<int32_t> &info) { return "d" + std::to_string(info.param); });

TEST_P(HopperSoftmaxAttention, equals_the_reference_around_tile_edges) {
  for (const SoftmaxMaskParams &mask : {causal(), SoftmaxMaskParams{}}) {
    SoftmaxCase c = case_of(GetParam());
    c.queries = {0, 1, 63, 64, 65, 3, 127, 129, 5, 40, 1, 257};
    c.keys = {5, 0, 31, 64, 33, 257, 127, 97, 128, 12, 130, 257};
    c.heads = c.kv_heads = 1;
    c.mask = mask;
    c.draw();
    run_and_expect_close(c);
    c.scale = -c.scale;
    run_and_expect_close(c);
  }
}

TEST_P(HopperSoftmaxAttention, window_sink_prefix_and_global_rows_together) {
  SoftmaxCase c = case_of(GetParam());
  c.queries = {300, 3, 67, 20};
  c.keys = {500, 100, 67, 5};
  c.heads = 2;
  c.kv_heads = 1;
  c.mask = window(17, 3);
  c.mask.sink = 5;
  c.mask.prefix = 70;
  c.mask.num_global = 2;
  c.draw();
  run_and_expect_close(c);
}

TEST_P(HopperSoftmaxAttention, shares_key_value_heads) {
  for (const int64_t group : {2, 8}) {
    SoftmaxCase c = case_of(GetParam());
    c.queries = {23, 1, 70};
    c.keys = {40, 129, 80};
    c.heads = 2 * group;
    c.kv_heads = 2;
    c.gaps = {8, 16};
    c.mask = causal();
    c.draw();
    run_and_expect_close(c);
  }
}

// Pieces of a causal mask and of a window, those that a tile sees nothing of left out.
TEST_P(HopperSoftmaxAttention, pieces_give_the_same_bits_split_or_not) {
  for (const SoftmaxMaskParams &mask : {causal(), window(60, 0)}) {
    SoftmaxCase c = case_of(GetParam());
    c.queries = {70, 2, 9};
    c.keys = {1100, 70, 520};
    c.heads = 2;
    c.kv_heads = 1;
    c.mask = mask;
    c.mask.sink = mask.kind == SoftmaxMaskKind::window ? 3 : 0;
    c.draw();
    c.split_limit = 1000;
    const SoftmaxOutcome split = run_and_expect_close(c);
    EXPECT_TRUE(split.schedule.split);
    c.split_limit = 0;
    const SoftmaxOutcome whole = run(c);
    EXPECT_FALSE(whole.schedule.split);
    expect_same_bits(split, whole);
  }
}

TEST_P(HopperSoftmaxAttention, bits_do_not_depend_on_the_order_of_threads_or_the_grid) {
  SoftmaxCase c = case_of(GetParam());
  c.queries = {3, 165, 0, 2};
  c.keys = {70, 233, 7, 530};
  c.heads = 2;
  c.kv_heads = 1;
  c.mask = causal();
  c.draw();
  const SoftmaxOutcome together = run_and_expect_close(c);
  for (const uint64_t seed : {1, 2, 3}) {
    c.simt_seed = seed;
    c.multiprocessors = static_cast<int32_t>(seed * seed);
    expect_same_bits(together, run(c));
  }
}

// Items that blocks would have none of otherwise are dealt by halves of 64 rows: whole queries, so not where 128 heads share a key.
TEST_P(HopperSoftmaxAttention, halves_of_tiles_give_the_same_bits) {
  for (const int64_t group : {1, 8, 64, 128}) {
    SoftmaxCase c = case_of(GetParam());
    c.queries = {group == 1 ? 150 : 19, 3};
    if (group > 8) c.queries = {3, 1};
    c.keys = {160, 30};
    c.heads = group;
    c.kv_heads = 1;
    c.mask = group == 8 ? SoftmaxMaskParams{} : causal();
    c.draw();
    c.multiprocessors = 1;
    const SoftmaxOutcome whole = run_and_expect_close(c);
    c.multiprocessors = 16;
    expect_same_bits(whole, run(c));
  }
}

// A sequence whose every row is NaN, between two others: tiles are copied with what follows a sequence's rows.
TEST_P(HopperSoftmaxAttention, shows_no_row_of_another_sequence) {
  SoftmaxCase c = case_of(GetParam());
  c.queries = {5, 70, 66};
  c.keys = {33, 200, 165};
  c.draw();
  poison_rows(c.q, c.heads * c.dqk, 5, 75);
  poison_rows(c.k, c.kv_heads * c.dqk, 33, 233);
  poison_rows(c.v, c.kv_heads * c.dv, 33, 233);
  const SoftmaxOutcome outcome = run(c);
  expect_close(c, outcome, 0, 5);
  expect_close(c, outcome, 75, 141);
}

// Where exp of the score itself vanishes: the running maximum starts below every score.
TEST(HopperSoftmaxAttentionScores, far_below_zero) {
  SoftmaxCase c = case_of(64);
  c.queries = {70};
  c.keys = {600};
  c.scale = 3.0f;
  c.mask = causal();
  c.draw();
  std::fill(c.q.begin(), c.q.end(), 1.0f);
  std::fill(c.k.begin(), c.k.end(), -1.0f);
  run_and_expect_close(c);
}

TEST(HopperSoftmaxAttentionPlan, says_what_it_runs) {
  SoftmaxCase c = case_of(128);
  testing::PlanMemory memory;
  jd_error error{};
  error.struct_size = sizeof error;
  const auto description = [&](bool hopper) {
    PlanResources resources = memory.resources(132);
    resources.hopper = hopper;
    KernelPlan *made = nullptr;
    EXPECT_EQ(SoftmaxAttentionPlan::create(resources, testing::desc_of(c), &made, &error), JD_OK) << error.message;
    char text[512] = {};
    made->describe(text, sizeof text);
    delete made;
    return std::string(text);
  };
  EXPECT_NE(description(true).find("wgmma"), std::string::npos) << description(true);
  EXPECT_EQ(description(false).find("wgmma"), std::string::npos) << description(false);
  c.softcap = 5.0f;
  EXPECT_EQ(description(true).find("wgmma"), std::string::npos) << description(true);
}

}  // namespace
}  // namespace jindou
