/* embedding_bag: many tables, many bags, one launch (after FBGEMM's table-batched embeddings).
 *
 * Table t has shape [rows_t, dim_t], dtype f32, f16, bf16 or f8_e4m3, dim_t a multiple of 4 in 4..2048, data 16-byte aligned,
 * rows contiguous (the stride of dimension 0 may exceed dim_t; it is a multiple of 4); or it holds codes with a scale in each
 * row, see JD_ROWS_*. Bag b of table t holds ids[offsets[t*B + b] .. offsets[t*B + b + 1]); an id is a row of table t.
 * Tables of one launch may differ in rows, dim, dtype, row format and pooling. Accumulation is f32, in id order.
 *   sum    out[b, cols of t] = sum_i w_i * row(id_i)
 *   mean   the same divided by the number of valid ids (weighted: by the sum of their weights), or, with
 *          JD_MEAN_LENGTH, by the bag's length; an empty bag gives zeros
 *   max    elementwise maximum of w_i * row(id_i), NaN where one is NaN; an empty bag gives zeros
 *   none   out[i, :] = w_i * row(id_i): no pooling; out is [total ids, dim], of tables of one dim; a skipped id gives a row of
 *          zeros. Tables of several dims, and tables without pooling beside others with it, take split_out
 * out is one tensor [B, sum of columns], or with split_out a tensor for each table, [B, columns of t] of one piece: out is then
 * [B * sum of columns], the tables' blocks one after the other. Without pooling the block of table t is [its ids, dim_t]: its n_t =
 * offsets[(t+1)*B] - offsets[t*B] rows in the order of the ids, behind the n_s * dim_s elements of each table s before it; out is
 * [n], with room for total ids * the largest dim (n_t need not be known to the host); what lies behind the last block is not written.
 * In a plan of both the blocks of all tables with pooling come first, so that the host knows where they are (block t behind B * the
 * columns of those tables before it), then those of the tables without, in their order, as if the others were not there; out is
 * [n], with room for B * sum of columns with pooling + total ids * the largest dim without.
 * The dtype of out is f32, f16, bf16, or i8 with a scale for each row of a table's columns (of the k rows of an id side by side
 * each has its own): out = code * scale, scale = max|x| / 127 (0 for zeros), code = x / scale to nearest even. A row with an
 * element that is no finite number has scale NaN and codes 0: all of it reads as NaN.
 *
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

/* From ids to rows. Without table_keys an id is a row of its table. With them every id chooses one row by each of its table's k
 * functions, so that ids of any number share a table of few rows:
 *
 *   JD_KEYS_SUM     the id's row is the sum of the k rows: the table has the columns of one
 *   JD_KEYS_CONCAT  the k rows side by side: k * dim columns
 *
 *   JD_KEY_ROW       row = id                     ids of 0..num_rows - 1
 *   JD_KEY_MODULO    row = id mod num_rows        of any id, never negative
 *   JD_KEY_QUOTIENT  row = floor(id / divisor)    ids of 0..divisor * num_rows - 1
 *   JD_KEY_HASH      row = h mod num_rows         of any id; h = mix(id xor mix(seed)) as unsigned 64-bit numbers, mix being
 *                    MurmurHash3's finaliser: x ^= x >> 33; x *= 0xff51afd7ed558ccd; x ^= x >> 33; x *= 0xc4ceb9fe1a85ec53; x ^= x >> 33
 *
 * each counted from first_row. An id that one of the functions does not take is out of range: it follows `bounds` and contributes
 * nothing at all. An id counts once in means, and has one weight, whatever k is. JD_I32 ids are widened with their sign.
 *
 * The hashing trick (Weinberger et al. 2009) is one HASH or MODULO; hash embeddings (Svenstrup et al. 2017) are several HASH;
 * quotient-remainder (Shi et al. 2020, arXiv 1909.02107) is a QUOTIENT and a MODULO of as many rows as the divisor, over the two parts
 * of one table. */
enum { JD_KEY_ROW = 0, JD_KEY_MODULO = 1, JD_KEY_QUOTIENT = 2, JD_KEY_HASH = 3 };
enum { JD_KEYS_SUM = 0, JD_KEYS_CONCAT = 1 };
enum { JD_MAX_KEY_FUNCTIONS = 8 };

typedef struct jd_key_function {
  int32_t kind;      /* JD_KEY_* */
  int32_t reserved;  /* 0 */
  int64_t first_row; /* it chooses among rows first_row..first_row + num_rows - 1 of the table */
  int64_t num_rows;  /* 0: to the last row of the table. At least one for MODULO and HASH */
  int64_t divisor;   /* JD_KEY_QUOTIENT: >= 1; else 0 */
  uint64_t seed;     /* JD_KEY_HASH: any; else 0 */
} jd_key_function;

typedef struct jd_table_keys {
  int32_t num_functions;            /* k, 0..JD_MAX_KEY_FUNCTIONS; 0: an id is a row, the rest is not read */
  int32_t combine;                  /* JD_KEYS_* */
  const jd_key_function *functions; /* [k] */
} jd_table_keys;

typedef struct jd_embedding_bag_desc {
  uint32_t struct_size;
  int32_t num_tables;            /* T, 1..4096 */
  const jd_tensor *tables;       /* [T]; the plan keeps them alive */
  const int32_t *table_pooling;  /* [T] JD_POOL_*, or NULL: `pooling` for all */
  int32_t pooling;               /* JD_POOL_*, used when table_pooling is NULL */
  int32_t bounds;                /* JD_BOUNDS_* for ids. Offsets are checked in every mode */
  int32_t mean_denominator;      /* JD_MEAN_* */
  int32_t index_dtype;           /* JD_I32 or JD_I64: dtype of ids */
  int32_t offset_dtype;          /* JD_I32 or JD_I64: dtype of offsets */
  int32_t out_dtype;             /* JD_F32, JD_F16, JD_BF16 or JD_I8; 0 = JD_F32 */
  int32_t weighted;              /* 1: args.weights is required, 0: it must be 0 */
  int32_t has_padding_id;        /* 1: padding_id contributes nothing and is not counted */
  int64_t padding_id;
  int64_t max_batch;             /* largest B of a run, >= 0; T * max_batch < 2^31 */
  int64_t max_ids;               /* largest number of ids of a run, >= 0; < 2^31 with JD_I32 offsets */
  const int32_t *row_formats;    /* [T] JD_ROWS_*, or NULL: plain for all */
  const int32_t *dims;           /* [T] elements a row, for formats that are not plain (else not read); NULL where all are */
  const jd_table_keys *table_keys; /* [T], or NULL: ids are rows. Several functions need pooling sum or mean; side by side also max */
  int32_t split_out;             /* 1: out is a tensor for each table, one behind the other */
  int32_t reserved;
} jd_embedding_bag_desc;

typedef struct jd_embedding_bag_args {
  uint32_t struct_size;
  uint32_t reserved;
  jd_tensor ids;     /* [total] index_dtype */
  jd_tensor offsets; /* [T*B + 1] offset_dtype: first 0, non-decreasing, last = total */
  jd_tensor weights; /* [total] f32, or 0 */
  jd_tensor out;     /* [B, sum of columns] (none: [total, dim]) out_dtype, rows 16-byte aligned; or, split, [B * sum of columns]
                        (none: [at least total * largest dim]; both: at least their sum), contiguous, 16-byte aligned */
  jd_tensor out_scales; /* JD_I8: [B, S] f32 written, S the tables, each counted as often as its ids have rows side by side (none:
                           [total, 1], a scale an id; both: [B * S + total] contiguous, [B, S] of the tables with pooling, then
                           a scale an id at its position, of which those of ids of tables with pooling are not written); else 0 */
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
