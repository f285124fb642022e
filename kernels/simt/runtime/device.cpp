// The emulated primitives, as the running thread calls them. Their meaning is the PTX ISA's.
#include "simt/runtime/device.h"

#include <atomic>
#include <cstdio>
#include <cstdlib>

#include "primitives/types.h"
#include "simt/runtime/block.h"
#include "simt/runtime/matrix.h"
#include "simt/runtime/sanitizer.h"

namespace jindou::simt::device {

__thread const ThreadIndex *current_thread = nullptr;

namespace {

Thread &self(Site site) {
  if (current_thread == nullptr) {
    fprintf(stderr, "jindou: a device primitive was called outside of a kernel, at %s:%d\n", site.file, site.line);
    abort();
  }
  return *static_cast<Thread *>(const_cast<ThreadIndex *>(current_thread));
}

// Lane whose value `lane` gets; PTX ISA, shfl.sync.
int source_lane(Shuffle mode, int lane, int operand, int width) {
  const int first = lane & ~(width - 1);
  const int last = first + width - 1;
  const int b = operand & 31;
  switch (mode) {
    case Shuffle::index: return first | (b & (width - 1));
    case Shuffle::up: return lane - b >= first ? lane - b : lane;
    case Shuffle::down: return lane + b <= last ? lane + b : lane;
    case Shuffle::exclusive_or: break;
  }
  return (lane ^ b) <= last ? lane ^ b : lane;
}

}  // namespace

void barrier(int id, int threads, bool wait, Site site) {
  Thread &thread = self(site);
  const auto block_threads = static_cast<int>(thread.block_dim.x);
  if (id == 0 && threads == 0) {
    threads = block_threads;
  } else if (id < 1 || id > 15) {
    thread.block->fail(thread, site, "named barrier %d: there are 1..15", id);
  } else if (threads <= 0 || threads % 32 != 0 || threads > block_threads) {
    thread.block->fail(thread, site, "named barrier %d for %d threads: must be whole warps of the block's %d threads", id,
                       threads, block_threads);
  }
  thread.block->barrier(thread, id, threads, wait, site);
}

void sync_warp(uint32_t mask, Site site) {
  Thread &thread = self(site);
  thread.block->sync_warp(thread, mask, site);
}

// ThreadSanitizer does not follow fences; taking every fence for a release and an acquire of one thing errs on the side of
// silence.
void fence() {
  static char order;
  release(&order);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  acquire(&order);
  Thread &thread = self({"threadfence", 0});
  thread.block->interleave(thread);
}

void yield(Site site) {
  Thread &thread = self(site);
  thread.block->yield(thread, site);
}

uint64_t shuffle(Shuffle mode, uint64_t bits, int operand, int width, uint32_t mask, Site site) {
  Thread &thread = self(site);
  if (width < 1 || width > 32 || (width & (width - 1)) != 0) {
    thread.block->fail(thread, site, "shfl with width %d: must be a power of two up to 32", width);
  }
  Exchange &exchange = thread.block->exchange(thread);
  exchange.value[thread.lane] = bits;
  exchange.operand[thread.lane] = source_lane(mode, thread.lane, operand, width);
  if (thread.block->meet(thread, Wait::shuffle, mask, false, site)) {
    for (int lane = 0; lane < 32; ++lane) {
      if ((mask >> lane & 1u) == 0) continue;
      const int source = exchange.operand[lane];
      // What a lane outside the mask would give is undefined: a NaN shows if it is used.
      exchange.result[lane] = (mask >> source & 1u) != 0 ? exchange.value[source] : ~uint64_t{0};
    }
    thread.block->release_meeting(thread);
  }
  return exchange.result[thread.lane];
}

uint32_t ballot(bool predicate, uint32_t mask, Site site) {
  Thread &thread = self(site);
  Exchange &exchange = thread.block->exchange(thread);
  exchange.value[thread.lane] = predicate ? 1 : 0;
  if (thread.block->meet(thread, Wait::vote, mask, false, site)) {
    uint32_t votes = 0;
    for (int lane = 0; lane < 32; ++lane) {
      if ((mask >> lane & 1u) != 0) votes |= static_cast<uint32_t>(exchange.value[lane]) << lane;
    }
    for (int lane = 0; lane < 32; ++lane) {
      if ((mask >> lane & 1u) != 0) exchange.result[lane] = votes;
    }
    thread.block->release_meeting(thread);
  }
  return static_cast<uint32_t>(exchange.result[thread.lane]);
}

void ldmatrix(uint32_t *registers, int matrices, bool transpose, const void *row, Site site) {
  Thread &thread = self(site);
  if (thread.lane < 8 * matrices) {
    check_shared(row, 16, 16, "ldmatrix", site);
    note_read(row, 16);
  }
  Exchange &exchange = thread.block->exchange(thread);
  exchange.source[thread.lane] = row;
  exchange.target[thread.lane] = registers;
  if (thread.block->meet(thread, Wait::ldmatrix, kAllLanes, true, site)) {
    load_matrices(exchange.target, exchange.source, matrices, transpose);
    thread.block->release_meeting(thread);
  }
}

namespace {

template <class Element>
void mma(float *d, const uint32_t *a, const uint32_t *b, Site site) {
  Thread &thread = self(site);
  Exchange &exchange = thread.block->exchange(thread);
  exchange.target[thread.lane] = d;
  exchange.source[thread.lane] = a;
  exchange.source2[thread.lane] = b;
  if (thread.block->meet(thread, Wait::mma, kAllLanes, true, site)) {
    multiply_accumulate_m16n8k16<Element>(exchange.target, exchange.source, exchange.source2);
    thread.block->release_meeting(thread);
  }
}

}  // namespace

void mma_m16n8k16_bf16(float *d, const uint32_t *a, const uint32_t *b, Site site) { mma<prim::bf16>(d, a, b, site); }
void mma_m16n8k16_f16(float *d, const uint32_t *a, const uint32_t *b, Site site) { mma<prim::f16>(d, a, b, site); }

void cp_async(void *shared, const void *global, int bytes, bool predicate, Site site) {
  Thread &thread = self(site);
  check_shared(shared, bytes, bytes, "cp_async", site);
  if (predicate) check_aligned(global, bytes, "cp_async", site);
  thread.copies.issue(shared, predicate ? global : nullptr, bytes, site, thread.block->random());
}

void cp_async_commit(Site site) {
  Thread &thread = self(site);
  thread.copies.commit(thread.block->random());
}

void cp_async_wait(int pending, Site site) { self(site).copies.wait(pending); }

void misaligned(const void *address, int alignment, const char *what, Site site) {
  Thread &thread = self(site);
  thread.block->fail(thread, site, "%s: address %p is not aligned to %d bytes", what, address, alignment);
}

void check_shared(const void *address, int bytes, int alignment, const char *what, Site site) {
  Thread &thread = self(site);
  const SharedMemory &shared = thread.block->shared();
  const auto offset = static_cast<long long>(reinterpret_cast<intptr_t>(address) - reinterpret_cast<intptr_t>(shared.data()));
  if (!shared.contains(address, static_cast<size_t>(bytes))) {
    thread.block->fail(thread, site, "%s: %d bytes at byte %lld of shared memory, which has %zu", what, bytes, offset,
                       shared.bytes());
  }
  if (offset % alignment != 0) {
    thread.block->fail(thread, site, "%s: byte %lld of shared memory is not aligned to %d bytes", what, offset, alignment);
  }
}

uint32_t shared_address(const void *address, Site site) {
  check_shared(address, 0, 1, "smem_addr", site);
  return self(site).block->shared().window_address(address);
}

}  // namespace jindou::simt::device
