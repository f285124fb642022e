// How a kernel is written and started.
//
// A kernel is a struct template over its traits:
//
//   template <class Traits> struct FooKernel {
//     struct Params { ... };                                  // plain pointers, sizes, strides
//     static constexpr int kThreads = 128;                    // a block: one-dimensional, a multiple of 32, at most 1024
//     static constexpr int kMinBlocks = 2;                    // resident blocks a multiprocessor that registers must allow
//     static constexpr size_t shared_bytes();                 // dynamic shared memory, one arena struct
//     JD_DEVICE static void run(const Params &p, char *shared);
//   };
//
// A kernel of instructions that sm_90a alone has says `static constexpr bool kHopper = true`: for every other target it compiles to
// nothing, and the launcher does not choose it there.
//
// On a GPU `entry<K>` is the function to launch; in the emulator simt::launch<K>(grid, params, options) runs it
// (simt/runtime/launch.h). Launch headers know neither: they are templates over an executor with
//
//   template <class K> jd_status launch(prim::Grid grid, const typename K::Params &params);
//
// `shared` is aligned to 1024 bytes.
#ifndef JINDOU_PRIMITIVES_LAUNCH_H
#define JINDOU_PRIMITIVES_LAUNCH_H

#include <stddef.h>

#include <type_traits>

#include "primitives/compiler.h"
#include "primitives/dim3.h"

namespace jindou::prim {

// What every kernel must satisfy; naming KernelCheck<K>::kValid checks it.
template <class K>
struct KernelCheck {
  static_assert(K::kThreads > 0 && K::kThreads % 32 == 0 && K::kThreads <= 1024, "a block is 1 to 32 whole warps");
  static_assert(K::kMinBlocks >= 1, "registers must allow one block");
  static_assert(K::shared_bytes() <= 227 * 1024, "more shared memory than any supported GPU has");
  static constexpr bool kValid = true;
};

template <class K, class = void>
struct IsHopper : std::false_type {};
template <class K>
struct IsHopper<K, std::void_t<decltype(K::kHopper)>> : std::bool_constant<K::kHopper> {};

#if defined(__CUDACC__)
#if defined(__CUDA_ARCH__) && !defined(__CUDA_ARCH_FEAT_SM90_ALL)
constexpr bool kTargetIsHopper = false;
#else
constexpr bool kTargetIsHopper = true;
#endif

template <class K>
__global__ void __launch_bounds__(K::kThreads, K::kMinBlocks) entry(const __grid_constant__ typename K::Params params) {
  static_assert(KernelCheck<K>::kValid);
  extern __shared__ __align__(1024) char jindou_shared[];
  if constexpr (kTargetIsHopper || !IsHopper<K>::value) {
    K::run(params, jindou_shared);
  } else {
    __trap();
  }
}
#endif

}  // namespace jindou::prim

#endif
