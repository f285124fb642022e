// CUDA runtime errors as statuses, and the guard that leaves the caller's current device as it was.
#ifndef JINDOU_KERNELS_CUDA_CHECK_H
#define JINDOU_KERNELS_CUDA_CHECK_H

#include <cuda_runtime.h>

#include "core/error.h"

namespace jindou::cuda_backend {

// JD_BACKEND_ERROR with the driver's own words; also takes the error off the runtime's record of the last one.
inline jd_status driver_error(jd_error *error, cudaError_t code, const char *what) {
  cudaGetLastError();
  fail(error, JD_BACKEND_ERROR, "cuda: %s: %s (%s)", what, cudaGetErrorString(code), cudaGetErrorName(code));
  if (error) error->backend_code = static_cast<int32_t>(code);
  return JD_BACKEND_ERROR;
}

inline jd_status check(jd_error *error, cudaError_t code, const char *what) {
  return code == cudaSuccess ? JD_OK : driver_error(error, code, what);
}

// Makes a device current for the scope: CUDA's current device belongs to the thread, and calls may come from any thread.
class CurrentDevice {
 public:
  explicit CurrentDevice(int ordinal) {
    if (cudaGetDevice(&before_) != cudaSuccess) before_ = -1;
    if (before_ != ordinal) cudaSetDevice(ordinal);
    changed_ = before_ != ordinal && before_ >= 0;
  }
  CurrentDevice(const CurrentDevice &) = delete;
  CurrentDevice &operator=(const CurrentDevice &) = delete;
  ~CurrentDevice() {
    if (changed_) cudaSetDevice(before_);
  }

 private:
  int before_ = -1;
  bool changed_ = false;
};

}  // namespace jindou::cuda_backend

#endif
