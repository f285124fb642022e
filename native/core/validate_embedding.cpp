// embedding_bag: the rules of jindou/embedding.h and the two entry points.
#include "core/arguments.h"
#include "core/plan.h"
#include "core/row_formats.h"
#include "core/rules.h"
#include "core/stream.h"

namespace jindou::core {
namespace {

constexpr const char *kName = "embedding_bag";
constexpr int32_t kMaxTables = 4096;
constexpr int64_t kMaxDim = 2048;

void check_description(Rules &rules, const jd_embedding_bag_desc &d) {
  rules.integer("num_tables", d.num_tables, 1, kMaxTables);
  if (!d.tables) rules.fail(JD_INVALID_ARGUMENT, "tables", "expected a pointer, got NULL");
  if (!d.table_pooling) rules.integer("pooling", d.pooling, JD_POOL_SUM, JD_POOL_NONE);
  rules.integer("bounds", d.bounds, JD_BOUNDS_STRICT, JD_BOUNDS_TRUST);
  rules.integer("mean_denominator", d.mean_denominator, JD_MEAN_VALID, JD_MEAN_LENGTH);
  rules.dtype("index_dtype", d.index_dtype, {JD_I32, JD_I64});
  rules.dtype("offset_dtype", d.offset_dtype, {JD_I32, JD_I64});
  rules.dtype("out_dtype", d.out_dtype, {JD_F32, JD_F16, JD_BF16});
  rules.flag("weighted", d.weighted);
  rules.flag("has_padding_id", d.has_padding_id);
  if (rules.broken()) return;
  // A bag is a row of the launch grid, and offsets reach max_ids.
  rules.integer("max_batch", d.max_batch, 0, INT32_MAX / d.num_tables);
  rules.integer("max_ids", d.max_ids, 0, d.offset_dtype == JD_I32 ? INT32_MAX : INT64_MAX);
}

// What a plan knows of its tables one by one.
struct TableFields {
  std::vector<int32_t> pooling, formats, dims;
  int64_t sum_dims = 0;
};

// A table of numbers.
void check_plain(Rules &rules, const char *name, const jdb_tensor &t) {
  rules.dtype(name, t.dtype, {JD_F32, JD_F16, JD_BF16, JD_F8_E4M3});
  rules.tensor(name, t, t.dtype, {kAny, kAny});
  rules.column_multiple(name, t, 4, 4, kMaxDim);
  rules.aligned_data(name, t);
  rules.contiguous_last(name, t);
  if (rules.broken()) return;
  if (t.shape[0] > 1 && (t.strides[0] < t.shape[1] || t.strides[0] % 4 != 0)) {
    rules.fail(JD_INVALID_ARGUMENT, name,
               "expected a row stride of at least %" PRId64 " elements and a multiple of 4, got strides %s", t.shape[1],
               ShapeText(t.strides, t.rank).text);
  }
}

// A table of codes, `dim` of them a row.
void check_codes(Rules &rules, const char *name, const jdb_tensor &t, int32_t format, int32_t i, int64_t dim) {
  char field[32];
  snprintf(field, sizeof field, "dims[%d]", i);
  if (dim < 4 || dim > kMaxDim || dim % 4 != 0) {
    return rules.fail(JD_INVALID_ARGUMENT, field, "expected a multiple of 4 in 4..%" PRId64 ", got %" PRId64, kMaxDim, dim);
  }
  rules.tensor(name, t, JD_U8, {kAny, kAny});
  rules.contiguous_last(name, t);
  if (rules.broken()) return;
  const int64_t least = row_layout(format, dim).row_bytes;
  if (t.shape[1] < least) {
    return rules.fail(JD_INVALID_ARGUMENT, name,
                      "expected rows of at least %" PRId64 " bytes (%s = %" PRId64 ", row_formats[%d] = %d), got shape %s", least,
                      field, dim, i, format, ShapeText(t.shape, t.rank).text);
  }
  if (t.shape[0] > 1 && t.strides[0] < t.shape[1]) {
    rules.fail(JD_INVALID_ARGUMENT, name, "expected a row stride of at least %" PRId64 " bytes, got strides %s", t.shape[1],
               ShapeText(t.strides, t.rank).text);
  }
}

// Resolves the tables into the plan and checks each; messages name "tables[3]".
void check_tables(Rules &rules, const Context &context, const jd_embedding_bag_desc &d, Plan &plan, TableFields *fields) {
  plan.tables.reserve(d.num_tables);
  plan.resolved_tables.reserve(d.num_tables);
  for (int32_t i = 0; i < d.num_tables; ++i) {
    char name[32];
    snprintf(name, sizeof name, "tables[%d]", i);
    Ref<Tensor> table;
    if (const jd_status status = acquire_tensor(context, name, d.tables[i], *plan.device, "the plan", &table)) {
      return rules.refused(status);
    }
    const jdb_tensor &t = table->t;
    const int32_t format = d.row_formats ? d.row_formats[i] : JD_ROWS_PLAIN;
    if (format == JD_ROWS_PLAIN) {
      check_plain(rules, name, t);
      if (rules.broken()) return;
      fields->dims.push_back(static_cast<int32_t>(t.shape[1]));
    } else {
      char field[32];
      snprintf(field, sizeof field, "row_formats[%d]", i);
      rules.integer(field, format, JD_ROWS_PLAIN, JD_ROWS_E4M3);
      if (!d.dims) rules.fail(JD_INVALID_ARGUMENT, "dims", "expected a pointer (%s is not JD_ROWS_PLAIN), got NULL", field);
      if (rules.broken()) return;
      check_codes(rules, name, t, format, i, d.dims[i]);
      if (rules.broken()) return;
      fields->dims.push_back(d.dims[i]);
    }
    fields->formats.push_back(format);
    const int32_t pooling = d.table_pooling ? d.table_pooling[i] : d.pooling;
    fields->pooling.push_back(pooling);
    snprintf(name, sizeof name, "table_pooling[%d]", i);
    rules.integer(name, pooling, JD_POOL_SUM, JD_POOL_NONE);
    if ((pooling == JD_POOL_NONE) != (fields->pooling[0] == JD_POOL_NONE)) {
      rules.fail(JD_INVALID_ARGUMENT, name, "expected JD_POOL_NONE for all tables or for none, got %d beside %d", pooling,
                 fields->pooling[0]);
    }
    if (pooling == JD_POOL_NONE && fields->dims[i] != fields->dims[0]) {
      snprintf(name, sizeof name, "tables[%d]", i);
      rules.fail(JD_INVALID_ARGUMENT, name, "expected dimension %d as tables[0] (pooling none), got %d", fields->dims[0],
                 fields->dims[i]);
    }
    if (rules.broken()) return;
    fields->sum_dims += fields->dims[i];
    const char *begin = static_cast<const char *>(t.data);
    if (const int64_t bytes = spanned_bytes(t)) {
      if (!plan.tables_begin || begin < plan.tables_begin) plan.tables_begin = begin;
      if (begin + bytes > plan.tables_end) plan.tables_end = begin + bytes;
    }
    plan.resolved_tables.push_back(t);
    plan.tables.push_back(std::move(table));
  }
}

void check_arguments(Rules &rules, const Plan &plan, jdb_embedding_bag_args &a) {
  const jdb_embedding_bag_desc &desc = plan.desc.embedding_bag;
  const jd_embedding_bag_desc &d = desc.d;
  rules.tensor("ids", a.ids, d.index_dtype, {kAny});
  rules.contiguous_last("ids", a.ids);
  rules.tensor("offsets", a.offsets, d.offset_dtype, {kAny});
  rules.contiguous_last("offsets", a.offsets);
  if (rules.broken()) return;

  const int64_t total = a.ids.shape[0];
  if (total > d.max_ids) {
    rules.fail(JD_INVALID_ARGUMENT, "ids", "expected at most %" PRId64 " ids (max_ids of the plan), got %" PRId64,
               d.max_ids, total);
  }
  const int64_t bags = a.offsets.shape[0] - 1;
  if (bags < 0 || bags % d.num_tables != 0) {
    return rules.fail(JD_INVALID_ARGUMENT, "offsets", "expected T * B + 1 offsets for T = %d tables, got %" PRId64,
                      d.num_tables, bags + 1);
  }
  a.batch = bags / d.num_tables;
  if (a.batch > d.max_batch) {
    rules.fail(JD_INVALID_ARGUMENT, "offsets",
               "expected a batch of at most %" PRId64 " (max_batch of the plan), got %" PRId64, d.max_batch, a.batch);
  }
  rules.presence("weights", a.weights, d.weighted, d.weighted ? "the plan is weighted" : "the plan is not weighted");
  rules.tensor("weights", a.weights, JD_F32, {total});
  rules.contiguous_last("weights", a.weights);

  const bool none = d.pooling == JD_POOL_NONE;
  rules.tensor("out", a.out, d.out_dtype, {none ? total : a.batch, desc.sum_dims});
  rules.aligned_rows("out", a.out);
  rules.separate_elements("out", a.out);
  rules.apart("out", a.out, {{"ids", a.ids}, {"offsets", a.offsets}, {"weights", a.weights}});
  if (rules.broken()) return;
  // One comparison with the range of all tables nearly always settles it.
  const char *begin = static_cast<const char *>(a.out.data), *end = begin + spanned_bytes(a.out);
  if (begin == end || end <= plan.tables_begin || begin >= plan.tables_end) return;
  for (size_t i = 0; i < plan.resolved_tables.size(); ++i) {
    if (!may_overlap(a.out, plan.resolved_tables[i])) continue;
    return rules.fail(JD_INVALID_ARGUMENT, "out",
                      "expected memory apart from the tables, got an overlap with tables[%zu]", i);
  }
}

jd_status make_plan(const Context &context, jd_device handle, const jd_embedding_bag_desc *given,
                    jd_plan *plan_handle) {
  if (const jd_status status = expect_pointer(context, "plan", plan_handle)) return status;
  *plan_handle = 0;
  Ref<Device> device;
  DeviceUse use;
  if (const jd_status status = acquire(context, "device", handle, &device)) return status;
  if (const jd_status status = use.enter(context, "device", *device)) return status;
  jd_embedding_bag_desc d;
  if (const jd_status status = read_struct(context, "desc", given, &d)) return status;
  if (d.out_dtype == 0) d.out_dtype = JD_F32;

  Rules rules(context);
  check_description(rules, d);
  if (rules.broken()) return rules.status();

  auto plan = std::make_unique<Plan>(device, JDB_OP_EMBEDDING_BAG);
  TableFields fields;
  check_tables(rules, context, d, *plan, &fields);
  if (rules.broken()) return rules.status();

  // With pooling none the tables share the columns of out.
  const bool none = fields.pooling[0] == JD_POOL_NONE;
  d.pooling = fields.pooling[0];
  d.tables = nullptr;
  d.table_pooling = d.row_formats = d.dims = nullptr;
  jdb_embedding_bag_desc &desc = plan->desc.embedding_bag;
  desc.d = d;
  desc.tables = plan->resolved_tables.data();
  desc.sum_dims = none ? fields.dims[0] : fields.sum_dims;
  jdb_embedding_bag_desc passed = desc;  // with what lives for this call only
  passed.table_pooling = fields.pooling.data();
  passed.row_formats = fields.formats.data();
  passed.dims = fields.dims.data();
  return finish_plan(context, std::move(plan), &passed, plan_handle);
}

}  // namespace
}  // namespace jindou::core

using namespace jindou::core;

extern "C" {

jd_status jd_embedding_bag_plan(jd_device device, const jd_embedding_bag_desc *desc, jd_plan *plan, jd_error *error) {
  return guarded(error, [&]() -> jd_status { return make_plan({error, kName}, device, desc, plan); });
}

jd_status jd_embedding_bag_run(jd_plan plan_handle, jd_stream stream_handle, const jd_embedding_bag_args *given,
                               jd_error *error) {
  return guarded(error, [&]() -> jd_status {
    const Context context{error, kName};
    Ref<Plan> plan;
    Ref<Stream> stream;
    DeviceUse use;
    if (const jd_status status =
            use_plan(context, plan_handle, JDB_OP_EMBEDDING_BAG, stream_handle, &plan, &stream, &use))
      return status;
    jd_embedding_bag_args args;
    if (const jd_status status = read_struct(context, "args", given, &args)) return status;
    jdb_embedding_bag_args a;
    Arguments<4> tensors(context, *stream->device);
    tensors.required("ids", args.ids, &a.ids);
    tensors.required("offsets", args.offsets, &a.offsets);
    tensors.optional("weights", args.weights, &a.weights);
    tensors.required("out", args.out, &a.out);
    if (tensors.status() != JD_OK) return tensors.status();
    Rules rules(context);
    rules.zero("reserved", args.reserved);
    check_arguments(rules, *plan, a);
    if (rules.broken()) return rules.status();
    return stream->run(context, JDB_OP_EMBEDDING_BAG, plan.get(), a, tensors.used);
  });
}

}  // extern "C"
