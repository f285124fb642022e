// softmax_attention and merge_attention_states: every rule of jindou/softmax_attention.h, broken one at a time.
#include <cmath>
#include <functional>

#include "core_fixture.h"

namespace jindou::test {
namespace {

// 3 sequences of 4 queries and 5 keys, 4 heads over 2, 64 and 32 wide.
class SoftmaxAttentionErrors : public CoreTest {
 protected:
  using Desc = jd_softmax_attention_desc;
  using Args = jd_softmax_attention_args;

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
    desc.max_batch = 3;
    desc.max_queries = 2;
    desc.max_keys = 3;
    args = make<Args>();
    args.queries = tensor(JD_F32, {4, 4, 64});
    args.q_offsets = i32({0, 2, 3, 4});
    args.keys = tensor(JD_F32, {5, 2, 64});
    args.values = tensor(JD_F32, {5, 2, 32});
    args.k_offsets = i32({0, 3, 3, 5});
    args.out = tensor(JD_F32, {4, 4, 32});
    args.lse = tensor(JD_F32, {4, 4});
  }
  void refused_plan(std::function<void(Desc &)> change, std::initializer_list<const char *> parts) {
    Desc d = desc;
    change(d);
    jd_plan plan = 9;
    expect_refused(jd_softmax_attention_plan(device, &d, &plan, &error), JD_INVALID_ARGUMENT, error, parts);
    EXPECT_EQ(plan, 0u);
    ASSERT_EQ(jd_softmax_attention_plan(device, &desc, &plan, &error), JD_OK) << error.message;
    jd_plan_destroy(plan, nullptr);
  }
  jd_plan good_plan() {
    jd_plan plan = 0;
    EXPECT_EQ(jd_softmax_attention_plan(device, &desc, &plan, &error), JD_OK) << error.message;
    return keep(plan);
  }
  void refused_run(std::function<void(Args &)> change, std::initializer_list<const char *> parts,
                   jd_status expected = JD_INVALID_ARGUMENT) {
    const jd_plan plan = good_plan();
    Args a = args;
    change(a);
    const int64_t runs = state()->runs;
    expect_refused(jd_softmax_attention_run(plan, stream, &a, &error), expected, error, parts);
    expect_refused(expected, expected, error, {"softmax_attention: "});
    EXPECT_EQ(state()->runs, runs) << "nothing may reach the backend";
    ASSERT_EQ(jd_softmax_attention_run(plan, stream, &args, &error), JD_OK) << error.message;
  }

  Desc desc;
  Args args;
};

TEST_F(SoftmaxAttentionErrors, a_good_call_passes_with_defaults_filled_in) {
  desc.num_kv_heads = 0;
  desc.left = desc.right = desc.t5_num_buckets = -7;  // ignored
  args.keys = tensor(JD_F32, {5, 4, 64});
  args.values = tensor(JD_F32, {5, 4, 32});
  args.lse = 0;
  ASSERT_EQ(jd_softmax_attention_run(good_plan(), stream, &args, &error), JD_OK) << error.message;
  EXPECT_EQ(state()->last_args.softmax_attention.batch, 3);
  EXPECT_EQ(state()->last_args.softmax_attention.lse.dtype, 0);
  EXPECT_EQ(state()->last_args.softmax_attention.bias.dtype, 0);
}

TEST_F(SoftmaxAttentionErrors, description) {
  refused_plan([](Desc &d) { d.struct_size = 8; }, {"struct_size"});
  refused_plan([](Desc &d) { d.dtype = JD_I8; }, {"argument 'dtype': expected f32, f16 or bf16", "got i8"});
  refused_plan([](Desc &d) { d.out_dtype = JD_BF16; }, {"argument 'out_dtype': expected f32"});
  refused_plan([](Desc &d) { d.dtype = JD_F16; d.out_dtype = JD_BF16; }, {"argument 'out_dtype': expected f16 or f32"});
  refused_plan([](Desc &d) { d.offset_dtype = JD_F32; }, {"argument 'offset_dtype'"});
  refused_plan([](Desc &d) { d.num_heads = 0; }, {"argument 'num_heads'"});
  refused_plan([](Desc &d) { d.num_kv_heads = 3; }, {"argument 'num_kv_heads': expected a divisor of num_heads = 4, got 3"});
  refused_plan([](Desc &d) { d.head_dim_qk = 48; }, {"argument 'head_dim_qk': expected 32, 64, 96, 128, 192 or 256, got 48"});
  refused_plan([](Desc &d) { d.head_dim_v = 160; }, {"argument 'head_dim_v'"});
  refused_plan([](Desc &d) { d.scale = NAN; }, {"argument 'scale'"});
  refused_plan([](Desc &d) { d.softcap = -1; }, {"argument 'softcap': expected a finite number >= 0, got -1"});
  refused_plan([](Desc &d) { d.softcap = INFINITY; }, {"argument 'softcap'"});
  refused_plan([](Desc &d) { d.mask = 3; }, {"argument 'mask': expected 0..2, got 3"});
  refused_plan([](Desc &d) { d.mask = JD_MASK_WINDOW; d.left = -2; }, {"argument 'left': expected -1..2147483647, got -2"});
  refused_plan([](Desc &d) { d.mask = JD_MASK_WINDOW; d.right = -2; }, {"argument 'right'"});
  refused_plan([](Desc &d) { d.sink = -1; }, {"argument 'sink'"});
  refused_plan([](Desc &d) { d.prefix = -1; }, {"argument 'prefix'"});
  refused_plan([](Desc &d) { d.num_global = -1; }, {"argument 'num_global'"});
  refused_plan([](Desc &d) { d.bias = 4; }, {"argument 'bias': expected 0..3, got 4"});
  refused_plan([](Desc &d) { d.bounds = JD_BOUNDS_TRUST; }, {"argument 'bounds'"});
  refused_plan([](Desc &d) { d.reserved = 1; }, {"argument 'reserved'"});
  refused_plan([](Desc &d) { d.max_batch = 0; }, {"argument 'max_batch'"});
  refused_plan([](Desc &d) { d.max_queries = 0; }, {"argument 'max_queries'"});
  refused_plan([](Desc &d) { d.max_keys = 1048577; }, {"argument 'max_keys': expected 1..1048576, got 1048577"});
}

TEST_F(SoftmaxAttentionErrors, description_of_t5) {
  desc.bias = JD_BIAS_T5;
  desc.t5_num_buckets = 32;
  desc.t5_max_distance = 128;
  desc.t5_bidirectional = 1;
  refused_plan([](Desc &d) { d.t5_bidirectional = 2; }, {"argument 't5_bidirectional'"});
  refused_plan([](Desc &d) { d.t5_num_buckets = 2; }, {"argument 't5_num_buckets': expected 4..1024, got 2"});
  refused_plan([](Desc &d) { d.t5_num_buckets = 1025; }, {"argument 't5_num_buckets'"});
  refused_plan([](Desc &d) { d.t5_num_buckets = 33; }, {"argument 't5_num_buckets': expected an even number", "got 33"});
  refused_plan([](Desc &d) { d.t5_max_distance = 8; }, {"argument 't5_max_distance': expected 9..1048576, got 8"});
  refused_plan([](Desc &d) { d.t5_bidirectional = 0; d.t5_max_distance = 16; }, {"argument 't5_max_distance': expected 17..1048576"});
}

TEST_F(SoftmaxAttentionErrors, arguments) {
  refused_run([&](Args &a) { a.queries = 0; }, {"argument 'queries'"}, JD_INVALID_HANDLE);
  refused_run([&](Args &a) { a.queries = tensor(JD_F32, {4, 4, 32}); }, {"argument 'queries': expected shape"});
  refused_run([&](Args &a) { a.queries = tensor(JD_BF16, {4, 4, 64}); }, {"argument 'queries': expected dtype f32"});
  refused_run([&](Args &a) { a.queries = tensor(JD_F32, {4, 4, 64}, {}, 4); }, {"argument 'queries'", "aligned to 16 bytes"});
  refused_run([&](Args &a) { a.queries = tensor(JD_F32, {4, 4, 64}, {258, 64, 1}); }, {"argument 'queries'", "multiples of 16 bytes"});
  refused_run([&](Args &a) { a.q_offsets = i64({0, 2, 3, 4}); }, {"argument 'q_offsets': expected dtype i32"});
  refused_run([&](Args &a) { a.q_offsets = i32({0, 2, 3, 4, 4}); }, {"argument 'q_offsets'", "max_batch"});
  refused_run([&](Args &a) { a.q_offsets = i32({0, 2, 3, 5}); }, {"argument 'q_offsets'", "at most 4"});
  refused_run([&](Args &a) { a.q_offsets = i32({0, 2, 1, 4}); }, {"argument 'q_offsets'", "non-decreasing"});
  refused_run([&](Args &a) { a.q_offsets = i32({0, 3, 3, 4}); }, {"argument 'q_offsets'", "(max_queries of the plan)", "got 3"});
  refused_run([&](Args &a) { a.keys = tensor(JD_F32, {5, 4, 64}); }, {"argument 'keys': expected shape"});
  refused_run([&](Args &a) { a.values = tensor(JD_F32, {4, 2, 32}); }, {"argument 'values': expected shape [5, 2, 32]"});
  refused_run([&](Args &a) { a.values = closed_tensor(); }, {"argument 'values'"}, JD_CLOSED);
  refused_run([&](Args &a) { a.k_offsets = i32({0, 3, 5}); }, {"argument 'k_offsets': expected shape [4], got [3]"});
  refused_run([&](Args &a) { a.k_offsets = i32({0, 3, 3, 4}); }, {"argument 'k_offsets'", "the last offset to be 5"});
  refused_run([&](Args &a) { a.k_offsets = i32({0, 4, 4, 5}); }, {"argument 'k_offsets'", "(max_keys of the plan)", "got 4 in sequence 0"});
  refused_run([&](Args &a) { a.alibi_slopes = tensor(JD_F32, {4}); }, {"argument 'alibi_slopes': expected no tensor"});
  refused_run([&](Args &a) { a.t5_bias = tensor(JD_F32, {4, 4}); }, {"argument 't5_bias': expected no tensor"});
  refused_run([&](Args &a) { a.bias = tensor(JD_F32, {4, 2, 3}); }, {"argument 'bias': expected no tensor"});
  refused_run([&](Args &a) { a.out = tensor(JD_F32, {4, 4, 64}); }, {"argument 'out': expected shape"});
  refused_run([&](Args &a) { a.out = tensor(JD_F32, {4, 4, 32}, {0, 32, 1}); }, {"argument 'out'", "an address of its own"});
  refused_run([&](Args &a) { a.out = view(a.queries, 0, {4, 4, 32}, {256, 64, 1}); }, {"argument 'out'", "apart from 'queries'"});
  refused_run([&](Args &a) { a.lse = tensor(JD_F32, {4, 2}); }, {"argument 'lse': expected shape [4, 4]"});
  refused_run([&](Args &a) { a.lse = tensor(JD_BF16, {4, 4}); }, {"argument 'lse': expected dtype f32"});
  refused_run([&](Args &a) { a.lse = tensor(JD_F32, {4, 4}, {8, 2}); }, {"argument 'lse'", "stride 1"});
  refused_run([&](Args &a) { a.lse = view(a.out, 0, {4, 4}, {128, 1}); }, {"argument 'lse'", "apart from 'out'"});
  refused_run([&](Args &a) { a.reserved = 1; }, {"argument 'reserved'"});
}

TEST_F(SoftmaxAttentionErrors, biases) {
  desc.bias = JD_BIAS_ALIBI;
  args.alibi_slopes = tensor(JD_F32, {4});
  refused_run([&](Args &a) { a.alibi_slopes = 0; }, {"argument 'alibi_slopes': expected a tensor (the bias of the plan)"});
  refused_run([&](Args &a) { a.alibi_slopes = tensor(JD_F32, {2}); }, {"argument 'alibi_slopes': expected shape [4]"});
  refused_run([&](Args &a) { a.alibi_slopes = tensor(JD_BF16, {4}); }, {"argument 'alibi_slopes': expected dtype f32"});
  refused_run([&](Args &a) { a.alibi_slopes = tensor(JD_F32, {4}, {2}); }, {"argument 'alibi_slopes'", "stride 1"});
  args.alibi_slopes = 0;

  desc.bias = JD_BIAS_T5;
  desc.t5_num_buckets = 32;
  desc.t5_max_distance = 128;
  args.t5_bias = tensor(JD_F32, {32, 4});
  refused_run([&](Args &a) { a.t5_bias = 0; }, {"argument 't5_bias': expected a tensor"});
  refused_run([&](Args &a) { a.t5_bias = tensor(JD_F32, {31, 4}); }, {"argument 't5_bias': expected shape [32, 4]"});
  args.t5_bias = 0;

  desc.bias = JD_BIAS_DENSE;
  args.bias = tensor(JD_F32, {3, 4, 2, 3});
  refused_run([&](Args &a) { a.bias = 0; }, {"argument 'bias': expected a tensor"});
  refused_run([&](Args &a) { a.bias = tensor(JD_F32, {2, 2, 3}); }, {"argument 'bias': expected shape [4, "});
  refused_run([&](Args &a) { a.bias = tensor(JD_F32, {2, 4, 2, 3}); }, {"argument 'bias': expected shape [3, 4, "});
  refused_run([&](Args &a) { a.bias = tensor(JD_F32, {2, 3}); }, {"argument 'bias': expected rank 3"});
  refused_run([&](Args &a) { a.bias = tensor(JD_F32, {4, 1, 3}); }, {"argument 'q_offsets'", "at most 1 rows (Q of 'bias'), got 2"});
  refused_run([&](Args &a) { a.bias = tensor(JD_F32, {4, 2, 2}); }, {"argument 'k_offsets'", "at most 2 rows (K of 'bias'), got 3"});
  args.bias = tensor(JD_F32, {4, 2, 3}, {0, 3, 1});  // one for all heads
  ASSERT_EQ(jd_softmax_attention_run(good_plan(), stream, &args, &error), JD_OK) << error.message;
}

// What kernels find on devices whose memory the host does not read.
TEST_F(SoftmaxAttentionErrors, findings_of_the_kernels) {
  const auto report = [&](int32_t fault, int32_t table, std::initializer_list<const char *> parts) {
    state()->next_report = {1, fault, JDB_OP_SOFTMAX_ATTENTION, table, 2, 7, 3, 0};
    expect_refused(jd_stream_synchronize(stream, &error), JD_OUT_OF_BOUNDS, error, parts);
  };
  report(JDB_FAULT_OFFSET_ORDER, 0, {"softmax_attention: argument 'q_offsets'", "sequence 2"});
  report(JDB_FAULT_OFFSET_START, 1, {"softmax_attention: argument 'k_offsets'", "got 7"});
  report(JDB_FAULT_LENGTH, 1, {"argument 'k_offsets'", "at most 3 rows", "(or the size of its bias)", "got 7 in sequence 2"});
}

// 3 rows of 2 heads of 64.
class MergeAttentionStatesErrors : public CoreTest {
 protected:
  using Args = jd_merge_attention_states_args;

  void SetUp() override {
    CoreTest::SetUp();
    args = make<Args>();
    args.out_a = tensor(JD_F32, {3, 2, 64});
    args.lse_a = tensor(JD_F32, {3, 2});
    args.out_b = tensor(JD_F32, {3, 2, 64});
    args.lse_b = tensor(JD_F32, {3, 2});
    args.out = tensor(JD_F32, {3, 2, 64});
    args.lse = tensor(JD_F32, {3, 2});
  }
  void passes(std::function<void(Args &)> change) {
    Args a = args;
    change(a);
    EXPECT_EQ(jd_merge_attention_states(stream, &a, &error), JD_OK) << error.message;
  }
  void refused(std::function<void(Args &)> change, std::initializer_list<const char *> parts,
               jd_status expected = JD_INVALID_ARGUMENT) {
    Args a = args;
    change(a);
    const int64_t runs = state()->runs;
    expect_refused(jd_merge_attention_states(stream, &a, &error), expected, error, parts);
    expect_refused(expected, expected, error, {"merge_attention_states: "});
    EXPECT_EQ(state()->runs, runs) << "nothing may reach the backend";
    passes([](Args &) {});
  }

  Args args;
};

TEST_F(MergeAttentionStatesErrors, good_calls) {
  passes([](Args &) {});
  EXPECT_EQ(state()->last_op, JDB_OP_MERGE_ATTENTION_STATES);
  passes([](Args &a) { a.lse = 0; });
  passes([](Args &a) { a.out = a.out_a, a.lse = a.lse_a; });  // in place
  passes([](Args &a) { a.out = a.out_b, a.lse = a.lse_b; });
  passes([&](Args &a) { a.out = tensor(JD_BF16, {3, 2, 64}); });
  passes([&](Args &a) {
    a.out_a = tensor(JD_F16, {3, 2, 64});
    a.out_b = tensor(JD_F16, {3, 2, 64});
    a.out = tensor(JD_F16, {3, 2, 64});
  });
}

TEST_F(MergeAttentionStatesErrors, arguments) {
  refused([](Args &a) { a.struct_size = 8; }, {"struct_size"});
  refused([](Args &a) { a.out_a = 0; }, {"argument 'out_a'"}, JD_INVALID_HANDLE);
  refused([&](Args &a) { a.out_a = tensor(JD_I8, {3, 2, 64}); }, {"argument 'out_a': expected f32, f16 or bf16"});
  refused([&](Args &a) { a.out_a = tensor(JD_F32, {3, 2, 48}); }, {"argument 'out_a'", "multiple of 32 columns"});
  refused([&](Args &a) { a.out_a = tensor(JD_F32, {6, 64}); }, {"argument 'out_a': expected rank 3"});
  refused([&](Args &a) { a.lse_a = tensor(JD_F32, {2, 3}); }, {"argument 'lse_a': expected shape [3, 2]"});
  refused([&](Args &a) { a.out_b = tensor(JD_BF16, {3, 2, 64}); }, {"argument 'out_b': expected dtype f32"});
  refused([&](Args &a) { a.out_b = tensor(JD_F32, {4, 2, 64}); }, {"argument 'out_b': expected shape"});
  refused([&](Args &a) { a.out_b = tensor(JD_F32, {3, 2, 64}, {}, 4); }, {"argument 'out_b'", "aligned to 16 bytes"});
  refused([&](Args &a) { a.lse_b = tensor(JD_F16, {3, 2}); }, {"argument 'lse_b': expected dtype f32"});
  refused([&](Args &a) { a.lse_b = tensor(JD_F32, {3, 2}, {4, 2}); }, {"argument 'lse_b'", "stride 1"});
  refused([&](Args &a) { a.out = tensor(JD_I32, {3, 2, 64}); }, {"argument 'out': expected f32, f16 or bf16"});
  refused([&](Args &a) {
    a.out_a = tensor(JD_F16, {3, 2, 64});
    a.out_b = tensor(JD_F16, {3, 2, 64});
    a.out = tensor(JD_BF16, {3, 2, 64});
  }, {"argument 'out': expected f16 or f32"});
  refused([&](Args &a) { a.out = tensor(JD_F32, {3, 2, 32}); }, {"argument 'out': expected shape"});
  refused([&](Args &a) { a.out = view(a.out_a, 0, {3, 2, 64}, {64, 64, 1}); }, {"argument 'out'"});
  refused([&](Args &a) { a.lse = tensor(JD_F32, {3}); }, {"argument 'lse': expected rank 2"});
  refused([&](Args &a) { a.lse = view(a.out_b, 0, {3, 2}); }, {"argument 'lse'", "apart from 'out_b'"});
  refused([&](Args &a) { a.reserved = 1; }, {"argument 'reserved'"});
}

}  // namespace
}  // namespace jindou::test
