#include "attention/hstu_attention_launch.h"
#include "simt/backend/executor.h"

namespace jindou {

extern template jd_status launch_hstu_attention_options(simt_backend::Executor &, const HstuAttentionPlan &,
                                                      const jdb_hstu_attention_args &, const attention::HstuWindow &);
extern template jd_status launch_hstu_attention_hopper(simt_backend::Executor &, const HstuAttentionPlan &,
                                                      const jdb_hstu_attention_args &, const attention::HstuWindow &, bool &);
extern template jd_status launch_hstu_attention_biased(simt_backend::Executor &, const HstuAttentionPlan &,
                                                      const jdb_hstu_attention_args &, const attention::HstuWindow &, bool &);
extern template jd_status launch_hstu_attention_codes(simt_backend::Executor &, const HstuAttentionPlan &,
                                                     const jdb_hstu_attention_args &, const attention::HstuWindow &, bool &);
template jd_status launch_hstu_attention(simt_backend::Executor &, const HstuAttentionPlan &, const jdb_hstu_attention_args &);

}  // namespace jindou
