// history_search and lsh_signatures: every rule of jindou/history_search.h, broken one at a time.
#include <functional>

#include "core_fixture.h"

namespace jindou::test {
namespace {

// 2 users, 5 candidates (at most 3 each), 9 events (at most 6 each), dot products of 64, 4 events a candidate.
class HistorySearchErrors : public CoreTest {
 protected:
  using Desc = jd_history_search_desc;
  using Args = jd_history_search_args;

  void SetUp() override {
    CoreTest::SetUp();
    desc = make<Desc>();
    desc.method = JD_SEARCH_DOT;
    desc.dtype = JD_F32;
    desc.offset_dtype = JD_I32;
    desc.dim = 64;
    desc.k = 4;
    desc.max_batch = 2;
    desc.max_candidates = 3;
    desc.max_history = 6;
    args = make<Args>();
    args.queries = tensor(JD_F32, {5, 64});
    args.candidate_offsets = i32({0, 3, 5});
    args.keys = tensor(JD_F32, {9, 64});
    args.history_offsets = i32({0, 3, 9});
    args.bias = tensor(JD_F32, {9});
    args.indices = tensor(JD_I32, {5, 4});
    args.scores = tensor(JD_F32, {5, 4});
    args.counts = tensor(JD_I32, {5});
  }
  void hard() {
    desc.method = JD_SEARCH_HARD;
    desc.dtype = JD_I64;
    desc.dim = 0;
    args.queries = tensor(JD_I64, {5});
    args.keys = tensor(JD_I64, {9});
    args.bias = args.scores = 0;
  }
  void lsh() {
    desc.method = JD_SEARCH_LSH;
    desc.dtype = JD_I64;
    desc.dim = 128;
    args.queries = tensor(JD_I64, {5, 2});
    args.keys = tensor(JD_I64, {9, 2});
    args.bias = 0;
  }
  void refused_plan(std::function<void(Desc &)> change, std::initializer_list<const char *> parts) {
    Desc d = desc;
    change(d);
    jd_plan plan = 9;
    expect_refused(jd_history_search_plan(device, &d, &plan, &error), JD_INVALID_ARGUMENT, error, parts);
    EXPECT_EQ(plan, 0u);
    ASSERT_EQ(jd_history_search_plan(device, &desc, &plan, &error), JD_OK) << error.message;
    jd_plan_destroy(plan, nullptr);
  }
  jd_plan good_plan() {
    jd_plan plan = 0;
    EXPECT_EQ(jd_history_search_plan(device, &desc, &plan, &error), JD_OK) << error.message;
    return keep(plan);
  }
  void refused_run(std::function<void(Args &)> change, std::initializer_list<const char *> parts,
                   jd_status expected = JD_INVALID_ARGUMENT) {
    const jd_plan plan = good_plan();
    Args a = args;
    change(a);
    const int64_t runs = state()->runs;
    expect_refused(jd_history_search_run(plan, stream, &a, &error), expected, error, parts);
    expect_refused(expected, expected, error, {"history_search: "});
    EXPECT_EQ(state()->runs, runs) << "nothing may reach the backend";
    ASSERT_EQ(jd_history_search_run(plan, stream, &args, &error), JD_OK) << error.message;
  }

  Desc desc;
  Args args;
};

TEST_F(HistorySearchErrors, good_calls_pass) {
  ASSERT_EQ(jd_history_search_run(good_plan(), stream, &args, &error), JD_OK) << error.message;
  EXPECT_EQ(state()->last_args.history_search.batch, 2);
  args.bias = args.scores = args.counts = 0;
  ASSERT_EQ(jd_history_search_run(good_plan(), stream, &args, &error), JD_OK) << error.message;
  EXPECT_EQ(state()->last_args.history_search.scores.dtype, 0);
  lsh();
  ASSERT_EQ(jd_history_search_run(good_plan(), stream, &args, &error), JD_OK) << error.message;
  hard();
  ASSERT_EQ(jd_history_search_run(good_plan(), stream, &args, &error), JD_OK) << error.message;
}

TEST_F(HistorySearchErrors, description) {
  refused_plan([](Desc &d) { d.struct_size = 8; }, {"struct_size"});
  refused_plan([](Desc &d) { d.method = 3; }, {"argument 'method': expected 0..2, got 3"});
  refused_plan([](Desc &d) { d.dtype = JD_I64; }, {"argument 'dtype': expected f32, f16 or bf16, got i64"});
  refused_plan([](Desc &d) { d.dtype = JD_I8; }, {"argument 'dtype': expected f32, f16 or bf16, got i8: rows of codes have a scale each"});
  refused_plan([](Desc &d) { d.offset_dtype = JD_F32; }, {"argument 'offset_dtype'"});
  for (const int32_t dim : {0, -8, 12, 264}) {
    refused_plan([=](Desc &d) { d.dim = dim; }, {"argument 'dim': expected a multiple of 8 up to 256"});
  }
  refused_plan([](Desc &d) { d.k = 0; }, {"argument 'k': expected 1..2048, got 0"});
  refused_plan([](Desc &d) { d.k = 2049; }, {"argument 'k'"});
  refused_plan([](Desc &d) { d.bounds = JD_BOUNDS_TRUST; }, {"argument 'bounds'"});
  refused_plan([](Desc &d) { d.reserved = 1; }, {"argument 'reserved'"});
  refused_plan([](Desc &d) { d.max_batch = 0; }, {"argument 'max_batch'"});
  refused_plan([](Desc &d) { d.max_candidates = 1048577; }, {"argument 'max_candidates': expected 1..1048576"});
  refused_plan([](Desc &d) { d.max_history = 1073741825; }, {"argument 'max_history': expected 1..1073741824"});
  hard();
  refused_plan([](Desc &d) { d.dtype = JD_F32; }, {"argument 'dtype': expected i32 or i64, got f32"});
  refused_plan([](Desc &d) { d.dim = 8; }, {"argument 'dim': expected 0, got 8"});
  lsh();
  refused_plan([](Desc &d) { d.dtype = JD_I32; }, {"argument 'dtype': expected i64, got i32"});
  refused_plan([](Desc &d) { d.dim = 96; }, {"argument 'dim': expected a multiple of 64 up to 1024, got 96"});
}

TEST_F(HistorySearchErrors, arguments) {
  refused_run([&](Args &a) { a.queries = 0; }, {"argument 'queries'"}, JD_INVALID_HANDLE);
  refused_run([&](Args &a) { a.queries = tensor(JD_F32, {5, 32}); }, {"argument 'queries': expected shape"});
  refused_run([&](Args &a) { a.queries = tensor(JD_BF16, {5, 64}); }, {"argument 'queries': expected dtype f32"});
  refused_run([&](Args &a) { a.queries = tensor(JD_F32, {5, 64}, {66, 1}); }, {"argument 'queries': expected strides"});
  refused_run([&](Args &a) { a.queries = tensor(JD_F32, {5, 64}, {}, 4); }, {"argument 'queries': expected data aligned"});
  refused_run([&](Args &a) { a.candidate_offsets = i32({0, 2, 6}); }, {"argument 'candidate_offsets'", "at most 5 (rows of 'queries')"});
  refused_run([&](Args &a) { a.candidate_offsets = i32({0, 4, 5}); }, {"argument 'candidate_offsets'", "max_candidates", "got 4"});
  refused_run([&](Args &a) { a.candidate_offsets = i64({0, 3, 5}); }, {"argument 'candidate_offsets': expected dtype i32"});
  refused_run([&](Args &a) { a.candidate_offsets = i32({0, 3, 4, 5}); }, {"argument 'candidate_offsets'", "max_batch"});
  refused_run([&](Args &a) { a.keys = tensor(JD_F32, {9, 64}, {128, 2}); }, {"argument 'keys'", "stride 1"});
  refused_run([&](Args &a) { a.keys = closed_tensor(); }, {"argument 'keys'"}, JD_CLOSED);
  refused_run([&](Args &a) { a.history_offsets = i32({0, 9}); }, {"argument 'history_offsets': expected shape [3]"});
  refused_run([&](Args &a) { a.history_offsets = i32({0, 2, 9}); }, {"argument 'history_offsets'", "max_history", "got 7"});
  refused_run([&](Args &a) { a.history_offsets = i32({0, 5, 4}); }, {"argument 'history_offsets'", "non-decreasing"});
  refused_run([&](Args &a) { a.bias = tensor(JD_F32, {8}); }, {"argument 'bias': expected shape [9]"});
  refused_run([&](Args &a) { a.bias = tensor(JD_F32, {9}, {2}); }, {"argument 'bias'", "stride 1"});
  refused_run([&](Args &a) { a.indices = 0; }, {"argument 'indices'"}, JD_INVALID_HANDLE);
  refused_run([&](Args &a) { a.indices = tensor(JD_I64, {5, 4}); }, {"argument 'indices': expected dtype i32"});
  refused_run([&](Args &a) { a.indices = tensor(JD_I32, {5, 3}); }, {"argument 'indices': expected shape [5, 4]"});
  refused_run([&](Args &a) { a.indices = tensor(JD_I32, {5, 4}, {3, 1}); }, {"argument 'indices'", "an address of its own"});
  refused_run([&](Args &a) { a.scores = tensor(JD_F32, {4, 4}); }, {"argument 'scores': expected shape [5, 4]"});
  refused_run([&](Args &a) { a.scores = view(a.keys, 0, {5, 4}, {4, 1}); }, {"argument 'scores': expected memory apart from 'keys'"});
  refused_run([&](Args &a) { a.counts = view(a.indices, 0, {5}, {1}); }, {"argument 'counts': expected memory apart from 'indices'"});
  refused_run([&](Args &a) { a.counts = tensor(JD_I32, {5}, {2}); }, {"argument 'counts'", "stride 1"});
  refused_run([&](Args &a) { a.reserved = 1; }, {"argument 'reserved'"});
}

TEST_F(HistorySearchErrors, arguments_of_hard_and_lsh) {
  hard();
  refused_run([&](Args &a) { a.queries = tensor(JD_I64, {5, 1}); }, {"argument 'queries': expected rank 1"});
  refused_run([&](Args &a) { a.keys = tensor(JD_I32, {9}); }, {"argument 'keys': expected dtype i64"});
  refused_run([&](Args &a) { a.bias = tensor(JD_F32, {9}); }, {"argument 'bias': expected no tensor"});
  refused_run([&](Args &a) { a.scores = tensor(JD_F32, {5, 4}); }, {"argument 'scores': expected no tensor (equal categories"});
  lsh();
  args.scores = tensor(JD_F32, {5, 4});
  refused_run([&](Args &a) { a.queries = tensor(JD_I64, {5, 128}); }, {"argument 'queries': expected shape"});
  refused_run([&](Args &a) { a.keys = tensor(JD_I64, {9, 2}, {4, 2}); }, {"argument 'keys'", "stride 1"});
  refused_run([&](Args &a) { a.bias = tensor(JD_F32, {9}); }, {"argument 'bias': expected no tensor"});
}

TEST_F(HistorySearchErrors, lsh_signatures) {
  jd_lsh_signatures_args good = make<jd_lsh_signatures_args>();
  good.x = tensor(JD_F32, {7, 24});
  good.projection = tensor(JD_F32, {128, 24});
  good.signatures = tensor(JD_I64, {7, 2});
  const auto refused = [&](std::function<void(jd_lsh_signatures_args &)> change, std::initializer_list<const char *> parts) {
    jd_lsh_signatures_args a = good;
    change(a);
    expect_refused(jd_lsh_signatures(stream, &a, &error), JD_INVALID_ARGUMENT, error, parts);
    ASSERT_EQ(jd_lsh_signatures(stream, &good, &error), JD_OK) << error.message;
  };
  using Args = jd_lsh_signatures_args;
  refused([&](Args &a) { a.struct_size = 4; }, {"struct_size"});
  refused([&](Args &a) { a.reserved = 1; }, {"argument 'reserved'"});
  refused([&](Args &a) { a.x = tensor(JD_I32, {7, 24}); }, {"argument 'x': expected f32, f16 or bf16, got i32"});
  refused([&](Args &a) { a.x = tensor(JD_F32, {7, 12}); }, {"argument 'x': expected a multiple of 8 columns"});
  refused([&](Args &a) { a.x = tensor(JD_F32, {7}); }, {"argument 'x': expected rank 2"});
  refused([&](Args &a) { a.projection = tensor(JD_BF16, {128, 24}); }, {"argument 'projection': expected dtype f32"});
  refused([&](Args &a) { a.projection = tensor(JD_F32, {128, 32}); }, {"argument 'projection': expected shape"});
  refused([&](Args &a) { a.projection = tensor(JD_F32, {96, 24}); }, {"argument 'projection': expected a multiple of 64"});
  refused([&](Args &a) { a.signatures = tensor(JD_I64, {7, 1}); }, {"argument 'signatures': expected shape [7, 2]"});
  refused([&](Args &a) { a.signatures = tensor(JD_I32, {7, 2}); }, {"argument 'signatures': expected dtype i64"});
  refused([&](Args &a) { a.signatures = tensor(JD_I64, {7, 2}, {1, 1}); }, {"argument 'signatures'", "an address of its own"});
}

}  // namespace
}  // namespace jindou::test
