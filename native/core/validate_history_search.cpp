// history_search and lsh_signatures: the rules of jindou/history_search.h and the entry points.
#include "core/arguments.h"
#include "core/run_plan.h"
#include "core/search_rules.h"

namespace jindou::core {
namespace {

constexpr int32_t kMaxSearchDim = 256;
constexpr int32_t kMaxBits = 1024;

void check_multiple(Rules &rules, const char *name, int64_t value, int64_t multiple, int64_t most) {
  if (value >= multiple && value <= most && value % multiple == 0) return;
  rules.fail(JD_INVALID_ARGUMENT, name, "expected a multiple of %" PRId64 " up to %" PRId64 ", got %" PRId64, multiple, most,
             value);
}

jd_status check_description(const Context &context, jd_history_search_desc &d) {
  Rules rules(context);
  rules.integer("method", d.method, JD_SEARCH_HARD, JD_SEARCH_LSH);
  if (rules.broken()) return rules.status();
  switch (d.method) {
    case JD_SEARCH_HARD:
      rules.dtype("dtype", d.dtype, {JD_I32, JD_I64});
      rules.zero("dim", d.dim);
      break;
    case JD_SEARCH_DOT:
      if (d.dtype == JD_I8) {
        rules.fail(JD_INVALID_ARGUMENT, "dtype",
                   "expected f32, f16 or bf16, got i8: rows of codes have a scale each, which a search has no argument for; search "
                   "rows of 16 bits, or by lsh_signatures, which are smaller than codes");
      }
      rules.dtype("dtype", d.dtype, {JD_F32, JD_F16, JD_BF16});
      check_multiple(rules, "dim", d.dim, 8, kMaxSearchDim);
      break;
    case JD_SEARCH_LSH:
      rules.dtype("dtype", d.dtype, {JD_I64});
      check_multiple(rules, "dim", d.dim, 64, kMaxBits);
      break;
  }
  rules.dtype("offset_dtype", d.offset_dtype, {JD_I32, JD_I64});
  check_search_limits(rules, d);
  return rules.status();
}

// Queries or keys.
void check_searched(Rules &rules, const char *name, const jdb_tensor &t, const jd_history_search_desc &d) {
  switch (d.method) {
    case JD_SEARCH_HARD:
      rules.tensor(name, t, d.dtype, {kAny});
      rules.contiguous_last(name, t);
      break;
    case JD_SEARCH_DOT:
      rules.tensor(name, t, d.dtype, {kAny, d.dim});
      rules.aligned_rows(name, t);
      break;
    case JD_SEARCH_LSH:
      rules.tensor(name, t, d.dtype, {kAny, d.dim / 64});
      rules.contiguous_last(name, t);
      break;
  }
}

void check_arguments(Rules &rules, const Plan &plan, jdb_history_search_args &a) {
  const jd_history_search_desc &d = plan.desc.history_search;
  check_searched(rules, "queries", a.queries, d);
  check_searched(rules, "keys", a.keys, d);
  if (rules.broken()) return;
  const int64_t candidates = a.queries.shape[0], events = a.keys.shape[0];
  check_offsets(rules, "candidate_offsets", a.candidate_offsets, d.offset_dtype, d.max_batch, &a.batch);
  rules.tensor("history_offsets", a.history_offsets, d.offset_dtype, {a.candidate_offsets.shape[0]});
  rules.contiguous_last("history_offsets", a.history_offsets);
  if (d.method != JD_SEARCH_DOT) rules.presence("bias", a.bias, false, "the plan is not of dot products");
  if (d.method == JD_SEARCH_HARD) rules.presence("scores", a.scores, false, "equal categories have no score");
  rules.tensor("bias", a.bias, JD_F32, {events});
  rules.contiguous_last("bias", a.bias);
  check_results(rules, "indices", a.indices, JD_I32, candidates, d.k);
  check_results(rules, "scores", a.scores, JD_F32, candidates, d.k);
  rules.tensor("counts", a.counts, JD_I32, {candidates});
  rules.contiguous_last("counts", a.counts);
  for (const Rules::Input &out : {Rules::Input{"indices", a.indices}, {"scores", a.scores}, {"counts", a.counts}}) {
    if (out.tensor.dtype == 0) continue;
    rules.separate_elements(out.name, out.tensor);
    rules.apart(out.name, out.tensor,
                {{"queries", a.queries},
                 {"candidate_offsets", a.candidate_offsets},
                 {"keys", a.keys},
                 {"history_offsets", a.history_offsets},
                 {"bias", a.bias}});
  }
  if (a.scores.dtype != 0) rules.apart("scores", a.scores, {{"indices", a.indices}});
  if (a.counts.dtype != 0) rules.apart("counts", a.counts, {{"indices", a.indices}, {"scores", a.scores}});
}

void check_arguments(Rules &rules, const jdb_lsh_signatures_args &a) {
  rules.dtype("x", a.x.dtype, {JD_F32, JD_F16, JD_BF16});
  rules.tensor("x", a.x, a.x.dtype, {kAny, kAny});
  rules.column_multiple("x", a.x, 8, 8, kMaxSearchDim);
  rules.aligned_rows("x", a.x);
  if (rules.broken()) return;
  rules.tensor("projection", a.projection, a.x.dtype, {kAny, a.x.shape[1]});
  rules.aligned_rows("projection", a.projection);
  if (rules.broken()) return;
  check_multiple(rules, "projection", a.projection.shape[0], 64, kMaxBits);
  check_results(rules, "signatures", a.signatures, JD_I64, a.x.shape[0], a.projection.shape[0] / 64);
  rules.separate_elements("signatures", a.signatures);
  rules.apart("signatures", a.signatures, {{"x", a.x}, {"projection", a.projection}});
}

}  // namespace
}  // namespace jindou::core

using namespace jindou::core;

extern "C" {

jd_status jd_history_search_plan(jd_device device, const jd_history_search_desc *desc, jd_plan *plan, jd_error *error) {
  return guarded(error, [&]() -> jd_status {
    return make_plan({error, "history_search"}, JDB_OP_HISTORY_SEARCH, device, desc, &Plan::Description::history_search,
                     check_description, plan);
  });
}

jd_status jd_history_search_run(jd_plan plan_handle, jd_stream stream_handle, const jd_history_search_args *given,
                                jd_error *error) {
  return run_plan("history_search", JDB_OP_HISTORY_SEARCH, plan_handle, stream_handle, given, error,
                  [&](auto &context, auto &plan, auto &stream, auto &args) -> jd_status {
    jdb_history_search_args a;
    Arguments<8> tensors(context, *stream->device);
    tensors.required("queries", args.queries, &a.queries);
    tensors.required("candidate_offsets", args.candidate_offsets, &a.candidate_offsets);
    tensors.required("keys", args.keys, &a.keys);
    tensors.required("history_offsets", args.history_offsets, &a.history_offsets);
    tensors.optional("bias", args.bias, &a.bias);
    tensors.required("indices", args.indices, &a.indices);
    tensors.optional("scores", args.scores, &a.scores);
    tensors.optional("counts", args.counts, &a.counts);
    if (tensors.status() != JD_OK) return tensors.status();
    Rules rules(context);
    rules.zero("reserved", args.reserved);
    check_arguments(rules, *plan, a);
    if (rules.broken()) return rules.status();
    return stream->run(context, JDB_OP_HISTORY_SEARCH, plan.get(), a, tensors.used);
  });
}

jd_status jd_lsh_signatures(jd_stream stream_handle, const jd_lsh_signatures_args *given, jd_error *error) {
  return guarded(error, [&]() -> jd_status {
    const Context context{error, "lsh_signatures"};
    Ref<Stream> stream;
    DeviceUse use;
    if (const jd_status status = use_stream(context, stream_handle, &stream, &use)) return status;
    jd_lsh_signatures_args args;
    if (const jd_status status = read_struct(context, "args", given, &args)) return status;
    jdb_lsh_signatures_args a;
    Arguments<3> tensors(context, *stream->device);
    tensors.required("x", args.x, &a.x);
    tensors.required("projection", args.projection, &a.projection);
    tensors.required("signatures", args.signatures, &a.signatures);
    if (tensors.status() != JD_OK) return tensors.status();
    Rules rules(context);
    rules.zero("reserved", args.reserved);
    check_arguments(rules, a);
    if (rules.broken()) return rules.status();
    return stream->run(context, JDB_OP_LSH_SIGNATURES, nullptr, a, tensors.used);
  });
}

}  // extern "C"
