// Asynchronous copies of rows into a tile in shared memory.
//
// A `Tile` says where the 16-byte chunks of its rows lie: Element, kChunks, kRowBytes, offset(row, chunk). Its layout
// repeats every 8 rows (offset(row + 8, chunk) = offset(row, chunk) + 8 * kRowBytes) and every 8 chunks, or 4 when
// kChunks is no multiple of 8.
//
// Rows in memory have `dim` elements, at most the tile's. The chunks after them become zeros and nothing is read for
// them: so one kernel serves every head dim up to its number of columns.
#ifndef JINDOU_KERNELS_ATTENTION_TILE_COPY_H
#define JINDOU_KERNELS_ATTENTION_TILE_COPY_H

#include "primitives/primitives.h"

namespace jindou::attention {

// How the threads of a block share the chunks of a tile: kLanes neighbours take a run of a row, so that global reads
// are contiguous. A thread's rows are kRowsAPass apart: all its offsets are one number plus constants.
template <class Tile, int kThreads>
class TileCopy {
  static constexpr int kLanes = Tile::kChunks % 8 == 0 ? 8 : 4;
  static constexpr int kRowsAPass = kThreads / kLanes;
  static constexpr int kChunkElements = 16 / sizeof(typename Tile::Element);
  static_assert(kRowsAPass % 8 == 0 && Tile::kChunks % kLanes == 0);

 public:
  JD_DEVICE explicit TileCopy(uint32_t thread)
      : row_(static_cast<int>(thread / kLanes)),
        chunk_(static_cast<int>(thread % kLanes)),
        offset_(Tile::offset(row_, chunk_)) {}

  // Where this thread's first chunk lies in a tensor whose row 0 of the tile is at `rows`, `stride` elements a row.
  JD_DEVICE const typename Tile::Element *first(const typename Tile::Element *rows, int64_t stride) const {
    return rows + row_ * stride + chunk_ * kChunkElements;
  }

  // f(row, element of the row, offset in the tile) for this thread's chunks of a tile of kRows rows, those past the
  // rows' dim included.
  template <int kRows, class F>
  JD_DEVICE void for_each_chunk(const F &f) const {
    static_assert(kRows % kRowsAPass == 0);
#pragma unroll
    for (int pass = 0; pass < kRows / kRowsAPass; ++pass) {
#pragma unroll
      for (int run = 0; run < Tile::kChunks / kLanes; ++run) {
        f(row_ + pass * kRowsAPass, element(run),
          offset_ + pass * kRowsAPass * Tile::kRowBytes + run * kLanes * 16);
      }
    }
  }

  // Rows that lie anywhere: row_of(row) gives the address of a row's first element, null for one that becomes zeros.
  template <int kRows, class RowOf>
  JD_DEVICE void copy_scattered(char *tile, const RowOf &row_of, int32_t dim) const {
    static_assert(kRows % kRowsAPass == 0);
#pragma unroll
    for (int pass = 0; pass < kRows / kRowsAPass; ++pass) {
      const typename Tile::Element *row = row_of(row_ + pass * kRowsAPass);
      const bool present = row != nullptr;
      if (present) row += chunk_ * kChunkElements;
#pragma unroll
      for (int run = 0; run < Tile::kChunks / kLanes; ++run) {
        prim::cp_async_16(tile + offset_ + pass * kRowsAPass * Tile::kRowBytes + run * kLanes * 16,
                          present ? row + run * kLanes * kChunkElements : row, present && element(run) < dim);
      }
    }
  }

  // Rows of one byte an element, widened by convert(8 codes, or 4 in the low word, of an f32 tile) -> 16 bytes; all
  // of a thread's loads are on their way before the first is used. row_of as above.
  template <int kRows, class RowOf, class Convert>
  JD_DEVICE void copy_codes(char *tile, const RowOf &row_of, int32_t dim, const Convert &convert) const {
    static_assert(kRows % kRowsAPass == 0);
    constexpr int kPasses = kRows / kRowsAPass, kRuns = Tile::kChunks / kLanes;
    prim::Vec2u codes[kPasses * kRuns];
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) {
      const uint8_t *row = row_of(row_ + pass * kRowsAPass);
#pragma unroll
      for (int run = 0; run < kRuns; ++run) {
        prim::Vec2u &c = codes[pass * kRuns + run];
        c = prim::Vec2u{0, 0};
        if (row == nullptr || element(run) >= dim) continue;
        const uint8_t *at = row + element(run);
        if constexpr (kChunkElements == 8) {
          c = prim::load8(at);
        } else {
          c.x = prim::load4(at);
        }
      }
    }
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) {
#pragma unroll
      for (int run = 0; run < kRuns; ++run) {
        prim::store_shared16(tile + offset_ + pass * kRowsAPass * Tile::kRowBytes + run * kLanes * 16,
                             convert(codes[pass * kRuns + run]));
      }
    }
  }

  // Copies kRows rows; those from `valid` on become zeros and are not read. `mine` as from first().
  template <int kRows>
  JD_DEVICE void copy(char *tile, const typename Tile::Element *mine, int64_t stride, int valid, int32_t dim) const {
    static_assert(kRows % kRowsAPass == 0);
#pragma unroll
    for (int pass = 0; pass < kRows / kRowsAPass; ++pass) {
#pragma unroll
      for (int run = 0; run < Tile::kChunks / kLanes; ++run) {
        prim::cp_async_16(tile + offset_ + pass * kRowsAPass * Tile::kRowBytes + run * kLanes * 16,
                          mine + run * kLanes * kChunkElements,
                          row_ + pass * kRowsAPass < valid && element(run) < dim);
      }
      mine += kRowsAPass * stride;
    }
  }

 private:
  // Of a row: where this thread's chunk of a run begins.
  JD_DEVICE int element(int run) const { return (chunk_ + run * kLanes) * kChunkElements; }

  const int row_, chunk_, offset_;
};

}  // namespace jindou::attention

#endif
