/* beam_attention: the beams of a request share one prefix, each has a suffix of a few tokens of its own.
 *
 *   out_w = sum_j softmax_j(scale * q_w . k_j) v_j ,  j over the request's prefix and beam w's suffix
 *
 * One query a beam: that of its newest token, whose key and value are the last of its suffix. The prefix is read once for all
 * beams, not once a beam. Query head h reads key/value head h / (num_heads / num_kv_heads).
 *
 * Prefix: rows [total, Hkv, d] with prefix_offsets, as in jindou/attention.h; or pages of `cache_dtype` with page_table and
 * seq_lens, as in jindou/paged_cache.h. Either may have no row.
 *
 * Suffix: suffix_keys [B, L, S, Hkv, d] keep the row that the beam in slot s wrote at level l, and are never moved: beams are
 * reordered in `ancestry` [B, L, S] alone. Beam w of request b sees, at each level l < suffix_lens[b], the row of slot
 * ancestry[b][l][w], that of the beam it descends from. So a step from level t to t + 1, in which beam w continues beam
 * parent[w], is: new[l][w] = old[l][parent[w]] for l < t, new[t][w] = w, and rows written at level t, slot w. Requests of a
 * batch may stand at different levels.
 *
 * The bits of a beam's result depend on its query and on the keys and values it sees, in their order: not on other beams, other
 * requests, its slot, or where rows lie. A beam that sees no key gives zeros and lse -inf.
 *
 * Every stride but the last is a free multiple of 16 bytes (offsets, page_table, ancestry, lens, scales and lse: contiguous in
 * their last dimension and aligned to their elements); data is aligned to 16 bytes; out and lse share no element with an input.
 * What only the device can see follows `bounds`, STRICT or ZERO: a request with a refused length, offset or page is skipped, and
 * its rows of out and lse are unspecified; an ancestry entry outside 0..S-1 names no row: its beam does not see that level
 * (position and value are reported, or it is counted). Nothing outside the tensors is read or written. Accumulation is f32; of
 * quantised pages the result is that of code * scale.
 * (Beam attention: xGR, xLLM; shared prefixes: FlashInfer's cascade attention; PagedAttention, arXiv 2309.06180.) */
#ifndef JINDOU_BEAM_ATTENTION_H
#define JINDOU_BEAM_ATTENTION_H

#include <jindou/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct jd_beam_attention_desc {
  uint32_t struct_size;
  int32_t dtype;          /* of queries, rows and suffix: JD_F32, JD_F16 or JD_BF16 */
  int32_t out_dtype;      /* dtype or JD_F32; 0 = dtype */
  int32_t cache_dtype;    /* of pages: dtype, JD_F8_E4M3 or JD_I8; 0 = dtype */
  int32_t offset_dtype;   /* JD_I32 or JD_I64: both offsets */
  int32_t num_heads;      /* H, 1..256 */
  int32_t num_kv_heads;   /* Hkv, divides H; 0 = H */
  int32_t head_dim_qk;    /* a multiple of 32, to 256 */
  int32_t head_dim_v;     /* likewise */
  float scale;            /* finite */
  int32_t bounds;         /* JD_BOUNDS_STRICT or JD_BOUNDS_ZERO */
  int32_t max_beams;      /* beams a request, 1..4096 */
  int64_t max_batch;      /* requests a run, 1..1048576 */
  int64_t max_prefix;     /* rows of a prefix, 1..131072 */
} jd_beam_attention_desc;

typedef struct jd_beam_attention_args {
  uint32_t struct_size;
  uint32_t reserved;
  jd_tensor queries;        /* [sum W, H, dqk] */
  jd_tensor beam_offsets;   /* [B + 1]: of queries, out and lse; at most S beams a request */
  jd_tensor keys;           /* [total, Hkv, dqk]; or 0: with key_pages */
  jd_tensor values;         /* [total, Hkv, dv], with keys */
  jd_tensor prefix_offsets; /* [B + 1], with keys */
  jd_tensor key_pages;      /* [num_pages, page_size, Hkv, dqk]; or 0: with keys */
  jd_tensor value_pages;    /* [num_pages, page_size, Hkv, dv], with key_pages */
  jd_tensor page_table;     /* [B, max_pages] i32, with key_pages */
  jd_tensor seq_lens;       /* [B] i32: rows of each prefix, with key_pages */
  jd_tensor key_scales;     /* f32, for quantised pages; else 0 */
  jd_tensor value_scales;   /* likewise */
  jd_tensor suffix_keys;    /* [B, L, S, Hkv, dqk]; or 0: no suffix */
  jd_tensor suffix_values;  /* [B, L, S, Hkv, dv], with suffix_keys */
  jd_tensor ancestry;       /* [B, L, S] i32, with suffix_keys */
  jd_tensor suffix_lens;    /* [B] i32, 0..L: levels that count; 0 = all L */
  jd_tensor out;            /* [sum W, H, dv] */
  jd_tensor lse;            /* [sum W, H] f32: log of the sum of exp(scale * q_w . k_j), natural; or 0 */
} jd_beam_attention_args;

JD_API jd_status jd_beam_attention_plan(jd_device device, const jd_beam_attention_desc *desc, jd_plan *plan, jd_error *error);
JD_API jd_status jd_beam_attention_run(jd_plan plan, jd_stream stream, const jd_beam_attention_args *args, jd_error *error);

#ifdef __cplusplus
}
#endif
#endif
