// Four floats of a row: 16-byte accesses. Global loads here are ordinary ones (not the read-only path), because these
// operators may write their input in place.
#ifndef JINDOU_KERNELS_BLOCKS_FLOAT4_H
#define JINDOU_KERNELS_BLOCKS_FLOAT4_H

#include "primitives/primitives.h"

namespace jindou::blocks {

struct alignas(16) Float4 {
  float x, y, z, w;
};

JD_DEVICE JD_INLINE Float4 load(const float *address) { return *reinterpret_cast<const Float4 *>(address); }

JD_DEVICE JD_INLINE void store(float *address, const Float4 &v) {
  prim::store16(address, prim::Vec4u{prim::as_uint(v.x), prim::as_uint(v.y), prim::as_uint(v.z), prim::as_uint(v.w)});
}

JD_DEVICE JD_INLINE Float4 load_shared(const float *address) {
  const prim::Vec4u v = prim::load_shared16(address);
  return Float4{prim::as_float(v.x), prim::as_float(v.y), prim::as_float(v.z), prim::as_float(v.w)};
}

}  // namespace jindou::blocks

#endif
