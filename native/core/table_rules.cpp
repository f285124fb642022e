#include "core/table_rules.h"

#include "core/row_formats.h"

namespace jindou::core {

void check_rows_of_codes(Rules &rules, const char *name, const jdb_tensor &t, int32_t format, int64_t dim, const char *why) {
  rules.tensor(name, t, JD_U8, {kAny, kAny});
  rules.contiguous_last(name, t);
  if (rules.broken()) return;
  const int64_t least = row_layout(format, dim).row_bytes;
  if (t.shape[1] < least) {
    return rules.fail(JD_INVALID_ARGUMENT, name, "expected rows of at least %" PRId64 " bytes (%s), got shape %s", least, why,
                      ShapeText(t.shape, t.rank).text);
  }
  if (t.shape[0] > 1 && t.strides[0] < t.shape[1]) {
    rules.fail(JD_INVALID_ARGUMENT, name, "expected a row stride of at least %" PRId64 " bytes, got strides %s", t.shape[1],
               ShapeText(t.strides, t.rank).text);
  }
}

void check_rows_of_numbers(Rules &rules, const char *name, const jdb_tensor &t, std::initializer_list<int32_t> dtypes,
                           int64_t most_columns) {
  rules.dtype(name, t.dtype, dtypes);
  rules.tensor(name, t, t.dtype, {kAny, kAny});
  rules.column_multiple(name, t, 4, 4, most_columns);
  rules.aligned_data(name, t);
  rules.contiguous_last(name, t);
  if (rules.broken()) return;
  if (t.shape[0] > 1 && (t.strides[0] < t.shape[1] || t.strides[0] % 4 != 0)) {
    rules.fail(JD_INVALID_ARGUMENT, name,
               "expected a row stride of at least %" PRId64 " elements and a multiple of 4, got strides %s", t.shape[1],
               ShapeText(t.strides, t.rank).text);
  }
}

void add_table(Rules &rules, const Context &context, Plan &plan, int32_t i, jd_tensor handle, const int32_t *row_formats,
               const int32_t *dims, int32_t *format, int32_t *dim) {
  char name[32], field[32];
  snprintf(name, sizeof name, "tables[%d]", i);
  Ref<Tensor> table;
  if (const jd_status status = acquire_tensor(context, name, handle, *plan.device, "the plan", &table)) {
    return rules.refused(status);
  }
  const jdb_tensor &t = table->t;
  *format = row_formats ? row_formats[i] : JD_ROWS_PLAIN;
  if (*format == JD_ROWS_PLAIN) {
    check_rows_of_numbers(rules, name, t, {JD_F32, JD_F16, JD_BF16, JD_F8_E4M3}, kMaxTableDim);
    if (rules.broken()) return;
    *dim = static_cast<int32_t>(t.shape[1]);
  } else {
    snprintf(field, sizeof field, "row_formats[%d]", i);
    rules.integer(field, *format, JD_ROWS_PLAIN, JD_ROWS_E4M3);
    if (!dims) rules.fail(JD_INVALID_ARGUMENT, "dims", "expected a pointer (%s is not JD_ROWS_PLAIN), got NULL", field);
    if (rules.broken()) return;
    *dim = dims[i];
    if (*dim < 4 || *dim > kMaxTableDim || *dim % 4 != 0) {
      snprintf(field, sizeof field, "dims[%d]", i);
      return rules.fail(JD_INVALID_ARGUMENT, field, "expected a multiple of 4 in 4..%" PRId64 ", got %d", kMaxTableDim, *dim);
    }
    char why[80];
    snprintf(why, sizeof why, "dims[%d] = %d, row_formats[%d] = %d", i, *dim, i, *format);
    check_rows_of_codes(rules, name, t, *format, *dim, why);
    if (rules.broken()) return;
  }
  const char *begin = static_cast<const char *>(t.data);
  if (const int64_t bytes = spanned_bytes(t)) {
    if (!plan.tables_begin || begin < plan.tables_begin) plan.tables_begin = begin;
    if (begin + bytes > plan.tables_end) plan.tables_end = begin + bytes;
  }
  plan.resolved_tables.push_back(t);
  plan.tables.push_back(std::move(table));
}

void check_table_keys(Rules &rules, const Plan &plan, const jd_table_keys *given, TableKeys *keys) {
  if (rules.broken() || !given) return;
  char name[64];
  size_t count = 0;
  for (size_t t = 0; t < plan.resolved_tables.size(); ++t) {
    const jd_table_keys &k = given[t];
    snprintf(name, sizeof name, "table_keys[%zu].num_functions", t);
    rules.integer(name, k.num_functions, 0, JD_MAX_KEY_FUNCTIONS);
    if (rules.broken()) return;
    count += static_cast<size_t>(k.num_functions);
  }
  keys->functions.reserve(count);  // pointers into it stay good
  for (size_t t = 0; t < plan.resolved_tables.size(); ++t) {
    jd_table_keys k = given[t];
    const int64_t rows = plan.resolved_tables[t].shape[0];
    const jd_key_function *functions = k.functions;
    k.functions = keys->functions.data() + keys->functions.size();
    if (k.num_functions == 0) {
      k.combine = JD_KEYS_SUM;
    } else {
      snprintf(name, sizeof name, "table_keys[%zu].combine", t);
      rules.integer(name, k.combine, JD_KEYS_SUM, JD_KEYS_CONCAT);
      snprintf(name, sizeof name, "table_keys[%zu].functions", t);
      if (!functions) rules.fail(JD_INVALID_ARGUMENT, name, "expected a pointer, got NULL");
    }
    for (int32_t i = 0; i < k.num_functions && !rules.broken(); ++i) {
      jd_key_function f = functions[i];
      const auto field = [&](const char *of) {
        snprintf(name, sizeof name, "table_keys[%zu].functions[%d].%s", t, i, of);
        return name;
      };
      rules.integer(field("kind"), f.kind, JD_KEY_ROW, JD_KEY_HASH);
      rules.zero(field("reserved"), f.reserved);
      rules.integer(field("first_row"), f.first_row, 0, rows);
      if (rules.broken()) return;
      rules.integer(field("num_rows"), f.num_rows, 0, rows - f.first_row);
      if (f.num_rows == 0) f.num_rows = rows - f.first_row;
      if ((f.kind == JD_KEY_MODULO || f.kind == JD_KEY_HASH) && f.num_rows == 0) {
        rules.fail(JD_INVALID_ARGUMENT, field("num_rows"), "expected at least one row to choose from, the table has %" PRId64
                   " and first_row is %" PRId64, rows, f.first_row);
      }
      if (f.kind == JD_KEY_QUOTIENT) {
        rules.integer(field("divisor"), f.divisor, 1, INT64_MAX);
      } else {
        rules.zero(field("divisor"), f.divisor);
      }
      if (f.kind != JD_KEY_HASH) rules.zero(field("seed"), static_cast<int64_t>(f.seed));
      keys->functions.push_back(f);
    }
    if (rules.broken()) return;
    keys->tables.push_back(k);
  }
}

void check_apart_from_tables(Rules &rules, const Plan &plan, const char *name, const jdb_tensor &out) {
  if (rules.broken()) return;
  // One comparison with the range of all tables nearly always settles it.
  const char *begin = static_cast<const char *>(out.data), *end = begin + spanned_bytes(out);
  if (begin == end || end <= plan.tables_begin || begin >= plan.tables_end) return;
  for (size_t i = 0; i < plan.resolved_tables.size(); ++i) {
    if (!may_overlap(out, plan.resolved_tables[i])) continue;
    return rules.fail(JD_INVALID_ARGUMENT, name, "expected memory apart from the tables, got an overlap with tables[%zu]", i);
  }
}

}  // namespace jindou::core
