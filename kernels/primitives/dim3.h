// Extents and indices of grids and blocks.
#ifndef JINDOU_PRIMITIVES_DIM3_H
#define JINDOU_PRIMITIVES_DIM3_H

#include <stdint.h>

namespace jindou::prim {

struct Dim3 {
  uint32_t x = 1;
  uint32_t y = 1;
  uint32_t z = 1;
};

// Blocks of a launch. Limits of the hardware: x < 2^31, y and z < 2^16.
using Grid = Dim3;

}  // namespace jindou::prim

#endif
