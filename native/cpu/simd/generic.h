// Any CPU: GCC's vector extensions, four f32 lanes. On x86-64 it compiles to SSE2, on AArch64 to NEON (with FMA), elsewhere to
// scalar code.
#ifndef JINDOU_CPU_SIMD_GENERIC_H
#define JINDOU_CPU_SIMD_GENERIC_H

#include "cpu/simd/simd.h"

namespace jindou::cpu {
namespace {

struct Generic {
  static constexpr const char *kName = "generic";
  static constexpr int kWidth = 4;
#if defined(__aarch64__)
  static constexpr int kRows = 8;  // 8 x 3 sums of 32 registers
#else
  static constexpr int kRows = 4;
#endif
  static constexpr int kVectors = 3;
  static constexpr bool kBf16Products = false;

  using Half = Generic;
  typedef float F __attribute__((vector_size(16)));
  typedef int32_t M __attribute__((vector_size(16)));
  typedef uint32_t U __attribute__((vector_size(16)));

  JD_SIMD F zero() { return F{}; }
  JD_SIMD F set(float x) { return F{x, x, x, x}; }
  JD_SIMD F load(const float *p) {
    F x;
    memcpy(&x, p, sizeof x);
    return x;
  }
  JD_SIMD void store(float *p, F x) { memcpy(p, &x, sizeof x); }
  JD_SIMD void store_groups(float *p, int, F x) { store(p, x); }
  JD_SIMD F load_first(const float *p, int n) {
    F x{};
    memcpy(&x, p, sizeof(float) * n);
    return x;
  }
  JD_SIMD void store_first(float *p, F x, int n) { memcpy(p, &x, sizeof(float) * n); }

  JD_SIMD F add(F a, F b) { return a + b; }
  JD_SIMD F sub(F a, F b) { return a - b; }
  JD_SIMD F mul(F a, F b) { return a * b; }
  JD_SIMD F div(F a, F b) { return a / b; }
  JD_SIMD F fma(F a, F b, F c) { return a * b + c; }
  JD_SIMD F fnma(F a, F b, F c) { return c - a * b; }
  JD_SIMD F rough_reciprocal(F x) { return 1.0f / x; }
  JD_SIMD F max(F a, F b) { return a > b ? a : b; }
  JD_SIMD F min(F a, F b) { return a < b ? a : b; }
  JD_SIMD F scale(F p, F t) { return (F)((U)p + ((U)t << 23)); }

  JD_SIMD M less(F a, F b) { return a < b; }
  JD_SIMD M ordered(F a, F b) { return (a == a) & (b == b); }
  JD_SIMD M both(M a, M b) { return a & b; }
  JD_SIMD M either(M a, M b) { return a | b; }
  JD_SIMD F keep(M m, F x) { return (F)((M)x & m); }
  JD_SIMD F choose(M m, F a, F b) { return (F)(((M)a & m) | ((M)b & ~m)); }

  // Bit i: p[i] == x, of eight.
  JD_SIMD uint32_t equal8(const int64_t *p, int64_t x) {
    uint32_t bits = 0;
    for (int i = 0; i < 8; ++i) bits |= static_cast<uint32_t>(p[i] == x) << i;
    return bits;
  }
  JD_SIMD uint32_t bits(M m) { return (m[0] & 1) | (m[1] & 2) | (m[2] & 4) | (m[3] & 8); }

  typedef uint64_t W __attribute__((vector_size(16)));
  JD_SIMD W set_words(uint64_t x) { return W{x, x}; }
  JD_SIMD W load_words(const uint64_t *p) { return W{p[0], p[1]}; }
  JD_SIMD W add_words(W a, W b) { return a + b; }
  JD_SIMD void store_words(uint64_t *p, W x) { memcpy(p, &x, sizeof x); }
  JD_SIMD uint32_t less_words(W a, W b) { return (a[0] < b[0] ? 1 : 0) | (a[1] < b[1] ? 2 : 0); }
  JD_SIMD W different_bits(W a, W b) {
    W x = a ^ b;
    x -= (x >> 1) & 0x5555555555555555;
    x = (x & 0x3333333333333333) + ((x >> 2) & 0x3333333333333333);
    x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0f;
    x += x >> 8;
    x += x >> 16;
    return (x + (x >> 32)) & 0x7f;
  }

  JD_SIMD F select(M m, F yes, F no) { return (F)(((U)yes & (U)m) | ((U)no & ~(U)m)); }

  // Integers of 64 bits, one a lane: times, and how far they lie apart (unsigned).
  struct Times {
    uint64_t at[4];
  };
  JD_SIMD Times load_times(const int64_t *p) {
    Times t;
    memcpy(&t, p, sizeof t);
    return t;
  }
  JD_SIMD Times distance(Times t, int64_t key) {
    for (uint64_t &x : t.at) x = static_cast<int64_t>(x) < key ? static_cast<uint64_t>(key) - x : x - static_cast<uint64_t>(key);
    return t;
  }
  JD_SIMD M at_least(Times t, uint64_t least) {
    return M{-(t.at[0] >= least), -(t.at[1] >= least), -(t.at[2] >= least), -(t.at[3] >= least)};
  }

  JD_SIMD float sum(F x) { return (x[0] + x[2]) + (x[1] + x[3]); }
  JD_SIMD F sums(const F (&r)[4]) { return F{sum(r[0]), sum(r[1]), sum(r[2]), sum(r[3])}; }  // lane i: of r[i]

  JD_SIMD F load_bf16(const uint16_t *p) { return (F)(U{p[0], p[1], p[2], p[3]} << 16); }
  JD_SIMD F load_f16(const uint16_t *p) {
    return F{half_to_float(p[0]), half_to_float(p[1]), half_to_float(p[2]), half_to_float(p[3])};
  }
  JD_SIMD void store_bf16(uint16_t *p, F x) { store_first_bf16(p, x, 4); }
  JD_SIMD void store_f16(uint16_t *p, F x) { store_first_f16(p, x, 4); }
  JD_SIMD F load_i8(const int8_t *p) {
    return F{static_cast<float>(p[0]), static_cast<float>(p[1]), static_cast<float>(p[2]), static_cast<float>(p[3])};
  }
  JD_SIMD F load_u8(const uint8_t *p) {
    return F{static_cast<float>(p[0]), static_cast<float>(p[1]), static_cast<float>(p[2]), static_cast<float>(p[3])};
  }
  JD_SIMD F load_u4(const uint8_t *p) {
    return F{static_cast<float>(p[0] & 15), static_cast<float>(p[0] >> 4), static_cast<float>(p[1] & 15),
             static_cast<float>(p[1] >> 4)};
  }
  JD_SIMD F load_u2(const uint8_t *p) {
    return F{static_cast<float>(*p & 3), static_cast<float>(*p >> 2 & 3), static_cast<float>(*p >> 4 & 3),
             static_cast<float>(*p >> 6)};
  }
  JD_SIMD float half(uint16_t bits) { return half_to_float(bits); }
  JD_SIMD F load_e4m3(const uint8_t *p) {
    const U code = {p[0], p[1], p[2], p[3]}, magnitude = code & 0x7f;
    const M nan = magnitude == 0x7f;
    const F x = (F)(magnitude << 20) * 0x1p120f;
    return (F)((U)x | ((U)nan & 0x7fc00000) | (code & 0x80) << 24);
  }
  JD_SIMD F load_first_bf16(const uint16_t *p, int n) {
    uint16_t all[4] = {};
    memcpy(all, p, sizeof(uint16_t) * n);
    return load_bf16(all);
  }
  JD_SIMD F load_first_f16(const uint16_t *p, int n) {
    uint16_t all[4] = {};
    memcpy(all, p, sizeof(uint16_t) * n);
    return load_f16(all);
  }
  JD_SIMD void store_first_bf16(uint16_t *p, F x, int n) {
    const U bits = (U)x;
    const U rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16, quiet = (bits >> 16) | 0x40;
    const M nan = x != x;
    const U chosen = (rounded & (U)~nan) | (quiet & (U)nan);
    for (int i = 0; i < n; ++i) p[i] = static_cast<uint16_t>(chosen[i]);
  }
  JD_SIMD void store_first_f16(uint16_t *p, F x, int n) {
    for (int i = 0; i < n; ++i) p[i] = float_to_half(x[i]);
  }

  JD_SIMD void transpose(F (&r)[4]) {
    const F a = {r[0][0], r[1][0], r[2][0], r[3][0]}, b = {r[0][1], r[1][1], r[2][1], r[3][1]};
    const F c = {r[0][2], r[1][2], r[2][2], r[3][2]}, d = {r[0][3], r[1][3], r[2][3], r[3][3]};
    r[0] = a;
    r[1] = b;
    r[2] = c;
    r[3] = d;
  }

 private:
  JD_SIMD float bits_to_float(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
  }
  // Without branches: the exponent is moved by a multiplication, which makes subnormal halves normal on the way.
  JD_SIMD float half_to_float(uint16_t half) {
    const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16, magnitude = half & 0x7fff;
    const uint32_t scaled_bits = magnitude << 13;
    const float scaled = bits_to_float(scaled_bits) * 0x1p112f;
    uint32_t bits;
    memcpy(&bits, &scaled, sizeof bits);
    if (magnitude >= 0x7c00) bits = scaled_bits | 0x7f800000;  // infinity, NaN
    return bits_to_float(bits | sign);
  }
  // To nearest even.
  JD_SIMD uint16_t float_to_half(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    const uint32_t sign = (bits >> 16) & 0x8000;
    bits &= 0x7fffffff;
    if (bits > 0x7f800000) return static_cast<uint16_t>(sign | 0x7e00);
    if (bits >= 0x47800000) return static_cast<uint16_t>(sign | 0x7c00);
    if (bits < 0x38800000) {
      // Subnormal: adding 1/2 puts the last bit of a half at the last bit of the sum, and the addition rounds.
      const float sum = bits_to_float(bits) + 0.5f;
      uint32_t rounded;
      memcpy(&rounded, &sum, sizeof rounded);
      return static_cast<uint16_t>(sign | (rounded - 0x3f000000));
    }
    const uint32_t rounded = bits + 0xfff + ((bits >> 13) & 1);
    return static_cast<uint16_t>(sign | ((rounded - 0x38000000) >> 13));
  }
};

}  // namespace
}  // namespace jindou::cpu

#endif
