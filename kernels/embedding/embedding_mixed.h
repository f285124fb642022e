// embedding_bag over tables with pooling and tables without, in one launch: a block of threads does the work of a block of the one
// kernel or of the other.
//
//   blocks 0 .. first_blocks - 1   a block of First, as if the others were not there      the rest   a block of Second
//
// Layouts: out holds the pooled tables' blocks, [B, columns of t] each, then those of the tables without pooling, [ids of t, dim_t] each
// (jindou/embedding.h). Both kernels get the ids, offsets and weights of all tables. What First reads and reports of pooled tables Second
// passes over, so that an offender is counted once.
//
// Why one launch: tables without pooling are few and small beside the rest, and a launch of their own would leave the GPU idle at the
// end of the one and at the beginning of the other. Pooled blocks go first: they are the ones that may take long.
//
// Floor: the sum of what the two move. Registers are the larger need of the two, EmbeddingBagKernel's; that costs rows without pooling
// nothing, whose blocks are of its size here (128 threads): 20 warps x 8 rows in flight a multiprocessor.
#ifndef JINDOU_KERNELS_EMBEDDING_EMBEDDING_MIXED_H
#define JINDOU_KERNELS_EMBEDDING_EMBEDDING_MIXED_H

#include "embedding/embedding_bag.h"
#include "embedding/embedding_codes.h"
#include "embedding/embedding_row_codes.h"
#include "embedding/embedding_rows.h"

namespace jindou::embedding {

template <class FirstKernel, class SecondKernel>
struct SideBySide {
  using First = FirstKernel;
  using Second = SecondKernel;
  static_assert(First::kThreads == Second::kThreads, "a block is of one or the other");
  static constexpr int kThreads = First::kThreads;
  static constexpr int kMinBlocks = First::kMinBlocks;
  static constexpr size_t shared_bytes() {
    return First::shared_bytes() > Second::shared_bytes() ? First::shared_bytes() : Second::shared_bytes();
  }

  struct Params {
    typename First::Params first;
    typename Second::Params second;
    uint32_t first_blocks;
  };

  JD_DEVICE JD_INLINE static void run(const Params &p, char *shared) {
    const uint32_t block = prim::block_idx().x;
    if (block < p.first_blocks) {
      First::run_block(p.first, shared, block, p.first_blocks);
    } else {
      Second::run_block(p.second, shared, block - p.first_blocks, prim::grid_dim().x - p.first_blocks);
    }
  }
};

// Outputs f32, f16, bf16.
struct EmbeddingMixedKernel : SideBySide<EmbeddingBagKernel, EmbeddingRows<EmbeddingBagKernel::kThreads, true>> {};

// 8-bit outputs: after EmbeddingBagKernel, which leaves pooled rows in f32.
struct EmbeddingMixedCodesKernel : SideBySide<EmbeddingCodesKernel, EmbeddingRowCodes<true>> {};

}  // namespace jindou::embedding

#endif
