// The hstu_attention kernels in the emulator against the float64 reference, and their properties.
#include "attention/tests/hstu_attention_case.h"

#include <algorithm>

namespace jindou {
namespace {

using testing::expect_close;
using testing::expect_same_bits;
using testing::HstuCase;
using testing::HstuOutcome;
using testing::poison_rows;
using testing::run;
using testing::run_and_expect_close;

// One case a compiled kernel. Those of 16-bit rows are of both dtypes: the larger tile is tested with bf16, the smaller
// with f16, and every one around its edges with either.
struct KernelCase {
  int32_t dtype;
  int32_t columns;
  int32_t tile_rows;
};

std::vector<KernelCase> every_kernel() {
  std::vector<KernelCase> cases;
  attention::HstuAttentionKernels::visit([&](auto tag) {
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

HstuCase case_of(const KernelCase &kernel) {
  HstuCase c;
  c.dtype = c.out_dtype = kernel.dtype;
  c.dqk = c.dv = kernel.columns;
  c.alpha = 3.0f / std::sqrt(static_cast<float>(kernel.columns));
  c.multiprocessors = kernel.tile_rows == attention::kLargeTile ? 1 : 64;  // so that the schedule picks the tile
  return c;
}

class HstuAttentionKernel : public ::testing::TestWithParam<KernelCase> {};
INSTANTIATE_TEST_SUITE_P(Every, HstuAttentionKernel, ::testing::ValuesIn(every_kernel()), name_of);

TEST_P(HstuAttentionKernel, causal_with_targets_around_tile_edges) {
  for (const int32_t half : {JD_BF16, JD_F16}) {
    HstuCase c = case_of(GetParam());
    if (c.dtype != JD_F32) c.dtype = c.out_dtype = half;
    c.lengths = {0, 1, 2, 31, 32, 33, 63, 64, 65, 0, 127, 128, 129, 97};
    c.targets = {0, 1, 0, 5, 32, 1, 0, 10, 33, 0, 64, 127, 40, 20};
    c.draw();
    EXPECT_EQ(run_and_expect_close(c).tile_rows, GetParam().tile_rows);
    if (c.dtype == JD_F32) break;
  }
}

TEST_P(HstuAttentionKernel, contexts_targets_and_window_together) {
  HstuCase c = case_of(GetParam());
  c.lengths = {200, 3, 67, 150};
  c.targets = {30, 1, 67, 0};
  c.mask.contextual_seq_len = 5;
  c.mask.max_attn_len = 40;
  c.mask.min_full_attn_seq_len = 20;
  c.draw();
  run_and_expect_close(c);
}

TEST_P(HstuAttentionKernel, bits_do_not_depend_on_the_batch_or_on_the_order_of_threads) {
  HstuCase c = case_of(GetParam());
  c.lengths = {130, 1, 65, 0, 64};
  c.targets = {20, 0, 65, 0, 1};
  c.heads = 2;
  c.draw();
  const HstuOutcome together = run_and_expect_close(c);
  for (const uint64_t seed : {1, 2, 3}) {
    c.simt_seed = seed;
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

// A sequence whose every row is NaN, between two others.
TEST_P(HstuAttentionKernel, reads_no_row_of_another_sequence) {
  HstuCase c = case_of(GetParam());
  c.lengths = {33, 70, 66};
  c.targets = {3, 5, 20};
  c.draw();
  for (std::vector<float> *x : {&c.q, &c.k, &c.v}) poison_rows(*x, c.heads * c.dqk, 33, 103);
  const HstuOutcome outcome = run(c);
  expect_close(c, outcome, 0, 33);
  expect_close(c, outcome, 103, 169);
}

// -- the mask -------------------------------------------------------------------------------------------------------
TEST(HstuAttention, every_mask) {
  for (const KernelCase &kernel : {KernelCase{JD_BF16, 32, 128}, {JD_BF16, 32, 64}, {JD_F32, 32, 64}}) {
    for (const bool causal : {true, false}) {
      for (const int64_t contexts : {0, 1, 7, 70}) {
        for (const int64_t window : {0, 1, 50}) {
          for (const int64_t full : {0, 30}) {
            if (window == 0 && full > 0) continue;
            SCOPED_TRACE("dtype " + std::to_string(kernel.dtype) + " rows " + std::to_string(kernel.tile_rows) +
                         " causal " + std::to_string(causal) + " contexts " + std::to_string(contexts) + " window " +
                         std::to_string(window) + " full " + std::to_string(full));
            HstuCase c = case_of(kernel);
            c.lengths = {203, 64, 66, 1};
            c.targets = {75, 0, 60, 1};
            c.mask = {causal, contexts, window, full};
            c.draw();
            run_and_expect_close(c);
            if (::testing::Test::HasFatalFailure()) return;
          }
        }
      }
    }
  }
}

// Parameters past the sequence's length, as large as they can be.
TEST(HstuAttention, huge_mask_parameters) {
  for (const int32_t dtype : {JD_F32, JD_BF16, JD_F16}) {
    for (const int64_t contexts : {int64_t{100}, int64_t{101}, int64_t{2147483647}}) {
      HstuCase c = case_of({dtype, 32, 64});
      c.lengths = {100};
      c.targets = {100};
      c.mask = {true, contexts, 2147483647, 2147483647};
      c.draw();
      run_and_expect_close(c);
    }
  }
}

// Which pairs the kernel lets through, one by one: with v_j the j-th unit vector, out_i shows the weights.
TEST(HstuAttention, the_weights_are_those_of_the_mask) {
  HstuCase c = case_of({JD_F32, 96, 64});
  const int64_t n = 96;
  c.lengths = {n};
  c.targets = {30};
  c.mask = {true, 4, 25, 10};
  c.scaling_seqlen = 1.0f;
  c.draw();
  std::fill(c.v.begin(), c.v.end(), 0.0f);
  for (int64_t j = 0; j < n; ++j) c.v[static_cast<size_t>(j * n + j)] = 1.0f;
  std::fill(c.q.begin(), c.q.end(), 1.0f);
  std::fill(c.k.begin(), c.k.end(), 1.0f);
  const HstuOutcome outcome = run(c);
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      ASSERT_EQ(outcome.out[static_cast<size_t>(i * n + j)] != 0.0f, reference::hstu_allowed(c.mask, n, 30, i, j))
          << "row " << i << " key " << j;
    }
  }
}

// The tiles a block visits are those the mask leaves something of, each once, for every tile size in use.
template <int kRows, int kKeys>
void expect_visits(const reference::HstuMaskParams &mask, int32_t n, int32_t t) {
  attention::HstuAttentionParams<float> p{};
  const int32_t offsets[2] = {0, n};
  p.offsets = {offsets, 0};
  p.num_targets = &t;
  p.batch = 1;
  p.rows = n;
  p.max_seq_len = n;
  p.heads = 1;
  p.mask = {mask.causal, static_cast<int32_t>(mask.contextual_seq_len), static_cast<int32_t>(mask.max_attn_len),
            static_cast<int32_t>(mask.min_full_attn_seq_len)};
  const int32_t tiles = (n + kRows - 1) / kRows;
  for (int32_t item = 0; item < tiles; ++item) {
    const attention::HstuItem work = attention::read_hstu_item<kRows, kKeys>(p, 0, static_cast<uint32_t>(item));
    std::vector<int> visits(static_cast<size_t>((n + kKeys - 1) / kKeys), 0);
    for (int32_t i = 0; i < work.tiles; ++i) {
      ASSERT_LT(work.tile(i), static_cast<int32_t>(visits.size()));
      ++visits[static_cast<size_t>(work.tile(i))];
    }
    for (size_t tile = 0; tile < visits.size(); ++tile) {
      int allowed = 0;
      for (int32_t i = work.first_row; i < work.last_row; ++i) {
        const int32_t key = static_cast<int32_t>(tile) * kKeys;
        for (int32_t j = key; j < std::min(n, key + kKeys); ++j) {
          allowed |= reference::hstu_allowed(mask, n, t, i, j);
        }
      }
      ASSERT_EQ(visits[tile], allowed)
          << "n " << n << " targets " << t << " rows from " << work.first_row << " tile " << tile << " causal "
          << mask.causal << " contexts " << mask.contextual_seq_len << " window " << mask.max_attn_len << " full "
          << mask.min_full_attn_seq_len;
    }
  }
}

TEST(HstuAttentionTiles, no_tile_is_computed_that_the_mask_empties) {
  for (const bool causal : {true, false}) {
    for (const int64_t contexts : {0, 1, 9, 40, 400}) {
      for (const int64_t window : {0, 1, 30, 100}) {
        for (const int64_t full : {0, 50}) {
          for (const int32_t n : {1, 64, 65, 300}) {
            for (const int32_t t : {0, 1, n / 2, n}) {
              expect_visits<64, 32>({causal, contexts, window, full}, n, t);
              expect_visits<128, 64>({causal, contexts, window, full}, n, t);
              if (::testing::Test::HasFatalFailure()) return;
            }
          }
        }
      }
    }
  }
}

// -- the rest of the interface --------------------------------------------------------------------------------------
TEST(HstuAttention, takes_a_scale_for_every_row) {
  for (const int32_t dtype : {JD_F32, JD_BF16, JD_F16}) {
    HstuCase c = case_of({dtype, 32, 64});
    c.lengths = {70, 20};
    c.scale_rows = true;
    c.heads = 3;
    c.draw();
    run_and_expect_close(c);
  }
}

TEST(HstuAttention, takes_gaps_between_heads_and_tokens_both_offsets_and_both_outputs) {
  for (const int32_t dtype : {JD_F32, JD_BF16, JD_F16}) {
    for (const int32_t offset_dtype : {JD_I32, JD_I64}) {
      for (const int32_t out_dtype : {int32_t{JD_F32}, dtype}) {
        HstuCase c = case_of({dtype, 32, 64});
        c.out_dtype = out_dtype;
        c.offset_dtype = offset_dtype;
        c.lengths = {65, 34};
        c.targets = {10, 0};
        c.heads = 3;
        c.gaps = {8, 16};
        c.draw();
        run_and_expect_close(c);
      }
    }
  }
}

// Every pair of head dims: columns past a row's own dim are neither read (they are NaN in memory) nor written.
TEST(HstuAttention, takes_every_pair_of_head_dims) {
  for (const int32_t dtype : {JD_F32, JD_BF16, JD_F16}) {
    for (const int64_t dqk : {32, 64, 96, 128, 192, 256}) {
      for (const int64_t dv : {32, 64, 96, 128, 192, 256}) {
        SCOPED_TRACE(std::to_string(dqk) + " and " + std::to_string(dv));
        HstuCase c = case_of({dtype, static_cast<int32_t>(dqk), 64});
        c.dv = dv;
        c.lengths = {35, 3};
        c.targets = {4, 1};
        c.heads = 2;
        c.gaps = {256, 0};
        c.multiprocessors = dqk == 64 ? 1 : 64;
        c.draw();
        run_and_expect_close(c);
        if (::testing::Test::HasFatalFailure()) return;
      }
    }
  }
}

// SiLU far from zero, where exp overflows on one side and vanishes on the other; alpha of either sign, and zero.
TEST(HstuAttention, takes_every_alpha) {
  for (const int32_t dtype : {JD_F32, JD_BF16, JD_F16}) {
    for (const float alpha : {0.0f, 1e-30f, -0.5f, 20.0f, -100.0f}) {
      HstuCase c = case_of({dtype, 32, 64});
      c.alpha = alpha;
      c.lengths = {70};
      c.draw();
      run_and_expect_close(c);
    }
  }
}

TEST(HstuAttention, bits_do_not_depend_on_the_tile_size) {
  for (const int32_t columns : {32, 64, 96, 128}) {
    HstuCase c = case_of({columns % 64 == 0 ? JD_BF16 : JD_F16, columns, attention::kLargeTile});
    c.lengths = {250, 70};
    c.targets = {100, 0};
    c.mask.contextual_seq_len = 3;
    c.draw();
    const HstuOutcome large = run(c);
    c.multiprocessors = 64;
    const HstuOutcome small = run(c);
    EXPECT_EQ(large.tile_rows, attention::kLargeTile);
    EXPECT_EQ(small.tile_rows, attention::kSmallTile);
    expect_same_bits(large.out, small.out);
  }
}

TEST(HstuAttention, many_short_sequences) {
  for (const int32_t dtype : {JD_F32, JD_BF16, JD_F16}) {
    HstuCase c = case_of({dtype, 32, 64});
    c.multiprocessors = 1;
    for (int64_t b = 0; b < 300; ++b) {
      c.lengths.push_back(b % 7);
      c.targets.push_back(b % 7 / 2);
    }
    c.draw();
    run_and_expect_close(c);
  }
}

TEST(HstuAttention, empty_batch_and_empty_sequences) {
  HstuCase c = case_of({JD_BF16, 32, 64});
  c.draw();
  EXPECT_TRUE(run(c).out.empty());
  c.lengths = {0, 0, 0};
  c.draw();
  const HstuOutcome outcome = run(c);
  EXPECT_TRUE(outcome.out.empty());
  EXPECT_EQ(outcome.report.has_error, 0);
}

TEST(HstuAttention, long_sequence) {
  HstuCase c = case_of({JD_BF16, 32, 128});
  c.lengths = {1531};
  c.targets = {200};
  c.multiprocessors = 1;
  c.draw();
  run_and_expect_close(c);
}

TEST(HstuAttentionPlan, says_what_it_runs_and_refuses_other_head_dims) {
  HstuCase c = case_of({JD_F32, 32, 64});
  testing::PlanMemory memory;
  jd_error error{};
  error.struct_size = sizeof error;
  KernelPlan *made = nullptr;
  ASSERT_EQ(HstuAttentionPlan::create(memory.resources(132), testing::desc_of(c), &made, &error), JD_OK);
  char text[256];
  made->describe(text, sizeof text);
  EXPECT_NE(std::string(text).find("FMA"), std::string::npos) << text;
  delete made;

  // Only plans of sequences of several pieces have memory for what becomes of their sums.
  jd_hstu_attention_desc desc = testing::desc_of(c);
  desc.num_heads = 4;
  for (const int64_t batch : {1, 8, 512}) {
    for (const int64_t length : {1024, 1025, 131072, 1 << 24}) {
      desc.max_batch = batch;
      desc.max_seq_len = length;
      ASSERT_EQ(HstuAttentionPlan::create(memory.resources(132), desc, &made, &error), JD_OK);
      made->describe(text, sizeof text);
      EXPECT_EQ(std::string(text).find("keys summed in pieces of 1024") != std::string::npos, length > 1024) << text;
      EXPECT_EQ(memory.alive_bytes > int64_t{1} << 20, length > 1024);
      EXPECT_LE(memory.alive_bytes, HstuAttentionPlan::kScratchBudget + (int64_t{1} << 20));
      delete made;
      EXPECT_EQ(memory.alive_bytes, 0);
    }
  }

  c.dv = 288;
  EXPECT_EQ(HstuAttentionPlan::create(memory.resources(132), testing::desc_of(c), &made, &error), JD_UNSUPPORTED);
  EXPECT_NE(std::string(error.message).find("288"), std::string::npos) << error.message;
}

// A sequence of two pieces has the same bits whether a block takes both in turn or blocks one each, in as many launches as there may be,
// alone and in a batch. The kernels of every core, among them those of sm_90a.
TEST(HstuAttentionPieces, whoever_sums_them_the_bits_are_the_same) {
  struct Kind {
    int32_t dtype, dim;
    bool hopper;
  };
  for (const Kind k : {Kind{JD_F32, 64, false}, {JD_F16, 64, false}, {JD_BF16, 128, false}, {JD_BF16, 256, false}, {JD_BF16, 64, true},
                       {JD_BF16, 128, true}, {JD_BF16, 256, true}}) {
    SCOPED_TRACE("dtype " + std::to_string(k.dtype) + ", dim " + std::to_string(k.dim) + (k.hopper ? ", sm_90a" : ""));
    HstuCase c = case_of({k.dtype, k.dim, 64});
    c.hopper = k.hopper;
    c.lengths = {3, 1100, 0, 70};
    c.targets = {1, 40, 0, 0};
    c.mask = {true, 2, 150, 30};  // the last 71 rows see both pieces whole, few of the others do
    c.max_seq_len = 1100;
    c.draw();
    c.multiprocessors = 64;  // pieces have blocks of their own
    const std::vector<float> whole = run_and_expect_close(c).out;
    HstuCase in_turn = c;
    in_turn.multiprocessors = 2;
    in_turn.simt_seed = 3;
    expect_same_bits(run(in_turn).out, whole);
    if (k.dim != 64) continue;
    HstuCase alone = c.sequence(1);
    expect_same_bits(run(alone).out, std::vector<float>(whole.begin() + 3 * k.dim, whole.begin() + 1103 * k.dim));
    for (const int64_t window : {130, 1000}) {
      c.window = window;
      expect_same_bits(run(c).out, whole);
    }
  }
}

// What a schedule chooses: few tiles are split, many are not, and what blocks park has room.
TEST(HstuAttentionPieces, are_split_where_multiprocessors_would_idle) {
  testing::PlanMemory memory;
  jd_error error{};
  error.struct_size = sizeof error;
  jd_hstu_attention_desc desc = testing::desc_of(case_of({JD_BF16, 128, 128}));
  desc.num_heads = 4;
  desc.max_batch = 64;
  desc.max_seq_len = 16384;
  KernelPlan *made = nullptr;
  ASSERT_EQ(HstuAttentionPlan::create(memory.resources(132), desc, &made, &error), JD_OK);
  const std::unique_ptr<KernelPlan> owner(made);
  const auto &plan = static_cast<const HstuAttentionPlan &>(*made);
  jdb_hstu_attention_args args{};
  const auto schedule = [&](int64_t batch, int64_t queries, int64_t keys) {
    args.batch = batch;
    args.queries.shape[0] = queries;
    args.keys.shape[0] = keys;
    return plan.schedule(args);
  };
  EXPECT_EQ(schedule(1, 256, 16384).pieces, 16);
  EXPECT_EQ(schedule(8, 2048, 8 * 16384).pieces, 16);
  EXPECT_EQ(schedule(1, 8448, 16384).pieces, 16);  // 264 tiles
  EXPECT_EQ(schedule(1, 8449, 16384).pieces, 1);
  EXPECT_TRUE(schedule(1, 8449, 16384).parks);
  EXPECT_EQ(schedule(64, 64 * 16384, 64 * 16384).pieces, 1);
  EXPECT_EQ(schedule(1, 256, 1024).pieces, 1);
  EXPECT_FALSE(schedule(1, 256, 1024).parks);
  const HstuAttentionSchedule few = schedule(1, 256, 16384), many = schedule(64, 64 * 16384, 64 * 16384);
  EXPECT_LE(few.window * desc.num_heads * few.pieces * desc.head_dim_v, plan.scratch_floats);
  EXPECT_GE(few.window, 256);
  for (const int64_t tile : {64 * 32, 128 * 128, 128 * 256})
    EXPECT_LE(plan.most_blocks(many, tile, attention::kBlocksAMultiprocessor) * tile, plan.scratch_floats);
  EXPECT_GE(plan.most_blocks(many, 128 * 256, 1), 132);
}

// The tiles of every item, piece by piece: all of them, in order, none of two pieces.
TEST(HstuAttentionPieces, are_whole_tiles_between_the_same_keys_in_every_tile) {
  constexpr int32_t kRows = 64, kKeys = 32;
  for (const int64_t contexts : {0, 3}) {
    for (const int64_t window : {0, 500}) {
      for (const int32_t t : {0, 1200}) {
        attention::HstuAttentionParams<float> p{};
        const int32_t n = 3000, offsets[2] = {0, n};
        p.offsets = {offsets, 0};
        p.num_targets = &t;
        p.batch = 1;
        p.rows = p.max_seq_len = n;
        p.heads = 1;
        p.mask = {1, static_cast<int32_t>(contexts), static_cast<int32_t>(window), 0};
        for (uint32_t item = 0; item < (n + kRows - 1) / kRows; ++item) {
          const attention::HstuItem work = attention::read_hstu_item<kRows, kKeys>(p, 0, item);
          for (int32_t begin = 0, end; begin < work.tiles; begin = end) {
            end = work.piece_end<kKeys>(begin);
            ASSERT_GT(end, begin);
            ASSERT_LE(end, work.tiles);
            for (int32_t i = begin; i < work.tiles; ++i)
              ASSERT_EQ(work.tile(i) * kKeys / 1024 == work.tile(begin) * kKeys / 1024, i < end) << "tile " << i;
          }
        }
      }
    }
  }
}

// -- what only the device can see -----------------------------------------------------------------------------------
struct BadInput {
  const char *what;
  std::vector<int64_t> offsets;  // of 4 sequences
  std::vector<int64_t> targets;
  int32_t fault;
  int64_t position, value, limit;
  std::vector<int> refused;
};

// The tensors hold 50 rows; declared: 30 a sequence.
std::vector<BadInput> bad_inputs() {
  const std::vector<int64_t> good = {0, 5, 20, 20, 50}, none = {0, 0, 0, 0};
  return {
      {"start", {1, 5, 20, 20, 50}, none, JDB_FAULT_OFFSET_START, 0, 1, 0, {0}},
      {"order", {0, 5, 25, 20, 50}, none, JDB_FAULT_OFFSET_ORDER, 2, 20, 25, {2}},
      {"negative", {0, -7, 20, 20, 50}, none, JDB_FAULT_OFFSET_ORDER, 0, -7, 0, {0, 1}},
      {"overrun", {0, 5, 20, 30, 51}, none, JDB_FAULT_OFFSET_OVERRUN, 3, 51, 50, {3}},
      {"short", {0, 5, 20, 20, 49}, none, JDB_FAULT_OFFSET_OVERRUN, 3, 49, 50, {3}},
      {"too long", {0, 0, 31, 31, 50}, none, JDB_FAULT_LENGTH, 1, 31, 30, {1}},
      {"negative targets", good, {0, -1, 0, 3}, JDB_FAULT_TARGETS, 1, -1, 15, {1}},
      {"more targets than rows", good, {0, 3, 1, 31}, JDB_FAULT_TARGETS, 2, 1, 0, {2, 3}},
      {"targets and then offsets", {0, 5, 20, 20, 51}, {6, 0, 0, 0}, JDB_FAULT_TARGETS, 0, 6, 5, {0, 3}},
  };
}

TEST(HstuAttentionFaults, name_the_first_offender_and_leave_the_others_alone) {
  for (const int32_t dtype : {JD_F32, JD_BF16, JD_F16}) {
    for (const int32_t bounds : {JD_BOUNDS_STRICT, JD_BOUNDS_ZERO}) {
      for (const BadInput &bad : bad_inputs()) {
        SCOPED_TRACE(bad.what);
        HstuCase c = case_of({dtype, 32, 64});
        c.bounds = bounds;
        c.heads = 2;
        c.lengths = {5, 15, 0, 30};
        c.max_seq_len = 30;
        c.draw();
        c.offsets = bad.offsets;
        c.targets = bad.targets;
        for (const uint64_t seed : {0, 5}) {
          c.simt_seed = seed;
          const HstuOutcome outcome = run(c);
          if (bounds == JD_BOUNDS_ZERO) {
            EXPECT_EQ(outcome.report.has_error, 0);
            EXPECT_EQ(outcome.report.skipped, static_cast<int64_t>(bad.refused.size()));
          } else {
            EXPECT_EQ(outcome.report.has_error, 1);
            EXPECT_EQ(outcome.report.skipped, 0);
            EXPECT_EQ(outcome.report.op, JDB_OP_HSTU_ATTENTION);
            EXPECT_EQ(outcome.report.fault, bad.fault);
            EXPECT_EQ(outcome.report.position, bad.position);
            EXPECT_EQ(outcome.report.value, bad.value);
            EXPECT_EQ(outcome.report.limit, bad.limit);
          }
          // Rows of sequences that were not refused, as if they were alone; where a bad offset gives two the same row,
          // either.
          const auto accepted = [&](int b) {
            return std::find(bad.refused.begin(), bad.refused.end(), b) == bad.refused.end();
          };
          std::vector<int> owners(50, 0);
          for (int b = 0; b < 4; ++b) {
            if (!accepted(b)) continue;
            for (int64_t i = bad.offsets[b]; i < bad.offsets[b + 1]; ++i) ++owners[static_cast<size_t>(i)];
          }
          for (int b = 0; b < 4; ++b) {
            if (!accepted(b)) continue;
            HstuCase alone = c.sequence(static_cast<size_t>(b));
            alone.bounds = JD_BOUNDS_STRICT;
            const HstuOutcome expected = run(alone);
            for (int64_t i = bad.offsets[b]; i < bad.offsets[b + 1]; ++i) {
              if (owners[static_cast<size_t>(i)] > 1) continue;
              const auto row = [&](const std::vector<float> &out, int64_t at) {
                return std::vector<float>(out.begin() + at * c.heads * c.dv, out.begin() + (at + 1) * c.heads * c.dv);
              };
              expect_same_bits(row(outcome.out, i), row(expected.out, i - bad.offsets[b]));
            }
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace jindou
