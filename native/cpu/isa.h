// Which instruction set the kernels use: the best of this CPU, or what the environment variable JINDOU_CPU_ISA names.
#ifndef JINDOU_CPU_ISA_H
#define JINDOU_CPU_ISA_H

#include "cpu/kernels/kernel_table.h"
#include "core/backend.h"

namespace jindou::cpu {

// JD_UNSUPPORTED when the variable names an instruction set that this CPU or build lacks, JD_INVALID_ARGUMENT when it names
// none at all; the message lists what there is.
jd_status choose_kernels(const KernelTable **kernels, jd_error *error);

}  // namespace jindou::cpu

#endif
