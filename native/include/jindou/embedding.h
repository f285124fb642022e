/* embedding_bag: many tables, many bags, one launch (after FBGEMM's table-batched embeddings).
 *
 * Table t has shape [rows_t, dim_t], dtype f32, f16 or bf16, dim_t a multiple of 4 in 4..2048, data 16-byte aligned, rows
 * contiguous (the stride of dimension 0 may exceed dim_t; it is a multiple of 4). Bag b of table t holds
 * ids[offsets[t*B + b] .. offsets[t*B + b + 1]); an id is a row of table t. Accumulation is f32, in id order.
 *   sum    out[b, cols of t] = sum_i w_i * row(id_i)
 *   mean   the same divided by the number of valid ids (weighted: by the sum of their weights), or, with
 *          JD_MEAN_LENGTH, by the bag's length; an empty bag gives zeros
 *   max    elementwise maximum of w_i * row(id_i); an empty bag gives zeros
 *   none   out[i, :] = w_i * row(id_i): no pooling; all tables must use it and share one dim; out is [total ids, dim];
 *          a skipped id gives a row of zeros
 * Valid ids are those in range and not equal to the padding id. ids, offsets and weights are contiguous and aligned to their
 * elements only; out shares no element with another argument or a table. */
#ifndef JINDOU_EMBEDDING_H
#define JINDOU_EMBEDDING_H

#include <jindou/base.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { JD_POOL_SUM = 0, JD_POOL_MEAN = 1, JD_POOL_MAX = 2, JD_POOL_NONE = 3 };
enum { JD_MEAN_VALID = 0, JD_MEAN_LENGTH = 1 };

typedef struct jd_embedding_bag_desc {
  uint32_t struct_size;
  int32_t num_tables;            /* T, 1..4096 */
  const jd_tensor *tables;       /* [T]; the plan keeps them alive */
  const int32_t *table_pooling;  /* [T] JD_POOL_*, or NULL: `pooling` for all */
  int32_t pooling;               /* JD_POOL_*, used when table_pooling is NULL */
  int32_t bounds;                /* JD_BOUNDS_* for ids and offsets */
  int32_t mean_denominator;      /* JD_MEAN_* */
  int32_t index_dtype;           /* JD_I32 or JD_I64: dtype of ids */
  int32_t offset_dtype;          /* JD_I32 or JD_I64: dtype of offsets */
  int32_t out_dtype;             /* JD_F32, JD_F16 or JD_BF16; 0 = JD_F32 */
  int32_t weighted;              /* 1: args.weights is required, 0: it must be 0 */
  int32_t has_padding_id;        /* 1: padding_id contributes nothing and is not counted */
  int64_t padding_id;
  int64_t max_batch;             /* largest B of a run, >= 0; T * max_batch < 2^31 */
  int64_t max_ids;               /* largest number of ids of a run, >= 0; < 2^31 with JD_I32 offsets */
} jd_embedding_bag_desc;

typedef struct jd_embedding_bag_args {
  uint32_t struct_size;
  uint32_t reserved;
  jd_tensor ids;     /* [total] index_dtype */
  jd_tensor offsets; /* [T*B + 1] offset_dtype: first 0, non-decreasing, last = total */
  jd_tensor weights; /* [total] f32, or 0 */
  jd_tensor out;     /* [B, sum dims] (none: [total, dim]) out_dtype; rows 16-byte aligned */
} jd_embedding_bag_args;

JD_API jd_status jd_embedding_bag_plan(jd_device device, const jd_embedding_bag_desc *desc, jd_plan *plan,
                                       jd_error *error);
/* B is (length of offsets - 1) / T. */
JD_API jd_status jd_embedding_bag_run(jd_plan plan, jd_stream stream, const jd_embedding_bag_args *args,
                                      jd_error *error);

#ifdef __cplusplus
}
#endif
#endif
