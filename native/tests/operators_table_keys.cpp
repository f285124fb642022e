// Ids of any number to rows of a table (jd_table_keys), in embedding_bag and sequence_embedding, through the C ABI: against the float64
// reference, and bit for bit against plain tables whose ids a host has mapped.
#include <functional>

#include "operators_support.h"
#include "reference/embedding_bag.h"
#include "reference/embedding_rows.h"
#include "reference/table_keys.h"

namespace jindou::testing {
namespace {

using reference::embedding_bag;
using reference::EmbeddingBagCase;
using reference::EmbeddingTable;
using reference::TableKeys;

constexpr int64_t kLeast = std::numeric_limits<int64_t>::min(), kMost = std::numeric_limits<int64_t>::max();

jd_key_function row(int64_t first = 0, int64_t rows = 0) { return {JD_KEY_ROW, 0, first, rows, 0, 0}; }
jd_key_function modulo(int64_t first = 0, int64_t rows = 0) { return {JD_KEY_MODULO, 0, first, rows, 0, 0}; }
jd_key_function quotient(int64_t divisor, int64_t first, int64_t rows) { return {JD_KEY_QUOTIENT, 0, first, rows, divisor, 0}; }
jd_key_function hash(uint64_t seed, int64_t first = 0, int64_t rows = 0) { return {JD_KEY_HASH, 0, first, rows, 0, seed}; }

// Every bit of 64 counts: not through numbers.
jd_tensor integers(Rig &rig, const std::vector<int64_t> &shape, const std::vector<int64_t> &values) {
  std::vector<uint8_t> bytes(values.size() * 8);
  if (!values.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
  return rig.bytes(JD_I64, shape, bytes);
}

// Ids a service would have: small ones, and hashes of strings.
int64_t any_id(Random &random) {
  switch (random.integer(0, 9)) {
    case 0: return kLeast;
    case 1: return kMost;
    case 2: return -1;
    case 3: return 0;
    case 4: return random.integer(0, 500);
    default: return random.integer(kLeast, kMost);
  }
}

class TableKeysOperators : public ::testing::TestWithParam<std::string> {
 protected:
  struct Variant {
    int32_t dtype = JD_F32, bounds = JD_BOUNDS_STRICT, out_dtype = JD_F32;
  };

  static void fill(Random &random, EmbeddingBagCase &c, int64_t batch, int64_t most, const std::function<int64_t()> &id) {
    c.batch = batch;
    c.offsets.assign(1, 0);
    c.ids.clear();
    for (size_t t = 0; t < c.tables.size(); ++t) {
      for (int64_t b = 0; b < batch; ++b) {
        for (int64_t i = random.integer(0, most); i > 0; --i) c.ids.push_back(id());
        c.offsets.push_back(static_cast<int64_t>(c.ids.size()));
      }
    }
  }

  static jd_tensor run(Rig &rig, const EmbeddingBagCase &c, const Variant &v, const jd_tensor *made = nullptr) {
    std::vector<jd_tensor> tables;
    std::vector<int32_t> pooling;
    std::vector<jd_table_keys> keys;
    int64_t columns = 0;
    bool keyed = false;
    for (const EmbeddingTable &t : c.tables) {
      tables.push_back(made ? made[tables.size()] : rig.tensor(v.dtype, {t.rows, t.dim}, t.values));
      pooling.push_back(t.pooling);
      keys.push_back({static_cast<int32_t>(t.keys.functions.size()), t.keys.combine, t.keys.functions.data()});
      columns += t.columns();
      keyed |= !t.keys.functions.empty();
    }
    const bool none = pooling[0] == JD_POOL_NONE;
    const int64_t total = static_cast<int64_t>(c.ids.size());
    jd_embedding_bag_desc d{};
    d.struct_size = sizeof d;
    d.num_tables = static_cast<int32_t>(tables.size());
    d.tables = tables.data();
    d.table_pooling = pooling.data();
    d.bounds = v.bounds;
    d.mean_denominator = c.mean_denominator;
    d.index_dtype = d.offset_dtype = JD_I64;
    d.out_dtype = v.out_dtype;
    d.weighted = c.weights.empty() ? 0 : 1;
    d.has_padding_id = c.padding_id ? 1 : 0;
    d.padding_id = c.padding_id.value_or(0);
    d.max_batch = c.batch;
    d.max_ids = total;
    if (keyed) d.table_keys = keys.data();
    Error error;
    jd_plan plan = 0;
    rig.check(jd_embedding_bag_plan(rig.device, &d, &plan, &error), error);
    rig.keep(plan);
    jd_embedding_bag_args a{};
    a.struct_size = sizeof a;
    a.ids = integers(rig, {total}, c.ids);
    a.offsets = integers(rig, {static_cast<int64_t>(c.offsets.size())}, c.offsets);
    if (d.weighted) a.weights = rig.tensor(JD_F32, {total}, c.weights);
    a.out = rig.poisoned(v.out_dtype, {none ? total : c.batch, none ? c.tables[0].dim : columns});
    rig.check(jd_embedding_bag_run(plan, rig.stream, &a, &error), error);
    return a.out;
  }

  static void compare(Rig &rig, const EmbeddingBagCase &c, const Variant &v, const std::string &what) {
    expect_result(rig, c, v, run(rig, c, v), what);
  }
  static void expect_result(Rig &rig, const EmbeddingBagCase &c, const Variant &v, jd_tensor out, const std::string &what) {
    const reference::EmbeddingBagResult expected = embedding_bag(c);
    int64_t longest = 1;
    for (size_t i = 1; i < c.offsets.size(); ++i) longest = std::max(longest, c.offsets[i] - c.offsets[i - 1]);
    expect_near(rig.read(out), expected.out, [&](size_t i) {
      return tolerance::sum(JD_MAX_KEY_FUNCTIONS * longest, expected.terms[i], expected.out[i], v.out_dtype);
    }, what);
  }
};

TEST_P(TableKeysOperators, a_published_value_of_the_hash) {
  EXPECT_EQ(reference::murmur3_finaliser(1), 0xb456bcfc34c2cb2cULL);  // MurmurHash3's fmix64
  Rig rig(GetParam());
  EmbeddingBagCase c;
  for (const int64_t rows : {1, 2, 7, 64, 1009}) {
    EmbeddingTable t{rows, 4, {}, JD_POOL_SUM};
    for (int64_t r = 0; r < rows; ++r) t.values.insert(t.values.end(), 4, static_cast<double>(r));
    t.keys.functions = {hash(0)};
    c.tables.push_back(t);
    c.ids.push_back(1);
  }
  c.batch = 1;
  c.offsets = {0, 1, 2, 3, 4, 5};
  const std::vector<double> got = rig.read(run(rig, c, {}));
  for (size_t t = 0; t < c.tables.size(); ++t) {
    EXPECT_EQ(got[4 * t], static_cast<double>(0xb456bcfc34c2cb2cULL % static_cast<uint64_t>(c.tables[t].rows)));
  }
}

TEST_P(TableKeysOperators, every_function_pooling_and_combination) {
  Rig rig(GetParam());
  const std::vector<TableKeys> all = {
      {{row()}, JD_KEYS_SUM},
      {{modulo()}, JD_KEYS_CONCAT},
      {{hash(77, 5, 20)}, JD_KEYS_SUM},
      {{hash(1), hash(2)}, JD_KEYS_SUM},
      {{hash(1), hash(2), hash(3)}, JD_KEYS_CONCAT},
      {{modulo(40), hash(~0ULL, 0, 40), modulo(7, 13), hash(9, 33, 1), hash(5), hash(6), hash(7), hash(8)}, JD_KEYS_SUM},
  };
  for (const int32_t pooling : {JD_POOL_SUM, JD_POOL_MEAN, JD_POOL_MAX, JD_POOL_NONE}) {
    for (const bool weighted : {false, true}) {
      for (const TableKeys &keys : all) {
        const bool several = keys.functions.size() > 1;
        if (several && (pooling == JD_POOL_NONE || (pooling == JD_POOL_MAX && keys.combine == JD_KEYS_SUM))) continue;
        Random random(static_cast<uint64_t>(pooling));
        EmbeddingBagCase c;
        for (const int64_t rows : {61, 97}) c.tables.push_back({rows, 36, random.values(rows * 36, JD_F32), pooling, keys});
        const bool rows_only = keys.functions[0].kind == JD_KEY_ROW;
        fill(random, c, 9, 11, [&] { return rows_only ? random.integer(0, 60) : any_id(random); });
        if (weighted) {
          for (size_t i = 0; i < c.ids.size(); ++i) c.weights.push_back(rounded(random.uniform(0.5, 2), JD_F32));
        }
        c.padding_id = 0;
        for (const int32_t denominator : {JD_MEAN_VALID, JD_MEAN_LENGTH}) {
          c.mean_denominator = denominator;
          compare(rig, c, {}, std::to_string(keys.functions.size()) + " functions, pooling " + std::to_string(pooling));
          if (pooling != JD_POOL_MEAN) break;
        }
      }
    }
  }
}

// A QUOTIENT and a MODULO over the two parts of one table: every id has another pair of rows.
TEST_P(TableKeysOperators, quotient_and_remainder) {
  Rig rig(GetParam());
  for (const int64_t divisor : {1, 7, 64}) {
    for (const int32_t combine : {JD_KEYS_SUM, JD_KEYS_CONCAT}) {
      Random random(static_cast<uint64_t>(divisor));
      const int64_t vocabulary = 500, quotients = (vocabulary + divisor - 1) / divisor;
      EmbeddingBagCase c;
      const int64_t rows = quotients + divisor;
      c.tables = {{rows, 16, random.values(rows * 16, JD_F32), JD_POOL_SUM,
                   {{quotient(divisor, 0, quotients), modulo(quotients, divisor)}, combine}}};
      fill(random, c, 40, 9, [&] { return random.integer(0, vocabulary - 1); });
      compare(rig, c, {}, "divisor " + std::to_string(divisor));
    }
  }
}

TEST_P(TableKeysOperators, tables_with_and_without_functions_in_one_launch) {
  Rig rig(GetParam());
  Random random(4);
  EmbeddingBagCase c;
  for (int t = 0; t < 13; ++t) {
    const int64_t rows = random.integer(1, 90), dim = 4 * random.integer(1, rig.scaled(90, 36));
    EmbeddingTable table{rows, dim, random.values(rows * dim, JD_F32), t % 3};
    if (t % 4 == 1) table.keys = {{hash(static_cast<uint64_t>(t)), modulo()}, JD_KEYS_CONCAT};
    if (t % 4 == 2 && table.pooling != JD_POOL_MAX) table.keys = {{modulo(), hash(3), hash(4)}, JD_KEYS_SUM};
    if (t % 4 == 3) table.keys = {{hash(static_cast<uint64_t>(t))}, JD_KEYS_SUM};
    c.tables.push_back(table);
  }
  c.batch = 17;
  c.offsets.assign(1, 0);
  for (const EmbeddingTable &t : c.tables) {
    for (int64_t b = 0; b < c.batch; ++b) {
      const int64_t most = b == 3 ? 70 : 5;
      for (int64_t i = random.integer(0, most); i > 0; --i) {
        c.ids.push_back(t.keys.functions.empty() ? random.integer(0, t.rows - 1) : any_id(random));
      }
      c.offsets.push_back(static_cast<int64_t>(c.ids.size()));
    }
  }
  for (size_t i = 0; i < c.ids.size(); ++i) c.weights.push_back(rounded(random.uniform(0.5, 2), JD_F32));
  compare(rig, c, {}, "13 tables");
}

// What a host would do without them: the same bits.
TEST_P(TableKeysOperators, sums_are_those_of_bags_with_all_rows_of_each_id) {
  Rig rig(GetParam(), 3);
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    for (const int32_t combine : {JD_KEYS_SUM, JD_KEYS_CONCAT}) {
      for (const size_t k : {1, 2, 3, 8}) {
        Random random(k);
        EmbeddingBagCase c;
        EmbeddingTable table{73, 40, random.values(73 * 40, dtype), JD_POOL_SUM, {}};
        table.keys.combine = combine;
        for (size_t f = 0; f < k; ++f) table.keys.functions.push_back(f % 3 == 2 ? modulo(3 * static_cast<int64_t>(f)) : hash(f + 10));
        c.tables = {table};
        fill(random, c, rig.scaled(60, 9), 40, [&] { return any_id(random); });
        c.weights = random.values(static_cast<int64_t>(c.ids.size()), JD_F32);

        EmbeddingBagCase plain;
        plain.batch = c.batch;
        plain.offsets.assign(1, 0);
        const size_t parts = combine == JD_KEYS_CONCAT ? k : 1;
        for (size_t part = 0; part < parts; ++part) {
          plain.tables.push_back({73, 40, table.values, JD_POOL_SUM, {}});
          for (int64_t b = 0; b < c.batch; ++b) {
            for (int64_t i = c.offsets[static_cast<size_t>(b)]; i < c.offsets[static_cast<size_t>(b) + 1]; ++i) {
              const std::vector<int64_t> rows = table.keys.rows(c.ids[static_cast<size_t>(i)], 73);
              for (size_t f = 0; f < k; ++f) {
                if (combine == JD_KEYS_CONCAT && f != part) continue;
                plain.ids.push_back(rows[f]);
                plain.weights.push_back(c.weights[static_cast<size_t>(i)]);
              }
            }
            plain.offsets.push_back(static_cast<int64_t>(plain.ids.size()));
          }
        }
        Variant v;
        v.dtype = dtype;
        EXPECT_EQ(rig.bits(run(rig, c, v)), rig.bits(run(rig, plain, v))) << k << " functions, combine " << combine;
      }
    }
  }
}

TEST_P(TableKeysOperators, rows_of_codes) {
  Rig rig(GetParam());
  for (const int32_t format : {JD_ROWS_INT8, JD_ROWS_INT4_LAST, JD_ROWS_E4M3}) {
    for (const int32_t pooling : {JD_POOL_SUM, JD_POOL_NONE}) {
      const reference::RowsOfCodes rows = reference::rows_of_codes(format, 50, 32, 0, 7);
      Random random(5);
      EmbeddingBagCase c;
      c.tables = {{50, 32, rows.values, pooling, {{hash(1)}, JD_KEYS_SUM}}};
      if (pooling == JD_POOL_SUM) c.tables[0].keys.functions.push_back(hash(2));
      fill(random, c, 8, 9, [&] { return any_id(random); });
      const jd_tensor table = rig.bytes(JD_U8, {50, rows.row_bytes}, rows.bytes);
      const int32_t dim = 32;
      const jd_table_keys keys{static_cast<int32_t>(c.tables[0].keys.functions.size()), JD_KEYS_SUM,
                               c.tables[0].keys.functions.data()};
      jd_embedding_bag_desc d{};
      d.struct_size = sizeof d;
      d.num_tables = 1;
      d.tables = &table;
      d.pooling = pooling;
      d.index_dtype = d.offset_dtype = JD_I64;
      d.max_batch = c.batch;
      const int64_t total = d.max_ids = static_cast<int64_t>(c.ids.size());
      d.row_formats = &format;
      d.dims = &dim;
      d.table_keys = &keys;
      Error error;
      jd_plan plan = 0;
      rig.check(jd_embedding_bag_plan(rig.device, &d, &plan, &error), error);
      rig.keep(plan);
      jd_embedding_bag_args a{};
      a.struct_size = sizeof a;
      a.ids = integers(rig, {total}, c.ids);
      a.offsets = integers(rig, {static_cast<int64_t>(c.offsets.size())}, c.offsets);
      a.out = rig.poisoned(JD_F32, {pooling == JD_POOL_NONE ? total : c.batch, 32});
      rig.check(jd_embedding_bag_run(plan, rig.stream, &a, &error), error);
      const auto expected = embedding_bag(c);
      expect_near(rig.read(a.out), expected.out, [&](size_t i) {
        return tolerance::sum(18, expected.terms[i], expected.out[i], JD_F32);
      }, "format " + std::to_string(format));
    }
  }
}

// An id that one function does not take contributes nothing by the others either, and is told of once.
TEST_P(TableKeysOperators, bounds) {
  for (const int32_t combine : {JD_KEYS_SUM, JD_KEYS_CONCAT}) {
    for (const int32_t bounds : {JD_BOUNDS_STRICT, JD_BOUNDS_ZERO, JD_BOUNDS_TRUST}) {
      Rig rig(GetParam(), 2);
      Random random(6);
      EmbeddingBagCase c;
      c.tables = {{30, 140, random.values(30 * 140, JD_F32), JD_POOL_SUM, {{hash(1)}, JD_KEYS_SUM}},
                  {30, 140, random.values(30 * 140, JD_F32), JD_POOL_MEAN, {{hash(3), quotient(5, 10, 7), modulo(0, 9)}, combine}}};
      fill(random, c, 25, 6, [&] { return random.integer(0, 34); });
      c.ids[1] = kLeast;  // a hash takes any
      Variant v;
      v.bounds = bounds;
      const auto first = static_cast<size_t>(c.offsets[25]) + 3;
      if (bounds != JD_BOUNDS_TRUST) {
        c.ids[first] = 35;
        c.ids[first + 5] = -1;
        c.ids[first + 9] = kMost;
      }
      const jd_tensor out = run(rig, c, v);
      Error error;
      int64_t skipped = 0;
      const jd_status status = jd_stream_synchronize(rig.stream, &error);
      expect_result(rig, c, v, out, "bounds " + std::to_string(bounds));
      if (bounds == JD_BOUNDS_STRICT) {
        EXPECT_EQ(status, JD_OUT_OF_BOUNDS);
        EXPECT_EQ(error.position, static_cast<int64_t>(first));
        EXPECT_EQ(error.value, 35);
        EXPECT_EQ(error.table, 1);
        EXPECT_NE(std::string(error.message).find("expected an id in 0..34 (what the key functions of table 1 take), got 35"),
                  std::string::npos)
            << error.message;
        continue;
      }
      EXPECT_EQ(status, JD_OK) << error.message;
      rig.check(jd_stream_take_skipped(rig.stream, &skipped, &error), error);
      EXPECT_EQ(skipped, bounds == JD_BOUNDS_ZERO ? 3 : 0);
    }
  }
}

TEST_P(TableKeysOperators, threads_and_the_rest_of_the_batch_change_no_bit) {
  Random random(9);
  EmbeddingBagCase c;
  c.tables = {{200, 72, random.values(200 * 72, JD_F32), JD_POOL_MEAN, {{hash(1), hash(2), modulo()}, JD_KEYS_SUM}}};
  Rig all(GetParam(), 3), one(GetParam(), 1);
  fill(random, c, all.scaled(150, 24), 50, [&] { return any_id(random); });
  c.weights = random.values(static_cast<int64_t>(c.ids.size()), JD_F32);
  const std::vector<uint32_t> together = all.bits(run(all, c, {}));
  EXPECT_EQ(one.bits(run(one, c, {})), together);
  for (int64_t b = 0; b < c.batch; b += 13) {
    EmbeddingBagCase alone = c;
    alone.batch = 1;
    const auto begin = c.offsets[static_cast<size_t>(b)], end = c.offsets[static_cast<size_t>(b) + 1];
    alone.offsets = {0, end - begin};
    alone.ids.assign(c.ids.begin() + begin, c.ids.begin() + end);
    alone.weights.assign(c.weights.begin() + begin, c.weights.begin() + end);
    const std::vector<uint32_t> bits = one.bits(run(one, alone, {}));
    EXPECT_TRUE(std::equal(bits.begin(), bits.end(), together.begin() + b * 72)) << "bag " << b;
  }
}

// -- sequence_embedding ----------------------------------------------------------------------------------------------------

struct SequenceCase {
  struct Table {
    jd_tensor rows;
    std::vector<jd_key_function> functions;
    int32_t combine;
    int64_t columns;
  };
  std::vector<Table> tables;
  std::vector<int64_t> ids;  // [T, total]
  std::vector<int64_t> offsets;
  bool summed = false;
  int32_t bounds = JD_BOUNDS_STRICT;
  jd_status status = JD_OK;
  Error error;
  int64_t skipped = 0;

  std::vector<uint32_t> run(Rig &rig) {
    std::vector<jd_tensor> rows;
    std::vector<jd_table_keys> keys;
    int64_t width = 0;
    for (const Table &t : tables) {
      rows.push_back(t.rows);
      keys.push_back({static_cast<int32_t>(t.functions.size()), t.combine, t.functions.data()});
      width = summed ? t.columns : width + t.columns;
    }
    jd_sequence_embedding_desc d{};
    d.struct_size = sizeof d;
    d.num_tables = static_cast<int32_t>(tables.size());
    d.tables = rows.data();
    d.combine = summed ? JD_SEQUENCE_SUM : JD_SEQUENCE_CONCAT;
    d.bounds = bounds;
    d.index_dtype = d.offset_dtype = JD_I64;
    d.scale = 1;
    d.max_batch = static_cast<int64_t>(offsets.size()) - 1;
    const int64_t total = d.max_events = offsets.back();
    d.table_keys = keys.data();
    jd_plan plan = 0;
    rig.check(jd_sequence_embedding_plan(rig.device, &d, &plan, &error), error);
    rig.keep(plan);
    jd_sequence_embedding_args a{};
    a.struct_size = sizeof a;
    a.ids = integers(rig, {d.num_tables, total}, ids);
    a.offsets = integers(rig, {static_cast<int64_t>(offsets.size())}, offsets);
    a.out = rig.poisoned(JD_F32, {total, width});
    rig.check(jd_sequence_embedding_run(plan, rig.stream, &a, &error), error);
    status = jd_stream_synchronize(rig.stream, &error);
    jd_stream_take_skipped(rig.stream, &skipped, nullptr);
    return rig.bits(a.out);
  }
};

TEST_P(TableKeysOperators, sequences_are_those_of_plain_tables_with_mapped_ids) {
  Rig rig(GetParam(), 2);
  for (const bool summed : {false, true}) {
    Random random(12);
    const int64_t total = rig.scaled(333, 45);
    const jd_tensor a = rig.tensor(JD_F32, {50, 24}, random.values(50 * 24, JD_F32));
    const jd_tensor b = rig.tensor(JD_BF16, {31, 8}, random.values(31 * 8, JD_BF16));
    SequenceCase keyed;
    keyed.summed = summed;
    keyed.offsets = {0, 5, 5, total};
    keyed.tables = {{a, {hash(1), modulo(10, 40)}, JD_KEYS_SUM, 24}, {b, {hash(2), hash(3), row()}, JD_KEYS_CONCAT, 24}, {a, {}, 0, 24}};
    for (int t = 0; t < 3; ++t) {
      for (int64_t i = 0; i < total; ++i) keyed.ids.push_back(t == 0 ? any_id(random) : random.integer(0, 30));
    }
    SequenceCase plain;
    plain.summed = summed;
    plain.offsets = keyed.offsets;
    // Three rows side by side are three tables of 8 beside each other; in a sum they are compared column by column below.
    const auto map = [&](size_t table, size_t function, int64_t rows) {
      reference::TableKeys keys{keyed.tables[table].functions, JD_KEYS_SUM};
      for (int64_t i = 0; i < total; ++i) {
        const int64_t id = keyed.ids[table * static_cast<size_t>(total) + static_cast<size_t>(i)];
        plain.ids.push_back(keys.functions.empty() ? id : keys.rows(id, rows)[function]);
      }
    };
    const std::vector<uint32_t> got = keyed.run(rig);
    EXPECT_EQ(keyed.status, JD_OK) << keyed.error.message;
    if (!summed) {
      // The first: a sum of its two rows.
      plain.summed = true;
      plain.tables = {{a, {}, 0, 24}, {a, {}, 0, 24}};
      map(0, 0, 50);
      map(0, 1, 50);
      const std::vector<uint32_t> sums = plain.run(rig);
      plain = SequenceCase{};
      plain.offsets = keyed.offsets;
      plain.tables = {{b, {}, 0, 8}, {b, {}, 0, 8}, {b, {}, 0, 8}, {a, {}, 0, 24}};
      for (size_t f = 0; f < 3; ++f) map(1, f, 31);
      map(2, 0, 50);
      const std::vector<uint32_t> rest = plain.run(rig);
      for (int64_t i = 0; i < total; ++i) {
        EXPECT_TRUE(std::equal(got.begin() + 72 * i, got.begin() + 72 * i + 24, sums.begin() + 24 * i)) << i;
        EXPECT_TRUE(std::equal(got.begin() + 72 * i + 24, got.begin() + 72 * i + 72, rest.begin() + 48 * i)) << i;
      }
      continue;
    }
    // A row of three pieces as one table of whole rows.
    std::vector<double> values = rig.read(b), whole;
    reference::TableKeys pieces{keyed.tables[1].functions, JD_KEYS_SUM};
    std::vector<int64_t> places;
    for (int64_t i = 0; i < total; ++i) {
      for (const int64_t r : pieces.rows(keyed.ids[static_cast<size_t>(total + i)], 31)) {
        whole.insert(whole.end(), values.begin() + 8 * r, values.begin() + 8 * r + 8);
      }
      places.push_back(i);
    }
    plain.tables = {{a, {}, 0, 24}, {a, {}, 0, 24}, {rig.tensor(JD_BF16, {total, 24}, whole), {}, 0, 24}, {a, {}, 0, 24}};
    map(0, 0, 50);
    map(0, 1, 50);
    plain.ids.insert(plain.ids.end(), places.begin(), places.end());
    map(2, 0, 50);
    EXPECT_EQ(got, plain.run(rig));
  }
}

TEST_P(TableKeysOperators, bounds_of_sequences) {
  for (const int32_t bounds : {JD_BOUNDS_STRICT, JD_BOUNDS_ZERO, JD_BOUNDS_TRUST}) {
    Rig rig(GetParam(), 2);
    Random random(14);
    SequenceCase c;
    c.bounds = bounds;
    const int64_t total = 70;
    c.offsets = {0, 30, total};
    c.tables = {{rig.tensor(JD_F32, {9, 8}, random.values(72, JD_F32)), {hash(4)}, JD_KEYS_SUM, 8},
                {rig.tensor(JD_F32, {9, 8}, random.values(72, JD_F32)), {modulo(), quotient(3, 0, 5)}, JD_KEYS_CONCAT, 16}};
    for (int64_t i = 0; i < total; ++i) c.ids.push_back(any_id(random));
    for (int64_t i = 0; i < total; ++i) c.ids.push_back(random.integer(0, 14));
    if (bounds != JD_BOUNDS_TRUST) {
      c.ids[static_cast<size_t>(total) + 33] = 15;
      c.ids[static_cast<size_t>(total) + 60] = -4;
    }
    const std::vector<uint32_t> out = c.run(rig);
    const bool zeros = std::all_of(out.begin() + 33 * 24 + 8, out.begin() + 34 * 24, [](uint32_t x) { return x == 0; });
    EXPECT_EQ(zeros, bounds != JD_BOUNDS_TRUST);
    EXPECT_EQ(c.skipped, bounds == JD_BOUNDS_ZERO ? 2 : 0);
    EXPECT_EQ(c.status, bounds == JD_BOUNDS_STRICT ? JD_OUT_OF_BOUNDS : JD_OK);
    if (bounds != JD_BOUNDS_STRICT) continue;
    EXPECT_EQ(c.error.table, 1);
    EXPECT_EQ(c.error.position, total + 33);
    EXPECT_EQ(c.error.value, 15);
  }
}

JD_INSTANTIATE_ON_DEVICES(TableKeysOperators);

}  // namespace
}  // namespace jindou::testing
