#include "operator_table/rows.h"

namespace jindou::operator_table {
namespace {

jd_status decode_attention(testing::Rig &rig, const Shape &s, int32_t cache_dtype, bool with_run) {
  jd_decode_attention_desc d{};
  d.struct_size = sizeof d;
  d.dtype = s.dtype;
  d.cache_dtype = cache_dtype;
  d.offset_dtype = JD_I64;
  d.num_heads = 2 * kHeads;
  d.num_kv_heads = kHeads;
  d.head_dim_qk = static_cast<int32_t>(s.dqk);
  d.head_dim_v = static_cast<int32_t>(s.dv);
  d.scale = 1;
  d.max_queries = kQueries;
  d.max_batch = 1;
  d.max_seq_len = kRows;
  const std::function<jd_decode_attention_args()> args = [&] {
    const Cache cache(rig, s, cache_dtype);
    jd_decode_attention_args a{};
    a.struct_size = sizeof a;
    a.queries = rows(rig, s.dtype, kQueries, s.dqk, 2 * kHeads);
    a.q_offsets = offsets(rig, kQueries);
    a.key_pages = cache.args.key_pages;
    a.value_pages = cache.args.value_pages;
    a.page_table = cache.args.page_table;
    a.seq_lens = cache.args.seq_lens;
    a.key_scales = cache.args.key_scales;
    a.value_scales = cache.args.value_scales;
    a.out = rig.poisoned(s.dtype, {kQueries, 2 * kHeads, s.dv});
    a.lse = rig.poisoned(JD_F32, {kQueries, 2 * kHeads});
    return a;
  };
  return attempt(rig, d, jd_decode_attention_plan, jd_decode_attention_run, with_run ? &args : nullptr);
}

}  // namespace

void add_decode_attention(Probes &probes) {
  for (const auto &[name, dtype] : {std::pair<const char *, int32_t>{"pages of the queries' dtype, lse", 0},
                                    {"fp8 e4m3 pages, lse", JD_F8_E4M3}, {"int8 pages, lse", JD_I8}}) {
    const int32_t cache = dtype;
    probes.push_back({"decode_attention", name,
                      [=](testing::Rig &rig, const Shape &s) { return decode_attention(rig, s, cache, false); },
                      [=](testing::Rig &rig, const Shape &s) { return decode_attention(rig, s, cache, true); }});
  }
}

}  // namespace jindou::operator_table
