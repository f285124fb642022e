// The two products of decode_attention for 16 query rows, one warp at a time: "cores" for decode_attention.h.
//
// DecodeMmaCore, 16-bit: mma.sync m16n8k16. A warp holds its 16 rows against tiles of 16 or 32 keys; scores become weights in
// registers and are the left operand of the second product. Thread `lane` holds rows lane / 4 and lane / 4 + 8.
// DecodeFmaCore, f32: fused multiply-adds against tiles of 8 keys. Thread `lane` holds the scores of key lane % 8 and rows lane / 8,
// + 4, + 8, + 12; weights pass through shared memory of the warp to threads that hold columns lane, lane + 32... of all rows.
//
// Both give: Tile (where 16-byte chunks of a row lie), Scores (kRows, kCount; at(r, i), of row(r), key(i)), start(), multiply_keys,
// highest/add over the threads of a row, scale_rows (outputs by factors of rows) and multiply_values, store (outputs to [16][kD]).
#ifndef JINDOU_KERNELS_DECODE_DECODE_CORE_H
#define JINDOU_KERNELS_DECODE_DECODE_CORE_H

#include "primitives/primitives.h"

namespace jindou::decode {

constexpr int kTileRows = 16;

// Rows of 16-byte chunks, permuted so that 8 neighbouring rows at one chunk fall on all banks. Rows are 128 bytes and more.
template <class T, int kDim>
struct DecodeTile {
  static constexpr int kElements = 16 / static_cast<int>(sizeof(T));  // of a chunk
  static constexpr int kChunks = kDim / kElements;
  static constexpr int kRowBytes = kDim * static_cast<int>(sizeof(T));
  static_assert(kChunks % 8 == 0, "");
  JD_DEVICE static int offset(int row, int chunk) { return row * kRowBytes + ((chunk ^ (row & 7)) * 16); }
};

template <class T, int kDim>
struct DecodeMmaCore {
  using Element = T;
  static constexpr int kD = kDim;
  static constexpr int kKeys = kD == 64 ? 32 : 16;
  static constexpr int kWarps = kD == 256 ? 2 : 4;
  static constexpr int kSlots = kD == 256 ? 3 : 4;
  static constexpr int kMinBlocks = kD == 256 ? 2 : 3;
  static constexpr int kWeightBytes = 0;
  using Tile = DecodeTile<T, kD>;

  struct Scores {
    static constexpr int kRows = 2, kCount = kKeys / 4;
    float tiles[kKeys / 8][4];
    JD_DEVICE float &at(int r, int i) { return tiles[i / 2][r * 2 + i % 2]; }
  };
  JD_DEVICE static int row(int lane, int r) { return lane / 4 + r * 8; }
  JD_DEVICE static int key(int lane, int i) { return i / 2 * 8 + (lane & 3) * 2 + i % 2; }
  JD_DEVICE static bool leads(int lane) { return (lane & 3) == 0; }
  JD_DEVICE static float highest(float x) {
    x = prim::max(x, prim::shfl_xor(x, 1));
    return prim::max(x, prim::shfl_xor(x, 2));
  }
  JD_DEVICE static float add(float x) {
    x += prim::shfl_xor(x, 1);
    return x + prim::shfl_xor(x, 2);
  }

  struct Outputs {
    float tiles[kD / 8][4];
  };
  JD_DEVICE static void start(Outputs &out) {
#pragma unroll
    for (int n = 0; n < kD / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) out.tiles[n][i] = 0.0f;
    }
  }

  JD_DEVICE static void multiply_keys(Scores &scores, const char *queries, const char *keys, int lane) {
#pragma unroll
    for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) scores.tiles[n][i] = 0.0f;
    }
#pragma unroll 4
    for (int k = 0; k < kD / 16; ++k) {
      uint32_t a[4];
      prim::ldmatrix_x4(a, queries + Tile::offset(lane & 15, k * 2 + (lane >> 4)));
#pragma unroll
      for (int n = 0; n < kKeys / 8; n += 2) {
        uint32_t b[4];  // keys n*8 .. n*8+15: two right operands
        prim::ldmatrix_x4(b, keys + Tile::offset(n * 8 + (lane & 7) + (lane >> 4) * 8, k * 2 + (lane >> 3 & 1)));
        prim::mma_m16n8k16<T>(scores.tiles[n], a, b);
        prim::mma_m16n8k16<T>(scores.tiles[n + 1], a, b + 2);
      }
    }
  }

  // Outputs of row(r) times factor[r].
  JD_DEVICE static void scale_rows(Outputs &out, const float (&factor)[2], char *, int) {
#pragma unroll
    for (int n = 0; n < kD / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) out.tiles[n][i] *= factor[i / 2];
    }
  }

  JD_DEVICE static void multiply_values(Outputs &out, Scores &weights, const char *values, char *, int lane) {
#pragma unroll
    for (int k = 0; k < kKeys / 8; k += 2) {  // 16 keys
      const uint32_t a[4] = {prim::pack2<T>(weights.tiles[k][0], weights.tiles[k][1]),
                             prim::pack2<T>(weights.tiles[k][2], weights.tiles[k][3]),
                             prim::pack2<T>(weights.tiles[k + 1][0], weights.tiles[k + 1][1]),
                             prim::pack2<T>(weights.tiles[k + 1][2], weights.tiles[k + 1][3])};
#pragma unroll
      for (int n = 0; n < kD / 8; n += 2) {
        uint32_t b[4];  // columns n*8 .. n*8+15
        prim::ldmatrix_x4_trans(b, values + Tile::offset(k * 8 + (lane & 15), n + (lane >> 4)));
        prim::mma_m16n8k16<T>(out.tiles[n], a, b);
        prim::mma_m16n8k16<T>(out.tiles[n + 1], a, b + 2);
      }
    }
  }

  JD_DEVICE static void store(const Outputs &out, float *rows, int lane) {
#pragma unroll
    for (int n = 0; n < kD / 8; ++n) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        prim::store_shared8(rows + row(lane, r) * kD + n * 8 + (lane & 3) * 2,
                            prim::Vec2u{prim::as_uint(out.tiles[n][r * 2]), prim::as_uint(out.tiles[n][r * 2 + 1])});
      }
    }
  }
};

template <int kDim>
struct DecodeFmaCore {
  using Element = float;
  static constexpr int kD = kDim;
  static constexpr int kKeys = 8;
  static constexpr int kWarps = kD == 256 ? 2 : 4;
  static constexpr int kSlots = 4;
  static constexpr int kMinBlocks = kD == 64 ? 3 : 2;
  static constexpr int kWeightBytes = (kKeys + 1) * kTileRows * 4;  // weights [key][row], then a factor a row
  using Tile = DecodeTile<float, kD>;

  struct Scores {
    static constexpr int kRows = 4, kCount = 1;
    float values[4];
    JD_DEVICE float &at(int r, int) { return values[r]; }
  };
  JD_DEVICE static int row(int lane, int r) { return lane / 8 + r * 4; }
  JD_DEVICE static int key(int lane, int) { return lane & 7; }
  JD_DEVICE static bool leads(int lane) { return (lane & 7) == 0; }
  JD_DEVICE static float highest(float x) {
    x = prim::max(x, prim::shfl_xor(x, 1));
    x = prim::max(x, prim::shfl_xor(x, 2));
    return prim::max(x, prim::shfl_xor(x, 4));
  }
  JD_DEVICE static float add(float x) {
    x += prim::shfl_xor(x, 1);
    x += prim::shfl_xor(x, 2);
    return x + prim::shfl_xor(x, 4);
  }

  struct Outputs {
    float values[kTileRows][kD / 32];  // columns (i / 2 * 32 + lane) * 2 + i % 2
  };
  JD_DEVICE static void start(Outputs &out) {
#pragma unroll
    for (int r = 0; r < kTileRows; ++r) {
#pragma unroll
      for (int c = 0; c < kD / 32; ++c) out.values[r][c] = 0.0f;
    }
  }

  JD_DEVICE static void multiply_keys(Scores &scores, const char *queries, const char *keys, int lane) {
#pragma unroll
    for (int r = 0; r < 4; ++r) scores.values[r] = 0.0f;
#pragma unroll 4
    for (int chunk = 0; chunk < Tile::kChunks; ++chunk) {
      const prim::Vec4u k = prim::load_shared16(keys + Tile::offset(key(lane, 0), chunk));
#pragma unroll
      for (int r = 0; r < 4; ++r) {
        const prim::Vec4u q = prim::load_shared16(queries + Tile::offset(row(lane, r), chunk));
        float &s = scores.values[r];
        s = prim::fma(prim::as_float(q.x), prim::as_float(k.x), s);
        s = prim::fma(prim::as_float(q.y), prim::as_float(k.y), s);
        s = prim::fma(prim::as_float(q.z), prim::as_float(k.z), s);
        s = prim::fma(prim::as_float(q.w), prim::as_float(k.w), s);
      }
    }
  }

  JD_DEVICE static void scale_rows(Outputs &out, const float (&factor)[4], char *scratch, int lane) {
    float *factors = reinterpret_cast<float *>(scratch) + kKeys * kTileRows;
    if (leads(lane)) {
#pragma unroll
      for (int r = 0; r < 4; ++r) factors[row(lane, r)] = factor[r];
    }
    prim::sync_warp();
#pragma unroll
    for (int r = 0; r < kTileRows; ++r) {
      const float f = factors[r];
#pragma unroll
      for (int c = 0; c < kD / 32; ++c) out.values[r][c] *= f;
    }
    prim::sync_warp();
  }

  JD_DEVICE static void multiply_values(Outputs &out, Scores &weights, const char *values, char *scratch, int lane) {
    float *all = reinterpret_cast<float *>(scratch);
#pragma unroll
    for (int r = 0; r < 4; ++r) all[key(lane, 0) * kTileRows + row(lane, r)] = weights.values[r];
    prim::sync_warp();
#pragma unroll 2
    for (int k = 0; k < kKeys; ++k) {
      float w[kTileRows];
#pragma unroll
      for (int r = 0; r < kTileRows; r += 4) {
        const prim::Vec4u four = prim::load_shared16(all + k * kTileRows + r);
        w[r] = prim::as_float(four.x);
        w[r + 1] = prim::as_float(four.y);
        w[r + 2] = prim::as_float(four.z);
        w[r + 3] = prim::as_float(four.w);
      }
#pragma unroll
      for (int c = 0; c < kD / 32; c += 2) {
        const int column = (c / 2 * 32 + lane) * 2;
        const prim::Vec2u v = prim::load_shared8(values + Tile::offset(k, column / 4) + column % 4 * 4);
#pragma unroll
        for (int r = 0; r < kTileRows; ++r) {
          out.values[r][c] = prim::fma(w[r], prim::as_float(v.x), out.values[r][c]);
          out.values[r][c + 1] = prim::fma(w[r], prim::as_float(v.y), out.values[r][c + 1]);
        }
      }
    }
    prim::sync_warp();  // before the next tile's weights
  }

  JD_DEVICE static void store(const Outputs &out, float *rows, int lane) {
#pragma unroll
    for (int r = 0; r < kTileRows; ++r) {
#pragma unroll
      for (int c = 0; c < kD / 32; c += 2) {
        prim::store_shared8(rows + r * kD + (c / 2 * 32 + lane) * 2,
                            prim::Vec2u{prim::as_uint(out.values[r][c]), prim::as_uint(out.values[r][c + 1])});
      }
    }
  }
};

}  // namespace jindou::decode

#endif
