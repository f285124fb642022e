// Exchange between the lanes of a warp: shuffles and votes. All lanes of `mask` must call; none may have returned.
//
// A shuffle moves any trivially copyable value of 4 or 8 bytes. `width` (a power of two up to 32) splits the warp into
// groups with lanes of their own numbered from 0. A source outside the group gives the lane's own value back.
#ifndef JINDOU_PRIMITIVES_WARP_H
#define JINDOU_PRIMITIVES_WARP_H

#include <stdint.h>
#include <string.h>

#include "primitives/compiler.h"
#include "primitives/index.h"
#include "primitives/site.h"
#include "primitives/sync.h"

namespace jindou::prim {

namespace detail {

enum class Shuffle { index, up, down, exclusive_or };

#if defined(__CUDACC__)
template <Shuffle kMode>
JD_DEVICE JD_INLINE uint32_t shuffle_word(uint32_t word, int operand, int width, uint32_t mask) {
  if constexpr (kMode == Shuffle::index) return __shfl_sync(mask, word, operand, width);
  if constexpr (kMode == Shuffle::up) return __shfl_up_sync(mask, word, static_cast<unsigned>(operand), width);
  if constexpr (kMode == Shuffle::down) return __shfl_down_sync(mask, word, static_cast<unsigned>(operand), width);
  return __shfl_xor_sync(mask, word, operand, width);
}
#endif

template <Shuffle kMode, class T>
JD_DEVICE JD_INLINE T shuffle(T value, int operand, int width, uint32_t mask, Site site) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8, "a shuffle moves 4 or 8 bytes");
#if defined(__CUDACC__)
  (void)site;
  uint32_t words[sizeof(T) / 4];
  memcpy(words, &value, sizeof value);
  for (uint32_t &word : words) word = shuffle_word<kMode>(word, operand, width, mask);
  memcpy(&value, words, sizeof value);
#else
  uint64_t bits = 0;
  memcpy(&bits, &value, sizeof value);
  bits = simt::device::shuffle(static_cast<simt::device::Shuffle>(kMode), bits, operand, width, mask, site);
  memcpy(&value, &bits, sizeof value);
#endif
  return value;
}

}  // namespace detail

// The value of lane `source` (modulo width) of the group.
template <class T>
JD_DEVICE JD_INLINE T shfl(T value, int source, int width = 32, uint32_t mask = kFullMask, Site site = Site::here()) {
  return detail::shuffle<detail::Shuffle::index>(value, source, width, mask, site);
}

// The value of lane ^ lane_mask.
template <class T>
JD_DEVICE JD_INLINE T shfl_xor(T value, int lane_mask, int width = 32, uint32_t mask = kFullMask,
                               Site site = Site::here()) {
  return detail::shuffle<detail::Shuffle::exclusive_or>(value, lane_mask, width, mask, site);
}

// The value of lane + delta.
template <class T>
JD_DEVICE JD_INLINE T shfl_down(T value, int delta, int width = 32, uint32_t mask = kFullMask,
                                Site site = Site::here()) {
  return detail::shuffle<detail::Shuffle::down>(value, delta, width, mask, site);
}

// The value of lane - delta.
template <class T>
JD_DEVICE JD_INLINE T shfl_up(T value, int delta, int width = 32, uint32_t mask = kFullMask, Site site = Site::here()) {
  return detail::shuffle<detail::Shuffle::up>(value, delta, width, mask, site);
}

// Bit i is set when lane i is in `mask` and its predicate holds.
JD_DEVICE JD_INLINE uint32_t ballot(bool predicate, uint32_t mask = kFullMask, Site site = Site::here()) {
#if defined(__CUDACC__)
  (void)site;
  return __ballot_sync(mask, predicate);
#else
  return simt::device::ballot(predicate, mask, site);
#endif
}

JD_DEVICE JD_INLINE bool any(bool predicate, uint32_t mask = kFullMask, Site site = Site::here()) {
#if defined(__CUDACC__)
  (void)site;
  return __any_sync(mask, predicate);
#else
  return simt::device::ballot(predicate, mask, site) != 0;
#endif
}

JD_DEVICE JD_INLINE bool all(bool predicate, uint32_t mask = kFullMask, Site site = Site::here()) {
#if defined(__CUDACC__)
  (void)site;
  return __all_sync(mask, predicate);
#else
  return simt::device::ballot(predicate, mask, site) == mask;
#endif
}

// True for one lane of a whole warp, always the same one. sm_90.
JD_DEVICE JD_INLINE bool elect_one(Site site = Site::here()) {
#if defined(__CUDACC__)
  (void)site;
  uint32_t elected;
  asm volatile("{ .reg .pred p; elect.sync _|p, 0xffffffff; selp.u32 %0, 1, 0, p; }" : "=r"(elected));
  return elected != 0;
#else
  return simt::device::elect_one(site);
#endif
}

// The lanes that are converged here; only a hint of the hardware's (the emulator says: this lane alone).
JD_DEVICE JD_INLINE uint32_t active_mask() {
#if defined(__CUDACC__)
  return __activemask();
#else
  return 1u << lane_id();
#endif
}

}  // namespace jindou::prim

#endif
