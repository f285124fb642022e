#include "operator_table/rows.h"

namespace jindou::operator_table {
namespace {

jd_status search_attention(testing::Rig &rig, const Shape &s, int32_t activation, bool with_run) {
  constexpr int64_t kFound = 3;
  jd_search_attention_desc d{};
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
  d.k = kFound;
  d.max_batch = 1;
  d.max_candidates = kQueries;
  d.max_history = kRows;
  const std::function<jd_search_attention_args()> args = [&] {
    jd_search_attention_args a{};
    a.struct_size = sizeof a;
    a.candidates = rows(rig, s.dtype, kQueries, s.dqk, 2 * kHeads);
    a.candidate_offsets = offsets(rig, kQueries);
    a.keys = rows(rig, s.dtype, kRows, s.dqk);
    a.values = rows(rig, s.dtype, kRows, s.dv);
    a.history_offsets = offsets(rig, kRows);
    a.indices = rig.tensor(JD_I32, {kQueries, kFound}, {4, -1, 0, 2, 2, 1});
    a.out = rig.poisoned(s.dtype, {kQueries, 2 * kHeads, s.dv});
    if (activation == JD_ACTIVATION_SOFTMAX) a.lse = rig.poisoned(JD_F32, {kQueries, 2 * kHeads});
    return a;
  };
  return attempt(rig, d, jd_search_attention_plan, jd_search_attention_run, with_run ? &args : nullptr);
}

}  // namespace

void add_search_attention(Probes &probes) {
  for (const auto &[name, activation] :
       {std::pair<const char *, int32_t>{"softmax, lse", JD_ACTIVATION_SOFTMAX}, {"SiLU", JD_ACTIVATION_SILU}}) {
    const int32_t a = activation;
    probes.push_back({"search_attention", name, [=](testing::Rig &rig, const Shape &s) { return search_attention(rig, s, a, false); },
                      [=](testing::Rig &rig, const Shape &s) { return search_attention(rig, s, a, true); }});
  }
}

}  // namespace jindou::operator_table
