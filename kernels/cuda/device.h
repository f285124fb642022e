// A CUDA device, its streams and its memory.
//
// Memory comes from a pool of the device's own, in stream order: it is allocated on one stream, which is waited for, and given back
// on another after everything enqueued so far on any stream of the device. So destroying a tensor never blocks and never
// pulls memory away from work under way. While a stream captures, what is given back is kept until the capture ends: an event
// recorded on a capturing stream would become part of its graph.
#ifndef JINDOU_KERNELS_CUDA_DEVICE_H
#define JINDOU_KERNELS_CUDA_DEVICE_H

#include <cuda_runtime.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "core/backend.h"
#include "cuda/faults_buffer.h"

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

  // Copies host memory to device memory; complete on return, so that every stream sees it.
  jd_status upload(void *target, const void *source, size_t bytes, jd_error *error);

  // Streams that `free` must wait for.
  void add(Stream *stream);
  void remove(Stream *stream);
  void capture_began();
  void capture_ended();

  const int ordinal;
  cudaDeviceProp properties{};

 private:
  explicit Device(int number) : ordinal(number) {}
  bool any_capturing() const;
  void give_back(void *data);
  void give_back_kept();

  cudaMemPool_t pool_ = nullptr;
  cudaStream_t alloc_stream_ = nullptr;
  cudaStream_t free_stream_ = nullptr;
  std::mutex mutex_;  // guards what follows
  std::vector<Stream *> streams_;
  std::vector<void *> kept_;
  int capturing_ = 0;
};

// A stream, own or wrapped. Calls on one stream are serialised by core.
struct Stream {
  Device *device = nullptr;
  cudaStream_t native = nullptr;
  bool owned = false;
  bool capturing = false;
  cudaEvent_t drained = nullptr;              // for Device::free
  std::shared_ptr<FaultsBuffer> faults;       // of work enqueued directly
  std::shared_ptr<FaultsBuffer> recording;    // while capturing: the graph's own
  std::vector<std::shared_ptr<FaultsBuffer>> launched;  // of graphs launched since the last synchronisation
  bool enqueued = false;                      // an operator ran since then
  uint32_t launches = 0;
};

struct Event {
  Device *device = nullptr;
  cudaEvent_t native = nullptr;
};

struct Graph {
  Device *device = nullptr;
  cudaGraphExec_t executable = nullptr;
  std::shared_ptr<FaultsBuffer> faults;
};

}  // namespace jindou::cuda_backend

#endif
