// The arithmetic of din_attention's two hidden layers, a warp at a time: "cores" for its kernel. DinMmaCore multiplies f16 or bf16
// on tensor cores, DinFmaCore f32 with multiply-adds, exact f32 throughout.
//
// Events are the rows of both products, hidden units their columns, as queries and keys are in attention; a step is kChunk units of
// the first layer, activated and at once multiplied into all units of the second:
//   Scores = keys (kEvents x d) . folded rows (kChunk x d)^T        Sums += f(Scores) . weight_2 (h2 x kChunk)^T
// so that the first layer's hidden units live for one step. A core says which rows and units a thread holds (row, unit, column), and
// kRows and kCount of them.
//
// Both layers' weights lie in shared memory with kGroup units at a time. Tiles have rows of an odd number of 16-byte chunks: eight
// neighbouring rows at one chunk fall on all banks.
#ifndef JINDOU_KERNELS_ATTENTION_DIN_CORE_H
#define JINDOU_KERNELS_ATTENTION_DIN_CORE_H

#include "primitives/primitives.h"

namespace jindou::din {

template <class T, int kColumns>
struct DinTile {
  static constexpr int kElements = 16 / static_cast<int>(sizeof(T));  // of a chunk
  static constexpr int kChunks = kColumns / kElements;
  static constexpr int kPitch = (kChunks | 1) * 16;
  JD_DEVICE static int offset(int row, int chunk) { return row * kPitch + chunk * 16; }
};

// kD, kHidden2: the widest rows and second layer. kM: tiles of 16 events a warp: two feed each fragment of weights to two products.
// kGroup: units of weights in shared memory. kC: candidates of a block, which share the reads of the history.
template <class T, int kDim, int kUnits2, int kM, int kUnitsInGroup, int kC, int kBlocks>
struct DinMmaCore {
  using Element = T;
  static constexpr int kD = kDim, kHidden2 = kUnits2, kGroup = kUnitsInGroup, kCandidates = kC, kMinBlocks = kBlocks;
  static constexpr int kWarps = 4, kEvents = 16 * kM, kChunk = 16, kGranule = 16;
  static constexpr bool kKeysInRegisters = true;
  static constexpr int kHiddenBytes = 0;
  using KeyTile = DinTile<T, kD>;
  using SecondTile = DinTile<T, kGroup>;

  struct Keys {
    uint32_t parts[kD / 16][kM][4];
  };
  struct Scores {
    static constexpr int kRows = 2 * kM, kCount = 4;
    float tiles[kM][2][4];
    JD_DEVICE float &at(int r, int i) { return tiles[r / 2][i / 2][r % 2 * 2 + i % 2]; }
  };
  struct Sums {
    static constexpr int kRows = 2 * kM, kCount = kHidden2 / 4;
    float tiles[kM][kHidden2 / 8][4];
    JD_DEVICE float &at(int r, int i) { return tiles[r / 2][i / 2][r % 2 * 2 + i % 2]; }
  };
  JD_DEVICE static int row(int lane, int r) { return r * 8 + lane / 4; }
  JD_DEVICE static int unit(int lane, int i) { return i / 2 * 8 + (lane & 3) * 2 + i % 2; }
  JD_DEVICE static bool leads(int lane) { return (lane & 3) == 0; }
  JD_DEVICE static float add(float x) {
    x += prim::shfl_xor(x, 1);
    return x + prim::shfl_xor(x, 2);
  }

  JD_DEVICE static void load_keys(Keys &keys, const char *rows, int depth, int lane) {
#pragma unroll
    for (int k = 0; k < kD / 16; ++k) {
      if (k * 16 >= depth) break;
#pragma unroll
      for (int m = 0; m < kM; ++m) prim::ldmatrix_x4(keys.parts[k][m], rows + KeyTile::offset(m * 16 + (lane & 15), k * 2 + (lane >> 4)));
    }
  }

  JD_DEVICE static void first(Scores &scores, const Keys &keys, const char *folded, int depth, int, int lane) {
#pragma unroll
    for (int m = 0; m < kM; ++m) {
#pragma unroll
      for (int n = 0; n < 2; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) scores.tiles[m][n][i] = 0.0f;
      }
    }
    const char *mine = folded + KeyTile::offset((lane & 7) + (lane >> 4) * 8, lane >> 3 & 1);
#pragma unroll
    for (int k = 0; k < kD / 16; ++k) {
      if (k * 16 >= depth) break;
      uint32_t b[4];  // sixteen units: two right operands
      prim::ldmatrix_x4(b, mine + k * 32);
#pragma unroll
      for (int m = 0; m < kM; ++m) {
        prim::mma_m16n8k16<T>(scores.tiles[m][0], keys.parts[k][m], b);
        prim::mma_m16n8k16<T>(scores.tiles[m][1], keys.parts[k][m], b + 2);
      }
    }
  }

  JD_DEVICE static void start(Sums &sums) {
#pragma unroll
    for (int m = 0; m < kM; ++m) {
#pragma unroll
      for (int n = 0; n < kHidden2 / 8; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) sums.tiles[m][n][i] = 0.0f;
      }
    }
  }

  // `second`: the tile's rows are units of the second layer; `unit`, of the first, counts from the group's first.
  JD_DEVICE static void second(Sums &sums, Scores &hidden, const char *second, int unit, int, int units_2, char *, int lane) {
    uint32_t a[kM][4];
#pragma unroll
    for (int m = 0; m < kM; ++m) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float *pair = hidden.tiles[m][i / 2] + i % 2 * 2;
        a[m][i] = prim::pack2<T>(pair[0], pair[1]);
      }
    }
    const char *mine = second + SecondTile::offset((lane & 7) + (lane >> 4) * 8, unit / 8 + (lane >> 3 & 1));
#pragma unroll
    for (int n = 0; n < kHidden2 / 8; n += 2) {
      if (n * 8 >= units_2) break;
      uint32_t b[4];
      prim::ldmatrix_x4(b, mine + n * 8 * SecondTile::kPitch);
#pragma unroll
      for (int m = 0; m < kM; ++m) {
        prim::mma_m16n8k16<T>(sums.tiles[m][n], a[m], b);
        prim::mma_m16n8k16<T>(sums.tiles[m][n + 1], a[m], b + 2);
      }
    }
  }
};

// A thread (y, x) of 4 x 8 holds events y, y + 4... and units x, x + 8...; hidden units pass through shared memory within the warp.
template <int kDim, int kUnits2, int kRowsOfThread, int kUnitsInGroup, int kBlocks>
struct DinFmaCore {
  using Element = float;
  static constexpr int kD = kDim, kHidden2 = kUnits2, kGroup = kUnitsInGroup, kCandidates = 1, kMinBlocks = kBlocks;
  static constexpr int kWarps = 4, kEvents = 4 * kRowsOfThread, kChunk = kGroup, kGranule = 8;
  static constexpr bool kKeysInRegisters = false;
  using KeyTile = DinTile<float, kD>;
  using SecondTile = DinTile<float, kGroup>;
  static constexpr int kHiddenBytes = kEvents * SecondTile::kPitch;

  struct Keys {
    const char *rows;
  };
  template <int kColumns>
  struct Outputs {
    static constexpr int kRows = kRowsOfThread, kCount = kColumns / 8;
    float values[kRows][kCount];
    JD_DEVICE float &at(int r, int i) { return values[r][i]; }
  };
  using Scores = Outputs<kChunk>;
  using Sums = Outputs<kHidden2>;
  JD_DEVICE static int row(int lane, int r) { return r * 4 + lane / 8; }
  JD_DEVICE static int unit(int lane, int i) { return i * 8 + (lane & 7); }
  JD_DEVICE static bool leads(int lane) { return (lane & 7) == 0; }
  JD_DEVICE static float add(float x) {
    x += prim::shfl_xor(x, 1);
    x += prim::shfl_xor(x, 2);
    return x + prim::shfl_xor(x, 4);
  }

  JD_DEVICE static void load_keys(Keys &keys, const char *rows, int, int) { keys.rows = rows; }

  template <int kColumns>
  JD_DEVICE static void clear(Outputs<kColumns> &out) {
#pragma unroll
    for (int r = 0; r < kRowsOfThread; ++r) {
#pragma unroll
      for (int i = 0; i < kColumns / 8; ++i) out.values[r][i] = 0.0f;
    }
  }
  JD_DEVICE static void start(Sums &sums) { clear(sums); }

  JD_DEVICE static void first(Scores &scores, const Keys &keys, const char *folded, int depth, int units, int lane) {
    clear(scores);
    multiply<KeyTile, KeyTile>(scores, keys.rows, folded, 0, depth, units, lane);
  }

  JD_DEVICE static void second(Sums &sums, Scores &hidden, const char *second, int unit_of_group, int units, int units_2, char *scratch,
                               int lane) {
    const int depth = units < kChunk ? units : kChunk;
#pragma unroll
    for (int r = 0; r < kRowsOfThread; ++r) {
#pragma unroll
      for (int i = 0; i < Scores::kCount; ++i) {
        *reinterpret_cast<float *>(scratch + SecondTile::offset(row(lane, r), 0) + unit(lane, i) * 4) = hidden.values[r][i];
      }
    }
    prim::sync_warp();
    multiply<SecondTile, SecondTile>(sums, scratch, second, unit_of_group / 4, depth, units_2, lane);
    prim::sync_warp();  // before the next step's
  }

 private:
  // out += rows . weights^T over `depth` columns, a multiple of 4; of the weights from chunk `first` on, and `columns` rows of them.
  template <class RowTile, class WeightTile, int kColumns>
  JD_DEVICE static void multiply(Outputs<kColumns> &out, const char *rows, const char *weights, int first, int depth, int columns,
                                 int lane) {
    const char *my_rows = rows + RowTile::offset(row(lane, 0), 0);
    const char *my_weights = weights + WeightTile::offset(unit(lane, 0), first);
    for (int chunk = 0; chunk * 4 < depth; ++chunk) {
      float a[kRowsOfThread][4];
#pragma unroll
      for (int r = 0; r < kRowsOfThread; ++r) load(a[r], my_rows + RowTile::offset(r * 4, chunk));
#pragma unroll
      for (int i = 0; i < kColumns / 8; ++i) {
        if (i * 8 >= columns) break;
        float b[4];
        load(b, my_weights + WeightTile::offset(i * 8, chunk));
#pragma unroll
        for (int r = 0; r < kRowsOfThread; ++r) {
#pragma unroll
          for (int e = 0; e < 4; ++e) out.values[r][i] = prim::fma(a[r][e], b[e], out.values[r][i]);
        }
      }
    }
  }

  JD_DEVICE static void load(float (&to)[4], const char *from) {
    const prim::Vec4u v = prim::load_shared16(from);
    to[0] = prim::as_float(v.x);
    to[1] = prim::as_float(v.y);
    to[2] = prim::as_float(v.z);
    to[3] = prim::as_float(v.w);
  }
};

}  // namespace jindou::din

#endif
