#include "embedding/sequence_embedding_launch.h"
#include "cuda/executor.h"

namespace jindou {

template jd_status launch_sequence_embedding(cuda_backend::Executor &, const SequenceEmbeddingPlan &, const jdb_sequence_embedding_args &);

}  // namespace jindou
