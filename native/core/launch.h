// The last step of a call: what the host can see is checked, then the backend runs the operator.
#ifndef JINDOU_CORE_LAUNCH_H
#define JINDOU_CORE_LAUNCH_H

#include <cstdint>

#include "core/backend.h"
#include "core/context.h"

namespace jindou::core {

class Device;
class Plan;

// "embedding_bag" of JDB_OP_EMBEDDING_BAG...
const char *operator_name(int32_t op);

// Runs an operator on a locked stream. On devices with host memory its offsets, lengths and targets are checked first,
// here, so that a replayed graph checks what its tensors hold at that moment.
jd_status launch(const Context &context, const Device &device, void *native_stream, int32_t op, const Plan *plan,
                 const void *args);
jd_status launch_copy(const Context &context, const Device &device, void *native_stream, void *target,
                      const void *source, int64_t bytes);
jd_status launch_fill(const Context &context, const Device &device, void *native_stream, void *target, uint8_t byte,
                      int64_t bytes);

}  // namespace jindou::core

#endif
