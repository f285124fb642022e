#include "operator_table/rows.h"

namespace jindou::operator_table {
namespace {

enum class Filter { none, shared, each };

jd_status top_k_inner_product(testing::Rig &rig, const Shape &s, Filter filter, int32_t row_format, bool with_run) {
  if (s.dqk != s.dv) return JD_UNSUPPORTED;  // there is one dim
  jd_top_k_inner_product_desc d{};
  d.struct_size = sizeof d;
  d.dtype = s.dtype;
  d.dim = static_cast<int32_t>(s.dqk);
  d.k = 2;
  d.max_queries = kQueries;
  d.row_format = row_format;
  const std::function<jd_top_k_inner_product_args()> args = [&] {
    const auto matrix = [&](int64_t count) { return rig.tensor(s.dtype, {count, s.dqk}, testing::Random(3).values(count * s.dqk, s.dtype)); };
    jd_top_k_inner_product_args a{};
    a.struct_size = sizeof a;
    a.queries = matrix(kQueries);
    const int64_t bytes = s.dqk + 4;
    a.items = row_format == JD_ROWS_PLAIN
                  ? matrix(kRows)
                  : rig.bytes(JD_U8, {kRows, bytes}, std::vector<uint8_t>(static_cast<size_t>(kRows * bytes)));
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
  struct Option {
    const char *name;
    Filter filter;
    int32_t row_format;
  };
  for (const Option &option : {Option{"all items", Filter::none, JD_ROWS_PLAIN},
                               {"a bitmap for all queries", Filter::shared, JD_ROWS_PLAIN},
                               {"a bitmap for each query", Filter::each, JD_ROWS_PLAIN},
                               {"items of int8 rows (dtype of queries)", Filter::none, JD_ROWS_INT8}}) {
    const Filter filter = option.filter;
    const int32_t format = option.row_format;
    const char *const name = option.name;
    probes.push_back({"top_k_inner_product", name,
                      [=](testing::Rig &rig, const Shape &s) { return top_k_inner_product(rig, s, filter, format, false); },
                      // One kernel has all dims past 256: the plan is asked about each, and these are run.
                      [=](testing::Rig &rig, const Shape &s) {
                        return top_k_inner_product(rig, s, filter, format, s.dqk <= 256 || s.dqk % 128 == 0);
                      },
                      {JD_F32, JD_F16, JD_BF16},
                      multiples(8, 2048)});
  }
}

}  // namespace jindou::operator_table
