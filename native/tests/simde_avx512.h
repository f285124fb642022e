// AVX-512 through SIMDe, for running simd/avx512.h on a CPU without it, and the few instructions that SIMDe 0.7 lacks.
// They are written from Intel's description of each, element by element.
#ifndef JINDOU_TESTS_SIMDE_AVX512_H
#define JINDOU_TESTS_SIMDE_AVX512_H

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

namespace {

template <class To, class From>
inline To jindou_simde_bits(const From &from) {
  static_assert(sizeof(To) == sizeof(From), "same bits");
  To to;
  memcpy(&to, &from, sizeof to);
  return to;
}

inline simde__m512bh jindou_simde_bf16(__m512 x) { return jindou_simde_bits<simde__m512bh>(x); }
inline __m512i jindou_simde_integer(simde__m512bh x) { return jindou_simde_bits<__m512i>(x); }

struct JindouSimdeHalves {
  __m256i low, high;
};
inline JindouSimdeHalves jindou_simde_split(__m512i x) { return jindou_simde_bits<JindouSimdeHalves>(x); }
inline __m512i jindou_simde_join(__m256i low, __m256i high) {
  return jindou_simde_bits<__m512i>(JindouSimdeHalves{low, high});
}

// VPMOVZXWD
inline __m512i jindou_mm512_cvtepu16_epi32(__m256i x) {
  return jindou_simde_join(_mm256_cvtepu16_epi32(_mm256_castsi256_si128(x)),
                           _mm256_cvtepu16_epi32(_mm256_extracti128_si256(x, 1)));
}

// VPMOVZXBD, VPMOVSXBD, VCVTDQ2PS
inline __m512i jindou_mm512_cvtepu8_epi32(__m128i x) {
  return jindou_simde_join(_mm256_cvtepu8_epi32(x), _mm256_cvtepu8_epi32(_mm_srli_si128(x, 8)));
}

inline __m512i jindou_mm512_cvtepi8_epi32(__m128i x) {
  return jindou_simde_join(_mm256_cvtepi8_epi32(x), _mm256_cvtepi8_epi32(_mm_srli_si128(x, 8)));
}

inline __m512 jindou_mm512_cvtepi32_ps(__m512i x) {
  const JindouSimdeHalves halves = jindou_simde_split(x);
  return jindou_simde_bits<__m512>(jindou_simde_join(_mm256_castps_si256(_mm256_cvtepi32_ps(halves.low)),
                                                     _mm256_castps_si256(_mm256_cvtepi32_ps(halves.high))));
}

// VPMOVDW: truncation
inline __m256i jindou_mm512_cvtepi32_epi16(__m512i x) {
  uint32_t from[16];
  uint16_t to[16];
  memcpy(from, &x, sizeof from);
  for (int i = 0; i < 16; ++i) to[i] = static_cast<uint16_t>(from[i]);
  return _mm256_loadu_si256(reinterpret_cast<const __m256i *>(to));
}

// VCVTPH2PS, VCVTPS2PH
inline __m512 jindou_mm512_cvtph_ps(__m256i x) {
  const __m256 low = _mm256_cvtph_ps(_mm256_castsi256_si128(x)), high = _mm256_cvtph_ps(_mm256_extracti128_si256(x, 1));
  return jindou_simde_bits<__m512>(jindou_simde_join(_mm256_castps_si256(low), _mm256_castps_si256(high)));
}
inline __m256i jindou_mm512_cvtps_ph(__m512 x) {
  const JindouSimdeHalves halves = jindou_simde_bits<JindouSimdeHalves>(x);
  return _mm256_set_m128i(_mm256_cvtps_ph(_mm256_castsi256_ps(halves.high), _MM_FROUND_TO_NEAREST_INT),
                          _mm256_cvtps_ph(_mm256_castsi256_ps(halves.low), _MM_FROUND_TO_NEAREST_INT));
}

// VSHUFF32X4: quarters of 128 bits, two of a and then two of b
inline __m512 jindou_mm512_shuffle_f32x4(__m512 a, __m512 b, int control) {
  __m128 from_a[4], from_b[4], to[4];
  memcpy(from_a, &a, sizeof from_a);
  memcpy(from_b, &b, sizeof from_b);
  to[0] = from_a[control & 3];
  to[1] = from_a[(control >> 2) & 3];
  to[2] = from_b[(control >> 4) & 3];
  to[3] = from_b[(control >> 6) & 3];
  __m512 r;
  memcpy(&r, to, sizeof r);
  return r;
}

// VCVTNE2PS2BF16: low half from b, high half from a; to nearest even, denormals as zero.
inline simde__m512bh jindou_mm512_cvtne2ps_pbh(__m512 a, __m512 b) {
  uint32_t from[32];
  uint16_t to[32];
  memcpy(from, &b, 64);
  memcpy(from + 16, &a, 64);
  for (int i = 0; i < 32; ++i) {
    const uint32_t bits = from[i];
    if ((bits & 0x7f800000) == 0) {
      to[i] = static_cast<uint16_t>((bits >> 16) & 0x8000);
    } else if ((bits & 0x7fffffff) > 0x7f800000) {
      to[i] = static_cast<uint16_t>((bits >> 16) | 0x40);
    } else {
      to[i] = static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
    }
  }
  simde__m512bh r;
  memcpy(&r, to, sizeof r);
  return r;
}

// VMOVUPS with a mask: masked lanes are neither read nor written.
inline __m512 jindou_mm512_maskz_loadu_ps(__mmask16 mask, const void *p) {
  float to[16] = {};
  for (int i = 0; i < 16; ++i) {
    if (mask >> i & 1) to[i] = static_cast<const float *>(p)[i];
  }
  return _mm512_loadu_ps(to);
}
inline void jindou_mm512_mask_storeu_ps(void *p, __mmask16 mask, __m512 x) {
  float from[16];
  _mm512_storeu_ps(from, x);
  for (int i = 0; i < 16; ++i) {
    if (mask >> i & 1) static_cast<float *>(p)[i] = from[i];
  }
}

// VRCP14PS: within 2^-14; here the bits after that are cut off, so that a kernel that needs more is found out.
inline __m512 jindou_mm512_rcp14_ps(__m512 x) {
  float each[16];
  _mm512_storeu_ps(each, x);
  for (float &value : each) {
    value = 1.0f / value;
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if ((bits & 0x7f800000) != 0x7f800000) bits &= 0xfffffe00;  // 14 digits of the fraction
    memcpy(&value, &bits, sizeof bits);
  }
  return _mm512_loadu_ps(each);
}

}  // namespace

#define __m512bh simde__m512bh
#undef _mm512_rcp14_ps
#define _mm512_rcp14_ps jindou_mm512_rcp14_ps
#undef _mm512_cvtepu16_epi32
#define _mm512_cvtepu16_epi32 jindou_mm512_cvtepu16_epi32
#undef _mm512_cvtepu8_epi32
#define _mm512_cvtepu8_epi32 jindou_mm512_cvtepu8_epi32
#undef _mm512_cvtepi8_epi32
#define _mm512_cvtepi8_epi32 jindou_mm512_cvtepi8_epi32
#undef _mm512_cvtepi32_ps
#define _mm512_cvtepi32_ps jindou_mm512_cvtepi32_ps
#undef _mm512_cvtepi32_epi16
#define _mm512_cvtepi32_epi16 jindou_mm512_cvtepi32_epi16
#undef _mm512_cvtph_ps
#define _mm512_cvtph_ps jindou_mm512_cvtph_ps
#undef _mm512_cvtps_ph
#define _mm512_cvtps_ph(x, rounding) jindou_mm512_cvtps_ph(x)
#undef _mm512_shuffle_f32x4
#define _mm512_shuffle_f32x4 jindou_mm512_shuffle_f32x4
#undef _mm512_cvtne2ps_pbh
#define _mm512_cvtne2ps_pbh jindou_mm512_cvtne2ps_pbh
#undef _mm512_maskz_loadu_ps
#define _mm512_maskz_loadu_ps jindou_mm512_maskz_loadu_ps
#undef _mm512_mask_storeu_ps
#define _mm512_mask_storeu_ps jindou_mm512_mask_storeu_ps

#endif
