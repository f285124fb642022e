#include "operator_table/rows.h"

namespace jindou::operator_table {
namespace {

jd_status din_attention(testing::Rig &rig, const Shape &s, int32_t activation, bool softmax, bool with_run) {
  constexpr int64_t kUnits = 4;
  jd_din_attention_desc d{};
  d.struct_size = sizeof d;
  d.dtype = s.dtype;
  d.offset_dtype = JD_I64;
  d.dim = static_cast<int32_t>(s.dqk);
  d.dim_v = static_cast<int32_t>(s.dv);
  d.hidden_1 = d.hidden_2 = kUnits;
  d.activation = activation;
  d.softmax = softmax;
  d.scale = 1;
  d.dice_eps = 1e-5f;
  d.max_batch = 1;
  d.max_candidates = kQueries;
  d.max_history = kRows;
  const std::function<jd_din_attention_args()> args = [&] {
    const auto matrix = [&](int32_t dtype, int64_t rows, int64_t columns) {
      return rig.tensor(dtype, {rows, columns}, testing::Random(7).values(rows * columns, dtype));
    };
    const auto vector = [&] { return rig.tensor(JD_F32, {kUnits}, {0.5, 0.25, 0.75, 1}); };
    jd_din_attention_args a{};
    a.struct_size = sizeof a;
    a.candidates = matrix(s.dtype, kQueries, s.dqk);
    a.candidate_offsets = offsets(rig, kQueries);
    a.keys = matrix(s.dtype, kRows, s.dqk);
    a.values = matrix(s.dtype, kRows, s.dv);
    a.history_offsets = offsets(rig, kRows);
    a.weight_1 = matrix(JD_F32, kUnits, 4 * s.dqk);
    a.weight_2 = matrix(JD_F32, kUnits, kUnits);
    a.weight_3 = matrix(JD_F32, 1, kUnits);
    a.bias_1 = vector();
    a.bias_2 = vector();
    a.bias_3 = rig.tensor(JD_F32, {1}, {0.5});
    if (activation != JD_DIN_SIGMOID) {
      a.slope_1 = vector();
      a.slope_2 = vector();
    }
    if (activation == JD_DIN_DICE) {
      a.mean_1 = vector();
      a.mean_2 = vector();
      a.variance_1 = vector();
      a.variance_2 = vector();
    }
    a.out = rig.poisoned(s.dtype, {kQueries, s.dv});
    return a;
  };
  return attempt(rig, d, jd_din_attention_plan, jd_din_attention_run, with_run ? &args : nullptr);
}

}  // namespace

void add_din_attention(Probes &probes) {
  struct Option {
    const char *name;
    int32_t activation;
    bool softmax;
  };
  for (const Option &option : {Option{"sigmoid", JD_DIN_SIGMOID, false}, {"PReLU", JD_DIN_PRELU, false}, {"Dice", JD_DIN_DICE, false},
                               {"Dice x softmax", JD_DIN_DICE, true}}) {
    probes.push_back({"din_attention", option.name,
                      [=](testing::Rig &rig, const Shape &s) { return din_attention(rig, s, option.activation, option.softmax, false); },
                      [=](testing::Rig &rig, const Shape &s) { return din_attention(rig, s, option.activation, option.softmax, true); },
                      {JD_F32, JD_F16, JD_BF16},
                      multiples(8, 256)});
  }
}

}  // namespace jindou::operator_table
