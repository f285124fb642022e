// Scalar arithmetic. The approximate functions are single instructions of the GPU's special function unit; they flush
// subnormal inputs and results to zero. The emulator's are exact to a rounding, so the two agree within the bounds given.
#ifndef JINDOU_PRIMITIVES_MATH_H
#define JINDOU_PRIMITIVES_MATH_H

#include <math.h>
#include <stdint.h>

#include "primitives/bits.h"
#include "primitives/compiler.h"

namespace jindou::prim {

namespace detail {

// A subnormal float becomes zero of its sign.
JD_HOST_DEVICE JD_INLINE float flush(float x) {
  return (as_uint(x) & 0x7f800000u) == 0 ? as_float(as_uint(x) & 0x80000000u) : x;
}

}  // namespace detail

// -- exact: one rounding, to nearest even --------------------------------------------------------------------------------
JD_DEVICE JD_INLINE float fma(float a, float b, float c) {
#if defined(__CUDACC__)
  return __fmaf_rn(a, b, c);
#else
  return __builtin_fmaf(a, b, c);
#endif
}

JD_DEVICE JD_INLINE float div(float a, float b) {
#if defined(__CUDACC__)
  return __fdiv_rn(a, b);
#else
  return a / b;
#endif
}

JD_DEVICE JD_INLINE float sqrt(float x) {
#if defined(__CUDACC__)
  return __fsqrt_rn(x);
#else
  return __builtin_sqrtf(x);
#endif
}

// The larger (smaller); of a number and a NaN, the number.
JD_DEVICE JD_INLINE float max(float a, float b) { return fmaxf(a, b); }
JD_DEVICE JD_INLINE float min(float a, float b) { return fminf(a, b); }
JD_DEVICE JD_INLINE float abs(float x) { return fabsf(x); }

// The larger; of a number and a NaN, the NaN.
JD_DEVICE JD_INLINE float max_or_nan(float a, float b) {
#if defined(__CUDACC__)
  float y;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(y) : "f"(a), "f"(b));
  return y;
#else
  return a != a ? a : b != b ? b : fmaxf(a, b);
#endif
}

// -- approximate ---------------------------------------------------------------------------------------------------------
// 2^x, relative error below 2^-22. exp2_approx(-infinity) = 0.
JD_DEVICE JD_INLINE float exp2_approx(float x) {
#if defined(__CUDACC__)
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return detail::flush(__builtin_exp2f(detail::flush(x)));
#endif
}

// log2(x), absolute error below 2^-22 for x in [0.5, 2], relative below 2^-22 elsewhere.
JD_DEVICE JD_INLINE float log2_approx(float x) {
#if defined(__CUDACC__)
  float y;
  asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return detail::flush(__builtin_log2f(detail::flush(x)));
#endif
}

// e^x as 2^(x log2 e): the product's rounding adds |x| * 2^-24 of relative error.
JD_DEVICE JD_INLINE float exp_approx(float x) { return exp2_approx(x * 1.4426950408889634f); }

// 1 / x, within 1 unit in the last place.
JD_DEVICE JD_INLINE float rcp_approx(float x) {
#if defined(__CUDACC__)
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return detail::flush(1.0f / detail::flush(x));
#endif
}

// 1 / sqrt(x), relative error below 2^-22.
JD_DEVICE JD_INLINE float rsqrt_approx(float x) {
#if defined(__CUDACC__)
  float y;
  asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return static_cast<float>(1.0 / __builtin_sqrt(static_cast<double>(detail::flush(x))));
#endif
}

// tanh(x), relative error below 2^-10.9.
JD_DEVICE JD_INLINE float tanh_approx(float x) {
#if defined(__CUDACC__)
  float y;
  asm("tanh.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return __builtin_tanhf(x);
#endif
}

}  // namespace jindou::prim

#endif
