#include "embedding/quantize_launch.h"
#include "cuda/executor.h"

namespace jindou {

template jd_status launch_quantize_rows(cuda_backend::Executor &, const jdb_quantize_rows_args &);
template jd_status launch_dequantize_rows(cuda_backend::Executor &, const jdb_quantize_rows_args &);

}  // namespace jindou
