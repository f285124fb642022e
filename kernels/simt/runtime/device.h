// What the emulated primitives call: the emulator as a running thread of a kernel sees it. Kernels do not include this.
//
// Plain types only: in the race-checking build these functions live in a library of their own (see README.md).
#ifndef JINDOU_SIMT_RUNTIME_DEVICE_H
#define JINDOU_SIMT_RUNTIME_DEVICE_H

#include <stddef.h>
#include <stdint.h>

#include "primitives/dim3.h"
#include "primitives/site.h"
#include "primitives/tensor_map.h"

namespace jindou::simt::device {

using prim::Site;

struct ThreadIndex {
  prim::Dim3 thread_idx;
  prim::Dim3 block_idx;
  prim::Dim3 block_dim;
  prim::Dim3 grid_dim;
};

// The CUDA thread that this OS thread is running. Not C++'s thread_local: its wrapper costs more than the access.
extern __thread const ThreadIndex *current_thread __attribute__((tls_model("initial-exec")));
inline const ThreadIndex *current() { return current_thread; }

// Barrier `id` of the block; id 0 takes all threads and ignores `threads`. Without `wait` the thread arrives and goes on.
void barrier(int id, int threads, bool wait, Site site);
void sync_warp(uint32_t mask, Site site);
void fence();

// Lets other threads run.
void yield(Site site);

enum class Shuffle { index, up, down, exclusive_or };
uint64_t shuffle(Shuffle mode, uint64_t bits, int operand, int width, uint32_t mask, Site site);
uint32_t ballot(bool predicate, uint32_t mask, Site site);

void ldmatrix(uint32_t *registers, int matrices, bool transpose, const void *row, Site site);
void mma_m16n8k16_bf16(float *d, const uint32_t *a, const uint32_t *b, Site site);
void mma_m16n8k16_f16(float *d, const uint32_t *a, const uint32_t *b, Site site);

void cp_async(void *shared, const void *global, int bytes, bool predicate, Site site);
void cp_async_commit(Site site);
void cp_async_wait(int pending, Site site);

// sm_90 (device_hopper.cpp).
bool elect_one(Site site);
void mbarrier_init(void *barrier, int count, Site site);
void fence_mbarrier_init(Site site);
void mbarrier_arrive(void *barrier, int expected_bytes, Site site);
void mbarrier_wait(void *barrier, uint32_t parity, Site site);
void fence_proxy_async(Site site);
void tensor_copy(void *shared, const prim::TensorMap &map, const int32_t (&at)[4], void *barrier, Site site);
void wgmma_fence(Site site);
void wgmma_commit(Site site);
void wgmma_wait(int pending, Site site);
// `registers`: A's fragments, or null and `left` describes A.
void wgmma(float *d, int n, const uint32_t *registers, uint64_t left, uint64_t right, bool columns, bool add, Site site);
void set_registers(int registers, Site site);
// A plain store through a primitive: what a product or copy does with these bytes needs a fence_proxy_async first.
void note_shared_store(void *address, int bytes);

// Each ends the launch with an error that says `what`, the address and the site.
[[noreturn]] void misaligned(const void *address, int alignment, const char *what, Site site);
void check_shared(const void *address, int bytes, int alignment, const char *what, Site site);
uint32_t shared_address(const void *address, Site site);

inline void check_aligned(const void *address, int alignment, const char *what, Site site) {
  if (reinterpret_cast<uintptr_t>(address) % static_cast<uintptr_t>(alignment) != 0) {
    misaligned(address, alignment, what, site);
  }
}

}  // namespace jindou::simt::device

#endif
