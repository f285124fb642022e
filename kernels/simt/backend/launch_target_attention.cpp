#include "attention/target_attention_launch.h"
#include "simt/backend/executor.h"

namespace jindou {

extern template jd_status launch_target_attention_hopper(simt_backend::Executor &, const TargetAttentionPlan &,
                                                  const jdb_target_attention_args &, const TargetAttentionSchedule &,
                                                  const attention::TargetAttentionUsers &, bool &);
template jd_status launch_target_attention(simt_backend::Executor &, const TargetAttentionPlan &,
                                         const jdb_target_attention_args &);

}  // namespace jindou
