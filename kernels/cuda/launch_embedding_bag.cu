#include "embedding/embedding_bag_launch.h"
#include "cuda/executor.h"

namespace jindou {
template jd_status launch_embedding_bag(cuda_backend::Executor &, const EmbeddingBagPlan &, const jdb_embedding_bag_args &);
}
