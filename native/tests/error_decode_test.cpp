// decode_attention: every rule of jindou/decode.h, broken one at a time.
#include <cmath>
#include <functional>

#include "core_fixture.h"

namespace jindou::test {
namespace {

// 3 sequences, 4 queries (at most 2 each), 4 heads over 2, 64 and 32 wide, 7 pages of 16.
class DecodeAttentionErrors : public CoreTest {
 protected:
  using Desc = jd_decode_attention_desc;
  using Args = jd_decode_attention_args;

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
    desc.max_queries = 2;
    desc.max_batch = 3;
    desc.max_seq_len = 32;
    args = make<Args>();
    args.queries = tensor(JD_F32, {4, 4, 64});
    args.q_offsets = i32({0, 2, 3, 4});
    args.key_pages = tensor(JD_F32, {7, 16, 2, 64});
    args.value_pages = tensor(JD_F32, {7, 16, 2, 32});
    args.page_table = tensor(JD_I32, {3, 2});
    args.seq_lens = i32({9, 9, 9});
    args.out = tensor(JD_F32, {4, 4, 32});
    args.lse = tensor(JD_F32, {4, 4});
  }
  void refused_plan(std::function<void(Desc &)> change, std::initializer_list<const char *> parts) {
    Desc d = desc;
    change(d);
    jd_plan plan = 9;
    expect_refused(jd_decode_attention_plan(device, &d, &plan, &error), JD_INVALID_ARGUMENT, error, parts);
    EXPECT_EQ(plan, 0u);
    ASSERT_EQ(jd_decode_attention_plan(device, &desc, &plan, &error), JD_OK) << error.message;
    jd_plan_destroy(plan, nullptr);
  }
  jd_plan good_plan() {
    jd_plan plan = 0;
    EXPECT_EQ(jd_decode_attention_plan(device, &desc, &plan, &error), JD_OK) << error.message;
    return keep(plan);
  }
  void refused_run(std::function<void(Args &)> change, std::initializer_list<const char *> parts,
                   jd_status expected = JD_INVALID_ARGUMENT) {
    const jd_plan plan = good_plan();
    Args a = args;
    change(a);
    const int64_t runs = state()->runs;
    expect_refused(jd_decode_attention_run(plan, stream, &a, &error), expected, error, parts);
    expect_refused(expected, expected, error, {"decode_attention: "});
    EXPECT_EQ(state()->runs, runs) << "nothing may reach the backend";
    ASSERT_EQ(jd_decode_attention_run(plan, stream, &args, &error), JD_OK) << error.message;
  }

  Desc desc;
  Args args;
};

TEST_F(DecodeAttentionErrors, a_good_call_passes_with_defaults_filled_in) {
  desc.num_kv_heads = 0;
  args.key_pages = tensor(JD_F32, {7, 16, 4, 64});
  args.value_pages = tensor(JD_F32, {7, 16, 4, 32});
  args.lse = 0;
  ASSERT_EQ(jd_decode_attention_run(good_plan(), stream, &args, &error), JD_OK) << error.message;
  EXPECT_EQ(state()->last_args.decode_attention.batch, 3);
  EXPECT_EQ(state()->last_args.decode_attention.lse.dtype, 0);
}

TEST_F(DecodeAttentionErrors, description) {
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
  refused_plan([](Desc &d) { d.max_queries = 17; }, {"argument 'max_queries': expected 1..16, got 17"});
  refused_plan([](Desc &d) { d.max_batch = 0; }, {"argument 'max_batch'"});
  refused_plan([](Desc &d) { d.max_seq_len = 131073; }, {"argument 'max_seq_len'"});
}

TEST_F(DecodeAttentionErrors, arguments) {
  refused_run([&](Args &a) { a.queries = 0; }, {"argument 'queries'"}, JD_INVALID_HANDLE);
  refused_run([&](Args &a) { a.queries = tensor(JD_F32, {4, 4, 32}); }, {"argument 'queries': expected shape"});
  refused_run([&](Args &a) { a.queries = tensor(JD_BF16, {4, 4, 64}); }, {"argument 'queries': expected dtype f32"});
  refused_run([&](Args &a) { a.q_offsets = i32({0, 2, 3, 5}); }, {"argument 'q_offsets'", "at most 4"});
  refused_run([&](Args &a) { a.q_offsets = i32({0, 3, 3, 4}); }, {"argument 'q_offsets'", "max_queries of the plan", "got 3"});
  refused_run([&](Args &a) { a.key_pages = tensor(JD_F32, {7, 48, 2, 64}); }, {"pages of 16, 32, 64 or 128 rows, got 48"});
  refused_run([&](Args &a) { a.key_pages = tensor(JD_F32, {7, 16, 4, 64}); }, {"argument 'key_pages': expected shape"});
  refused_run([&](Args &a) { a.key_pages = tensor(JD_F32, {7, 16, 128}); }, {"argument 'key_pages': expected rank 4"});
  refused_run([&](Args &a) { a.value_pages = tensor(JD_F32, {7, 32, 2, 32}); }, {"argument 'value_pages': expected shape"});
  refused_run([&](Args &a) { a.page_table = tensor(JD_I32, {4, 2}); }, {"argument 'page_table': expected shape [3"});
  refused_run([&](Args &a) { a.seq_lens = i32({9, 9}); }, {"argument 'seq_lens'"});
  refused_run([&](Args &a) { a.seq_lens = closed_tensor(); }, {"argument 'seq_lens'"}, JD_CLOSED);
  refused_run([&](Args &a) { a.key_scales = tensor(JD_F32, {1}); }, {"argument 'key_scales'", "not quantised"});
  refused_run([&](Args &a) { a.out = tensor(JD_F32, {4, 4, 64}); }, {"argument 'out': expected shape"});
  refused_run([&](Args &a) { a.out = tensor(JD_F32, {4, 4, 32}, {0, 32, 1}); }, {"argument 'out'", "an address of its own"});
  refused_run([&](Args &a) { a.out = a.value_pages; }, {"argument 'out'"});
  refused_run([&](Args &a) { a.lse = tensor(JD_F32, {4, 2}); }, {"argument 'lse': expected shape [4, 4]"});
  refused_run([&](Args &a) { a.lse = tensor(JD_BF16, {4, 4}); }, {"argument 'lse': expected dtype f32"});
  refused_run([&](Args &a) { a.lse = tensor(JD_F32, {4, 4}, {8, 2}); }, {"argument 'lse'", "stride 1"});
  refused_run([&](Args &a) { a.reserved = 1; }, {"argument 'reserved'"});
}

TEST_F(DecodeAttentionErrors, quantised_pages_want_scales) {
  desc.cache_dtype = JD_I8;
  args.key_pages = tensor(JD_I8, {7, 16, 2, 64});
  args.value_pages = tensor(JD_I8, {7, 16, 2, 32});
  args.key_scales = tensor(JD_F32, {7, 16, 2});
  args.value_scales = tensor(JD_F32, {7, 16, 2});
  refused_run([&](Args &a) { a.value_scales = 0; }, {"argument 'value_scales': expected a tensor (the pages are quantised)"});
  refused_run([&](Args &a) { a.key_scales = tensor(JD_F32, {1}); }, {"argument 'key_scales': expected rank 3"});
  refused_run([&](Args &a) { a.key_pages = tensor(JD_F32, {7, 16, 2, 64}); }, {"argument 'key_pages': expected dtype i8"});
}

}  // namespace
}  // namespace jindou::test
