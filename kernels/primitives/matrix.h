// Tensor-core building blocks of sm_80: ldmatrix and mma.m16n8k16, collective over a full warp.
//
// Fragments, PTX ISA "Matrix Fragments for mma.m16n8k16 with floating point type"; g = lane / 4, t = lane % 4; a register
// holds two 16-bit elements, the first in the low half:
//   A (16x16, row major)   a[0]: row g,     columns 2t, 2t+1      a[2]: row g,     columns 2t+8, 2t+9
//                          a[1]: row g + 8, columns 2t, 2t+1      a[3]: row g + 8, columns 2t+8, 2t+9
//   B (16x8, "col")        b[0]: rows 2t, 2t+1, column g          b[1]: rows 2t+8, 2t+9, column g
//   D (16x8, float)        d[0], d[1]: row g, columns 2t, 2t+1    d[2], d[3]: row g + 8, columns 2t, 2t+1
//
// ldmatrix reads 8x8 matrices of 16-bit elements. Row i of matrix m is the 16 bytes at the address that lane 8m + i gives
// (x2: lanes 0..15 give addresses, the others' are ignored). Lane gets in r[m] the elements (row g, columns 2t and 2t+1);
// with _trans (rows 2t and 2t+1, column g). So r[0..3] of an x4 whose matrices are the quadrants (top left, bottom left,
// top right, bottom right) of a 16x16 tile is an A fragment; B comes from an [n][k] tile without, from [k][n] with _trans.
#ifndef JINDOU_PRIMITIVES_MATRIX_H
#define JINDOU_PRIMITIVES_MATRIX_H

#include <stdint.h>

#include "primitives/compiler.h"
#include "primitives/memory.h"
#include "primitives/site.h"

namespace jindou::prim {

JD_DEVICE JD_INLINE void ldmatrix_x4(uint32_t r[4], const void *shared_row, Site site = Site::here()) {
#if defined(__CUDACC__)
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(smem_addr(shared_row, site))
               : "memory");
#else
  simt::device::ldmatrix(r, 4, false, shared_row, site);
#endif
}

JD_DEVICE JD_INLINE void ldmatrix_x2(uint32_t r[2], const void *shared_row, Site site = Site::here()) {
#if defined(__CUDACC__)
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
               : "=r"(r[0]), "=r"(r[1])
               : "r"(smem_addr(shared_row, site))
               : "memory");
#else
  simt::device::ldmatrix(r, 2, false, shared_row, site);
#endif
}

JD_DEVICE JD_INLINE void ldmatrix_x4_trans(uint32_t r[4], const void *shared_row, Site site = Site::here()) {
#if defined(__CUDACC__)
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(smem_addr(shared_row, site))
               : "memory");
#else
  simt::device::ldmatrix(r, 4, true, shared_row, site);
#endif
}

JD_DEVICE JD_INLINE void ldmatrix_x2_trans(uint32_t r[2], const void *shared_row, Site site = Site::here()) {
#if defined(__CUDACC__)
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
               : "=r"(r[0]), "=r"(r[1])
               : "r"(smem_addr(shared_row, site))
               : "memory");
#else
  simt::device::ldmatrix(r, 2, true, shared_row, site);
#endif
}

// d += a * b, products exact, sums in float (their rounding and order are the hardware's own).
JD_DEVICE JD_INLINE void mma_m16n8k16_bf16(float d[4], const uint32_t a[4], const uint32_t b[2],
                                           Site site = Site::here()) {
#if defined(__CUDACC__)
  (void)site;
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  simt::device::mma_m16n8k16_bf16(d, a, b, site);
#endif
}

JD_DEVICE JD_INLINE void mma_m16n8k16_f16(float d[4], const uint32_t a[4], const uint32_t b[2],
                                          Site site = Site::here()) {
#if defined(__CUDACC__)
  (void)site;
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  simt::device::mma_m16n8k16_f16(d, a, b, site);
#endif
}

// mma<T>: the same, chosen by element type.
template <class T>
JD_DEVICE void mma_m16n8k16(float d[4], const uint32_t a[4], const uint32_t b[2], Site site = Site::here());
template <>
JD_DEVICE JD_INLINE void mma_m16n8k16<bf16>(float d[4], const uint32_t a[4], const uint32_t b[2], Site site) {
  mma_m16n8k16_bf16(d, a, b, site);
}
template <>
JD_DEVICE JD_INLINE void mma_m16n8k16<f16>(float d[4], const uint32_t a[4], const uint32_t b[2], Site site) {
  mma_m16n8k16_f16(d, a, b, site);
}

}  // namespace jindou::prim

#endif
