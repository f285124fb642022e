#include "search/top_k_inner_product_launch.h"
#include "simt/backend/executor.h"

namespace jindou {

template jd_status launch_top_k_inner_product(simt_backend::Executor &, const TopKInnerProductPlan &, const jdb_top_k_inner_product_args &);

}  // namespace jindou
