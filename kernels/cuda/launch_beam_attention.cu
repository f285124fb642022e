#include "decode/beam_attention_launch.h"
#include "cuda/executor.h"

namespace jindou {

template jd_status launch_beam_attention(cuda_backend::Executor &, const BeamAttentionPlan &, const jdb_beam_attention_args &,
                                         const jdb_global_rows *);

}  // namespace jindou
