// A kernel from a lambda, for tests of the emulator: run_block<128, 4096>(body) runs one block of 128 threads with 4096
// bytes of shared memory in which every thread calls body(shared).
#ifndef JINDOU_SIMT_TESTS_BLOCK_TEST_H
#define JINDOU_SIMT_TESTS_BLOCK_TEST_H

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "primitives/primitives.h"
#include "simt/runtime/launch.h"

namespace jindou::simt {

template <int kThreadCount, size_t kSharedBytes = 0>
struct BodyKernel {
  struct Params {
    const std::function<void(char *)> *body;
  };
  static constexpr int kThreads = kThreadCount;
  static constexpr int kMinBlocks = 1;
  static constexpr size_t shared_bytes() { return kSharedBytes; }
  static void run(const Params &p, char *shared) { (*p.body)(shared); }
};

inline Options seeded(uint64_t seed) {
  Options options;
  options.seed = seed;
  return options;
}

template <int kThreads, size_t kShared = 0>
void run_grid(prim::Grid grid, const std::function<void(char *)> &body, const Options &options = {}) {
  launch<BodyKernel<kThreads, kShared>>(grid, {&body}, options);
}

template <int kThreads, size_t kShared = 0>
void run_block(const std::function<void(char *)> &body, const Options &options = {}) {
  run_grid<kThreads, kShared>({1, 1, 1}, body, options);
}

// The text of the error that the body provokes; empty if none.
template <int kThreads, size_t kShared = 0>
std::string error_of(const std::function<void(char *)> &body, const Options &options = {}) {
  try {
    run_block<kThreads, kShared>(body, options);
  } catch (const Error &e) {
    return e.what();
  }
  return {};
}

// Seed 0 is the order of the hardware's numbering, the others are shuffled.
constexpr uint64_t kSeeds[] = {0, 1, 2, 3, 4, 5};

inline bool has(const std::string &text, const std::string &part) { return text.find(part) != std::string::npos; }

}  // namespace jindou::simt

#endif
