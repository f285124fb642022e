#include "attention/target_attention_launch.h"
#include "cuda/executor.h"

namespace jindou {

template jd_status launch_target_attention_hopper(cuda_backend::Executor &, const TargetAttentionPlan &,
                                                  const jdb_target_attention_args &, const TargetAttentionSchedule &,
                                                  const attention::TargetAttentionUsers &, bool &);

}  // namespace jindou
