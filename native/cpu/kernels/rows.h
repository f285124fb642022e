// Row-wise operators, all f32 (jindou/blocks.h):
//
//   layer_norm     out = ((x - mean) / sqrt(variance + eps) * weight + bias) * multiplier
//   l2_normalize   out = x / max(|x|, eps)
//
// and widen, narrow: 16-bit elements to f32 and back.
//
// x, out [n, d], d a multiple of 4. Memory is the bound: every element is read once from memory, then from L1, and written
// once. Sums run over kWidth partial sums in the order of d, whatever the number of rows.
#ifndef JINDOU_CPU_KERNELS_ROWS_H
#define JINDOU_CPU_KERNELS_ROWS_H

#include "cpu/kernels/kernel_table.h"
#include "cpu/simd/simd.h"

namespace jindou::cpu {
namespace {

// Calls f(at, lanes) for d elements a vector at a time; only the last call may have lanes < kWidth.
template <class Isa, class Function>
inline __attribute__((always_inline)) void for_vectors(int64_t d, const Function &f) {
  int64_t at = 0;
  for (; at + Isa::kWidth <= d; at += Isa::kWidth) f(at, Isa::kWidth);
  if (at < d) f(at, static_cast<int>(d - at));
}

template <class Isa>
JD_SIMD typename Isa::F load_lanes(const float *p, int lanes) {
  return lanes == Isa::kWidth ? Isa::load(p) : Isa::load_first(p, lanes);
}

template <class Isa>
JD_SIMD void store_lanes(float *p, typename Isa::F x, int lanes) {
  if (lanes == Isa::kWidth) {
    Isa::store(p, x);
  } else {
    Isa::store_first(p, x, lanes);
  }
}

// 1, or 0 in the lanes past `lanes`.
template <class Isa>
JD_SIMD typename Isa::F present(int lanes) {
  constexpr float kOnes[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
  static_assert(Isa::kWidth <= 16, "ones");
  return load_lanes<Isa>(kOnes, lanes);
}

template <class Isa>
void widen(const void *from, int32_t dtype, int64_t count, float *to) {
  const uint16_t *halves = static_cast<const uint16_t *>(from);
  for_vectors<Isa>(count, [&](int64_t at, int lanes) {
    const bool whole = lanes == Isa::kWidth;
    const auto x = dtype == JD_F16 ? (whole ? Isa::load_f16(halves + at) : Isa::load_first_f16(halves + at, lanes))
                                   : (whole ? Isa::load_bf16(halves + at) : Isa::load_first_bf16(halves + at, lanes));
    store_lanes<Isa>(to + at, x, lanes);
  });
}

template <class Isa>
void narrow(const float *from, int64_t count, int32_t dtype, void *to) {
  uint16_t *halves = static_cast<uint16_t *>(to);
  for_vectors<Isa>(count, [&](int64_t at, int lanes) {
    const auto x = load_lanes<Isa>(from + at, lanes);
    const bool whole = lanes == Isa::kWidth;
    if (dtype == JD_F16) {
      whole ? Isa::store_f16(halves + at, x) : Isa::store_first_f16(halves + at, x, lanes);
    } else {
      whole ? Isa::store_bf16(halves + at, x) : Isa::store_first_bf16(halves + at, x, lanes);
    }
  });
}

template <class Isa>
void layer_norm(const LayerNormTask &t) {
  using F = typename Isa::F;
  for (int64_t row = t.first_row; row < t.last_row; ++row) {
    const float *x = t.x + row * t.x_stride;
    F sums = Isa::zero();
    for_vectors<Isa>(t.d, [&](int64_t at, int lanes) { sums = Isa::add(sums, load_lanes<Isa>(x + at, lanes)); });
    const F mean = Isa::set(Isa::sum(sums) / static_cast<float>(t.d));
    F squares = Isa::zero();
    for_vectors<Isa>(t.d, [&](int64_t at, int lanes) {
      const F y = Isa::mul(Isa::sub(load_lanes<Isa>(x + at, lanes), mean), present<Isa>(lanes));
      squares = Isa::fma(y, y, squares);
    });
    const float variance = Isa::sum(squares) / static_cast<float>(t.d);
    const F factor = Isa::set(1.0f / __builtin_sqrtf(variance + t.eps));
    const float *multiplier = t.multiplier ? t.multiplier + row * t.multiplier_stride : nullptr;
    float *out = t.out + row * t.out_stride;
    for_vectors<Isa>(t.d, [&](int64_t at, int lanes) {
      const F y = Isa::mul(Isa::sub(load_lanes<Isa>(x + at, lanes), mean), factor);
      F z = Isa::fma(y, load_lanes<Isa>(t.weight + at, lanes), load_lanes<Isa>(t.bias + at, lanes));
      if (multiplier) z = Isa::mul(z, load_lanes<Isa>(multiplier + at, lanes));
      store_lanes<Isa>(out + at, z, lanes);
    });
  }
}

template <class Isa>
void l2_normalize(const L2NormalizeTask &t) {
  using F = typename Isa::F;
  for (int64_t row = t.first_row; row < t.last_row; ++row) {
    const float *x = t.x + row * t.x_stride;
    F squares = Isa::zero();
    for_vectors<Isa>(t.d, [&](int64_t at, int lanes) {
      const F y = load_lanes<Isa>(x + at, lanes);
      squares = Isa::fma(y, y, squares);
    });
    const float length = __builtin_sqrtf(Isa::sum(squares));
    const F norm = Isa::set(length > t.eps ? length : t.eps);
    float *out = t.out + row * t.out_stride;
    for_vectors<Isa>(t.d, [&](int64_t at, int lanes) {
      store_lanes<Isa>(out + at, Isa::div(load_lanes<Isa>(x + at, lanes), norm), lanes);
    });
  }
}

}  // namespace
}  // namespace jindou::cpu

#endif
