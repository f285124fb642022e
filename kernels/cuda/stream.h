// A stream: where its kernels report what they found in their input, how host memory reaches it, and its captures.
#ifndef JINDOU_KERNELS_CUDA_STREAM_H
#define JINDOU_KERNELS_CUDA_STREAM_H

#include <cuda_runtime.h>

#include <cstdint>

#include "core/backend.h"
#include "cuda/device.h"
#include "cuda/staging.h"
#include "faults.h"

namespace jindou::cuda_backend {

// Calls on one stream are serialised by core.
struct Stream {
  // `external` is a cudaStream_t that others own, or null.
  static jd_status create(Device *device, void *external, Stream **stream, jd_error *error);
  ~Stream();

  // Waits, then gives and clears what was found since the last time. `report` may be null.
  jd_status synchronize(jdb_report *report, jd_error *error);
  jd_status copy(void *target, const void *source, size_t bytes, int32_t direction, jd_error *error);

  FaultRecord *faults() const { return recording ? recording : record; }

  Device *device = nullptr;
  cudaStream_t native = nullptr;
  bool owned = false;
  cudaEvent_t drained = nullptr;     // for Device::drain
  FaultRecord *record = nullptr;     // device memory: work enqueued directly, and graphs when they are done
  FaultRecord *recording = nullptr;  // while capturing: the record of the graph to be
  bool ran = false;                  // kernels were enqueued since the last synchronisation
  uint32_t launches = 0;             // runs since then

 private:
  Stream() = default;
  FaultRecord *host_record_ = nullptr;  // pinned
  Staging staging_;
};

// A captured graph, ready to launch.
struct Graph {
  // Ends the capture that `begin` began; also when it fails, the stream captures no more.
  static jd_status begin(Stream *stream, jd_error *error);
  static jd_status end(Stream *stream, Graph **graph, jd_error *error);
  ~Graph();

  jd_status launch(Stream *stream, jd_error *error);

  Device *device = nullptr;

 private:
  Graph() = default;
  FaultRecord *record_ = nullptr;  // device memory: what its kernels find
  FaultRecord *into_ = nullptr;    // where its last node moves that: the record of the stream it was last launched on
  cudaGraph_t graph_ = nullptr;    // kept: names the node
  cudaGraphExec_t executable_ = nullptr;
  cudaGraphNode_t merge_ = nullptr;
};

}  // namespace jindou::cuda_backend

#endif
