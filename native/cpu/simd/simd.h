// What every instruction set is written with. An instruction set is a struct of static functions over its vector type (see
// avx2.h); kernels are templates over it, one translation unit each (isa/*.cpp).
//
// The anonymous namespaces of this folder and of kernels/ are on purpose: everything that is instantiated with an instruction
// set stays inside the translation unit compiled for it. A template with external linkage could be merged with its twin of
// another file, and AVX-512 code would run on a CPU without it. (The test `cpu_isa_objects_export_tables_only` looks.)
#ifndef JINDOU_CPU_SIMD_SIMD_H
#define JINDOU_CPU_SIMD_SIMD_H

#include <stdint.h>
#include <string.h>

#define JD_SIMD static inline __attribute__((always_inline))

namespace jindou::cpu {
namespace {

// Asks for the line a byte lies in, to be read soon. Into L2: L1 keeps few misses in flight, and a core that has used them all up waits,
// while L2 takes several times as many.
JD_SIMD void prefetch(const void *p) {
  __builtin_prefetch(p, 0, 2);
  asm volatile("");  // GCC takes a loop that only prefetches for an empty one
}

}  // namespace
}  // namespace jindou::cpu

#endif
