#include "decode/paged_cache_launch.h"
#include "simt/backend/executor.h"

namespace jindou {

template jd_status launch_paged_cache(simt_backend::Executor &, const PagedCachePlan &, const jdb_paged_cache_args &);

}  // namespace jindou
