// sequence_embedding on the CPU: how the work is cut into tasks. The kernel is in kernels/sequence_embedding.h.
//
// A task is a run of events, whatever sequences they are in. Each worker notes the bad id at the lowest position it met; the lowest
// of them all is the one reported.
#include <algorithm>
#include <cstdio>
#include <new>

#include "core/dtype.h"
#include "core/table_keys.h"
#include "cpu/plan.h"
#include "cpu/table_rows.h"

namespace jindou::cpu {
namespace {

constexpr int64_t kTasksOfThread = 8;
constexpr int64_t kMostEvents = 64;         // of a block: what embedding_bag's reader resolves at once
constexpr int64_t kBlockBytes = 16 << 10;   // of f32 rows, which stay in L1
// A row comes from a random place in memory: as long as this many multiply-adds an element.
constexpr int64_t kOperationsAnElement = 16;

struct alignas(64) WorkerFindings {
  SequenceFindings found;
};

class SequenceEmbeddingPlan final : public Plan {
 public:
  SequenceEmbeddingPlan(Device &d, const jdb_allocator &allocator, const jdb_sequence_embedding_desc &desc)
      : Plan(d, allocator),
        desc_(desc),
        places_(SequencePlaces::make(desc.d, desc.position_table.shape[0])),
        block_(static_cast<int32_t>(std::clamp<int64_t>(kBlockBytes / (4 * desc.width), 4, kMostEvents))) {}

  jd_status prepare(const jdb_sequence_embedding_desc &desc, jd_error *error) {
    const keys::Parts parts = keys::Parts::of(desc.table_keys, desc.tables, desc.dims, desc_.d.num_tables);
    num_parts_ = static_cast<int32_t>(parts.parts.size());
    Layout layout;
    tables_at_ = layout.add<EmbeddingTask>(num_parts_);
    columns_at_ = layout.add<int32_t>(num_parts_);
    functions_at_ = layout.add<keys::Function>(static_cast<int64_t>(parts.functions.size()));
    findings_at_ = layout.add<WorkerFindings>(device.pool.size());
    positions_ = codes_of(desc.position_table, desc_.d.position_format);
    times_ = codes_of(desc.time_table, desc_.d.time_format);
    const bool widens = positions_.dim > 0 || times_.dim > 0;
    scratch_ = ((block_ + (widens ? 2 : 0)) * desc_.width + 15) / 16 * 16;
    scratch_at_ = layout.add<float>(scratch_ * device.pool.size());
    if (const jd_status status = memory.reserve(layout.bytes(), error)) return status;
    keys::Function *functions = memory.part<keys::Function>(functions_at_);
    std::copy(parts.functions.begin(), parts.functions.end(), functions);
    for (int32_t i = 0; i < num_parts_; ++i) {
      const keys::Part &part = parts.parts[static_cast<size_t>(i)];
      const int32_t t = part.table;
      const jdb_tensor &rows = desc.tables[t];
      EmbeddingTask task{};
      task.rows = static_cast<const char *>(rows.data);
      task.row_bytes = rows.strides[0] * core::element_size(rows.dtype);
      task.limit = part.limit;
      task.functions = functions + part.first_function;
      task.num_functions = part.num_functions;
      task.table = t;
      task.reports = part.reports;
      task.dim = desc.dims[t];
      task.layout = row_layout(desc.row_formats[t], desc.dims[t]);
      task.elements = elements_of(rows.dtype, task.layout, desc.row_formats[t]);
      task.bounds = desc_.d.bounds;
      task.index_dtype = desc_.d.index_dtype;
      task.has_padding_id = desc_.d.has_padding_id != 0;
      task.padding_id = desc_.d.padding_id;
      memory.part<EmbeddingTask>(tables_at_)[i] = task;
      const bool joined = desc_.d.combine == JD_SEQUENCE_CONCAT;
      memory.part<int32_t>(columns_at_)[i] = static_cast<int32_t>(joined ? part.column : part.column - part.table_column);
    }
    return JD_OK;
  }

  void describe(char *text, size_t capacity) const override {
    snprintf(text, capacity, "sequence_embedding on cpu (%s): %d tables %s, %lld columns, %d events at a time", device.kernels.isa,
             desc_.d.num_tables, desc_.d.combine == JD_SEQUENCE_SUM ? "summed" : "side by side",
             static_cast<long long>(desc_.width), block_);
  }

  jd_status run(Stream &stream, const void *args, jd_error *) override {
    const auto &a = *static_cast<const jdb_sequence_embedding_args *>(args);
    const int64_t total = a.ids.shape[1];
    if (total == 0) return JD_OK;
    EmbeddingTask *tables = memory.part<EmbeddingTask>(tables_at_);
    for (int32_t i = 0; i < num_parts_; ++i) {
      tables[i].ids = static_cast<const char *>(a.ids.data) + tables[i].table * a.ids.strides[0] * core::element_size(a.ids.dtype);
    }
    WorkerFindings *findings = memory.part<WorkerFindings>(findings_at_);
    for (int worker = 0; worker < device.pool.size(); ++worker) findings[worker].found = {};

    const int threads = device.pool.size();
    const int64_t blocks = divide(total, block_);
    const int64_t pieces = threads == 1 ? 1 : std::min<int64_t>(blocks, threads * kTasksOfThread);
    device.pool.run(pieces, total * desc_.width * kOperationsAnElement, [&](int64_t piece, int worker) {
      SequenceTask t;
      t.tables = tables;
      t.columns = memory.part<int32_t>(columns_at_);
      t.num_tables = num_parts_;
      t.width = static_cast<int32_t>(desc_.width);
      t.offset_dtype = desc_.d.offset_dtype;
      t.out_dtype = desc_.d.out_dtype;
      t.scale = desc_.d.scale;
      t.positions = place_rows(desc_.position_table, positions_);
      t.times = place_rows(desc_.time_table, times_);
      t.places = &places_;
      t.offsets = a.offsets.data;
      t.batch = a.batch;
      t.timestamps = static_cast<const int64_t *>(a.timestamps.data);
      t.query_times = static_cast<const int64_t *>(a.query_times.data);
      t.num_targets = static_cast<const int32_t *>(a.num_targets.data);
      t.out = static_cast<char *>(a.out.data);
      t.out_row_bytes = a.out.strides[0] * core::element_size(a.out.dtype);
      t.first = blocks * piece / pieces * block_;
      t.last = std::min(total, blocks * (piece + 1) / pieces * block_);
      t.total = total;
      t.block = block_;
      t.scratch = memory.part<float>(scratch_at_) + worker * scratch_;
      t.widened = t.scratch + block_ * desc_.width;
      SequenceFindings found{};
      device.kernels.sequence_embedding(t, found);
      note(findings[worker].found, found);
    });

    for (int worker = 1; worker < threads; ++worker) note(findings[0].found, findings[worker].found);
    report(stream.report, findings[0].found);
    return JD_OK;
  }

 private:
  // How a row of codes of the table is widened to f32; dim 0: there is no table, or its rows are numbers that `write` reads itself.
  EmbeddingTask codes_of(const jdb_tensor &t, int32_t format) const {
    EmbeddingTask one{};
    if (t.dtype != JD_U8 && t.dtype != JD_F8_E4M3) return one;
    one.dim = static_cast<int32_t>(desc_.width);
    one.layout = row_layout(format, desc_.width);
    one.elements = elements_of(t.dtype, one.layout, format);
    one.out_dtype = JD_F32;
    one.last_id = 1;
    return one;
  }

  static PlaceRows place_rows(const jdb_tensor &t, const EmbeddingTask &codes) {
    const bool widened = codes.dim > 0;
    return {static_cast<const char *>(t.data), t.strides[0] * core::element_size(t.dtype), widened ? JD_F32 : t.dtype,
            widened ? &codes : nullptr};
  }

  static void note(SequenceFindings &all, const SequenceFindings &found) {
    if (found.bad_ids == 0) return;
    const int64_t count = all.bad_ids + found.bad_ids;
    if (all.bad_ids == 0 || found.position < all.position) all = found;
    all.bad_ids = count;
  }

  void report(jdb_report &report, const SequenceFindings &found) const {
    if (found.bad_ids == 0) return;
    if (desc_.d.bounds == JD_BOUNDS_ZERO) {
      report.skipped += found.bad_ids;
    } else if (!report.has_error) {  // an earlier launch comes first
      const EmbeddingTask &table = memory.part<EmbeddingTask>(tables_at_)[found.table];
      report.has_error = 1;
      report.fault = table.num_functions == 0 ? JDB_FAULT_ID : JDB_FAULT_KEY;
      report.op = JDB_OP_SEQUENCE_EMBEDDING;
      report.table = table.table;
      report.position = found.position;
      report.value = found.id;
      report.limit = table.limit;
    }
  }

  const jdb_sequence_embedding_desc desc_;
  const SequencePlaces places_;
  const int32_t block_;
  EmbeddingTask positions_{}, times_{};  // of codes
  int64_t scratch_ = 0;
  int32_t num_parts_ = 0;  // tables, and the rows side by side of those that have some
  size_t tables_at_ = 0, columns_at_ = 0, functions_at_ = 0, findings_at_ = 0, scratch_at_ = 0;
};

}  // namespace

jd_status create_sequence_embedding(Device &device, const jdb_sequence_embedding_desc &desc, const jdb_allocator &allocator,
                                    Plan **plan, jd_error *error) {
  return prepared(new (std::nothrow) SequenceEmbeddingPlan(device, allocator, desc), plan, error, desc);
}

}  // namespace jindou::cpu
