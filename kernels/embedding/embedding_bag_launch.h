// embedding_bag: from a description to table metadata and launch geometry, and from a run to a kernel launch.
//
// EmbeddingBagKernel is for pooled tables, EmbeddingRowsKernel and, with codes, EmbeddingRowCodesKernel for JD_POOL_NONE; plans of both
// launch them side by side (embedding_mixed_launch.h, compiled apart). They have no traits: tables of one launch differ in row dtype,
// width and pooling, so these are read from the metadata; dtypes of ids, offsets and output, weights and bounds cost one uniform branch
// for 8 to 32 ids or for a bag.
#ifndef JINDOU_KERNELS_EMBEDDING_EMBEDDING_BAG_LAUNCH_H
#define JINDOU_KERNELS_EMBEDDING_EMBEDDING_BAG_LAUNCH_H

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

#include "core/dtype.h"
#include "core/table_keys.h"
#include "embedding/embedding_bag.h"
#include "embedding/embedding_codes.h"
#include "embedding/embedding_row_codes.h"
#include "embedding/embedding_rows.h"
#include "plan.h"

namespace jindou {

struct EmbeddingBagPlan : KernelPlan {
  explicit EmbeddingBagPlan(const PlanResources &resources) : KernelPlan(JDB_OP_EMBEDDING_BAG, resources) {}

  // Geometry of one table: groups of 2^lanes_log2 lanes, `chunks` groups a row.
  struct Geometry {
    int32_t lanes_log2;
    int32_t chunks;
    bool operator==(const Geometry &o) const { return lanes_log2 == o.lanes_log2 && chunks == o.chunks; }
  };

  // Consecutive tables of the sorted array that share a geometry.
  struct Class {
    Geometry geometry;
    int32_t first_table;
    int32_t tables;
  };

  static Geometry geometry_of(int32_t vectors) {
    if (vectors <= 8) return {3, 1};
    if (vectors <= 16) return {4, 1};
    return {5, (vectors + 31) / 32};
  }

  static bool is_codes(const jdb_tensor &table) { return table.dtype == JD_U8 || table.dtype == JD_F8_E4M3; }

  static embedding::RowKind kind_of(const jdb_tensor &table, const RowLayout &row, bool narrow) {
    if (is_codes(table)) {
      if (narrow) return embedding::kRowCodesNarrow;
      return row.bits == 8 ? embedding::kRowBytes : row.bits == 4 ? embedding::kRowInt4 : embedding::kRowInt2;
    }
    switch (table.dtype) {
      case JD_F16: return narrow ? embedding::kRowF16Narrow : embedding::kRowF16;
      case JD_BF16: return narrow ? embedding::kRowBF16Narrow : embedding::kRowBF16;
      default: return embedding::kRowF32;
    }
  }

  // Elements of a vector, see table.h.
  static int64_t elements_of(int32_t kind) {
    switch (kind) {
      case embedding::kRowF32:
      case embedding::kRowF16Narrow:
      case embedding::kRowBF16Narrow:
      case embedding::kRowCodesNarrow: return 4;
      default: return 8;
    }
  }

  // Every part of every row begins at a multiple of 4 bytes.
  static bool of_words(const jdb_tensor &table, const RowLayout &row) {
    return row.header_at % 4 == 0 && table.strides[0] % 4 == 0 && reinterpret_cast<uintptr_t>(table.data) % 4 == 0;
  }

  // Rows whose vectors of 8 elements would not all be whole and aligned, and codes that RowCodes does not take.
  static bool needs_narrow(const jdb_tensor &table, const RowLayout &row, int64_t dim, int32_t pooling) {
    if (is_codes(table)) {
      return dim % 8 != 0 || !of_words(table, row) || row.header == kHeaderFloats || pooling == JD_POOL_MAX;
    }
    return table.dtype != JD_F32 &&
           (dim % 8 != 0 || table.strides[0] % 8 != 0 || reinterpret_cast<uintptr_t>(table.data) % 16 != 0);
  }

  // What a plan keeps in device memory: a row of zeros, the tables, their functions.
  struct TableMemory {
    TableMemory(int64_t widest, size_t tables, const keys::Parts &parts)
        : zero_bytes((widest * 4 + 8 + 15) / 16 * 16),  // 8: a row of codes may have a header
          table_bytes(tables * sizeof(embedding::TableMeta)),
          function_bytes(parts.functions.size() * sizeof(keys::Function)) {}

    jd_status allocate(KernelPlan &plan, jd_error *error) {
      void *memory = nullptr;
      if (const jd_status status = plan.buffers.alloc(zero_bytes + table_bytes + function_bytes, &memory, error)) return status;
      char *at = static_cast<char *>(memory);
      zero_row = at;
      tables = reinterpret_cast<embedding::TableMeta *>(at + zero_bytes);
      functions = reinterpret_cast<keys::Function *>(at + zero_bytes + table_bytes);
      return JD_OK;
    }
    jd_status upload(const PlanResources &resources, const std::vector<embedding::TableMeta> &from, const keys::Parts &parts,
                     jd_error *error) {
      std::vector<char> bytes(zero_bytes + table_bytes + function_bytes, 0);
      memcpy(bytes.data() + zero_bytes, from.data(), table_bytes);
      if (function_bytes > 0) memcpy(bytes.data() + zero_bytes + table_bytes, parts.functions.data(), function_bytes);
      return resources.upload(resources.upload_context, zero_row, bytes.data(), bytes.size(), error);
    }

    const size_t zero_bytes, table_bytes, function_bytes;
    void *zero_row = nullptr;
    embedding::TableMeta *tables = nullptr;
    keys::Function *functions = nullptr;
  };

  static jd_status create(const PlanResources &resources, const jdb_embedding_bag_desc &desc, KernelPlan **plan,
                          jd_error *error) {
    auto made = std::make_unique<EmbeddingBagPlan>(resources);
    const int32_t num_tables = desc.d.num_tables;
    made->desc = desc.d;
    made->desc.tables = nullptr;
    made->desc.table_pooling = made->desc.row_formats = made->desc.dims = nullptr;
    made->desc.table_keys = nullptr;
    made->sum_dims = desc.sum_dims;

    std::vector<RowLayout> layouts(num_tables);
    for (int32_t t = 0; t < num_tables; ++t) layouts[t] = row_layout(desc.row_formats[t], desc.dims[t]);

    // Without pooling the tables share one geometry: narrow rows anywhere, or f32 beside others, make all lanes read 4
    // elements.
    const auto pooled = [&](int32_t t) { return desc.table_pooling[t] != JD_POOL_NONE; };
    bool all_narrow = false;
    for (int32_t t = 0; t < num_tables; ++t) {
      if (pooled(t)) continue;
      made->num_row_tables = num_tables;
      all_narrow |= needs_narrow(desc.tables[t], layouts[t], desc.dims[t], JD_POOL_NONE) || desc.tables[t].dtype == JD_F32;
    }

    const keys::Parts parts = keys::Parts::of(desc.table_keys, desc.tables, desc.dims, num_tables, desc.table_pooling);
    for (const keys::Part &part : parts.parts) made->num_parts += pooled(part.table);
    int64_t widest = 0;
    for (int32_t t = 0; t < num_tables; ++t) widest = std::max<int64_t>(widest, desc.dims[t]);
    TableMemory metadata(widest, static_cast<size_t>(made->num_parts + made->num_row_tables), parts);
    if (const jd_status status = metadata.allocate(*made, error)) return status;

    const auto row_dim = [&](int32_t t) { return pooled(t) ? 0 : desc.dims[t]; };
    std::vector<embedding::TableMeta> tables, row_tables;  // the pooled ones; all, where some are not
    for (const keys::Part &part : parts.parts) {
      const int32_t t = part.table;
      const jdb_tensor &tensor = desc.tables[t];
      const int64_t dim = desc.dims[t];
      embedding::TableMeta table{};
      table.kind = kind_of(tensor, layouts[t],
                           (all_narrow && !pooled(t)) || needs_narrow(tensor, layouts[t], dim, desc.table_pooling[t]));
      table.data = tensor.data;
      table.limit = part.limit;
      table.functions = metadata.functions + part.first_function;
      table.num_functions = part.num_functions;
      table.by_functions = keys::Divisor::of(std::max(1, part.num_functions));
      table.reports = part.reports;
      table.table_column = part.table_column;
      table.table_columns = part.table_columns;
      table.part = part.number;
      table.dim = desc.dims[t];
      table.row_bytes = tensor.strides[0] * core::element_size(tensor.dtype);
      table.out_column = part.column;
      table.vectors = static_cast<int32_t>(dim / elements_of(table.kind));
      table.table = t;
      table.pooling = desc.table_pooling[t];
      table.layout = embedding::CodeLayout::of(
          layouts[t], tensor.dtype == JD_F8_E4M3 || desc.row_formats[t] == JD_ROWS_E4M3, of_words(tensor, layouts[t]));
      table.dim_step = t > 0 ? row_dim(t) - row_dim(t - 1) : 0;
      if (pooled(t)) {
        tables.push_back(table);
      } else {
        made->kinds |= 1 << table.kind;
        made->vectors = std::max(made->vectors, table.vectors);
        ++made->num_unpooled;
      }
      if (made->num_row_tables > 0 && part.reports) row_tables.push_back(table);
    }
    if (made->num_row_tables > 0) made->row_geometry = geometry_of(made->vectors);

    // Wide rows first: the blocks that move most bytes do not start last.
    std::stable_sort(tables.begin(), tables.end(), [](const auto &a, const auto &b) { return class_order(a) > class_order(b); });
    for (int32_t i = 0; i < made->num_parts; ++i) {
      const Geometry geometry = geometry_of(tables[i].vectors);
      if (made->classes.empty() || !(made->classes.back().geometry == geometry)) {
        made->classes.push_back({geometry, i, 0});
      }
      ++made->classes.back().tables;
    }

    tables.insert(tables.end(), row_tables.begin(), row_tables.end());
    if (const jd_status status = metadata.upload(resources, tables, parts, error)) return status;
    if (desc.d.out_dtype == JD_I8 && made->num_parts > 0) {  // what the codes are made of
      void *pooled = nullptr;
      const int64_t elements = std::max<int64_t>(desc.d.max_batch * desc.sum_dims, 4);
      if (const jd_status status = made->buffers.alloc(static_cast<size_t>(elements) * 4, &pooled, error)) return status;
      made->pooled = static_cast<float *>(pooled);
    }
    made->zero_row = metadata.zero_row;
    made->tables = metadata.tables;
    made->row_tables = metadata.tables + made->num_parts;
    *plan = made.release();
    return JD_OK;
  }

  void describe(char *text, size_t capacity) const override {
    const int written =
        snprintf(text, capacity, "embedding_bag: %d tables, %s, ids %s, lanes x chunks a row:", desc.num_tables,
                 num_parts == 0        ? "one row an id"
                 : num_row_tables == 0 ? "pooled"
                                       : "pooled and one row an id",
                 jd_dtype_name_of(desc.index_dtype));
    size_t at = std::min(static_cast<size_t>(std::max(written, 0)), capacity);
    const auto add = [&](const Geometry &geometry, int32_t tables_of) {
      const int more = snprintf(text + at, capacity - at, " %dx%d (%d tables)", 1 << geometry.lanes_log2, geometry.chunks, tables_of);
      at = std::min(at + static_cast<size_t>(std::max(more, 0)), capacity);
    };
    for (const Class &c : classes) add(c.geometry, c.tables);
    if (num_unpooled > 0) add(row_geometry, num_unpooled);
  }

  jd_embedding_bag_desc desc{};
  int64_t sum_dims = 0;
  // Of the pooled tables.
  std::vector<Class> classes;
  int32_t num_parts = 0;  // each counted as often as its ids have rows side by side
  // Of those without pooling.
  int32_t num_unpooled = 0;
  int32_t kinds = 0;    // bit k: some table has RowKind k
  int32_t vectors = 0;  // of the widest table
  Geometry row_geometry{};
  int32_t num_row_tables = 0;  // of row_tables: all tables, or 0 where all are pooled

  float *pooled = nullptr;                       // device memory, JD_I8: [max_batch, sum_dims]
  const void *zero_row = nullptr;                // device memory: zeros, as long as the widest row
  const embedding::TableMeta *tables = nullptr;  // device memory: parts of pooled tables, sorted by class
  const embedding::TableMeta *row_tables = nullptr;  // device memory: tables in the caller's order

 private:
  static int32_t class_order(const embedding::TableMeta &table) {
    const Geometry geometry = geometry_of(table.vectors);
    return geometry.lanes_log2 * 64 + geometry.chunks;
  }
  static const char *jd_dtype_name_of(int32_t dtype) { return dtype == JD_I32 ? "i32" : "i64"; }
};

namespace embedding {

inline Jagged jagged_of(const EmbeddingBagPlan &plan, const jdb_embedding_bag_args &args, FaultRecord *record,
                        uint32_t launch) {
  Jagged in{};
  in.ids = args.ids.data;
  in.offsets = args.offsets.data;
  in.weights = plan.desc.weighted ? static_cast<const float *>(args.weights.data) : nullptr;
  in.batch = args.batch;
  in.bags = args.batch * plan.desc.num_tables;
  in.total = args.ids.shape[0];
  in.padding_id = plan.desc.padding_id;
  in.id_bytes = plan.desc.index_dtype == JD_I32 ? 4 : 8;
  in.offset_bytes = plan.desc.offset_dtype == JD_I32 ? 4 : 8;
  in.has_padding_id = plan.desc.has_padding_id;
  in.sink = FaultSink{record, launch, JDB_OP_EMBEDDING_BAG, plan.desc.bounds};
  return in;
}

// Bags a group walks as one stream. Long bags fill the pipeline by themselves; short ones are strung together as long
// as every multiprocessor keeps at least 8 warps.
inline int32_t bags_per_group(const EmbeddingBagPlan &plan, const Jagged &in) {
  if (in.bags == 0) return 1;
  const int64_t mean = in.total / in.bags;
  int64_t warps = 0;
  for (const EmbeddingBagPlan::Class &c : plan.classes) {
    warps += (in.batch * c.tables * c.geometry.chunks << c.geometry.lanes_log2) / 32;
  }
  int32_t bags = 8;
  while (bags > 1 && (bags * mean > 8 || warps / bags < 8 * static_cast<int64_t>(plan.multiprocessors))) bags /= 2;
  return bags;
}

// What a kernel gets, and how many blocks it is.
template <class Kernel>
struct Work {
  typename Kernel::Params params{};
  int64_t blocks = 0;

  template <class Exec>
  jd_status launch(Exec &exec) const {
    return exec.template launch<Kernel>(prim::Grid{static_cast<uint32_t>(blocks), 1, 1}, params);
  }
};

inline Work<EmbeddingBagKernel> pooled_work(const EmbeddingBagPlan &plan, const jdb_embedding_bag_args &args, const Jagged &in) {
  using Kernel = EmbeddingBagKernel;
  Work<Kernel> work;
  Kernel::Params &params = work.params;
  params.in = in;
  params.tables = plan.tables;
  params.zero_row = plan.zero_row;
  const bool codes = plan.desc.out_dtype == JD_I8;
  params.out = codes ? plan.pooled : args.out.data;
  params.out_stride = codes ? plan.sum_dims : plan.desc.split_out ? 0 : args.out.strides[0];
  params.out_dtype = codes ? JD_F32 : plan.desc.out_dtype;
  params.mean_length = plan.desc.mean_denominator == JD_MEAN_LENGTH;
  const int32_t bags = bags_per_group(plan, in);
  int64_t &blocks = work.blocks;
  for (const EmbeddingBagPlan::Class &c : plan.classes) {
    const int64_t groups = Kernel::kThreads >> c.geometry.lanes_log2;
    const int64_t units = (in.batch + bags - 1) / bags * c.geometry.chunks;
    BagClass &target = params.classes[params.num_classes++];
    target.first_block = static_cast<uint32_t>(blocks);
    target.blocks_per_table = static_cast<uint32_t>((units + groups - 1) / groups);
    target.first_table = c.first_table;
    target.lanes_log2 = c.geometry.lanes_log2;
    target.chunks = c.geometry.chunks;
    target.bags_per_group = bags;
    blocks += static_cast<int64_t>(target.blocks_per_table) * c.tables;
  }
  return work;
}

// Of the pooled rows that the kernel before has left.
inline Work<EmbeddingCodesKernel> codes_work(const EmbeddingBagPlan &plan, const jdb_embedding_bag_args &args) {
  using Kernel = EmbeddingCodesKernel;
  Work<Kernel> work;
  Kernel::Params &p = work.params;
  p.tables = plan.tables;
  p.x = plan.pooled;
  p.out = static_cast<char *>(args.out.data);
  p.scales = static_cast<float *>(args.out_scales.data);
  p.batch = args.batch;
  p.x_stride = plan.sum_dims;
  p.out_stride = plan.desc.split_out ? 0 : args.out.strides[0];
  p.scale_stride = args.out_scales.rank == 2 ? args.out_scales.strides[0] : plan.num_parts;
  p.parts = plan.num_parts;
  const int64_t warps = Kernel::kThreads / 32;
  work.blocks = (args.batch * plan.num_parts + warps - 1) / warps;
  return work;
}

// Elements of out before the blocks of tables without pooling.
inline int64_t pooled_elements(const EmbeddingBagPlan &plan, const jdb_embedding_bag_args &args) {
  return plan.num_parts > 0 ? args.batch * plan.sum_dims : 0;
}

// Kernel: EmbeddingRowsKernel, or what stands for it beside the pooled one.
template <class Kernel>
Work<Kernel> rows_work(const EmbeddingBagPlan &plan, const jdb_embedding_bag_args &args, const Jagged &in) {
  const EmbeddingBagPlan::Geometry geometry = plan.row_geometry;
  const int64_t before = pooled_elements(plan, args);
  Work<Kernel> work;
  typename Kernel::Params &params = work.params;
  params.in = in;
  params.tables = plan.row_tables;
  params.zero_row = plan.zero_row;
  params.out = static_cast<char *>(args.out.data) + before * core::element_size(plan.desc.out_dtype);
  params.out_stride = plan.desc.split_out ? 0 : args.out.strides[0];
  params.out_elements = args.out.shape[0] - before;
  params.out_dtype = plan.desc.out_dtype;
  params.num_tables = plan.desc.num_tables;
  params.kinds = plan.kinds;
  params.lanes_log2 = geometry.lanes_log2;
  params.chunks = geometry.chunks;
  params.vectors = plan.vectors;
  const int64_t groups = Kernel::kThreads >> geometry.lanes_log2;
  const int64_t units = (in.total + Kernel::kRows - 1) / Kernel::kRows * geometry.chunks;
  // Without ids there may still be offsets to check.
  work.blocks = std::max<int64_t>((units + groups - 1) / groups, in.bags > 0 ? 1 : 0);
  return work;
}

// The same in codes.
template <class Kernel>
Work<Kernel> row_codes_work(const EmbeddingBagPlan &plan, const jdb_embedding_bag_args &args, const Jagged &in) {
  const int64_t before = pooled_elements(plan, args);
  Work<Kernel> work;
  typename Kernel::Params &p = work.params;
  p.in = in;
  p.tables = plan.row_tables;
  p.zero_row = plan.zero_row;
  p.out = static_cast<char *>(args.out.data) + before;
  p.scales = static_cast<float *>(args.out_scales.data) + args.batch * plan.num_parts;
  p.out_stride = plan.desc.split_out ? 0 : args.out.strides[0];
  p.out_elements = args.out.shape[0] - before;
  p.scale_stride = args.out_scales.strides[0];
  p.num_tables = plan.desc.num_tables;
  work.blocks = std::max<int64_t>((in.total + Kernel::kWarps - 1) / Kernel::kWarps, in.bags > 0 ? 1 : 0);
  return work;
}

}  // namespace embedding

// Of plans with pooled tables and others: embedding_mixed_launch.h.
template <class Exec>
jd_status launch_embedding_mixed(Exec &exec, const EmbeddingBagPlan &plan, const jdb_embedding_bag_args &args,
                                 const embedding::Jagged &in);

template <class Exec>
jd_status launch_embedding_bag(Exec &exec, const EmbeddingBagPlan &plan, const jdb_embedding_bag_args &args) {
  using namespace embedding;
  const Jagged in = jagged_of(plan, args, exec.faults(), exec.launch_number());
  const bool codes = plan.desc.out_dtype == JD_I8;
  if (plan.num_row_tables == 0) {
    if (const jd_status status = pooled_work(plan, args, in).launch(exec)) return status;
    return codes ? codes_work(plan, args).launch(exec) : JD_OK;
  }
  if (plan.num_parts > 0) return launch_embedding_mixed(exec, plan, args, in);
  if (codes) return row_codes_work<EmbeddingRowCodesKernel>(plan, args, in).launch(exec);
  return rows_work<EmbeddingRowsKernel>(plan, args, in).launch(exec);
}

}  // namespace jindou

#endif
