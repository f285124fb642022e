#include "cuda/device.h"

#include <algorithm>

#include "cuda/check.h"

namespace jindou::cuda_backend {

jd_status Device::open(int ordinal, Device **device, jd_error *error) {
  std::unique_ptr<Device> made(new Device(ordinal));
  const CurrentDevice current(ordinal);
  if (const cudaError_t code = cudaGetDeviceProperties(&made->properties, ordinal)) {
    return driver_error(error, code, "read the device's properties");
  }
  if (made->properties.major < 8) {
    return fail(error, JD_NO_DEVICE, "cuda:%d (%s) has compute capability %d.%d; Jindou needs 8.0 or higher", ordinal,
                made->properties.name, made->properties.major, made->properties.minor);
  }
  cudaMemPoolProps wanted{};
  wanted.allocType = cudaMemAllocationTypePinned;
  wanted.location.type = cudaMemLocationTypeDevice;
  wanted.location.id = ordinal;
  uint64_t keep_all = UINT64_MAX;  // freed memory stays in the pool instead of going back to the driver at each synchronisation
  if (const cudaError_t code = cudaMemPoolCreate(&made->pool_, &wanted)) {
    return driver_error(error, code, "create the memory pool");
  }
  if (const cudaError_t code = cudaMemPoolSetAttribute(made->pool_, cudaMemPoolAttrReleaseThreshold, &keep_all)) {
    return driver_error(error, code, "configure the memory pool");
  }
  for (cudaStream_t *stream : {&made->alloc_stream_, &made->free_stream_}) {
    if (const cudaError_t code = cudaStreamCreateWithFlags(stream, cudaStreamNonBlocking)) {
      return driver_error(error, code, "create a stream");
    }
  }
  *device = made.release();
  return JD_OK;
}

Device::~Device() {
  const CurrentDevice current(ordinal);
  capturing_ = 0;
  give_back_kept();
  if (free_stream_) {
    cudaStreamSynchronize(free_stream_);
    cudaStreamDestroy(free_stream_);
  }
  if (alloc_stream_) cudaStreamDestroy(alloc_stream_);
  if (pool_) cudaMemPoolDestroy(pool_);
}

jd_status Device::alloc(size_t bytes, void **data, jd_error *error) {
  const CurrentDevice current(ordinal);
  cudaError_t code = cudaMallocFromPoolAsync(data, bytes, pool_, alloc_stream_);
  if (code == cudaErrorMemoryAllocation) {
    // What was given back may still be held by work under way, or lie in pieces: wait for it, hand it to the driver, ask once more.
    cudaGetLastError();
    cudaStreamSynchronize(free_stream_);
    cudaMemPoolTrimTo(pool_, 0);
    code = cudaMallocFromPoolAsync(data, bytes, pool_, alloc_stream_);
  }
  if (code == cudaSuccess) code = cudaStreamSynchronize(alloc_stream_);
  if (code == cudaSuccess) return JD_OK;
  *data = nullptr;
  if (code != cudaErrorMemoryAllocation) return driver_error(error, code, "allocate");
  cudaGetLastError();
  size_t available = 0, total = 0;
  cudaMemGetInfo(&available, &total);
  fail(error, JD_OUT_OF_MEMORY, "cuda:%d: cannot allocate %zu bytes; %zu of %zu bytes of the device are free", ordinal, bytes,
       available, total);
  if (error) error->backend_code = static_cast<int32_t>(code);
  return JD_OUT_OF_MEMORY;
}

void Device::free(void *data) {
  const CurrentDevice current(ordinal);
  const std::lock_guard<std::mutex> lock(mutex_);
  if (any_capturing()) {
    kept_.push_back(data);
    return;
  }
  give_back_kept();
  give_back(data);
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

void Device::give_back(void *data) {
  for (Stream *stream : streams_) {
    cudaEventRecord(stream->drained, stream->native);
    cudaStreamWaitEvent(free_stream_, stream->drained, 0);
  }
  cudaFreeAsync(data, free_stream_);
  cudaGetLastError();  // nothing a destructor could report; a broken context shows at the next call that can
}

void Device::give_back_kept() {
  for (void *data : kept_) give_back(data);
  kept_.clear();
}

jd_status Device::upload(void *target, const void *source, size_t bytes, jd_error *error) {
  if (bytes == 0) return JD_OK;
  const CurrentDevice current(ordinal);
  if (const cudaError_t code = cudaMemcpyAsync(target, source, bytes, cudaMemcpyHostToDevice, alloc_stream_)) {
    return driver_error(error, code, "copy to the device");
  }
  return check(error, cudaStreamSynchronize(alloc_stream_), "copy to the device");
}

void Device::add(Stream *stream) {
  const std::lock_guard<std::mutex> lock(mutex_);
  streams_.push_back(stream);
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
  const CurrentDevice current(ordinal);
  const std::lock_guard<std::mutex> lock(mutex_);
  --capturing_;
  if (!any_capturing()) give_back_kept();
}

}  // namespace jindou::cuda_backend
