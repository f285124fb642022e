#include "operator_table/rows.h"

namespace jindou::operator_table {
namespace {

jd_status target_attention(testing::Rig &rig, const Shape &s, int32_t activation, bool self_key, bool with_run) {
  jd_target_attention_desc d{};
  d.struct_size = sizeof d;
  d.dtype = s.dtype;
  d.offset_dtype = JD_I64;
  d.num_heads = 2 * kHeads;  // grouped-query
  d.num_kv_heads = kHeads;
  d.head_dim_qk = static_cast<int32_t>(s.dqk);
  d.head_dim_v = static_cast<int32_t>(s.dv);
  d.scale = 1;
  d.activation = activation;
  d.scaling_seqlen = 8;
  d.self_key = self_key;
  d.max_batch = 1;
  d.max_candidates = kQueries;
  d.max_history = kRows;
  const std::function<jd_target_attention_args()> args = [&] {
    jd_target_attention_args a{};
    a.struct_size = sizeof a;
    a.candidates = rows(rig, s.dtype, kQueries, s.dqk, 2 * kHeads);
    a.candidate_offsets = offsets(rig, kQueries);
    a.keys = rows(rig, s.dtype, kRows, s.dqk);
    a.values = rows(rig, s.dtype, kRows, s.dv);
    a.history_offsets = offsets(rig, kRows);
    if (self_key) {
      a.candidate_keys = rows(rig, s.dtype, kQueries, s.dqk);
      a.candidate_values = rows(rig, s.dtype, kQueries, s.dv);
    }
    a.out = rig.poisoned(s.dtype, {kQueries, 2 * kHeads, s.dv});
    return a;
  };
  return attempt(rig, d, jd_target_attention_plan, jd_target_attention_run, with_run ? &args : nullptr);
}

}  // namespace

void add_target_attention(Probes &probes) {
  for (const auto &[name, activation] : {std::pair<const char *, int32_t>{"softmax", JD_ACTIVATION_SOFTMAX}, {"SiLU", JD_ACTIVATION_SILU}}) {
    for (const bool self_key : {false, true}) {
      const int32_t a = activation;
      probes.push_back({"target_attention", std::string(name) + (self_key ? ", own key" : ""),
                        [=](testing::Rig &rig, const Shape &s) { return target_attention(rig, s, a, self_key, false); },
                        [=](testing::Rig &rig, const Shape &s) { return target_attention(rig, s, a, self_key, true); }});
    }
  }
}

}  // namespace jindou::operator_table
