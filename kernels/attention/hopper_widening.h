// The producers of a Hopper kernel whose keys and values lie in memory as codes of one byte (fp8 e4m3, int8), each with a scale. Every code
// is exact in bf16: the consumers of hopper_pipeline.h find tiles of bf16 in the ring, swizzled as tensor copies leave them, and multiply
// as ever; the scales, one a key, meet their scores and weights. All four warps of the first warpgroup work:
//
//   warp 0: tensor copies of codes, kStages - 1 tiles ahead            -> staged[stage]
//   all:    wait staged[stage], empty[slot];  codes in the stage become bf16 in the slot, 8 a thread at a time
//           scales of a tile's keys, asked for a tile before           -> scales
//           barrier of the 128 threads: the stage is free; one thread  -> full[slot]
//
// Codes are loaded by 8 bytes and stored by 16, without bank conflicts. Of the shared memory's time, in clocks for 128 x 128 keys and
// values: 256 for the copies of codes, 256 to load, 512 to store; 1,280 for the products with them, which take 2,048 of the tensor cores.
//
// Scales. Those of a tile's keys and values come together, since a weight takes its value's before the values are waited for; they are read
// after the slot of the keys was released, but before that of the values is. When the producers begin a tile they have waited for the
// release of the values of all tiles but the kSlots / 2 latest: one more buffer of scales than the ring holds tiles is enough.
//
// A tile's rows past its sequence's end become zeros, whatever codes lie there, and those of pages that there are not, with scale 0.
#ifndef JINDOU_KERNELS_ATTENTION_HOPPER_WIDENING_H
#define JINDOU_KERNELS_ATTENTION_HOPPER_WIDENING_H

#include "attention/hopper_pipeline.h"
#include "decode/pages.h"

namespace jindou::attention {

// Slots and stages share what the queries leave of 227 KiB. Slots are powers of two, so that a consumer counts in one register; and it
// has some more of them, for the scales.
template <int kHeadDim>
struct HopperCodesTraits : HopperTraits<kHeadDim> {
  using Base = HopperTraits<kHeadDim>;
  static constexpr int kSlots = kHeadDim > 64 ? 4 : 8;
  static constexpr int kStages = kHeadDim > 128 ? 2 : 3;
  static constexpr bool kCountsInOne = true;
  static constexpr int kProducerRegisters = 40;
  static constexpr int kConsumerRegisters = Base::kConsumerRegisters + (Base::kProducerRegisters - kProducerRegisters) / Base::kConsumers;
};

// Panels of codes: 128 in a row of 128 bytes; at d = 64 the second half of a row is empty.
template <class Core>
struct HopperStages {
  static constexpr int kPanels = (Core::kD + 127) / 128;
  static constexpr int kBytes = Core::kKeys * prim::kTensorRowBytes * kPanels;
  static constexpr int kScaleTiles = Core::kSlots / 2 + 1;

  // Where a key's scale lies: those of the keys whose scores a consumer thread holds, four and four together.
  JD_DEVICE static int scale_at(int key) { return key / 16 * 16 + key % 8 / 2 * 4 + key / 8 % 2 * 2 + key % 2; }

  char stages[Core::kStages][kBytes];  // first: tensor copies need multiples of 1024
  float scales[kScaleTiles][2][Core::kKeys];  // of keys, of values
  prim::Mbarrier staged[Core::kStages];

  // Of a tile, counted by producers and consumers from a block's first one on.
  JD_DEVICE const float (&scales_of(uint32_t tile) const)[2][Core::kKeys] { return scales[tile % kScaleTiles]; }
  JD_DEVICE float (&scales_of(uint32_t tile))[2][Core::kKeys] { return scales[tile % kScaleTiles]; }

  // One thread, before HopperShared::init.
  JD_DEVICE void init() {
    for (prim::Mbarrier &barrier : staged) prim::mbarrier_init(&barrier, 1);
  }
};

// All threads of the first warpgroup call everything. More has a HopperStages, `codes`, at its beginning.
template <class Core, class Item, class More>
class HopperWideningProducer : public HopperProducer<Core, Item, More> {
  using Base = HopperProducer<Core, Item, More>;
  using Stages = HopperStages<Core>;

 public:
  // `warp`: known to the compiler as the same in all lanes.
  JD_DEVICE HopperWideningProducer(typename Base::Shared &shared, int warp)
      : Base(shared, prim::elect_one() && warp == 0), copies_(warp == 0), thread_(static_cast<int>(prim::thread_idx().x)) {}

  JD_DEVICE static void sync() { prim::named_barrier_sync(1, prim::kWarpgroupThreads); }

  template <class Make>
  JD_DEVICE const Item &begin_item(const Make &make) {
    const Item &item = Base::begin_item(make);
    sync();
    return item;
  }

  // Keys and values of `tiles` tiles, to the next slots of the ring. codes.copy(step, stage, barrier, leads) starts the copies of keys
  // (even steps) or values of tile step / 2, by warp 0, one lane of which leads; codes.next_scales(key's, value's): of this thread's key
  // of the next tile; codes.valid(tile): rows inside the sequence; codes.is_i8().
  template <class Codes>
  JD_DEVICE void widen(Codes &codes, int tiles) {
    const int steps = 2 * tiles;
    for (int step = 0; step < Core::kStages - 1; ++step) start_copy(codes, step, steps);
    for (int step = 0; step < steps; ++step) {
      start_copy(codes, step + Core::kStages - 1, steps);  // into the stage that the last step emptied
      if (step % 2 == 0) {
        float(&scales)[2][Core::kKeys] = stages().scales_of(this->at_.number() / 2);
        const int at = Stages::scale_at(thread_);
        if (thread_ < Core::kKeys) codes.next_scales(scales[0][at], scales[1][at]);
      }
      prim::mbarrier_wait(&this->shared_.empty[this->at_.slot()], this->at_.parity() ^ 1);
      prim::mbarrier_wait(&stages().staged[stage_.slot()], stage_.parity());
      const char *stage = stages().stages[stage_.slot()];
      char *slot = this->shared_.ring[this->at_.slot()];
      if (codes.is_i8()) {
        widen_tile<true>(stage, slot, codes.valid(step / 2));
      } else {
        widen_tile<false>(stage, slot, codes.valid(step / 2));
      }
      prim::fence_proxy_async();
      sync();
      if (this->leads_) prim::mbarrier_arrive(&this->shared_.full[this->at_.slot()]);
      this->at_.advance();
      stage_.advance();
    }
  }

 private:
  JD_DEVICE Stages &stages() const { return this->shared_.more.codes; }

  template <class Codes>
  JD_DEVICE void start_copy(Codes &codes, int step, int steps) {
    if (!copies_ || step >= steps) return;
    prim::Mbarrier *barrier = &stages().staged[copied_.slot()];
    if (this->leads_) prim::mbarrier_arrive_expect(barrier, Stages::kBytes);
    codes.copy(step, stages().stages[copied_.slot()], barrier, this->leads_);
    copied_.advance();
  }

  // 16 neighbouring threads share a row of 128 codes; 8 one of 64, each half warp rows r and r + 4, which the swizzle keeps apart.
  template <bool kI8>
  JD_DEVICE void widen_tile(const char *stage, char *slot, int valid) const {
    constexpr int kLanes = Core::kD > 64 ? 16 : 8, kRowsAPass = prim::kWarpgroupThreads / kLanes, kRuns = Core::kD / (8 * kLanes);
    constexpr int kPasses = Core::kKeys / kRowsAPass, kUnits = kPasses * kRuns, kTogether = 4;
    static_assert(kRowsAPass % 8 == 0 && kUnits % kTogether == 0);
    const int chunk = thread_ % kLanes, n = thread_ / kLanes;
    const int row = kLanes == 16 ? n : n / 8 * 8 + n % 2 * 4 + n / 2 % 4;
    const char *from = stage + row * 128 + (chunk / 2 ^ row % 8) * 16 + chunk % 2 * 8;
    char *to = slot + chunk / 8 * Core::kKeys * 128 + row * 128 + (chunk % 8 ^ row % 8) * 16;
    const auto pass = [](int unit) { return unit / kRuns * kRowsAPass; };  // rows
#pragma unroll
    for (int first = 0; first < kUnits; first += kTogether) {
      prim::Vec2u codes[kTogether];
#pragma unroll
      for (int i = 0; i < kTogether; ++i)
        codes[i] = prim::load_shared8(from + pass(first + i) * 128 + (first + i) % kRuns * Core::kKeys * 128);
#pragma unroll
      for (int i = 0; i < kTogether; ++i) {
        prim::store_shared16(to + pass(first + i) * 128 + (first + i) % kRuns * 2 * Core::kKeys * 128,
                             paged::widen_codes<prim::bf16>(codes[i], kI8));
      }
    }
    if (valid >= Core::kKeys) return;
#pragma unroll 1
    for (int unit = 0; unit < kUnits; ++unit) {
      if (row + pass(unit) < valid) continue;
      prim::store_shared16(to + pass(unit) * 128 + unit % kRuns * 2 * Core::kKeys * 128, prim::Vec4u{0, 0, 0, 0});
    }
  }

  const bool copies_;
  const int thread_;
  RingPosition<Core::kStages> copied_, stage_;  // the next to be copied to, and to be emptied
};

}  // namespace jindou::attention

#endif
