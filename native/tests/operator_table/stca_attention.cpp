#include "operator_table/rows.h"

namespace jindou::operator_table {
namespace {

// Head dims of keys and values are one.
jd_status stca_attention(testing::Rig &rig, const Shape &s, int64_t dim, int32_t path, bool keep_keys, bool with_run) {
  if (s.dqk != s.dv) return JD_UNSUPPORTED;
  const int64_t width = kHeads * s.dqk;
  jd_stca_attention_desc d{};
  d.struct_size = sizeof d;
  d.dtype = s.dtype;
  d.offset_dtype = JD_I64;
  d.model_dim = static_cast<int32_t>(dim);
  d.num_heads = kHeads;
  d.head_dim = static_cast<int32_t>(s.dqk);
  d.scale = 1;
  d.path = path;
  d.keep_keys = keep_keys;
  d.max_batch = 1;
  d.max_candidates = kQueries;
  d.max_history = kRows;
  const auto matrix = [&](int32_t dtype, int64_t count, int64_t columns) {
    return rig.tensor(dtype, {count, columns}, testing::Random(5).values(count * columns, dtype, 0.1));
  };
  const std::function<jd_stca_attention_args()> args = [&] {
    jd_stca_attention_args a{};
    a.struct_size = sizeof a;
    a.candidates = matrix(s.dtype, kQueries, dim);
    a.candidate_offsets = offsets(rig, kQueries);
    a.events = matrix(s.dtype, kRows, dim);
    a.history_offsets = offsets(rig, kRows);
    a.query_weight = matrix(JD_F32, width, dim);
    a.key_weight = matrix(JD_F32, width, dim);
    a.value_weight = matrix(JD_F32, width, dim);
    if (keep_keys) {
      a.keys = rig.poisoned(s.dtype, {kRows, width});
      a.values = rig.poisoned(s.dtype, {kRows, width});
    }
    a.out = rig.poisoned(s.dtype, {kQueries, width});
    return a;
  };
  return attempt(rig, d, jd_stca_attention_plan, jd_stca_attention_run, with_run ? &args : nullptr);
}

}  // namespace

void add_stca_attention(Probes &probes) {
  struct Option {
    const char *name;
    int64_t dim;
    int32_t path;
    bool keep_keys;
  };
  for (const Option &option : {Option{"materialised, model of 1024", 1024, JD_STCA_MATERIALISED, false},
                               {"materialised, keys and values kept", 96, JD_STCA_AUTO, true},
                               {"reordered, model of 256", 256, JD_STCA_REORDERED, false},
                               {"reordered, model of 1024", 1024, JD_STCA_REORDERED, false}}) {
    const Option o = option;
    probes.push_back({"stca_attention", o.name,
                      [=](testing::Rig &rig, const Shape &s) { return stca_attention(rig, s, o.dim, o.path, o.keep_keys, false); },
                      [=](testing::Rig &rig, const Shape &s) { return stca_attention(rig, s, o.dim, o.path, o.keep_keys, true); }});
  }
}

}  // namespace jindou::operator_table
