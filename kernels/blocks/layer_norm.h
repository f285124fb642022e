// layer_norm: out = ((x - mean) / sqrt(variance + eps) * weight + bias) * multiplier, a row at a time.
//
// x, multiplier and out [n, d], weight and bias [d], f32; d a multiple of 4, up to 8192; row strides free (multiples of
// 16 bytes).
//
// A warp or a block owns a row and holds it in registers (rows.h): it is read once, and the variance is the mean of
// squared distances from the mean, in a second pass over registers, not E[x^2] - E[x]^2. `out` may be x: a row is
// written after it has been read.
//
// Floor: 4*n*d*(2 [+ 1 multiplier]) bytes, about 10 FLOPs an element: bandwidth bound.
#ifndef JINDOU_KERNELS_BLOCKS_LAYER_NORM_H
#define JINDOU_KERNELS_BLOCKS_LAYER_NORM_H

#include "blocks/rows.h"

namespace jindou::blocks {

template <class Traits>
struct LayerNormKernel {
  using Owner = RowOwner<Traits>;
  static constexpr int kThreads = Owner::kThreads;
  static constexpr int kMinBlocks = 1024 / kThreads;
  static constexpr int kRowsPerBlock = Owner::kRowsPerBlock;
  static constexpr size_t shared_bytes() { return Owner::shared_bytes(); }

  struct Params {
    const float *x;
    const float *weight;
    const float *bias;
    const float *multiplier;  // or null
    float *out;
    int64_t n, x_stride, multiplier_stride, out_stride;
    int32_t d;
    float eps;
  };

  JD_DEVICE static void run(const Params &p, char *shared) {
    constexpr int kVectors = Traits::kVectors;
    const int64_t row = Owner::row(p.n);
    if (row < 0) return;
    const int vectors = p.d / 4;
    const float d = static_cast<float>(p.d);

    Float4 x[kVectors];
    Owner::read(p.x + row * p.x_stride, vectors, x);

    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < kVectors; ++i) sum += (x[i].x + x[i].y) + (x[i].z + x[i].w);
    const float mean = Owner::sum(sum, 0, shared) / d;

    float square = 0.0f;
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      if (Owner::vector(i) >= vectors) continue;
      x[i].x -= mean;
      x[i].y -= mean;
      x[i].z -= mean;
      x[i].w -= mean;
      square += (x[i].x * x[i].x + x[i].y * x[i].y) + (x[i].z * x[i].z + x[i].w * x[i].w);
    }
    const float variance = Owner::sum(square, 1, shared) / d;
    const float scale = 1.0f / prim::sqrt(variance + p.eps);

#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      const int vector = Owner::vector(i);
      if (vector >= vectors) continue;
      const Float4 w = load(p.weight + 4 * vector);
      const Float4 b = load(p.bias + 4 * vector);
      Float4 y{prim::fma(x[i].x * scale, w.x, b.x), prim::fma(x[i].y * scale, w.y, b.y),
                     prim::fma(x[i].z * scale, w.z, b.z), prim::fma(x[i].w * scale, w.w, b.w)};
      if (p.multiplier) {
        const Float4 m = load(p.multiplier + row * p.multiplier_stride + 4 * vector);
        y = Float4{y.x * m.x, y.y * m.y, y.z * m.z, y.w * m.w};
      }
      store(p.out + row * p.out_stride + 4 * vector, y);
    }
  }
};

}  // namespace jindou::blocks

#endif
