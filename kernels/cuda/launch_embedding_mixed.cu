#include "embedding/embedding_mixed_launch.h"
#include "cuda/executor.h"

namespace jindou {
template jd_status launch_embedding_mixed(cuda_backend::Executor &, const EmbeddingBagPlan &, const jdb_embedding_bag_args &,
                                          const embedding::Jagged &);
}
