// embedding_bag: the rules of jindou/embedding.h and the two entry points.
#include <algorithm>
#include <cinttypes>
#include <cstdio>

#include "core/arguments.h"
#include "core/rules.h"
#include "core/run_plan.h"
#include "core/table_rules.h"

namespace jindou::core {
namespace {

constexpr const char *kName = "embedding_bag";
constexpr int32_t kMaxTables = 4096;

void check_description(Rules &rules, const jd_embedding_bag_desc &d) {
  rules.integer("num_tables", d.num_tables, 1, kMaxTables);
  if (!d.tables) rules.fail(JD_INVALID_ARGUMENT, "tables", "expected a pointer, got NULL");
  if (!d.table_pooling) rules.integer("pooling", d.pooling, JD_POOL_SUM, JD_POOL_NONE);
  rules.integer("bounds", d.bounds, JD_BOUNDS_STRICT, JD_BOUNDS_TRUST);
  rules.integer("mean_denominator", d.mean_denominator, JD_MEAN_VALID, JD_MEAN_LENGTH);
  rules.dtype("index_dtype", d.index_dtype, {JD_I32, JD_I64});
  rules.dtype("offset_dtype", d.offset_dtype, {JD_I32, JD_I64});
  rules.dtype("out_dtype", d.out_dtype, {JD_F32, JD_F16, JD_BF16, JD_I8});
  rules.flag("weighted", d.weighted);
  rules.flag("has_padding_id", d.has_padding_id);
  rules.flag("split_out", d.split_out);
  rules.zero("reserved", d.reserved);
  if (rules.broken()) return;
  // A bag is a row of the launch grid, and offsets reach max_ids.
  rules.integer("max_batch", d.max_batch, 0, INT32_MAX / d.num_tables);
  rules.integer("max_ids", d.max_ids, 0, d.offset_dtype == JD_I32 ? INT32_MAX : INT64_MAX);
}

// What a plan knows of its tables one by one.
struct TableFields {
  std::vector<int32_t> pooling, formats, dims;
  TableKeys keys;
  int64_t sum_dims = 0, num_parts = 0;  // of the tables with pooling
  int64_t row_dim = 0;                  // of those without the largest
};

// Resolves the tables into the plan and checks each; messages name "tables[3]".
void check_tables(Rules &rules, const Context &context, const jd_embedding_bag_desc &d, Plan &plan, TableFields *fields) {
  plan.tables.reserve(d.num_tables);
  plan.resolved_tables.reserve(d.num_tables);
  for (int32_t i = 0; i < d.num_tables; ++i) {
    int32_t format = 0, dim = 0;
    add_table(rules, context, plan, i, d.tables[i], d.row_formats, d.dims, &format, &dim);
    if (rules.broken()) return;
    fields->formats.push_back(format);
    fields->dims.push_back(dim);
    const int32_t pooling = d.table_pooling ? d.table_pooling[i] : d.pooling;
    fields->pooling.push_back(pooling);
    char name[32];
    snprintf(name, sizeof name, "table_pooling[%d]", i);
    rules.integer(name, pooling, JD_POOL_SUM, JD_POOL_NONE);
    if ((pooling == JD_POOL_NONE) != (fields->pooling[0] == JD_POOL_NONE) && !d.split_out) {
      rules.fail(JD_INVALID_ARGUMENT, name,
                 "expected JD_POOL_NONE for all tables or for none where out is one tensor (a row an id and a row a bag are "
                 "different numbers of rows; split_out gives each table its own), got %d beside %d",
                 pooling, fields->pooling[0]);
    }
    if (pooling == JD_POOL_NONE && fields->dims[i] != fields->dims[0] && !d.split_out) {
      snprintf(name, sizeof name, "tables[%d]", i);
      rules.fail(JD_INVALID_ARGUMENT, name, "expected dimension %d as tables[0] (pooling none; split_out takes any), got %d",
                 fields->dims[0], fields->dims[i]);
    }
    if (rules.broken()) return;
  }
  check_table_keys(rules, plan, d.table_keys, &fields->keys);
  if (rules.broken()) return;
  for (int32_t i = 0; i < d.num_tables; ++i) {
    const int32_t pooling = fields->pooling[i], rows = fields->keys.rows_of(i);
    if (fields->keys.sums(i) && pooling != JD_POOL_SUM && pooling != JD_POOL_MEAN) {
      char name[48];
      snprintf(name, sizeof name, "table_keys[%d].num_functions", i);
      rules.fail(JD_INVALID_ARGUMENT, name, "expected at most 1 (JD_KEYS_SUM needs pooling sum or mean), got %d",
                 fields->keys.tables[i].num_functions);
    }
    if (rows > 1 && pooling == JD_POOL_NONE) {
      char name[48];
      snprintf(name, sizeof name, "table_keys[%d].num_functions", i);
      rules.fail(JD_INVALID_ARGUMENT, name, "expected at most 1 (pooling none; sequence_embedding takes more), got %d", rows);
    }
    if (pooling == JD_POOL_NONE) {
      fields->row_dim = std::max<int64_t>(fields->row_dim, fields->dims[i]);
      continue;
    }
    fields->sum_dims += static_cast<int64_t>(rows) * fields->dims[i];
    fields->num_parts += rows;
  }
}

// A block of rows a table. Without pooling how many rows they have is in the offsets, which lie on the device: there is room for all
// ids in the widest of these tables.
void check_blocks(Rules &rules, const jdb_embedding_bag_desc &desc, const jdb_embedding_bag_args &a, int64_t total) {
  const int64_t pooled = a.batch * desc.sum_dims, least = pooled + total * desc.row_dim;
  rules.tensor("out", a.out, desc.d.out_dtype, {desc.row_dim > 0 ? kAny : pooled});
  rules.contiguous_last("out", a.out);
  rules.aligned_data("out", a.out);
  if (rules.broken() || a.out.shape[0] >= least) return;
  char bags[96] = "";
  if (desc.sum_dims > 0) snprintf(bags, sizeof bags, "%" PRId64 " rows of %" PRId64 " pooled columns, ", a.batch, desc.sum_dims);
  rules.fail(JD_INVALID_ARGUMENT, "out",
             "expected at least %" PRId64 " elements (%s%" PRId64 " ids of the widest table's %" PRId64 " columns), got %" PRId64, least,
             bags, total, desc.row_dim, a.out.shape[0]);
}

// A scale for each row of codes. Where tables with and without pooling stand side by side, first those of bags, then one an id.
void check_scales(Rules &rules, const jdb_embedding_bag_desc &desc, const jdb_embedding_bag_args &a, int64_t total) {
  if (desc.row_dim > 0 && desc.sum_dims > 0) {
    rules.tensor("out_scales", a.out_scales, JD_F32, {a.batch * desc.num_parts + total});
  } else if (desc.row_dim > 0) {
    rules.tensor("out_scales", a.out_scales, JD_F32, {total, 1});
  } else {
    rules.tensor("out_scales", a.out_scales, JD_F32, {a.batch, desc.num_parts});
  }
  rules.contiguous_last("out_scales", a.out_scales);
  rules.separate_elements("out_scales", a.out_scales);
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

  if (d.split_out) {
    check_blocks(rules, desc, a, total);
  } else {
    const bool none = desc.row_dim > 0;
    rules.tensor("out", a.out, d.out_dtype, {none ? total : a.batch, none ? desc.row_dim : desc.sum_dims});
    rules.aligned_rows("out", a.out);
  }
  rules.separate_elements("out", a.out);
  rules.apart("out", a.out, {{"ids", a.ids}, {"offsets", a.offsets}, {"weights", a.weights}});
  const bool scaled = d.out_dtype == JD_I8;
  rules.presence("out_scales", a.out_scales, scaled, scaled ? "out_dtype is i8" : "out_dtype is not i8");
  check_scales(rules, desc, a, total);
  if (scaled && !rules.broken()) {
    rules.apart("out_scales", a.out_scales, {{"ids", a.ids}, {"offsets", a.offsets}, {"weights", a.weights}, {"out", a.out}});
    check_apart_from_tables(rules, plan, "out_scales", a.out_scales);
  }
  check_apart_from_tables(rules, plan, "out", a.out);
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

  d.tables = nullptr;
  d.table_pooling = d.row_formats = d.dims = nullptr;
  d.table_keys = nullptr;
  jdb_embedding_bag_desc &desc = plan->desc.embedding_bag;
  desc.d = d;
  desc.tables = plan->resolved_tables.data();
  desc.sum_dims = fields.sum_dims;
  desc.num_parts = fields.num_parts;
  desc.row_dim = fields.row_dim;
  jdb_embedding_bag_desc passed = desc;  // with what lives for this call only
  passed.table_pooling = fields.pooling.data();
  passed.row_formats = fields.formats.data();
  passed.dims = fields.dims.data();
  passed.table_keys = fields.keys.data();
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
  return run_plan(kName, JDB_OP_EMBEDDING_BAG, plan_handle, stream_handle, given, error,
                  [&](auto &context, auto &plan, auto &stream, auto &args) -> jd_status {
    jdb_embedding_bag_args a;
    Arguments<5> tensors(context, *stream->device);
    tensors.required("ids", args.ids, &a.ids);
    tensors.required("offsets", args.offsets, &a.offsets);
    tensors.optional("weights", args.weights, &a.weights);
    tensors.required("out", args.out, &a.out);
    tensors.optional("out_scales", args.out_scales, &a.out_scales);
    if (tensors.status() != JD_OK) return tensors.status();
    Rules rules(context);
    rules.zero("reserved", args.reserved);
    check_arguments(rules, *plan, a);
    if (rules.broken()) return rules.status();
    return stream->run(context, JDB_OP_EMBEDDING_BAG, plan.get(), a, tensors.used);
  });
}

}  // extern "C"
