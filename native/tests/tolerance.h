// How far a result may lie from its float64 reference: stated once, from the rounding of the dtypes involved.
//
// u(dtype) is the unit roundoff: f32 2^-24, f16 2^-11, bf16 2^-8. Kernels accumulate in f32, so a sum of n terms whose absolute
// values add up to `terms` is off by at most about n*u(f32)*terms in the worst case and sqrt(n)*u(f32)*terms as a rule; the
// bounds below use a small multiple of the latter and are checked against adversarial shapes. exp2/rcp approximations of
// the GPU are good to 2^-22 relative.
//
// embedding_bag  : at most n f32 additions and the rounding of the output:   4*sqrt(n)*u32*terms + u(out)*|ref|
// softmax weights: p has relative error |s|*u32*few (score error times exp'), v is averaged with weights that sum to 1, so the
//                  absolute error is bounded by max|v| times that; bf16 kernels round p to bf16: + u(bf16)*max|v| / sqrt(n_eff)
//                  as a rule, u(bf16)*max|v| at worst.
// din_attention  : a network: each number's error bound goes through it with the number (reference/din_attention.h).
// hstu           : a_ij rounded likewise to bf16 before the second product: u(bf16)*terms.
#ifndef JINDOU_TESTS_TOLERANCE_H
#define JINDOU_TESTS_TOLERANCE_H

#include <jindou/base.h>

#include <cmath>
#include <cstdint>

namespace jindou::tolerance {

inline double unit_roundoff(int32_t dtype) {
  switch (dtype) {
    case JD_F64: return std::ldexp(1.0, -53);
    case JD_F32: return std::ldexp(1.0, -24);
    case JD_F16: return std::ldexp(1.0, -11);
    case JD_BF16: return std::ldexp(1.0, -8);
    default: return 0.0;
  }
}

// Rounding `reference` to the output dtype: relative, but for f16's subnormals (below 2^-14), whose spacing is 2^-24.
inline double output(double reference, int32_t out_dtype) {
  const double relative = 1.001 * unit_roundoff(out_dtype) * std::fabs(reference);
  return out_dtype == JD_F16 ? std::fmax(relative, std::ldexp(1.001, -25)) : relative;
}

// A pooled sum of n products whose absolute values add up to `terms`.
inline double sum(int64_t n, double terms, double reference, int32_t out_dtype) {
  const double accumulate = 4.0 * std::sqrt(static_cast<double>(n) + 1.0) * unit_roundoff(JD_F32) * terms;
  return accumulate + output(reference, out_dtype) + 1e-30;
}

// Softmax attention: scores are sums of `dqk` products with |scale * q . k| <= `score`, values are at most `value` in magnitude.
inline double softmax_attention(int64_t dqk, double score, double value, double reference, int32_t dtype,
                                int32_t out_dtype) {
  const double weights = 4.0 * (std::sqrt(static_cast<double>(dqk)) + 4.0) * unit_roundoff(JD_F32) * (score + 1.0);
  const double probabilities = dtype == JD_F32 ? 0.0 : unit_roundoff(dtype);
  return value * (weights + probabilities) + output(reference, out_dtype) + 1e-30;
}

// Its lse: the largest score's error, and that of the sum of weights, relative. Weights that are rounded to a dtype need an
// exponential that is somewhat better than it.
inline double log_sum_exp(int64_t dqk, double score, double reference, int32_t dtype) {
  const double weights = dtype == JD_F32 ? 0.0 : unit_roundoff(dtype) / 32;
  return softmax_attention(dqk, score, 1, 0, JD_F32, JD_F32) + weights + 8 * unit_roundoff(JD_F32) * std::fabs(reference);
}

// Two results that are at most `value` in magnitude together, weighted by exponentials.
inline double merged_states(double value, double reference, int32_t out_dtype) {
  return 16 * unit_roundoff(JD_F32) * value + output(reference, out_dtype) + 1e-30;
}

// HSTU attention: `terms` = sum_j |a_ij v_j| over n keys, `score` bounds |alpha * q . k|.
inline double hstu_attention(int64_t n, int64_t dqk, double score, double terms, double reference, int32_t dtype,
                             int32_t out_dtype) {
  const double weights = 4.0 * (std::sqrt(static_cast<double>(dqk)) + 4.0) * unit_roundoff(JD_F32) * (score + 1.0);
  const double second = 4.0 * std::sqrt(static_cast<double>(n) + 1.0) * unit_roundoff(JD_F32);
  const double rounded = dtype == JD_F32 ? 0.0 : unit_roundoff(dtype);
  // SiLU near zero is x/2: an absolute score error e gives an absolute weight error of about e, hence the additive term.
  return terms * (weights + second + rounded) + weights * second * std::sqrt(static_cast<double>(n) + 1.0) +
         output(reference, out_dtype) + 1e-30;
}

// What hstu_attention's score errors add beyond that where scores cancel to almost nothing: SiLU(x) is about x/2 there, so the
// terms do not show it. `spread` bounds sum_j |norm * v_j| over the allowed keys.
inline double hstu_scores(int64_t dqk, double score, double spread) {
  return 4.0 * (std::sqrt(static_cast<double>(dqk)) + 4.0) * unit_roundoff(JD_F32) * score * spread;
}

// A f32 inner product of length k with |terms| = sum |x w|.
inline double linear(int64_t k, double terms) {
  return 4.0 * (std::sqrt(static_cast<double>(k)) + 4.0) * unit_roundoff(JD_F32) * (terms + 1e-6);
}

// rq_encode: how much farther than the nearest a chosen code may lie, in squared distance: twice the error of two scores, each
// an inner product of d terms and half a square (|r||c| + |c|^2 / 2), and what L roundings of the residual move it.
inline double rq_distance(int64_t dim, double residual_square, double code_square) {
  const double terms = std::sqrt(residual_square * code_square) + code_square + residual_square;
  return 8.0 * (std::sqrt(static_cast<double>(dim)) + 4.0) * unit_roundoff(JD_F32) * terms + 1e-30;
}

// DIN's activation unit: `error` bounds what comes before the rounding of the output.
inline double din_attention(double error, double reference, int32_t out_dtype) { return error + output(reference, out_dtype) + 1e-30; }

}  // namespace jindou::tolerance

#endif
