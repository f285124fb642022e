// What the kernels of beam_attention and longer_attention share: parameters, and how a request's work is cut up. A user of
// longer_attention is a request: its rows are beams, its history their prefix, the globals of a candidate the suffix of its rows, and the
// shared globals keys that all rows see (core/longer_as_beams.h).
//
// A request is to its beams what a user is to the candidates of target_attention, and its work is cut up likewise: the query heads
// that read one key/value head are packed with the beams, row r is beam r / group, head kv_head * group + r % group; the prefix is cut
// into pieces as there, by its length alone, which are merged in order. Either a block takes one piece (`split`: a
// second kernel merges) or all of them in turn, with the same arithmetic.
#ifndef JINDOU_KERNELS_DECODE_BEAM_ATTENTION_PROBLEM_H
#define JINDOU_KERNELS_DECODE_BEAM_ATTENTION_PROBLEM_H

#include "attention/target_attention_problem.h"
#include "core/longer_rows.h"
#include "decode/pages.h"

namespace jindou::decode {

// ancestry [batch, levels, slots]. Without data the slot of a row is the number of its candidate.
struct Ancestry {
  const int32_t *data;
  int64_t request_stride, level_stride;
  int32_t levels, slots;

  JD_DEVICE int32_t slot(int64_t request, int32_t level, int32_t beam) const {
    return data[request * request_stride + level * level_stride + beam];
  }
  // A slot is looked at before it is used: one out of range names no row.
  JD_DEVICE bool valid(int32_t slot) const { return static_cast<uint32_t>(slot) < static_cast<uint32_t>(slots); }
};

// [batch, levels, slots, heads, dim]
template <class T>
struct SuffixRows {
  const T *data;
  int64_t request_stride, level_stride, slot_stride, head_stride;

  JD_DEVICE const T *at(int64_t request, int32_t level, int32_t slot, int32_t head) const {
    return data + request * request_stride + level * level_stride + slot * slot_stride + head * head_stride;
  }
};

// Of longer_attention; all zero otherwise.
struct GlobalRows {
  attention::Offsets offsets;  // without data: there are none
  int64_t rows, most;          // of the tensors, of a user
  int32_t shared, own;         // s, and c of each candidate
  int32_t candidates_only;
  int64_t most_recent;         // events among a user's queries
};

// All that is not the inputs.
struct BeamProblem {
  attention::Offsets beam_offsets;
  attention::Offsets prefix_offsets;     // of a prefix in rows
  const int32_t *seq_lens;               // of one in pages, else null
  const int32_t *suffix_lens;            // null: all levels
  int64_t batch, beam_rows, prefix_rows; // rows of the tensors
  int64_t max_beams, max_prefix;         // of a request
  int32_t kv_heads, group;
  attention::HeadShape shape;
  paged::PageTable table;
  Ancestry ancestry;
  int32_t is_longer;
  GlobalRows globals;
  attention::OutRows out;
  float *lse;                            // [beam rows, heads], or null
  int64_t lse_row, lse_head;
  int32_t split;                         // 1: a block takes one piece
  float *partial_outputs;                // scratch, see partial_row
  attention::SoftmaxState *partial_states;
  FaultSink sink;
};

template <class T>
struct BeamParams {
  BeamProblem problem;
  attention::Rows<const T> queries, keys, values;
  paged::Pages key_pages, value_pages;
  paged::PageScales key_scales, value_scales;
  SuffixRows<T> suffix_keys, suffix_values;
  attention::Rows<const T> global_keys, global_values;
  float scale;  // * log2(e)
  int32_t cache_is_i8;
};

// One request; a refused one has no beams.
struct BeamRequest {
  attention::Sequence beams, prefix;  // prefix.begin: of one in rows
  int32_t levels;
  int32_t shared;        // the first of the user's globals, that all rows see
  int64_t first_global;  // of the tensors
  LongerRows rows;       // what of the prefix a beam sees
  Fault fault;
};

// What the rows of a user are; one that is refused has none.
JD_DEVICE inline void read_user(const BeamProblem &p, int64_t b, BeamRequest &r) {
  const GlobalRows &g = p.globals;
  attention::Sequence globals{0, 0};
  if (g.offsets.data != nullptr) {
    r.fault = attention::read_sequence(g.offsets, b, p.batch, g.rows, g.most, globals);
    r.fault.table = 2;  // global_offsets
    if (r.fault.fault != JDB_FAULT_NONE) return;
  }
  const bool candidates_only = g.candidates_only != 0;
  const LongerUser user{globals.length, r.beams.length, r.prefix.length};
  const int64_t before = user.global_rows(g.shared, candidates_only);
  switch (user.judge(g.shared, g.own, candidates_only, g.most_recent)) {
    case LongerUser::kGood: break;
    case LongerUser::kGlobals: r.fault = Fault{JDB_FAULT_GLOBALS, -1, b, user.globals, g.shared}; return;
    case LongerUser::kFewRows: r.fault = Fault{JDB_FAULT_FEW_QUERIES, -1, b, user.rows, before}; return;
    case LongerUser::kManyRows:
      r.fault = Fault{JDB_FAULT_QUERIES, -1, b, user.rows - before, user.most_recent(candidates_only, g.most_recent)};
      return;
  }
  r.rows = user.read(g.shared, g.own, candidates_only);
  r.levels = user.globals > g.shared ? g.own : 0;
  r.shared = g.shared;
  r.first_global = globals.begin;
}

JD_DEVICE inline BeamRequest read_request(const BeamProblem &p, int64_t b) {
  BeamRequest r;
  r.prefix = attention::Sequence{0, 0};
  r.shared = 0;
  r.first_global = 0;
  r.rows = LongerRows::beams(0, 0);
  r.levels = p.suffix_lens == nullptr ? p.ancestry.levels : p.suffix_lens[b];
  r.fault = attention::read_sequence(p.beam_offsets, b, p.batch, p.beam_rows, p.max_beams, r.beams);
  r.fault.table = 0;  // beam_offsets
  if (r.fault.fault != JDB_FAULT_NONE) return r;
  if (r.levels < 0 || r.levels > p.ancestry.levels) {
    r.fault = Fault{JDB_FAULT_SUFFIX_LENGTH, -1, b, r.levels, p.ancestry.levels};
  } else if (p.seq_lens == nullptr) {
    r.fault = attention::read_sequence(p.prefix_offsets, b, p.batch, p.prefix_rows, p.max_prefix, r.prefix);
    r.fault.table = 1;  // prefix_offsets
  } else {
    const int64_t keys = p.seq_lens[b];
    if (keys < 0 || keys > p.max_prefix) {
      r.fault = Fault{JDB_FAULT_CACHE_LENGTH, -1, b, keys, p.max_prefix};
    } else {
      r.prefix.length = static_cast<int32_t>(keys);
    }
  }
  if (r.fault.fault == JDB_FAULT_NONE) {
    r.rows = LongerRows::beams(r.beams.length, r.prefix.length);
    if (p.is_longer) read_user(p, b, r);
  }
  if (r.fault.fault != JDB_FAULT_NONE) r.beams.length = 0;
  return r;
}

template <int kRows>
JD_DEVICE uint32_t row_tiles(const BeamProblem &p, const BeamRequest &r) {
  return attention::packed_tiles<kRows>(r.beams, p.group);
}

// Number of items of request b; what is wrong with its offsets and lengths is reported once.
template <int kRows>
JD_DEVICE uint32_t count_items(const BeamProblem &p, int64_t b) {
  const BeamRequest r = read_request(p, b);
  if (r.fault.fault != JDB_FAULT_NONE && prim::block_idx().x == 0) report_fault(p.sink, r.fault);
  return row_tiles<kRows>(p, r) * p.kv_heads * (p.split ? attention::target_pieces().number(r.prefix.length) : 1);
}

// A block's share of a launch: kRows packed rows of a request and key/value head, pieces [first_piece, last_piece).
struct BeamItem {
  BeamRequest request;
  int64_t number;        // of the request
  const int32_t *pages;  // null: the prefix lies in rows
  int32_t first_row, kv_head;
  int32_t first_piece, last_piece, pieces;
  int32_t most_seen, least_seen;  // keys of the prefix that some row sees, and that all do
  int32_t levels;                 // of the suffixes of these rows
  int64_t suffix;                 // where they begin, by SuffixRows' request_stride
};

// Tiles of one head and piece follow each other, so that blocks running together share the prefix in L2.
template <int kRows>
JD_DEVICE BeamItem read_item(const BeamProblem &p, int64_t b, uint32_t item) {
  BeamItem work;
  work.request = read_request(p, b);
  work.number = b;
  work.pages = p.seq_lens == nullptr ? nullptr : p.table.row(b);
  const uint32_t tiles = row_tiles<kRows>(p, work.request);
  work.first_row = static_cast<int32_t>(item % tiles) * kRows;
  work.kv_head = static_cast<int32_t>(item / tiles % p.kv_heads);
  work.pieces = attention::target_pieces().number(work.request.prefix.length);
  work.first_piece = p.split ? static_cast<int32_t>(item / tiles / p.kv_heads) : 0;
  work.last_piece = p.split ? work.first_piece + 1 : work.pieces;
  const int32_t first = work.first_row / p.group, end = (work.first_row + kRows - 1) / p.group + 1;
  const int32_t last = end < work.request.beams.length ? end : work.request.beams.length;
  work.most_seen = work.request.rows.most_seen(first, last);
  work.least_seen = work.request.rows.least_seen(first, last);
  work.levels = work.request.rows.has_candidates(first, last) ? work.request.levels : 0;
  work.suffix = p.is_longer ? work.request.first_global + work.request.shared : b;
  return work;
}

// Where the key of a beam at a level lies; one that the ancestry says is not valid names none.
JD_DEVICE inline int32_t slot_of(const BeamProblem &p, const BeamItem &work, int32_t level, int32_t beam) {
  return p.ancestry.data == nullptr ? work.request.rows.candidate(beam) : p.ancestry.slot(work.number, level, beam);
}

// A packed query row.
struct BeamRow {
  bool valid;
  int32_t beam;   // of the request
  int64_t token;  // of the tensors
  int32_t head;
};

JD_DEVICE inline BeamRow read_row(const BeamProblem &p, const BeamItem &work, int local) {
  const int32_t packed = work.first_row + local;
  const int32_t beam = p.group == 1 ? packed : packed / p.group;
  BeamRow row;
  row.valid = beam < work.request.beams.length;
  row.beam = row.valid ? beam : 0;
  row.token = work.request.beams.begin + row.beam;
  row.head = work.kv_head * p.group + (packed - beam * p.group);
  return row;
}

// With `split`, the partial result of a piece of a row lies here, dim_v floats and a state.
JD_DEVICE inline int64_t partial_row(const BeamProblem &p, int32_t piece, int64_t token, int32_t head) {
  const int64_t heads = int64_t{p.kv_heads} * p.group;
  return (piece * p.beam_rows + token) * heads + head;
}

JD_DEVICE inline void store_lse(const BeamProblem &p, int64_t token, int32_t head, const attention::SoftmaxState &state) {
  if (p.lse == nullptr) return;
  p.lse[token * p.lse_row + head * p.lse_head] =
      state.sum == 0.0f ? -INFINITY : (state.top + prim::log2_approx(state.sum)) * 0.6931471805599453f;
}

}  // namespace jindou::decode

#endif
