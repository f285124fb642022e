#include "blocks/blocks_launch.h"
#include "simt/backend/executor.h"

namespace jindou {

template jd_status launch_linear(simt_backend::Executor &, const jdb_linear_args &);
template jd_status launch_layer_norm(simt_backend::Executor &, const jdb_layer_norm_args &);
template jd_status launch_l2_normalize(simt_backend::Executor &, const jdb_l2_normalize_args &);

}  // namespace jindou
