// What a kernel plan is: the choice of kernel, metadata in device memory and scratch, made once and run many times.
//
// A backend gives `PlanResources`; each operator's launch header derives a plan from `KernelPlan`, fills its device
// buffers and keeps plain pointers to them. No CUDA here: the cuda and simt backends share all of it.
#ifndef JINDOU_KERNELS_PLAN_H
#define JINDOU_KERNELS_PLAN_H

#include <stddef.h>
#include <stdint.h>

#include <vector>

#include "core/backend.h"
#include "core/error.h"

namespace jindou {

// What a backend lends an operator while its plan is made.
struct PlanResources {
  jdb_allocator allocator;  // kept by the plan: its buffers go back through it
  void *upload_context;     // handed to upload
  // Copies host memory to device memory; when it returns the source may be reused and every stream sees the copy.
  jd_status (*upload)(void *context, void *target, const void *source, size_t bytes, jd_error *error);
  int32_t multiprocessors;  // SMs of the device (simt: threads), for sizing grids
  bool hopper = false;      // kernels of sm_90a run here (prim::IsHopper)
};

// Device allocations that live as long as their plan.
class PlanBuffers {
 public:
  explicit PlanBuffers(const jdb_allocator &allocator) : allocator_(allocator) {}
  PlanBuffers(const PlanBuffers &) = delete;
  PlanBuffers &operator=(const PlanBuffers &) = delete;
  ~PlanBuffers() {
    for (const Buffer &b : buffers_) allocator_.free(allocator_.context, b.data, b.bytes);
  }

  // `bytes` of device memory, 256-byte aligned; *data is null for 0 bytes.
  jd_status alloc(size_t bytes, void **data, jd_error *error) {
    *data = nullptr;
    if (bytes == 0) return JD_OK;
    buffers_.reserve(buffers_.size() + 1);
    const jd_status status = allocator_.alloc(allocator_.context, bytes, data, error);
    if (status != JD_OK) return status;
    buffers_.push_back({*data, bytes});
    total_ += static_cast<int64_t>(bytes);
    return JD_OK;
  }

  // Of a plan that is a part of this one.
  void count(const PlanBuffers &part) { total_ += part.total_; }

  int64_t bytes() const { return total_; }

 private:
  struct Buffer {
    void *data;
    size_t bytes;
  };
  jdb_allocator allocator_;
  std::vector<Buffer> buffers_;
  int64_t total_ = 0;
};

// Base of every operator's plan. Immutable once made, so that runs may come from any thread.
struct KernelPlan {
  KernelPlan(int32_t op_number, const PlanResources &resources)
      : op(op_number), multiprocessors(resources.multiprocessors), hopper(resources.hopper), buffers(resources.allocator) {}
  virtual ~KernelPlan() = default;

  // One line: operator, kernel chosen, tile sizes. The device's name is the backend's to add.
  virtual void describe(char *text, size_t capacity) const = 0;

  const int32_t op;  // JDB_OP_*
  const int32_t multiprocessors;
  const bool hopper;
  PlanBuffers buffers;
};

}  // namespace jindou

#endif
