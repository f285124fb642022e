// target_attention and hstu_attention: every rule of jindou/attention.h, broken one at a time.
#include <cmath>
#include <functional>

#include "core_fixture.h"

namespace jindou::test {
namespace {

constexpr float kNan = NAN;
constexpr float kInfinity = INFINITY;

// What both operators share: Op gives the types and entry points.
template <class Op>
class AttentionErrors : public CoreTest {
 protected:
  using Desc = typename Op::Desc;
  using Args = typename Op::Args;

  void refused_plan(std::function<void(Desc &)> change, std::initializer_list<const char *> parts,
                    jd_status expected = JD_INVALID_ARGUMENT) {
    Desc d = desc;
    change(d);
    jd_plan plan = 9;
    expect_refused(Op::plan(device, &d, &plan, &error), expected, error, parts);
    expect_refused(expected, expected, error, {Op::name});
    EXPECT_EQ(plan, 0u);
    ASSERT_EQ(Op::plan(device, &desc, &plan, &error), JD_OK) << error.message;
    jd_plan_destroy(plan, nullptr);
  }
  jd_plan good_plan() {
    jd_plan plan = 0;
    EXPECT_EQ(Op::plan(device, &desc, &plan, &error), JD_OK) << error.message;
    return keep(plan);
  }
  void refused_run(jd_plan plan, std::function<void(Args &)> change, std::initializer_list<const char *> parts,
                   jd_status expected = JD_INVALID_ARGUMENT) {
    Args a = args;
    change(a);
    const int64_t runs = state()->runs;
    expect_refused(Op::run(plan, stream, &a, &error), expected, error, parts);
    expect_refused(expected, expected, error, {Op::name});
    EXPECT_EQ(state()->runs, runs) << "nothing may reach the backend";
    ASSERT_EQ(Op::run(plan, stream, &args, &error), JD_OK) << error.message;
  }

  // The rules of one jagged tensor [rows, heads, 64] that the run wants as `field`.
  void refused_rows(jd_plan plan, jd_tensor Args::*field, const char *name, int64_t rows, int64_t heads) {
    const std::string argument = std::string("argument '") + name + "'";
    const auto with = [&](jd_tensor t, std::initializer_list<const char *> parts,
                          jd_status status = JD_INVALID_ARGUMENT) {
      refused_run(
          plan, [&](Args &a) { a.*field = t; }, parts, status);
      EXPECT_NE(std::string(error.message).find(argument), std::string::npos) << error.message;
    };
    with(closed_tensor(), {"expected an open tensor, got a closed handle"}, JD_CLOSED);
    with(stream, {"handle of a stream"}, JD_INVALID_HANDLE);
    with(tensor(JD_F16, {rows, heads, 64}), {"expected dtype f32", "got f16"});
    with(tensor(JD_BF16, {rows, heads, 64}), {"expected dtype f32", "got bf16"});
    with(tensor(JD_F32, {rows, heads * 64}), {"expected rank 3", "got rank 2"});
    with(tensor(JD_F32, {rows, heads, 32}), {"64], got [", "32]"});
    with(tensor(JD_F32, {rows, heads + 1, 64}), {"expected shape"});
    with(tensor(JD_F32, {rows, heads, 64}, {heads * 128, 128, 2}), {"contiguous last dimension"});
    with(tensor(JD_F32, {rows, heads, 64}, {heads * 66, 66, 1}), {"multiples of 16 bytes (4 elements of f32)"});
    with(tensor(JD_F32, {rows, heads, 64}, {heads * 64 + 2, 64, 1}), {"multiples of 16 bytes"});
    with(tensor(JD_F32, {rows, heads, 64}, {}, 8), {"aligned to 16 bytes"});
  }
  // Offsets [4] int32 that the run wants as `field`, cutting `rows` rows into sequences of at most `longest`.
  void refused_offsets(jd_plan plan, jd_tensor Args::*field, const char *name, int32_t rows, const char *longest) {
    const std::string argument = std::string("argument '") + name + "'";
    const auto with = [&](jd_tensor t, std::initializer_list<const char *> parts,
                          jd_status status = JD_INVALID_ARGUMENT) {
      refused_run(
          plan, [&](Args &a) { a.*field = t; }, parts, status);
      EXPECT_NE(std::string(error.message).find(argument), std::string::npos) << error.message;
    };
    with(0, {"null handle"}, JD_INVALID_HANDLE);
    with(closed_tensor(), {"closed handle"}, JD_CLOSED);
    with(tensor(JD_I64, {4}), {"dtype i32", "got i64"});
    with(tensor(JD_F32, {4}), {"dtype i32", "got f32"});
    with(tensor(JD_I32, {4, 1}), {"rank 1", "got rank 2"});
    with(tensor(JD_I32, {4}, {2}), {"stride 1"});
    with(i32({1, 2, 3, rows}), {"first offset to be 0", "got 1"});
    with(i32({0, 3, 2, rows}), {"non-decreasing", "got 2 after 3 at position 2"});
    with(i32({0, -1, 2, rows}), {"got -1 after 0 at position 1"});
    with(i32({0, 2, rows + 1, rows}), {"at most", "at position 2"});
    with(i32({0, 2, 3, rows + 5}), {"at most", "at position 3"});
    with(i32({0, 2, 3, 4}), {"last offset to be", "got 4 at position 3"});
    with(i32({0, 0, rows, rows}), {"sequences of at most", longest, "in sequence 1"});
    with(i32({0, INT32_MAX, INT32_MIN, rows}), {"at position 1"});
  }

  Desc desc;
  Args args;
};

// -- target_attention --------------------------------------------------------------------------------------------------

struct Target {
  using Desc = jd_target_attention_desc;
  using Args = jd_target_attention_args;
  static constexpr const char *name = "target_attention: ";
  static constexpr auto plan = jd_target_attention_plan;
  static constexpr auto run = jd_target_attention_run;
};

// 3 users, 6 candidates (at most 4 each), 9 events (at most 5 each), 4 heads over 2 key/value heads of 64.
class TargetAttentionErrors : public AttentionErrors<Target> {
 protected:
  void SetUp() override {
    AttentionErrors<Target>::SetUp();
    desc = make<Desc>();
    desc.dtype = JD_F32;
    desc.offset_dtype = JD_I32;
    desc.num_heads = 4;
    desc.num_kv_heads = 2;
    desc.head_dim_qk = desc.head_dim_v = 64;
    desc.scale = 0.125f;
    desc.self_key = 1;
    desc.max_batch = 3;
    desc.max_candidates = 4;
    desc.max_history = 5;
    args = make<Args>();
    args.candidates = tensor(JD_F32, {6, 4, 64});
    args.candidate_offsets = i32({0, 4, 4, 6});
    args.keys = tensor(JD_F32, {9, 2, 64});
    args.values = tensor(JD_F32, {9, 2, 64});
    args.history_offsets = i32({0, 4, 9, 9});
    args.candidate_keys = tensor(JD_F32, {6, 2, 64});
    args.candidate_values = tensor(JD_F32, {6, 2, 64});
    args.out = tensor(JD_F32, {6, 4, 64});
  }
};

TEST_F(TargetAttentionErrors, a_good_call_passes_with_defaults_filled_in) {
  desc.num_kv_heads = 0;
  args.keys = tensor(JD_F32, {9, 4, 64});
  args.values = tensor(JD_F32, {9, 4, 64});
  args.candidate_keys = args.candidate_values = 0;
  desc.self_key = 0;
  ASSERT_EQ(jd_target_attention_run(good_plan(), stream, &args, &error), JD_OK) << error.message;
  const jdb_target_attention_args &seen = state()->last_args.target_attention;
  EXPECT_EQ(seen.batch, 3);
  EXPECT_EQ(seen.candidate_keys.dtype, 0);
  EXPECT_EQ(seen.keys.shape[1], 4);
}

TEST_F(TargetAttentionErrors, descriptions) {
  refused_plan([](Desc &d) { d.struct_size = 0; }, {"argument 'desc'", "struct_size", "got 0"});
  refused_plan([](Desc &d) { d.struct_size += 4; }, {"argument 'desc'", "struct_size"});
  refused_plan([](Desc &d) { d.dtype = JD_F64; }, {"argument 'dtype'", "f32, f16 or bf16", "got f64"});
  refused_plan([](Desc &d) { d.dtype = 0; }, {"argument 'dtype'", "got unknown (0)"});
  refused_plan([](Desc &d) { d.out_dtype = JD_BF16; }, {"argument 'out_dtype'", "expected f32", "got bf16"});
  refused_plan([](Desc &d) { d.out_dtype = JD_I32; }, {"argument 'out_dtype'"});
  refused_plan([](Desc &d) { d.offset_dtype = JD_F32; }, {"argument 'offset_dtype'", "i32 or i64"});
  refused_plan(
      [](Desc &d) {
        d.num_heads = 0;
        d.num_kv_heads = 0;
      },
      {"argument 'num_heads'", "1..256", "got 0"});
  refused_plan([](Desc &d) { d.num_heads = 257; }, {"argument 'num_heads'", "got 257"});
  refused_plan([](Desc &d) { d.num_kv_heads = 3; }, {"argument 'num_kv_heads'", "divisor of num_heads = 4", "got 3"});
  refused_plan([](Desc &d) { d.num_kv_heads = 8; }, {"argument 'num_kv_heads'", "1..4", "got 8"});
  refused_plan([](Desc &d) { d.num_kv_heads = -2; }, {"argument 'num_kv_heads'", "got -2"});
  for (const int32_t dim : {0, 16, 48, 63, 160, 224, 257, 512, -64}) {
    const std::string got = "got " + std::to_string(dim);
    refused_plan([=](Desc &d) { d.head_dim_qk = dim; },
                 {"argument 'head_dim_qk'", "32, 64, 96, 128, 192 or 256", got.c_str()});
    refused_plan([=](Desc &d) { d.head_dim_v = dim; }, {"argument 'head_dim_v'", "32, 64, 96, 128, 192 or 256", got.c_str()});
  }
  refused_plan(
      [](Desc &d) {
        d.dtype = JD_F16;
        d.out_dtype = JD_BF16;
      },
      {"argument 'out_dtype'", "f16 or f32", "got bf16"});
  refused_plan([](Desc &d) { d.scale = kNan; }, {"argument 'scale'", "finite", "nan"});
  refused_plan([](Desc &d) { d.scale = kInfinity; }, {"argument 'scale'", "finite", "inf"});
  refused_plan([](Desc &d) { d.scale = -kInfinity; }, {"argument 'scale'", "-inf"});
  for (const float wrong : {0.0f, -1.0f, kNan, kInfinity}) {
    refused_plan([&](Desc &d) {
      d.activation = JD_ACTIVATION_SILU;
      d.scaling_seqlen = wrong;
    }, {"argument 'scaling_seqlen'", "> 0"});
  }
  refused_plan([](Desc &d) { d.activation = 2; }, {"argument 'activation'", "got 2"});
  refused_plan([](Desc &d) { d.self_key = 2; }, {"argument 'self_key'", "got 2"});
  refused_plan([](Desc &d) { d.bounds = JD_BOUNDS_TRUST; }, {"argument 'bounds'", "0..1", "got 2"});
  refused_plan([](Desc &d) { d.reserved = 5; }, {"argument 'reserved'", "expected 0", "got 5"});
  refused_plan([](Desc &d) { d.num_latest = -1; }, {"argument 'num_latest'", "at least 0", "got -1"});
  refused_plan([](Desc &d) { d.max_batch = 0; }, {"argument 'max_batch'", "1..1048576", "got 0"});
  refused_plan([](Desc &d) { d.max_batch = 1 << 21; }, {"argument 'max_batch'"});
  refused_plan([](Desc &d) { d.max_candidates = 0; }, {"argument 'max_candidates'", "1..4096"});
  refused_plan([](Desc &d) { d.max_candidates = 4097; }, {"argument 'max_candidates'", "1..4096", "got 4097"});
  refused_plan([](Desc &d) { d.max_history = 131073; }, {"argument 'max_history'", "1..131072", "got 131073"});
  refused_plan([](Desc &d) { d.max_history = -1; }, {"argument 'max_history'", "got -1"});
  jd_plan plan = 9;
  expect_refused(jd_target_attention_plan(device, nullptr, &plan, &error), JD_INVALID_ARGUMENT, error,
                 {"argument 'desc'", "NULL"});
  expect_refused(jd_target_attention_plan(device, &desc, nullptr, &error), JD_INVALID_ARGUMENT, error,
                 {"argument 'plan'", "NULL"});
  expect_refused(jd_target_attention_plan(stream, &desc, &plan, &error), JD_INVALID_HANDLE, error,
                 {"argument 'device'", "a stream"});
}

TEST_F(TargetAttentionErrors, tensors_of_a_run) {
  const jd_plan plan = good_plan();
  refused_rows(plan, &Args::candidates, "candidates", 6, 4);
  refused_rows(plan, &Args::keys, "keys", 9, 2);
  refused_rows(plan, &Args::values, "values", 9, 2);
  refused_rows(plan, &Args::candidate_keys, "candidate_keys", 6, 2);
  refused_rows(plan, &Args::candidate_values, "candidate_values", 6, 2);
  refused_rows(plan, &Args::out, "out", 6, 4);
  refused_offsets(plan, &Args::candidate_offsets, "candidate_offsets", 6, "4 rows (max_candidates of the plan)");
  refused_offsets(plan, &Args::history_offsets, "history_offsets", 9, "5 rows (max_history of the plan)");
  refused_run(plan,
              [&](Args &a) {
                a.values = tensor(JD_F32, {8, 2, 64});
              },
              {"argument 'values'", "[9, 2, 64]", "[8, 2, 64]"});
  refused_run(plan,
              [&](Args &a) {
                a.candidate_keys = tensor(JD_F32, {5, 2, 64});
              },
              {"argument 'candidate_keys'", "[6, 2, 64]"});
  refused_run(plan, [&](Args &a) { a.out = tensor(JD_F32, {7, 4, 64}); }, {"argument 'out'", "[6, 4, 64]"});
  refused_run(plan,
              [&](Args &a) {
                a.out = tensor(JD_F32, {6, 4, 64}, {64, 64, 1});
              },
              {"argument 'out'", "an address of its own"});
  refused_run(plan,
              [&](Args &a) {
                a.out = tensor(JD_F32, {6, 4, 64}, {0, 64, 1});
              },
              {"argument 'out'", "an address of its own"});
  refused_run(plan, [&](Args &a) { a.history_offsets = i32({0, 4, 9}); }, {"argument 'history_offsets'", "[4]", "[3]"});
  refused_run(plan,
              [&](Args &a) {
                a.candidate_offsets = i32({0, 1, 2, 3, 6});
              },
              {"argument 'candidate_offsets'", "B in 0..3", "got 5"});
  refused_run(plan, [&](Args &a) { a.candidate_offsets = tensor(JD_I32, {0}); },
              {"argument 'candidate_offsets'", "got 0"});
  refused_run(plan, [](Args &a) { a.candidate_keys = 0; },
              {"argument 'candidate_keys'", "expected a tensor", "self_key", "got none"});
  refused_run(plan, [](Args &a) { a.candidate_values = 0; }, {"argument 'candidate_values'", "expected a tensor"});
  refused_run(plan, [](Args &a) { a.struct_size = 4; }, {"argument 'args'", "struct_size"});
  refused_run(plan, [](Args &a) { a.reserved = 1; }, {"argument 'reserved'"});
  expect_refused(jd_target_attention_run(plan, stream, nullptr, &error), JD_INVALID_ARGUMENT, error,
                 {"argument 'args'", "NULL"});
}

TEST_F(TargetAttentionErrors, self_keys_without_self_key_are_refused) {
  desc.self_key = 0;
  const jd_plan plan = good_plan();
  expect_refused(jd_target_attention_run(plan, stream, &args, &error), JD_INVALID_ARGUMENT, error,
                 {"argument 'candidate_keys'", "no tensor", "no self_key", "got one"});
  args.candidate_keys = 0;
  expect_refused(jd_target_attention_run(plan, stream, &args, &error), JD_INVALID_ARGUMENT, error,
                 {"argument 'candidate_values'"});
  args.candidate_values = 0;
  EXPECT_EQ(jd_target_attention_run(plan, stream, &args, &error), JD_OK);
}

TEST_F(TargetAttentionErrors, out_apart_from_the_inputs) {
  const jd_plan plan = good_plan();
  refused_run(plan, [](Args &a) { a.out = a.candidates; }, {"argument 'out'", "apart from 'candidates'"});
  const jd_tensor block = tensor(JD_F32, {20, 4, 64});
  for (const auto &[field, name, rows, heads] :
       {std::tuple(&Args::keys, "'keys'", 9, 2), std::tuple(&Args::values, "'values'", 9, 2),
        std::tuple(&Args::candidate_keys, "'candidate_keys'", 6, 2),
        std::tuple(&Args::candidate_values, "'candidate_values'", 6, 2)}) {
    refused_run(plan,
                [&, field = field, rows = rows, heads = heads](Args &a) {
                  a.out = view(block, 0, {6, 4, 64});
                  a.*field = view(block, 6 * 256 - 64, {rows, heads, 64});
                },
                {"argument 'out'", "apart from", name});
  }
}

TEST_F(TargetAttentionErrors, head_major_and_interleaved_layouts_pass) {
  const jd_plan plan = good_plan();
  args.candidates = tensor(JD_F32, {6, 4, 64}, {64, 6 * 64, 1});  // head-major
  args.out = tensor(JD_F32, {6, 4, 64}, {64, 6 * 64, 1});
  const jd_tensor both = tensor(JD_F32, {9, 4, 64});  // keys and values side by side in one row
  args.keys = view(both, 0, {9, 2, 64}, {256, 64, 1});
  args.values = view(both, 128, {9, 2, 64}, {256, 64, 1});
  EXPECT_EQ(jd_target_attention_run(plan, stream, &args, &error), JD_OK) << error.message;
  // Out as a column range of the tensor whose other columns are the candidates.
  const jd_tensor wide = tensor(JD_F32, {6, 8, 64});
  args.candidates = view(wide, 0, {6, 4, 64}, {512, 64, 1});
  args.out = view(wide, 256, {6, 4, 64}, {512, 64, 1});
  EXPECT_EQ(jd_target_attention_run(plan, stream, &args, &error), JD_OK) << error.message;
  args.out = view(wide, 192, {6, 4, 64}, {512, 64, 1});
  expect_refused(jd_target_attention_run(plan, stream, &args, &error), JD_INVALID_ARGUMENT, error,
                 {"apart from 'candidates'"});
  // Offsets need no more than their own alignment.
  args = args;
  args.out = view(wide, 256, {6, 4, 64}, {512, 64, 1});
  const jd_tensor shifted = tensor(JD_I32, {4}, {}, 4);
  std::copy_n(data<int32_t>(args.history_offsets), 4, data<int32_t>(shifted));
  args.history_offsets = shifted;
  EXPECT_EQ(jd_target_attention_run(plan, stream, &args, &error), JD_OK) << error.message;
}

TEST_F(TargetAttentionErrors, empty_batches_pass) {
  const jd_plan plan = good_plan();
  args.candidates = tensor(JD_F32, {0, 4, 64});
  args.keys = args.values = tensor(JD_F32, {0, 2, 64});
  args.candidate_keys = args.candidate_values = tensor(JD_F32, {0, 2, 64});
  args.out = tensor(JD_F32, {0, 4, 64});
  args.candidate_offsets = args.history_offsets = i32({0});
  EXPECT_EQ(jd_target_attention_run(plan, stream, &args, &error), JD_OK) << error.message;
  args.candidate_offsets = args.history_offsets = i32({0, 0, 0});
  EXPECT_EQ(jd_target_attention_run(plan, stream, &args, &error), JD_OK) << error.message;
  args.keys = args.values = tensor(JD_F32, {2, 2, 64});
  expect_refused(jd_target_attention_run(plan, stream, &args, &error), JD_INVALID_ARGUMENT, error,
                 {"argument 'history_offsets'", "last offset to be 2", "got 0 at position 2"});
}

TEST_F(TargetAttentionErrors, every_pair_of_head_dims_and_dtypes_passes) {
  for (const int32_t dtype : {JD_F32, JD_F16, JD_BF16}) {
    for (const int32_t out_dtype : {dtype, static_cast<int32_t>(JD_F32)}) {
      for (const int32_t qk : {32, 64, 96, 128, 192, 256}) {
        for (const int32_t v : {32, 64, 96, 128, 192, 256}) {
          desc.dtype = dtype;
          desc.out_dtype = out_dtype;
          desc.head_dim_qk = qk;
          desc.head_dim_v = v;
          good_plan();
        }
      }
    }
  }
}

TEST_F(TargetAttentionErrors, values_narrower_than_keys) {
  desc.dtype = desc.out_dtype = JD_F16;
  desc.head_dim_v = 32;
  const jd_plan plan = good_plan();
  args.candidates = tensor(JD_F16, {6, 4, 64});
  args.keys = tensor(JD_F16, {9, 2, 64});
  args.values = tensor(JD_F16, {9, 2, 32});
  args.candidate_keys = tensor(JD_F16, {6, 2, 64});
  args.candidate_values = tensor(JD_F16, {6, 2, 32});
  args.out = tensor(JD_F16, {6, 4, 32});
  ASSERT_EQ(jd_target_attention_run(plan, stream, &args, &error), JD_OK) << error.message;
  refused_run(plan, [&](Args &a) { a.values = tensor(JD_F16, {9, 2, 64}); }, {"argument 'values'", "[9, 2, 32]", "[9, 2, 64]"});
  refused_run(plan, [&](Args &a) { a.keys = tensor(JD_F16, {9, 2, 32}); }, {"argument 'keys'", "2, 64]", "[9, 2, 32]"});
  refused_run(plan, [&](Args &a) { a.candidate_values = tensor(JD_F16, {6, 2, 64}); }, {"argument 'candidate_values'", "[6, 2, 32]"});
  refused_run(plan, [&](Args &a) { a.out = tensor(JD_F16, {6, 4, 64}); }, {"argument 'out'", "[6, 4, 32]"});
  refused_run(plan, [&](Args &a) { a.out = tensor(JD_F32, {6, 4, 32}); }, {"argument 'out'", "dtype f16", "got f32"});
  refused_run(plan, [&](Args &a) { a.keys = tensor(JD_BF16, {9, 2, 64}); }, {"argument 'keys'", "dtype f16", "got bf16"});
}

// -- hstu_attention ----------------------------------------------------------------------------------------------------

struct Hstu {
  using Desc = jd_hstu_attention_desc;
  using Args = jd_hstu_attention_args;
  static constexpr const char *name = "hstu_attention: ";
  static constexpr auto plan = jd_hstu_attention_plan;
  static constexpr auto run = jd_hstu_attention_run;
};

// 3 sequences, 9 rows (at most 5 each), 2 heads of 64.
class HstuAttentionErrors : public AttentionErrors<Hstu> {
 protected:
  void SetUp() override {
    AttentionErrors<Hstu>::SetUp();
    desc = make<Desc>();
    desc.dtype = JD_F32;
    desc.offset_dtype = JD_I32;
    desc.num_heads = 2;
    desc.head_dim_qk = desc.head_dim_v = 64;
    desc.alpha = 0.125f;
    desc.scaling_seqlen = 5;
    desc.causal = 1;
    desc.max_batch = 3;
    desc.max_seq_len = 5;
    args = make<Args>();
    args.queries = tensor(JD_F32, {9, 2, 64});
    args.keys = tensor(JD_F32, {9, 2, 64});
    args.values = tensor(JD_F32, {9, 2, 64});
    args.offsets = i32({0, 4, 9, 9});
    args.num_targets = i32({4, 0, 0});
    args.attn_scale = tensor(JD_F32, {9});
    args.out = tensor(JD_F32, {9, 2, 64});
  }
};

TEST_F(HstuAttentionErrors, a_good_call_passes) {
  const jd_plan plan = good_plan();
  ASSERT_EQ(jd_hstu_attention_run(plan, stream, &args, &error), JD_OK) << error.message;
  EXPECT_EQ(state()->last_args.hstu_attention.batch, 3);
  args.num_targets = args.attn_scale = 0;
  ASSERT_EQ(jd_hstu_attention_run(plan, stream, &args, &error), JD_OK) << error.message;
  EXPECT_EQ(state()->last_args.hstu_attention.num_targets.dtype, 0);
}

TEST_F(HstuAttentionErrors, keys_and_values_in_pages) {
  const jd_plan plan = good_plan();
  args.key_pages = tensor(JD_F32, {7, 16, 2, 64});
  args.value_pages = tensor(JD_F32, {7, 16, 2, 64});
  args.page_table = tensor(JD_I32, {3, 2});
  args.seq_lens = i32({4, 5, 0});
  args.q_offsets = i32({0, 4, 9, 9});
  const Args rows = args;
  args.keys = args.values = args.offsets = 0;
  ASSERT_EQ(jd_hstu_attention_run(plan, stream, &args, &error), JD_OK) << error.message;
  EXPECT_EQ(state()->last_args.hstu_attention.batch, 3);
  refused_run(plan, [&](Args &a) { a.keys = rows.keys; }, {"argument 'keys': expected no tensor (there are key_pages)"});
  refused_run(plan, [&](Args &a) { a.offsets = rows.offsets; }, {"argument 'offsets': expected no tensor"});
  refused_run(plan, [&](Args &a) { a.value_pages = 0; }, {"argument 'value_pages': expected a tensor (there are key_pages)"});
  refused_run(plan, [&](Args &a) { a.page_table = 0; }, {"argument 'page_table': expected a tensor"});
  refused_run(plan, [&](Args &a) { a.seq_lens = 0; }, {"argument 'seq_lens': expected a tensor"});
  refused_run(plan, [&](Args &a) { a.q_offsets = 0; }, {"argument 'q_offsets': expected a tensor"});
  refused_run(plan, [&](Args &a) { a.q_offsets = i32({0, 4, 8, 8}); }, {"argument 'q_offsets'", "last offset to be 9"});
  refused_run(plan, [&](Args &a) { a.key_pages = closed_tensor(); }, {"argument 'key_pages'"}, JD_CLOSED);
  refused_run(plan, [&](Args &a) { a.key_pages = tensor(JD_BF16, {7, 16, 2, 64}); },
              {"argument 'key_pages': expected f32, f8_e4m3 or i8, got bf16"});
  refused_run(plan, [&](Args &a) { a.key_pages = tensor(JD_F32, {7, 24, 2, 64}); }, {"pages of 16, 32, 64 or 128 rows, got 24"});
  refused_run(plan, [&](Args &a) { a.key_pages = tensor(JD_F32, {7, 16, 128}); }, {"argument 'key_pages': expected rank 4"});
  refused_run(plan, [&](Args &a) { a.key_pages = tensor(JD_F32, {7, 16, 1, 64}); }, {"argument 'key_pages': expected shape"});
  refused_run(plan, [&](Args &a) { a.value_pages = tensor(JD_F32, {7, 32, 2, 64}); }, {"argument 'value_pages': expected shape"});
  refused_run(plan, [&](Args &a) { a.page_table = tensor(JD_I32, {2, 2}); }, {"argument 'page_table': expected shape [3"});
  refused_run(plan, [&](Args &a) { a.seq_lens = i32({1, 2}); }, {"argument 'seq_lens': expected shape [3]"});
  refused_run(plan, [&](Args &a) { a.key_scales = tensor(JD_F32, {1}); }, {"argument 'key_scales'", "not quantised"});
  refused_run(plan, [&](Args &a) { a.key_pages = tensor(JD_I8, {7, 16, 2, 64}); }, {"argument 'value_pages': expected dtype i8"});
  refused_run(plan, [&](Args &a) {
    a.key_pages = tensor(JD_I8, {7, 16, 2, 64});
    a.value_pages = tensor(JD_I8, {7, 16, 2, 64});
  }, {"argument 'key_scales': expected a tensor (the pages are quantised)"});
  refused_run(plan, [&](Args &a) {
    a.time_bias = tensor(JD_F32, {5});
    a.timestamps = tensor(JD_I64, {9});
  }, {"argument 'timestamps': expected rank 2"});
  refused_run(plan, [&](Args &a) { a.out = a.value_pages; }, {"argument 'out'"});
  // Without key_pages none of the others.
  args = rows;
  args.key_pages = args.value_pages = args.page_table = args.seq_lens = 0;
  refused_run(plan, [&](Args &a) { a.page_table = rows.page_table; }, {"argument 'page_table': expected no tensor (there are no key_pages)"});
  refused_run(plan, [&](Args &a) { a.seq_lens = rows.seq_lens; }, {"argument 'seq_lens': expected no tensor"});
}

TEST_F(HstuAttentionErrors, every_mask_passes) {
  for (const int32_t causal : {0, 1}) {
    desc.causal = causal;
    desc.contextual_seq_len = 3;
    desc.max_attn_len = 7;
    desc.min_full_attn_seq_len = 2;
    good_plan();
  }
}

TEST_F(HstuAttentionErrors, descriptions) {
  refused_plan([](Desc &d) { d.struct_size = 16; }, {"argument 'desc'", "struct_size", "got 16"});
  refused_plan([](Desc &d) { d.dtype = JD_F8_E4M3; }, {"argument 'dtype'", "f32, f16 or bf16", "got f8_e4m3"});
  refused_plan([](Desc &d) { d.out_dtype = JD_F16; }, {"argument 'out_dtype'", "got f16"});
  refused_plan(
      [](Desc &d) {
        d.dtype = JD_BF16;
        d.out_dtype = JD_F16;
      },
      {"argument 'out_dtype'", "bf16 or f32", "got f16"});
  refused_plan([](Desc &d) { d.offset_dtype = 0; }, {"argument 'offset_dtype'"});
  refused_plan([](Desc &d) { d.num_heads = 0; }, {"argument 'num_heads'", "1..256"});
  refused_plan([](Desc &d) { d.head_dim_qk = 40; }, {"argument 'head_dim_qk'", "32, 64, 96, 128, 192 or 256", "got 40"});
  refused_plan([](Desc &d) { d.head_dim_v = 160; }, {"argument 'head_dim_v'", "32, 64, 96, 128, 192 or 256", "got 160"});
  refused_plan([](Desc &d) { d.alpha = kNan; }, {"argument 'alpha'", "finite", "nan"});
  refused_plan([](Desc &d) { d.scaling_seqlen = 0; }, {"argument 'scaling_seqlen'", "> 0", "got 0"});
  refused_plan([](Desc &d) { d.scaling_seqlen = -1; }, {"argument 'scaling_seqlen'", "got -1"});
  refused_plan([](Desc &d) { d.scaling_seqlen = kNan; }, {"argument 'scaling_seqlen'", "nan"});
  refused_plan([](Desc &d) { d.scaling_seqlen = kInfinity; }, {"argument 'scaling_seqlen'", "inf"});
  refused_plan([](Desc &d) { d.causal = 2; }, {"argument 'causal'", "0..1", "got 2"});
  refused_plan([](Desc &d) { d.contextual_seq_len = -1; }, {"argument 'contextual_seq_len'", "got -1"});
  refused_plan([](Desc &d) { d.max_attn_len = -1; }, {"argument 'max_attn_len'", "got -1"});
  refused_plan([](Desc &d) { d.min_full_attn_seq_len = -1; }, {"argument 'min_full_attn_seq_len'", "got -1"});
  refused_plan([](Desc &d) { d.bounds = JD_BOUNDS_TRUST; }, {"argument 'bounds'", "0..1"});
  refused_plan([](Desc &d) { d.max_batch = 0; }, {"argument 'max_batch'", "got 0"});
  refused_plan([](Desc &d) { d.max_seq_len = 0; }, {"argument 'max_seq_len'", "1..131072"});
  refused_plan([](Desc &d) { d.max_seq_len = 131073; }, {"argument 'max_seq_len'", "got 131073"});
}

TEST_F(HstuAttentionErrors, tensors_of_a_run) {
  const jd_plan plan = good_plan();
  refused_rows(plan, &Args::queries, "queries", 9, 2);
  refused_rows(plan, &Args::keys, "keys", 9, 2);
  refused_rows(plan, &Args::values, "values", 9, 2);
  refused_rows(plan, &Args::out, "out", 9, 2);
  refused_offsets(plan, &Args::offsets, "offsets", 9, "5 rows (max_seq_len of the plan)");
  refused_run(
      plan, [](Args &a) { a.queries = 0; }, {"argument 'queries'", "null handle"}, JD_INVALID_HANDLE);
  refused_run(plan,
              [&](Args &a) {
                a.keys = tensor(JD_F32, {8, 2, 64});
              },
              {"argument 'keys'", "[9, 2, 64]", "[8, 2, 64]"});
  refused_run(plan, [&](Args &a) { a.values = tensor(JD_F32, {10, 2, 64}); }, {"argument 'values'", "[9, 2, 64]"});
  refused_run(plan, [](Args &a) { a.out = a.queries; }, {"argument 'out'", "apart from 'queries'"});
  refused_run(plan, [](Args &a) { a.out = a.values; }, {"argument 'out'", "apart from 'values'"});
  refused_run(plan,
              [&](Args &a) {
                a.out = tensor(JD_F32, {9, 2, 64}, {64, 0, 1});
              },
              {"argument 'out'", "an address of its own"});
  refused_run(plan, [&](Args &a) { a.attn_scale = tensor(JD_F32, {8}); }, {"argument 'attn_scale'", "[9]", "[8]"});
  refused_run(plan, [&](Args &a) { a.attn_scale = tensor(JD_F32, {9}, {2}); }, {"argument 'attn_scale'", "stride 1"});
  refused_run(plan, [&](Args &a) { a.attn_scale = tensor(JD_BF16, {9}); }, {"argument 'attn_scale'", "f32", "bf16"});
  refused_run(plan, [](Args &a) { a.reserved = 1; }, {"argument 'reserved'"});
}

TEST_F(HstuAttentionErrors, numbers_of_targets) {
  const jd_plan plan = good_plan();
  refused_run(plan,
              [&](Args &a) {
                a.num_targets = i32({5, 0, 0});
              },
              {"argument 'num_targets'", "0..4", "got 5 at position 0"});
  refused_run(plan,
              [&](Args &a) {
                a.num_targets = i32({0, 0, 1});
              },
              {"argument 'num_targets'", "0..0", "got 1 at position 2"});
  refused_run(plan,
              [&](Args &a) {
                a.num_targets = i32({0, -1, 0});
              },
              {"argument 'num_targets'", "0..5", "got -1 at position 1"});
  refused_run(plan, [&](Args &a) { a.num_targets = i32({0, 0}); }, {"argument 'num_targets'", "[3]", "[2]"});
  refused_run(plan, [&](Args &a) { a.num_targets = i64({0, 0, 0}); }, {"argument 'num_targets'", "i32", "i64"});
  refused_run(plan, [&](Args &a) { a.num_targets = tensor(JD_I32, {3}, {4}); }, {"argument 'num_targets'", "stride 1"});
}

TEST_F(HstuAttentionErrors, last_rows_only) {
  const jd_plan plan = good_plan();
  args.queries = tensor(JD_F32, {5, 2, 64});
  args.out = tensor(JD_F32, {5, 2, 64});
  args.attn_scale = tensor(JD_F32, {5});
  args.q_offsets = i32({0, 4, 5, 5});
  ASSERT_EQ(jd_hstu_attention_run(plan, stream, &args, &error), JD_OK) << error.message;
  refused_run(plan, [&](Args &a) { a.q_offsets = i32({1, 4, 5, 5}); }, {"argument 'q_offsets'", "first offset to be 0"});
  refused_run(plan, [&](Args &a) { a.q_offsets = i32({0, 4, 3, 5}); }, {"argument 'q_offsets'", "got 3 after 4"});
  refused_run(plan, [&](Args &a) { a.q_offsets = i32({0, 4, 6, 5}); }, {"argument 'q_offsets'", "(rows of 'queries')"});
  refused_run(plan, [&](Args &a) { a.q_offsets = i64({0, 4, 5, 5}); }, {"argument 'q_offsets'", "dtype i32"});
  refused_run(plan, [&](Args &a) { a.q_offsets = i32({0, 5, 5, 5}); },
              {"argument 'q_offsets'", "at most 4 queries", "got 5 in sequence 0"});
  refused_run(plan, [&](Args &a) { a.q_offsets = i32({0, 4, 4, 5}); },
              {"argument 'q_offsets'", "at most 0 queries", "got 1 in sequence 2"});
  refused_run(plan, [&](Args &a) { a.q_offsets = i32({0, 5, 5}); }, {"argument 'q_offsets'", "[4]", "[3]"});
  refused_run(plan, [&](Args &a) { a.attn_scale = tensor(JD_F32, {9}); }, {"argument 'attn_scale'", "[5]", "[9]"});
  refused_run(plan, [&](Args &a) { a.out = tensor(JD_F32, {9, 2, 64}); }, {"argument 'out'", "[5, 2, 64]"});
  refused_run(plan, [](Args &a) { a.q_offsets = 0; }, {"argument 'keys'", "[5, 2, 64]", "[9, 2, 64]"});
}

TEST_F(HstuAttentionErrors, biases) {
  const jd_plan plan = good_plan();
  args.position_bias = tensor(JD_F32, {9});
  args.time_bias = tensor(JD_F32, {2, 129});
  args.timestamps = tensor(JD_I64, {9});
  ASSERT_EQ(jd_hstu_attention_run(plan, stream, &args, &error), JD_OK) << error.message;
  refused_run(plan, [&](Args &a) { a.position_bias = tensor(JD_F32, {10}); },
              {"argument 'position_bias'", "2 N - 1 distances, N >= 5", "got 10"});
  refused_run(plan, [&](Args &a) { a.position_bias = tensor(JD_F32, {2, 7}); }, {"argument 'position_bias'", "got 7"});
  refused_run(plan, [&](Args &a) { a.position_bias = tensor(JD_F32, {3, 9}); }, {"argument 'position_bias'", "[3, 9]"});
  refused_run(plan, [&](Args &a) { a.position_bias = tensor(JD_BF16, {9}); }, {"argument 'position_bias'", "f32"});
  refused_run(plan, [&](Args &a) { a.position_bias = tensor(JD_F32, {9}, {2}); }, {"argument 'position_bias'", "stride 1"});
  refused_run(plan, [&](Args &a) { a.time_bias = tensor(JD_F32, {0}); }, {"argument 'time_bias'", "at least one"});
  refused_run(plan, [&](Args &a) { a.time_bias = tensor(JD_F32, {1, 1, 3}); }, {"argument 'time_bias'", "rank"});
  refused_run(plan, [](Args &a) { a.time_bias = 0; }, {"argument 'timestamps'", "no tensor", "no time_bias"});
  refused_run(plan, [](Args &a) { a.timestamps = 0; }, {"argument 'timestamps'", "a tensor", "there is a time_bias"});
  refused_run(plan, [&](Args &a) { a.timestamps = tensor(JD_I64, {8}); }, {"argument 'timestamps'", "[9]", "[8]"});
  refused_run(plan, [&](Args &a) { a.timestamps = tensor(JD_I32, {9}); }, {"argument 'timestamps'", "i64", "i32"});
}

TEST_F(HstuAttentionErrors, values_wider_than_keys) {
  desc.dtype = JD_F16;
  desc.out_dtype = JD_F32;
  desc.head_dim_v = 256;
  const jd_plan plan = good_plan();
  args.queries = tensor(JD_F16, {9, 2, 64});
  args.keys = tensor(JD_F16, {9, 2, 64});
  args.values = tensor(JD_F16, {9, 2, 256});
  args.out = tensor(JD_F32, {9, 2, 256});
  ASSERT_EQ(jd_hstu_attention_run(plan, stream, &args, &error), JD_OK) << error.message;
  refused_run(plan, [&](Args &a) { a.values = tensor(JD_F16, {9, 2, 64}); }, {"argument 'values'", "[9, 2, 256]", "[9, 2, 64]"});
  refused_run(plan, [&](Args &a) { a.out = tensor(JD_F32, {9, 2, 64}); }, {"argument 'out'", "[9, 2, 256]", "[9, 2, 64]"});
  refused_run(plan, [&](Args &a) { a.keys = tensor(JD_F16, {9, 2, 256}); }, {"argument 'keys'", "2, 64]"});
  args.keys = args.values = args.offsets = 0;
  args.key_pages = tensor(JD_F16, {7, 16, 2, 64});
  args.value_pages = tensor(JD_F16, {7, 16, 2, 256});
  args.page_table = tensor(JD_I32, {3, 2});
  args.seq_lens = i32({4, 5, 0});
  args.q_offsets = i32({0, 4, 9, 9});
  ASSERT_EQ(jd_hstu_attention_run(plan, stream, &args, &error), JD_OK) << error.message;
  refused_run(plan, [&](Args &a) { a.value_pages = tensor(JD_F16, {7, 16, 2, 64}); }, {"argument 'value_pages': expected shape"});
  refused_run(plan, [&](Args &a) { a.key_pages = tensor(JD_BF16, {7, 16, 2, 64}); },
              {"argument 'key_pages': expected f16, f8_e4m3 or i8, got bf16"});
}

TEST_F(HstuAttentionErrors, bf16_and_wide_offsets) {
  desc.dtype = JD_BF16;
  desc.offset_dtype = JD_I64;
  const jd_plan plan = good_plan();
  args.queries = tensor(JD_BF16, {9, 2, 64});
  args.keys = tensor(JD_BF16, {9, 2, 64});
  args.values = tensor(JD_BF16, {9, 2, 64});
  args.offsets = i64({0, 4, 9, 9});
  expect_refused(jd_hstu_attention_run(plan, stream, &args, &error), JD_INVALID_ARGUMENT, error,
                 {"argument 'out'", "bf16", "f32"});
  args.out = tensor(JD_BF16, {9, 2, 64});
  EXPECT_EQ(jd_hstu_attention_run(plan, stream, &args, &error), JD_OK) << error.message;
  refused_run(plan,
              [&](Args &a) {
                a.queries = tensor(JD_BF16, {9, 2, 64}, {132, 64, 1});
              },
              {"argument 'queries'", "8 elements of bf16"});
  refused_run(plan, [&](Args &a) { a.offsets = i64({0, 4, INT64_MIN, 9}); }, {"argument 'offsets'", "at position 2"});
  refused_run(plan,
              [&](Args &a) {
                a.num_targets = i32({0, 6, 0});
              },
              {"argument 'num_targets'", "got 6 at position 1"});
}

}  // namespace
}  // namespace jindou::test
