// embedding_bag on the CPU: how the work is cut into tasks. The kernel is in kernels/embedding_bag.h.
//
// A task is a run of bags of one table (pooling none: of ids); where an id has several rows side by side, of one of them. Each worker
// notes the lowest bad id it met; the least of them all is the one reported, whichever thread met it.
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
// A row comes from a random place in memory: as long as this many multiply-adds an element.
constexpr int64_t kOperationsAnElement = 16;

struct Table {
  const char *rows;
  int64_t limit, row_bytes;
  int64_t column;  // of the output
  int64_t table_column, table_columns;  // and those of its table
  int64_t block;   // pooling none, split: elements of out before its block, of a run
  int32_t number;  // the caller's
  int32_t scale;   // with pooling: of the output's scales a row
  int32_t dim, pooling;
  int32_t num_functions;
  const keys::Function *functions;
  bool reports;
  RowElements elements;
  RowLayout layout;
};

// What one worker met.
struct alignas(64) WorkerFindings {
  int64_t bad_ids, position, id;
  int32_t table;
};

class EmbeddingBag final : public Plan {
 public:
  EmbeddingBag(Device &d, const jdb_allocator &allocator, const jdb_embedding_bag_desc &desc)
      : Plan(d, allocator), desc_(desc.d), sum_dims_(desc.sum_dims), row_dim_(desc.row_dim), num_scales_(desc.num_parts) {}

  jd_status prepare(const jdb_embedding_bag_desc &desc, jd_error *error) {
    const keys::Parts parts = keys::Parts::of(desc.table_keys, desc.tables, desc.dims, desc_.num_tables, desc.table_pooling);
    num_parts_ = static_cast<int64_t>(parts.parts.size());
    Layout layout;
    tables_at_ = layout.add<Table>(num_parts_);
    functions_at_ = layout.add<keys::Function>(static_cast<int64_t>(parts.functions.size()));
    findings_at_ = layout.add<WorkerFindings>(device.pool.size());
    if (const jd_status status = memory.reserve(layout.bytes(), error)) return status;
    Table *tables = memory.part<Table>(tables_at_);
    keys::Function *functions = memory.part<keys::Function>(functions_at_);
    std::copy(parts.functions.begin(), parts.functions.end(), functions);
    for (int64_t i = 0; i < num_parts_; ++i) {
      const keys::Part &part = parts.parts[static_cast<size_t>(i)];
      const int32_t t = part.table;
      const jdb_tensor &rows = desc.tables[t];
      const RowLayout row = row_layout(desc.row_formats[t], desc.dims[t]);
      tables[i] = {static_cast<const char *>(rows.data),
                   part.limit,
                   rows.strides[0] * core::element_size(rows.dtype),
                   part.column,
                   part.table_column,
                   part.table_columns,
                   0,
                   t,
                   part.number,
                   desc.dims[t],
                   desc.table_pooling[t],
                   part.num_functions,
                   functions + part.first_function,
                   part.reports,
                   elements_of(rows.dtype, row, desc.row_formats[t]),
                   row};
    }
    return JD_OK;
  }

  void describe(char *text, size_t capacity) const override {
    int at = snprintf(text, capacity, "embedding_bag on cpu (%s): %d tables", device.kernels.isa, desc_.num_tables);
    const auto add = [&](const char *what, int64_t columns) {
      if (columns == 0 || at < 0 || static_cast<size_t>(at) >= capacity) return;
      at += snprintf(text + at, capacity - static_cast<size_t>(at), ", %s%lld columns", what, static_cast<long long>(columns));
    };
    add("", sum_dims_);
    add("a row an id of up to ", row_dim_);
  }

  jd_status run(Stream &stream, const void *args, jd_error *) override {
    const auto &a = *static_cast<const jdb_embedding_bag_args *>(args);
    const int threads = device.pool.size();
    Table *tables = memory.part<Table>(tables_at_);
    WorkerFindings *findings = memory.part<WorkerFindings>(findings_at_);
    for (int worker = 0; worker < threads; ++worker) findings[worker] = {0, 0, 0, 0};

    if (row_dim_ > 0 && desc_.split_out && a.batch > 0) {
      int64_t at = a.batch * sum_dims_;
      for (int64_t i = 0; i < num_parts_; ++i) {
        Table &x = tables[i];
        if (x.pooling != JD_POOL_NONE) continue;  // without pooling a table has one part
        x.block = at;
        at += (integer_at(a.offsets, (x.number + 1) * a.batch) - integer_at(a.offsets, x.number * a.batch)) * x.dim;
      }
    }

    const int64_t ids = a.ids.shape[0];
    const int64_t pieces = threads == 1 ? 1 : divide(threads * kTasksOfThread, num_parts_);
    const int64_t operations = ids * std::max(sum_dims_ / desc_.num_tables, row_dim_) * kOperationsAnElement;
    device.pool.run(num_parts_ * pieces, operations, [&](int64_t index, int worker) {
      const int64_t piece = index % pieces;
      EmbeddingTask task;
      if (!fill(a, tables[index / pieces], piece, pieces, &task)) return;
      EmbeddingFindings found = {0, 0, 0};
      device.kernels.embedding_bag(task, found);
      const Table &table = tables[index / pieces];
      if (found.bad_ids > 0 && table.reports) note(findings[worker], found, static_cast<int32_t>(index / pieces));
    });

    for (int worker = 1; worker < threads; ++worker) {
      const WorkerFindings &f = findings[worker];
      if (f.bad_ids > 0) note(findings[0], {f.bad_ids, f.position, f.id}, f.table);
    }
    report(stream.report, findings[0], tables);
    return JD_OK;
  }

 private:
  // One piece of a table's bags; false when there is nothing to do.
  bool fill(const jdb_embedding_bag_args &a, const Table &x, int64_t piece, int64_t pieces, EmbeddingTask *task) const {
    const int64_t first_bag = x.number * a.batch;
    task->rows = x.rows;
    task->row_bytes = x.row_bytes;
    task->limit = x.limit;
    task->functions = x.functions;
    task->num_functions = x.num_functions;
    task->table = x.number;
    task->reports = x.reports;
    task->dim = x.dim;
    task->elements = x.elements;
    task->layout = x.layout;
    task->pooling = x.pooling;
    task->bounds = desc_.bounds;
    task->mean_denominator = desc_.mean_denominator;
    task->index_dtype = desc_.index_dtype;
    task->offset_dtype = desc_.offset_dtype;
    task->out_dtype = desc_.out_dtype;
    task->has_padding_id = desc_.has_padding_id != 0;
    task->padding_id = desc_.padding_id;
    task->ids = a.ids.data;
    task->offsets = static_cast<const char *>(a.offsets.data) + first_bag * (desc_.offset_dtype == JD_I32 ? 4 : 8);
    task->weights = static_cast<const float *>(a.weights.data);
    const int64_t size = core::element_size(desc_.out_dtype);
    task->out = static_cast<char *>(a.out.data);
    task->out_row_bytes = (desc_.split_out ? x.table_columns : a.out.strides[0]) * size;
    const bool pooled = x.pooling != JD_POOL_NONE, both = row_dim_ > 0 && sum_dims_ > 0;
    task->scales = static_cast<float *>(a.out_scales.data) + (pooled ? x.scale : both ? a.batch * num_scales_ : 0);
    task->scale_stride = both && pooled ? num_scales_ : a.out_scales.strides[0];
    task->first_bag = a.batch * piece / pieces;
    task->last_bag = a.batch * (piece + 1) / pieces;
    task->first_id = task->last_id = 0;
    if (pooled) {
      task->out += (desc_.split_out ? x.table_column * a.batch + x.column - x.table_column : x.column) * size;
      return task->first_bag < task->last_bag;
    }
    if (a.batch == 0) return false;
    const int64_t begin = integer_at(a.offsets, first_bag), count = integer_at(a.offsets, first_bag + a.batch) - begin;
    // Rows are counted from the first id of the launch.
    if (desc_.split_out) task->out += (x.block - begin * x.dim) * size;
    task->first_id = begin + count * piece / pieces;
    task->last_id = begin + count * (piece + 1) / pieces;
    return task->first_id < task->last_id;
  }

  static void note(WorkerFindings &all, const EmbeddingFindings &found, int32_t table) {
    if (all.bad_ids == 0 || found.position < all.position) {
      all.position = found.position;
      all.id = found.id;
      all.table = table;
    }
    all.bad_ids += found.bad_ids;
  }

  void report(jdb_report &report, const WorkerFindings &found, const Table *tables) const {
    if (found.bad_ids == 0) return;
    if (desc_.bounds == JD_BOUNDS_ZERO) {
      report.skipped += found.bad_ids;
    } else if (!report.has_error) {  // an earlier launch comes first
      report.has_error = 1;
      report.fault = tables[found.table].num_functions == 0 ? JDB_FAULT_ID : JDB_FAULT_KEY;
      report.op = JDB_OP_EMBEDDING_BAG;
      report.table = tables[found.table].number;
      report.position = found.position;
      report.value = found.id;
      report.limit = tables[found.table].limit;
    }
  }

  const jd_embedding_bag_desc desc_;
  const int64_t sum_dims_, row_dim_;  // columns with pooling; the largest dim without, 0: all tables have it
  const int64_t num_scales_;          // of a row of out
  int64_t num_parts_ = 0;  // tables, and the rows side by side of those that have some
  size_t tables_at_ = 0, functions_at_ = 0, findings_at_ = 0;
};

}  // namespace

jd_status create_embedding_bag(Device &device, const jdb_embedding_bag_desc &desc, const jdb_allocator &allocator,
                               Plan **plan, jd_error *error) {
  return prepared(new (std::nothrow) EmbeddingBag(device, allocator, desc), plan, error, desc);
}

}  // namespace jindou::cpu
