// embedding_bag over rows of codes (fp8, int8, int4, int2), through the C ABI. Rows are built by the documented layout
// (reference/embedding_rows.h) and compared with the float64 reference of what they stand for.
#include <algorithm>
#include <array>

#include "operators_support.h"
#include "reference/embedding_bag.h"
#include "reference/embedding_rows.h"

namespace jindou::testing {
namespace {

using reference::embedding_bag;
using reference::EmbeddingBagCase;
using reference::rows_of_codes;
using reference::RowsOfCodes;

constexpr int32_t kFormats[] = {JD_ROWS_PLAIN,      JD_ROWS_INT8,      JD_ROWS_INT4,      JD_ROWS_INT2,
                                JD_ROWS_INT8_FLOAT, JD_ROWS_INT4_LAST, JD_ROWS_INT2_LAST, JD_ROWS_E4M3};

struct Table {
  int64_t rows, dim;
  int32_t format;         // PLAIN: fp8 e4m3, unless `dtype` says otherwise
  int64_t padding = 0;    // bytes after each row; whole elements for plain rows
  int32_t dtype = JD_F8_E4M3;
};

// Bytes to the next row at a multiple of 16.
int64_t padding_to_16(int32_t format, int64_t dim) {
  return (16 - rows_of_codes(format, 1, dim, 0, 1).row_bytes % 16) % 16;
}

class EmbeddingRows : public ::testing::TestWithParam<std::string> {
 protected:
  // Tables of codes or numbers on the device of the rig, and what they stand for in the case.
  struct Tables {
    std::vector<jd_tensor> tensors;
    std::vector<int32_t> pooling, formats, dims;
    int64_t columns = 0;
  };

  Tables make(Rig &rig, EmbeddingBagCase &c, const std::vector<Table> &tables, int32_t pooling, uint64_t seed) {
    Tables made;
    for (const Table &t : tables) {
      if (t.format == JD_ROWS_PLAIN && t.dtype != JD_F8_E4M3) {
        Random random(seed++);
        const std::vector<double> values = random.values(t.rows * t.dim, t.dtype);
        made.tensors.push_back(rig.tensor(t.dtype, {t.rows, t.dim}, values));
        c.tables.push_back({t.rows, t.dim, values, pooling});
      } else {
        const RowsOfCodes rows = rows_of_codes(t.format, t.rows, t.dim, t.padding, seed++);
        const int32_t dtype = t.format == JD_ROWS_PLAIN ? JD_F8_E4M3 : JD_U8;
        jd_tensor table = rig.bytes(dtype, {t.rows, rows.row_bytes}, rows.bytes);
        if (dtype == JD_F8_E4M3) table = rig.view(table, {t.rows, t.dim}, {rows.row_bytes, 1});
        made.tensors.push_back(table);
        c.tables.push_back({t.rows, t.dim, rows.values, pooling});
      }
      made.pooling.push_back(pooling);
      made.formats.push_back(t.format);
      made.dims.push_back(static_cast<int32_t>(t.dim));
      made.columns += t.dim;
    }
    return made;
  }

  void fill(Random &random, EmbeddingBagCase &c, int64_t batch, int64_t most) {
    c.batch = batch;
    c.offsets.assign(1, 0);
    for (const auto &t : c.tables) {
      for (int64_t b = 0; b < batch; ++b) {
        const int64_t length = random.integer(0, most);
        for (int64_t i = 0; i < length; ++i) c.ids.push_back(random.integer(0, t.rows - 1));
        c.offsets.push_back(static_cast<int64_t>(c.ids.size()));
      }
    }
  }

  // `split`, without pooling: a block of rows a table; `scales`: of codes.
  jd_tensor run(Rig &rig, const EmbeddingBagCase &c, const Tables &tables, int32_t out_dtype = JD_F32,
                int32_t bounds = JD_BOUNDS_STRICT, bool split = false, jd_tensor *scales = nullptr) {
    const bool none = c.tables[0].pooling == JD_POOL_NONE;
    const int64_t total = static_cast<int64_t>(c.ids.size());
    jd_embedding_bag_desc d{};
    d.struct_size = sizeof d;
    d.num_tables = static_cast<int32_t>(tables.tensors.size());
    d.tables = tables.tensors.data();
    d.table_pooling = tables.pooling.data();
    d.row_formats = tables.formats.data();
    d.dims = tables.dims.data();
    d.bounds = bounds;
    d.mean_denominator = c.mean_denominator;
    d.index_dtype = d.offset_dtype = JD_I64;
    d.out_dtype = out_dtype;
    d.weighted = c.weights.empty() ? 0 : 1;
    d.has_padding_id = c.padding_id ? 1 : 0;
    d.padding_id = c.padding_id.value_or(0);
    d.max_batch = c.batch;
    d.max_ids = total;
    d.split_out = split;
    Error error;
    jd_plan plan = 0;
    rig.check(jd_embedding_bag_plan(rig.device, &d, &plan, &error), error);
    rig.keep(plan);
    jd_embedding_bag_args a{};
    a.struct_size = sizeof a;
    a.ids = rig.integers(JD_I64, c.ids);
    a.offsets = rig.integers(JD_I64, c.offsets);
    if (d.weighted) a.weights = rig.tensor(JD_F32, {total}, c.weights);
    const int64_t columns = none ? c.tables[0].dim : tables.columns;
    const int64_t padding = out_dtype == JD_F32 ? 0 : (8 - columns % 8) % 8;
    a.out = rig.poisoned(out_dtype, {none ? total : c.batch, columns}, padding);
    if (split) a.out = rig.poisoned(out_dtype, {total * *std::max_element(tables.dims.begin(), tables.dims.end())});
    if (scales) *scales = a.out_scales = rig.poisoned(JD_F32, {total, 1}, 1);
    rig.check(jd_embedding_bag_run(plan, rig.stream, &a, &error), error);
    return a.out;
  }

  void compare(Rig &rig, const EmbeddingBagCase &c, const Tables &tables, const std::string &what, int32_t out_dtype = JD_F32,
               int32_t bounds = JD_BOUNDS_STRICT) {
    const jd_tensor out = run(rig, c, tables, out_dtype, bounds);
    const reference::EmbeddingBagResult expected = embedding_bag(c);
    int64_t longest = 1;
    for (size_t i = 1; i < c.offsets.size(); ++i) longest = std::max(longest, c.offsets[i] - c.offsets[i - 1]);
    expect_near(rig.read(out), expected.out, [&](size_t i) {
      return tolerance::sum(longest, expected.terms[i], expected.out[i], out_dtype);
    }, what);
  }
};

TEST_P(EmbeddingRows, every_format_pooling_and_output_dtype) {
  Rig rig(GetParam());
  for (const int32_t format : kFormats) {
    for (const int32_t pooling : {JD_POOL_SUM, JD_POOL_MEAN, JD_POOL_MAX, JD_POOL_NONE}) {
      for (const bool weighted : {false, true}) {
        Random random(static_cast<uint64_t>(31 * format + pooling));
        EmbeddingBagCase c;
        const Tables tables = make(rig, c, {{97, 64, format, padding_to_16(format, 64)}, {1, 64, format}}, pooling, 5);
        fill(random, c, 11, 9);
        if (weighted) {
          for (size_t i = 0; i < c.ids.size(); ++i) c.weights.push_back(rounded(random.uniform(0.5, 2), JD_F32));
        }
        const int32_t out_dtype = weighted ? JD_F32 : pooling % 2 ? JD_F16 : JD_BF16;
        compare(rig, c, tables, "format " + std::to_string(format) + ", pooling " + std::to_string(pooling) +
                                    (weighted ? ", weighted" : ""), out_dtype);
      }
    }
  }
}

// Dims around every vector width, rows packed byte to byte (FBGEMM on the CPU) and aligned to 16 bytes (on a GPU).
TEST_P(EmbeddingRows, every_dim_and_alignment) {
  Rig rig(GetParam());
  for (const int32_t format : kFormats) {
    for (const int64_t dim : {4, 8, 12, 16, 20, 28, 32, 36, 60, 64, 68, 120, 128, 132, 256, 264, 1000, 2048}) {
      if (!rig.fast() && dim > 264 && dim != 2048) continue;
      for (const int64_t padding : {int64_t{0}, padding_to_16(format, dim), int64_t{4}, int64_t{7}}) {
        if (format == JD_ROWS_PLAIN && padding % 4 != 0) continue;
        EmbeddingBagCase c;
        Random random(static_cast<uint64_t>(dim));
        const int32_t pooling = padding == 4 ? JD_POOL_NONE : JD_POOL_SUM;
        const Tables tables = make(rig, c, {{9, dim, format, padding}}, pooling, static_cast<uint64_t>(dim + padding));
        fill(random, c, 3, 5);
        compare(rig, c, tables, "format " + std::to_string(format) + ", dim " + std::to_string(dim) + ", padding " +
                                    std::to_string(padding));
      }
    }
  }
}

// A table need not begin at a multiple of anything.
TEST_P(EmbeddingRows, tables_that_begin_anywhere) {
  Rig rig(GetParam());
  for (const int32_t format : {JD_ROWS_INT8, JD_ROWS_INT4, JD_ROWS_INT2, JD_ROWS_INT8_FLOAT, JD_ROWS_INT4_LAST,
                               JD_ROWS_INT2_LAST, JD_ROWS_E4M3}) {
    for (const int64_t skipped : {1, 2, 4, 6}) {
      const RowsOfCodes rows = rows_of_codes(format, 7, 32, 0, 3);
      std::vector<uint8_t> all(static_cast<size_t>(skipped), 0xff);
      all.insert(all.end(), rows.bytes.begin(), rows.bytes.end());
      const jd_tensor whole = rig.bytes(JD_U8, {static_cast<int64_t>(all.size())}, all);
      EmbeddingBagCase c;
      c.tables = {{7, 32, rows.values, JD_POOL_SUM}};
      Tables tables{{rig.view(whole, {7, rows.row_bytes}, {rows.row_bytes, 1}, skipped)}, {JD_POOL_SUM}, {format}, {32}, 32};
      Random random(8);
      fill(random, c, 5, 4);
      compare(rig, c, tables, "format " + std::to_string(format) + ", from byte " + std::to_string(skipped));
    }
  }
}

TEST_P(EmbeddingRows, tables_of_every_dtype_and_format_in_one_launch) {
  Rig rig(GetParam());
  for (const int32_t pooling : {JD_POOL_SUM, JD_POOL_MEAN, JD_POOL_MAX}) {
    EmbeddingBagCase c;
    std::vector<Table> tables;
    int64_t dim = 8;
    for (const int32_t format : kFormats) tables.push_back({20 + dim, dim += 24, format, padding_to_16(format, dim)});
    for (const int32_t dtype : {JD_F32, JD_F16, JD_BF16}) tables.push_back({33, 4 * (dim % 31), JD_ROWS_PLAIN, 0, dtype});
    for (const int32_t format : kFormats) tables.push_back({5, 12, format});
    const Tables made = make(rig, c, tables, pooling, 77);
    Random random(4);
    fill(random, c, 7, 6);
    for (size_t i = 0; i < c.ids.size(); ++i) c.weights.push_back(rounded(random.uniform(0.5, 2), JD_F32));
    compare(rig, c, made, "pooling " + std::to_string(pooling));
  }
}

TEST_P(EmbeddingRows, rows_of_every_dtype_and_format_without_pooling) {
  Rig rig(GetParam());
  for (const bool numbers : {false, true}) {
    for (const bool aligned : {true, false}) {
      EmbeddingBagCase c;
      std::vector<Table> tables;
      for (const int32_t format : kFormats) {
        tables.push_back({10, 48, format, aligned ? padding_to_16(format, 48) : format == JD_ROWS_PLAIN ? 4 : 3});
      }
      if (numbers) tables.insert(tables.end(), {{9, 48, JD_ROWS_PLAIN, 0, JD_F16}, {9, 48, JD_ROWS_PLAIN, 0, JD_F32}});
      const Tables made = make(rig, c, tables, JD_POOL_NONE, 6);
      Random random(4);
      fill(random, c, 6, 5);
      for (size_t i = 0; i < c.ids.size(); ++i) c.weights.push_back(rounded(random.uniform(-2, 2), JD_F32));
      compare(rig, c, made, std::string(numbers ? "with numbers" : "codes") + (aligned ? ", aligned" : ", packed"));
    }
  }
}

TEST_P(EmbeddingRows, long_bags) {
  Rig rig(GetParam());
  for (const int32_t format : kFormats) {
    EmbeddingBagCase c;
    const Tables tables = make(rig, c, {{101, 128, format, padding_to_16(format, 128)}}, JD_POOL_SUM, 9);
    Random random(9);
    c.offsets.assign(1, 0);
    for (const int64_t length : {0, 1, 8, 31, 32, 33, 64, 65, 129, 0, 300}) {
      if (!rig.fast() && length > 65) continue;
      for (int64_t i = 0; i < length; ++i) c.ids.push_back(random.integer(0, 100));
      c.offsets.push_back(static_cast<int64_t>(c.ids.size()));
    }
    c.batch = static_cast<int64_t>(c.offsets.size()) - 1;
    compare(rig, c, tables, "format " + std::to_string(format));
  }
}

TEST_P(EmbeddingRows, padding_and_bad_ids_are_skipped) {
  Rig rig(GetParam());
  for (const int32_t format : kFormats) {
    for (const int32_t pooling : {JD_POOL_SUM, JD_POOL_MEAN, JD_POOL_MAX, JD_POOL_NONE}) {
      EmbeddingBagCase c;
      const Tables tables = make(rig, c, {{40, 24, format}}, pooling, 2);
      Random random(3);
      fill(random, c, 9, 6);
      for (size_t i = 0; i < c.ids.size(); i += 4) c.ids[i] = i % 8 ? -1 : 40;
      c.padding_id = -1;
      c.mean_denominator = JD_MEAN_LENGTH;  // FBGEMM: a pruned row (-1) counts in the length
      compare(rig, c, tables, "format " + std::to_string(format) + ", pooling " + std::to_string(pooling), JD_F32,
              JD_BOUNDS_ZERO);
      Error error;
      int64_t skipped = 0;
      rig.check(jd_stream_take_skipped(rig.stream, &skipped, &error), error);
      EXPECT_EQ(skipped, embedding_bag(c).skipped);
    }
  }
}

TEST_P(EmbeddingRows, strict_reports_the_first_bad_id) {
  Rig rig(GetParam(), 2);
  EmbeddingBagCase c;
  const Tables tables = make(rig, c, {{40, 24, JD_ROWS_INT4}, {30, 64, JD_ROWS_INT8}}, JD_POOL_SUM, 2);
  Random random(3);
  fill(random, c, 30, 6);
  const int64_t first = c.offsets[30] + 3;
  c.ids[static_cast<size_t>(first)] = 31;
  c.ids[static_cast<size_t>(first) + 4] = -8;
  run(rig, c, tables);
  Error error;
  EXPECT_EQ(jd_stream_synchronize(rig.stream, &error), JD_OUT_OF_BOUNDS);
  EXPECT_EQ(error.position, first);
  EXPECT_EQ(error.value, 31);
  EXPECT_EQ(error.table, 1);
}

TEST_P(EmbeddingRows, trust_looks_at_no_bound) {
  Rig rig(GetParam());
  for (const int32_t format : kFormats) {
    EmbeddingBagCase c;
    const Tables tables = make(rig, c, {{64, 32, format}}, JD_POOL_SUM, 2);
    Random random(23);
    fill(random, c, 12, 8);
    compare(rig, c, tables, "format " + std::to_string(format), JD_F32, JD_BOUNDS_TRUST);
  }
}

// The bits of a bag depend on the bag alone; on the CPU of any instruction set an element is
// sum := fma(weight, fma(code, scale, bias), sum).
TEST_P(EmbeddingRows, a_bag_does_not_depend_on_the_batch_nor_on_threads) {
  for (const int32_t format : {JD_ROWS_INT8, JD_ROWS_INT4_LAST}) {
    Random random(31);
    EmbeddingBagCase c;
    Rig all(GetParam(), 3), one(GetParam(), 1);
    const Tables tables = make(all, c, {{300, 72, format}}, JD_POOL_SUM, 4);
    fill(random, c, all.scaled(120, 24), 70);
    c.weights = random.values(static_cast<int64_t>(c.ids.size()), JD_F32);
    EmbeddingBagCase unused;
    const Tables same = make(one, unused, {{300, 72, format}}, JD_POOL_SUM, 4);
    const std::vector<uint32_t> together = all.bits(run(all, c, tables));
    EXPECT_EQ(one.bits(run(one, c, same)), together) << "thread count";
    for (int64_t b = 0; b < c.batch; b += 11) {
      EmbeddingBagCase alone = c;
      alone.batch = 1;
      const auto begin = c.offsets[static_cast<size_t>(b)], end = c.offsets[static_cast<size_t>(b) + 1];
      alone.offsets = {0, end - begin};
      alone.ids.assign(c.ids.begin() + begin, c.ids.begin() + end);
      alone.weights.assign(c.weights.begin() + begin, c.weights.begin() + end);
      const std::vector<uint32_t> bits = one.bits(run(one, alone, same));
      EXPECT_TRUE(std::equal(bits.begin(), bits.end(), together.begin() + b * 72)) << "bag " << b;
    }
  }
}

// Without pooling. Rows read 4 elements a lane and 8; rows of one lane, of a part of a group, of several groups; tables without ids.
const std::vector<std::vector<Table>> kMixed = {
    {{97, 64, JD_ROWS_INT8, 12},
     {1, 4, JD_ROWS_PLAIN, 0, JD_F32},
     {20, 260, JD_ROWS_PLAIN, 0, JD_BF16},
     {6, 260, JD_ROWS_INT8_FLOAT, 4},
     {9, 8, JD_ROWS_PLAIN, 0, JD_F16},
     {5, 12, JD_ROWS_INT4, 3},
     {33, 132, JD_ROWS_E4M3},
     {50, 64, JD_ROWS_PLAIN}},
    {{30, 64, JD_ROWS_INT8, 12}, {11, 128, JD_ROWS_PLAIN, 0, JD_F16}, {17, 24, JD_ROWS_INT4}, {8, 512, JD_ROWS_PLAIN, 0, JD_BF16},
     {12, 16, JD_ROWS_INT2}},
    {{40, 16, JD_ROWS_PLAIN, 0, JD_F32}, {40, 32, JD_ROWS_PLAIN, 0, JD_F32}}};

// Blocks as they are read, cut to what the tables' ids fill; what lies behind is poison.
std::vector<double> blocks_of(Rig &rig, jd_tensor out, size_t filled, int32_t dtype) {
  const std::vector<uint32_t> bits = rig.bits(out);
  const uint32_t poison = rig.bits(rig.poisoned(dtype, {1}))[0];
  for (size_t i = filled; i < bits.size(); ++i) EXPECT_EQ(bits[i], poison) << "element " << i << " behind the blocks";
  std::vector<double> all;
  if (dtype == JD_I8) {
    for (const uint32_t b : bits) all.push_back(static_cast<int8_t>(b));
  } else {
    all = rig.read(out);
  }
  all.resize(filled);
  return all;
}

TEST_P(EmbeddingRows, unpooled_tables_of_any_dims_have_a_block_each) {
  Rig rig(GetParam(), 3);
  int32_t run_number = 0;
  for (const std::vector<Table> &tables : kMixed) {
    for (const int64_t batch : {0, 1, 9}) {
      for (const int32_t out_dtype : {JD_F32, JD_F16, JD_BF16}) {
        Random random(static_cast<uint64_t>(batch + 100 * out_dtype));
        EmbeddingBagCase c;
        const Tables made = make(rig, c, tables, JD_POOL_NONE, 17);
        fill(random, c, batch, batch == 1 ? 2 : 6);  // one bag of at most two ids: some tables have none
        const int32_t bounds = std::array{JD_BOUNDS_STRICT, JD_BOUNDS_ZERO, JD_BOUNDS_TRUST}[static_cast<size_t>(run_number++ % 3)];
        if (bounds == JD_BOUNDS_ZERO) {
          for (size_t i = 2; i < c.ids.size(); i += 4) c.ids[i] = i % 8 ? -1 : 1000;
        }
        if (run_number % 2) c.padding_id = 0;
        if (run_number % 2 == 0) {
          for (size_t i = 0; i < c.ids.size(); ++i) c.weights.push_back(rounded(random.uniform(-2, 2), JD_F32));
        }
        const std::string what = std::to_string(tables.size()) + " tables, batch " + std::to_string(batch) + ", dtype " +
                                 std::to_string(out_dtype) + ", bounds " + std::to_string(bounds);
        const jd_tensor out = run(rig, c, made, out_dtype, bounds, true);
        const reference::EmbeddingBagResult expected = embedding_bag(c);
        expect_near(blocks_of(rig, out, expected.out.size(), out_dtype), expected.out, [&](size_t i) {
          return tolerance::sum(1, expected.terms[i], expected.out[i], out_dtype);
        }, what);
        int64_t skipped = 0;
        Error error;
        rig.check(jd_stream_take_skipped(rig.stream, &skipped, &error), error);
        EXPECT_EQ(skipped, bounds == JD_BOUNDS_ZERO ? expected.skipped : 0) << what;
      }
    }
  }
}

TEST_P(EmbeddingRows, unpooled_codes_have_a_scale_an_id) {
  Rig rig(GetParam(), 3);
  for (size_t number = 0; number < kMixed.size(); ++number) {
    for (const int32_t bounds : {JD_BOUNDS_STRICT, JD_BOUNDS_ZERO}) {
      Random random(number + 3);
      EmbeddingBagCase c;
      // The last ones once more as one tensor [total, dim] of tables of one dim.
      const bool split = number + 1 < kMixed.size();
      std::vector<Table> tables = kMixed[number];
      if (!split) tables[1].dim = tables[0].dim;
      const Tables made = make(rig, c, tables, JD_POOL_NONE, 23);
      fill(random, c, 7, 4);
      if (bounds == JD_BOUNDS_ZERO) {
        for (size_t i = 1; i < c.ids.size(); i += 3) c.ids[i] = -5;
        for (size_t i = 0; i < c.ids.size(); ++i) c.weights.push_back(rounded(random.uniform(-2, 2), JD_F32));
      }
      const std::string what = "tables " + std::to_string(number) + ", bounds " + std::to_string(bounds);
      jd_tensor scales = 0;
      const jd_tensor out = run(rig, c, made, JD_I8, bounds, split, &scales);
      const reference::EmbeddingBagResult expected = embedding_bag(c);
      const std::vector<double> codes = blocks_of(rig, out, expected.out.size(), JD_I8), scale = rig.read(scales);
      bool gaps_intact = false;
      rig.bits(scales, &gaps_intact);
      EXPECT_TRUE(gaps_intact) << what;
      size_t at = 0;
      for (size_t t = 0; t < tables.size(); ++t) {
        for (int64_t i = c.offsets[t * 7]; i < c.offsets[(t + 1) * 7]; ++i) {
          const size_t begin = at, dim = static_cast<size_t>(tables[t].dim);
          double most = 0, most_code = 0;
          for (; at < begin + dim; ++at) most = std::max(most, std::fabs(expected.out[at]));
          const double s = scale[static_cast<size_t>(i)], unsure = 1e-6 * most;
          EXPECT_NEAR(s, most / 127, unsure / 127) << what << ", position " << i;
          for (size_t e = begin; e < at; ++e) {
            most_code = std::max(most_code, std::fabs(codes[e]));
            EXPECT_LE(std::fabs(codes[e] * s - expected.out[e]), 0.5001 * s + unsure) << what << ", position " << i << ", element " << e;
          }
          EXPECT_EQ(most_code, most > 0 ? 127 : 0) << what << ", position " << i;
        }
      }
      Error error;
      int64_t skipped = 0;
      rig.check(jd_stream_take_skipped(rig.stream, &skipped, &error), error);
      EXPECT_EQ(skipped, expected.skipped) << what;
    }
  }
}

TEST_P(EmbeddingRows, a_bad_id_of_an_unpooled_table_is_named) {
  for (const int32_t out_dtype : {JD_F32, JD_I8}) {
    Rig rig(GetParam(), 3);
    EmbeddingBagCase c;
    const Tables made = make(rig, c, kMixed[2], JD_POOL_NONE, 29);
    c.batch = 2;
    c.offsets = {0, 2, 3, 5, 6};
    c.ids = {1, 2, 3, 4, 40, 0};
    jd_tensor scales = 0;
    run(rig, c, made, out_dtype, JD_BOUNDS_STRICT, true, out_dtype == JD_I8 ? &scales : nullptr);
    Error error;
    EXPECT_EQ(jd_stream_synchronize(rig.stream, &error), JD_OUT_OF_BOUNDS);
    EXPECT_EQ(error.table, 1);
    EXPECT_EQ(error.position, 4);
    EXPECT_EQ(error.value, 40);
  }
}

// Where the scale of a row of codes begins, and a NaN there.
void spoil_scale(RowsOfCodes &rows, int32_t format, int64_t row, int64_t dim) {
  const bool single = format == JD_ROWS_INT8_FLOAT || format == JD_ROWS_E4M3;
  const int64_t at = format == JD_ROWS_INT8_FLOAT ? dim : format == JD_ROWS_INT4_LAST ? dim / 2 : format == JD_ROWS_INT2_LAST ? dim / 4 : 0;
  const std::vector<uint8_t> nan = single ? std::vector<uint8_t>{0, 0, 0xc0, 0x7f} : std::vector<uint8_t>{0, 0x7e};
  std::copy(nan.begin(), nan.end(), rows.bytes.begin() + row * rows.row_bytes + at);
  std::fill_n(rows.values.begin() + row * dim, dim, NAN);
}

// Wherever it is in the bag, and in that element alone; whether it is the row, its scale or the weight. A row that does not contribute
// has no say.
TEST_P(EmbeddingRows, the_maximum_over_a_nan_is_nan) {
  Rig rig(GetParam());
  constexpr int64_t kRows = 6, kBad = 2;
  std::vector<std::vector<int64_t>> bags = {{}, {0, 1}, {2}, {2, 0}, {0, 2}, {0, 2, 1}, {2, 2}, {1, 3, 77, 4}};
  for (const int64_t length : {8, 17, 65}) {
    for (const int64_t at : {int64_t{0}, length / 2, length - 1}) {
      bags.emplace_back(static_cast<size_t>(length), 0);
      for (int64_t i = 0; i < length; ++i) bags.back()[i] = i == at ? kBad : 3 + i % 3;
    }
  }
  const std::vector<Table> tables = [] {
    std::vector<Table> all;
    for (const int32_t format : kFormats) all.push_back({kRows, 0, format});
    for (const int32_t dtype : {JD_F32, JD_F16, JD_BF16}) all.push_back({kRows, 0, JD_ROWS_PLAIN, 0, dtype});
    return all;
  }();
  for (const Table &table : tables) {
    for (const int64_t dim : {12, 64, 264}) {
      const bool numbers = table.format == JD_ROWS_PLAIN && table.dtype != JD_F8_E4M3;
      RowsOfCodes rows = rows_of_codes(table.format, kRows, dim, padding_to_16(table.format, dim), 3);
      jd_tensor tensor = 0;
      if (table.format == JD_ROWS_PLAIN) {
        if (numbers) rows.values = Random(4).values(kRows * dim, table.dtype);
        for (const int64_t d : {int64_t{1}, dim - 1}) {
          rows.values[kBad * dim + d] = NAN;
          rows.bytes[kBad * rows.row_bytes + d] = 0x7f;
        }
      } else {
        spoil_scale(rows, table.format, kBad, dim);
      }
      if (numbers) {
        tensor = rig.tensor(table.dtype, {kRows, dim}, rows.values);
      } else if (table.format == JD_ROWS_PLAIN) {
        tensor = rig.view(rig.bytes(JD_F8_E4M3, {kRows, rows.row_bytes}, rows.bytes), {kRows, dim}, {rows.row_bytes, 1});
      } else {
        tensor = rig.bytes(JD_U8, {kRows, rows.row_bytes}, rows.bytes);
      }
      for (const int variant : {0, 1, 2, 3}) {  // to f32, to bf16, weighted to f16 (one weight is NaN), the bad row as padding
        EmbeddingBagCase c;
        c.tables = {{kRows, dim, rows.values, JD_POOL_MAX}};
        c.batch = static_cast<int64_t>(bags.size());
        c.offsets = {0};
        for (const auto &bag : bags) {
          c.ids.insert(c.ids.end(), bag.begin(), bag.end());
          c.offsets.push_back(static_cast<int64_t>(c.ids.size()));
        }
        Random random(5);
        for (size_t i = 0; variant == 2 && i < c.ids.size(); ++i) c.weights.push_back(rounded(random.uniform(-1, 2), JD_F32));
        if (variant == 2) c.weights[0] = NAN;
        if (variant == 3) c.padding_id = kBad;
        const Tables made{{tensor}, {JD_POOL_MAX}, {table.format}, {static_cast<int32_t>(dim)}, dim};
        const int32_t out_dtype = variant == 1 ? JD_BF16 : variant == 2 ? JD_F16 : JD_F32;
        const std::vector<double> got = rig.read(run(rig, c, made, out_dtype, JD_BOUNDS_ZERO));
        const reference::EmbeddingBagResult expected = embedding_bag(c);
        ASSERT_EQ(got.size(), expected.out.size());
        for (size_t i = 0; i < got.size(); ++i) {
          const bool nan = std::isnan(expected.out[i]);
          ASSERT_TRUE(nan ? std::isnan(got[i])
                          : std::fabs(got[i] - expected.out[i]) <= tolerance::sum(65, expected.terms[i], expected.out[i], out_dtype))
              << "format " << table.format << ", dtype " << table.dtype << ", dim " << dim << ", variant " << variant << ", element " << i
              << ": " << got[i] << " instead of " << expected.out[i];
        }
      }
    }
  }
}

JD_INSTANTIATE_ON_DEVICES(EmbeddingRows);

}  // namespace
}  // namespace jindou::testing
