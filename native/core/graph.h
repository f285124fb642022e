// A recording of work on a stream, and the graph made from it.
//
// A backend with native capture (cuda) records the work itself; the recording then only keeps what the work uses alive.
// For the others it holds the work as a list, with its resolved arguments, and replays it.
#ifndef JINDOU_CORE_GRAPH_H
#define JINDOU_CORE_GRAPH_H

#include <cstdint>
#include <mutex>
#include <vector>

#include "core/backend.h"
#include "core/device.h"
#include "core/handle_table.h"

namespace jindou::core {

class Plan;

// Room for the arguments of any operator.
union OperatorArgs {
  jdb_embedding_bag_args embedding_bag;
  jdb_target_attention_args target_attention;
  jdb_hstu_attention_args hstu_attention;
  jdb_decode_attention_args decode_attention;
  jdb_din_attention_args din_attention;
  jdb_stca_attention_args stca_attention;
  jdb_paged_cache_args paged_cache;
  jdb_softmax_attention_args softmax_attention;
  jdb_merge_attention_states_args merge_attention_states;
  jdb_hash_table_args hash_table;
  jdb_sequence_embedding_args sequence_embedding;
  jdb_rq_encode_args rq_encode;
  jdb_rq_decode_args rq_decode;
  jdb_quantize_rows_args quantize_rows;
  jdb_top_k_inner_product_args top_k_inner_product;
  jdb_history_search_args history_search;
  jdb_lsh_signatures_args lsh_signatures;
  jdb_search_attention_args search_attention;
  jdb_beam_attention_args beam_attention;
  jdb_longer_attention_args longer_attention;
  jdb_merge_tokens_args merge_tokens;
  jdb_linear_args linear;
  jdb_layer_norm_args layer_norm;
  jdb_l2_normalize_args l2_normalize;
};

class Recording {
 public:
  void keep(Ref<Object> object) { kept_.push_back(std::move(object)); }
  void add_operator(int32_t op, Plan *plan, const void *args, size_t size);
  void add_copy(void *target, const void *source, int64_t bytes);
  void add_fill(void *target, uint8_t byte, int64_t bytes);

  // Runs everything, in order, until something fails. The stream is locked.
  jd_status replay(jd_error *error, Device &device, void *native_stream) const;

 private:
  struct Node {
    enum { kOperator, kCopy, kFill } what;
    int32_t op;
    uint8_t byte;
    Plan *plan;
    void *target;
    const void *source;
    int64_t bytes;
    OperatorArgs args;
  };
  std::vector<Node> nodes_;
  std::vector<Ref<Object>> kept_;
};

class Graph final : public Object {
 public:
  static constexpr Kind kKind = Kind::graph;

  Graph(Ref<Device> owner, Recording &&recorded, void *native_graph)
      : Object(kKind), device(std::move(owner)), recording(std::move(recorded)), native(native_graph) {}
  ~Graph() override {
    if (native) device->backend.graph_destroy(native);
  }

  const Ref<Device> device;
  const Recording recording;
  void *const native;
  std::mutex mutex;  // one launch at a time: its tensors and plans are the same in each; locked before the stream
};

}  // namespace jindou::core

#endif
