// The two products of attention on sm_90a: tiles of bf16 in shared memory as tensor copies leave them, wgmma, sums and weights in
// registers. A "core" as mma_core.h is, for the kernels of hopper_*.h: what a thread of a consumer warpgroup holds, and how it is
// multiplied.
//
// A warpgroup owns 64 query rows with all keys of a tile and all output columns. Its 128 threads hold scores and outputs in the layout
// of mma.m16n8k16, warp w of the four rows 16 w..16 w + 15; so the scores, packed by pairs, are the left operand of the second product
// without leaving their registers.
#ifndef JINDOU_KERNELS_ATTENTION_HOPPER_CORE_H
#define JINDOU_KERNELS_ATTENTION_HOPPER_CORE_H

#include "primitives/primitives.h"

namespace jindou::attention {

// Registers decide the tile of keys: a consumer thread has 224 for outputs (d / 2), scores (kKeys / 2), weights (kKeys / 4). Shared
// memory decides the slots: queries take kRows * d * 2 bytes, a slot kKeys * d * 2, all together 227 KiB at most.
//
// kOverlap: the first product of a tile runs together with the second of the tile before (hopper_pipeline.h), whose weights live beside the
// scores meanwhile. Beside the outputs of d = 256 and the running maxima of a softmax there is no room for both: there the products of a
// warpgroup follow each other, and the tensor cores have the other warpgroup's while one computes weights.
template <int kHeadDim, int kTileKeys = (kHeadDim > 128 ? 64 : 128), bool kOverlap = true>
struct HopperTraits {
  static constexpr int kD = kHeadDim;
  static constexpr int kConsumers = 2;                       // warpgroups of 64 rows
  static constexpr int kRows = 64 * kConsumers;
  static constexpr int kKeys = kTileKeys;
  static constexpr bool kOverlaps = kOverlap;
  static constexpr int kSlots = kD * kKeys <= 64 * 128 ? 8 : kD <= 128 ? 6 : 4;
  static constexpr bool kCountsInOne = false;  // positions in the ring (hopper_pipeline.h)
  static constexpr bool kBiased = false;       // scores get biases (hopper_hstu_bias.h)
  static constexpr int kKeyArrivals = 1;       // warps that fill a slot of keys, or what comes with it
  static constexpr int kProducerRegisters = 56;
  static constexpr int kConsumerRegisters = (504 - kProducerRegisters) / kConsumers;  // of 504 that three warpgroups have
};

template <class Traits>
struct HopperCore : Traits {
  using T = Traits;
  using Element = uint16_t;  // bf16
  static_assert(T::kD % 64 == 0, "whole panels of 128 bytes");

  static constexpr int kPanels = T::kD / 64;
  static constexpr int kQueryBytes = T::kRows * T::kD * 2;
  static constexpr int kSlotBytes = T::kKeys * T::kD * 2;
  static constexpr int kThreads = prim::kWarpgroupThreads * (1 + T::kConsumers);
  // Registers come in eights, 65,536 for a block.
  static_assert(128 * (T::kProducerRegisters + T::kConsumers * T::kConsumerRegisters) <= 65536 / kThreads / 8 * 8 * kThreads);

  // Which rows and columns a consumer thread holds, of the block's tile: rows r = 0, 1; columns in pairs. The four threads of a quad
  // share a row.
  struct Place {
    int thread, group, lane, quad, first_row;  // first_row: of its warp

    JD_DEVICE Place() : Place(prim::opaque_thread_index() - prim::kWarpgroupThreads) {}
    JD_DEVICE explicit Place(int t) : thread(t), group(t >> 7), lane(t & 31), quad(t & 3), first_row((t >> 5) * 16) {}

    JD_DEVICE int row(int r) const { return first_row + r * 8 + lane / 4; }
    JD_DEVICE int column(int c) const { return c / 2 * 8 + quad * 2 + c % 2; }
    JD_DEVICE int key(int i) const { return column(i); }
    JD_DEVICE bool leads() const { return quad == 0; }

    JD_DEVICE static float add(float x) {
      x += prim::shfl_xor(x, 1);
      return x + prim::shfl_xor(x, 2);
    }
    JD_DEVICE static float highest(float x) {
      x = prim::max(x, prim::shfl_xor(x, 1));
      return prim::max(x, prim::shfl_xor(x, 2));
    }
  };

  struct Scores {
    static constexpr int kRows = 2;
    static constexpr int kCount = T::kKeys / 4;
    float sums[T::kKeys / 2];
    JD_DEVICE float &at(int r, int i) { return sums[i / 2 * 4 + r * 2 + i % 2]; }
  };

  // The left operand of the second product.
  struct Weights {
    uint32_t registers[T::kKeys / 16][4];
    JD_DEVICE void pack(const Scores &scores) {
#pragma unroll
      for (int k = 0; k < T::kKeys / 16; ++k) {
#pragma unroll
        for (int i = 0; i < 4; ++i) registers[k][i] = prim::pack_bf16x2(scores.sums[k * 8 + 2 * i], scores.sums[k * 8 + 2 * i + 1]);
        prim::keep(registers[k]);
      }
    }
  };

  struct Accumulators {
    static constexpr int kRows = 2;
    static constexpr int kColumns = T::kD / 4;
    float sums[T::kD / 2];
    JD_DEVICE float &out(int r, int c) { return sums[c / 2 * 4 + r * 2 + c % 2]; }
  };

  JD_DEVICE static void negate(Scores &scores) {
#pragma unroll
    for (int i = 0; i < T::kKeys / 2; ++i) scores.sums[i] = -scores.sums[i];
  }

  // Outputs times what weigh_row says. After the first tiles the maximum of a row rarely rises: then nothing is rescaled.
  JD_DEVICE static void rescale(Accumulators &acc, const float (&factor)[Accumulators::kRows]) {
    bool risen = false;
#pragma unroll
    for (int r = 0; r < Accumulators::kRows; ++r) risen |= factor[r] != 1.0f;
    if (!prim::any(risen)) return;
#pragma unroll
    for (int r = 0; r < Accumulators::kRows; ++r) {
#pragma unroll
      for (int c = 0; c < Accumulators::kColumns; ++c) acc.out(r, c) *= factor[r];
    }
  }

  // One thread's part of query row . key: every fourth chunk of 16 bytes.
  JD_DEVICE static float dot(const char *queries, const Place &place, int row, const Element *key) {
    float sum = 0.0f;
#pragma unroll 1
    for (int chunk = place.quad; chunk < T::kD / 8; chunk += 4) {
      const prim::Vec4u a = prim::load_shared16(queries + chunk / 8 * T::kRows * 128 + row * 128 + (chunk % 8 ^ row % 8) * 16);
      const prim::Vec4u b = prim::load16(key + chunk * 8);
      const uint32_t x[4] = {a.x, a.y, a.z, a.w}, y[4] = {b.x, b.y, b.z, b.w};
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        float x0, x1, y0, y1;
        prim::unpack2<prim::bf16>(x[i], x0, x1);
        prim::unpack2<prim::bf16>(y[i], y0, y1);
        sum = prim::fma(x1, y1, prim::fma(x0, y0, sum));
      }
    }
    return sum;
  }

  // scores = queries . keys^T of this warpgroup's 64 rows, one group of products. Each group has a fence of its own: where the compiler
  // cannot see one close by, it inserts it, and lets no two groups overlap.
  JD_DEVICE static void multiply_keys(Scores &scores, const char *queries, int group, const char *keys) {
    prim::keep(scores.sums);
    prim::wgmma_fence();
    const prim::MatrixOperand left = prim::row_operand(queries + group * 64 * 128), right = prim::row_operand(keys);
#pragma unroll
    for (int k = 0; k < T::kD / 16; ++k) {
      prim::wgmma_bf16<prim::Operand::rows>(scores.sums, left + (k / 4 * T::kRows * 128 + k % 4 * 32),
                                            right + (k / 4 * T::kKeys * 128 + k % 4 * 32), k > 0);
    }
    prim::wgmma_commit();
  }

  // acc += weights . values, one group of products. The caller `keep`s acc before, where no group of it is on its way.
  JD_DEVICE static void multiply_values(Accumulators &acc, const Weights &weights, const char *values) {
    prim::wgmma_fence();
    const prim::MatrixOperand right = prim::column_operand(values, T::kKeys * 128);
#pragma unroll
    for (int k = 0; k < T::kKeys / 16; ++k)
      prim::wgmma_bf16<prim::Operand::columns>(acc.sums, weights.registers[k], right + k * 2048, true);
    prim::wgmma_commit();
  }
};

}  // namespace jindou::attention

#endif
