// What plan_create makes: an operator's description, its scratch memory, and how it runs.
#ifndef JINDOU_CPU_PLAN_H
#define JINDOU_CPU_PLAN_H

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>

#include "core/backend.h"
#include "core/error.h"
#include "cpu/device.h"

namespace jindou::cpu {

// One block of memory from core's allocator, so that it counts against the device's limit.
class PlanMemory {
 public:
  explicit PlanMemory(const jdb_allocator &allocator) : allocator_(allocator) {}
  ~PlanMemory() {
    if (block_) allocator_.free(allocator_.context, block_, bytes_);
  }
  PlanMemory(const PlanMemory &) = delete;
  PlanMemory &operator=(const PlanMemory &) = delete;

  jd_status reserve(size_t bytes, jd_error *error) {
    if (bytes == 0) return JD_OK;
    if (const jd_status status = allocator_.alloc(allocator_.context, bytes, &block_, error)) return status;
    bytes_ = bytes;
    return JD_OK;
  }
  char *data() const { return static_cast<char *>(block_); }
  // The part of the block that begins at byte `at`.
  template <class T>
  T *part(size_t at) const {
    return reinterpret_cast<T *>(data() + at);
  }
  size_t bytes() const { return bytes_; }

 private:
  const jdb_allocator allocator_;
  void *block_ = nullptr;
  size_t bytes_ = 0;
};

// Lays out the parts of a plan's memory one after the other, each on a cache line of its own.
class Layout {
 public:
  template <class T>
  size_t add(int64_t count) {
    const size_t at = bytes_;
    bytes_ += (sizeof(T) * static_cast<size_t>(count) + 63) / 64 * 64;
    return at;
  }
  size_t bytes() const { return bytes_; }

 private:
  size_t bytes_ = 0;
};

// n / by, rounded up.
inline int64_t divide(int64_t n, int64_t by) { return (n + by - 1) / by; }

// An offset or index tensor's element.
inline int64_t integer_at(const jdb_tensor &t, int64_t i) {
  return t.dtype == JD_I32 ? static_cast<const int32_t *>(t.data)[i] : static_cast<const int64_t *>(t.data)[i];
}

// The address of a tensor's element, given its place in elements.
inline void *element(const jdb_tensor &t, int64_t at) {
  return static_cast<char *>(t.data) + at * (t.dtype == JD_F32 ? 4 : 2);
}

class Plan {
 public:
  Plan(Device &d, const jdb_allocator &allocator) : device(d), memory(allocator) {}
  virtual ~Plan() = default;
  virtual jd_status run(Stream &stream, const void *args, jd_error *error) = 0;
  virtual void describe(char *text, size_t capacity) const = 0;
  virtual size_t bytes() const { return memory.bytes(); }

  Device &device;
  PlanMemory memory;
  // Held during a run: one plan on two streams at once takes turns, for its memory is one. A plan without any (bytes() = 0) runs on all of
  // them at the same time, and changes nothing of its own.
  std::mutex turn;
};

// What a create_* function gives: the plan made, or null where there was no memory, once its prepare(given..., error) has reserved what it needs.
template <class Made, class... Given>
jd_status prepared(Made *made, Plan **plan, jd_error *error, const Given &...given) {
  std::unique_ptr<Made> owned(made);
  if (!owned) return fail(error, JD_OUT_OF_MEMORY, "cpu: no host memory for a plan");
  if (const jd_status status = owned->prepare(given..., error)) return status;
  *plan = owned.release();
  return JD_OK;
}

jd_status create_embedding_bag(Device &, const jdb_embedding_bag_desc &, const jdb_allocator &, Plan **, jd_error *);
jd_status create_target_attention(Device &, const jd_target_attention_desc &, const jdb_allocator &, Plan **, jd_error *);
jd_status create_hstu_attention(Device &, const jd_hstu_attention_desc &, const jdb_allocator &, Plan **, jd_error *);
jd_status create_decode_attention(Device &, const jd_decode_attention_desc &, const jdb_allocator &, Plan **, jd_error *);
jd_status create_hash_table(Device &, int32_t op, const jd_hash_table_desc &, const jdb_allocator &, Plan **, jd_error *);
jd_status create_history_search(Device &, const jd_history_search_desc &, const jdb_allocator &, Plan **, jd_error *);
jd_status create_category_search(Device &, const jd_history_search_desc &, const jdb_allocator &, Plan **, jd_error *);
jd_status create_search_attention(Device &, const jd_search_attention_desc &, const jdb_allocator &, Plan **, jd_error *);
jd_status create_beam_attention(Device &, const jd_beam_attention_desc &, const jdb_allocator &, Plan **, jd_error *);
jd_status create_longer_attention(Device &, const jd_longer_attention_desc &, const jdb_allocator &, Plan **, jd_error *);
jd_status create_din_attention(Device &, const jd_din_attention_desc &, const jdb_allocator &, Plan **, jd_error *);
jd_status create_stca_attention(Device &, const jd_stca_attention_desc &, const jdb_allocator &, Plan **, jd_error *);
jd_status create_paged_cache(Device &, int32_t op, const jd_paged_cache_desc &, const jdb_allocator &, Plan **, jd_error *);
jd_status create_sequence_embedding(Device &, const jdb_sequence_embedding_desc &, const jdb_allocator &, Plan **, jd_error *);
jd_status create_rq_encode(Device &, const jd_rq_encode_desc &, const jdb_allocator &, Plan **, jd_error *);
jd_status create_top_k_inner_product(Device &, const jd_top_k_inner_product_desc &, const jdb_allocator &, Plan **, jd_error *);
jd_status create_softmax_attention(Device &, const jd_softmax_attention_desc &, const jdb_allocator &, Plan **, jd_error *);

// Operators without a plan.
jd_status run_merge_attention_states(Stream &, const jdb_merge_attention_states_args &, jd_error *);
jd_status run_merge_tokens(Stream &, const jdb_merge_tokens_args &, jd_error *);
jd_status run_lsh_signatures(Stream &, const jdb_lsh_signatures_args &, jd_error *);
jd_status run_linear(Stream &, const jdb_linear_args &, jd_error *);
jd_status run_layer_norm(Stream &, const jdb_layer_norm_args &, jd_error *);
jd_status run_l2_normalize(Stream &, const jdb_l2_normalize_args &, jd_error *);
jd_status run_quantize_rows(Stream &, const jdb_quantize_rows_args &, jd_error *);
jd_status run_dequantize_rows(Stream &, const jdb_quantize_rows_args &, jd_error *);
jd_status run_rq_decode(Stream &, const jdb_rq_decode_args &, jd_error *);

}  // namespace jindou::cpu

#endif
