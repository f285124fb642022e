// AVX-512 (F, BW, DQ, VL), and the same with the bf16 dot product: sixteen f32 lanes, thirty-two registers.
//
// JINDOU_CPU_EMULATED_AVX512: the tests compile this very source through SIMDe, which carries the instructions out with
// AVX2; a few it lacks are in tests/simde_avx512.h.
#ifndef JINDOU_CPU_SIMD_AVX512_H
#define JINDOU_CPU_SIMD_AVX512_H

#if defined(JINDOU_CPU_EMULATED_AVX512)
#include "tests/simde_avx512.h"
#else
#include <immintrin.h>
#endif

#include "cpu/simd/avx2.h"
#include "cpu/simd/simd.h"

namespace jindou::cpu {
namespace {

struct Avx512 {
  static constexpr const char *kName = "avx512";
  static constexpr int kWidth = 16;
  // 8 x 3 vectors of sums, 3 of one factor and 1 of the other: 28 registers, 11 loads for 24 FMAs.
  static constexpr int kRows = 8;
  static constexpr int kVectors = 3;
  static constexpr bool kBf16Products = false;

  using Half = Avx2;
  using F = __m512;
  using M = __mmask16;

  JD_SIMD F zero() { return _mm512_setzero_ps(); }
  JD_SIMD F set(float x) { return _mm512_set1_ps(x); }
  JD_SIMD F load(const float *p) { return _mm512_loadu_ps(p); }
  JD_SIMD void store(float *p, F x) { _mm512_storeu_ps(p, x); }
  JD_SIMD void store_groups(float *p, int step, F x) {
    _mm256_storeu_ps(p, _mm512_castps512_ps256(x));
    _mm256_storeu_ps(p + step, upper_half(x));
  }
  JD_SIMD F load_first(const float *p, int n) { return _mm512_maskz_loadu_ps(first(n), p); }
  JD_SIMD void store_first(float *p, F x, int n) { _mm512_mask_storeu_ps(p, first(n), x); }

  JD_SIMD F add(F a, F b) { return _mm512_add_ps(a, b); }
  JD_SIMD F sub(F a, F b) { return _mm512_sub_ps(a, b); }
  JD_SIMD F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  JD_SIMD F div(F a, F b) { return _mm512_div_ps(a, b); }
  JD_SIMD F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  JD_SIMD F fnma(F a, F b, F c) { return _mm512_fnmadd_ps(a, b, c); }
  JD_SIMD F rough_reciprocal(F x) { return _mm512_rcp14_ps(x); }
  JD_SIMD F max(F a, F b) { return _mm512_max_ps(a, b); }
  JD_SIMD F min(F a, F b) { return _mm512_min_ps(a, b); }
  JD_SIMD F scale(F p, F t) {
    const __m512i exponent = _mm512_slli_epi32(_mm512_castps_si512(t), 23);
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(p), exponent));
  }

  JD_SIMD M less(F a, F b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
  JD_SIMD M ordered(F a, F b) { return _mm512_cmp_ps_mask(a, b, _CMP_ORD_Q); }
  JD_SIMD M both(M a, M b) { return static_cast<M>(a & b); }
  JD_SIMD M either(M a, M b) { return static_cast<M>(a | b); }
  JD_SIMD F keep(M m, F x) { return _mm512_maskz_mov_ps(m, x); }
  JD_SIMD F choose(M m, F a, F b) { return _mm512_mask_mov_ps(b, m, a); }

  // Bit i: p[i] == x, of eight.
  JD_SIMD uint32_t equal8(const int64_t *p, int64_t x) {
    return _mm512_cmpeq_epi64_mask(_mm512_loadu_si512(p), _mm512_set1_epi64(x));
  }
  JD_SIMD uint32_t bits(M m) { return m; }

  using W = __m512i;
  JD_SIMD W set_words(uint64_t x) { return _mm512_set1_epi64(static_cast<int64_t>(x)); }
  JD_SIMD W load_words(const uint64_t *p) { return _mm512_loadu_si512(p); }
  JD_SIMD W add_words(W a, W b) { return _mm512_add_epi64(a, b); }
  JD_SIMD void store_words(uint64_t *p, W x) { _mm512_storeu_si512(p, x); }
  JD_SIMD uint32_t less_words(W a, W b) { return _mm512_cmpgt_epi64_mask(b, a); }
  JD_SIMD W different_bits(W a, W b) {
    const W table = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
    const W x = _mm512_xor_si512(a, b), four = _mm512_set1_epi8(15);
    const W low = _mm512_shuffle_epi8(table, _mm512_and_si512(x, four));
    const W high = _mm512_shuffle_epi8(table, _mm512_and_si512(_mm512_srli_epi64(x, 4), four));
    return _mm512_sad_epu8(_mm512_add_epi8(low, high), _mm512_setzero_si512());
  }

  JD_SIMD F select(M m, F yes, F no) { return _mm512_mask_blend_ps(m, no, yes); }

  // Integers of 64 bits, one a lane: times, and how far they lie apart (unsigned).
  struct Times {
    __m512i low, high;
  };
  JD_SIMD Times load_times(const int64_t *p) { return {_mm512_loadu_si512(p), _mm512_loadu_si512(p + 8)}; }
  JD_SIMD Times distance(Times t, int64_t key) {
    const __m512i keys = _mm512_set1_epi64(key);
    return {_mm512_sub_epi64(_mm512_max_epi64(t.low, keys), _mm512_min_epi64(t.low, keys)),
            _mm512_sub_epi64(_mm512_max_epi64(t.high, keys), _mm512_min_epi64(t.high, keys))};
  }
  JD_SIMD M at_least(Times t, uint64_t least) {
    const __m512i bound = _mm512_set1_epi64(static_cast<int64_t>(least));
    const unsigned low = _mm512_cmpge_epu64_mask(t.low, bound), high = _mm512_cmpge_epu64_mask(t.high, bound);
    return static_cast<M>(low | high << 8);
  }

  JD_SIMD float sum(F x) {
    const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(x), upper_half(x));
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
  }

  // Lane i: sum(r[i]), bit for bit. Halves of two vectors at a time, then quarters, pairs, single ones: 15 additions instead of 64.
  JD_SIMD F sums(const F (&r)[16]) {
    // The order in which the last steps bring them back into place.
    constexpr int kFirst[8] = {0, 2, 1, 3, 8, 10, 9, 11};
    F u[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) {
      const F x = r[kFirst[i]], y = r[kFirst[i] + 4];
      u[i] = _mm512_add_ps(_mm512_shuffle_f32x4(x, y, 0x44), _mm512_shuffle_f32x4(x, y, 0xee));
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      u[i] = _mm512_add_ps(_mm512_shuffle_f32x4(u[i], u[i + 4], 0x88), _mm512_shuffle_f32x4(u[i], u[i + 4], 0xdd));
    }
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) {
      const __m512d x = _mm512_castps_pd(u[i]), y = _mm512_castps_pd(u[i + 2]);
      u[i] = _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(x, y)), _mm512_castpd_ps(_mm512_unpackhi_pd(x, y)));
    }
    return _mm512_add_ps(_mm512_shuffle_ps(u[0], u[1], 0x88), _mm512_shuffle_ps(u[0], u[1], 0xdd));
  }

  JD_SIMD F load_bf16(const uint16_t *p) { return widen_bf16(load_halves(p)); }
  JD_SIMD F load_f16(const uint16_t *p) { return _mm512_cvtph_ps(load_halves(p)); }
  JD_SIMD void store_bf16(uint16_t *p, F x) { _mm256_storeu_si256(reinterpret_cast<__m256i *>(p), narrow_bf16(x)); }
  JD_SIMD void store_f16(uint16_t *p, F x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i *>(p), _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
  }
  JD_SIMD F load_i8(const int8_t *p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i *>(p))));
  }
  JD_SIMD F load_u8(const uint8_t *p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i *>(p))));
  }
  JD_SIMD F load_u4(const uint8_t *p) {
    int64_t eight;
    memcpy(&eight, p, 8);
    // Of 128-bit part i the bytes 2 i, 2 i, 2 i + 1 and 2 i + 1, each in an element of its own.
    const __m128i two = _mm_setr_epi8(0, -1, -1, -1, 0, -1, -1, -1, 1, -1, -1, -1, 1, -1, -1, -1);
    const __m512i step = _mm512_setr_epi32(0, 0, 0, 0, 2, 2, 2, 2, 4, 4, 4, 4, 6, 6, 6, 6);
    const __m512i bytes = _mm512_add_epi32(_mm512_broadcast_i32x4(two), step);
    const __m512i pairs = _mm512_shuffle_epi8(_mm512_set1_epi64(eight), bytes);
    const __m512i codes = _mm512_srlv_epi32(pairs, _mm512_set1_epi64(int64_t{4} << 32));
    return _mm512_cvtepi32_ps(_mm512_and_si512(codes, _mm512_set1_epi32(15)));
  }
  JD_SIMD F load_u2(const uint8_t *p) {
    int32_t word;
    memcpy(&word, p, 4);
    const __m256i low = _mm256_srlv_epi32(_mm256_set1_epi32(word), _mm256_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14));
    const __m512i codes = _mm512_inserti64x4(_mm512_castsi256_si512(low), _mm256_srli_epi32(low, 16), 1);
    return _mm512_cvtepi32_ps(_mm512_and_si512(codes, _mm512_set1_epi32(3)));
  }
  JD_SIMD float half(uint16_t bits) { return _cvtsh_ss(bits); }
  // An e4m3 number is 2^8 times the f16 number with its exponent and mantissa.
  JD_SIMD F load_e4m3(const uint8_t *p) {
    const __m128i codes = _mm_loadu_si128(reinterpret_cast<const __m128i *>(p));
    const __m256i signed_codes = _mm256_slli_epi16(_mm256_cvtepi8_epi16(codes), 7);
    const __m256i halves = _mm256_and_si256(signed_codes, _mm256_set1_epi16(static_cast<int16_t>(0xbf80)));
    const __m128i largest = _mm_set1_epi8(0x7f);
    const auto nan = static_cast<__mmask16>(_mm_movemask_epi8(_mm_cmpeq_epi8(_mm_and_si128(codes, largest), largest)));
    const F x = _mm512_mul_ps(_mm512_cvtph_ps(halves), _mm512_set1_ps(256.0f));
    return _mm512_mask_mov_ps(x, nan, _mm512_set1_ps(__builtin_nanf("")));
  }
  JD_SIMD F load_first_bf16(const uint16_t *p, int n) { return widen_bf16(load_halves(p, n)); }
  JD_SIMD F load_first_f16(const uint16_t *p, int n) { return _mm512_cvtph_ps(load_halves(p, n)); }
  JD_SIMD void store_first_bf16(uint16_t *p, F x, int n) { store_halves(p, narrow_bf16(x), n); }
  JD_SIMD void store_first_f16(uint16_t *p, F x, int n) {
    store_halves(p, _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT), n);
  }

  // 4x4 blocks in registers, then blocks between registers: 64 shuffles.
  JD_SIMD void transpose(F (&r)[16]) {
    F t[16];
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) {
      const F a = _mm512_unpacklo_ps(r[i], r[i + 1]), b = _mm512_unpackhi_ps(r[i], r[i + 1]);
      const F c = _mm512_unpacklo_ps(r[i + 2], r[i + 3]), d = _mm512_unpackhi_ps(r[i + 2], r[i + 3]);
      t[i] = _mm512_shuffle_ps(a, c, 0x44);
      t[i + 1] = _mm512_shuffle_ps(a, c, 0xee);
      t[i + 2] = _mm512_shuffle_ps(b, d, 0x44);
      t[i + 3] = _mm512_shuffle_ps(b, d, 0xee);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {  // t[i], t[i+4], t[i+8], t[i+12]: column i of each 128-bit quarter
      const F a = _mm512_shuffle_f32x4(t[i], t[i + 4], 0x88), b = _mm512_shuffle_f32x4(t[i], t[i + 4], 0xdd);
      const F c = _mm512_shuffle_f32x4(t[i + 8], t[i + 12], 0x88), d = _mm512_shuffle_f32x4(t[i + 8], t[i + 12], 0xdd);
      r[i] = _mm512_shuffle_f32x4(a, c, 0x88);
      r[i + 8] = _mm512_shuffle_f32x4(a, c, 0xdd);
      r[i + 4] = _mm512_shuffle_f32x4(b, d, 0x88);
      r[i + 12] = _mm512_shuffle_f32x4(b, d, 0xdd);
    }
  }

 protected:
  JD_SIMD __mmask16 first(int n) { return static_cast<__mmask16>((1u << n) - 1); }
  JD_SIMD __m256 upper_half(F x) {
    return _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(x), 1));
  }
  JD_SIMD __m256i load_halves(const uint16_t *p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i *>(p)); }
  JD_SIMD __m256i load_halves(const uint16_t *p, int n) {
    uint16_t all[16] = {};
    memcpy(all, p, sizeof(uint16_t) * n);
    return load_halves(all);
  }
  JD_SIMD void store_halves(uint16_t *p, __m256i x, int n) {
    uint16_t all[16];
    _mm256_storeu_si256(reinterpret_cast<__m256i *>(all), x);
    memcpy(p, all, sizeof(uint16_t) * n);
  }
  JD_SIMD F widen_bf16(__m256i x) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16)); }
  JD_SIMD __m256i narrow_bf16(F x) {
    const __m512i bits = _mm512_castps_si512(x);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    // A NaN stays one: rounding could carry its mantissa away.
    const __m512i quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x400000));
    const __m512i chosen = _mm512_mask_mov_epi32(rounded, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), quiet);
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(chosen, 16));
  }
};

#if defined(JINDOU_CPU_EMULATED_AVX512) || defined(__AVX512BF16__)

// Half of it.
struct Avx2Bf16 : Avx2 {
  static constexpr bool kBf16Products = true;
  using Half = Avx2Bf16;

  JD_SIMD F fma_bf16_pairs(F a, F b, F sum) {
#if defined(JINDOU_CPU_EMULATED_AVX512)
    const auto twice = [](F x) { return jindou_simde_bits<__m512>(JindouSimdeHalves{_mm256_castps_si256(x), _mm256_castps_si256(x)}); };
    const __m512 sums = _mm512_dpbf16_ps(twice(sum), jindou_simde_bf16(twice(a)), jindou_simde_bf16(twice(b)));
    return _mm256_castsi256_ps(jindou_simde_split(_mm512_castps_si512(sums)).low);
#else
    return _mm256_dpbf16_ps(sum, reinterpret_cast<__m256bh>(a), reinterpret_cast<__m256bh>(b));
#endif
  }
};

// A register holds pairs of bf16, one a 32-bit lane; a pair is passed around as the f32 with its bits, never computed with.
struct Avx512Bf16 : Avx512 {
  static constexpr const char *kName = "avx512bf16";
  static constexpr bool kBf16Products = true;
  using Half = Avx2Bf16;

  // sum + a.low * b.low + a.high * b.high
  JD_SIMD F fma_bf16_pairs(F a, F b, F sum) { return _mm512_dpbf16_ps(sum, as_bf16(a), as_bf16(b)); }

  // (low, high) rounded to bf16, to nearest even.
  JD_SIMD F bf16_pairs(F low, F high) {
    const __m512i halves = as_integer(_mm512_cvtne2ps_pbh(high, low));  // 16 of low, then 16 of high
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8,  //
                                           23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return _mm512_castsi512_ps(_mm512_permutexvar_epi16(order, halves));
  }

  // Thirty-two elements in order, rounded to bf16: 16 of low, then 16 of high.
  JD_SIMD F bf16_sequence(F low, F high) { return _mm512_castsi512_ps(as_integer(_mm512_cvtne2ps_pbh(high, low))); }

  // (even[i], odd[i]) of sixteen elements; odd may be null: zeros.
  JD_SIMD F interleave_bf16(const uint16_t *even, const uint16_t *odd) {
    __m512i pairs = _mm512_cvtepu16_epi32(load_halves(even));
    if (odd) pairs = _mm512_or_si512(pairs, _mm512_slli_epi32(_mm512_cvtepu16_epi32(load_halves(odd)), 16));
    return _mm512_castsi512_ps(pairs);
  }

 private:
#if defined(JINDOU_CPU_EMULATED_AVX512)
  JD_SIMD __m512bh as_bf16(F x) { return jindou_simde_bf16(x); }
  JD_SIMD __m512i as_integer(__m512bh x) { return jindou_simde_integer(x); }
#else
  JD_SIMD __m512bh as_bf16(F x) { return reinterpret_cast<__m512bh>(x); }
  JD_SIMD __m512i as_integer(__m512bh x) { return reinterpret_cast<__m512i>(x); }
#endif
};

#endif

}  // namespace
}  // namespace jindou::cpu

#endif
