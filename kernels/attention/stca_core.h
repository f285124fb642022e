// The arithmetic of stca_attention.h for rows of up to 1,024 columns, which no warp's registers hold: a block's eight warps share the columns. A
// warp multiplies its eighth of the queries with its eighth of the events, which gives a part of every score; the parts are added up in shared
// memory; and it adds the weighted events to its eighth of the outputs. So a tile of events is read from memory once and from shared memory twice.
//
// StcaMmaCore, bf16 and f16: 32 rows against 16 events, mma.sync m16n8k16 (fragments: mma_core.h). With 1,024 columns a thread keeps 128 outputs and
// 64 words of queries. Each fragment of events feeds the products of 32 rows; there is no room for more.
// StcaFmaCore, f32: 8 rows against 8 events, so that queries and two tiles of events are 96 KiB, what every GPU has. For scores the lanes of a
// warp are 2 x 4 x 4 over rows, events and columns; for outputs each has neighbouring columns.
//
// A core has: Tile (where chunks of a row lie), Queries and load_queries, multiply_keys: this warp's part of the scores; store_weights, and
// multiply_values; Accumulators and Place as in tile_results.h.
#ifndef JINDOU_KERNELS_ATTENTION_STCA_CORE_H
#define JINDOU_KERNELS_ATTENTION_STCA_CORE_H

#include "attention/mma_core.h"

namespace jindou::attention {

constexpr int kStcaThreads = 256;
constexpr int kStcaWarps = kStcaThreads / 32;
constexpr int kStcaScoreLanes = 8;  // threads that share a row of scores between the two products

template <int kColumnsT>
struct StcaMmaCore {
  using Element = uint16_t;
  static constexpr int kD = kColumnsT;
  static constexpr int kThreads = kStcaThreads;
  static constexpr int kRows = 32;
  static constexpr int kKeys = 16;
  static constexpr int kSlice = kD / kStcaWarps;  // columns of a warp
  static constexpr int kMTiles = kRows / 16;
  static constexpr int kChunkElements = 8;
  using Tile = HalfTile<kD>;
  static constexpr int kSlotBytes = kKeys * Tile::kRowBytes;
  static constexpr int kQueryBytes = 0;
  static constexpr int kScoreStride = kKeys + 8;  // floats: four rows of pairs touch all banks
  static constexpr int kScoreParts = kStcaWarps;
  static constexpr int kWeightRowBytes = 48;      // 16 weights, and what makes 8 rows touch all banks
  static constexpr int kWeightBytes = kRows * kWeightRowBytes;

  struct Place {
    int thread, lane, warp, quad;
    JD_DEVICE Place() : Place(prim::opaque_thread_index()) {}
    JD_DEVICE explicit Place(int t) : thread(t), lane(t & 31), warp(t >> 5), quad(t & 3) {}

    JD_DEVICE int row(int r) const { return r * 8 + lane / 4; }
    JD_DEVICE int column(int c) const { return warp * kSlice + c / 2 * 8 + quad * 2 + c % 2; }
    JD_DEVICE bool leads() const { return warp == 0 && quad == 0; }
  };

  struct Accumulators {
    static constexpr int kRows = kMTiles * 2;
    static constexpr int kColumns = kSlice / 4;
    float tiles[kMTiles][kSlice / 8][4];

    JD_DEVICE float &out(int r, int c) { return tiles[r / 2][c / 2][r % 2 * 2 + c % 2]; }
  };

  // This warp's columns of all rows, as left operands, from memory: a quad reads 16 bytes of a row.
  struct Queries {
    uint32_t a[kSlice / 16][kMTiles][4];
  };
  // row_of(local row) -> address of its first element, null for one past the last.
  template <class RowOf>
  JD_DEVICE static void load_queries(Queries &queries, char *, int32_t dim, const RowOf &row_of) {
    const Place place;
#pragma unroll
    for (int r = 0; r < Accumulators::kRows; ++r) {
      const Element *row = row_of(place.row(r));
#pragma unroll
      for (int k = 0; k < kSlice / 16; ++k) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int column = place.warp * kSlice + k * 16 + half * 8 + place.quad * 2;
          queries.a[k][r / 2][half * 2 + r % 2] = row != nullptr && column < dim ? prim::load4(row + column) : 0u;
        }
      }
    }
  }

  // scores[(warp * kRows + row) * kScoreStride + key] = this warp's part.
  JD_DEVICE static void multiply_keys(const Queries &queries, const char *, const char *events, float *scores, int32_t dtype) {
    if (dtype == JD_F16) {
      multiply_keys_as<prim::f16>(queries, events, scores);
    } else {
      multiply_keys_as<prim::bf16>(queries, events, scores);
    }
  }

  // Two neighbouring keys of a row.
  JD_DEVICE static void store_weights(char *weights, int row, int key, const float (&w)[kKeys / kStcaScoreLanes], int32_t dtype) {
    static_assert(kKeys / kStcaScoreLanes == 2, "");
    *reinterpret_cast<uint32_t *>(weights + row * kWeightRowBytes + key * 2) =
        dtype == JD_F16 ? prim::pack2<prim::f16>(w[0], w[1]) : prim::pack2<prim::bf16>(w[0], w[1]);
  }

  JD_DEVICE static void multiply_values(Accumulators &acc, const char *weights, const char *events, int32_t dtype) {
    if (dtype == JD_F16) {
      multiply_values_as<prim::f16>(acc, weights, events);
    } else {
      multiply_values_as<prim::bf16>(acc, weights, events);
    }
  }

 private:
  template <class T>
  JD_DEVICE static void multiply_keys_as(const Queries &queries, const char *events, float *scores) {
    const Place place;
    const TileReader<kD> reader((place.lane & 7) + (place.lane >> 4) * 8, place.lane >> 3 & 1);
    float sums[kMTiles][2][4] = {};
#pragma unroll
    for (int k = 0; k < kSlice / 16; ++k) {
      uint32_t b[4];  // 16 events: two right operands
      prim::ldmatrix_x4(b, reader.at(events, 0, place.warp * (kSlice / 8) + k * 2));
#pragma unroll
      for (int m = 0; m < kMTiles; ++m) {
        prim::mma_m16n8k16<T>(sums[m][0], queries.a[k][m], b);
        prim::mma_m16n8k16<T>(sums[m][1], queries.a[k][m], b + 2);
      }
    }
#pragma unroll
    for (int r = 0; r < Accumulators::kRows; ++r) {
#pragma unroll
      for (int n = 0; n < 2; ++n) {
        prim::store_shared8(scores + (place.warp * kRows + place.row(r)) * kScoreStride + n * 8 + place.quad * 2,
                            prim::Vec2u{prim::as_uint(sums[r / 2][n][r % 2 * 2]), prim::as_uint(sums[r / 2][n][r % 2 * 2 + 1])});
      }
    }
  }

  template <class T>
  JD_DEVICE static void multiply_values_as(Accumulators &acc, const char *weights, const char *events) {
    const Place place;
    const TileReader<kD> reader(place.lane & 15, place.lane >> 4);
    uint32_t a[kMTiles][4];
#pragma unroll
    for (int m = 0; m < kMTiles; ++m) {
      prim::ldmatrix_x4(a[m], weights + (m * 16 + (place.lane & 15)) * kWeightRowBytes + (place.lane >> 4) * 16);
    }
#pragma unroll
    for (int n = 0; n < kSlice / 8; n += 2) {
      uint32_t b[4];  // 16 columns
      prim::ldmatrix_x4_trans(b, reader.at(events, 0, place.warp * (kSlice / 8) + n));
#pragma unroll
      for (int m = 0; m < kMTiles; ++m) {
        prim::mma_m16n8k16<T>(acc.tiles[m][n], a[m], b);
        prim::mma_m16n8k16<T>(acc.tiles[m][n + 1], a[m], b + 2);
      }
    }
  }
};

// Rows of kD floats, chunks permuted by row: four rows at four neighbouring chunks are 16 different chunks of 512 bytes.
template <int kD>
struct StcaF32Tile {
  static constexpr int kChunks = kD / 4;
  static constexpr int kRowBytes = kD * 4;
  static_assert(kChunks % 32 == 0, "");
  JD_DEVICE static int offset(int row, int chunk) { return row * kRowBytes + (chunk ^ (row & 7) * 4) * 16; }
};

template <int kColumnsT>
struct StcaFmaCore {
  using Element = float;
  static constexpr int kD = kColumnsT;
  static constexpr int kThreads = kStcaThreads;
  static constexpr int kRows = 8;
  static constexpr int kKeys = 8;
  static constexpr int kSlice = kD / kStcaWarps;
  static constexpr int kChunkElements = 4;
  using Tile = StcaF32Tile<kD>;
  static constexpr int kSlotBytes = kKeys * Tile::kRowBytes;
  static constexpr int kQueryBytes = kRows * Tile::kRowBytes;
  static constexpr int kScoreStride = kKeys;
  static constexpr int kScoreParts = kStcaWarps / 2;  // for more there is no shared memory
  static constexpr int kWeightBytes = kRows * kKeys * 4;
  static constexpr int kMine = kSlice / 32;  // output columns of a lane: 4 or 2

  struct Place {
    int thread, lane, warp;
    JD_DEVICE Place() : Place(prim::opaque_thread_index()) {}
    JD_DEVICE explicit Place(int t) : thread(t), lane(t & 31), warp(t >> 5) {}

    JD_DEVICE int row(int r) const { return r; }
    JD_DEVICE int column(int c) const { return warp * kSlice + lane * kMine + c; }
    JD_DEVICE bool leads() const { return thread == 0; }
  };

  struct Accumulators {
    static constexpr int kRows = StcaFmaCore::kRows;
    static constexpr int kColumns = kMine;
    float values[kRows][kColumns];

    JD_DEVICE float &out(int r, int c) { return values[r][c]; }
  };

  struct Queries {};
  // To shared memory, with the first tile of events.
  template <class RowOf>
  JD_DEVICE static void load_queries(Queries &, char *tile, int32_t dim, const RowOf &row_of) {
    for (int i = prim::opaque_thread_index(); i < kRows * Tile::kChunks; i += kThreads) {
      const int local = i / Tile::kChunks, chunk = i % Tile::kChunks;
      const Element *row = row_of(local);
      const bool inside = row != nullptr && chunk * kChunkElements < dim;
      prim::cp_async_16(tile + Tile::offset(local, chunk), inside ? row + chunk * kChunkElements : row, inside);
    }
    prim::cp_async_commit();
  }

  // Warps w and w + kScoreParts make one part. All threads.
  JD_DEVICE static void multiply_keys(const Queries &, const char *queries, const char *events, float *scores, int32_t) {
    const Place place;
    const int part = place.lane & 3, key = place.lane >> 2 & 3, row = place.lane >> 4;
    constexpr int kRowsHere = kRows / 2, kKeysHere = kKeys / 4;  // rows row, row + 2..; keys key, key + 4
    float sums[kRowsHere][kKeysHere] = {};
#pragma unroll 2
    for (int i = 0; i < kSlice / 16; ++i) {
      const int chunk = place.warp * (kSlice / 4) + i * 4 + part;
      float x[kKeysHere][4];
#pragma unroll
      for (int k = 0; k < kKeysHere; ++k) load4(x[k], events + Tile::offset(key + k * 4, chunk));
#pragma unroll
      for (int r = 0; r < kRowsHere; ++r) {
        float q[4];
        load4(q, queries + Tile::offset(row + r * 2, chunk));
#pragma unroll
        for (int k = 0; k < kKeysHere; ++k) {
#pragma unroll
          for (int e = 0; e < 4; ++e) sums[r][k] = prim::fma(q[e], x[k][e], sums[r][k]);
        }
      }
    }
#pragma unroll
    for (int r = 0; r < kRowsHere; ++r) {
#pragma unroll
      for (int k = 0; k < kKeysHere; ++k) {
        sums[r][k] += prim::shfl_xor(sums[r][k], 1);
        sums[r][k] += prim::shfl_xor(sums[r][k], 2);
      }
    }
    float *mine = scores + (place.warp % kScoreParts * kRows + row) * kScoreStride + key;
    if (part == 0 && place.warp >= kScoreParts) store_part(mine, sums, [](float, float sum) { return sum; });
    prim::sync_threads();
    if (part == 0 && place.warp < kScoreParts) store_part(mine, sums, [](float other, float sum) { return sum + other; });
  }

  JD_DEVICE static void store_weights(char *weights, int row, int key, const float (&w)[kKeys / kStcaScoreLanes], int32_t) {
    static_assert(kKeys / kStcaScoreLanes == 1, "");
    reinterpret_cast<float *>(weights)[key * kRows + row] = w[0];
  }

  JD_DEVICE static void multiply_values(Accumulators &acc, const char *weights, const char *events, int32_t) {
    const Place place;
    const int chunk = place.column(0) / 4, within = place.column(0) % 4 * 4;
#pragma unroll 2
    for (int key = 0; key < kKeys; ++key) {
      float w[kRows], x[kMine];
      load4(*reinterpret_cast<float(*)[4]>(w), weights + key * kRows * 4);
      load4(*reinterpret_cast<float(*)[4]>(w + 4), weights + key * kRows * 4 + 16);
      const char *from = events + Tile::offset(key, chunk) + within;
      if constexpr (kMine == 4) {
        load4(x, from);
      } else {
        const prim::Vec2u v = prim::load_shared8(from);
        x[0] = prim::as_float(v.x);
        x[1] = prim::as_float(v.y);
      }
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
#pragma unroll
        for (int c = 0; c < kMine; ++c) acc.values[r][c] = prim::fma(w[r], x[c], acc.values[r][c]);
      }
    }
  }

 private:
  template <class Join>
  JD_DEVICE static void store_part(float *mine, const float (&sums)[kRows / 2][kKeys / 4], const Join &join) {
#pragma unroll
    for (int r = 0; r < kRows / 2; ++r) {
#pragma unroll
      for (int k = 0; k < kKeys / 4; ++k) {
        float &score = mine[r * 2 * kScoreStride + k * 4];
        score = join(score, sums[r][k]);
      }
    }
  }

  JD_DEVICE static void load4(float (&x)[4], const char *shared) {
    const prim::Vec4u v = prim::load_shared16(shared);
    x[0] = prim::as_float(v.x);
    x[1] = prim::as_float(v.y);
    x[2] = prim::as_float(v.z);
    x[3] = prim::as_float(v.w);
  }
};

}  // namespace jindou::attention

#endif
