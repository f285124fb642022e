// The loop over tiles of keys and values that every attention kernel here runs, with its copies in flight.
//
// Keys and values pass through one ring of kSlots shared-memory tiles in the order K0 V0 K1 V1 ...: while one tile is
// used, the next kSlots - 2 are on their way, the last of them into the slot that was used before. Three slots already
// overlap every copy with a whole tile's work, in three quarters of the memory of a double buffer of pairs. At head dim
// 128 the ring (6 tiles of 32 keys) and 128 queries take 81 KiB, so that two blocks share a multiprocessor of sm_80.
#ifndef JINDOU_KERNELS_ATTENTION_KEY_VALUE_LOOP_H
#define JINDOU_KERNELS_ATTENTION_KEY_VALUE_LOOP_H

#include "primitives/primitives.h"

namespace jindou::attention {

template <int kSlots, int kSlotBytes>
class KeyValueLoop {
  static_assert(kSlots >= 3, "");

 public:
  // `ring`: kSlots * kSlotBytes of shared memory that no thread uses any more. copy(i, slot) starts the asynchronous
  // copies of the i-th tile: keys of tile i/2 when even, values when odd. The first copies start here.
  template <class Copy>
  JD_DEVICE KeyValueLoop(char *ring, int tiles, const Copy &copy)
      : ring_(ring), copies_(2 * tiles), started_(0), read_slot_(0), write_slot_(0) {
#pragma unroll
    for (int i = 0; i < kSlots - 1; ++i) start_next(copy);
  }

  // Waits for whatever this thread copied in a group before the loop was made (the queries).
  JD_DEVICE static void wait_for_earlier_copies() { prim::cp_async_wait<kSlots - 1>(); }

  // on_keys(tile, slot), then on_values(tile, slot), for every tile in order. All threads; they may use what they keep
  // in registers and read the slot. Ends with a barrier: the ring is free again.
  template <class Copy, class OnKeys, class OnValues>
  JD_DEVICE void run(int tiles, const Copy &copy, const OnKeys &on_keys, const OnValues &on_values) {
    advance(0, tiles, copy, on_keys, on_values);
    finish();
  }

  // The same for tiles [tile, end), the next ones; in the end `finish`.
  template <class Copy, class OnKeys, class OnValues>
  JD_DEVICE void advance(int tile, int end, const Copy &copy, const OnKeys &on_keys, const OnValues &on_values) {
    for (; tile < end; ++tile) {
      on_keys(tile, next(copy));
      on_values(tile, next(copy));
    }
  }
  JD_DEVICE static void finish() {
    prim::cp_async_wait<0>();
    prim::sync_threads();
  }

 private:
  // One group a call, empty past the end, so that the count of groups to wait for stays constant.
  template <class Copy>
  JD_DEVICE void start_next(const Copy &copy) {
    if (started_ < copies_) copy(started_, ring_ + write_slot_ * kSlotBytes);
    prim::cp_async_commit();
    ++started_;
    write_slot_ = after(write_slot_);
  }

  template <class Copy>
  JD_DEVICE const char *next(const Copy &copy) {
    prim::cp_async_wait<kSlots - 2>();  // this thread's part of the tile has landed
    prim::sync_threads();               // everyone's has, and everyone is done with the tile before
    start_next(copy);
    const char *slot = ring_ + read_slot_ * kSlotBytes;
    read_slot_ = after(read_slot_);
    return slot;
  }

  JD_DEVICE static int after(int slot) { return slot + 1 == kSlots ? 0 : slot + 1; }

  char *ring_;
  int copies_, started_, read_slot_, write_slot_;
};

}  // namespace jindou::attention

#endif
