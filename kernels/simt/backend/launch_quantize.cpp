#include "embedding/quantize_launch.h"
#include "simt/backend/executor.h"

namespace jindou {

template jd_status launch_quantize_rows(simt_backend::Executor &, const jdb_quantize_rows_args &);
template jd_status launch_dequantize_rows(simt_backend::Executor &, const jdb_quantize_rows_args &);

}  // namespace jindou
