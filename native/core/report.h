// From what kernels report to what the caller reads.
#ifndef JINDOU_CORE_REPORT_H
#define JINDOU_CORE_REPORT_H

#include "core/backend.h"

namespace jindou::core {

// Fills `error` from a report with has_error set: operator, argument, position, value, expectation. JD_OUT_OF_BOUNDS.
jd_status fail_report(jd_error *error, const jdb_report &report);

}  // namespace jindou::core

#endif
