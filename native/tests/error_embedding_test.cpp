// embedding_bag: every rule of jindou/embedding.h, broken one at a time.
#include <functional>

#include "core_fixture.h"

namespace jindou::test {
namespace {

class EmbeddingErrors : public CoreTest {
 protected:
  static constexpr int64_t kBatch = 3, kTotal = 10;

  void SetUp() override {
    CoreTest::SetUp();
    tables = {tensor(JD_F32, {100, 8}), tensor(JD_BF16, {50, 16})};
    desc = good_desc();
    ids = i64({0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
    offsets = i32({0, 2, 4, 6, 7, 8, 10});
    weights = tensor(JD_F32, {kTotal});
    out = tensor(JD_F32, {kBatch, 24});
  }

  jd_embedding_bag_desc good_desc() const {
    jd_embedding_bag_desc d = make<jd_embedding_bag_desc>();
    d.num_tables = 2;
    d.tables = tables.data();
    d.pooling = JD_POOL_SUM;
    d.index_dtype = JD_I64;
    d.offset_dtype = JD_I32;
    d.max_batch = 4;
    d.max_ids = 16;
    return d;
  }
  jd_embedding_bag_args good_args() const {
    jd_embedding_bag_args a = make<jd_embedding_bag_args>();
    a.ids = ids;
    a.offsets = offsets;
    a.out = out;
    return a;
  }

  // A good description with one change is refused; the good one still makes a plan afterwards.
  void refused_plan(std::function<void(jd_embedding_bag_desc &)> change, std::initializer_list<const char *> parts,
                    jd_status expected = JD_INVALID_ARGUMENT) {
    jd_embedding_bag_desc d = good_desc();
    change(d);
    jd_plan plan = 9;
    expect_refused(jd_embedding_bag_plan(device, &d, &plan, &error), expected, error, parts);
    expect_refused(expected, expected, error, {"embedding_bag: "});
    EXPECT_EQ(plan, 0u);
    d = good_desc();
    ASSERT_EQ(jd_embedding_bag_plan(device, &d, &plan, &error), JD_OK) << error.message;
    jd_plan_destroy(plan, nullptr);
  }

  jd_plan good_plan() {
    jd_plan plan = 0;
    EXPECT_EQ(jd_embedding_bag_plan(device, &desc, &plan, &error), JD_OK) << error.message;
    return keep(plan);
  }

  void refused_run(jd_plan plan, std::function<void(jd_embedding_bag_args &)> change,
                   std::initializer_list<const char *> parts, jd_status expected = JD_INVALID_ARGUMENT) {
    jd_embedding_bag_args a = good_args();
    change(a);
    const int64_t runs = state()->runs;
    expect_refused(jd_embedding_bag_run(plan, stream, &a, &error), expected, error, parts);
    expect_refused(expected, expected, error, {"embedding_bag: "});
    EXPECT_EQ(state()->runs, runs) << "nothing may reach the backend";
    a = good_args();
    if (desc.weighted) a.weights = weights;
    ASSERT_EQ(jd_embedding_bag_run(plan, stream, &a, &error), JD_OK) << error.message;
  }

  std::vector<jd_tensor> tables, changed;
  std::vector<int32_t> poolings;
  jd_embedding_bag_desc desc;
  jd_tensor ids, offsets, weights, out;
};

TEST_F(EmbeddingErrors, a_good_call_passes) {
  const jd_embedding_bag_args a = good_args();
  ASSERT_EQ(jd_embedding_bag_run(good_plan(), stream, &a, &error), JD_OK) << error.message;
  const jdb_embedding_bag_args &seen = state()->last_args.embedding_bag;
  EXPECT_EQ(seen.batch, kBatch);
  EXPECT_EQ(seen.ids.data, data<void>(ids));
  EXPECT_EQ(seen.weights.dtype, 0);
  EXPECT_EQ(seen.out.shape[1], 24);
}

TEST_F(EmbeddingErrors, descriptions) {
  using D = jd_embedding_bag_desc;
  refused_plan([](D &d) { d.struct_size = 8; }, {"argument 'desc'", "struct_size", "got 8"});
  refused_plan([](D &d) { d.struct_size += 8; }, {"argument 'desc'", "struct_size"});
  refused_plan([](D &d) { d.num_tables = 0; }, {"argument 'num_tables'", "1..4096", "got 0"});
  refused_plan([](D &d) { d.num_tables = 4097; }, {"argument 'num_tables'", "got 4097"});
  refused_plan([](D &d) { d.tables = nullptr; }, {"argument 'tables'", "NULL"});
  refused_plan([](D &d) { d.pooling = 4; }, {"argument 'pooling'", "0..3", "got 4"});
  refused_plan([](D &d) { d.bounds = 3; }, {"argument 'bounds'", "0..2", "got 3"});
  refused_plan([](D &d) { d.bounds = -1; }, {"argument 'bounds'", "got -1"});
  refused_plan([](D &d) { d.mean_denominator = 2; }, {"argument 'mean_denominator'", "got 2"});
  refused_plan([](D &d) { d.index_dtype = JD_F32; }, {"argument 'index_dtype'", "i32 or i64", "got f32"});
  refused_plan([](D &d) { d.index_dtype = 0; }, {"argument 'index_dtype'"});
  refused_plan([](D &d) { d.offset_dtype = JD_I8; }, {"argument 'offset_dtype'", "i32 or i64", "got i8"});
  refused_plan([](D &d) { d.out_dtype = JD_I32; }, {"argument 'out_dtype'", "f32, f16, bf16 or i8", "got i32"});
  refused_plan([](D &d) { d.split_out = 2; }, {"argument 'split_out'", "0..1", "got 2"});
  refused_plan([](D &d) { d.reserved = 1; }, {"argument 'reserved'"});
  refused_plan([](D &d) { d.weighted = 2; }, {"argument 'weighted'", "0..1", "got 2"});
  refused_plan([](D &d) { d.has_padding_id = -1; }, {"argument 'has_padding_id'", "got -1"});
  refused_plan([](D &d) { d.max_batch = -1; }, {"argument 'max_batch'", "got -1"});
  refused_plan([](D &d) { d.max_batch = 1 << 30; }, {"argument 'max_batch'", "0..1073741823"});
  refused_plan([](D &d) { d.max_ids = -1; }, {"argument 'max_ids'", "got -1"});
  refused_plan([](D &d) { d.max_ids = int64_t{1} << 31; }, {"argument 'max_ids'", "0..2147483647"});
  jd_plan plan = 9;
  expect_refused(jd_embedding_bag_plan(device, nullptr, &plan, &error), JD_INVALID_ARGUMENT, error,
                 {"argument 'desc'", "NULL"});
  expect_refused(jd_embedding_bag_plan(device, &desc, nullptr, &error), JD_INVALID_ARGUMENT, error,
                 {"argument 'plan'", "NULL"});
  expect_refused(jd_embedding_bag_plan(0, &desc, &plan, &error), JD_INVALID_HANDLE, error,
                 {"argument 'device'", "null handle"});
}

TEST_F(EmbeddingErrors, tables) {
  using D = jd_embedding_bag_desc;
  const auto table = [&](jd_tensor second) {
    return [this, second](D &d) {
      changed = {tables[0], second};
      d.tables = changed.data();
    };
  };
  refused_plan(table(0), {"argument 'tables[1]'", "null handle"}, JD_INVALID_HANDLE);
  refused_plan(table(closed_tensor()), {"argument 'tables[1]'", "closed handle"}, JD_CLOSED);
  refused_plan(table(stream), {"argument 'tables[1]'", "handle of a stream"}, JD_INVALID_HANDLE);
  refused_plan(table(tensor(JD_I8, {50, 16})), {"argument 'tables[1]'", "f32, f16, bf16 or f8_e4m3", "got i8"});
  refused_plan(table(tensor(JD_F32, {16})), {"argument 'tables[1]'", "rank 2", "got rank 1"});
  refused_plan(table(tensor(JD_F32, {50, 6})), {"argument 'tables[1]'", "multiple of 4 columns in 4..2048", "[50, 6]"});
  refused_plan(table(tensor(JD_F32, {50, 0})), {"argument 'tables[1]'", "[50, 0]"});
  refused_plan(table(tensor(JD_F32, {2, 2052})), {"argument 'tables[1]'", "[2, 2052]"});
  refused_plan(table(tensor(JD_F32, {50, 8}, {16, 2})), {"argument 'tables[1]'", "stride 1", "[16, 2]"});
  refused_plan(table(tensor(JD_F32, {50, 8}, {4, 1})), {"argument 'tables[1]'", "row stride of at least 8", "[4, 1]"});
  refused_plan(table(tensor(JD_F32, {50, 8}, {9, 1})), {"argument 'tables[1]'", "multiple of 4", "[9, 1]"});
  refused_plan(table(tensor(JD_F32, {50, 8}, {}, 8)), {"argument 'tables[1]'", "aligned to 16 bytes"});

  jd_device other;
  ASSERT_EQ(jd_device_open("cpu", nullptr, &other, &error), JD_OK);
  alignas(64) float memory[32] = {};
  const jd_tensor foreign = wrap(other, memory, JD_F32, {4, 8});
  refused_plan(table(foreign), {"argument 'tables[1]'", "belongs to device", "the plan to device"}, JD_INVALID_HANDLE);
  jd_tensor_destroy(foreign, nullptr);
  jd_device_close(other, nullptr);
}

TEST_F(EmbeddingErrors, row_formats_and_dims) {
  using D = jd_embedding_bag_desc;
  std::vector<int32_t> formats, dims;
  // The second table as rows of codes; the first stays plain and its dim is not read.
  const auto rows = [&](jd_tensor second, int32_t format, int32_t dim) {
    return [&, second, format, dim](D &d) {
      changed = {tables[0], second};
      formats = {JD_ROWS_PLAIN, format};
      dims = {-7, dim};
      d.tables = changed.data();
      d.row_formats = formats.data();
      d.dims = dims.data();
    };
  };
  const jd_tensor bytes = tensor(JD_U8, {50, 20});
  refused_plan(rows(bytes, 8, 16), {"argument 'row_formats[1]'", "0..7", "got 8"});
  refused_plan(rows(bytes, -1, 16), {"argument 'row_formats[1]'", "got -1"});
  refused_plan(rows(bytes, JD_ROWS_PLAIN, 16), {"argument 'tables[1]'", "f8_e4m3", "got u8"});
  refused_plan(rows(tensor(JD_F32, {50, 20}), JD_ROWS_INT8, 16), {"argument 'tables[1]'", "dtype u8", "got f32"});
  refused_plan(rows(bytes, JD_ROWS_INT8, 0), {"argument 'dims[1]'", "multiple of 4 in 4..2048", "got 0"});
  refused_plan(rows(bytes, JD_ROWS_INT8, 14), {"argument 'dims[1]'", "got 14"});
  refused_plan(rows(bytes, JD_ROWS_INT8, 2052), {"argument 'dims[1]'", "got 2052"});
  refused_plan(rows(tensor(JD_U8, {50}), JD_ROWS_INT8, 16), {"argument 'tables[1]'", "rank 2"});
  refused_plan(rows(tensor(JD_U8, {50, 20}, {40, 2}), JD_ROWS_INT8, 16), {"argument 'tables[1]'", "stride 1"});
  refused_plan(rows(tensor(JD_U8, {50, 20}, {19, 1}), JD_ROWS_INT8, 16), {"argument 'tables[1]'", "at least 20 bytes", "[19, 1]"});
  refused_plan(
      [&](D &d) {
        rows(bytes, JD_ROWS_INT8, 16)(d);
        d.dims = nullptr;
      },
      {"argument 'dims'", "expected a pointer", "NULL"});
  // One byte too few, format by format; with that byte it is fine.
  const struct {
    int32_t format;
    int64_t bytes;
  } kLeast[] = {{JD_ROWS_INT8, 36},      {JD_ROWS_INT4, 20},      {JD_ROWS_INT2, 12}, {JD_ROWS_INT8_FLOAT, 40},
                {JD_ROWS_INT4_LAST, 20}, {JD_ROWS_INT2_LAST, 12}, {JD_ROWS_E4M3, 36}};
  for (const auto &least : kLeast) {
    const std::string wanted = "at least " + std::to_string(least.bytes) + " bytes";
    refused_plan(rows(tensor(JD_U8, {3, least.bytes - 1}), least.format, 32),
                 {"argument 'tables[1]'", wanted.c_str(), "dims[1] = 32"});
    desc = good_desc();
    rows(tensor(JD_U8, {3, least.bytes}), least.format, 32)(desc);
    good_plan();
  }
  // Tables of one dim for pooling none, whatever their formats.
  desc = good_desc();
  rows(tensor(JD_U8, {3, 12}), JD_ROWS_INT8, 8)(desc);
  desc.pooling = JD_POOL_NONE;
  good_plan();
  refused_plan(
      [&](D &d) {
        rows(tensor(JD_U8, {3, 16}), JD_ROWS_INT8, 12)(d);
        d.pooling = JD_POOL_NONE;
      },
      {"argument 'tables[1]'", "dimension 8", "got 12"});
}

TEST_F(EmbeddingErrors, functions_from_ids_to_rows) {
  using D = jd_embedding_bag_desc;
  std::vector<jd_table_keys> keys;
  std::vector<jd_key_function> functions;
  // The second table, of 50 rows, with these functions.
  const auto with = [&](std::vector<jd_key_function> given, int32_t combine = JD_KEYS_SUM, int32_t pooling = JD_POOL_SUM) {
    return [&, given, combine, pooling](D &d) {
      functions = given;
      keys = {{0, 77, nullptr}, {static_cast<int32_t>(functions.size()), combine, functions.data()}};
      d.table_keys = keys.data();
      d.pooling = pooling;
      if (pooling != JD_POOL_NONE) return;
      changed = {tables[0], tensor(JD_F32, {50, 8})};
      d.tables = changed.data();
    };
  };
  const jd_key_function hash{JD_KEY_HASH, 0, 0, 0, 0, 1}, row{JD_KEY_ROW, 0, 0, 0, 0, 0};
  desc = good_desc();
  with({hash, row, {JD_KEY_QUOTIENT, 0, 10, 40, 7, 0}, {JD_KEY_MODULO, 0, 49, 1, 0, 0}})(desc);
  good_plan();
  desc = good_desc();
  with({hash, row}, JD_KEYS_CONCAT, JD_POOL_MAX)(desc);
  out = tensor(JD_F32, {kBatch, 8 + 2 * 16});
  const jd_embedding_bag_args wider = good_args();
  EXPECT_EQ(jd_embedding_bag_run(good_plan(), stream, &wider, &error), JD_OK) << error.message;
  refused_plan(with(std::vector<jd_key_function>(9, hash)), {"argument 'table_keys[1].num_functions'", "0..8", "got 9"});
  refused_plan(with({hash, hash}, 2), {"argument 'table_keys[1].combine'", "0..1", "got 2"});
  refused_plan([&](D &d) { with({hash})(d), keys[1].functions = nullptr; }, {"argument 'table_keys[1].functions'", "NULL"});
  refused_plan(with({hash, {4, 0, 0, 0, 0, 0}}), {"argument 'table_keys[1].functions[1].kind'", "0..3", "got 4"});
  refused_plan(with({{JD_KEY_ROW, 1, 0, 0, 0, 0}}), {"argument 'table_keys[1].functions[0].reserved'"});
  refused_plan(with({{JD_KEY_ROW, 0, 51, 0, 0, 0}}), {"functions[0].first_row'", "0..50", "got 51"});
  refused_plan(with({{JD_KEY_ROW, 0, -1, 0, 0, 0}}), {"functions[0].first_row'", "got -1"});
  refused_plan(with({{JD_KEY_HASH, 0, 20, 31, 0, 0}}), {"functions[0].num_rows'", "0..30", "got 31"});
  refused_plan(with({{JD_KEY_HASH, 0, 50, 0, 0, 0}}), {"functions[0].num_rows'", "at least one row", "has 50"});
  refused_plan(with({{JD_KEY_MODULO, 0, 50, 0, 0, 0}}), {"functions[0].num_rows'", "at least one row"});
  refused_plan(with({{JD_KEY_QUOTIENT, 0, 0, 0, 0, 0}}), {"functions[0].divisor'", "got 0"});
  refused_plan(with({{JD_KEY_MODULO, 0, 0, 0, 3, 0}}), {"functions[0].divisor'", "expected 0"});
  refused_plan(with({{JD_KEY_MODULO, 0, 0, 0, 0, 3}}), {"functions[0].seed'", "expected 0"});
  refused_plan(with({hash, hash}, JD_KEYS_SUM, JD_POOL_MAX), {"argument 'table_keys[1].num_functions'", "sum or mean", "got 2"});
  refused_plan(with({hash, hash}, JD_KEYS_SUM, JD_POOL_NONE), {"argument 'table_keys[1].num_functions'", "got 2"});
  refused_plan(with({hash, hash, hash}, JD_KEYS_CONCAT, JD_POOL_NONE), {"table_keys[1].num_functions'", "sequence_embedding", "got 3"});
  desc = good_desc();
  with({hash}, JD_KEYS_SUM, JD_POOL_NONE)(desc);
  good_plan();
}

TEST_F(EmbeddingErrors, pooling_of_each_table) {
  using D = jd_embedding_bag_desc;
  const auto pooling = [&](int32_t first, int32_t second) {
    return [this, first, second](D &d) {
      poolings = {first, second};
      d.table_pooling = poolings.data();
    };
  };
  refused_plan(pooling(JD_POOL_SUM, 9), {"argument 'table_pooling[1]'", "got 9"});
  refused_plan(pooling(JD_POOL_SUM, JD_POOL_NONE), {"argument 'table_pooling[1]'", "JD_POOL_NONE for all", "split_out", "got 3 beside 0"});
  refused_plan(pooling(JD_POOL_NONE, JD_POOL_MEAN), {"argument 'table_pooling[1]'", "JD_POOL_NONE for all"});
  refused_plan(pooling(JD_POOL_NONE, JD_POOL_NONE), {"argument 'tables[1]'", "dimension 8", "split_out", "got 16"});
  poolings = {JD_POOL_MEAN, JD_POOL_MAX};
  desc.table_pooling = poolings.data();
  desc.pooling = 77;  // not read
  good_plan();
}

TEST_F(EmbeddingErrors, handles_of_a_run) {
  using A = jd_embedding_bag_args;
  const jd_plan plan = good_plan();
  const jd_tensor closed = closed_tensor();
  refused_run(
      plan, [](A &a) { a.ids = 0; }, {"argument 'ids'", "null handle"}, JD_INVALID_HANDLE);
  refused_run(
      plan, [](A &a) { a.offsets = 0; }, {"argument 'offsets'", "null handle"}, JD_INVALID_HANDLE);
  refused_run(
      plan, [](A &a) { a.out = 0; }, {"argument 'out'", "null handle"}, JD_INVALID_HANDLE);
  refused_run(
      plan, [&](A &a) { a.ids = closed; }, {"argument 'ids'", "expected an open tensor, got a closed handle"},
      JD_CLOSED);
  refused_run(
      plan, [&](A &a) { a.weights = closed; }, {"argument 'weights'", "closed"}, JD_CLOSED);
  refused_run(
      plan, [&](A &a) { a.out = plan; }, {"argument 'out'", "handle of a plan"}, JD_INVALID_HANDLE);
  refused_run(plan, [](A &a) { a.struct_size = 12; }, {"argument 'args'", "struct_size", "got 12"});
  refused_run(plan, [](A &a) { a.reserved = 1; }, {"argument 'reserved'", "expected 0", "got 1"});
  expect_refused(jd_embedding_bag_run(plan, stream, nullptr, &error), JD_INVALID_ARGUMENT, error,
                 {"argument 'args'", "NULL"});
  const jd_embedding_bag_args a = good_args();
  expect_refused(jd_embedding_bag_run(0, stream, &a, &error), JD_INVALID_HANDLE, error, {"argument 'plan'"});
  expect_refused(jd_embedding_bag_run(plan, 0, &a, &error), JD_INVALID_HANDLE, error, {"argument 'stream'"});
  expect_refused(jd_embedding_bag_run(stream, stream, &a, &error), JD_INVALID_HANDLE, error,
                 {"argument 'plan'", "a stream"});
  jd_target_attention_args wrong = make<jd_target_attention_args>();
  expect_refused(jd_target_attention_run(plan, stream, &wrong, &error), JD_INVALID_HANDLE, error,
                 {"expected a plan of target_attention, got a plan of embedding_bag"});
}

TEST_F(EmbeddingErrors, foreign_devices_of_a_run) {
  const jd_plan plan = good_plan();
  jd_device other;
  jd_stream other_stream;
  ASSERT_EQ(jd_device_open("cpu", nullptr, &other, &error), JD_OK);
  ASSERT_EQ(jd_stream_create(other, &other_stream, &error), JD_OK);
  const jd_embedding_bag_args a = good_args();
  expect_refused(jd_embedding_bag_run(plan, other_stream, &a, &error), JD_INVALID_HANDLE, error,
                 {"argument 'stream'", "belongs to device cpu (#", "but the plan to device cpu (#"});
  int64_t memory[10] = {};
  const jd_tensor foreign = wrap(other, memory, JD_I64, {10});
  refused_run(
      plan, [&](jd_embedding_bag_args &b) { b.ids = foreign; },
      {"argument 'ids'", "belongs to device", "but the stream to device"}, JD_INVALID_HANDLE);
  jd_tensor_destroy(foreign, nullptr);
  jd_stream_destroy(other_stream, nullptr);
  jd_device_close(other, nullptr);
}

TEST_F(EmbeddingErrors, tensors_of_a_run) {
  using A = jd_embedding_bag_args;
  const jd_plan plan = good_plan();
  refused_run(plan, [&](A &a) { a.ids = tensor(JD_I32, {10}); }, {"argument 'ids'", "dtype i64", "got i32"});
  refused_run(plan, [&](A &a) { a.ids = tensor(JD_I64, {10, 1}); }, {"argument 'ids'", "rank 1", "got rank 2"});
  refused_run(plan, [&](A &a) { a.ids = tensor(JD_I64, {10}, {2}); }, {"argument 'ids'", "stride 1", "[2]"});
  refused_run(plan, [&](A &a) { a.ids = tensor(JD_I64, {17}); }, {"argument 'ids'", "at most 16 ids", "got 17"});
  refused_run(plan, [&](A &a) { a.offsets = tensor(JD_I64, {7}); }, {"argument 'offsets'", "dtype i32", "got i64"});
  refused_run(plan, [&](A &a) { a.offsets = tensor(JD_I32, {7, 1}); }, {"argument 'offsets'", "rank 1"});
  refused_run(plan, [&](A &a) { a.offsets = tensor(JD_I32, {6}); },
              {"argument 'offsets'", "T * B + 1", "T = 2", "got 6"});
  refused_run(plan, [&](A &a) { a.offsets = tensor(JD_I32, {0}); }, {"argument 'offsets'", "got 0"});
  refused_run(plan, [&](A &a) { a.offsets = tensor(JD_I32, {11}); },
              {"argument 'offsets'", "batch of at most 4", "got 5"});
  refused_run(plan, [&](A &a) { a.offsets = tensor(JD_I32, {7}, {0}); }, {"argument 'offsets'", "stride 1"});
  refused_run(plan, [&](A &a) { a.weights = weights; }, {"argument 'weights'", "no tensor", "not weighted"});
  refused_run(plan, [&](A &a) { a.out = tensor(JD_F16, {3, 24}); }, {"argument 'out'", "dtype f32", "got f16"});
  refused_run(plan, [&](A &a) { a.out = tensor(JD_F32, {3, 23}); }, {"argument 'out'", "[3, 24]", "got [3, 23]"});
  refused_run(plan, [&](A &a) { a.out = tensor(JD_F32, {4, 24}); }, {"argument 'out'", "[3, 24]", "got [4, 24]"});
  refused_run(plan, [&](A &a) { a.out = tensor(JD_F32, {72}); }, {"argument 'out'", "rank 2", "rank 1"});
  refused_run(plan, [&](A &a) { a.out = tensor(JD_F32, {3, 24}, {48, 2}); }, {"argument 'out'", "stride 1"});
  refused_run(plan,
              [&](A &a) {
                a.out = tensor(JD_F32, {3, 24}, {26, 1});
              },
              {"argument 'out'", "multiples of 16 bytes (4 elements of f32)", "[26, 1]"});
  refused_run(plan, [&](A &a) { a.out = tensor(JD_F32, {3, 24}, {}, 4); }, {"argument 'out'", "aligned to 16 bytes"});
  refused_run(plan,
              [&](A &a) {
                a.out = tensor(JD_F32, {3, 24}, {20, 1});
              },
              {"argument 'out'", "an address of its own", "[20, 1]"});
  refused_run(plan,
              [&](A &a) {
                a.out = tensor(JD_F32, {3, 24}, {0, 1});
              },
              {"argument 'out'", "an address of its own"});
}

TEST_F(EmbeddingErrors, weights_of_a_weighted_plan) {
  using A = jd_embedding_bag_args;
  desc.weighted = 1;
  const jd_plan plan = good_plan();
  refused_run(plan, [](A &) {}, {"argument 'weights'", "expected a tensor", "the plan is weighted", "got none"});
  refused_run(plan, [&](A &a) { a.weights = tensor(JD_F32, {9}); }, {"argument 'weights'", "[10]", "[9]"});
  refused_run(plan, [&](A &a) { a.weights = tensor(JD_BF16, {10}); }, {"argument 'weights'", "f32", "bf16"});
  refused_run(plan, [&](A &a) { a.weights = tensor(JD_F32, {10}, {2}); }, {"argument 'weights'", "stride 1"});
}

TEST_F(EmbeddingErrors, out_apart_from_everything) {
  using A = jd_embedding_bag_args;
  const jd_plan plan = good_plan();
  const auto out_at = [&](void *at) { return wrap(device, at, JD_F32, {3, 24}); };
  refused_run(plan, [&](A &a) { a.out = out_at(data<void>(tables[0])); }, {"argument 'out'", "tables[0]"});
  refused_run(plan, [&](A &a) { a.out = out_at(data<char>(tables[1]) + 64); }, {"argument 'out'", "tables[1]"});
  const jd_tensor block = tensor(JD_U8, {4096});
  refused_run(plan,
              [&](A &a) {
                a.out = out_at(data<void>(block));
                a.ids = wrap(device, data<char>(block) + 3 * 24 * 4 - 8, JD_I64, {10});
              },
              {"argument 'out'", "apart from 'ids'"});
  refused_run(plan,
              [&](A &a) {
                a.out = out_at(data<void>(block));
                a.offsets = wrap(device, data<char>(block), JD_I32, {7});
              },
              {"argument 'out'", "apart from 'offsets'"});
}

TEST_F(EmbeddingErrors, offsets_are_checked_before_anything_runs) {
  using A = jd_embedding_bag_args;
  for (const int32_t bounds : {JD_BOUNDS_STRICT, JD_BOUNDS_ZERO, JD_BOUNDS_TRUST}) {
    desc = good_desc();
    desc.bounds = bounds;
    const jd_plan plan = good_plan();
    refused_run(plan,
                [&](A &a) {
                  a.offsets = i32({1, 2, 4, 6, 7, 8, 10});
                },
                {"argument 'offsets'", "first offset to be 0", "got 1"});
    refused_run(plan,
                [&](A &a) {
                  a.offsets = i32({0, 2, 5, 4, 7, 8, 10});
                },
                {"argument 'offsets'", "non-decreasing", "got 4 after 5 at position 3"});
    refused_run(plan,
                [&](A &a) {
                  a.offsets = i32({0, 2, 4, 6, 7, 8, 11});
                },
                {"argument 'offsets'", "at most 10", "'ids'", "got 11 at position 6"});
    refused_run(plan,
                [&](A &a) {
                  a.offsets = i32({0, 2, 4, 6, 7, 8, 9});
                },
                {"argument 'offsets'", "last offset to be 10", "got 9 at position 6"});
    refused_run(plan,
                [&](A &a) {
                  a.offsets = i32({0, -2, 4, 6, 7, 8, 10});
                },
                {"argument 'offsets'", "got -2 after 0 at position 1"});
    refused_run(plan,
                [&](A &a) {
                  a.offsets = i32({0, INT32_MIN, INT32_MAX, 6, 7, 8, 10});
                },
                {"argument 'offsets'", "at position 1"});
  }
  desc = good_desc();
  desc.offset_dtype = JD_I64;
  offsets = i64({0, 2, 4, 6, 7, 8, 10});
  const jd_plan plan = good_plan();
  refused_run(plan,
              [&](A &a) {
                a.offsets = i64({0, INT64_MAX, INT64_MIN, 6, 7, 8, 10});
              },
              {"at most 10", "got 9223372036854775807 at position 1"});
  refused_run(plan, [&](A &a) { a.offsets = i64({0, INT64_MIN, 4, 6, 7, 8, 10}); }, {"at position 1"});
  refused_run(plan, [&](A &a) { a.offsets = i64({0, 2, 4, INT64_MIN, INT64_MAX, 8, 10}); }, {"at position 3"});
}

TEST_F(EmbeddingErrors, a_replayed_graph_checks_what_its_offsets_hold_then) {
  const jd_plan plan = good_plan();
  const jd_embedding_bag_args a = good_args();
  data<int32_t>(offsets)[2] = 1;  // bad while capturing: nobody looks
  jd_graph graph;
  ASSERT_EQ(jd_stream_begin_capture(stream, &error), JD_OK);
  ASSERT_EQ(jd_embedding_bag_run(plan, stream, &a, &error), JD_OK) << error.message;
  ASSERT_EQ(jd_stream_end_capture(stream, &graph, &error), JD_OK);
  expect_refused(jd_graph_launch(graph, stream, &error), JD_INVALID_ARGUMENT, error,
                 {"embedding_bag: argument 'offsets'", "got 1 after 2 at position 2"});
  data<int32_t>(offsets)[2] = 4;
  EXPECT_EQ(jd_graph_launch(graph, stream, &error), JD_OK) << error.message;
  jd_graph_destroy(graph, nullptr);
}

TEST_F(EmbeddingErrors, empty_batches_and_empty_tables_are_fine) {
  tables = {tensor(JD_F32, {0, 8}), tensor(JD_F16, {1, 16})};
  desc = good_desc();
  jd_embedding_bag_args a = good_args();
  a.ids = tensor(JD_I64, {0});
  a.offsets = i32({0});
  a.out = tensor(JD_F32, {0, 24});
  EXPECT_EQ(jd_embedding_bag_run(good_plan(), stream, &a, &error), JD_OK) << error.message;
  EXPECT_EQ(state()->last_args.embedding_bag.batch, 0);
}

TEST_F(EmbeddingErrors, a_plan_keeps_its_tables) {
  const int64_t shape[2] = {100, 8};
  jd_tensor table;
  ASSERT_EQ(jd_tensor_create(device, JD_F32, 2, shape, &table, &error), JD_OK);
  tables = {table, table};
  desc = good_desc();
  jd_plan plan;
  ASSERT_EQ(jd_embedding_bag_plan(device, &desc, &plan, &error), JD_OK);
  jd_tensor_destroy(table, nullptr);
  EXPECT_EQ(state()->allocations, 1);
  jd_embedding_bag_args a = good_args();
  a.out = tensor(JD_F32, {3, 16});
  EXPECT_EQ(jd_embedding_bag_run(plan, stream, &a, &error), JD_OK) << error.message;
  jd_plan_destroy(plan, nullptr);
  EXPECT_EQ(state()->allocations, 0);
}

TEST_F(EmbeddingErrors, pooling_none_wants_a_row_an_id) {
  tables = {tensor(JD_F32, {100, 8}), tensor(JD_F32, {100, 8})};
  desc = good_desc();
  desc.pooling = JD_POOL_NONE;
  const jd_plan plan = good_plan();
  jd_embedding_bag_args a = good_args();
  expect_refused(jd_embedding_bag_run(plan, stream, &a, &error), JD_INVALID_ARGUMENT, error,
                 {"argument 'out'", "[10, 8]", "[3, 24]"});
  a.out = tensor(JD_F32, {10, 8});
  EXPECT_EQ(jd_embedding_bag_run(plan, stream, &a, &error), JD_OK) << error.message;
}

TEST_F(EmbeddingErrors, pooling_none_in_blocks_wants_room_for_the_widest) {
  desc.pooling = JD_POOL_NONE;  // dims 8 and 16
  desc.split_out = 1;
  const jd_plan plan = good_plan();
  out = tensor(JD_F32, {160});
  refused_run(plan, [&](auto &a) { a.out = tensor(JD_F32, {159}); },
              {"argument 'out'", "at least 160", "10 ids", "16 columns", "got 159"});
  refused_run(plan, [&](auto &a) { a.out = tensor(JD_F32, {10, 16}); }, {"argument 'out'", "rank 1"});
  refused_run(plan, [&](auto &a) { a.out = tensor(JD_F16, {160}); }, {"argument 'out'", "dtype"});
  refused_run(plan, [&](auto &a) { a.out_scales = tensor(JD_F32, {10, 1}); }, {"argument 'out_scales'", "not i8"});
  out = tensor(JD_F32, {161});
  const jd_embedding_bag_args a = good_args();
  EXPECT_EQ(jd_embedding_bag_run(plan, stream, &a, &error), JD_OK) << error.message;
}

TEST_F(EmbeddingErrors, pooling_beside_none_wants_blocks) {
  poolings = {JD_POOL_SUM, JD_POOL_NONE};  // dims 8 and 16
  desc.table_pooling = poolings.data();
  desc.pooling = 77;  // not read
  desc.split_out = 1;
  const jd_plan plan = good_plan();
  out = tensor(JD_F32, {kBatch * 8 + 160});
  refused_run(plan, [&](auto &a) { a.out = tensor(JD_F32, {kBatch * 8 + 159}); },
              {"argument 'out'", "at least 184", "3 rows of 8 pooled columns", "10 ids", "16 columns", "got 183"});
  refused_run(plan, [&](auto &a) { a.out = tensor(JD_F32, {kBatch, 24}); }, {"argument 'out'", "rank 1"});
  refused_run(plan, [&](auto &a) { a.out = tensor(JD_F16, {184}); }, {"argument 'out'", "dtype"});
  refused_run(plan, [&](auto &a) { a.out_scales = tensor(JD_F32, {13}); }, {"argument 'out_scales'", "not i8"});
  const jd_embedding_bag_args a = good_args();
  EXPECT_EQ(jd_embedding_bag_run(plan, stream, &a, &error), JD_OK) << error.message;

  desc.out_dtype = JD_I8;
  const jd_plan codes = good_plan();
  jd_embedding_bag_args b = good_args();
  b.out = tensor(JD_I8, {184});
  for (const std::vector<int64_t> &shape : {std::vector<int64_t>{kBatch, 1}, {10, 1}}) {
    b.out_scales = tensor(JD_F32, shape);
    expect_refused(jd_embedding_bag_run(codes, stream, &b, &error), JD_INVALID_ARGUMENT, error, {"argument 'out_scales'", "rank 1"});
  }
  b.out_scales = tensor(JD_F32, {12});
  expect_refused(jd_embedding_bag_run(codes, stream, &b, &error), JD_INVALID_ARGUMENT, error, {"argument 'out_scales'", "[13]", "[12]"});
  b.out_scales = tensor(JD_F32, {13});
  EXPECT_EQ(jd_embedding_bag_run(codes, stream, &b, &error), JD_OK) << error.message;
}

TEST_F(EmbeddingErrors, pooling_none_in_codes_wants_a_scale_an_id) {
  desc.pooling = JD_POOL_NONE;
  desc.split_out = 1;
  desc.out_dtype = JD_I8;
  const jd_plan plan = good_plan();
  jd_embedding_bag_args a = good_args();
  a.out = tensor(JD_I8, {160});
  expect_refused(jd_embedding_bag_run(plan, stream, &a, &error), JD_INVALID_ARGUMENT, error, {"argument 'out_scales'", "out_dtype is i8"});
  a.out_scales = tensor(JD_F32, {kBatch, 2});
  expect_refused(jd_embedding_bag_run(plan, stream, &a, &error), JD_INVALID_ARGUMENT, error, {"argument 'out_scales'", "[10, 1]", "[3, 2]"});
  a.out_scales = tensor(JD_F32, {10, 1});
  EXPECT_EQ(jd_embedding_bag_run(plan, stream, &a, &error), JD_OK) << error.message;
}

}  // namespace
}  // namespace jindou::test
