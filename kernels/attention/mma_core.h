// The two products of attention on tiles of bf16 or f16, with mma.sync m16n8k16 (sm_80 and up): a "core" for the
// kernels, as fma_core.h is for f32. Both dtypes lie in shared memory alike; which one it is matters to the products and
// to the rounding of the weights alone. Those are a tenth of a kernel's code, so every kernel holds them twice, behind a
// uniform branch a tile, instead of being compiled twice.
//
// A block owns kRows = 64 * kMTiles query rows, each of its four warps 16 * kMTiles of them with all keys of a tile and
// all output columns, so that scores, weights and outputs never leave its registers: the accumulators of the first
// product are, element for element, the left operand of the second. With kMTiles = 2 each fragment of keys and values
// read from shared memory feeds two products; one would need 2 cycles of shared memory (256 bytes at 128 bytes a cycle)
// for each product, more than the tensor cores of sm_90 take for it.
//
// Fragment of thread `lane` (PTX ISA, mma.m16n8k16), g = lane / 4, t = lane % 4:
//   accumulator  c0 c1: row g, columns 2t, 2t+1;  c2 c3: row g + 8
//   left         a0: row g, k 2t..;  a1: row g + 8;  a2: row g, k 2t+8..;  a3: row g + 8, k 2t+8..
//   right        b0: k 2t.., column g;  b1: k 2t+8..
#ifndef JINDOU_KERNELS_ATTENTION_MMA_CORE_H
#define JINDOU_KERNELS_ATTENTION_MMA_CORE_H

#include "attention/jagged.h"
#include "attention/tile_copy.h"

namespace jindou::attention {

// Rows of kD 16-bit elements in 16-byte chunks, chunks permuted by row so that the 8 rows one ldmatrix phase reads at a column,
// and the 8 chunks a copy writes at once, fall on all 32 banks. Rows of 64 or 128 elements start at bank 0: chunk ^ row
// % 8. Rows of 32 or 96 alternate between two halves of the banks by themselves: chunk ^ row / 2 % 4.
template <int kD>
struct HalfTile {
  static_assert(kD % 32 == 0, "");
  using Element = uint16_t;
  static constexpr int kChunks = kD / 8;
  static constexpr int kRowBytes = kD * 2;

  JD_DEVICE static int swizzle(int row) { return kChunks % 8 == 0 ? row & 7 : (row >> 1) & 3; }
  JD_DEVICE static int offset(int row, int chunk) { return row * kRowBytes + (chunk ^ swizzle(row)) * 16; }
};

// Where lane reads row `row` of a tile at chunks c, c ^ 2, c ^ 4...: the swizzle is an exclusive or, hence so is a
// step.
template <int kD>
class TileReader {
 public:
  JD_DEVICE TileReader(int row, int chunk)
      : row_(row * HalfTile<kD>::kRowBytes), chunk_((chunk ^ HalfTile<kD>::swizzle(row)) * 16) {}

  // `rows` a multiple of 8, `chunks` even.
  JD_DEVICE const char *at(const char *tile, int rows, int chunks) const {
    return tile + row_ + rows * HalfTile<kD>::kRowBytes + (chunk_ ^ (chunks * 16));
  }

 private:
  int row_, chunk_;
};

// The queries of one warp as left operands: kept in registers for the whole loop over keys when the head is narrow,
// read from shared memory for each tile of keys when registers are dear.
template <int kMTiles, int kD, bool kInRegisters>
class QueryFragments {
 public:
  JD_DEVICE QueryFragments(const char *tile, int first_row, int lane)
      : rows_(tile + first_row * HalfTile<kD>::kRowBytes) {
    if constexpr (kInRegisters) {
      const TileReader<kD> reader(lane & 15, lane >> 4);
#pragma unroll
      for (int k = 0; k < kD / 16; ++k) {
#pragma unroll
        for (int m = 0; m < kMTiles; ++m) prim::ldmatrix_x4(kept_[k][m], reader.at(rows_, m * 16, k * 2));
      }
    }
  }

  JD_DEVICE void get(uint32_t (&a)[4], int k, int m, const TileReader<kD> &reader) const {
    if constexpr (kInRegisters) {
#pragma unroll
      for (int i = 0; i < 4; ++i) a[i] = kept_[k][m][i];
    } else {
      prim::ldmatrix_x4(a, reader.at(rows_, m * 16, k * 2));
    }
  }

 private:
  const char *rows_;
  uint32_t kept_[kInRegisters ? kD / 16 : 1][kMTiles][4];
};

// scores[m][n] = queries . keys^T over all kD elements, of type T.
template <class T, int kMTiles, int kNTiles, int kD, bool kInRegisters>
JD_DEVICE void multiply_queries_keys(float (&scores)[kMTiles][kNTiles][4],
                                     const QueryFragments<kMTiles, kD, kInRegisters> &queries, const char *keys,
                                     int lane) {
  const TileReader<kD> query_reader(lane & 15, lane >> 4);
  const TileReader<kD> key_reader((lane & 7) + (lane >> 4) * 8, lane >> 3 & 1);
#pragma unroll
  for (int m = 0; m < kMTiles; ++m) {
#pragma unroll
    for (int n = 0; n < kNTiles; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) scores[m][n][i] = 0.0f;
    }
  }
#pragma unroll
  for (int k = 0; k < kD / 16; ++k) {
    uint32_t a[kMTiles][4];
#pragma unroll
    for (int m = 0; m < kMTiles; ++m) queries.get(a[m], k, m, query_reader);
#pragma unroll
    for (int n = 0; n < kNTiles; n += 2) {
      uint32_t b[4];  // keys n*8 .. n*8+15: two right operands
      prim::ldmatrix_x4(b, key_reader.at(keys, n * 8, k * 2));
#pragma unroll
      for (int m = 0; m < kMTiles; ++m) {
        prim::mma_m16n8k16<T>(scores[m][n], a[m], b);
        prim::mma_m16n8k16<T>(scores[m][n + 1], a[m], b + 2);
      }
    }
  }
}

// out += weights . values; the weights are rounded to T, the values' type, on the way.
template <class T, int kMTiles, int kNTiles, int kD>
JD_DEVICE void multiply_weights_values(float (&out)[kMTiles][kD / 8][4], const float (&weights)[kMTiles][kNTiles][4],
                                       const char *values, int lane) {
  const TileReader<kD> reader(lane & 15, lane >> 4);
#pragma unroll
  for (int k = 0; k < kNTiles; k += 2) {  // 16 keys
    uint32_t a[kMTiles][4];
#pragma unroll
    for (int m = 0; m < kMTiles; ++m) {
      a[m][0] = prim::pack2<T>(weights[m][k][0], weights[m][k][1]);
      a[m][1] = prim::pack2<T>(weights[m][k][2], weights[m][k][3]);
      a[m][2] = prim::pack2<T>(weights[m][k + 1][0], weights[m][k + 1][1]);
      a[m][3] = prim::pack2<T>(weights[m][k + 1][2], weights[m][k + 1][3]);
    }
#pragma unroll
    for (int n = 0; n < kD / 8; n += 2) {
      uint32_t b[4];  // columns n*8 .. n*8+15
      prim::ldmatrix_x4_trans(b, reader.at(values, k * 8, n));
#pragma unroll
      for (int m = 0; m < kMTiles; ++m) {
        prim::mma_m16n8k16<T>(out[m][n], a[m], b);
        prim::mma_m16n8k16<T>(out[m][n + 1], a[m], b + 2);
      }
    }
  }
}

// Up to 128 columns there are tiles of 64 and of 128 rows; beyond, of 64: 256 columns of as many rows are half a thread's
// registers, and queries and ring 80 KiB of shared memory, two blocks of sm_80 and one of sm_86, sm_89 and sm_120.
template <int kColumns, int kTileRows>
struct MmaTraits {
  using Element = uint16_t;  // the bits of a bf16 or f16
  static constexpr int kD = kColumns;
  static constexpr int kRows = kTileRows;
  static constexpr int kKeys = kD >= 96 ? 32 : 64;  // 128 rows x 64 keys with their outputs do not fit 255 registers
  static constexpr int kThreads = 128;
  static constexpr int kSlots = kD >= 256 ? 3 : kD >= 192 ? 4 : kD >= 96 ? 6 : 4;
  static constexpr int kMinBlocks = kRows == 128 || kD > 128 ? 2 : 3;  // 255 or 168 registers a thread
  static constexpr bool kQueriesInRegisters = kD * kRows <= 64 * 64;
};

template <class Traits>
struct MmaCore : Traits {
  using T = Traits;
  using Element = uint16_t;
  using Tile = HalfTile<T::kD>;

  static constexpr int kMTiles = T::kRows / 64;
  static constexpr int kKeyTiles = T::kKeys / 8;
  static constexpr int kQueryBytes = T::kRows * Tile::kRowBytes;
  static constexpr int kSlotBytes = T::kKeys * Tile::kRowBytes;
  static constexpr int kWeightBytes = 0;  // weights stay in registers

  using TileCopy = jindou::attention::TileCopy<Tile, T::kThreads>;

  // Which rows and columns of the block's tile a thread holds: row r = 2 * m + half of tile m, columns 2 * n and 2 * n
  // + 1 of tile n. The four threads of a quad share a row.
  struct Place {
    int thread, lane, first_row;  // first_row: of its warp
    int quad;

    JD_DEVICE Place() : Place(prim::opaque_thread_index()) {}
    JD_DEVICE explicit Place(int t) : thread(t), lane(t & 31), first_row((t >> 5) * kMTiles * 16), quad(t & 3) {}

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
  static constexpr int kWarpRows = kMTiles * 16;  // rows [place.first_row, + kWarpRows) belong to one warp

  struct Scores {
    static constexpr int kRows = kMTiles * 2;
    static constexpr int kCount = T::kKeys / 4;  // a row, of keys place.key(i)
    float tiles[kMTiles][kKeyTiles][4];

    JD_DEVICE float &at(int r, int i) { return tiles[r / 2][i / 2][r % 2 * 2 + i % 2]; }
  };

  struct Accumulators {
    static constexpr int kRows = kMTiles * 2;
    static constexpr int kColumns = T::kD / 4;
    float tiles[kMTiles][T::kD / 8][4];

    JD_DEVICE float &out(int r, int c) { return tiles[r / 2][c / 2][r % 2 * 2 + c % 2]; }
  };

  using Queries = QueryFragments<kMTiles, T::kD, T::kQueriesInRegisters>;
  JD_DEVICE static Queries queries(const char *tile) {
    const Place place;
    return Queries(tile, place.first_row, place.lane);
  }

  JD_DEVICE static void multiply_keys(Scores &scores, const Queries &queries, const char *keys, const HeadShape &shape) {
    const int lane = prim::opaque_thread_index() & 31;
    if (shape.dtype == JD_F16) {
      multiply_queries_keys<prim::f16>(scores.tiles, queries, keys, lane);
    } else {
      multiply_queries_keys<prim::bf16>(scores.tiles, queries, keys, lane);
    }
  }

  JD_DEVICE static void multiply_values(Accumulators &acc, Scores &weights, const char *values, char *,
                                        const HeadShape &shape) {
    const int lane = prim::opaque_thread_index() & 31;
    if (shape.dtype == JD_F16) {
      multiply_weights_values<prim::f16, kMTiles, kKeyTiles, T::kD>(acc.tiles, weights.tiles, values, lane);
    } else {
      multiply_weights_values<prim::bf16, kMTiles, kKeyTiles, T::kD>(acc.tiles, weights.tiles, values, lane);
    }
  }

  // For a softmax, whose scale must be positive: for a negative one the queries change sign, each thread negating what
  // it copied. Scale 0 weighs all keys alike; a hidden score of -inf must stay -inf, so the smallest normal number
  // stands for 0.
  JD_DEVICE static float prepare_softmax(char *queries, float scale) {
    if (scale < 0.0f) {
      TileCopy(prim::opaque_thread_index()).template for_each_chunk<T::kRows>([&](int, int, int offset) {
        prim::Vec4u words = prim::load_shared16(queries + offset);
        words.x ^= 0x80008000u;
        words.y ^= 0x80008000u;
        words.z ^= 0x80008000u;
        words.w ^= 0x80008000u;
        prim::store_shared16(queries + offset, words);
      });
    }
    return prim::max(prim::abs(scale), 1.17549435e-38f);
  }

  // One thread's part of a row in memory, every fourth chunk; past the row's dim zeros. All its loads are on their way before the
  // first is used.
  struct RowPart {
    prim::Vec4u chunks[Tile::kChunks / 4];
  };
  JD_DEVICE static RowPart load_part(const Place &place, const Element *row, const HeadShape &shape) {
    RowPart part;
#pragma unroll
    for (int i = 0; i < Tile::kChunks / 4; ++i) {
      const int chunk = i * 4 + place.quad;
      part.chunks[i] = prim::Vec4u{0, 0, 0, 0};
      if (chunk < shape.dim_qk / 8) part.chunks[i] = prim::load16(row + chunk * 8);
    }
    return part;
  }

  // One thread's part of query row . key.
  JD_DEVICE static float dot(const char *queries, const Place &place, int row, const RowPart &key, const HeadShape &shape) {
    return shape.dtype == JD_F16 ? dot_of<prim::f16>(queries, place, row, key) : dot_of<prim::bf16>(queries, place, row, key);
  }

 private:
  template <class E>
  JD_DEVICE static float dot_of(const char *queries, const Place &place, int row, const RowPart &key) {
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < Tile::kChunks / 4; ++i) {
      const prim::Vec4u a = prim::load_shared16(queries + Tile::offset(row, i * 4 + place.quad)), b = key.chunks[i];
      sum = add_products<E>(a.x, b.x, sum);
      sum = add_products<E>(a.y, b.y, sum);
      sum = add_products<E>(a.z, b.z, sum);
      sum = add_products<E>(a.w, b.w, sum);
    }
    return sum;
  }
  template <class E>
  JD_DEVICE static float add_products(uint32_t a, uint32_t b, float sum) {
    float a0, a1, b0, b1;
    prim::unpack2<E>(a, a0, a1);
    prim::unpack2<E>(b, b0, b1);
    return prim::fma(a1, b1, prim::fma(a0, b0, sum));
  }
};

}  // namespace jindou::attention

#endif
