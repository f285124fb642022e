// The hstu_attention kernels of sm_90a in the emulator: against the float64 reference, their properties, their schedule.
#include <algorithm>
#include <map>
#include <tuple>

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

// Items that blocks would have none of otherwise are dealt by halves of 64 rows.
TEST_P(HopperHstuAttention, halves_of_tiles_give_the_same_bits) {
  HstuCase c = case_of(GetParam());
  c.lengths = {150, 1, 64, 65};
  c.targets = {20, 1, 0, 5};
  c.draw();
  c.multiprocessors = 1;
  const HstuOutcome whole = run_and_expect_close(c);
  c.multiprocessors = 32;
  expect_same_bits(whole.out, run(c).out);
}

// Nine tiles of equal costs, two pieces of keys: in turn, all by one block, or the last tile by halves; or a piece a block.
TEST(HopperHstuAttentionPieces, give_the_same_bits_whoever_sums_them) {
  HstuCase c = case_of(64);
  c.lengths = {1030};
  c.mask.causal = false;
  c.draw();
  c.multiprocessors = 1;
  const HstuOutcome whole = run_and_expect_close(c);
  for (const int32_t multiprocessors : {4, 32}) {
    c.multiprocessors = multiprocessors;
    expect_same_bits(whole.out, run(c).out);
  }
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

// One sequence is split where that pays: less when its targets, or all its rows, meet about as many keys.
TEST(HopperHstuAttentionPlan, splits_one_sequence_by_what_its_rows_meet) {
  testing::PlanMemory memory;
  jd_error error{};
  error.struct_size = sizeof error;
  jd_hstu_attention_desc desc = testing::desc_of(case_of(128));
  desc.num_heads = 4;
  desc.max_batch = 2;
  desc.max_seq_len = 8192;
  PlanResources resources = memory.resources(132);
  resources.hopper = true;
  KernelPlan *made = nullptr;
  ASSERT_EQ(HstuAttentionPlan::create(resources, desc, &made, &error), JD_OK);
  const std::unique_ptr<KernelPlan> owner(made);
  const auto &plan = static_cast<const HstuAttentionPlan &>(*made);
  jdb_hstu_attention_args args{};
  const auto parks = [&](int64_t batch, int64_t queries, int64_t keys) {
    args.batch = batch;
    args.queries.shape[0] = queries;
    args.keys.shape[0] = keys;
    return plan.schedule(args).parks;
  };
  EXPECT_FALSE(parks(1, 5248, 5248));  // 164 tiles
  EXPECT_TRUE(parks(1, 5377, 5377));
  EXPECT_FALSE(parks(2, 5377, 5377));
  args.num_targets.dtype = JD_I32;
  EXPECT_FALSE(parks(1, 3072, 3072));  // 96
  EXPECT_TRUE(parks(1, 3200, 3200));
  args.num_targets.dtype = 0;
  args.q_offsets.dtype = JD_I32;
  EXPECT_TRUE(parks(1, 3200, 8192));
  EXPECT_FALSE(parks(1, 3072, 8192));
  args.time_bias.dtype = JD_F32;
  EXPECT_TRUE(parks(1, 3200, 8192));
  parks(1, 8192, 8192);
  EXPECT_GE(plan.most_blocks(plan.schedule(args), 128 * 256, 1), 132);
}

// What a tensor holds behind the sequences is no reason to park, nor do rows within a window meet more keys the later they are.
TEST(HopperHstuAttentionPlan, splits_by_rows_that_sequences_can_have) {
  const auto parks = [](int64_t max_seq_len, int32_t max_attn_len, int64_t queries) {
    testing::PlanMemory memory;
    jd_error error{};
    error.struct_size = sizeof error;
    jd_hstu_attention_desc desc = testing::desc_of(case_of(128));
    desc.num_heads = 4;
    desc.max_batch = 2;
    desc.max_seq_len = max_seq_len;
    desc.max_attn_len = max_attn_len;
    PlanResources resources = memory.resources(132);
    resources.hopper = true;
    KernelPlan *made = nullptr;
    EXPECT_EQ(HstuAttentionPlan::create(resources, desc, &made, &error), JD_OK);
    const std::unique_ptr<KernelPlan> owner(made);
    jdb_hstu_attention_args args{};
    args.batch = 1;
    args.queries.shape[0] = args.keys.shape[0] = queries;
    return static_cast<const HstuAttentionPlan &>(*made).schedule(args).parks;
  };
  EXPECT_FALSE(parks(5248, 0, 10000));
  EXPECT_TRUE(parks(5377, 0, 10000));
  EXPECT_FALSE(parks(8192, 2000, 3072));
  EXPECT_TRUE(parks(8192, 2000, 3200));
}

// -- the schedule ------------------------------------------------------------------------------------------------------------
using attention::HopperWork;
using attention::TileCosts;

// Every block of a grid, run alone by one emulated block of the same threads, lists its items.
struct ScheduleKernel {
  struct Params {
    const TileCosts *costs;  // [batch]
    int64_t batch;
    int32_t heads;
    bool halves;
    std::vector<std::vector<HopperWork>> *items;  // of each block
    std::vector<int> *checked;                    // [batch]
  };
  static constexpr int kThreads = 384;
  static constexpr int kMinBlocks = 1;
  static constexpr size_t shared_bytes() { return sizeof(attention::HopperSchedule); }
  static void run(const Params &p, char *shared) {
    auto &schedule = *reinterpret_cast<attention::HopperSchedule *>(shared);
    const auto costs = [&](int64_t b) { return p.costs[b]; };
    schedule.make(p.batch, p.heads, p.halves, costs, [&](int64_t b) { ++(*p.checked)[static_cast<size_t>(b)]; });
    if (prim::thread_idx().x != 0) return;
    for (;;) {
      schedule.advance(p.batch, p.heads, costs);
      if (schedule.work().sequence < 0) return;
      (*p.items)[prim::block_idx().x].push_back(schedule.work());
    }
  }
};

std::vector<std::vector<HopperWork>> blocks_of(const std::vector<TileCosts> &costs, int32_t heads, uint32_t blocks, bool halves) {
  std::vector<std::vector<HopperWork>> items(blocks);
  std::vector<int> checked(costs.size());
  simt::launch<ScheduleKernel>({blocks, 1, 1}, {costs.data(), static_cast<int64_t>(costs.size()), heads, halves, &items, &checked});
  EXPECT_EQ(checked, std::vector<int>(costs.size(), 1));
  return items;
}

// A half costs half.
double load_of(const std::vector<TileCosts> &costs, const std::vector<HopperWork> &items) {
  double load = 0;
  for (const HopperWork &item : items) {
    const double cost = costs[static_cast<size_t>(item.sequence)].of(item.tile, item.piece);
    load += item.half < 0 ? cost : cost / 2;
  }
  return load;
}

TEST(HopperCosts, count_items_as_one_by_one) {
  for (const TileCosts &c : {TileCosts{1, 1, 0, 1, 1}, {0, 1, 3, 3, 3}, {5, 1, 0, 0, 1}, {9, 1, 4, 7, 7}, {3, 1, 9, 4, 4}, {1, 3, 0, 1, 8},
                             {33, 5, 0, 33, 8}, {33, 5, 0, 20, 8}, {2, 17, 128, 130, 8}, {7, 4, 12, 12, 3}, {20, 6, 3, 24, 4}, {6, 3, 2, 9, 5}}) {
    uint64_t sum = 0;
    std::map<uint32_t, uint32_t> counts;
    for (int32_t t = 0; t < c.tiles; ++t) {
      EXPECT_EQ(c.before(t), sum);
      std::map<uint32_t, std::vector<int32_t>> pieces;
      for (int32_t p = 0; p < c.pieces; ++p) {
        EXPECT_EQ(c.before(t, p), sum);
        sum += c.of(t, p);
        ++counts[c.of(t, p)];
        pieces[c.of(t, p)].push_back(p);
      }
      for (uint32_t cost = 1; cost <= 40; ++cost) {
        const TileCosts::Equals equals = c.equals(t, cost);
        ASSERT_EQ(static_cast<size_t>(equals.count), pieces[cost].size()) << "tile " << t << ", cost " << cost;
        if (equals.count > 0) {
          EXPECT_EQ(equals.first_piece, pieces[cost].front());
          EXPECT_EQ(equals.first_piece + equals.count - 1, pieces[cost].back());
        }
      }
    }
    EXPECT_EQ(c.total(), sum);
    EXPECT_EQ(c.dearest(), c.tiles == 0 ? 0 : counts.rbegin()->first);
    uint32_t reaching = 0;
    for (uint32_t cost = 200; cost > 0; --cost) {
      reaching += counts[cost];
      ASSERT_EQ(c.reaching(cost), reaching) << "cost " << cost;
    }
  }
}

TEST(HopperSchedule, gives_every_item_to_one_block_and_each_block_its_share) {
  for (const int32_t batch : {1, 5, 31, 32, 33, 128, 129, 400}) {
    for (const int32_t heads : {1, 3}) {
      for (const uint32_t blocks : {1u, 2u, 7u, 132u}) {
        const bool halves = heads == 1;
        std::vector<TileCosts> costs;
        double total = 0, dearest = 0;
        for (int32_t b = 0; b < batch; ++b) {
          const int32_t pieces = 1 + b % 3, most = 1 + b * 3 % 17;
          const TileCosts c{b * 7 % 23, pieces, b % 5, most, (most + pieces - 1) / pieces};
          costs.push_back(c);
          for (int32_t t = 0; t < c.tiles; ++t) {
            for (int32_t p = 0; p < c.pieces; ++p) {
              total += c.of(t, p) * heads;
              dearest = std::max<double>(dearest, c.of(t, p));
            }
          }
        }
        SCOPED_TRACE("batch " + std::to_string(batch) + " heads " + std::to_string(heads) + " blocks " + std::to_string(blocks));
        std::map<std::tuple<int64_t, int32_t, int32_t, int32_t>, std::vector<int32_t>> given;  // whole items and halves
        for (const std::vector<HopperWork> &items : blocks_of(costs, heads, blocks, halves)) {
          for (const HopperWork &item : items)
            given[{item.sequence, item.head, item.tile, item.piece}].push_back(item.half);
          EXPECT_LE(load_of(costs, items), total / blocks + 1 + dearest);
        }
        size_t count = 0;
        for (int32_t b = 0; b < batch; ++b) count += static_cast<size_t>(costs[static_cast<size_t>(b)].items()) * static_cast<size_t>(heads);
        ASSERT_EQ(given.size(), count);
        for (auto &[item, halves_given] : given) {
          const auto [sequence, head, tile, piece] = item;
          const TileCosts &c = costs[static_cast<size_t>(sequence)];
          ASSERT_TRUE(head >= 0 && head < heads && tile >= 0 && tile < c.tiles && piece >= 0 && piece < c.pieces);
          std::sort(halves_given.begin(), halves_given.end());
          ASSERT_TRUE(halves_given == std::vector<int32_t>{-1} || (halves && halves_given == std::vector<int32_t>{0, 1}));
        }
      }
    }
  }
}

// The busiest of the 132 blocks of an H100 or H200 against their mean, for a few users with four heads. In tiles of 128 keys.
TEST(HopperSchedule, is_even_for_few_users) {
  struct Shape {
    const char *what;
    TileCosts costs;
    size_t users;
    double most;  // times the mean
  };
  for (const Shape &s : {
           // hstu_attention, causal: a tile's pieces in turn by a block, or, of fewer tiles, one each.
           Shape{"8,192 events and 512 targets", {68, 1, 0, 65, 65}, 1, 1.03},
           {"the same, 8 users", {68, 1, 0, 65, 65}, 8, 1.02},
           {"16,384 events and 2,048 targets", {144, 1, 0, 129, 129}, 1, 1.01},
           {"4,096 events and 512 targets", {36, 5, 0, 33, 8}, 1, 1.15},
           {"4,096 events", {32, 4, 0, 32, 8}, 1, 1.05},
           {"256 rows behind 3,840", {2, 4, 30, 32, 8}, 1, 1.04 * 132 / 64},  // 32 pieces, by halves
           {"256 rows behind 16,128", {2, 16, 126, 128, 8}, 1, 1.04},
           {"the same, 2 users", {2, 16, 126, 128, 8}, 2, 1.04},
           // target_attention, 512 candidates, 10,000 events: 160 pieces a user.
           {"512 candidates", {4, 10, 79, 79, 8}, 1, 1.26},
           {"the same, 2 users", {4, 10, 79, 79, 8}, 2, 1.05},
           {"the same, 4 users", {4, 10, 79, 79, 8}, 4, 1.05},
       }) {
    const std::vector<TileCosts> costs(s.users, s.costs);
    double most = 0, total = 0;
    for (const std::vector<HopperWork> &items : blocks_of(costs, 4, 132, true)) {
      const double load = load_of(costs, items);
      total += load;
      most = std::max(most, load);
    }
    EXPECT_LE(most * 132 / total, s.most) << s.what;
  }
}

}  // namespace
}  // namespace jindou
