// Tables, searches and blocks over tensors of more than 2^31 elements, 2^31 rows and 2^32 bytes (wide_memory.h). A call over them has
// the very bits of the same call over a few dense rows.
#include "core/hash_geometry.h"
#include "wide_memory.h"

namespace jindou::testing {
namespace {

class WideTables : public WideTest {
 protected:
  static std::vector<double> numbers(uint64_t seed, const std::vector<int64_t> &shape, int32_t dtype) {
    int64_t count = 1;
    for (const int64_t n : shape) count *= n;
    return Random(seed).values(count, dtype, 1.5);
  }
  static jd_tensor strided(WideMemory &m, uint64_t seed, int32_t dtype, const std::vector<int64_t> &shape) {
    return m.strided(dtype, shape, numbers(seed, shape, dtype));
  }
  static jd_tensor behind(WideMemory &m, int64_t before, uint64_t seed, int32_t dtype, const std::vector<int64_t> &shape) {
    return m.behind(before, dtype, shape, numbers(seed, shape, dtype));
  }
  // Bytes, as rows of codes have them; a header of f16 numbers first.
  static std::vector<double> code_rows(int64_t rows, int64_t row_bytes) {
    std::vector<double> bytes;
    for (int64_t i = 0; i < rows * row_bytes; ++i) {
      const double header[4] = {0x00, 0x34, 0x00, 0xb8};  // 0.25, -0.5
      bytes.push_back(i % row_bytes < 4 ? header[i % row_bytes] : static_cast<double>(i * 37 % 256));
    }
    return bytes;
  }
};

// Three tables: rows whose numbers pass 2^32, rows 2^31 elements apart, and rows of codes whose bytes pass 2^32.
TEST_P(WideTables, embedding_bag) {
  for (const int32_t pooling : {JD_POOL_SUM, JD_POOL_MEAN, JD_POOL_MAX}) {
    for (const int32_t out_dtype : {JD_F32, JD_F16}) {
      expect_same_bits("pooling " + std::to_string(pooling), [&](WideMemory &m) {
        constexpr int64_t kBefore = (int64_t{1} << 32) + 3;
        const jd_tensor tables[3] = {behind(m, kBefore, 1, JD_F16, {10, 32}), strided(m, 2, JD_F32, {10, 64}),
                                     m.behind(kBefore, JD_U8, {10, 20}, code_rows(10, 20))};
        const int32_t formats[3] = {JD_ROWS_PLAIN, JD_ROWS_PLAIN, JD_ROWS_INT8}, dims[3] = {32, 64, 16};
        jd_embedding_bag_desc d{};
        d.struct_size = sizeof d;
        d.num_tables = 3;
        d.tables = tables;
        d.row_formats = formats;
        d.dims = dims;
        d.pooling = pooling;
        d.index_dtype = d.offset_dtype = JD_I64;
        d.out_dtype = out_dtype;
        d.max_batch = 4;
        d.max_ids = 100;
        std::vector<double> ids;
        for (int64_t i = 0; i < 36; ++i) {
          const bool far = m.wide && i / 12 != 1;  // table 1 has ten rows
          ids.push_back(static_cast<double>((far ? kBefore : 0) + i * 7 % 10));
        }
        jd_embedding_bag_args a{};
        a.struct_size = sizeof a;
        a.ids = rig->tensor(JD_I64, {36}, ids);
        a.offsets = m.offsets(0, 0, {1, 5, 0, 6, 1, 5, 0, 6, 1, 5, 0, 6});
        a.out = m.strided_out(out_dtype, {4, 112});
        run(d, a, jd_embedding_bag_plan, jd_embedding_bag_run);
        return std::vector<jd_tensor>{a.out};
      });
    }
  }
}

TEST_P(WideTables, embedding_rows_without_pooling) {
  for (const bool codes : {false, true}) {
    expect_same_bits(codes ? "codes" : "bf16", [&](WideMemory &m) {
      constexpr int64_t kBefore = (int64_t{1} << 32) + 3;
      const jd_tensor table = codes ? m.behind(kBefore, JD_U8, {10, 20}, code_rows(10, 20)) : behind(m, kBefore, 1, JD_BF16, {10, 16});
      const int32_t format = codes ? JD_ROWS_INT8 : JD_ROWS_PLAIN, dim = 16;
      jd_embedding_bag_desc d{};
      d.struct_size = sizeof d;
      d.num_tables = 1;
      d.tables = &table;
      d.row_formats = &format;
      d.dims = &dim;
      d.pooling = JD_POOL_NONE;
      d.index_dtype = d.offset_dtype = JD_I64;
      d.max_batch = 4;
      d.max_ids = 100;
      std::vector<double> ids;
      for (int64_t i = 0; i < 12; ++i) ids.push_back(static_cast<double>((m.wide ? kBefore : 0) + i * 7 % 10));
      jd_embedding_bag_args a{};
      a.struct_size = sizeof a;
      a.ids = rig->tensor(JD_I64, {12}, ids);
      a.offsets = m.offsets(0, 0, {1, 5, 0, 6});
      a.out = m.strided_out(JD_F32, {12, 16});
      run(d, a, jd_embedding_bag_plan, jd_embedding_bag_run);
      return std::vector<jd_tensor>{a.out};
    });
  }
}

// A bad id behind 2^31 positions is reported where it is. (2^31 ids are looked at: not in the emulator, and not under sanitizers.)
TEST_P(WideTables, embedding_bag_of_more_than_2_31_ids) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "2^31 ids take minutes under sanitizers; the test without them looks at the same code";
#endif
  if (!rig->fast()) GTEST_SKIP() << "2^31 ids take hours on this device; kernel_wide_index_test has its indices";
  if (std::getenv("JINDOU_CPU_ISA")) GTEST_SKIP() << "ids are looked at by the same code on every instruction set: seconds once";
  WideMemory m(*rig, true);
  const jd_tensor table = strided(m, 1, JD_F32, {10, 4});
  jd_embedding_bag_desc d{};
  d.struct_size = sizeof d;
  d.num_tables = 1;
  d.tables = &table;
  d.pooling = JD_POOL_MEAN;
  d.index_dtype = JD_I32;
  d.offset_dtype = JD_I64;
  d.has_padding_id = 1;
  d.padding_id = 0;  // what was never written
  d.max_batch = 3;
  d.max_ids = 2 * kFar;
  jd_embedding_bag_args a{};
  a.struct_size = sizeof a;
  a.ids = m.behind(kFar, JD_I32, {6}, {3, 5, 5, 7, 99, 2});
  a.offsets = m.offsets(1, kFar + 2, {2, 2});
  a.out = m.strided_out(JD_F32, {3, 4});
  jd_plan plan = 0;
  Error error;
  rig->check(jd_embedding_bag_plan(rig->device, &d, &plan, &error), error);
  rig->check(jd_embedding_bag_run(plan, rig->stream, &a, &error), error);
  EXPECT_EQ(jd_stream_synchronize(rig->stream, &error), JD_OUT_OF_BOUNDS);
  EXPECT_NE(std::string(error.message).find(std::to_string(kFar + 4)), std::string::npos) << error.message;
  jd_plan_destroy(plan, nullptr);
  // Means over the ids that are there, however many others lie between: rows 3 and 5, 5 and 7, and 2.
  const std::vector<double> rows = numbers(1, {10, 4}, JD_F32);
  std::vector<double> expected;
  for (int64_t column = 0; column < 4; ++column) expected.push_back((rows[12 + column] + rows[20 + column]) / 2);
  for (int64_t column = 0; column < 4; ++column) expected.push_back((rows[20 + column] + rows[28 + column]) / 2);
  for (int64_t column = 0; column < 4; ++column) expected.push_back(rows[8 + column]);
  expect_near(numbers_of(m.bits(a.out)), expected, [](size_t) { return 1e-6; }, "means");
}

// A bucket's row past 2^31, a table's past 2^32; ids of the second table 2^31 elements behind those of the first. (A position is less
// than its sequence's length, so rows of positions lie far only by their stride.)
TEST_P(WideTables, sequence_embedding) {
  constexpr int64_t kRows = (int64_t{1} << 32) + 3, kBuckets = kFar - 20;
  for (const int32_t dtype : {JD_F32, JD_F16}) {
    expect_same_bits(jd_dtype_name(dtype), [&](WideMemory &m) {
      const jd_tensor tables[2] = {behind(m, kRows, 1, dtype, {10, 16}), strided(m, 2, JD_F32, {10, 16})};
      jd_sequence_embedding_desc d{};
      d.struct_size = sizeof d;
      d.num_tables = 2;
      d.tables = tables;
      d.combine = JD_SEQUENCE_CONCAT;
      d.index_dtype = d.offset_dtype = JD_I64;
      d.out_dtype = dtype;
      d.position_table = strided(m, 3, dtype, {30, 32});
      d.time_table = behind(m, kBuckets, 4, JD_F32, {10, 32});
      d.scale = 2;
      d.position_mode = JD_POSITION_FROM_END;
      d.time_function = JD_TIME_SQRT;
      d.time_unit = 1;
      d.has_query_times = 1;
      d.max_batch = 2;
      d.max_events = 20;
      std::vector<double> ids, times;
      for (int64_t i = 0; i < 20; ++i) ids.push_back(static_cast<double>((m.wide && i < 10 ? kRows : 0) + i * 7 % 10));
      for (int64_t i = 0; i < 10; ++i) {
        const double bucket = static_cast<double>((m.wide ? kBuckets : 0) + 9 - i);
        times.push_back(-bucket * bucket - bucket);  // between the squares of it and of the next
      }
      jd_sequence_embedding_args a{};
      a.struct_size = sizeof a;
      a.ids = m.strided(JD_I64, {2, 10}, ids);
      a.offsets = m.offsets(0, 0, {4, 6});
      a.timestamps = rig->tensor(JD_I64, {10}, times);
      a.query_times = rig->tensor(JD_I64, {2}, {0, 0});
      a.out = m.strided_out(dtype, {10, 32});
      run(d, a, jd_sequence_embedding_plan, jd_sequence_embedding_run);
      return std::vector<jd_tensor>{a.out};
    });
  }
}

// A table of more than 2^32 slots: every bucket holds eight keys 0, which was never written, but for those of 40 keys.
class WideHashTable : public WideTables {
 protected:
  void SetUp() override {
    WideTables::SetUp();
    if (!rig) return;
    memory = std::make_unique<WideMemory>(*rig, true);
    table_keys = memory->behind(slots / 8 - 1, JD_I64, {1, 8}, std::vector<double>(8, -1));
    table_rows = memory->behind(slots - 1, JD_F32, {1, 4}, {0, 0, 0, 0});
    for (int64_t i = 0; i < 40; ++i) keys.push_back(static_cast<double>(1 + i * i * 1000003));
    desc.struct_size = sizeof desc;
    desc.dtype = JD_F32;
    desc.dim = 4;
    desc.admission = 1;
    args.struct_size = sizeof args;
    args.table_keys = table_keys;
    args.table_rows = table_rows;
    args.keys = rig->tensor(JD_I64, {40}, keys);
    args.slots = memory->strided(JD_I64, {40}, std::vector<double>(40, -2));
  }
  void TearDown() override {
    memory.reset();
    WideTables::TearDown();
  }
  hashing::Places places(size_t i) const { return hashing::Geometry(slots).places(static_cast<int64_t>(keys[i])); }

  const int64_t slots = jd_hash_table_slots((int64_t{1} << 32) + 5);
  std::unique_ptr<WideMemory> memory;
  std::vector<double> keys;
  jd_tensor table_keys = 0, table_rows = 0;
  jd_hash_table_desc desc{};
  jd_hash_table_args args{};
};

TEST_P(WideHashTable, keys_are_found_past_2_31_slots) {
  const std::vector<double> rows = numbers(1, {40, 4}, JD_F32);
  std::vector<uint64_t> expected_slots;
  int64_t far = 0;
  for (size_t i = 0; i < keys.size(); ++i) {
    const int64_t slot = places(i).bucket[i % 2] * 8 + static_cast<int64_t>(i % 8);
    memory->put(table_keys, slot, keys[i]);
    for (int64_t c = 0; c < 4; ++c) memory->put(table_rows, slot * 4 + c, rows[i * 4 + c]);
    expected_slots.push_back(static_cast<uint64_t>(slot));
    far += slot > kFar;
  }
  ASSERT_GT(far, 5);
  args.rows = memory->strided_out(JD_F32, {40, 4});
  run(desc, args, jd_hash_lookup_plan, jd_hash_lookup_run);
  EXPECT_EQ(memory->bits(args.slots), expected_slots);
  EXPECT_EQ(numbers_of(memory->bits(args.rows)), rows);
}

TEST_P(WideHashTable, keys_are_inserted_and_erased_past_2_31_slots) {
  if (!rig->fast()) {
    GTEST_SKIP() << "every one of 283,000 partitions looks at the keys, which takes minutes on this device; its slots are those of "
                    "keys_are_found_past_2_31_slots";
  }
  for (size_t i = 0; i < keys.size(); ++i) {
    for (const int64_t bucket : places(i).bucket) {
      for (int64_t place = 0; place < 8; ++place) memory->put(table_keys, bucket * 8 + place, -1);
    }
  }
  args.table_size = rig->integers(JD_I64, {0});
  args.rows = strided(*memory, 1, JD_F32, {40, 4});
  run(desc, args, jd_hash_insert_plan, jd_hash_insert_run);
  const std::vector<uint64_t> inserted = memory->bits(args.slots), rows = memory->bits(args.rows);
  for (size_t i = 0; i < keys.size(); ++i) EXPECT_EQ(static_cast<int64_t>(inserted[i]) / 8, places(i).bucket[0]);

  args.table_size = 0;
  args.rows = memory->strided_out(JD_F32, {40, 4});
  run(desc, args, jd_hash_lookup_plan, jd_hash_lookup_run);
  EXPECT_EQ(memory->bits(args.slots), inserted);
  EXPECT_EQ(memory->bits(args.rows), rows);

  args.rows = 0;
  args.table_size = rig->integers(JD_I64, {40});
  run(desc, args, jd_hash_erase_plan, jd_hash_erase_run);
  EXPECT_EQ(memory->bits(args.slots), inserted);
  args.table_size = 0;
  run(desc, args, jd_hash_lookup_plan, jd_hash_lookup_run);
  for (const uint64_t slot : memory->bits(args.slots)) EXPECT_EQ(static_cast<int64_t>(slot), -1);
}

TEST_P(WideTables, history_search) {
  constexpr int64_t kEvents = 1 << 30;
  for (const int32_t method : {JD_SEARCH_HARD, JD_SEARCH_DOT, JD_SEARCH_LSH}) {
    for (const int32_t dtype : {JD_F32, JD_BF16, JD_I32, JD_I64}) {
      const bool is_float = dtype == JD_F32 || dtype == JD_BF16;
      if (is_float != (method == JD_SEARCH_DOT) || (method == JD_SEARCH_LSH && dtype != JD_I64)) continue;
      for (const bool strides : {false, true}) {
        if (strides && method == JD_SEARCH_HARD) continue;  // categories have no rows
        expect_same_bits("method " + std::to_string(method) + ", " + jd_dtype_name(dtype), [&](WideMemory &m) {
          jd_history_search_desc d{};
          d.struct_size = sizeof d;
          d.method = method;
          d.dtype = dtype;
          d.offset_dtype = JD_I64;
          d.dim = method == JD_SEARCH_DOT ? 16 : method == JD_SEARCH_LSH ? 128 : 0;
          d.k = 9;
          d.max_batch = 5;
          d.max_candidates = 8;
          d.max_history = kEvents;
          const int64_t users = strides ? 0 : 3, before = users * kEvents;
          const auto searched = [&](int64_t rows, uint64_t seed, int64_t behind_rows, bool far_apart) {
            std::vector<int64_t> shape = {rows};
            if (method != JD_SEARCH_HARD) shape.push_back(method == JD_SEARCH_DOT ? 16 : 2);
            std::vector<double> values;
            if (is_float) {
              values = numbers(seed, shape, dtype);
            } else {
              Random random(seed);
              const int64_t count = method == JD_SEARCH_HARD ? rows : rows * 2;
              for (int64_t i = 0; i < count; ++i) {
                values.push_back(static_cast<double>(random.integer(0, method == JD_SEARCH_HARD ? 4 : int64_t{1} << 52)));
              }
            }
            return far_apart ? m.strided(dtype, shape, values) : m.behind(behind_rows, dtype, shape, values);
          };
          jd_history_search_args a{};
          a.struct_size = sizeof a;
          a.queries = searched(5, 1, 0, method != JD_SEARCH_HARD);
          a.candidate_offsets = m.offsets(users, 0, {3, 2});
          a.keys = searched(109, 2, before, strides);
          a.history_offsets = m.offsets(users, kEvents, {100, 9});
          if (method == JD_SEARCH_DOT) a.bias = behind(m, before, 3, JD_F32, {109});
          a.indices = m.strided_out(JD_I32, {5, 9});
          if (method != JD_SEARCH_HARD) a.scores = m.strided_out(JD_F32, {5, 9});
          run(d, a, jd_history_search_plan, jd_history_search_run);
          std::vector<jd_tensor> results = {a.indices};
          if (a.scores) results.push_back(a.scores);
          return results;
        });
      }
    }
  }
}

TEST_P(WideTables, top_k_inner_product) {
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    for (const int64_t m : {5, 18}) {  // few queries and many
      for (const bool each : {false, true}) {
        expect_same_bits(std::string(jd_dtype_name(dtype)) + ", " + std::to_string(m) + " queries", [&](WideMemory &memory) {
          jd_top_k_inner_product_desc d{};
          d.struct_size = sizeof d;
          d.dtype = dtype;
          d.dim = 16;
          d.k = 9;
          d.max_queries = m;
          std::vector<double> bits;
          for (int64_t i = 0; i < (each ? m : 1) * 14; ++i) bits.push_back(static_cast<double>(i * 89 % 256));
          jd_top_k_inner_product_args a{};
          a.struct_size = sizeof a;
          a.queries = strided(memory, 1, dtype, {m, 16});
          a.items = strided(memory, 2, dtype, {109, 16});
          a.allowed = each ? memory.strided(JD_U8, {m, 14}, bits) : memory.strided(JD_U8, {14}, bits);
          a.indices = memory.strided_out(JD_I64, {m, 9});
          a.scores = memory.strided_out(JD_F32, {m, 9});
          run(d, a, jd_top_k_inner_product_plan, jd_top_k_inner_product_run);
          return std::vector<jd_tensor>{a.indices, a.scores};
        });
      }
    }
  }
}

TEST_P(WideTables, lsh_signatures) {
  expect_same_bits("lsh_signatures", [&](WideMemory &m) {
    jd_lsh_signatures_args a{};
    a.struct_size = sizeof a;
    a.x = strided(m, 1, JD_BF16, {40, 32});
    a.projection = strided(m, 2, JD_BF16, {64, 32});
    a.signatures = m.strided_out(JD_I64, {40, 1});
    run(a, jd_lsh_signatures);
    return std::vector<jd_tensor>{a.signatures};
  });
}

TEST_P(WideTables, residual_quantisation) {
  expect_same_bits("rq", [&](WideMemory &m) {
    jd_rq_encode_desc d{};
    d.struct_size = sizeof d;
    d.dtype = JD_F32;
    d.dim = 16;
    d.num_levels = 3;
    d.num_codes = 40;
    jd_rq_encode_args a{};
    a.struct_size = sizeof a;
    a.x = strided(m, 1, JD_F32, {20, 16});
    a.codebooks = strided(m, 2, JD_F32, {3, 40, 16});
    a.codes = m.strided_out(JD_I32, {20, 3});
    a.residual_norm = m.strided_out(JD_F32, {20});
    run(d, a, jd_rq_encode_plan, jd_rq_encode_run);
    jd_rq_decode_args back{};
    back.struct_size = sizeof back;
    back.codes = a.codes;
    back.codebooks = a.codebooks;
    back.out = m.strided_out(JD_F16, {20, 16});
    run(back, jd_rq_decode);
    return std::vector<jd_tensor>{a.codes, a.residual_norm, back.out};
  });
}

TEST_P(WideTables, blocks) {
  expect_same_bits("linear, layer_norm, l2_normalize", [&](WideMemory &m) {
    jd_linear_args linear{};
    linear.struct_size = sizeof linear;
    linear.activation = JD_LINEAR_SILU;
    linear.x = strided(m, 1, JD_F32, {20, 24});
    linear.weight = strided(m, 2, JD_F32, {12, 24});
    linear.residual = strided(m, 3, JD_F32, {20, 12});
    linear.out = m.strided_out(JD_F32, {20, 12});
    run(linear, jd_linear);
    jd_layer_norm_args norm{};
    norm.struct_size = sizeof norm;
    norm.eps = 1e-5f;
    norm.x = linear.x;
    norm.weight = rig->tensor(JD_F32, {24}, numbers(4, {24}, JD_F32));
    norm.bias = rig->tensor(JD_F32, {24}, numbers(5, {24}, JD_F32));
    norm.multiplier = strided(m, 6, JD_F32, {20, 24});
    norm.out = m.strided_out(JD_F32, {20, 24});
    run(norm, jd_layer_norm);
    jd_l2_normalize_args unit{};
    unit.struct_size = sizeof unit;
    unit.eps = 1e-5f;
    unit.x = norm.out;
    unit.out = m.strided_out(JD_F32, {20, 24});
    run(unit, jd_l2_normalize);
    return std::vector<jd_tensor>{linear.out, norm.out, unit.out};
  });
}

JD_INSTANTIATE_ON_DEVICES(WideTables);
JD_INSTANTIATE_ON_DEVICES(WideHashTable);

}  // namespace
}  // namespace jindou::testing
