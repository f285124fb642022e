// What the query rows of a user of longer_attention are (jindou/longer_attention.h), for validation and all backends.
//
// Rows come in the order: shared globals, globals of candidates, the latest events. Globals see all events, an event those up to
// itself; so what a row sees of the history is its first keys, as many as `seen`, which never falls among the events' rows.
#ifndef JINDOU_CORE_LONGER_ROWS_H
#define JINDOU_CORE_LONGER_ROWS_H

#include <stdint.h>

#if defined(__CUDACC__)
#define JD_LONGER_FUNCTION __host__ __device__ __forceinline__
#else
#define JD_LONGER_FUNCTION inline
#endif

namespace jindou {

struct LongerRows {
  int32_t shared;   // the first rows are the shared globals
  int32_t own;      // then so many for each candidate, 1 at least
  int32_t globals;  // rows before the events'
  int32_t shift;    // row i of the events is event shift + i
  int32_t keys;     // n

  // Beams are rows that all see all keys, and whose own keys others find.
  static JD_LONGER_FUNCTION LongerRows beams(int32_t rows, int32_t keys) { return {0, 1, rows, 0, keys}; }

  // Whose keys a row sees besides those that all rows see; -1: no candidate's.
  JD_LONGER_FUNCTION int32_t candidate(int32_t i) const { return i < shared || i >= globals ? -1 : (i - shared) / own; }
  JD_LONGER_FUNCTION int32_t seen(int32_t i) const { return i < globals ? keys : shift + i + 1; }

  // Of rows [begin, end), at least one: what some row sees, what every row sees, whether some are a candidate's.
  JD_LONGER_FUNCTION int32_t most_seen(int32_t begin, int32_t end) const { return begin < globals ? keys : shift + end; }
  JD_LONGER_FUNCTION int32_t least_seen(int32_t begin, int32_t end) const {
    return end <= globals ? keys : shift + (begin < globals ? globals : begin) + 1;
  }
  JD_LONGER_FUNCTION bool has_candidates(int32_t begin, int32_t end) const { return begin < globals && end > shared; }
};

// A user's numbers as its offsets have them: what is wrong with them, or the rows.
struct LongerUser {
  int64_t globals;  // rows of the global keys
  int64_t rows;     // queries
  int64_t keys;     // n

  enum Verdict { kGood, kGlobals, kFewRows, kManyRows };

  // s shared globals, c a candidate; `declared` events at most among the rows.
  JD_LONGER_FUNCTION Verdict judge(int32_t s, int32_t c, bool candidates_only, int64_t declared) const {
    const int64_t own = globals - s;
    if (own < 0 || (c == 0 ? own != 0 : own % c != 0)) return kGlobals;
    const int64_t recent = rows - global_rows(s, candidates_only);
    if (recent < 0) return kFewRows;
    return recent > most_recent(candidates_only, declared) ? kManyRows : kGood;
  }
  // Queries that may be events.
  JD_LONGER_FUNCTION int64_t most_recent(bool candidates_only, int64_t declared) const {
    return candidates_only ? 0 : keys < declared ? keys : declared;
  }
  // Queries that are globals.
  JD_LONGER_FUNCTION int64_t global_rows(int32_t s, bool candidates_only) const { return candidates_only ? globals - s : globals; }

  JD_LONGER_FUNCTION LongerRows read(int32_t s, int32_t c, bool candidates_only) const {
    return {candidates_only ? 0 : s, c > 0 ? c : 1, static_cast<int32_t>(global_rows(s, candidates_only)),
            static_cast<int32_t>(keys - rows), static_cast<int32_t>(keys)};
  }
};

}  // namespace jindou

#endif
