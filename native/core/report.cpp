#include "core/report.h"

#include <cinttypes>

#include "core/context.h"
#include "core/launch.h"
#include "core/longer_text.h"

namespace jindou::core {
namespace {

const char *offsets_name(const jdb_report &report) {
  if (report.op == JDB_OP_HSTU_ATTENTION && report.table == 1) return "q_offsets";
  if (report.op == JDB_OP_DECODE_ATTENTION) return "q_offsets";
  if (report.op == JDB_OP_SOFTMAX_ATTENTION) return report.table == 0 ? "q_offsets" : "k_offsets";
  if (report.op == JDB_OP_BEAM_ATTENTION) return report.table == 1 ? "prefix_offsets" : "beam_offsets";
  if (report.op == JDB_OP_LONGER_ATTENTION) {
    return report.table == 2 ? "global_offsets" : report.table == 1 ? "k_offsets" : "q_offsets";
  }
  if (report.op == JDB_OP_MERGE_TOKENS) return report.table == 1 ? "out_offsets" : "offsets";
  const bool candidates =
      report.op == JDB_OP_TARGET_ATTENTION || report.op == JDB_OP_DIN_ATTENTION || report.op == JDB_OP_HISTORY_SEARCH ||
      report.op == JDB_OP_SEARCH_ATTENTION || report.op == JDB_OP_STCA_ATTENTION;
  if (!candidates) return "offsets";
  if (report.table == 0) return "candidate_offsets";
  return report.table == 1 ? "history_offsets" : "candidate_offsets or history_offsets";
}

bool names_table(int32_t op) {
  return op == JDB_OP_EMBEDDING_BAG || op == JDB_OP_SEQUENCE_EMBEDDING || op == JDB_OP_RQ_DECODE;
}

void describe(const Context &context, const jdb_report &r) {
  const auto fail_at = [&](const char *argument, const char *format, auto... values) {
    char text[256];
    snprintf(text, sizeof text, format, values...);
    fail_argument(context, JD_OUT_OF_BOUNDS, argument, "%s", text);
  };
  switch (r.fault) {
    case JDB_FAULT_ID:
      if (r.op == JDB_OP_RQ_DECODE) {
        return fail_at("codes", "expected a code in 0..%" PRId64 ", got %" PRId64 " at position %" PRId64 " (level %d)", r.limit - 1,
                       r.value, r.position, r.table);
      }
      return fail_at("ids",
                     "expected an id in 0..%" PRId64 " (table %d has %" PRId64 " rows), got %" PRId64
                     " at position %" PRId64,
                     r.limit - 1, r.table, r.limit, r.value, r.position);
    case JDB_FAULT_KEY:
      return fail_at("ids",
                     "expected an id in 0..%" PRId64 " (what the key functions of table %d take), got %" PRId64 " at position %" PRId64,
                     r.limit - 1, r.table, r.value, r.position);
    case JDB_FAULT_OFFSET_START:
      return fail_at(offsets_name(r), "expected the first offset to be 0, got %" PRId64, r.value);
    case JDB_FAULT_OFFSET_ORDER:
      return fail_at(offsets_name(r),
                     "expected non-decreasing offsets, got a smaller one (%" PRId64 ") at position %" PRId64
                     ", the end of sequence %" PRId64,
                     r.value, r.position + 1, r.position);
    case JDB_FAULT_OFFSET_OVERRUN:
      if (r.value < r.limit) {
        return fail_at(offsets_name(r),
                       "expected the last offset to be %" PRId64 ", got %" PRId64 " at position %" PRId64, r.limit,
                       r.value, r.position + 1);
      }
      return fail_at(offsets_name(r),
                     "expected offsets of at most %" PRId64 ", got %" PRId64 " at position %" PRId64
                     ", the end of sequence %" PRId64,
                     r.limit, r.value, r.position + 1, r.position);
    case JDB_FAULT_LENGTH:
      return fail_at(offsets_name(r),
                     "expected sequences of at most %" PRId64 " rows as declared to the plan%s, got %" PRId64
                     " in sequence %" PRId64,
                     r.limit, r.op == JDB_OP_SOFTMAX_ATTENTION ? " (or the size of its bias)" : "", r.value, r.position);
    case JDB_FAULT_TARGETS:
      return fail_at("num_targets",
                     "expected 0..%" PRId64 " (the rows of its sequence), got %" PRId64 " at position %" PRId64,
                     r.limit, r.value, r.position);
    case JDB_FAULT_QUERIES:
      if (r.op == JDB_OP_LONGER_ATTENTION) return fail_at("q_offsets", longer_text::kManyRows, r.limit, r.value, r.position);
      return fail_at("q_offsets",
                     "expected at most %" PRId64 " queries (the rows of the sequence), got %" PRId64
                     " in sequence %" PRId64,
                     r.limit, r.value, r.position);
    case JDB_FAULT_ROW:
      return fail_at("x", "expected finite numbers whose scale and bias the format can hold, got others in row %" PRId64, r.position);
    case JDB_FAULT_PAGE:
      return fail_at("page_table",
                     "expected a page in 0..%" PRId64 " (num_pages - 1), got %" PRId64 " at position %" PRId64
                     " of the table, counted row by row",
                     r.limit - 1, r.value, r.position);
    case JDB_FAULT_CACHE_LENGTH:
      return fail_at("seq_lens",
                     "expected 0..%" PRId64 " rows (what a row of page_table and the plan allow), got %" PRId64
                     " in sequence %" PRId64,
                     r.limit, r.value, r.position);
    case JDB_FAULT_CACHE_ROWS:
      return fail_at("offsets",
                     "expected at most %" PRId64 " rows (seq_lens of the sequence), got %" PRId64 " in sequence %" PRId64,
                     r.limit, r.value, r.position);
    case JDB_FAULT_KEY_MISSING:
      return fail_at("keys", "expected keys of the table, got %" PRId64 " at position %" PRId64, r.value, r.position);
    case JDB_FAULT_KEY_REFUSED:
      return fail_at("keys", "no room for key %" PRId64 " at position %" PRId64 " in a table of %" PRId64 " slots", r.value,
                     r.position, r.limit);
    case JDB_FAULT_INDEX:
      return fail_at("indices",
                     "expected -1 or an event in 0..%" PRId64 " (the user has %" PRId64 " events), got %" PRId64
                     " at position %" PRId64 ", counted row by row",
                     r.limit - 1, r.limit, r.value, r.position);
    case JDB_FAULT_ANCESTRY:
      return fail_at("ancestry",
                     "expected a slot in 0..%" PRId64 ", got %" PRId64 " at position %" PRId64 " of the table, counted row by row",
                     r.limit - 1, r.value, r.position);
    case JDB_FAULT_SUFFIX_LENGTH:
      return fail_at("suffix_lens",
                     "expected 0..%" PRId64 " (the levels of suffix_keys), got %" PRId64 " at position %" PRId64, r.limit,
                     r.value, r.position);
    case JDB_FAULT_GLOBALS: return fail_at("global_offsets", longer_text::kGlobals, r.limit, r.value, r.position);
    case JDB_FAULT_FEW_QUERIES: return fail_at("q_offsets", longer_text::kFewRows, r.limit, r.value, r.position);
    case JDB_FAULT_MERGED_ROWS:
      return fail_at("out_offsets",
                     "expected %" PRId64 " rows (what the sequence's events merge to), got %" PRId64 " in sequence %" PRId64, r.limit,
                     r.value, r.position);
    default:
      fail_operation(context, JD_OUT_OF_BOUNDS, "fault %d at position %" PRId64 ": value %" PRId64 ", limit %" PRId64,
                     r.fault, r.position, r.value, r.limit);
  }
}

}  // namespace

jd_status fail_report(jd_error *error, const jdb_report &report) {
  describe(Context{error, operator_name(report.op)}, report);
  if (writable(error)) {
    error->table = names_table(report.op) ? report.table : -1;
    error->position = report.position;
    error->value = report.value;
  }
  return JD_OUT_OF_BOUNDS;
}

}  // namespace jindou::core
