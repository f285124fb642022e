// linear, layer_norm, l2_normalize: from validated arguments to a kernel launch.
//
// linear, by rows and by the blocks a tile makes:
//   n <= 16                                        LinearFewRows  16 x 64
//   128 x 128 tiles cover the multiprocessors      LinearLarge    128 x 128
//   otherwise                                      LinearMedium   64 x 64
// layer_norm and l2_normalize, by d:  RowTraits<threads a row, vectors a thread>
//   <= 128: <32, 1>     <= 256: <32, 2>     <= 512: <32, 4>     <= 1024: <32, 8>
//   <= 2048: <256, 2>   <= 4096: <256, 4>   <= 8192: <256, 8>
// Neither choice changes a row's bits (linear.h) or depends on other rows (rows.h).
#ifndef JINDOU_KERNELS_BLOCKS_BLOCKS_LAUNCH_H
#define JINDOU_KERNELS_BLOCKS_BLOCKS_LAUNCH_H

#include "blocks/l2_normalize.h"
#include "blocks/layer_norm.h"
#include "blocks/linear.h"
#include "core/backend.h"

namespace jindou {

namespace blocks {

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

template <class Traits, class Exec>
jd_status launch_linear_tile(Exec &exec, const jdb_linear_args &args) {
  using Kernel = LinearKernel<Traits>;
  typename Kernel::Params p{};
  p.x = static_cast<const float *>(args.x.data);
  p.weight = static_cast<const float *>(args.weight.data);
  p.bias = static_cast<const float *>(args.bias.data);
  p.residual = static_cast<const float *>(args.residual.data);
  p.out = static_cast<float *>(args.out.data);
  p.n = args.x.shape[0];
  p.in = args.x.shape[1];
  p.m = args.weight.shape[0];
  p.x_stride = args.x.strides[0];
  p.weight_stride = args.weight.strides[0];
  p.residual_stride = args.residual.data ? args.residual.strides[0] : 0;
  p.out_stride = args.out.strides[0];
  p.blocks_across = ceil_div(p.m, Kernel::kBlockN);
  p.silu = args.activation == JD_LINEAR_SILU;
  const int64_t blocks = ceil_div(p.n, Kernel::kBlockM) * p.blocks_across;
  return exec.template launch<Kernel>(prim::Grid{static_cast<uint32_t>(blocks), 1, 1}, p);
}

template <template <class> class Kernel, class Traits, class Exec, class Fill>
jd_status launch_rows_kernel(Exec &exec, const Fill &fill) {
  using K = Kernel<Traits>;
  typename K::Params p{};
  fill(p);
  return exec.template launch<K>(prim::Grid{static_cast<uint32_t>(ceil_div(p.n, K::kRowsPerBlock)), 1, 1}, p);
}

// `fill` writes the arguments into the Params of the kernel chosen.
template <template <class> class Kernel, class Exec, class Fill>
jd_status launch_rows(Exec &exec, int64_t d, const Fill &fill) {
  if (d <= 128) return launch_rows_kernel<Kernel, RowTraits<32, 1>>(exec, fill);
  if (d <= 256) return launch_rows_kernel<Kernel, RowTraits<32, 2>>(exec, fill);
  if (d <= 512) return launch_rows_kernel<Kernel, RowTraits<32, 4>>(exec, fill);
  if (d <= 1024) return launch_rows_kernel<Kernel, RowTraits<32, 8>>(exec, fill);
  if (d <= 2048) return launch_rows_kernel<Kernel, RowTraits<256, 2>>(exec, fill);
  if (d <= 4096) return launch_rows_kernel<Kernel, RowTraits<256, 4>>(exec, fill);
  return launch_rows_kernel<Kernel, RowTraits<256, 8>>(exec, fill);
}

}  // namespace blocks

template <class Exec>
jd_status launch_linear(Exec &exec, const jdb_linear_args &args) {
  using namespace blocks;
  const int64_t n = args.x.shape[0];
  if (n <= LinearFewRows::kBlockM) return launch_linear_tile<LinearFewRows>(exec, args);
  const int64_t large = ceil_div(n, LinearLarge::kBlockM) * ceil_div(args.weight.shape[0], LinearLarge::kBlockN);
  if (large >= exec.multiprocessors()) return launch_linear_tile<LinearLarge>(exec, args);
  return launch_linear_tile<LinearMedium>(exec, args);
}

template <class Exec>
jd_status launch_layer_norm(Exec &exec, const jdb_layer_norm_args &args) {
  return blocks::launch_rows<blocks::LayerNormKernel>(exec, args.x.shape[1], [&](auto &p) {
    p.x = static_cast<const float *>(args.x.data);
    p.weight = static_cast<const float *>(args.weight.data);
    p.bias = static_cast<const float *>(args.bias.data);
    p.multiplier = static_cast<const float *>(args.multiplier.data);
    p.out = static_cast<float *>(args.out.data);
    p.n = args.x.shape[0];
    p.x_stride = args.x.strides[0];
    p.multiplier_stride = args.multiplier.data ? args.multiplier.strides[0] : 0;
    p.out_stride = args.out.strides[0];
    p.d = static_cast<int32_t>(args.x.shape[1]);
    p.eps = args.eps;
  });
}

template <class Exec>
jd_status launch_l2_normalize(Exec &exec, const jdb_l2_normalize_args &args) {
  const auto fill = [&](auto &p) {
    p.x = args.x.data;
    p.out = args.out.data;
    p.n = args.x.shape[0];
    p.x_stride = args.x.strides[0];
    p.out_stride = args.out.strides[0];
    p.d = static_cast<int32_t>(args.x.shape[1]);
    p.eps = args.eps;
    p.x_dtype = args.x.dtype;
    p.out_dtype = args.out.dtype;
  };
  if (args.x.dtype == JD_F32 && args.out.dtype == JD_F32) {
    return blocks::launch_rows<blocks::L2NormalizeKernel>(exec, args.x.shape[1], fill);
  }
  return blocks::launch_rows<blocks::L2NormalizeHalvesKernel>(exec, args.x.shape[1], fill);
}

}  // namespace jindou

#endif
