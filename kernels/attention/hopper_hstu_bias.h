// The biases of hstu_attention on sm_90a, in the kernels of hopper_hstu_attention.h:
//
//   rab_ij = position[center + j - i] + time[bucket(|t_i - t_j|)]      added to alpha * score in f32, as the portable kernels do
//
// Each of the four producer warps has its part: items and queries; keys and values; times of keys; position biases. With a tile of keys,
// under the barrier of the keys, come the keys' times, as 32 bits since the earliest of the tile, and the position biases of its kKeys + 127
// distances, twice, the second copy an element further, so that every thread loads its columns' by twos. With an item comes the head's
// table of time segments (time_buckets.h).
//
// A bucket is a third longer than the one before, so of keys far behind a row a tile lies in one or two. Each warp looks, tile by tile, at
// what its rows' distances to the tile's earliest and latest key leave:
//
//   kOne       the tile's keys lie in one bucket, of each row its own: a constant a row
//   kTwo       in two that are neighbours: a comparison a pair, with the time at which the second begins
//   kSegments  distances below 2^31: a segment's look-up and a comparison a pair
//   kAny       TimeBuckets::bucket, in 64 bits, pair by pair in a loop: few rows are so far from near keys
//
// The first two need rows that are not earlier than any key of the tile. All four give the bucket of TimeBuckets::bucket, and one sum is
// added in one way: the bits do not depend on which was taken.
//
// What they cost: docs/performance.md, "Hopper kernels".
#ifndef JINDOU_KERNELS_ATTENTION_HOPPER_HSTU_BIAS_H
#define JINDOU_KERNELS_ATTENTION_HOPPER_HSTU_BIAS_H

#include <type_traits>

#include "attention/hopper_pipeline.h"
#include "attention/hstu_attention_problem.h"

namespace jindou::attention {

// Slots by powers of two, so that a consumer knows a tile's number from its place in the ring; at d = 128 two fewer than without biases,
// which leaves room for these. At d = 256 registers do not hold a tile's weights beside the scores of the next.
template <int kHeadDim>
struct HopperBiasTraits : HopperTraits<kHeadDim, (kHeadDim > 128 ? 64 : 128), (kHeadDim <= 128)> {
  static constexpr int kSlots = kHeadDim > 64 ? 4 : 8;
  static constexpr bool kCountsInOne = true;
  static constexpr bool kBiased = true;
  static constexpr int kKeyArrivals = 3;
};

// What comes with a tile of keys.
template <class Core>
struct HopperBiasTile {
  static constexpr int kDistances = Core::kKeys + Core::kRows;
  // [0][e]: of column - row = e - (kRows - 1), counted within the tile; [1][e] = [0][e + 1]. Half of the banks apart.
  alignas(16) float position[2][kDistances + 16];
  uint32_t times[Core::kKeys];  // since `earliest`, modulo 2^32
  int64_t earliest, latest;

  JD_DEVICE static uint32_t since(int64_t time, int64_t earliest) {
    return static_cast<uint32_t>(static_cast<uint64_t>(time) - static_cast<uint64_t>(earliest));
  }
};

// In shared memory.
template <class Core>
struct alignas(16) HopperBias {
  struct alignas(16) Segment {
    uint32_t second_begins;
    float first, second;
    uint32_t unused;
  };

  HopperBiasTile<Core> tiles[Core::kSlots / 2];
  Segment segments[2][TimeBuckets::kSegments];  // of the two items of the pipeline
};

// A producer warp's work: the times of keys. What a tile needs is asked for a tile before.
template <class Core>
class HopperBiasTimes {
 public:
  JD_DEVICE HopperBiasTimes(const HstuAttentionParams<uint16_t> &p, HopperBias<Core> &bias) : p_(p), shared_(bias) {}

  template <class Shared>
  JD_DEVICE void produce(Shared &shared) {
    HopperCompanion<Core, HstuItem> companion(shared);
    for (;;) {
      const HstuItem &item = companion.next_item();
      const int tiles = prim::shfl(item.tiles, 0);
      if (tiles < 0) return;
      if (p_.bias.time != nullptr) {
        make_segments(item, companion.item_number() & 1);
        ask(item, 0);
      }
      for (int i = 0; i < tiles; ++i) {
        companion.write([&](int place) {
          if (p_.bias.time != nullptr) write(shared_.tiles[place]);
        });
        if (p_.bias.time != nullptr && i + 1 < tiles) ask(item, i + 1);
      }
    }
  }

 private:
  static constexpr int kEach = Core::kKeys / 32;

  JD_DEVICE void make_segments(const HstuItem &item, int which) {
    const float *time = p_.bias.time + item.head * p_.bias.time_head_stride;
    const auto of = [&](int32_t bucket) { return time[bucket < p_.bias.num_buckets ? bucket : p_.bias.num_buckets]; };
#pragma unroll 1
    for (int s = prim::lane_id(); s < TimeBuckets::kSegments; s += 32) {
      const TimeBuckets::Segment &segment = p_.bias.buckets->segments[s];
      shared_.segments[which][s] = {segment.second_begins, of(segment.first), of(segment.second), 0};
    }
  }

  // Keys past the end count as the last one: their pairs are masked.
  JD_DEVICE void ask(const HstuItem &item, int tile) {
    const int32_t key = item.tile(tile) * Core::kKeys + prim::lane_id(), last = item.sequence.length - 1;
    const int64_t *timestamps = p_.bias.timestamps + item.sequence.begin;
#pragma unroll
    for (int i = 0; i < kEach; ++i) times_[i] = timestamps[key + i * 32 < last ? key + i * 32 : last];
  }

  JD_DEVICE void write(HopperBiasTile<Core> &tile) const {
    int64_t earliest = times_[0], latest = times_[0];
#pragma unroll
    for (int i = 1; i < kEach; ++i) {
      earliest = times_[i] < earliest ? times_[i] : earliest;
      latest = times_[i] > latest ? times_[i] : latest;
    }
#pragma unroll 1
    for (int step = 16; step > 0; step /= 2) {
      const int64_t other_earliest = prim::shfl_xor(earliest, step), other_latest = prim::shfl_xor(latest, step);
      earliest = other_earliest < earliest ? other_earliest : earliest;
      latest = other_latest > latest ? other_latest : latest;
    }
    const int lane = prim::lane_id();
#pragma unroll
    for (int i = 0; i < kEach; ++i) tile.times[lane + i * 32] = HopperBiasTile<Core>::since(times_[i], earliest);
    if (lane == 0) {
      tile.earliest = earliest;
      tile.latest = latest;
    }
  }

  const HstuAttentionParams<uint16_t> &p_;
  HopperBias<Core> &shared_;
  int64_t times_[kEach] = {};
};

// Another's: the position biases, 0 where there are none.
template <class Core>
class HopperBiasPositions {
 public:
  JD_DEVICE HopperBiasPositions(const HstuAttentionParams<uint16_t> &p, HopperBias<Core> &bias) : p_(p), shared_(bias) {}

  template <class Shared>
  JD_DEVICE void produce(Shared &shared) {
    HopperCompanion<Core, HstuItem> companion(shared);
    for (;;) {
      const HstuItem &item = companion.next_item();
      const int tiles = prim::shfl(item.tiles, 0);
      if (tiles < 0) return;
      ask(item, 0);
      for (int i = 0; i < tiles; ++i) {
        companion.write([&](int place) { write(shared_.tiles[place]); });
        if (i + 1 < tiles) ask(item, i + 1);
      }
    }
  }

 private:
  static constexpr int kEach = HopperBiasTile<Core>::kDistances / 32;

  // Distances past an end of the table count as its last one: their pairs are masked.
  JD_DEVICE void ask(const HstuItem &item, int tile) {
    if (p_.bias.position == nullptr) return;
    const float *position = p_.bias.position + item.head * p_.bias.position_head_stride;
    const int32_t first = p_.bias.center + item.tile(tile) * Core::kKeys - item.first_row - (Core::kRows - 1) + prim::lane_id();
    const int32_t end = 2 * p_.bias.center;
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const int32_t wanted = first + i * 32;
      positions_[i] = position[wanted < 0 ? 0 : wanted < end ? wanted : end];
    }
  }

  JD_DEVICE void write(HopperBiasTile<Core> &tile) const {
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const int e = prim::lane_id() + i * 32;
      tile.position[0][e] = positions_[i];
      if (e > 0) tile.position[1][e - 1] = positions_[i];
    }
  }

  const HstuAttentionParams<uint16_t> &p_;
  HopperBias<Core> &shared_;
  float positions_[kEach] = {};
};

// A consumer thread's scores become alpha * score + rab.
template <class Core>
class HopperBiasConsumer {
 public:
  JD_DEVICE HopperBiasConsumer(const HstuAttentionParams<uint16_t> &p, const HopperBias<Core> &bias) : p_(p), shared_(bias) {}

  // `tile`: of the item.
  JD_DEVICE void add(typename Core::Scores &scores, float alpha, const HstuItem &item, int tile, uint32_t item_number,
                     uint32_t tile_number) const {
    const HopperBiasTile<Core> &biases = shared_.tiles[tile_number % (Core::kSlots / 2)];
    const Place place;
    int kind = kOne;
    float first[2] = {0.0f, 0.0f}, second[2] = {};
    uint32_t times[2] = {};
    if (p_.bias.time != nullptr) {
      // Of the quad, threads r and r + 2 look at row r: at its distances to the latest key, and to the earliest.
      const int64_t time = row_time(item, place.row(place.quad & 1));
      const bool looks_far = place.quad >= 2;
      const uint64_t near = TimeBuckets::distance(time, biases.latest), far = TimeBuckets::distance(time, biases.earliest);
      const int32_t bucket = p_.bias.buckets->bucket(looks_far ? far : near, p_.bias.num_buckets), other = prim::shfl_xor(bucket, 2);
      const int32_t buckets = bucket > other ? bucket - other : other - bucket;
      const bool after = time >= biases.latest;
      const bool narrow = TimeBuckets::distance(biases.latest, biases.earliest) >> 32 == 0;
      kind = prim::all(after && buckets == 0)            ? kOne
             : prim::all(after && narrow && buckets < 2) ? kTwo
             : prim::all((near | far) >> 31 == 0)        ? kSegments
                                                         : kAny;
      kind = prim::shfl(kind, 0);
      const float of_bucket = (p_.bias.time + item.head * p_.bias.time_head_stride)[bucket];
      // Where the farther bucket begins; any will do if it is the nearer one. Of threads that look far.
      const uint32_t since = HopperBiasTile<Core>::since(time, biases.earliest);
      const uint32_t until = since - static_cast<uint32_t>(p_.bias.buckets->begin[bucket]);
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        first[r] = prim::shfl(of_bucket, r, 4);
        second[r] = prim::shfl(of_bucket, r + 2, 4);
        times[r] = prim::shfl(kind == kTwo ? until : since, r + 2, 4);
      }
    }
    if (kind == kOne) {
      add_sums(scores, alpha, biases, place, [&](int r, uint32_t) { return first[r]; });
    } else if (kind == kTwo) {
      add_sums(scores, alpha, biases, place, [&](int r, uint32_t key_time) { return key_time <= times[r] ? second[r] : first[r]; });
    } else if (kind == kSegments) {
      const typename HopperBias<Core>::Segment *segments = shared_.segments[item_number & 1];
      add_by_turns<(Core::kD > 64 ? 8 : 16)>(scores, alpha, biases, place, [&](int r, int column) {
        const auto difference = static_cast<int32_t>(times[r] - biases.times[column]);
        const auto distance = static_cast<uint32_t>(difference < 0 ? -difference : difference);
        const prim::Vec4u segment = prim::load_shared16(segments + TimeBuckets::segment(distance));
        return prim::as_float(distance < segment.x ? segment.y : segment.z);
      });
    } else {
      const float *time = p_.bias.time + item.head * p_.bias.time_head_stride;
      const int32_t key = item.tile(tile) * Core::kKeys, last = item.sequence.length - 1;
      add_by_turns<8>(scores, alpha, biases, place, [&](int r, int column) {
        const int64_t key_time = p_.bias.timestamps[item.sequence.begin + (key + column < last ? key + column : last)];
        return time[p_.bias.buckets->bucket(TimeBuckets::distance(row_time(item, place.row(r)), key_time), p_.bias.num_buckets)];
      });
    }
  }

 private:
  using Place = typename Core::Place;
  enum Kind { kOne, kTwo, kSegments, kAny };

  // Rows past the end count as the last one.
  JD_DEVICE int64_t row_time(const HstuItem &item, int row) const {
    const int32_t wanted = item.first_row + row, last = item.sequence.length - 1;
    return p_.bias.timestamps[item.sequence.begin + (wanted < last ? wanted : last)];
  }

  // The position biases of this thread's columns 0 and 1, 8 j and 8 j + 1 ... in row 0; those of row 1, eight rows further, come one j later.
  JD_DEVICE static const float *positions(const HopperBiasTile<Core> &biases, const Place &place) {
    const int e = place.column(0) - place.row(0) + Core::kRows - 1;
    return biases.position[e & 1] + (e & ~1);
  }

  // time_of(r, a key's time).
  template <class TimeOf>
  JD_DEVICE static void add_sums(typename Core::Scores &scores, float alpha, const HopperBiasTile<Core> &biases, const Place &place,
                                 const TimeOf &time_of) {
    const float *position = positions(biases, place);
    const uint32_t *times = biases.times + place.column(0);
    prim::Vec2u before = prim::load_shared8(position - 8);
#pragma unroll
    for (int j = 0; j < Core::kKeys / 8; ++j) {
      const prim::Vec2u at = prim::load_shared8(position + j * 8), key_times = prim::load_shared8(times + j * 8);
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const prim::Vec2u &of_row = r == 0 ? at : before;
        float *sums = scores.sums + j * 4 + r * 2;
        sums[0] = prim::fma(sums[0], alpha, prim::as_float(of_row.x) + time_of(r, key_times.x));
        sums[1] = prim::fma(sums[1], alpha, prim::as_float(of_row.y) + time_of(r, key_times.y));
      }
      before = at;
    }
  }

  // The same for look-ups that take many registers: kKeysATurn keys at a time. The look-ups are one text, in a loop; only the scores that
  // get them are written out, for each turn. time_of(r, i): of column i of the tile.
  template <int kKeysATurn, class TimeOf>
  JD_DEVICE static void add_by_turns(typename Core::Scores &scores, float alpha, const HopperBiasTile<Core> &biases, const Place &place,
                                     const TimeOf &time_of) {
    constexpr int kTurns = Core::kKeys / kKeysATurn, kSums = kKeysATurn / 2;
    const float *position = positions(biases, place);
#pragma unroll 1
    for (int turn = 0; turn < kTurns; ++turn) {
      float rab[kSums];
#pragma unroll
      for (int i = 0; i < kSums; ++i) {
        const int j = i / 4, r = i / 2 % 2, c = i % 2;
        const int32_t column = turn * kKeysATurn + j * 8 + c;
        rab[i] = position[column - r * 8] + time_of(r, column + place.quad * 2);
      }
      add_at<0, kTurns>(scores.sums, turn, alpha, rab);
    }
  }

  // To the turn-th kSums of them, one of kTurns from kFirst on: found by halves, each with instructions of its own.
  template <int kFirst, int kTurns, int kCount, int kSums>
  JD_DEVICE static void add_at(float (&sums)[kCount], int turn, float alpha, const float (&rab)[kSums]) {
    if constexpr (kTurns > 1) {
      if (turn < kFirst + kTurns / 2) {
        add_at<kFirst, kTurns / 2>(sums, turn, alpha, rab);
      } else {
        add_at<kFirst + kTurns / 2, kTurns / 2>(sums, turn, alpha, rab);
      }
    } else {
#pragma unroll
      for (int i = 0; i < kSums; ++i) sums[kFirst * kSums + i] = prim::fma(sums[kFirst * kSums + i], alpha, rab[i]);
    }
  }

  const HstuAttentionParams<uint16_t> &p_;
  const HopperBias<Core> &shared_;
};

// For kernels of both kinds.
template <class Core>
using HopperBiasIf = std::conditional_t<Core::kBiased, HopperBias<Core>, HopperNothing>;

}  // namespace jindou::attention

#endif
