#include "embedding/rq_launch.h"
#include "cuda/executor.h"

namespace jindou {

template jd_status launch_rq_encode(cuda_backend::Executor &, const RqEncodePlan &, const jdb_rq_encode_args &);
template jd_status launch_rq_decode(cuda_backend::Executor &, const jdb_rq_decode_args &);

}  // namespace jindou
