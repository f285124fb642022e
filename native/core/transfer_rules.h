// What every copy between a tensor and the host asks of the tensor.
#ifndef JINDOU_CORE_TRANSFER_RULES_H
#define JINDOU_CORE_TRANSFER_RULES_H

#include <cinttypes>

#include "core/shape_text.h"
#include "core/tensor.h"

namespace jindou::core {

inline jd_status expect_contiguous(const Context &context, const char *argument, const Tensor &tensor) {
  if (tensor.contiguous) return JD_OK;
  return fail_argument(context, JD_INVALID_ARGUMENT, argument, "expected a contiguous tensor, got shape %s, strides %s",
                       ShapeText(tensor.t.shape, tensor.t.rank).text, ShapeText(tensor.t.strides, tensor.t.rank).text);
}

inline jd_status expect_bytes(const Context &context, const Tensor &tensor, int64_t bytes) {
  if (bytes >= 0 && bytes <= tensor.bytes_spanned()) return JD_OK;
  return fail_argument(context, JD_INVALID_ARGUMENT, "bytes",
                       "expected 0..%" PRId64 " (the size of the tensor), got %" PRId64, tensor.bytes_spanned(), bytes);
}

}  // namespace jindou::core

#endif
