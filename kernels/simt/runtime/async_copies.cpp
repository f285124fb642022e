#include "simt/runtime/async_copies.h"

#include <cstdint>

#include "simt/runtime/sanitizer.h"

namespace jindou::simt {

namespace {

using Word = uint32_t __attribute__((may_alias));

// Word by word: memcpy and memset would be intercepted, and counted as the kernel's own accesses, where races are checked.
void copy_words(void *target, const void *source, int bytes) {
  for (int i = 0; i < bytes / 4; ++i) static_cast<Word *>(target)[i] = static_cast<const Word *>(source)[i];
}

void fill_words(void *target, uint32_t word, int bytes) {
  for (int i = 0; i < bytes / 4; ++i) static_cast<Word *>(target)[i] = word;
}

}  // namespace

void AsyncCopies::issue(void *target, const void *source, int bytes, prim::Site site, Random &random) {
  Copy copy{target, bytes, false, site, {}};
  if (source != nullptr) {
    note_read(source, static_cast<size_t>(bytes));
    copy_words(copy.data, source, bytes);
  }
  // The bytes may arrive from now on: a reader who is not done with the old ones must not get away with it.
  note_write(target, static_cast<size_t>(bytes));
  if (poison_) fill_words(target, 0xffffffffu, bytes);
  if (completion_ == Completion::eager || (completion_ == Completion::random && random.below(3) == 0)) land(copy);
  copies_.push_back(copy);
}

void AsyncCopies::commit(Random &random) {
  group_ends_.push_back(copies_.size());
  if (completion_ != Completion::random) return;
  for (size_t i = first_copy_; i < copies_.size(); ++i) {
    if (random.below(3) == 0) land(copies_[i]);
  }
}

void AsyncCopies::wait(int pending) {
  while (group_ends_.size() - first_group_ > static_cast<size_t>(pending)) {
    const size_t end = group_ends_[first_group_++];
    for (; first_copy_ < end; ++first_copy_) {
      // Up to this point the thread had no right to the bytes, whenever they came.
      note_write(copies_[first_copy_].target, static_cast<size_t>(copies_[first_copy_].bytes));
      land(copies_[first_copy_]);
    }
  }
  forget_waited();
}

// Now and then, so that a long pipeline does not keep its whole history.
void AsyncCopies::forget_waited() {
  constexpr size_t kKept = 64;
  if (first_group_ < kKept && !(first_group_ == group_ends_.size() && first_copy_ == copies_.size())) return;
  copies_.erase(copies_.begin(), copies_.begin() + static_cast<ptrdiff_t>(first_copy_));
  group_ends_.erase(group_ends_.begin(), group_ends_.begin() + static_cast<ptrdiff_t>(first_group_));
  for (size_t &end : group_ends_) end -= first_copy_;
  first_copy_ = 0;
  first_group_ = 0;
}

void AsyncCopies::land(Copy &copy) {
  if (copy.landed) return;
  copy_words(copy.target, copy.data, copy.bytes);
  copy.landed = true;
}

}  // namespace jindou::simt
