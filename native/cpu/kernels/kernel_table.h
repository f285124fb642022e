// The kernels of one instruction set, as plain functions over plain structs: what the operators (native/cpu/*.cpp), which
// are compiled once for every CPU, know of the files in isa/, which are compiled with an instruction set's own flags.
#ifndef JINDOU_CPU_KERNELS_KERNEL_TABLE_H
#define JINDOU_CPU_KERNELS_KERNEL_TABLE_H

#include <stddef.h>
#include <stdint.h>

namespace jindou::cpu {

struct KernelTable {
  const char *isa;
  size_t linear_scratch;  // floats
};

extern const KernelTable kGenericKernels;

}  // namespace jindou::cpu

#endif
