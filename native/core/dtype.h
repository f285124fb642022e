// Sizes of the element types, without a call.
#ifndef JINDOU_CORE_DTYPE_H
#define JINDOU_CORE_DTYPE_H

#include <jindou/base.h>

namespace jindou::core {

// Indexed by dtype; 0 where there is none.
constexpr int64_t kElementSizes[] = {
    0,
    4,  // JD_F32
    2,  // JD_F16
    2,  // JD_BF16
    1,  // JD_F8_E4M3
    1,  // JD_I8
    1,  // JD_U8
    4,  // JD_I32
    8,  // JD_I64
    1,  // JD_BOOL
    8,  // JD_F64
};

// Bytes of an element; 0 for an unknown dtype.
constexpr int64_t element_size(int32_t dtype) { return dtype >= 0 && dtype <= JD_F64 ? kElementSizes[dtype] : 0; }

static_assert(element_size(JD_F32) == 4 && element_size(JD_BF16) == 2 && element_size(JD_I32) == 4, "in order");
static_assert(element_size(JD_I64) == 8 && element_size(JD_F64) == 8 && element_size(JD_F64 + 1) == 0, "in order");

}  // namespace jindou::core

#endif
