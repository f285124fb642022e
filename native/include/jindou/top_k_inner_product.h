/* top_k_inner_product: exact maximum-inner-product search, the k best items of each query.
 *
 *   s_qj = queries_q . items_j ;  for each query the k largest of the allowed items, the largest first, of equals the lower index first
 *
 * An item's index is its row. Items are read from memory once for as many queries as their lists fit, all of them as a rule; no matrix
 * of scores is ever in memory, and what a plan holds does not grow with the number of items.
 *
 * Scores accumulate in f32, in the order of the dimensions on the CPU (of 16-bit elements on a GPU: the tensor cores'); products of f16 and
 * bf16 are exact. The list is exact for these scores, and -0 equals +0. So a query's result depends on that query, the items and the filter
 * alone: not on the other queries, its place among them, the number of threads or how the work is cut.
 * Items may be rows of codes, as embedding tables have them (jindou/embedding.h, JD_ROWS_*). An element is then code * scale + bias in f32,
 * queries are widened, and the bits of every score are those of f32 queries and the f32 rows that dequantize_rows gives.
 * An item whose score is NaN or -infinity is never found. Past the last item found come index -1 and score -infinity.
 *
 * `allowed` has a bit an item, bit j % 8 of byte j / 8: one row for all queries, or a row for each. Bits past the last item are not looked at.
 *
 * Rows of queries and of items that are numbers are aligned to 16 bytes (data and strides), those of codes begin anywhere; the last dimension of every tensor is contiguous, the other strides are
 * free. Outputs share no element with another argument. (What Faiss calls IndexFlatIP; the retrieval step of two-tower models, SASRec and HSTU.) */
#ifndef JINDOU_TOP_K_INNER_PRODUCT_H
#define JINDOU_TOP_K_INNER_PRODUCT_H

#include <jindou/embedding.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct jd_top_k_inner_product_desc {
  uint32_t struct_size;
  int32_t dtype;       /* of queries, and of items that are numbers: JD_F32, JD_F16 or JD_BF16 */
  int32_t dim;         /* d, a multiple of 8, to 2048 */
  int32_t k;           /* items a query, 1..1024 */
  int64_t max_queries; /* queries a run, 1..1048576 */
  int32_t row_format;  /* of items: JD_ROWS_*; JD_ROWS_PLAIN (0): numbers of `dtype` */
  int32_t reserved;    /* 0 */
} jd_top_k_inner_product_desc;

typedef struct jd_top_k_inner_product_args {
  uint32_t struct_size;
  uint32_t reserved;
  jd_tensor queries; /* [m, d] */
  jd_tensor items;   /* [N, d], N to 2147483647; of codes [N, bytes] u8, at least as many as the format needs */
  jd_tensor allowed; /* [(N + 7) / 8] u8, of all queries, or [m, (N + 7) / 8]; or 0: every item is allowed */
  jd_tensor indices; /* [m, k] i64, best first; -1 past the last found */
  jd_tensor scores;  /* [m, k] f32, or 0; -infinity past the last found */
} jd_top_k_inner_product_args;

JD_API jd_status jd_top_k_inner_product_plan(jd_device device, const jd_top_k_inner_product_desc *desc, jd_plan *plan,
                                             jd_error *error);
JD_API jd_status jd_top_k_inner_product_run(jd_plan plan, jd_stream stream, const jd_top_k_inner_product_args *args,
                                            jd_error *error);

#ifdef __cplusplus
}
#endif
#endif
