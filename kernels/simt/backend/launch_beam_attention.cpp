#include "decode/beam_attention_launch.h"
#include "simt/backend/executor.h"

namespace jindou {

template jd_status launch_beam_attention(simt_backend::Executor &, const BeamAttentionPlan &, const jdb_beam_attention_args &,
                                         const jdb_global_rows *);

}  // namespace jindou
