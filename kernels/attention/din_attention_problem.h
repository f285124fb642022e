// What the din_attention kernels share: parameters, and how a user's work is cut up.
//
// A block takes a few candidates of a user, which share the reads of the history, against one piece of it (`split`: few candidates;
// a second kernel merges) or all pieces in turn, with the same arithmetic. A history is cut into pieces by its length alone.
#ifndef JINDOU_KERNELS_ATTENTION_DIN_ATTENTION_PROBLEM_H
#define JINDOU_KERNELS_ATTENTION_DIN_ATTENTION_PROBLEM_H

#include "attention/online_softmax.h"
#include "attention/pieces.h"
#include "attention/users.h"

namespace jindou::din {

// Folding the first layer for a candidate costs as much as one event: 1,024 make it no matter. 128 events are whole tiles for every kernel.
JD_HOST_DEVICE constexpr attention::Pieces din_pieces() { return {1024, 32, 128}; }

// Rows [rows, dim], last dimension contiguous.
struct Matrix {
  const void *data;
  int64_t stride;  // elements

  template <class T>
  JD_DEVICE const T *row(int64_t i) const {
    return static_cast<const T *>(data) + i * stride;
  }
};

// Two neighbouring elements, 2 * sizeof aligned.
JD_DEVICE inline void load_pair(const float *at, float &low, float &high) {
  const prim::Vec2u pair = prim::load8(at);
  low = prim::as_float(pair.x);
  high = prim::as_float(pair.y);
}
template <class T>
JD_DEVICE inline void load_pair(const T *at, float &low, float &high) {
  prim::unpack2<T>(prim::load4(at), low, high);
}

// One hidden layer as it is given; what its activation does not use is null.
struct Layer {
  Matrix weight;
  const float *bias, *slope, *mean, *variance;
};

struct DinProblem {
  attention::Offsets candidate_offsets, history_offsets;
  int64_t batch;
  int64_t candidate_rows, history_rows;  // of the tensors
  int64_t max_candidates, max_history;   // a user
  int64_t num_latest;
  int32_t dim, dim_v, hidden_1, hidden_2;
  int32_t activation;                    // JD_DIN_*
  int32_t softmax;
  float scale;                           // of the logit; softmax: in units of log 2
  float dice_eps;
  Matrix candidates, keys, values;
  Layer first, second;
  const float *weight_3, *bias_3;
  void *out;
  int64_t out_stride;
  int32_t out_dtype;
  int32_t split;
  int32_t most_pieces;                   // of a user
  float *partial_outputs;                // see partial_row
  attention::SoftmaxState *partial_states;
  FaultSink sink;
};

using attention::User;

JD_DEVICE inline User read_user(const DinProblem &p, int64_t b) { return attention::read_latest_user(p, b); }

// A block's share: candidates [first, first + count) of a user against pieces [first_piece, last_piece).
struct DinItem {
  int64_t candidate;  // row of the first
  int32_t count;
  int64_t event;      // row of the first
  int32_t events;
  int32_t first_piece, last_piece, pieces;
};

// Number of items of user b; what is wrong with the user's offsets is reported once.
template <int kCandidates>
JD_DEVICE uint32_t count_items(const DinProblem &p, int64_t b) {
  const User user = read_user(p, b);
  if (user.fault.fault != JDB_FAULT_NONE && prim::block_idx().x == 0) report_fault(p.sink, user.fault);
  const uint32_t groups = static_cast<uint32_t>((user.candidates.length + kCandidates - 1) / kCandidates);
  return groups * (p.split ? din_pieces().number(user.history.length) : 1);
}

// Candidates of one piece follow each other, so that blocks running together share the history in L2.
template <int kCandidates>
JD_DEVICE DinItem read_item(const DinProblem &p, int64_t b, uint32_t index) {
  const User user = read_user(p, b);
  const uint32_t groups = static_cast<uint32_t>((user.candidates.length + kCandidates - 1) / kCandidates);
  const int32_t first = static_cast<int32_t>(index % groups) * kCandidates;
  DinItem item;
  item.candidate = user.candidates.begin + first;
  item.count = user.candidates.length - first < kCandidates ? user.candidates.length - first : kCandidates;
  item.event = user.history.begin;
  item.events = user.history.length;
  item.pieces = din_pieces().number(user.history.length);
  item.first_piece = p.split ? static_cast<int32_t>(index / groups) : 0;
  item.last_piece = p.split ? item.first_piece + 1 : item.pieces;
  return item;
}

// With `split`, the result of a piece of a candidate lies here: dim_v floats and a state.
JD_DEVICE inline int64_t partial_row(const DinProblem &p, int64_t candidate, int32_t piece) {
  return candidate * p.most_pieces + piece;
}

// Without a softmax all states are (0, 0): merging them adds their outputs.
JD_DEVICE inline float normalizer(const DinProblem &p, const attention::SoftmaxState &state) {
  return p.softmax ? attention::softmax_normalizer(state.sum) : 1.0f;
}

JD_DEVICE inline void store_out(const DinProblem &p, int64_t candidate, int32_t column, float x) {
  const int64_t at = candidate * p.out_stride + column;
  if (p.out_dtype == JD_F32) {
    static_cast<float *>(p.out)[at] = x;
  } else if (p.out_dtype == JD_F16) {
    static_cast<prim::f16 *>(p.out)[at] = prim::from_float<prim::f16>(x);
  } else {
    static_cast<prim::bf16 *>(p.out)[at] = prim::from_float<prim::bf16>(x);
  }
}

}  // namespace jindou::din

#endif
