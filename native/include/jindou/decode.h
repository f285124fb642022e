/* decode_attention: one to sixteen queries a sequence against a long paged cache (jindou/paged_cache.h).
 *
 *   out_i = sum_j softmax_j(scale * q_i . k_j) v_j ,  j up to i's own position
 *
 * The cache of sequence b holds seq_lens[b] rows, those of its nq queries included, as the last: query i stands at position
 * seq_lens[b] - nq + i and sees the keys up to there (bottom-right causal). Query head h reads key/value head
 * h / (num_heads / num_kv_heads). The keys of a sequence are cut into pieces by their number alone, which are merged in order:
 * the bits of a sequence's result depend on nothing else of the batch.
 *
 * Queries are jagged, as in jindou/attention.h, with its rules of strides, alignment and overlap; pages and what the kernels find
 * wrong with them as in jindou/paged_cache.h. The rows of a refused sequence are unspecified. Accumulation is f32; of quantised pages
 * the result is that of code * scale. (FlashDecoding; FlashInfer; PagedAttention, arXiv 2309.06180.) */
#ifndef JINDOU_DECODE_H
#define JINDOU_DECODE_H

#include <jindou/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct jd_decode_attention_desc {
  uint32_t struct_size;
  int32_t dtype;          /* of queries: JD_F32, JD_F16 or JD_BF16 */
  int32_t out_dtype;      /* dtype or JD_F32; 0 = dtype */
  int32_t cache_dtype;    /* of pages: dtype, JD_F8_E4M3 or JD_I8; 0 = dtype */
  int32_t offset_dtype;   /* JD_I32 or JD_I64 */
  int32_t num_heads;      /* H, 1..256 */
  int32_t num_kv_heads;   /* Hkv, divides H; 0 = H */
  int32_t head_dim_qk;    /* a multiple of 32, to 256 */
  int32_t head_dim_v;     /* likewise */
  float scale;            /* finite */
  int32_t bounds;         /* JD_BOUNDS_STRICT or JD_BOUNDS_ZERO */
  int32_t max_queries;    /* queries a sequence, 1..16 */
  int64_t max_batch;      /* sequences a run, 1..1048576 */
  int64_t max_seq_len;    /* rows a sequence, 1..131072 */
} jd_decode_attention_desc;

typedef struct jd_decode_attention_args {
  uint32_t struct_size;
  uint32_t reserved;
  jd_tensor queries;      /* [sum nq, H, dqk] */
  jd_tensor q_offsets;    /* [B + 1] */
  jd_tensor key_pages;    /* [num_pages, page_size, Hkv, dqk] */
  jd_tensor value_pages;  /* [num_pages, page_size, Hkv, dv] */
  jd_tensor page_table;   /* [B, max_pages] i32 */
  jd_tensor seq_lens;     /* [B] i32: rows of each sequence, at least its queries */
  jd_tensor key_scales;   /* f32, for quantised pages; else 0 */
  jd_tensor value_scales; /* likewise */
  jd_tensor out;          /* [sum nq, H, dv] */
  jd_tensor lse;          /* [sum nq, H] f32: log of the sum of exp(scale * q_i . k_j), natural; or 0 */
} jd_decode_attention_args;

JD_API jd_status jd_decode_attention_plan(jd_device device, const jd_decode_attention_desc *desc, jd_plan *plan,
                                          jd_error *error);
JD_API jd_status jd_decode_attention_run(jd_plan plan, jd_stream stream, const jd_decode_attention_args *args,
                                         jd_error *error);

#ifdef __cplusplus
}
#endif
#endif
