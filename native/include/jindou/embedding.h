/* embedding_bag: many tables, many bags, one launch (after FBGEMM's table-batched embeddings).
 *
 * Table t has shape [rows_t, dim_t], dtype f32, f16, bf16 or f8_e4m3, dim_t a multiple of 4 in 4..2048, data 16-byte aligned,
 * rows contiguous (the stride of dimension 0 may exceed dim_t; it is a multiple of 4); or it holds codes with a scale in each
 * row, see JD_ROWS_*. Bag b of table t holds ids[offsets[t*B + b] .. offsets[t*B + b + 1]); an id is a row of table t.
 * Tables of one launch may differ in rows, dim, dtype, row format and pooling. Accumulation is f32, in id order.
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

/* Row formats. All but JD_ROWS_PLAIN are u8 tensors [rows, row bytes] of rows that stand for code * scale + bias, element by
 * element in f32 (one fused multiply-add); D is the table's dim, given apart. Rows may be longer than their format needs and
 * any number of bytes apart; on a GPU those that begin at multiples of 4 bytes, with D a multiple of 8, are read fastest.
 * int4 and int2 codes fill a byte from its lowest bits: element 2j is the low half of byte j (int2: element 4j the lowest two
 * bits). These are FBGEMM's layouts, bit for bit, with rows aligned to 16 bytes (CUDA) or not at all (CPU):
 *
 *   JD_ROWS_INT8, _INT4, _INT2   f16 scale, f16 bias, then D codes of 8, 4, 2 bits unsigned: 4 + D * bits / 8 bytes. FBGEMM's
 *                                table-batched (inference) embeddings; our own
 *   JD_ROWS_INT8_FLOAT           D codes, then f32 scale, f32 bias: D + 8 bytes. FBGEMM's and PyTorch's fused 8-bit rowwise
 *   JD_ROWS_INT4_LAST, _INT2_LAST D codes, then f16 scale, f16 bias: D * bits / 8 + 4 bytes. Their fused 4- and 2-bit rowwise
 *   JD_ROWS_E4M3                 f32 scale, then D codes of fp8 e4m3: D + 4 bytes; no bias. Our own
 *
 * FBGEMM's FP8 rows (4 bits of exponent, bias 7; no scale) and its native FP8 are JD_ROWS_PLAIN of f8_e4m3. */
enum {
  JD_ROWS_PLAIN = 0,
  JD_ROWS_INT8 = 1,
  JD_ROWS_INT4 = 2,
  JD_ROWS_INT2 = 3,
  JD_ROWS_INT8_FLOAT = 4,
  JD_ROWS_INT4_LAST = 5,
  JD_ROWS_INT2_LAST = 6,
  JD_ROWS_E4M3 = 7
};

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
  const int32_t *row_formats;    /* [T] JD_ROWS_*, or NULL: plain for all */
  const int32_t *dims;           /* [T] elements a row, for formats that are not plain (else not read); NULL where all are */
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
