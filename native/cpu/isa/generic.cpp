#include "cpu/simd/generic.h"

#include "cpu/kernels/table.h"

namespace jindou::cpu {

const KernelTable kGenericKernels = kernel_table<Generic>();

}  // namespace jindou::cpu
