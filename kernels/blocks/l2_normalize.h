// l2_normalize: out = x / max(|x|, eps), a row at a time.
//
// x and out [n, d], each f32, f16 or bf16; d a multiple of 4, up to 8192; row strides free (multiples of 16 bytes). A warp or a block
// owns a row and holds it in registers as f32 (rows.h): one read, one write. `out` may be x. A row's sum is the same whatever the dtypes.
//
// Floor: the bytes of x and out, 8*n*d in f32, 3 FLOPs an element: bandwidth bound.
#ifndef JINDOU_KERNELS_BLOCKS_L2_NORMALIZE_H
#define JINDOU_KERNELS_BLOCKS_L2_NORMALIZE_H

#include "blocks/rows.h"

namespace jindou::blocks {

// The row of a thread, in place.
template <class Traits>
JD_DEVICE JD_INLINE void l2_normalize(Float4 (&x)[Traits::kVectors], float eps, char *shared) {
  constexpr int kVectors = Traits::kVectors;
  float square = 0.0f;
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    square += (x[i].x * x[i].x + x[i].y * x[i].y) + (x[i].z * x[i].z + x[i].w * x[i].w);
  }
  const float norm = prim::sqrt(RowOwner<Traits>::sum(square, 0, shared));
  const float divisor = norm < eps ? eps : norm;  // a NaN norm stays
#pragma unroll
  for (int i = 0; i < kVectors; ++i) x[i] = Float4{x[i].x / divisor, x[i].y / divisor, x[i].z / divisor, x[i].w / divisor};
}

// f32 to f32.
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
    l2_normalize<Traits>(x, p.eps, shared);
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      if (Owner::vector(i) >= vectors) continue;
      store(p.out + row * p.out_stride + 4 * Owner::vector(i), x[i]);
    }
  }
};

// 16-bit elements on either side, or on both.
template <class Traits>
struct L2NormalizeHalvesKernel {
  using Owner = RowOwner<Traits>;
  static constexpr int kThreads = Owner::kThreads;
  static constexpr int kMinBlocks = 1024 / kThreads;
  static constexpr int kRowsPerBlock = Owner::kRowsPerBlock;
  static constexpr size_t shared_bytes() { return Owner::shared_bytes(); }

  struct Params {
    const void *x;
    void *out;
    int64_t n, x_stride, out_stride;
    int32_t d;
    float eps;
    int32_t x_dtype, out_dtype;
  };

  JD_DEVICE static void run(const Params &p, char *shared) {
    constexpr int kVectors = Traits::kVectors;
    const int64_t row = Owner::row(p.n);
    if (row < 0) return;
    const int vectors = p.d / 4;

    Float4 x[kVectors];
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      x[i] = Owner::vector(i) < vectors ? load(p.x, p.x_dtype, row * p.x_stride + 4 * Owner::vector(i)) : Float4{0.0f, 0.0f, 0.0f, 0.0f};
    }
    l2_normalize<Traits>(x, p.eps, shared);
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      if (Owner::vector(i) >= vectors) continue;
      store(p.out, p.out_dtype, row * p.out_stride + 4 * Owner::vector(i), x[i]);
    }
  }
};

}  // namespace jindou::blocks

#endif
