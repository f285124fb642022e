// Warpgroup matrix products of sm_90a: wgmma m64nNk16 on bf16, with f32 sums. A warpgroup is four warps, the first a multiple of four;
// all its threads come together to everything here that is not said to be of one thread.
//
//   D (64 x N, in registers) = A (64 x 16) B (16 x N) [+ D]
//
// Fragments: warp w of the four holds rows 16 w .. 16 w + 15 of A and D, in the layout of matrix.h's mma.m16n8k16: with g = lane / 4
// and t = lane % 4, d[4 n + i] is row g (+ 8 for i >= 2), column 8 n + 2 t + i % 2; a[0..3] as there. So the sums of one product,
// packed to bf16 by pairs, are the left operand of the next.
//
// Operands in shared memory are described by their first byte and strides. Both layouts below are what a tensor copy leaves: rows of
// 128 bytes (64 elements), swizzled by 128 bytes, eight rows in 1024.
//   row_operand     A or B with k along the rows: rows are m (n), 8-row groups `1024` bytes apart. A step of 16 in k is 32 bytes.
//   column_operand  B with n along the rows: rows are k; columns past the 64th lie in further panels, `panel_bytes` apart. A step of
//                   16 in k is 2048 bytes.
//
// Products are asynchronous. wgmma_fence before the first and after every touch of registers they use; wgmma_commit closes a group;
// wgmma_wait<n> waits until at most the n latest groups are on their way. Until then D may not be touched, nor may the shared memory
// be written; A's registers are taken when the product is issued as far as this source is concerned (the compiler keeps them).
#ifndef JINDOU_PRIMITIVES_WARPGROUP_H
#define JINDOU_PRIMITIVES_WARPGROUP_H

#include <stdint.h>

#include "primitives/compiler.h"
#include "primitives/keep.h"
#include "primitives/memory.h"
#include "primitives/site.h"

namespace jindou::prim {

constexpr int kWarpgroupThreads = 128;

// -- operands in shared memory -----------------------------------------------------------------------------------------------
struct MatrixOperand {
  uint64_t descriptor;

  // `bytes` further, a multiple of 16.
  JD_DEVICE JD_INLINE MatrixOperand operator+(int bytes) const {
    return MatrixOperand{descriptor + static_cast<uint64_t>(bytes / 16)};
  }
};

namespace detail {

// Address, leading and stride byte offsets in units of 16; 1 at bit 62: swizzle of 128 bytes.
JD_DEVICE JD_INLINE MatrixOperand matrix_operand(uint32_t address, int leading, int stride) {
  return MatrixOperand{static_cast<uint64_t>((address & 0x3ffffu) >> 4) | static_cast<uint64_t>(leading / 16) << 16 |
                       static_cast<uint64_t>(stride / 16) << 32 | uint64_t{1} << 62};
}

}  // namespace detail

JD_DEVICE JD_INLINE MatrixOperand row_operand(const void *shared, Site site = Site::here()) {
  return detail::matrix_operand(smem_addr(shared, site), 16, 1024);
}

JD_DEVICE JD_INLINE MatrixOperand column_operand(const void *shared, int panel_bytes, Site site = Site::here()) {
  return detail::matrix_operand(smem_addr(shared, site), panel_bytes, 1024);
}

enum class Operand { rows, columns };  // how B lies

// -- order ---------------------------------------------------------------------------------------------------------------------
JD_DEVICE JD_INLINE void wgmma_fence(Site site = Site::here()) {
#if defined(__CUDACC__)
  (void)site;
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#else
  simt::device::wgmma_fence(site);
#endif
}

JD_DEVICE JD_INLINE void wgmma_commit(Site site = Site::here()) {
#if defined(__CUDACC__)
  (void)site;
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
#else
  simt::device::wgmma_commit(site);
#endif
}

template <int kPending>
JD_DEVICE JD_INLINE void wgmma_wait(Site site = Site::here()) {
  static_assert(kPending >= 0 && kPending <= 7);
#if defined(__CUDACC__)
  (void)site;
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
#else
  simt::device::wgmma_wait(kPending, site);
#endif
}

// -- registers a thread: what one warpgroup gives up another may take. A multiple of 8, 24..240 -----------------------------------
template <int kRegisters>
JD_DEVICE JD_INLINE void give_up_registers(Site site = Site::here()) {
  static_assert(kRegisters % 8 == 0 && kRegisters >= 24 && kRegisters <= 240);
#if defined(__CUDACC__)
  (void)site;
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
#else
  simt::device::set_registers(kRegisters, site);
#endif
}

template <int kRegisters>
JD_DEVICE JD_INLINE void take_registers(Site site = Site::here()) {
  static_assert(kRegisters % 8 == 0 && kRegisters >= 24 && kRegisters <= 240);
#if defined(__CUDACC__)
  (void)site;
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
#else
  simt::device::set_registers(kRegisters, site);
#endif
}

// -- products ------------------------------------------------------------------------------------------------------------------
namespace detail {

#if defined(__CUDACC__)
// Operand lists: D's registers as the instruction text and as the compiler want them.
#define JD_REGISTERS_32 \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, " \
  "%24, %25, %26, %27, %28, %29, %30, %31"

#define JD_REGISTERS_64 \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, " \
  "%24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, " \
  "%46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"

#define JD_REGISTERS_128 \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, " \
  "%24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, " \
  "%46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, %64, %65, %66, %67, " \
  "%68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, " \
  "%90, %91, %92, %93, %94, %95, %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, " \
  "%110, %111, %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"

#define JD_FLOATS_8(d, i) \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), "+f"(d[i + 7])
#define JD_FLOATS_32(d, i) JD_FLOATS_8(d, i), JD_FLOATS_8(d, i + 8), JD_FLOATS_8(d, i + 16), JD_FLOATS_8(d, i + 24)
#define JD_FLOATS_64(d, i) JD_FLOATS_32(d, i), JD_FLOATS_32(d, i + 32)
#define JD_FLOATS_128(d, i) JD_FLOATS_64(d, i), JD_FLOATS_64(d, i + 64)

// One instruction. `count`: registers of D; the other arguments: the numbers of the operands that follow them.
#define JD_WGMMA_SHARED(shape, count, a, b, p, transpose)                                                            \
  asm volatile("{ .reg .pred p; setp.ne.b32 p, %" p ", 0; wgmma.mma_async.sync.aligned." shape ".f32.bf16.bf16 {"    \
               JD_REGISTERS_##count "}, %" a ", %" b ", p, 1, 1, 0, %" transpose "; }"                               \
               : JD_FLOATS_##count(d, 0)                                                                             \
               : "l"(left.descriptor), "l"(right.descriptor), "r"(add), "n"(kRight == Operand::columns ? 1 : 0))
#define JD_WGMMA_REGISTERS(shape, count, a0, a1, a2, a3, b, p, transpose)                                            \
  asm volatile("{ .reg .pred p; setp.ne.b32 p, %" p ", 0; wgmma.mma_async.sync.aligned." shape ".f32.bf16.bf16 {"    \
               JD_REGISTERS_##count "}, {%" a0 ", %" a1 ", %" a2 ", %" a3 "}, %" b ", p, 1, 1, %" transpose "; }"    \
               : JD_FLOATS_##count(d, 0)                                                                             \
               : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "l"(right.descriptor), "r"(add),            \
                 "n"(kRight == Operand::columns ? 1 : 0))

template <Operand kRight>
JD_DEVICE JD_INLINE void wgmma(float (&d)[32], MatrixOperand left, MatrixOperand right, int add) {
  JD_WGMMA_SHARED("m64n64k16", 32, "32", "33", "34", "35");
}
template <Operand kRight>
JD_DEVICE JD_INLINE void wgmma(float (&d)[32], const uint32_t (&left)[4], MatrixOperand right, int add) {
  JD_WGMMA_REGISTERS("m64n64k16", 32, "32", "33", "34", "35", "36", "37", "38");
}
template <Operand kRight>
JD_DEVICE JD_INLINE void wgmma(float (&d)[64], MatrixOperand left, MatrixOperand right, int add) {
  JD_WGMMA_SHARED("m64n128k16", 64, "64", "65", "66", "67");
}
template <Operand kRight>
JD_DEVICE JD_INLINE void wgmma(float (&d)[64], const uint32_t (&left)[4], MatrixOperand right, int add) {
  JD_WGMMA_REGISTERS("m64n128k16", 64, "64", "65", "66", "67", "68", "69", "70");
}
template <Operand kRight>
JD_DEVICE JD_INLINE void wgmma(float (&d)[128], MatrixOperand left, MatrixOperand right, int add) {
  JD_WGMMA_SHARED("m64n256k16", 128, "128", "129", "130", "131");
}
template <Operand kRight>
JD_DEVICE JD_INLINE void wgmma(float (&d)[128], const uint32_t (&left)[4], MatrixOperand right, int add) {
  JD_WGMMA_REGISTERS("m64n256k16", 128, "128", "129", "130", "131", "132", "133", "134");
}

#undef JD_WGMMA_SHARED
#undef JD_WGMMA_REGISTERS
#undef JD_REGISTERS_32
#undef JD_REGISTERS_64
#undef JD_REGISTERS_128
#undef JD_FLOATS_8
#undef JD_FLOATS_32
#undef JD_FLOATS_64
#undef JD_FLOATS_128
#endif

}  // namespace detail

// d = left right, or d += left right with `add`; N = 2 kCount is 64, 128 or 256.
template <Operand kRight, int kCount>
JD_DEVICE JD_INLINE void wgmma_bf16(float (&d)[kCount], MatrixOperand left, MatrixOperand right, bool add,
                                    Site site = Site::here()) {
#if defined(__CUDACC__)
  (void)site;
  detail::wgmma<kRight>(d, left, right, add ? 1 : 0);
#else
  simt::device::wgmma(d, 2 * kCount, nullptr, left.descriptor, right.descriptor, kRight == Operand::columns, add, site);
#endif
}

// The same with A's fragments in registers.
template <Operand kRight, int kCount>
JD_DEVICE JD_INLINE void wgmma_bf16(float (&d)[kCount], const uint32_t (&left)[4], MatrixOperand right, bool add,
                                    Site site = Site::here()) {
#if defined(__CUDACC__)
  (void)site;
  detail::wgmma<kRight>(d, left, right, add ? 1 : 0);
#else
  simt::device::wgmma(d, 2 * kCount, left, 0, right.descriptor, kRight == Operand::columns, add, site);
#endif
}

}  // namespace jindou::prim

#endif
