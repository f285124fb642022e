// The executor of the cuda backend: launches a kernel on a stream. The interface is described in dispatch.h.
#ifndef JINDOU_KERNELS_CUDA_EXECUTOR_H
#define JINDOU_KERNELS_CUDA_EXECUTOR_H

#include <cuda_runtime.h>

#include <atomic>

#include "cuda/check.h"
#include "cuda/device.h"
#include "primitives/primitives.h"

namespace jindou::cuda_backend {

// One a run. The stream's device is current while it lives.
class Executor {
 public:
  Executor(Stream &stream, jd_error *error)
      : stream_(stream), error_(error), current_(stream.device->ordinal), number_(stream.launches++) {}

  template <class K>
  jd_status launch(prim::Grid grid, const typename K::Params &params) {
    if (grid.x == 0 || grid.y == 0 || grid.z == 0) return JD_OK;
    constexpr size_t kShared = K::shared_bytes();
    if constexpr (kShared > 48 * 1024) {
      if (const cudaError_t code = allow_shared<K>(stream_.device->ordinal, kShared)) {
        return driver_error(error_, code, "raise a kernel's shared memory");
      }
    }
    void *arguments[] = {const_cast<typename K::Params *>(&params)};
    return check(error_,
                 cudaLaunchKernel(reinterpret_cast<const void *>(&prim::entry<K>), dim3(grid.x, grid.y, grid.z),
                                  dim3(K::kThreads), arguments, kShared, stream_.native),
                 "launch a kernel");
  }

  FaultRecord *faults() const { return (stream_.recording ? stream_.recording : stream_.faults)->device(); }
  uint32_t launch_number() const { return number_; }
  int32_t multiprocessors() const { return stream_.device->properties.multiProcessorCount; }

 private:
  // More than 48 KB must be asked for, once for each kernel and device.
  template <class K>
  static cudaError_t allow_shared(int ordinal, size_t bytes) {
    static std::atomic<uint64_t> done{0};
    const uint64_t bit = uint64_t{1} << (ordinal & 63);
    if (ordinal < 64 && (done.load(std::memory_order_relaxed) & bit)) return cudaSuccess;
    const cudaError_t code = cudaFuncSetAttribute(reinterpret_cast<const void *>(&prim::entry<K>),
                                                  cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
    if (code == cudaSuccess) done.fetch_or(bit, std::memory_order_relaxed);
    return code;
  }

  Stream &stream_;
  jd_error *error_;
  const CurrentDevice current_;
  const uint32_t number_;
};

}  // namespace jindou::cuda_backend

#endif
