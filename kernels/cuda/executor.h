// The executor of the cuda backend: launches a kernel on a stream. The interface is described in dispatch.h.
#ifndef JINDOU_KERNELS_CUDA_EXECUTOR_H
#define JINDOU_KERNELS_CUDA_EXECUTOR_H

#include <cuda_runtime.h>

#include <atomic>
#include <cstdio>

#include "cuda/check.h"
#include "cuda/kernel_list.h"
#include "cuda/stream.h"
#include "cuda/tensor_map.h"
#include "primitives/primitives.h"

namespace jindou::cuda_backend {

// Enqueues kernel K. Its context is current.
template <class K>
cudaError_t enqueue(cudaStream_t stream, prim::Grid grid, const typename K::Params &params) {
  (void)&listed_kernel<K>;
  constexpr size_t kShared = K::shared_bytes();
  void *arguments[] = {const_cast<typename K::Params *>(&params)};
  return cudaLaunchKernel(reinterpret_cast<const void *>(&prim::entry<K>), dim3(grid.x, grid.y, grid.z), dim3(K::kThreads),
                          arguments, kShared, stream);
}

// One a run. The stream's device is current while it lives.
class Executor {
 public:
  Executor(Stream &stream, jd_error *error)
      : stream_(stream), error_(error), current_(stream.device->context), number_(++stream.launches) {
    if (!stream.recording) stream.ran = true;
  }

  template <class K>
  jd_status launch(prim::Grid grid, const typename K::Params &params) {
    if (grid.x == 0 || grid.y == 0 || grid.z == 0) return JD_OK;
    constexpr size_t kShared = K::shared_bytes();
    if constexpr (kShared > 48 * 1024) {
      if (const jd_status status = allow_shared<K>(kShared)) return status;
    }
    const cudaError_t code = enqueue<K>(stream_.native, grid, params);
    if (__builtin_expect(code == cudaSuccess, 1)) return JD_OK;
    char what[96];
    snprintf(what, sizeof what, "launch %u x %u x %u blocks of %d threads", grid.x, grid.y, grid.z, K::kThreads);
    return driver_error(error_, code, what);
  }

  FaultRecord *faults() const { return stream_.faults(); }
  uint32_t launch_number() const { return number_; }
  int32_t multiprocessors() const { return stream_.device->properties.multiProcessorCount; }

  bool tensor_map(const prim::TensorGeometry &geometry, prim::TensorMap *map) const { return encode_tensor_map(geometry, map); }

 private:
  // More than 48 KB must be asked for, once for each kernel and device.
  template <class K>
  jd_status allow_shared(size_t bytes) {
    static std::atomic<uint64_t> done{0};
    const int ordinal = stream_.device->context.ordinal;
    const uint64_t bit = ordinal < 64 ? uint64_t{1} << ordinal : 0;
    if (__builtin_expect((done.load(std::memory_order_relaxed) & bit) != 0, 1)) return JD_OK;
    const size_t most = stream_.device->properties.sharedMemPerBlockOptin;
    if (bytes > most) {
      return fail(error_, JD_UNSUPPORTED, "this kernel needs %zu bytes of shared memory a block; cuda:%d (%s) has %zu", bytes,
                  ordinal, stream_.device->properties.name, most);
    }
    const cudaError_t code = cudaFuncSetAttribute(reinterpret_cast<const void *>(&prim::entry<K>),
                                                  cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
    if (code != cudaSuccess) return driver_error(error_, code, "raise a kernel's shared memory");
    done.fetch_or(bit, std::memory_order_relaxed);
    return JD_OK;
  }

  Stream &stream_;
  jd_error *error_;
  const CurrentContext current_;
  const uint32_t number_;
};

}  // namespace jindou::cuda_backend

#endif
