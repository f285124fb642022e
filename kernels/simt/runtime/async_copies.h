// The cp.async copies of one thread: issued, committed in groups, landed, waited for.
#ifndef JINDOU_SIMT_RUNTIME_ASYNC_COPIES_H
#define JINDOU_SIMT_RUNTIME_ASYNC_COPIES_H

#include <stddef.h>

#include <vector>

#include "primitives/site.h"
#include "simt/runtime/options.h"
#include "simt/runtime/random.h"

namespace jindou::simt {

class AsyncCopies {
 public:
  // Forgets everything; for a new block.
  void reset(Completion completion, bool poison) {
    completion_ = completion;
    poison_ = poison;
    copies_.clear();
    group_ends_.clear();
    first_copy_ = 0;
    first_group_ = 0;
  }

  // `source` is null for a copy of zeros.
  void issue(void *target, const void *source, int bytes, prim::Site site, Random &random);
  void commit(Random &random);
  void wait(int pending);

  // A copy nobody waited for, or null.
  const prim::Site *unwaited() const { return first_copy_ < copies_.size() ? &copies_[first_copy_].site : nullptr; }

 private:
  struct Copy {
    void *target;
    int bytes;
    bool landed;
    prim::Site site;
    alignas(16) unsigned char data[16];  // read from the source when the copy was issued
  };

  static void land(Copy &copy);
  void forget_waited();

  Completion completion_ = Completion::lazy;
  bool poison_ = true;
  std::vector<Copy> copies_;         // from first_copy_ on: not yet waited for
  std::vector<size_t> group_ends_;   // from first_group_ on: the same; index into copies_
  size_t first_copy_ = 0;
  size_t first_group_ = 0;
};

}  // namespace jindou::simt

#endif
