// Every operator's launcher, compiled in a file of its own (launch_*.cpp), so that the kernels build in parallel.
#ifndef JINDOU_KERNELS_SIMT_BACKEND_LAUNCHES_H
#define JINDOU_KERNELS_SIMT_BACKEND_LAUNCHES_H

#include "dispatch.h"
#include "simt/backend/executor.h"

namespace jindou {

extern template jd_status launch_embedding_bag(simt_backend::Executor &, const EmbeddingBagPlan &,
                                               const jdb_embedding_bag_args &);
extern template jd_status launch_target_attention(simt_backend::Executor &, const TargetAttentionPlan &,
                                                  const jdb_target_attention_args &);
extern template jd_status launch_hstu_attention(simt_backend::Executor &, const HstuAttentionPlan &,
                                                const jdb_hstu_attention_args &);
extern template jd_status launch_softmax_attention(simt_backend::Executor &, const SoftmaxAttentionPlan &,
                                                   const jdb_softmax_attention_args &);
extern template jd_status launch_merge_attention_states(simt_backend::Executor &, const jdb_merge_attention_states_args &);
extern template jd_status launch_paged_cache(simt_backend::Executor &, const PagedCachePlan &,
                                             const jdb_paged_cache_args &);
extern template jd_status launch_decode_attention(simt_backend::Executor &, const DecodeAttentionPlan &,
                                                  const jdb_decode_attention_args &);
extern template jd_status launch_hash_table(simt_backend::Executor &, const HashTablePlan &,
                                            const jdb_hash_table_args &);
extern template jd_status launch_sequence_embedding(simt_backend::Executor &, const SequenceEmbeddingPlan &,
                                                    const jdb_sequence_embedding_args &);
extern template jd_status launch_rq_encode(simt_backend::Executor &, const RqEncodePlan &, const jdb_rq_encode_args &);
extern template jd_status launch_rq_decode(simt_backend::Executor &, const jdb_rq_decode_args &);
extern template jd_status launch_quantize_rows(simt_backend::Executor &, const jdb_quantize_rows_args &);
extern template jd_status launch_dequantize_rows(simt_backend::Executor &, const jdb_quantize_rows_args &);
extern template jd_status launch_history_search(simt_backend::Executor &, const HistorySearchPlan &,
                                                const jdb_history_search_args &);
extern template jd_status launch_lsh_signatures(simt_backend::Executor &, const jdb_lsh_signatures_args &);
extern template jd_status launch_search_attention(simt_backend::Executor &, const SearchAttentionPlan &,
                                                  const jdb_search_attention_args &);
extern template jd_status launch_beam_attention(simt_backend::Executor &, const BeamAttentionPlan &,
                                                const jdb_beam_attention_args &, const jdb_global_rows *);
extern template jd_status launch_din_attention(simt_backend::Executor &, const DinAttentionPlan &,
                                               const jdb_din_attention_args &);
extern template jd_status launch_stca_attention(simt_backend::Executor &, const StcaAttentionPlan &,
                                                const jdb_stca_attention_args &);
extern template jd_status launch_merge_tokens(simt_backend::Executor &, const jdb_merge_tokens_args &);
extern template jd_status launch_top_k_inner_product(simt_backend::Executor &, const TopKInnerProductPlan &,
                                                     const jdb_top_k_inner_product_args &);
extern template jd_status launch_linear(simt_backend::Executor &, const jdb_linear_args &);
extern template jd_status launch_layer_norm(simt_backend::Executor &, const jdb_layer_norm_args &);
extern template jd_status launch_l2_normalize(simt_backend::Executor &, const jdb_l2_normalize_args &);

}  // namespace jindou

#endif
