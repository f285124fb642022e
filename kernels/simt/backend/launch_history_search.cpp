#include "search/history_search_launch.h"
#include "simt/backend/executor.h"

namespace jindou {

template jd_status launch_history_search(simt_backend::Executor &, const HistorySearchPlan &, const jdb_history_search_args &);
template jd_status launch_lsh_signatures(simt_backend::Executor &, const jdb_lsh_signatures_args &);

}  // namespace jindou
