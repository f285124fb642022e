// l2_normalize: out = x / max(|x|, eps), a row at a time.
//
// x and out [n, d], f32; d a multiple of 4, up to 8192; row strides free (multiples of 16 bytes). A warp or a block
// owns a row and holds it in registers (rows.h): one read, one write. `out` may be x.
//
// Floor: 8*n*d bytes, 3 FLOPs an element: bandwidth bound.
#ifndef JINDOU_KERNELS_BLOCKS_L2_NORMALIZE_H
#define JINDOU_KERNELS_BLOCKS_L2_NORMALIZE_H

#include "blocks/rows.h"

namespace jindou::blocks {

template <class Traits>
struct L2NormalizeKernel {
  using Owner = RowOwner<Traits>;
  static constexpr int kThreads = Owner::kThreads;
  static constexpr int kMinBlocks = 1024 / kThreads;
  static constexpr int kRowsPerBlock = Owner::kRowsPerBlock;
  static constexpr size_t shared_bytes() { return Owner::shared_bytes(); }

  struct Params {
    const float *x;
    float *out;
    int64_t n, x_stride, out_stride;
    int32_t d;
    float eps;
  };

  JD_DEVICE static void run(const Params &p, char *shared) {
    constexpr int kVectors = Traits::kVectors;
    const int64_t row = Owner::row(p.n);
    if (row < 0) return;
    const int vectors = p.d / 4;

    Float4 x[kVectors];
    Owner::read(p.x + row * p.x_stride, vectors, x);

    float square = 0.0f;
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      square += (x[i].x * x[i].x + x[i].y * x[i].y) + (x[i].z * x[i].z + x[i].w * x[i].w);
    }
    const float norm = prim::sqrt(Owner::sum(square, 0, shared));
    const float divisor = norm < p.eps ? p.eps : norm;  // a NaN norm stays

#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      if (Owner::vector(i) >= vectors) continue;
      store(p.out + row * p.out_stride + 4 * Owner::vector(i),
                         Float4{x[i].x / divisor, x[i].y / divisor, x[i].z / divisor, x[i].w / divisor});
    }
  }
};

}  // namespace jindou::blocks

#endif
