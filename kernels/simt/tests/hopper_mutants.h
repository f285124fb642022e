// A small kernel of sm_90's instructions (a producer of tensor copies, two warpgroups that multiply), with bugs to choose from.
// hopper_mutation_test.cpp asserts that the emulator finds every one, under every seed.
#ifndef JINDOU_SIMT_TESTS_HOPPER_MUTANTS_H
#define JINDOU_SIMT_TESTS_HOPPER_MUTANTS_H

#include <stddef.h>
#include <stdint.h>

#include "primitives/primitives.h"

namespace jindou::simt::mutants {

enum class Hopper {
  correct,
  no_full_wait,            // tiles are used before they have landed
  wrong_full_parity,       // the consumers' first wait returns at once
  no_empty_wait,           // the producer overwrites tiles in use
  wrong_empty_parity,      // and waits for the first round's tiles to be free: for ever
  no_expect,               // nobody announces the bytes
  expect_too_few,          // half of them
  expect_too_many,
  no_arrive_on_empty,      // one of the consumers never gives a tile back
  empty_count_too_small,   // one consumer's arrival is enough
  release_before_wait,     // a tile is given back while products read it
  no_product_wait,         // sums are read while products add to them
  weak_product_wait,       // one group too many may still be on its way
  no_product_fence,
  no_commit,
  no_proxy_fence,          // zeros that the products may not see
  no_init_fence,           // barriers that the copy engine does not know
  no_sync_after_init,      // barriers that others use before they are made
  no_tail_zeros,           // whatever lies past the last key
  skipped_product,         // one warp of four leaves one out
  scores_changed_in_flight,  // the sums of a product on its way are written
  transposed_values,       // values read as if they were keys
  bad_panel_stride,
  tile_not_aligned,        // to the swizzle
  queries_not_waited_for,
};

// out = (queries keys^T, rounded to bf16) values, over all keys.
template <Hopper kBug>
struct HopperKernel {
  static constexpr int kD = 128;      // columns of queries, keys and values: two panels
  static constexpr int kKeys = 64;    // a tile
  static constexpr int kStages = 2;
  struct Params {
    prim::TensorMap queries, keys, values;  // [rows, kD]
    float *out;                             // [128, kD]
    int num_keys;
  };
  static constexpr bool kHopper = true;
  static constexpr int kThreads = 384;
  static constexpr int kMinBlocks = 1;
  static constexpr int kTileBytes = kKeys * kD * 2;
  struct Shared {
    alignas(1024) char queries[2][64 * kD * 2];
    alignas(16) char gap[kBug == Hopper::tile_not_aligned ? 256 : 1024];
    alignas(256) char tiles[kStages][2][kTileBytes];
    prim::Mbarrier queries_full, tail, full[kStages], empty[kStages];
  };
  static constexpr size_t shared_bytes() { return sizeof(Shared); }

  static void run(const Params &p, char *memory) {
    Shared &shared = *reinterpret_cast<Shared *>(memory);
    const int thread = static_cast<int>(prim::thread_idx().x);
    if (thread == 0) {
      prim::mbarrier_init(&shared.queries_full, 1);
      prim::mbarrier_init(&shared.tail, 1);
      for (int s = 0; s < kStages; ++s) {
        prim::mbarrier_init(&shared.full[s], 1);
        prim::mbarrier_init(&shared.empty[s], kBug == Hopper::empty_count_too_small ? 1 : 2);
      }
      if (kBug != Hopper::no_init_fence) prim::fence_mbarrier_init();
    }
    if (kBug != Hopper::no_sync_after_init) prim::sync_threads();
    if (thread < 128) {
      prim::give_up_registers<40>();
      if (prim::warp_id() == 0) produce(p, shared);
    } else {
      prim::take_registers<232>();
      consume(p, shared, thread / 128 - 1);
    }
  }

  static void produce(const Params &p, Shared &shared) {
    const bool leads = prim::elect_one();
    if (leads) {
      prim::mbarrier_arrive_expect(&shared.queries_full, sizeof shared.queries);
      for (int half = 0; half < 2; ++half)
        prim::tensor_copy(shared.queries[half], p.queries, 0, half * 64, 0, 0, &shared.queries_full);
    }
    const int tiles = (p.num_keys + kKeys - 1) / kKeys;
    for (int tile = 0; tile < tiles; ++tile) {
      const int stage = tile % kStages;
      const auto round = static_cast<uint32_t>(tile / kStages);
      const int valid = p.num_keys - tile * kKeys;
      if (kBug != Hopper::no_empty_wait)
        prim::mbarrier_wait(&shared.empty[stage], (round + (kBug == Hopper::wrong_empty_parity ? 0 : 1)) % 2);
      const bool tail = valid < kKeys && kBug != Hopper::no_tail_zeros;
      prim::Mbarrier *barrier = tail ? &shared.tail : &shared.full[stage];
      if (leads) {
        if (kBug == Hopper::no_expect) {
          prim::mbarrier_arrive(barrier);
        } else {
          prim::mbarrier_arrive_expect(
              barrier, kBug == Hopper::expect_too_few ? kTileBytes : 2 * kTileBytes + (kBug == Hopper::expect_too_many ? 16 : 0));
        }
        prim::tensor_copy(shared.tiles[stage][0], p.keys, 0, tile * kKeys, 0, 0, barrier);
        prim::tensor_copy(shared.tiles[stage][1], p.values, 0, tile * kKeys, 0, 0, barrier);
      }
      if (!tail) continue;
      prim::mbarrier_wait(&shared.tail, 0);
      for (int i = valid * kD / 8 + prim::lane_id(); i < kKeys * kD / 8; i += 32) {
        const int row = i / (kD / 8), chunk = i % (kD / 8);
        for (char *t : shared.tiles[stage])
          prim::store_shared16(t + chunk / 8 * kKeys * 128 + row * 128 + (chunk % 8 ^ row % 8) * 16, {0, 0, 0, 0});
      }
      if (kBug != Hopper::no_proxy_fence) prim::fence_proxy_async();
      prim::sync_warp();
      if (leads) prim::mbarrier_arrive(&shared.full[stage]);
    }
  }

  static void consume(const Params &p, Shared &shared, int group) {
    const int thread = static_cast<int>(prim::thread_idx().x) % 128;
    float out[kD / 2] = {};
    float scores[kKeys / 2] = {};
    if (kBug != Hopper::queries_not_waited_for) prim::mbarrier_wait(&shared.queries_full, 0);
    const int tiles = (p.num_keys + kKeys - 1) / kKeys;
    for (int tile = 0; tile < tiles; ++tile) {
      const int stage = tile % kStages;
      const auto round = static_cast<uint32_t>(tile / kStages);
      if (kBug != Hopper::no_full_wait)
        prim::mbarrier_wait(&shared.full[stage], (round + (kBug == Hopper::wrong_full_parity ? 1 : 0)) % 2);
      if (kBug != Hopper::no_product_fence) prim::wgmma_fence();
      for (int k = 0; k < kD / 16; ++k) {
        const int panel = k / 4, step = k % 4 * 32;
        if (kBug == Hopper::skipped_product && thread / 32 == 3 && k == 5) continue;
        prim::wgmma_bf16<prim::Operand::rows>(scores, prim::row_operand(shared.queries[group]) + (panel * 64 * 128 + step),
                                              prim::row_operand(shared.tiles[stage][0]) + (panel * kKeys * 128 + step), k > 0);
      }
      if (kBug != Hopper::no_commit) prim::wgmma_commit();
      if (kBug == Hopper::scores_changed_in_flight) scores[3] = 1.0f;
      if (kBug == Hopper::weak_product_wait) {
        prim::wgmma_wait<1>();
      } else if (kBug != Hopper::no_product_wait) {
        prim::wgmma_wait<0>();
      }
      uint32_t weights[kKeys / 16][4];
      for (int k = 0; k < kKeys / 16; ++k) {
        for (int i = 0; i < 4; ++i) weights[k][i] = prim::pack_bf16x2(scores[k * 8 + 2 * i], scores[k * 8 + 2 * i + 1]);
      }
      prim::wgmma_fence();
      const char *values = shared.tiles[stage][1];
      for (int k = 0; k < kKeys / 16; ++k) {
        if constexpr (kBug == Hopper::transposed_values) {
          prim::wgmma_bf16<prim::Operand::rows>(out, weights[k], prim::row_operand(values) + k * 32, true);
        } else {
          prim::wgmma_bf16<prim::Operand::columns>(
              out, weights[k], prim::column_operand(values, kBug == Hopper::bad_panel_stride ? 1024 : kKeys * 128) + k * 2048, true);
        }
      }
      prim::wgmma_commit();
      const bool gives_back = kBug != Hopper::no_arrive_on_empty || group == 0;
      if (kBug == Hopper::release_before_wait && thread == 0) prim::mbarrier_arrive(&shared.empty[stage]);
      prim::wgmma_wait<0>();
      prim::named_barrier_sync(1 + group, 128);
      if (kBug != Hopper::release_before_wait && gives_back && thread == 0) prim::mbarrier_arrive(&shared.empty[stage]);
    }
    for (int i = 0; i < kD / 2; ++i) {
      const int row = group * 64 + thread / 32 * 16 + thread % 32 / 4 + i % 4 / 2 * 8;
      p.out[row * kD + i / 4 * 8 + thread % 4 * 2 + i % 2] = out[i];
    }
  }
};

}  // namespace jindou::simt::mutants

#endif
