// 16-bit floats as storage: bf16 and f16, bit-compatible with every other library's. Arithmetic is done in float.
//
// Conversions from float round to nearest even and keep subnormals. Every NaN becomes 0x7fff, as the hardware's cvt does.
#ifndef JINDOU_PRIMITIVES_TYPES_H
#define JINDOU_PRIMITIVES_TYPES_H

#include <stdint.h>

#include "primitives/bits.h"
#include "primitives/compiler.h"

namespace jindou::prim {

struct bf16 {  // sign, 8 bits of exponent, 7 of fraction
  uint16_t bits;
};

struct f16 {  // IEEE binary16: sign, 5 bits of exponent, 10 of fraction
  uint16_t bits;
};

// Registers and vector accesses of 8 and 16 bytes.
struct alignas(8) Vec2u {
  uint32_t x, y;
};
struct alignas(16) Vec4u {
  uint32_t x, y, z, w;
};
struct Vec3u {  // registers alone
  uint32_t x, y, z;
};

// -- to float, exact ---------------------------------------------------------------------------------------------------
JD_HOST_DEVICE JD_INLINE float to_float(float x) { return x; }

JD_HOST_DEVICE JD_INLINE float to_float(bf16 x) { return as_float(static_cast<uint32_t>(x.bits) << 16); }

JD_HOST_DEVICE JD_INLINE float to_float(f16 x) {
#if defined(__CUDA_ARCH__)
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(x.bits));
  return value;
#else
  // The fraction and exponent moved into place read 2^112 too small, subnormals included; one multiplication mends both.
  const uint32_t sign = static_cast<uint32_t>(x.bits & 0x8000u) << 16;
  const float magnitude = as_float(static_cast<uint32_t>(x.bits & 0x7fffu) << 13) * 0x1p112f;
  const uint32_t special = magnitude >= 65536.0f ? 0x7f800000u : 0u;  // infinity and NaN: exponent 31 becomes 255
  return as_float(as_uint(magnitude) | special | sign);
#endif
}

// -- from float, round to nearest even -----------------------------------------------------------------------------------
template <class T>
JD_HOST_DEVICE T from_float(float x);

template <>
JD_HOST_DEVICE JD_INLINE float from_float<float>(float x) {
  return x;
}

template <>
JD_HOST_DEVICE JD_INLINE bf16 from_float<bf16>(float x) {
#if defined(__CUDA_ARCH__)
  uint16_t bits;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(x));
  return bf16{bits};
#else
  const uint32_t u = as_uint(x);
  if ((u & 0x7fffffffu) > 0x7f800000u) return bf16{0x7fff};
  return bf16{static_cast<uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16)};
#endif
}

template <>
JD_HOST_DEVICE JD_INLINE f16 from_float<f16>(float x) {
#if defined(__CUDA_ARCH__)
  uint16_t bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x));
  return f16{bits};
#else
  const uint32_t u = as_uint(x) & 0x7fffffffu;
  const uint32_t sign = (as_uint(x) >> 16) & 0x8000u;
  uint32_t result;
  if (u > 0x7f800000u) return f16{0x7fff};
  if (u >= 0x477ff000u) {  // 65520 and above round to infinity
    result = 0x7c00u;
  } else if (u < 0x38800000u) {  // below 2^-14: 0.5 has the units of binary16's subnormals in its last place
    result = as_uint(as_float(u) + 0.5f) - 0x3f000000u;
  } else {  // exponent from bias 127 to bias 15, then half of the last place less one, and one more for odd
    result = (u - (112u << 23) + 0xfffu + ((u >> 13) & 1u)) >> 13;
  }
  return f16{static_cast<uint16_t>(sign | result)};
#endif
}

// -- pairs in a 32-bit register: the first element in the low half -------------------------------------------------------
JD_HOST_DEVICE JD_INLINE uint32_t pack_bf16x2(float low, float high) {
#if defined(__CUDA_ARCH__)
  uint32_t bits;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
  return bits;
#else
  return from_float<bf16>(low).bits | static_cast<uint32_t>(from_float<bf16>(high).bits) << 16;
#endif
}

JD_HOST_DEVICE JD_INLINE uint32_t pack_f16x2(float low, float high) {
#if defined(__CUDA_ARCH__)
  uint32_t bits;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
  return bits;
#else
  return from_float<f16>(low).bits | static_cast<uint32_t>(from_float<f16>(high).bits) << 16;
#endif
}

// pack2<T>, unpack2<T>: the same, chosen by element type.
template <class T>
JD_HOST_DEVICE uint32_t pack2(float low, float high);
template <>
JD_HOST_DEVICE JD_INLINE uint32_t pack2<bf16>(float low, float high) {
  return pack_bf16x2(low, high);
}
template <>
JD_HOST_DEVICE JD_INLINE uint32_t pack2<f16>(float low, float high) {
  return pack_f16x2(low, high);
}

template <class T>
JD_HOST_DEVICE JD_INLINE void unpack2(uint32_t bits, float &low, float &high) {
  low = to_float(T{static_cast<uint16_t>(bits & 0xffffu)});
  high = to_float(T{static_cast<uint16_t>(bits >> 16)});
}

}  // namespace jindou::prim

#endif
