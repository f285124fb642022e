// T5's buckets of relative positions, once: for the CUDA kernels, their emulation and the CPU backend (jindou/softmax_attention.h).
//
//   d < e:  bucket d              else  min(e + floor(log(d / e) / log(D / e) * (m - e)), m - 1)
//
// Distances are integers, so a bucket is an interval of them: the table holds where each of the logarithmic ones begins, at the
// least d >= e (D / e)^(k / (m - e)). A look-up is a comparison or a binary search: exact where a logarithm in f32 is not.
#ifndef JINDOU_KERNELS_ATTENTION_T5_BUCKETS_H
#define JINDOU_KERNELS_ATTENTION_T5_BUCKETS_H

#include <stdint.h>

#include <cmath>

#include "attention/tile_mask.h"

namespace jindou {

struct T5Buckets {
  static constexpr int kMostBuckets = 1024;

  int32_t exact;      // e: distances with a bucket of their own
  int32_t side;       // m: buckets of one direction
  int32_t both_ways;  // bidirectional
  int32_t logarithmic[kMostBuckets / 2];  // the least distance of bucket e + k, k in 0..m-e-1

  // On the host. The operator's rules hold (native/core): e >= 1, max_distance > e.
  static T5Buckets make(int32_t num_buckets, int32_t max_distance, bool bidirectional) {
    T5Buckets table = {};
    table.both_ways = bidirectional;
    table.side = bidirectional ? num_buckets / 2 : num_buckets;
    table.exact = table.side / 2;
    const int32_t count = table.side - table.exact;
    const long double octaves = std::log(static_cast<long double>(max_distance) / table.exact);
    for (int32_t k = 0; k < count; ++k) {
      const long double begin = table.exact * std::exp(octaves * k / count), nearest = std::round(begin);
      // A bucket that begins at an integer does so in spite of rounding.
      const bool is_integer = std::fabs(begin - nearest) < 1e-15L * begin;
      table.logarithmic[k] = static_cast<int32_t>(is_integer ? nearest : std::ceil(begin));
    }
    return table;
  }

  // Where the key stands after the row: j - p_i.
  JD_MASK_FUNCTION int32_t bucket(int32_t relative) const {
    int32_t base = 0, distance = relative < 0 ? -relative : 0;
    if (both_ways && relative > 0) {
      base = side;
      distance = relative;
    }
    return base + (distance < exact ? distance : exact + last_begun(distance));
  }

 private:
  // The last k with logarithmic[k] <= distance.
  JD_MASK_FUNCTION int32_t last_begun(int32_t distance) const {
    int32_t low = 0, high = side - exact;  // begun; not begun
    while (high - low > 1) {
      const int32_t middle = (low + high) / 2;
      if (logarithmic[middle] <= distance) {
        low = middle;
      } else {
        high = middle;
      }
    }
    return low;
  }
};

}  // namespace jindou

#endif
