#include "attention/target_attention_launch.h"
#include "cuda/executor.h"

namespace jindou {
template jd_status launch_target_attention(cuda_backend::Executor &, const TargetAttentionPlan &, const jdb_target_attention_args &);
}
