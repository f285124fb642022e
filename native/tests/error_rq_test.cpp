// rq_encode, rq_decode: every rule of jindou/rq.h, broken one at a time.
#include <functional>

#include "core_fixture.h"

namespace jindou::test {
namespace {

// 5 vectors of 8, 3 levels of 7 codes.
class RqErrors : public CoreTest {
 protected:
  using Desc = jd_rq_encode_desc;
  using Args = jd_rq_encode_args;
  using Decode = jd_rq_decode_args;

  void SetUp() override {
    CoreTest::SetUp();
    desc = make<Desc>();
    desc.dtype = JD_F32;
    desc.dim = 8;
    desc.num_levels = 3;
    desc.num_codes = 7;
    args = make<Args>();
    args.x = tensor(JD_F32, {5, 8});
    args.codebooks = tensor(JD_F32, {3, 7, 8});
    args.codes = tensor(JD_I32, {5, 3});
    args.residual_norm = tensor(JD_F32, {5});
    decode = make<Decode>();
    decode.codes = args.codes;
    decode.codebooks = args.codebooks;
    decode.out = tensor(JD_F32, {5, 8});
  }
  void refused_plan(std::function<void(Desc &)> change, std::initializer_list<const char *> parts) {
    Desc d = desc;
    change(d);
    jd_plan plan = 9;
    expect_refused(jd_rq_encode_plan(device, &d, &plan, &error), JD_INVALID_ARGUMENT, error, parts);
    expect_refused(JD_INVALID_ARGUMENT, JD_INVALID_ARGUMENT, error, {"rq_encode: "});
    EXPECT_EQ(plan, 0u);
    ASSERT_EQ(jd_rq_encode_plan(device, &desc, &plan, &error), JD_OK) << error.message;
    jd_plan_destroy(plan, nullptr);
  }
  jd_plan good_plan() {
    jd_plan plan = 0;
    EXPECT_EQ(jd_rq_encode_plan(device, &desc, &plan, &error), JD_OK) << error.message;
    return keep(plan);
  }
  void refused_run(std::function<void(Args &)> change, std::initializer_list<const char *> parts,
                   jd_status expected = JD_INVALID_ARGUMENT) {
    const jd_plan plan = good_plan();
    Args a = args;
    change(a);
    const int64_t runs = state()->runs;
    expect_refused(jd_rq_encode_run(plan, stream, &a, &error), expected, error, parts);
    expect_refused(expected, expected, error, {"rq_encode: "});
    EXPECT_EQ(state()->runs, runs) << "nothing may reach the backend";
    ASSERT_EQ(jd_rq_encode_run(plan, stream, &args, &error), JD_OK) << error.message;
  }
  void refused_decode(std::function<void(Decode &)> change, std::initializer_list<const char *> parts,
                      jd_status expected = JD_INVALID_ARGUMENT) {
    Decode a = decode;
    change(a);
    const int64_t runs = state()->runs;
    expect_refused(jd_rq_decode(stream, &a, &error), expected, error, parts);
    expect_refused(expected, expected, error, {"rq_decode: "});
    EXPECT_EQ(state()->runs, runs) << "nothing may reach the backend";
    ASSERT_EQ(jd_rq_decode(stream, &decode, &error), JD_OK) << error.message;
  }

  Desc desc;
  Args args;
  Decode decode;
};

TEST_F(RqErrors, a_good_call_passes) {
  args.residual_norm = 0;
  ASSERT_EQ(jd_rq_encode_run(good_plan(), stream, &args, &error), JD_OK) << error.message;
  EXPECT_EQ(state()->last_args.rq_encode.codes.data, data<void>(args.codes));
  EXPECT_EQ(state()->last_args.rq_encode.residual_norm.dtype, 0);
  decode.bounds = JD_BOUNDS_ZERO;
  ASSERT_EQ(jd_rq_decode(stream, &decode, &error), JD_OK) << error.message;
  EXPECT_EQ(state()->last_args.rq_decode.bounds, JD_BOUNDS_ZERO);
  args.x = tensor(JD_F32, {0, 8});
  args.codes = tensor(JD_I32, {0, 3});
  ASSERT_EQ(jd_rq_encode_run(good_plan(), stream, &args, &error), JD_OK) << error.message;
}

TEST_F(RqErrors, description) {
  refused_plan([](Desc &d) { d.struct_size = 8; }, {"struct_size"});
  refused_plan([](Desc &d) { d.dtype = JD_I8; }, {"argument 'dtype'", "f32, f16 or bf16", "got i8"});
  refused_plan([](Desc &d) { d.dim = 6; }, {"argument 'dim'", "multiple of 4 in 4..1024", "got 6"});
  refused_plan([](Desc &d) { d.dim = 0; }, {"argument 'dim'", "got 0"});
  refused_plan([](Desc &d) { d.dim = 1028; }, {"argument 'dim'", "got 1028"});
  refused_plan([](Desc &d) { d.num_levels = 0; }, {"argument 'num_levels'", "1..64", "got 0"});
  refused_plan([](Desc &d) { d.num_levels = 65; }, {"argument 'num_levels'", "got 65"});
  refused_plan([](Desc &d) { d.num_codes = 0; }, {"argument 'num_codes'", "1..65536", "got 0"});
  refused_plan([](Desc &d) { d.num_codes = 65537; }, {"argument 'num_codes'", "got 65537"});
  refused_plan([](Desc &d) { d.reserved = 1; }, {"argument 'reserved'", "expected 0"});
}

TEST_F(RqErrors, encode) {
  refused_run([](Args &a) { a.struct_size = 4; }, {"struct_size"});
  refused_run([](Args &a) { a.reserved = 1; }, {"argument 'reserved'"});
  refused_run([](Args &a) { a.x = 0; }, {"argument 'x'", "null handle"}, JD_INVALID_HANDLE);
  refused_run([&](Args &a) { a.x = tensor(JD_BF16, {5, 8}); }, {"argument 'x'", "f32", "bf16"});
  refused_run([&](Args &a) { a.x = tensor(JD_F32, {5, 12}); }, {"argument 'x'", "[*, 8]", "[5, 12]"});
  refused_run([&](Args &a) { a.x = tensor(JD_F32, {5, 8}, {10, 1}); }, {"argument 'x'", "multiples of 16 bytes"});
  refused_run([&](Args &a) { a.x = tensor(JD_F32, {5, 8}, {}, 4); }, {"argument 'x'", "aligned to 16 bytes"});
  refused_run([&](Args &a) { a.codebooks = closed_tensor(); }, {"argument 'codebooks'", "closed"}, JD_CLOSED);
  refused_run([&](Args &a) { a.codebooks = tensor(JD_F16, {3, 7, 8}); }, {"argument 'codebooks'", "f32", "f16"});
  refused_run([&](Args &a) { a.codebooks = tensor(JD_F32, {3, 8, 8}); }, {"argument 'codebooks'", "[3, 7, 8]", "[3, 8, 8]"});
  refused_run([&](Args &a) { a.codebooks = tensor(JD_F32, {3, 7, 8}, {64, 9, 1}); }, {"argument 'codebooks'", "16 bytes"});
  refused_run([&](Args &a) { a.codes = tensor(JD_I64, {5, 3}); }, {"argument 'codes'", "i32", "i64"});
  refused_run([&](Args &a) { a.codes = tensor(JD_I32, {4, 3}); }, {"argument 'codes'", "[5, 3]", "[4, 3]"});
  refused_run([&](Args &a) { a.codes = tensor(JD_I32, {5, 3}, {6, 2}); }, {"argument 'codes'", "stride 1"});
  refused_run([&](Args &a) { a.codes = tensor(JD_I32, {5, 3}, {2, 1}); }, {"argument 'codes'", "an address of its own"});
  refused_run([&](Args &a) { a.codes = wrap(device, data<char>(a.x) + 32, JD_I32, {5, 3}); }, {"argument 'codes'", "apart from 'x'"});
  refused_run([&](Args &a) { a.codes = wrap(device, data<char>(a.codebooks) + 32, JD_I32, {5, 3}); },
              {"argument 'codes'", "apart from 'codebooks'"});
  refused_run([&](Args &a) { a.residual_norm = tensor(JD_F32, {4}); }, {"argument 'residual_norm'", "[5]", "[4]"});
  refused_run([&](Args &a) { a.residual_norm = tensor(JD_BF16, {5}); }, {"argument 'residual_norm'", "f32", "bf16"});
  refused_run([&](Args &a) { a.residual_norm = tensor(JD_F32, {5}, {2}); }, {"argument 'residual_norm'", "stride 1"});
  refused_run([&](Args &a) { a.residual_norm = wrap(device, data<char>(a.codes) + 8, JD_F32, {5}); },
              {"argument 'residual_norm'", "apart from 'codes'"});
  expect_refused(jd_rq_encode_run(0, stream, &args, &error), JD_INVALID_HANDLE, error, {"rq_encode: argument 'plan'"});
}

TEST_F(RqErrors, decode) {
  refused_decode([](Decode &a) { a.struct_size = 4; }, {"struct_size"});
  refused_decode([](Decode &a) { a.bounds = 3; }, {"argument 'bounds'", "0..2", "got 3"});
  refused_decode([](Decode &a) { a.codes = 0; }, {"argument 'codes'", "null handle"}, JD_INVALID_HANDLE);
  refused_decode([&](Decode &a) { a.codebooks = tensor(JD_BF16, {3, 7, 8}); }, {"argument 'codebooks'", "f32", "bf16"});
  refused_decode([&](Decode &a) { a.codebooks = tensor(JD_F32, {21, 8}); }, {"argument 'codebooks'", "rank 3"});
  refused_decode([&](Decode &a) { a.codebooks = tensor(JD_F32, {3, 7, 6}); }, {"argument 'codebooks'", "multiple of 4"});
  refused_decode([&](Decode &a) { a.codebooks = tensor(JD_F32, {3, 7, 1028}); }, {"argument 'codebooks'", "4..1024"});
  refused_decode([&](Decode &a) { a.codebooks = tensor(JD_F32, {3, 0, 8}); }, {"argument 'codebooks'", "1..65536 codes", "[3, 0, 8]"});
  refused_decode([&](Decode &a) { a.codebooks = tensor(JD_F32, {65, 1, 8}); }, {"argument 'codebooks'", "1..64 levels"});
  refused_decode([&](Decode &a) { a.codes = tensor(JD_I32, {5, 4}); }, {"argument 'codes'", "[*, 3]", "[5, 4]"});
  refused_decode([&](Decode &a) { a.codes = tensor(JD_F32, {5, 3}); }, {"argument 'codes'", "i32", "f32"});
  refused_decode([&](Decode &a) { a.out = tensor(JD_I32, {5, 8}); }, {"argument 'out'", "f32, f16 or bf16", "i32"});
  refused_decode([&](Decode &a) { a.out = tensor(JD_F16, {4, 8}); }, {"argument 'out'", "[5, 8]", "[4, 8]"});
  refused_decode([&](Decode &a) { a.out = tensor(JD_F32, {5, 8}, {4, 1}); }, {"argument 'out'", "an address of its own"});
  refused_decode([&](Decode &a) { a.out = wrap(device, data<char>(a.codebooks) + 32, JD_F32, {5, 8}); },
                 {"argument 'out'", "apart from 'codebooks'"});
  expect_refused(jd_rq_decode(0, &decode, &error), JD_INVALID_HANDLE, error, {"rq_decode: argument 'stream'"});
}

TEST_F(RqErrors, a_code_out_of_range_is_named) {
  ASSERT_EQ(jd_rq_decode(stream, &decode, &error), JD_OK) << error.message;
  jdb_report &report = state()->next_report;
  report.has_error = 1;
  report.fault = JDB_FAULT_ID;
  report.op = JDB_OP_RQ_DECODE;
  report.table = 2;
  report.position = 11;
  report.value = 7;
  report.limit = 7;
  expect_refused(jd_stream_synchronize(stream, &error), JD_OUT_OF_BOUNDS, error,
                 {"rq_decode: argument 'codes'", "0..6", "got 7 at position 11", "level 2"});
  EXPECT_EQ(error.table, 2);
  EXPECT_EQ(error.position, 11);
  EXPECT_EQ(error.value, 7);
}

}  // namespace
}  // namespace jindou::test
