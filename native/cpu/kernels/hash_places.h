// Where keys may lie in a hash table, of several keys side by side: a loop that compilers turn into vectors.
#ifndef JINDOU_CPU_KERNELS_HASH_PLACES_H
#define JINDOU_CPU_KERNELS_HASH_PLACES_H

#include <string.h>

#include "core/hash_geometry.h"
#include "cpu/simd/simd.h"

namespace jindou::cpu {
namespace {

constexpr int kHashedTogether = 8;

// What Geometry::places says of kHashedTogether keys, of which `count` are there (or more). Null is not asked for.
JD_SIMD void hash_keys(const hashing::Geometry &geometry, const int64_t *keys, int count, int64_t *partitions, int64_t *first,
                       int64_t *second) {
  int64_t some[kHashedTogether] = {};
  if (count < kHashedTogether) {
    keys = static_cast<const int64_t *>(memcpy(some, keys, sizeof(int64_t) * static_cast<size_t>(count)));
  }
  const auto all = static_cast<uint64_t>(geometry.partitions), each = static_cast<uint64_t>(geometry.buckets_each);
  for (int i = 0; i < kHashedTogether; ++i) {
    const uint64_t h = hashing::mixed(static_cast<uint64_t>(keys[i])), g = hashing::mixed(h + hashing::kFirstBucket);
    const uint64_t partition = hashing::scaled_to_32_bits(h, all), at = hashing::scaled_to_32_bits(g, each);
    if (partitions) partitions[i] = static_cast<int64_t>(partition);
    if (first) first[i] = static_cast<int64_t>(partition * each + at);
    if (second) {
      const uint64_t other = at + 1 + hashing::scaled_to_32_bits(hashing::mixed(g), each - 1);
      second[i] = static_cast<int64_t>(partition * each + (other >= each ? other - each : other));
    }
  }
}

}  // namespace
}  // namespace jindou::cpu

#endif
