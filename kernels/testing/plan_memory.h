// Plan memory for kernel tests: counts what is alive, can be told to run out.
#ifndef JINDOU_KERNELS_TESTING_PLAN_MEMORY_H
#define JINDOU_KERNELS_TESTING_PLAN_MEMORY_H

#include <cstdlib>
#include <cstring>

#include "plan.h"

namespace jindou::testing {

struct PlanMemory {
  int64_t alive_bytes = 0;
  int64_t limit_bytes = INT64_MAX;

  PlanResources resources(int32_t multiprocessors) {
    PlanResources r{};
    r.allocator.context = this;
    r.allocator.alloc = [](void *context, size_t bytes, void **ptr, jd_error *error) -> jd_status {
      auto *memory = static_cast<PlanMemory *>(context);
      *ptr = nullptr;
      if (memory->alive_bytes + static_cast<int64_t>(bytes) > memory->limit_bytes ||
          posix_memalign(ptr, 256, bytes) != 0) {
        return fail(error, JD_OUT_OF_MEMORY, "no room for %zu bytes", bytes);
      }
      memset(*ptr, 0xff, bytes);
      memory->alive_bytes += static_cast<int64_t>(bytes);
      return JD_OK;
    };
    r.allocator.free = [](void *context, void *ptr, size_t bytes) {
      static_cast<PlanMemory *>(context)->alive_bytes -= static_cast<int64_t>(bytes);
      ::free(ptr);
    };
    r.upload = [](void *, void *target, const void *source, size_t bytes, jd_error *) -> jd_status {
      memcpy(target, source, bytes);
      return JD_OK;
    };
    r.multiprocessors = multiprocessors;
    return r;
  }
};

}  // namespace jindou::testing

#endif
