// Loads and stores of whole vectors. Addresses must be aligned to the access; the emulator reports those that are not.
//
// load16, load8, load4, load2 go through the read-only path: the launch must not write what they read.
#ifndef JINDOU_PRIMITIVES_MEMORY_H
#define JINDOU_PRIMITIVES_MEMORY_H

#include <stdint.h>

#include "primitives/compiler.h"
#include "primitives/site.h"
#include "primitives/types.h"

#if !defined(__CUDACC__)
#include "simt/runtime/device.h"
#endif

namespace jindou::prim {

// -- global memory -----------------------------------------------------------------------------------------------------
JD_DEVICE JD_INLINE Vec4u load16(const void *address, Site site = Site::here()) {
#if defined(__CUDACC__)
  (void)site;
  Vec4u v;
  asm("ld.global.nc.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(address));
  return v;
#else
  simt::device::check_aligned(address, 16, "load16", site);
  return *static_cast<const Vec4u *>(address);
#endif
}

JD_DEVICE JD_INLINE Vec2u load8(const void *address, Site site = Site::here()) {
#if defined(__CUDACC__)
  (void)site;
  Vec2u v;
  asm("ld.global.nc.v2.u32 {%0, %1}, [%2];" : "=r"(v.x), "=r"(v.y) : "l"(address));
  return v;
#else
  simt::device::check_aligned(address, 8, "load8", site);
  return *static_cast<const Vec2u *>(address);
#endif
}

JD_DEVICE JD_INLINE uint32_t load4(const void *address, Site site = Site::here()) {
#if defined(__CUDACC__)
  (void)site;
  uint32_t v;
  asm("ld.global.nc.u32 %0, [%1];" : "=r"(v) : "l"(address));
  return v;
#else
  simt::device::check_aligned(address, 4, "load4", site);
  return *static_cast<const uint32_t *>(address);
#endif
}

JD_DEVICE JD_INLINE uint32_t load2(const void *address, Site site = Site::here()) {
#if defined(__CUDACC__)
  (void)site;
  uint16_t v;
  asm("ld.global.nc.u16 %0, [%1];" : "=h"(v) : "l"(address));
  return v;
#else
  simt::device::check_aligned(address, 2, "load2", site);
  return *static_cast<const uint16_t *>(address);
#endif
}

// load16 of data that is read once: it takes no room in L1.
JD_DEVICE JD_INLINE Vec4u load16_streaming(const void *address, Site site = Site::here()) {
#if defined(__CUDACC__)
  (void)site;
  Vec4u v;
  asm("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
      : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
      : "l"(address));
  return v;
#else
  simt::device::check_aligned(address, 16, "load16_streaming", site);
  return *static_cast<const Vec4u *>(address);
#endif
}

JD_DEVICE JD_INLINE void store16(void *address, Vec4u v, Site site = Site::here()) {
#if defined(__CUDACC__)
  (void)site;
  asm volatile("st.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(address), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w)
               : "memory");
#else
  simt::device::check_aligned(address, 16, "store16", site);
  *static_cast<Vec4u *>(address) = v;
#endif
}

JD_DEVICE JD_INLINE void store8(void *address, Vec2u v, Site site = Site::here()) {
#if defined(__CUDACC__)
  (void)site;
  asm volatile("st.global.v2.u32 [%0], {%1, %2};" ::"l"(address), "r"(v.x), "r"(v.y) : "memory");
#else
  simt::device::check_aligned(address, 8, "store8", site);
  *static_cast<Vec2u *>(address) = v;
#endif
}

JD_DEVICE JD_INLINE void store4(void *address, uint32_t v, Site site = Site::here()) {
#if defined(__CUDACC__)
  (void)site;
  asm volatile("st.global.u32 [%0], %1;" ::"l"(address), "r"(v) : "memory");
#else
  simt::device::check_aligned(address, 4, "store4", site);
  *static_cast<uint32_t *>(address) = v;
#endif
}

// store16 of data that this kernel does not read again: first to leave the caches.
JD_DEVICE JD_INLINE void store16_streaming(void *address, Vec4u v, Site site = Site::here()) {
#if defined(__CUDACC__)
  (void)site;
  asm volatile("st.global.cs.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(address), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w)
               : "memory");
#else
  simt::device::check_aligned(address, 16, "store16_streaming", site);
  *static_cast<Vec4u *>(address) = v;
#endif
}

// -- shared memory -----------------------------------------------------------------------------------------------------
// The address in the shared window, as swizzles and instructions see it.
JD_DEVICE JD_INLINE uint32_t smem_addr(const void *shared, Site site = Site::here()) {
#if defined(__CUDACC__)
  (void)site;
  return static_cast<uint32_t>(__cvta_generic_to_shared(shared));
#else
  return simt::device::shared_address(shared, site);
#endif
}

JD_DEVICE JD_INLINE Vec4u load_shared16(const void *shared, Site site = Site::here()) {
#if !defined(__CUDACC__)
  simt::device::check_shared(shared, 16, 16, "load_shared16", site);
#endif
  (void)site;
  return *static_cast<const Vec4u *>(shared);
}

JD_DEVICE JD_INLINE Vec2u load_shared8(const void *shared, Site site = Site::here()) {
#if !defined(__CUDACC__)
  simt::device::check_shared(shared, 8, 8, "load_shared8", site);
#endif
  (void)site;
  return *static_cast<const Vec2u *>(shared);
}

JD_DEVICE JD_INLINE void store_shared16(void *shared, Vec4u v, Site site = Site::here()) {
#if !defined(__CUDACC__)
  simt::device::check_shared(shared, 16, 16, "store_shared16", site);
  simt::device::note_shared_store(shared, 16);
#endif
  (void)site;
  *static_cast<Vec4u *>(shared) = v;
}

JD_DEVICE JD_INLINE void store_shared8(void *shared, Vec2u v, Site site = Site::here()) {
#if !defined(__CUDACC__)
  simt::device::check_shared(shared, 8, 8, "store_shared8", site);
  simt::device::note_shared_store(shared, 8);
#endif
  (void)site;
  *static_cast<Vec2u *>(shared) = v;
}

}  // namespace jindou::prim

#endif
