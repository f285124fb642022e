// Pinned memory that small host sources pass through, so that their owner has them back at once, whatever memory they are in,
// and the stream need not be waited for.
//
// (cudaMemcpyAsync alone promises neither: it reads pinned memory, and on some systems pageable memory too, after it returned.)
#ifndef JINDOU_KERNELS_CUDA_STAGING_H
#define JINDOU_KERNELS_CUDA_STAGING_H

#include <cuda_runtime.h>

#include <cstring>

namespace jindou::cuda_backend {

// Of one stream. Made at its first copy; a few slots in turn, each free again when the copy out of it is done.
class Staging {
 public:
  static constexpr size_t kSlotBytes = 512 * 1024;

  Staging() = default;
  Staging(const Staging &) = delete;
  Staging &operator=(const Staging &) = delete;
  ~Staging() {
    for (cudaEvent_t event : done_) {
      if (event) cudaEventDestroy(event);
    }
    if (memory_) cudaFreeHost(memory_);
  }

  // Enqueues a copy of at most kSlotBytes. Waits only when all slots are on their way.
  cudaError_t copy(cudaStream_t stream, void *target, const void *source, size_t bytes) {
    if (const cudaError_t code = make()) return code;
    const int slot = next_;
    if (const cudaError_t code = cudaEventSynchronize(done_[slot])) return code;
    next_ = (next_ + 1) % kSlots;
    char *staged = memory_ + slot * kSlotBytes;
    std::memcpy(staged, source, bytes);
    if (const cudaError_t code = cudaMemcpyAsync(target, staged, bytes, cudaMemcpyHostToDevice, stream)) return code;
    return cudaEventRecord(done_[slot], stream);
  }

 private:
  static constexpr int kSlots = 4;

  cudaError_t make() {
    if (memory_) return cudaSuccess;
    for (cudaEvent_t &event : done_) {
      if (event) continue;
      if (const cudaError_t code = cudaEventCreateWithFlags(&event, cudaEventDisableTiming)) return code;
    }
    return cudaMallocHost(reinterpret_cast<void **>(&memory_), kSlots * kSlotBytes);
  }

  char *memory_ = nullptr;
  cudaEvent_t done_[kSlots] = {};
  int next_ = 0;
};

}  // namespace jindou::cuda_backend

#endif
