// sequence_embedding: the rules of jindou/sequence_embedding.h and the two entry points.
#include <algorithm>
#include <cstdio>

#include "core/arguments.h"
#include "core/attention_rules.h"
#include "core/rules.h"
#include "core/run_plan.h"
#include "core/table_rules.h"

namespace jindou::core {
namespace {

constexpr const char *kName = "sequence_embedding";
constexpr int32_t kMaxTables = 256;
constexpr int64_t kMaxWidth = 8192;

void check_description(Rules &rules, const jd_sequence_embedding_desc &d) {
  rules.integer("num_tables", d.num_tables, 1, kMaxTables);
  if (!d.tables) rules.fail(JD_INVALID_ARGUMENT, "tables", "expected a pointer, got NULL");
  rules.integer("combine", d.combine, JD_SEQUENCE_CONCAT, JD_SEQUENCE_SUM);
  rules.integer("bounds", d.bounds, JD_BOUNDS_STRICT, JD_BOUNDS_TRUST);
  rules.dtype("index_dtype", d.index_dtype, {JD_I32, JD_I64});
  rules.dtype("offset_dtype", d.offset_dtype, {JD_I32, JD_I64});
  rules.dtype("out_dtype", d.out_dtype, {JD_F32, JD_F16, JD_BF16});
  rules.flag("has_padding_id", d.has_padding_id);
  rules.finite("scale", d.scale);
  rules.integer("position_mode", d.position_mode, JD_POSITION_FROM_START, JD_POSITION_FROM_END);
  rules.integer("contextual_len", d.contextual_len, 0, INT32_MAX);
  rules.integer("time_function", d.time_function, JD_TIME_SQRT, JD_TIME_LOG);
  rules.integer("max_time_bucket", d.max_time_bucket, 0, INT32_MAX);
  rules.flag("has_num_targets", d.has_num_targets);
  if (d.time_table) rules.integer("time_unit", d.time_unit, 1, INT64_MAX);
  rules.flag("has_query_times", d.has_query_times);
  if (d.has_query_times && !d.time_table) {
    rules.fail(JD_INVALID_ARGUMENT, "has_query_times", "expected 0 (there is no time_table), got 1");
  }
  rules.zero("reserved", d.reserved);
  rules.integer("max_batch", d.max_batch, 0, INT32_MAX);
  rules.integer("max_events", d.max_events, 0, d.offset_dtype == JD_I32 ? INT32_MAX : INT64_MAX);
}

struct TableFields {
  std::vector<int32_t> formats, dims;
  TableKeys keys;
};

void check_tables(Rules &rules, const Context &context, const jd_sequence_embedding_desc &d, Plan &plan, TableFields *fields,
                  int64_t *width) {
  plan.tables.reserve(d.num_tables + 2);
  plan.resolved_tables.reserve(d.num_tables);
  for (int32_t i = 0; i < d.num_tables; ++i) {
    int32_t format = 0, dim = 0;
    add_table(rules, context, plan, i, d.tables[i], d.row_formats, d.dims, &format, &dim);
    if (rules.broken()) return;
    fields->formats.push_back(format);
    fields->dims.push_back(dim);
  }
  check_table_keys(rules, plan, d.table_keys, &fields->keys);
  if (rules.broken()) return;
  *width = 0;
  for (int32_t i = 0; i < d.num_tables; ++i) {
    const int64_t columns = static_cast<int64_t>(fields->keys.rows_of(i)) * fields->dims[i];  // all its rows side by side
    if (d.combine == JD_SEQUENCE_SUM && i > 0 && columns != *width) {
      char name[32];
      snprintf(name, sizeof name, "tables[%d]", i);
      return rules.fail(JD_INVALID_ARGUMENT, name, "expected dimension %" PRId64 " as tables[0] (JD_SEQUENCE_SUM), got %" PRId64,
                        *width, columns);
    }
    *width = d.combine == JD_SEQUENCE_SUM ? columns : *width + columns;
  }
  if (*width > kMaxWidth) {
    rules.fail(JD_INVALID_ARGUMENT, "tables", "expected at most %" PRId64 " columns together, got %" PRId64, kMaxWidth, *width);
  }
}

// position_table and time_table, which may be absent; `field` is the name of their format.
void check_place_table(Rules &rules, const Context &context, const char *name, jd_tensor handle, const char *field, int32_t format,
                       int64_t width, Plan &plan, jdb_tensor *resolved) {
  *resolved = {};
  if (rules.broken()) return;
  if (handle == 0) {
    if (format != JD_ROWS_PLAIN) rules.fail(JD_INVALID_ARGUMENT, field, "expected 0 (there is no %s), got %d", name, format);
    return;
  }
  rules.integer(field, format, JD_ROWS_PLAIN, JD_ROWS_E4M3);
  if (rules.broken()) return;
  Ref<Tensor> table;
  if (const jd_status status = acquire_tensor(context, name, handle, *plan.device, "the plan", &table)) {
    return rules.refused(status);
  }
  const jdb_tensor &t = table->t;
  if (format == JD_ROWS_PLAIN) {
    check_rows_of_numbers(rules, name, t, {JD_F32, JD_F16, JD_BF16, JD_F8_E4M3}, kMaxWidth);
    rules.tensor(name, t, t.dtype, {kAny, width});
  } else {
    char why[80];
    snprintf(why, sizeof why, "D = %" PRId64 ", %s = %d", width, field, format);
    check_rows_of_codes(rules, name, t, format, width, why);
  }
  if (rules.broken()) return;
  if (t.shape[0] < 1) {
    return rules.fail(JD_INVALID_ARGUMENT, name, "expected at least one row, got shape %s", ShapeText(t.shape, 2).text);
  }
  *resolved = t;
  plan.tables.push_back(std::move(table));
}

void check_arguments(Rules &rules, const Plan &plan, jdb_sequence_embedding_args &a) {
  const jdb_sequence_embedding_desc &desc = plan.desc.sequence_embedding;
  const jd_sequence_embedding_desc &d = desc.d;
  rules.tensor("ids", a.ids, d.index_dtype, {d.num_tables, kAny});
  rules.contiguous_last("ids", a.ids);
  if (rules.broken()) return;
  const int64_t total = a.ids.shape[1];
  if (total > d.max_events) {
    rules.fail(JD_INVALID_ARGUMENT, "ids", "expected at most %" PRId64 " events (max_events of the plan), got %" PRId64,
               d.max_events, total);
  }
  check_offsets(rules, "offsets", a.offsets, d.offset_dtype, d.max_batch, &a.batch);
  if (rules.broken()) return;
  const bool timed = desc.time_table.dtype != 0;
  rules.presence("timestamps", a.timestamps, timed, timed ? "the plan has a time_table" : "the plan has no time_table");
  rules.tensor("timestamps", a.timestamps, JD_I64, {total});
  rules.contiguous_last("timestamps", a.timestamps);
  rules.presence("query_times", a.query_times, d.has_query_times, d.has_query_times ? "has_query_times is 1" : "has_query_times is 0");
  rules.tensor("query_times", a.query_times, JD_I64, {a.batch});
  rules.contiguous_last("query_times", a.query_times);
  rules.presence("num_targets", a.num_targets, d.has_num_targets, d.has_num_targets ? "has_num_targets is 1" : "has_num_targets is 0");
  rules.tensor("num_targets", a.num_targets, JD_I32, {a.batch});
  rules.contiguous_last("num_targets", a.num_targets);
  rules.tensor("out", a.out, d.out_dtype, {total, desc.width});
  rules.aligned_rows("out", a.out);
  rules.separate_elements("out", a.out);
  rules.apart("out", a.out,
              {{"ids", a.ids},
               {"offsets", a.offsets},
               {"timestamps", a.timestamps},
               {"query_times", a.query_times},
               {"num_targets", a.num_targets},
               {"position_table", desc.position_table},
               {"time_table", desc.time_table}});
  check_apart_from_tables(rules, plan, "out", a.out);
}

jd_status make_plan(const Context &context, jd_device handle, const jd_sequence_embedding_desc *given, jd_plan *plan_handle) {
  if (const jd_status status = expect_pointer(context, "plan", plan_handle)) return status;
  *plan_handle = 0;
  Ref<Device> device;
  DeviceUse use;
  if (const jd_status status = acquire(context, "device", handle, &device)) return status;
  if (const jd_status status = use.enter(context, "device", *device)) return status;
  jd_sequence_embedding_desc d;
  if (const jd_status status = read_struct(context, "desc", given, &d)) return status;
  if (d.out_dtype == 0) d.out_dtype = JD_F32;

  Rules rules(context);
  check_description(rules, d);
  if (rules.broken()) return rules.status();

  auto plan = std::make_unique<Plan>(device, JDB_OP_SEQUENCE_EMBEDDING);
  jdb_sequence_embedding_desc &desc = plan->desc.sequence_embedding;
  TableFields fields;
  check_tables(rules, context, d, *plan, &fields, &desc.width);
  check_place_table(rules, context, "position_table", d.position_table, "position_format", d.position_format, desc.width, *plan,
                    &desc.position_table);
  check_place_table(rules, context, "time_table", d.time_table, "time_format", d.time_format, desc.width, *plan, &desc.time_table);
  if (rules.broken()) return rules.status();
  if (d.time_table) {
    const int64_t last = desc.time_table.shape[0] - 1;
    if (d.max_time_bucket > last) {
      rules.fail(JD_INVALID_ARGUMENT, "max_time_bucket", "expected 0..%" PRId64 " (the last row of time_table), got %d", last,
                 d.max_time_bucket);
      return rules.status();
    }
    if (d.max_time_bucket == 0) d.max_time_bucket = static_cast<int32_t>(std::min<int64_t>(last, INT32_MAX));
  }

  d.tables = nullptr;
  d.row_formats = d.dims = nullptr;
  d.table_keys = nullptr;
  desc.d = d;
  desc.tables = plan->resolved_tables.data();
  jdb_sequence_embedding_desc passed = desc;  // with what lives for this call only
  passed.row_formats = fields.formats.data();
  passed.dims = fields.dims.data();
  passed.table_keys = fields.keys.data();
  return finish_plan(context, std::move(plan), &passed, plan_handle);
}

}  // namespace
}  // namespace jindou::core

using namespace jindou::core;

extern "C" {

jd_status jd_sequence_embedding_plan(jd_device device, const jd_sequence_embedding_desc *desc, jd_plan *plan, jd_error *error) {
  return guarded(error, [&]() -> jd_status { return make_plan({error, kName}, device, desc, plan); });
}

jd_status jd_sequence_embedding_run(jd_plan plan_handle, jd_stream stream_handle, const jd_sequence_embedding_args *given,
                                    jd_error *error) {
  return run_plan(kName, JDB_OP_SEQUENCE_EMBEDDING, plan_handle, stream_handle, given, error,
                  [&](auto &context, auto &plan, auto &stream, auto &args) -> jd_status {
    jdb_sequence_embedding_args a;
    Arguments<6> tensors(context, *stream->device);
    tensors.required("ids", args.ids, &a.ids);
    tensors.required("offsets", args.offsets, &a.offsets);
    tensors.optional("timestamps", args.timestamps, &a.timestamps);
    tensors.optional("query_times", args.query_times, &a.query_times);
    tensors.optional("num_targets", args.num_targets, &a.num_targets);
    tensors.required("out", args.out, &a.out);
    if (tensors.status() != JD_OK) return tensors.status();
    Rules rules(context);
    rules.zero("reserved", args.reserved);
    check_arguments(rules, *plan, a);
    if (rules.broken()) return rules.status();
    return stream->run(context, JDB_OP_SEQUENCE_EMBEDDING, plan.get(), a, tensors.used);
  });
}

}  // extern "C"
