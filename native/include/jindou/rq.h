/* rq_encode, rq_decode: residual quantisation, from vectors to semantic ids and back.
 *
 *   r_0 = x;  at level l:  code_l = argmin_k |r_l - c_lk|,  r_l+1 = r_l - c_l,code_l;  residual_norm = |r_L|
 *   rq_decode: out = sum_l c_l,code_l
 *
 * x [n, d], codebooks [L, K, d] f32, codes [n, L] i32. The nearest code of a level is the one with the largest score
 * r . c_k - |c_k|^2 / 2, in f32: among codes whose squared distances differ by less than rounding leaves of
 * |r| |c| + |c|^2 (about 4 sqrt(d) 2^-24 of it) any may win, but of equal codes always the first. The residual and its norm
 * are f32. A row's codes depend on that row alone, not on n, the run or the number of threads. Scores are never laid out as
 * [n, K]. A code that holds a NaN, or whose score overflows to minus infinity or NaN, is never chosen; where none can be, code 0 is:
 * codes are always in 0..K-1.
 *
 * Data is 16-byte aligned, the last dimension contiguous, other strides free multiples of 16 bytes; codes and residual_norm are
 * aligned to their elements only, rows of codes any number of elements apart. Outputs share no element with another argument.
 * (RQ-VAE, arXiv 2203.01941; TIGER, 2305.05065; OneRec, 2502.18965.) */
#ifndef JINDOU_RQ_H
#define JINDOU_RQ_H

#include <jindou/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct jd_rq_encode_desc {
  uint32_t struct_size;
  int32_t dtype;      /* of x: JD_F32, JD_F16 or JD_BF16 */
  int32_t dim;        /* d, a multiple of 4 in 4..1024 */
  int32_t num_levels; /* L, 1..64 */
  int32_t num_codes;  /* K, 1..65536 */
  int32_t reserved;
} jd_rq_encode_desc;

typedef struct jd_rq_encode_args {
  uint32_t struct_size;
  uint32_t reserved;
  jd_tensor x;             /* [n, d] dtype */
  jd_tensor codebooks;     /* [L, K, d] f32 */
  jd_tensor codes;         /* out: [n, L] i32 */
  jd_tensor residual_norm; /* out: [n] f32, or 0 */
} jd_rq_encode_args;

JD_API jd_status jd_rq_encode_plan(jd_device device, const jd_rq_encode_desc *desc, jd_plan *plan, jd_error *error);
JD_API jd_status jd_rq_encode_run(jd_plan plan, jd_stream stream, const jd_rq_encode_args *args, jd_error *error);

/* No plan. Sums are f32, in the order of levels. A code outside 0..K-1 follows `bounds`: STRICT reports the first (position in
 * codes, counted row by row, and the level as its table), ZERO leaves it out of the sum and counts it, TRUST does not look. */
typedef struct jd_rq_decode_args {
  uint32_t struct_size;
  int32_t bounds;      /* JD_BOUNDS_* */
  jd_tensor codes;     /* [n, L] i32 */
  jd_tensor codebooks; /* [L, K, d] f32, d a multiple of 4 in 4..1024, L in 1..64, K in 1..65536 */
  jd_tensor out;       /* [n, d] f32, f16 or bf16 */
} jd_rq_decode_args;

JD_API jd_status jd_rq_decode(jd_stream stream, const jd_rq_decode_args *args, jd_error *error);

#ifdef __cplusplus
}
#endif
#endif
