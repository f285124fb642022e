// How the emulator runs a launch, and how it says what went wrong.
#ifndef JINDOU_SIMT_RUNTIME_OPTIONS_H
#define JINDOU_SIMT_RUNTIME_OPTIONS_H

#include <stdint.h>

#include <stdexcept>
#include <string>

namespace jindou::simt {

// In which order the threads of a block (and the blocks of a grid) run between the points where they meet.
enum class Order {
  by_seed,   // in_order for seed 0, else shuffled
  in_order,  // block 0 first; in it warp 0, lane 0
  shuffled,  // a different legal order for every seed
};

// When cp.async's bytes arrive in shared memory. Every choice is legal; a correct kernel cannot tell them apart.
enum class Completion {
  lazy,    // when the thread waits for them
  eager,   // at once
  random,  // at once, at a later commit or at the wait, by seed
};

struct Options {
  uint64_t seed = 0;
  Order order = Order::by_seed;
  Completion completion = Completion::lazy;
  // Blocks that run at a time, each on an OS thread of its own. With 1 they run one after another in the caller.
  int os_threads = 1;
  // Fills shared memory at block start, and the target of every cp.async when it is issued, with NaNs.
  bool poison = true;
};

// A kernel broke a rule: a deadlock, a bad shared or misaligned address, a copy never waited for. The text names the
// kernel, the block, the threads and the places in the source.
class Error : public std::runtime_error {
 public:
  explicit Error(const std::string &text) : std::runtime_error(text) {}
};

}  // namespace jindou::simt

#endif
