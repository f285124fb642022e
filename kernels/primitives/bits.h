// Reinterpretation and bit counting, the same on host and device.
#ifndef JINDOU_PRIMITIVES_BITS_H
#define JINDOU_PRIMITIVES_BITS_H

#include <stdint.h>
#include <string.h>

#include "primitives/compiler.h"

namespace jindou::prim {

JD_HOST_DEVICE JD_INLINE float as_float(uint32_t bits) {
#if defined(__CUDA_ARCH__)
  return __uint_as_float(bits);
#else
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
#endif
}

JD_HOST_DEVICE JD_INLINE uint32_t as_uint(float value) {
#if defined(__CUDA_ARCH__)
  return __float_as_uint(value);
#else
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
#endif
}

// Number of set bits.
JD_HOST_DEVICE JD_INLINE int popc(uint32_t x) {
#if defined(__CUDA_ARCH__)
  return __popc(x);
#else
  return __builtin_popcount(x);
#endif
}

// 1 + index of the lowest set bit; 0 for 0.
JD_HOST_DEVICE JD_INLINE int ffs(uint32_t x) {
#if defined(__CUDA_ARCH__)
  return __ffs(static_cast<int>(x));
#else
  return __builtin_ffs(static_cast<int>(x));
#endif
}

// Zero bits above the highest set bit; 32 for 0.
JD_HOST_DEVICE JD_INLINE int clz(uint32_t x) {
#if defined(__CUDA_ARCH__)
  return __clz(static_cast<int>(x));
#else
  return x == 0 ? 32 : __builtin_clz(x);
#endif
}

// Zero bits above the highest set bit; 64 for 0.
JD_HOST_DEVICE JD_INLINE int clz64(uint64_t x) {
#if defined(__CUDA_ARCH__)
  return __clzll(static_cast<long long>(x));
#else
  return x == 0 ? 64 : __builtin_clzll(x);
#endif
}

}  // namespace jindou::prim

#endif
