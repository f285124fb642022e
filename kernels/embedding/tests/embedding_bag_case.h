// One embedding_bag problem in the emulator: described as the float64 reference wants it, run as a backend would run
// it.
#ifndef JINDOU_KERNELS_EMBEDDING_TESTS_EMBEDDING_BAG_CASE_H
#define JINDOU_KERNELS_EMBEDDING_TESTS_EMBEDDING_BAG_CASE_H

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <vector>

#include "embedding/embedding_mixed_launch.h"
#include "simt/backend/executor.h"
#include "testing/device_array.h"
#include "testing/plan_memory.h"
#include "tests/reference/embedding_bag.h"
#include "tests/tolerance.h"

namespace jindou::testing {

struct Table {
  int64_t rows;
  int64_t dim;
  int32_t dtype = JD_F32;
  int32_t pooling = JD_POOL_SUM;
  int64_t padding = 0;  // elements between rows, filled with NaN
};

struct EmbeddingCase {
  std::vector<Table> tables;
  int64_t batch = 0;
  std::vector<int64_t> ids;
  std::vector<int64_t> offsets;
  std::vector<float> weights;  // empty: not weighted
  int32_t index_dtype = JD_I64;
  int32_t offset_dtype = JD_I64;
  int32_t out_dtype = JD_F32;
  int32_t bounds = JD_BOUNDS_STRICT;
  int32_t mean_denominator = JD_MEAN_VALID;
  bool has_padding_id = false;
  int64_t padding_id = 0;
  uint64_t values_seed = 1;  // of the tables' contents
  // How it runs.
  uint64_t simt_seed = 0;
  int32_t multiprocessors = 2;
  int64_t out_padding = 0;  // extra columns between rows of out
  bool blocks = false;      // a block of rows a table (unpooled ones behind the others), all of it one row here

  bool unpooled() const { return tables[0].pooling == JD_POOL_NONE; }
  int64_t pooled_columns() const {
    int64_t sum = 0;
    for (const Table &t : tables) sum += t.pooling == JD_POOL_NONE ? 0 : t.dim;
    return sum;
  }
  int64_t pooled_tables() const {
    return std::count_if(tables.begin(), tables.end(), [](const Table &t) { return t.pooling != JD_POOL_NONE; });
  }
  int64_t columns() const {
    if (blocks) {
      int64_t widest = 0;
      for (const Table &t : tables) widest = std::max(widest, t.pooling == JD_POOL_NONE ? t.dim : 0);
      return batch * pooled_columns() + widest * static_cast<int64_t>(ids.size());
    }
    return unpooled() ? tables[0].dim : pooled_columns();
  }
  int64_t out_rows() const { return blocks ? 1 : unpooled() ? static_cast<int64_t>(ids.size()) : batch; }

  // Bags of the lengths given, table after table, with ids drawn from `valid` percent of good ones.
  void fill(const std::vector<int64_t> &lengths, std::mt19937_64 &random, int good_percent = 100) {
    offsets.assign(1, 0);
    ids.clear();
    for (size_t bag = 0; bag < lengths.size(); ++bag) {
      const int64_t rows = tables[bag / static_cast<size_t>(batch)].rows;
      for (int64_t i = 0; i < lengths[bag]; ++i) {
        const bool good = rows > 0 && static_cast<int>(random() % 100) < good_percent;
        const int64_t beyond = static_cast<int64_t>(random() % 3);
        ids.push_back(good ? static_cast<int64_t>(random() % static_cast<uint64_t>(rows))
                           : (random() & 1 ? -1 - beyond : rows + beyond));
      }
      offsets.push_back(static_cast<int64_t>(ids.size()));
    }
  }

  void weigh(std::mt19937_64 &random) {
    weights.resize(ids.size());
    for (float &w : weights) w = static_cast<float>(static_cast<int64_t>(random() % 2001) - 600) / 700.0f;
  }

  std::vector<float> table_values(size_t t) const {
    std::mt19937_64 random(values_seed * 1000003 + t);
    std::vector<float> values(static_cast<size_t>(tables[t].rows * tables[t].dim));
    for (float &v : values) {
      v = rounded(static_cast<float>(static_cast<int64_t>(random() % 20001) - 10000) / 4096.0f, tables[t].dtype);
    }
    return values;
  }

  reference::EmbeddingBagResult expected() const {
    reference::EmbeddingBagCase c;
    for (size_t t = 0; t < tables.size(); ++t) {
      const std::vector<float> values = table_values(t);
      c.tables.push_back({tables[t].rows, tables[t].dim, {values.begin(), values.end()}, tables[t].pooling});
    }
    c.batch = batch;
    c.ids = ids;
    c.offsets = offsets;
    c.weights.assign(weights.begin(), weights.end());
    c.mean_denominator = mean_denominator;
    if (has_padding_id) c.padding_id = padding_id;
    return reference::embedding_bag(c);
  }
};

struct EmbeddingOutcome {
  std::vector<float> out;  // [rows, columns]
  jdb_report report;
  std::string plan;
};

class EmbeddingRun {
 public:
  explicit EmbeddingRun(const EmbeddingCase &c) : case_(c), device_{c.multiprocessors, c.simt_seed} {
    stream_.device = &device_;
  }

  EmbeddingOutcome operator()() {
    std::vector<DeviceArray> memory;
    std::vector<jdb_tensor> tables;
    std::vector<int32_t> pooling, dims;
    const std::vector<int32_t> formats(case_.tables.size(), JD_ROWS_PLAIN);
    for (size_t t = 0; t < case_.tables.size(); ++t) {
      const Table &table = case_.tables[t];
      const int64_t stride = table.dim + table.padding;
      memory.emplace_back(table.dtype,
                          table.rows == 0 ? 0 : static_cast<size_t>((table.rows - 1) * stride + table.dim));
      const std::vector<float> values = case_.table_values(t);
      for (int64_t r = 0; r < table.rows; ++r) {
        for (int64_t d = 0; d < table.dim; ++d) {
          memory.back().set(static_cast<size_t>(r * stride + d), values[static_cast<size_t>(r * table.dim + d)]);
        }
      }
      tables.push_back(memory.back().tensor({table.rows, table.dim}, {stride, 1}));
      pooling.push_back(table.pooling);
      dims.push_back(static_cast<int32_t>(table.dim));
    }
    const DeviceArray ids = DeviceArray::integers(case_.index_dtype, case_.ids);
    const DeviceArray offsets = DeviceArray::integers(case_.offset_dtype, case_.offsets);
    const DeviceArray weights = DeviceArray::floats(JD_F32, case_.weights);
    const int64_t rows = case_.out_rows(), columns = case_.columns(), stride = columns + case_.out_padding;
    const DeviceArray out(case_.out_dtype, rows == 0 ? 0 : static_cast<size_t>((rows - 1) * stride + columns));

    jdb_embedding_bag_desc desc{};
    desc.d.num_tables = static_cast<int32_t>(tables.size());
    desc.d.pooling = case_.tables[0].pooling;
    desc.d.bounds = case_.bounds;
    desc.d.mean_denominator = case_.mean_denominator;
    desc.d.index_dtype = case_.index_dtype;
    desc.d.offset_dtype = case_.offset_dtype;
    desc.d.out_dtype = case_.out_dtype;
    desc.d.weighted = !case_.weights.empty();
    desc.d.has_padding_id = case_.has_padding_id;
    desc.d.padding_id = case_.padding_id;
    desc.d.max_batch = case_.batch;
    desc.d.max_ids = static_cast<int64_t>(case_.ids.size());
    desc.tables = tables.data();
    desc.table_pooling = pooling.data();
    desc.row_formats = formats.data();
    desc.dims = dims.data();
    desc.sum_dims = case_.pooled_columns();
    jdb_embedding_bag_args args{};
    args.ids = ids.tensor({static_cast<int64_t>(ids.size())});
    args.offsets = offsets.tensor({static_cast<int64_t>(offsets.size())});
    if (!case_.weights.empty()) args.weights = weights.tensor({static_cast<int64_t>(weights.size())});
    desc.d.split_out = case_.blocks;
    args.out = case_.blocks ? out.tensor({columns}) : out.tensor({rows, columns}, {stride, 1});
    const int64_t num_ids = static_cast<int64_t>(case_.ids.size()), num_scales = num_ids + case_.batch * case_.pooled_tables();
    const DeviceArray scales(JD_F32, static_cast<size_t>(num_scales));
    if (case_.out_dtype == JD_I8) args.out_scales = num_scales > num_ids ? scales.tensor({num_scales}) : scales.tensor({num_ids, 1});
    args.batch = case_.batch;

    PlanMemory plan_memory;
    EmbeddingOutcome outcome{};
    {
      jd_error error{};
      error.struct_size = sizeof error;
      KernelPlan *made = nullptr;
      EXPECT_EQ(JD_OK, EmbeddingBagPlan::create(plan_memory.resources(case_.multiprocessors), desc, &made, &error));
      const std::unique_ptr<KernelPlan> plan(made);
      char text[512];
      plan->describe(text, sizeof text);
      outcome.plan = text;
      simt_backend::Executor executor(stream_, &error);
      EXPECT_EQ(JD_OK, launch_embedding_bag(executor, static_cast<const EmbeddingBagPlan &>(*plan), args))
          << error.message;
    }
    EXPECT_EQ(0, plan_memory.alive_bytes);
    outcome.report = report_of(stream_.faults);
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t d = 0; d < columns; ++d) outcome.out.push_back(out.get(static_cast<size_t>(r * stride + d)));
      for (int64_t d = columns; d < stride && r + 1 < rows; ++d) {
        EXPECT_NE(out.get(static_cast<size_t>(r * stride + d)), out.get(static_cast<size_t>(r * stride + d)))
            << "written between rows of out: row " << r << " column " << d;
      }
    }
    return outcome;
  }

 private:
  const EmbeddingCase &case_;
  simt_backend::Device device_;
  simt_backend::Stream stream_{};
};

inline EmbeddingOutcome run(const EmbeddingCase &c) { return EmbeddingRun(c)(); }

// Every output written and within the error bound of its dtype.
inline void expect_matches(const EmbeddingCase &c, const EmbeddingOutcome &outcome) {
  const reference::EmbeddingBagResult expected = c.expected();
  ASSERT_EQ(expected.out.size(), outcome.out.size());
  int64_t longest = 1;
  for (size_t bag = 0; bag + 1 < c.offsets.size(); ++bag) {
    longest = std::max(longest, c.offsets[bag + 1] - c.offsets[bag]);
  }
  for (size_t i = 0; i < expected.out.size(); ++i) {
    const double allowed = tolerance::sum(longest, expected.terms[i], expected.out[i], c.out_dtype);
    // Negated, so that a NaN fails.
    ASSERT_TRUE(std::fabs(outcome.out[i] - expected.out[i]) <= allowed)
        << "row " << i / c.columns() << " column " << i % c.columns() << ": got " << outcome.out[i] << ", expected "
        << expected.out[i] << " +- " << allowed << " (" << outcome.plan << ")";
  }
}

}  // namespace jindou::testing

#endif
