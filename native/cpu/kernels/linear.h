// linear: out = activation(x W^T + bias) + residual, all f32 (jindou/blocks.h).
//
// x [n, depth], W [columns, depth] (or, transposed, [depth, columns]), out [n, columns]. FLOPs 2 * n * depth * columns; the FMA rate is the bound for n of a few
// dozen or more, reading W once for fewer.
//
// Output columns are the lanes of vectors. W is transposed by panels of kLanes columns and up to 512 of the depth into scratch
// ([depth][kLanes], 48 KiB on AVX2), which then serves all rows of the task; rows of x are broadcast as they lie. Register
// tile as in attention_tile.h. With kBf16Pairs, where an instruction multiplies bf16, rows of x are bf16 as they lie, a float being two of them, W is
// rounded to bf16 as it is packed, and the depth is half as long. Each output is one chain of FMAs over the depth in order, whatever the number of rows: a row's
// bits depend on that row alone.
#ifndef JINDOU_CPU_KERNELS_LINEAR_H
#define JINDOU_CPU_KERNELS_LINEAR_H

#include "cpu/kernels/kernel_table.h"
#include "cpu/simd/math.h"

namespace jindou::cpu {
namespace {

template <class Isa, bool kBf16Pairs = false>
struct Linear {
  using F = typename Isa::F;
  static constexpr int kWidth = Isa::kWidth;
  static constexpr int kVectors = Isa::kVectors;
  static constexpr int kRows = Isa::kRows;
  static constexpr int kLanes = kVectors * kWidth;
  static constexpr int kDepth = 512;      // of a panel
  static constexpr int kRowBlock = 256;   // rows whose unfinished sums are kept when the depth has several panels

  static constexpr size_t kScratchFloats = size_t{kDepth} * kLanes + size_t{kRowBlock} * kLanes;

  const LinearTask &t;
  float *const panel, *const unfinished;

  JD_SIMD F product(F a, F b, F sum) {
    if constexpr (kBf16Pairs) {
      return Isa::fma_bf16_pairs(a, b, sum);
    } else {
      return Isa::fma(a, b, sum);
    }
  }

  explicit Linear(const LinearTask &task) : t(task), panel(t.scratch), unfinished(panel + size_t{kDepth} * kLanes) {}

  void run() const {
    for (int64_t column = t.first_column; column < t.last_column; column += kLanes) {
      const int64_t left = t.last_column - column;
      const int columns = left < kLanes ? static_cast<int>(left) : kLanes;
      switch ((columns + kWidth - 1) / kWidth) {
        case 1: run_panel<1>(column, columns); break;
        case 2: run_panel<2>(column, columns); break;
        case 3: run_panel<3>(column, columns); break;
      }
    }
  }
  static_assert(kVectors == 3, "the cases of run");

  template <int N>
  void run_panel(int64_t column, int columns) const {
    if (t.depth <= kDepth) {
      pack(column, columns, 0, static_cast<int>(t.depth));
      multiply<N>(column, columns, t.first_row, t.last_row, 0, static_cast<int>(t.depth));
      return;
    }
    for (int64_t row = t.first_row; row < t.last_row; row += kRowBlock) {
      const int64_t last_row = row + kRowBlock < t.last_row ? row + kRowBlock : t.last_row;
      for (int64_t d = 0; d < t.depth; d += kDepth) {
        const int depth = t.depth - d < kDepth ? static_cast<int>(t.depth - d) : kDepth;
        pack(column, columns, d, depth);
        multiply<N>(column, columns, row, last_row, d, depth);
      }
    }
  }

  // panel[d][i] = W[column + i][first_depth + d], zero past the last column.
  void pack(int64_t column, int columns, int64_t first_depth, int depth) const {
    if (t.transposed) {
      for (int d = 0; d < depth; ++d) {
        const float *w = t.weight + (first_depth + d) * t.weight_stride + column;
        for (int i = 0; i < columns; i += kWidth) {
          const int lanes = columns - i < kWidth ? columns - i : kWidth;
          Isa::store(panel + d * kLanes + i, lanes == kWidth ? Isa::load(w + i) : Isa::load_first(w + i, lanes));
        }
      }
      return;
    }
    constexpr int kFloats = kBf16Pairs ? 2 : 1;  // of W, a float of the panel
    const float *w = t.weight + column * t.weight_stride + first_depth * kFloats;
    for (int i = 0; i < columns; i += kWidth) {
      for (int d = 0; d < depth; d += kWidth) {
        const int steps = depth - d < kWidth ? depth - d : kWidth;
        F block[kWidth];
        for (int lane = 0; lane < kWidth; ++lane) {
          const float *from = w + (i + lane) * t.weight_stride + d * kFloats;
          if constexpr (kBf16Pairs) {  // whole vectors
            block[lane] = i + lane >= columns ? Isa::zero() : Isa::bf16_sequence(Isa::load(from), Isa::load(from + kWidth));
          } else {
            block[lane] = i + lane >= columns ? Isa::zero() : steps == kWidth ? Isa::load(from) : Isa::load_first(from, steps);
          }
        }
        Isa::transpose(block);
        for (int step = 0; step < steps; ++step) Isa::store(panel + (d + step) * kLanes + i, block[step]);
      }
    }
  }

  template <int N>
  void multiply(int64_t column, int columns, int64_t first_row, int64_t last_row, int64_t first_depth, int depth) const {
    int64_t row = first_row;
    for (; row + kRows <= last_row; row += kRows) multiply_rows<N, kRows>(column, columns, row, first_row, first_depth, depth);
    for (; row < last_row; ++row) multiply_rows<N, 1>(column, columns, row, first_row, first_depth, depth);
  }

  template <int N, int kRowsHere>
  __attribute__((noinline)) void multiply_rows(int64_t column, int columns, int64_t row, int64_t first_row,
                                               int64_t first_depth, int depth) const {
    const float *x = t.x + row * t.x_stride + first_depth;
    const int64_t stride = t.x_stride;
    float *sums = unfinished + (row - first_row) * kLanes;
    F sum[kRowsHere][N];
#pragma GCC unroll 8
    for (int r = 0; r < kRowsHere; ++r) {
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) {
        sum[r][n] = Isa::zero();
        if (first_depth > 0) sum[r][n] = Isa::load(sums + r * kLanes + n * kWidth);
      }
    }
    const float *w = panel;
#pragma GCC unroll 2
    for (int d = 0; d < depth; ++d) {
      F lanes[N];
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) lanes[n] = Isa::load(w + d * kLanes + n * kWidth);
#pragma GCC unroll 8
      for (int r = 0; r < kRowsHere; ++r) {
        const F value = Isa::set(x[r * stride + d]);
#pragma GCC unroll 4
        for (int n = 0; n < N; ++n) sum[r][n] = product(value, lanes[n], sum[r][n]);
      }
    }
    if (first_depth + depth < t.depth) {
#pragma GCC unroll 8
      for (int r = 0; r < kRowsHere; ++r) {
#pragma GCC unroll 4
        for (int n = 0; n < N; ++n) Isa::store(sums + r * kLanes + n * kWidth, sum[r][n]);
      }
      return;
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRowsHere; ++r) {
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) {
        const int lanes = columns - n * kWidth < kWidth ? columns - n * kWidth : kWidth;
        finish(sum[r][n], row + r, column + n * kWidth, lanes);
      }
    }
  }

  // Bias, activation, residual.
  inline __attribute__((always_inline)) void finish(F sum, int64_t row, int64_t column, int lanes) const {
    const auto load = [lanes](const float *p) { return lanes == kWidth ? Isa::load(p) : Isa::load_first(p, lanes); };
    F x[1] = {sum};
    if (t.bias) x[0] = Isa::add(x[0], load(t.bias + column));
    if (t.activation == JD_LINEAR_SILU) silu<Isa, 5>(x);
    if (t.residual) x[0] = Isa::add(x[0], load(t.residual + row * t.residual_stride + column));
    float *out = t.out + row * t.out_stride + column;
    if (lanes == kWidth) {
      Isa::store(out, x[0]);
    } else {
      Isa::store_first(out, x[0], lanes);
    }
  }
};

}  // namespace
}  // namespace jindou::cpu

#endif
