// What a tensor copy (bulk_copy.h) must know of its tensor: an opaque value that the host makes and a launch passes among the
// kernel's parameters. On a GPU it is a CUtensorMap, encoded by the driver; in the emulator the geometry itself.
//
// A map describes elements of two bytes in four dimensions, the first contiguous, and the box that one copy moves. What of a box
// lies outside of the tensor arrives as zeros. In shared memory a box is dense, first dimension innermost, 128 bytes of it a row,
// and swizzled: bits 4..6 of every byte's address are xor-ed with bits 7..9 (so a box begins at a multiple of 1024).
#ifndef JINDOU_PRIMITIVES_TENSOR_MAP_H
#define JINDOU_PRIMITIVES_TENSOR_MAP_H

#include <stdint.h>

#include "primitives/compiler.h"

namespace jindou::prim {

struct alignas(128) TensorMap {
  uint64_t words[16];
};

struct TensorGeometry {
  const void *data;         // 16-byte aligned
  uint64_t sizes[4];        // elements; 1 .. 2^31
  uint64_t strides[3];      // bytes, of dimensions 1..3: multiples of 16, below 2^40
  uint32_t box[4];          // elements; box[0] = 64, the others 1..256
};

constexpr int kTensorElementBytes = 2;
constexpr int kTensorRowBytes = 128;  // box[0] elements

// What both the hardware and the emulator ask for.
inline bool is_describable(const TensorGeometry &g) {
  bool good = g.data != nullptr && reinterpret_cast<uintptr_t>(g.data) % 16 == 0;
  for (const uint64_t size : g.sizes) good = good && size >= 1 && size <= (uint64_t{1} << 31);
  for (const uint64_t stride : g.strides) good = good && stride > 0 && stride % 16 == 0 && stride < (uint64_t{1} << 40);
  for (const uint32_t extent : g.box) good = good && extent >= 1 && extent <= 256;
  return good && g.box[0] * kTensorElementBytes == kTensorRowBytes;
}

}  // namespace jindou::prim

#endif
