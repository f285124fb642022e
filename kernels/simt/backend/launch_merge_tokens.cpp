#include "embedding/merge_tokens_launch.h"
#include "simt/backend/executor.h"

namespace jindou {

template jd_status launch_merge_tokens(simt_backend::Executor &, const jdb_merge_tokens_args &);

}  // namespace jindou
