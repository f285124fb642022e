// Which rows of the position and time tables an event has (jindou/sequence_embedding.h), once: for the CUDA kernel, its emulation and
// the CPU backend.
//
// Timestamps are integers and a bucket is an interval of them: a square root in f32 is corrected by comparing squares, and a logarithm
// is the bucket of the next lower power of two or, an octave being 0.69 buckets, the one after: both exact.
#ifndef JINDOU_KERNELS_EMBEDDING_SEQUENCE_PLACES_H
#define JINDOU_KERNELS_EMBEDDING_SEQUENCE_PLACES_H

#include <jindou/sequence_embedding.h>
#include <stdint.h>

#include <cmath>

#include "primitives/bits.h"
#include "primitives/compiler.h"

namespace jindou {

struct SequencePlaces {
  static constexpr int kLogBuckets = 45;  // ln(2^64) = 44.4

  int64_t positions;  // rows of the position table
  int64_t contextual_len;
  uint64_t time_unit;
  int32_t from_end;
  int32_t logarithm;
  int32_t max_bucket;
  int32_t reserved;
  uint64_t log_before[kLogBuckets + 1];  // the largest dt before each bucket of the logarithm: 2^64 - 1 where all are
  int8_t log_of_bits[65];                // bucket of 2^(bits - 1)

  // On the host.
  static SequencePlaces make(const jd_sequence_embedding_desc &d, int64_t position_rows) {
    SequencePlaces p{};
    p.positions = position_rows;
    p.contextual_len = d.contextual_len;
    p.time_unit = static_cast<uint64_t>(d.time_unit);
    p.from_end = d.position_mode == JD_POSITION_FROM_END;
    p.logarithm = d.time_function == JD_TIME_LOG;
    p.max_bucket = d.max_time_bucket;
    for (int b = 1; b <= kLogBuckets; ++b) {
      const long double begin = std::ceil(static_cast<long double>(d.time_unit) * std::exp(static_cast<long double>(b)));
      p.log_before[b] = begin < 18446744073709551616.0L ? static_cast<uint64_t>(begin) - 1 : UINT64_MAX;
    }
    for (int bits = 1; bits <= 64; ++bits) {
      int bucket = 0;
      while (bucket < kLogBuckets && p.log_before[bucket + 1] < uint64_t{1} << (bits - 1)) ++bucket;
      p.log_of_bits[bits] = static_cast<int8_t>(bucket);
    }
    return p;
  }

  // Row of the position table of event i of n, the last `targets` of them targets.
  JD_HOST_DEVICE JD_INLINE int64_t position(int64_t i, int64_t n, int64_t targets) const {
    const int64_t end = n - targets;
    int64_t row = i < end ? i : end;
    if (from_end) row = contextual_len + (i < end ? end - i : 0);
    if (i < contextual_len) row = i;
    if (row < 0) row = 0;
    return row < positions ? row : positions - 1;
  }

  // Row of the time table.
  JD_HOST_DEVICE JD_INLINE int32_t bucket(int64_t query_time, int64_t timestamp) const {
    if (query_time <= timestamp) return 0;
    const uint64_t dt = static_cast<uint64_t>(query_time) - static_cast<uint64_t>(timestamp);
    int64_t b;
    if (logarithm) {
      b = log_of_bits[64 - prim::clz64(dt)];
      b += dt > log_before[b + 1];
    } else {
      const uint64_t whole = dt / time_unit;  // b^2 <= dt / unit and b^2 <= floor(dt / unit) are the same
      if (whole >= static_cast<uint64_t>(max_bucket) * static_cast<uint64_t>(max_bucket)) return max_bucket;
      b = static_cast<int64_t>(sqrtf(static_cast<float>(whole)));
      while (static_cast<uint64_t>(b * b) > whole) --b;
      while (static_cast<uint64_t>((b + 1) * (b + 1)) <= whole) ++b;
    }
    return b < max_bucket ? static_cast<int32_t>(b) : max_bucket;
  }
};

}  // namespace jindou

#endif
