// How the warpgroups of a Hopper kernel hand tiles to each other. The first warpgroup gives up its registers; one warp of it, the
// producer, has tiles of keys and values copied into a ring of slots and queries into a tile of their own; the other warpgroups, the
// consumers, multiply.
//
//   slot:     full  (1 arrival and its bytes)          empty (an arrival of each consumer warp)
//             of keys, the even ones, with kKeyArrivals > 1: more arrivals, of warps that write what comes with a tile
//   queries:  full, empty likewise; with them comes what the work is, an item in shared memory
//   tail:     the copy of a tile of values that ends a sequence, until its rows past the end are zeros
//
// A tile's rows past its sequence's end are another sequence's. Scores of such keys are masked; but a weight of 0 does not hide a NaN,
// so the producer zeroes such rows of values before the consumers see the slot.
//
// Items are double-buffered although queries are not: an item is overwritten by the second after it, whose queries are not copied before
// every consumer has let go of the queries of the one between, hence has finished the first.
#ifndef JINDOU_KERNELS_ATTENTION_HOPPER_PIPELINE_H
#define JINDOU_KERNELS_ATTENTION_HOPPER_PIPELINE_H

#include "attention/hopper_core.h"

namespace jindou::attention {

// A tensor [rows, heads, d] as kernels copy tiles of it.
struct TileSource {
  prim::TensorMap map;

  // Rows from `token` on, all columns of a head.
  JD_DEVICE void copy(char *target, int64_t token, int32_t head, prim::Mbarrier *barrier) const {
    prim::tensor_copy(target, map, 0, static_cast<int32_t>(token), 0, head, barrier);
  }
};

// Where in the ring, and in which round of it. kInOne: as one number, of how many slots were before; of a power of two.
template <int kSlots, bool kInOne = false>
class RingPosition {
 public:
  JD_DEVICE int slot() const { return slot_; }
  JD_DEVICE uint32_t parity() const { return parity_; }  // of the round

  JD_DEVICE void advance() {
    if (++slot_ == kSlots) {
      slot_ = 0;
      parity_ ^= 1;
    }
  }

 private:
  int slot_ = 0;
  uint32_t parity_ = 0;
};

template <int kSlots>
class RingPosition<kSlots, true> {
  static_assert((kSlots & (kSlots - 1)) == 0);

 public:
  JD_DEVICE int slot() const { return static_cast<int>(number_ % kSlots); }
  JD_DEVICE uint32_t parity() const { return number_ / kSlots % 2; }
  JD_DEVICE uint32_t number() const { return number_; }

  JD_DEVICE void advance() { ++number_; }

 private:
  uint32_t number_ = 0;
};

struct HopperNothing {};

// More: what else a kernel keeps, at a multiple of 1024 bytes.
template <class Core, class Item, class More = HopperNothing>
struct HopperShared {
  alignas(1024) char queries[Core::kQueryBytes];
  alignas(1024) char ring[Core::kSlots][Core::kSlotBytes];
  More more;
  prim::Mbarrier full[Core::kSlots], empty[Core::kSlots], queries_full, queries_empty, tail;
  alignas(16) char items[2][(sizeof(Item) + 15) / 16 * 16];

  JD_DEVICE Item &item(uint32_t number) { return *reinterpret_cast<Item *>(items[number & 1]); }

  // All threads.
  JD_DEVICE void init() {
    if (prim::thread_idx().x == 0) {
      constexpr int kConsumerWarps = 4 * Core::kConsumers;
      for (int s = 0; s < Core::kSlots; ++s) {
        prim::mbarrier_init(&full[s], s % 2 == 0 ? Core::kKeyArrivals : 1);
        prim::mbarrier_init(&empty[s], kConsumerWarps);
      }
      prim::mbarrier_init(&queries_full, 1);
      prim::mbarrier_init(&queries_empty, kConsumerWarps);
      prim::mbarrier_init(&tail, 1);
      prim::fence_mbarrier_init();
    }
    prim::sync_threads();
  }
};

// The producer warp's end. All its lanes call everything.
template <class Core, class Item, class More = HopperNothing>
class HopperProducer {
 public:
  using Shared = HopperShared<Core, Item, More>;

  JD_DEVICE explicit HopperProducer(Shared &shared) : HopperProducer(shared, prim::elect_one()) {}

  // All lanes have done what they did before.
  JD_DEVICE static void sync() { prim::sync_warp(); }

  // One lane, the one that makes items.
  template <class F>
  JD_DEVICE void lead(const F &f) const {
    if (leads_) f();
  }

  // Begins an item: make(item) fills it, by one lane. All lanes may read it then.
  template <class Make>
  JD_DEVICE const Item &begin_item(const Make &make) {
    prim::mbarrier_wait(&shared_.queries_empty, (items_ + 1) & 1);
    Item &item = shared_.item(items_);
    if (leads_) make(item);
    prim::sync_warp();
    return item;
  }

  // Hands the item to the consumers, with queries: copy(target, barrier) starts their copy.
  template <class Copy>
  JD_DEVICE void copy_queries(const Copy &copy) {
    if (leads_) {
      prim::mbarrier_arrive_expect(&shared_.queries_full, Core::kQueryBytes);
      copy(shared_.queries, &shared_.queries_full);
    }
    ++items_;
  }

  // Hands an item without queries: the last.
  JD_DEVICE void end() {
    if (leads_) prim::mbarrier_arrive(&shared_.queries_full);
  }

  // The next slot of the ring: rows from `token` on. With kZeroes those from `valid` on become zeros.
  template <bool kZeroes>
  JD_DEVICE void copy_tile(const TileSource &source, int64_t token, int32_t head, int32_t valid) {
    fill_slot<kZeroes>([&](char *slot, prim::Mbarrier *barrier) { source.copy(slot, token, head, barrier); }, valid);
  }

  // ... filled by copy(slot, barrier), which one lane calls: copies of Core::kSlotBytes in all.
  template <bool kZeroes, class Copy>
  JD_DEVICE void fill_slot(const Copy &copy, int32_t valid) {
    prim::mbarrier_wait(&shared_.empty[at_.slot()], at_.parity() ^ 1);
    char *slot = shared_.ring[at_.slot()];
    const bool tail = kZeroes && valid < Core::kKeys;
    prim::Mbarrier *barrier = tail ? &shared_.tail : &shared_.full[at_.slot()];
    if (leads_) {
      prim::mbarrier_arrive_expect(barrier, Core::kSlotBytes);
      copy(slot, barrier);
    }
    if (tail) {
      prim::mbarrier_wait(&shared_.tail, tails_ & 1);
      ++tails_;
      for (int panel = 0; panel < Core::kPanels; ++panel) {  // whole rows: the swizzle does not matter
        for (int i = valid * 8 + prim::lane_id(); i < Core::kKeys * 8; i += 32)
          prim::store_shared16(slot + panel * Core::kKeys * 128 + i * 16, prim::Vec4u{0, 0, 0, 0});
      }
      prim::fence_proxy_async();
      prim::sync_warp();
      if (leads_) prim::mbarrier_arrive(&shared_.full[at_.slot()]);
    }
    prim::sync_warp();  // a lane still at the wait would miss its phase if the others went round
    at_.advance();
  }

 protected:
  JD_DEVICE HopperProducer(Shared &shared, bool leads) : shared_(shared), leads_(leads) {}

  Shared &shared_;
  const bool leads_;
  RingPosition<Core::kSlots, Core::kCountsInOne> at_;

 private:
  uint32_t items_ = 0, tails_ = 0;
};

// A consumer warpgroup's end.
template <class Core, class Item, class More = HopperNothing>
class HopperConsumer {
 public:
  using Shared = HopperShared<Core, Item, More>;
  using Position = RingPosition<Core::kSlots, Core::kCountsInOne>;

  JD_DEVICE explicit HopperConsumer(Shared &shared) : shared_(shared) {}

  // The next item, its queries there.
  JD_DEVICE const Item &next_item() {
    wait_for_item();
    return item();
  }
  JD_DEVICE void wait_for_item() {
    prim::mbarrier_wait(&shared_.queries_full, items_ & 1);
    ++items_;
  }
  // The last that was waited for.
  JD_DEVICE const Item &item() const { return shared_.item(items_ - 1); }
  JD_DEVICE uint32_t item_number() const { return items_ - 1; }
  // Which tile, of all that this consumer took, it took the keys of last. With kCountsInOne.
  JD_DEVICE uint32_t tile_number() const { return (at_.number() - 1) / 2; }
  // Nothing of this warp reads the queries any more: after the last product with them.
  JD_DEVICE void release_queries() const {
    prim::sync_warp();
    arrive(&shared_.queries_empty);
  }

  // The next slot of the ring, in order; each must be waited for and released.
  JD_DEVICE Position next() {
    const Position position = at_;
    at_.advance();
    return position;
  }
  JD_DEVICE const char *wait(const Position &position) const {
    prim::mbarrier_wait(&shared_.full[position.slot()], position.parity());
    return shared_.ring[position.slot()];
  }
  // After a product, where the lanes of the warp came together.
  JD_DEVICE void release(const Position &position) const { arrive(&shared_.empty[position.slot()]); }
  JD_DEVICE void skip() {
    const Position position = next();
    wait(position);  // so that the release counts in its own round
    prim::sync_warp();  // and every lane has seen it
    release(position);
  }

 private:
  JD_DEVICE static void arrive(prim::Mbarrier *barrier) {
    if (prim::lane_id() == 0) prim::mbarrier_arrive(barrier);
  }

  Shared &shared_;
  uint32_t items_ = 0;
  Position at_;
};

// The end of a producer warp that writes what comes with a tile of keys, of kKeyArrivals - 1: items as the consumers get them, in which
// each has at least one tile. What is written for a tile may be read until its values are released, so there are kSlots / 2 places for it.
template <class Core, class Item, class More = HopperNothing>
class HopperCompanion {
 public:
  using Shared = HopperShared<Core, Item, More>;
  static constexpr int kPlaces = Core::kSlots / 2;
  static_assert(Core::kSlots % 2 == 0, "keys have the even slots");

  JD_DEVICE explicit HopperCompanion(Shared &shared) : shared_(shared), items_(shared) {}

  JD_DEVICE const Item &next_item() { return items_.next_item(); }
  JD_DEVICE uint32_t item_number() const { return items_.item_number(); }

  // The next tile: write(place), by all lanes.
  template <class Write>
  JD_DEVICE void write(const Write &write) {
    prim::Mbarrier *full = &shared_.full[at_.slot()];
    at_.advance();
    prim::mbarrier_wait(&shared_.empty[at_.slot()], at_.parity() ^ 1);
    write(at_.slot() / 2);
    prim::sync_warp();
    if (prim::lane_id() == 0) prim::mbarrier_arrive(full);
    at_.advance();
  }

 private:
  Shared &shared_;
  HopperConsumer<Core, Item, More> items_;
  RingPosition<Core::kSlots, Core::kCountsInOne> at_;
};

// The consumers' loop over tiles [tile, end) of keys and values:
//
//   scores = queries . keys^T; weigh; out += weights . values
//
// in which (Core::kOverlaps) the first product of a tile runs on the tensor cores together with the second of the tile before, and while the
// weights of a tile are computed that second product goes on; else a tile's products follow each other. skips(tile): nothing of it concerns
// this warpgroup; the tiles between two such are a run. weigh(tile, scores) turns scores into weights; before_values(acc, scores) follows it
// when no product is on its way. All of them, and `end`, must give all lanes of a warp the same, known to the compiler (prim::shfl):
// products in branches that may diverge are not overlapped.
template <class Core, class Consumer, class Skips, class Weigh, class BeforeValues>
JD_DEVICE void hopper_loop(Consumer &consumer, const char *queries, int group, int tile, int end, typename Core::Accumulators &acc,
                           const Skips &skips, const Weigh &weigh, const BeforeValues &before_values) {
  typename Core::Scores scores;
  typename Core::Weights weights;
#pragma unroll
  for (int i = 0; i < Core::kKeys / 2; ++i) scores.sums[i] = 0.0f;
  while (tile < end) {
    if (skips(tile)) {
      consumer.skip();
      consumer.skip();
      ++tile;
      continue;
    }
    // The first of a run.
    typename Consumer::Position keys = consumer.next(), values = consumer.next();
    const char *slot = consumer.wait(keys);
    Core::multiply_keys(scores, queries, group, slot);
    prim::wgmma_wait<0>();
    prim::keep(scores.sums);
    consumer.release(keys);
    weigh(tile, scores);
    before_values(acc, scores);
    weights.pack(scores);

    for (++tile; Core::kOverlaps && tile < end && !skips(tile); ++tile) {
      keys = consumer.next();
      slot = consumer.wait(keys);
      prim::keep(acc.sums);
      Core::multiply_keys(scores, queries, group, slot);
      Core::multiply_values(acc, weights, consumer.wait(values));
      prim::wgmma_wait<1>();
      prim::keep(scores.sums);
      consumer.release(keys);
      weigh(tile, scores);
      prim::wgmma_wait<0>();
      prim::keep(acc.sums);
      consumer.release(values);
      before_values(acc, scores);
      weights.pack(scores);
      values = consumer.next();
    }
    prim::keep(acc.sums);
    Core::multiply_values(acc, weights, consumer.wait(values));
    prim::wgmma_wait<0>();
    prim::keep(acc.sums);
    consumer.release(values);
  }
}

}  // namespace jindou::attention

#endif
