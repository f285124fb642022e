// What a file of this folder is compiled with: a family's kernels for one instruction set, which the build names (see
// cpu/CMakeLists.txt): JINDOU_ISA, a struct of JINDOU_ISA_HEADER, and JINDOU_ISA_NAMESPACE, where the table goes.
#ifndef JINDOU_CPU_ISA_ISA_H
#define JINDOU_CPU_ISA_ISA_H

#include JINDOU_ISA_HEADER

#include "cpu/kernels/kernel_table.h"

namespace jindou::cpu {
namespace {

using Isa = JINDOU_ISA;

}  // namespace
}  // namespace jindou::cpu

#endif
