// The two products of attention on tiles of f32 with fused multiply-adds, exact f32 throughout: a "core" for the
// kernels, as mma_core.h is for bf16.
//
// A block of 128 threads owns 64 query rows against tiles of 32 keys. Thread (y, x), y = 0..7, x = 0..15, holds rows y,
// y + 8, ..., scores of keys x, x + 16, and every 16th group of output columns: 16 neighbours share a row. For 4
// elements of the inner dimension it reads 10 vectors of 16 bytes and does 64 multiply-adds in the first product, at
// most 16 and 256 in the second: bound by the FMA units, not by shared memory. Weights pass through shared memory
// within half a warp, from the layout of scores to that of outputs. With more than 128 columns it is 32 rows against
// tiles of 16 keys, so that queries and ring fit the 99 KiB of sm_86, sm_89 and sm_120.
//
// Rows are padded by 16 bytes: 8 threads that read a column of 8 neighbouring rows touch all banks.
#ifndef JINDOU_KERNELS_ATTENTION_FMA_CORE_H
#define JINDOU_KERNELS_ATTENTION_FMA_CORE_H

#include "attention/jagged.h"
#include "attention/tile_copy.h"

namespace jindou::attention {

template <int kD>
struct F32Tile {
  using Element = float;
  static constexpr int kChunks = kD / 4;
  static constexpr int kRowBytes = (kD + 4) * 4;
  JD_DEVICE static int offset(int row, int chunk) { return row * kRowBytes + chunk * 16; }
};

template <int kColumns>
struct FmaTraits {
  using Element = float;
  static constexpr int kD = kColumns;
  static constexpr int kRows = kD > 128 ? 32 : 64;
  static constexpr int kKeys = kD > 128 ? 16 : 32;
  static constexpr int kThreads = 128;
  static constexpr int kSlots = 3;
  static constexpr int kMinBlocks = kD <= 64 ? 3 : 2;
};

template <class Traits>
struct FmaCore : Traits {
  using T = Traits;
  using Element = float;
  using Tile = F32Tile<T::kD>;
  using TileCopy = jindou::attention::TileCopy<Tile, T::kThreads>;

  // Floats a row of weights: the two rows a warp writes at once begin 16 banks apart.
  static constexpr int kWeightStride = T::kKeys / 32 * 32 + 16;
  static constexpr int kQueryBytes = T::kRows * Tile::kRowBytes;
  static constexpr int kSlotBytes = T::kKeys * Tile::kRowBytes;
  static constexpr int kWeightBytes = T::kRows * kWeightStride * 4;
  static constexpr int kWarpRows = T::kRows;  // a warp's rows are spread over the tile

  static constexpr int kX = 16, kY = T::kThreads / kX;
  static constexpr int kVector = T::kD % 64 == 0 ? 4 : 2;  // neighbouring output columns

  struct Place {
    int thread, x, y;
    static constexpr int first_row = 0;

    JD_DEVICE Place() : Place(prim::opaque_thread_index()) {}
    JD_DEVICE explicit Place(int t) : thread(t), x(t & (kX - 1)), y(t / kX) {}

    JD_DEVICE int row(int r) const { return r * kY + y; }
    JD_DEVICE int column(int c) const { return (c / kVector * kX + x) * kVector + c % kVector; }
    JD_DEVICE int key(int i) const { return i * kX + x; }
    JD_DEVICE bool leads() const { return x == 0; }

    JD_DEVICE static float add(float v) {
#pragma unroll
      for (int step = kX / 2; step > 0; step /= 2) v += prim::shfl_xor(v, step);
      return v;
    }
    JD_DEVICE static float highest(float v) {
#pragma unroll
      for (int step = kX / 2; step > 0; step /= 2) v = prim::max(v, prim::shfl_xor(v, step));
      return v;
    }
  };

  struct Scores {
    static constexpr int kRows = T::kRows / kY;
    static constexpr int kCount = T::kKeys / kX;
    float values[kRows][kCount];

    JD_DEVICE float &at(int r, int i) { return values[r][i]; }
  };

  struct Accumulators {
    static constexpr int kRows = T::kRows / kY;
    static constexpr int kColumns = T::kD / kX;
    float values[kRows][kColumns];

    JD_DEVICE float &out(int r, int c) { return values[r][c]; }
  };

  using Queries = const char *;
  JD_DEVICE static Queries queries(const char *tile) { return tile; }

  JD_DEVICE static void multiply_keys(Scores &scores, Queries queries, const char *keys,
                                      const HeadShape &shape) {
    const int chunks = shape.dim_qk / 4;
    const Place place;
    const char *query_rows = queries + Tile::offset(place.row(0), 0);
    const char *key_rows = keys + Tile::offset(place.key(0), 0);
#pragma unroll
    for (int r = 0; r < Scores::kRows; ++r) {
#pragma unroll
      for (int i = 0; i < Scores::kCount; ++i) scores.values[r][i] = 0.0f;
    }
#pragma unroll 4
    for (int chunk = 0; chunk < chunks; ++chunk) {
      float k[Scores::kCount][4];
#pragma unroll
      for (int i = 0; i < Scores::kCount; ++i) load<4>(k[i], key_rows + Tile::offset(i * kX, chunk));
#pragma unroll
      for (int r = 0; r < Scores::kRows; ++r) {
        float q[4];
        load<4>(q, query_rows + Tile::offset(r * kY, chunk));
#pragma unroll
        for (int i = 0; i < Scores::kCount; ++i) {
#pragma unroll
          for (int e = 0; e < 4; ++e) scores.values[r][i] = prim::fma(q[e], k[i][e], scores.values[r][i]);
        }
      }
    }
  }

  JD_DEVICE static void multiply_values(Accumulators &acc, Scores &weights, const char *values, char *scratch,
                                        const HeadShape &) {
    const Place place;
    float *mine = reinterpret_cast<float *>(scratch) + place.y * kWeightStride;
#pragma unroll
    for (int r = 0; r < Scores::kRows; ++r) {
#pragma unroll
      for (int i = 0; i < Scores::kCount; ++i) mine[r * kY * kWeightStride + place.key(i)] = weights.values[r][i];
    }
    prim::sync_warp();  // half a warp reads what it wrote; the loop's barriers come before the next tile's weights
    const char *columns = values + place.x * kVector * 4;
#pragma unroll 2
    for (int key = 0; key < T::kKeys; key += 4) {
      float w[Scores::kRows][4];
#pragma unroll
      for (int r = 0; r < Scores::kRows; ++r)
        load<4>(w[r], reinterpret_cast<const char *>(mine + r * kY * kWeightStride + key));
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        float v[Accumulators::kColumns];
#pragma unroll
        for (int c = 0; c < Accumulators::kColumns; c += kVector)
          load<kVector>(*reinterpret_cast<float(*)[kVector]>(v + c), columns + Tile::offset(key + k, 0) + c * kX * 4);
#pragma unroll
        for (int r = 0; r < Scores::kRows; ++r) {
#pragma unroll
          for (int c = 0; c < Accumulators::kColumns; ++c)
            acc.values[r][c] = prim::fma(w[r][k], v[c], acc.values[r][c]);
        }
      }
    }
  }

  // For a softmax: scale goes into the queries, each thread scaling what it copied.
  JD_DEVICE static float prepare_softmax(char *queries, float scale) {
    TileCopy(prim::opaque_thread_index()).template for_each_chunk<T::kRows>([&](int, int, int offset) {
      float q[4];
      load<4>(q, queries + offset);
      prim::store_shared16(queries + offset, prim::Vec4u{prim::as_uint(q[0] * scale), prim::as_uint(q[1] * scale),
                                                         prim::as_uint(q[2] * scale), prim::as_uint(q[3] * scale)});
    });
    return 1.0f;
  }

  // One thread's part of a row in memory, every 16th chunk; past the row's dim zeros.
  struct RowPart {
    prim::Vec4u chunks[(Tile::kChunks + kX - 1) / kX];
  };
  JD_DEVICE static RowPart load_part(const Place &place, const Element *row, const HeadShape &shape) {
    RowPart part;
#pragma unroll
    for (int i = 0; i < (Tile::kChunks + kX - 1) / kX; ++i) {
      const int chunk = i * kX + place.x;
      part.chunks[i] = prim::Vec4u{0, 0, 0, 0};
      if (chunk < shape.dim_qk / 4) part.chunks[i] = prim::load16(row + chunk * 4);
    }
    return part;
  }

  // One thread's part of query row . key.
  JD_DEVICE static float dot(const char *queries, const Place &place, int row, const RowPart &key, const HeadShape &) {
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < (Tile::kChunks + kX - 1) / kX; ++i) {
      const int chunk = i * kX + place.x;
      if (Tile::kChunks % kX != 0 && chunk >= Tile::kChunks) continue;
      float q[4];
      load<4>(q, queries + Tile::offset(row, chunk));
      const prim::Vec4u k = key.chunks[i];
      sum = prim::fma(q[0], prim::as_float(k.x), sum);
      sum = prim::fma(q[1], prim::as_float(k.y), sum);
      sum = prim::fma(q[2], prim::as_float(k.z), sum);
      sum = prim::fma(q[3], prim::as_float(k.w), sum);
    }
    return sum;
  }

 private:
  // Shared memory -> registers, one vector.
  template <int kCount>
  JD_DEVICE static void load(float (&target)[kCount], const char *source) {
    static_assert(kCount == 2 || kCount == 4);
    if constexpr (kCount == 4) {
      const prim::Vec4u v = prim::load_shared16(source);
      target[0] = prim::as_float(v.x);
      target[1] = prim::as_float(v.y);
      target[2] = prim::as_float(v.z);
      target[3] = prim::as_float(v.w);
    } else {
      const prim::Vec2u v = prim::load_shared8(source);
      target[0] = prim::as_float(v.x);
      target[1] = prim::as_float(v.y);
    }
  }
};

}  // namespace jindou::attention

#endif
