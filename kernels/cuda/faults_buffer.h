// Where the kernels of a stream, or of a graph, report what they found in their input: a record in device memory with its copy
// in pinned host memory.
#ifndef JINDOU_KERNELS_CUDA_FAULTS_BUFFER_H
#define JINDOU_KERNELS_CUDA_FAULTS_BUFFER_H

#include <cuda_runtime.h>

#include <memory>

#include "cuda/check.h"
#include "faults.h"

namespace jindou::cuda_backend {

class FaultsBuffer {
 public:
  static jd_status make(std::shared_ptr<FaultsBuffer> *buffer, jd_error *error) {
    std::shared_ptr<FaultsBuffer> made(new FaultsBuffer);
    if (const cudaError_t code = cudaMalloc(&made->device_, sizeof(FaultRecord))) {
      return driver_error(error, code, "allocate the fault record");
    }
    if (const cudaError_t code = cudaMallocHost(&made->host_, sizeof(FaultRecord))) {
      return driver_error(error, code, "allocate pinned memory");
    }
    if (const cudaError_t code = cudaMemset(made->device_, 0, sizeof(FaultRecord))) {
      return driver_error(error, code, "clear the fault record");
    }
    *buffer = std::move(made);
    return JD_OK;
  }
  FaultsBuffer(const FaultsBuffer &) = delete;
  FaultsBuffer &operator=(const FaultsBuffer &) = delete;
  ~FaultsBuffer() {
    cudaFree(device_);
    cudaFreeHost(host_);
  }

  FaultRecord *device() const { return device_; }

  // Enqueues the copy to the host; after the stream has been waited for, `take` gives it.
  cudaError_t fetch(cudaStream_t stream) {
    return cudaMemcpyAsync(host_, device_, sizeof(FaultRecord), cudaMemcpyDeviceToHost, stream);
  }

  // Adds what was found to `report` (the first error stays) and clears the record.
  cudaError_t take(cudaStream_t stream, jdb_report *report) {
    if (host_->has_error == 0 && host_->skipped == 0) return cudaSuccess;
    if (report) {
      const int64_t skipped = report->skipped + static_cast<int64_t>(host_->skipped);
      if (!report->has_error) *report = report_of(*host_);
      report->skipped = skipped;
    }
    return cudaMemsetAsync(device_, 0, sizeof(FaultRecord), stream);
  }

 private:
  FaultsBuffer() = default;
  FaultRecord *device_ = nullptr;
  FaultRecord *host_ = nullptr;
};

}  // namespace jindou::cuda_backend

#endif
