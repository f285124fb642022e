// AVX2 with FMA and F16C: eight f32 lanes, sixteen registers.
#ifndef JINDOU_CPU_SIMD_AVX2_H
#define JINDOU_CPU_SIMD_AVX2_H

#include <immintrin.h>

#include "cpu/simd/simd.h"

namespace jindou::cpu {
namespace {

struct Avx2 {
  static constexpr const char *kName = "avx2";
  static constexpr int kWidth = 8;              // f32 lanes of a vector
  // Register tile of a matrix product: 4 x 3 vectors of sums, 3 of one factor and 1 of the other fill the registers.
  static constexpr int kRows = 4;
  static constexpr int kVectors = 3;
  static constexpr bool kBf16Products = false;  // no instruction multiplies bf16: it is widened to f32

  using Half = Avx2;  // vectors half as wide, where work has few lanes: none here
  using F = __m256;  // vector of f32
  using M = __m256;  // mask: all ones or all zeros a lane

  JD_SIMD F zero() { return _mm256_setzero_ps(); }
  JD_SIMD F set(float x) { return _mm256_set1_ps(x); }
  JD_SIMD F load(const float *p) { return _mm256_loadu_ps(p); }
  JD_SIMD void store(float *p, F x) { _mm256_storeu_ps(p, x); }
  // Groups of kRows lanes, `step` floats apart (a plain store where a vector is no wider than a group).
  JD_SIMD void store_groups(float *p, int step, F x) {
    _mm_storeu_ps(p, _mm256_castps256_ps128(x));
    _mm_storeu_ps(p + step, _mm256_extractf128_ps(x, 1));
  }
  // The first n lanes, 0 < n < kWidth; the others are zero.
  JD_SIMD F load_first(const float *p, int n) { return _mm256_maskload_ps(p, first(n)); }
  JD_SIMD void store_first(float *p, F x, int n) { _mm256_maskstore_ps(p, first(n), x); }

  JD_SIMD F add(F a, F b) { return _mm256_add_ps(a, b); }
  JD_SIMD F sub(F a, F b) { return _mm256_sub_ps(a, b); }
  JD_SIMD F mul(F a, F b) { return _mm256_mul_ps(a, b); }
  JD_SIMD F div(F a, F b) { return _mm256_div_ps(a, b); }
  JD_SIMD F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }  // a * b + c
  JD_SIMD F fnma(F a, F b, F c) { return _mm256_fnmadd_ps(a, b, c); }  // c - a * b
  JD_SIMD F rough_reciprocal(F x) { return _mm256_rcp_ps(x); }        // relative error below 2^-11
  JD_SIMD F max(F a, F b) { return _mm256_max_ps(a, b); }            // b where either is NaN
  JD_SIMD F min(F a, F b) { return _mm256_min_ps(a, b); }
  // p times two to the integer in the low bits of t.
  JD_SIMD F scale(F p, F t) {
    const __m256i exponent = _mm256_slli_epi32(_mm256_castps_si256(t), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), exponent));
  }

  JD_SIMD M less(F a, F b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
  JD_SIMD M ordered(F a, F b) { return _mm256_cmp_ps(a, b, _CMP_ORD_Q); }  // where neither is NaN
  JD_SIMD M both(M a, M b) { return _mm256_and_ps(a, b); }
  JD_SIMD M either(M a, M b) { return _mm256_or_ps(a, b); }
  JD_SIMD F keep(M m, F x) { return _mm256_and_ps(m, x); }  // zero where m is not set
  JD_SIMD F choose(M m, F a, F b) { return _mm256_blendv_ps(b, a, m); }  // a where m is set, b elsewhere

  // Bit i: p[i] == x, of eight.
  JD_SIMD uint32_t equal8(const int64_t *p, int64_t x) {
    const __m256i all = _mm256_set1_epi64x(x);
    const __m256i low = _mm256_cmpeq_epi64(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(p)), all);
    const __m256i high = _mm256_cmpeq_epi64(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(p + 4)), all);
    return static_cast<uint32_t>(_mm256_movemask_pd(_mm256_castsi256_pd(low)) |
                                 _mm256_movemask_pd(_mm256_castsi256_pd(high)) << 4);
  }
  JD_SIMD uint32_t bits(M m) { return static_cast<uint32_t>(_mm256_movemask_ps(m)); }  // bit i: lane i

  // Vectors of kWidth / 2 words of 64 bits.
  using W = __m256i;
  JD_SIMD W set_words(uint64_t x) { return _mm256_set1_epi64x(static_cast<int64_t>(x)); }
  JD_SIMD W load_words(const uint64_t *p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i *>(p)); }
  JD_SIMD W add_words(W a, W b) { return _mm256_add_epi64(a, b); }
  JD_SIMD void store_words(uint64_t *p, W x) { _mm256_storeu_si256(reinterpret_cast<__m256i *>(p), x); }
  JD_SIMD uint32_t less_words(W a, W b) {  // of numbers below 2^63; bit i: word i
    return static_cast<uint32_t>(_mm256_movemask_pd(_mm256_castsi256_pd(_mm256_cmpgt_epi64(b, a))));
  }
  // How many bits of each word differ: halves of bytes looked up, bytes added.
  JD_SIMD W different_bits(W a, W b) {
    const W table = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4,  //
                                     0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
    const W x = _mm256_xor_si256(a, b), four = _mm256_set1_epi8(15);
    const W low = _mm256_shuffle_epi8(table, _mm256_and_si256(x, four));
    const W high = _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi64(x, 4), four));
    return _mm256_sad_epu8(_mm256_add_epi8(low, high), _mm256_setzero_si256());
  }

  JD_SIMD F select(M m, F yes, F no) { return _mm256_blendv_ps(no, yes, m); }

  // Integers of 64 bits, one a lane: times, and how far they lie apart (unsigned).
  struct Times {
    __m256i low, high;
  };
  JD_SIMD Times load_times(const int64_t *p) {
    return {_mm256_loadu_si256(reinterpret_cast<const __m256i *>(p)), _mm256_loadu_si256(reinterpret_cast<const __m256i *>(p + 4))};
  }
  JD_SIMD Times distance(Times t, int64_t key) {
    const __m256i keys = _mm256_set1_epi64x(key);
    return {difference(t.low, keys), difference(t.high, keys)};
  }
  JD_SIMD M at_least(Times t, uint64_t least) {
    // Compared as signed numbers, both shifted by 2^63.
    const __m256i sign = _mm256_set1_epi64x(INT64_MIN), bound = _mm256_xor_si256(_mm256_set1_epi64x(static_cast<int64_t>(least)), sign);
    const __m256i low = _mm256_cmpgt_epi64(bound, _mm256_xor_si256(t.low, sign));
    const __m256i high = _mm256_cmpgt_epi64(bound, _mm256_xor_si256(t.high, sign));
    const __m256 below = _mm256_shuffle_ps(_mm256_castsi256_ps(low), _mm256_castsi256_ps(high), 0x88);
    const __m256i in_order = _mm256_permute4x64_epi64(_mm256_castps_si256(below), 0xd8);
    return _mm256_castsi256_ps(_mm256_xor_si256(in_order, _mm256_set1_epi32(-1)));
  }

  JD_SIMD float sum(F x) {
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
  }

  // Lane i: sum(r[i]), bit for bit. Halves of two vectors at a time, then pairs, then single ones: 7 additions instead of 24.
  JD_SIMD F sums(const F (&r)[8]) {
    constexpr int kFirst[4] = {0, 2, 1, 3};  // the last steps bring them back into place
    F u[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const F x = r[kFirst[i]], y = r[kFirst[i] + 4];
      u[i] = _mm256_add_ps(_mm256_permute2f128_ps(x, y, 0x20), _mm256_permute2f128_ps(x, y, 0x31));
    }
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) {
      const __m256d x = _mm256_castps_pd(u[i]), y = _mm256_castps_pd(u[i + 2]);
      u[i] = _mm256_add_ps(_mm256_castpd_ps(_mm256_unpacklo_pd(x, y)), _mm256_castpd_ps(_mm256_unpackhi_pd(x, y)));
    }
    return _mm256_add_ps(_mm256_shuffle_ps(u[0], u[1], 0x88), _mm256_shuffle_ps(u[0], u[1], 0xdd));
  }

  // 16-bit floats in memory; stores round to nearest even.
  JD_SIMD F load_bf16(const uint16_t *p) { return widen_bf16(_mm_loadu_si128(reinterpret_cast<const __m128i *>(p))); }
  JD_SIMD F load_f16(const uint16_t *p) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i *>(p))); }
  JD_SIMD void store_bf16(uint16_t *p, F x) { _mm_storeu_si128(reinterpret_cast<__m128i *>(p), narrow_bf16(x)); }
  JD_SIMD void store_f16(uint16_t *p, F x) {
    _mm_storeu_si128(reinterpret_cast<__m128i *>(p), _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
  }
  // Bytes: signed integers, and fp8 e4m3 (its exponent and fraction moved into place read 2^120 too small).
  JD_SIMD F load_i8(const int8_t *p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i *>(p))));
  }
  // Unsigned codes: bytes, halves of bytes, quarters of bytes, from the lowest bits of the first byte on.
  JD_SIMD F load_u8(const uint8_t *p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i *>(p))));
  }
  JD_SIMD F load_u4(const uint8_t *p) {
    int32_t word;
    memcpy(&word, p, 4);
    const __m256i codes = _mm256_srlv_epi32(_mm256_set1_epi32(word), _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28));
    return _mm256_cvtepi32_ps(_mm256_and_si256(codes, _mm256_set1_epi32(15)));
  }
  JD_SIMD F load_u2(const uint8_t *p) {
    uint16_t word;
    memcpy(&word, p, 2);
    const __m256i codes = _mm256_srlv_epi32(_mm256_set1_epi32(word), _mm256_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14));
    return _mm256_cvtepi32_ps(_mm256_and_si256(codes, _mm256_set1_epi32(3)));
  }
  JD_SIMD float half(uint16_t bits) { return _cvtsh_ss(bits); }
  JD_SIMD F load_e4m3(const uint8_t *p) {
    const __m256i code = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i *>(p)));
    const __m256i magnitude = _mm256_and_si256(code, _mm256_set1_epi32(0x7f));
    const __m256i sign = _mm256_slli_epi32(_mm256_and_si256(code, _mm256_set1_epi32(0x80)), 24);
    const __m256i nan = _mm256_and_si256(_mm256_cmpeq_epi32(magnitude, _mm256_set1_epi32(0x7f)), _mm256_set1_epi32(0x7fc00000));
    const F x = _mm256_mul_ps(_mm256_castsi256_ps(_mm256_slli_epi32(magnitude, 20)), _mm256_set1_ps(0x1p120f));
    return _mm256_or_ps(_mm256_or_ps(x, _mm256_castsi256_ps(nan)), _mm256_castsi256_ps(sign));
  }
  JD_SIMD F load_first_bf16(const uint16_t *p, int n) { return widen_bf16(halves(p, n)); }
  JD_SIMD F load_first_f16(const uint16_t *p, int n) { return _mm256_cvtph_ps(halves(p, n)); }
  JD_SIMD void store_first_bf16(uint16_t *p, F x, int n) { store_halves(p, narrow_bf16(x), n); }
  JD_SIMD void store_first_f16(uint16_t *p, F x, int n) {
    store_halves(p, _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT), n);
  }

  // r[i] lane j <-> r[j] lane i.
  JD_SIMD void transpose(F (&r)[8]) {
    F t[8], u[8];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      t[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
      t[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) {
      u[4 * i] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0x44);
      u[4 * i + 1] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0xee);
      u[4 * i + 2] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0x44);
      u[4 * i + 3] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0xee);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      r[i] = _mm256_permute2f128_ps(u[i], u[i + 4], 0x20);
      r[i + 4] = _mm256_permute2f128_ps(u[i], u[i + 4], 0x31);
    }
  }

 private:
  JD_SIMD __m256i difference(__m256i a, __m256i b) {
    const __m256i negative = _mm256_cmpgt_epi64(b, a);
    return _mm256_sub_epi64(_mm256_xor_si256(_mm256_sub_epi64(a, b), negative), negative);
  }
  JD_SIMD __m256i first(int n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  JD_SIMD __m128i halves(const uint16_t *p, int n) {
    uint16_t all[8] = {};
    memcpy(all, p, sizeof(uint16_t) * n);
    return _mm_loadu_si128(reinterpret_cast<const __m128i *>(all));
  }
  JD_SIMD void store_halves(uint16_t *p, __m128i x, int n) {
    uint16_t all[8];
    _mm_storeu_si128(reinterpret_cast<__m128i *>(all), x);
    memcpy(p, all, sizeof(uint16_t) * n);
  }
  JD_SIMD F widen_bf16(__m128i x) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16)); }
  JD_SIMD __m128i narrow_bf16(F x) {
    const __m256i bits = _mm256_castps_si256(x);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    __m256i rounded = _mm256_srli_epi32(_mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
    // A NaN stays one: rounding could carry its mantissa away.
    const __m256i quiet = _mm256_or_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(0x40));
    rounded = _mm256_blendv_epi8(rounded, quiet, _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q)));
    const __m256i packed = _mm256_packus_epi32(rounded, rounded);
    return _mm256_castsi256_si128(_mm256_permute4x64_epi64(packed, 0x08));
  }
};

}  // namespace
}  // namespace jindou::cpu

#endif
