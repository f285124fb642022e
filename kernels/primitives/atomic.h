// Atomic read-modify-write on global or shared memory: 32- and 64-bit integers, relaxed order (fences are threadfence).
// Each returns the value before. There are none for floats: their result would depend on the order of threads.
#ifndef JINDOU_PRIMITIVES_ATOMIC_H
#define JINDOU_PRIMITIVES_ATOMIC_H

#include <stdint.h>

#include <type_traits>

#include "primitives/compiler.h"
#include "primitives/site.h"

#if !defined(__CUDACC__)
#include "simt/runtime/device.h"
#endif

namespace jindou::prim {

namespace detail {

// The second argument does not take part in deduction: atomic_add(&count64, 1) is fine.
template <class T>
struct Identity {
  using type = T;
};
template <class T>
using Same = typename Identity<T>::type;

#if defined(__CUDACC__)
// The type CUDA's atomics are declared for. (long and long long are both 64 bits but not the same type.)
template <class T>
using AtomicOf = std::conditional_t<
    sizeof(T) == 4, std::conditional_t<std::is_signed_v<T>, int, unsigned>,
    std::conditional_t<std::is_signed_v<T>, long long, unsigned long long>>;
// Those of and/or/cas/exch/add do not care about the sign.
template <class T>
using WordOf = std::conditional_t<sizeof(T) == 4, unsigned, unsigned long long>;
#endif

template <class T>
constexpr bool kIsAtomic = std::is_integral_v<T> && (sizeof(T) == 4 || sizeof(T) == 8);

}  // namespace detail

template <class T>
JD_DEVICE JD_INLINE T atomic_add(T *address, detail::Same<T> value) {
  static_assert(detail::kIsAtomic<T>);
#if defined(__CUDACC__)
  using W = detail::WordOf<T>;
  return static_cast<T>(atomicAdd(reinterpret_cast<W *>(address), static_cast<W>(value)));
#else
  return __atomic_fetch_add(address, value, __ATOMIC_RELAXED);
#endif
}

template <class T>
JD_DEVICE JD_INLINE T atomic_or(T *address, detail::Same<T> value) {
  static_assert(detail::kIsAtomic<T>);
#if defined(__CUDACC__)
  using W = detail::WordOf<T>;
  return static_cast<T>(atomicOr(reinterpret_cast<W *>(address), static_cast<W>(value)));
#else
  return __atomic_fetch_or(address, value, __ATOMIC_RELAXED);
#endif
}

template <class T>
JD_DEVICE JD_INLINE T atomic_and(T *address, detail::Same<T> value) {
  static_assert(detail::kIsAtomic<T>);
#if defined(__CUDACC__)
  using W = detail::WordOf<T>;
  return static_cast<T>(atomicAnd(reinterpret_cast<W *>(address), static_cast<W>(value)));
#else
  return __atomic_fetch_and(address, value, __ATOMIC_RELAXED);
#endif
}

template <class T>
JD_DEVICE JD_INLINE T atomic_min(T *address, detail::Same<T> value) {
  static_assert(detail::kIsAtomic<T>);
#if defined(__CUDACC__)
  using A = detail::AtomicOf<T>;
  return static_cast<T>(atomicMin(reinterpret_cast<A *>(address), static_cast<A>(value)));
#else
  T old = __atomic_load_n(address, __ATOMIC_RELAXED);
  while (value < old && !__atomic_compare_exchange_n(address, &old, value, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return old;
#endif
}

template <class T>
JD_DEVICE JD_INLINE T atomic_max(T *address, detail::Same<T> value) {
  static_assert(detail::kIsAtomic<T>);
#if defined(__CUDACC__)
  using A = detail::AtomicOf<T>;
  return static_cast<T>(atomicMax(reinterpret_cast<A *>(address), static_cast<A>(value)));
#else
  T old = __atomic_load_n(address, __ATOMIC_RELAXED);
  while (value > old && !__atomic_compare_exchange_n(address, &old, value, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return old;
#endif
}

// *address = value; returns the old one.
template <class T>
JD_DEVICE JD_INLINE T atomic_exch(T *address, detail::Same<T> value) {
  static_assert(detail::kIsAtomic<T>);
#if defined(__CUDACC__)
  using W = detail::WordOf<T>;
  return static_cast<T>(atomicExch(reinterpret_cast<W *>(address), static_cast<W>(value)));
#else
  return __atomic_exchange_n(address, value, __ATOMIC_RELAXED);
#endif
}

// If *address == compare, *address = value; returns the old one. In the emulator a failed one lets the other threads run,
// so that a spin lock makes progress.
template <class T>
JD_DEVICE JD_INLINE T atomic_cas(T *address, detail::Same<T> compare, detail::Same<T> value, Site site = Site::here()) {
  static_assert(detail::kIsAtomic<T>);
#if defined(__CUDACC__)
  (void)site;
  using W = detail::WordOf<T>;
  return static_cast<T>(atomicCAS(reinterpret_cast<W *>(address), static_cast<W>(compare), static_cast<W>(value)));
#else
  T old = compare;
  if (!__atomic_compare_exchange_n(address, &old, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    simt::device::yield(site);
  }
  return old;
#endif
}

// Flags between blocks: a load that sees a release also sees what was written before it. A loop that waits for a flag must
// read it with load_acquire, which lets other threads run in the emulator.
template <class T>
JD_DEVICE JD_INLINE T load_acquire(const T *address, Site site = Site::here()) {
  static_assert(detail::kIsAtomic<T>);
#if defined(__CUDACC__)
  (void)site;
  detail::WordOf<T> value;
  if constexpr (sizeof(T) == 4) {
    asm volatile("ld.acquire.gpu.b32 %0, [%1];" : "=r"(value) : "l"(address) : "memory");
  } else {
    asm volatile("ld.acquire.gpu.b64 %0, [%1];" : "=l"(value) : "l"(address) : "memory");
  }
  return static_cast<T>(value);
#else
  simt::device::yield(site);
  return __atomic_load_n(address, __ATOMIC_ACQUIRE);
#endif
}

template <class T>
JD_DEVICE JD_INLINE void store_release(T *address, detail::Same<T> value) {
  static_assert(detail::kIsAtomic<T>);
#if defined(__CUDACC__)
  const auto word = static_cast<detail::WordOf<T>>(value);
  if constexpr (sizeof(T) == 4) {
    asm volatile("st.release.gpu.b32 [%0], %1;" ::"l"(address), "r"(word) : "memory");
  } else {
    asm volatile("st.release.gpu.b64 [%0], %1;" ::"l"(address), "l"(word) : "memory");
  }
#else
  __atomic_store_n(address, value, __ATOMIC_RELEASE);
#endif
}

}  // namespace jindou::prim

#endif
