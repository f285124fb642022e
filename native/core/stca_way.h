// The two ways of an STCA layer (jindou/stca_attention.h), as every backend has them: which takes fewer operations, the attention within, and what a
// plan's description says.
#ifndef JINDOU_CORE_STCA_WAY_H
#define JINDOU_CORE_STCA_WAY_H

#include <jindou/jindou.h>

#include <cstdint>
#include <cstdio>

namespace jindou {

// Up to this many candidates a user the reordered way takes fewer operations: for n events materialised 4 n H dh (D + nc), reordered 4 n H D nc.
inline int64_t stca_crossing(const jd_stca_attention_desc &d) {
  const int64_t dim = d.model_dim, head_dim = d.head_dim;
  return dim > head_dim ? (dim * head_dim - 1) / (dim - head_dim) : d.max_candidates;
}

// The target_attention within: over keys and values of every head, or over the events as the one head of keys and values.
inline jd_target_attention_desc stca_target_attention(const jd_stca_attention_desc &d) {
  const bool reordered = d.path == JD_STCA_REORDERED;
  jd_target_attention_desc inner{};
  inner.struct_size = sizeof inner;
  inner.dtype = d.dtype;
  inner.out_dtype = reordered ? JD_F32 : d.out_dtype;
  inner.offset_dtype = d.offset_dtype;
  inner.num_heads = d.num_heads;
  inner.num_kv_heads = reordered ? 1 : d.num_heads;
  inner.head_dim_qk = inner.head_dim_v = reordered ? d.model_dim : d.head_dim;
  inner.scale = d.scale;
  inner.activation = JD_ACTIVATION_SOFTMAX;
  inner.bounds = d.bounds;
  inner.num_latest = INT64_MAX;
  inner.max_batch = d.max_batch;
  inner.max_candidates = d.max_candidates;
  inner.max_history = d.max_history;
  return inner;
}

// How a description begins; what was written of it.
inline size_t describe_stca_way(const jd_stca_attention_desc &d, char *text, size_t capacity) {
  const bool reordered = d.path == JD_STCA_REORDERED;
  const char *way = reordered ? "reordered: keys and values never stored, heads share the events"
                              : d.keep_keys ? "materialised, keys and values kept by the caller" : "materialised";
  const int written = snprintf(text, capacity, "stca_attention %s (fewer operations than the other way %s %lld candidates a user); ", way,
                               reordered ? "up to" : "above", static_cast<long long>(stca_crossing(d)));
  if (written < 0) return 0;
  return static_cast<size_t>(written) < capacity ? static_cast<size_t>(written) : capacity;
}

}  // namespace jindou

#endif
