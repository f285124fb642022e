#include "cuda/device.h"

#include <algorithm>
#include <memory>
#include <new>

#include "cuda/stream.h"

namespace jindou::cuda_backend {

jd_status Device::open(int ordinal, Device **device, jd_error *error) {
  const Driver *driver = Driver::get();
  if (!driver) return fail(error, JD_NO_DEVICE, "cuda:%d: the NVIDIA driver lacks the primary context functions", ordinal);
  const CaptureBystander bystander;
  std::unique_ptr<Device> made(new (std::nothrow) Device);
  if (!made) return fail(error, JD_OUT_OF_MEMORY, "host memory exhausted");
  if (const cudaError_t code = cudaGetDeviceProperties(&made->properties, ordinal)) {
    return driver_error(error, code, "read the device's properties");
  }
  const cudaDeviceProp &p = made->properties;
  if (p.major < 8) {
    return fail(error, JD_NO_DEVICE, "cuda:%d (%s) has compute capability %d.%d; Jindou needs 8.0 or higher", ordinal,
                p.name, p.major, p.minor);
  }
  if (!p.memoryPoolsSupported) {
    return fail(error, JD_NO_DEVICE, "cuda:%d (%s) has no stream-ordered memory pools; Jindou needs them", ordinal, p.name);
  }
  CUcontext context = nullptr;
  if (const CUresult code = driver->primary_retain(&context, ordinal)) {
    return driver_error(error, static_cast<cudaError_t>(code), "create the device's context");
  }
  made->context = {ordinal, context};
  const CurrentContext current(made->context);
  if (const jd_status status = made->make_pool(error)) return status;
  *device = made.release();
  return JD_OK;
}

jd_status Device::make_pool(jd_error *error) {
  cudaMemPoolProps wanted{};
  wanted.allocType = cudaMemAllocationTypePinned;
  wanted.location.type = cudaMemLocationTypeDevice;
  wanted.location.id = context.ordinal;
  if (const cudaError_t code = cudaMemPoolCreate(&pool_, &wanted)) return driver_error(error, code, "create the memory pool");
  uint64_t keep_all = UINT64_MAX;  // freed memory stays in the pool instead of going back to the driver at each synchronisation
  if (const cudaError_t code = cudaMemPoolSetAttribute(pool_, cudaMemPoolAttrReleaseThreshold, &keep_all)) {
    return driver_error(error, code, "configure the memory pool");
  }
  int never = 0;  // a request does not wait for memory whose return is still pending
  if (const cudaError_t code = cudaMemPoolSetAttribute(pool_, cudaMemPoolReuseAllowInternalDependencies, &never)) {
    return driver_error(error, code, "configure the memory pool");
  }
  for (cudaStream_t *stream : {&alloc_stream_, &free_stream_}) {
    if (const cudaError_t code = cudaStreamCreateWithFlags(stream, cudaStreamNonBlocking)) {
      return driver_error(error, code, "create a stream");
    }
  }
  return JD_OK;
}

Device::~Device() {
  if (!context.handle) return;
  {
    const CaptureBystander bystander;
    const CurrentContext current(context);
    give_back_kept();
    for (void *data : kept_host_) cudaFreeHost(data);  // no stream is left
    for (cudaStream_t stream : {free_stream_, alloc_stream_}) {
      if (!stream) continue;
      cudaStreamSynchronize(stream);
      cudaStreamDestroy(stream);
    }
    if (pool_) cudaMemPoolDestroy(pool_);
    cudaGetLastError();
  }
  Driver::get()->primary_release(context.ordinal);
}

cudaError_t Device::allocate(size_t bytes, void **data) {
  const cudaError_t code = cudaMallocFromPoolAsync(data, bytes, pool_, alloc_stream_);
  if (code != cudaSuccess) {
    cudaGetLastError();
    *data = nullptr;
    return code;
  }
  return cudaStreamSynchronize(alloc_stream_);
}

jd_status Device::alloc(size_t bytes, void **data, jd_error *error) {
  *data = nullptr;
  const CaptureBystander bystander;
  const CurrentContext current(context);
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    try {
      kept_.reserve(allocations_ + 1);
    } catch (const std::bad_alloc &) {
      return fail(error, JD_OUT_OF_MEMORY, "host memory exhausted");
    }
    ++allocations_;
    if (!kept_.empty() && !any_capturing()) give_back_kept();
  }
  cudaError_t code = allocate(bytes, data);
  if (code == cudaErrorMemoryAllocation) {
    // What was given back may still be held by work under way, or lie in pieces: wait for it, hand it to the driver, ask once more.
    cudaStreamSynchronize(free_stream_);
    cudaMemPoolTrimTo(pool_, 0);
    code = allocate(bytes, data);
  }
  if (code == cudaSuccess) return JD_OK;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    --allocations_;
  }
  if (code != cudaErrorMemoryAllocation) return driver_error(error, code, "allocate");
  size_t available = 0, total = 0;
  cudaMemGetInfo(&available, &total);
  cudaGetLastError();
  fail(error, JD_OUT_OF_MEMORY, "cuda:%d: cannot allocate %zu bytes; %zu of %zu bytes of the device are free",
       context.ordinal, bytes, available, total);
  if (writable(error)) error->backend_code = static_cast<int32_t>(code);
  return JD_OUT_OF_MEMORY;
}

void Device::free(void *data) {
  const CaptureBystander bystander;
  const CurrentContext current(context);
  const std::lock_guard<std::mutex> lock(mutex_);
  kept_.push_back(data);
  if (!any_capturing()) give_back_kept();
}

// A wrapped stream may be captured by its owner, of which only the driver knows.
bool Device::any_capturing() const {
  if (capturing_ > 0) return true;
  return std::any_of(streams_.begin(), streams_.end(), [](const Stream *stream) {
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    return !stream->owned && cudaStreamIsCapturing(stream->native, &status) == cudaSuccess &&
           status != cudaStreamCaptureStatusNone;
  });
}

// free_stream_ waits for everything enqueued so far.
void Device::drain() {
  for (Stream *stream : streams_) {
    cudaEventRecord(stream->drained, stream->native);
    cudaStreamWaitEvent(free_stream_, stream->drained, 0);
  }
}

void Device::give_back_kept() {
  if (kept_.empty()) return;
  drain();
  for (void *data : kept_) cudaFreeAsync(data, free_stream_);
  allocations_ -= kept_.size();
  kept_.clear();
  cudaGetLastError();  // nobody to report to; a broken context shows at the next call that can
}

jd_status Device::alloc_host(size_t bytes, void **data, jd_error *error) {
  *data = nullptr;
  const CaptureBystander bystander;
  const CurrentContext current(context);
  const std::lock_guard<std::mutex> lock(host_mutex_);
  give_back_host();
  try {
    kept_host_.reserve(host_allocations_ + 1);
  } catch (const std::bad_alloc &) {
    return fail(error, JD_OUT_OF_MEMORY, "host memory exhausted");
  }
  const cudaError_t code = cudaHostAlloc(data, bytes, cudaHostAllocPortable);
  if (code == cudaSuccess) {
    ++host_allocations_;
    return JD_OK;
  }
  cudaGetLastError();
  *data = nullptr;
  if (code != cudaErrorMemoryAllocation) return driver_error(error, code, "allocate page-locked host memory");
  fail(error, JD_OUT_OF_MEMORY, "cuda:%d: cannot allocate %zu bytes of page-locked host memory", context.ordinal, bytes);
  if (writable(error)) error->backend_code = static_cast<int32_t>(code);
  return JD_OUT_OF_MEMORY;
}

void Device::free_host(void *data) {
  const CaptureBystander bystander;
  const CurrentContext current(context);
  const std::lock_guard<std::mutex> lock(host_mutex_);
  kept_host_.push_back(data);
  give_back_host();
}

// Copies from and to it may be under way. A stream that captures cannot be waited for.
void Device::give_back_host() {
  if (kept_host_.empty()) return;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (any_capturing()) return;
    drain();
  }
  cudaStreamSynchronize(free_stream_);
  for (void *data : kept_host_) cudaFreeHost(data);
  host_allocations_ -= kept_host_.size();
  kept_host_.clear();
  cudaGetLastError();  // as in give_back_kept
}

jd_status Device::upload(void *target, const void *source, size_t bytes, jd_error *error) {
  if (bytes == 0) return JD_OK;
  const CaptureBystander bystander;
  const CurrentContext current(context);
  cudaError_t code = cudaMemcpyAsync(target, source, bytes, cudaMemcpyHostToDevice, alloc_stream_);
  if (code == cudaSuccess) code = cudaStreamSynchronize(alloc_stream_);
  return check(error, code, "copy to the device");
}

// Not cudaDeviceSynchronize: that waits for other libraries' streams too, and is refused while one of them captures.
jd_status Device::synchronize(jd_error *error) {
  const CaptureBystander bystander;
  const CurrentContext current(context);
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (any_capturing()) return fail(error, JD_INVALID_ARGUMENT, "cuda:%d: a stream is capturing", context.ordinal);
    drain();
  }
  return check(error, cudaStreamSynchronize(free_stream_), "synchronize the device");
}

bool Device::add(Stream *stream) {
  const std::lock_guard<std::mutex> lock(mutex_);
  try {
    streams_.push_back(stream);
  } catch (const std::bad_alloc &) {
    return false;
  }
  return true;
}

void Device::remove(Stream *stream) {
  const std::lock_guard<std::mutex> lock(mutex_);
  streams_.erase(std::remove(streams_.begin(), streams_.end(), stream), streams_.end());
}

void Device::capture_began() {
  const std::lock_guard<std::mutex> lock(mutex_);
  ++capturing_;
}

void Device::capture_ended() {
  const CurrentContext current(context);
  const std::lock_guard<std::mutex> lock(mutex_);
  --capturing_;
  if (!any_capturing()) give_back_kept();
}

}  // namespace jindou::cuda_backend
