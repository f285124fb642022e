// What the history_search kernels share: parameters, and how a user's work is cut up.
//
// A history is searched in rounds (top_k.h), the most recent events first, and a round of it in pieces of `piece_events`. A tile is
// 64 candidates of one user. A block takes one tile and piece and leaves in the candidates' lists what may be among the k best; a second kernel
// merges the lists of a candidate. Lists are exact, so the launcher cuts by load and memory, and no result changes. A launch serves
// the candidates of a window of rows.
#ifndef JINDOU_KERNELS_SEARCH_SEARCH_PROBLEM_H
#define JINDOU_KERNELS_SEARCH_SEARCH_PROBLEM_H

#include "attention/users.h"
#include "search/top_k_merge.h"

namespace jindou::search {

struct SearchProblem {
  attention::Offsets candidate_offsets, history_offsets;
  int64_t batch;
  int64_t candidate_rows, history_rows;  // of the tensors
  int64_t max_candidates, max_history;   // a user
  int64_t first_row, last_row;           // the window
  int32_t newer, events;                 // the round: so many events of a history, behind those of earlier rounds
  int32_t carries, last;                 // 1: there was a round before, 1: there is none after
  int32_t k, room;
  int32_t piece_events;
  int32_t slots;                         // lists a candidate: what earlier rounds have found, then one a piece
  uint64_t *lists;                       // [rows of the window][slots][room]
  int32_t *counts_of_lists;              // [rows of the window][slots]
  float *thresholds;                     // [rows of the window]: of what is carried
  int32_t *indices;                      // of row 0
  int64_t index_row;                     // stride
  float *scores;                         // or null
  int64_t score_row;
  int32_t *counts;                       // or null
  int32_t distances;                     // 1: scores are Hamming distances, the smaller the better
  FaultSink sink;

  JD_DEVICE int64_t list_number(int64_t row, int32_t slot) const { return (row - first_row) * slots + slot; }
  JD_DEVICE uint64_t *list(int64_t row, int32_t slot) const { return lists + list_number(row, slot) * room; }

  // Of a history of that length: where its events of the round end, and how many pieces they are.
  JD_DEVICE int32_t round_end(int32_t length) const { return length > newer ? length - newer : 0; }
  JD_DEVICE int32_t round_begin(int32_t length) const {
    const int32_t end = round_end(length);
    return end > events ? end - events : 0;
  }
  JD_DEVICE int32_t pieces(int32_t length) const {
    const int32_t count = round_end(length) - round_begin(length);
    return count == 0 ? 0 : (count - 1) / piece_events + 1;
  }

  // What is known of a candidate's history when the round has been searched.
  JD_DEVICE TopKLists lists_of(int64_t row, int32_t length) const {
    const int64_t first = list_number(row, carries ? 0 : 1);
    return TopKLists{lists + first * room, counts_of_lists + first, pieces(length) + carries, room};
  }
};

using attention::User;

// Candidates: those in the window.
JD_DEVICE inline User read_user(const SearchProblem &p, int64_t b) {
  User user = attention::read_whole_user(p, b);
  if (user.fault.fault != JDB_FAULT_NONE) return user;
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
  int32_t slot;           // of their lists
  int64_t history;        // the user's first event among all
  int32_t begin, end;     // events of the piece, within the user's history
};

// What is wrong with a user's offsets is reported once.
template <int kCandidates>
JD_DEVICE inline uint32_t count_items(const SearchProblem &p, int64_t b) {
  const User user = read_user(p, b);
  if (user.fault.fault != JDB_FAULT_NONE && prim::block_idx().x == 0 && p.first_row == 0 && p.newer == 0) report_fault(p.sink, user.fault);
  const uint32_t tiles = static_cast<uint32_t>((user.candidates.length + kCandidates - 1) / kCandidates);
  return tiles * static_cast<uint32_t>(p.pieces(user.history.length));
}

// Tiles of one piece follow each other, so that blocks running together share it in L2.
template <int kCandidates>
JD_DEVICE inline SearchItem read_item(const SearchProblem &p, int64_t b, uint32_t item) {
  const User user = read_user(p, b);
  const uint32_t tiles = static_cast<uint32_t>((user.candidates.length + kCandidates - 1) / kCandidates);
  const int32_t first = static_cast<int32_t>(item % tiles) * kCandidates;
  SearchItem work;
  work.first_row = user.candidates.begin + first;
  work.rows = user.candidates.length - first < kCandidates ? user.candidates.length - first : kCandidates;
  const int32_t piece = static_cast<int32_t>(item / tiles), end = p.round_end(user.history.length);
  work.slot = piece + 1;
  work.history = user.history.begin;
  work.begin = p.round_begin(user.history.length) + piece * p.piece_events;
  work.end = end - work.begin < p.piece_events ? end : work.begin + p.piece_events;
  return work;
}

}  // namespace jindou::search

#endif
