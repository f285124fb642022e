#include "cpu/kernels/kernel_table.h"

namespace jindou::cpu {

const KernelTable kGenericKernels = {"generic", 16};

}  // namespace jindou::cpu
