// From ids to rows of a table, straight from the specification (jindou/embedding.h): division where the kernels multiply.
#ifndef JINDOU_TESTS_REFERENCE_TABLE_KEYS_H
#define JINDOU_TESTS_REFERENCE_TABLE_KEYS_H

#include <jindou/embedding.h>

#include <cstdint>
#include <vector>

namespace jindou::reference {

inline uint64_t murmur3_finaliser(uint64_t x) {
  x ^= x >> 33;
  x *= 0xff51afd7ed558ccdULL;
  x ^= x >> 33;
  x *= 0xc4ceb9fe1a85ec53ULL;
  x ^= x >> 33;
  return x;
}

struct TableKeys {
  std::vector<jd_key_function> functions;  // empty: an id is a row
  int32_t combine = JD_KEYS_SUM;

  int64_t rows_side_by_side() const {
    return combine == JD_KEYS_CONCAT && !functions.empty() ? static_cast<int64_t>(functions.size()) : 1;
  }

  // The rows of an id; none when it is out of range.
  std::vector<int64_t> rows(int64_t id, int64_t table_rows) const {
    std::vector<int64_t> rows;
    if (functions.empty()) {
      if (id >= 0 && id < table_rows) rows.push_back(id);
      return rows;
    }
    for (const jd_key_function &f : functions) {
      const __int128 n = f.num_rows ? f.num_rows : table_rows - f.first_row;
      __int128 row = id;
      switch (f.kind) {
        case JD_KEY_MODULO: row = ((row % n) + n) % n; break;
        case JD_KEY_QUOTIENT: row = id < 0 ? -1 : row / f.divisor; break;
        case JD_KEY_HASH:
          row = static_cast<__int128>(murmur3_finaliser(static_cast<uint64_t>(id) ^ murmur3_finaliser(f.seed))) % n;
          break;
        default: break;
      }
      if (row < 0 || row >= n) return {};
      rows.push_back(f.first_row + static_cast<int64_t>(row));
    }
    return rows;
  }
};

}  // namespace jindou::reference

#endif
