#include "cuda/executor.h"
#include "embedding/hash_table_launch.h"

namespace jindou {
template jd_status launch_hash_table(cuda_backend::Executor &, const HashTablePlan &, const jdb_hash_table_args &);
}
