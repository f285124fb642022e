#include "attention/hstu_attention_launch.h"
#include "cuda/executor.h"

namespace jindou {

template jd_status launch_hstu_attention_biased(cuda_backend::Executor &, const HstuAttentionPlan &, const jdb_hstu_attention_args &,
                                                const attention::HstuWindow &, bool &);

}  // namespace jindou
