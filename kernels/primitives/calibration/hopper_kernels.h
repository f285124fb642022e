// The primitives of sm_90, each in a kernel of its own, as kernels.h has the others.
#ifndef JINDOU_PRIMITIVES_CALIBRATION_HOPPER_KERNELS_H
#define JINDOU_PRIMITIVES_CALIBRATION_HOPPER_KERNELS_H

#include "primitives/calibration/kernels.h"

namespace jindou::calibration {

template <int kThreadCount, size_t kSharedBytes>
struct HopperKernelBase : KernelBase<kThreadCount, kSharedBytes> {
  static constexpr bool kHopper = true;
};

// in: [4][64]; out: the same, each row reversed, from one warp pair to the other through one slot of a ring.
struct Mbarriers : HopperKernelBase<128, 64 * sizeof(uint32_t) + 2 * sizeof(prim::Mbarrier)> {
  JD_DEVICE static void run(const Words &p, char *shared) {
    auto *slot = reinterpret_cast<uint32_t *>(shared);
    auto *full = reinterpret_cast<prim::Mbarrier *>(shared + 64 * sizeof(uint32_t)), *empty = full + 1;
    const int t = static_cast<int>(prim::thread_idx().x);
    if (t == 0) {
      prim::mbarrier_init(full, 64);
      prim::mbarrier_init(empty, 2);  // one lane a warp
      prim::fence_mbarrier_init();
    }
    prim::sync_threads();
    for (uint32_t i = 0; i < 4; ++i) {
      if (t < 64) {
        prim::mbarrier_wait(empty, (i + 1) % 2);
        slot[t] = p.in[i * 64 + static_cast<uint32_t>(t)];
        prim::mbarrier_arrive(full);
      } else {
        prim::mbarrier_wait(full, i % 2);
        p.out[i * 64 + static_cast<uint32_t>(t) - 64] = slot[127 - t];
        prim::sync_warp();
        if (prim::elect_one()) prim::mbarrier_arrive(empty);
      }
    }
  }
};

struct WordsAndMap {
  const uint32_t *in;
  uint32_t *out;
  prim::TensorMap map;
};

// in: a tensor [2][2][11][64] of 16-bit elements; out: boxes of [2][8] rows as they lie in shared memory, at the corners and past them.
struct TensorCopies : HopperKernelBase<128, 5 * 2048 + sizeof(prim::Mbarrier)> {
  using Params = WordsAndMap;
  static constexpr int kBoxes = 5;
  static prim::TensorGeometry geometry(const void *in) {
    return {in, {64, 11, 2, 2}, {128, 11 * 128, 22 * 128}, {64, 8, 2, 1}};
  }
  JD_DEVICE static void run(const WordsAndMap &p, char *shared) {
    auto *landed = reinterpret_cast<prim::Mbarrier *>(shared + kBoxes * 2048);
    const int t = static_cast<int>(prim::thread_idx().x);
    if (t == 0) {
      prim::mbarrier_init(landed, 1);
      prim::fence_mbarrier_init();
    }
    prim::sync_threads();
    if (t == 0) {
      prim::prefetch_tensor_map(p.map);
      prim::mbarrier_arrive_expect(landed, kBoxes * 2048);
      prim::tensor_copy(shared, p.map, 0, 0, 0, 0, landed);
      prim::tensor_copy(shared + 2048, p.map, 0, 3, 0, 1, landed);
      prim::tensor_copy(shared + 2 * 2048, p.map, 0, 6, 1, 1, landed);
      prim::tensor_copy(shared + 3 * 2048, p.map, 0, -3, 0, 0, landed);
      prim::tensor_copy(shared + 4 * 2048, p.map, 16, 20, 0, 0, landed);
    }
    prim::mbarrier_wait(landed, 0);
    for (int i = t; i < kBoxes * 512; i += 128) p.out[i] = reinterpret_cast<const uint32_t *>(shared)[i];
  }
};

// How the left and right operands are given.
enum class Form { shared_rows, shared_columns, registers_rows, registers_columns };

// D = A B, 64 x N x 64, then D += A B with N rows (columns) from 16 on in k alone. in: A [64][64], then B [N][64] or [64][N], 16-bit;
// out: every thread's registers, or (kSigned) their sum, each times its number.
template <int kN, Form kForm, bool kSigned>
struct Products : HopperKernelBase<128, 64 * 128 + kN * 128> {
  static constexpr bool kColumns = kForm == Form::shared_columns || kForm == Form::registers_columns;
  static constexpr bool kRegisters = kForm == Form::registers_rows || kForm == Form::registers_columns;
  static constexpr size_t kInWords = (64 * 64 + kN * 64) / 2;
  static constexpr size_t kOutWords = 128 * (kSigned ? 1 : kN / 2);

  JD_DEVICE static void run(const Words &p, char *shared) {
    const int t = static_cast<int>(prim::thread_idx().x);
    char *left = shared, *right = shared + 64 * 128;
    // 16 bytes to where a tensor copy would leave them: rows of 64 elements, panels of `rows` rows.
    const auto place = [](char *to, int rows, int row, int chunk, prim::Vec4u v) {
      prim::store_shared16(to + chunk / 8 * rows * 128 + row * 128 + (chunk % 8 ^ row % 8) * 16, v);
    };
    for (int i = t; i < 64 * 8; i += 128) place(left, 64, i / 8, i % 8, prim::load16(p.in + i * 4));
    const uint32_t *b = p.in + 64 * 32;
    for (int i = t; i < kN * 8; i += 128) {
      if (kColumns) {
        place(right, 64, i / (kN / 8), i % (kN / 8), prim::load16(b + i * 4));
      } else {
        place(right, kN, i / 8, i % 8, prim::load16(b + i * 4));
      }
    }
    prim::fence_proxy_async();
    prim::sync_threads();

    float d[kN / 2];
    uint32_t a[4][4];
#pragma unroll
    for (int i = 0; i < kN / 2; ++i) d[i] = 0.0f;
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const int row = t / 32 * 16 + t % 32 / 4, word = k * 8 + t % 4;
      a[k][0] = p.in[row * 32 + word];
      a[k][1] = p.in[(row + 8) * 32 + word];
      a[k][2] = p.in[row * 32 + word + 4];
      a[k][3] = p.in[(row + 8) * 32 + word + 4];
    }
    prim::keep(d);
    prim::wgmma_fence();
#pragma unroll
    for (int i = 0; i < 5; ++i) {  // the fifth: k from 16 on once more
      const int k = i < 4 ? i : 1;
      constexpr prim::Operand kRight = kColumns ? prim::Operand::columns : prim::Operand::rows;
      const prim::MatrixOperand from = kColumns ? prim::column_operand(right, 64 * 128) + k * 2048 : prim::row_operand(right) + k * 32;
      if constexpr (kRegisters) {
        prim::wgmma_bf16<kRight>(d, a[k], from, i > 0);
      } else {
        prim::wgmma_bf16<kRight>(d, prim::row_operand(left) + k * 32, from, i > 0);
      }
    }
    prim::wgmma_commit();
    prim::wgmma_wait<0>();
    prim::keep(d);
    if (kSigned) {
      float sum = 0.0f;
#pragma unroll
      for (int i = 0; i < kN / 2; ++i) sum += d[i] * static_cast<float>(i + 1);
      p.out[t] = prim::as_uint(sum);
    } else {
#pragma unroll
      for (int i = 0; i < kN / 2; ++i) p.out[t * (kN / 2) + i] = prim::as_uint(d[i]);
    }
  }
};

}  // namespace jindou::calibration

#endif
