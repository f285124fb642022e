#include "operator_table/rows.h"

namespace jindou::operator_table {
namespace {

// One shared global, two candidates of one global each, two events of kRows.
constexpr int64_t kGlobals = 3, kRecent = 2;

jd_status longer_attention(testing::Rig &rig, const Shape &s, bool paged, int32_t cache_dtype, bool candidates_only, bool with_run) {
  jd_longer_attention_desc d{};
  d.struct_size = sizeof d;
  d.dtype = s.dtype;
  d.cache_dtype = cache_dtype;
  d.offset_dtype = JD_I64;
  d.num_heads = 2 * kHeads;  // grouped-query
  d.num_kv_heads = kHeads;
  d.head_dim_qk = static_cast<int32_t>(s.dqk);
  d.head_dim_v = static_cast<int32_t>(s.dv);
  d.scale = 1;
  d.num_global = 2;
  d.num_shared_globals = 1;
  d.candidates_only = candidates_only;
  d.max_batch = 1;
  d.max_candidates = 2;
  d.max_recent = kRecent;
  d.max_history = kRows;
  const int64_t queries = candidates_only ? 2 : kGlobals + kRecent;
  const std::function<jd_longer_attention_args()> args = [&] {
    jd_longer_attention_args a{};
    a.struct_size = sizeof a;
    a.queries = rows(rig, s.dtype, queries, s.dqk, 2 * kHeads);
    a.q_offsets = offsets(rig, queries);
    a.global_keys = rows(rig, s.dtype, kGlobals, s.dqk);
    a.global_values = rows(rig, s.dtype, kGlobals, s.dv);
    a.global_offsets = offsets(rig, kGlobals);
    if (paged) {
      const Cache cache(rig, s, cache_dtype);
      a.key_pages = cache.args.key_pages;
      a.value_pages = cache.args.value_pages;
      a.page_table = cache.args.page_table;
      a.seq_lens = cache.args.seq_lens;
      a.key_scales = cache.args.key_scales;
      a.value_scales = cache.args.value_scales;
    } else {
      a.keys = rows(rig, s.dtype, kRows, s.dqk);
      a.values = rows(rig, s.dtype, kRows, s.dv);
      a.k_offsets = offsets(rig, kRows);
    }
    a.out = rig.poisoned(s.dtype, {queries, 2 * kHeads, s.dv});
    a.lse = rig.poisoned(JD_F32, {queries, 2 * kHeads});
    return a;
  };
  return attempt(rig, d, jd_longer_attention_plan, jd_longer_attention_run, with_run ? &args : nullptr);
}

}  // namespace

void add_longer_attention(Probes &probes) {
  struct Option {
    const char *name;
    bool paged;
    int32_t cache_dtype;
    bool candidates_only;
  };
  for (const Option &o : {Option{"globals, candidates, latest events, lse", false, 0, false},
                          {"candidates over a history in pages of the queries' dtype", true, 0, true},
                          {"candidates over a history in fp8 e4m3 pages", true, JD_F8_E4M3, true},
                          {"candidates over a history in int8 pages", true, JD_I8, true}}) {
    const auto ask = [o](testing::Rig &rig, const Shape &s, bool with_run) {
      return longer_attention(rig, s, o.paged, o.cache_dtype, o.candidates_only, with_run);
    };
    probes.push_back({"longer_attention", o.name, [ask](testing::Rig &rig, const Shape &s) { return ask(rig, s, false); },
                      [ask](testing::Rig &rig, const Shape &s) { return ask(rig, s, true); }});
  }
}

}  // namespace jindou::operator_table
