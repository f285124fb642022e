/* stca_attention: the layer of STCA ("Make It Long, Keep It Fast"): every candidate of a user attends to the user's whole history, whose
 * keys and values are projections of one tensor of events X (the caller's LN(SwiGLU(history)), which depends on the user alone):
 *
 *   q = c Wq^T ,  K = X Wk^T ,  V = X Wv^T ,   out_h = softmax(scale * q_h K_h^T) V_h   for each head h
 *
 * Two ways to compute it, algebraically equal:
 *   materialised   K and V are computed and then attended to (target_attention): 4 n D H dh FLOPs a user of n events for the projections,
 *                  4 n H dh a candidate. They may be kept for the user's next requests (args.keys, args.values).
 *   reordered      q_h K_h^T = (q_h Wk_h) X^T, and sum_j p_j V_hj = (sum_j p_j X_j) Wv_h^T: K and V never exist, X is read once and serves as
 *                  keys and values of all heads; 4 n H D a candidate, and two small products.
 * Reordered needs fewer operations below D dh / (D - dh) candidates a user (68 for D = 1,024 in 16 heads of 64). JD_STCA_AUTO takes it when
 * max_candidates is below that, and the plan's description says which way it took: the way, and with it the bits, depend on the plan, not on a run.
 *
 * Candidates and events are jagged, as in jindou/attention.h, with its rules of offsets, declared maxima, bounds and overlap, but rank 2: row
 * strides free multiples of 16 bytes, data aligned to 16. Weights are f32, [out, in] as in linear. Inputs are f32, f16 or bf16; sums are f32; with
 * 16-bit inputs queries, keys and values (materialised) or queries (reordered) are rounded to the inputs' dtype, and so are weights where tensor
 * cores, or a CPU's bf16 products, multiply many rows by them. A candidate without events gives zeros. The bits of a candidate's result depend on its own row, its user's events, the weights and the plan alone. */
#ifndef JINDOU_STCA_ATTENTION_H
#define JINDOU_STCA_ATTENTION_H

#include <jindou/base.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { JD_STCA_AUTO = 0, JD_STCA_MATERIALISED = 1, JD_STCA_REORDERED = 2 };

typedef struct jd_stca_attention_desc {
  uint32_t struct_size;
  int32_t dtype;                /* JD_F32, JD_F16 or JD_BF16: candidates, events, keys, values */
  int32_t out_dtype;            /* dtype or JD_F32; 0 = dtype */
  int32_t offset_dtype;         /* JD_I32 or JD_I64: both offsets */
  int32_t model_dim;            /* D of candidates and events: a multiple of 32 in 32..1024 */
  int32_t num_heads;            /* H, 1..64 */
  int32_t head_dim;             /* dh: 32, 64, 96, 128, 192, 256 */
  float scale;                  /* finite; 1 / sqrt(dh) as a rule */
  int32_t path;                 /* JD_STCA_* */
  int32_t keep_keys;            /* 1: args.keys and args.values are required, and the way is materialised; 0: they must be 0 */
  int32_t bounds;               /* JD_BOUNDS_STRICT or JD_BOUNDS_ZERO, for offsets and lengths seen on the device */
  int32_t reserved;
  int64_t max_batch;            /* users a run, 1..1048576 */
  int64_t max_candidates;       /* candidates a user, 1..4096 */
  int64_t max_history;          /* events a user, 1..131072 */
  int64_t max_total_candidates; /* candidates a run, all users together: sizes scratch; 0 = max_candidates */
  int64_t max_total_events;     /* events a run, all users together: likewise; 0 = max_history */
} jd_stca_attention_desc;

typedef struct jd_stca_attention_args {
  uint32_t struct_size;
  uint32_t reserved;
  jd_tensor candidates;        /* [sum nc, D] */
  jd_tensor candidate_offsets; /* [B + 1] */
  jd_tensor events;            /* [sum n, D]: X */
  jd_tensor history_offsets;   /* [B + 1] */
  jd_tensor query_weight;      /* [H dh, D] f32: Wq */
  jd_tensor key_weight;        /* [H dh, D] f32: Wk */
  jd_tensor value_weight;      /* [H dh, D] f32: Wv */
  jd_tensor keys;              /* [sum n, H dh], written: K, to be viewed as [sum n, H, dh]; or 0 */
  jd_tensor values;            /* [sum n, H dh], written: V; or 0 */
  jd_tensor out;               /* [sum nc, H dh] */
} jd_stca_attention_args;

JD_API jd_status jd_stca_attention_plan(jd_device device, const jd_stca_attention_desc *desc, jd_plan *plan, jd_error *error);
JD_API jd_status jd_stca_attention_run(jd_plan plan, jd_stream stream, const jd_stca_attention_args *args, jd_error *error);

#ifdef __cplusplus
}
#endif
#endif
