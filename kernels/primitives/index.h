// Which thread of which block this is. Blocks are one-dimensional (launch.h), grids up to three.
#ifndef JINDOU_PRIMITIVES_INDEX_H
#define JINDOU_PRIMITIVES_INDEX_H

#include <stdint.h>

#include "primitives/compiler.h"
#include "primitives/dim3.h"

#if !defined(__CUDACC__)
#include "simt/runtime/device.h"
#endif

namespace jindou::prim {

constexpr int kWarpSize = 32;

#if defined(__CUDACC__)
JD_DEVICE JD_INLINE Dim3 thread_idx() { return {threadIdx.x, threadIdx.y, threadIdx.z}; }
JD_DEVICE JD_INLINE Dim3 block_idx() { return {blockIdx.x, blockIdx.y, blockIdx.z}; }
JD_DEVICE JD_INLINE Dim3 block_dim() { return {blockDim.x, blockDim.y, blockDim.z}; }
JD_DEVICE JD_INLINE Dim3 grid_dim() { return {gridDim.x, gridDim.y, gridDim.z}; }
JD_DEVICE JD_INLINE int lane_id() { return static_cast<int>(threadIdx.x & 31u); }
JD_DEVICE JD_INLINE int warp_id() { return static_cast<int>(threadIdx.x >> 5); }
#else
inline Dim3 thread_idx() { return simt::device::current()->thread_idx; }
inline Dim3 block_idx() { return simt::device::current()->block_idx; }
inline Dim3 block_dim() { return simt::device::current()->block_dim; }
inline Dim3 grid_dim() { return simt::device::current()->grid_dim; }
inline int lane_id() { return static_cast<int>(simt::device::current()->thread_idx.x & 31u); }
inline int warp_id() { return static_cast<int>(simt::device::current()->thread_idx.x >> 5); }
#endif

// threadIdx.x as a number the compiler knows nothing about. What a loop's body derives from it is derived anew each time round
// instead of being computed before the loop and kept in registers: for loops around the whole work of a kernel, whose inner
// loops need the registers. (Measured with nvcc 13.0: 17 to 40 registers of an attention kernel.)
JD_DEVICE JD_INLINE int opaque_thread_index() {
  uint32_t index = thread_idx().x;
#if defined(__CUDACC__)
  asm volatile("" : "+r"(index));
#endif
  return static_cast<int>(index);
}

}  // namespace jindou::prim

#endif
