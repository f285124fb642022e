/* Attention over long user histories: target_attention and hstu_attention.
 *
 * Tensors are jagged: values [total, heads, headDim] with offsets [batch + 1] (int32 or int64; first 0, non-decreasing,
 * last = total). Token and head strides are free multiples of 16 bytes, the last dimension is contiguous, data is 16-byte
 * aligned; offsets, num_targets, attn_scale, timestamps and biases are contiguous in their last dimension and aligned to their elements only. `out`
 * has every element at an address of its own and shares none with an input; it may be a column range of a tensor whose
 * other columns are inputs. Anything outside these rules is JD_INVALID_ARGUMENT, head dims and dtypes included. Inputs are f32, f16
 * or bf16; head dims of queries and keys, and of values, 32, 64, 96, 128, 192 or 256, equal or not; accumulation is f32 and the output has
 * the inputs' dtype or f32. A device without a kernel for some combination answers JD_UNSUPPORTED to the plan. Declared maxima (max_batch, max_candidates...) size the plan; a longer sequence is refused: before
 * anything runs where the host can see the offsets (cpu), else by the kernel under the call's `bounds` mode: STRICT
 * reports the sequence at the next synchronisation, ZERO skips and counts it. The rows of a refused sequence are unspecified. */
#ifndef JINDOU_ATTENTION_H
#define JINDOU_ATTENTION_H

#include <jindou/base.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { JD_ACTIVATION_SOFTMAX = 0, JD_ACTIVATION_SILU = 1 };

/* target_attention: every candidate of a user attends to the whole history of that user and, with self_key, to its own
 * key/value row; never to another candidate.
 *   out_i = sum_j softmax_j(scale * q_i . k_j) v_j ,  j over the history (its last num_latest events) and i's own row
 * or, with JD_ACTIVATION_SILU,  out_i = sum_j SiLU(scale * q_i . k_j) v_j / scaling_seqlen ,  HSTU's targets.
 * Query head h reads key/value head h / (num_heads / num_kv_heads). A candidate with no key at all gives zeros.
 * (STCA, "Make It Long, Keep It Fast"; M-FALCON, arXiv 2402.17152.) */
typedef struct jd_target_attention_desc {
  uint32_t struct_size;
  int32_t dtype;          /* JD_F32, JD_F16 or JD_BF16: candidates, keys, values */
  int32_t out_dtype;      /* dtype or JD_F32; 0 = dtype */
  int32_t offset_dtype;   /* JD_I32 or JD_I64: both offsets */
  int32_t num_heads;      /* H, 1..256 */
  int32_t num_kv_heads;   /* Hkv, divides H; 0 = H */
  int32_t head_dim_qk;    /* 32, 64, 96, 128, 192, 256: of queries and keys */
  int32_t head_dim_v;     /* likewise: of values and out */
  float scale;            /* finite */
  int32_t activation;     /* JD_ACTIVATION_SOFTMAX or JD_ACTIVATION_SILU */
  float scaling_seqlen;   /* JD_ACTIVATION_SILU: finite, > 0; ignored else */
  int32_t self_key;       /* 1: args.candidate_keys and candidate_values are required; 0: they must be 0 */
  int32_t bounds;         /* JD_BOUNDS_STRICT or JD_BOUNDS_ZERO, for offsets and lengths seen on the device */
  int32_t reserved;
  int64_t num_latest;     /* only the last n events of each history; 0 = all */
  int64_t max_batch;      /* users a run, 1..1048576 */
  int64_t max_candidates; /* candidates a user, 1..4096 */
  int64_t max_history;    /* events a user, 1..131072 */
} jd_target_attention_desc;

typedef struct jd_target_attention_args {
  uint32_t struct_size;
  uint32_t reserved;
  jd_tensor candidates;        /* [sum nc, H, dqk] */
  jd_tensor candidate_offsets; /* [B + 1] */
  jd_tensor keys;              /* [sum nk, Hkv, dqk] */
  jd_tensor values;            /* [sum nk, Hkv, dv] */
  jd_tensor history_offsets;   /* [B + 1] */
  jd_tensor candidate_keys;    /* [sum nc, Hkv, dqk], or 0 */
  jd_tensor candidate_values;  /* [sum nc, Hkv, dv], or 0 */
  jd_tensor out;               /* [sum nc, H, dv] */
} jd_target_attention_args;

JD_API jd_status jd_target_attention_plan(jd_device device, const jd_target_attention_desc *desc, jd_plan *plan,
                                          jd_error *error);
JD_API jd_status jd_target_attention_run(jd_plan plan, jd_stream stream, const jd_target_attention_args *args,
                                         jd_error *error);

/* hstu_attention: pointwise (SiLU) attention with HSTU's mask over jagged sequences.
 *   a_ij = SiLU(alpha * q_i . k_j) * norm_i * m_ij ,  out_i = sum_j a_ij v_j ,  SiLU(x) = x * sigmoid(x)
 * norm_i is 1/scaling_seqlen, or attn_scale[i] where that tensor is given. The mask m of a sequence of n rows with t targets
 * and c contextual rows (generative-recommenders, _get_valid_attn_mask):
 *   id(i) = c > 0 ? max(i - c + 1, 0) : i ;  max_id = (c > 0 ? n - c + 1 : n) - t ;  id(i) = min(id(i), max_id)
 *   allowed(i, j) = i == j  or  id(i) > id(j)          (causal = 0: id(i) != id(j))
 *       and, with max_attn_len w > 0:  id(i) - id(j) <= w  or, with min_full_attn_seq_len f > 0, id(i) >= max_id - f
 *       (causal = 0: |id(i) - id(j)| <= w)
 *   or  c > 0 and id(i) == 0 and id(j) < max_id
 * With a bias, SiLU(alpha * q_i . k_j + rab_ij): by position, position_bias[N - 1 + j - i], and by time,
 * time_bias[bucket(|timestamps_i - timestamps_j|)], bucket(dt) = min(floor(log(max(1, dt)) / 0.301), num_buckets); i and
 * j are positions in the sequence. Neither is ever laid out as a matrix.
 * With q_offsets the queries (and attn_scale and out) are the last rows of each sequence only, keys and values all of
 * them, from a cache say: row i of nq queries stands at position n - nq + i, and its result has the bits that the
 * whole sequence's run gives it on the same device (cached_hstu_attention), whatever max_batch and max_seq_len the plans have. On a GPU
 * keys are summed in pieces of 1,024 from the sequence's first on, so that a few rows over a long sequence fill the device.
 * With key_pages, keys and values lie in a paged cache (jindou/paged_cache.h) that holds all seq_lens[b] rows of each
 * sequence, the queries' own appended: q_offsets are required, keys, values and offsets must be 0. Pages have the queries'
 * dtype, and the result has the bits of a run over the same rows without pages; or they are f8_e4m3 or i8 with scales, and the
 * result is that of code * scale. The rows of a sequence with a refused page are unspecified.
 * (HSTU, M-FALCON: arXiv 2402.17152.) */
typedef struct jd_hstu_attention_desc {
  uint32_t struct_size;
  int32_t dtype;                 /* JD_F32, JD_F16 or JD_BF16: queries, keys, values */
  int32_t out_dtype;             /* dtype or JD_F32; 0 = dtype */
  int32_t offset_dtype;          /* JD_I32 or JD_I64 */
  int32_t num_heads;             /* H, 1..256 */
  int32_t head_dim_qk;           /* 32, 64, 96, 128, 192, 256: of queries and keys */
  int32_t head_dim_v;            /* likewise: of values and out */
  float alpha;                   /* finite */
  float scaling_seqlen;          /* finite, > 0; the training constant, not the row's length */
  int32_t causal;                /* 1 or 0 */
  int32_t contextual_seq_len;    /* c, 0..131072 */
  int32_t max_attn_len;          /* w, 0..131072; 0 = no window */
  int32_t min_full_attn_seq_len; /* f, 0..131072 */
  int32_t bounds;                /* JD_BOUNDS_STRICT or JD_BOUNDS_ZERO */
  int64_t max_batch;             /* sequences a run, 1..1048576 */
  int64_t max_seq_len;           /* rows a sequence, 1..131072 */
} jd_hstu_attention_desc;

typedef struct jd_hstu_attention_args {
  uint32_t struct_size;
  uint32_t reserved;
  jd_tensor queries;       /* [total queries, H, dqk]; total where there are no q_offsets */
  jd_tensor keys;          /* [total, H, dqk] */
  jd_tensor values;        /* [total, H, dv] */
  jd_tensor offsets;       /* [B + 1]: of keys, values and timestamps */
  jd_tensor num_targets;   /* [B] i32, 0 <= t <= rows of the sequence, or 0 */
  jd_tensor attn_scale;    /* [total queries] f32, or 0 */
  jd_tensor out;           /* [total queries, H, dv] */
  jd_tensor q_offsets;     /* [B + 1]: of queries, attn_scale and out; at most the rows of its sequence each; or 0 */
  jd_tensor timestamps;    /* [total] i64, with time_bias; else 0. With key_pages [B, T], T >= every seq_lens[b] */
  jd_tensor position_bias; /* [2 N - 1], or [H, 2 N - 1], f32, N >= max_seq_len; or 0 */
  jd_tensor time_bias;     /* [num_buckets + 1], or [H, num_buckets + 1], f32, num_buckets >= 0; or 0 */
  jd_tensor key_pages;     /* [num_pages, page_size, H, dqk]; or 0, as all that follow */
  jd_tensor value_pages;   /* [num_pages, page_size, H, dv] */
  jd_tensor page_table;    /* [B, max_pages] i32 */
  jd_tensor seq_lens;      /* [B] i32: rows of each sequence, 0..min(max_seq_len, max_pages * page_size) */
  jd_tensor key_scales;    /* f32, for quantised pages */
  jd_tensor value_scales;  /* likewise */
} jd_hstu_attention_args;

JD_API jd_status jd_hstu_attention_plan(jd_device device, const jd_hstu_attention_desc *desc, jd_plan *plan,
                                        jd_error *error);
JD_API jd_status jd_hstu_attention_run(jd_plan plan, jd_stream stream, const jd_hstu_attention_args *args,
                                       jd_error *error);

#ifdef __cplusplus
}
#endif
#endif
