#include "attention/din_attention_launch.h"
#include "cuda/executor.h"

namespace jindou {

template jd_status launch_din_attention(cuda_backend::Executor &, const DinAttentionPlan &, const jdb_din_attention_args &);

}  // namespace jindou
