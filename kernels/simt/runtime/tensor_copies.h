// The tensor copies of one block that are on their way, and what a tensor map is in the emulator.
#ifndef JINDOU_SIMT_RUNTIME_TENSOR_COPIES_H
#define JINDOU_SIMT_RUNTIME_TENSOR_COPIES_H

#include <stddef.h>
#include <stdint.h>

#include <vector>

#include "primitives/site.h"
#include "primitives/tensor_map.h"

namespace jindou::simt {

// The geometry itself. The geometry must be describable.
prim::TensorMap encode_tensor_map(const prim::TensorGeometry &geometry);

// False: nothing that encode_tensor_map made.
bool decode_tensor_map(const prim::TensorMap &map, prim::TensorGeometry &geometry);

struct TensorCopy {
  char *target;
  prim::TensorGeometry geometry;
  int32_t at[4];
  uint32_t barrier;  // address of its mbarrier in the shared window
  prim::Site site;
  int thread;

  int bytes() const;
  // Reads the tensor, writes the box, swizzled by the window address of `target`.
  void land(uint32_t window_address) const;
};

}  // namespace jindou::simt

#endif
