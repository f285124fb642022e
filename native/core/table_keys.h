// From ids to rows of embedding tables (jindou/embedding.h: JD_KEY_*), once for the CPU, the CUDA kernels and their emulation; and a
// plan's tables cut into parts, so that rows side by side are tables of their own to a kernel.
#ifndef JINDOU_CORE_TABLE_KEYS_H
#define JINDOU_CORE_TABLE_KEYS_H

#include <jindou/embedding.h>

#include <cstdint>
#include <vector>

#include "core/backend.h"
#include "core/hash_geometry.h"

namespace jindou::keys {

// Division by a number that is known early: one multiplication. With m = floor((2^64 - 1) / n), x * m / 2^64 is less than x / n by
// less than 1, so that the quotient is right or one too small.
struct Divisor {
  uint64_t n, reciprocal;

  static Divisor of(uint64_t n) { return {n, UINT64_MAX / n}; }
  JD_HASH_FUNCTION uint64_t quotient(uint64_t x) const {
    const uint64_t q = hashing::scaled(x, reciprocal);
    return q + (x - q * n >= n ? 1u : 0u);
  }
  JD_HASH_FUNCTION uint64_t remainder(uint64_t x) const {
    const uint64_t r = x - hashing::scaled(x, reciprocal) * n;
    return r >= n ? r - n : r;
  }
};

struct Function {
  int32_t kind;  // JD_KEY_*
  int32_t reserved;
  int64_t first_row;
  Divisor by;  // MODULO, HASH: rows; QUOTIENT: the divisor
  uint64_t mixed_seed;

  static Function of(const jd_key_function &f) {
    const int64_t n = f.kind == JD_KEY_QUOTIENT ? f.divisor : f.kind == JD_KEY_ROW ? 1 : f.num_rows;
    return {f.kind, 0, f.first_row, Divisor::of(static_cast<uint64_t>(n)), hashing::mixed(f.seed)};
  }

  // Of an id that it takes.
  JD_HASH_FUNCTION int64_t row(int64_t id) const {
    const auto x = static_cast<uint64_t>(id);
    uint64_t chosen = x;
    if (kind == JD_KEY_HASH) {
      chosen = by.remainder(hashing::mixed(x ^ mixed_seed));
    } else if (kind == JD_KEY_MODULO) {
      chosen = id < 0 ? by.n - 1 - by.remainder(~x) : by.remainder(x);
    } else if (kind == JD_KEY_QUOTIENT) {
      chosen = by.quotient(x);
    }
    return first_row + static_cast<int64_t>(chosen);
  }
};

constexpr int64_t kAnyId = -1;  // as a limit

// What a kernel takes for a table: a table, or one of k rows side by side.
struct Part {
  int32_t table;           // the caller's number
  int32_t num_functions;   // 0: an id is a row
  int32_t first_function;  // in Parts::functions
  bool reports;            // of a table's parts, the one that tells of bad ids
  int64_t limit;           // ids 0..limit - 1 are good; or kAnyId
  int64_t column;          // columns of out before the part
  int64_t table_column;    // and before its table
  int64_t table_columns;   // of its table
  int32_t number;          // parts before it that have columns of out
};

struct Parts {
  std::vector<Part> parts;
  std::vector<Function> functions;

  // `keys` with defaults filled in, or null. `pooling`, if not null: tables of JD_POOL_NONE have no columns of out.
  static Parts of(const jd_table_keys *keys, const jdb_tensor *tables, const int32_t *dims, int32_t num_tables,
                  const int32_t *pooling = nullptr) {
    Parts made;
    int64_t column = 0;
    int32_t number = 0;
    for (int32_t t = 0; t < num_tables; ++t) {
      const jd_table_keys k = keys ? keys[t] : jd_table_keys{};
      Part part{t,      k.num_functions, static_cast<int32_t>(made.functions.size()), true, tables[t].shape[0], column,
                column, dims[t],         number};
      if (k.num_functions > 0) part.limit = limit_of(k);
      for (int32_t i = 0; i < k.num_functions; ++i) made.functions.push_back(Function::of(k.functions[i]));
      int32_t copies = 1;
      if (k.combine == JD_KEYS_CONCAT && k.num_functions > 1) {
        copies = k.num_functions;
        part.num_functions = 1;
        part.table_columns = static_cast<int64_t>(copies) * dims[t];
      }
      for (int32_t i = 0; i < copies; ++i) {
        made.parts.push_back(part);
        part.reports = false;
        ++part.first_function;
        if (pooling && pooling[t] == JD_POOL_NONE) continue;
        part.column = column += dims[t];
        part.number = ++number;
      }
    }
    return made;
  }

 private:
  // The ids that all functions take.
  static int64_t limit_of(const jd_table_keys &k) {
    int64_t limit = kAnyId;
    for (int32_t i = 0; i < k.num_functions; ++i) {
      const jd_key_function &f = k.functions[i];
      if (f.kind != JD_KEY_ROW && f.kind != JD_KEY_QUOTIENT) continue;
      int64_t own = f.num_rows;
      if (f.kind == JD_KEY_QUOTIENT && __builtin_mul_overflow(f.divisor, f.num_rows, &own)) own = INT64_MAX;
      if (limit == kAnyId || own < limit) limit = own;
    }
    return limit;
  }
};

}  // namespace jindou::keys

#endif
