// din_attention: every rule of jindou/din_attention.h, broken one at a time.
#include <cmath>
#include <functional>

#include "core_fixture.h"

namespace jindou::test {
namespace {

// 3 users, 5 candidates and 9 events, 16 and 8 wide, layers of 12 and 8 units, Dice.
class DinAttentionErrors : public CoreTest {
 protected:
  using Desc = jd_din_attention_desc;
  using Args = jd_din_attention_args;

  void SetUp() override {
    CoreTest::SetUp();
    desc = make<Desc>();
    desc.dtype = JD_F32;
    desc.offset_dtype = JD_I32;
    desc.dim = 16;
    desc.dim_v = 8;
    desc.hidden_1 = 12;
    desc.hidden_2 = 8;
    desc.activation = JD_DIN_DICE;
    desc.scale = 1;
    desc.dice_eps = 1e-5f;
    desc.max_batch = 3;
    desc.max_candidates = 3;
    desc.max_history = 5;
    args = make<Args>();
    args.candidates = tensor(JD_F32, {5, 16});
    args.candidate_offsets = i32({0, 2, 2, 5});
    args.keys = tensor(JD_F32, {9, 16});
    args.values = tensor(JD_F32, {9, 8});
    args.history_offsets = i32({0, 5, 9, 9});
    args.weight_1 = tensor(JD_F32, {12, 64});
    args.bias_1 = tensor(JD_F32, {12});
    args.slope_1 = tensor(JD_F32, {12});
    args.mean_1 = tensor(JD_F32, {12});
    args.variance_1 = tensor(JD_F32, {12});
    args.weight_2 = tensor(JD_F32, {8, 12});
    args.bias_2 = tensor(JD_F32, {8});
    args.slope_2 = tensor(JD_F32, {8});
    args.mean_2 = tensor(JD_F32, {8});
    args.variance_2 = tensor(JD_F32, {8});
    args.weight_3 = tensor(JD_F32, {1, 8});
    args.bias_3 = tensor(JD_F32, {1});
    args.out = tensor(JD_F32, {5, 8});
  }
  void refused_plan(std::function<void(Desc &)> change, std::initializer_list<const char *> parts) {
    Desc d = desc;
    change(d);
    jd_plan plan = 9;
    expect_refused(jd_din_attention_plan(device, &d, &plan, &error), JD_INVALID_ARGUMENT, error, parts);
    expect_refused(JD_INVALID_ARGUMENT, JD_INVALID_ARGUMENT, error, {"din_attention: "});
    EXPECT_EQ(plan, 0u);
    ASSERT_EQ(jd_din_attention_plan(device, &desc, &plan, &error), JD_OK) << error.message;
    jd_plan_destroy(plan, nullptr);
  }
  jd_plan good_plan() {
    jd_plan plan = 0;
    EXPECT_EQ(jd_din_attention_plan(device, &desc, &plan, &error), JD_OK) << error.message;
    return keep(plan);
  }
  void refused_run(std::function<void(Args &)> change, std::initializer_list<const char *> parts,
                   jd_status expected = JD_INVALID_ARGUMENT) {
    const jd_plan plan = good_plan();
    Args a = args;
    change(a);
    const int64_t runs = state()->runs;
    expect_refused(jd_din_attention_run(plan, stream, &a, &error), expected, error, parts);
    expect_refused(expected, expected, error, {"din_attention: "});
    EXPECT_EQ(state()->runs, runs) << "nothing may reach the backend";
    ASSERT_EQ(jd_din_attention_run(plan, stream, &args, &error), JD_OK) << error.message;
  }

  Desc desc;
  Args args;
};

TEST_F(DinAttentionErrors, a_good_call_passes_with_defaults_filled_in) {
  ASSERT_EQ(jd_din_attention_run(good_plan(), stream, &args, &error), JD_OK) << error.message;
  EXPECT_EQ(state()->last_args.din_attention.batch, 3);
  EXPECT_EQ(state()->last_args.din_attention.weight_1.shape[1], 64);
}

TEST_F(DinAttentionErrors, description) {
  refused_plan([](Desc &d) { d.struct_size = 8; }, {"struct_size"});
  refused_plan([](Desc &d) { d.dtype = JD_I8; }, {"argument 'dtype': expected f32, f16 or bf16", "got i8"});
  refused_plan([](Desc &d) { d.out_dtype = JD_BF16; }, {"argument 'out_dtype': expected f32"});
  refused_plan([](Desc &d) { d.dtype = JD_F16, d.out_dtype = JD_BF16; }, {"argument 'out_dtype': expected f16 or f32"});
  refused_plan([](Desc &d) { d.offset_dtype = JD_F32; }, {"argument 'offset_dtype'"});
  refused_plan([](Desc &d) { d.dim = 12; }, {"argument 'dim': expected a multiple of 8 in 8..256, got 12"});
  refused_plan([](Desc &d) { d.dim = 264; }, {"argument 'dim'"});
  refused_plan([](Desc &d) { d.dim_v = 0; }, {"argument 'dim_v'"});
  refused_plan([](Desc &d) { d.hidden_1 = 6; }, {"argument 'hidden_1': expected a multiple of 4 in 4..256, got 6"});
  refused_plan([](Desc &d) { d.hidden_2 = 260; }, {"argument 'hidden_2'"});
  refused_plan([](Desc &d) { d.hidden_2 = -4; }, {"argument 'hidden_2'"});
  refused_plan([](Desc &d) { d.activation = 3; }, {"argument 'activation': expected 0..2, got 3"});
  refused_plan([](Desc &d) { d.softmax = 2; }, {"argument 'softmax'"});
  refused_plan([](Desc &d) { d.scale = NAN; }, {"argument 'scale'"});
  refused_plan([](Desc &d) { d.dice_eps = 0; }, {"argument 'dice_eps': expected a finite number > 0"});
  refused_plan([](Desc &d) { d.bounds = JD_BOUNDS_TRUST; }, {"argument 'bounds'"});
  refused_plan([](Desc &d) { d.reserved = 1; }, {"argument 'reserved'"});
  refused_plan([](Desc &d) { d.num_latest = -1; }, {"argument 'num_latest'"});
  refused_plan([](Desc &d) { d.max_batch = 0; }, {"argument 'max_batch'"});
  refused_plan([](Desc &d) { d.max_candidates = 4097; }, {"argument 'max_candidates': expected 1..4096"});
  refused_plan([](Desc &d) { d.max_history = 131073; }, {"argument 'max_history'"});
  // What an activation does not use is not looked at.
  desc.activation = JD_DIN_PRELU;
  desc.dice_eps = NAN;
  good_plan();
}

TEST_F(DinAttentionErrors, rows) {
  refused_run([&](Args &a) { a.candidates = 0; }, {"argument 'candidates'"}, JD_INVALID_HANDLE);
  refused_run([&](Args &a) { a.candidates = tensor(JD_F32, {5, 8}); }, {"argument 'candidates': expected shape"});
  refused_run([&](Args &a) { a.candidates = tensor(JD_BF16, {5, 16}); }, {"argument 'candidates': expected dtype f32"});
  refused_run([&](Args &a) { a.candidates = tensor(JD_F32, {5, 1, 16}); }, {"argument 'candidates': expected rank 2"});
  refused_run([&](Args &a) { a.candidates = tensor(JD_F32, {5, 16}, {18, 1}); }, {"argument 'candidates'", "multiples of 16 bytes"});
  refused_run([&](Args &a) { a.keys = tensor(JD_F32, {9, 8}); }, {"argument 'keys': expected shape"});
  refused_run([&](Args &a) { a.keys = closed_tensor(); }, {"argument 'keys'"}, JD_CLOSED);
  refused_run([&](Args &a) { a.values = tensor(JD_F32, {8, 8}); }, {"argument 'values': expected shape [9, 8]"});
  refused_run([&](Args &a) { a.values = tensor(JD_F32, {9, 8}, {16, 2}); }, {"argument 'values'", "contiguous last dimension"});
  refused_run([&](Args &a) { a.out = tensor(JD_F32, {5, 16}); }, {"argument 'out': expected shape [5, 8]"});
  refused_run([&](Args &a) { a.out = tensor(JD_F32, {5, 8}, {4, 1}); }, {"argument 'out'", "an address of its own"});
  refused_run([&](Args &a) { a.reserved = 1; }, {"argument 'reserved'"});
}

TEST_F(DinAttentionErrors, offsets) {
  refused_run([&](Args &a) { a.candidate_offsets = i32({1, 2, 2, 5}); }, {"argument 'candidate_offsets'", "first offset to be 0"});
  refused_run([&](Args &a) { a.candidate_offsets = i32({0, 2, 1, 5}); }, {"argument 'candidate_offsets'", "non-decreasing"});
  refused_run([&](Args &a) { a.candidate_offsets = i32({0, 2, 2, 4}); }, {"argument 'candidate_offsets'", "last offset to be 5"});
  refused_run([&](Args &a) { a.candidate_offsets = i32({0, 0, 1, 5}); }, {"argument 'candidate_offsets'", "max_candidates of the plan", "got 4"});
  refused_run([&](Args &a) { a.candidate_offsets = i32({0, 1, 2, 4, 5}); }, {"argument 'candidate_offsets'", "max_batch of the plan"});
  refused_run([&](Args &a) { a.history_offsets = i32({0, 6, 9, 9}); }, {"argument 'history_offsets'", "max_history of the plan", "got 6"});
  refused_run([&](Args &a) { a.history_offsets = i32({0, 5, 9}); }, {"argument 'history_offsets': expected shape [4]"});
  refused_run([&](Args &a) { a.history_offsets = i64({0, 5, 9, 9}); }, {"argument 'history_offsets': expected dtype i32"});
}

TEST_F(DinAttentionErrors, weights) {
  struct Tensor {
    const char *name;
    jd_tensor Args::*field;
    std::vector<int64_t> shape;
  };
  const Tensor all[] = {{"weight_1", &Args::weight_1, {12, 64}},     {"bias_1", &Args::bias_1, {12}},
                        {"slope_1", &Args::slope_1, {12}},           {"mean_1", &Args::mean_1, {12}},
                        {"variance_1", &Args::variance_1, {12}},     {"weight_2", &Args::weight_2, {8, 12}},
                        {"bias_2", &Args::bias_2, {8}},              {"slope_2", &Args::slope_2, {8}},
                        {"mean_2", &Args::mean_2, {8}},              {"variance_2", &Args::variance_2, {8}},
                        {"weight_3", &Args::weight_3, {1, 8}},       {"bias_3", &Args::bias_3, {1}}};
  for (const Tensor &t : all) {
    const std::string argument = std::string("argument '") + t.name + "'";
    std::vector<int64_t> longer = t.shape;
    longer.back() += 4;
    refused_run([&](Args &a) { a.*t.field = tensor(JD_F32, longer); }, {argument.c_str(), "expected shape"});
    refused_run([&](Args &a) { a.*t.field = tensor(JD_BF16, t.shape); }, {argument.c_str(), "expected dtype f32"});
    refused_run([&](Args &a) { a.*t.field = tensor(JD_F32, {1, 1, 1}); }, {argument.c_str(), "expected rank"});
    refused_run([&](Args &a) { a.*t.field = tensor(JD_F32, t.shape, {}, 4); }, {argument.c_str(), "aligned to 16 bytes"});
    refused_run([&](Args &a) { a.*t.field = closed_tensor(); }, {argument.c_str()}, JD_CLOSED);
  }
  refused_run([&](Args &a) { a.weight_1 = 0; }, {"argument 'weight_1'"}, JD_INVALID_HANDLE);
  refused_run([&](Args &a) { a.bias_3 = 0; }, {"argument 'bias_3'"}, JD_INVALID_HANDLE);
}

TEST_F(DinAttentionErrors, what_an_activation_needs) {
  refused_run([&](Args &a) { a.slope_1 = 0; }, {"argument 'slope_1': expected a tensor (the activation is JD_DIN_DICE)"});
  refused_run([&](Args &a) { a.variance_2 = 0; }, {"argument 'variance_2': expected a tensor (the activation is JD_DIN_DICE)"});
  const Args dice = args;
  desc.activation = JD_DIN_PRELU;
  args.mean_1 = args.mean_2 = args.variance_1 = args.variance_2 = 0;
  refused_run([&](Args &a) { a.mean_1 = dice.mean_1; }, {"argument 'mean_1': expected no tensor (the activation is JD_DIN_PRELU)"});
  refused_run([&](Args &a) { a.slope_2 = 0; }, {"argument 'slope_2': expected a tensor (the activation is JD_DIN_PRELU)"});
  desc.activation = JD_DIN_SIGMOID;
  args.slope_1 = args.slope_2 = 0;
  refused_run([&](Args &a) { a.slope_1 = dice.slope_1; }, {"argument 'slope_1': expected no tensor (the activation is JD_DIN_SIGMOID)"});
}

TEST_F(DinAttentionErrors, out_shares_nothing_with_an_input) {
  refused_run([&](Args &a) { a.out = a.values, a.candidates = tensor(JD_F32, {9, 16}), a.candidate_offsets = i32({0, 3, 6, 9}); },
              {"argument 'out': expected memory apart from 'values'"});
  refused_run([&](Args &a) { a.out = view(a.weight_2, 0, {5, 8}, {12, 1}); }, {"argument 'out': expected memory apart from 'weight_2'"});
  // Columns of one wider tensor are apart.
  const jd_tensor both = tensor(JD_F32, {5, 24});
  args.candidates = view(both, 0, {5, 16}, {24, 1});
  args.out = view(both, 16, {5, 8}, {24, 1});
  ASSERT_EQ(jd_din_attention_run(good_plan(), stream, &args, &error), JD_OK) << error.message;
}

}  // namespace
}  // namespace jindou::test
