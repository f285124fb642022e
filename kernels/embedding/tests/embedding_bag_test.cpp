// The embedding_bag kernels in the emulator, against the float64 reference and against their own promises.
#include "embedding_bag_case.h"

#include <array>
#include <cstring>

namespace jindou::testing {
namespace {

const int32_t kRowDtypes[] = {JD_F32, JD_F16, JD_BF16};

std::vector<int64_t> random_lengths(int64_t bags, std::mt19937_64 &random, int64_t longest) {
  std::vector<int64_t> lengths(static_cast<size_t>(bags));
  for (int64_t &n : lengths) {
    const int64_t draw = static_cast<int64_t>(random() % 4);
    n = draw == 0 ? 0 : draw == 1 ? 1 : static_cast<int64_t>(random() % static_cast<uint64_t>(longest + 1));
  }
  return lengths;
}

// A problem with everything drawn by chance.
EmbeddingCase random_case(uint64_t seed, bool unpooled) {
  std::mt19937_64 random(seed);
  const auto pick = [&](std::initializer_list<int64_t> choices) {
    return *(choices.begin() + random() % choices.size());
  };
  EmbeddingCase c;
  c.batch = pick({1, 2, 3, 7, 8, 9, 17});
  const int64_t num_tables = pick({1, 2, 5});
  const int64_t common_dim = pick({4, 8, 12, 32, 60, 64, 68, 100, 128, 132, 264});
  for (int64_t t = 0; t < num_tables; ++t) {
    Table table{};
    table.rows = pick({1, 2, 13, 101});
    table.dim = unpooled ? common_dim : pick({4, 8, 12, 16, 32, 36, 60, 64, 68, 96, 128, 132, 256, 260, 516});
    table.dtype = kRowDtypes[random() % 3];
    table.pooling = unpooled ? JD_POOL_NONE : static_cast<int32_t>(pick({JD_POOL_SUM, JD_POOL_MEAN, JD_POOL_MAX}));
    table.padding = pick({0, 0, 4, 8});
    c.tables.push_back(table);
  }
  c.index_dtype = random() & 1 ? JD_I32 : JD_I64;
  c.offset_dtype = random() & 1 ? JD_I32 : JD_I64;
  c.out_dtype = kRowDtypes[random() % 3];
  c.mean_denominator = random() & 1 ? JD_MEAN_VALID : JD_MEAN_LENGTH;
  c.bounds = JD_BOUNDS_ZERO;
  c.has_padding_id = random() & 1;
  c.padding_id = pick({0, 1, -1});
  c.values_seed = seed;
  c.simt_seed = seed % 4;
  c.out_padding = pick({0, 8});
  c.fill(random_lengths(num_tables * c.batch, random, pick({2, 20, 45})), random, random() & 1 ? 100 : 80);
  if (random() & 1) c.weigh(random);
  return c;
}

class EmbeddingBagSeeds : public ::testing::TestWithParam<uint64_t> {};

TEST_P(EmbeddingBagSeeds, pooled_matches_the_reference) {
  const EmbeddingCase c = random_case(GetParam(), false);
  const EmbeddingOutcome outcome = run(c);
  expect_matches(c, outcome);
  EXPECT_EQ(c.expected().skipped, outcome.report.skipped);
  EXPECT_EQ(0, outcome.report.has_error);
}

TEST_P(EmbeddingBagSeeds, unpooled_matches_the_reference) {
  const EmbeddingCase c = random_case(1000 + GetParam(), true);
  const EmbeddingOutcome outcome = run(c);
  expect_matches(c, outcome);
  EXPECT_EQ(c.expected().skipped, outcome.report.skipped);
  EXPECT_EQ(0, outcome.report.has_error);
}

INSTANTIATE_TEST_SUITE_P(seeds, EmbeddingBagSeeds, ::testing::Range<uint64_t>(0, 40));

struct Shape {
  int64_t dim;
  int32_t dtype;
};
class EmbeddingBagShapes : public ::testing::TestWithParam<Shape> {};

// One vector less, exactly, and one more than a group of 8, 16 or 32 lanes and than whole chunks holds; the smallest
// and the widest.
TEST_P(EmbeddingBagShapes, every_pooling_and_output) {
  for (const int32_t pooling : {JD_POOL_SUM, JD_POOL_MEAN, JD_POOL_MAX, JD_POOL_NONE}) {
    for (const int32_t out_dtype : kRowDtypes) {
      std::mt19937_64 random(static_cast<uint64_t>(pooling * 7 + out_dtype));
      EmbeddingCase c;
      c.tables = {{11, GetParam().dim, GetParam().dtype, pooling, 0}};
      c.batch = 3;
      c.out_dtype = out_dtype;
      c.fill({2, 0, 9}, random);
      SCOPED_TRACE("pooling " + std::to_string(pooling) + " out " + std::to_string(out_dtype));
      expect_matches(c, run(c));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(dims, EmbeddingBagShapes,
                         ::testing::Values(Shape{4, JD_F32}, Shape{28, JD_F32}, Shape{32, JD_F32}, Shape{36, JD_F32},
                                           Shape{64, JD_F32}, Shape{68, JD_F32}, Shape{124, JD_F32},
                                           Shape{128, JD_F32}, Shape{132, JD_F32}, Shape{256, JD_F32},
                                           Shape{260, JD_F32}, Shape{2048, JD_F32}, Shape{4, JD_F16}, Shape{8, JD_F16},
                                           Shape{12, JD_F16}, Shape{64, JD_F16}, Shape{72, JD_F16}, Shape{256, JD_F16},
                                           Shape{264, JD_F16}, Shape{2044, JD_F16}, Shape{2048, JD_F16},
                                           Shape{4, JD_BF16}, Shape{20, JD_BF16}, Shape{128, JD_BF16},
                                           Shape{136, JD_BF16}, Shape{516, JD_BF16}, Shape{2048, JD_BF16}),
                         [](const auto &info) {
                           const int32_t type = info.param.dtype;
                           const char *dtype = type == JD_F32 ? "f32" : type == JD_F16 ? "f16" : "bf16";
                           return dtype + std::to_string(info.param.dim);
                         });

// out[b] is ((w0 r0 + w1 r1) + w2 r2) + ..., every step one f32 fused multiply-add.
TEST(EmbeddingBag, adds_in_id_order) {
  std::mt19937_64 random(5);
  EmbeddingCase c;
  c.tables = {{101, 64, JD_F32, JD_POOL_SUM}};
  c.batch = 9;
  c.fill({1, 7, 8, 9, 31, 32, 33, 0, 100}, random);
  c.weigh(random);
  const EmbeddingOutcome outcome = run(c);
  const std::vector<float> values = c.table_values(0);
  for (int64_t b = 0; b < c.batch; ++b) {
    for (int64_t d = 0; d < 64; ++d) {
      float sum = 0;
      for (int64_t i = c.offsets[b]; i < c.offsets[b + 1]; ++i) {
        sum = __builtin_fmaf(c.weights[i], values[c.ids[i] * 64 + d], sum);
      }
      ASSERT_EQ(sum, outcome.out[b * 64 + d]) << "bag " << b << " column " << d;
    }
  }
}

TEST(EmbeddingBag, a_long_bag_beside_short_ones) {
  std::mt19937_64 random(6);
  EmbeddingCase c;
  c.tables = {{1009, 32, JD_BF16, JD_POOL_MEAN}};
  c.batch = 4;
  c.fill({1, 10007, 0, 3}, random);
  expect_matches(c, run(c));
}

// The bits of a bag do not depend on the other bags, on how bags are strung together, or on the order of threads.
TEST(EmbeddingBag, bits_do_not_depend_on_the_batch) {
  std::mt19937_64 random(7);
  EmbeddingCase c;
  c.tables = {{101, 36, JD_F32, JD_POOL_SUM}, {55, 264, JD_F16, JD_POOL_MEAN}, {7, 8, JD_BF16, JD_POOL_MAX}};
  c.batch = 13;
  c.fill(random_lengths(39, random, 12), random);
  c.weigh(random);
  const EmbeddingOutcome together = run(c);
  for (const int32_t multiprocessors : {1, 3, 64}) {  // changes bags per group
    c.multiprocessors = multiprocessors;
    for (const uint64_t seed : {1, 2, 3}) {
      c.simt_seed = seed;
      const EmbeddingOutcome again = run(c);
      ASSERT_EQ(0, memcmp(together.out.data(), again.out.data(), together.out.size() * sizeof(float)));
    }
  }
  c.multiprocessors = 2;
  for (int64_t b = 0; b < c.batch; ++b) {
    EmbeddingCase alone = c;
    alone.batch = 1;
    alone.ids.clear();
    alone.weights.clear();
    alone.offsets = {0};
    for (int64_t t = 0; t < 3; ++t) {
      for (int64_t i = c.offsets[t * c.batch + b]; i < c.offsets[t * c.batch + b + 1]; ++i) {
        alone.ids.push_back(c.ids[i]);
        alone.weights.push_back(c.weights[i]);
      }
      alone.offsets.push_back(static_cast<int64_t>(alone.ids.size()));
    }
    if (alone.ids.empty()) continue;
    const EmbeddingOutcome one = run(alone);
    ASSERT_EQ(0, memcmp(one.out.data(), &together.out[b * c.columns()], one.out.size() * sizeof(float))) << "bag " << b;
  }
}

TEST(EmbeddingBag, nothing_to_do) {
  for (const int32_t pooling : {JD_POOL_SUM, JD_POOL_NONE}) {
    EmbeddingCase c;
    c.tables = {{5, 12, JD_F32, pooling}, {0, 12, JD_F32, pooling}};
    c.batch = 0;
    c.offsets = {0};
    EXPECT_TRUE(run(c).out.empty());
    c.batch = 2;
    c.offsets = {0, 0, 0, 0, 0};
    expect_matches(c, run(c));  // zeros
  }
}

TEST(EmbeddingBag, a_table_without_rows_gives_zeros) {
  for (const int32_t pooling : {JD_POOL_SUM, JD_POOL_MEAN, JD_POOL_MAX, JD_POOL_NONE}) {
    EmbeddingCase c;
    c.tables = {{0, 12, JD_F16, pooling}, {3, 12, JD_F16, pooling}};
    c.batch = 1;
    c.ids = {0, 1, 2};
    c.offsets = {0, 2, 3};
    c.bounds = JD_BOUNDS_ZERO;
    const EmbeddingOutcome outcome = run(c);
    expect_matches(c, outcome);
    EXPECT_EQ(2, outcome.report.skipped);
  }
}

TEST(EmbeddingBag, padding_contributes_nothing_and_is_no_error) {
  for (const int32_t pooling : {JD_POOL_SUM, JD_POOL_MEAN, JD_POOL_MAX, JD_POOL_NONE}) {
    for (const int32_t bounds : {JD_BOUNDS_STRICT, JD_BOUNDS_ZERO, JD_BOUNDS_TRUST}) {
      EmbeddingCase c;
      c.tables = {{10, 20, JD_F32, pooling}};
      c.batch = 3;
      c.ids = {-1, 4, -1, -1, 9};
      c.offsets = {0, 3, 4, 5};
      c.has_padding_id = true;
      c.padding_id = -1;
      c.bounds = bounds;
      const EmbeddingOutcome outcome = run(c);
      expect_matches(c, outcome);
      EXPECT_EQ(0, outcome.report.has_error);
      EXPECT_EQ(0, outcome.report.skipped);
    }
  }
}

// Without pooling an output row that no bag holds gives zeros.
TEST(EmbeddingBag, ids_beyond_the_last_offset_give_zeros) {
  EmbeddingCase c;
  c.tables = {{10, 12, JD_F32, JD_POOL_NONE}};
  c.batch = 2;
  c.ids = {1, 2, 3, 4, 5};
  c.offsets = {0, 2, 3};
  const EmbeddingOutcome outcome = run(c);
  EXPECT_EQ(JDB_FAULT_OFFSET_OVERRUN, outcome.report.fault);
  EXPECT_EQ(1, outcome.report.position);
  for (int64_t i = 3 * 12; i < 5 * 12; ++i) ASSERT_EQ(0.0f, outcome.out[i]);
}

// NaN weights of skipped ids do not leak into the sum.
TEST(EmbeddingBag, the_weight_of_a_skipped_id_is_not_used) {
  for (const int32_t pooling : {JD_POOL_SUM, JD_POOL_MEAN, JD_POOL_MAX, JD_POOL_NONE}) {
    EmbeddingCase c;
    c.tables = {{10, 20, JD_F32, pooling}};
    c.batch = 1;
    c.ids = {3, 10, 4};
    c.offsets = {0, 3};
    c.weights = {0.5f, NAN, 2.0f};
    c.bounds = JD_BOUNDS_ZERO;
    expect_matches(c, run(c));
  }
}

TEST(EmbeddingBag, strict_reports_the_first_offender) {
  for (const int32_t pooling : {JD_POOL_SUM, JD_POOL_NONE}) {
    for (const int64_t dim : {8, 1024}) {  // 1024: two groups of lanes meet each id
      for (const uint64_t seed : {0, 1, 2, 3}) {
        std::mt19937_64 random(3);
        EmbeddingCase c;
        c.tables = {{50, dim, JD_F32, pooling}, {30, dim, JD_F32, pooling}};
        c.batch = 20;
        c.fill(std::vector<int64_t>(40, 4), random);
        c.simt_seed = seed;
        const int64_t second = c.offsets[20];  // first id of table 1
        c.ids[second + 5] = 31;
        c.ids[second + 17] = -7;
        c.ids[second + 40] = 1 << 30;
        const EmbeddingOutcome outcome = run(c);
        expect_matches(c, outcome);  // all others are as they should be
        EXPECT_EQ(1, outcome.report.has_error);
        EXPECT_EQ(JDB_FAULT_ID, outcome.report.fault);
        EXPECT_EQ(JDB_OP_EMBEDDING_BAG, outcome.report.op);
        EXPECT_EQ(1, outcome.report.table);
        EXPECT_EQ(second + 5, outcome.report.position);
        EXPECT_EQ(31, outcome.report.value);
        EXPECT_EQ(30, outcome.report.limit);
        EXPECT_EQ(0, outcome.report.skipped);
      }
    }
  }
}

TEST(EmbeddingBag, the_earlier_run_is_reported_first) {
  EmbeddingCase c;
  c.tables = {{5, 8, JD_F32, JD_POOL_SUM}};
  c.batch = 1;
  c.ids = {0, 1, 2, 7};
  c.offsets = {0, 4};
  EmbeddingRun stream(c);
  EXPECT_EQ(3, stream().report.position);
  c.ids = {9, 1, 2, 3};
  EXPECT_EQ(3, stream().report.position);
}

TEST(EmbeddingBag, zero_counts_every_skipped_id_once) {
  for (const int32_t pooling : {JD_POOL_SUM, JD_POOL_NONE}) {
    EmbeddingCase c;
    c.tables = {{5, 2048, JD_F32, pooling}};  // 16 groups of lanes meet each id
    c.batch = 2;
    c.ids = {0, 5, -1, 4, INT64_MAX, INT64_MIN};
    c.offsets = {0, 4, 6};
    c.bounds = JD_BOUNDS_ZERO;
    const EmbeddingOutcome outcome = run(c);
    expect_matches(c, outcome);
    EXPECT_EQ(4, outcome.report.skipped);
  }
}

struct BadOffsets {
  const char *name;
  std::vector<int64_t> offsets;  // 2 tables, 3 bags each, 12 ids
  int32_t fault;
  int64_t position, value, limit;
  int64_t refused;  // bags
};

class EmbeddingBagOffsets : public ::testing::TestWithParam<BadOffsets> {};

TEST_P(EmbeddingBagOffsets, are_reported_and_never_followed) {
  const BadOffsets &bad = GetParam();
  for (const int32_t pooling : {JD_POOL_SUM, JD_POOL_NONE}) {
    for (const int32_t bounds : {JD_BOUNDS_STRICT, JD_BOUNDS_ZERO, JD_BOUNDS_TRUST}) {
      for (const uint64_t seed : {0, 1}) {
        EmbeddingCase c;
        c.tables = {{20, 12, JD_F32, pooling}, {20, 12, JD_F32, pooling}};
        c.batch = 3;
        c.ids = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
        c.offsets = bad.offsets;
        c.bounds = bounds;
        c.simt_seed = seed;
        const EmbeddingOutcome outcome = run(c);  // AddressSanitizer watches
        for (const float x : outcome.out) ASSERT_EQ(x, x) << "not written";
        if (bounds == JD_BOUNDS_ZERO) {
          EXPECT_EQ(0, outcome.report.has_error);
          EXPECT_EQ(bad.refused, outcome.report.skipped);
        } else {
          EXPECT_EQ(1, outcome.report.has_error);
          EXPECT_EQ(bad.fault, outcome.report.fault);
          EXPECT_EQ(bad.position, outcome.report.position);
          EXPECT_EQ(bad.value, outcome.report.value);
          EXPECT_EQ(bad.limit, outcome.report.limit);
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    kinds, EmbeddingBagOffsets,
    ::testing::Values(
        BadOffsets{"start", {1, 2, 4, 6, 8, 10, 12}, JDB_FAULT_OFFSET_START, 0, 1, 0, 1},
        BadOffsets{"negative_start", {-1, 2, 4, 6, 8, 10, 12}, JDB_FAULT_OFFSET_START, 0, -1, 0, 1},
        BadOffsets{"decreasing", {0, 2, 4, 3, 8, 10, 12}, JDB_FAULT_OFFSET_ORDER, 2, 3, 4, 1},
        BadOffsets{"decreasing_between_tables", {0, 2, 4, 9, 8, 10, 12}, JDB_FAULT_OFFSET_ORDER, 3, 8, 9, 1},
        BadOffsets{"negative", {0, 2, -4, 6, 8, 10, 12}, JDB_FAULT_OFFSET_ORDER, 1, -4, 2, 1},
        BadOffsets{"most_negative", {0, INT64_MIN, 4, 6, 8, 10, 12}, JDB_FAULT_OFFSET_ORDER, 0, INT64_MIN, 0, 1},
        BadOffsets{"overrun", {0, 2, 4, 6, 8, 10, 13}, JDB_FAULT_OFFSET_OVERRUN, 5, 13, 12, 1},
        BadOffsets{"far_overrun", {0, 2, 4, 6, 8, INT64_MAX, INT64_MAX}, JDB_FAULT_OFFSET_OVERRUN, 4, INT64_MAX, 12, 2},
        BadOffsets{"ids_left_over", {0, 2, 4, 6, 8, 10, 11}, JDB_FAULT_OFFSET_OVERRUN, 5, 11, 12, 1}),
    [](const auto &info) { return info.param.name; });

// Where blocks of rows begin is computed from the offsets, whatever they are.
TEST_P(EmbeddingBagOffsets, place_no_block_outside_the_output) {
  const BadOffsets &bad = GetParam();
  for (const int32_t out_dtype : {JD_F32, JD_I8}) {
    for (const std::array<int64_t, 2> dims : {std::array<int64_t, 2>{12, 260}, {260, 4}}) {
      EmbeddingCase c;
      c.tables = {{20, dims[0], JD_F32, JD_POOL_NONE}, {20, dims[1], JD_F32, JD_POOL_NONE}};
      c.batch = 3;
      c.ids = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
      c.offsets = bad.offsets;
      c.out_dtype = out_dtype;
      c.blocks = true;
      const EmbeddingOutcome outcome = run(c);  // AddressSanitizer watches
      EXPECT_EQ(1, outcome.report.has_error);
      EXPECT_EQ(bad.fault, outcome.report.fault);
      EXPECT_EQ(bad.position, outcome.report.position);
    }
  }
}

// Tables with pooling and without side by side: each offender is met by one of the two kernels, and once; all bags are written.
TEST_P(EmbeddingBagOffsets, are_reported_once_by_kernels_side_by_side) {
  const BadOffsets &bad = GetParam();
  for (const int32_t out_dtype : {JD_F32, JD_I8}) {
    for (const bool pooled_first : {true, false}) {
      for (const int32_t bounds : {JD_BOUNDS_STRICT, JD_BOUNDS_ZERO}) {
        EmbeddingCase c;
        c.tables = {{20, 12, JD_F32, JD_POOL_SUM}, {20, 260, JD_F32, JD_POOL_NONE}};
        if (!pooled_first) std::swap(c.tables[0], c.tables[1]);
        c.batch = 3;
        c.ids = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
        c.offsets = bad.offsets;
        c.out_dtype = out_dtype;
        c.bounds = bounds;
        c.blocks = true;
        const EmbeddingOutcome outcome = run(c);  // AddressSanitizer watches
        for (size_t i = 0; out_dtype == JD_F32 && i < 3 * 12; ++i) ASSERT_EQ(outcome.out[i], outcome.out[i]) << "not written";
        if (bounds == JD_BOUNDS_ZERO) {
          EXPECT_EQ(0, outcome.report.has_error);
          EXPECT_EQ(bad.refused, outcome.report.skipped);
        } else {
          EXPECT_EQ(bad.fault, outcome.report.fault);
          EXPECT_EQ(bad.position, outcome.report.position);
          EXPECT_EQ(bad.value, outcome.report.value);
          EXPECT_EQ(bad.limit, outcome.report.limit);
        }
      }
    }
  }
}

TEST(EmbeddingBag, a_bag_with_bad_offsets_gives_zeros_and_the_others_their_sums) {
  EmbeddingCase c;
  c.tables = {{20, 12, JD_F32, JD_POOL_SUM}};
  c.batch = 4;
  c.ids = {0, 1, 2, 3, 4, 5, 6, 7};
  c.offsets = {0, 3, 2, 6, 8};  // bag 1 ends before it begins; bag 2 begins inside bag 0
  c.bounds = JD_BOUNDS_ZERO;
  const EmbeddingOutcome outcome = run(c);
  EmbeddingCase same = c;
  same.ids = {0, 1, 2, 2, 3, 4, 5, 6, 7};
  same.offsets = {0, 3, 3, 7, 9};
  expect_matches(same, outcome);
  EXPECT_EQ(1, outcome.report.skipped);
}

TEST(EmbeddingBag, one_plan_holds_tables_of_every_kind) {
  std::mt19937_64 random(11);
  EmbeddingCase c;
  for (int i = 0; i < 30; ++i) {
    c.tables.push_back({1 + i * 3, 4 + 4 * (i * i % 37), kRowDtypes[i % 3],
                        static_cast<int32_t>(i % 4 == 0 ? JD_POOL_MAX : i % 4 == 1 ? JD_POOL_MEAN : JD_POOL_SUM), 0});
  }
  c.batch = 5;
  c.fill(random_lengths(150, random, 6), random);
  const EmbeddingOutcome outcome = run(c);
  expect_matches(c, outcome);
  EXPECT_NE(std::string::npos, outcome.plan.find("30 tables")) << outcome.plan;
}

TEST(EmbeddingBag, a_plan_that_does_not_fit_leaves_nothing_behind) {
  PlanMemory memory;
  memory.limit_bytes = 32;
  const DeviceArray table = DeviceArray::floats(JD_F32, std::vector<float>(16, 1.0f));
  const jdb_tensor tensor = table.tensor({4, 4});
  jdb_embedding_bag_desc desc{};
  desc.d.num_tables = 1;
  desc.d.index_dtype = desc.d.offset_dtype = JD_I64;
  desc.d.out_dtype = JD_F32;
  desc.tables = &tensor;
  const int32_t pooling = JD_POOL_SUM, format = JD_ROWS_PLAIN, dim = 4;
  desc.table_pooling = &pooling;
  desc.row_formats = &format;
  desc.dims = &dim;
  desc.sum_dims = 4;
  KernelPlan *plan = nullptr;
  jd_error error{};
  error.struct_size = sizeof error;
  EXPECT_EQ(JD_OUT_OF_MEMORY, EmbeddingBagPlan::create(memory.resources(2), desc, &plan, &error));
  EXPECT_EQ(nullptr, plan);
  EXPECT_EQ(0, memory.alive_bytes);
}

}  // namespace
}  // namespace jindou::testing
