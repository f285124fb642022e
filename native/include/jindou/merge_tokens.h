/* merge_tokens: k adjacent events side by side in one row (LONGER's token merge, arXiv 2505.04421).
 *
 * Sequence b of n_b rows becomes m_b = ceil(n_b / k) rows, k times as wide:
 *   out_j = [x_(jk - p), ..., x_(jk - p + k - 1)] ,  p = m_b * k - n_b ,  with zeros for an event before the first
 * The padding is on the oldest side, so that the latest event is always the last of its row, and only the first row of a sequence has
 * any. With dense rows of out it is the sequence's own memory behind p rows of zeros. An empty sequence stays empty; k = 1 copies.
 *
 * offsets cut x, out_offsets out; both are given: out_offsets[b + 1] = out_offsets[b] + m_b, beginning with 0. (A caller that makes
 * offsets knows them, and the attention over the merged tokens needs them. Nothing is waited for and nothing allocated.)
 *
 * Elements are copied as they are. Rows of x are a multiple of 16 bytes, have any stride that is one, and are aligned to 16 bytes; so are
 * those of out, which shares no element with an input. A sequence with a refused offset, or with another number of rows of out than m_b,
 * is not written: JD_BOUNDS_STRICT reports the first of them, JD_BOUNDS_ZERO counts them. Where the host can read the offsets
 * they are checked before the run. Nothing outside the tensors is read or written. No plan. */
#ifndef JINDOU_MERGE_TOKENS_H
#define JINDOU_MERGE_TOKENS_H

#include <jindou/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct jd_merge_tokens_args {
  uint32_t struct_size;
  int32_t k;             /* 1..1024 */
  int32_t bounds;        /* JD_BOUNDS_STRICT or JD_BOUNDS_ZERO */
  uint32_t reserved;
  jd_tensor x;           /* [sum n, d], of any dtype */
  jd_tensor offsets;     /* [B + 1], JD_I32 or JD_I64 */
  jd_tensor out;         /* [sum m, k * d], of the same dtype */
  jd_tensor out_offsets; /* [B + 1], of the dtype of offsets */
} jd_merge_tokens_args;

JD_API jd_status jd_merge_tokens(jd_stream stream, const jd_merge_tokens_args *args, jd_error *error);

#ifdef __cplusplus
}
#endif
#endif
