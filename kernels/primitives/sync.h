// Barriers and fences.
#ifndef JINDOU_PRIMITIVES_SYNC_H
#define JINDOU_PRIMITIVES_SYNC_H

#include <stdint.h>

#include "primitives/compiler.h"
#include "primitives/site.h"

#if !defined(__CUDACC__)
#include "simt/runtime/device.h"
#endif

namespace jindou::prim {

constexpr uint32_t kFullMask = 0xffffffffu;

// Waits for every thread of the block; what they wrote before is then visible. All threads of a warp come together.
JD_DEVICE JD_INLINE void sync_threads(Site site = Site::here()) {
#if defined(__CUDACC__)
  (void)site;
  __syncthreads();
#else
  simt::device::barrier(0, 0, true, site);
#endif
}

// Waits for the lanes of `mask`, the caller's among them; what they wrote before is then visible to each other.
JD_DEVICE JD_INLINE void sync_warp(uint32_t mask = kFullMask, Site site = Site::here()) {
#if defined(__CUDACC__)
  (void)site;
  __syncwarp(mask);
#else
  simt::device::sync_warp(mask, site);
#endif
}

// Barriers among some warps of a block: id 1..15 (0 is sync_threads), `threads` = those that sync plus those that only
// arrive, a multiple of 32. Whole warps take part.
JD_DEVICE JD_INLINE void named_barrier_sync(int id, int threads, Site site = Site::here()) {
#if defined(__CUDACC__)
  (void)site;
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
#else
  simt::device::barrier(id, threads, true, site);
#endif
}

// Counts as arrived without waiting: "what I wrote is ready" (a producer) or "what I read is free" (a consumer).
JD_DEVICE JD_INLINE void named_barrier_arrive(int id, int threads, Site site = Site::here()) {
#if defined(__CUDACC__)
  (void)site;
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
#else
  simt::device::barrier(id, threads, false, site);
#endif
}

// Orders this thread's writes before its later ones, as the device (threadfence) or the block (threadfence_block) sees them.
JD_DEVICE JD_INLINE void threadfence() {
#if defined(__CUDACC__)
  __threadfence();
#else
  simt::device::fence();
#endif
}

JD_DEVICE JD_INLINE void threadfence_block() {
#if defined(__CUDACC__)
  __threadfence_block();
#else
  simt::device::fence();
#endif
}

}  // namespace jindou::prim

#endif
