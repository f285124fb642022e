// embedding_bag over tables with pooling and tables without in one plan, through the C ABI: each table's block against the float64
// reference of that table alone, and bit for bit against a plan of its own.
#include "operators_support.h"
#include "reference/embedding_bag.h"
#include "reference/embedding_rows.h"

namespace jindou::testing {
namespace {

using reference::embedding_bag;
using reference::EmbeddingBagCase;
using reference::EmbeddingTable;

struct Shape {
  int64_t rows, dim;
  int32_t pooling;
  int32_t format = JD_ROWS_PLAIN;
  int32_t dtype = JD_F32;  // of plain rows
  int side_by_side = 1;    // rows an id
};

// A table between others of the other sort, first and last; rows read 4 elements a lane and 8, narrower and wider than a warp reads;
// rows side by side; several tables without pooling in a row.
const std::vector<std::vector<Shape>> kPlans = {
    {{50, 36, JD_POOL_SUM},
     {9, 8, JD_POOL_NONE, JD_ROWS_PLAIN, JD_F16},
     {33, 64, JD_POOL_MEAN, JD_ROWS_INT8},
     {20, 260, JD_POOL_NONE, JD_ROWS_PLAIN, JD_BF16},
     {6, 12, JD_POOL_NONE, JD_ROWS_INT8_FLOAT},
     {12, 20, JD_POOL_SUM, JD_ROWS_PLAIN, JD_F32, 2},
     {7, 132, JD_POOL_MAX, JD_ROWS_E4M3},
     {5, 24, JD_POOL_NONE, JD_ROWS_INT4}},
    {{11, 128, JD_POOL_NONE, JD_ROWS_PLAIN, JD_F16}, {40, 4, JD_POOL_MEAN}, {8, 512, JD_POOL_NONE, JD_ROWS_PLAIN, JD_BF16}},
    {{30, 264, JD_POOL_MAX, JD_ROWS_PLAIN, JD_BF16}, {30, 16, JD_POOL_NONE}},
    {{1, 4, JD_POOL_NONE}, {17, 8, JD_POOL_SUM, JD_ROWS_INT2_LAST}}};

struct Options {
  int32_t out_dtype = JD_F32, bounds = JD_BOUNDS_STRICT, index_dtype = JD_I64, offset_dtype = JD_I64;
};

class EmbeddingMixed : public ::testing::TestWithParam<std::string> {
 protected:
  struct Tables {
    std::vector<jd_tensor> tensors;
    std::vector<int32_t> formats, dims;
  };

  // What a run has written, cut at the end of the last block, and its scales.
  struct Result {
    std::vector<uint32_t> bits, scale_bits;
    std::vector<double> numbers, scales;  // numbers, or codes
  };

  static bool is_pooled(const EmbeddingTable &t) { return t.pooling != JD_POOL_NONE; }
  static int64_t ids_of(const EmbeddingBagCase &c, size_t t) {
    return c.offsets[(t + 1) * static_cast<size_t>(c.batch)] - c.offsets[t * static_cast<size_t>(c.batch)];
  }

  static Tables make(Rig &rig, EmbeddingBagCase &c, const std::vector<Shape> &shapes, uint64_t seed) {
    Tables made;
    for (const Shape &s : shapes) {
      EmbeddingTable t{s.rows, s.dim, {}, s.pooling, {}};
      for (int i = 0; i < s.side_by_side && s.side_by_side > 1; ++i) {
        t.keys.functions.push_back({i == 0 ? JD_KEY_ROW : JD_KEY_HASH, 0, 0, 0, 0, static_cast<uint64_t>(i)});
        t.keys.combine = JD_KEYS_CONCAT;
      }
      if (s.format == JD_ROWS_PLAIN) {
        t.values = Random(seed++).values(s.rows * s.dim, s.dtype);
        made.tensors.push_back(rig.tensor(s.dtype, {s.rows, s.dim}, t.values));
      } else {
        const reference::RowsOfCodes rows = reference::rows_of_codes(s.format, s.rows, s.dim, 4, seed++);
        t.values = rows.values;
        made.tensors.push_back(rig.bytes(JD_U8, {s.rows, rows.row_bytes}, rows.bytes));
      }
      made.formats.push_back(s.format);
      made.dims.push_back(static_cast<int32_t>(s.dim));
      c.tables.push_back(t);
    }
    return made;
  }

  static void fill(Random &random, EmbeddingBagCase &c, int64_t batch, int64_t most) {
    c.batch = batch;
    c.offsets.assign(1, 0);
    for (const EmbeddingTable &t : c.tables) {
      for (int64_t b = 0; b < batch; ++b) {
        for (int64_t i = random.integer(0, most); i > 0; --i) c.ids.push_back(random.integer(0, t.rows - 1));
        c.offsets.push_back(static_cast<int64_t>(c.ids.size()));
      }
    }
  }

  // Table t and its bags, alone.
  static EmbeddingBagCase of_table(const EmbeddingBagCase &c, size_t t) {
    EmbeddingBagCase one;
    one.tables = {c.tables[t]};
    one.batch = c.batch;
    one.mean_denominator = c.mean_denominator;
    one.padding_id = c.padding_id;
    const size_t from = t * static_cast<size_t>(c.batch);
    const int64_t begin = c.offsets[from];
    for (size_t b = 0; b <= static_cast<size_t>(c.batch); ++b) one.offsets.push_back(c.offsets[from + b] - begin);
    one.ids.assign(c.ids.begin() + begin, c.ids.begin() + begin + one.offsets.back());
    if (!c.weights.empty()) one.weights.assign(c.weights.begin() + begin, c.weights.begin() + begin + one.offsets.back());
    return one;
  }
  static Tables of_table(const Tables &all, size_t t) { return {{all.tensors[t]}, {all.formats[t]}, {all.dims[t]}}; }

  // Of a run that is enqueued.
  struct Outputs {
    jd_tensor out, scales;
    size_t filled;  // elements up to the end of the last block
  };

  static Outputs enqueue(Rig &rig, const EmbeddingBagCase &c, const Tables &tables, const Options &o) {
    std::vector<int32_t> pooling;
    std::vector<jd_table_keys> keys;
    const auto total = static_cast<int64_t>(c.ids.size());
    int64_t columns = 0, parts = 0, widest = 0, filled = 0;
    for (size_t t = 0; t < c.tables.size(); ++t) {
      const EmbeddingTable &x = c.tables[t];
      pooling.push_back(x.pooling);
      keys.push_back({static_cast<int32_t>(x.keys.functions.size()), x.keys.combine, x.keys.functions.data()});
      if (is_pooled(x)) {
        columns += x.columns();
        parts += x.keys.rows_side_by_side();
      } else {
        widest = std::max(widest, x.dim);
        filled += ids_of(c, t) * x.dim;
      }
    }
    filled += c.batch * columns;
    jd_embedding_bag_desc d{};
    d.struct_size = sizeof d;
    d.num_tables = static_cast<int32_t>(tables.tensors.size());
    d.tables = tables.tensors.data();
    d.table_pooling = pooling.data();
    d.table_keys = keys.data();
    d.row_formats = tables.formats.data();
    d.dims = tables.dims.data();
    d.bounds = o.bounds;
    d.mean_denominator = c.mean_denominator;
    d.index_dtype = o.index_dtype;
    d.offset_dtype = o.offset_dtype;
    d.out_dtype = o.out_dtype;
    d.weighted = !c.weights.empty();
    d.has_padding_id = c.padding_id.has_value();
    d.padding_id = c.padding_id.value_or(0);
    d.max_batch = c.batch;
    d.max_ids = total;
    d.split_out = 1;
    Error error;
    jd_plan plan = 0;
    rig.check(jd_embedding_bag_plan(rig.device, &d, &plan, &error), error);
    rig.keep(plan);
    jd_embedding_bag_args a{};
    a.struct_size = sizeof a;
    a.ids = rig.integers(o.index_dtype, c.ids);
    a.offsets = rig.integers(o.offset_dtype, c.offsets);
    if (d.weighted) a.weights = rig.tensor(JD_F32, {total}, c.weights);
    a.out = rig.poisoned(o.out_dtype, {c.batch * columns + total * widest});
    const bool both = columns > 0 && widest > 0;
    if (o.out_dtype == JD_I8) {
      a.out_scales = both         ? rig.poisoned(JD_F32, {c.batch * parts + total})
                     : widest > 0 ? rig.poisoned(JD_F32, {total, 1})
                                  : rig.poisoned(JD_F32, {c.batch, parts});
    }
    rig.check(jd_embedding_bag_run(plan, rig.stream, &a, &error), error);
    return {a.out, a.out_scales, static_cast<size_t>(filled)};
  }

  static Result run(Rig &rig, const EmbeddingBagCase &c, const Tables &tables, const Options &o) {
    const Outputs outputs = enqueue(rig, c, tables, o);
    Result r;
    r.bits = rig.bits(outputs.out);
    const uint32_t poison = rig.bits(rig.poisoned(o.out_dtype, {1}))[0];
    for (size_t i = outputs.filled; i < r.bits.size(); ++i) EXPECT_EQ(r.bits[i], poison) << "element " << i << " behind the blocks";
    r.bits.resize(outputs.filled);
    if (o.out_dtype == JD_I8) {
      for (const uint32_t bits : r.bits) r.numbers.push_back(static_cast<int8_t>(bits));
      r.scale_bits = rig.bits(outputs.scales);
      r.scales = rig.read(outputs.scales);
    } else {
      r.numbers = rig.read(outputs.out);
      r.numbers.resize(outputs.filled);
    }
    return r;
  }

  // Where the block of each table lies, by the header: those of pooled tables first.
  struct Block {
    size_t begin, size;
    int64_t columns;
    std::vector<size_t> scales;  // of each of its rows of `dim`, in their order
  };
  static std::vector<Block> blocks_of(const EmbeddingBagCase &c) {
    std::vector<Block> blocks(c.tables.size());
    size_t at = 0, part = 0, parts = 0;
    for (const EmbeddingTable &t : c.tables) parts += is_pooled(t) ? static_cast<size_t>(t.keys.rows_side_by_side()) : 0;
    const auto batch = static_cast<size_t>(c.batch);
    for (size_t t = 0; t < blocks.size(); ++t) {
      if (!is_pooled(c.tables[t])) continue;
      const auto copies = static_cast<size_t>(c.tables[t].keys.rows_side_by_side());
      blocks[t] = {at, batch * static_cast<size_t>(c.tables[t].columns()), c.tables[t].columns(), {}};
      for (size_t b = 0; b < batch; ++b) {
        for (size_t k = 0; k < copies; ++k) blocks[t].scales.push_back(b * parts + part + k);
      }
      part += copies;
      at += blocks[t].size;
    }
    for (size_t t = 0; t < blocks.size(); ++t) {
      if (is_pooled(c.tables[t])) continue;
      const auto rows = static_cast<size_t>(ids_of(c, t));
      blocks[t] = {at, rows * static_cast<size_t>(c.tables[t].dim), c.tables[t].dim, {}};
      for (size_t i = 0; i < rows; ++i) blocks[t].scales.push_back(batch * parts + static_cast<size_t>(c.offsets[t * batch]) + i);
      at += blocks[t].size;
    }
    return blocks;
  }

  static void expect_codes(const std::vector<double> &codes, const std::vector<double> &scales,
                           const reference::EmbeddingBagResult &expected, size_t dim, const std::string &what) {
    for (size_t row = 0; row < scales.size(); ++row) {
      double most = 0, unsure = 0, most_code = 0;
      for (size_t i = row * dim; i < (row + 1) * dim; ++i) {
        most = std::max(most, std::fabs(expected.out[i]));
        unsure = std::max(unsure, tolerance::sum(10, expected.terms[i], expected.out[i], JD_F32));
        most_code = std::max(most_code, std::fabs(codes[i]));
      }
      EXPECT_NEAR(scales[row], most / 127, (unsure + 1e-6 * most) / 127) << what << ", row " << row;
      EXPECT_EQ(most_code, most > 0 ? 127 : 0) << what << ", row " << row;
      for (size_t i = row * dim; i < (row + 1) * dim; ++i) {
        EXPECT_LE(std::fabs(codes[i] * scales[row] - expected.out[i]), 0.5001 * scales[row] + 2 * unsure) << what << ", element " << i;
      }
    }
  }

  // Every block against the reference of its table; gives how many ids the reference skips.
  static int64_t compare(const EmbeddingBagCase &c, const Result &got, const Options &o, const std::string &what) {
    const std::vector<Block> blocks = blocks_of(c);
    int64_t skipped = 0;
    std::vector<bool> scale_used(got.scales.size(), false);
    for (size_t t = 0; t < blocks.size(); ++t) {
      const EmbeddingBagCase one = of_table(c, t);
      const reference::EmbeddingBagResult expected = embedding_bag(one);
      skipped += expected.skipped;
      const Block &block = blocks[t];
      const std::string which = what + ", table " + std::to_string(t);
      const auto begin = got.numbers.begin() + static_cast<int64_t>(block.begin);
      const std::vector<double> numbers(begin, begin + static_cast<int64_t>(block.size));
      if (o.out_dtype == JD_I8) {
        std::vector<double> scales;
        for (const size_t at : block.scales) {
          scales.push_back(got.scales[at]);
          scale_used[at] = true;
        }
        expect_codes(numbers, scales, expected, static_cast<size_t>(c.tables[t].dim), which);
        continue;
      }
      expect_near(numbers, expected.out, [&](size_t i) {
        return tolerance::sum(10, expected.terms[i], expected.out[i], o.out_dtype);
      }, which);
    }
    for (size_t i = 0; i < scale_used.size(); ++i) {
      EXPECT_TRUE(scale_used[i] || std::isnan(got.scales[i])) << what << ", scale " << i << " belongs to no row";
    }
    return skipped;
  }

  static std::vector<uint32_t> chosen(const std::vector<uint32_t> &from, const std::vector<size_t> &places) {
    std::vector<uint32_t> all;
    for (const size_t at : places) all.push_back(from[at]);
    return all;
  }
};

TEST_P(EmbeddingMixed, every_table_has_its_block) {
  int run_number = 0;
  for (const std::vector<Shape> &shapes : kPlans) {
    for (const int64_t batch : {0, 1, 9}) {
      for (const int32_t out_dtype : {JD_F32, JD_F16, JD_BF16, JD_I8}) {
        Rig rig(GetParam(), 3, static_cast<uint64_t>(run_number % 3));
        Random random(static_cast<uint64_t>(run_number));
        EmbeddingBagCase c;
        const Tables tables = make(rig, c, shapes, 17);
        fill(random, c, batch, batch == 1 ? 2 : 6);  // one bag of at most two ids: some tables have none
        Options o{out_dtype, std::array{JD_BOUNDS_ZERO, JD_BOUNDS_STRICT, JD_BOUNDS_TRUST}[static_cast<size_t>(run_number % 3)],
                  run_number % 2 ? JD_I32 : JD_I64, run_number % 4 < 2 ? JD_I32 : JD_I64};
        if (o.bounds == JD_BOUNDS_ZERO) {
          for (size_t i = 2; i < c.ids.size(); i += 4) c.ids[i] = i % 8 ? -1 : 1000;
        }
        if (run_number % 5 < 2) c.padding_id = 0;
        if (run_number % 2 == 0) {  // positive: means divide by their sum
          for (size_t i = 0; i < c.ids.size(); ++i) c.weights.push_back(rounded(random.uniform(0.5, 2), JD_F32));
        }
        if (run_number % 3 == 2) c.mean_denominator = JD_MEAN_LENGTH;
        const std::string what = std::to_string(shapes.size()) + " tables, batch " + std::to_string(batch) + ", dtype " +
                                 std::to_string(out_dtype) + ", bounds " + std::to_string(o.bounds);
        const int64_t expected = compare(c, run(rig, c, tables, o), o, what);
        int64_t skipped = -1;
        Error error;
        rig.check(jd_stream_take_skipped(rig.stream, &skipped, &error), error);
        EXPECT_EQ(skipped, o.bounds == JD_BOUNDS_ZERO ? expected : 0) << what;
        ++run_number;
      }
    }
  }
}

// With 12 combinations a plan, every bounds mode meets every plan above with some dtype only; here each meets both sorts of output.
TEST_P(EmbeddingMixed, bounds_modes) {
  for (const int32_t bounds : {JD_BOUNDS_STRICT, JD_BOUNDS_ZERO, JD_BOUNDS_TRUST}) {
    for (const int32_t out_dtype : {JD_F32, JD_I8}) {
      Rig rig(GetParam(), 2);
      Random random(5);
      EmbeddingBagCase c;
      const Tables tables = make(rig, c, kPlans[0], 3);
      fill(random, c, 4, 5);
      c.padding_id = -7;  // in no table, and no error
      for (size_t i = 0; i < c.ids.size(); i += 5) c.ids[i] = -7;
      if (bounds == JD_BOUNDS_ZERO) {
        for (size_t i = 1; i < c.ids.size(); i += 5) c.ids[i] = std::numeric_limits<int64_t>::min();
      }
      const Options o{out_dtype, bounds};
      const int64_t expected = compare(c, run(rig, c, tables, o), o, "bounds " + std::to_string(bounds));
      int64_t skipped = -1;
      Error error;
      rig.check(jd_stream_synchronize(rig.stream, &error), error);
      rig.check(jd_stream_take_skipped(rig.stream, &skipped, &error), error);
      EXPECT_EQ(skipped, expected);
    }
  }
}

TEST_P(EmbeddingMixed, strict_reports_the_first_bad_id_whichever_table_it_is_of) {
  for (const int32_t out_dtype : {JD_F32, JD_I8}) {
    for (const size_t first_table : {size_t{0}, size_t{1}, size_t{2}, size_t{3}}) {
      Rig rig(GetParam(), 3);
      Random random(11);
      EmbeddingBagCase c;
      const Tables tables = make(rig, c, kPlans[0], 3);
      c.batch = 5;
      c.offsets.assign(1, 0);
      for (const EmbeddingTable &t : c.tables) {
        for (int64_t b = 0; b < c.batch; ++b) {
          for (int i = 0; i < 4; ++i) c.ids.push_back(random.integer(0, t.rows - 1));
          c.offsets.push_back(static_cast<int64_t>(c.ids.size()));
        }
      }
      const int64_t position = c.offsets[first_table * 5] + 6, rows = c.tables[first_table].rows;
      for (size_t t = first_table + 1; t < c.tables.size(); ++t) c.ids[static_cast<size_t>(c.offsets[t * 5 + 1])] = -3;
      c.ids[static_cast<size_t>(position)] = rows;
      enqueue(rig, c, tables, {out_dtype});
      Error error;
      EXPECT_EQ(jd_stream_synchronize(rig.stream, &error), JD_OUT_OF_BOUNDS);
      EXPECT_EQ(error.position, position);
      EXPECT_EQ(error.table, static_cast<int32_t>(first_table));
      EXPECT_EQ(error.value, rows);
      EXPECT_EQ(jd_stream_synchronize(rig.stream, &error), JD_OK) << "the report is given once";
    }
  }
}

// Whatever stands beside a table, however the work is cut, and in whatever order the emulator's threads run.
TEST_P(EmbeddingMixed, a_table_has_the_bits_of_a_plan_of_its_own) {
  for (const std::vector<Shape> &shapes : kPlans) {
    for (const int32_t out_dtype : {JD_F32, JD_F16, JD_I8}) {
      Rig rig(GetParam(), 3, 2);
      Random random(29);
      EmbeddingBagCase c;
      const Tables tables = make(rig, c, shapes, 41);
      fill(random, c, rig.scaled(60, 7), 8);
      for (size_t i = 3; i < c.ids.size(); i += 7) c.ids[i] = -1;
      c.weights = random.values(static_cast<int64_t>(c.ids.size()), JD_F32);
      const Options o{out_dtype, JD_BOUNDS_ZERO};
      const Result together = run(rig, c, tables, o);
      const std::vector<Block> blocks = blocks_of(c);
      for (size_t t = 0; t < shapes.size(); ++t) {
        const Result alone = run(rig, of_table(c, t), of_table(tables, t), o);
        const auto begin = together.bits.begin() + static_cast<int64_t>(blocks[t].begin);
        EXPECT_EQ(std::vector<uint32_t>(begin, begin + static_cast<int64_t>(blocks[t].size)), alone.bits) << "table " << t;
        if (out_dtype != JD_I8) continue;
        EXPECT_EQ(chosen(together.scale_bits, blocks[t].scales), alone.scale_bits) << "table " << t;
      }
    }
  }
}

// Bags of a batch turned round: the rows of each bag are those it had.
TEST_P(EmbeddingMixed, rows_do_not_depend_on_the_order_of_the_batch) {
  Rig rig(GetParam(), 2);
  Random random(31);
  EmbeddingBagCase c;
  const Tables tables = make(rig, c, kPlans[1], 7);
  fill(random, c, 6, 5);
  EmbeddingBagCase turned = c;
  turned.ids.clear();
  turned.offsets.assign(1, 0);
  std::vector<size_t> origin;  // of each id
  for (size_t t = 0; t < c.tables.size(); ++t) {
    for (size_t b = 6; b-- > 0;) {
      for (int64_t i = c.offsets[t * 6 + b]; i < c.offsets[t * 6 + b + 1]; ++i) {
        turned.ids.push_back(c.ids[static_cast<size_t>(i)]);
        origin.push_back(static_cast<size_t>(i));
      }
      turned.offsets.push_back(static_cast<int64_t>(turned.ids.size()));
    }
  }
  const std::vector<uint32_t> a = run(rig, c, tables, {}).bits, b = run(rig, turned, tables, {}).bits;
  const std::vector<Block> blocks = blocks_of(c);
  for (size_t t = 0; t < c.tables.size(); ++t) {
    const auto columns = static_cast<size_t>(blocks[t].columns);
    for (size_t row = 0; row < blocks[t].size / columns; ++row) {
      const auto first = static_cast<size_t>(c.offsets[t * 6]);
      const size_t was = is_pooled(c.tables[t]) ? 5 - row : origin[first + row] - first;
      for (size_t d = 0; d < columns; ++d) {
        ASSERT_EQ(b[blocks[t].begin + row * columns + d], a[blocks[t].begin + was * columns + d]) << "table " << t << ", row " << row;
      }
    }
  }
}

JD_INSTANTIATE_ON_DEVICES(EmbeddingMixed);

}  // namespace
}  // namespace jindou::testing
