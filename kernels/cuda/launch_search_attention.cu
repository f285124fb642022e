#include "search/search_attention_launch.h"
#include "cuda/executor.h"

namespace jindou {

template jd_status launch_search_attention(cuda_backend::Executor &, const SearchAttentionPlan &, const jdb_search_attention_args &);

}  // namespace jindou
