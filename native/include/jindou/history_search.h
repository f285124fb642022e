/* history_search: for each candidate the k best events of its user's history, of 10^4 to 10^6 events: the first half of
 * retrieval inside ultra-long histories. search_attention (jindou/search_attention.h) attends to what was found.
 *
 *   JD_SEARCH_HARD  events of the candidate's category, the most recent first
 *   JD_SEARCH_DOT   by score_ij = q_i . k_j + bias_j, the largest first
 *   JD_SEARCH_LSH   by the Hamming distance of signatures (lsh_signatures), the smallest first
 *
 * Of equals the more recent event comes first: an event's index is its position in the user's history, and a larger one is
 * more recent. The result is the exact list in that order, so its bits depend on the candidate's own query and its user's
 * history alone. An event whose score is NaN or -infinity is never found: a bias of -infinity hides one. -0 equals +0.
 *
 * Rows are jagged: queries, indices, scores and counts by candidate_offsets [B + 1], keys and bias by history_offsets
 * [B + 1], as in jindou/attention.h, with its rules of alignment and overlap; what only the device can see follows `bounds`.
 * The rows of a refused user are unspecified. Scores accumulate in f32, in the order of the dimensions on the CPU; bf16
 * and f16 products are exact. No matrix of scores is ever in memory: what a plan holds does not grow with the histories.
 * (SIM, arXiv 2006.05639: hard and soft search; ETA, arXiv 2108.04468: lsh; TWIN, arXiv 2302.02352: dot, with the share of the
 * cross features as bias.) */
#ifndef JINDOU_HISTORY_SEARCH_H
#define JINDOU_HISTORY_SEARCH_H

#include <jindou/base.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { JD_SEARCH_HARD = 0, JD_SEARCH_DOT = 1, JD_SEARCH_LSH = 2 };

typedef struct jd_history_search_desc {
  uint32_t struct_size;
  int32_t method;         /* JD_SEARCH_* */
  int32_t dtype;          /* of queries and keys. hard: JD_I32 or JD_I64; dot: JD_F32, JD_F16 or JD_BF16; lsh: JD_I64 */
  int32_t offset_dtype;   /* JD_I32 or JD_I64 */
  int32_t dim;            /* dot: d, a multiple of 8, to 256; lsh: bits, a multiple of 64, to 1024; hard: 0 */
  int32_t k;              /* events a candidate, 1..2048 */
  int32_t bounds;         /* JD_BOUNDS_STRICT or JD_BOUNDS_ZERO */
  int32_t reserved;
  int64_t max_batch;      /* users a run, 1..1048576 */
  int64_t max_candidates; /* candidates a user, 1..1048576 */
  int64_t max_history;    /* events a user, 1..1073741824 */
} jd_history_search_desc;

typedef struct jd_history_search_args {
  uint32_t struct_size;
  uint32_t reserved;
  jd_tensor queries;           /* hard: categories [sum nc]; dot: [sum nc, d]; lsh: signatures [sum nc, bits / 64] */
  jd_tensor candidate_offsets; /* [B + 1] */
  jd_tensor keys;              /* of the events: [sum nk], [sum nk, d] or [sum nk, bits / 64] */
  jd_tensor history_offsets;   /* [B + 1] */
  jd_tensor bias;              /* [sum nk] f32, with JD_SEARCH_DOT only; or 0 */
  jd_tensor indices;           /* [sum nc, k] i32: positions in the user's history, best first; -1 past the last found */
  jd_tensor scores;            /* [sum nc, k] f32, or 0. dot: scores, -infinity past the last; lsh: distances, +infinity past
                                  the last; hard: must be 0 */
  jd_tensor counts;            /* [sum nc] i32: how many were found, 0..k; or 0 */
} jd_history_search_args;

JD_API jd_status jd_history_search_plan(jd_device device, const jd_history_search_desc *desc, jd_plan *plan,
                                        jd_error *error);
JD_API jd_status jd_history_search_run(jd_plan plan, jd_stream stream, const jd_history_search_args *args, jd_error *error);

/* lsh_signatures: signs of random projections, 64 a word, to be kept beside each event and made anew for each candidate.
 *   bit b of row i = 1 where projection_b . x_i > 0, else 0 (NaN too); it is bit b % 64 of word b / 64
 * The angle between two vectors is about pi * (Hamming distance) / bits. A projection so close to 0 that rounding decides its
 * sign may give another bit on another device; the same device always gives the same. */
typedef struct jd_lsh_signatures_args {
  uint32_t struct_size;
  uint32_t reserved;
  jd_tensor x;          /* [n, d] f32, f16 or bf16; d a multiple of 8, to 256; rows aligned to 16 bytes */
  jd_tensor projection; /* [bits, d] of x's dtype, bits a multiple of 64, to 1024; rows aligned to 16 bytes */
  jd_tensor signatures; /* [n, bits / 64] i64 */
} jd_lsh_signatures_args;

JD_API jd_status jd_lsh_signatures(jd_stream stream, const jd_lsh_signatures_args *args, jd_error *error);

#ifdef __cplusplus
}
#endif
#endif
