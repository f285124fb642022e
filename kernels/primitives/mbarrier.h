// mbarrier of sm_90: a barrier in shared memory that counts arrivals and, besides, the bytes of bulk copies (bulk_copy.h).
//
// A barrier goes through phases 0, 1, 2...; a phase is complete when `count` arrivals have come and every byte announced by
// mbarrier_arrive_expect has landed. mbarrier_wait(b, parity) returns once the phase of that parity (of its number) is complete:
// at once when the barrier is in a phase of the other parity. So a ring's consumer waits for its n-th use of a slot with parity
// n % 2, and a producer that must not wait in the first round with (n + 1) % 2.
//
// Whoever returns from a wait sees what others wrote before they arrived, and the bytes of the copies.
#ifndef JINDOU_PRIMITIVES_MBARRIER_H
#define JINDOU_PRIMITIVES_MBARRIER_H

#include <stdint.h>

#include "primitives/compiler.h"
#include "primitives/memory.h"
#include "primitives/site.h"

namespace jindou::prim {

struct alignas(8) Mbarrier {  // in shared memory; its bits are the hardware's own
  uint64_t state;
};

// By one thread, before any other touches it: then fence_mbarrier_init by that thread and a barrier of all.
JD_DEVICE JD_INLINE void mbarrier_init(Mbarrier *barrier, int count, Site site = Site::here()) {
#if defined(__CUDACC__)
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(smem_addr(barrier, site)), "r"(count) : "memory");
#else
  simt::device::mbarrier_init(barrier, count, site);
#endif
}

// Makes this thread's mbarrier_init known to the copy engine.
JD_DEVICE JD_INLINE void fence_mbarrier_init(Site site = Site::here()) {
#if defined(__CUDACC__)
  (void)site;
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
#else
  simt::device::fence_mbarrier_init(site);
#endif
}

JD_DEVICE JD_INLINE void mbarrier_arrive(Mbarrier *barrier, Site site = Site::here()) {
#if defined(__CUDACC__)
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(smem_addr(barrier, site)) : "memory");
#else
  simt::device::mbarrier_arrive(barrier, 0, site);
#endif
}

// Arrives, and announces `bytes` that copies will bring in this phase.
JD_DEVICE JD_INLINE void mbarrier_arrive_expect(Mbarrier *barrier, int bytes, Site site = Site::here()) {
#if defined(__CUDACC__)
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(smem_addr(barrier, site)), "r"(bytes)
               : "memory");
#else
  simt::device::mbarrier_arrive(barrier, bytes, site);
#endif
}

JD_DEVICE JD_INLINE void mbarrier_wait(Mbarrier *barrier, uint32_t parity, Site site = Site::here()) {
#if defined(__CUDACC__)
  const uint32_t address = smem_addr(barrier, site);
  uint32_t done;
  do {
    asm volatile(
        "{ .reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
        : "=r"(done)
        : "r"(address), "r"(parity)
        : "memory");
  } while (done == 0);
#else
  simt::device::mbarrier_wait(barrier, parity, site);
#endif
}

// Orders this thread's plain writes to shared memory before what wgmma and bulk copies, which have a path of their own to it
// (the "async proxy"), do after a barrier that follows. Each thread that wrote must call it.
JD_DEVICE JD_INLINE void fence_proxy_async(Site site = Site::here()) {
#if defined(__CUDACC__)
  (void)site;
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#else
  simt::device::fence_proxy_async(site);
#endif
}

}  // namespace jindou::prim

#endif
