#include "operator_table/rows.h"

namespace jindou::operator_table {
namespace {

constexpr int64_t kBeams = 3, kLevels = 2;

jd_status beam_attention(testing::Rig &rig, const Shape &s, bool paged, int32_t cache_dtype, bool with_run) {
  jd_beam_attention_desc d{};
  d.struct_size = sizeof d;
  d.dtype = s.dtype;
  d.cache_dtype = cache_dtype;
  d.offset_dtype = JD_I64;
  d.num_heads = 2 * kHeads;  // grouped-query
  d.num_kv_heads = kHeads;
  d.head_dim_qk = static_cast<int32_t>(s.dqk);
  d.head_dim_v = static_cast<int32_t>(s.dv);
  d.scale = 1;
  d.max_beams = kBeams;
  d.max_batch = 1;
  d.max_prefix = kRows;
  const std::function<jd_beam_attention_args()> args = [&] {
    jd_beam_attention_args a{};
    a.struct_size = sizeof a;
    a.queries = rows(rig, s.dtype, kBeams, s.dqk, 2 * kHeads);
    a.beam_offsets = offsets(rig, kBeams);
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
      a.prefix_offsets = offsets(rig, kRows);
    }
    const auto suffix = [&](int64_t dim) {
      return rig.tensor(s.dtype, {1, kLevels, kBeams, kHeads, dim},
                        testing::Random(6).values(kLevels * kBeams * kHeads * dim, s.dtype));
    };
    a.suffix_keys = suffix(s.dqk);
    a.suffix_values = suffix(s.dv);
    a.ancestry = rig.tensor(JD_I32, {1, kLevels, kBeams}, {2, 0, 0, 0, 1, 2});
    a.out = rig.poisoned(s.dtype, {kBeams, 2 * kHeads, s.dv});
    a.lse = rig.poisoned(JD_F32, {kBeams, 2 * kHeads});
    return a;
  };
  return attempt(rig, d, jd_beam_attention_plan, jd_beam_attention_run, with_run ? &args : nullptr);
}

}  // namespace

void add_beam_attention(Probes &probes) {
  struct Option {
    const char *name;
    bool paged;
    int32_t cache_dtype;
  };
  for (const Option &option : {Option{"prefix in rows, suffix, lse", false, 0}, {"prefix in pages of the queries' dtype", true, 0},
                               {"prefix in fp8 e4m3 pages", true, JD_F8_E4M3}, {"prefix in int8 pages", true, JD_I8}}) {
    probes.push_back({"beam_attention", option.name,
                      [=](testing::Rig &rig, const Shape &s) { return beam_attention(rig, s, option.paged, option.cache_dtype, false); },
                      [=](testing::Rig &rig, const Shape &s) { return beam_attention(rig, s, option.paged, option.cache_dtype, true); }});
  }
}

}  // namespace jindou::operator_table
