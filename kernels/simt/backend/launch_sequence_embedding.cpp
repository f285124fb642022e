#include "embedding/sequence_embedding_launch.h"
#include "simt/backend/executor.h"

namespace jindou {

template jd_status launch_sequence_embedding(simt_backend::Executor &, const SequenceEmbeddingPlan &, const jdb_sequence_embedding_args &);

}  // namespace jindou
