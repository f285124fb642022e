// A fence for the compiler alone: values made before it are made before it. It costs no instruction, and the hardware
// still overlaps what it can: loads issued before the fence may arrive after it.
//
// Loads of the read-only path have no side effects, so a compiler may sink each to its first use; then only one is ever
// in flight.
#ifndef JINDOU_PRIMITIVES_KEEP_H
#define JINDOU_PRIMITIVES_KEEP_H

#include "primitives/compiler.h"
#include "primitives/types.h"

namespace jindou::prim {

template <int kCount>
JD_DEVICE JD_INLINE void keep(Vec4u (&values)[kCount]) {
#if defined(__CUDACC__)
#pragma unroll
  for (Vec4u &v : values) asm volatile("" : "+r"(v.x), "+r"(v.y), "+r"(v.z), "+r"(v.w));
#else
  (void)values;
#endif
}

template <int kCount>
JD_DEVICE JD_INLINE void keep(Vec2u (&values)[kCount]) {
#if defined(__CUDACC__)
#pragma unroll
  for (Vec2u &v : values) asm volatile("" : "+r"(v.x), "+r"(v.y));
#else
  (void)values;
#endif
}

template <int kCount>
JD_DEVICE JD_INLINE void keep(Vec3u (&values)[kCount]) {
#if defined(__CUDACC__)
#pragma unroll
  for (Vec3u &v : values) asm volatile("" : "+r"(v.x), "+r"(v.y), "+r"(v.z));
#else
  (void)values;
#endif
}

// Sums of asynchronous products (warpgroup.h): before wgmma_fence, and after wgmma_wait, so that no arithmetic on them moves across.
template <int kCount>
JD_DEVICE JD_INLINE void keep(float (&values)[kCount]) {
#if defined(__CUDACC__)
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+f"(values[i])::"memory");
#else
  (void)values;
#endif
}

// Left operands of asynchronous products: before wgmma_fence.
template <int kCount>
JD_DEVICE JD_INLINE void keep(uint32_t (&values)[kCount]) {
#if defined(__CUDACC__)
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+r"(values[i])::"memory");
#else
  (void)values;
#endif
}

}  // namespace jindou::prim

#endif
