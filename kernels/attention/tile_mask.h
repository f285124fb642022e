// What the masks (hstu_mask.h, softmax_mask.h) share. Depends on nothing.
#ifndef JINDOU_KERNELS_ATTENTION_TILE_MASK_H
#define JINDOU_KERNELS_ATTENTION_TILE_MASK_H

#if defined(__CUDACC__)
#define JD_MASK_FUNCTION __host__ __device__ __forceinline__
#else
#define JD_MASK_FUNCTION inline
#endif

namespace jindou {

// How much of a tile of rows x keys a mask leaves.
enum class TileMask { kEmpty, kPartial, kFull };

}  // namespace jindou

#endif
