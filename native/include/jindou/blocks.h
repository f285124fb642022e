/* Plain building blocks between the attention operators: linear, layer_norm, l2_normalize. f32 but where said so, rank 2, no plan. Data
 * is 16-byte aligned, the last dimension contiguous. Row strides are free multiples of 16 bytes, so that a block may read and write a column range of a wider tensor. `out` may be
 * the same tensor as an input of the same shape and strides where said so; no other overlap. */
#ifndef JINDOU_BLOCKS_H
#define JINDOU_BLOCKS_H

#include <jindou/base.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { JD_LINEAR_IDENTITY = 0, JD_LINEAR_SILU = 1 };

/* out = activation(x W^T + bias) + residual */
typedef struct jd_linear_args {
  uint32_t struct_size;
  int32_t activation; /* JD_LINEAR_* */
  jd_tensor x;        /* [n, in]; in and out multiples of 4, at least 4 */
  jd_tensor weight;   /* [out, in] */
  jd_tensor bias;     /* [out], or 0 */
  jd_tensor residual; /* [n, out], or 0; may be `out` */
  jd_tensor out;      /* [n, out] */
} jd_linear_args;
JD_API jd_status jd_linear(jd_stream stream, const jd_linear_args *args, jd_error *error);

/* out = ((x - mean) / sqrt(variance + eps) * weight + bias) * multiplier, mean and (biased) variance over a row */
typedef struct jd_layer_norm_args {
  uint32_t struct_size;
  float eps;            /* finite, >= 0 */
  jd_tensor x;          /* [n, d], d a multiple of 4 in 4..8192 */
  jd_tensor weight;     /* [d] */
  jd_tensor bias;       /* [d] */
  jd_tensor multiplier; /* [n, d], or 0 */
  jd_tensor out;        /* [n, d]; may be x */
} jd_layer_norm_args;
JD_API jd_status jd_layer_norm(jd_stream stream, const jd_layer_norm_args *args, jd_error *error);

/* out = x / max(|x|, eps), |x| over a row, in f32, right for every finite row; x and out f32, f16 or bf16, each its own */
typedef struct jd_l2_normalize_args {
  uint32_t struct_size;
  float eps;     /* finite, > 0 */
  jd_tensor x;   /* [n, d], d a multiple of 4 in 4..8192 */
  jd_tensor out; /* [n, d]; may be x. Infinite elements become NaN and the others of the row 0; one NaN makes its row NaN */
} jd_l2_normalize_args;
JD_API jd_status jd_l2_normalize(jd_stream stream, const jd_l2_normalize_args *args, jd_error *error);

#ifdef __cplusplus
}
#endif
#endif
