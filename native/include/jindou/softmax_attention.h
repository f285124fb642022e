/* softmax_attention: attention over jagged sequences with masks, biases and a soft-cap; merge_attention_states.
 *
 *   s_ij = cap(scale * q_i . k_j + bias_ij) ,  cap(x) = softcap * tanh(x / softcap), or x without a soft-cap
 *   out_i = sum_j softmax_j(s_ij) v_j ,  lse_i = log sum_j exp(s_ij) ,  over the allowed j of the row's own sequence
 *
 * The soft-cap bounds the sum of product and bias, as in FlashInfer. (FlashAttention caps the product alone, then adds ALiBi.)
 * A row without an allowed key gives zeros and lse = -infinity. Query head h reads key/value head h / (num_heads / num_kv_heads).
 *
 * Sequence b has nq query rows and nk key rows, either of which may be more, or none. Query row i stands at position
 * p_i = nk - nq + i: the last query beside the last key (bottom-right alignment, FlashAttention since 2.1). Key j is allowed for row i if
 *   JD_MASK_NONE:    always
 *   JD_MASK_CAUSAL:  j <= p_i
 *   JD_MASK_WINDOW:  p_i - left <= j <= p_i + right, a side of -1 being unbounded
 * or, whatever the mask,
 *   j < sink                      the first keys are seen by every row, also by rows before them
 *   p_i < prefix and j < prefix   the first positions see each other both ways
 *   i < num_global                the first query rows of a sequence see every key
 *   j < num_global                and the first keys are seen by every row (LONGER's global tokens, arXiv 2505.04421: the globals lead
 *                                 queries and keys, the rows of the history after them stand at their positions p_i)
 *
 * Biases, never laid out as a matrix but the dense one:
 *   JD_BIAS_ALIBI  -slope_h * |p_i - j|, as in FlashAttention
 *   JD_BIAS_T5     table[bucket(j - p_i), h] with T5's buckets (arXiv 1910.10683): with r = j - p_i and n = t5_num_buckets,
 *                  bidirectional: m = n / 2, base = r > 0 ? m : 0, d = |r|; else m = n, base = 0, d = max(-r, 0);
 *                  bucket = base + (d < e ? d : min(e + floor(log(d / e) / log(t5_max_distance / e) * (m - e)), m - 1)), e = m / 2,
 *                  halves rounded down; of the exact logarithms, which those in f32 are at T5's own parameters (32, 128)
 *   JD_BIAS_DENSE  bias[h, i, j], or bias[b, h, i, j], i and j counted from the sequence's first row and key; stride 0 shares one matrix
 *                  between heads or sequences. Below -1e30, -infinity say, it hides a key; under a soft-cap -10000, say, does not.
 *
 * Tensors are jagged, with jindou/attention.h's rules of strides, alignment, overlap, declared maxima and bounds. Slopes, tables, biases
 * and lse are contiguous in their last dimension and aligned to their elements only. The bits of a sequence's result depend on nothing else of the batch.
 * Accumulation is f32. (FlashAttention-2, arXiv 2307.08691; FlashInfer; ALiBi, arXiv 2108.12409.) */
#ifndef JINDOU_SOFTMAX_ATTENTION_H
#define JINDOU_SOFTMAX_ATTENTION_H

#include <jindou/base.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { JD_MASK_NONE = 0, JD_MASK_CAUSAL = 1, JD_MASK_WINDOW = 2 };
enum { JD_BIAS_NONE = 0, JD_BIAS_ALIBI = 1, JD_BIAS_T5 = 2, JD_BIAS_DENSE = 3 };

typedef struct jd_softmax_attention_desc {
  uint32_t struct_size;
  int32_t dtype;            /* JD_F32, JD_F16 or JD_BF16: queries, keys, values */
  int32_t out_dtype;        /* dtype or JD_F32; 0 = dtype */
  int32_t offset_dtype;     /* JD_I32 or JD_I64: both offsets */
  int32_t num_heads;        /* H, 1..256 */
  int32_t num_kv_heads;     /* Hkv, divides H; 0 = H */
  int32_t head_dim_qk;      /* 32, 64, 96, 128, 192, 256 */
  int32_t head_dim_v;       /* likewise */
  float scale;              /* finite */
  float softcap;            /* finite, > 0; 0 = none */
  int32_t mask;             /* JD_MASK_* */
  int32_t left;             /* JD_MASK_WINDOW: keys before the row's own position, or -1; ignored else */
  int32_t right;            /* JD_MASK_WINDOW: keys behind it, or -1; ignored else */
  int32_t sink;             /* 0.. */
  int32_t prefix;           /* 0.. */
  int32_t num_global;       /* 0.. */
  int32_t bias;             /* JD_BIAS_* */
  int32_t t5_num_buckets;   /* JD_BIAS_T5: 2..1024; bidirectional: even, 4..1024; ignored else */
  int32_t t5_max_distance;  /* JD_BIAS_T5: more than the exact distances e, to 1048576; ignored else */
  int32_t t5_bidirectional; /* JD_BIAS_T5: 1 or 0; ignored else */
  int32_t bounds;           /* JD_BOUNDS_STRICT or JD_BOUNDS_ZERO */
  int32_t reserved;
  int64_t max_batch;        /* sequences a run, 1..1048576 */
  int64_t max_queries;      /* queries a sequence, 1..1048576 */
  int64_t max_keys;         /* keys a sequence, 1..1048576 */
} jd_softmax_attention_desc;

typedef struct jd_softmax_attention_args {
  uint32_t struct_size;
  uint32_t reserved;
  jd_tensor queries;      /* [sum nq, H, dqk] */
  jd_tensor q_offsets;    /* [B + 1] */
  jd_tensor keys;         /* [sum nk, Hkv, dqk] */
  jd_tensor values;       /* [sum nk, Hkv, dv] */
  jd_tensor k_offsets;    /* [B + 1] */
  jd_tensor alibi_slopes; /* [H] f32, with JD_BIAS_ALIBI; else 0 */
  jd_tensor t5_bias;      /* [t5_num_buckets, H] f32, with JD_BIAS_T5; else 0 */
  jd_tensor bias;         /* [H, Q, K] or [B, H, Q, K] f32, with JD_BIAS_DENSE; else 0. Sequences longer than Q or K are refused */
  jd_tensor out;          /* [sum nq, H, dv] */
  jd_tensor lse;          /* [sum nq, H] f32, or 0 */
} jd_softmax_attention_args;

JD_API jd_status jd_softmax_attention_plan(jd_device device, const jd_softmax_attention_desc *desc, jd_plan *plan,
                                           jd_error *error);
JD_API jd_status jd_softmax_attention_run(jd_plan plan, jd_stream stream, const jd_softmax_attention_args *args,
                                          jd_error *error);

/* merge_attention_states: the softmax over two disjoint sets of keys, from the results over each (FlashInfer).
 *   lse = log(exp(lse_a) + exp(lse_b)) ,  out = exp(lse_a - lse) * out_a + exp(lse_b - lse) * out_b
 * A side with lse = -infinity saw no key: its row is not looked at. Where both are, out is zeros and lse = -infinity.
 * Rows may have any strides that are multiples of 16 bytes, and lse any with a contiguous last dimension. No plan. */
typedef struct jd_merge_attention_states_args {
  uint32_t struct_size;
  uint32_t reserved;
  jd_tensor out_a; /* [rows, H, d] f32, f16 or bf16; d a multiple of 32 to 256 */
  jd_tensor lse_a; /* [rows, H] f32, natural logarithm */
  jd_tensor out_b; /* as out_a */
  jd_tensor lse_b; /* [rows, H] f32 */
  jd_tensor out;   /* [rows, H, d] of their dtype or f32, or of any of the three where they are f32; may be out_a or out_b */
  jd_tensor lse;   /* [rows, H] f32, or 0; may be lse_a or lse_b */
} jd_merge_attention_states_args;

JD_API jd_status jd_merge_attention_states(jd_stream stream, const jd_merge_attention_states_args *args, jd_error *error);

#ifdef __cplusplus
}
#endif
#endif
