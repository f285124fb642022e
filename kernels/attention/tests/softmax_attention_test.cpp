// The softmax_attention kernels in the emulator against the float64 reference, and their properties.
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

// Around the tiles of rows (32, 64, 128) and of keys (16, 32, 64): more queries than keys and fewer, none of either.
const std::vector<int64_t> kQueries = {0, 1, 63, 64, 65, 3, 127, 129, 5, 40, 1};
const std::vector<int64_t> kKeys = {5, 0, 31, 64, 33, 200, 127, 97, 65, 12, 130};

// One case a compiled kernel, of those with options and without. Those of 16-bit rows are of both dtypes: the larger tile
// is tested with bf16, the smaller with f16, and every one around its edges with either.
struct KernelCase {
  int32_t dtype;
  int32_t columns;
  int32_t tile_rows;
  bool options;
};

std::vector<KernelCase> every_kernel() {
  std::vector<KernelCase> cases;
  const auto add = [&](auto tag) {
    using Kernel = typename decltype(tag)::type;
    const int32_t half = Kernel::kTileRows == attention::kLargeTile ? JD_BF16 : JD_F16;
    cases.push_back({sizeof(typename Kernel::Element) == 4 ? JD_F32 : half, Kernel::kColumns, Kernel::kTileRows,
                     Kernel::kOptions});
    return false;
  };
  attention::SoftmaxAttentionKernels::visit(add);
  attention::SoftmaxAttentionOptionKernels::visit(add);
  return cases;
}

std::string name_of(const ::testing::TestParamInfo<KernelCase> &info) {
  return std::string(info.param.dtype == JD_F32 ? "f32" : "half") + "_columns" + std::to_string(info.param.columns) +
         "_rows" + std::to_string(info.param.tile_rows) + (info.param.options ? "_options" : "");
}

SoftmaxCase case_of(const KernelCase &kernel) {
  SoftmaxCase c;
  c.dtype = c.out_dtype = kernel.dtype;
  c.dqk = c.dv = kernel.columns;
  c.scale = 3.0f / std::sqrt(static_cast<float>(kernel.columns));
  if (kernel.options) {
    c.softcap = 5.0f;
    c.bias = JD_BIAS_ALIBI;
  }
  c.multiprocessors = kernel.tile_rows == attention::kLargeTile ? 1 : 64;  // so that the schedule picks the tile
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

class SoftmaxAttentionKernel : public ::testing::TestWithParam<KernelCase> {};
INSTANTIATE_TEST_SUITE_P(Every, SoftmaxAttentionKernel, ::testing::ValuesIn(every_kernel()), name_of);

TEST_P(SoftmaxAttentionKernel, causal_equals_the_reference_around_tile_edges) {
  for (const int32_t half : {JD_BF16, JD_F16}) {
    SoftmaxCase c = case_of(GetParam());
    if (c.dtype != JD_F32) c.dtype = c.out_dtype = half;
    c.queries = kQueries;
    c.keys = kKeys;
    c.heads = c.kv_heads = 1;
    c.mask = causal();
    c.draw();
    EXPECT_EQ(run_and_expect_close(c).schedule.tile_rows, GetParam().tile_rows);
    if (c.dtype == JD_F32) break;
  }
}

TEST_P(SoftmaxAttentionKernel, window_sink_prefix_and_global_rows_together) {
  SoftmaxCase c = case_of(GetParam());
  c.queries = {150, 3, 67, 20};
  c.keys = {200, 100, 67, 5};
  c.heads = 2;
  c.kv_heads = 1;
  c.mask = window(17, 3);
  c.mask.sink = 5;
  c.mask.prefix = 70;
  c.mask.num_global = 2;
  c.draw();
  run_and_expect_close(c);
}

// Pieces spread over blocks and merged by a second kernel, or taken in turn by one block, give the same bits; of a causal
// mask and of a window the pieces that a tile sees nothing of are left out.
TEST_P(SoftmaxAttentionKernel, pieces_give_the_same_bits_split_or_not) {
  for (const SoftmaxMaskParams &mask : {causal(), window(60, 0)}) {
    SoftmaxCase c = case_of(GetParam());
    c.queries = {40, 2, 9};
    c.keys = {600, 70, 520};
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

TEST_P(SoftmaxAttentionKernel, bits_do_not_depend_on_the_batch_or_on_the_order_of_threads) {
  SoftmaxCase c = case_of(GetParam());
  c.queries = {3, 65, 0, 2};
  c.keys = {70, 33, 7, 530};
  c.heads = 2;
  c.kv_heads = 1;
  c.mask = causal();
  c.draw();
  const SoftmaxOutcome together = run_and_expect_close(c);
  for (const uint64_t seed : {1, 2, 3}) {
    c.simt_seed = seed;
    expect_same_bits(together, run(c));
  }
  SoftmaxOutcome alone{};
  for (size_t b = 0; b < c.queries.size(); ++b) {
    SoftmaxCase sequence = c.sequence(b);
    sequence.simt_seed = b;
    const SoftmaxOutcome one = run(sequence);
    alone.out.insert(alone.out.end(), one.out.begin(), one.out.end());
    alone.lse.insert(alone.lse.end(), one.lse.begin(), one.lse.end());
  }
  expect_same_bits(together, alone);
}

// A sequence whose every row is NaN, between two others.
TEST_P(SoftmaxAttentionKernel, reads_no_row_of_another_sequence) {
  SoftmaxCase c = case_of(GetParam());
  c.queries = {5, 70, 66};
  c.keys = {33, 100, 65};
  c.draw();
  poison_rows(c.q, c.heads * c.dqk, 5, 75);
  poison_rows(c.k, c.kv_heads * c.dqk, 33, 133);
  poison_rows(c.v, c.kv_heads * c.dv, 33, 133);
  const SoftmaxOutcome outcome = run(c);
  expect_close(c, outcome, 0, 5);
  expect_close(c, outcome, 75, 141);
}

// -- masks ----------------------------------------------------------------------------------------------------------
TEST(SoftmaxAttention, every_mask) {
  for (const KernelCase &kernel : {KernelCase{JD_BF16, 32, 128, false}, {JD_F16, 64, 64, true}, {JD_F32, 32, 64, false}}) {
    for (const SoftmaxMaskParams &kind : {SoftmaxMaskParams{}, causal(), window(20, -1), window(-1, 5), window(0, 0), window(40, 9)}) {
      for (const int64_t sink : {0, 7}) {
        for (const int64_t prefix : {0, 50}) {
          for (const int64_t globals : {0, 3}) {
            SCOPED_TRACE("columns " + std::to_string(kernel.columns) + " left " + std::to_string(kind.left) + " right " +
                         std::to_string(kind.right) + " sink " + std::to_string(sink) + " prefix " +
                         std::to_string(prefix) + " globals " + std::to_string(globals));
            SoftmaxCase c = case_of(kernel);
            c.queries = {130, 10, 70};
            c.keys = {131, 150, 40};
            c.heads = c.kv_heads = 1;
            c.mask = kind;
            c.mask.sink = sink;
            c.mask.prefix = prefix;
            c.mask.num_global = globals;
            c.draw();
            run_and_expect_close(c);
            if (::testing::Test::HasFatalFailure()) return;
          }
        }
      }
    }
  }
}

// The tiles a block visits are those the mask leaves something of, each once, in one of its pieces.
template <int kRows, int kKeys>
void expect_visits(const SoftmaxMaskParams &mask, int32_t nq, int32_t nk, int32_t group) {
  attention::SoftmaxAttentionSequences p{};
  const int32_t q_offsets[2] = {0, nq}, k_offsets[2] = {0, nk};
  p.q_offsets = {q_offsets, 0};
  p.k_offsets = {k_offsets, 0};
  p.batch = 1;
  p.query_rows = p.max_queries = nq;
  p.key_rows = p.max_keys = nk;
  p.kv_heads = 1;
  p.group = group;
  p.left = static_cast<int32_t>(mask.left);
  p.right = static_cast<int32_t>(mask.right);
  p.sink = static_cast<int32_t>(mask.sink);
  p.prefix = static_cast<int32_t>(mask.prefix);
  p.num_global = static_cast<int32_t>(mask.num_global);
  const uint32_t items = attention::count_softmax_items<kRows>(p, 0);
  for (uint32_t i = 0; i < items; ++i) {
    attention::SoftmaxItem item = attention::read_softmax_item<kRows>(p, 0, i);
    std::vector<int> visits(static_cast<size_t>((nk + kKeys - 1) / kKeys), 0);
    for (int32_t piece = item.first_piece; piece < item.last_piece; ++piece) {
      item.visit<kKeys>(piece);
      for (int32_t t = 0; t < item.tiles; ++t) {
        ASSERT_GE(item.tile(t), 0);
        ASSERT_LT(item.tile(t), static_cast<int32_t>(visits.size()));
        ASSERT_EQ(item.tile(t) * kKeys / item.pieces.length, piece);
        ++visits[static_cast<size_t>(item.tile(t))];
      }
    }
    for (size_t tile = 0; tile < visits.size(); ++tile) {
      int allowed = 0;
      for (int32_t row = item.first_row; row < item.last_row; ++row) {
        const int32_t key = static_cast<int32_t>(tile) * kKeys;
        for (int32_t j = key; j < std::min(nk, key + kKeys); ++j) {
          allowed |= reference::softmax_allowed(mask, nq, nk, row / group, j);
        }
      }
      ASSERT_EQ(visits[tile], allowed) << "queries " << nq << " keys " << nk << " rows from " << item.first_row << " tile "
                                       << tile << " left " << mask.left << " right " << mask.right << " sink "
                                       << mask.sink << " prefix " << mask.prefix << " globals " << mask.num_global;
    }
  }
}

TEST(SoftmaxAttentionTiles, no_tile_is_computed_that_the_mask_empties) {
  for (const SoftmaxMaskParams &kind : {window(-1, -1), window(-1, 0), window(0, 0), window(100, 0), window(10, 40)}) {
    for (const int64_t sink : {0, 40}) {
      for (const int64_t prefix : {0, 200}) {
        for (const int64_t globals : {0, 3}) {
          for (const int32_t nk : {0, 1, 64, 700}) {
            for (const int32_t nq : {1, 65, 300}) {
              SoftmaxMaskParams mask = kind;
              mask.sink = sink;
              mask.prefix = prefix;
              mask.num_global = globals;
              expect_visits<64, 32>(mask, nq, nk, 1);
              expect_visits<128, 64>(mask, nq, nk, 3);
              if (::testing::Test::HasFatalFailure()) return;
            }
          }
        }
      }
    }
  }
}

// -- options --------------------------------------------------------------------------------------------------------
TEST(SoftmaxAttention, every_bias_with_and_without_a_soft_cap) {
  for (const int32_t dtype : {JD_F32, JD_BF16, JD_F16}) {
    for (const float softcap : {0.0f, 0.5f, 30.0f}) {
      for (const int32_t bias : {JD_BIAS_NONE, JD_BIAS_ALIBI, JD_BIAS_T5, JD_BIAS_DENSE}) {
        for (const bool variant : {false, true}) {  // of T5: bidirectional; of a dense bias: one a sequence
          SCOPED_TRACE("dtype " + std::to_string(dtype) + " softcap " + std::to_string(softcap) + " bias " +
                       std::to_string(bias) + (variant ? " (other)" : ""));
          SoftmaxCase c;
          c.dtype = dtype;
          c.out_dtype = variant ? JD_F32 : dtype;
          c.softcap = softcap;
          c.bias = bias;
          c.t5_bidirectional = c.bias_batch = variant;
          c.scale = 2.0f;
          c.queries = {37, 5};
          c.keys = {90, 70};
          c.heads = 4;
          c.kv_heads = 2;
          if (variant) c.mask = causal();
          c.draw();
          run_and_expect_close(c);
          if (::testing::Test::HasFatalFailure()) return;
        }
      }
    }
  }
}

TEST(SoftmaxAttention, a_dense_bias_of_minus_infinity_hides_keys_with_and_without_a_soft_cap) {
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    for (const float softcap : {0.0f, 0.5f}) {
      SoftmaxCase c;
      c.dtype = c.out_dtype = dtype;
      c.softcap = softcap;
      c.bias = JD_BIAS_DENSE;
      c.queries = {5};
      c.keys = {70};
      c.heads = c.kv_heads = 1;
      c.draw();
      for (int64_t j = 0; j < 70; ++j) {
        c.bias_values[static_cast<size_t>(2 * 70 + j)] = -INFINITY;            // row 2 sees nothing
        if (j < 66) c.bias_values[static_cast<size_t>(3 * 70 + j)] = -INFINITY;  // row 3 its last keys only
      }
      const SoftmaxOutcome outcome = run_and_expect_close(c);
      for (int64_t column = 0; column < c.dv; ++column) EXPECT_EQ(outcome.out[static_cast<size_t>(2 * c.dv + column)], 0.0f);
      EXPECT_EQ(outcome.lse[2], -INFINITY);
    }
  }
}

TEST(SoftmaxAttention, rows_without_a_key_give_zeros_and_no_lse) {
  for (const int32_t dtype : {JD_F32, JD_BF16, JD_F16}) {
    SoftmaxCase c;
    c.dtype = c.out_dtype = dtype;
    c.queries = {3, 90};  // of the second, the first 70 stand before the keys
    c.keys = {0, 20};
    c.mask = causal();
    c.draw();
    const SoftmaxOutcome outcome = run_and_expect_close(c);
    for (size_t row = 0; row < static_cast<size_t>(73 * c.heads); ++row) {
      EXPECT_EQ(outcome.lse[row], -INFINITY);
      EXPECT_EQ(outcome.out[row * static_cast<size_t>(c.dv)], 0.0f);
    }
  }
}

// -- the rest of the interface --------------------------------------------------------------------------------------
TEST(SoftmaxAttention, takes_every_pair_of_head_dims) {
  for (const int32_t dtype : {JD_F32, JD_BF16, JD_F16}) {
    for (const int64_t dqk : {32, 64, 96, 128, 192, 256}) {
      for (const int64_t dv : {32, 64, 96, 128, 192, 256}) {
        SCOPED_TRACE(std::to_string(dqk) + " and " + std::to_string(dv));
        SoftmaxCase c;
        c.dtype = c.out_dtype = dtype;
        c.dqk = dqk;
        c.dv = dv;
        c.scale = 1.0f / std::sqrt(static_cast<float>(dqk));
        if ((dqk + dv) % 64 == 0) c.softcap = 2.0f;
        c.queries = {3, 1};
        c.keys = {35, 17};
        c.gaps = {256, 0};
        c.multiprocessors = dqk == 64 ? 1 : 64;
        c.draw();
        run_and_expect_close(c);
        if (::testing::Test::HasFatalFailure()) return;
      }
    }
  }
}

// Packing the heads that share keys changes nothing: the bits are those of keys and values repeated for every head.
TEST(SoftmaxAttention, shared_key_value_heads_are_repeated_ones) {
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    for (const int64_t group : {2, 3, 8}) {
      SoftmaxCase c;
      c.dtype = c.out_dtype = dtype;
      c.queries = {1, 23, 50};
      c.keys = {70, 23, 65};
      c.kv_heads = 2;
      c.heads = 2 * group;
      c.mask = causal();
      c.draw();
      const SoftmaxOutcome shared = run_and_expect_close(c);
      SoftmaxCase repeated = c;
      repeated.kv_heads = c.heads;
      const auto repeat = [&](const std::vector<float> &x, int64_t width) {
        std::vector<float> all;
        for (int64_t row = 0; row < c.key_rows(); ++row) {
          for (int64_t head = 0; head < c.heads; ++head) {
            const auto from = x.begin() + (row * c.kv_heads + head / group) * width;
            all.insert(all.end(), from, from + width);
          }
        }
        return all;
      };
      repeated.k = repeat(c.k, c.dqk);
      repeated.v = repeat(c.v, c.dv);
      expect_same_bits(shared, run(repeated));
    }
  }
}

TEST(SoftmaxAttention, bits_do_not_depend_on_the_tile_size) {
  for (const int32_t columns : {32, 64, 96, 128}) {
    SoftmaxCase c = case_of({columns % 64 == 0 ? JD_BF16 : JD_F16, columns, attention::kLargeTile, false});
    c.queries = {130, 64};
    c.keys = {300, 129};
    c.heads = 3;
    c.kv_heads = 1;
    c.mask = window(100, 0);
    c.mask.sink = 3;
    c.draw();
    const SoftmaxOutcome large = run(c);
    c.multiprocessors = 64;
    const SoftmaxOutcome small = run(c);
    EXPECT_EQ(large.schedule.tile_rows, attention::kLargeTile);
    EXPECT_EQ(small.schedule.tile_rows, attention::kSmallTile);
    expect_same_bits(large, small);
  }
}

TEST(SoftmaxAttention, takes_gaps_both_offsets_both_outputs_and_no_lse) {
  for (const int32_t dtype : {JD_F32, JD_BF16, JD_F16}) {
    for (const int32_t offset_dtype : {JD_I32, JD_I64}) {
      for (const int32_t out_dtype : {int32_t{JD_F32}, dtype}) {
        SoftmaxCase c;
        c.dtype = dtype;
        c.out_dtype = out_dtype;
        c.offset_dtype = offset_dtype;
        c.with_lse = offset_dtype == JD_I64;
        c.queries = {3, 66};
        c.keys = {65, 34};
        c.heads = 3;
        c.kv_heads = 1;
        c.gaps = {8, 16};
        c.draw();
        run_and_expect_close(c);
      }
    }
  }
}

// Scale of either sign, zero, and large enough that one key takes all the weight and earlier maxima are overtaken.
TEST(SoftmaxAttention, takes_every_scale) {
  for (const int32_t dtype : {JD_F32, JD_BF16, JD_F16}) {
    for (const float scale : {0.0f, -0.0f, 1e-30f, -0.5f, 3.0f, -40.0f}) {
      for (const int32_t bias : {JD_BIAS_NONE, JD_BIAS_T5}) {
        SoftmaxCase c;
        c.dtype = c.out_dtype = dtype;
        c.scale = scale;
        c.bias = bias;
        c.queries = {9};
        c.keys = {200};
        c.mask = causal();
        c.draw();
        for (size_t i = 0; i < c.k.size(); ++i)
          c.k[i] = testing::rounded(c.k[i] * (1.0f + static_cast<float>(i) * 1e-4f), dtype);
        run_and_expect_close(c);
      }
    }
  }
}

// More sequences than a block looks at at once, and more items than blocks.
TEST(SoftmaxAttention, many_short_sequences) {
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    SoftmaxCase c;
    c.dtype = c.out_dtype = dtype;
    c.heads = c.kv_heads = 1;
    c.multiprocessors = 1;
    c.max_keys = 64;
    for (int64_t b = 0; b < 300; ++b) {
      c.queries.push_back(b % 5 == 0 ? 0 : b % 3);
      c.keys.push_back((b * 7) % 11);
    }
    c.draw();
    run_and_expect_close(c);
  }
}

TEST(SoftmaxAttention, empty_batch_and_no_queries) {
  SoftmaxCase c;
  c.draw();
  EXPECT_TRUE(run(c).out.empty());
  c.queries = {0, 0};
  c.keys = {3, 0};
  c.draw();
  const SoftmaxOutcome outcome = run(c);
  EXPECT_TRUE(outcome.out.empty());
  EXPECT_EQ(outcome.report.has_error, 0);
}

// Many pieces, of which a window far from the first keys leaves most empty.
TEST(SoftmaxAttention, one_query_over_a_long_sequence) {
  for (const bool windowed : {false, true}) {
    SoftmaxCase c;
    c.queries = {1};
    c.keys = {10007};
    c.max_keys = 20000;
    c.heads = c.kv_heads = 1;
    c.out_dtype = JD_F32;
    if (windowed) {
      c.mask = window(1000, 0);
      c.mask.sink = 2;
    }
    c.draw();
    const SoftmaxOutcome split = run_and_expect_close(c);
    EXPECT_TRUE(split.schedule.split);
    c.split_limit = 0;
    expect_same_bits(split, run(c));
  }
}

// -- pieces and schedules, without a kernel -------------------------------------------------------------------------
TEST(SoftmaxAttentionPieces, cover_every_sequence_in_whole_tiles) {
  for (const int64_t rows : {1, 64, 65, 300, 5000, 100000}) {
    for (const int32_t kv_heads : {1, 8}) {
      for (int32_t n = 0; n <= (1 << 20); n += n < 3000 ? 1 : 4391) {
        const auto pieces = attention::SoftmaxPieces::of(rows, kv_heads, n);
        ASSERT_EQ(pieces.length % attention::SoftmaxPieces::kGranule, 0);
        ASSERT_GE(pieces.count, 1);
        ASSERT_LE(pieces.count, attention::SoftmaxPieces::most(n));
        ASSERT_GE(int64_t{pieces.length} * pieces.count, n);
        if (pieces.count > 1) {
          ASSERT_GE(pieces.length, attention::SoftmaxPieces::kLeastKeys);
          ASSERT_LT(int64_t{pieces.length} * (pieces.count - 1), n) << "an empty piece";
        }
      }
    }
  }
}

TEST(SoftmaxAttentionSchedule, grids_hold_every_item_and_scratch_every_partial_result) {
  std::mt19937_64 random(7);
  for (int round = 0; round < 200; ++round) {
    SoftmaxCase c;
    c.heads = 8;
    c.kv_heads = 1 << (random() % 4);
    c.dqk = 32 * static_cast<int64_t>(1 + random() % 8);
    c.dv = 32 * static_cast<int64_t>(1 + random() % 8);
    c.dtype = random() % 2 ? JD_BF16 : JD_F32;
    c.max_keys = 1 << 20;
    const size_t batch = 1 + random() % 40;
    for (size_t b = 0; b < batch; ++b) {
      c.queries.push_back(static_cast<int64_t>(random() % (random() % 2 ? 10 : 1000)));
      c.keys.push_back(static_cast<int64_t>(random() % 20000));
    }
    testing::PlanMemory memory;
    const SoftmaxAttentionPlan plan(memory.resources(132), testing::desc_of(c));
    const SoftmaxAttentionSchedule s = plan.schedule(static_cast<int64_t>(batch), c.query_rows(), c.key_rows());
    int64_t items = 0, most = 1;
    for (size_t b = 0; b < batch; ++b) {
      const int64_t rows = c.queries[b] * c.heads / c.kv_heads;
      const auto pieces = attention::SoftmaxPieces::of(rows, static_cast<int32_t>(c.kv_heads), static_cast<int32_t>(c.keys[b]));
      items += (rows + s.tile_rows - 1) / s.tile_rows * c.kv_heads * (s.split ? pieces.count : 1);
      if (rows > 0) most = std::max<int64_t>(most, pieces.count);
    }
    EXPECT_GE(s.items, items);
    if (s.split) {
      EXPECT_LE(most * c.query_rows() * c.heads, plan.partial_rows);
    } else if (most > 1) {
      EXPECT_LE(s.most_blocks, SoftmaxAttentionPlan::kParkingBlocksAMultiprocessor * 132);
    }
    EXPECT_LE(plan.partial_rows * (c.dv * 4 + 8), SoftmaxAttentionPlan::kScratchBudget);
  }
}

TEST(SoftmaxAttentionPlan, says_what_it_runs_and_gives_memory_back) {
  SoftmaxCase c;
  c.queries = {1};
  c.keys = {1};
  c.bias = JD_BIAS_T5;
  testing::PlanMemory memory;
  jd_error error{};
  error.struct_size = sizeof error;
  KernelPlan *made = nullptr;
  ASSERT_EQ(SoftmaxAttentionPlan::create(memory.resources(132), testing::desc_of(c), &made, &error), JD_OK);
  char text[256];
  made->describe(text, sizeof text);
  EXPECT_NE(std::string(text).find("mma.sync"), std::string::npos) << text;
  EXPECT_NE(std::string(text).find("score options"), std::string::npos) << text;
  EXPECT_GT(memory.alive_bytes, 0);
  delete made;
  EXPECT_EQ(memory.alive_bytes, 0);

  memory.limit_bytes = 1000;
  EXPECT_EQ(SoftmaxAttentionPlan::create(memory.resources(132), testing::desc_of(c), &made, &error), JD_OUT_OF_MEMORY);
  EXPECT_EQ(memory.alive_bytes, 0);
  memory.limit_bytes = INT64_MAX;
  c.dv = 288;
  EXPECT_EQ(SoftmaxAttentionPlan::create(memory.resources(132), testing::desc_of(c), &made, &error), JD_UNSUPPORTED);
}

// -- what only the device can see -----------------------------------------------------------------------------------
struct BadOffsets {
  const char *what;
  std::vector<int64_t> queries, keys;  // offsets of 4 sequences
  int32_t fault, table;
  int64_t position, value, limit;
  std::vector<int> refused;
};

// The tensors hold 40 queries and 50 keys; declared: 20 queries, 30 keys a sequence.
std::vector<BadOffsets> bad_offsets() {
  const std::vector<int64_t> q = {0, 10, 20, 30, 40}, k = {0, 5, 20, 20, 50};
  return {
      {"start", {1, 10, 20, 30, 40}, k, JDB_FAULT_OFFSET_START, 0, 0, 1, 0, {0}},
      {"order of the keys", q, {0, 5, 25, 20, 50}, JDB_FAULT_OFFSET_ORDER, 1, 2, 20, 25, {2}},
      {"negative", q, {0, -7, 20, 20, 50}, JDB_FAULT_OFFSET_ORDER, 1, 0, -7, 0, {0, 1}},
      {"overrun", {0, 10, 20, 30, 41}, k, JDB_FAULT_OFFSET_OVERRUN, 0, 3, 41, 40, {3}},
      {"short", q, {0, 5, 20, 20, 49}, JDB_FAULT_OFFSET_OVERRUN, 1, 3, 49, 50, {3}},
      {"too many queries", {0, 10, 10, 31, 40}, k, JDB_FAULT_LENGTH, 0, 2, 21, 20, {2}},
      {"too many keys", q, {0, 0, 31, 31, 50}, JDB_FAULT_LENGTH, 1, 1, 31, 30, {1}},
  };
}

TEST(SoftmaxAttentionFaults, name_the_first_offender_and_leave_the_others_alone) {
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    for (const int32_t bounds : {JD_BOUNDS_STRICT, JD_BOUNDS_ZERO}) {
      for (const BadOffsets &bad : bad_offsets()) {
        SCOPED_TRACE(bad.what);
        SoftmaxCase c;
        c.dtype = c.out_dtype = dtype;
        c.bounds = bounds;
        c.offset_dtype = JD_I64;
        c.heads = c.kv_heads = 1;
        c.queries = {10, 10, 10, 10};
        c.keys = {5, 15, 0, 30};
        c.max_queries = 20;
        c.max_keys = 30;
        c.draw();
        c.q_offsets = bad.queries;
        c.k_offsets = bad.keys;
        const SoftmaxOutcome outcome = run(c);
        if (bounds == JD_BOUNDS_ZERO) {
          EXPECT_EQ(outcome.report.has_error, 0);
          EXPECT_EQ(outcome.report.skipped, static_cast<int64_t>(bad.refused.size()));
        } else {
          EXPECT_EQ(outcome.report.has_error, 1);
          EXPECT_EQ(outcome.report.op, JDB_OP_SOFTMAX_ATTENTION);
          EXPECT_EQ(outcome.report.fault, bad.fault);
          EXPECT_EQ(outcome.report.table, bad.table);
          EXPECT_EQ(outcome.report.position, bad.position);
          EXPECT_EQ(outcome.report.value, bad.value);
          EXPECT_EQ(outcome.report.limit, bad.limit);
        }
        for (size_t b = 0; b < 4; ++b) {
          if (std::find(bad.refused.begin(), bad.refused.end(), static_cast<int>(b)) != bad.refused.end()) continue;
          const SoftmaxOutcome alone = run(c.sequence(b));
          const int64_t first = bad.queries[b] * c.dv, last = bad.queries[b + 1] * c.dv;
          expect_same_bits(std::vector<float>(outcome.out.begin() + first, outcome.out.begin() + last), alone.out);
        }
      }
    }
  }
}

// Matrices of a dense bias bound the lengths too.
TEST(SoftmaxAttentionFaults, sequences_longer_than_a_dense_bias_are_refused) {
  SoftmaxCase c;
  c.bias = JD_BIAS_DENSE;
  c.offset_dtype = JD_I64;
  c.heads = c.kv_heads = 1;
  c.queries = {4, 4};
  c.keys = {6, 6};
  c.draw();
  c.k_offsets = {0, 5, 12};  // 7 keys, a bias of 6
  const SoftmaxOutcome outcome = run(c);
  EXPECT_EQ(outcome.report.fault, JDB_FAULT_LENGTH);
  EXPECT_EQ(outcome.report.table, 1);
  EXPECT_EQ(outcome.report.limit, 6);
}

}  // namespace
}  // namespace jindou
