// top_k_inner_product among the kernels of an instruction set (kernel_table.h). Strides count elements unless a name says bytes.
#ifndef JINDOU_CPU_KERNELS_TOP_K_TABLE_H
#define JINDOU_CPU_KERNELS_TOP_K_TABLE_H

#include <stddef.h>
#include <stdint.h>

namespace jindou::cpu {

struct EmbeddingTask;

// Items are taken in blocks of this many, counted from item 0: eight bytes of a bitmap.
constexpr int64_t kItemBlock = 64;

// Of the block of items at hand, widened to f32.
inline int64_t item_block_floats(int32_t dim) { return kItemBlock * dim; }

// Some queries ("lanes") against items first_item..last_item-1. What each finds is left in its list (kernels/top_k.h), of entries made
// by item_entry.
struct TopKTask {
  int32_t dtype, dim, k, lanes;
  const void *queries;          // the task's first
  int64_t query_stride;
  const void *items;            // item 0
  int64_t item_stride;
  const EmbeddingTask *codes;   // items that are rows of codes: rows, row_bytes, dim, layout and elements, out in f32; or null
  void (*widen_rows)(const EmbeddingTask &);
  const uint8_t *allowed;       // bit j: item j; of the task's first query, or of all; or null
  int64_t allowed_stride;       // bytes from query to query; 0: one bitmap for all
  int64_t first_item, last_item;  // first_item a multiple of kItemBlock
  float *scratch;               // item_block_floats, and search_tile_floats for each tile of search_lanes queries
  uint64_t *entries;            // [lanes][top_k_room(k)]
  int32_t *counts;              // [lanes] entries of each
};

struct TopKKernels {
  void (*top_k)(const TopKTask &);
};

}  // namespace jindou::cpu

#endif
