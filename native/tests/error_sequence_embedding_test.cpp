// sequence_embedding: every rule of jindou/sequence_embedding.h, broken one at a time.
#include <cmath>
#include <functional>

#include "core_fixture.h"

namespace jindou::test {
namespace {

// 3 sequences of 10 events, 2 tables of 8 and 16.
class SequenceEmbeddingErrors : public CoreTest {
 protected:
  using Desc = jd_sequence_embedding_desc;
  using Args = jd_sequence_embedding_args;

  void SetUp() override {
    CoreTest::SetUp();
    tables = {tensor(JD_F32, {100, 8}), tensor(JD_BF16, {50, 16})};
    twins = {tables[0], tensor(JD_F16, {7, 8})};
    desc = make<Desc>();
    desc.num_tables = 2;
    desc.tables = tables.data();
    desc.index_dtype = JD_I64;
    desc.offset_dtype = JD_I32;
    desc.position_table = tensor(JD_F32, {5, 24});
    desc.time_table = tensor(JD_BF16, {6, 24});
    desc.scale = 1;
    desc.time_unit = 60;
    desc.has_num_targets = 1;
    desc.has_query_times = 1;
    desc.max_batch = 4;
    desc.max_events = 12;
    args = make<Args>();
    args.ids = tensor(JD_I64, {2, 10});
    args.offsets = i32({0, 4, 4, 10});
    args.timestamps = tensor(JD_I64, {10});
    args.query_times = tensor(JD_I64, {3});
    args.num_targets = tensor(JD_I32, {3});
    args.out = tensor(JD_F32, {10, 24});
  }
  void refused_plan(std::function<void(Desc &)> change, std::initializer_list<const char *> parts,
                    jd_status expected = JD_INVALID_ARGUMENT) {
    Desc d = desc;
    change(d);
    jd_plan plan = 9;
    expect_refused(jd_sequence_embedding_plan(device, &d, &plan, &error), expected, error, parts);
    expect_refused(expected, expected, error, {"sequence_embedding: "});
    EXPECT_EQ(plan, 0u);
    ASSERT_EQ(jd_sequence_embedding_plan(device, &desc, &plan, &error), JD_OK) << error.message;
    jd_plan_destroy(plan, nullptr);
  }
  jd_plan good_plan() {
    jd_plan plan = 0;
    EXPECT_EQ(jd_sequence_embedding_plan(device, &desc, &plan, &error), JD_OK) << error.message;
    return keep(plan);
  }
  void refused_run(std::function<void(Args &)> change, std::initializer_list<const char *> parts,
                   jd_status expected = JD_INVALID_ARGUMENT) {
    const jd_plan plan = good_plan();
    Args a = args;
    change(a);
    const int64_t runs = state()->runs;
    expect_refused(jd_sequence_embedding_run(plan, stream, &a, &error), expected, error, parts);
    expect_refused(expected, expected, error, {"sequence_embedding: "});
    EXPECT_EQ(state()->runs, runs) << "nothing may reach the backend";
    ASSERT_EQ(jd_sequence_embedding_run(plan, stream, &args, &error), JD_OK) << error.message;
  }

  std::vector<jd_tensor> tables, twins, changed;
  std::vector<int32_t> formats, dims;
  Desc desc;
  Args args;
};

TEST_F(SequenceEmbeddingErrors, a_good_call_passes) {
  ASSERT_EQ(jd_sequence_embedding_run(good_plan(), stream, &args, &error), JD_OK) << error.message;
  EXPECT_EQ(state()->last_args.sequence_embedding.batch, 3);
  desc.position_table = desc.time_table = 0;
  desc.has_num_targets = desc.has_query_times = 0;
  desc.time_unit = 0;
  args.timestamps = args.query_times = args.num_targets = 0;
  ASSERT_EQ(jd_sequence_embedding_run(good_plan(), stream, &args, &error), JD_OK) << error.message;
  EXPECT_EQ(state()->last_args.sequence_embedding.timestamps.dtype, 0);
  desc.tables = twins.data();
  desc.combine = JD_SEQUENCE_SUM;
  args.out = tensor(JD_F32, {10, 8});
  ASSERT_EQ(jd_sequence_embedding_run(good_plan(), stream, &args, &error), JD_OK) << error.message;
}

TEST_F(SequenceEmbeddingErrors, descriptions) {
  refused_plan([](Desc &d) { d.struct_size = 8; }, {"struct_size"});
  refused_plan([](Desc &d) { d.num_tables = 0; }, {"argument 'num_tables'", "1..256", "got 0"});
  refused_plan([](Desc &d) { d.num_tables = 257; }, {"argument 'num_tables'", "got 257"});
  refused_plan([](Desc &d) { d.tables = nullptr; }, {"argument 'tables'", "NULL"});
  refused_plan([](Desc &d) { d.combine = 2; }, {"argument 'combine'", "0..1", "got 2"});
  refused_plan([](Desc &d) { d.bounds = 3; }, {"argument 'bounds'", "0..2", "got 3"});
  refused_plan([](Desc &d) { d.index_dtype = JD_F32; }, {"argument 'index_dtype'", "i32 or i64", "got f32"});
  refused_plan([](Desc &d) { d.offset_dtype = 0; }, {"argument 'offset_dtype'", "i32 or i64"});
  refused_plan([](Desc &d) { d.out_dtype = JD_I32; }, {"argument 'out_dtype'", "f32, f16 or bf16", "got i32"});
  refused_plan([](Desc &d) { d.has_padding_id = 2; }, {"argument 'has_padding_id'", "0..1", "got 2"});
  refused_plan([](Desc &d) { d.scale = NAN; }, {"argument 'scale'", "finite"});
  refused_plan([](Desc &d) { d.position_mode = -1; }, {"argument 'position_mode'", "0..1", "got -1"});
  refused_plan([](Desc &d) { d.contextual_len = -1; }, {"argument 'contextual_len'", "got -1"});
  refused_plan([](Desc &d) { d.time_function = 2; }, {"argument 'time_function'", "0..1", "got 2"});
  refused_plan([](Desc &d) { d.max_time_bucket = -1; }, {"argument 'max_time_bucket'", "got -1"});
  refused_plan([](Desc &d) { d.max_time_bucket = 6; }, {"argument 'max_time_bucket'", "0..5", "got 6"});
  refused_plan([](Desc &d) { d.time_unit = 0; }, {"argument 'time_unit'", "at least 1", "got 0"});
  refused_plan([](Desc &d) { d.has_num_targets = 2; }, {"argument 'has_num_targets'", "got 2"});
  refused_plan([](Desc &d) { d.has_query_times = -1; }, {"argument 'has_query_times'", "got -1"});
  refused_plan([](Desc &d) { d.time_table = 0; }, {"argument 'has_query_times'", "no time_table"});
  refused_plan([](Desc &d) { d.reserved = 1; }, {"argument 'reserved'", "expected 0"});
  refused_plan([](Desc &d) { d.max_batch = -1; }, {"argument 'max_batch'", "got -1"});
  refused_plan([](Desc &d) { d.max_events = int64_t{1} << 31; }, {"argument 'max_events'", "0..2147483647"});
}

TEST_F(SequenceEmbeddingErrors, tables) {
  const auto second = [&](jd_tensor table) {
    return [&, table](Desc &d) {
      changed = {tables[0], table};
      d.tables = changed.data();
    };
  };
  refused_plan(second(0), {"argument 'tables[1]'", "null handle"}, JD_INVALID_HANDLE);
  refused_plan(second(closed_tensor()), {"argument 'tables[1]'", "closed"}, JD_CLOSED);
  refused_plan(second(tensor(JD_I32, {5, 8})), {"argument 'tables[1]'", "f8_e4m3", "got i32"});
  refused_plan(second(tensor(JD_F32, {5, 6})), {"argument 'tables[1]'", "multiple of 4", "[5, 6]"});
  refused_plan(second(tensor(JD_F32, {5, 12})), {"argument 'position_table'", "[*, 20]", "[5, 24]"});
  refused_plan(
      [&](Desc &d) {
        d.combine = JD_SEQUENCE_SUM;
      },
      {"argument 'tables[1]'", "dimension 8", "got 16"});
  refused_plan(
      [&](Desc &d) {
        formats = {JD_ROWS_PLAIN, JD_ROWS_INT8};
        d.row_formats = formats.data();
      },
      {"argument 'dims'", "expected a pointer"});
  refused_plan(
      [&](Desc &d) {
        second(tensor(JD_U8, {5, 19}))(d);
        formats = {JD_ROWS_PLAIN, JD_ROWS_INT8};
        dims = {0, 16};
        d.row_formats = formats.data();
        d.dims = dims.data();
      },
      {"argument 'tables[1]'", "at least 20 bytes"});
  changed.assign(5, tensor(JD_F32, {1, 2048}));
  refused_plan(
      [&](Desc &d) {
        d.num_tables = 5;
        d.tables = changed.data();
      },
      {"argument 'tables'", "at most 8192 columns", "got 10240"});
}

TEST_F(SequenceEmbeddingErrors, position_and_time_tables) {
  refused_plan([&](Desc &d) { d.position_table = stream; }, {"argument 'position_table'", "a stream"}, JD_INVALID_HANDLE);
  refused_plan([&](Desc &d) { d.position_table = tensor(JD_I8, {5, 24}); }, {"argument 'position_table'", "f32, f16, bf16 or f8_e4m3", "i8"});
  refused_plan([&](Desc &d) { d.position_table = tensor(JD_F32, {24}); }, {"argument 'position_table'", "rank 2"});
  refused_plan([&](Desc &d) { d.position_table = tensor(JD_F32, {0, 24}); }, {"argument 'position_table'", "at least one row"});
  refused_plan([&](Desc &d) { d.position_table = tensor(JD_F32, {5, 24}, {26, 1}); }, {"argument 'position_table'", "multiple of 4"});
  refused_plan([&](Desc &d) { d.time_table = tensor(JD_F32, {5, 24}, {}, 4); }, {"argument 'time_table'", "aligned to 16 bytes"});
  refused_plan([&](Desc &d) { d.time_table = tensor(JD_F32, {5, 28}); }, {"argument 'time_table'", "[*, 24]", "[5, 28]"});
  // Of codes: 24 of them a row.
  refused_plan([&](Desc &d) { d.position_format = 8; }, {"argument 'position_format'", "0..7", "got 8"});
  refused_plan([&](Desc &d) { d.time_format = -1; }, {"argument 'time_format'", "0..7", "got -1"});
  refused_plan([&](Desc &d) { d.position_format = JD_ROWS_INT8; }, {"argument 'position_table'", "u8", "f32"});
  refused_plan([&](Desc &d) { d.time_table = tensor(JD_U8, {6, 28}); }, {"argument 'time_table'", "f32, f16, bf16 or f8_e4m3", "u8"});
  const auto times = [&](jd_tensor table, int32_t format) {
    return [=](Desc &d) { d.time_table = table, d.time_format = format; };
  };
  refused_plan(times(tensor(JD_U8, {6, 27}), JD_ROWS_INT8), {"argument 'time_table'", "at least 28 bytes", "D = 24, time_format = 1"});
  refused_plan(times(tensor(JD_U8, {6, 9}), JD_ROWS_INT2_LAST), {"argument 'time_table'", "at least 10 bytes"});
  refused_plan(times(tensor(JD_U8, {28}), JD_ROWS_INT8), {"argument 'time_table'", "rank 2"});
  refused_plan(times(tensor(JD_U8, {0, 28}), JD_ROWS_INT8), {"argument 'time_table'", "at least one row"});
  refused_plan([&](Desc &d) { d.position_table = 0, d.position_format = JD_ROWS_INT4; },
               {"argument 'position_format'", "there is no position_table", "got 2"});
  const Desc before = desc;
  times(tensor(JD_U8, {6, 29}), JD_ROWS_INT8)(desc);
  good_plan();
  desc = before;
}

TEST_F(SequenceEmbeddingErrors, arguments) {
  refused_run([](Args &a) { a.struct_size = 4; }, {"struct_size"});
  refused_run([](Args &a) { a.reserved = 1; }, {"argument 'reserved'"});
  refused_run([](Args &a) { a.ids = 0; }, {"argument 'ids'", "null handle"}, JD_INVALID_HANDLE);
  refused_run([&](Args &a) { a.ids = tensor(JD_I32, {2, 10}); }, {"argument 'ids'", "i64", "i32"});
  refused_run([&](Args &a) { a.ids = tensor(JD_I64, {3, 10}); }, {"argument 'ids'", "[2, *]", "[3, 10]"});
  refused_run([&](Args &a) { a.ids = tensor(JD_I64, {2, 10}, {20, 2}); }, {"argument 'ids'", "stride 1"});
  refused_run([&](Args &a) { a.ids = tensor(JD_I64, {2, 13}); }, {"argument 'ids'", "at most 12 events", "got 13"});
  refused_run([&](Args &a) { a.offsets = i64({0, 4, 4, 10}); }, {"argument 'offsets'", "i32", "i64"});
  refused_run([&](Args &a) { a.offsets = i32({0, 1, 2, 3, 4, 10}); }, {"argument 'offsets'", "0..4", "got 6"});
  refused_run([&](Args &a) { a.offsets = i32({1, 4, 4, 10}); }, {"argument 'offsets'", "first offset to be 0", "got 1"});
  refused_run([&](Args &a) { a.offsets = i32({0, 4, 3, 10}); }, {"argument 'offsets'", "non-decreasing"});
  refused_run([&](Args &a) { a.offsets = i32({0, 4, 4, 9}); }, {"argument 'offsets'", "last offset to be 10", "got 9"});
  refused_run([](Args &a) { a.timestamps = 0; }, {"argument 'timestamps'", "the plan has a time_table"});
  refused_run([&](Args &a) { a.timestamps = tensor(JD_I32, {10}); }, {"argument 'timestamps'", "i64", "i32"});
  refused_run([&](Args &a) { a.timestamps = tensor(JD_I64, {9}); }, {"argument 'timestamps'", "[10]", "[9]"});
  refused_run([](Args &a) { a.query_times = 0; }, {"argument 'query_times'", "has_query_times is 1"});
  refused_run([&](Args &a) { a.query_times = tensor(JD_I64, {4}); }, {"argument 'query_times'", "[3]", "[4]"});
  refused_run([](Args &a) { a.num_targets = 0; }, {"argument 'num_targets'", "has_num_targets is 1"});
  refused_run([&](Args &a) { a.num_targets = tensor(JD_I64, {3}); }, {"argument 'num_targets'", "i32", "i64"});
  refused_run([&](Args &a) { a.num_targets = i32({0, 1, 0}); }, {"argument 'num_targets'", "0..0", "got 1 at position 1"});
  refused_run([&](Args &a) { a.num_targets = i32({-1, 0, 0}); }, {"argument 'num_targets'", "0..4", "got -1"});
  refused_run([&](Args &a) { a.out = tensor(JD_F32, {10, 20}); }, {"argument 'out'", "[10, 24]", "[10, 20]"});
  refused_run([&](Args &a) { a.out = tensor(JD_BF16, {10, 24}); }, {"argument 'out'", "f32", "bf16"});
  refused_run([&](Args &a) { a.out = tensor(JD_F32, {10, 24}, {20, 1}); }, {"argument 'out'", "an address of its own"});
  refused_run([&](Args &a) { a.out = wrap(device, data<char>(tables[0]) + 64, JD_F32, {10, 24}); }, {"argument 'out'", "tables[0]"});
  refused_run([&](Args &a) { a.out = wrap(device, data<char>(desc.position_table) + 64, JD_F32, {10, 24}); },
              {"argument 'out'", "apart from 'position_table'"});
  expect_refused(jd_sequence_embedding_run(0, stream, &args, &error), JD_INVALID_HANDLE, error,
                 {"sequence_embedding: argument 'plan'"});
  desc.has_num_targets = 0;
  const jd_plan plan = good_plan();
  expect_refused(jd_sequence_embedding_run(plan, stream, &args, &error), JD_INVALID_ARGUMENT, error,
                 {"argument 'num_targets'", "expected no tensor"});
}

}  // namespace
}  // namespace jindou::test
