#include "cpu/simd/avx512.h"

#include "cpu/kernels/table.h"

namespace jindou::cpu {

const KernelTable kAvx512Kernels = kernel_table<Avx512>();

}  // namespace jindou::cpu
