#include "cuda/stream.h"

#include <memory>
#include <new>

#include "cuda/executor.h"
#include "cuda/merge_faults.h"

namespace jindou::cuda_backend {
namespace {

jd_status out_of_host_memory(jd_error *error) { return fail(error, JD_OUT_OF_MEMORY, "host memory exhausted"); }

// An empty fault record in device memory.
jd_status make_record(Device *device, FaultRecord **record, jd_error *error) {
  void *data = nullptr;
  if (const jd_status status = device->alloc(sizeof(FaultRecord), &data, error)) return status;
  const FaultRecord empty{};
  if (const jd_status status = device->upload(data, &empty, sizeof empty, error)) {
    device->free(data);
    return status;
  }
  *record = static_cast<FaultRecord *>(data);
  return JD_OK;
}

// A stream that others own must be usable from any thread, and belong to this device.
jd_status check_external(const Device &device, cudaStream_t stream, jd_error *error) {
  if (stream == cudaStreamPerThread) {
    return fail(error, JD_UNSUPPORTED, "cudaStreamPerThread cannot be wrapped: it is another stream in each thread");
  }
  int ordinal = -1;
  if (const cudaError_t code = cudaStreamGetDevice(stream, &ordinal)) return driver_error(error, code, "look at the stream");
  if (ordinal == device.context.ordinal) return JD_OK;
  return fail(error, JD_INVALID_ARGUMENT, "the cudaStream_t belongs to cuda:%d, not to cuda:%d", ordinal,
              device.context.ordinal);
}

}  // namespace

jd_status Stream::create(Device *device, void *external, Stream **stream, jd_error *error) {
  const CaptureBystander bystander;
  const CurrentContext current(device->context);
  std::unique_ptr<Stream> made(new (std::nothrow) Stream);
  if (!made) return out_of_host_memory(error);
  made->device = device;
  if (external) {
    if (const jd_status status = check_external(*device, static_cast<cudaStream_t>(external), error)) return status;
    made->native = static_cast<cudaStream_t>(external);
  } else {
    const cudaError_t code = cudaStreamCreateWithFlags(&made->native, cudaStreamNonBlocking);
    if (code != cudaSuccess) return driver_error(error, code, "create a stream");
    made->owned = true;
  }
  if (const cudaError_t code = cudaEventCreateWithFlags(&made->drained, cudaEventDisableTiming)) {
    return driver_error(error, code, "create an event");
  }
  if (const cudaError_t code = cudaMallocHost(reinterpret_cast<void **>(&made->host_record_), sizeof(FaultRecord))) {
    return driver_error(error, code, "allocate pinned memory");
  }
  if (const jd_status status = make_record(device, &made->record, error)) return status;
  if (!device->add(made.get())) return out_of_host_memory(error);
  *stream = made.release();
  return JD_OK;
}

// Core has waited for the stream's work.
Stream::~Stream() {
  const CaptureBystander bystander;
  const CurrentContext current(device->context);
  if (recording) device->free(recording);
  if (record) device->free(record);
  device->remove(this);
  if (drained) cudaEventDestroy(drained);
  if (host_record_) cudaFreeHost(host_record_);
  if (owned) cudaStreamDestroy(native);
}

jd_status Stream::synchronize(jdb_report *report, jd_error *error) {
  const CaptureBystander bystander;
  const CurrentContext current(device->context);
  if (report) {
    *report = jdb_report{};
    report->table = -1;
  }
  cudaError_t code = cudaSuccess;
  if (ran) code = cudaMemcpyAsync(host_record_, record, sizeof(FaultRecord), cudaMemcpyDeviceToHost, native);
  if (code == cudaSuccess) code = cudaStreamSynchronize(native);
  if (code == cudaSuccess && ran && (host_record_->has_error || host_record_->skipped)) {
    if (report) *report = report_of(*host_record_);
    code = cudaMemsetAsync(record, 0, sizeof(FaultRecord), native);
  }
  if (code != cudaSuccess) return driver_error(error, code, "synchronize a stream");
  ran = false;
  launches = 0;
  return JD_OK;
}

jd_status Stream::copy(void *target, const void *source, size_t bytes, int32_t direction, jd_error *error) {
  if (bytes == 0) return JD_OK;
  const CurrentContext current(device->context);
  if (direction == JDB_DEVICE_TO_DEVICE) {
    return check(error, cudaMemcpyAsync(target, source, bytes, cudaMemcpyDeviceToDevice, native), "copy on the device");
  }
  const CaptureBystander bystander;
  if (direction == JDB_PINNED_TO_DEVICE) {
    return check(error, cudaMemcpyAsync(target, source, bytes, cudaMemcpyHostToDevice, native), "copy to the device");
  }
  if (direction == JDB_DEVICE_TO_HOST) {
    return check(error, cudaMemcpyAsync(target, source, bytes, cudaMemcpyDeviceToHost, native), "copy to the host");
  }
  if (bytes <= Staging::kSlotBytes) {
    if (staging_.copy(native, target, source, bytes) == cudaSuccess) return JD_OK;
    cudaGetLastError();  // no pinned memory, or a broken context, which the next line reports
  }
  cudaError_t code = cudaMemcpyAsync(target, source, bytes, cudaMemcpyHostToDevice, native);
  if (code == cudaSuccess) code = cudaStreamSynchronize(native);
  return check(error, code, "copy to the device");
}

// Relaxed: begin and end may come from different threads, and other threads allocate meanwhile. What a capturing stream must not
// do is refused by core.
jd_status Graph::begin(Stream *stream, jd_error *error) {
  const CurrentContext current(stream->device->context);
  FaultRecord *record = nullptr;
  if (const jd_status status = make_record(stream->device, &record, error)) return status;
  stream->device->capture_began();
  if (const cudaError_t code = cudaStreamBeginCapture(stream->native, cudaStreamCaptureModeRelaxed)) {
    stream->device->capture_ended();
    stream->device->free(record);
    return driver_error(error, code, "begin a capture");
  }
  stream->recording = record;
  return JD_OK;
}

jd_status Graph::end(Stream *stream, Graph **graph, jd_error *error) {
  const CurrentContext current(stream->device->context);
  std::unique_ptr<Graph> made(new (std::nothrow) Graph);
  cudaError_t code = cudaSuccess;
  const char *what = "add a graph's last node";
  if (made) {
    made->device = stream->device;
    made->record_ = stream->recording;
    made->into_ = stream->record;
    stream->recording = nullptr;
    // The last node, and its name: what the next work on the stream would depend on.
    code = enqueue<MergeFaultsKernel>(stream->native, {1, 1, 1}, {made->record_, made->into_});
    cudaStreamCaptureStatus capturing = cudaStreamCaptureStatusNone;
    const cudaGraphNode_t *last = nullptr;
    size_t count = 0;
    if (code == cudaSuccess) {
      code = cudaStreamGetCaptureInfo(stream->native, &capturing, nullptr, nullptr, &last, nullptr, &count);
    }
    if (code == cudaSuccess && count == 1) made->merge_ = last[0];
    if (code == cudaSuccess && count != 1) code = cudaErrorStreamCaptureInvalidated;
  }
  // Whatever happened, the capture is over.
  cudaGraph_t captured = nullptr;
  const cudaError_t ended = cudaStreamEndCapture(stream->native, &captured);
  stream->device->capture_ended();
  if (!made) {
    if (captured) cudaGraphDestroy(captured);
    stream->device->free(stream->recording);
    stream->recording = nullptr;
    return out_of_host_memory(error);
  }
  made->graph_ = captured;
  if (ended != cudaSuccess) {
    code = ended;
    what = "end a capture";
  }
  if (code == cudaSuccess) {
    what = "instantiate a graph";
    code = cudaGraphInstantiate(&made->executable_, captured, 0);
  }
  if (code != cudaSuccess) return driver_error(error, code, what);
  *graph = made.release();
  return JD_OK;
}

// A launch under way goes on: the driver keeps what it needs, and the record is given back after it.
Graph::~Graph() {
  const CaptureBystander bystander;
  const CurrentContext current(device->context);
  if (executable_) cudaGraphExecDestroy(executable_);
  if (graph_) cudaGraphDestroy(graph_);
  if (record_) device->free(record_);
}

jd_status Graph::launch(Stream *stream, jd_error *error) {
  const CurrentContext current(stream->device->context);
  if (into_ != stream->record) {
    MergeFaultsKernel::Params params{record_, stream->record};
    void *arguments[] = {&params};
    cudaKernelNodeParams node{};
    node.func = reinterpret_cast<void *>(&prim::entry<MergeFaultsKernel>);
    node.gridDim = dim3(1);
    node.blockDim = dim3(MergeFaultsKernel::kThreads);
    node.kernelParams = arguments;
    if (const cudaError_t code = cudaGraphExecKernelNodeSetParams(executable_, merge_, &node)) {
      return driver_error(error, code, "direct a graph to another stream");
    }
    into_ = stream->record;
  }
  stream->ran = true;
  return check(error, cudaGraphLaunch(executable_, stream->native), "launch a graph");
}

}  // namespace jindou::cuda_backend
