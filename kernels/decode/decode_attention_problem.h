// What the decode_attention kernels share: parameters, and how a sequence's work is cut up.
//
// The query heads that read one key/value head are packed with the queries: row r is query r / group, head kv_head * group + r %
// group; a tile is 16 rows. A sequence is cut into pieces by its length alone (attention/pieces.h), which are merged
// in order. Either a block takes one piece (`split`: a second kernel merges) or all of them in turn, with the same arithmetic.
#ifndef JINDOU_KERNELS_DECODE_DECODE_ATTENTION_PROBLEM_H
#define JINDOU_KERNELS_DECODE_DECODE_ATTENTION_PROBLEM_H

#include "attention/jagged.h"
#include "attention/pieces.h"
#include "decode/pages.h"

namespace jindou::decode {

// 512 keys of one head are read in a few microseconds, many times what their partial result costs; 64 pieces a tile and head
// fill a device with one sequence of 32k keys. 128 keys are whole tiles for every warp of every kernel.
JD_HOST_DEVICE constexpr attention::Pieces decode_pieces() { return {512, 64, 128}; }

// Of one row over some keys; scores in units of log 2.
struct State {
  float top;  // -inf: no key yet
  float sum;
};

struct Factors {
  float older, newer;
};

// older := both. Either may have seen no key.
JD_DEVICE inline Factors merge(State &older, const State &newer) {
  const float top = prim::max(older.top, newer.top);
  if (top == -INFINITY) return Factors{0.0f, 0.0f};
  const Factors f{prim::exp2_approx(older.top - top), prim::exp2_approx(newer.top - top)};
  older = State{top, prim::fma(older.sum, f.older, newer.sum * f.newer)};
  return f;
}

// All that does not depend on the inputs' dtype.
struct DecodeProblem {
  attention::Offsets q_offsets;
  const int32_t *seq_lens;
  int64_t batch, query_rows;
  int64_t max_queries, most_rows;  // of a sequence
  int32_t kv_heads, group;
  int32_t dim_qk, dim_v;
  paged::PageTable table;
  void *out;
  int64_t out_row, out_head;       // strides
  int32_t out_dtype;
  float *lse;                      // [query rows, heads], or null
  int64_t lse_row, lse_head;
  int32_t split;
  int32_t most_pieces;             // of a sequence
  float *partial_outputs;          // see partial_row; without `split`, 16 * kD floats a block
  State *partial_states;           // likewise; without `split`, 16 a block
  FaultSink sink;
};

struct DecodeSequence {
  attention::Sequence queries;
  int32_t keys;
  Fault fault;
};

// A refused sequence has no queries.
JD_DEVICE inline DecodeSequence read_sequence(const DecodeProblem &p, int64_t b) {
  DecodeSequence s;
  s.keys = 0;
  s.fault = attention::read_sequence(p.q_offsets, b, p.batch, p.query_rows, p.max_queries, s.queries);
  s.fault.table = 1;  // q_offsets
  if (s.fault.fault != JDB_FAULT_NONE) return s;
  const int64_t keys = p.seq_lens[b];
  if (keys < 0 || keys > p.most_rows) {
    s.fault = Fault{JDB_FAULT_CACHE_LENGTH, -1, b, keys, p.most_rows};
  } else if (s.queries.length > keys) {
    s.fault = Fault{JDB_FAULT_QUERIES, 1, b, s.queries.length, keys};
  } else {
    s.keys = static_cast<int32_t>(keys);
  }
  if (s.fault.fault != JDB_FAULT_NONE) s.queries.length = 0;
  return s;
}

JD_DEVICE inline uint32_t row_tiles(const DecodeProblem &p, const DecodeSequence &s) {
  return attention::packed_tiles<16>(s.queries, p.group);
}

JD_DEVICE inline uint32_t count_items(const DecodeProblem &p, int64_t b) {
  const DecodeSequence s = read_sequence(p, b);
  if (s.fault.fault != JDB_FAULT_NONE && prim::block_idx().x == 0) report_fault(p.sink, s.fault);
  return row_tiles(p, s) * p.kv_heads * (p.split ? decode_pieces().number(s.keys) : 1);
}

struct DecodeItem {
  DecodeSequence sequence;
  const int32_t *pages;
  int32_t first_row, kv_head;
  int32_t first_piece, last_piece, pieces;
};

JD_DEVICE inline DecodeItem read_item(const DecodeProblem &p, int64_t b, uint32_t item) {
  DecodeItem work;
  work.sequence = read_sequence(p, b);
  work.pages = p.table.row(b);
  const uint32_t tiles = row_tiles(p, work.sequence);
  work.first_row = static_cast<int32_t>(item % tiles) * 16;
  work.kv_head = static_cast<int32_t>(item / tiles % p.kv_heads);
  work.pieces = decode_pieces().number(work.sequence.keys);
  work.first_piece = p.split ? static_cast<int32_t>(item / tiles / p.kv_heads) : 0;
  work.last_piece = p.split ? work.first_piece + 1 : work.pieces;
  return work;
}

// A packed row.
struct DecodeRow {
  bool valid;
  int64_t token;  // of queries and out
  int32_t query;  // of the sequence
  int32_t head;
};

JD_DEVICE inline DecodeRow read_row(const DecodeProblem &p, const DecodeItem &work, int local) {
  const int32_t packed = work.first_row + local;
  const int32_t query = packed / p.group;
  const bool valid = query < work.sequence.queries.length;
  return DecodeRow{valid, work.sequence.queries.begin + (valid ? query : 0), valid ? query : 0,
                   work.kv_head * p.group + (packed - query * p.group)};
}

JD_DEVICE inline int64_t partial_row(const DecodeProblem &p, int64_t token, int32_t head, int32_t piece) {
  return (token * p.kv_heads * p.group + head) * p.most_pieces + piece;
}

// Eight columns of a finished row, and with the first of them its lse.
JD_DEVICE inline void finish(const DecodeProblem &p, int64_t token, int32_t head, int32_t column, const State &state,
                             float (&x)[8]) {
  const float normalizer = state.sum == 0.0f ? 0.0f : prim::rcp_approx(state.sum);
#pragma unroll
  for (int i = 0; i < 8; ++i) x[i] *= normalizer;
  paged::store_elements(p.out, token * p.out_row + head * p.out_head + column, p.out_dtype, x);
  if (p.lse != nullptr && column == 0) {
    p.lse[token * p.lse_row + head * p.lse_head] =
        state.sum == 0.0f ? -INFINITY : (state.top + prim::log2_approx(state.sum)) * 0.6931471805599453f;
  }
}

}  // namespace jindou::decode

#endif
