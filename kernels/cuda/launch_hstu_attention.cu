#include "attention/hstu_attention_launch.h"
#include "cuda/executor.h"

namespace jindou {

extern template jd_status launch_hstu_attention_options(cuda_backend::Executor &, const HstuAttentionPlan &,
                                                      const jdb_hstu_attention_args &, const attention::HstuWindow &);
extern template jd_status launch_hstu_attention_hopper(cuda_backend::Executor &, const HstuAttentionPlan &,
                                                      const jdb_hstu_attention_args &, const attention::HstuWindow &, bool &);
extern template jd_status launch_hstu_attention_biased(cuda_backend::Executor &, const HstuAttentionPlan &,
                                                      const jdb_hstu_attention_args &, const attention::HstuWindow &, bool &);
extern template jd_status launch_hstu_attention_codes(cuda_backend::Executor &, const HstuAttentionPlan &,
                                                     const jdb_hstu_attention_args &, const attention::HstuWindow &, bool &);
template jd_status launch_hstu_attention(cuda_backend::Executor &, const HstuAttentionPlan &, const jdb_hstu_attention_args &);

}  // namespace jindou
