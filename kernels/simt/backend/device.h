// The simt device: host memory that behaves as device memory, streams that run at once, events that are points in time.
#ifndef JINDOU_KERNELS_SIMT_BACKEND_DEVICE_H
#define JINDOU_KERNELS_SIMT_BACKEND_DEVICE_H

#include <chrono>
#include <cstddef>
#include <cstdint>

#include "core/backend.h"
#include "faults.h"

namespace jindou::simt_backend {

struct Device {
  int32_t os_threads;  // threads that run emulated blocks
  uint64_t seed;       // order of emulated threads; 0 = in order
  bool hopper = false;  // runs the kernels of sm_90a instead of the portable ones
};

struct Stream {
  Device *device;
  FaultRecord faults{};
  uint32_t launches = 0;  // runs since the record was last cleared
};

struct Event {
  std::chrono::steady_clock::time_point time{};
  bool recorded = false;
};

// Cores this process may use.
int32_t usable_cores();

int64_t physical_memory();

}  // namespace jindou::simt_backend

#endif
