// l2_normalize: out = x / max(|x|, eps), a row at a time.
//
// x and out [n, d], each f32, f16 or bf16; d a multiple of 4, up to 8192; row strides free (multiples of 16 bytes). A warp or a block
// owns a row and holds it in registers as f32 (rows.h): one read, one write. `out` may be x. A row's sum is the same whatever the dtypes.
// Where it leaves f32, the row is scaled and summed again (l2_factor.h).
//
// Floor: the bytes of x and out, 8*n*d in f32, 3 FLOPs an element: bandwidth bound.
#ifndef JINDOU_KERNELS_BLOCKS_L2_NORMALIZE_H
#define JINDOU_KERNELS_BLOCKS_L2_NORMALIZE_H

#include "blocks/l2_factor.h"
#include "blocks/rows.h"

namespace jindou::blocks {

// kHalves: 16-bit elements on either side, or on both; else f32 to f32.
template <class Traits, bool kHalves>
struct L2NormalizeRows {
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
    const int32_t x_dtype = kHalves ? p.x_dtype : JD_F32, out_dtype = kHalves ? p.out_dtype : JD_F32;

    Float4 x[kVectors];
    float square = 0.0f;
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      x[i] = Owner::vector(i) < vectors ? load(p.x, x_dtype, row * p.x_stride + 4 * Owner::vector(i)) : Float4{0.0f, 0.0f, 0.0f, 0.0f};
    }
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      square += (x[i].x * x[i].x + x[i].y * x[i].y) + (x[i].z * x[i].z + x[i].w * x[i].w);
    }
    square = Owner::sum(square, 0, shared);
    const float factor = l2_factor(square, p.eps);
    if (factor != 1.0f) {  // the same for all threads of the row
      float scaled = 0.0f;
#pragma unroll
      for (int i = 0; i < kVectors; ++i) {
        x[i] = Float4{x[i].x * factor, x[i].y * factor, x[i].z * factor, x[i].w * factor};
        scaled += (x[i].x * x[i].x + x[i].y * x[i].y) + (x[i].z * x[i].z + x[i].w * x[i].w);
      }
      square = Owner::sum(scaled, 1, shared);
    }
    const float norm = prim::sqrt(square), eps = p.eps * factor;
    const float divisor = norm < eps ? eps : norm;  // a NaN norm stays
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      if (Owner::vector(i) >= vectors) continue;
      store(p.out, out_dtype, row * p.out_stride + 4 * Owner::vector(i),
            Float4{x[i].x / divisor, x[i].y / divisor, x[i].z / divisor, x[i].w / divisor});
    }
  }
};

template <class Traits>
struct L2NormalizeKernel : L2NormalizeRows<Traits, false> {};
template <class Traits>
struct L2NormalizeHalvesKernel : L2NormalizeRows<Traits, true> {};

}  // namespace jindou::blocks

#endif
