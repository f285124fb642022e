// Row-wise operators (jindou/blocks.h):
//
//   layer_norm     out = ((x - mean) / sqrt(variance + eps) * weight + bias) * multiplier, f32
//   l2_normalize   out = x / max(|x|, eps), elements of 16 bits widened and narrowed in registers
//
// and widen, narrow: 16-bit elements to f32 and back.
//
// x, out [n, d], d a multiple of 4. Memory is the bound: every element is read once from memory, then from L1, and written
// once. Sums run over kWidth partial sums in the order of d, whatever the number of rows.
#ifndef JINDOU_CPU_KERNELS_ROWS_H
#define JINDOU_CPU_KERNELS_ROWS_H

#include "blocks/l2_factor.h"
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

// Elements of 16 bits.
template <class Isa>
JD_SIMD typename Isa::F load_halves(const uint16_t *p, int32_t dtype, int lanes) {
  const bool whole = lanes == Isa::kWidth;
  if (dtype == JD_F16) return whole ? Isa::load_f16(p) : Isa::load_first_f16(p, lanes);
  return whole ? Isa::load_bf16(p) : Isa::load_first_bf16(p, lanes);
}

template <class Isa>
JD_SIMD void store_halves(uint16_t *p, int32_t dtype, typename Isa::F x, int lanes) {
  const bool whole = lanes == Isa::kWidth;
  if (dtype == JD_F16) {
    whole ? Isa::store_f16(p, x) : Isa::store_first_f16(p, x, lanes);
  } else {
    whole ? Isa::store_bf16(p, x) : Isa::store_first_bf16(p, x, lanes);
  }
}

template <class Isa>
void widen(const void *from, int32_t dtype, int64_t count, float *to) {
  const uint16_t *halves = static_cast<const uint16_t *>(from);
  for_vectors<Isa>(count, [&](int64_t at, int lanes) { store_lanes<Isa>(to + at, load_halves<Isa>(halves + at, dtype, lanes), lanes); });
}

template <class Isa>
void narrow(const float *from, int64_t count, int32_t dtype, void *to) {
  uint16_t *halves = static_cast<uint16_t *>(to);
  for_vectors<Isa>(count, [&](int64_t at, int lanes) { store_halves<Isa>(halves + at, dtype, load_lanes<Isa>(from + at, lanes), lanes); });
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

// Rows of floats of any dtype, as vectors of f32.
template <class Isa, int32_t kDtype>
struct FloatRows {
  static constexpr int64_t kSize = kDtype == JD_F32 ? 4 : 2;

  JD_SIMD typename Isa::F load(const char *row, int64_t at, int lanes) {
    const char *p = row + at * kSize;
    if constexpr (kDtype == JD_F32) {
      return load_lanes<Isa>(reinterpret_cast<const float *>(p), lanes);
    } else {
      return load_halves<Isa>(reinterpret_cast<const uint16_t *>(p), kDtype, lanes);
    }
  }
  JD_SIMD void store(char *row, int64_t at, typename Isa::F x, int lanes) {
    char *p = row + at * kSize;
    if constexpr (kDtype == JD_F32) {
      store_lanes<Isa>(reinterpret_cast<float *>(p), x, lanes);
    } else {
      store_halves<Isa>(reinterpret_cast<uint16_t *>(p), kDtype, x, lanes);
    }
  }
};

// One row; kScaled: its elements, and eps before, multiplied by `factor` (blocks/l2_factor.h).
template <class Isa, class In, class Out, bool kScaled>
void l2_normalize_row(const char *x, char *out, int64_t d, float eps, float factor) {
  using F = typename Isa::F;
  const auto load = [&](int64_t at, int lanes) {
    const F y = In::load(x, at, lanes);
    return kScaled ? Isa::mul(y, Isa::set(factor)) : y;
  };
  F squares = Isa::zero();
  for_vectors<Isa>(d, [&](int64_t at, int lanes) {
    const F y = load(at, lanes);
    squares = Isa::fma(y, y, squares);
  });
  const float square = Isa::sum(squares);
  if constexpr (!kScaled) {
    factor = blocks::l2_factor(square, eps);
    if (__builtin_expect(factor != 1.0f, 0)) return l2_normalize_row<Isa, In, Out, true>(x, out, d, eps * factor, factor);
  }
  const float length = __builtin_sqrtf(square);
  const F norm = Isa::set(length < eps ? eps : length);  // a NaN stays
  for_vectors<Isa>(d, [&](int64_t at, int lanes) { Out::store(out, at, Isa::div(load(at, lanes), norm), lanes); });
}

template <class Isa, int32_t kIn, int32_t kOut>
void l2_normalize_rows(const L2NormalizeTask &t) {
  using In = FloatRows<Isa, kIn>;
  using Out = FloatRows<Isa, kOut>;
  for (int64_t row = t.first_row; row < t.last_row; ++row) {
    const char *x = static_cast<const char *>(t.x) + row * t.x_stride * In::kSize;
    char *out = static_cast<char *>(t.out) + row * t.out_stride * Out::kSize;
    l2_normalize_row<Isa, In, Out, false>(x, out, t.d, t.eps, 1.0f);
  }
}

template <class Isa, int32_t kIn>
void l2_normalize_from(const L2NormalizeTask &t) {
  switch (t.out_dtype) {
    case JD_F32: return l2_normalize_rows<Isa, kIn, JD_F32>(t);
    case JD_F16: return l2_normalize_rows<Isa, kIn, JD_F16>(t);
    default: return l2_normalize_rows<Isa, kIn, JD_BF16>(t);
  }
}

template <class Isa>
void l2_normalize(const L2NormalizeTask &t) {
  switch (t.x_dtype) {
    case JD_F32: return l2_normalize_from<Isa, JD_F32>(t);
    case JD_F16: return l2_normalize_from<Isa, JD_F16>(t);
    default: return l2_normalize_from<Isa, JD_BF16>(t);
  }
}

}  // namespace
}  // namespace jindou::cpu

#endif
