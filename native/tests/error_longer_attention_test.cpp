// longer_attention: every rule of jindou/longer_attention.h, broken one at a time.
#include <cmath>
#include <functional>

#include "core_fixture.h"

namespace jindou::test {
namespace {

// 2 users of one shared global and candidates with 2 of their own: one candidate and 2 events of 4, two candidates and 1 event of 5.
// 4 heads over 2, 64 and 32 wide; histories of 9 rows in all, or 7 pages of 16.
class LongerAttentionErrors : public CoreTest {
 protected:
  using Desc = jd_longer_attention_desc;
  using Args = jd_longer_attention_args;

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
    desc.num_global = 3;
    desc.num_shared_globals = 1;
    desc.max_batch = 2;
    desc.max_candidates = 2;
    desc.max_recent = 2;
    desc.max_history = 32;
    args = make<Args>();
    args.queries = tensor(JD_F32, {11, 4, 64});
    args.q_offsets = i32({0, 5, 11});
    args.global_keys = tensor(JD_F32, {8, 2, 64});
    args.global_values = tensor(JD_F32, {8, 2, 32});
    args.global_offsets = i32({0, 3, 8});
    args.keys = tensor(JD_F32, {9, 2, 64});
    args.values = tensor(JD_F32, {9, 2, 32});
    args.k_offsets = i32({0, 4, 9});
    args.out = tensor(JD_F32, {11, 4, 32});
    args.lse = tensor(JD_F32, {11, 4});
  }
  void use_pages(int32_t dtype = JD_F32) {
    args.keys = args.values = args.k_offsets = 0;
    args.key_pages = tensor(dtype, {7, 16, 2, 64});
    args.value_pages = tensor(dtype, {7, 16, 2, 32});
    args.page_table = tensor(JD_I32, {2, 2});
    args.seq_lens = i32({9, 9});
  }
  void refused_plan(std::function<void(Desc &)> change, std::initializer_list<const char *> parts) {
    Desc d = desc;
    change(d);
    jd_plan plan = 9;
    expect_refused(jd_longer_attention_plan(device, &d, &plan, &error), JD_INVALID_ARGUMENT, error, parts);
    EXPECT_EQ(plan, 0u);
    ASSERT_EQ(jd_longer_attention_plan(device, &desc, &plan, &error), JD_OK) << error.message;
    jd_plan_destroy(plan, nullptr);
  }
  jd_plan good_plan() {
    jd_plan plan = 0;
    EXPECT_EQ(jd_longer_attention_plan(device, &desc, &plan, &error), JD_OK) << error.message;
    return keep(plan);
  }
  void refused_run(std::function<void(Args &)> change, std::initializer_list<const char *> parts,
                   jd_status expected = JD_INVALID_ARGUMENT) {
    const jd_plan plan = good_plan();
    Args a = args;
    change(a);
    const int64_t runs = state()->runs;
    expect_refused(jd_longer_attention_run(plan, stream, &a, &error), expected, error, parts);
    expect_refused(expected, expected, error, {"longer_attention: "});
    EXPECT_EQ(state()->runs, runs) << "nothing may reach the backend";
    ASSERT_EQ(jd_longer_attention_run(plan, stream, &args, &error), JD_OK) << error.message;
  }

  Desc desc;
  Args args;
};

TEST_F(LongerAttentionErrors, a_good_call_passes_with_defaults_filled_in) {
  desc.num_kv_heads = 0;
  args.keys = tensor(JD_F32, {9, 4, 64});
  args.values = tensor(JD_F32, {9, 4, 32});
  args.global_keys = tensor(JD_F32, {8, 4, 64});
  args.global_values = tensor(JD_F32, {8, 4, 32});
  args.lse = 0;
  ASSERT_EQ(jd_longer_attention_run(good_plan(), stream, &args, &error), JD_OK) << error.message;
  EXPECT_EQ(state()->last_args.longer_attention.rows.batch, 2);
  EXPECT_EQ(state()->last_args.longer_attention.rows.most_beams, 1 + 2 * 2 + 2);
  EXPECT_EQ(state()->last_args.longer_attention.rows.suffix_keys.dtype, 0);
  EXPECT_EQ(state()->last_args.longer_attention.rows.lse.dtype, 0);
}

TEST_F(LongerAttentionErrors, description) {
  refused_plan([](Desc &d) { d.struct_size = 8; }, {"struct_size"});
  refused_plan([](Desc &d) { d.dtype = JD_I8; }, {"argument 'dtype': expected f32, f16 or bf16", "got i8"});
  refused_plan([](Desc &d) { d.out_dtype = JD_BF16; }, {"argument 'out_dtype': expected f32"});
  refused_plan([](Desc &d) { d.cache_dtype = JD_BF16; }, {"argument 'cache_dtype': expected f32, f8_e4m3 or i8, got bf16"});
  refused_plan([](Desc &d) { d.offset_dtype = JD_F32; }, {"argument 'offset_dtype'"});
  refused_plan([](Desc &d) { d.num_heads = 0; }, {"argument 'num_heads'"});
  refused_plan([](Desc &d) { d.num_kv_heads = 3; }, {"argument 'num_kv_heads': expected a divisor of num_heads = 4, got 3"});
  refused_plan([](Desc &d) { d.head_dim_qk = 48; }, {"argument 'head_dim_qk': expected a multiple of 32 up to 256"});
  refused_plan([](Desc &d) { d.head_dim_v = 512; }, {"argument 'head_dim_v'"});
  refused_plan([](Desc &d) { d.scale = NAN; }, {"argument 'scale'"});
  refused_plan([](Desc &d) { d.num_global = -1; }, {"argument 'num_global': expected 0..256, got -1"});
  refused_plan([](Desc &d) { d.num_global = 257; }, {"argument 'num_global'"});
  refused_plan([](Desc &d) { d.num_shared_globals = 4; }, {"argument 'num_shared_globals': expected 0..3, got 4"});
  refused_plan([](Desc &d) { d.candidates_only = 2; }, {"argument 'candidates_only'"});
  refused_plan([](Desc &d) { d.candidates_only = 1, d.num_shared_globals = 3; },
               {"argument 'candidates_only': expected 0 where all 3 globals are shared, got 1"});
  refused_plan([](Desc &d) { d.bounds = JD_BOUNDS_TRUST; }, {"argument 'bounds'"});
  refused_plan([](Desc &d) { d.max_batch = 0; }, {"argument 'max_batch'"});
  refused_plan([](Desc &d) { d.max_candidates = 4097; }, {"argument 'max_candidates': expected 1..4096, got 4097"});
  refused_plan([](Desc &d) { d.max_recent = -1; }, {"argument 'max_recent'"});
  refused_plan([](Desc &d) { d.max_history = 131073; }, {"argument 'max_history'"});
}

TEST_F(LongerAttentionErrors, maxima_that_do_not_matter_are_ignored) {
  desc.candidates_only = 1;
  desc.max_recent = -3;
  good_plan();
  desc.candidates_only = 0;
  desc.max_recent = 2;
  desc.num_shared_globals = 3;
  desc.max_candidates = 0;
  good_plan();
}

TEST_F(LongerAttentionErrors, arguments) {
  refused_run([&](Args &a) { a.queries = 0; }, {"argument 'queries'"}, JD_INVALID_HANDLE);
  refused_run([&](Args &a) { a.queries = tensor(JD_F32, {11, 4, 32}); }, {"argument 'queries': expected shape"});
  refused_run([&](Args &a) { a.queries = tensor(JD_BF16, {11, 4, 64}); }, {"argument 'queries': expected dtype f32"});
  refused_run([&](Args &a) { a.q_offsets = i32({0, 5, 12}); }, {"argument 'q_offsets'", "at most 11"});
  refused_run([&](Args &a) { a.q_offsets = i32({0, 5, 4, 11}); }, {"argument 'q_offsets'", "max_batch of the plan"});
  refused_run([&](Args &a) { a.q_offsets = i32({0, 8, 11}); }, {"argument 'q_offsets'", "at most 7 rows", "got 8"});
  refused_run([&](Args &a) { a.out = tensor(JD_F32, {11, 4, 64}); }, {"argument 'out': expected shape"});
  refused_run([&](Args &a) { a.out = tensor(JD_F32, {11, 4, 32}, {0, 32, 1}); }, {"argument 'out'", "an address of its own"});
  refused_run([&](Args &a) { a.out = view(a.queries, 0, {11, 4, 32}); }, {"argument 'out'", "'queries'"});
  refused_run([&](Args &a) { a.lse = tensor(JD_F32, {11, 2}); }, {"argument 'lse': expected shape [11, 4]"});
  refused_run([&](Args &a) { a.lse = tensor(JD_F32, {11, 4}, {8, 2}); }, {"argument 'lse'", "stride 1"});
  refused_run([&](Args &a) { a.lse = view(a.out, 0, {11, 4}); }, {"argument 'lse'", "'out'"});
  refused_run([&](Args &a) { a.reserved = 1; }, {"argument 'reserved'"});
}

TEST_F(LongerAttentionErrors, globals) {
  refused_run([&](Args &a) { a.global_keys = 0; }, {"argument 'global_keys': expected a tensor (num_global of the plan is not 0)"});
  refused_run([&](Args &a) { a.global_values = 0; }, {"argument 'global_values': expected a tensor"});
  refused_run([&](Args &a) { a.global_offsets = 0; }, {"argument 'global_offsets': expected a tensor"});
  refused_run([&](Args &a) { a.global_keys = tensor(JD_F32, {8, 4, 64}); }, {"argument 'global_keys': expected shape"});
  refused_run([&](Args &a) { a.global_keys = tensor(JD_F32, {8, 2, 64}, {130, 64, 1}); }, {"argument 'global_keys'", "16 bytes"});
  refused_run([&](Args &a) { a.global_values = tensor(JD_F32, {7, 2, 32}); }, {"argument 'global_values': expected shape [8"});
  refused_run([&](Args &a) { a.global_values = closed_tensor(); }, {"argument 'global_values'"}, JD_CLOSED);
  refused_run([&](Args &a) { a.global_offsets = i32({0, 8}); }, {"argument 'global_offsets': expected shape [3]"});
  refused_run([&](Args &a) { a.global_offsets = i64({0, 3, 8}); }, {"argument 'global_offsets': expected dtype i32"});
  refused_run([&](Args &a) { a.global_offsets = i32({1, 3, 8}); }, {"argument 'global_offsets'", "first offset to be 0"});
  refused_run([&](Args &a) { a.global_offsets = i32({0, 2, 8}); }, {"argument 'global_offsets'", "at most 5 rows", "got 6"});
  refused_run([&](Args &a) { a.global_offsets = i32({0, 4, 8}); },
              {"argument 'global_offsets': expected 1 shared globals and whole candidates behind them, got 4 globals in sequence 0"});
  refused_run([&](Args &a) { a.global_offsets = i32({0, 5, 8}); a.k_offsets = i32({0, 7, 9}); },
              {"argument 'q_offsets': expected at most 2 queries behind the globals", "got 3 in sequence 1"});
  refused_run([&](Args &a) { a.out = view(a.global_values, 0, {8, 2, 32}); }, {"argument 'out': expected shape"});
  refused_run([&](Args &a) { a.q_offsets = i32({0, 4, 11}); a.k_offsets = i32({0, 9, 9}); },
              {"argument 'q_offsets': expected at most 0 queries behind the globals", "got 2 in sequence 1"});
  refused_run([&](Args &a) { a.q_offsets = i32({0, 4, 11}); a.global_offsets = i32({0, 5, 8}); },
              {"argument 'q_offsets': expected at least 5 queries (the globals asked for), got 4 in sequence 0"});
}

// 7 rows a user may have: 5 globals and 2 events. User 0, of 3 globals, has no more of the latter for it; in pages neither.
TEST_F(LongerAttentionErrors, events_among_the_queries_beyond_max_recent) {
  const auto three = [&](Args &a) { a.q_offsets = i32({0, 6, 11}); a.global_offsets = i32({0, 3, 8}); };
  refused_run(three, {"argument 'q_offsets': expected at most 2 queries behind the globals", "max_recent of the plan",
                      "got 3 in sequence 0"});
  use_pages();
  refused_run(three, {"argument 'q_offsets': expected at most 2 queries behind the globals", "got 3 in sequence 0"});
}

TEST_F(LongerAttentionErrors, without_globals) {
  desc.num_global = desc.num_shared_globals = 0;
  desc.max_recent = 6;
  args.global_keys = args.global_values = args.global_offsets = 0;
  args.queries = tensor(JD_F32, {9, 4, 64});
  args.q_offsets = i32({0, 4, 9});
  args.out = tensor(JD_F32, {9, 4, 32});
  args.lse = 0;
  refused_run([&](Args &a) { a.global_keys = tensor(JD_F32, {8, 2, 64}); },
              {"argument 'global_keys': expected no tensor (num_global of the plan is 0)"});
  refused_run([&](Args &a) { a.global_offsets = i32({0, 0, 0}); }, {"argument 'global_offsets': expected no tensor"});
  refused_run([&](Args &a) { a.q_offsets = i32({0, 3, 9}); }, {"argument 'q_offsets': expected at most 5 queries", "got 6 in sequence 1"});
}

TEST_F(LongerAttentionErrors, candidates_only) {
  desc.candidates_only = 1;
  args.queries = tensor(JD_F32, {6, 4, 64});
  args.q_offsets = i32({0, 2, 6});
  args.out = tensor(JD_F32, {6, 4, 32});
  args.lse = 0;
  refused_run([&](Args &a) { a.q_offsets = i32({0, 3, 6}); }, {"argument 'q_offsets': expected at most 0 queries behind the globals",
                                                              "none with candidates_only", "got 1 in sequence 0"});
  refused_run([&](Args &a) { a.q_offsets = i32({0, 4, 6}); a.global_offsets = i32({0, 5, 8}); a.k_offsets = i32({0, 10, 9}); },
              {"argument 'k_offsets'"});
  refused_run([&](Args &a) { a.q_offsets = i32({0, 1, 6}); }, {"argument 'q_offsets'"});
}

TEST_F(LongerAttentionErrors, a_history_in_rows) {
  refused_run([&](Args &a) { a.keys = 0; }, {"argument 'keys': expected a tensor (there are no key_pages)"});
  refused_run([&](Args &a) { a.k_offsets = 0; }, {"argument 'k_offsets': expected a tensor"});
  refused_run([&](Args &a) { a.keys = tensor(JD_F32, {9, 4, 64}); }, {"argument 'keys': expected shape"});
  refused_run([&](Args &a) { a.values = tensor(JD_F32, {8, 2, 32}); }, {"argument 'values': expected shape [9"});
  refused_run([&](Args &a) { a.k_offsets = i32({0, 9}); }, {"argument 'k_offsets': expected shape [3]"});
  refused_run([&](Args &a) { a.k_offsets = i32({0, 10, 9}); }, {"argument 'k_offsets'"});
  refused_run([&](Args &a) { a.page_table = tensor(JD_I32, {2, 2}); }, {"argument 'page_table': expected no tensor"});
  refused_run([&](Args &a) { a.key_scales = tensor(JD_F32, {1}); }, {"argument 'key_scales': expected no tensor"});
  desc.max_history = 5;
  refused_run([&](Args &a) { a.k_offsets = i32({0, 3, 9}); }, {"max_history of the plan", "got 6"});
}

TEST_F(LongerAttentionErrors, a_history_in_pages) {
  use_pages();
  refused_run([&](Args &a) { a.keys = tensor(JD_F32, {9, 2, 64}); }, {"argument 'keys': expected no tensor (there are key_pages)"});
  refused_run([&](Args &a) { a.value_pages = 0; }, {"argument 'value_pages': expected a tensor (there are key_pages)"});
  refused_run([&](Args &a) { a.seq_lens = 0; }, {"argument 'seq_lens': expected a tensor"});
  refused_run([&](Args &a) { a.key_pages = tensor(JD_F32, {7, 48, 2, 64}); }, {"pages of 16, 32, 64 or 128 rows, got 48"});
  refused_run([&](Args &a) { a.page_table = tensor(JD_I32, {4, 2}); }, {"argument 'page_table': expected shape [2"});
  refused_run([&](Args &a) { a.global_offsets = i32({0, 4, 8}); }, {"argument 'global_offsets': expected 1 shared globals"});
}

TEST_F(LongerAttentionErrors, quantised_histories_are_pages_with_scales) {
  desc.cache_dtype = JD_I8;
  const Args rows = args;
  use_pages(JD_I8);
  args.key_scales = tensor(JD_F32, {7, 16, 2});
  args.value_scales = tensor(JD_F32, {7, 16, 2});
  refused_run([&](Args &a) { a = rows; }, {"argument 'keys': expected key_pages (the plan's cache_dtype is i8), got rows"});
  refused_run([&](Args &a) { a.value_scales = 0; }, {"argument 'value_scales': expected a tensor (the pages are quantised)"});
  refused_run([&](Args &a) { a.key_pages = tensor(JD_F32, {7, 16, 2, 64}); }, {"argument 'key_pages': expected dtype i8"});
}

}  // namespace
}  // namespace jindou::test
