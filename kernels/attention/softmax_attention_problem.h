// What the softmax_attention kernels share: their parameters, how a sequence's work is cut up, and where partial results
// go.
//
// Query heads that read the same key/value head are packed with the queries: row r of a sequence and key/value head is
// query r / group, head kv_head * group + r % group. So a few queries of many heads fill a tile, and one read of the keys
// serves them all. Tiles of rows that see the most keys under a causal mask, the last, come first.
//
// A tile of rows visits the tiles of keys that the mask leaves something of: an interval with at most one hole
// (softmax_mask.h). A sequence with few tiles of rows of its own is also cut over its keys, into pieces whose number
// follows from its lengths alone; pieces are merged in order. Blocks either take one piece each (`split`; a second kernel
// merges) or all pieces of a tile in turn, with the same bits.
#ifndef JINDOU_KERNELS_ATTENTION_SOFTMAX_ATTENTION_PROBLEM_H
#define JINDOU_KERNELS_ATTENTION_SOFTMAX_ATTENTION_PROBLEM_H

#include "attention/jagged.h"
#include "attention/online_softmax.h"
#include "attention/pieces.h"
#include "attention/score_options.h"
#include "attention/softmax_mask.h"

namespace jindou::attention {

// How a sequence is cut over its keys, by its lengths alone. With as many tiles of 64 rows as this it is not cut: alone it
// fills any device. With fewer it is cut until it has as many items, but into no more pieces than merge quickly, and none
// shorter than what its merge is a few percent of.
struct SoftmaxPieces {
  static constexpr int32_t kEnoughItems = 256;
  static constexpr int32_t kMost = 64;
  static constexpr int32_t kLeastKeys = 512;
  static constexpr int32_t kGranule = 128;  // whole tiles of keys for every kernel

  int32_t length, count;  // count >= 1, so that rows without a key still get an answer

  // rows: of each of kv_heads.
  JD_HOST_DEVICE static SoftmaxPieces of(int64_t rows, int32_t kv_heads, int32_t keys) {
    const int64_t tiles = (rows + 63) / 64 * kv_heads;
    const int64_t wanted = tiles >= kEnoughItems ? 1 : kEnoughItems / (tiles > 0 ? tiles : 1);
    const int32_t most = static_cast<int32_t>(wanted < kMost ? wanted : kMost);
    const Pieces pieces{most == 1 ? 0 : kLeastKeys, most, kGranule};
    return {pieces.length(keys), pieces.number(keys)};
  }

  // Upper bound of `count` for up to `keys` keys.
  JD_HOST_DEVICE static int32_t most(int64_t keys) { return Pieces{kLeastKeys, kMost, kGranule}.most_up_to(keys); }
};

// All that is not the inputs.
struct SoftmaxAttentionSequences {
  Offsets q_offsets, k_offsets;
  int64_t batch;
  int64_t query_rows, key_rows;    // of the tensors
  int64_t max_queries, max_keys;   // a sequence
  int32_t kv_heads;
  int32_t group;                   // query heads a key/value head
  HeadShape shape;
  int32_t left, right, sink, prefix, num_global;  // the mask; left and right -1: unbounded
  int32_t split;                   // 1: a block takes one piece
  OutRows out;
  float *lse;                      // [query_rows, heads], or null
  int64_t lse_stride;              // of a row
  float *partial_outputs;          // scratch, see partial_row
  SoftmaxState *partial_states;
  FaultSink fault_sink;
};

template <class T>
struct SoftmaxAttentionParams {
  SoftmaxAttentionSequences sequences;
  Rows<const T> queries, keys, values;
  float scale;  // without score options: log2(e) * scale
  ScoreOptions options;
};

struct SoftmaxSequence {
  Sequence queries, keys;
  Fault fault;
};

JD_DEVICE inline SoftmaxSequence read_softmax_sequence(const SoftmaxAttentionSequences &p, int64_t b) {
  SoftmaxSequence s;
  s.keys = Sequence{0, 0};
  s.fault = read_sequence(p.q_offsets, b, p.batch, p.query_rows, p.max_queries, s.queries);
  s.fault.table = 0;  // which tensor of offsets
  if (s.fault.fault != JDB_FAULT_NONE) return s;
  s.fault = read_sequence(p.k_offsets, b, p.batch, p.key_rows, p.max_keys, s.keys);
  s.fault.table = 1;
  if (s.fault.fault != JDB_FAULT_NONE) s.queries.length = 0;
  return s;
}

JD_DEVICE inline SoftmaxPieces pieces_of(const SoftmaxAttentionSequences &p, const SoftmaxSequence &s) {
  return SoftmaxPieces::of(int64_t{s.queries.length} * p.group, p.kv_heads, s.keys.length);
}

template <int kRows>
JD_DEVICE uint32_t row_tiles(const SoftmaxAttentionSequences &p, const SoftmaxSequence &s) {
  return packed_tiles<kRows>(s.queries, p.group);
}

// Number of items of sequence b; what is wrong with its offsets is reported once.
template <int kRows>
JD_DEVICE uint32_t count_softmax_items(const SoftmaxAttentionSequences &p, int64_t b) {
  const SoftmaxSequence s = read_softmax_sequence(p, b);
  if (s.fault.fault != JDB_FAULT_NONE && prim::block_idx().x == 0) report_fault(p.fault_sink, s.fault);
  return row_tiles<kRows>(p, s) * p.kv_heads * (p.split ? pieces_of(p, s).count : 1);
}

// A block's share of a launch: kRows packed rows of a sequence and key/value head, pieces [first_piece, last_piece).
struct SoftmaxItem {
  int64_t index;  // of the sequence
  Sequence queries, keys;
  SoftmaxMask mask;
  SoftmaxMask::Keys seen;  // by all rows of the tile together
  SoftmaxPieces pieces;
  int32_t first_row, last_row, kv_head;  // packed rows [first_row, last_row)
  int32_t first_piece, last_piece;

  // The tiles of keys to visit in a piece: those before the hole of `seen`, those behind it.
  int32_t first_run, first_run_tiles, second_run, tiles;
  JD_DEVICE int32_t tile(int32_t i) const {
    return i < first_run_tiles ? first_run + i : second_run + (i - first_run_tiles);
  }

  template <int kKeys>
  JD_DEVICE void visit(int32_t piece) {
    const int32_t begin = piece * (pieces.length / kKeys), end = begin + pieces.length / kKeys;
    const int32_t first_end = lesser((seen.hole_begin + kKeys - 1) / kKeys, end);
    first_run = greater(seen.begin / kKeys, begin);
    first_run_tiles = seen.begin < seen.hole_begin ? greater(first_end - first_run, 0) : 0;
    second_run = greater(seen.hole_end / kKeys, begin);
    if (first_run_tiles > 0) second_run = greater(second_run, first_end);
    const int32_t second_end = lesser((seen.end + kKeys - 1) / kKeys, end);
    tiles = first_run_tiles + (seen.hole_end < seen.end ? greater(second_end - second_run, 0) : 0);
  }

 private:
  JD_DEVICE static int32_t lesser(int32_t a, int32_t b) { return a < b ? a : b; }
  JD_DEVICE static int32_t greater(int32_t a, int32_t b) { return a < b ? b : a; }
};

JD_DEVICE inline int32_t query_of(const SoftmaxAttentionSequences &p, int32_t packed) {
  return p.group == 1 ? packed : packed / p.group;
}

// `count` packed rows from first_row on, or as many as there are; `piece` counts with `split`.
JD_DEVICE inline SoftmaxItem make_softmax_item(const SoftmaxAttentionSequences &p, int64_t b, const SoftmaxSequence &s, int32_t first_row,
                                               int32_t count, int32_t kv_head, int32_t piece) {
  const SoftmaxMask mask(s.queries.length, s.keys.length, p.left, p.right, p.sink, p.prefix, p.num_global);
  const SoftmaxPieces pieces = pieces_of(p, s);
  const int64_t rows = int64_t{s.queries.length} * p.group, last = int64_t{first_row} + count;
  const int32_t last_row = static_cast<int32_t>(last < rows ? last : rows);
  const SoftmaxMask::Keys seen = mask.tile_keys(query_of(p, first_row), query_of(p, last_row - 1) + 1);
  const int32_t first_piece = p.split ? piece : 0;
  return SoftmaxItem{b,
                     s.queries,
                     s.keys,
                     mask,
                     seen,
                     pieces,
                     first_row,
                     last_row,
                     kv_head,
                     first_piece,
                     p.split ? first_piece + 1 : pieces.count,
                     0,
                     0,
                     0,
                     0};
}

template <int kRows>
JD_DEVICE SoftmaxItem read_softmax_item(const SoftmaxAttentionSequences &p, int64_t b, uint32_t item) {
  const SoftmaxSequence s = read_softmax_sequence(p, b);
  // Heads of a tile follow each other, so that blocks that run together read the same rows of memory.
  const uint32_t tiles = row_tiles<kRows>(p, s), tile = tiles - 1 - item / p.kv_heads % tiles;
  return make_softmax_item(p, b, s, static_cast<int32_t>(tile * kRows), kRows, static_cast<int32_t>(item % p.kv_heads),
                           static_cast<int32_t>(item / p.kv_heads / tiles));
}

// A packed query row.
struct SoftmaxRow {
  bool valid;
  int64_t token;  // row of the tensors
  int32_t query;  // of the sequence; of rows past the last, the last one's
  int32_t head;
};

JD_DEVICE inline SoftmaxRow read_row(const SoftmaxAttentionSequences &p, const SoftmaxItem &item, int local) {
  const int32_t asked = item.first_row + local;
  const bool valid = asked < item.last_row;
  const int32_t packed = valid ? asked : item.last_row - 1, query = query_of(p, packed);
  return SoftmaxRow{valid, item.queries.begin + query, query, item.kv_head * p.group + (packed - query * p.group)};
}

// With `split`, the partial result of a piece of a row lies here, dim_v floats and a state.
JD_DEVICE inline int64_t partial_row(const SoftmaxAttentionSequences &p, int32_t piece, int64_t token, int32_t head) {
  const int64_t heads = int64_t{p.kv_heads} * p.group;
  return (piece * p.query_rows + token) * heads + head;
}

// The natural logarithm of a row's sum of exponentials.
JD_DEVICE inline void store_lse(const SoftmaxAttentionSequences &p, int64_t token, int32_t head, float top, float sum) {
  if (p.lse == nullptr) return;
  p.lse[token * p.lse_stride + head] =
      sum == 0.0f ? -INFINITY : (top + prim::log2_approx(sum)) * 0.6931471805599453f;
}

}  // namespace jindou::attention

#endif
