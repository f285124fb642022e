// A CPU device and its streams. Work runs inside the call that enqueues it, so a stream is only the record of what its
// operators found since the last synchronisation.
#ifndef JINDOU_CPU_DEVICE_H
#define JINDOU_CPU_DEVICE_H

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "core/backend.h"
#include "cpu/kernels/kernel_table.h"
#include "cpu/thread_pool.h"

namespace jindou::cpu {

struct Device {
  Device(const KernelTable &table, int threads);
  ~Device();

  const KernelTable &kernels;
  ThreadPool pool;

  // Scratch of linear layers, for ThreadPool::run_with_scratch: `linear_scratch` floats for each worker. Null when there was no memory.
  float *const linear_scratch;
  float *linear_scratch_of(int worker) const { return linear_scratch + worker * kernels.linear_scratch; }
};

struct Stream {
  Device &device;
  jdb_report report;

  explicit Stream(Device &d) : device(d), report{} { clear_report(); }
  void clear_report();
};

struct Event {
  std::atomic<int64_t> nanoseconds{0};  // of the steady clock; 0 = never recorded
};

// The CPUs this process may use, at least 1.
int usable_cpus();
void describe_device(const Device &device, jd_device_info *info);

}  // namespace jindou::cpu

#endif
