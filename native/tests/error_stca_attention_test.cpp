// stca_attention: every rule of jindou/stca_attention.h, broken one at a time.
#include <cmath>
#include <functional>

#include "core_fixture.h"

namespace jindou::test {
namespace {

// 3 users, 5 candidates and 9 events of width 96, 2 heads of 32, keys and values kept.
class StcaAttentionErrors : public CoreTest {
 protected:
  using Desc = jd_stca_attention_desc;
  using Args = jd_stca_attention_args;

  void SetUp() override {
    CoreTest::SetUp();
    desc = make<Desc>();
    desc.dtype = JD_F32;
    desc.offset_dtype = JD_I32;
    desc.model_dim = 96;
    desc.num_heads = 2;
    desc.head_dim = 32;
    desc.scale = 0.2f;
    desc.keep_keys = 1;
    desc.max_batch = 3;
    desc.max_candidates = 3;
    desc.max_history = 5;
    desc.max_total_candidates = 6;
    desc.max_total_events = 10;
    args = make<Args>();
    args.candidates = tensor(JD_F32, {5, 96});
    args.candidate_offsets = i32({0, 2, 2, 5});
    args.events = tensor(JD_F32, {9, 96});
    args.history_offsets = i32({0, 5, 9, 9});
    args.query_weight = tensor(JD_F32, {64, 96});
    args.key_weight = tensor(JD_F32, {64, 96});
    args.value_weight = tensor(JD_F32, {64, 96});
    args.keys = tensor(JD_F32, {9, 64});
    args.values = tensor(JD_F32, {9, 64});
    args.out = tensor(JD_F32, {5, 64});
  }
  void refused_plan(std::function<void(Desc &)> change, std::initializer_list<const char *> parts) {
    Desc d = desc;
    change(d);
    jd_plan plan = 9;
    expect_refused(jd_stca_attention_plan(device, &d, &plan, &error), JD_INVALID_ARGUMENT, error, parts);
    expect_refused(JD_INVALID_ARGUMENT, JD_INVALID_ARGUMENT, error, {"stca_attention: "});
    EXPECT_EQ(plan, 0u);
    ASSERT_EQ(jd_stca_attention_plan(device, &desc, &plan, &error), JD_OK) << error.message;
    jd_plan_destroy(plan, nullptr);
  }
  jd_plan good_plan() {
    jd_plan plan = 0;
    EXPECT_EQ(jd_stca_attention_plan(device, &desc, &plan, &error), JD_OK) << error.message;
    return keep(plan);
  }
  void refused_run(std::function<void(Args &)> change, std::initializer_list<const char *> parts,
                   jd_status expected = JD_INVALID_ARGUMENT) {
    const jd_plan plan = good_plan();
    Args a = args;
    change(a);
    const int64_t runs = state()->runs;
    expect_refused(jd_stca_attention_run(plan, stream, &a, &error), expected, error, parts);
    expect_refused(expected, expected, error, {"stca_attention: "});
    EXPECT_EQ(state()->runs, runs) << "nothing may reach the backend";
    ASSERT_EQ(jd_stca_attention_run(plan, stream, &args, &error), JD_OK) << error.message;
  }

  Desc desc;
  Args args;
};

TEST_F(StcaAttentionErrors, a_good_call_passes) {
  ASSERT_EQ(jd_stca_attention_run(good_plan(), stream, &args, &error), JD_OK) << error.message;
  EXPECT_EQ(state()->last_args.stca_attention.batch, 3);
  EXPECT_EQ(state()->last_args.stca_attention.keys.shape[1], 64);
}

TEST_F(StcaAttentionErrors, description) {
  refused_plan([](Desc &d) { d.struct_size = 8; }, {"struct_size"});
  refused_plan([](Desc &d) { d.dtype = JD_I8; }, {"argument 'dtype': expected f32, f16 or bf16", "got i8"});
  refused_plan([](Desc &d) { d.out_dtype = JD_BF16; }, {"argument 'out_dtype': expected f32"});
  refused_plan([](Desc &d) { d.offset_dtype = JD_F32; }, {"argument 'offset_dtype'"});
  refused_plan([](Desc &d) { d.model_dim = 48; }, {"argument 'model_dim': expected a multiple of 32 in 32..1024, got 48"});
  refused_plan([](Desc &d) { d.model_dim = 1056; }, {"argument 'model_dim'"});
  refused_plan([](Desc &d) { d.model_dim = 0; }, {"argument 'model_dim'"});
  refused_plan([](Desc &d) { d.num_heads = 65; }, {"argument 'num_heads': expected 1..64, got 65"});
  refused_plan([](Desc &d) { d.head_dim = 48; }, {"argument 'head_dim'"});
  refused_plan([](Desc &d) { d.scale = INFINITY; }, {"argument 'scale'"});
  refused_plan([](Desc &d) { d.path = 3; }, {"argument 'path': expected 0..2, got 3"});
  refused_plan([](Desc &d) { d.keep_keys = 2; }, {"argument 'keep_keys'"});
  refused_plan([](Desc &d) { d.path = JD_STCA_REORDERED; }, {"argument 'keep_keys': expected 0 with JD_STCA_REORDERED"});
  refused_plan([](Desc &d) { d.bounds = JD_BOUNDS_TRUST; }, {"argument 'bounds'"});
  refused_plan([](Desc &d) { d.reserved = 1; }, {"argument 'reserved'"});
  refused_plan([](Desc &d) { d.max_batch = 0; }, {"argument 'max_batch'"});
  refused_plan([](Desc &d) { d.max_candidates = 4097; }, {"argument 'max_candidates'"});
  refused_plan([](Desc &d) { d.max_history = 131073; }, {"argument 'max_history'"});
  refused_plan([](Desc &d) { d.max_total_candidates = -1; }, {"argument 'max_total_candidates'"});
  refused_plan([](Desc &d) { d.max_total_events = -1; }, {"argument 'max_total_events'"});
}

TEST_F(StcaAttentionErrors, rows_and_weights) {
  refused_run([&](Args &a) { a.candidates = 0; }, {"argument 'candidates'"}, JD_INVALID_HANDLE);
  refused_run([&](Args &a) { a.candidates = tensor(JD_F32, {5, 64}); }, {"argument 'candidates': expected shape"});
  refused_run([&](Args &a) { a.candidates = tensor(JD_BF16, {5, 96}); }, {"argument 'candidates': expected dtype f32"});
  refused_run([&](Args &a) { a.candidates = tensor(JD_F32, {7, 96}); }, {"argument 'candidates': expected at most 6 rows (max_total_candidates"});
  refused_run([&](Args &a) { a.events = tensor(JD_F32, {9, 1, 96}); }, {"argument 'events': expected rank 2"});
  refused_run([&](Args &a) { a.events = tensor(JD_F32, {11, 96}); }, {"argument 'events': expected at most 10 rows (max_total_events"});
  refused_run([&](Args &a) { a.events = tensor(JD_F32, {9, 96}, {98, 1}); }, {"argument 'events'", "multiples of 16 bytes"});
  refused_run([&](Args &a) { a.events = closed_tensor(); }, {"argument 'events'"}, JD_CLOSED);
  for (const auto &[name, field] : {std::pair<const char *, jd_tensor Args::*>{"argument 'query_weight'", &Args::query_weight},
                                    {"argument 'key_weight'", &Args::key_weight},
                                    {"argument 'value_weight'", &Args::value_weight}}) {
    const auto part = name;
    const auto at = field;
    refused_run([&](Args &a) { a.*at = tensor(JD_F32, {96, 64}); }, {part, "expected shape [64, 96]"});
    refused_run([&](Args &a) { a.*at = tensor(JD_F16, {64, 96}); }, {part, "expected dtype f32"});
    refused_run([&](Args &a) { a.*at = tensor(JD_F32, {64, 96}, {}, 4); }, {part, "aligned to 16 bytes"});
    refused_run([&](Args &a) { a.*at = 0; }, {part}, JD_INVALID_HANDLE);
  }
  refused_run([&](Args &a) { a.out = tensor(JD_F32, {5, 96}); }, {"argument 'out': expected shape [5, 64]"});
  refused_run([&](Args &a) { a.out = tensor(JD_F32, {5, 64}, {32, 1}); }, {"argument 'out'", "an address of its own"});
  refused_run([&](Args &a) { a.reserved = 1; }, {"argument 'reserved'"});
}

TEST_F(StcaAttentionErrors, offsets) {
  refused_run([&](Args &a) { a.candidate_offsets = i32({1, 2, 2, 5}); }, {"argument 'candidate_offsets'", "first offset to be 0"});
  refused_run([&](Args &a) { a.candidate_offsets = i32({0, 0, 1, 5}); }, {"argument 'candidate_offsets'", "max_candidates of the plan", "got 4"});
  refused_run([&](Args &a) { a.candidate_offsets = i32({0, 1, 2, 4, 5}); }, {"argument 'candidate_offsets'", "max_batch of the plan"});
  refused_run([&](Args &a) { a.history_offsets = i32({0, 6, 9, 9}); }, {"argument 'history_offsets'", "max_history of the plan", "got 6"});
  refused_run([&](Args &a) { a.history_offsets = i32({0, 5, 8, 8}); }, {"argument 'history_offsets'", "rows of 'events'"});
  refused_run([&](Args &a) { a.history_offsets = i64({0, 5, 9, 9}); }, {"argument 'history_offsets': expected dtype i32"});
}

TEST_F(StcaAttentionErrors, kept_keys_and_values) {
  refused_run([&](Args &a) { a.keys = 0; }, {"argument 'keys': expected a tensor (the plan has keep_keys)"});
  refused_run([&](Args &a) { a.values = tensor(JD_F32, {9, 96}); }, {"argument 'values': expected shape [9, 64]"});
  refused_run([&](Args &a) { a.keys = view(a.events, 0, {9, 64}, {96, 1}); }, {"argument 'keys': expected memory apart from 'events'"});
  refused_run([&](Args &a) { a.values = a.keys; }, {"argument 'values': expected memory apart from 'keys'"});
  refused_run([&](Args &a) { a.out = view(a.keys, 0, {5, 64}, {64, 1}); }, {"argument 'out': expected memory apart from 'keys'"});
  const Args kept = args;
  desc.keep_keys = 0;
  args.keys = args.values = 0;
  refused_run([&](Args &a) { a.keys = kept.keys; }, {"argument 'keys': expected no tensor (the plan has no keep_keys)"});
}

}  // namespace
}  // namespace jindou::test
