// cp.async: copies from global to shared memory that go on while the thread works.
//
// A thread's copies since its last commit form a group; cp_async_wait<N> waits until all but its N latest groups have
// landed (an empty group counts). The wait covers the thread's own copies: others see them after a barrier that follows.
// A thread must not end with a non-empty group it has not waited for.
#ifndef JINDOU_PRIMITIVES_ASYNC_COPY_H
#define JINDOU_PRIMITIVES_ASYNC_COPY_H

#include <stdint.h>

#include "primitives/compiler.h"
#include "primitives/memory.h"
#include "primitives/site.h"

namespace jindou::prim {

// 16 bytes, past L1; both addresses 16-byte aligned. Without `predicate` zeros are written and `global` is not read.
JD_DEVICE JD_INLINE void cp_async_16(void *shared, const void *global, bool predicate = true, Site site = Site::here()) {
#if defined(__CUDACC__)
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(smem_addr(shared, site)), "l"(global),
               "r"(predicate ? 16 : 0)
               : "memory");
#else
  simt::device::cp_async(shared, global, 16, predicate, site);
#endif
}

// 8 bytes through L1, 8-byte aligned.
JD_DEVICE JD_INLINE void cp_async_8(void *shared, const void *global, bool predicate = true, Site site = Site::here()) {
#if defined(__CUDACC__)
  asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(smem_addr(shared, site)), "l"(global),
               "r"(predicate ? 8 : 0)
               : "memory");
#else
  simt::device::cp_async(shared, global, 8, predicate, site);
#endif
}

// 4 bytes through L1, 4-byte aligned.
JD_DEVICE JD_INLINE void cp_async_4(void *shared, const void *global, bool predicate = true, Site site = Site::here()) {
#if defined(__CUDACC__)
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(smem_addr(shared, site)), "l"(global),
               "r"(predicate ? 4 : 0)
               : "memory");
#else
  simt::device::cp_async(shared, global, 4, predicate, site);
#endif
}

// Closes the group of the copies issued since the last commit.
JD_DEVICE JD_INLINE void cp_async_commit(Site site = Site::here()) {
#if defined(__CUDACC__)
  (void)site;
  asm volatile("cp.async.commit_group;" ::: "memory");
#else
  simt::device::cp_async_commit(site);
#endif
}

// Waits until at most the kPending latest groups are on their way.
template <int kPending>
JD_DEVICE JD_INLINE void cp_async_wait(Site site = Site::here()) {
  static_assert(kPending >= 0);
#if defined(__CUDACC__)
  (void)site;
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
#else
  simt::device::cp_async_wait(kPending, site);
#endif
}

}  // namespace jindou::prim

#endif
