// The emulated primitives of sm_90, as the running thread calls them. Their meaning is the PTX ISA's.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "simt/runtime/block.h"
#include "simt/runtime/device.h"

namespace jindou::simt::device {

namespace {

Thread &self(Site site) {
  if (current_thread == nullptr) {
    fprintf(stderr, "jindou: a device primitive was called outside of a kernel, at %s:%d\n", site.file, site.line);
    abort();
  }
  return *static_cast<Thread *>(const_cast<ThreadIndex *>(current_thread));
}

// f() once for the warp, by the last lane to come.
template <class F>
void by_warp(Site site, const F &f) {
  Thread &thread = self(site);
  if (!thread.block->meet(thread, Wait::wgmma, kAllLanes, true, site)) return;
  f(thread);
  thread.wait = Wait::none;
  thread.block->release_meeting(thread);
}

}  // namespace

bool elect_one(Site site) {
  Thread &thread = self(site);
  if (thread.block->meet(thread, Wait::vote, kAllLanes, true, site)) thread.block->release_meeting(thread);
  return thread.lane == thread.block->elected_lane();
}

void mbarrier_init(void *barrier, int count, Site site) {
  Thread &thread = self(site);
  thread.block->mbarrier_init(thread, barrier, count, site);
}

void fence_mbarrier_init(Site site) {
  Thread &thread = self(site);
  thread.block->fence_mbarrier_init(thread);
}

void mbarrier_arrive(void *barrier, int expected_bytes, Site site) {
  Thread &thread = self(site);
  thread.block->mbarrier_arrive(thread, barrier, expected_bytes, site);
}

void mbarrier_wait(void *barrier, uint32_t parity, Site site) {
  Thread &thread = self(site);
  thread.block->mbarrier_wait(thread, barrier, parity, site);
}

void fence_proxy_async(Site site) {
  Thread &thread = self(site);
  thread.block->shared().fence(thread.id);
}

void note_shared_store(void *address, int bytes) {
  Thread &thread = self({"store_shared", 0});
  SharedMemory &shared = thread.block->shared();
  if (shared.tracks_stores()) shared.note_store(address, static_cast<size_t>(bytes), thread.id);
}

void tensor_copy(void *shared, const prim::TensorMap &map, const int32_t (&at)[4], void *barrier, Site site) {
  Thread &thread = self(site);
  thread.block->tensor_copy(thread, shared, map, at, barrier, site);
}

void wgmma_fence(Site site) {
  by_warp(site, [](Thread &thread) { thread.block->products(thread).fence(); });
}

void wgmma_commit(Site site) {
  by_warp(site, [](Thread &thread) { thread.block->products(thread).commit(); });
}

void wgmma_wait(int pending, Site site) {
  by_warp(site, [&](Thread &thread) { thread.block->wait_for_products(thread, pending, site); });
}

void wgmma(float *d, int n, const uint32_t *registers, uint64_t left, uint64_t right, bool columns, bool add, Site site) {
  Thread &thread = self(site);
  Exchange &exchange = thread.block->exchange(thread);
  exchange.target[thread.lane] = d;
  exchange.source[thread.lane] = registers;
  exchange.value[thread.lane] = left;
  exchange.result[thread.lane] = right;
  exchange.operand[thread.lane] = add;
  by_warp(site, [&](Thread &last) {
    Product product;
    product.left_in_registers = registers != nullptr;
    product.left = left;
    product.right = right;
    product.n = n;
    product.columns = columns;
    product.add = add;
    product.warp = last.warp % 4;
    product.site = site;
    for (int lane = 0; lane < 32; ++lane) {
      if (exchange.value[lane] != left || exchange.result[lane] != right || exchange.operand[lane] != static_cast<int>(add))
        last.block->fail(last, site, "wgmma: lane %d has another operand", lane);
      product.d[lane] = static_cast<float *>(exchange.target[lane]);
      if (registers != nullptr) memcpy(product.registers[lane], exchange.source[lane], 16);
    }
    last.block->issue_product(last, product);
  });
}

void set_registers(int, Site site) {
  by_warp(site, [](Thread &) {});
}

}  // namespace jindou::simt::device
