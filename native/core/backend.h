// The table of functions between core and a backend.
//
// Core owns handles, reference counts, validation, memory accounting and (for host backends) graphs. A backend owns raw
// memory, the order of work, and kernels. Everything that reaches a backend is already validated and resolved: raw
// pointers, sizes and strides. A backend fills `jd_error` only for what it alone can know (out of memory, driver
// errors).
//
// The cpu backend is linked into libjindou.so. libjindou_cuda.so and libjindou_simt.so export one symbol,
// `jd_backend_table`, of type `const jd_backend *(*)(void)`.
#ifndef JINDOU_CORE_BACKEND_H
#define JINDOU_CORE_BACKEND_H

#include <jindou/jindou.h>
#include <stddef.h>

extern "C" {

// Raised with any change below; core refuses a plug-in of another version.
#define JDB_VERSION 4

// A resolved tensor. An absent one (optional argument) is all zero: test `dtype == 0`. `data` may be null when the
// tensor has no elements. Strides of dimensions of size 1 mean nothing.
typedef struct jdb_tensor {
  void *data;
  int32_t dtype;
  int32_t rank;
  int64_t shape[JD_MAX_RANK];
  int64_t strides[JD_MAX_RANK];  // elements
} jdb_tensor;

// What kernels found since the last synchronisation of a stream.
typedef struct jdb_report {
  int32_t has_error;  // 1: a STRICT operator met a bad value; the fields below name the first (launch order, then position)
  int32_t fault;      // JDB_FAULT_*
  int32_t op;         // JDB_OP_*
  // embedding table (also sequence_embedding); rq_decode: level; target_attention, din_attention: 0 = candidate_offsets, 1 = history_offsets; hstu_attention:
  // 1 = q_offsets; softmax_attention: 0 = q_offsets, 1 = k_offsets; beam_attention: 0 = beam_offsets, 1 = prefix_offsets;
  // longer_attention: 0 = q_offsets, 1 = k_offsets, 2 = global_offsets; merge_tokens: 0 = offsets, 1 = out_offsets; else -1
  int32_t table;
  int64_t position;   // index in ids (ids), or the sequence (offsets, lengths, targets)
  int64_t value;      // the id, offset, length or number of targets met
  int64_t limit;      // rows of the table, declared maximum...
  int64_t skipped;    // ids or sequences skipped by JD_BOUNDS_ZERO operators
} jdb_report;

enum {
  JDB_FAULT_NONE = 0,
  JDB_FAULT_ID = 1,             // id < 0 or >= rows (limit = rows)
  JDB_FAULT_OFFSET_START = 2,   // offsets[0] != 0
  JDB_FAULT_OFFSET_ORDER = 3,   // offsets[position+1] < offsets[position]
  JDB_FAULT_OFFSET_OVERRUN = 4, // offsets[position+1] > rows of the values (limit = rows), or the last one < rows
  JDB_FAULT_LENGTH = 5,         // sequence `position` longer than the declared maximum (limit)
  JDB_FAULT_TARGETS = 6,        // num_targets[position] < 0 or > rows of the sequence (limit)
  JDB_FAULT_QUERIES = 7,        // more queries than rows (limit) in sequence `position`
  JDB_FAULT_KEY = 8,            // id that a table's functions of keys do not take: < 0 or >= limit
  JDB_FAULT_ROW = 9,            // row `position` of x cannot be held by rows of codes
  JDB_FAULT_PAGE = 11,          // page number `value` at `position` of page_table (row-major); limit = pages
  JDB_FAULT_CACHE_LENGTH = 12,  // sequence `position` has a length below 0 or above limit
  JDB_FAULT_CACHE_ROWS = 13,    // more rows asked of sequence `position` than it has (limit)
  JDB_FAULT_KEY_MISSING = 20,   // keys[position] = value is not in the hash table
  JDB_FAULT_KEY_REFUSED = 21,   // keys[position] = value cannot be inserted: the table (limit slots) is full
  JDB_FAULT_INDEX = 24,         // index `value` at `position` of indices (row-major); limit = events of the user
  JDB_FAULT_ANCESTRY = 22,      // slot `value` at `position` of ancestry (row-major); limit = slots
  JDB_FAULT_SUFFIX_LENGTH = 23, // suffix_lens[position] below 0 or above limit
  JDB_FAULT_GLOBALS = 260,      // globals of user `position`: not limit (the shared ones) and whole candidates
  JDB_FAULT_FEW_QUERIES = 261,  // fewer queries than globals (limit) of user `position`
  JDB_FAULT_MERGED_ROWS = 270   // rows of out of sequence `position`; limit = what they must be
};

enum {
  JDB_OP_EMBEDDING_BAG = 1,
  JDB_OP_TARGET_ATTENTION = 2,
  JDB_OP_HSTU_ATTENTION = 3,
  JDB_OP_LINEAR = 4,
  JDB_OP_LAYER_NORM = 5,
  JDB_OP_L2_NORMALIZE = 6,
  JDB_OP_DECODE_ATTENTION = 10,
  JDB_OP_PAGED_APPEND = 11,
  JDB_OP_PAGED_GATHER = 12,
  JDB_OP_SOFTMAX_ATTENTION = 20,
  JDB_OP_MERGE_ATTENTION_STATES = 21,
  JDB_OP_HISTORY_SEARCH = 23,
  JDB_OP_BEAM_ATTENTION = 22,
  JDB_OP_DIN_ATTENTION = 24,
  JDB_OP_STCA_ATTENTION = 25,
  JDB_OP_LONGER_ATTENTION = 26,
  JDB_OP_MERGE_TOKENS = 27,
  JDB_OP_HASH_LOOKUP = 30,
  JDB_OP_HASH_INSERT = 31,
  JDB_OP_HASH_ERASE = 32,
  JDB_OP_SEQUENCE_EMBEDDING = 40,
  JDB_OP_RQ_ENCODE = 42,
  JDB_OP_RQ_DECODE = 43,
  JDB_OP_QUANTIZE_ROWS = 46,
  JDB_OP_DEQUANTIZE_ROWS = 47,
  JDB_OP_TOP_K_INNER_PRODUCT = 44,
  JDB_OP_LSH_SIGNATURES = 231,
  JDB_OP_SEARCH_ATTENTION = 232
};

// Descriptions as a plan gets them: the public desc with defaults filled in (out_dtype, num_kv_heads, num_latest =
// INT64_MAX for "all"), embedding tables resolved.
typedef struct jdb_embedding_bag_desc {
  jd_embedding_bag_desc d;      // d.tables, d.table_pooling, d.row_formats, d.dims and d.table_keys are replaced by:
  const jdb_tensor *tables;     // [T] valid as long as the plan lives (core keeps the tensors)
  const int32_t *table_pooling; // [T], valid during plan_create only, as:
  const int32_t *row_formats;   // [T]
  const int32_t *dims;          // [T]
  const jd_table_keys *table_keys;  // [T] with num_rows filled in, or null
  int64_t sum_dims;             // columns of the tables with pooling
  int64_t num_parts;            // those tables, each counted as often as its ids have rows side by side
  int64_t row_dim;              // of the tables without pooling the largest dim; 0: there is none
} jdb_embedding_bag_desc;

typedef struct jdb_embedding_bag_args {
  jdb_tensor ids, offsets, weights, out, out_scales;
  int64_t batch;
} jdb_embedding_bag_args;

typedef struct jdb_target_attention_args {
  jdb_tensor candidates, candidate_offsets, keys, values, history_offsets, candidate_keys, candidate_values, out;
  int64_t batch;
} jdb_target_attention_args;

typedef struct jdb_hstu_attention_args {
  jdb_tensor queries, keys, values, offsets, num_targets, attn_scale, out;
  jdb_tensor q_offsets, timestamps, position_bias, time_bias;
  jdb_tensor key_pages, value_pages, page_table, seq_lens, key_scales, value_scales;  // instead of keys, values, offsets
  int64_t batch;
} jdb_hstu_attention_args;

typedef struct jdb_decode_attention_args {
  jdb_tensor queries, q_offsets, key_pages, value_pages, page_table, seq_lens, key_scales, value_scales, out, lse;
  int64_t batch;
} jdb_decode_attention_args;

typedef struct jdb_softmax_attention_args {
  jdb_tensor queries, q_offsets, keys, values, k_offsets, alibi_slopes, t5_bias, bias, out, lse;
  int64_t batch;
} jdb_softmax_attention_args;

typedef struct jdb_merge_attention_states_args {
  jdb_tensor out_a, lse_a, out_b, lse_b, out, lse;
} jdb_merge_attention_states_args;
typedef struct jdb_beam_attention_args {
  jdb_tensor queries, beam_offsets, keys, values, prefix_offsets;
  jdb_tensor key_pages, value_pages, page_table, seq_lens, key_scales, value_scales;  // instead of keys, values, prefix_offsets
  jdb_tensor suffix_keys, suffix_values, ancestry, suffix_lens, out, lse;
  int64_t batch;
  int64_t most_beams;  // of a request: max_beams of the plan, or fewer slots
} jdb_beam_attention_args;

// To a backend the rows of longer_attention are beams whose prefix is the history: queries, q_offsets (as beam_offsets), history (as
// keys or pages, k_offsets as prefix_offsets), out and lse; no suffix. most_beams: rows of a user at most.
typedef struct jdb_global_rows {
  jdb_tensor keys, values, offsets;
} jdb_global_rows;

typedef struct jdb_longer_attention_args {
  jdb_beam_attention_args rows;
  jdb_global_rows globals;
} jdb_longer_attention_args;

typedef struct jdb_merge_tokens_args {
  int32_t k, bounds;
  jdb_tensor x, offsets, out, out_offsets;
  int64_t batch;
} jdb_merge_tokens_args;

typedef struct jdb_din_attention_args {
  jdb_tensor candidates, candidate_offsets, keys, values, history_offsets, out;
  jdb_tensor weight_1, bias_1, slope_1, mean_1, variance_1;
  jdb_tensor weight_2, bias_2, slope_2, mean_2, variance_2, weight_3, bias_3;
  int64_t batch;
} jdb_din_attention_args;

typedef struct jdb_stca_attention_args {
  jdb_tensor candidates, candidate_offsets, events, history_offsets, query_weight, key_weight, value_weight, keys, values, out;
  int64_t batch;
} jdb_stca_attention_args;

// paged_append and paged_gather.
typedef struct jdb_paged_cache_args {
  jdb_tensor keys, values, offsets, key_pages, value_pages, page_table, seq_lens, key_scales, value_scales;
  int64_t batch;
} jdb_paged_cache_args;

// hash_lookup, hash_insert and hash_erase.
typedef struct jdb_hash_table_args {
  int64_t tick;
  jdb_tensor table_keys, table_rows, table_scores, table_sights, table_size;
  jdb_tensor keys, rows, scores, default_row, slots, outcomes, evicted_keys;
} jdb_hash_table_args;

typedef struct jdb_history_search_args {
  jdb_tensor queries, candidate_offsets, keys, history_offsets, bias, indices, scores, counts;
  int64_t batch;
} jdb_history_search_args;

typedef struct jdb_lsh_signatures_args {
  jdb_tensor x, projection, signatures;
} jdb_lsh_signatures_args;

typedef struct jdb_search_attention_args {
  jdb_tensor candidates, candidate_offsets, keys, values, history_offsets, indices, out, lse;
  int64_t batch;
} jdb_search_attention_args;

typedef struct jdb_linear_args {
  int32_t activation;
  jdb_tensor x, weight, bias, residual, out;
} jdb_linear_args;

typedef struct jdb_layer_norm_args {
  float eps;
  jdb_tensor x, weight, bias, multiplier, out;
} jdb_layer_norm_args;

typedef struct jdb_l2_normalize_args {
  float eps;
  jdb_tensor x, out;
} jdb_l2_normalize_args;

typedef struct jdb_sequence_embedding_desc {
  // d.tables, d.row_formats, d.dims, d.table_keys, d.position_table and d.time_table are replaced by:
  jd_sequence_embedding_desc d;
  const jdb_tensor *tables;          // [T] valid as long as the plan lives
  const int32_t *row_formats;        // [T], valid during plan_create only, as:
  const int32_t *dims;               // [T]
  const jd_table_keys *table_keys;   // [T] with num_rows filled in, or null
  jdb_tensor position_table, time_table;  // absent where dtype = 0; max_time_bucket is a row of time_table
  int64_t width;                     // columns of out
} jdb_sequence_embedding_desc;

typedef struct jdb_sequence_embedding_args {
  jdb_tensor ids, offsets, timestamps, query_times, num_targets, out;
  int64_t batch;
} jdb_sequence_embedding_args;

typedef struct jdb_rq_encode_args {
  jdb_tensor x, codebooks, codes, residual_norm;
} jdb_rq_encode_args;

typedef struct jdb_rq_decode_args {
  int32_t bounds;
  jdb_tensor codes, codebooks, out;
} jdb_rq_decode_args;

typedef struct jdb_quantize_rows_args {  // quantize_rows: numbers to rows; dequantize_rows: rows to numbers
  int32_t format, bounds;
  jdb_tensor numbers, rows;
} jdb_quantize_rows_args;
typedef struct jdb_top_k_inner_product_args {
  jdb_tensor queries, items, allowed, indices, scores;  // allowed: absent, rank 1 (for all queries) or rank 2
} jdb_top_k_inner_product_args;

// Allocation that a plan makes for itself goes through core, so that it is counted against the device's limit.
typedef struct jdb_allocator {
  void *context;
  jd_status (*alloc)(void *context, size_t bytes, void **ptr, jd_error *error);  // device memory, 256-byte aligned
  void (*free)(void *context, void *ptr, size_t bytes);
} jdb_allocator;

enum {
  JDB_HOST_TO_DEVICE = 1,
  JDB_DEVICE_TO_HOST = 2,
  JDB_DEVICE_TO_DEVICE = 3,
  JDB_PINNED_TO_DEVICE = 4  // from memory of host_alloc
};

typedef struct jd_backend {
  uint32_t version;   // JDB_VERSION
  const char *name;   // "cpu", "cuda", "simt"
  int32_t host_memory;     // device memory may be read by the host directly: core validates offsets before a run
  int32_t native_capture;  // 1: capture_* below; 0: streams are synchronous, core records and replays run/copy/fill itself

  // Every function may be called from any thread; calls on one stream are serialised by core. No exception leaves them.
  jd_status (*device_count)(int32_t *count, jd_error *error);
  jd_status (*device_open)(int32_t ordinal, const jd_device_options *options, void **device, jd_error *error);
  void (*device_close)(void *device);
  jd_status (*device_info)(void *device, jd_device_info *info, jd_error *error);
  jd_status (*device_synchronize)(void *device, jd_error *error);

  jd_status (*alloc)(void *device, size_t bytes, void **ptr, jd_error *error);  // 256-byte aligned; JD_OUT_OF_MEMORY
  void (*free)(void *device, void *ptr, size_t bytes);  // after all work enqueued so far on any stream of the device

  jd_status (*stream_create)(void *device, void *external, void **stream, jd_error *error);  // external: cudaStream_t
  void (*stream_destroy)(void *stream);
  jd_status (*stream_synchronize)(void *stream, jdb_report *report, jd_error *error);  // gives and clears the report
  void *(*stream_native)(void *stream);

  // Host memory that copies may be under way from and to while the host goes on; 64-byte aligned. Freed after the copies enqueued so far.
  jd_status (*host_alloc)(void *device, size_t bytes, void **ptr, jd_error *error);
  void (*host_free)(void *device, void *ptr, size_t bytes);

  // When copy returns, a host source may be reused, but for JDB_PINNED_TO_DEVICE, which reads it when the stream gets there; a host
  // target holds the data once the stream is synchronised. Under capture only device-to-device copies and fills come.
  jd_status (*copy)(void *stream, void *target, const void *source, size_t bytes, int32_t direction, jd_error *error);
  jd_status (*fill)(void *stream, void *target, int32_t byte, size_t bytes, jd_error *error);

  jd_status (*event_create)(void *device, void **event, jd_error *error);
  void (*event_destroy)(void *event);
  jd_status (*event_record)(void *event, void *stream, jd_error *error);
  jd_status (*event_wait)(void *event, void *stream, jd_error *error);
  jd_status (*event_synchronize)(void *event, jd_error *error);
  jd_status (*event_query)(void *event, int32_t *done, jd_error *error);
  jd_status (*event_elapsed)(void *start, void *end, double *milliseconds, jd_error *error);

  // native_capture only; null otherwise. Begin and end may come from different threads; other streams of the device go
  // on allocating and running meanwhile. capture_end is also called to drop a capture, its graph destroyed at once.
  jd_status (*capture_begin)(void *stream, jd_error *error);
  jd_status (*capture_end)(void *stream, void **graph, jd_error *error);
  jd_status (*graph_launch)(void *graph, void *stream, jd_error *error);
  void (*graph_destroy)(void *graph);

  // Operators. `desc` is the jdb_/jd_ description of `op`: jdb_embedding_bag_desc, jd_target_attention_desc,
  // jd_hstu_attention_desc... `describe` writes one line. `run` gets the jdb_*_args of `op`; plan is null for the operators without one
  // (linear, layer_norm, l2_normalize, merge_attention_states, rq_decode, quantize_rows, dequantize_rows,
  // lsh_signatures, merge_tokens).
  jd_status (*plan_create)(void *device, int32_t op, const void *desc, const jdb_allocator *allocator, void **plan,
                           jd_error *error);
  void (*plan_destroy)(void *plan);
  int64_t (*plan_memory)(void *plan);
  void (*plan_describe)(void *plan, char *text, size_t capacity);
  jd_status (*run)(void *stream, void *plan, int32_t op, const void *args, jd_error *error);
} jd_backend;

// The backend inside libjindou.so, defined by native/cpu.
const jd_backend *jd_cpu_backend(void);

}  // extern "C"

#endif
