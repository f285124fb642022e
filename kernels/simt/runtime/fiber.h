// Fibers: stacks of their own on one OS thread, switched by Boost.Context's jump (a dozen instructions).
#ifndef JINDOU_SIMT_RUNTIME_FIBER_H
#define JINDOU_SIMT_RUNTIME_FIBER_H

#include <stddef.h>

#include <boost/context/detail/fcontext.hpp>
#include <vector>

namespace jindou::simt {

struct Fiber {
  boost::context::detail::fcontext_t context = nullptr;  // where it goes on; null while it runs
  void (*entry)(void *owner) = nullptr;
  void *owner = nullptr;
  char *stack = nullptr;                                 // lowest byte
  size_t stack_bytes = 0;
  bool ended = false;          // by itself, when it last ran; to be set by who knows
  void *fake_stack = nullptr;  // AddressSanitizer's
  void *race_state = nullptr;  // ThreadSanitizer's
};

// `fiber` will call its entry, which must end by switching away. Its stack may hold what is left of an abandoned fiber.
void start_fiber(Fiber &fiber);

// Leaves `from` and goes on in `to`. `from_ends`: nobody will switch to `from` again.
void switch_fiber(Fiber &from, Fiber &to, bool from_ends = false);

// Makes `fiber` stand for the code that is running now.
void adopt_current(Fiber &fiber);

// The stacks of one block's threads, allocated once and used for block after block. Below each is a guard page.
class Stacks {
 public:
  Stacks() = default;
  Stacks(const Stacks &) = delete;
  Stacks &operator=(const Stacks &) = delete;
  ~Stacks();

  // Gives fiber number `index` its stack.
  void assign(int index, Fiber &fiber);

 private:
  static constexpr int kPerSlab = 32;
  std::vector<char *> slabs_;
};

}  // namespace jindou::simt

#endif
