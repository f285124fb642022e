// sequence_embedding: table metadata, and the launch.
#ifndef JINDOU_KERNELS_EMBEDDING_SEQUENCE_EMBEDDING_LAUNCH_H
#define JINDOU_KERNELS_EMBEDDING_SEQUENCE_EMBEDDING_LAUNCH_H

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

#include "core/dtype.h"
#include "embedding/embedding_bag_launch.h"
#include "embedding/sequence_embedding.h"
#include "plan.h"

namespace jindou {

struct SequenceEmbeddingPlan : KernelPlan {
  SequenceEmbeddingPlan(const PlanResources &resources, const jdb_sequence_embedding_desc &desc)
      : KernelPlan(JDB_OP_SEQUENCE_EMBEDDING, resources),
        desc(desc.d),
        width(desc.width),
        positions(place_table(desc.position_table, desc.d.position_format, desc.width)),
        times(place_table(desc.time_table, desc.d.time_format, desc.width)),
        places(SequencePlaces::make(desc.d, desc.position_table.shape[0])),
        geometry(EmbeddingBagPlan::geometry_of(static_cast<int32_t>(desc.width / 4))) {}

  static embedding::PlaceTable place_table(const jdb_tensor &t, int32_t format, int64_t width) {
    const RowLayout layout = row_layout(format, width);
    return {static_cast<const char *>(t.data), t.strides[0] * core::element_size(t.dtype), EmbeddingBagPlan::kind_of(t, layout, true),
            embedding::CodeLayout::of(layout, t.dtype == JD_F8_E4M3 || format == JD_ROWS_E4M3, EmbeddingBagPlan::of_words(t, layout))};
  }

  static jd_status create(const PlanResources &resources, const jdb_sequence_embedding_desc &desc, KernelPlan **plan,
                          jd_error *error) {
    auto made = std::make_unique<SequenceEmbeddingPlan>(resources, desc);
    const int32_t num_tables = desc.d.num_tables;
    const keys::Parts parts = keys::Parts::of(desc.table_keys, desc.tables, desc.dims, num_tables);
    EmbeddingBagPlan::TableMemory metadata(desc.width, parts.parts.size(), parts);
    if (const jd_status status = metadata.allocate(*made, error)) return status;
    std::vector<embedding::TableMeta> tables(parts.parts.size());
    for (size_t i = 0; i < tables.size(); ++i) {
      const keys::Part &part = parts.parts[i];
      const int32_t t = part.table;
      const jdb_tensor &tensor = desc.tables[t];
      const RowLayout layout = row_layout(desc.row_formats[t], desc.dims[t]);
      embedding::TableMeta &table = tables[i];
      table.kind = EmbeddingBagPlan::kind_of(tensor, layout, true);
      table.data = tensor.data;
      table.limit = part.limit;
      table.functions = metadata.functions + part.first_function;
      table.num_functions = part.num_functions;
      table.by_functions = keys::Divisor::of(std::max(1, part.num_functions));
      table.reports = part.reports;
      table.row_bytes = tensor.strides[0] * core::element_size(tensor.dtype);
      table.out_column = desc.d.combine == JD_SEQUENCE_CONCAT ? part.column : part.column - part.table_column;
      table.vectors = desc.dims[t] / 4;
      table.table = t;
      table.pooling = JD_POOL_NONE;
      table.layout = embedding::CodeLayout::of(layout, tensor.dtype == JD_F8_E4M3 || desc.row_formats[t] == JD_ROWS_E4M3,
                                               EmbeddingBagPlan::of_words(tensor, layout));
      table.dim_step = 0;
    }
    if (const jd_status status = metadata.upload(resources, tables, parts, error)) return status;
    made->zero_row = metadata.zero_row;
    made->tables = metadata.tables;
    made->num_parts = static_cast<int32_t>(tables.size());
    *plan = made.release();
    return JD_OK;
  }

  void describe(char *text, size_t capacity) const override {
    snprintf(text, capacity, "sequence_embedding: %d tables %s, %lld columns, lanes x chunks an event: %dx%d", desc.num_tables,
             desc.combine == JD_SEQUENCE_SUM ? "summed" : "side by side", static_cast<long long>(width), 1 << geometry.lanes_log2,
             geometry.chunks);
  }

  const jd_sequence_embedding_desc desc;
  const int64_t width;
  const embedding::PlaceTable positions, times;
  const SequencePlaces places;
  const EmbeddingBagPlan::Geometry geometry;
  int32_t num_parts = 0;                         // tables, and the rows side by side of those that have some
  const void *zero_row = nullptr;                // device memory
  const embedding::TableMeta *tables = nullptr;  // device memory
};

template <class Exec>
jd_status launch_sequence_embedding(Exec &exec, const SequenceEmbeddingPlan &plan, const jdb_sequence_embedding_args &args) {
  using Kernel = embedding::SequenceEmbeddingKernel;
  Kernel::Params p{};
  p.in.ids = args.ids.data;
  p.in.offsets = args.offsets.data;
  p.in.batch = args.batch;
  p.in.bags = args.batch;
  p.in.total = args.ids.shape[1];
  p.in.padding_id = plan.desc.padding_id;
  p.in.id_bytes = plan.desc.index_dtype == JD_I32 ? 4 : 8;
  p.in.offset_bytes = plan.desc.offset_dtype == JD_I32 ? 4 : 8;
  p.in.has_padding_id = plan.desc.has_padding_id;
  p.in.sink = FaultSink{exec.faults(), exec.launch_number(), JDB_OP_SEQUENCE_EMBEDDING, plan.desc.bounds};
  p.ids_stride = args.ids.strides[0];
  p.tables = plan.tables;
  p.zero_row = plan.zero_row;
  p.positions = plan.positions;
  p.times = plan.times;
  p.places = plan.places;
  p.timestamps = static_cast<const int64_t *>(args.timestamps.data);
  p.query_times = static_cast<const int64_t *>(args.query_times.data);
  p.num_targets = static_cast<const int32_t *>(args.num_targets.data);
  p.out = args.out.data;
  p.out_stride = args.out.strides[0];
  p.scale = plan.desc.scale;
  p.out_dtype = plan.desc.out_dtype;
  p.num_tables = plan.num_parts;
  p.summed = plan.desc.combine == JD_SEQUENCE_SUM;
  p.lanes_log2 = plan.geometry.lanes_log2;
  p.chunks = plan.geometry.chunks;
  p.vectors = static_cast<int32_t>(plan.width / 4);
  const int64_t groups = Kernel::kThreads >> plan.geometry.lanes_log2;
  const int64_t units = (p.in.total + Kernel::kRows - 1) / Kernel::kRows * plan.geometry.chunks;
  // Without events there may still be offsets to check.
  const int64_t blocks = std::max<int64_t>((units + groups - 1) / groups, args.batch > 0 ? 1 : 0);
  return exec.template launch<Kernel>(prim::Grid{static_cast<uint32_t>(blocks), 1, 1}, p);
}

}  // namespace jindou

#endif
