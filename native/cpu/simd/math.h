// Elementwise functions over the vectors of an instruction set.
#ifndef JINDOU_CPU_SIMD_MATH_H
#define JINDOU_CPU_SIMD_MATH_H

#include "cpu/simd/simd.h"

namespace jindou::cpu {
namespace {

constexpr float kLog2E = 1.44269504088896341f;

// 2^x for x <= 126. x is cut below at -126, so that the smallest result is 2^-126, not 0. NaN stays NaN.
// x = n + f with n the nearest integer and |f| <= 1/2; 2^f is the polynomial with least relative error that is exactly 1 at 0:
// of degree 5, error 9.2e-8 (with the rounding of f32 at most 2.0e-7), or, where the result is rounded to bf16 (2e-3) anyway,
// of degree 3, error 1.1e-4. 2^0 is exactly 1.
template <class Isa, int kDegree, int N>
inline __attribute__((always_inline)) void exp2(typename Isa::F (&x)[N]) {
  using F = typename Isa::F;
  static_assert(kDegree == 5 || kDegree == 3, "no coefficients of that degree");
  constexpr float kCoefficients[2][4] = {{5.500893295e-2f, 2.422109693e-1f, 6.932829022e-1f, 1.0f},
                                         {5.550733581e-2f, 2.402224243e-1f, 6.931470037e-1f, 1.0f}};
  const F magic = Isa::set(12582912.0f);  // 1.5 * 2^23: adding it leaves the nearest integer in the low bits
  // The steps go side by side over N vectors: one after the other they would wait for each other's results.
  F shifted[N], p[N];
#pragma GCC unroll 8
  for (int n = 0; n < N; ++n) x[n] = Isa::max(Isa::set(-126.0f), x[n]);
#pragma GCC unroll 8
  for (int n = 0; n < N; ++n) shifted[n] = Isa::add(x[n], magic);
#pragma GCC unroll 8
  for (int n = 0; n < N; ++n) x[n] = Isa::sub(x[n], Isa::sub(shifted[n], magic));
  if constexpr (kDegree == 5) {
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) p[n] = Isa::fma(Isa::set(1.326472731e-3f), x[n], Isa::set(9.671512991e-3f));
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) p[n] = Isa::fma(p[n], x[n], Isa::set(kCoefficients[1][0]));
  } else {
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) p[n] = Isa::set(kCoefficients[0][0]);
  }
#pragma GCC unroll 4
  for (int i = 1; i < 4; ++i) {
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) p[n] = Isa::fma(p[n], x[n], Isa::set(kCoefficients[kDegree == 5][i]));
  }
#pragma GCC unroll 8
  for (int n = 0; n < N; ++n) x[n] = Isa::scale(p[n], shifted[n]);
}

template <class Isa, int kDegree = 5>
inline __attribute__((always_inline)) typename Isa::F exp2(typename Isa::F x) {
  typename Isa::F one[1] = {x};
  exp2<Isa, kDegree, 1>(one);
  return one[0];
}

// 1 / (1 + e^-x). A division takes as long as ten of the other steps: a rough reciprocal and, where the result is not rounded to
// bf16 anyway, one step of Newton's, good to two units in the last place. Past x = -87 the exponent is cut.
template <class Isa, int kDegree, int N>
inline __attribute__((always_inline)) void sigmoid(typename Isa::F (&x)[N]) {
#pragma GCC unroll 8
  for (int n = 0; n < N; ++n) x[n] = Isa::min(Isa::set(126.0f), Isa::mul(x[n], Isa::set(-kLog2E)));
  exp2<Isa, kDegree>(x);
  typename Isa::F r[N];
#pragma GCC unroll 8
  for (int n = 0; n < N; ++n) x[n] = Isa::add(Isa::set(1.0f), x[n]);
#pragma GCC unroll 8
  for (int n = 0; n < N; ++n) r[n] = Isa::rough_reciprocal(x[n]);
  if constexpr (kDegree == 5) {
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) r[n] = Isa::fma(r[n], Isa::fnma(x[n], r[n], Isa::set(1.0f)), r[n]);
  }
#pragma GCC unroll 8
  for (int n = 0; n < N; ++n) x[n] = r[n];
}

// x * sigmoid(x). Past x = -87 of the order of 1e-36: zero for any sum it enters.
template <class Isa, int kDegree, int N>
inline __attribute__((always_inline)) void silu(typename Isa::F (&x)[N]) {
  typename Isa::F s[N];
#pragma GCC unroll 8
  for (int n = 0; n < N; ++n) s[n] = x[n];
  sigmoid<Isa, kDegree>(s);
#pragma GCC unroll 8
  for (int n = 0; n < N; ++n) x[n] = Isa::mul(x[n], s[n]);
}

// tanh with a relative error of about 2^-22 everywhere: near 0, where 1 - 2 / (e^2x + 1) cancels, x times a polynomial in x^2 (Cephes).
template <class Isa>
inline __attribute__((always_inline)) typename Isa::F tanh(typename Isa::F x) {
  using F = typename Isa::F;
  F far[1] = {Isa::min(Isa::set(126.0f), Isa::mul(x, Isa::set(2 * kLog2E)))};
  exp2<Isa, 5>(far);
  far[0] = Isa::sub(Isa::set(1.0f), Isa::div(Isa::set(2.0f), Isa::add(far[0], Isa::set(1.0f))));
  const F square = Isa::mul(x, x);
  F p = Isa::fma(Isa::set(-5.70498872745e-3f), square, Isa::set(2.06390887954e-2f));
  p = Isa::fma(p, square, Isa::set(-5.37397155531e-2f));
  p = Isa::fma(p, square, Isa::set(1.33314422036e-1f));
  p = Isa::fma(p, square, Isa::set(-3.33332819422e-1f));
  const F near = Isa::fma(Isa::mul(p, square), x, x);
  return Isa::add(far[0], Isa::keep(Isa::less(square, Isa::set(0.625f * 0.625f)), Isa::sub(near, far[0])));
}

}  // namespace
}  // namespace jindou::cpu

#endif
