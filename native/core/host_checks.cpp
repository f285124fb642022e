#include "core/host_checks.h"

#include <cinttypes>

#include "core/longer_as_beams.h"
#include "core/longer_rows.h"
#include "core/longer_text.h"
#include "core/plan.h"

namespace jindou::core {
namespace {

// The jagged structure of one tensor: `count` sequences over `total` rows.
struct Jagged {
  const char *name;  // of the offsets
  const char *of;    // the tensor the offsets cut
  int64_t count;
  int64_t total;
  int64_t longest;       // declared maximum of a sequence
  const char *declared;  // the field that declared it
  const char *whose = "the plan";
};

// One pass without branches: the sign bit of `signs` collects every negative offset, every decrease and every sequence
// too long. Differences are exact whenever no offset is negative, and a negative offset has set the bit by itself.
template <class T>
bool well_formed(const T *offsets, const Jagged &j) {
  uint64_t signs = 0;
  for (int64_t i = 0; i < j.count; ++i) {
    const uint64_t length = static_cast<uint64_t>(offsets[i + 1]) - static_cast<uint64_t>(offsets[i]);
    signs |= static_cast<uint64_t>(offsets[i + 1]) | length | (static_cast<uint64_t>(j.longest) - length);
  }
  return offsets[0] == 0 && offsets[j.count] == j.total && static_cast<int64_t>(signs) >= 0;
}

// Names the first offset that breaks a rule.
template <class T>
__attribute__((cold, noinline)) jd_status explain(const Context &context, const T *offsets, const Jagged &j) {
  if (offsets[0] != 0) {
    return fail_argument(context, JD_INVALID_ARGUMENT, j.name, "expected the first offset to be 0, got %" PRId64,
                         static_cast<int64_t>(offsets[0]));
  }
  for (int64_t i = 0; i < j.count; ++i) {
    const int64_t begin = offsets[i], end = offsets[i + 1];
    if (end < begin) {
      return fail_argument(context, JD_INVALID_ARGUMENT, j.name,
                           "expected non-decreasing offsets, got %" PRId64 " after %" PRId64 " at position %" PRId64,
                           end, begin, i + 1);
    }
    if (end > j.total) {
      return fail_argument(context, JD_INVALID_ARGUMENT, j.name,
                           "expected offsets of at most %" PRId64 " (rows of '%s'), got %" PRId64
                           " at position %" PRId64,
                           j.total, j.of, end, i + 1);
    }
    if (end - begin > j.longest) {
      return fail_argument(context, JD_INVALID_ARGUMENT, j.name,
                           "expected sequences of at most %" PRId64 " rows (%s of %s), got %" PRId64
                           " in sequence %" PRId64,
                           j.longest, j.declared, j.whose, end - begin, i);
    }
  }
  return fail_argument(context, JD_INVALID_ARGUMENT, j.name,
                       "expected the last offset to be %" PRId64 " (rows of '%s'), got %" PRId64
                       " at position %" PRId64,
                       j.total, j.of, static_cast<int64_t>(offsets[j.count]), j.count);
}

template <class T>
jd_status check_as(const Context &context, const jdb_tensor &offsets, const Jagged &j) {
  const T *values = static_cast<const T *>(offsets.data);
  return __builtin_expect(well_formed(values, j), 1) ? JD_OK : explain(context, values, j);
}

jd_status check_offsets(const Context &context, const jdb_tensor &offsets, const Jagged &j) {
  return offsets.dtype == JD_I32 ? check_as<int32_t>(context, offsets, j) : check_as<int64_t>(context, offsets, j);
}

template <class T>
jd_status check_targets(const Context &context, const jdb_tensor &offsets, const jdb_tensor &num_targets,
                        int64_t batch) {
  const T *begin = static_cast<const T *>(offsets.data);
  const int32_t *targets = static_cast<const int32_t *>(num_targets.data);
  for (int64_t b = 0; b < batch; ++b) {
    const int64_t rows = static_cast<int64_t>(begin[b + 1]) - begin[b];
    if (targets[b] >= 0 && targets[b] <= rows) continue;
    return fail_argument(context, JD_INVALID_ARGUMENT, "num_targets",
                         "expected 0..%" PRId64 " (the rows of its sequence), got %d at position %" PRId64, rows,
                         targets[b], b);
  }
  return JD_OK;
}

int64_t offset_at(const jdb_tensor &offsets, int64_t i) {
  return offsets.dtype == JD_I32 ? static_cast<const int32_t *>(offsets.data)[i]
                                 : static_cast<const int64_t *>(offsets.data)[i];
}

// No sequence has more queries than rows.
jd_status check_queries(const Context &context, const jdb_tensor &q_offsets, const jdb_tensor &offsets, int64_t batch) {
  for (int64_t b = 0; b < batch; ++b) {
    const int64_t queries = offset_at(q_offsets, b + 1) - offset_at(q_offsets, b);
    const int64_t rows = offset_at(offsets, b + 1) - offset_at(offsets, b);
    if (queries <= rows) continue;
    return fail_argument(context, JD_INVALID_ARGUMENT, "q_offsets",
                         "expected at most %" PRId64 " queries (the rows of the sequence), got %" PRId64
                         " in sequence %" PRId64,
                         rows, queries, b);
  }
  return JD_OK;
}

jd_status check(const Context &context, const Plan &plan, const jdb_embedding_bag_args &a) {
  const jd_embedding_bag_desc &d = plan.desc.embedding_bag.d;
  return check_offsets(context, a.offsets, {"offsets", "ids", a.batch * d.num_tables, a.ids.shape[0], INT64_MAX, ""});
}

jd_status check(const Context &context, const jdb_sequence_embedding_args &a) {
  const Jagged events = {"offsets", "ids", a.batch, a.ids.shape[1], INT64_MAX, ""};
  if (const jd_status status = check_offsets(context, a.offsets, events)) return status;
  if (a.num_targets.dtype == 0) return JD_OK;
  return a.offsets.dtype == JD_I32 ? check_targets<int32_t>(context, a.offsets, a.num_targets, a.batch)
                                   : check_targets<int64_t>(context, a.offsets, a.num_targets, a.batch);
}

// Candidates and histories of users: target_attention, din_attention, stca_attention.
template <class Args, class Desc>
jd_status check_users(const Context &context, const Desc &d, const Args &a, const char *events, const jdb_tensor &history_rows) {
  const Jagged candidates = {"candidate_offsets",   "candidates",     a.batch,
                             a.candidates.shape[0], d.max_candidates, "max_candidates"};
  if (const jd_status status = check_offsets(context, a.candidate_offsets, candidates)) return status;
  const Jagged history = {"history_offsets", events, a.batch, history_rows.shape[0], d.max_history, "max_history"};
  return check_offsets(context, a.history_offsets, history);
}

jd_status check(const Context &context, const Plan &plan, const jdb_target_attention_args &a) {
  return check_users(context, plan.desc.target_attention, a, "keys", a.keys);
}

jd_status check(const Context &context, const Plan &plan, const jdb_din_attention_args &a) {
  return check_users(context, plan.desc.din_attention, a, "keys", a.keys);
}

jd_status check(const Context &context, const Plan &plan, const jdb_stca_attention_args &a) {
  return check_users(context, plan.desc.stca_attention, a, "events", a.events);
}

jd_status check(const Context &context, const Plan &plan, const jdb_hstu_attention_args &a) {
  const jd_hstu_attention_desc &d = plan.desc.hstu_attention;
  if (a.key_pages.dtype != 0) {  // lengths, targets and pages are the kernels' to find
    return check_offsets(context, a.q_offsets,
                         {"q_offsets", "queries", a.batch, a.queries.shape[0], d.max_seq_len, "max_seq_len"});
  }
  const Jagged rows = {"offsets", "keys", a.batch, a.keys.shape[0], d.max_seq_len, "max_seq_len"};
  if (const jd_status status = check_offsets(context, a.offsets, rows)) return status;
  if (a.q_offsets.dtype != 0) {
    const Jagged queries = {"q_offsets", "queries", a.batch, a.queries.shape[0], d.max_seq_len, "max_seq_len"};
    if (const jd_status status = check_offsets(context, a.q_offsets, queries)) return status;
    if (const jd_status status = check_queries(context, a.q_offsets, a.offsets, a.batch)) return status;
  }
  if (a.num_targets.dtype == 0) return JD_OK;
  return a.offsets.dtype == JD_I32 ? check_targets<int32_t>(context, a.offsets, a.num_targets, a.batch)
                                   : check_targets<int64_t>(context, a.offsets, a.num_targets, a.batch);
}

jd_status check(const Context &context, const Plan &plan, const jdb_decode_attention_args &a) {
  return check_offsets(context, a.q_offsets,
                       {"q_offsets", "queries", a.batch, a.queries.shape[0], plan.desc.decode_attention.max_queries, "max_queries"});
}

// A dense bias has bounds of its own.
void cut_by_bias(int64_t size, const char *name, Jagged *j) {
  if (size >= j->longest) return;
  j->longest = size;
  j->declared = name;
  j->whose = "'bias'";
}

jd_status check(const Context &context, const Plan &plan, const jdb_softmax_attention_args &a) {
  const jd_softmax_attention_desc &d = plan.desc.softmax_attention;
  Jagged queries = {"q_offsets", "queries", a.batch, a.queries.shape[0], d.max_queries, "max_queries"};
  Jagged keys = {"k_offsets", "keys", a.batch, a.keys.shape[0], d.max_keys, "max_keys"};
  if (a.bias.dtype != 0) {
    cut_by_bias(a.bias.shape[a.bias.rank - 2], "Q", &queries);
    cut_by_bias(a.bias.shape[a.bias.rank - 1], "K", &keys);
  }
  if (const jd_status status = check_offsets(context, a.q_offsets, queries)) return status;
  return check_offsets(context, a.k_offsets, keys);
}

// Candidates and history of history_search and search_attention; indices are the kernels' to find.
template <class Desc, class Args>
jd_status check_search(const Context &context, const Desc &d, const Args &a, const char *candidates, int64_t rows) {
  const Jagged asked = {"candidate_offsets", candidates, a.batch, rows, d.max_candidates, "max_candidates"};
  if (const jd_status status = check_offsets(context, a.candidate_offsets, asked)) return status;
  const Jagged history = {"history_offsets", "keys", a.batch, a.keys.shape[0], d.max_history, "max_history"};
  return check_offsets(context, a.history_offsets, history);
}

jd_status check(const Context &context, const Plan &plan, const jdb_history_search_args &a) {
  return check_search(context, plan.desc.history_search, a, "queries", a.queries.shape[0]);
}

jd_status check(const Context &context, const Plan &plan, const jdb_search_attention_args &a) {
  return check_search(context, plan.desc.search_attention, a, "candidates", a.candidates.shape[0]);
}

// Of a paged prefix lengths and page numbers, and the ancestry, are the kernels' to find.
jd_status check(const Context &context, const Plan &plan, const jdb_beam_attention_args &a) {
  const bool by_plan = a.most_beams == plan.desc.beam_attention.max_beams;
  const Jagged beams = {"beam_offsets", "queries", a.batch, a.queries.shape[0], a.most_beams,
                        by_plan ? "max_beams" : "slots", by_plan ? "the plan" : "'suffix_keys'"};
  if (const jd_status status = check_offsets(context, a.beam_offsets, beams)) return status;
  if (a.keys.dtype == 0) return JD_OK;
  return check_offsets(context, a.prefix_offsets, {"prefix_offsets", "keys", a.batch, a.keys.shape[0],
                                                   plan.desc.beam_attention.max_prefix, "max_prefix"});
}

// Rows and globals of each user. How long a history in pages is, and so whether the rows behind the globals are more than its events,
// is the kernels' to find.
jd_status check(const Context &context, const Plan &plan, const jdb_longer_attention_args &a) {
  const jd_longer_attention_desc &d = plan.desc.longer_attention;
  const Globals g(d);
  const bool is_paged = a.rows.keys.dtype == 0;
  const jdb_beam_attention_args &rows = a.rows;
  const Jagged queries = {"q_offsets", "queries", rows.batch, rows.queries.shape[0], rows.most_beams, "globals and max_recent"};
  if (const jd_status status = check_offsets(context, rows.beam_offsets, queries)) return status;
  if (d.num_global > 0) {
    const Jagged globals = {"global_offsets", "global_keys", rows.batch, a.globals.keys.shape[0],
                            g.most, "globals of max_candidates"};
    if (const jd_status status = check_offsets(context, a.globals.offsets, globals)) return status;
  }
  if (!is_paged) {
    const Jagged history = {"k_offsets", "keys", rows.batch, rows.keys.shape[0], d.max_history, "max_history"};
    if (const jd_status status = check_offsets(context, rows.prefix_offsets, history)) return status;
  }
  const auto length = [](const jdb_tensor &offsets, int64_t b) { return offset_at(offsets, b + 1) - offset_at(offsets, b); };
  for (int64_t b = 0; b < rows.batch; ++b) {
    const LongerUser user = {d.num_global > 0 ? length(a.globals.offsets, b) : 0, length(rows.beam_offsets, b),
                             is_paged ? INT64_MAX : length(rows.prefix_offsets, b)};
    const int64_t before = user.global_rows(g.shared, g.candidates_only);
    switch (user.judge(g.shared, g.own, g.candidates_only, g.most_recent)) {
      case LongerUser::kGood: break;
      case LongerUser::kGlobals:
        return fail_argument(context, JD_INVALID_ARGUMENT, "global_offsets", longer_text::kGlobals, static_cast<int64_t>(g.shared),
                             user.globals, b);
      case LongerUser::kFewRows:
        return fail_argument(context, JD_INVALID_ARGUMENT, "q_offsets", longer_text::kFewRows, before, user.rows, b);
      case LongerUser::kManyRows:
        return fail_argument(context, JD_INVALID_ARGUMENT, "q_offsets", longer_text::kManyRows,
                             user.most_recent(g.candidates_only, g.most_recent), user.rows - before, b);
    }
  }
  return JD_OK;
}

jd_status check(const Context &context, const jdb_merge_tokens_args &a) {
  const Jagged events = {"offsets", "x", a.batch, a.x.shape[0], INT64_MAX, ""};
  if (const jd_status status = check_offsets(context, a.offsets, events)) return status;
  const Jagged merged = {"out_offsets", "out", a.batch, a.out.shape[0], INT64_MAX, ""};
  if (const jd_status status = check_offsets(context, a.out_offsets, merged)) return status;
  for (int64_t b = 0; b < a.batch; ++b) {
    const int64_t rows = offset_at(a.offsets, b + 1) - offset_at(a.offsets, b), wanted = (rows + a.k - 1) / a.k;
    const int64_t given = offset_at(a.out_offsets, b + 1) - offset_at(a.out_offsets, b);
    if (given == wanted) continue;
    return fail_argument(context, JD_INVALID_ARGUMENT, "out_offsets",
                         "expected %" PRId64 " rows (ceil(%" PRId64 " / %d)), got %" PRId64 " in sequence %" PRId64, wanted, rows, a.k,
                         given, b);
  }
  return JD_OK;
}

// Lengths and page numbers are the kernels' to find, as ids are.
jd_status check(const Context &context, const jdb_paged_cache_args &a) {
  return check_offsets(context, a.offsets, {"offsets", "keys", a.batch, a.keys.shape[0], INT32_MAX, "limit"});
}

}  // namespace

jd_status check_on_host(const Context &context, const Plan &plan, const void *args) {
  switch (plan.op) {
    case JDB_OP_EMBEDDING_BAG: return check(context, plan, *static_cast<const jdb_embedding_bag_args *>(args));
    case JDB_OP_SEQUENCE_EMBEDDING: return check(context, *static_cast<const jdb_sequence_embedding_args *>(args));
    case JDB_OP_TARGET_ATTENTION: return check(context, plan, *static_cast<const jdb_target_attention_args *>(args));
    case JDB_OP_HSTU_ATTENTION: return check(context, plan, *static_cast<const jdb_hstu_attention_args *>(args));
    case JDB_OP_DECODE_ATTENTION: return check(context, plan, *static_cast<const jdb_decode_attention_args *>(args));
    case JDB_OP_SOFTMAX_ATTENTION: return check(context, plan, *static_cast<const jdb_softmax_attention_args *>(args));
    case JDB_OP_HISTORY_SEARCH: return check(context, plan, *static_cast<const jdb_history_search_args *>(args));
    case JDB_OP_SEARCH_ATTENTION: return check(context, plan, *static_cast<const jdb_search_attention_args *>(args));
    case JDB_OP_BEAM_ATTENTION: return check(context, plan, *static_cast<const jdb_beam_attention_args *>(args));
    case JDB_OP_DIN_ATTENTION: return check(context, plan, *static_cast<const jdb_din_attention_args *>(args));
    case JDB_OP_STCA_ATTENTION: return check(context, plan, *static_cast<const jdb_stca_attention_args *>(args));
    case JDB_OP_LONGER_ATTENTION: return check(context, plan, *static_cast<const jdb_longer_attention_args *>(args));
    case JDB_OP_PAGED_APPEND:
    case JDB_OP_PAGED_GATHER: return check(context, *static_cast<const jdb_paged_cache_args *>(args));
    default: return JD_OK;
  }
}

jd_status check_on_host(const Context &context, int32_t op, const void *args) {
  if (op == JDB_OP_MERGE_TOKENS) return check(context, *static_cast<const jdb_merge_tokens_args *>(args));
  return JD_OK;
}

}  // namespace jindou::core
