#include "attention/din_attention_launch.h"
#include "simt/backend/executor.h"

namespace jindou {

template jd_status launch_din_attention(simt_backend::Executor &, const DinAttentionPlan &, const jdb_din_attention_args &);

}  // namespace jindou
