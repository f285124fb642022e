// What the emulated primitives call: the emulator as a running thread of a kernel sees it. Kernels do not include this.
//
// Plain types only: in the race-checking build these functions live in a library of their own (see README.md).
#ifndef JINDOU_SIMT_RUNTIME_DEVICE_H
#define JINDOU_SIMT_RUNTIME_DEVICE_H

#include <stddef.h>
#include <stdint.h>

#include "primitives/dim3.h"
#include "primitives/site.h"

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
