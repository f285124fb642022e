// What a running block does for sm_90: mbarriers, tensor copies on their way, products of warpgroups.
#include "simt/runtime/block.h"
#include "simt/runtime/report.h"
#include "simt/runtime/sanitizer.h"

namespace jindou::simt {

// -- mbarriers -----------------------------------------------------------------------------------------------------------------
Mbarrier &Block::mbarrier_at(Thread &thread, const void *barrier, const char *what, prim::Site site) {
  device::check_shared(barrier, 8, 8, what, site);
  Mbarrier *found = mbarriers_.find(shared_.window_address(barrier));
  if (found == nullptr) {
    fail(thread, site, "%s: no mbarrier_init of byte %lld of shared memory was done before", what,
         static_cast<long long>(static_cast<const char *>(barrier) - shared_.data()));
  }
  if (found->initialiser != thread.id && found->made_after == barriers_passed_) {
    fail(thread, site, "%s: no barrier since thread %d's mbarrier_init", what, found->initialiser);
  }
  return *found;
}

void Block::mbarrier_init(Thread &thread, void *barrier, int count, prim::Site site) {
  device::check_shared(barrier, 8, 8, "mbarrier_init", site);
  const uint32_t address = shared_.window_address(barrier);
  if (count < 1) fail(thread, site, "mbarrier_init with a count of %d", count);
  if (mbarriers_.find(address) != nullptr) fail(thread, site, "mbarrier_init of one that is in use");
  shared_.track_stores();
  Mbarrier made;
  made.address = address;
  made.count = made.missing = count;
  made.initialiser = thread.id;
  made.made_after = barriers_passed_;
  made.site = site;
  mbarriers_.add(made);
}

// The phase may be complete: who waited for it goes on.
void Block::complete_phase(Mbarrier &barrier) {
  if (!barrier.advance()) return;
  yields_ = 0;
  for (const int id : barrier.waiting) make_ready(id / 32, 1u << id % 32);
  barrier.waiting.clear();
}

void Block::mbarrier_arrive(Thread &thread, void *barrier, int expected_bytes, prim::Site site) {
  Mbarrier &b = mbarrier_at(thread, barrier, "mbarrier_arrive", site);
  release(b.place(b.phase));
  if (b.missing == 0) fail(thread, site, "mbarrier_arrive: %d threads have arrived already in this phase", b.count);
  b.bytes += expected_bytes;
  --b.missing;
  complete_phase(b);
  interleave(thread);
}

void Block::mbarrier_wait(Thread &thread, void *barrier, uint32_t parity, prim::Site site) {
  if (parity > 1) fail(thread, site, "mbarrier_wait for parity %u", parity);
  land_by_chance();
  Mbarrier *b = &mbarrier_at(thread, barrier, "mbarrier_wait", site);
  const uint32_t address = b->address;
  if ((b->phase & 1u) == parity) {
    thread.wait = Wait::mbarrier;
    thread.site = site;
    thread.barrier = static_cast<int>(address);
    b->waiting.push_back(thread.id);
    set_aside(thread);
    thread.wait = Wait::none;
    b = mbarriers_.find(address);  // others may have made more of them
  }
  acquire(b->place(parity));
  interleave(thread);
}

// -- tensor copies ---------------------------------------------------------------------------------------------------------------
void Block::tensor_copy(Thread &thread, void *shared, const prim::TensorMap &map, const int32_t (&at)[4], void *barrier,
                        prim::Site site) {
  TensorCopy copy;
  if (!decode_tensor_map(map, copy.geometry)) fail(thread, site, "tensor_copy from something that is no tensor map");
  copy.target = static_cast<char *>(shared);
  for (int i = 0; i < 4; ++i) copy.at[i] = at[i];
  copy.site = site;
  copy.thread = thread.id;
  const Mbarrier &b = mbarrier_at(thread, barrier, "tensor_copy", site);
  if (!b.fenced) fail(thread, site, "tensor_copy: no fence_mbarrier_init followed the mbarrier_init of %s", site_text(b.site).text);
  copy.barrier = b.address;
  device::check_shared(shared, copy.bytes(), 1024, "tensor_copy", site);
  // The bytes may arrive from now on.
  shared_.forget_stores(shared, static_cast<size_t>(copy.bytes()));
  if (poison_) {
    using Word = uint32_t __attribute__((may_alias));
    for (int i = 0; i < copy.bytes() / 4; ++i) static_cast<Word *>(shared)[i] = 0xffffffffu;
  }
  tensor_copies_.push_back(copy);
  if (completion_ == Completion::eager) land_a_copy(false);
  land_by_chance();
}

// One of the copies on their way arrives, the first or, by seed, any; if `awaited`, of those alone that a thread waits for. False when
// there is none.
bool Block::land_a_copy(bool awaited) {
  const size_t copies = tensor_copies_.size();
  const size_t start = shuffled_ && copies > 0 ? random_.below(static_cast<uint32_t>(copies)) : 0;
  size_t which = copies;
  for (size_t i = 0; i < copies && which == copies; ++i) {
    const size_t candidate = (start + i) % copies;
    if (!awaited || !mbarriers_.find(tensor_copies_[candidate].barrier)->waiting.empty()) which = candidate;
  }
  if (which == copies) return false;
  const TensorCopy copy = tensor_copies_[which];
  tensor_copies_.erase(tensor_copies_.begin() + static_cast<ptrdiff_t>(which));
  copy.land(shared_.window_address(copy.target));
  Mbarrier &barrier = *mbarriers_.find(copy.barrier);
  barrier.bytes -= copy.bytes();
  complete_phase(barrier);
  return true;
}

void Block::land_by_chance() {
  if (completion_ == Completion::random && !tensor_copies_.empty() && random_.below(8) == 0) land_a_copy(false);
}

// -- products --------------------------------------------------------------------------------------------------------------------
void Block::issue_product(Thread &thread, const Product &product) {
  Warp &warp = warp_of(thread);
  std::vector<IssuedProduct> &issued = issued_products_[static_cast<size_t>(thread.warp / 4)];
  const size_t number = warp.products.issued();
  if (number < issued.size()) {
    const IssuedProduct &other = issued[number];
    if (other.left != product.left || other.right != product.right || other.n != product.n || other.site.line != product.site.line) {
      fail(thread, product.site, "wgmma: another warp of the warpgroup had a different one in its place, at %s",
           site_text(other.site).text);
    }
  } else {
    issued.push_back(IssuedProduct{product.left, product.right, product.n, product.site});
  }
  if (!warp.products.fenced()) {
    fail(thread, product.site, "wgmma without a wgmma_fence since the warp began or last waited for products");
  }
  const char *error = warp.products.issue(product, shared_, random_);
  if (error != nullptr) fail(thread, product.site, "wgmma: %s", error);
  for (int w = thread.warp / 4 * 4; w < thread.warp / 4 * 4 + 4 && w < num_warps_; ++w) {
    Warp &other = warps_[static_cast<size_t>(w)];
    if (!other.waits_for_warpgroup) continue;
    other.waits_for_warpgroup = false;
    make_ready(w, 1u << other.waiting_lane);
  }
}

void Block::wait_for_products(Thread &thread, int pending, prim::Site site) {
  Warp &warp = warp_of(thread);
  const size_t needed = warp.products.done_by(pending);
  const int first = thread.warp / 4 * 4;
  const auto all_issued = [&] {
    for (int w = first; w < first + 4; ++w) {
      if (w >= num_warps_ || warps_[static_cast<size_t>(w)].products.issued() < needed) return false;
    }
    return true;
  };
  while (!all_issued()) {
    thread.wait = Wait::warpgroup;
    warp.waits_for_warpgroup = true;
    warp.waiting_lane = thread.lane;
    set_aside(thread);
  }
  const char *error = warp.products.wait(pending, shared_);
  if (error != nullptr) fail(thread, site, "wgmma: %s", error);
}

}  // namespace jindou::simt
