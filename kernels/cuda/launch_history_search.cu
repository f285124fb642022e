#include "search/history_search_launch.h"
#include "cuda/executor.h"

namespace jindou {

template jd_status launch_history_search(cuda_backend::Executor &, const HistorySearchPlan &, const jdb_history_search_args &);
template jd_status launch_lsh_signatures(cuda_backend::Executor &, const jdb_lsh_signatures_args &);

}  // namespace jindou
