// embedding_bag without pooling and with 8-bit outputs: one output row an id, its scale beside it.
//
//   x = w_i * row_t(ids[i]),  scale = max|x| / 127,  code = x / scale to nearest even;  skipped ids and zeros: scale 0, codes 0
//
// Layouts: as embedding_rows.h; scales [total], a stride apart.
//
// Work: a warp owns a position. Its lanes find the table and the row (the same loads, one transaction) and write its codes
// (write_row_codes.h). Bags' offsets are checked by all threads on the way. A position that no table holds, which only bad offsets can
// make, gives zeros ([total, dim]) or no row (blocks), and scale 0; one of a pooled table beside (embedding_mixed.h) gives nothing.
//
// Floor: bytes = total * (row + id [+ weight] + dim + 4). A warp has a row of 512 bytes in flight, 48 of them fill a multiprocessor.
#ifndef JINDOU_KERNELS_EMBEDDING_EMBEDDING_ROW_CODES_H
#define JINDOU_KERNELS_EMBEDDING_EMBEDDING_ROW_CODES_H

#include "embedding/bags.h"
#include "embedding/table.h"
#include "embedding/write_row_codes.h"

namespace jindou::embedding {

template <bool kBesidePooled>
struct EmbeddingRowCodes {
  static constexpr int kThreads = 256;
  static constexpr int kMinBlocks = 6;
  static constexpr int kWarps = kThreads / 32;
  static constexpr size_t shared_bytes() { return 0; }

  struct Params {
    Jagged in;
    const TableMeta *tables;  // [T], in the caller's order
    const void *zero_row;     // zero bytes, as many as the widest row has
    char *out;             // of blocks the first
    float *scales;
    int64_t out_stride;    // 0: every table has a block of rows of its own
    int64_t out_elements;  // of blocks, and room behind them
    int64_t scale_stride;
    int32_t num_tables;    // T
  };

  JD_DEVICE JD_INLINE static void run(const Params &p, char *shared) { run_block(p, shared, prim::block_idx().x, prim::grid_dim().x); }

  JD_DEVICE JD_INLINE static void run_block(const Params &p, char *, int64_t block, int64_t blocks) {
    Faults faults;
    const int64_t thread = block * kThreads + prim::thread_idx().x;
    const int64_t threads = blocks * kThreads;
    for (int64_t bag = thread; bag < p.in.bags; bag += threads) {
      const auto of = static_cast<int32_t>(bag / p.in.batch);
      if (kBesidePooled && p.tables[of].pooling != JD_POOL_NONE) continue;
      int64_t begin, length;
      read_bag(p.in, bag, of, true, faults, begin, length);
    }
    const int64_t position = thread / 32;
    if (position < p.in.total) quantize(p, position, faults);
    faults.settle(p.in);
  }

 private:
  JD_DEVICE JD_INLINE static void quantize(const Params &p, int64_t position, Faults &faults) {
    const int lane = prim::lane_id();
    const int t = find_table(p.in, p.num_tables, position);
    const TableMeta &table = p.tables[t < 0 ? 0 : t];
    if (kBesidePooled && t >= 0 && table.pooling != JD_POOL_NONE) return;  // the whole warp
    int64_t element = position * p.out_stride;
    if (p.out_stride == 0) {
      uint64_t terms = block_terms(p.in, p.tables, 1 + lane, t, 32);
#pragma unroll
      for (int step = 16; step > 0; step /= 2) terms += prim::shfl_xor(terms, step);
      element = t < 0 ? -1 : block_element(position, table.dim, terms, p.out_elements);
    }
    uint64_t row = reinterpret_cast<uint64_t>(p.zero_row);
    float weight = 0.0f;
    if (t >= 0) {
      const int64_t id = load_id(p.in, position);
      if (check_id(p.in, table, id, position, lane == 0, faults)) {
        row = table.row(id, 0);
        weight = p.in.weights ? p.in.weights[position] : 1.0f;
      }
    }
    float *scale = p.scales + position * p.scale_stride;
    if (element < 0) {
      if (lane == 0) *scale = 0.0f;
      return;
    }
    const char *from = reinterpret_cast<const char *>(row);
    char *out = p.out + element;
    switch (table.kind) {
      case kRowF32: write_row_codes<RowF32>(from, table.vectors, table.layout, weight, out, scale); break;
      case kRowF16: write_row_codes<Row16<prim::f16>>(from, table.vectors, table.layout, weight, out, scale); break;
      case kRowBF16: write_row_codes<Row16<prim::bf16>>(from, table.vectors, table.layout, weight, out, scale); break;
      case kRowF16Narrow: write_row_codes<Row16Narrow<prim::f16>>(from, table.vectors, table.layout, weight, out, scale); break;
      case kRowBF16Narrow: write_row_codes<Row16Narrow<prim::bf16>>(from, table.vectors, table.layout, weight, out, scale); break;
      case kRowBytes: write_row_codes<RowCodes<8>>(from, table.vectors, table.layout, weight, out, scale); break;
      case kRowInt4: write_row_codes<RowCodes<4>>(from, table.vectors, table.layout, weight, out, scale); break;
      case kRowInt2: write_row_codes<RowCodes<2>>(from, table.vectors, table.layout, weight, out, scale); break;
      default: write_row_codes<RowCodesNarrow>(from, table.vectors, table.layout, weight, out, scale); break;
    }
  }
};

struct EmbeddingRowCodesKernel : EmbeddingRowCodes<false> {};

}  // namespace jindou::embedding

#endif
