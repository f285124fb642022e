// A user: candidates, and the history that all of them look at. For every operator over the two.
#ifndef JINDOU_KERNELS_ATTENTION_USERS_H
#define JINDOU_KERNELS_ATTENTION_USERS_H

#include "attention/jagged.h"

namespace jindou::attention {

struct User {
  Sequence candidates, history;
  Fault fault;
};

// P: parameters with candidate_offsets, candidate_rows, max_candidates, history_offsets, history_rows, max_history and batch. A refused user has no
// candidates; a fault's table says which offsets it is of, the candidates' 0 or the history's 1.
template <class P>
JD_DEVICE User read_whole_user(const P &p, int64_t b) {
  User user;
  user.history = Sequence{0, 0};
  user.fault = read_sequence(p.candidate_offsets, b, p.batch, p.candidate_rows, p.max_candidates, user.candidates);
  user.fault.table = 0;
  if (user.fault.fault != JDB_FAULT_NONE) return user;
  user.fault = read_sequence(p.history_offsets, b, p.batch, p.history_rows, p.max_history, user.history);
  user.fault.table = 1;
  if (user.fault.fault != JDB_FAULT_NONE) user.candidates.length = 0;
  return user;
}

// With the num_latest events of the history alone.
template <class P>
JD_DEVICE User read_latest_user(const P &p, int64_t b) {
  User user = read_whole_user(p, b);
  if (user.history.length > p.num_latest) {
    user.history.begin += user.history.length - p.num_latest;
    user.history.length = static_cast<int32_t>(p.num_latest);
  }
  return user;
}

}  // namespace jindou::attention

#endif
