#include "attention/softmax_attention_launch.h"
#include "cuda/executor.h"

namespace jindou {

extern template jd_status launch_softmax_attention_hopper(cuda_backend::Executor &, const SoftmaxAttentionPlan &,
                                                   const jdb_softmax_attention_args &, const SoftmaxAttentionSchedule &,
                                                   const attention::SoftmaxAttentionSequences &, bool &);
template jd_status launch_softmax_attention_options(cuda_backend::Executor &, const SoftmaxAttentionPlan &,
                                                    const jdb_softmax_attention_args &);

}  // namespace jindou
