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

JD_INSTANTIATE_ON_DEVICES(EmbeddingOut);

}  // namespace
}  // namespace jindou::testing
