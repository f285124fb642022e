#include "operator_table/rows.h"

namespace jindou::operator_table {
namespace {

enum class Filter { none, shared, each };

jd_status top_k_inner_product(testing::Rig &rig, const Shape &s, Filter filter, bool with_run) {
  if (s.dqk != s.dv) return JD_UNSUPPORTED;  // there is one dim
  jd_top_k_inner_product_desc d{};
  d.struct_size = sizeof d;
  d.dtype = s.dtype;
  d.dim = static_cast<int32_t>(s.dqk);
  d.k = 2;
  d.max_queries = kQueries;
  const std::function<jd_top_k_inner_product_args()> args = [&] {
    const auto matrix = [&](int64_t count) { return rig.tensor(s.dtype, {count, s.dqk}, testing::Random(3).values(count * s.dqk, s.dtype)); };
    jd_top_k_inner_product_args a{};
    a.struct_size = sizeof a;
    a.queries = matrix(kQueries);
    a.items = matrix(kRows);
    if (filter == Filter::shared) a.allowed = rig.bytes(JD_U8, {1}, {0x15});
    if (filter == Filter::each) a.allowed = rig.bytes(JD_U8, {kQueries, 1}, {0x15, 0x0a});
    a.indices = rig.bytes(JD_I64, {kQueries, 2}, std::vector<uint8_t>(kQueries * 2 * 8));
    a.scores = rig.poisoned(JD_F32, {kQueries, 2});
    return a;
  };
  return attempt(rig, d, jd_top_k_inner_product_plan, jd_top_k_inner_product_run, with_run ? &args : nullptr);
}

}  // namespace

void add_top_k_inner_product(Probes &probes) {
  for (const auto &[name, by] : {std::pair<const char *, Filter>{"all items", Filter::none},
                                 {"a bitmap for all queries", Filter::shared},
                                 {"a bitmap for each query", Filter::each}}) {
    const Filter filter = by;
    probes.push_back({"top_k_inner_product", name,
                      [=](testing::Rig &rig, const Shape &s) { return top_k_inner_product(rig, s, filter, false); },
                      // One kernel has all dims past 256: the plan is asked about each, and these are run.
                      [=](testing::Rig &rig, const Shape &s) {
                        return top_k_inner_product(rig, s, filter, s.dqk <= 256 || s.dqk % 128 == 0);
                      },
                      {JD_F32, JD_F16, JD_BF16},
                      multiples(8, 2048)});
  }
}

}  // namespace jindou::operator_table
