// Rules of embedding tables (jindou/embedding.h), for every operator whose plan holds some.
#ifndef JINDOU_CORE_TABLE_RULES_H
#define JINDOU_CORE_TABLE_RULES_H

#include <cinttypes>
#include <vector>

#include "core/plan.h"
#include "core/rules.h"

namespace jindou::core {

inline constexpr int64_t kMaxTableDim = 2048;

// A table of numbers.
void check_rows_of_numbers(Rules &rules, const char *name, const jdb_tensor &t, std::initializer_list<int32_t> dtypes,
                           int64_t most_columns);

// A table of rows of codes in `format`, D = `dim` elements each; `why` is where messages say that these come from.
void check_rows_of_codes(Rules &rules, const char *name, const jdb_tensor &t, int32_t format, int64_t dim, const char *why);

// Acquires table i, checks it and adds it to the plan; gives its format and dim. Messages name "tables[3]". `row_formats` and `dims`
// are the description's arrays and may be null.
void add_table(Rules &rules, const Context &context, Plan &plan, int32_t i, jd_tensor handle, const int32_t *row_formats,
               const int32_t *dims, int32_t *format, int32_t *dim);

// Functions from ids to rows, with defaults filled in: what a plan passes to its backend.
struct TableKeys {
  std::vector<jd_table_keys> tables;  // empty: ids are rows
  std::vector<jd_key_function> functions;

  bool sums(size_t table) const { return !tables.empty() && tables[table].combine == JD_KEYS_SUM && tables[table].num_functions > 1; }
  // Rows side by side that an id has.
  int32_t rows_of(size_t table) const {
    const bool several = !tables.empty() && tables[table].combine == JD_KEYS_CONCAT && tables[table].num_functions > 1;
    return several ? tables[table].num_functions : 1;
  }
  const jd_table_keys *data() const { return tables.empty() ? nullptr : tables.data(); }
};

// Checks table_keys [num_tables] (or null) of a plan whose tables have been added. Messages name "table_keys[3].functions[0]".
void check_table_keys(Rules &rules, const Plan &plan, const jd_table_keys *given, TableKeys *keys);

// An output shares no element with the tables of the plan.
void check_apart_from_tables(Rules &rules, const Plan &plan, const char *name, const jdb_tensor &out);

}  // namespace jindou::core

#endif
