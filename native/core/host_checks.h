// What only the contents of tensors can show: offsets, lengths and numbers of targets. On devices whose memory the host
// reads directly they are checked before a run; elsewhere the kernels check them.
#ifndef JINDOU_CORE_HOST_CHECKS_H
#define JINDOU_CORE_HOST_CHECKS_H

#include "core/backend.h"
#include "core/context.h"

namespace jindou::core {

class Plan;

// Checks the arguments of one run (the jdb_*_args of the plan's operator). JD_INVALID_ARGUMENT names the position, what
// was expected there and the value met. In every bounds mode: JD_BOUNDS_TRUST is about ids.
jd_status check_on_host(const Context &context, const Plan &plan, const void *args);
// ... of an operator without a plan.
jd_status check_on_host(const Context &context, int32_t op, const void *args);

}  // namespace jindou::core

#endif
