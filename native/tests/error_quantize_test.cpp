// quantize_rows, dequantize_rows: every rule of jindou/quantize.h, broken one at a time.
#include <functional>

#include "core_fixture.h"

namespace jindou::test {
namespace {

// 5 rows of 16 numbers, 12 bytes a row.
class QuantizeErrors : public CoreTest {
 protected:
  using Quantize = jd_quantize_rows_args;
  using Dequantize = jd_dequantize_rows_args;

  void SetUp() override {
    CoreTest::SetUp();
    quantize = make<Quantize>();
    quantize.format = JD_ROWS_INT4;
    quantize.x = tensor(JD_F32, {5, 16});
    quantize.rows = tensor(JD_U8, {5, 12});
    dequantize = make<Dequantize>();
    dequantize.format = JD_ROWS_INT4;
    dequantize.rows = quantize.rows;
    dequantize.out = tensor(JD_BF16, {5, 16});
  }
  void refused(std::function<void(Quantize &)> change, std::initializer_list<const char *> parts,
               jd_status expected = JD_INVALID_ARGUMENT) {
    Quantize a = quantize;
    change(a);
    const int64_t runs = state()->runs;
    expect_refused(jd_quantize_rows(stream, &a, &error), expected, error, parts);
    expect_refused(expected, expected, error, {"quantize_rows: "});
    EXPECT_EQ(state()->runs, runs) << "nothing may reach the backend";
    ASSERT_EQ(jd_quantize_rows(stream, &quantize, &error), JD_OK) << error.message;
  }
  void refused_back(std::function<void(Dequantize &)> change, std::initializer_list<const char *> parts,
                    jd_status expected = JD_INVALID_ARGUMENT) {
    Dequantize a = dequantize;
    change(a);
    const int64_t runs = state()->runs;
    expect_refused(jd_dequantize_rows(stream, &a, &error), expected, error, parts);
    expect_refused(expected, expected, error, {"dequantize_rows: "});
    EXPECT_EQ(state()->runs, runs) << "nothing may reach the backend";
    ASSERT_EQ(jd_dequantize_rows(stream, &dequantize, &error), JD_OK) << error.message;
  }

  Quantize quantize;
  Dequantize dequantize;
};

TEST_F(QuantizeErrors, good_calls_pass) {
  quantize.bounds = JD_BOUNDS_ZERO;
  ASSERT_EQ(jd_quantize_rows(stream, &quantize, &error), JD_OK) << error.message;
  EXPECT_EQ(state()->last_args.quantize_rows.bounds, JD_BOUNDS_ZERO);
  EXPECT_EQ(state()->last_args.quantize_rows.rows.data, data<void>(quantize.rows));
  ASSERT_EQ(jd_dequantize_rows(stream, &dequantize, &error), JD_OK) << error.message;
  EXPECT_EQ(state()->last_args.quantize_rows.numbers.data, data<void>(dequantize.out));
}

TEST_F(QuantizeErrors, arguments_of_quantize_rows) {
  using A = Quantize;
  refused([](A &a) { a.struct_size = 4; }, {"argument 'args'", "struct_size"});
  refused([](A &a) { a.reserved = 1; }, {"argument 'reserved'"});
  refused([](A &a) { a.format = JD_ROWS_PLAIN; }, {"argument 'format'", "1..7", "got 0"});
  refused([](A &a) { a.format = 8; }, {"argument 'format'", "got 8"});
  refused([](A &a) { a.bounds = 3; }, {"argument 'bounds'", "0..2", "got 3"});
  refused([](A &a) { a.x = 0; }, {"argument 'x'", "null handle"}, JD_INVALID_HANDLE);
  refused([](A &a) { a.rows = 0; }, {"argument 'rows'", "null handle"}, JD_INVALID_HANDLE);
  refused([&](A &a) { a.x = tensor(JD_I8, {5, 16}); }, {"argument 'x'", "f32, f16 or bf16", "got i8"});
  refused([&](A &a) { a.x = tensor(JD_F32, {80}); }, {"argument 'x'", "rank 2"});
  refused([&](A &a) { a.x = tensor(JD_F32, {5, 18}); }, {"argument 'x'", "multiple of 4 columns in 4..2048", "[5, 18]"});
  refused([&](A &a) { a.x = tensor(JD_F32, {5, 2052}); }, {"argument 'x'", "[5, 2052]"});
  refused([&](A &a) { a.x = tensor(JD_F32, {5, 16}, {17, 1}); }, {"argument 'x'", "multiples of 16 bytes"});
  refused([&](A &a) { a.rows = tensor(JD_I8, {5, 12}); }, {"argument 'rows'", "dtype u8", "got i8"});
  refused([&](A &a) { a.rows = tensor(JD_U8, {4, 12}); }, {"argument 'rows'", "[5, *]", "[4, 12]"});
  refused([&](A &a) { a.rows = tensor(JD_U8, {5, 11}); }, {"argument 'rows'", "at least 12 bytes", "[5, 11]"});
  refused([&](A &a) { a.rows = tensor(JD_U8, {5, 12}, {24, 2}); }, {"argument 'rows'", "stride 1"});
  refused([&](A &a) { a.rows = tensor(JD_U8, {5, 12}, {11, 1}); }, {"argument 'rows'"});
}

TEST_F(QuantizeErrors, arguments_of_dequantize_rows) {
  using A = Dequantize;
  refused_back([](A &a) { a.struct_size = 4; }, {"argument 'args'", "struct_size"});
  refused_back([](A &a) { a.format = 0; }, {"argument 'format'", "1..7", "got 0"});
  refused_back([](A &a) { a.rows = 0; }, {"argument 'rows'", "null handle"}, JD_INVALID_HANDLE);
  refused_back([](A &a) { a.out = 0; }, {"argument 'out'", "null handle"}, JD_INVALID_HANDLE);
  refused_back([&](A &a) { a.out = tensor(JD_U8, {5, 16}); }, {"argument 'out'", "f32, f16 or bf16", "got u8"});
  refused_back([&](A &a) { a.out = tensor(JD_F16, {5, 20}); }, {"argument 'out'"});
  refused_back([&](A &a) { a.rows = tensor(JD_U8, {5, 11}); }, {"argument 'rows'", "at least 12 bytes"});
  refused_back([&](A &a) { a.rows = tensor(JD_F32, {5, 12}); }, {"argument 'rows'", "dtype u8", "got f32"});
}

}  // namespace
}  // namespace jindou::test
