#include "cuda/executor.h"
#include "decode/paged_cache_launch.h"

namespace jindou {
template jd_status launch_paged_cache(cuda_backend::Executor &, const PagedCachePlan &, const jdb_paged_cache_args &);
}
