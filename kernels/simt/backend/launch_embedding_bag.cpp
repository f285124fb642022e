#include "embedding/embedding_bag_launch.h"
#include "simt/backend/executor.h"

namespace jindou {

template jd_status launch_embedding_bag(simt_backend::Executor &, const EmbeddingBagPlan &,
                                      const jdb_embedding_bag_args &);

}  // namespace jindou
