// Buckets of time for hstu_attention's time bias, once: for the CUDA kernels, their emulation and the CPU backend.
//
//   bucket(dt) = min(floor(log(max(1, |dt|)) / 0.301), num_buckets)          (research HSTU, arXiv 2402.17152)
//
// Timestamps are integers, so a bucket is an interval of integers: the table holds where each begins, computed in
// float64. A look-up takes the bucket of the next lower power of two and at most three comparisons (an octave is
// log(2) / 0.301 = 2.3 buckets): exact where a logarithm in f32 is not. Below 2^31 a finer table needs one comparison (`segments`).
#ifndef JINDOU_KERNELS_ATTENTION_TIME_BUCKETS_H
#define JINDOU_KERNELS_ATTENTION_TIME_BUCKETS_H

#include <stdint.h>

#include <cmath>

#include "primitives/bits.h"

namespace jindou {

struct TimeBuckets {
  static constexpr int kLast = 147;  // bucket of 2^64 - 1

  uint64_t begin[kLast + 4];  // the least |dt| of each bucket; past the last: 2^64 - 1
  int32_t of_bits[65];        // bucket of 2^(bits - 1)

  // Distances below 2^31 whose floats have the exponent and the first two bits of the fraction in common: at most a quarter more than the
  // least of them, where a bucket ends a third above its beginning. So one bucket at most begins inside.
  struct Segment {
    uint32_t second_begins;
    int32_t first, second;  // buckets
  };
  static constexpr int kSegments = 31 * 4 + 1;
  Segment segments[kSegments];

  // On the host.
  static TimeBuckets make() {
    TimeBuckets table;
    const auto exact = [](uint64_t dt) {
      return static_cast<int>(std::floor(std::log(static_cast<double>(dt < 1 ? 1 : dt)) / 0.301));
    };
    table.of_bits[0] = 0;
    for (int bits = 1; bits <= 64; ++bits) table.of_bits[bits] = exact(uint64_t{1} << (bits - 1));
    for (int b = 0; b < kLast + 4; ++b) {
      table.begin[b] = UINT64_MAX;
      if (b > kLast) continue;
      uint64_t low = 0, high = UINT64_MAX;  // the least dt with exact(dt) >= b lies in (low, high]
      while (high - low > 1) {
        const uint64_t middle = low + (high - low) / 2;
        (exact(middle) >= b ? high : low) = middle;
      }
      table.begin[b] = b == 0 ? 0 : high;
    }
    for (int s = 0; s < kSegments; ++s) {
      uint32_t low = 0, high = uint32_t{1} << 31;  // the least distance in this segment or a later one lies in (low, high]
      while (high - low > 1) {
        const uint32_t middle = low + (high - low) / 2;
        (segment(middle) >= s ? high : low) = middle;
      }
      const int32_t first = table.bucket(high, kLast);
      const uint64_t begins = table.begin[first + 1];
      table.segments[s] = Segment{begins < UINT32_MAX ? static_cast<uint32_t>(begins) : UINT32_MAX, first, table.bucket(begins, kLast)};
    }
    return table;
  }

  static JD_HOST_DEVICE JD_INLINE int32_t segment(uint32_t distance) {
    return static_cast<int32_t>(prim::as_uint(static_cast<float>(distance > 1 ? distance : 1)) >> 21) - (127 << 2);
  }

  static JD_HOST_DEVICE JD_INLINE uint64_t distance(int64_t a, int64_t b) {
    const uint64_t ua = static_cast<uint64_t>(a), ub = static_cast<uint64_t>(b);
    return a > b ? ua - ub : ub - ua;
  }

  JD_HOST_DEVICE JD_INLINE int32_t bucket(uint64_t distance, int32_t num_buckets) const {
    int32_t b = of_bits[64 - prim::clz64(distance)];
    const int32_t after = (distance >= begin[b + 1]) + (distance >= begin[b + 2]) + (distance >= begin[b + 3]);
    b += after;
    return b < num_buckets ? b : num_buckets;
  }
};

}  // namespace jindou

#endif
