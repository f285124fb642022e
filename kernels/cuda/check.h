// CUDA runtime errors as statuses, and the guards a call puts up: the right context, and no harm to others' captures.
#ifndef JINDOU_KERNELS_CUDA_CHECK_H
#define JINDOU_KERNELS_CUDA_CHECK_H

#include <cuda.h>
#include <cuda_runtime.h>

#include "core/error.h"

namespace jindou::cuda_backend {

// JD_BACKEND_ERROR with the driver's own words; also takes the error off the runtime's record of the last one.
inline jd_status driver_error(jd_error *error, cudaError_t code, const char *what) {
  cudaGetLastError();
  fail(error, JD_BACKEND_ERROR, "cuda: %s: %s (%s)", what, cudaGetErrorString(code), cudaGetErrorName(code));
  if (writable(error)) error->backend_code = static_cast<int32_t>(code);
  return JD_BACKEND_ERROR;
}

inline jd_status check(jd_error *error, cudaError_t code, const char *what) {
  return code == cudaSuccess ? JD_OK : driver_error(error, code, what);
}

// The driver's functions that the runtime has no equal for. Found at run time: this library does not link with libcuda.
struct Driver {
  CUresult (*context_get)(CUcontext *) = nullptr;
  CUresult (*context_set)(CUcontext) = nullptr;
  CUresult (*primary_retain)(CUcontext *, CUdevice) = nullptr;
  CUresult (*primary_release)(CUdevice) = nullptr;

  // Null when the driver lacks one of them.
  static const Driver *get() {
    static const Driver driver = find();
    return driver.primary_release ? &driver : nullptr;
  }

 private:
  static Driver find() {
    Driver driver;
    if (look("cuCtxGetCurrent", &driver.context_get) && look("cuCtxSetCurrent", &driver.context_set) &&
        look("cuDevicePrimaryCtxRetain", &driver.primary_retain)) {
      look("cuDevicePrimaryCtxRelease", &driver.primary_release);
    }
    return driver;
  }
  template <class F>
  static bool look(const char *name, F *function) {
    void *address = nullptr;
    cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
    const cudaError_t code = cudaGetDriverEntryPointByVersion(name, &address, 12000, cudaEnableDefault, &found);
    if (code != cudaSuccess || found != cudaDriverEntryPointSuccess) {
      cudaGetLastError();
      return false;
    }
    *function = reinterpret_cast<F>(address);
    return true;
  }
};

// A device's primary context, the one the runtime uses: what a call needs to make the device current.
struct Context {
  int ordinal = 0;
  CUcontext handle = nullptr;
};

// Makes a device's primary context current for the scope. CUDA's current context belongs to the thread, calls may come from
// any thread, and that thread may be using another device or a context made with the driver API: it gets back exactly what it
// had. (cudaGetDevice and cudaSetDevice would not do: setting device 0 "again" on a thread that had no context creates one.)
class CurrentContext {
 public:
  explicit CurrentContext(const Context &context) : driver_(*Driver::get()) {
    driver_.context_get(&before_);
    if (before_ == context.handle) return;
    driver_.context_set(context.handle);
    // Device 0 is what the runtime gives a thread that has nothing: left in place, it spares later calls the change.
    restore_ = before_ != nullptr || context.ordinal != 0;
  }
  CurrentContext(const CurrentContext &) = delete;
  CurrentContext &operator=(const CurrentContext &) = delete;
  ~CurrentContext() {
    if (restore_) driver_.context_set(before_);
  }

 private:
  const Driver &driver_;
  CUcontext before_ = nullptr;
  bool restore_ = false;
};

// While another thread captures a stream in the global mode (other libraries do), calls that could synchronise are refused and
// spoil its capture, unless their own thread has opted out. None of ours touch a capturing stream: they opt out.
class CaptureBystander {
 public:
  CaptureBystander() { cudaThreadExchangeStreamCaptureMode(&mode_); }
  CaptureBystander(const CaptureBystander &) = delete;
  CaptureBystander &operator=(const CaptureBystander &) = delete;
  ~CaptureBystander() { cudaThreadExchangeStreamCaptureMode(&mode_); }

 private:
  cudaStreamCaptureMode mode_ = cudaStreamCaptureModeRelaxed;
};

}  // namespace jindou::cuda_backend

#endif
