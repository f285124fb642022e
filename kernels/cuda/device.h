// A CUDA device, its streams and its memory.
//
// Memory comes from a pool of the device's own. It is given back on a stream of its own, after everything enqueued so far on any
// stream of the device, so that destroying a tensor neither blocks nor pulls memory away from work under way. The pool hands
// out again only what has really been given back (it may not make a request wait for work in flight), so that new memory
// may be used on every stream at once. While a stream captures, what is given back is kept until the capture ends: an event
// recorded on a capturing stream would become part of its graph.
#ifndef JINDOU_KERNELS_CUDA_DEVICE_H
#define JINDOU_KERNELS_CUDA_DEVICE_H

#include <cuda_runtime.h>

#include <cstdint>
#include <mutex>
#include <vector>

#include "core/backend.h"
#include "cuda/check.h"

namespace jindou::cuda_backend {

struct Stream;

class Device {
 public:
  static jd_status open(int ordinal, Device **device, jd_error *error);
  Device(const Device &) = delete;
  Device &operator=(const Device &) = delete;
  ~Device();

  jd_status alloc(size_t bytes, void **data, jd_error *error);
  void free(void *data);

  // Page-locked host memory. Giving it back waits for the copies enqueued so far, or, while a stream captures, is left for later.
  jd_status alloc_host(size_t bytes, void **data, jd_error *error);
  void free_host(void *data);

  // Copies host memory to device memory; complete on return, so that every stream sees it.
  jd_status upload(void *target, const void *source, size_t bytes, jd_error *error);

  // Waits for everything enqueued so far on the device's streams, and on no others.
  jd_status synchronize(jd_error *error);

  // Streams that `free` and `synchronize` wait for. `add` may fail for want of host memory.
  bool add(Stream *stream);
  void remove(Stream *stream);
  void capture_began();
  void capture_ended();

  Context context;
  cudaDeviceProp properties{};

 private:
  Device() = default;
  jd_status make_pool(jd_error *error);
  cudaError_t allocate(size_t bytes, void **data);
  bool any_capturing() const;
  void drain();
  void give_back_kept();
  void give_back_host();

  cudaMemPool_t pool_ = nullptr;
  cudaStream_t alloc_stream_ = nullptr;  // nothing waits on it but a request for memory
  cudaStream_t free_stream_ = nullptr;
  std::mutex mutex_;  // guards what follows
  std::vector<Stream *> streams_;
  std::vector<void *> kept_;  // has room for every allocation, so that `free` cannot fail
  size_t allocations_ = 0;
  int capturing_ = 0;
  std::mutex host_mutex_;  // taken before the other; guards what follows
  std::vector<void *> kept_host_;  // as kept_
  size_t host_allocations_ = 0;
};

}  // namespace jindou::cuda_backend

#endif
