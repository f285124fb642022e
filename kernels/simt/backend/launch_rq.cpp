#include "embedding/rq_launch.h"
#include "simt/backend/executor.h"

namespace jindou {

template jd_status launch_rq_encode(simt_backend::Executor &, const RqEncodePlan &, const jdb_rq_encode_args &);
template jd_status launch_rq_decode(simt_backend::Executor &, const jdb_rq_decode_args &);

}  // namespace jindou
