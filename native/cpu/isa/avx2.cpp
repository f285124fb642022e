#include "cpu/simd/avx2.h"

#include "cpu/kernels/table.h"

namespace jindou::cpu {

const KernelTable kAvx2Kernels = kernel_table<Avx2>();

}  // namespace jindou::cpu
