// Tensor maps (primitives/tensor_map.h) as the driver encodes them. Found at run time: nothing here links with libcuda.
#ifndef JINDOU_KERNELS_CUDA_TENSOR_MAP_H
#define JINDOU_KERNELS_CUDA_TENSOR_MAP_H

#include <cuda.h>
#include <cuda_runtime.h>

#include <cstring>

#include "primitives/tensor_map.h"

namespace jindou::cuda_backend {

static_assert(sizeof(prim::TensorMap) == sizeof(CUtensorMap) && alignof(prim::TensorMap) >= alignof(CUtensorMap));

// Host work alone, well below a microsecond; may be called while a stream captures. False: the driver cannot or will not.
inline bool encode_tensor_map(const prim::TensorGeometry &g, prim::TensorMap *map) {
  using Encode = CUresult (*)(CUtensorMap *, CUtensorMapDataType, cuuint32_t, void *, const cuuint64_t *, const cuuint64_t *,
                              const cuuint32_t *, const cuuint32_t *, CUtensorMapInterleave, CUtensorMapSwizzle,
                              CUtensorMapL2promotion, CUtensorMapFloatOOBfill);
  static const Encode encode = [] {
    void *address = nullptr;
    cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
    const cudaError_t code =
        cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &address, 12000, cudaEnableDefault, &found);
    if (code != cudaSuccess || found != cudaDriverEntryPointSuccess) {
      cudaGetLastError();
      address = nullptr;
    }
    return reinterpret_cast<Encode>(address);
  }();
  if (encode == nullptr || !prim::is_describable(g)) return false;
  const cuuint64_t sizes[4] = {g.sizes[0], g.sizes[1], g.sizes[2], g.sizes[3]};
  const cuuint64_t strides[3] = {g.strides[0], g.strides[1], g.strides[2]};
  const cuuint32_t every[4] = {1, 1, 1, 1};
  CUtensorMap encoded;
  const CUresult code =
      encode(&encoded, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 4, const_cast<void *>(g.data), sizes, strides, g.box, every,
             CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
             CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (code != CUDA_SUCCESS) return false;
  memcpy(map, &encoded, sizeof encoded);
  return true;
}

}  // namespace jindou::cuda_backend

#endif
