// One running block: its threads as fibers, who may run next, where they meet, and what is reported when they cannot.
//
// Threads run until they must wait; there is no pre-emption. A thread waits in a *meeting* of its warp (a shuffle, a vote,
// ldmatrix, mma, sync_warp, and on its way to a block-wide barrier) until all lanes of the mask have come; the last to come
// does the work for all and goes straight on, so a warp-wide operation costs 31 switches, and no switch goes by way of a
// scheduler. A barrier counts warps whose meeting is complete.
#ifndef JINDOU_SIMT_RUNTIME_BLOCK_H
#define JINDOU_SIMT_RUNTIME_BLOCK_H

#include <stdint.h>

#include <memory>
#include <string>
#include <vector>

#include "simt/runtime/async_copies.h"
#include "simt/runtime/device.h"
#include "simt/runtime/fiber.h"
#include "simt/runtime/launch.h"
#include "simt/runtime/mbarriers.h"
#include "simt/runtime/options.h"
#include "simt/runtime/products.h"
#include "simt/runtime/random.h"
#include "simt/runtime/shared_memory.h"
#include "simt/runtime/tensor_copies.h"

namespace jindou::simt {

class Block;

constexpr uint32_t kAllLanes = 0xffffffffu;

// What a thread may wait for.
enum class Wait : uint8_t { none, sync_threads, named_barrier, sync_warp, shuffle, vote, ldmatrix, mma, mbarrier, wgmma, warpgroup, spin };

// A thread of the block. `device::current_thread` points at the running one.
struct Thread : device::ThreadIndex {
  Fiber fiber;
  Block *block = nullptr;
  int id = 0;
  int lane = 0;
  int warp = 0;
  Wait wait = Wait::none;
  uint32_t mask = 0;  // lanes it waits for
  int barrier = 0;    // barrier it waits at; of an mbarrier the address
  prim::Site site = {nullptr, 0};
  AsyncCopies copies;
};

// What the lanes of a warp bring to a meeting and take from it. A lane is in one meeting at a time.
struct Exchange {
  uint64_t value[32];
  uint64_t result[32];
  int operand[32];
  void *target[32];
  const void *source[32];
  const void *source2[32];
};

class Block {
 public:
  Block() = default;
  Block(const Block &) = delete;
  Block &operator=(const Block &) = delete;
  ~Block();

  // Runs one block of the grid to its end. Empty, or the error.
  std::string run(const Launch &launch, const Options &options, prim::Dim3 block_idx, uint64_t seed);

  // -- called by the running thread (device.cpp) ---------------------------------------------------------------------------
  // Comes to the meeting `what` of the lanes in `mask`; `aligned`: they must all come from one place in the source. True
  // for the last lane, which does the work and then calls `release_meeting`; the others return once it has.
  bool meet(Thread &thread, Wait what, uint32_t mask, bool aligned, prim::Site site);
  void release_meeting(Thread &thread);

  void sync_warp(Thread &thread, uint32_t mask, prim::Site site);
  void barrier(Thread &thread, int id, int threads, bool waits, prim::Site site);

  // -- sm_90 (block_hopper.cpp) --------------------------------------------------------------------------------------------
  void mbarrier_init(Thread &thread, void *barrier, int count, prim::Site site);
  void mbarrier_arrive(Thread &thread, void *barrier, int expected_bytes, prim::Site site);
  void mbarrier_wait(Thread &thread, void *barrier, uint32_t parity, prim::Site site);
  void tensor_copy(Thread &thread, void *shared, const prim::TensorMap &map, const int32_t (&at)[4], void *barrier,
                   prim::Site site);
  Products &products(const Thread &thread) { return warps_[static_cast<size_t>(thread.warp)].products; }
  void fence_mbarrier_init(const Thread &thread) { mbarriers_.fence(thread.id); }
  // By the last lane of a warp that has met.
  void issue_product(Thread &thread, const Product &product);
  void wait_for_products(Thread &thread, int pending, prim::Site site);
  int elected_lane() const { return elected_lane_; }

  // Lets every other thread go first.
  void yield(Thread &thread, prim::Site site);
  // A point where, by seed, another thread goes first.
  void interleave(Thread &thread);

  // Reports an error; the block's threads are abandoned where they are.
  [[noreturn]] void fail(Thread &thread, prim::Site site, const char *format, ...) __attribute__((format(printf, 4, 5)));

  Exchange &exchange(const Thread &thread) { return warps_[static_cast<size_t>(thread.warp)].exchange; }
  SharedMemory &shared() { return shared_; }
  Random &random() { return random_; }

 private:
  struct Meeting {
    uint32_t mask = 0;
    uint32_t arrived = 0;
    Wait what = Wait::none;
  };

  // Two places that ThreadSanitizer orders by, used in turn, so that an early comer to the next barrier is not taken for
  // one that came to this.
  struct Order {
    unsigned phase = 0;
    char place[2] = {};
    void *current() { return &place[phase & 1u]; }
  };

  struct Warp {
    uint32_t ready = 0;     // lanes that can run
    uint32_t yielded = 0;   // lanes that let others go first
    uint32_t returned = 0;  // lanes that ended
    Meeting full;           // of all 32 lanes
    std::vector<Meeting> partial;
    Order order;
    Exchange exchange;
    Products products;
    bool waits_for_warpgroup = false;  // its last lane to come to a wait
    int waiting_lane = 0;
  };

  // What the four warps of a warpgroup must issue alike.
  struct IssuedProduct {
    uint64_t left, right;
    int n;
    prim::Site site;
  };

  struct Barrier {
    int expected = 0;      // threads
    int arrived = 0;
    uint32_t waiting = 0;  // warps
    prim::Site site = {nullptr, 0};
    Order order;
  };

  static constexpr int kBarriers = 16;

  void prepare(const Launch &launch, const Options &options, prim::Dim3 block_idx, uint64_t seed);
  static void thread_entry(void *owner);
  [[noreturn]] void end_of_thread(Thread &thread);

  Warp &warp_of(const Thread &thread) { return warps_[static_cast<size_t>(thread.warp)]; }
  Thread &thread_of(int warp, int lane) { return *threads_[static_cast<size_t>(warp * 32 + lane)]; }

  void make_ready(int warp, uint32_t lanes);
  Thread *next_thread();
  int next_warp();
  bool wake_yielded();
  bool land_a_copy(bool awaited);
  void land_by_chance();
  Mbarrier &mbarrier_at(Thread &thread, const void *barrier, const char *what, prim::Site site);
  void complete_phase(Mbarrier &barrier);
  void set_aside(Thread &thread);
  [[noreturn]] void abandon(Fiber &from);

  std::string where(const Thread &thread) const;
  std::string nobody_can_run() const;

  const Launch *launch_ = nullptr;
  prim::Dim3 block_idx_;
  Stacks stacks_;
  std::vector<std::unique_ptr<Thread>> threads_;
  std::vector<Warp> warps_;
  Barrier barriers_[kBarriers];
  Mbarriers mbarriers_;
  std::vector<TensorCopy> tensor_copies_;  // on their way
  std::vector<std::vector<IssuedProduct>> issued_products_;  // of each warpgroup
  Completion completion_ = Completion::lazy;
  bool poison_ = true;
  int elected_lane_ = 0;
  uint64_t barriers_passed_ = 0;
  SharedMemory shared_;
  Fiber caller_;
  std::string error_;
  char run_order_ = 0;  // ThreadSanitizer: what ran on these stacks before is over

  Random random_;
  bool shuffled_ = false;
  bool alone_ = true;            // no other OS thread runs blocks of this launch
  uint32_t switch_rate_ = 0;     // of 65536: how often a thread that could go on makes room for another
  uint8_t warp_order_[32] = {};  // shuffled: who goes first
  int num_warps_ = 0;
  int running_ = 0;              // threads that have not returned
  int current_warp_ = 0;
  uint32_t ready_warps_ = 0;
  uint32_t yielded_warps_ = 0;
  uint64_t yields_ = 0;          // since a thread last got anywhere
};

}  // namespace jindou::simt

#endif
