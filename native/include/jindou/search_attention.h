/* search_attention: each candidate attends to events of its user's history that were found for it alone (history_search): the
 * second half of retrieval inside ultra-long histories. The rows are read where they lie; no copy of them is made.
 *
 *   out_i = sum_j softmax_j(scale * q_i . k_e(i,j)) v_e(i,j) ,  e(i, j) = indices[i, j]
 * or, with JD_ACTIVATION_SILU,  out_i = sum_j SiLU(scale * q_i . k_e(i,j)) v_e(i,j) / scaling_seqlen
 *
 * An index is a position in the user's history; -1, anywhere in the row, stands for no event, and an event may be listed
 * twice. A candidate without any event gives zeros. Query head h reads key/value head h / (num_heads / num_kv_heads).
 * Sums follow the order of the list: a candidate's bits depend on its own row and the events it lists.
 *
 * Rows are jagged, with the rules of jindou/attention.h for strides, alignment and overlap. An index below -1 or past the history
 * is found by the kernels, on every device, and follows `bounds`: STRICT reports the first at the next synchronisation, ZERO
 * skips and counts it; either way it counts as -1. (SIM, arXiv 2006.05639; TWIN, arXiv 2302.02352.) */
#ifndef JINDOU_SEARCH_ATTENTION_H
#define JINDOU_SEARCH_ATTENTION_H

#include <jindou/attention.h>
#include <jindou/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct jd_search_attention_desc {
  uint32_t struct_size;
  int32_t dtype;          /* of candidates, keys and values: JD_F32, JD_F16 or JD_BF16 */
  int32_t out_dtype;      /* dtype or JD_F32; 0 = dtype */
  int32_t offset_dtype;   /* JD_I32 or JD_I64 */
  int32_t num_heads;      /* H, 1..256 */
  int32_t num_kv_heads;   /* Hkv, divides H; 0 = H */
  int32_t head_dim_qk;    /* a multiple of 32, to 256 */
  int32_t head_dim_v;     /* likewise */
  float scale;            /* finite */
  int32_t activation;     /* JD_ACTIVATION_SOFTMAX or JD_ACTIVATION_SILU */
  float scaling_seqlen;   /* JD_ACTIVATION_SILU: finite, > 0; ignored else */
  int32_t k;              /* indices a candidate, 1..2048 */
  int32_t bounds;         /* JD_BOUNDS_STRICT or JD_BOUNDS_ZERO */
  int32_t reserved;
  int64_t max_batch;      /* users a run, 1..1048576 */
  int64_t max_candidates; /* candidates a user, 1..1048576 */
  int64_t max_history;    /* events a user, 1..1073741824 */
} jd_search_attention_desc;

typedef struct jd_search_attention_args {
  uint32_t struct_size;
  uint32_t reserved;
  jd_tensor candidates;        /* [sum nc, H, dqk] */
  jd_tensor candidate_offsets; /* [B + 1] */
  jd_tensor keys;              /* [sum nk, Hkv, dqk] */
  jd_tensor values;            /* [sum nk, Hkv, dv] */
  jd_tensor history_offsets;   /* [B + 1] */
  jd_tensor indices;           /* [sum nc, k] i32 */
  jd_tensor out;               /* [sum nc, H, dv] */
  jd_tensor lse;               /* [sum nc, H] f32: log of the sum of exp(scale * q_i . k_j), natural; with softmax; or 0 */
} jd_search_attention_args;

JD_API jd_status jd_search_attention_plan(jd_device device, const jd_search_attention_desc *desc, jd_plan *plan,
                                          jd_error *error);
JD_API jd_status jd_search_attention_run(jd_plan plan, jd_stream stream, const jd_search_attention_args *args,
                                         jd_error *error);

#ifdef __cplusplus
}
#endif
#endif
