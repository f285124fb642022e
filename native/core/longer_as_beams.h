// longer_attention as backends run it: with the kernels, plans and scratch of beam_attention, of which a user is a request (backend.h).
#ifndef JINDOU_CORE_LONGER_AS_BEAMS_H
#define JINDOU_CORE_LONGER_AS_BEAMS_H

#include <jindou/beam_attention.h>
#include <jindou/longer_attention.h>

namespace jindou {

inline jd_beam_attention_desc as_beams(const jd_longer_attention_desc &d) {
  jd_beam_attention_desc b{};
  b.struct_size = sizeof b;
  b.dtype = d.dtype;
  b.out_dtype = d.out_dtype;
  b.cache_dtype = d.cache_dtype;
  b.offset_dtype = d.offset_dtype;
  b.num_heads = d.num_heads;
  b.num_kv_heads = d.num_kv_heads;
  b.head_dim_qk = d.head_dim_qk;
  b.head_dim_v = d.head_dim_v;
  b.scale = d.scale;
  b.bounds = d.bounds;
  const int64_t own = (d.num_global - d.num_shared_globals) * d.max_candidates;
  const int64_t rows = own + (d.candidates_only ? 0 : d.num_shared_globals + d.max_recent);
  b.max_beams = static_cast<int32_t>(rows > 0 ? rows : 1);  // at most 256 * 4096 + 256 + 131072
  b.max_batch = d.max_batch;
  b.max_prefix = d.max_history;
  return b;
}

// What the globals of a plan are; of beam_attention none.
struct Globals {
  int32_t shared = 0, own = 0;  // s, and c of each candidate
  bool candidates_only = false;
  int64_t most = 0;             // rows of a user
  int64_t most_recent = 0;      // events among its queries

  Globals() = default;
  explicit Globals(const jd_longer_attention_desc &d)
      : shared(d.num_shared_globals),
        own(d.num_global - d.num_shared_globals),
        candidates_only(d.candidates_only != 0),
        most(d.num_shared_globals + own * d.max_candidates),
        most_recent(d.max_recent) {}
};

}  // namespace jindou

#endif
