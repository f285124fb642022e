// embedding_bag's other outputs, through the C ABI: a tensor for each table, and 8-bit codes with a scale a row.
#include <array>

#include "operators_support.h"
#include "reference/embedding_bag.h"

namespace jindou::testing {
namespace {

using reference::embedding_bag;
using reference::EmbeddingBagCase;
using reference::EmbeddingTable;

class EmbeddingOut : public ::testing::TestWithParam<std::string> {
 protected:
  struct Result {
    std::vector<double> out;     // numbers, or codes
    std::vector<double> scales;  // [B, parts]
    bool gaps_intact;
  };

  static EmbeddingBagCase make(Random &random, int64_t batch, const std::vector<std::array<int64_t, 3>> &tables) {
    EmbeddingBagCase c;
    c.batch = batch;
    c.offsets = {0};
    for (const auto &[rows, dim, pooling] : tables) {
      EmbeddingTable t{rows, dim, random.values(rows * dim, JD_F32), static_cast<int32_t>(pooling), {}};
      if (rows % 3 == 0) t.keys = {{{JD_KEY_MODULO, 0, 0, 0, 0, 0}, {JD_KEY_HASH, 0, 0, 0, 0, 5}}, JD_KEYS_CONCAT};
      c.tables.push_back(t);
      for (int64_t b = 0; b < batch; ++b) {
        for (int64_t i = random.integer(0, 5); i > 0; --i) c.ids.push_back(random.integer(0, rows - 1));
        c.offsets.push_back(static_cast<int64_t>(c.ids.size()));
      }
    }
    return c;
  }

  static Result run(Rig &rig, const EmbeddingBagCase &c, int32_t out_dtype, bool split, int64_t padding) {
    std::vector<jd_tensor> tables;
    std::vector<int32_t> pooling;
    std::vector<jd_table_keys> keys;
    int64_t columns = 0, parts = 0;
    for (const EmbeddingTable &t : c.tables) {
      tables.push_back(rig.tensor(JD_F32, {t.rows, t.dim}, t.values));
      pooling.push_back(t.pooling);
      keys.push_back({static_cast<int32_t>(t.keys.functions.size()), t.keys.combine, t.keys.functions.data()});
      columns += t.columns();
      parts += t.keys.rows_side_by_side();
    }
    jd_embedding_bag_desc d{};
    d.struct_size = sizeof d;
    d.num_tables = static_cast<int32_t>(tables.size());
    d.tables = tables.data();
    d.table_pooling = pooling.data();
    d.table_keys = keys.data();
    d.index_dtype = d.offset_dtype = JD_I64;
    d.out_dtype = out_dtype;
    d.split_out = split;
    d.max_batch = c.batch;
    d.max_ids = static_cast<int64_t>(c.ids.size());
    Error error;
    jd_plan plan = 0;
    rig.check(jd_embedding_bag_plan(rig.device, &d, &plan, &error), error);
    rig.keep(plan);
    jd_embedding_bag_args a{};
    a.struct_size = sizeof a;
    a.ids = rig.integers(JD_I64, c.ids);
    a.offsets = rig.integers(JD_I64, c.offsets);
    a.out = split ? rig.poisoned(out_dtype, {c.batch * columns}) : rig.poisoned(out_dtype, {c.batch, columns}, padding);
    if (out_dtype == JD_I8) a.out_scales = rig.poisoned(JD_F32, {c.batch, parts}, 1);
    rig.check(jd_embedding_bag_run(plan, rig.stream, &a, &error), error);
    Result r{};
    if (out_dtype == JD_I8) {
      for (const uint32_t bits : rig.bits(a.out, &r.gaps_intact)) r.out.push_back(static_cast<int8_t>(bits));
      bool gaps_intact = false;
      rig.bits(a.out_scales, &gaps_intact);
      r.gaps_intact = r.gaps_intact && gaps_intact;
      r.scales = rig.read(a.out_scales);
    } else {
      rig.bits(a.out, &r.gaps_intact);
      r.out = rig.read(a.out);
    }
    return r;
  }

  // From blocks [B, columns of t] to [B, columns].
  static std::vector<double> joined(const EmbeddingBagCase &c, const std::vector<double> &blocks) {
    std::vector<double> out(blocks.size());
    int64_t columns = 0, column = 0, at = 0;
    for (const EmbeddingTable &t : c.tables) columns += t.columns();
    for (const EmbeddingTable &t : c.tables) {
      for (int64_t b = 0; b < c.batch; ++b) {
        for (int64_t d = 0; d < t.columns(); ++d) out[static_cast<size_t>(b * columns + column + d)] = blocks[static_cast<size_t>(at++)];
      }
      column += t.columns();
    }
    return out;
  }
};

const std::vector<std::array<int64_t, 3>> kTables = {{50, 36, JD_POOL_SUM}, {7, 4, JD_POOL_MAX},   {33, 132, JD_POOL_MEAN},
                                                     {9, 8, JD_POOL_SUM},   {20, 260, JD_POOL_SUM}, {8, 64, JD_POOL_MEAN}};

TEST_P(EmbeddingOut, a_tensor_for_each_table_has_the_bits_of_one_for_all) {
  Rig rig(GetParam(), 3);
  for (const int64_t batch : {0, 1, 5, 40}) {
    Random random(static_cast<uint64_t>(batch));
    const EmbeddingBagCase c = make(random, rig.scaled(batch, std::min<int64_t>(batch, 9)), kTables);
    int64_t columns = 0;
    for (const EmbeddingTable &t : c.tables) columns += t.columns();
    for (const int32_t dtype : {JD_F32, JD_F16, JD_BF16}) {
      const int64_t padding = dtype == JD_F32 ? 0 : (8 - columns % 8) % 8;  // rows at multiples of 16 bytes
      const Result split = run(rig, c, dtype, true, 0), one = run(rig, c, dtype, false, padding);
      EXPECT_EQ(joined(c, split.out), one.out) << "batch " << batch << ", dtype " << dtype;
    }
  }
}

TEST_P(EmbeddingOut, codes_are_within_half_a_scale) {
  Rig rig(GetParam(), 3);
  for (const int64_t batch : {0, 1, 5, 40}) {
    for (const bool split : {false, true}) {
      Random random(static_cast<uint64_t>(batch + 7));
      const EmbeddingBagCase c = make(random, rig.scaled(batch, std::min<int64_t>(batch, 9)), kTables);
      int64_t columns = 0, parts = 0;
      for (const EmbeddingTable &t : c.tables) {
        columns += t.columns();
        parts += t.keys.rows_side_by_side();
      }
      Result got = run(rig, c, JD_I8, split, (16 - columns % 16) % 16);
      EXPECT_TRUE(got.gaps_intact);
      if (split) got.out = joined(c, got.out);
      const reference::EmbeddingBagResult expected = embedding_bag(c);
      ASSERT_EQ(got.out.size(), expected.out.size());
      for (int64_t b = 0; b < c.batch; ++b) {
        int64_t column = 0, part = 0;
        for (const EmbeddingTable &t : c.tables) {
          for (int64_t k = 0; k < t.keys.rows_side_by_side(); ++k, ++part) {
            double most = 0, unsure = 0, most_code = 0;
            for (int64_t d = 0; d < t.dim; ++d) {
              const auto i = static_cast<size_t>(b * columns + column + d);
              most = std::max(most, std::fabs(expected.out[i]));
              unsure = std::max(unsure, tolerance::sum(10, expected.terms[i], expected.out[i], JD_F32));
              most_code = std::max(most_code, std::fabs(got.out[i]));
            }
            const double scale = got.scales[static_cast<size_t>(b * parts + part)];
            EXPECT_NEAR(scale, most / 127, (unsure + 1e-6 * most) / 127) << "bag " << b << ", part " << part;
            EXPECT_EQ(most_code, most > 0 ? 127 : 0);
            for (int64_t d = 0; d < t.dim; ++d, ++column) {
              const auto i = static_cast<size_t>(b * columns + column);
              EXPECT_LE(std::fabs(got.out[i] * scale - expected.out[i]), 0.5001 * scale + 2 * unsure) << "bag " << b << ", column " << column;
            }
          }
        }
      }
    }
  }
}

// One bad element and a row reads as NaN, whatever else is in it; its neighbours are what they were. Pooled and a row an id, of narrow
// and wide rows, of numbers that are not finite from the start and of sums that leave f32.
TEST_P(EmbeddingOut, rows_of_codes_with_no_finite_number_are_nan) {
  Rig rig(GetParam(), 2);
  constexpr double kLargest = std::numeric_limits<float>::max();
  for (const int64_t dim : {4, 36, 132}) {
    for (const int32_t pooling : {JD_POOL_SUM, JD_POOL_MAX, JD_POOL_MEAN, JD_POOL_NONE}) {
      const bool none = pooling == JD_POOL_NONE;
      Random random(static_cast<uint64_t>(dim));
      EmbeddingBagCase c;
      EmbeddingTable t{7, dim, random.values(7 * dim, JD_F32), pooling, {}};
      t.values[static_cast<size_t>(dim + 1)] = NAN;                // row 1
      t.values[static_cast<size_t>(2 * dim + dim - 1)] = INFINITY;  // row 2
      t.values[static_cast<size_t>(3 * dim)] = -INFINITY;           // row 3
      for (int64_t i = 0; i < dim; ++i) t.values[static_cast<size_t>(4 * dim + i)] = NAN;
      t.values[static_cast<size_t>(5 * dim + 2)] = kLargest;        // row 5
      c.tables = {t};
      c.batch = 8;
      c.ids = {0, 1, 2, 3, 4, 5, 5, 6};
      c.offsets = {0, 1, 2, 3, 4, 5, 7, 8, 8};  // bag 5 has row 5 twice, bag 7 nothing
      const Result got = run(rig, c, JD_I8, none, none ? 0 : (16 - dim % 16) % 16);
      const auto rows = static_cast<size_t>(none ? 8 : c.batch);
      ASSERT_EQ(got.scales.size(), rows);
      for (size_t row = 0; row < rows; ++row) {
        const bool bad = (row >= 1 && row <= 4) || (row == 5 && (pooling == JD_POOL_SUM || pooling == JD_POOL_MEAN));
        EXPECT_EQ(std::isnan(got.scales[row]), bad) << "row " << row << ", pooling " << pooling << ", dim " << dim;
        int64_t most = 0;
        for (int64_t i = 0; i < dim; ++i) {
          most = std::max(most, std::abs(static_cast<int64_t>(got.out[row * static_cast<size_t>(dim) + static_cast<size_t>(i)])));
        }
        EXPECT_EQ(most, bad || (!none && row == 7) ? 0 : 127) << "row " << row << ", pooling " << pooling << ", dim " << dim;
      }
    }
  }
}

// A scale that is subnormal is off by as much as a third: codes end at 127 all the same.
TEST_P(EmbeddingOut, codes_of_the_least_numbers_keep_their_sign) {
  Rig rig(GetParam(), 2);
  EmbeddingBagCase c;
  EmbeddingTable t{40, 4, {}, JD_POOL_SUM, {}};
  for (int64_t r = 0; r < t.rows; ++r) {
    const double x = std::ldexp(static_cast<double>(1 + 12 * r), -149);
    t.values.insert(t.values.end(), {x, -x, 0, x});
    c.ids.push_back(r);
    c.offsets.push_back(r);
  }
  c.offsets.push_back(t.rows);
  c.tables = {t};
  c.batch = t.rows;
  const Result got = run(rig, c, JD_I8, false, 12);
  for (size_t r = 0; r < 40; ++r) {
    const double code = got.out[4 * r], value = t.values[4 * r];
    EXPECT_GE(code, 0);
    EXPECT_EQ(got.out[4 * r + 1], -code);
    EXPECT_EQ(got.out[4 * r + 2], 0);
    EXPECT_LE(std::fabs(code * got.scales[r] - value), got.scales[r] > 0 ? 0.35 * value : value) << "row " << r;
  }
}

JD_INSTANTIATE_ON_DEVICES(EmbeddingOut);

}  // namespace
}  // namespace jindou::testing
