// What is wrong with the rows of a user of longer_attention, in words: for host checks and for what kernels report. Each takes what was
// expected, what came, and the user's number.
#ifndef JINDOU_CORE_LONGER_TEXT_H
#define JINDOU_CORE_LONGER_TEXT_H

#include <cinttypes>

namespace jindou::core::longer_text {

inline constexpr char kGlobals[] = "expected %" PRId64 " shared globals and whole candidates behind them, got %" PRId64
                                   " globals in sequence %" PRId64;
inline constexpr char kFewRows[] = "expected at least %" PRId64 " queries (the globals asked for), got %" PRId64 " in sequence %" PRId64;
inline constexpr char kManyRows[] = "expected at most %" PRId64 " queries behind the globals (the events of the history, to max_recent of the plan; none "
                                    "with candidates_only), got %" PRId64 " in sequence %" PRId64;

}  // namespace jindou::core::longer_text

#endif
