// embedding_bag without pooling: one output row an id, many tables, one launch.
//
//   out[i, :] = w_i * row_t(ids[i]),  t the table whose bags hold position i;  zeros where ids[i] is skipped
//
// Layouts: ids, weights [total]; offsets [T*B + 1]: the ids of table t are offsets[t*B] .. offsets[(t+1)*B]; out [total, dim], where all
// tables have one dim, or a block [ids of t, dim_t] a table, one after the other.
//
// Beside pooled tables (embedding_mixed.h) their positions are passed over: a warp that has no others is done when it knows.
//
// Work: a group of 8, 16 or 32 lanes owns 8 consecutive positions and one chunk of their columns, one vector a lane (16
// bytes, 8 for narrow rows, 8 codes of quantised ones; tables of different widths in one plan are all read 4 elements a lane). Lanes 0..7 each
// resolve one id (its table by binary search among T + 1 offsets, its address); then all lanes load the eight rows
// before they store the first. Work is cut by positions, not by bags: a bag of 10,000 ids keeps the whole GPU busy. The
// bags' offsets are checked by all threads on the way; a position that no table holds, which only bad offsets can make,
// gives zeros ([total, dim]) or nothing (blocks). Blocks begin where the offsets say: the lanes of a group add up the terms of the first
// position's table together, lanes whose positions are of later tables the few that follow. Groups have the lanes of the widest rows.
//
// Floor: bytes = total * (row + id [+ weight] + output row); a copy. Bandwidth bound.
#ifndef JINDOU_KERNELS_EMBEDDING_EMBEDDING_ROWS_H
#define JINDOU_KERNELS_EMBEDDING_EMBEDDING_ROWS_H

#include "embedding/bags.h"
#include "embedding/table.h"

namespace jindou::embedding {

// kBesidePooled: some tables of the launch are pooled; their ids and offsets are another kernel's affair.
template <int kThreadsOfBlock, bool kBesidePooled>
struct EmbeddingRows {
  static constexpr int kThreads = kThreadsOfBlock;
  static constexpr int kMinBlocks = 3;
  static constexpr int kRows = 8;  // positions a group
  static constexpr size_t shared_bytes() { return 0; }

  struct Params {
    Jagged in;
    const TableMeta *tables;  // [T], in the caller's order
    const void *zero_row;     // zero bytes, as many as a row has
    void *out;            // of blocks the first
    int64_t out_stride;   // elements; 0: every table has a block of rows of its own
    int64_t out_elements;  // of blocks, and room behind them
    int32_t out_dtype;    // JD_F32, JD_F16, JD_BF16
    int32_t num_tables;   // T
    int32_t kinds;        // bit k: some table has RowKind k
    int32_t lanes_log2;   // 3, 4, 5: lanes of a group
    int32_t chunks;       // groups that share a row
    int32_t vectors;      // vectors a row, of the widest table
  };

  struct Group {
    int lanes, lane;
    int count;             // positions first .. first + count
    int64_t first;
    int vector;            // column of this lane, in vectors
    bool active;           // the lane has one of the widest table
  };

  JD_DEVICE JD_INLINE static void run(const Params &p, char *shared) { run_block(p, shared, prim::block_idx().x, prim::grid_dim().x); }

  JD_DEVICE JD_INLINE static void run_block(const Params &p, char *, int64_t block, int64_t blocks) {
    Faults faults;
    const int thread = prim::thread_idx().x;

    // Every bag's offsets, spread over the grid.
    const int64_t threads = blocks * kThreads;
    for (int64_t bag = block * kThreads + thread; bag < p.in.bags; bag += threads) {
      const auto of = static_cast<int32_t>(bag / p.in.batch);
      if (kBesidePooled && p.tables[of].pooling != JD_POOL_NONE) continue;
      int64_t begin, length;
      read_bag(p.in, bag, of, true, faults, begin, length);
    }

    Group g;
    g.lanes = 1 << p.lanes_log2;
    g.lane = prim::lane_id() & (g.lanes - 1);
    const int64_t unit = block * (kThreads >> p.lanes_log2) + (thread >> p.lanes_log2);
    const int chunk = static_cast<int>(unit % p.chunks);
    g.first = unit / p.chunks * kRows;
    const int64_t left = p.in.total - g.first;
    g.count = left <= 0 ? 0 : left < kRows ? static_cast<int>(left) : kRows;
    const int vectors_per_chunk = (p.vectors + p.chunks - 1) / p.chunks;
    g.vector = chunk * vectors_per_chunk + g.lane;
    g.active = g.lane < vectors_per_chunk && g.vector < p.vectors;

    // Lane j resolves position first + j.
    uint64_t row = reinterpret_cast<uint64_t>(p.zero_row);
    bool valid = false;
    int kind = -1;
    CodeLayout layout{0u};
    float weight = 1.0f;
    const int64_t position = g.first + g.lane;
    int t = g.lane < g.count ? find_table(p.in, p.num_tables, position) : -1;
    if (kBesidePooled) {
      if (t >= 0 && p.tables[t].pooling != JD_POOL_NONE) t = -1;
      if (!prim::any(t >= 0)) return faults.settle(p.in);
    }
    int dim = 0;             // of the row; 0: nothing is written
    int64_t element = 0;     // of out, where it begins
    if (p.out_stride != 0) {
      if (g.lane < g.count) dim = p.tables[0].dim;
      element = position * p.out_stride;
    } else {
      // Positions of a group are in order, and so are their tables, but where offsets are bad: then each lane for itself.
      const int common = prim::shfl(t, 0, g.lanes);
      uint64_t terms = block_terms(p.in, p.tables, 1 + g.lane, common, g.lanes);
      for (int step = g.lanes / 2; step > 0; step /= 2) terms += prim::shfl_xor(terms, step);
      if (t < common) terms = 0;
      if (t >= 0) {
        terms += block_terms(p.in, p.tables, t < common ? 1 : common < 0 ? 1 : common + 1, t, 1);
        element = block_element(position, p.tables[t].dim, terms, p.out_elements);
        if (element >= 0) dim = p.tables[t].dim;
      }
    }
    if (g.lane < g.count) {
      if (t >= 0) {
        const TableMeta &table = p.tables[t];
        const int64_t id = load_id(p.in, position);
        if (p.in.weights) weight = p.in.weights[position];
        valid = check_id(p.in, table, id, position, chunk == 0, faults);
        kind = table.kind;
        layout = table.layout;
        if (valid) row = table.row(id, 0);
      }
    }

    if (!valid) weight = 0.0f;

    // One pass a kind of row; more than one only where tables of one launch differ. The first also writes zeros.
    const int first_lane = prim::lane_id() & -g.lanes;
    uint32_t zeros = prim::ballot(g.lane < g.count && !valid) >> first_lane;
#pragma unroll 1
    for (int k = 0; k < kRowKinds; ++k) {
      if (!(p.kinds >> k & 1)) continue;
      const uint32_t rows = prim::ballot(valid && kind == k) >> first_lane;
      switch (k) {
        case kRowF32: copy<RowF32>(p, g, rows, zeros, row, weight, element, dim); break;
        case kRowF16: copy<Row16<prim::f16>>(p, g, rows, zeros, row, weight, element, dim); break;
        case kRowBF16: copy<Row16<prim::bf16>>(p, g, rows, zeros, row, weight, element, dim); break;
        case kRowF16Narrow: copy<Row16Narrow<prim::f16>>(p, g, rows, zeros, row, weight, element, dim); break;
        case kRowBF16Narrow: copy<Row16Narrow<prim::bf16>>(p, g, rows, zeros, row, weight, element, dim); break;
        case kRowBytes: copy<RowCodes<8>>(p, g, rows, zeros, row, weight, element, dim, layout); break;
        case kRowInt4: copy<RowCodes<4>>(p, g, rows, zeros, row, weight, element, dim, layout); break;
        case kRowInt2: copy<RowCodes<2>>(p, g, rows, zeros, row, weight, element, dim, layout); break;
        default: copy<RowCodesNarrow>(p, g, rows, zeros, row, weight, element, dim, layout); break;
      }
      zeros = 0;
    }
    faults.settle(p.in);
  }

 private:
  // Of position u of the group.
  template <class Row>
  JD_DEVICE JD_INLINE static CodeLayout layout_of(CodeLayout own, int u, int lanes) {
    if (!Row::kCodes) return own;
    return CodeLayout{prim::shfl(own.packed, u, lanes)};
  }

  template <class Row>
  JD_DEVICE JD_INLINE static void copy(const Params &p, const Group &g, uint32_t rows_mask, uint32_t zeros_mask,
                                         uint64_t row, float weight, int64_t element, int dim,
                                         CodeLayout own_layout = CodeLayout{0u}) {
    constexpr int kElements = Row::kElements;
    // A lane without a column reads column 0 with the others and writes nothing; a row of another kind is read as zeros, as many as
    // the widest row has.
    const uint32_t column = g.active ? g.vector : 0;
    const uint64_t own_row = rows_mask >> g.lane & 1u ? row : reinterpret_cast<uint64_t>(p.zero_row);

    typename Row::Vector rows[kRows];
#pragma unroll
    for (int u = 0; u < kRows; ++u) {
      const CodeLayout layout = layout_of<Row>(own_layout, u, g.lanes);
      const bool within = g.vector * kElements < prim::shfl(dim, u, g.lanes);
      rows[u] = Row::load(reinterpret_cast<const char *>(prim::shfl(own_row, u, g.lanes)), within ? column : 0, layout);
    }
    prim::keep(rows);
#pragma unroll
    for (int u = 0; u < kRows; ++u) {
      float w = 1.0f;
      if (p.in.weights) w = prim::shfl(weight, u, g.lanes);
      const CodeLayout layout = layout_of<Row>(own_layout, u, g.lanes);
      const int64_t at = prim::shfl(element, u, g.lanes) + g.vector * kElements;
      const bool within = g.vector * kElements < prim::shfl(dim, u, g.lanes);
      if (!g.active || !within || !((rows_mask | zeros_mask) >> u & 1u)) continue;
      float x[kElements];
      Row::widen(rows[u], layout, x);
#pragma unroll
      for (int e = 0; e < kElements; ++e) x[e] *= w;
      store_row(element_address(p.out, p.out_dtype, at), p.out_dtype, x);
    }
  }
};

struct EmbeddingRowsKernel : EmbeddingRows<256, false> {};

}  // namespace jindou::embedding

#endif
