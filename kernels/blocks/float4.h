// Four floats of a row: 16-byte accesses; of 16-bit elements, 8-byte ones. Global loads here are ordinary ones (not the read-only path), because these
// operators may write their input in place.
#ifndef JINDOU_KERNELS_BLOCKS_FLOAT4_H
#define JINDOU_KERNELS_BLOCKS_FLOAT4_H

#include <jindou/base.h>

#include "primitives/primitives.h"

namespace jindou::blocks {

struct alignas(16) Float4 {
  float x, y, z, w;
};

JD_DEVICE JD_INLINE Float4 load(const float *address) { return *reinterpret_cast<const Float4 *>(address); }

JD_DEVICE JD_INLINE void store(float *address, const Float4 &v) {
  prim::store16(address, prim::Vec4u{prim::as_uint(v.x), prim::as_uint(v.y), prim::as_uint(v.z), prim::as_uint(v.w)});
}

// The same of elements element.. of rows of f32, f16 or bf16: a uniform branch.
JD_DEVICE JD_INLINE Float4 load(const void *rows, int32_t dtype, int64_t element) {
  if (dtype == JD_F32) return load(static_cast<const float *>(rows) + element);
  const prim::Vec2u bits = *reinterpret_cast<const prim::Vec2u *>(static_cast<const uint16_t *>(rows) + element);
  Float4 v;
  if (dtype == JD_F16) {
    prim::unpack2<prim::f16>(bits.x, v.x, v.y);
    prim::unpack2<prim::f16>(bits.y, v.z, v.w);
  } else {
    prim::unpack2<prim::bf16>(bits.x, v.x, v.y);
    prim::unpack2<prim::bf16>(bits.y, v.z, v.w);
  }
  return v;
}

JD_DEVICE JD_INLINE void store(void *rows, int32_t dtype, int64_t element, const Float4 &v) {
  if (dtype == JD_F32) return store(static_cast<float *>(rows) + element, v);
  const prim::Vec2u bits = dtype == JD_F16 ? prim::Vec2u{prim::pack_f16x2(v.x, v.y), prim::pack_f16x2(v.z, v.w)}
                                           : prim::Vec2u{prim::pack_bf16x2(v.x, v.y), prim::pack_bf16x2(v.z, v.w)};
  prim::store8(static_cast<uint16_t *>(rows) + element, bits);
}

JD_DEVICE JD_INLINE Float4 load_shared(const float *address) {
  const prim::Vec4u v = prim::load_shared16(address);
  return Float4{prim::as_float(v.x), prim::as_float(v.y), prim::as_float(v.z), prim::as_float(v.w)};
}

}  // namespace jindou::blocks

#endif
