/* din_attention: the activation unit of DIN. Every candidate of a user weighs every event of the user's history by a small
 * network of the two:
 *
 *   weight_ij = W3 f(W2 f(W1 [q_i; k_j; q_i - k_j; q_i * k_j] + b1) + b2) + b3      out_i = sum_j scale * weight_ij * v_j
 *   or, with softmax,                                                   out_i = sum_j softmax_j(scale * weight_ij) v_j
 *
 * with the activation f of each hidden unit one of
 *   JD_DIN_SIGMOID   1 / (1 + exp(-x))
 *   JD_DIN_PRELU     max(x, 0) + slope * min(x, 0)
 *   JD_DIN_DICE      p * x + (1 - p) * slope * x,  p = sigmoid((x - mean) / sqrt(variance + dice_eps)): Dice at inference, with
 *                    the statistics of training
 * The four parts of the input are never laid out side by side: W1 [q; k; q - k; q * k] is (Wq + Wd) q, once a candidate, and
 * (Wk - Wd + Wp diag(q)) k, so that the first layer costs a product over d, not over 4 d. Neither it nor the hidden units of the
 * pairs ever are in memory. A candidate without events gives zeros.
 *
 * Candidates and history are jagged, as in jindou/attention.h, with its rules of offsets, declared maxima, bounds and overlap, but
 * without heads: rank 2, row strides free multiples of 16 bytes, data aligned to 16. Weights are f32 with rows likewise. Inputs are f32,
 * f16 or bf16; sums are f32. With 16-bit inputs a backend may round the weights folded for a candidate and the first layer's hidden
 * units to the inputs' dtype; f32 is f32 throughout. The bits of a candidate's result depend on its own row, its user's history and the
 * weights alone. (DIN, arXiv 1706.06978; Dice is from there too.) */
#ifndef JINDOU_DIN_ATTENTION_H
#define JINDOU_DIN_ATTENTION_H

#include <jindou/base.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { JD_DIN_SIGMOID = 0, JD_DIN_PRELU = 1, JD_DIN_DICE = 2 };

typedef struct jd_din_attention_desc {
  uint32_t struct_size;
  int32_t dtype;          /* JD_F32, JD_F16 or JD_BF16: candidates, keys, values */
  int32_t out_dtype;      /* dtype or JD_F32; 0 = dtype */
  int32_t offset_dtype;   /* JD_I32 or JD_I64: both offsets */
  int32_t dim;            /* d of candidates and keys: a multiple of 8 in 8..256 */
  int32_t dim_v;          /* dv of values: likewise */
  int32_t hidden_1;       /* h1, units of the first layer: a multiple of 4 in 4..256 */
  int32_t hidden_2;       /* h2, of the second: likewise */
  int32_t activation;     /* JD_DIN_* */
  int32_t softmax;        /* 1 or 0 */
  float scale;            /* finite; 1 / sqrt(d) in DIN's published code */
  float dice_eps;         /* JD_DIN_DICE: finite, > 0; ignored else */
  int32_t bounds;         /* JD_BOUNDS_STRICT or JD_BOUNDS_ZERO, for offsets and lengths seen on the device */
  int32_t reserved;
  int64_t num_latest;     /* only the last n events of each history; 0 = all */
  int64_t max_batch;      /* users a run, 1..1048576 */
  int64_t max_candidates; /* candidates a user, 1..4096 */
  int64_t max_history;    /* events a user, 1..131072 */
} jd_din_attention_desc;

typedef struct jd_din_attention_args {
  uint32_t struct_size;
  uint32_t reserved;
  jd_tensor candidates;        /* [sum nc, d] */
  jd_tensor candidate_offsets; /* [B + 1] */
  jd_tensor keys;              /* [sum nk, d] */
  jd_tensor values;            /* [sum nk, dv] */
  jd_tensor history_offsets;   /* [B + 1] */
  jd_tensor weight_1;          /* [h1, 4 d] f32: columns of q, of k, of q - k, of q * k */
  jd_tensor bias_1;            /* [h1] f32 */
  jd_tensor slope_1;           /* [h1] f32: JD_DIN_PRELU and JD_DIN_DICE; else 0 */
  jd_tensor mean_1;            /* [h1] f32: JD_DIN_DICE; else 0 */
  jd_tensor variance_1;        /* [h1] f32, >= 0: likewise */
  jd_tensor weight_2;          /* [h2, h1] f32 */
  jd_tensor bias_2;            /* [h2] f32 */
  jd_tensor slope_2;           /* [h2] f32, as slope_1 */
  jd_tensor mean_2;            /* [h2] f32, as mean_1 */
  jd_tensor variance_2;        /* [h2] f32, as variance_1 */
  jd_tensor weight_3;          /* [1, h2] f32 */
  jd_tensor bias_3;            /* [1] f32 */
  jd_tensor out;               /* [sum nc, dv] */
} jd_din_attention_args;

JD_API jd_status jd_din_attention_plan(jd_device device, const jd_din_attention_desc *desc, jd_plan *plan, jd_error *error);
JD_API jd_status jd_din_attention_run(jd_plan plan, jd_stream stream, const jd_din_attention_args *args, jd_error *error);

#ifdef __cplusplus
}
#endif
#endif
