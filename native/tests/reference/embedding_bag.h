// embedding_bag in float64, straight from the specification (jindou/embedding.h).
#ifndef JINDOU_TESTS_REFERENCE_EMBEDDING_BAG_H
#define JINDOU_TESTS_REFERENCE_EMBEDDING_BAG_H

#include <jindou/embedding.h>

#include <cmath>
#include <cstdint>
#include <optional>
#include <vector>

#include "reference/table_keys.h"

namespace jindou::reference {

struct EmbeddingTable {
  int64_t rows = 0;
  int64_t dim = 0;
  std::vector<double> values;  // [rows, dim], already rounded to the table's dtype
  int32_t pooling = JD_POOL_SUM;
  TableKeys keys{};

  int64_t columns() const { return dim * keys.rows_side_by_side(); }
};

struct EmbeddingBagCase {
  std::vector<EmbeddingTable> tables;
  int64_t batch = 0;
  std::vector<int64_t> ids;
  std::vector<int64_t> offsets;  // [T*B + 1]
  std::vector<double> weights;   // [total] or empty
  int32_t mean_denominator = JD_MEAN_VALID;
  std::optional<int64_t> padding_id;
};

struct EmbeddingBagResult {
  std::vector<double> out;     // [B, sum dims]; pooling none: a block [ids of t, dim of t] a table
  std::vector<double> terms;   // same shape: sum of |w * row| that went into each output, for error bounds
  int64_t skipped = 0;         // ids out of range
  int64_t first_position = -1; // of the first id out of range
};

inline EmbeddingBagResult embedding_bag(const EmbeddingBagCase &c) {
  const int64_t tables = static_cast<int64_t>(c.tables.size());
  const bool none = tables > 0 && c.tables[0].pooling == JD_POOL_NONE;
  int64_t columns = 0;
  for (const EmbeddingTable &t : c.tables) columns += t.columns();
  int64_t elements = c.batch * columns;
  if (none) {
    elements = 0;
    for (int64_t t = 0; t < tables; ++t) {
      elements += (c.offsets[(t + 1) * c.batch] - c.offsets[t * c.batch]) * c.tables[t].dim;
    }
  }

  EmbeddingBagResult r;
  r.out.assign(elements, 0.0);
  r.terms.assign(elements, 0.0);
  int64_t column = 0;
  int64_t next_row = 0;  // pooling none: element where the next id's row goes
  for (int64_t t = 0; t < tables; ++t) {
    const EmbeddingTable &table = c.tables[t];
    for (int64_t b = 0; b < c.batch; ++b) {
      const int64_t begin = c.offsets[t * c.batch + b];
      const int64_t end = c.offsets[t * c.batch + b + 1];
      double denominator = 0;
      bool first = true;
      for (int64_t i = begin; i < end; ++i) {
        const int64_t id = c.ids[i], base = none ? next_row : b * columns + column;
        next_row += table.dim;
        if (c.padding_id && id == *c.padding_id) continue;
        const std::vector<int64_t> rows_of_id = table.keys.rows(id, table.rows);
        if (rows_of_id.empty()) {
          ++r.skipped;
          if (r.first_position < 0 || i < r.first_position) r.first_position = i;
          continue;
        }
        const double w = c.weights.empty() ? 1.0 : c.weights[i];
        denominator += w;
        for (size_t f = 0; f < rows_of_id.size(); ++f) {
          const int64_t part = base + (table.keys.combine == JD_KEYS_CONCAT ? static_cast<int64_t>(f) * table.dim : 0);
          for (int64_t d = 0; d < table.dim; ++d) {
            const double x = w * table.values[rows_of_id[f] * table.dim + d];
            double &out = r.out[part + d];
            r.terms[part + d] += x < 0 ? -x : x;
            if (table.pooling == JD_POOL_MAX) {
              out = first || x > out || std::isnan(x) ? x : out;
            } else {
              out += x;
            }
          }
        }
        first = false;
      }
      if (table.pooling == JD_POOL_MEAN) {
        if (c.mean_denominator == JD_MEAN_LENGTH) denominator = static_cast<double>(end - begin);
        for (int64_t d = 0; d < table.columns(); ++d) {
          const int64_t at = b * columns + column + d;
          r.out[at] = denominator == 0 ? 0.0 : r.out[at] / denominator;
          r.terms[at] = denominator == 0 ? 0.0 : r.terms[at] / (denominator < 0 ? -denominator : denominator);
        }
      }
    }
    if (!none) column += table.columns();
  }
  return r;
}

}  // namespace jindou::reference

#endif
