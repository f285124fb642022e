// beam_attention: every rule of jindou/beam_attention.h, broken one at a time.
#include <cmath>
#include <functional>

#include "core_fixture.h"

namespace jindou::test {
namespace {

// 3 requests with 5 beams (at most 2 each), 4 heads over 2, 64 and 32 wide; prefixes of 9 rows in all, or 7 pages of 16; suffixes of
// 2 levels and 3 slots.
class BeamAttentionErrors : public CoreTest {
 protected:
  using Desc = jd_beam_attention_desc;
  using Args = jd_beam_attention_args;

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
    desc.max_beams = 2;
    desc.max_batch = 3;
    desc.max_prefix = 32;
    args = make<Args>();
    args.queries = tensor(JD_F32, {5, 4, 64});
    args.beam_offsets = i32({0, 2, 3, 5});
    args.keys = tensor(JD_F32, {9, 2, 64});
    args.values = tensor(JD_F32, {9, 2, 32});
    args.prefix_offsets = i32({0, 4, 4, 9});
    args.suffix_keys = tensor(JD_F32, {3, 2, 3, 2, 64});
    args.suffix_values = tensor(JD_F32, {3, 2, 3, 2, 32});
    args.ancestry = tensor(JD_I32, {3, 2, 3});
    args.suffix_lens = i32({2, 1, 0});
    args.out = tensor(JD_F32, {5, 4, 32});
    args.lse = tensor(JD_F32, {5, 4});
  }
  void use_pages(int32_t dtype = JD_F32) {
    args.keys = args.values = args.prefix_offsets = 0;
    args.key_pages = tensor(dtype, {7, 16, 2, 64});
    args.value_pages = tensor(dtype, {7, 16, 2, 32});
    args.page_table = tensor(JD_I32, {3, 2});
    args.seq_lens = i32({9, 9, 9});
  }
  void refused_plan(std::function<void(Desc &)> change, std::initializer_list<const char *> parts) {
    Desc d = desc;
    change(d);
    jd_plan plan = 9;
    expect_refused(jd_beam_attention_plan(device, &d, &plan, &error), JD_INVALID_ARGUMENT, error, parts);
    EXPECT_EQ(plan, 0u);
    ASSERT_EQ(jd_beam_attention_plan(device, &desc, &plan, &error), JD_OK) << error.message;
    jd_plan_destroy(plan, nullptr);
  }
  jd_plan good_plan() {
    jd_plan plan = 0;
    EXPECT_EQ(jd_beam_attention_plan(device, &desc, &plan, &error), JD_OK) << error.message;
    return keep(plan);
  }
  void refused_run(std::function<void(Args &)> change, std::initializer_list<const char *> parts,
                   jd_status expected = JD_INVALID_ARGUMENT) {
    const jd_plan plan = good_plan();
    Args a = args;
    change(a);
    const int64_t runs = state()->runs;
    expect_refused(jd_beam_attention_run(plan, stream, &a, &error), expected, error, parts);
    expect_refused(expected, expected, error, {"beam_attention: "});
    EXPECT_EQ(state()->runs, runs) << "nothing may reach the backend";
    ASSERT_EQ(jd_beam_attention_run(plan, stream, &args, &error), JD_OK) << error.message;
  }

  Desc desc;
  Args args;
};

TEST_F(BeamAttentionErrors, a_good_call_passes_with_defaults_filled_in) {
  desc.num_kv_heads = 0;
  args.keys = tensor(JD_F32, {9, 4, 64});
  args.values = tensor(JD_F32, {9, 4, 32});
  args.suffix_keys = args.suffix_values = args.ancestry = args.suffix_lens = args.lse = 0;
  ASSERT_EQ(jd_beam_attention_run(good_plan(), stream, &args, &error), JD_OK) << error.message;
  EXPECT_EQ(state()->last_args.beam_attention.batch, 3);
  EXPECT_EQ(state()->last_args.beam_attention.most_beams, 2);
  EXPECT_EQ(state()->last_args.beam_attention.suffix_keys.dtype, 0);
}

TEST_F(BeamAttentionErrors, description) {
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
  refused_plan([](Desc &d) { d.bounds = JD_BOUNDS_TRUST; }, {"argument 'bounds'"});
  refused_plan([](Desc &d) { d.max_beams = 4097; }, {"argument 'max_beams': expected 1..4096, got 4097"});
  refused_plan([](Desc &d) { d.max_batch = 0; }, {"argument 'max_batch'"});
  refused_plan([](Desc &d) { d.max_prefix = 131073; }, {"argument 'max_prefix'"});
}

TEST_F(BeamAttentionErrors, arguments) {
  refused_run([&](Args &a) { a.queries = 0; }, {"argument 'queries'"}, JD_INVALID_HANDLE);
  refused_run([&](Args &a) { a.queries = tensor(JD_F32, {5, 4, 32}); }, {"argument 'queries': expected shape"});
  refused_run([&](Args &a) { a.queries = tensor(JD_BF16, {5, 4, 64}); }, {"argument 'queries': expected dtype f32"});
  refused_run([&](Args &a) { a.beam_offsets = i32({0, 2, 3, 6}); }, {"argument 'beam_offsets'", "at most 5"});
  refused_run([&](Args &a) { a.beam_offsets = i32({0, 3, 3, 5}); }, {"argument 'beam_offsets'", "max_beams of the plan", "got 3"});
  refused_run([&](Args &a) { a.out = tensor(JD_F32, {5, 4, 64}); }, {"argument 'out': expected shape"});
  refused_run([&](Args &a) { a.out = tensor(JD_F32, {5, 4, 32}, {0, 32, 1}); }, {"argument 'out'", "an address of its own"});
  refused_run([&](Args &a) { a.out = view(a.suffix_values, 0, {5, 4, 32}); }, {"argument 'out'", "'suffix_values'"});
  refused_run([&](Args &a) { a.lse = tensor(JD_F32, {5, 2}); }, {"argument 'lse': expected shape [5, 4]"});
  refused_run([&](Args &a) { a.lse = tensor(JD_BF16, {5, 4}); }, {"argument 'lse': expected dtype f32"});
  refused_run([&](Args &a) { a.lse = tensor(JD_F32, {5, 4}, {8, 2}); }, {"argument 'lse'", "stride 1"});
  refused_run([&](Args &a) { a.lse = view(a.out, 0, {5, 4}); }, {"argument 'lse'", "'out'"});
  refused_run([&](Args &a) { a.reserved = 1; }, {"argument 'reserved'"});
}

TEST_F(BeamAttentionErrors, a_prefix_in_rows) {
  refused_run([&](Args &a) { a.keys = 0; }, {"argument 'keys': expected a tensor (there are no key_pages)"});
  refused_run([&](Args &a) { a.prefix_offsets = 0; }, {"argument 'prefix_offsets': expected a tensor"});
  refused_run([&](Args &a) { a.keys = tensor(JD_F32, {9, 4, 64}); }, {"argument 'keys': expected shape"});
  refused_run([&](Args &a) { a.values = tensor(JD_F32, {8, 2, 32}); }, {"argument 'values': expected shape [9"});
  refused_run([&](Args &a) { a.values = closed_tensor(); }, {"argument 'values'"}, JD_CLOSED);
  refused_run([&](Args &a) { a.prefix_offsets = i32({0, 4, 9}); }, {"argument 'prefix_offsets': expected shape [4]"});
  refused_run([&](Args &a) { a.prefix_offsets = i32({0, 5, 4, 9}); }, {"argument 'prefix_offsets'", "non-decreasing"});
  refused_run([&](Args &a) { a.page_table = tensor(JD_I32, {3, 2}); }, {"argument 'page_table': expected no tensor"});
  refused_run([&](Args &a) { a.seq_lens = i32({9, 9, 9}); }, {"argument 'seq_lens': expected no tensor"});
  refused_run([&](Args &a) { a.key_scales = tensor(JD_F32, {1}); }, {"argument 'key_scales': expected no tensor"});
  desc.max_prefix = 5;
  refused_run([&](Args &a) { a.prefix_offsets = i32({0, 6, 6, 9}); }, {"max_prefix of the plan", "got 6"});
}

TEST_F(BeamAttentionErrors, a_prefix_in_pages) {
  use_pages();
  refused_run([&](Args &a) { a.keys = tensor(JD_F32, {9, 2, 64}); }, {"argument 'keys': expected no tensor (there are key_pages)"});
  refused_run([&](Args &a) { a.value_pages = 0; }, {"argument 'value_pages': expected a tensor (there are key_pages)"});
  refused_run([&](Args &a) { a.seq_lens = 0; }, {"argument 'seq_lens': expected a tensor"});
  refused_run([&](Args &a) { a.key_pages = tensor(JD_F32, {7, 48, 2, 64}); }, {"pages of 16, 32, 64 or 128 rows, got 48"});
  refused_run([&](Args &a) { a.key_pages = tensor(JD_F32, {7, 16, 128}); }, {"argument 'key_pages': expected rank 4"});
  refused_run([&](Args &a) { a.page_table = tensor(JD_I32, {4, 2}); }, {"argument 'page_table': expected shape [3"});
  refused_run([&](Args &a) { a.key_scales = tensor(JD_F32, {1}); }, {"argument 'key_scales'", "not quantised"});
}

TEST_F(BeamAttentionErrors, quantised_prefixes_are_pages_with_scales) {
  desc.cache_dtype = JD_I8;
  const Args rows = args;
  use_pages(JD_I8);
  args.key_scales = tensor(JD_F32, {7, 16, 2});
  args.value_scales = tensor(JD_F32, {7, 16, 2});
  refused_run([&](Args &a) { a = rows; }, {"argument 'keys': expected key_pages (the plan's cache_dtype is i8), got rows"});
  refused_run([&](Args &a) { a.value_scales = 0; }, {"argument 'value_scales': expected a tensor (the pages are quantised)"});
  refused_run([&](Args &a) { a.key_pages = tensor(JD_F32, {7, 16, 2, 64}); }, {"argument 'key_pages': expected dtype i8"});
}

TEST_F(BeamAttentionErrors, the_suffix) {
  refused_run([&](Args &a) { a.suffix_keys = 0; }, {"argument 'suffix_values': expected no tensor (there are no suffix_keys)"});
  refused_run([&](Args &a) { a.suffix_keys = a.suffix_values = a.ancestry = 0; }, {"argument 'suffix_lens': expected no tensor"});
  refused_run([&](Args &a) { a.suffix_values = 0; }, {"argument 'suffix_values': expected a tensor (there are suffix_keys)"});
  refused_run([&](Args &a) { a.ancestry = 0; }, {"argument 'ancestry': expected a tensor"});
  refused_run([&](Args &a) { a.suffix_keys = tensor(JD_F32, {2, 2, 3, 2, 64}); }, {"argument 'suffix_keys': expected shape [3"});
  refused_run([&](Args &a) { a.suffix_keys = tensor(JD_F32, {3, 2, 3, 128}); }, {"argument 'suffix_keys': expected rank 5"});
  refused_run([&](Args &a) { a.suffix_values = tensor(JD_F32, {3, 2, 4, 2, 32}); }, {"argument 'suffix_values': expected shape [3, 2, 3"});
  refused_run([&](Args &a) { a.suffix_values = tensor(JD_F32, {3, 2, 3, 2, 32}, {384, 192, 64, 33, 1}); },
              {"argument 'suffix_values'", "16 bytes"});
  refused_run([&](Args &a) { a.ancestry = tensor(JD_I32, {3, 3, 3}); }, {"argument 'ancestry': expected shape [3, 2, 3]"});
  refused_run([&](Args &a) { a.ancestry = tensor(JD_I64, {3, 2, 3}); }, {"argument 'ancestry': expected dtype i32"});
  refused_run([&](Args &a) { a.suffix_lens = i32({1, 1}); }, {"argument 'suffix_lens': expected shape [3]"});
  desc.max_beams = 9;
  refused_run(
      [&](Args &a) {
        a.suffix_keys = tensor(JD_F32, {3, 2, 1, 2, 64});
        a.suffix_values = tensor(JD_F32, {3, 2, 1, 2, 32});
        a.ancestry = tensor(JD_I32, {3, 2, 1});
      },
      {"argument 'beam_offsets'", "at most 1 rows (slots of 'suffix_keys')", "got 2"});
}

}  // namespace
}  // namespace jindou::test
