// The kernels of one instruction set, as plain functions over plain structs: what the operators (native/cpu/*.cpp), which
// are compiled once for every CPU, know of the files in isa/, which are compiled with an instruction set's own flags.
// Strides count elements unless a name says bytes.
#ifndef JINDOU_CPU_KERNELS_KERNEL_TABLE_H
#define JINDOU_CPU_KERNELS_KERNEL_TABLE_H

#include <jindou/jindou.h>
#include <stddef.h>
#include <stdint.h>

#include "attention/time_buckets.h"
#include "core/longer_rows.h"
#include "core/row_formats.h"
#include "core/table_keys.h"
#include "cpu/kernels/rq_table.h"
#include "cpu/kernels/sequence_table.h"
#include "cpu/kernels/top_k_table.h"

namespace jindou::cpu {

// -- attention -----------------------------------------------------------------------------------------------------------
// Keys are taken in blocks of this size, counted from the first key of a sequence: part of the order of summation, the same
// for every instruction set, thread count and batch.
constexpr int kKeyBlock = 64;
// target_attention sums a history in segments of this many keys, each from nothing, and merges them in order: so the
// segments of a long history can be the work of several threads without a change of any bit.
constexpr int64_t kSegment = 32 * kKeyBlock;

constexpr int kMaxHeadDim = 256;

// Rows of one head of a jagged tensor. `data` is null for an absent one.
struct HeadRows {
  const void *data;
  int64_t stride;
  int32_t dtype;
};

// Rows of one head of a sequence in pages (jindou/paged_cache.h). `pages` is null for rows that are no pages'.
struct PagedRows {
  const int32_t *pages;  // numbers, all valid
  const char *data;      // page 0, row 0, the head
  int64_t page_bytes, row_bytes;
  int32_t page_size;
  int32_t shift;         // page_size = 1 << shift: rows are found without divisions
  int32_t dtype;
  const float *scales;   // of page 0, row 0, the head; null: not quantised
  int64_t page_scales, row_scales;  // strides
};

// Some candidates of one user and all query heads that share one key/value head. A "lane" is one candidate's query head:
// lane = candidate * group + head.
struct TargetAttentionTask {
  int32_t dtype, out_dtype;
  int32_t dim_qk, dim_v;
  int32_t group;  // query heads a key/value head
  float scale;
  float silu_norm;  // 0: softmax; else weights are SiLU(score) * silu_norm
  int64_t first_lane, last_lane;
  const void *queries;              // the user's first candidate, the group's first head
  int64_t query_row, query_head;    // strides
  HeadRows keys, values;            // from the first event that counts
  int64_t num_keys;
  HeadRows self_keys, self_values;  // the user's first candidate
  void *out;                        // as queries
  int64_t out_row, out_head;
  float *scratch;

  // A history split between threads. kSegmentOnly: segment `segment` alone goes to its place in `partial`; kMergeOnly: the
  // segments there are merged, then the candidate's own key, then the result is written. kWhole: all of it at once.
  enum Phase { kWhole, kSegmentOnly, kMergeOnly } phase;
  int64_t segment;
  float *partial;
};

// Some beams of one request and all query heads that share one key/value head: lane = beam * group + head. The prefix is the
// history of TargetAttentionTask, in pages (rows one after the other are one page); its keys, values and self_keys are not used.
// To longer_attention a user's rows are beams, those of `rows`; a candidate's globals are its suffix, level by level, the slot being the
// candidate's number.
struct BeamAttentionTask : TargetAttentionTask {
  PagedRows prefix_keys, prefix_values;
  HeadRows suffix_keys, suffix_values;           // of level 0, by slot
  int64_t suffix_key_level, suffix_value_level;  // strides
  const int32_t *ancestry;                       // of level 0, by beam; null: the slot of a beam is its candidate in `rows`
  int64_t ancestry_level;                        // stride
  LongerRows rows;                               // what of the prefix a beam sees
  PagedRows shared_keys, shared_values;          // rows that all beams see besides
  int64_t num_shared;                            // kSegment at most
  int32_t levels, slots;
  float *lse;                                    // as out, or null
  int64_t lse_row, lse_head;
};

// A tile of query rows, and what it sees besides each row's own key.
struct HstuTile {
  int32_t first_row, rows;             // at most attention_lanes
  int32_t begin, end;                  // keys that some row sees
  int32_t empty_begin, empty_end;      // keys between them that no row sees
  int32_t full_begin[2], full_end[2];  // keys that every row sees: two ranges
  bool own;                            // some row sees its own key besides
};

// What is added to the scores of hstu_attention: by position, `position[j - i]`, and by time, `time[bucket]`; either may
// be null. For the rows of one sequence and head.
struct HstuBias {
  const float *position;      // at distance 0
  const float *time;
  const int64_t *timestamps;  // of the sequence's first row
  const TimeBuckets *buckets;
  int32_t num_buckets;
};

// Rows from first_row on of one head of one sequence, in tiles.
struct HstuAttentionTask {
  int32_t dtype, out_dtype;
  int32_t dim_qk, dim_v;
  float alpha;
  int64_t first_row;
  int64_t first_query;      // the row that `queries`, `out` and `norm` begin with
  HeadRows queries;
  HeadRows keys, values;    // from the sequence's first row
  PagedRows paged_keys, paged_values;  // or these
  void *out;
  int64_t out_stride;
  const float *norm;        // or null: `common_norm`
  float common_norm;
  const HstuTile *tiles;
  int num_tiles;
  // One for each row, and zeros up to the last tile's last lane: the row sees the keys j with begin < j < hole_begin or
  // hole_end < j < end (numbers between keys: no ties) and, where own = 1, itself.
  const float *begin, *hole_begin, *hole_end, *end, *own;
  HstuBias bias;
  float *scratch;
};

// What a tile of query rows sees (attention/softmax_mask.h).
struct SoftmaxTile {
  int32_t begin, end, hole_begin, hole_end;   // some row sees [begin, end), but for the hole
  int32_t full_first, full_begin, full_end;   // every row sees [0, full_first) and [full_begin, full_end)
};

// What is added to the scores of softmax_attention, for the first of a task's heads; one of the three, or none.
struct SoftmaxBias {
  const float *slopes;                 // ALiBi: [heads]
  const float *table;                  // T5: [buckets, heads]
  int64_t table_row;                   // stride
  const int32_t *buckets;              // of key - row in -limit..limit, at 0; the outermost go on for ever
  int32_t limit;
  const float *matrix;                 // dense: [heads, rows, keys]
  int64_t matrix_head, matrix_row;     // strides
};

// Some query rows of one sequence, and `group` query heads that share one key/value head. A "lane" is one row's head:
// lane = row * group + head.
struct SoftmaxAttentionTask {
  int32_t dtype, out_dtype;
  int32_t dim_qk, dim_v;
  int32_t group;
  float scale, softcap;             // softcap 0: none
  int64_t first_lane, last_lane;    // first_lane a multiple of attention_lanes
  const void *queries;              // the sequence's first row, the first head
  int64_t query_row, query_head;    // strides
  HeadRows keys, values;            // of the sequence
  int32_t num_keys;
  int32_t shift;                    // row i stands at position shift + i
  SoftmaxBias bias;
  const SoftmaxTile *tiles;         // one for each tile
  // One for each lane, up to whole tiles: it sees the keys j with begin < j < hole_begin or hole_end < j < end (numbers between
  // keys: no ties).
  const float *begin, *hole_begin, *hole_end, *end;
  void *out;                        // as queries
  int64_t out_row, out_head;
  float *lse;                       // likewise, or null
  int64_t lse_row, lse_head;
  float *scratch;

  // Keys are summed in pieces of `piece_keys`, a multiple of kKeyBlock, each from nothing, which are merged in order: so the
  // pieces of a sequence can be the work of several threads without a change of any bit. Phases as in TargetAttentionTask.
  int32_t piece_keys;
  enum Phase { kWhole, kPieceOnly, kMergeOnly } phase;
  int64_t piece;
  float *partial;                   // of the sequence and head: [tile][piece] states
};

// Rows first..last-1 of [rows, heads, dim] counted as rows * heads.
struct MergeStatesTask {
  int32_t dtype, out_dtype, dim;
  int64_t heads, first, last;
  const void *out[2];
  const float *lse[2];
  int64_t out_row[2], out_head[2], lse_row[2];  // strides
  void *merged;
  float *merged_lse;                            // or null
  int64_t merged_row, merged_head, merged_lse_row;
};

// Query rows of one sequence and key/value head, packed: row = query * group + head. A state of `rows` rows is [rows][2 + dim_v].
struct DecodeTask {
  int32_t dtype, out_dtype;
  int32_t dim_qk, dim_v;
  int32_t rows, group;
  float scale;
  const void *queries;            // the sequence's first query, the group's first head
  int64_t query_row, query_head;  // strides
  PagedRows keys, values;
  int64_t first_key, last_key;    // of the piece, or of some blocks of it
  int64_t end_key;                // of the rows that may be asked for ahead
  bool continues = false;         // blocks behind others of the piece: the state is theirs
  int64_t first_position;         // of the first query among the keys
  void *out;                      // as queries
  int64_t out_row, out_head;
  float *lse;                     // likewise, or null
  int64_t lse_row, lse_head;
  float *scratch;                 // decode_scratch floats
  float *scaled_queries;          // rows * dim_qk; kept for the blocks that follow
  float *state;
  float silu_norm = 0;            // 0: softmax; else weights are SiLU(score) * silu_norm
};

// -- history_search ------------------------------------------------------------------------------------------------------
// Some candidates ("lanes") of one user against events first_key..last_key-1. What each finds is left in its list (kernels/top_k.h).
struct SearchTask {
  int32_t dtype;              // of the rows: JD_F32, JD_F16, JD_BF16, or JD_I64: signatures
  int32_t dim;                // elements of a row
  int32_t k, lanes;
  HeadRows queries, keys;     // of the first candidate; of event 0
  const float *bias;          // of event 0, or null
  int64_t first_key, last_key;
  float *scratch;             // search_scratch floats, and search_tile_floats for each tile of search_lanes lanes
  uint64_t *entries;          // [lanes][top_k_room(k)]
  int32_t *counts;            // [lanes] entries of each
};

// A tile's queries and thresholds.
inline int64_t search_tile_floats(int32_t dtype, int32_t dim, int lanes) {
  return int64_t{lanes} * (dim + 1) * (dtype == JD_I64 ? 2 : 1);
}

struct SignatureTask {
  int32_t dtype, dim, bits;
  HeadRows rows, projection;
  int64_t first_row, last_row;
  uint64_t *signatures;       // of row 0
  int64_t signature_stride;
  float *scratch;             // linear_scratch floats
};

// -- din_attention -------------------------------------------------------------------------------------------------------
struct DinShape {
  int32_t dim, dim_v, hidden_1, hidden_2, activation;  // activation: JD_DIN_*
};

// The network as it is given (jindou/din_attention.h); what an activation does not use is null.
struct DinNetwork {
  DinShape shape;
  float dice_eps;
  float scale;  // of the logit; softmax: in units of log 2
  const float *weight_1, *bias_1, *slope_1, *mean_1, *variance_1;
  const float *weight_2, *bias_2, *slope_2, *mean_2, *variance_2, *weight_3, *bias_3;
  int64_t weight_1_stride, weight_2_stride;
};

// A history is weighed in segments of this many events, each from nothing, merged in order (as kSegment): whole vectors of every
// instruction set, and about 256 KiB of keys.
static constexpr int64_t din_segment(int64_t dim) {
  const int64_t fitting = 65536 / dim / 48 * 48;
  return fitting < 1920 ? fitting : 1920;
}

// Some candidates of one user. A state over some events: maximum, sum of weights, weighted sum of values; 2 + dim_v floats.
struct DinTask {
  DinShape shape;
  int32_t dtype, out_dtype;
  bool softmax;
  const float *network;   // packed, once a run
  const void *candidates; // the task's first
  int64_t candidate_stride, num_candidates;
  HeadRows keys, values;  // from the first event that counts
  int64_t num_keys;
  void *out;              // as candidates
  int64_t out_stride;
  float *scratch;         // din_scratch floats, and a state for each candidate and one more

  // As TargetAttentionTask's: kSegmentOnly leaves the state of segment `segment` of each candidate in `partial`, [candidates][segments].
  enum Phase { kWhole, kSegmentOnly, kMergeOnly } phase;
  int64_t segment;
  float *partial;
};

// -- embedding_bag -------------------------------------------------------------------------------------------------------
// Elements of a row: numbers, or codes of 8 bits (unsigned, or fp8 e4m3), 4 or 2 bits.
enum class RowElements : int32_t { f32, f16, bf16, e4m3, u8, u4, u2 };

struct EmbeddingTask {
  const char *rows;
  int64_t row_bytes;
  int64_t limit;                // ids 0..limit - 1 are good; keys::kAnyId: all are
  const keys::Function *functions;  // from an id to its rows
  int32_t num_functions;        // 0: an id is a row
  int32_t table;                // the caller's number
  bool reports;                 // bad ids are told of
  RowElements elements;
  RowLayout layout;             // of codes
  int32_t dim, pooling, bounds, mean_denominator, index_dtype, offset_dtype, out_dtype;
  bool has_padding_id;
  int64_t padding_id;
  const void *ids, *offsets;    // offsets: of the table's first bag
  const float *weights;         // or null
  char *out;                    // the table's first column of row 0
  int64_t out_row_bytes;
  float *scales;                // JD_I8: of row 0
  int64_t scale_stride;
  int64_t first_bag, last_bag;  // of the table
  int64_t first_id, last_id;    // pooling none only: positions in ids
};

// The first bad id of a task and how many there were.
struct EmbeddingFindings {
  int64_t bad_ids, position, id;
};

// -- hash_lookup ---------------------------------------------------------------------------------------------------------
// Keys first..last-1 of a call.
struct HashLookupTask {
  const int64_t *table_keys;
  int64_t num_slots;
  const char *table_rows;
  int64_t table_row_bytes;   // from row to row
  int64_t *table_scores;     // or null
  int32_t eviction;
  int64_t tick;
  const int64_t *keys;
  int64_t first, last;
  int64_t row_bytes;
  char *rows;                // or null
  int64_t rows_stride;       // bytes
  const char *default_row;   // or null: zeros
  bool keeps_missing;        // or nothing is written
  int64_t *slots;            // or null
  int32_t *outcomes;         // or null
};

// The first missing key of a task (but -1) and how many there were.
struct HashFindings {
  int64_t missing, position;
};

// -- hash_insert, hash_erase ---------------------------------------------------------------------------------------------
// The keys of a call that lie in partitions first..last-1, in their order.
struct HashWriteTask {
  int64_t *table_keys;
  int64_t num_slots;
  char *table_rows;
  int64_t table_row_bytes;   // from row to row
  int64_t *table_scores;     // or null
  uint8_t *table_sights;     // or null
  int32_t eviction, admission;
  int64_t tick;
  const int64_t *keys;
  int64_t count;
  int64_t first, last;
  int64_t row_bytes;
  const char *rows;          // of an insertion
  int64_t rows_stride;       // bytes
  const int64_t *scores;     // or null
  int64_t *slots;            // or null
  int32_t *outcomes;         // or null
  int64_t *evicted_keys;     // or null
};

// The first key that was refused for want of a place, how many there were, and how many keys more the table has.
struct HashWritten {
  int64_t refused, position, grown;
};

// -- blocks --------------------------------------------------------------------------------------------------------------
struct LinearTask {
  const float *x, *weight, *bias, *residual;  // bias and residual may be null
  float *out;
  int64_t x_stride, weight_stride, residual_stride, out_stride;
  int64_t depth;
  int64_t first_row, last_row, first_column, last_column;  // first_column a multiple of linear_columns
  int32_t activation;
  float *scratch;
  bool transposed = false;  // the weight is [depth, columns]
};

struct LayerNormTask {
  const float *x, *weight, *bias, *multiplier;  // multiplier may be null
  float *out;
  int64_t x_stride, multiplier_stride, out_stride;
  int64_t d, first_row, last_row;
  float eps;
};

struct L2NormalizeTask {
  int32_t x_dtype, out_dtype;
  const void *x;
  void *out;
  int64_t x_stride, out_stride;
  int64_t d, first_row, last_row;
  float eps;
};

// Scratch of an attention kernel for one dtype and pair of head dims, in floats: a fixed part for each task, and a part for each of its
// tiles. `partial` is one tile's share of TargetAttentionTask::partial for one segment.
struct AttentionScratch {
  size_t task, tile, partial;
};

// -- the tables, one a family of operators: each is a translation unit of its own (isa/<family>.cpp) -------------------------
struct TargetAttentionKernels {
  int attention_lanes;   // query rows of a tile
  int attention_vector;  // ... and of one vector of it: the fewest rows worth a task
  AttentionScratch (*target_attention_scratch)(int32_t dtype, int32_t dim_qk, int32_t dim_v);
  void (*target_attention)(const TargetAttentionTask &);
};

struct BeamAttentionKernels {
  AttentionScratch (*beam_attention_scratch)(int32_t computing_dtype, int32_t dim_qk, int32_t dim_v);
  void (*beam_attention)(const BeamAttentionTask &);
};

struct HstuAttentionKernels {
  AttentionScratch (*hstu_attention_scratch)(int32_t dtype, int32_t dim_qk, int32_t dim_v);
  void (*hstu_attention)(const HstuAttentionTask &);
};

struct SoftmaxAttentionKernels {
  AttentionScratch (*softmax_attention_scratch)(int32_t dtype, int32_t dim_qk, int32_t dim_v);
  void (*softmax_attention)(const SoftmaxAttentionTask &);
  void (*merge_states)(const MergeStatesTask &);
};

struct DecodeKernels {
  size_t decode_scratch;  // floats
  void (*decode_piece)(const DecodeTask &);  // state := of one piece, or of its next blocks too
  void (*decode_merge)(float *total, const float *newer, int rows, int dim_v);  // of states
  void (*decode_finish)(const DecodeTask &);  // out and lse from the state
};

struct SearchKernels {
  int search_lanes;       // candidates of a tile
  size_t search_scratch;  // floats
  void (*search)(const SearchTask &);
  void (*lsh_signatures)(const SignatureTask &);
};

struct DinKernels {
  size_t (*din_network)(const DinShape &, int32_t dtype);  // floats of a packed network
  size_t (*din_scratch)(const DinShape &, int32_t dtype);
  void (*din_pack)(const DinNetwork &, int32_t dtype, float *packed);
  void (*din_attention)(const DinTask &);
};

struct EmbeddingKernels {
  void (*embedding_bag)(const EmbeddingTask &, EmbeddingFindings &);
  void (*widen_rows)(const EmbeddingTask &);  // rows first_id..last_id - 1, in order: codes to numbers
};

struct HashKernels {
  void (*hash_lookup)(const HashLookupTask &, HashFindings &);
  void (*hash_insert)(const HashWriteTask &, HashWritten &);
  void (*hash_erase)(const HashWriteTask &, HashWritten &);
};

struct BlockKernels {
  int linear_columns;     // of a panel
  size_t linear_scratch;  // floats
  void (*linear)(const LinearTask &);
  // The same of rows of bf16, W rounded to bf16: x and x_stride are as of floats, each two elements; depth counts those, a multiple of 16. Null
  // where no instruction multiplies bf16.
  void (*linear_bf16)(const LinearTask &);
  void (*widen)(const void *from, int32_t dtype, int64_t count, float *to);   // 16 bits to f32
  void (*narrow)(const float *from, int64_t count, int32_t dtype, void *to);  // and back, rounded to nearest even
  void (*layer_norm)(const LayerNormTask &);
  void (*l2_normalize)(const L2NormalizeTask &);
};

// All kernels of an instruction set.
struct KernelTable : TargetAttentionKernels, BeamAttentionKernels, HstuAttentionKernels, SoftmaxAttentionKernels, DecodeKernels,
                     SearchKernels, DinKernels, EmbeddingKernels, HashKernels, RqKernels, TopKKernels, SequenceKernels, BlockKernels {
  const char *isa;
};

}  // namespace jindou::cpu

#endif
