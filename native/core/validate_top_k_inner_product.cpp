// top_k_inner_product: the rules of jindou/top_k_inner_product.h and the entry points.
#include "core/arguments.h"
#include "core/row_formats.h"
#include "core/run_plan.h"
#include "core/search_rules.h"

namespace jindou::core {
namespace {

constexpr int64_t kMaxTopKDim = 2048;
constexpr int64_t kMaxTopK = 1024;
constexpr int64_t kMaxTopKQueries = 1 << 20;
constexpr int64_t kMaxItems = INT32_MAX;

jd_status check_description(const Context &context, jd_top_k_inner_product_desc &d) {
  Rules rules(context);
  rules.dtype("dtype", d.dtype, {JD_F32, JD_F16, JD_BF16});
  if (!rules.broken() && (d.dim < 8 || d.dim > kMaxTopKDim || d.dim % 8 != 0)) {
    rules.fail(JD_INVALID_ARGUMENT, "dim", "expected a multiple of 8 up to %" PRId64 ", got %d", kMaxTopKDim, d.dim);
  }
  rules.integer("k", d.k, 1, kMaxTopK);
  rules.integer("max_queries", d.max_queries, 1, kMaxTopKQueries);
  rules.integer("row_format", d.row_format, JD_ROWS_PLAIN, JD_ROWS_E4M3);
  rules.zero("reserved", d.reserved);
  return rules.status();
}

void check_allowed(Rules &rules, const jdb_tensor &allowed, int64_t queries, int64_t items) {
  const int64_t bytes = (items + 7) / 8;
  if (allowed.rank == 2) {
    rules.tensor("allowed", allowed, JD_U8, {queries, bytes});
  } else {
    rules.tensor("allowed", allowed, JD_U8, {bytes});
  }
  rules.contiguous_last("allowed", allowed);
}

void check_items(Rules &rules, const jd_top_k_inner_product_desc &d, const jdb_tensor &items) {
  if (d.row_format == JD_ROWS_PLAIN) {
    rules.tensor("items", items, d.dtype, {kAny, d.dim});
    return rules.aligned_rows("items", items);
  }
  rules.tensor("items", items, JD_U8, {kAny, kAny});
  rules.contiguous_last("items", items);
  if (rules.broken()) return;
  const int64_t least = row_layout(d.row_format, d.dim).row_bytes;
  if (items.shape[1] < least) {
    rules.fail(JD_INVALID_ARGUMENT, "items", "expected rows of at least %" PRId64 " bytes (dim = %d, row_format = %d), got shape %s", least,
               d.dim, d.row_format, ShapeText(items.shape, items.rank).text);
  }
}

void check_arguments(Rules &rules, const jd_top_k_inner_product_desc &d, const jdb_top_k_inner_product_args &a) {
  rules.tensor("queries", a.queries, d.dtype, {kAny, d.dim});
  rules.aligned_rows("queries", a.queries);
  check_items(rules, d, a.items);
  if (rules.broken()) return;
  const int64_t queries = a.queries.shape[0], items = a.items.shape[0];
  if (queries > d.max_queries) {
    rules.fail(JD_INVALID_ARGUMENT, "queries", "expected at most %" PRId64 " rows (max_queries of the plan), got %" PRId64,
               d.max_queries, queries);
  }
  if (items > kMaxItems) {
    rules.fail(JD_INVALID_ARGUMENT, "items", "expected at most %" PRId64 " rows, got %" PRId64, kMaxItems, items);
  }
  check_allowed(rules, a.allowed, queries, items);
  check_results(rules, "indices", a.indices, JD_I64, queries, d.k);
  check_results(rules, "scores", a.scores, JD_F32, queries, d.k);
  for (const Rules::Input &out : {Rules::Input{"indices", a.indices}, {"scores", a.scores}}) {
    if (out.tensor.dtype == 0) continue;
    rules.separate_elements(out.name, out.tensor);
    rules.apart(out.name, out.tensor, {{"queries", a.queries}, {"items", a.items}, {"allowed", a.allowed}});
  }
  if (a.scores.dtype != 0) rules.apart("scores", a.scores, {{"indices", a.indices}});
}

}  // namespace
}  // namespace jindou::core

using namespace jindou::core;

extern "C" {

jd_status jd_top_k_inner_product_plan(jd_device device, const jd_top_k_inner_product_desc *desc, jd_plan *plan, jd_error *error) {
  return guarded(error, [&]() -> jd_status {
    return make_plan({error, "top_k_inner_product"}, JDB_OP_TOP_K_INNER_PRODUCT, device, desc,
                     &Plan::Description::top_k_inner_product, check_description, plan);
  });
}

jd_status jd_top_k_inner_product_run(jd_plan plan_handle, jd_stream stream_handle, const jd_top_k_inner_product_args *given,
                                     jd_error *error) {
  return run_plan("top_k_inner_product", JDB_OP_TOP_K_INNER_PRODUCT, plan_handle, stream_handle, given, error,
                  [&](auto &context, auto &plan, auto &stream, auto &args) -> jd_status {
    jdb_top_k_inner_product_args a;
    Arguments<5> tensors(context, *stream->device);
    tensors.required("queries", args.queries, &a.queries);
    tensors.required("items", args.items, &a.items);
    tensors.optional("allowed", args.allowed, &a.allowed);
    tensors.required("indices", args.indices, &a.indices);
    tensors.optional("scores", args.scores, &a.scores);
    if (tensors.status() != JD_OK) return tensors.status();
    Rules rules(context);
    rules.zero("reserved", args.reserved);
    check_arguments(rules, plan->desc.top_k_inner_product, a);
    if (rules.broken()) return rules.status();
    return stream->run(context, JDB_OP_TOP_K_INNER_PRODUCT, plan.get(), a, tensors.used);
  });
}

}  // extern "C"
