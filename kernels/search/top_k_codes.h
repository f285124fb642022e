// top_k_inner_product of items that are rows of codes (jindou/embedding.h, JD_ROWS_*): what top_k_slices.h does on f32, of any d.
//
// A step is a slice of 32 columns of the block's queries and of a tile of items. Its codes are loaded into registers while the step before
// is computed, and widened to f32 on their way to the other of two slots: code * scale + bias, one multiply-add, as dequantize_rows has
// it. Queries are widened there too. So a score is the sum that f32 rows would give, to the last bit.
//
// FLOPs 2 * d * m * N in multiply-adds, which are the bound, with few queries too: from 8-bit rows 16 queries take 16 of them a byte. Bytes:
// the codes once a tile of queries.
#ifndef JINDOU_KERNELS_SEARCH_TOP_K_CODES_H
#define JINDOU_KERNELS_SEARCH_TOP_K_CODES_H

#include "embedding/table.h"
#include "search/top_k_slices.h"

namespace jindou::search {

struct TopKCodesParams {
  TopKProblem problem;
  const char *queries, *items;     // of query 0 and item 0 of all
  int64_t query_bytes, item_bytes;  // from row to row
  int32_t dim;
  int32_t dtype;                    // of queries
  embedding::CodeLayout layout;
};

template <class Shape>
struct TopKCodesKernel : TopKSlices<Shape> {
  using Slices = TopKSlices<Shape>;
  using typename Slices::Block, typename Slices::Place, typename Slices::Share, typename Slices::Slot, typename Slices::Tile;
  using Params = TopKCodesParams;
  using Codes = embedding::RowCodesNarrow;
  using Slices::kColumns, Slices::kItems, Slices::kQueries, Slices::kThreads;
  static constexpr int kItemVectors = kItems * Tile::kChunks / kThreads, kQueryVectors = kQueries * Tile::kChunks / kThreads;
  static_assert(kItemVectors * kThreads == kItems * Tile::kChunks && kQueryVectors * kThreads == kQueries * Tile::kChunks, "");

  struct Shared {
    Slot slots[2];
    typename Block::Lists lists;
  };
  static constexpr size_t shared_bytes() { return sizeof(Shared); }

  JD_DEVICE static void run(const Params &p, char *shared_memory) {
    scan(p, *reinterpret_cast<Shared *>(shared_memory), Block::share_of_block(p.problem));
  }

 private:
  // A slice of a tile of items.
  struct Step {
    int64_t begin;  // the tile's first item
    int32_t column;

    JD_DEVICE Step after(int32_t dim) const {
      return column + kColumns < dim ? Step{begin, column + kColumns} : Step{begin + kItems, 0};
    }
  };

  // A thread's part of a step, as it lies in memory: vectors of four elements.
  struct Fetched {
    typename Codes::Vector items[kItemVectors];
    prim::Vec4u queries[kQueryVectors];
  };

  JD_DEVICE static void fetch(const Params &p, const Share &share, const Step &step, int thread, Fetched &fetched) {
    const int64_t count = share.end - step.begin;
#pragma unroll
    for (int i = 0; i < kItemVectors; ++i) {
      const int row = (thread + i * kThreads) / Tile::kChunks, column = step.column + (thread + i * kThreads) % Tile::kChunks * 4;
      fetched.items[i] = typename Codes::Vector{0u, 0u, 0u};  // stands for zeros in every format
      if (row < count && column < p.dim) {
        fetched.items[i] = Codes::load(p.items + (step.begin + row) * p.item_bytes, static_cast<uint32_t>(column / 4), p.layout);
      }
    }
#pragma unroll
    for (int i = 0; i < kQueryVectors; ++i) {
      const int row = (thread + i * kThreads) / Tile::kChunks, column = step.column + (thread + i * kThreads) % Tile::kChunks * 4;
      fetched.queries[i] = prim::Vec4u{0u, 0u, 0u, 0u};
      if (row >= share.queries || column >= p.dim) continue;
      const char *query = p.queries + (p.problem.first_query + share.first_query + row) * p.query_bytes;
      if (p.dtype == JD_F32) {
        fetched.queries[i] = prim::load16(query + column * 4);
      } else {
        const prim::Vec2u halves = prim::load8(query + column * 2);
        fetched.queries[i].x = halves.x;
        fetched.queries[i].y = halves.y;
      }
    }
  }

  JD_DEVICE static void store(const Params &p, const Fetched &fetched, int thread, Slot &slot) {
#pragma unroll
    for (int i = 0; i < kItemVectors; ++i) {
      float x[4];
      Codes::widen(fetched.items[i], p.layout, x);
      prim::store_shared16(slot.items + offset(thread + i * kThreads),
                           prim::Vec4u{prim::as_uint(x[0]), prim::as_uint(x[1]), prim::as_uint(x[2]), prim::as_uint(x[3])});
    }
#pragma unroll
    for (int i = 0; i < kQueryVectors; ++i) {
      prim::Vec4u v = fetched.queries[i];
      if (p.dtype != JD_F32) {
        float x[4];
        if (p.dtype == JD_F16) {
          prim::unpack2<prim::f16>(v.x, x[0], x[1]);
          prim::unpack2<prim::f16>(v.y, x[2], x[3]);
        } else {
          prim::unpack2<prim::bf16>(v.x, x[0], x[1]);
          prim::unpack2<prim::bf16>(v.y, x[2], x[3]);
        }
        v = prim::Vec4u{prim::as_uint(x[0]), prim::as_uint(x[1]), prim::as_uint(x[2]), prim::as_uint(x[3])};
      }
      prim::store_shared16(slot.queries + offset(thread + i * kThreads), v);
    }
  }
  JD_DEVICE static int offset(int vector) { return Tile::offset(vector / Tile::kChunks, vector % Tile::kChunks); }

  JD_DEVICE static void scan(const Params &p, Shared &shared, const Share &share) {
    const Place at = Slices::place();
    Block::start(p.problem, shared.lists, share, at.thread);

    Step step{share.begin, 0};
    int slot = 0;
    Fetched fetched;
    fetch(p, share, step, at.thread, fetched);
    store(p, fetched, at.thread, shared.slots[slot]);
    typename Slices::Scores scores;
#pragma unroll 1
    while (step.begin < share.end) {
      prim::sync_threads();  // the step lies in its slot, everyone is done with the step before, and lists are cut
      const Step next = step.after(p.dim);
      const bool more = next.begin < share.end;
      if (more) fetch(p, share, next, at.thread, fetched);
      Slices::multiply(scores, shared.slots[slot], step.column == 0, 0, at);
      slot ^= 1;
      if (more) store(p, fetched, at.thread, shared.slots[slot]);
      if (next.begin != step.begin) Slices::take(p.problem, shared.lists, share, scores, step.begin, !more, at);
      step = next;
    }
    Block::finish(p.problem, shared.lists, share, at.first, at.warp, at.lane);
  }
};

}  // namespace jindou::search

#endif
