// search_attention: every rule of jindou/search_attention.h, broken one at a time.
#include <cmath>
#include <functional>

#include "core_fixture.h"

namespace jindou::test {
namespace {

// 2 users, 5 candidates (at most 3 each), 9 events (at most 6 each), 4 heads over 2, 64 and 32 wide, 3 events a candidate.
class SearchAttentionErrors : public CoreTest {
 protected:
  using Desc = jd_search_attention_desc;
  using Args = jd_search_attention_args;

  void SetUp() override {
    CoreTest::SetUp();
    desc = make<Desc>();
    desc.dtype = JD_F32;
    desc.offset_dtype = JD_I32;
    desc.num_heads = 4;
    desc.num_kv_heads = 2;
    desc.head_dim_qk = 64;
    desc.head_dim_v = 32;
    desc.scale = 0.125f;
    desc.k = 3;
    desc.max_batch = 2;
    desc.max_candidates = 3;
    desc.max_history = 6;
    args = make<Args>();
    args.candidates = tensor(JD_F32, {5, 4, 64});
    args.candidate_offsets = i32({0, 3, 5});
    args.keys = tensor(JD_F32, {9, 2, 64});
    args.values = tensor(JD_F32, {9, 2, 32});
    args.history_offsets = i32({0, 3, 9});
    args.indices = tensor(JD_I32, {5, 3});
    args.out = tensor(JD_F32, {5, 4, 32});
    args.lse = tensor(JD_F32, {5, 4});
  }
  void refused_plan(std::function<void(Desc &)> change, std::initializer_list<const char *> parts) {
    Desc d = desc;
    change(d);
    jd_plan plan = 9;
    expect_refused(jd_search_attention_plan(device, &d, &plan, &error), JD_INVALID_ARGUMENT, error, parts);
    EXPECT_EQ(plan, 0u);
    ASSERT_EQ(jd_search_attention_plan(device, &desc, &plan, &error), JD_OK) << error.message;
    jd_plan_destroy(plan, nullptr);
  }
  jd_plan good_plan() {
    jd_plan plan = 0;
    EXPECT_EQ(jd_search_attention_plan(device, &desc, &plan, &error), JD_OK) << error.message;
    return keep(plan);
  }
  void refused_run(std::function<void(Args &)> change, std::initializer_list<const char *> parts,
                   jd_status expected = JD_INVALID_ARGUMENT) {
    const jd_plan plan = good_plan();
    Args a = args;
    change(a);
    const int64_t runs = state()->runs;
    expect_refused(jd_search_attention_run(plan, stream, &a, &error), expected, error, parts);
    expect_refused(expected, expected, error, {"search_attention: "});
    EXPECT_EQ(state()->runs, runs) << "nothing may reach the backend";
    ASSERT_EQ(jd_search_attention_run(plan, stream, &args, &error), JD_OK) << error.message;
  }

  Desc desc;
  Args args;
};

TEST_F(SearchAttentionErrors, a_good_call_passes_with_defaults_filled_in) {
  desc.num_kv_heads = 0;
  args.keys = tensor(JD_F32, {9, 4, 64});
  args.values = tensor(JD_F32, {9, 4, 32});
  args.lse = 0;
  ASSERT_EQ(jd_search_attention_run(good_plan(), stream, &args, &error), JD_OK) << error.message;
  EXPECT_EQ(state()->last_args.search_attention.batch, 2);
  EXPECT_EQ(state()->last_args.search_attention.lse.dtype, 0);
}

TEST_F(SearchAttentionErrors, description) {
  refused_plan([](Desc &d) { d.struct_size = 8; }, {"struct_size"});
  refused_plan([](Desc &d) { d.dtype = JD_I8; }, {"argument 'dtype': expected f32, f16 or bf16", "got i8"});
  refused_plan([](Desc &d) { d.out_dtype = JD_BF16; }, {"argument 'out_dtype': expected f32"});
  refused_plan([](Desc &d) { d.offset_dtype = JD_F32; }, {"argument 'offset_dtype'"});
  refused_plan([](Desc &d) { d.num_heads = 257; }, {"argument 'num_heads'"});
  refused_plan([](Desc &d) { d.num_kv_heads = 3; }, {"argument 'num_kv_heads': expected a divisor of num_heads = 4, got 3"});
  refused_plan([](Desc &d) { d.head_dim_qk = 48; }, {"argument 'head_dim_qk': expected a multiple of 32 up to 256"});
  refused_plan([](Desc &d) { d.head_dim_v = 288; }, {"argument 'head_dim_v'"});
  refused_plan([](Desc &d) { d.scale = NAN; }, {"argument 'scale'"});
  refused_plan([](Desc &d) { d.activation = 2; }, {"argument 'activation'"});
  refused_plan([](Desc &d) { d.activation = JD_ACTIVATION_SILU; }, {"argument 'scaling_seqlen'"});
  refused_plan([](Desc &d) { d.k = 0; }, {"argument 'k': expected 1..2048, got 0"});
  refused_plan([](Desc &d) { d.bounds = JD_BOUNDS_TRUST; }, {"argument 'bounds'"});
  refused_plan([](Desc &d) { d.reserved = 1; }, {"argument 'reserved'"});
  refused_plan([](Desc &d) { d.max_batch = 0; }, {"argument 'max_batch'"});
  refused_plan([](Desc &d) { d.max_candidates = 0; }, {"argument 'max_candidates'"});
  refused_plan([](Desc &d) { d.max_history = 0; }, {"argument 'max_history'"});
}

TEST_F(SearchAttentionErrors, arguments) {
  refused_run([&](Args &a) { a.candidates = 0; }, {"argument 'candidates'"}, JD_INVALID_HANDLE);
  refused_run([&](Args &a) { a.candidates = tensor(JD_F32, {5, 4, 32}); }, {"argument 'candidates': expected shape"});
  refused_run([&](Args &a) { a.candidate_offsets = i32({0, 4, 5}); }, {"argument 'candidate_offsets'", "max_candidates", "got 4"});
  refused_run([&](Args &a) { a.keys = tensor(JD_BF16, {9, 2, 64}); }, {"argument 'keys': expected dtype f32"});
  refused_run([&](Args &a) { a.keys = tensor(JD_F32, {9, 4, 64}); }, {"argument 'keys': expected shape"});
  refused_run([&](Args &a) { a.values = tensor(JD_F32, {8, 2, 32}); }, {"argument 'values': expected shape [9, 2, 32]"});
  refused_run([&](Args &a) { a.values = closed_tensor(); }, {"argument 'values'"}, JD_CLOSED);
  refused_run([&](Args &a) { a.history_offsets = i32({0, 2, 9}); }, {"argument 'history_offsets'", "max_history", "got 7"});
  refused_run([&](Args &a) { a.indices = tensor(JD_I32, {5, 4}); }, {"argument 'indices': expected shape [5, 3]"});
  refused_run([&](Args &a) { a.indices = tensor(JD_I64, {5, 3}); }, {"argument 'indices': expected dtype i32"});
  refused_run([&](Args &a) { a.indices = tensor(JD_I32, {5, 3}, {6, 2}); }, {"argument 'indices'", "stride 1"});
  refused_run([&](Args &a) { a.out = tensor(JD_F32, {5, 4, 64}); }, {"argument 'out': expected shape"});
  refused_run([&](Args &a) { a.out = tensor(JD_F32, {5, 4, 32}, {0, 32, 1}); }, {"argument 'out'", "an address of its own"});
  refused_run([&](Args &a) { a.out = view(a.keys, 0, {5, 4, 32}, {128, 32, 1}); }, {"argument 'out': expected memory apart from 'keys'"});
  refused_run([&](Args &a) { a.lse = tensor(JD_F32, {5, 2}); }, {"argument 'lse': expected shape [5, 4]"});
  refused_run([&](Args &a) { a.lse = tensor(JD_BF16, {5, 4}); }, {"argument 'lse': expected dtype f32"});
  refused_run([&](Args &a) { a.reserved = 1; }, {"argument 'reserved'"});
}

TEST_F(SearchAttentionErrors, silu_has_no_lse) {
  desc.activation = JD_ACTIVATION_SILU;
  desc.scaling_seqlen = 100;
  const jd_tensor lse = args.lse;
  args.lse = 0;
  refused_run([&](Args &a) { a.lse = lse; }, {"argument 'lse': expected no tensor (the plan has no softmax)"});
}

}  // namespace
}  // namespace jindou::test
