// Tensor copies of sm_90 (TMA): one thread has a whole box of a tensor copied to shared memory. The host describes tensor and box
// (tensor_map.h); an mbarrier counts the bytes.
#ifndef JINDOU_PRIMITIVES_BULK_COPY_H
#define JINDOU_PRIMITIVES_BULK_COPY_H

#include <stdint.h>

#include "primitives/compiler.h"
#include "primitives/mbarrier.h"
#include "primitives/memory.h"
#include "primitives/site.h"
#include "primitives/tensor_map.h"

namespace jindou::prim {

// The box that begins at element (c0, c1, c2, c3), to `shared`, 1024-byte aligned. All its bytes are counted by `barrier`, those of
// elements outside of the tensor, which are zeros, too. `map` is a kernel parameter.
JD_DEVICE JD_INLINE void tensor_copy(void *shared, const TensorMap &map, int32_t c0, int32_t c1, int32_t c2, int32_t c3,
                                     Mbarrier *barrier, Site site = Site::here()) {
#if defined(__CUDACC__)
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, %6}], [%2];" ::"r"(
          smem_addr(shared, site)),
      "l"(reinterpret_cast<uint64_t>(&map)), "r"(smem_addr(barrier, site)), "r"(c0), "r"(c1), "r"(c2), "r"(c3)
      : "memory");
#else
  const int32_t at[4] = {c0, c1, c2, c3};
  simt::device::tensor_copy(shared, map, at, barrier, site);
#endif
}

// The first copy from a map waits for the map itself unless it has been asked for.
JD_DEVICE JD_INLINE void prefetch_tensor_map(const TensorMap &map) {
#if defined(__CUDACC__)
  asm volatile("prefetch.tensormap [%0];" ::"l"(reinterpret_cast<uint64_t>(&map)) : "memory");
#else
  (void)map;
#endif
}

}  // namespace jindou::prim

#endif
