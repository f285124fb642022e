/* sequence_embedding: the input rows of attention, from the ids of jagged histories, in one pass.
 *
 *   out_i = scale * (row of ids[0, i] in table 0 | ... | row of ids[T-1, i] in table T-1)     JD_SEQUENCE_CONCAT
 *         = scale * (the sum of those rows)                                                   JD_SEQUENCE_SUM
 *           + position_table[position(i)] + time_table[bucket(i)]                             where there are such tables
 *
 * Tables are those of embedding_bag (jindou/embedding.h): dtypes, row formats, dims, alignment, keys; for sums of one dim (k * dim of
 * k rows side by side). D is the width of out: the sum of the dims, or the dim. Sequence b holds the events offsets[b]..offsets[b+1]-1 of every table. For event i of a
 * sequence of n events, counted from its first, the last t = num_targets[b] of them targets (none: t = 0), the first
 * c = contextual_len of them contexts:
 *
 *   position   i < c: i.  JD_POSITION_FROM_START: min(i, n - t).  JD_POSITION_FROM_END: c + max(n - t - i, 0): the last event
 *              before the targets has c + 1, all targets share c. Cut to the rows of position_table.
 *   bucket     of dt = query time - timestamps[i], the query time query_times[b] or the timestamp of the sequence's last event:
 *              JD_TIME_SQRT: floor(sqrt(dt / time_unit)).  JD_TIME_LOG: floor(ln(dt / time_unit)), at least 0.  dt <= 0: 0.
 *              Cut to max_time_bucket. Exact for 64-bit timestamps.
 *
 * An id out of range follows `bounds`, as in embedding_bag (its position is that in ids, counted row by row); it and the padding id
 * stand for a row of zeros. Offsets and num_targets are checked in every mode. Sums are f32, in the order of tables, and rounded
 * once to out's dtype. A row of out depends on its own event and sequence alone.
 *
 * The positions and buckets are those of HSTU's encoder in generative-recommenders (arXiv 2402.17152): FROM_END, JD_TIME_SQRT, time_unit
 * 60 (seconds), scale sqrt(D); its releases cut the bucket to 2048, or to D - 1. */
#ifndef JINDOU_SEQUENCE_EMBEDDING_H
#define JINDOU_SEQUENCE_EMBEDDING_H

#include <jindou/embedding.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { JD_SEQUENCE_CONCAT = 0, JD_SEQUENCE_SUM = 1 };
enum { JD_POSITION_FROM_START = 0, JD_POSITION_FROM_END = 1 };
enum { JD_TIME_SQRT = 0, JD_TIME_LOG = 1 };

typedef struct jd_sequence_embedding_desc {
  uint32_t struct_size;
  int32_t num_tables;          /* T, 1..256 */
  const jd_tensor *tables;     /* [T]; the plan keeps them alive */
  const int32_t *row_formats;  /* [T] JD_ROWS_*, or NULL: plain for all */
  const int32_t *dims;         /* [T] elements a row, for formats that are not plain (else not read); NULL where all are */
  int32_t combine;             /* JD_SEQUENCE_* */
  int32_t bounds;              /* JD_BOUNDS_* for ids */
  int32_t index_dtype;         /* JD_I32 or JD_I64: dtype of ids */
  int32_t offset_dtype;        /* JD_I32 or JD_I64: dtype of offsets */
  int32_t out_dtype;           /* JD_F32, JD_F16 or JD_BF16; 0 = JD_F32 */
  int32_t has_padding_id;      /* 1: padding_id stands for zeros and is not counted */
  int64_t padding_id;
  jd_tensor position_table;    /* [positions, D] f32, f16, bf16 or f8_e4m3, or rows of codes as position_format says; at least one
                                  row; or 0. The plan keeps it alive */
  jd_tensor time_table;        /* [buckets, D] likewise */
  float scale;                 /* finite */
  int32_t position_mode;       /* JD_POSITION_* */
  int32_t contextual_len;      /* c, >= 0 */
  int32_t time_function;       /* JD_TIME_* */
  int32_t max_time_bucket;     /* 0 = the last row of time_table */
  int32_t has_num_targets;     /* 1: args.num_targets is required, 0: it must be 0 */
  int64_t time_unit;           /* of timestamps, >= 1; read where there is a time_table */
  int32_t has_query_times;     /* 1: args.query_times is required, 0: it must be 0. Only with a time_table */
  int32_t reserved;
  int64_t max_batch;           /* largest B of a run, >= 0 */
  int64_t max_events;          /* largest number of events of a run, >= 0; < 2^31 with JD_I32 offsets */
  const jd_table_keys *table_keys; /* [T] from ids to rows (jindou/embedding.h), or NULL: ids are rows */
  int32_t position_format;     /* JD_ROWS_* of position_table, whose rows have D elements; JD_ROWS_PLAIN without one */
  int32_t time_format;         /* of time_table likewise */
} jd_sequence_embedding_desc;

typedef struct jd_sequence_embedding_args {
  uint32_t struct_size;
  uint32_t reserved;
  jd_tensor ids;         /* [T, total] index_dtype; rows any number of elements apart */
  jd_tensor offsets;     /* [B + 1] offset_dtype: first 0, non-decreasing, last = total */
  jd_tensor timestamps;  /* [total] i64, with a time_table; else 0 */
  jd_tensor query_times; /* [B] i64, or 0 */
  jd_tensor num_targets; /* [B] i32: 0..n of each sequence, or 0 */
  jd_tensor out;         /* [total, D] out_dtype; rows 16-byte aligned */
} jd_sequence_embedding_args;

JD_API jd_status jd_sequence_embedding_plan(jd_device device, const jd_sequence_embedding_desc *desc, jd_plan *plan,
                                            jd_error *error);
JD_API jd_status jd_sequence_embedding_run(jd_plan plan, jd_stream stream, const jd_sequence_embedding_args *args,
                                           jd_error *error);

#ifdef __cplusplus
}
#endif
#endif
