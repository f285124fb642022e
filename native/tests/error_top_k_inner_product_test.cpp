// top_k_inner_product: every rule of jindou/top_k_inner_product.h, broken one at a time.
#include <functional>

#include "core_fixture.h"

namespace jindou::test {
namespace {

// 3 queries (at most 5) of 64 elements, 17 items, 4 items a query, a bitmap for all.
class TopKInnerProductErrors : public CoreTest {
 protected:
  using Desc = jd_top_k_inner_product_desc;
  using Args = jd_top_k_inner_product_args;

  void SetUp() override {
    CoreTest::SetUp();
    desc = make<Desc>();
    desc.dtype = JD_F32;
    desc.dim = 64;
    desc.k = 4;
    desc.max_queries = 5;
    args = make<Args>();
    args.queries = tensor(JD_F32, {3, 64});
    args.items = tensor(JD_F32, {17, 64});
    args.allowed = tensor(JD_U8, {3});
    args.indices = tensor(JD_I64, {3, 4});
    args.scores = tensor(JD_F32, {3, 4});
  }
  void refused_plan(std::function<void(Desc &)> change, std::initializer_list<const char *> parts) {
    Desc d = desc;
    change(d);
    jd_plan plan = 9;
    expect_refused(jd_top_k_inner_product_plan(device, &d, &plan, &error), JD_INVALID_ARGUMENT, error, parts);
    expect_refused(JD_INVALID_ARGUMENT, JD_INVALID_ARGUMENT, error, {"top_k_inner_product: "});
    EXPECT_EQ(plan, 0u);
    ASSERT_EQ(jd_top_k_inner_product_plan(device, &desc, &plan, &error), JD_OK) << error.message;
    jd_plan_destroy(plan, nullptr);
  }
  jd_plan good_plan() {
    jd_plan plan = 0;
    EXPECT_EQ(jd_top_k_inner_product_plan(device, &desc, &plan, &error), JD_OK) << error.message;
    return keep(plan);
  }
  void refused_run(std::function<void(Args &)> change, std::initializer_list<const char *> parts,
                   jd_status expected = JD_INVALID_ARGUMENT) {
    const jd_plan plan = good_plan();
    Args a = args;
    change(a);
    const int64_t runs = state()->runs;
    expect_refused(jd_top_k_inner_product_run(plan, stream, &a, &error), expected, error, parts);
    expect_refused(expected, expected, error, {"top_k_inner_product: "});
    EXPECT_EQ(state()->runs, runs) << "nothing may reach the backend";
    ASSERT_EQ(jd_top_k_inner_product_run(plan, stream, &args, &error), JD_OK) << error.message;
  }

  Desc desc;
  Args args;
};

TEST_F(TopKInnerProductErrors, good_calls_pass) {
  ASSERT_EQ(jd_top_k_inner_product_run(good_plan(), stream, &args, &error), JD_OK) << error.message;
  EXPECT_EQ(state()->last_args.top_k_inner_product.indices.data, data<void>(args.indices));
  EXPECT_EQ(state()->last_args.top_k_inner_product.allowed.rank, 1);
  args.allowed = tensor(JD_U8, {3, 3}, {9, 1});
  ASSERT_EQ(jd_top_k_inner_product_run(good_plan(), stream, &args, &error), JD_OK) << error.message;
  EXPECT_EQ(state()->last_args.top_k_inner_product.allowed.rank, 2);
  args.allowed = args.scores = 0;
  ASSERT_EQ(jd_top_k_inner_product_run(good_plan(), stream, &args, &error), JD_OK) << error.message;
  EXPECT_EQ(state()->last_args.top_k_inner_product.scores.dtype, 0);
  args.items = tensor(JD_F32, {0, 64});
  ASSERT_EQ(jd_top_k_inner_product_run(good_plan(), stream, &args, &error), JD_OK) << error.message;
}

TEST_F(TopKInnerProductErrors, description) {
  refused_plan([](Desc &d) { d.struct_size = 8; }, {"struct_size"});
  refused_plan([](Desc &d) { d.dtype = JD_I8; }, {"argument 'dtype': expected f32, f16 or bf16, got i8"});
  for (const int32_t dim : {0, -8, 12, 2056}) {
    refused_plan([=](Desc &d) { d.dim = dim; }, {"argument 'dim': expected a multiple of 8 up to 2048"});
  }
  refused_plan([](Desc &d) { d.k = 0; }, {"argument 'k': expected 1..1024, got 0"});
  refused_plan([](Desc &d) { d.k = 1025; }, {"argument 'k'"});
  refused_plan([](Desc &d) { d.max_queries = 0; }, {"argument 'max_queries': expected 1..1048576, got 0"});
  refused_plan([](Desc &d) { d.max_queries = 1048577; }, {"argument 'max_queries'"});
  refused_plan([](Desc &d) { d.row_format = 8; }, {"argument 'row_format': expected 0..7, got 8"});
  refused_plan([](Desc &d) { d.row_format = -1; }, {"argument 'row_format'"});
  refused_plan([](Desc &d) { d.reserved = 1; }, {"argument 'reserved': expected 0, got 1"});
}

TEST_F(TopKInnerProductErrors, arguments) {
  refused_run([&](Args &a) { a.reserved = 1; }, {"argument 'reserved': expected 0, got 1"});
  refused_run([&](Args &a) { a.queries = 0; }, {"argument 'queries'"}, JD_INVALID_HANDLE);
  refused_run([&](Args &a) { a.queries = tensor(JD_F32, {3, 32}); }, {"argument 'queries': expected shape"});
  refused_run([&](Args &a) { a.queries = tensor(JD_F32, {6, 64}); }, {"argument 'queries': expected at most 5 rows (max_queries"});
  refused_run([&](Args &a) { a.queries = tensor(JD_BF16, {3, 64}); }, {"argument 'queries': expected dtype f32"});
  refused_run([&](Args &a) { a.queries = tensor(JD_F32, {3, 64}, {66, 1}); }, {"argument 'queries': expected strides"});
  refused_run([&](Args &a) { a.queries = tensor(JD_F32, {3, 64}, {}, 4); }, {"argument 'queries': expected data aligned"});
  refused_run([&](Args &a) { a.items = 0; }, {"argument 'items'"}, JD_INVALID_HANDLE);
  refused_run([&](Args &a) { a.items = closed_tensor(); }, {"argument 'items'"}, JD_CLOSED);
  refused_run([&](Args &a) { a.items = tensor(JD_F16, {17, 64}); }, {"argument 'items': expected dtype f32, got f16"});
  refused_run([&](Args &a) { a.items = tensor(JD_F32, {17, 64}, {128, 2}); }, {"argument 'items'", "stride 1"});
  refused_run([&](Args &a) { a.items = tensor(JD_F32, {17, 72}); }, {"argument 'items': expected shape"});
  refused_run([&](Args &a) { a.allowed = tensor(JD_U8, {2}); }, {"argument 'allowed': expected shape [3], got [2]"});
  refused_run([&](Args &a) { a.allowed = tensor(JD_U8, {17}); }, {"argument 'allowed': expected shape [3], got [17]"});
  refused_run([&](Args &a) { a.allowed = tensor(JD_BOOL, {3}); }, {"argument 'allowed': expected dtype u8, got bool"});
  refused_run([&](Args &a) { a.allowed = tensor(JD_U8, {2, 3}); }, {"argument 'allowed': expected shape [3, 3], got [2, 3]"});
  refused_run([&](Args &a) { a.allowed = tensor(JD_U8, {3, 3}, {3, 2}); }, {"argument 'allowed'", "stride 1"});
  refused_run([&](Args &a) { a.allowed = tensor(JD_U8, {1, 1, 3}); }, {"argument 'allowed': expected rank 1"});
  refused_run([&](Args &a) { a.indices = 0; }, {"argument 'indices'"}, JD_INVALID_HANDLE);
  refused_run([&](Args &a) { a.indices = tensor(JD_I32, {3, 4}); }, {"argument 'indices': expected dtype i64, got i32"});
  refused_run([&](Args &a) { a.indices = tensor(JD_I64, {3, 5}); }, {"argument 'indices': expected shape [3, 4]"});
  refused_run([&](Args &a) { a.indices = tensor(JD_I64, {3, 4}, {3, 1}); }, {"argument 'indices'", "an address of its own"});
  refused_run([&](Args &a) { a.scores = tensor(JD_F32, {2, 4}); }, {"argument 'scores': expected shape [3, 4]"});
  refused_run([&](Args &a) { a.scores = tensor(JD_BF16, {3, 4}); }, {"argument 'scores': expected dtype f32"});
  refused_run([&](Args &a) { a.scores = view(a.items, 0, {3, 4}, {4, 1}); }, {"argument 'scores': expected memory apart from 'items'"});
}

TEST_F(TopKInnerProductErrors, items_of_codes) {
  refused_run([&](Args &a) { a.items = tensor(JD_U8, {17, 68}); }, {"argument 'items': expected dtype f32, got u8"});
  desc.row_format = JD_ROWS_INT8;
  args.items = tensor(JD_U8, {17, 68});
  refused_run([&](Args &a) { a.items = tensor(JD_F32, {17, 68}); }, {"argument 'items': expected dtype u8, got f32"});
  refused_run([&](Args &a) { a.items = tensor(JD_U8, {17, 67}); },
              {"argument 'items': expected rows of at least 68 bytes (dim = 64, row_format = 1), got shape [17, 67]"});
  refused_run([&](Args &a) { a.items = tensor(JD_U8, {17, 68}, {136, 2}); }, {"argument 'items'", "stride 1"});
  refused_run([&](Args &a) { a.items = tensor(JD_U8, {68}); }, {"argument 'items': expected rank 2"});
  refused_run([&](Args &a) { a.scores = view(a.items, 0, {3, 4}, {4, 1}); }, {"argument 'scores'"});
  args.items = tensor(JD_U8, {17, 71});  // longer, at any address
  ASSERT_EQ(jd_top_k_inner_product_run(good_plan(), stream, &args, &error), JD_OK) << error.message;
  desc.row_format = JD_ROWS_INT8_FLOAT;
  args.items = tensor(JD_U8, {17, 72});
  refused_run([&](Args &a) { a.items = tensor(JD_U8, {17, 71}); }, {"argument 'items': expected rows of at least 72 bytes"});
}

TEST_F(TopKInnerProductErrors, handles) {
  expect_refused(jd_top_k_inner_product_run(0, stream, &args, &error), JD_INVALID_HANDLE, error, {"top_k_inner_product: argument 'plan'"});
  expect_refused(jd_top_k_inner_product_run(good_plan(), 0, &args, &error), JD_INVALID_HANDLE, error,
                 {"top_k_inner_product: argument 'stream'"});
  expect_refused(jd_top_k_inner_product_run(good_plan(), stream, nullptr, &error), JD_INVALID_ARGUMENT, error, {"argument 'args'"});
}

}  // namespace
}  // namespace jindou::test
