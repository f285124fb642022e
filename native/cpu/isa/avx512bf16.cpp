#include "cpu/simd/avx512.h"

#include "cpu/kernels/table.h"

namespace jindou::cpu {

const KernelTable kAvx512Bf16Kernels = kernel_table<Avx512Bf16>();

}  // namespace jindou::cpu
