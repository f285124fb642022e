// A question to the library: does this operator, with this mask or option, work for a dtype and head dims on a device?
#ifndef JINDOU_TESTS_OPERATOR_TABLE_PROBE_H
#define JINDOU_TESTS_OPERATOR_TABLE_PROBE_H

#include <functional>
#include <string>
#include <vector>

#include "operators_support.h"

namespace jindou::operator_table {

struct Shape {
  int32_t dtype;
  int64_t dqk, dv;
};

// What the last step answered: JD_OK, or the status of the plan or run that was refused.
struct Probe {
  std::string operator_name;
  std::string option;  // mask, bias, cache...
  std::function<jd_status(testing::Rig &, const Shape &)> plan;  // makes the plan only
  std::function<jd_status(testing::Rig &, const Shape &)> run;   // and runs it on a few rows
  std::vector<int32_t> dtypes = {JD_F32, JD_F16, JD_BF16};
  std::vector<int64_t> dims = {};  // asked about; empty: those that main.cpp asks about, {0}: it has none
};

using Probes = std::vector<Probe>;
void add_target_attention(Probes &);
void add_hstu_attention(Probes &);
void add_decode_attention(Probes &);
void add_softmax_attention(Probes &);
void add_beam_attention(Probes &);
void add_longer_attention(Probes &);
void add_din_attention(Probes &);
void add_history_search(Probes &);
void add_search_attention(Probes &);
void add_stca_attention(Probes &);
void add_top_k_inner_product(Probes &);

// Dims of operators that take the multiples of `step` to some number: these, the first beyond, and some that are none.
inline std::vector<int64_t> multiples(int64_t step, int64_t most) {
  std::vector<int64_t> list = {step / 2, step + step / 2};
  for (int64_t d = step; d <= most + step; d += step) list.push_back(d);
  std::sort(list.begin(), list.end());
  return list;
}

// Makes a plan, and with `args` runs it and waits. `plan_function` and `run_function` are the operator's.
template <class Desc, class Args>
jd_status attempt(testing::Rig &rig, const Desc &desc,
                  jd_status (*plan_function)(jd_device, const Desc *, jd_plan *, jd_error *),
                  jd_status (*run_function)(jd_plan, jd_stream, const Args *, jd_error *),
                  const std::function<Args()> *args) {
  testing::Error error;
  jd_plan plan = 0;
  jd_status status = plan_function(rig.device, &desc, &plan, &error);
  if (status != JD_OK) return status;
  if (args) {
    const Args a = (*args)();
    status = run_function(plan, rig.stream, &a, &error);
    if (status == JD_OK) status = jd_stream_synchronize(rig.stream, &error);
  }
  jd_plan_destroy(plan, nullptr);
  return status;
}

}  // namespace jindou::operator_table

#endif
