// embedding_bag with 8-bit outputs: pooled rows, f32, to codes with a scale for each row of a table's columns.
//
//   scale = max|x| / 127, code = x / scale to nearest even; zeros: scale 0, codes 0
//
// Layouts: x [B, columns of all tables], the pooled kernel's result; codes [B, columns], or a block [B, columns of its table] for each
// table; scales [B, parts].
//
// Work: a warp owns one bag of one part (a table, or one of the rows side by side that its ids have): it reads the columns once for the
// largest, joins by shuffles, and once more, out of L1, for the codes, four a lane.
//
// Floor: bytes = B * columns * 5, of which x is in L2 where the pooled kernel has just written it. Bandwidth bound.
#ifndef JINDOU_KERNELS_EMBEDDING_EMBEDDING_CODES_H
#define JINDOU_KERNELS_EMBEDDING_EMBEDDING_CODES_H

#include "embedding/table.h"
#include "embedding/write_row_codes.h"

namespace jindou::embedding {

struct EmbeddingCodesKernel {
  static constexpr int kThreads = 256;
  static constexpr int kMinBlocks = 4;
  static constexpr size_t shared_bytes() { return 0; }

  struct Params {
    const TableMeta *tables;  // [parts], in any order
    const float *x;
    char *out;
    float *scales;
    int64_t batch;
    int64_t x_stride;
    int64_t out_stride;  // 0: every table has a block of rows of its own
    int64_t scale_stride;
    int32_t parts;
  };

  JD_DEVICE JD_INLINE static void run(const Params &p, char *shared) { run_block(p, shared, prim::block_idx().x, prim::grid_dim().x); }

  JD_DEVICE JD_INLINE static void run_block(const Params &p, char *, uint32_t block, uint32_t) {
    const int64_t at = static_cast<int64_t>(block) * (kThreads / 32) + prim::thread_idx().x / 32;
    const int64_t bag = at / p.parts;
    if (bag >= p.batch) return;  // the whole warp
    const TableMeta &table = p.tables[at % p.parts];
    const float *x = p.x + bag * p.x_stride + table.out_column;
    char *out = p.out;
    if (p.out_stride != 0) {
      out += bag * p.out_stride + table.out_column;
    } else {
      out += table.table_column * p.batch + bag * table.table_columns + (table.out_column - table.table_column);
    }

    write_row_codes<RowF32>(reinterpret_cast<const char *>(x), table.dim / RowF32::kElements, CodeLayout{0u}, 1.0f, out,
                            p.scales + bag * p.scale_stride + table.part);
  }
};

}  // namespace jindou::embedding

#endif
