#include "operator_table/rows.h"

namespace jindou::operator_table {
namespace {

struct Option {
  const char *name;
  int32_t mask, bias;
  bool first_keys;  // sink, prefix, global rows
  float softcap;
};

jd_status softmax_attention(testing::Rig &rig, const Shape &s, const Option &option, bool with_run) {
  jd_softmax_attention_desc d{};
  d.struct_size = sizeof d;
  d.dtype = s.dtype;
  d.offset_dtype = JD_I64;
  d.num_heads = 2 * kHeads;  // grouped-query
  d.num_kv_heads = kHeads;
  d.head_dim_qk = static_cast<int32_t>(s.dqk);
  d.head_dim_v = static_cast<int32_t>(s.dv);
  d.scale = 1;
  d.softcap = option.softcap;
  d.mask = option.mask;
  d.left = d.right = 1;
  d.sink = d.prefix = d.num_global = option.first_keys ? 1 : 0;
  d.bias = option.bias;
  d.t5_num_buckets = 4;
  d.t5_max_distance = 3;
  d.max_batch = 1;
  d.max_queries = kQueries;
  d.max_keys = kRows;
  const std::function<jd_softmax_attention_args()> args = [&] {
    jd_softmax_attention_args a{};
    a.struct_size = sizeof a;
    a.queries = rows(rig, s.dtype, kQueries, s.dqk, 2 * kHeads);
    a.q_offsets = offsets(rig, kQueries);
    a.keys = rows(rig, s.dtype, kRows, s.dqk);
    a.values = rows(rig, s.dtype, kRows, s.dv);
    a.k_offsets = offsets(rig, kRows);
    testing::Random random(5);
    if (option.bias == JD_BIAS_ALIBI) a.alibi_slopes = rig.tensor(JD_F32, {2 * kHeads}, random.values(2 * kHeads, JD_F32));
    if (option.bias == JD_BIAS_T5) a.t5_bias = rig.tensor(JD_F32, {4, 2 * kHeads}, random.values(8 * kHeads, JD_F32));
    if (option.bias == JD_BIAS_DENSE) {
      a.bias = rig.tensor(JD_F32, {2 * kHeads, kQueries, kRows}, random.values(2 * kHeads * kQueries * kRows, JD_F32));
    }
    a.out = rig.poisoned(s.dtype, {kQueries, 2 * kHeads, s.dv});
    a.lse = rig.poisoned(JD_F32, {kQueries, 2 * kHeads});
    return a;
  };
  return attempt(rig, d, jd_softmax_attention_plan, jd_softmax_attention_run, with_run ? &args : nullptr);
}

}  // namespace

void add_softmax_attention(Probes &probes) {
  for (const Option &option :
       {Option{"no mask, lse", JD_MASK_NONE, JD_BIAS_NONE, false, 0}, {"causal", JD_MASK_CAUSAL, JD_BIAS_NONE, false, 0},
        {"window x sink x prefix x global rows", JD_MASK_WINDOW, JD_BIAS_NONE, true, 0},
        {"the same x soft-cap", JD_MASK_WINDOW, JD_BIAS_NONE, true, 2}, {"the same x ALiBi", JD_MASK_WINDOW, JD_BIAS_ALIBI, true, 2},
        {"the same x T5 bias", JD_MASK_WINDOW, JD_BIAS_T5, true, 2}, {"the same x dense bias", JD_MASK_WINDOW, JD_BIAS_DENSE, true, 2}}) {
    probes.push_back({"softmax_attention", option.name,
                      [=](testing::Rig &rig, const Shape &s) { return softmax_attention(rig, s, option, false); },
                      [=](testing::Rig &rig, const Shape &s) { return softmax_attention(rig, s, option, true); }});
  }
}

}  // namespace jindou::operator_table
