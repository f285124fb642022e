// How the work of a reordered STCA layer is cut up: as target_attention's (target_attention_problem.h), with all heads packed on one tensor of
// events that serves as keys and values, and with shorter pieces where a user has few candidates.
//
// A row's partial result is as wide as the model, so that pieces are dear; but one tile of rows (two candidates of 16 heads) has no other way to
// occupy a GPU. So pieces are of 96 events for each tile of rows that the plan allows a user, at most 1,024, and at most 128 of them: about a
// hundred blocks a user for histories of 10,000. What a piece is follows from the plan and the history's length: a run changes no bit.
#ifndef JINDOU_KERNELS_ATTENTION_STCA_ATTENTION_PROBLEM_H
#define JINDOU_KERNELS_ATTENTION_STCA_ATTENTION_PROBLEM_H

#include "attention/target_attention_problem.h"

namespace jindou::attention {

constexpr int32_t kStcaTileRows = 32;  // that pieces are reckoned by
constexpr int32_t kStcaPieceKeys = 96;
constexpr int32_t kStcaMostPieceKeys = 1024;

// The least events of a piece.
inline int32_t stca_piece_keys(int64_t max_candidates, int64_t heads) {
  const int64_t tiles = (max_candidates * heads + kStcaTileRows - 1) / kStcaTileRows;
  return static_cast<int32_t>(tiles * kStcaPieceKeys < kStcaMostPieceKeys ? tiles * kStcaPieceKeys : kStcaMostPieceKeys);
}

// 16 events are whole tiles for every kernel.
JD_HOST_DEVICE constexpr Pieces stca_pieces(int32_t least) { return {least, 128, 16}; }

struct StcaUsers : TargetAttentionUsers {
  int32_t piece_keys;

  JD_DEVICE Pieces pieces() const { return stca_pieces(piece_keys); }
};

JD_DEVICE inline int32_t pieces_of(const StcaUsers &p, const User &user) { return p.pieces().number(user.history.length); }

// Of user b; what is wrong with the user's offsets is reported once.
template <int kRows>
JD_DEVICE uint32_t count_items(const StcaUsers &p, int64_t b) {
  const User user = read_user(p, b);
  if (user.fault.fault != JDB_FAULT_NONE && prim::block_idx().x == 0) report_fault(p.sink, user.fault);
  const uint32_t tiles = packed_tiles<kRows>(user.candidates, p.group);
  return tiles * (p.split ? pieces_of(p, user) : 1);
}

// Tiles of one piece follow each other, so that blocks running together share its events in L2.
template <int kRows>
JD_DEVICE TargetAttentionItem read_item(const StcaUsers &p, int64_t b, uint32_t item) {
  TargetAttentionItem work;
  work.user = read_user(p, b);
  const uint32_t tiles = packed_tiles<kRows>(work.user.candidates, p.group);
  work.first_row = static_cast<int32_t>(item % tiles) * kRows;
  work.kv_head = 0;
  work.pieces = pieces_of(p, work.user);
  work.first_piece = p.split ? static_cast<int32_t>(item / tiles) : 0;
  work.last_piece = p.split ? work.first_piece + 1 : work.pieces;
  return work;
}

}  // namespace jindou::attention

#endif
