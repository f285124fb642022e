// Scores of 16 candidates of a warp against 32 events of a tile in shared memory (kGroup of them), by each method: "cores" for
// history_search.h and top_k_inner_product.h.
//
// SearchMmaCore, 16-bit dot products: mma.sync m16n8k16; the candidates stay in registers as left operands where the rows are short.
// Thread `lane` holds rows lane / 4 and + 8. Two ldmatrix serve four products of 4,096 multiply-adds.
// SearchFmaCore, f32 dot products: fused multiply-adds, 4 rows by 4 events a thread: 8 vectors of 16 bytes, of which a warp reads a
// bank's worth each, for 64 of them.
// SearchWordCore, 32-bit words: a thread has an event, and all rows of its warp pass by. Signatures: minus the number of bits that differ;
// categories: 0 where all words are equal, else -infinity.
//
// Each gives: Tile (where chunks of a row lie), Rows and load(), Scores (kRows, kCount; at(r, i)), row(lane, r), event(lane, i),
// score(); those of products also clear() and add(), of which score() is made: rows may come in slices.
#ifndef JINDOU_KERNELS_SEARCH_SEARCH_CORE_H
#define JINDOU_KERNELS_SEARCH_SEARCH_CORE_H

#include "primitives/primitives.h"

namespace jindou::search {

constexpr int kWarpCandidates = 16;
constexpr int kTileCandidates = 64;  // at most
constexpr int kGroupEvents = 32;

// Rows of 16-byte chunks, permuted so that 8 neighbouring rows at one chunk fall on all banks. Rows are 128 bytes and more.
template <class T, int kDim>
struct SearchTile {
  static constexpr int kElements = 16 / static_cast<int>(sizeof(T));  // of a chunk
  static constexpr int kChunks = kDim / kElements;
  static constexpr int kRowBytes = kDim * static_cast<int>(sizeof(T));
  static_assert(kChunks % 8 == 0, "");

  JD_DEVICE static int offset(int row, int chunk) { return row * kRowBytes + ((chunk ^ (row & 7)) * 16); }

  // Rows `rows`, a multiple of 8, of which `valid` exist, `dim` elements each; the rest become zeros. `row_of(row)`: its address.
  template <int kThreads, class RowOf>
  JD_DEVICE static void copy(char *tile, int rows, int valid, int dim, const RowOf &row_of, int thread) {
    for (int i = thread; i < rows * kChunks; i += kThreads) {
      const int row = i / kChunks, chunk = i % kChunks;
      const bool present = row < valid && chunk * kElements < dim;
      const T *from = row_of(row < valid ? row : 0);
      prim::cp_async_16(tile + offset(row, chunk), present ? from + chunk * kElements : from, present);
    }
  }
};

// What a thread holds, the same for every T. In registers where rows are short.
template <int kDim>
struct SearchMmaRows {
  static constexpr bool kInRegisters = kDim <= 128;
  uint32_t a[kInRegisters ? kDim / 16 : 1][4];
  const char *tile;
};
template <int kGroup>
struct SearchMmaScores {
  static constexpr int kRows = 2, kCount = kGroup / 4;
  float tiles[kGroup / 8][4];
  JD_DEVICE float &at(int r, int i) { return tiles[i / 2][r * 2 + i % 2]; }
};

template <class T, int kDim, int kGroup = kGroupEvents>
struct SearchMmaCore {
  using Element = T;
  using Tile = SearchTile<T, kDim>;
  static constexpr int kEvents = kDim == 64 ? 64 : 32;  // of a tile
  static constexpr int kSlots = 3;
  static constexpr int kCandidates = kTileCandidates;
  static constexpr int kMinBlocks = kDim == 64 ? 4 : kDim == 128 ? 3 : 2;
  using Rows = SearchMmaRows<kDim>;
  using Scores = SearchMmaScores<kGroup>;
  static constexpr bool kInRegisters = Rows::kInRegisters;

  JD_DEVICE static void load(Rows &rows, const char *tile, int lane) {
    rows.tile = tile;
    if constexpr (kInRegisters) {
#pragma unroll
      for (int k = 0; k < kDim / 16; ++k) prim::ldmatrix_x4(rows.a[k], tile + Tile::offset(lane & 15, k * 2 + (lane >> 4)));
    }
  }

  JD_DEVICE static int row(int lane, int r) { return lane / 4 + r * 8; }
  JD_DEVICE static int event(int lane, int i) { return i / 2 * 8 + (lane & 3) * 2 + i % 2; }

  // `events`: a multiple of 8 rows into the tile.
  JD_DEVICE static void score(Scores &scores, const Rows &rows, const char *events, int32_t, int lane) {
    clear(scores);
    add(scores, rows, events, lane);
  }

  JD_DEVICE static void clear(Scores &scores) {
#pragma unroll
    for (int n = 0; n < kGroup / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) scores.tiles[n][i] = 0.0f;
    }
  }

  JD_DEVICE static void add(Scores &scores, const Rows &rows, const char *events, int lane) {
#pragma unroll(kInRegisters ? kDim / 16 : 4)
    for (int k = 0; k < kDim / 16; ++k) {
      uint32_t a[4];
      if constexpr (kInRegisters) {
#pragma unroll
        for (int i = 0; i < 4; ++i) a[i] = rows.a[k][i];
      } else {
        prim::ldmatrix_x4(a, rows.tile + Tile::offset(lane & 15, k * 2 + (lane >> 4)));
      }
#pragma unroll
      for (int n = 0; n < kGroup / 8; n += 2) {
        uint32_t b[4];  // events n*8 .. n*8+15: two right operands
        prim::ldmatrix_x4(b, events + Tile::offset(n * 8 + (lane & 7) + (lane >> 4) * 8, k * 2 + (lane >> 3 & 1)));
        prim::mma_m16n8k16<T>(scores.tiles[n], a, b);
        prim::mma_m16n8k16<T>(scores.tiles[n + 1], a, b + 2);
      }
    }
  }
};

template <int kDim, int kGroup = kGroupEvents>
struct SearchFmaCore {
  using Element = float;
  using Tile = SearchTile<float, kDim>;
  static constexpr int kEvents = 32;
  static constexpr int kSlots = kDim == 256 ? 2 : 3;
  static constexpr int kCandidates = kDim == 256 ? kTileCandidates / 2 : kTileCandidates;  // 99 KiB of shared memory is what some have
  static constexpr int kMinBlocks = kDim == 64 ? 3 : kDim == 128 ? 2 : 1;

  struct Rows {
    const char *tile;
  };
  JD_DEVICE static void load(Rows &rows, const char *tile, int) { rows.tile = tile; }

  struct Scores {
    static constexpr int kRows = 4, kCount = kGroup / 8;
    float values[kRows][kCount];
    JD_DEVICE float &at(int r, int i) { return values[r][i]; }
  };
  JD_DEVICE static int row(int lane, int r) { return lane / 8 + r * 4; }
  JD_DEVICE static int event(int lane, int i) { return (lane & 7) + i * 8; }

  JD_DEVICE static void score(Scores &scores, const Rows &rows, const char *events, int32_t, int lane) {
    clear(scores);
    add(scores, rows, events, lane);
  }

  JD_DEVICE static void clear(Scores &scores) {
#pragma unroll
    for (int r = 0; r < Scores::kRows; ++r) {
#pragma unroll
      for (int i = 0; i < Scores::kCount; ++i) scores.values[r][i] = 0.0f;
    }
  }

  JD_DEVICE static void add(Scores &scores, const Rows &rows, const char *events, int lane) {
#pragma unroll 2
    for (int chunk = 0; chunk < Tile::kChunks; ++chunk) {
      float k[Scores::kCount][4];
#pragma unroll
      for (int i = 0; i < Scores::kCount; ++i) load4(k[i], events + Tile::offset(event(lane, i), chunk));
#pragma unroll
      for (int r = 0; r < Scores::kRows; ++r) {
        float q[4];
        load4(q, rows.tile + Tile::offset(row(lane, r), chunk));
#pragma unroll
        for (int i = 0; i < Scores::kCount; ++i) {
#pragma unroll
          for (int e = 0; e < 4; ++e) scores.values[r][i] = prim::fma(q[e], k[i][e], scores.values[r][i]);
        }
      }
    }
  }

 private:
  JD_DEVICE static void load4(float (&x)[4], const char *shared) {
    const prim::Vec4u v = prim::load_shared16(shared);
    x[0] = prim::as_float(v.x);
    x[1] = prim::as_float(v.y);
    x[2] = prim::as_float(v.z);
    x[3] = prim::as_float(v.w);
  }
};

// Rows of up to kMaxWords words, one after the other and one word apart from the next: neighbouring rows begin at neighbouring banks.
template <int kMaxWords>
struct WordTile {
  static constexpr int kRowBytes = (kMaxWords + 1) * 4;

  template <int kThreads, class RowOf>
  JD_DEVICE static void copy(char *tile, int rows, int valid, int words, const RowOf &row_of, int thread) {
    for (int i = thread; i < rows * words; i += kThreads) {
      const int row = i / words, word = i % words;
      const bool present = row < valid;
      prim::cp_async_4(tile + row * kRowBytes + word * 4, row_of(present ? row : 0) + word, present);
    }
  }
};

template <int kMaxWords, bool kEqual>
struct SearchWordCore {
  using Element = uint32_t;
  using Tile = WordTile<kMaxWords>;
  static constexpr int kEvents = 64;
  static constexpr int kSlots = 3;
  static constexpr int kCandidates = kTileCandidates;
  static constexpr int kMinBlocks = 5;

  struct Rows {
    const char *tile;
  };
  JD_DEVICE static void load(Rows &rows, const char *tile, int) { rows.tile = tile; }

  struct Scores {
    static constexpr int kRows = kWarpCandidates, kCount = 1;
    float values[kRows];
    JD_DEVICE float &at(int r, int) { return values[r]; }
  };
  JD_DEVICE static int row(int, int r) { return r; }
  JD_DEVICE static int event(int lane, int) { return lane; }

  JD_DEVICE static void score(Scores &scores, const Rows &rows, const char *events, int32_t words, int lane) {
    int32_t different[kWarpCandidates];
#pragma unroll
    for (int r = 0; r < kWarpCandidates; ++r) different[r] = 0;
#pragma unroll 1
    for (int w = 0; w < words; ++w) {
      const uint32_t x = word(events, lane, w);
#pragma unroll
      for (int r = 0; r < kWarpCandidates; ++r) {
        const uint32_t bits = x ^ word(rows.tile, r, w);
        different[r] = kEqual ? different[r] | static_cast<int32_t>(bits) : different[r] + prim::popc(bits);
      }
    }
#pragma unroll
    for (int r = 0; r < kWarpCandidates; ++r) {
      scores.values[r] = kEqual ? (different[r] == 0 ? 0.0f : -INFINITY) : -static_cast<float>(different[r]);
    }
  }

 private:
  JD_DEVICE static uint32_t word(const char *tile, int row, int w) {
    return *reinterpret_cast<const uint32_t *>(tile + row * Tile::kRowBytes + w * 4);
  }
};

// Of a group only the first `count` events exist: the others score nothing.
template <class Core>
JD_DEVICE void hide_past(typename Core::Scores &scores, int32_t count, int lane) {
#pragma unroll
  for (int i = 0; i < Core::Scores::kCount; ++i) {
    const bool exists = Core::event(lane, i) < count;
#pragma unroll
    for (int r = 0; r < Core::Scores::kRows; ++r) scores.at(r, i) = exists ? scores.at(r, i) : -INFINITY;
  }
}

}  // namespace jindou::search

#endif
