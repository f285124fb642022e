// What the target_attention kernels share: their parameters, how a user's work is cut up, and where partial results go.
//
// Query heads that read the same key/value head are packed with the candidates: row r of a user and key/value head is
// candidate r / group, head kv_head * group + r % group. So one read of the history serves rows = candidates * group
// queries.
//
// A history is cut into pieces by the number of events that the user's candidates attend to (pieces.h), which are
// merged in order. Blocks either take one piece each (`split`: few tiles, long histories; a second kernel merges) or
// all pieces of a tile in turn. Both do the same arithmetic on the same numbers, so the launcher chooses by load and no
// bit changes.
#ifndef JINDOU_KERNELS_ATTENTION_TARGET_ATTENTION_PROBLEM_H
#define JINDOU_KERNELS_ATTENTION_TARGET_ATTENTION_PROBLEM_H

#include "attention/online_softmax.h"
#include "attention/pieces.h"
#include "attention/users.h"

namespace jindou::attention {

// A piece's partial output, d + 2 floats a row, costs a few percent of the work of 1,024 keys; 32 pieces are as many
// blocks as one tile can use. 64 keys are whole tiles for every kernel.
JD_HOST_DEVICE constexpr Pieces target_pieces() { return {1024, 32, 64}; }

// All that is not the inputs.
struct TargetAttentionUsers {
  Offsets candidate_offsets, history_offsets;
  int64_t batch;
  int64_t candidate_rows, history_rows;  // of the tensors
  int64_t max_candidates, max_history;   // a user
  int64_t num_latest;
  int32_t kv_heads;
  int32_t group;                         // query heads a key/value head
  HeadShape shape;
  int32_t split;                         // 1: a block takes one piece
  float silu_norm;                       // 0: softmax; else what SiLU weights are multiplied by
  OutRows out;
  float *partial_outputs;                // scratch, see partial_row
  SoftmaxState *partial_states;
  FaultSink sink;

  JD_DEVICE bool is_silu() const { return silu_norm != 0.0f; }
  JD_DEVICE float normalizer(float sum) const { return is_silu() ? silu_norm : softmax_normalizer(sum); }
};

template <class T>
struct TargetAttentionParams {
  TargetAttentionUsers users;
  Rows<const T> candidates, keys, values, candidate_keys, candidate_values;
  int32_t self_key;
  float scale;  // softmax: log2(e) * scale
};

JD_DEVICE inline User read_user(const TargetAttentionUsers &p, int64_t b) { return read_latest_user(p, b); }

// A block's share of a launch: kRows packed rows of a user and key/value head, pieces [first_piece, last_piece).
struct TargetAttentionItem {
  User user;
  int32_t first_row, kv_head;
  int32_t first_piece, last_piece, pieces;
};

// Number of items of a user.
template <int kRows>
JD_DEVICE uint32_t num_items(const TargetAttentionUsers &p, const User &user) {
  const uint32_t tiles = packed_tiles<kRows>(user.candidates, p.group);
  return tiles * p.kv_heads * (p.split ? target_pieces().number(user.history.length) : 1);
}

// Of user b; what is wrong with the user's offsets is reported once.
template <int kRows>
JD_DEVICE uint32_t count_items(const TargetAttentionUsers &p, int64_t b) {
  const User user = read_user(p, b);
  if (user.fault.fault != JDB_FAULT_NONE && prim::block_idx().x == 0) report_fault(p.sink, user.fault);
  return num_items<kRows>(p, user);
}

// `piece` counts with `split`.
JD_DEVICE inline TargetAttentionItem make_item(const TargetAttentionUsers &p, const User &user, int32_t first_row,
                                               int32_t kv_head, int32_t piece) {
  const int32_t pieces = target_pieces().number(user.history.length);
  return TargetAttentionItem{user, first_row, kv_head, p.split ? piece : 0, p.split ? piece + 1 : pieces, pieces};
}

// Tiles of one head and piece follow each other, so that blocks running together share the history in L2.
template <int kRows>
JD_DEVICE TargetAttentionItem read_item(const TargetAttentionUsers &p, int64_t b, uint32_t item) {
  const User user = read_user(p, b);
  const uint32_t tiles = packed_tiles<kRows>(user.candidates, p.group);
  return make_item(p, user, static_cast<int32_t>(item % tiles) * kRows, static_cast<int32_t>(item / tiles % p.kv_heads),
                   static_cast<int32_t>(item / tiles / p.kv_heads));
}

// A packed query row.
struct TargetAttentionRow {
  bool valid;
  int64_t candidate;  // row of the tensors
  int32_t head;
};

JD_DEVICE inline TargetAttentionRow read_row(const TargetAttentionUsers &p, const TargetAttentionItem &work,
                                             int local) {
  const int32_t packed = work.first_row + local;
  const int32_t candidate = p.group == 1 ? packed : packed / p.group;
  TargetAttentionRow row;
  row.valid = candidate < work.user.candidates.length;
  row.candidate = work.user.candidates.begin + (row.valid ? candidate : 0);
  row.head = work.kv_head * p.group + (packed - candidate * p.group);
  return row;
}

// With `split`, the partial result of a piece of a row lies here, dim_v floats and a state.
JD_DEVICE inline int64_t partial_row(const TargetAttentionUsers &p, int32_t piece, int64_t candidate, int32_t head) {
  const int64_t heads = int64_t{p.kv_heads} * p.group;
  return (piece * p.candidate_rows + candidate) * heads + head;
}

}  // namespace jindou::attention

#endif
