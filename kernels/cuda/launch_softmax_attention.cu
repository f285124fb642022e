#include "attention/softmax_attention_launch.h"
#include "cuda/executor.h"

namespace jindou {

extern template jd_status launch_softmax_attention_hopper(cuda_backend::Executor &, const SoftmaxAttentionPlan &,
                                                   const jdb_softmax_attention_args &, const SoftmaxAttentionSchedule &,
                                                   const attention::SoftmaxAttentionSequences &, bool &);
extern template jd_status launch_softmax_attention_options(cuda_backend::Executor &, const SoftmaxAttentionPlan &,
                                                           const jdb_softmax_attention_args &);
template jd_status launch_softmax_attention(cuda_backend::Executor &, const SoftmaxAttentionPlan &,
                                            const jdb_softmax_attention_args &);
template jd_status launch_merge_attention_states(cuda_backend::Executor &, const jdb_merge_attention_states_args &);

}  // namespace jindou
