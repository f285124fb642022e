#include "attention/softmax_attention_launch.h"
#include "simt/backend/executor.h"

namespace jindou {

extern template jd_status launch_softmax_attention_hopper(simt_backend::Executor &, const SoftmaxAttentionPlan &,
                                                   const jdb_softmax_attention_args &, const SoftmaxAttentionSchedule &,
                                                   const attention::SoftmaxAttentionSequences &, bool &);
template jd_status launch_softmax_attention_options(simt_backend::Executor &, const SoftmaxAttentionPlan &,
                                                    const jdb_softmax_attention_args &);

}  // namespace jindou
