// What the history_search kernels share: parameters, and how a user's work is cut up.
//
// A tile is 64 candidates of one user; a history is cut into pieces of `piece_events`. A block takes one tile and piece and leaves
// the k best of each candidate there in its list; a second kernel merges the lists of a candidate's pieces, sorts and writes. Lists
// are exact, so the launcher cuts by load and memory, and no result changes. A launch serves the candidates of a window of rows.
#ifndef JINDOU_KERNELS_SEARCH_SEARCH_PROBLEM_H
#define JINDOU_KERNELS_SEARCH_SEARCH_PROBLEM_H

#include "attention/jagged.h"
#include "search/top_k.h"

namespace jindou::search {

struct SearchProblem {
  attention::Offsets candidate_offsets, history_offsets;
  int64_t batch;
  int64_t candidate_rows, history_rows;  // of the tensors
  int64_t max_candidates, max_history;   // a user
  int64_t first_row, last_row;           // the window
  int32_t k, room;
  int32_t piece_events, most_pieces;
  uint64_t *lists;                       // [rows of the window][most_pieces][room]
  int32_t *indices;                      // of row 0
  int64_t index_row;                     // stride
  float *scores;                         // or null
  int64_t score_row;
  int32_t *counts;                       // or null
  int32_t distances;                     // 1: scores are Hamming distances, the smaller the better
  FaultSink sink;

  JD_DEVICE uint64_t *list(int64_t row, int32_t piece) const {
    return lists + ((row - first_row) * most_pieces + piece) * room;
  }
  JD_DEVICE int32_t pieces(int32_t events) const { return events <= piece_events ? 1 : (events - 1) / piece_events + 1; }
};

// One user; candidates: those in the window.
struct SearchUser {
  attention::Sequence candidates, history;
  Fault fault;
};

JD_DEVICE inline SearchUser read_user(const SearchProblem &p, int64_t b) {
  SearchUser user;
  user.history = attention::Sequence{0, 0};
  user.fault = attention::read_sequence(p.candidate_offsets, b, p.batch, p.candidate_rows, p.max_candidates, user.candidates);
  user.fault.table = 0;  // which tensor of offsets
  if (user.fault.fault != JDB_FAULT_NONE) return user;
  user.fault = attention::read_sequence(p.history_offsets, b, p.batch, p.history_rows, p.max_history, user.history);
  user.fault.table = 1;
  if (user.fault.fault != JDB_FAULT_NONE) {
    user.candidates.length = 0;
    return user;
  }
  const int64_t end = user.candidates.begin + user.candidates.length;
  const int64_t first = user.candidates.begin > p.first_row ? user.candidates.begin : p.first_row;
  const int64_t last = end < p.last_row ? end : p.last_row;
  user.candidates = attention::Sequence{first, static_cast<int32_t>(last > first ? last - first : 0)};
  return user;
}

// The share of a block.
struct SearchItem {
  int64_t first_row;      // of queries and results
  int32_t rows;           // 1..kCandidates of the tile
  int32_t piece;
  int64_t history;        // the user's first event among all
  int32_t begin, end;     // events of the piece, within the user's history
};

// What is wrong with a user's offsets is reported once.
template <int kCandidates>
JD_DEVICE inline uint32_t count_items(const SearchProblem &p, int64_t b) {
  const SearchUser user = read_user(p, b);
  if (user.fault.fault != JDB_FAULT_NONE && prim::block_idx().x == 0 && p.first_row == 0) report_fault(p.sink, user.fault);
  const uint32_t tiles = static_cast<uint32_t>((user.candidates.length + kCandidates - 1) / kCandidates);
  return tiles * static_cast<uint32_t>(p.pieces(user.history.length));
}

// Tiles of one piece follow each other, so that blocks running together share it in L2.
template <int kCandidates>
JD_DEVICE inline SearchItem read_item(const SearchProblem &p, int64_t b, uint32_t item) {
  const SearchUser user = read_user(p, b);
  const uint32_t tiles = static_cast<uint32_t>((user.candidates.length + kCandidates - 1) / kCandidates);
  const int32_t first = static_cast<int32_t>(item % tiles) * kCandidates;
  SearchItem work;
  work.first_row = user.candidates.begin + first;
  work.rows = user.candidates.length - first < kCandidates ? user.candidates.length - first : kCandidates;
  work.piece = static_cast<int32_t>(item / tiles);
  work.history = user.history.begin;
  work.begin = work.piece * p.piece_events;
  work.end = user.history.length - work.begin < p.piece_events ? user.history.length : work.begin + p.piece_events;
  return work;
}

}  // namespace jindou::search

#endif
