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
        positions(place_table(desc.position_table)),
        times(place_table(desc.time_table)),
        places(SequencePlaces::make(desc.d, desc.position_table.shape[0])),
        geometry(EmbeddingBagPlan::geometry_of(static_cast<int32_t>(desc.width / 4))) {}

  static embedding::PlaceTable place_table(const jdb_tensor &t) {
    const int32_t kind = t.dtype == JD_F32   ? embedding::kRowF32
                         : t.dtype == JD_F16 ? embedding::kRowF16Narrow
                                             : embedding::kRowBF16Narrow;
    return {static_cast<const char *>(t.data), t.strides[0] * core::element_size(t.dtype), kind};
  }

  static jd_status create(const PlanResources &resources, const jdb_sequence_embedding_desc &desc, KernelPlan **plan,
                          jd_error *error) {
    auto made = std::make_unique<SequenceEmbeddingPlan>(resources, desc);
    const int32_t num_tables = desc.d.num_tables;
    std::vector<embedding::TableMeta> tables(num_tables);
    int64_t column = 0;
    for (int32_t i = 0; i < num_tables; ++i) {
      const jdb_tensor &tensor = desc.tables[i];
      const RowLayout layout = row_layout(desc.row_formats[i], desc.dims[i]);
      embedding::TableMeta &table = tables[i];
      table.kind = EmbeddingBagPlan::kind_of(tensor, layout, true);
      table.data = tensor.data;
      table.rows = tensor.shape[0];
      table.row_bytes = tensor.strides[0] * core::element_size(tensor.dtype);
      table.out_column = column;
      table.vectors = desc.dims[i] / 4;
      table.table = i;
      table.pooling = JD_POOL_NONE;
      table.layout = embedding::CodeLayout::of(layout, tensor.dtype == JD_F8_E4M3 || desc.row_formats[i] == JD_ROWS_E4M3,
                                               EmbeddingBagPlan::of_words(tensor, layout));
      table.reserved = 0;
      if (desc.d.combine == JD_SEQUENCE_CONCAT) column += desc.dims[i];
    }
    // A row of zeros, then the tables.
    const size_t zero_bytes = (desc.width * 4 + 8 + 15) / 16 * 16;  // 8: a row of codes may have a header
    std::vector<char> metadata(zero_bytes + tables.size() * sizeof(embedding::TableMeta), 0);
    memcpy(metadata.data() + zero_bytes, tables.data(), metadata.size() - zero_bytes);
    void *device = nullptr;
    jd_status status = made->buffers.alloc(metadata.size(), &device, error);
    if (status == JD_OK) status = resources.upload(resources.upload_context, device, metadata.data(), metadata.size(), error);
    if (status != JD_OK) return status;
    made->zero_row = device;
    made->tables = reinterpret_cast<const embedding::TableMeta *>(static_cast<const char *>(device) + zero_bytes);
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
  p.num_tables = plan.desc.num_tables;
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
