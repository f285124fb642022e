#include "operator_table/rows.h"

namespace jindou::operator_table {
namespace {

// The dims of queries and keys are one: a shape of two is no question.
jd_status history_search(testing::Rig &rig, const Shape &s, int32_t method, bool with_run) {
  if (s.dqk != s.dv) return JD_UNSUPPORTED;
  constexpr int64_t kFound = 3;
  jd_history_search_desc d{};
  d.struct_size = sizeof d;
  d.method = method;
  d.dtype = s.dtype;
  d.offset_dtype = JD_I64;
  d.dim = static_cast<int32_t>(s.dqk);
  d.k = kFound;
  d.max_batch = 1;
  d.max_candidates = kQueries;
  d.max_history = kRows;
  const std::function<jd_history_search_args()> args = [&] {
    const auto searched = [&](int64_t count) {
      const int64_t width = method == JD_SEARCH_HARD ? 1 : method == JD_SEARCH_LSH ? s.dqk / 64 : s.dqk;
      std::vector<double> values(static_cast<size_t>(count * width), 3);
      if (method == JD_SEARCH_DOT) values = testing::Random(8).values(count * width, s.dtype);
      return rig.tensor(s.dtype, method == JD_SEARCH_HARD ? std::vector<int64_t>{count} : std::vector<int64_t>{count, width}, values);
    };
    jd_history_search_args a{};
    a.struct_size = sizeof a;
    a.queries = searched(kQueries);
    a.candidate_offsets = offsets(rig, kQueries);
    a.keys = searched(kRows);
    a.history_offsets = offsets(rig, kRows);
    if (method == JD_SEARCH_DOT) a.bias = rig.tensor(JD_F32, {kRows}, testing::Random(9).values(kRows, JD_F32));
    a.indices = rig.poisoned(JD_I32, {kQueries, kFound});
    if (method != JD_SEARCH_HARD) a.scores = rig.poisoned(JD_F32, {kQueries, kFound});
    return a;
  };
  return attempt(rig, d, jd_history_search_plan, jd_history_search_run, with_run ? &args : nullptr);
}

// Without a plan: refused or done. Signatures of 64 bits.
jd_status lsh_signatures(testing::Rig &rig, const Shape &s) {
  if (s.dqk != s.dv) return JD_UNSUPPORTED;
  jd_lsh_signatures_args a{};
  a.struct_size = sizeof a;
  a.x = rig.tensor(s.dtype, {kRows, s.dqk}, testing::Random(8).values(kRows * s.dqk, s.dtype));
  a.projection = rig.tensor(s.dtype, {64, s.dqk}, testing::Random(9).values(64 * s.dqk, s.dtype));
  a.signatures = rig.poisoned(JD_I64, {kRows, 1});
  testing::Error error;
  const jd_status status = jd_lsh_signatures(rig.stream, &a, &error);
  return status == JD_OK ? jd_stream_synchronize(rig.stream, &error) : status;
}

}  // namespace

void add_history_search(Probes &probes) {
  struct Option {
    const char *name;
    int32_t method;
    std::vector<int32_t> dtypes;
    std::vector<int64_t> dims;
  };
  for (const Option &option : {Option{"hard", JD_SEARCH_HARD, {JD_I32, JD_I64}, {0}},
                               {"dot, bias", JD_SEARCH_DOT, {JD_F32, JD_F16, JD_BF16, JD_I8}, multiples(8, 256)},
                               {"lsh (bits)", JD_SEARCH_LSH, {JD_I64}, multiples(64, 1024)}}) {
    const int32_t method = option.method;
    probes.push_back({"history_search", option.name, [=](testing::Rig &rig, const Shape &s) { return history_search(rig, s, method, false); },
                      [=](testing::Rig &rig, const Shape &s) { return history_search(rig, s, method, true); }, option.dtypes, option.dims});
  }
  probes.push_back({"lsh_signatures", "64 bits", lsh_signatures, lsh_signatures, {JD_F32, JD_F16, JD_BF16}, multiples(8, 256)});
}

}  // namespace jindou::operator_table
