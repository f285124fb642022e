// embedding_bag through the C ABI against its float64 reference.
#include "operators_support.h"
#include "reference/embedding_bag.h"

namespace jindou::testing {
namespace {

using reference::embedding_bag;
using reference::EmbeddingBagCase;
using reference::EmbeddingTable;

struct Variant {
  int32_t row_dtype = JD_F32, out_dtype = JD_F32, index_dtype = JD_I64, offset_dtype = JD_I64;
  int32_t bounds = JD_BOUNDS_STRICT;
  int64_t row_padding = 0, out_padding = 0;  // elements
};

EmbeddingTable table(Random &random, int64_t rows, int64_t dim, int32_t dtype, int32_t pooling) {
  return {rows, dim, random.values(rows * dim, dtype), pooling};
}

// Bags of 0..most ids over all tables of the case, which are there already.
void fill_bags(Random &random, EmbeddingBagCase &c, int64_t batch, int64_t most) {
  c.batch = batch;
  c.offsets.assign(1, 0);
  for (const EmbeddingTable &t : c.tables) {
    for (int64_t b = 0; b < batch; ++b) {
      const int64_t length = random.integer(0, most);
      for (int64_t i = 0; i < length; ++i) c.ids.push_back(random.integer(0, t.rows - 1));
      c.offsets.push_back(static_cast<int64_t>(c.ids.size()));
    }
  }
}

// All positive, for means: weights that cancel would make the sum they are divided by arbitrarily small.
std::vector<double> weights_for(Random &random, const EmbeddingBagCase &c) {
  std::vector<double> weights(c.ids.size());
  for (double &w : weights) w = rounded(random.uniform(0.5, 2), JD_F32);
  return weights;
}

class EmbeddingBag : public ::testing::TestWithParam<std::string> {
 protected:
  // Makes plan and tensors, runs, gives the output tensor.
  jd_tensor run(Rig &rig, const EmbeddingBagCase &c, const Variant &s) {
    Error error;
    jd_tensor out = 0;
    rig.check(try_run(rig, c, s, &error, &out), error);
    return out;
  }

  // What the run answers.
  jd_status try_run(Rig &rig, const EmbeddingBagCase &c, const Variant &s, Error *error, jd_tensor *out = nullptr) {
    std::vector<jd_tensor> tables;
    std::vector<int32_t> pooling;
    int64_t columns = 0;
    for (const EmbeddingTable &t : c.tables) {
      tables.push_back(rig.tensor(s.row_dtype, {t.rows, t.dim}, t.values, s.row_padding));
      pooling.push_back(t.pooling);
      columns += t.dim;
    }
    const bool none = pooling[0] == JD_POOL_NONE;
    const int64_t total = static_cast<int64_t>(c.ids.size());
    jd_embedding_bag_desc d{};
    d.struct_size = sizeof d;
    d.num_tables = static_cast<int32_t>(tables.size());
    d.tables = tables.data();
    d.table_pooling = pooling.data();
    d.bounds = s.bounds;
    d.mean_denominator = c.mean_denominator;
    d.index_dtype = s.index_dtype;
    d.offset_dtype = s.offset_dtype;
    d.out_dtype = s.out_dtype;
    d.weighted = c.weights.empty() ? 0 : 1;
    d.has_padding_id = c.padding_id ? 1 : 0;
    d.padding_id = c.padding_id.value_or(0);
    d.max_batch = c.batch;
    d.max_ids = total;
    jd_plan plan = 0;
    rig.check(jd_embedding_bag_plan(rig.device, &d, &plan, error), *error);
    rig.keep(plan);
    jd_embedding_bag_args a{};
    a.struct_size = sizeof a;
    a.ids = rig.integers(s.index_dtype, c.ids);
    a.offsets = rig.integers(s.offset_dtype, c.offsets);
    if (d.weighted) a.weights = rig.tensor(JD_F32, {total}, c.weights);
    a.out = rig.poisoned(s.out_dtype, {none ? total : c.batch, none ? c.tables[0].dim : columns}, s.out_padding);
    if (out) *out = a.out;
    return jd_embedding_bag_run(plan, rig.stream, &a, error);
  }

  void compare(Rig &rig, const EmbeddingBagCase &c, const Variant &s, const std::string &what) {
    const jd_tensor out = run(rig, c, s);
    const reference::EmbeddingBagResult expected = embedding_bag(c);
    int64_t longest = 1;
    for (size_t i = 1; i < c.offsets.size(); ++i) longest = std::max(longest, c.offsets[i] - c.offsets[i - 1]);
    expect_near(rig.read(out), expected.out, [&](size_t i) {
      return tolerance::sum(longest, expected.terms[i], expected.out[i], s.out_dtype);
    }, what);
    bool gaps_intact = false;
    rig.bits(out, &gaps_intact);
    EXPECT_TRUE(gaps_intact) << what << ": wrote between the rows of out";
  }
};

TEST_P(EmbeddingBag, matches_the_reference_for_every_dtype_and_pooling) {
  Rig rig(GetParam());
  for (const int32_t row_dtype : {JD_F32, JD_F16, JD_BF16}) {
    for (const int32_t out_dtype : {JD_F32, JD_F16, JD_BF16}) {
      for (const int32_t pooling : {JD_POOL_SUM, JD_POOL_MEAN, JD_POOL_MAX, JD_POOL_NONE}) {
        for (const bool weighted : {false, true}) {
          Random random(17 * row_dtype + 5 * out_dtype + pooling);
          EmbeddingBagCase c;
          c.tables = {table(random, 97, 64, row_dtype, pooling), table(random, 1, 64, row_dtype, pooling)};
          fill_bags(random, c, 13, 9);
          if (weighted && pooling == JD_POOL_MEAN) c.weights = weights_for(random, c);
          if (weighted && pooling != JD_POOL_MEAN) c.weights = random.values(static_cast<int64_t>(c.ids.size()), JD_F32);
          Variant s;
          s.row_dtype = row_dtype;
          s.out_dtype = out_dtype;
          compare(rig, c, s, "row dtype " + std::to_string(row_dtype) + ", out dtype " + std::to_string(out_dtype) + ", pooling " +
                  std::to_string(pooling) + (weighted ? ", weighted" : ""));
        }
      }
    }
  }
}

TEST_P(EmbeddingBag, dims_around_every_vector_and_chunk_width) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_F16, JD_BF16}) {
    for (const int64_t dim : {4, 8, 12, 16, 20, 28, 32, 36, 60, 64, 68, 124, 128, 132, 256, 260, 512, 1000, 2044, 2048}) {
      if (!rig.fast() && dim > 260 && dim != 2048) continue;
      Random random(dim);
      EmbeddingBagCase c;
      c.tables = {table(random, 23, dim, dtype, JD_POOL_SUM)};
      fill_bags(random, c, 5, 7);
      Variant s;
      s.row_dtype = dtype;
      s.out_dtype = dtype;
      if (dtype != JD_F32) s.out_padding = (8 - dim % 8) % 8;  // rows of out begin at multiples of 16 bytes
      compare(rig, c, s, "dim " + std::to_string(dim) + ", dtype " + std::to_string(dtype));
      for (EmbeddingTable &t : c.tables) t.pooling = JD_POOL_NONE;
      compare(rig, c, s, "not pooled, dim " + std::to_string(dim) + ", dtype " + std::to_string(dtype));
    }
  }
}

TEST_P(EmbeddingBag, many_tables_of_mixed_dims_and_poolings_in_one_launch) {
  Rig rig(GetParam());
  Random random(3);
  EmbeddingBagCase c;
  for (int t = 0; t < 26; ++t) {
    c.tables.push_back(table(random, random.integer(1, 300), 4 * random.integer(1, 40), JD_F32, t % 3));
  }
  fill_bags(random, c, 31, 6);
  c.weights = weights_for(random, c);
  compare(rig, c, {}, "26 tables");
}

TEST_P(EmbeddingBag, bags_of_every_length_around_a_batch_of_ids) {
  Rig rig(GetParam());
  for (const int64_t dim : {8, 128, 1024}) {
    Random random(dim);
    EmbeddingBagCase c;
    c.tables = {table(random, 101, dim, JD_F32, JD_POOL_MEAN)};
    c.offsets.assign(1, 0);
    for (const int64_t length : {0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 0, 63, 64, 65, 127, 128, 129, 257, 0, 1}) {
      if (!rig.fast() && length > 65) continue;
      for (int64_t i = 0; i < length; ++i) c.ids.push_back(random.integer(0, 100));
      c.offsets.push_back(static_cast<int64_t>(c.ids.size()));
    }
    c.batch = static_cast<int64_t>(c.offsets.size()) - 1;
    compare(rig, c, {}, "mean, dim " + std::to_string(dim));
    c.tables[0].pooling = JD_POOL_MAX;
    compare(rig, c, {}, "max, dim " + std::to_string(dim));
  }
}

TEST_P(EmbeddingBag, one_bag_of_10007_ids) {
  Rig rig(GetParam());
  Random random(7);
  EmbeddingBagCase c;
  c.tables = {table(random, 1009, 32, JD_F32, JD_POOL_SUM)};
  const int64_t length = rig.scaled(10007, 1009);
  c.batch = 3;
  c.offsets = {0, 0, length, length};
  for (int64_t i = 0; i < length; ++i) c.ids.push_back(random.integer(0, 1008));
  compare(rig, c, {}, "10,007 ids");
}

TEST_P(EmbeddingBag, ids_and_offsets_of_both_widths) {
  Rig rig(GetParam());
  for (const int32_t index_dtype : {JD_I32, JD_I64}) {
    for (const int32_t offset_dtype : {JD_I32, JD_I64}) {
      Random random(11);
      EmbeddingBagCase c;
      c.tables = {table(random, 50, 16, JD_F32, JD_POOL_SUM)};
      fill_bags(random, c, 9, 5);
      Variant s;
      s.index_dtype = index_dtype;
      s.offset_dtype = offset_dtype;
      compare(rig, c, s, "index dtype " + std::to_string(index_dtype));
    }
  }
}

TEST_P(EmbeddingBag, tables_with_padded_rows_and_out_with_padded_rows) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_F16, JD_BF16}) {
    Random random(29);
    EmbeddingBagCase c;
    c.tables = {table(random, 40, 24, dtype, JD_POOL_SUM), table(random, 20, 40, dtype, JD_POOL_MEAN)};
    fill_bags(random, c, 8, 6);
    Variant s;
    s.row_dtype = dtype;
    s.out_dtype = dtype;
    s.row_padding = 8;
    s.out_padding = 16;
    compare(rig, c, s, "dtype " + std::to_string(dtype));
  }
}

TEST_P(EmbeddingBag, empty_batch_empty_bags_and_no_ids) {
  Rig rig(GetParam());
  Random random(1);
  for (const int32_t pooling : {JD_POOL_SUM, JD_POOL_MEAN, JD_POOL_MAX, JD_POOL_NONE}) {
    EmbeddingBagCase c;
    c.tables = {table(random, 5, 8, JD_F32, pooling)};
    c.offsets = {0};
    compare(rig, c, {}, "no bag");
    c.batch = 4;
    c.offsets = {0, 0, 0, 0, 0};
    compare(rig, c, {}, "four empty bags");
  }
}

TEST_P(EmbeddingBag, mean_divides_by_valid_ids_or_by_length) {
  Rig rig(GetParam());
  for (const int32_t denominator : {JD_MEAN_VALID, JD_MEAN_LENGTH}) {
    for (const bool weighted : {false, true}) {
      Random random(5);
      EmbeddingBagCase c;
      c.tables = {table(random, 30, 20, JD_F32, JD_POOL_MEAN)};
      fill_bags(random, c, 12, 6);
      c.mean_denominator = denominator;
      c.padding_id = 4;
      for (size_t i = 0; i < c.ids.size(); i += 3) c.ids[i] = 4;
      if (weighted) c.weights = weights_for(random, c);
      compare(rig, c, {}, weighted ? "weighted" : "plain");
    }
  }
}

TEST_P(EmbeddingBag, a_bag_of_padding_alone_gives_zeros) {
  Rig rig(GetParam());
  Random random(5);
  for (const int32_t pooling : {JD_POOL_SUM, JD_POOL_MEAN, JD_POOL_MAX, JD_POOL_NONE}) {
    EmbeddingBagCase c;
    c.tables = {table(random, 9, 12, JD_F32, pooling)};
    c.batch = 2;
    c.offsets = {0, 3, 5};
    c.ids = {-1, -1, -1, 2, 3};
    c.padding_id = -1;  // outside the table: not an error, for it is the padding id
    compare(rig, c, {}, "pooling " + std::to_string(pooling));
  }
}

TEST_P(EmbeddingBag, strict_reports_the_first_bad_id_with_position_and_table) {
  for (const int threads : {1, 3}) {
    Rig rig(GetParam(), threads);
    Random random(13);
    EmbeddingBagCase c;
    for (int t = 0; t < 3; ++t) c.tables.push_back(table(random, 100, 16, JD_F32, JD_POOL_SUM));
    fill_bags(random, c, 400, 6);
    const int64_t first = c.offsets[400] + 7;  // a few ids into table 1
    c.ids[static_cast<size_t>(first)] = 100;
    for (size_t i = static_cast<size_t>(first) + 1; i < c.ids.size(); i += 101) c.ids[i] = -3;
    run(rig, c, {});
    Error error;
    EXPECT_EQ(jd_stream_synchronize(rig.stream, &error), JD_OUT_OF_BOUNDS);
    EXPECT_EQ(error.position, first);
    EXPECT_EQ(error.value, 100);
    EXPECT_EQ(error.table, 1);
    EXPECT_NE(std::string(error.message).find("100"), std::string::npos) << error.message;
    EXPECT_EQ(jd_stream_synchronize(rig.stream, &error), JD_OK) << "the report is given once";
    for (int64_t &id : c.ids) id = std::clamp<int64_t>(id, 0, 99);
    compare(rig, c, {}, "the stream works on");
  }
}

TEST_P(EmbeddingBag, strict_reports_the_earlier_of_two_runs) {
  Rig rig(GetParam());
  Random random(13);
  EmbeddingBagCase c;
  c.tables = {table(random, 10, 8, JD_F32, JD_POOL_SUM)};
  c.batch = 1;
  c.offsets = {0, 5};
  c.ids = {1, 2, 3, 4, 77};
  run(rig, c, {});
  c.ids = {-9, 2, 3, 4, 5};
  run(rig, c, {});
  Error error;
  EXPECT_EQ(jd_stream_synchronize(rig.stream, &error), JD_OUT_OF_BOUNDS);
  EXPECT_EQ(error.position, 4);
  EXPECT_EQ(error.value, 77);
}

TEST_P(EmbeddingBag, zero_skips_bad_ids_and_counts_them) {
  for (const int32_t pooling : {JD_POOL_SUM, JD_POOL_MEAN, JD_POOL_MAX, JD_POOL_NONE}) {
    Rig rig(GetParam(), 2);
    Random random(19);
    EmbeddingBagCase c;
    c.tables = {table(random, 60, 36, JD_F32, pooling), table(random, 7, 36, JD_F32, pooling)};
    fill_bags(random, c, 50, 8);
    const double extremes[] = {-1, 60, -9223372036854775808.0, 4611686018427387904.0};
    for (size_t i = 1; i < c.ids.size(); i += 5) c.ids[i] = static_cast<int64_t>(extremes[i % 4]);
    Variant s;
    s.bounds = JD_BOUNDS_ZERO;
    compare(rig, c, s, "pooling " + std::to_string(pooling));
    Error error;
    int64_t skipped = -1;
    run(rig, c, s);  // once more: counts add up
    rig.check(jd_stream_take_skipped(rig.stream, &skipped, &error), error);
    EXPECT_EQ(skipped, 2 * embedding_bag(c).skipped);
    rig.check(jd_stream_take_skipped(rig.stream, &skipped, &error), error);
    EXPECT_EQ(skipped, 0);
  }
}

TEST_P(EmbeddingBag, trust_looks_at_no_bound) {
  Rig rig(GetParam());
  Random random(23);
  EmbeddingBagCase c;
  c.tables = {table(random, 64, 32, JD_F32, JD_POOL_SUM)};
  fill_bags(random, c, 20, 8);
  Variant s;
  s.bounds = JD_BOUNDS_TRUST;
  compare(rig, c, s, "trust");
}

// TRUST is about ids. Offsets decide what is read of them, and are checked by the host or by the kernels.
TEST_P(EmbeddingBag, trust_checks_offsets) {
  for (const int32_t pooling : {JD_POOL_SUM, JD_POOL_NONE}) {
    for (const std::vector<int64_t> &offsets : std::vector<std::vector<int64_t>>{{0, 2, 9}, {0, 3, 2}, {1, 2, 4}, {0, 1, 3}, {0, -1, 4}}) {
      for (const int32_t dtype : {JD_I32, JD_I64}) {
        Rig rig(GetParam());
        Random random(29);
        EmbeddingBagCase c;
        c.tables = {table(random, 10, 8, JD_F32, pooling)};
        c.batch = 2;
        c.offsets = offsets;
        c.ids = {1, 2, 3, 4};
        Error error;
        const jd_status status = try_run(rig, c, {JD_F32, JD_F32, JD_I64, dtype, JD_BOUNDS_TRUST}, &error);
        EXPECT_TRUE(status != JD_OK || jd_stream_synchronize(rig.stream, &error) != JD_OK) << "offsets " << offsets[1] << ", " << offsets[2];
        EXPECT_NE(std::string(error.message).find("offset"), std::string::npos) << error.message;
      }
    }
  }
}

TEST_P(EmbeddingBag, a_bag_does_not_depend_on_the_batch_nor_on_threads) {
  Random random(31);
  EmbeddingBagCase c;
  c.tables = {table(random, 300, 72, JD_BF16, JD_POOL_SUM)};
  Rig all(GetParam(), 3);
  fill_bags(random, c, all.scaled(200, 40), 90);
  c.weights = random.values(static_cast<int64_t>(c.ids.size()), JD_F32);
  Variant s;
  s.row_dtype = JD_BF16;
  const std::vector<uint32_t> together = all.bits(run(all, c, s));
  Rig one(GetParam(), 1);
  EXPECT_EQ(one.bits(run(one, c, s)), together) << "thread count";
  for (int64_t b = 0; b < c.batch; b += 37) {
    EmbeddingBagCase alone = c;
    alone.batch = 1;
    const auto begin = c.offsets[static_cast<size_t>(b)], end = c.offsets[static_cast<size_t>(b) + 1];
    alone.offsets = {0, end - begin};
    alone.ids.assign(c.ids.begin() + begin, c.ids.begin() + end);
    alone.weights.assign(c.weights.begin() + begin, c.weights.begin() + end);
    const std::vector<uint32_t> bits = one.bits(run(one, alone, s));
    EXPECT_TRUE(std::equal(bits.begin(), bits.end(), together.begin() + b * 72)) << "bag " << b;
  }
}

JD_INSTANTIATE_ON_DEVICES(EmbeddingBag);

}  // namespace
}  // namespace jindou::testing
