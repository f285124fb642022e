// lsh_signatures on the CPU: rows are cut into tasks. The kernel is in kernels/lsh_signatures.h.
#include <algorithm>

#include "core/dtype.h"
#include "cpu/plan.h"

namespace jindou::cpu {
namespace {

constexpr int64_t kRowsOfTask = 1024;  // share a transposed panel of the projection

HeadRows rows(const jdb_tensor &t) { return {t.data, t.strides[0], t.dtype}; }

}  // namespace

jd_status run_lsh_signatures(Stream &stream, const jdb_lsh_signatures_args &a, jd_error *) {
  Device &device = stream.device;
  const int64_t count = a.x.shape[0], dim = a.x.shape[1], bits = a.projection.shape[0];
  device.pool.run_with_scratch(divide(count, kRowsOfTask), count * dim * bits, [&](int64_t index, int worker) {
    SignatureTask t;
    t.dtype = a.x.dtype;
    t.dim = static_cast<int32_t>(dim);
    t.bits = static_cast<int32_t>(bits);
    t.rows = rows(a.x);
    t.projection = rows(a.projection);
    t.first_row = index * kRowsOfTask;
    t.last_row = std::min(count, t.first_row + kRowsOfTask);
    t.signatures = static_cast<uint64_t *>(a.signatures.data);
    t.signature_stride = a.signatures.strides[0];
    t.scratch = device.linear_scratch_of(worker);
    device.kernels.lsh_signatures(t);
  });
  return JD_OK;
}

}  // namespace jindou::cpu
