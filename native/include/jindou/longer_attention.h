/* longer_attention: a few global tokens and the latest events over a whole history (LONGER, arXiv 2505.04421).
 *
 *   out_i = sum_j softmax_j(scale * q_i . k_j) v_j ,  lse_i = log sum_j exp(scale * q_i . k_j) ,  over the keys that row i sees
 *
 * A user has a history of n events (merged tokens, jindou/merge_tokens.h) and global tokens, which come in two sorts: the first
 * s = num_shared_globals are the user's (its id, CLS), the same for all candidates; of each candidate there are c = num_global - s more
 * (the candidate itself, and what belongs to it). The user's rows of the queries, in this order, and the keys that each sees:
 *   s shared globals                      the shared globals and all n events
 *   c globals of each of its candidates   the shared globals, the c of its own candidate, and all n events
 *   the latest r events                   the shared globals, and the events up to itself: row i of r is event n - r + i
 * With s = num_global there is no candidate: g globals that see everything, and events that see all globals and what came before them.
 * With n = r it is the layer of self-causal attention that follows. Query head h reads key/value head h / (num_heads / num_kv_heads).
 *
 * Neither an event nor a shared global sees a candidate: this is what lets an event's keys and values of every layer be computed once
 * for a user and be kept (the paper's KV cache serving). So there are three ways to the same rows, of the same bits on a device:
 *   - all rows of a user and its candidates in one run;
 *   - a run for the user without candidates, then, whenever there are some, one with candidates_only = 1: its queries are the
 *     candidates' rows alone, its keys the events' that were kept, in rows or in pages of the same dtype, and all globals';
 *   - and either of them with candidates, users and batches split or permuted at will.
 * The history is read once for a tile of rows, those of many candidates, not once a candidate.
 *
 * The bits of a row depend on its query, the keys and values it sees, in their order, and n. A row that sees no key gives zeros and lse
 * -infinity. Keys and values that a row does not see are multiplied by 0.
 *
 * History: rows [total, Hkv, d] with k_offsets, as in jindou/attention.h; or pages of `cache_dtype` with page_table and seq_lens, as in
 * jindou/paged_cache.h. Of quantised pages the result is that of code * scale. Globals: rows [total, Hkv, d] with global_offsets; user b
 * has s and then c for each of its candidates. q_offsets cut the queries; r is what a user has behind its globals, n at most.
 *
 * Every stride but the last is a free multiple of 16 bytes (offsets, page_table, seq_lens, scales and lse: contiguous in their last
 * dimension and aligned to their elements); data is aligned to 16 bytes; out and lse share no element with an input. What only the device
 * can see follows `bounds`, STRICT or ZERO: a user with a refused length, offset, page or number of rows is skipped, and its rows of
 * out and lse are unspecified. Nothing outside the tensors is read or written. Accumulation is f32. */
#ifndef JINDOU_LONGER_ATTENTION_H
#define JINDOU_LONGER_ATTENTION_H

#include <jindou/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct jd_longer_attention_desc {
  uint32_t struct_size;
  int32_t dtype;              /* of queries, rows and globals: JD_F32, JD_F16 or JD_BF16 */
  int32_t out_dtype;          /* dtype or JD_F32; 0 = dtype */
  int32_t cache_dtype;        /* of pages: dtype, JD_F8_E4M3 or JD_I8; 0 = dtype */
  int32_t offset_dtype;       /* JD_I32 or JD_I64: all offsets */
  int32_t num_heads;          /* H, 1..256 */
  int32_t num_kv_heads;       /* Hkv, divides H; 0 = H */
  int32_t head_dim_qk;        /* a multiple of 32, to 256 */
  int32_t head_dim_v;         /* likewise */
  float scale;                /* finite */
  int32_t num_global;         /* g: globals that a candidate sees, 0..256 */
  int32_t num_shared_globals; /* s: of these the first, the same for all candidates, 0..num_global */
  int32_t candidates_only;    /* 1: the queries are the candidates' own globals alone; needs s < num_global. 0 */
  int32_t bounds;             /* JD_BOUNDS_STRICT or JD_BOUNDS_ZERO */
  int64_t max_batch;          /* users a run, 1..1048576 */
  int64_t max_candidates;     /* of a user, 1..4096; ignored where num_shared_globals = num_global */
  int64_t max_recent;         /* r, 0..131072; ignored where candidates_only = 1 */
  int64_t max_history;        /* n, 1..131072 */
} jd_longer_attention_desc;

typedef struct jd_longer_attention_args {
  uint32_t struct_size;
  uint32_t reserved;
  jd_tensor queries;        /* [sum of rows, H, dqk] */
  jd_tensor q_offsets;      /* [B + 1]: of queries, out and lse */
  jd_tensor global_keys;    /* [sum of globals, Hkv, dqk]; 0 where num_global = 0 */
  jd_tensor global_values;  /* [sum of globals, Hkv, dv], with global_keys */
  jd_tensor global_offsets; /* [B + 1], with global_keys */
  jd_tensor keys;           /* [sum n, Hkv, dqk]; or 0: with key_pages */
  jd_tensor values;         /* [sum n, Hkv, dv], with keys */
  jd_tensor k_offsets;      /* [B + 1], with keys */
  jd_tensor key_pages;      /* [num_pages, page_size, Hkv, dqk]; or 0: with keys */
  jd_tensor value_pages;    /* [num_pages, page_size, Hkv, dv], with key_pages */
  jd_tensor page_table;     /* [B, max_pages] i32, with key_pages */
  jd_tensor seq_lens;       /* [B] i32: n, with key_pages */
  jd_tensor key_scales;     /* f32, for quantised pages; else 0 */
  jd_tensor value_scales;   /* likewise */
  jd_tensor out;            /* [sum of rows, H, dv] */
  jd_tensor lse;            /* [sum of rows, H] f32, or 0 */
} jd_longer_attention_args;

JD_API jd_status jd_longer_attention_plan(jd_device device, const jd_longer_attention_desc *desc, jd_plan *plan, jd_error *error);
JD_API jd_status jd_longer_attention_run(jd_plan plan, jd_stream stream, const jd_longer_attention_args *args, jd_error *error);

#ifdef __cplusplus
}
#endif
#endif
