#include "search/search_attention_launch.h"
#include "simt/backend/executor.h"

namespace jindou {

template jd_status launch_search_attention(simt_backend::Executor &, const SearchAttentionPlan &, const jdb_search_attention_args &);

}  // namespace jindou
