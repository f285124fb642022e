// A plan: an operator's checked description, and what the backend made of it.
#ifndef JINDOU_CORE_PLAN_H
#define JINDOU_CORE_PLAN_H

#include <cstdint>
#include <vector>

#include "core/backend.h"
#include "core/device.h"
#include "core/handle_table.h"
#include "core/tensor.h"

namespace jindou::core {

class Stream;

class Plan final : public Object {
 public:
  static constexpr Kind kKind = Kind::plan;

  // The description with defaults filled in; which member is set follows from `op`.
  union Description {
    jdb_embedding_bag_desc embedding_bag;
    jd_target_attention_desc target_attention;
    jd_hstu_attention_desc hstu_attention;
    jd_decode_attention_desc decode_attention;
    jd_din_attention_desc din_attention;
    jd_stca_attention_desc stca_attention;
    jd_paged_cache_desc paged_cache;
    jd_softmax_attention_desc softmax_attention;
    jd_hash_table_desc hash_table;
    jdb_sequence_embedding_desc sequence_embedding;
    jd_rq_encode_desc rq_encode;
    jd_top_k_inner_product_desc top_k_inner_product;
    jd_history_search_desc history_search;
    jd_search_attention_desc search_attention;
    jd_beam_attention_desc beam_attention;
    jd_longer_attention_desc longer_attention;
  };

  Plan(Ref<Device> owner, int32_t operator_number)
      : Object(kKind), device(std::move(owner)), op(operator_number), desc{} {}
  ~Plan() override {
    if (native) device->backend.plan_destroy(native);
  }

  const Ref<Device> device;
  const int32_t op;  // JDB_OP_*
  Description desc;
  // embedding_bag and its like: the tables, kept alive, resolved, and the range of addresses that holds them all.
  std::vector<Ref<Tensor>> tables;
  std::vector<jdb_tensor> resolved_tables;
  const char *tables_begin = nullptr;
  const char *tables_end = nullptr;
  void *native = nullptr;
};

// Has the backend make `plan` from `desc` (a jdb_/jd_ description), and gives it its handle.
jd_status finish_plan(const Context &context, std::unique_ptr<Plan> plan, const void *desc, jd_plan *handle);

// Acquires the plan and the stream of a run and enters their device.
jd_status use_plan(const Context &context, jd_plan plan_handle, int32_t op, jd_stream stream_handle, Ref<Plan> *plan,
                   Ref<Stream> *stream, DeviceUse *use);

}  // namespace jindou::core

#endif
