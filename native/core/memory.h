// Device memory, counted in one place: what a device has handed out, the most it ever had, and its limit.
#ifndef JINDOU_CORE_MEMORY_H
#define JINDOU_CORE_MEMORY_H

#include <atomic>
#include <cstdint>

#include "core/backend.h"

namespace jindou::core {

class Device;

class MemoryAccount {
 public:
  explicit MemoryAccount(int64_t limit) : limit_(limit) {}

  // Counts `bytes` as used unless that would pass the limit.
  bool reserve(int64_t bytes);
  void give_back(int64_t bytes) { used_.fetch_sub(bytes, std::memory_order_relaxed); }

  int64_t used() const { return used_.load(std::memory_order_relaxed); }
  int64_t peak() const { return peak_.load(std::memory_order_relaxed); }
  int64_t limit() const { return limit_; }  // 0 = none

 private:
  const int64_t limit_;
  std::atomic<int64_t> used_{0};
  std::atomic<int64_t> peak_{0};
};

// Memory of the device, counted. 0 bytes give a null pointer. JD_OUT_OF_MEMORY names what was asked for, used and the
// limit.
jd_status allocate(Device &device, int64_t bytes, void **data, jd_error *error);
void deallocate(Device &device, void *data, int64_t bytes);

// The same for what a plan allocates for itself.
jdb_allocator plan_allocator(Device &device);

}  // namespace jindou::core

#endif
