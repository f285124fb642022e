// The hstu_attention kernels of sm_90a in the emulator: against the float64 reference, their properties, their schedule.
#include <algorithm>
#include <set>

#include "attention/tests/hstu_attention_case.h"

namespace jindou {
namespace {

using testing::expect_close;
using testing::expect_same_bits;
using testing::HstuCase;
using testing::HstuOutcome;
using testing::poison_rows;
using testing::run;
using testing::run_and_expect_close;

HstuCase case_of(int32_t d) {
  HstuCase c;
  c.dqk = c.dv = d;
  c.alpha = 3.0f / std::sqrt(static_cast<float>(d));
  c.hopper = true;
  return c;
}

class HopperHstuAttention : public ::testing::TestWithParam<int32_t> {};
INSTANTIATE_TEST_SUITE_P(Every, HopperHstuAttention, ::testing::Values(64, 128, 256),
                         [](const ::testing::TestParamInfo<int32_t> &info) { return "d" + std::to_string(info.param); });

TEST_P(HopperHstuAttention, causal_with_targets_around_tile_edges) {
  HstuCase c = case_of(GetParam());
  c.lengths = {0, 1, 2, 63, 64, 65, 0, 127, 128, 129, 97, 257};
  c.targets = {0, 1, 0, 5, 32, 1, 0, 10, 33, 40, 20, 130};
  c.draw();
  run_and_expect_close(c);
}

TEST_P(HopperHstuAttention, contexts_targets_and_window_together) {
  HstuCase c = case_of(GetParam());
  c.lengths = {300, 3, 67, 150};
  c.targets = {30, 1, 67, 0};
  c.mask.contextual_seq_len = 5;
  c.mask.max_attn_len = 40;
  c.mask.min_full_attn_seq_len = 20;
  c.draw();
  run_and_expect_close(c);
}

// Sessions: of 128 rows, so that a tile of keys lies in one bucket of times, in two, and in many; months of milliseconds are too far apart
// for 32 bits.
enum class Times { seconds, sessions, months, no_order, ends_of_time };

void add_biases(HstuCase &c, bool position, bool time, Times kind = Times::seconds, int64_t buckets = 60) {
  if (position) c.position_bias = testing::random_values(static_cast<size_t>(c.heads * (2 * c.max_seq_len + 1)), JD_F32, 71);
  if (!time) return;
  c.time_bias = testing::random_values(static_cast<size_t>(c.heads * (buckets + 1)), JD_F32, 72);
  std::mt19937_64 random(73);
  int64_t now = 1'700'000'000;
  for (int64_t i = 0; i < c.rows(); ++i) {
    switch (kind) {
      case Times::seconds: now += static_cast<int64_t>(random() % 100); break;
      case Times::sessions: now += i % 256 == 0 ? 86'400 * 90 : i % 128 == 0 ? 700 : 1; break;
      case Times::months: now += static_cast<int64_t>(random() % 3'000'000'000); break;  // of milliseconds
      case Times::no_order: now = static_cast<int64_t>(random() % (i % 64 < 32 ? 1 << 20 : uint64_t{1} << 40)); break;
      // Exact in float64, as the reference takes differences.
      case Times::ends_of_time: now = i % 2 ? INT64_MIN + i * 8192 : (int64_t{1} << 62) - i * 1024; break;
    }
    c.timestamps.push_back(now);
  }
}

TEST_P(HopperHstuAttention, biases_around_tile_edges) {
  HstuCase c = case_of(GetParam());
  c.lengths = {290, 0, 1, 63, 128, 129};
  c.targets = {20, 0, 1, 5, 10, 40};
  c.heads = 2;
  c.max_seq_len = 300;
  c.draw();
  add_biases(c, true, true, Times::sessions);
  const HstuOutcome together = run_and_expect_close(c);
  c.simt_seed = 3;
  c.multiprocessors = 5;
  expect_same_bits(together.out, run(c).out);
  std::vector<float> alone;
  for (size_t b = 0; b < c.lengths.size(); ++b) {
    HstuCase sequence = c.sequence(b);
    sequence.simt_seed = b;
    const std::vector<float> out = run(sequence).out;
    alone.insert(alone.end(), out.begin(), out.end());
  }
  expect_same_bits(together.out, alone);
  c = c.sequence(5);
  c.timestamps.clear();
  add_biases(c, false, true, Times::ends_of_time);
  run_and_expect_close(c);
}

TEST(HopperHstuAttentionBias, one_alone_and_every_spread_of_times) {
  HstuCase c = case_of(64);
  c.lengths = {400, 70};
  c.targets = {30, 0};
  c.max_seq_len = 400;
  c.draw();
  add_biases(c, true, false);
  run_and_expect_close(c);
  c.position_bias.clear();
  for (const Times kind : {Times::seconds, Times::sessions, Times::months, Times::no_order, Times::ends_of_time}) {
    for (const int64_t buckets : {int64_t{0}, int64_t{25}, int64_t{147}}) {
      SCOPED_TRACE("times " + std::to_string(static_cast<int>(kind)) + ", buckets " + std::to_string(buckets));
      c.mask.causal = kind != Times::no_order;
      c.timestamps.clear();
      add_biases(c, false, true, kind, buckets);
      run_and_expect_close(c);
      if (::testing::Test::HasFatalFailure()) return;
    }
  }
}

// The table of a comparison a look-up, at the ends of every bucket and segment.
TEST(HopperHstuAttentionBias, a_segment_knows_the_bucket_of_each_of_its_distances) {
  const TimeBuckets table = TimeBuckets::make();
  std::vector<uint64_t> edges(table.begin, table.begin + TimeBuckets::kLast);
  for (uint64_t power = 4; power <= uint64_t{1} << 31; power *= 2) {
    for (const uint64_t quarters : {4, 5, 6, 7}) edges.push_back(power / 4 * quarters);
  }
  for (uint64_t edge : edges) {
    for (uint64_t distance = edge < 300 ? 0 : edge - 300; distance < edge + 300 && distance < uint64_t{1} << 31; ++distance) {
      const TimeBuckets::Segment &segment = table.segments[TimeBuckets::segment(static_cast<uint32_t>(distance))];
      ASSERT_EQ(distance < segment.second_begins ? segment.first : segment.second, table.bucket(distance, TimeBuckets::kLast)) << distance;
    }
  }
}

// Under other orders of threads and other moments at which copies land; with other grids; alone.
TEST_P(HopperHstuAttention, bits_do_not_depend_on_the_batch_or_on_the_order_of_threads) {
  HstuCase c = case_of(GetParam());
  c.lengths = {130, 1, 65, 0, 64, 270};
  c.targets = {20, 0, 65, 0, 1, 140};
  c.heads = 2;
  c.draw();
  const HstuOutcome together = run_and_expect_close(c);
  for (const uint64_t seed : {1, 2, 3}) {
    c.simt_seed = seed;
    c.multiprocessors = static_cast<int32_t>(seed * seed);
    expect_same_bits(together.out, run(c).out);
  }
  std::vector<float> alone;
  for (size_t b = 0; b < c.lengths.size(); ++b) {
    HstuCase sequence = c.sequence(b);
    sequence.simt_seed = b;
    const std::vector<float> out = run(sequence).out;
    alone.insert(alone.end(), out.begin(), out.end());
  }
  expect_same_bits(together.out, alone);
}

// Tiles are copied whole, with what follows a sequence: none of it may show, NaNs included.
TEST_P(HopperHstuAttention, shows_no_row_of_another_sequence) {
  HstuCase c = case_of(GetParam());
  c.lengths = {33, 150, 66};
  c.targets = {3, 5, 20};
  c.draw();
  for (std::vector<float> *x : {&c.q, &c.k, &c.v}) poison_rows(*x, c.heads * c.dqk, 33, 183);
  const HstuOutcome outcome = run(c);
  expect_close(c, outcome, 0, 33);
  expect_close(c, outcome, 183, 249);
}

// Every mask, tiles of targets that skip those before them, warpgroups that skip tiles the other one needs.
TEST(HopperHstuAttentionMask, every_mask) {
  for (const bool causal : {true, false}) {
    for (const int64_t contexts : {0, 7, 140}) {
      for (const int64_t window : {0, 1, 50}) {
        for (const int64_t full : {0, 30}) {
          if (window == 0 && full > 0) continue;
          SCOPED_TRACE("causal " + std::to_string(causal) + " contexts " + std::to_string(contexts) + " window " +
                       std::to_string(window) + " full " + std::to_string(full));
          HstuCase c = case_of(64);
          c.lengths = {420, 64, 130, 1};
          c.targets = {170, 0, 125, 1};
          c.mask = {causal, contexts, window, full};
          c.draw();
          run_and_expect_close(c);
          if (::testing::Test::HasFatalFailure()) return;
        }
      }
    }
  }
}

// d = 256 has the smallest ring: a warpgroup that skips many tiles must not hold on to one before them.
TEST(HopperHstuAttentionMask, far_tiles_with_nothing_between) {
  HstuCase c = case_of(256);
  c.lengths = {1000};
  c.targets = {900};
  c.draw();
  run_and_expect_close(c);
}

TEST(HopperHstuAttentionInterface, takes_a_scale_for_every_row_gaps_both_offsets_and_both_outputs) {
  for (const int32_t offset_dtype : {JD_I32, JD_I64}) {
    for (const int32_t out_dtype : {JD_F32, JD_BF16}) {
      HstuCase c = case_of(64);
      c.out_dtype = out_dtype;
      c.offset_dtype = offset_dtype;
      c.scale_rows = out_dtype == JD_F32;
      c.lengths = {165, 34};
      c.targets = {10, 0};
      c.heads = 3;
      c.gaps = {8, 16};
      c.draw();
      run_and_expect_close(c);
    }
  }
}

TEST(HopperHstuAttentionInterface, takes_every_alpha) {
  for (const float alpha : {0.0f, 1e-30f, -0.5f, 20.0f, -100.0f, 1e12f}) {
    HstuCase c = case_of(64);
    c.alpha = alpha;
    c.lengths = {70};
    c.draw();
    run_and_expect_close(c);
  }
}

TEST(HopperHstuAttentionInterface, many_short_sequences) {
  HstuCase c = case_of(64);
  for (int64_t b = 0; b < 300; ++b) {
    c.lengths.push_back(b % 7);
    c.targets.push_back(b % 7 / 2);
  }
  c.draw();
  run_and_expect_close(c);
}

TEST(HopperHstuAttentionInterface, reports_bad_offsets_once_and_computes_the_others) {
  for (const int32_t bounds : {JD_BOUNDS_STRICT, JD_BOUNDS_ZERO}) {
    HstuCase c = case_of(64);
    c.bounds = bounds;
    c.lengths = {50, 150, 0, 30};
    c.draw();
    c.targets = {0, 151, 0, 31};  // of sequences 1 and 3: more than there are rows
    c.multiprocessors = 3;
    const HstuOutcome outcome = run(c);
    EXPECT_EQ(outcome.report.has_error, bounds == JD_BOUNDS_STRICT);
    EXPECT_EQ(outcome.report.skipped, bounds == JD_BOUNDS_STRICT ? 0 : 2);
    if (bounds == JD_BOUNDS_STRICT) {
      EXPECT_EQ(outcome.report.fault, JDB_FAULT_TARGETS);
      EXPECT_EQ(outcome.report.position, 1);
      EXPECT_EQ(outcome.report.value, 151);
    }
    c.targets = {};
    expect_close(c, outcome, 0, 50);
    for (int64_t i = 50 * c.dv; i < 230 * c.dv; ++i) ASSERT_TRUE(std::isnan(outcome.out[static_cast<size_t>(i)]));
  }
}

TEST(HopperHstuAttentionPlan, says_what_it_runs) {
  HstuCase c = case_of(128);
  testing::PlanMemory memory;
  jd_error error{};
  error.struct_size = sizeof error;
  const auto description = [&](bool hopper) {
    PlanResources resources = memory.resources(132);
    resources.hopper = hopper;
    KernelPlan *made = nullptr;
    EXPECT_EQ(HstuAttentionPlan::create(resources, testing::desc_of(c), &made, &error), JD_OK) << error.message;
    char text[512] = {};
    made->describe(text, sizeof text);
    delete made;
    return std::string(text);
  };
  EXPECT_NE(description(true).find("wgmma"), std::string::npos) << description(true);
  EXPECT_NE(description(true).find("rows or pages of bf16, and without biases pages of fp8 or int8"), std::string::npos)
      << description(true);
  EXPECT_EQ(description(false).find("wgmma"), std::string::npos) << description(false);
  c.dqk = c.dv = 96;
  EXPECT_EQ(description(true).find("wgmma"), std::string::npos) << description(true);
  c.dqk = 64;
  EXPECT_EQ(description(true).find("wgmma"), std::string::npos) << description(true);
  c.dqk = c.dv = 256;
  EXPECT_NE(description(true).find("wgmma"), std::string::npos) << description(true);
}

// -- the schedule ------------------------------------------------------------------------------------------------------------
// Every block of a grid, run alone by one emulated block of the same threads, lists its items.
struct ScheduleKernel {
  struct Params {
    const attention::TileCosts *costs;  // [batch]
    int64_t batch;
    int32_t heads;
    std::vector<std::vector<int64_t>> *items;  // of each block: (sequence * heads + head) * 1024 + tile
  };
  static constexpr int kThreads = 384;
  static constexpr int kMinBlocks = 1;
  static constexpr size_t shared_bytes() { return sizeof(attention::HopperSchedule); }
  static void run(const Params &p, char *shared) {
    auto &schedule = *reinterpret_cast<attention::HopperSchedule *>(shared);
    const auto costs = [&](int64_t b) { return p.costs[b]; };
    schedule.sum(p.batch, p.heads, costs);
    if (prim::thread_idx().x != 0) return;
    schedule.for_each_item(p.batch, p.heads, costs, [&](int64_t b, int32_t head, int32_t tile) {
      (*p.items)[prim::block_idx().x].push_back((b * p.heads + head) * 1024 + tile);
    });
  }
};

TEST(HopperSchedule, gives_every_item_to_one_block_and_each_block_its_share) {
  for (const int32_t batch : {1, 5, 128, 129, 400}) {
    for (const int32_t heads : {1, 3}) {
      for (const uint32_t blocks : {1u, 2u, 7u, 132u}) {
        std::vector<attention::TileCosts> costs;
        uint64_t total = 0, dearest = 0;
        std::set<int64_t> expected;
        for (int32_t b = 0; b < batch; ++b) {
          const attention::TileCosts c{b * 7 % 23, b % 5, 1 + b * 3 % 17};
          costs.push_back(c);
          uint64_t sum = 0;
          for (int32_t t = 0; t < c.tiles; ++t) {
            ASSERT_EQ(c.before(t), sum);
            sum += c.of(t);
            dearest = std::max<uint64_t>(dearest, c.of(t));
            for (int32_t h = 0; h < heads; ++h) expected.insert((int64_t{b} * heads + h) * 1024 + t);
          }
          ASSERT_EQ(c.total(), sum);
          total += sum * static_cast<uint64_t>(heads);
        }
        std::vector<std::vector<int64_t>> items(blocks);
        simt::launch<ScheduleKernel>({blocks, 1, 1}, {costs.data(), batch, heads, &items});
        std::multiset<int64_t> got;
        for (const auto &of_block : items) {
          uint64_t load = 0;
          for (const int64_t item : of_block) {
            got.insert(item);
            load += costs[static_cast<size_t>(item / 1024 / heads)].of(static_cast<int32_t>(item % 1024));
          }
          EXPECT_LE(load, total / blocks + 1 + dearest);
        }
        ASSERT_TRUE(std::equal(got.begin(), got.end(), expected.begin(), expected.end()))
            << "batch " << batch << " heads " << heads << " blocks " << blocks;
      }
    }
  }
}

}  // namespace
}  // namespace jindou
