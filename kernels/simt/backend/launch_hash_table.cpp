#include "embedding/hash_table_launch.h"
#include "simt/backend/executor.h"

namespace jindou {

template jd_status launch_hash_table(simt_backend::Executor &, const HashTablePlan &, const jdb_hash_table_args &);

}  // namespace jindou
