#include "core/launch.h"

#include "core/device.h"
#include "core/host_checks.h"
#include "core/plan.h"

namespace jindou::core {

const char *operator_name(int32_t op) {
  switch (op) {
    case JDB_OP_EMBEDDING_BAG: return "embedding_bag";
    case JDB_OP_TARGET_ATTENTION: return "target_attention";
    case JDB_OP_HSTU_ATTENTION: return "hstu_attention";
    case JDB_OP_DECODE_ATTENTION: return "decode_attention";
    case JDB_OP_DIN_ATTENTION: return "din_attention";
    case JDB_OP_STCA_ATTENTION: return "stca_attention";
    case JDB_OP_PAGED_APPEND: return "paged_append";
    case JDB_OP_PAGED_GATHER: return "paged_gather";
    case JDB_OP_SOFTMAX_ATTENTION: return "softmax_attention";
    case JDB_OP_MERGE_ATTENTION_STATES: return "merge_attention_states";
    case JDB_OP_HASH_LOOKUP: return "hash_lookup";
    case JDB_OP_HASH_INSERT: return "hash_insert";
    case JDB_OP_HASH_ERASE: return "hash_erase";
    case JDB_OP_SEQUENCE_EMBEDDING: return "sequence_embedding";
    case JDB_OP_RQ_ENCODE: return "rq_encode";
    case JDB_OP_RQ_DECODE: return "rq_decode";
    case JDB_OP_QUANTIZE_ROWS: return "quantize_rows";
    case JDB_OP_DEQUANTIZE_ROWS: return "dequantize_rows";
    case JDB_OP_TOP_K_INNER_PRODUCT: return "top_k_inner_product";
    case JDB_OP_HISTORY_SEARCH: return "history_search";
    case JDB_OP_LSH_SIGNATURES: return "lsh_signatures";
    case JDB_OP_SEARCH_ATTENTION: return "search_attention";
    case JDB_OP_BEAM_ATTENTION: return "beam_attention";
    case JDB_OP_LONGER_ATTENTION: return "longer_attention";
    case JDB_OP_MERGE_TOKENS: return "merge_tokens";
    case JDB_OP_LINEAR: return "linear";
    case JDB_OP_LAYER_NORM: return "layer_norm";
    case JDB_OP_L2_NORMALIZE: return "l2_normalize";
    default: return "unknown operator";
  }
}

jd_status launch(const Context &context, const Device &device, void *native_stream, int32_t op, const Plan *plan,
                 const void *args) {
  if (device.backend.host_memory) {
    if (const jd_status status = plan ? check_on_host(context, *plan, args) : check_on_host(context, op, args)) return status;
  }
  return backend_result(
      context.error, device.backend.run(native_stream, plan ? plan->native : nullptr, op, args, context.error), "run");
}

jd_status launch_copy(const Context &context, const Device &device, void *native_stream, void *target,
                      const void *source, int64_t bytes) {
  return backend_result(context.error,
                        device.backend.copy(native_stream, target, source, static_cast<size_t>(bytes),
                                            JDB_DEVICE_TO_DEVICE, context.error),
                        "copy");
}

jd_status launch_fill(const Context &context, const Device &device, void *native_stream, void *target, uint8_t byte,
                      int64_t bytes) {
  return backend_result(context.error,
                        device.backend.fill(native_stream, target, byte, static_cast<size_t>(bytes), context.error),
                        "fill");
}

}  // namespace jindou::core
