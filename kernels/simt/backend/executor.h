// The executor of the simt backend: a launch runs in the emulator before it returns.
#ifndef JINDOU_KERNELS_SIMT_BACKEND_EXECUTOR_H
#define JINDOU_KERNELS_SIMT_BACKEND_EXECUTOR_H

#include <exception>

#include "core/error.h"
#include "primitives/dim3.h"
#include "simt/backend/device.h"
#include "simt/runtime/launch.h"
#include "simt/runtime/tensor_copies.h"

namespace jindou::simt_backend {

// One a run. The interface is described in dispatch.h.
class Executor {
 public:
  Executor(Stream &stream, jd_error *error) : stream_(stream), error_(error), number_(stream.launches++) {}

  template <class K>
  jd_status launch(prim::Grid grid, const typename K::Params &params) {
    if (grid.x == 0 || grid.y == 0 || grid.z == 0) return JD_OK;
    simt::Options options;
    options.seed = stream_.device->seed;
    // In order and as late as legal by default; a seed also draws when each asynchronous copy lands.
    options.completion = options.seed == 0 ? simt::Completion::lazy : simt::Completion::random;
    options.os_threads = stream_.device->os_threads;
    try {
      simt::launch<K>(grid, params, options);
    } catch (const std::exception &e) {
      return fail(error_, JD_BACKEND_ERROR, "simt: %s", e.what());
    }
    return JD_OK;
  }

  FaultRecord *faults() const { return &stream_.faults; }
  uint32_t launch_number() const { return number_; }
  int32_t multiprocessors() const { return stream_.device->os_threads; }

  bool tensor_map(const prim::TensorGeometry &geometry, prim::TensorMap *map) const {
    if (!prim::is_describable(geometry)) return false;
    *map = simt::encode_tensor_map(geometry);
    return true;
  }

 private:
  Stream &stream_;
  jd_error *error_;
  const uint32_t number_;
};

}  // namespace jindou::simt_backend

#endif
