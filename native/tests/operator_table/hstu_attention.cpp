#include "operator_table/rows.h"

namespace jindou::operator_table {
namespace {

struct Option {
  const char *name;
  bool causal = true, targets = false, bias = false, last_rows = false, paged = false;
  int32_t contexts = 0, window = 0, full_tail = 0;
  int32_t cache_dtype = 0;  // paged: 0 = the inputs' dtype
};

jd_status hstu_attention(testing::Rig &rig, const Shape &s, const Option &o, bool with_run) {
  jd_hstu_attention_desc d{};
  d.struct_size = sizeof d;
  d.dtype = s.dtype;
  d.offset_dtype = JD_I64;
  d.num_heads = kHeads;
  d.head_dim_qk = static_cast<int32_t>(s.dqk);
  d.head_dim_v = static_cast<int32_t>(s.dv);
  d.alpha = 1;
  d.scaling_seqlen = 8;
  d.causal = o.causal;
  d.contextual_seq_len = o.contexts;
  d.max_attn_len = o.window;
  d.min_full_attn_seq_len = o.full_tail;
  d.max_batch = 1;
  d.max_seq_len = kRows;
  const std::function<jd_hstu_attention_args()> args = [&] {
    const int64_t queries = o.last_rows || o.paged ? kQueries : kRows;
    jd_hstu_attention_args a{};
    a.struct_size = sizeof a;
    a.queries = rows(rig, s.dtype, queries, s.dqk);
    if (o.last_rows || o.paged) a.q_offsets = offsets(rig, queries);
    if (o.paged) {
      const Cache cache(rig, s, o.cache_dtype);
      a.key_pages = cache.args.key_pages;
      a.value_pages = cache.args.value_pages;
      a.page_table = cache.args.page_table;
      a.seq_lens = cache.args.seq_lens;
      a.key_scales = cache.args.key_scales;
      a.value_scales = cache.args.value_scales;
    } else {
      a.keys = rows(rig, s.dtype, kRows, s.dqk);
      a.values = rows(rig, s.dtype, kRows, s.dv);
      a.offsets = offsets(rig, kRows);
    }
    if (o.targets) a.num_targets = rig.integers(JD_I32, {1});
    if (o.bias) {
      a.position_bias = rig.tensor(JD_F32, {2 * kRows - 1}, std::vector<double>(2 * kRows - 1, 0.5));
      a.time_bias = rig.tensor(JD_F32, {4}, {0.0, 0.1, 0.2, 0.3});
      a.timestamps = o.paged ? rig.tensor(JD_I64, {1, kRows}, {1, 2, 3, 5, 8}) : rig.integers(JD_I64, {1, 2, 3, 5, 8});
    }
    a.out = rig.poisoned(s.dtype, {queries, kHeads, s.dv});
    return a;
  };
  return attempt(rig, d, jd_hstu_attention_plan, jd_hstu_attention_run, with_run ? &args : nullptr);
}

std::vector<Option> options() {
  std::vector<Option> list;
  const auto add = [&](const char *name, const auto &set) {
    Option o{name};
    set(o);
    list.push_back(o);
  };
  const auto everything = [](Option &o) {
    o.targets = o.bias = true;
    o.contexts = 2;
    o.window = 2;
    o.full_tail = 1;
  };
  add("causal", [](Option &) {});
  add("not causal", [](Option &o) { o.causal = false; });
  add("targets", [](Option &o) { o.targets = true; });
  add("contexts", [](Option &o) { o.contexts = 2; });
  add("window", [](Option &o) { o.window = 2; });
  add("window and full tail", [](Option &o) { o.window = 2, o.full_tail = 1; });
  add("position and time bias", [](Option &o) { o.bias = true; });
  add("window x full tail x targets x contexts x bias", everything);
  add("the same, last rows over cached keys", [&](Option &o) { everything(o), o.last_rows = true; });
  add("the same over pages", [&](Option &o) { everything(o), o.paged = true; });
  add("the same over fp8 e4m3 pages", [&](Option &o) { everything(o), o.paged = true, o.cache_dtype = JD_F8_E4M3; });
  add("the same over int8 pages", [&](Option &o) { everything(o), o.paged = true, o.cache_dtype = JD_I8; });
  return list;
}

}  // namespace

void add_hstu_attention(Probes &probes) {
  for (const Option &o : options()) {
    probes.push_back({"hstu_attention", o.name,
                      [o](testing::Rig &rig, const Shape &s) { return hstu_attention(rig, s, o, false); },
                      [o](testing::Rig &rig, const Shape &s) { return hstu_attention(rig, s, o, true); }});
  }
}

}  // namespace jindou::operator_table
