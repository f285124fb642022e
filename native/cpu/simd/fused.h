// a * b + c rounded once on every CPU. Without the instruction the product is made in f64, where it is exact, as the sum is unless one of
// the two is far smaller than the other. Then it is rounded to odd there (Boldo and Melquiond 2008), after which it can be rounded to f32.
#ifndef JINDOU_CPU_SIMD_FUSED_H
#define JINDOU_CPU_SIMD_FUSED_H

#include "cpu/simd/simd.h"

namespace jindou::cpu {
namespace {

#if defined(__FMA__) || defined(__FP_FAST_FMAF)
constexpr bool kHasFma = true;
#else
constexpr bool kHasFma = false;
#endif

JD_SIMD float fused_without_fma(float a, float b, float c) {
  const double product = static_cast<double>(a) * static_cast<double>(b), wide = c;
  double sum = product + wide;
  const double from_wide = sum - product;
  const double lost = (product - (sum - from_wide)) + (wide - from_wide);  // exact (Knuth); NaN where the sum is no finite number
  if (__builtin_expect(lost < 0 || lost > 0, 0)) {
    uint64_t bits;
    memcpy(&bits, &sum, sizeof bits);
    if (!(bits & 1)) bits += (lost > 0) == (sum > 0) ? 1 : -1;
    memcpy(&sum, &bits, sizeof sum);
  }
  return static_cast<float>(sum);
}

template <class Isa>
JD_SIMD typename Isa::F fused(typename Isa::F a, typename Isa::F b, typename Isa::F c) {
  if constexpr (kHasFma) {
    return Isa::fma(a, b, c);
  } else {
    for (int i = 0; i < Isa::kWidth; ++i) a[i] = fused_without_fma(a[i], b[i], c[i]);
    return a;
  }
}

}  // namespace
}  // namespace jindou::cpu

#endif
