// From an operator's number to its launch header: written once, used by the cuda and the simt backend.
//
// A backend brings an executor, made for each call of `run`:
//
//   struct Exec {
//     // Enqueues kernel K; K::kThreads threads a block, K::shared_bytes() of dynamic shared memory. An empty grid is
//     // not launched. On failure fills the jd_error the executor was made with.
//     template <class K> jd_status launch(prim::Grid grid, const typename K::Params &params);
//     // The stream's fault record (kernels/faults.h), in device memory.
//     FaultRecord *faults() const;
//     // Number of this run among the runs of the stream since its record was last cleared: the order of first
//     // offenders.
//     uint32_t launch_number() const;
//     // Multiprocessors of the device (simt: threads), for sizing grids.
//     int32_t multiprocessors() const;
//     // Makes the map of a tensor for kernels that copy by it (primitives/tensor_map.h). False: there is none to be had.
//     bool tensor_map(const prim::TensorGeometry &geometry, prim::TensorMap *map) const;
//   };
//
// and, for plans, `PlanResources` (plan.h). An operator's launch header offers
//
//   struct <Operator>Plan : KernelPlan {
//     static jd_status create(const PlanResources &, const <desc> &, KernelPlan **plan, jd_error *);
//     void describe(char *text, size_t capacity) const override;
//   };
//   template <class Exec>
//   jd_status launch_<operator>(Exec &exec, const <Operator>Plan &plan, const jdb_<operator>_args &);
//
// and, for an operator without a plan,
//
//   template <class Exec> jd_status launch_<operator>(Exec &exec, const jdb_<operator>_args &);
#ifndef JINDOU_KERNELS_DISPATCH_H
#define JINDOU_KERNELS_DISPATCH_H

#include <new>

#include "attention/din_attention_launch.h"
#include "attention/hstu_attention_launch.h"
#include "attention/softmax_attention_launch.h"
#include "attention/stca_attention_launch.h"
#include "attention/target_attention_launch.h"
#include "blocks/blocks_launch.h"
#include "decode/beam_attention_launch.h"
#include "decode/decode_attention_launch.h"
#include "decode/paged_cache_launch.h"
#include "embedding/embedding_bag_launch.h"
#include "embedding/hash_table_launch.h"
#include "embedding/merge_tokens_launch.h"
#include "embedding/quantize_launch.h"
#include "embedding/rq_launch.h"
#include "embedding/sequence_embedding_launch.h"
#include "plan.h"
#include "search/history_search_launch.h"
#include "search/search_attention_launch.h"
#include "search/top_k_inner_product_launch.h"

namespace jindou {

// Makes the plan of `op` from its description (see jd_backend::plan_create). On failure nothing stays allocated.
inline jd_status create_plan(const PlanResources &resources, int32_t op, const void *desc, KernelPlan **plan,
                             jd_error *error) {
  *plan = nullptr;
  try {
    switch (op) {
      case JDB_OP_EMBEDDING_BAG:
        return EmbeddingBagPlan::create(resources, *static_cast<const jdb_embedding_bag_desc *>(desc), plan, error);
      case JDB_OP_TARGET_ATTENTION:
        return TargetAttentionPlan::create(resources, *static_cast<const jd_target_attention_desc *>(desc), plan,
                                           error);
      case JDB_OP_HSTU_ATTENTION:
        return HstuAttentionPlan::create(resources, *static_cast<const jd_hstu_attention_desc *>(desc), plan, error);
      case JDB_OP_SOFTMAX_ATTENTION:
        return SoftmaxAttentionPlan::create(resources, *static_cast<const jd_softmax_attention_desc *>(desc), plan, error);
      case JDB_OP_DECODE_ATTENTION:
        return DecodeAttentionPlan::create(resources, *static_cast<const jd_decode_attention_desc *>(desc), plan, error);
      case JDB_OP_HISTORY_SEARCH:
        return HistorySearchPlan::create(resources, *static_cast<const jd_history_search_desc *>(desc), plan, error);
      case JDB_OP_SEARCH_ATTENTION:
        return SearchAttentionPlan::create(resources, *static_cast<const jd_search_attention_desc *>(desc), plan, error);
      case JDB_OP_BEAM_ATTENTION:
        return BeamAttentionPlan::create(resources, *static_cast<const jd_beam_attention_desc *>(desc), plan, error);
      case JDB_OP_LONGER_ATTENTION:
        return BeamAttentionPlan::create(resources, *static_cast<const jd_longer_attention_desc *>(desc), plan, error);
      case JDB_OP_DIN_ATTENTION:
        return DinAttentionPlan::create(resources, *static_cast<const jd_din_attention_desc *>(desc), plan, error);
      case JDB_OP_STCA_ATTENTION:
        return StcaAttentionPlan::create(resources, *static_cast<const jd_stca_attention_desc *>(desc), plan, error);
      case JDB_OP_PAGED_APPEND:
      case JDB_OP_PAGED_GATHER:
        return PagedCachePlan::create(op, resources, *static_cast<const jd_paged_cache_desc *>(desc), plan, error);
      case JDB_OP_HASH_LOOKUP:
      case JDB_OP_HASH_INSERT:
      case JDB_OP_HASH_ERASE:
        return HashTablePlan::create(op, resources, *static_cast<const jd_hash_table_desc *>(desc), plan, error);
      case JDB_OP_SEQUENCE_EMBEDDING:
        return SequenceEmbeddingPlan::create(resources, *static_cast<const jdb_sequence_embedding_desc *>(desc), plan, error);
      case JDB_OP_RQ_ENCODE:
        return RqEncodePlan::create(resources, *static_cast<const jd_rq_encode_desc *>(desc), plan, error);
      case JDB_OP_TOP_K_INNER_PRODUCT:
        return TopKInnerProductPlan::create(resources, *static_cast<const jd_top_k_inner_product_desc *>(desc), plan, error);
      default: return fail(error, JD_UNSUPPORTED, "operator %d is not in this backend", op);
    }
  } catch (const std::bad_alloc &) {
    return fail(error, JD_OUT_OF_MEMORY, "host memory exhausted while making a plan");
  }
}

// Enqueues one run of `op` (see jd_backend::run). `plan` is null for the operators without one.
template <class Exec>
jd_status run(Exec &exec, const KernelPlan *plan, int32_t op, const void *args, jd_error *error) {
  switch (op) {
    case JDB_OP_EMBEDDING_BAG:
      return launch_embedding_bag(exec, static_cast<const EmbeddingBagPlan &>(*plan),
                                  *static_cast<const jdb_embedding_bag_args *>(args));
    case JDB_OP_TARGET_ATTENTION:
      return launch_target_attention(exec, static_cast<const TargetAttentionPlan &>(*plan),
                                     *static_cast<const jdb_target_attention_args *>(args));
    case JDB_OP_HSTU_ATTENTION:
      return launch_hstu_attention(exec, static_cast<const HstuAttentionPlan &>(*plan),
                                   *static_cast<const jdb_hstu_attention_args *>(args));
    case JDB_OP_SOFTMAX_ATTENTION:
      return launch_softmax_attention(exec, static_cast<const SoftmaxAttentionPlan &>(*plan),
                                      *static_cast<const jdb_softmax_attention_args *>(args));
    case JDB_OP_MERGE_ATTENTION_STATES:
      return launch_merge_attention_states(exec, *static_cast<const jdb_merge_attention_states_args *>(args));
    case JDB_OP_DECODE_ATTENTION:
      return launch_decode_attention(exec, static_cast<const DecodeAttentionPlan &>(*plan),
                                     *static_cast<const jdb_decode_attention_args *>(args));
    case JDB_OP_HISTORY_SEARCH:
      return launch_history_search(exec, static_cast<const HistorySearchPlan &>(*plan),
                                   *static_cast<const jdb_history_search_args *>(args));
    case JDB_OP_LSH_SIGNATURES: return launch_lsh_signatures(exec, *static_cast<const jdb_lsh_signatures_args *>(args));
    case JDB_OP_SEARCH_ATTENTION:
      return launch_search_attention(exec, static_cast<const SearchAttentionPlan &>(*plan),
                                     *static_cast<const jdb_search_attention_args *>(args));
    case JDB_OP_BEAM_ATTENTION:
      return launch_beam_attention(exec, static_cast<const BeamAttentionPlan &>(*plan),
                                   *static_cast<const jdb_beam_attention_args *>(args), nullptr);
    case JDB_OP_LONGER_ATTENTION: {
      const auto &longer = *static_cast<const jdb_longer_attention_args *>(args);
      return launch_beam_attention(exec, static_cast<const BeamAttentionPlan &>(*plan), longer.rows, &longer.globals);
    }
    case JDB_OP_MERGE_TOKENS: return launch_merge_tokens(exec, *static_cast<const jdb_merge_tokens_args *>(args));
    case JDB_OP_DIN_ATTENTION:
      return launch_din_attention(exec, static_cast<const DinAttentionPlan &>(*plan), *static_cast<const jdb_din_attention_args *>(args));
    case JDB_OP_STCA_ATTENTION:
      return launch_stca_attention(exec, static_cast<const StcaAttentionPlan &>(*plan), *static_cast<const jdb_stca_attention_args *>(args));
    case JDB_OP_PAGED_APPEND:
    case JDB_OP_PAGED_GATHER:
      return launch_paged_cache(exec, static_cast<const PagedCachePlan &>(*plan),
                                *static_cast<const jdb_paged_cache_args *>(args));
    case JDB_OP_HASH_LOOKUP:
    case JDB_OP_HASH_INSERT:
    case JDB_OP_HASH_ERASE:
      return launch_hash_table(exec, static_cast<const HashTablePlan &>(*plan), *static_cast<const jdb_hash_table_args *>(args));
    case JDB_OP_SEQUENCE_EMBEDDING:
      return launch_sequence_embedding(exec, static_cast<const SequenceEmbeddingPlan &>(*plan),
                                       *static_cast<const jdb_sequence_embedding_args *>(args));
    case JDB_OP_RQ_ENCODE:
      return launch_rq_encode(exec, static_cast<const RqEncodePlan &>(*plan), *static_cast<const jdb_rq_encode_args *>(args));
    case JDB_OP_QUANTIZE_ROWS: return launch_quantize_rows(exec, *static_cast<const jdb_quantize_rows_args *>(args));
    case JDB_OP_DEQUANTIZE_ROWS: return launch_dequantize_rows(exec, *static_cast<const jdb_quantize_rows_args *>(args));
    case JDB_OP_RQ_DECODE: return launch_rq_decode(exec, *static_cast<const jdb_rq_decode_args *>(args));
    case JDB_OP_TOP_K_INNER_PRODUCT:
      return launch_top_k_inner_product(exec, static_cast<const TopKInnerProductPlan &>(*plan),
                                        *static_cast<const jdb_top_k_inner_product_args *>(args));
    case JDB_OP_LINEAR: return launch_linear(exec, *static_cast<const jdb_linear_args *>(args));
    case JDB_OP_LAYER_NORM: return launch_layer_norm(exec, *static_cast<const jdb_layer_norm_args *>(args));
    case JDB_OP_L2_NORMALIZE: return launch_l2_normalize(exec, *static_cast<const jdb_l2_normalize_args *>(args));
    default: return fail(error, JD_UNSUPPORTED, "operator %d is not in this backend", op);
  }
}

}  // namespace jindou

#endif
