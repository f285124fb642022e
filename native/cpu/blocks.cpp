// linear, layer_norm and l2_normalize on the CPU: how the work is cut into tasks. The kernels are in kernels/linear.h and
// kernels/rows.h. Cuts change no bit: every output depends on its row alone.
#include <algorithm>

#include "cpu/plan.h"

namespace jindou::cpu {
namespace {

constexpr int64_t kRowBlock = 256;        // rows that share a transposed panel of the weight
constexpr int64_t kTasksOfThread = 4;
constexpr int64_t kElementsOfTask = 1 << 14;  // of row-wise operators

const float *data(const jdb_tensor &t) { return static_cast<const float *>(t.data); }
float *mutable_data(const jdb_tensor &t) { return static_cast<float *>(t.data); }

// Rows first..last-1 for each of the tasks.
template <class Function>
void for_rows(Device &device, int64_t rows, int64_t d, const Function &function) {
  const int64_t rows_of_task = std::max<int64_t>(1, kElementsOfTask / d);
  device.pool.run(divide(rows, rows_of_task), rows * d * 4, [&](int64_t index, int) {
    const int64_t first = index * rows_of_task;
    function(first, std::min(rows, first + rows_of_task));
  });
}

}  // namespace

jd_status run_linear(Stream &stream, const jdb_linear_args &a, jd_error *) {
  Device &device = stream.device;
  const int64_t rows = a.x.shape[0], depth = a.x.shape[1], columns = a.weight.shape[0];
  if (rows == 0 || columns == 0) return JD_OK;
  const int64_t panel = device.kernels.linear_columns, panels = divide(columns, panel);
  const int64_t row_blocks = divide(rows, kRowBlock);
  const int threads = device.pool.size();
  const int64_t pieces = threads == 1 ? 1 : std::min(panels, divide(threads * kTasksOfThread, row_blocks));
  device.pool.run_with_scratch(row_blocks * pieces, rows * depth * columns, [&](int64_t index, int worker) {
    const int64_t block = index / pieces, piece = index % pieces;
    LinearTask t;
    t.x = data(a.x);
    t.weight = data(a.weight);
    t.bias = data(a.bias);
    t.residual = data(a.residual);
    t.out = mutable_data(a.out);
    t.x_stride = a.x.strides[0];
    t.weight_stride = a.weight.strides[0];
    t.residual_stride = a.residual.strides[0];
    t.out_stride = a.out.strides[0];
    t.depth = depth;
    t.first_row = block * kRowBlock;
    t.last_row = std::min(rows, t.first_row + kRowBlock);
    t.first_column = panels * piece / pieces * panel;
    t.last_column = std::min(columns, panels * (piece + 1) / pieces * panel);
    t.activation = a.activation;
    t.scratch = device.linear_scratch_of(worker);
    device.kernels.linear(t);
  });
  return JD_OK;
}

jd_status run_layer_norm(Stream &stream, const jdb_layer_norm_args &a, jd_error *) {
  for_rows(stream.device, a.x.shape[0], a.x.shape[1], [&](int64_t first, int64_t last) {
    stream.device.kernels.layer_norm({data(a.x), data(a.weight), data(a.bias), data(a.multiplier), mutable_data(a.out),
                                      a.x.strides[0], a.multiplier.strides[0], a.out.strides[0], a.x.shape[1], first, last,
                                      a.eps});
  });
  return JD_OK;
}

jd_status run_l2_normalize(Stream &stream, const jdb_l2_normalize_args &a, jd_error *) {
  for_rows(stream.device, a.x.shape[0], a.x.shape[1], [&](int64_t first, int64_t last) {
    stream.device.kernels.l2_normalize(
        {a.x.dtype, a.out.dtype, a.x.data, a.out.data, a.x.strides[0], a.out.strides[0], a.x.shape[1], first, last, a.eps});
  });
  return JD_OK;
}

}  // namespace jindou::cpu
