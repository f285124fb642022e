#include "attention/stca_attention_launch.h"
#include "cuda/executor.h"

namespace jindou {

extern template jd_status launch_linear(cuda_backend::Executor &, const jdb_linear_args &);
extern template jd_status launch_target_attention(cuda_backend::Executor &, const TargetAttentionPlan &, const jdb_target_attention_args &);
template jd_status launch_stca_attention(cuda_backend::Executor &, const StcaAttentionPlan &, const jdb_stca_attention_args &);

}  // namespace jindou
