#include "embedding/merge_tokens_launch.h"
#include "cuda/executor.h"

namespace jindou {

template jd_status launch_merge_tokens(cuda_backend::Executor &, const jdb_merge_tokens_args &);

}  // namespace jindou
