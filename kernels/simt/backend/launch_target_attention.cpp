#include "attention/target_attention_launch.h"
#include "simt/backend/executor.h"

namespace jindou {

template jd_status launch_target_attention(simt_backend::Executor &, const TargetAttentionPlan &,
                                         const jdb_target_attention_args &);

}  // namespace jindou
