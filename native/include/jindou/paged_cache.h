/* A paged cache of keys and values: rows of many sequences in pages of one pool, so that sequences grow without being
 * copied and give their pages back.
 *
 *   key_pages   [num_pages, page_size, Hkv, dk]      value_pages [num_pages, page_size, Hkv, dv]
 *   page_table  [B, max_pages] i32: row b lists the pages of sequence b, in order; entries past its rows are not read
 *   seq_lens    [B] i32: rows that sequence b has
 * Row r of sequence b lies in page page_table[b, r / page_size], at r % page_size. Pages may lie anywhere in the pool; two
 * sequences may share pages for reading. Keys and values use the same page numbers.
 *
 * Pages are f32, f16 or bf16; f8_e4m3 with scales, one for all [1] or one a page and head [num_pages, Hkv], f32, set by the
 * caller; or i8 with a scale a row and head [num_pages, page_size, Hkv], f32, written by paged_append. A quantised element
 * stands for code * scale. Every stride but the last is a free multiple of 16 bytes (scales: contiguous in their last
 * dimension); pages are aligned to 16 bytes.
 *
 * A page number outside 0..num_pages-1 and a length outside 0..max_pages * page_size are found by the kernels, on every
 * device, and follow `bounds`: STRICT reports the first at the next synchronisation, ZERO skips and counts it. Nothing outside
 * the tensors is read or written. (Paged attention: Kwon et al., arXiv 2309.06180; FlashInfer.) */
#ifndef JINDOU_PAGED_CACHE_H
#define JINDOU_PAGED_CACHE_H

#include <jindou/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct jd_paged_cache_desc {
  uint32_t struct_size;
  int32_t dtype;         /* of rows appended or gathered: JD_F32, JD_F16 or JD_BF16 */
  int32_t cache_dtype;   /* of pages: JD_F32, JD_F16, JD_BF16, JD_F8_E4M3 or JD_I8 */
  int32_t offset_dtype;  /* JD_I32 or JD_I64 */
  int32_t page_size;     /* rows a page: 16, 32, 64 or 128 */
  int32_t num_kv_heads;  /* Hkv, 1..256 */
  int32_t head_dim_k;    /* a multiple of 32, to 256 */
  int32_t head_dim_v;    /* likewise */
  int32_t bounds;        /* JD_BOUNDS_STRICT or JD_BOUNDS_ZERO */
  int32_t reserved;
  int64_t max_batch;     /* sequences a run, 1..1048576 */
} jd_paged_cache_desc;

typedef struct jd_paged_cache_args {
  uint32_t struct_size;
  uint32_t reserved;
  jd_tensor keys;         /* [total, Hkv, dk] rows of `dtype` */
  jd_tensor values;       /* [total, Hkv, dv] */
  jd_tensor offsets;      /* [B + 1]: of keys and values */
  jd_tensor key_pages;    /* [num_pages, page_size, Hkv, dk] */
  jd_tensor value_pages;  /* [num_pages, page_size, Hkv, dv] */
  jd_tensor page_table;   /* [B, max_pages] i32 */
  jd_tensor seq_lens;     /* [B] i32: rows in the cache; paged_append: before the new ones. Not changed. */
  jd_tensor key_scales;   /* f32, with JD_F8_E4M3 and JD_I8; else 0 */
  jd_tensor value_scales; /* likewise */
} jd_paged_cache_args;

/* paged_append: the rows offsets[b]..offsets[b+1]-1 of keys and values become rows seq_lens[b], seq_lens[b] + 1, ... of
 * sequence b. Numbers are rounded to nearest even. f8_e4m3: code = x / scale, saturated at +-448. i8: the row's scale becomes
 * max|x| / 127 over the head's elements, code = x / scale; a row with an infinity or NaN becomes NaN throughout. Rows whose
 * page is refused are not written; of two rows for one place (a page listed twice) either may stay. */
JD_API jd_status jd_paged_append_plan(jd_device device, const jd_paged_cache_desc *desc, jd_plan *plan, jd_error *error);
JD_API jd_status jd_paged_append_run(jd_plan plan, jd_stream stream, const jd_paged_cache_args *args, jd_error *error);

/* paged_gather: the other way. The last offsets[b+1] - offsets[b] rows of sequence b (at most seq_lens[b]) are written to
 * keys and values, as numbers of `dtype`. Rows whose page is refused become zeros. */
JD_API jd_status jd_paged_gather_plan(jd_device device, const jd_paged_cache_desc *desc, jd_plan *plan, jd_error *error);
JD_API jd_status jd_paged_gather_run(jd_plan plan, jd_stream stream, const jd_paged_cache_args *args, jd_error *error);

#ifdef __cplusplus
}
#endif
#endif
