// fp8 e4m3 as storage (OCP 8-bit floating point, "e4m3fn"): sign, 4 bits of exponent (bias 7), 3 of fraction; no infinity,
// 0x7f and 0xff are NaN, the largest number is 448, the smallest 2^-9. Every code is exact in f16, bf16 and f32.
//
// From float: to nearest even, numbers past 448 become 448 of their sign; every NaN becomes 0x7f. As the hardware's cvt of sm_89
// and later does; earlier GPUs and the host do the same with integers.
#ifndef JINDOU_PRIMITIVES_FLOAT8_H
#define JINDOU_PRIMITIVES_FLOAT8_H

#include <stdint.h>

#include "primitives/bits.h"
#include "primitives/compiler.h"
#include "primitives/types.h"

namespace jindou::prim {

struct e4m3 {
  uint8_t bits;
};

namespace detail {

// The exponent and fraction moved into place read 2^120 too small, subnormals included.
JD_HOST_DEVICE JD_INLINE float e4m3_to_float(uint32_t code) {
  const float magnitude = as_float((code & 0x7fu) << 20) * 0x1p120f;
  return as_float(((code & 0x7fu) == 0x7fu ? 0x7fc00000u : as_uint(magnitude)) | (code & 0x80u) << 24);
}

JD_HOST_DEVICE JD_INLINE uint32_t float_to_e4m3(float x) {
  const uint32_t sign = (as_uint(x) >> 24) & 0x80u;
  uint32_t u = as_uint(x) & 0x7fffffffu;
  if (u > 0x7f800000u) return 0x7fu;
  if (u > 0x43e00000u) u = 0x43e00000u;  // 448
  if (u < 0x3c800000u) {  // below 2^-6: 2^14 has the units of e4m3's subnormals in its last place
    return sign | (as_uint(as_float(u) + 16384.0f) - 0x46800000u);
  }
  // Exponent from bias 127 to bias 7, then half of the last place less one, and one more for odd.
  return sign | ((u - (120u << 23) + 0x7ffffu + ((u >> 20) & 1u)) >> 20);
}

}  // namespace detail

JD_HOST_DEVICE JD_INLINE float to_float(e4m3 x) { return detail::e4m3_to_float(x.bits); }

template <>
JD_HOST_DEVICE JD_INLINE e4m3 from_float<e4m3>(float x) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 890
  uint16_t pair;
  asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(pair) : "f"(0.0f), "f"(x));
  return e4m3{static_cast<uint8_t>(pair & 0xffu)};
#else
  return e4m3{static_cast<uint8_t>(detail::float_to_e4m3(x))};
#endif
}

// -- four codes in a 32-bit register, the first in the lowest byte -----------------------------------------------------------
JD_HOST_DEVICE JD_INLINE void unpack_e4m3x4(uint32_t word, float (&x)[4]) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 890
  uint32_t low, high;
  asm("{ .reg .b16 a, b; mov.b32 {a, b}, %2; cvt.rn.f16x2.e4m3x2 %0, a; cvt.rn.f16x2.e4m3x2 %1, b; }"
      : "=r"(low), "=r"(high)
      : "r"(word));
  unpack2<f16>(low, x[0], x[1]);
  unpack2<f16>(high, x[2], x[3]);
#else
  for (int i = 0; i < 4; ++i) x[i] = detail::e4m3_to_float((word >> (8 * i)) & 0xffu);
#endif
}

JD_HOST_DEVICE JD_INLINE uint32_t pack_e4m3x4(const float (&x)[4]) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 890
  uint32_t word;
  asm("{ .reg .b16 a, b; cvt.rn.satfinite.e4m3x2.f32 a, %2, %1; cvt.rn.satfinite.e4m3x2.f32 b, %4, %3; mov.b32 %0, {a, b}; }"
      : "=r"(word)
      : "f"(x[0]), "f"(x[1]), "f"(x[2]), "f"(x[3]));
  return word;
#else
  uint32_t word = 0;
  for (int i = 0; i < 4; ++i) word |= detail::float_to_e4m3(x[i]) << (8 * i);
  return word;
#endif
}

// Four signed bytes. Exact: 2^23 with a byte in its last places, less 2^23.
JD_HOST_DEVICE JD_INLINE void unpack_i8x4(uint32_t word, float (&x)[4]) {
  const uint32_t shifted = word ^ 0x80808080u;  // 0..255
  for (int i = 0; i < 4; ++i) x[i] = as_float(0x4b000000u | ((shifted >> (8 * i)) & 0xffu)) - 8388736.0f;
}

// Numbers of -127..127 that are integers already.
JD_HOST_DEVICE JD_INLINE uint32_t pack_i8x4(const float (&x)[4]) {
  uint32_t word = 0;
  for (int i = 0; i < 4; ++i) word |= (static_cast<uint32_t>(static_cast<int32_t>(x[i])) & 0xffu) << (8 * i);
  return word;
}

// x / scale rounded to a signed byte, to nearest even; 0 where that is no number.
JD_HOST_DEVICE JD_INLINE float quantise_i8(float x, float scale) {
  const float q = x / scale;
  if (!(q >= -127.0f)) return q < -127.0f ? -127.0f : 0.0f;
  if (q > 127.0f) return 127.0f;
  return (q + 12582912.0f) - 12582912.0f;  // 1.5 * 2^23: integers only
}

}  // namespace jindou::prim

#endif
