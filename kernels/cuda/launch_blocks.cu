#include "blocks/blocks_launch.h"
#include "cuda/executor.h"

namespace jindou {
template jd_status launch_linear(cuda_backend::Executor &, const jdb_linear_args &);
template jd_status launch_layer_norm(cuda_backend::Executor &, const jdb_layer_norm_args &);
template jd_status launch_l2_normalize(cuda_backend::Executor &, const jdb_l2_normalize_args &);
}  // namespace jindou
