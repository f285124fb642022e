// sequence_embedding in float64, straight from the specification (jindou/sequence_embedding.h).
#ifndef JINDOU_TESTS_REFERENCE_SEQUENCE_EMBEDDING_H
#define JINDOU_TESTS_REFERENCE_SEQUENCE_EMBEDDING_H

#include <jindou/sequence_embedding.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <vector>

namespace jindou::reference {

struct SequenceTable {
  int64_t rows = 0, dim = 0;
  std::vector<double> values;  // [rows, dim], what the rows stand for
};

struct SequenceEmbeddingCase {
  std::vector<SequenceTable> tables;
  bool summed = false;
  std::vector<int64_t> ids;      // [tables, total]
  std::vector<int64_t> offsets;  // [B + 1]
  std::optional<int64_t> padding_id;
  double scale = 1;
  SequenceTable positions, times;  // rows = 0: none
  int32_t position_mode = JD_POSITION_FROM_START;
  int64_t contextual_len = 0;
  int32_t time_function = JD_TIME_SQRT;
  int64_t max_time_bucket = 0;
  int64_t time_unit = 60;
  std::vector<int64_t> timestamps, query_times, num_targets;  // empty: none

  int64_t total() const { return offsets.back(); }
  int64_t width() const {
    int64_t columns = 0;
    for (const SequenceTable &t : tables) columns = summed ? t.dim : columns + t.dim;
    return columns;
  }
};

struct SequenceEmbeddingResult {
  std::vector<double> out;    // [total, width]
  std::vector<double> terms;  // the absolute values that went into each
  int64_t skipped = 0, first_position = -1;
};

inline int64_t sequence_position(const SequenceEmbeddingCase &c, int64_t i, int64_t n, int64_t targets) {
  int64_t position;
  if (i < c.contextual_len) {
    position = i;
  } else if (c.position_mode == JD_POSITION_FROM_START) {
    position = std::min(i, n - targets);
  } else {
    position = c.contextual_len + std::max<int64_t>(n - targets - i, 0);
  }
  return std::clamp<int64_t>(position, 0, c.positions.rows - 1);
}

inline int64_t sequence_bucket(const SequenceEmbeddingCase &c, int64_t query_time, int64_t timestamp) {
  const double units = (static_cast<double>(query_time) - static_cast<double>(timestamp)) / static_cast<double>(c.time_unit);
  if (units <= 0) return 0;
  const double bucket = std::floor(c.time_function == JD_TIME_SQRT ? std::sqrt(units) : std::log(units));
  const int64_t last = c.max_time_bucket ? c.max_time_bucket : c.times.rows - 1;
  return static_cast<int64_t>(std::clamp<double>(bucket, 0, static_cast<double>(last)));
}

inline SequenceEmbeddingResult sequence_embedding(const SequenceEmbeddingCase &c) {
  const int64_t total = c.total(), width = c.width();
  SequenceEmbeddingResult r;
  r.out.assign(total * width, 0.0);
  r.terms.assign(total * width, 0.0);
  const auto add = [&](int64_t event, int64_t column, double x) {
    r.out[event * width + column] += x;
    r.terms[event * width + column] += std::fabs(x);
  };
  int64_t first_column = 0;
  for (size_t t = 0; t < c.tables.size(); ++t) {
    const SequenceTable &table = c.tables[t];
    for (int64_t i = 0; i < total; ++i) {
      const int64_t at = static_cast<int64_t>(t) * total + i, id = c.ids[at];
      if (c.padding_id && id == *c.padding_id) continue;
      if (id < 0 || id >= table.rows) {
        if (r.skipped++ == 0) r.first_position = at;
        continue;
      }
      for (int64_t d = 0; d < table.dim; ++d) add(i, first_column + d, c.scale * table.values[id * table.dim + d]);
    }
    if (!c.summed) first_column += table.dim;
  }
  for (size_t b = 0; b + 1 < c.offsets.size(); ++b) {
    const int64_t begin = c.offsets[b], end = c.offsets[b + 1];
    for (int64_t i = begin; i < end; ++i) {
      const int64_t position = sequence_position(c, i - begin, end - begin, c.num_targets.empty() ? 0 : c.num_targets[b]);
      for (int64_t d = 0; c.positions.rows && d < width; ++d) add(i, d, c.positions.values[position * width + d]);
      if (!c.times.rows) continue;
      const int64_t bucket =
          sequence_bucket(c, c.query_times.empty() ? c.timestamps[end - 1] : c.query_times[b], c.timestamps[i]);
      for (int64_t d = 0; d < width; ++d) add(i, d, c.times.values[bucket * width + d]);
    }
  }
  return r;
}

}  // namespace jindou::reference

#endif
