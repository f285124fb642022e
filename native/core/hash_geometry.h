// Which buckets of a hash table a key may lie in (jindou/hash_table.h), for validation and all backends.
//
// Slots are cut into partitions of about 16,384, and both buckets of a key lie in one partition. So writers of different partitions
// never meet: each partition is the work of one writer, which takes its keys in the order of the call. That makes the table a
// function of the calls alone, without a lock or an atomic.
#ifndef JINDOU_CORE_HASH_GEOMETRY_H
#define JINDOU_CORE_HASH_GEOMETRY_H

#include <jindou/hash_table.h>
#include <stdint.h>

#if defined(__CUDACC__)
#define JD_HASH_FUNCTION __host__ __device__ __forceinline__
#else
#define JD_HASH_FUNCTION inline __attribute__((always_inline))  // no copy that files for other instruction sets could share
#endif

namespace jindou::hashing {

constexpr int kBucketSlots = 8;
constexpr int64_t kEmptyKey = -1;
constexpr uint64_t kFirstBucket = 0x9e3779b97f4a7c15ull;  // what tells its hash from the partition's
constexpr int64_t kPartitionBuckets = 2048;  // at least, in a table of several partitions

// 64 x 64 bits, the upper half: x * n / 2^64, a number in 0..n-1 for any x.
JD_HASH_FUNCTION uint64_t scaled(uint64_t x, uint64_t n) {
#if defined(__CUDA_ARCH__)
  return __umul64hi(x, n);
#else
  return static_cast<uint64_t>((static_cast<unsigned __int128>(x) * n) >> 64);
#endif
}

// The same for n < 2^32, with products of 32 bits: those have vectors (cpu/kernels/hash_table.h).
JD_HASH_FUNCTION uint64_t scaled_to_32_bits(uint64_t x, uint64_t n) {
  const uint64_t small = static_cast<uint32_t>(n);
  return ((x >> 32) * small + (static_cast<uint32_t>(x) * small >> 32)) >> 32;
}

// MurmurHash3's finaliser: every bit of the key moves every bit of the hash.
JD_HASH_FUNCTION uint64_t mixed(uint64_t x) {
  x ^= x >> 33;
  x *= 0xff51afd7ed558ccdull;
  x ^= x >> 33;
  x *= 0xc4ceb9fe1a85ec53ull;
  return x ^ (x >> 33);
}

// The two buckets of a key: different ones where a partition has two.
struct Places {
  int64_t partition;
  int64_t bucket[2];
};

// Where sights of a key are counted: in the smaller of two counters. The time of their partition is a number of four bytes.
struct Sights {
  static constexpr int kTimeBytes = 4;
  int64_t time, counter[2];
};

struct Geometry {
  int64_t partitions, buckets_each;

  // num_slots as slots_for gives it.
  JD_HASH_FUNCTION explicit Geometry(int64_t num_slots) {
    const int64_t buckets = num_slots / kBucketSlots;
    partitions = partitions_of(buckets);
    buckets_each = buckets / partitions;
  }

  JD_HASH_FUNCTION static int64_t partitions_of(int64_t buckets) {
    return buckets < 2 * kPartitionBuckets ? 1 : buckets / kPartitionBuckets;
  }
  // Whether a table can have so many slots.
  JD_HASH_FUNCTION static bool is_valid(int64_t num_slots) {
    if (num_slots < 2 * kBucketSlots || num_slots % kBucketSlots != 0) return false;
    const int64_t buckets = num_slots / kBucketSlots;
    return buckets % partitions_of(buckets) == 0;
  }
  // So many that any `capacity` keys find a place without an eviction but for one set of keys in 10^9, and then at the last of them:
  // - Two buckets hold any sixteen keys: both are those of every key.
  // - In one partition keys have no arrangement where, and only where, some k of the buckets are both buckets of more than 8 k keys (Hall).
  //   The sum over k of (buckets choose k) P(Binomial(capacity, k (k - 1) / (buckets (buckets - 1))) > 8 k) is 4e-11 at most (at 53 keys) for a
  //   load of 0.95 and two buckets more; without those 2e-3 (38 keys).
  // - Of several partitions one gets more than its share. It goes above a load of 0.99 with a chance of 2e-10 at most (all partitions
  //   together, of 2^40 keys) where its share is 0.925; at 0.95 it would be 5e-6 of 10^6 keys, 5e-3 of 10^9.
  // That the search finds what there is: hash_buckets.h, make_room.
  JD_HASH_FUNCTION static int64_t slots_for(int64_t capacity) {
    int64_t buckets = (capacity * 20 + 19 * kBucketSlots - 1) / (19 * kBucketSlots);
    if (buckets < 2) buckets = 2;
    if (capacity > 2 * kBucketSlots) buckets += 2;
    if (partitions_of(buckets) > 1) buckets = (capacity * 40 + 37 * kBucketSlots - 1) / (37 * kBucketSlots);
    while (buckets % partitions_of(buckets) != 0) ++buckets;
    return buckets * kBucketSlots;
  }

  JD_HASH_FUNCTION int64_t partition(int64_t key) const {
    return static_cast<int64_t>(scaled(mixed(static_cast<uint64_t>(key)), static_cast<uint64_t>(partitions)));
  }

  // A key's first bucket, and what its second is found by: a lookup seldom needs it.
  struct First {
    int64_t partition, bucket;
    uint64_t hash;
  };
  JD_HASH_FUNCTION First first(int64_t key) const {
    const uint64_t h = mixed(static_cast<uint64_t>(key)), g = mixed(h + kFirstBucket);
    const int64_t partition = static_cast<int64_t>(scaled(h, static_cast<uint64_t>(partitions)));
    return {partition, partition * buckets_each + static_cast<int64_t>(scaled(g, static_cast<uint64_t>(buckets_each))), g};
  }
  // The first plus 1..buckets_each - 1 within the partition, so that it is another one.
  JD_HASH_FUNCTION int64_t second(const First &f) const {
    const int64_t end = (f.partition + 1) * buckets_each;
    const int64_t bucket = f.bucket + 1 + static_cast<int64_t>(scaled(mixed(f.hash), static_cast<uint64_t>(buckets_each) - 1));
    return bucket >= end ? bucket - buckets_each : bucket;
  }

  JD_HASH_FUNCTION Places places(int64_t key) const {
    const First f = first(key);
    return {f.partition, {f.bucket, second(f)}};
  }

  // A partition has as many bytes of sights as slots: the time, then counters.
  JD_HASH_FUNCTION Sights sights(int64_t key) const {
    const uint64_t h = mixed(static_cast<uint64_t>(key)), g = mixed(h ^ 0xd6e8feb86659fd93ull);
    const int64_t time = partition(key) * buckets_each * kBucketSlots, first = time + kBucketSlots;
    const auto counters = static_cast<uint64_t>((buckets_each - 1) * kBucketSlots);
    return {time, {first + static_cast<int64_t>(scaled(g, counters)), first + static_cast<int64_t>(scaled(mixed(g), counters))}};
  }
};

}  // namespace jindou::hashing

#endif
