// The emulator's source of chance: small, fast, the same everywhere (splitmix64).
#ifndef JINDOU_SIMT_RUNTIME_RANDOM_H
#define JINDOU_SIMT_RUNTIME_RANDOM_H

#include <stdint.h>

namespace jindou::simt {

class Random {
 public:
  explicit Random(uint64_t seed = 0) : state_(seed) {}

  uint64_t operator()() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }

  // 0 .. bound - 1, for bounds far below 2^32.
  uint32_t below(uint32_t bound) { return static_cast<uint32_t>(((*this)() >> 32) * bound >> 32); }

 private:
  uint64_t state_;
};

}  // namespace jindou::simt

#endif
