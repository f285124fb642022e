// The asynchronous products (wgmma) of one warp: issued, committed in groups, computed, waited for. A warp computes its own 16 rows of
// the 64; that the four warps of a warpgroup issue the same is the block's business.
//
// Registers are poisoned from the issue until nothing that uses them is on its way. Operands in shared memory are read when the product
// is computed, as late as its wait; A's registers when it is issued, because the compiler keeps them.
#ifndef JINDOU_SIMT_RUNTIME_PRODUCTS_H
#define JINDOU_SIMT_RUNTIME_PRODUCTS_H

#include <stddef.h>
#include <stdint.h>

#include <vector>

#include "primitives/site.h"
#include "simt/runtime/options.h"
#include "simt/runtime/random.h"
#include "simt/runtime/shared_memory.h"

namespace jindou::simt {

struct Product {
  float *d[32];
  bool left_in_registers;
  uint32_t registers[32][4];
  uint64_t left, right;  // descriptors
  int n;
  bool columns;          // B lies k by k
  bool add;
  int warp;              // of the warpgroup
  prim::Site site;

};

class Products {
 public:
  void reset(Completion completion, bool poison) {
    completion_ = completion;
    poison_ = poison;
    queue_.clear();
    group_ends_.clear();
    sums_.clear();
    base_ = first_ = first_group_ = waited_ = 0;
    fenced_ = false;
  }

  bool fenced() const { return fenced_; }
  void fence() { fenced_ = true; }

  // Each returns null, or what is wrong (a literal: a thread that reports it is abandoned with all it holds).
  const char *issue(const Product &product, const SharedMemory &shared, Random &random);
  const char *wait(int pending, const SharedMemory &shared);
  void commit() { group_ends_.push_back(issued()); }

  // Products issued since the block began, and how many of them wait(pending) would have done.
  size_t issued() const { return base_ + queue_.size(); }
  size_t done_by(int pending) const {
    const size_t groups = group_ends_.size() - first_group_, left = static_cast<size_t>(pending);
    return groups > left ? group_ends_[first_group_ + groups - left - 1] : waited_;
  }

  // A product nobody waited for, or null.
  const prim::Site *unwaited() const { return waited_ < issued() ? &queue_[waited_ - base_].site : nullptr; }

 private:
  // The sums that products on their way add to.
  struct Sums {
    float *key;  // lane 0's registers
    float *d[32];
    int count;   // registers a lane
    int pending;
    std::vector<float> values;
  };

  const char *compute_until(size_t end, const SharedMemory &shared);
  Sums *find(const float *key);

  Completion completion_ = Completion::lazy;
  bool poison_ = true;
  bool fenced_ = false;
  std::vector<Product> queue_;      // from number base_ on
  std::vector<size_t> group_ends_;  // from first_group_ on: not yet waited for
  std::vector<Sums> sums_;
  size_t base_ = 0, first_ = 0, waited_ = 0;  // numbers of products: the first kept, not computed, not waited for
  size_t first_group_ = 0;
};

}  // namespace jindou::simt

#endif
