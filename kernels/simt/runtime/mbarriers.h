// The mbarriers of one block, by their address in the shared window.
#ifndef JINDOU_SIMT_RUNTIME_MBARRIERS_H
#define JINDOU_SIMT_RUNTIME_MBARRIERS_H

#include <stdint.h>

#include <vector>

#include "primitives/site.h"

namespace jindou::simt {

struct Mbarrier {
  uint32_t address;
  int count;              // arrivals a phase
  int missing;            // of this phase
  int64_t bytes = 0;      // announced and not landed; negative: landed before they were announced
  uint32_t phase = 0;
  int initialiser;        // thread
  uint64_t made_after;    // so many barriers of the block
  bool fenced = false;    // the copy engine knows of it
  prim::Site site;
  std::vector<int> waiting{};  // threads
  char order[2] = {};     // what ThreadSanitizer orders by, a phase each

  // Whether the phase is complete now; then the next has begun.
  bool advance() {
    if (missing != 0 || bytes != 0) return false;
    ++phase;
    missing = count;
    return true;
  }
  void *place(uint32_t of_phase) { return &order[of_phase & 1u]; }
};

class Mbarriers {
 public:
  void clear() { all_.clear(); }
  bool empty() const { return all_.empty(); }

  // Null: never initialised.
  Mbarrier *find(uint32_t address) {
    for (Mbarrier &barrier : all_) {
      if (barrier.address == address) return &barrier;
    }
    return nullptr;
  }
  void add(const Mbarrier &barrier) { all_.push_back(barrier); }

  void fence(int thread) {
    for (Mbarrier &barrier : all_) barrier.fenced = barrier.fenced || barrier.initialiser == thread;
  }

 private:
  std::vector<Mbarrier> all_;  // a handful
};

}  // namespace jindou::simt

#endif
