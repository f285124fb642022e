// How a key is found in a hash table and put into it (jindou/hash_table.h), once: for the CUDA kernels, their emulation and the CPU
// backend. Where it may lie is in core/hash_geometry.h.
#ifndef JINDOU_KERNELS_EMBEDDING_HASH_BUCKETS_H
#define JINDOU_KERNELS_EMBEDDING_HASH_BUCKETS_H

#include "core/hash_geometry.h"

namespace jindou::hashing {

// How one bucket is looked at. All places are: which one it is, nothing foretells. (In vectors: cpu/kernels/hash_write.h.)
struct ScalarBucket {
  // The first place that holds the key, or -1.
  JD_HASH_FUNCTION static int place_of(const int64_t *keys, int64_t key) {
    int place = -1;
    for (int i = kBucketSlots - 1; i >= 0; --i) place = keys[i] == key ? i : place;
    return place;
  }
  // The place with the least score, of equal ones the first.
  JD_HASH_FUNCTION static int place_of_least(const int64_t *scores) {
    int best = 0;
    for (int i = 1; i < kBucketSlots; ++i) best = scores[i] < scores[best] ? i : best;
    return best;
  }
};

// The slot of a key, or -1. kEmptyKey is nowhere.
template <class Bucket>
JD_HASH_FUNCTION int64_t find(const int64_t *keys, const Places &places, int64_t key) {
  if (key == kEmptyKey) return -1;
  for (int side = 0; side < 2; ++side) {
    const int place = Bucket::place_of(keys + places.bucket[side] * kBucketSlots, key);
    if (place >= 0) return places.bucket[side] * kBucketSlots + place;
  }
  return -1;
}

// What an insertion needs to remember while it looks for a chain of keys to move: a breadth-first search over buckets.
struct MoveSearch {
  static constexpr int kNodes = 256;
  struct Node {
    int64_t bucket;
    int16_t parent;  // node whose key in `place` has this bucket as its other one; -1 for the two roots
    int16_t place;
  };
  Node nodes[kNodes];
};

// Makes room in a bucket of a new key by moving others to their other buckets. Gives the slot made free, or -1.
// move(from, to): key, row and whatever else belongs to a slot goes to a free slot.
//
// No bucket is looked at twice, so that in a table of up to 256 buckets -1 means that no arrangement of its keys has room for the new one. In
// larger ones a search that long does not happen: 2,048 buckets filled to 0.95 took 12 at most of the 256 in 100 fillings, to 0.99 97 in 300,
// and 16 more were a fifth as likely. (First refusals came from 0.994 on.)
template <class Bucket, class Move>
JD_HASH_FUNCTION int64_t make_room(const int64_t *keys, const Geometry &geometry, const Places &places, MoveSearch &search,
                                   const Move &move) {
  int count = 2;
  search.nodes[0] = {places.bucket[0], -1, -1};
  search.nodes[1] = {places.bucket[1], -1, -1};
  for (int at = 0; at < count; ++at) {
    const int64_t bucket = search.nodes[at].bucket;
    for (int place = 0; place < kBucketSlots; ++place) {
      const int64_t key = keys[bucket * kBucketSlots + place];
      const Places other = geometry.places(key);
      const int64_t target = other.bucket[other.bucket[0] == bucket ? 1 : 0];
      const int free = Bucket::place_of(keys + target * kBucketSlots, kEmptyKey);
      if (free < 0) {
        bool known = count == MoveSearch::kNodes;
        for (int n = 0; n < count && !known; ++n) known = search.nodes[n].bucket == target;
        if (!known) search.nodes[count++] = {target, static_cast<int16_t>(at), static_cast<int16_t>(place)};
        continue;
      }
      // From the end of the chain to its root, each key into the slot that the one before left.
      int64_t hole = target * kBucketSlots + free;
      int from_place = place;
      for (int n = at; n >= 0; n = search.nodes[n].parent) {
        const int64_t from = search.nodes[n].bucket * kBucketSlots + from_place;
        move(from, hole);
        hole = from;
        from_place = search.nodes[n].place;
      }
      return hole;
    }
  }
  return -1;
}

// The slot whose key makes room for a new one: the one with the least score, of equal ones that of the first bucket. Under LRU, whose scores are
// hardly ever equal, the second bucket's goes where it was not used for half as long again as the first's. Else half of all keys
// would lie in their second bucket, where a lookup finds them last, and as many of those asked for: with 3/2 between a twentieth and an eighth,
// at a hit rate lower by at most 0.0009 (Zipf 0.8 and 1.05, 1M keys, a tenth of them in the table).
template <class Table>
JD_HASH_FUNCTION int64_t slot_to_clear(const Table &t, const Places &places) {
  const int64_t begin[2] = {places.bucket[0] * kBucketSlots, places.bucket[1] * kBucketSlots};
  const int64_t first = begin[0] + Table::Bucket::place_of_least(t.scores + begin[0]);
  const int64_t second = begin[1] + Table::Bucket::place_of_least(t.scores + begin[1]);
  const int64_t worst = t.scores[first], other = t.scores[second];
  if (t.eviction != JD_EVICT_LRU) return other < worst ? second : first;  // given scores are any: no difference of theirs
  return worst - other > (t.tick - worst) / 2 ? second : first;
}

// LFU ages where keys compete, without a clock: a new key begins one above the score of the one it replaces, and none of the sixteen stays
// more than kMostLead above that. So every new key gets in, the least score rises with the replacements, and who is not used any more is the least
// after some sixteen times kMostLead of them, however popular it was. (LFU with dynamic ageing, Arlitt et al. 2000, has the first rule alone: a table
// of keys with a thousand uses each then follows a change of all of them after a thousand replacements a slot.) With Zipf 0.8 and 1.05 of 100,000
// keys, a tenth of them in the table, the rate of hits is the same without a limit, with 8 lower by 0.001, with 4 by 0.004.
constexpr int64_t kMostLead = 16;

template <class Table>
JD_HASH_FUNCTION void age_scores(Table &t, const Places &places, int64_t least) {
  for (int side = 0; side < 2; ++side) {
    for (int64_t slot = places.bucket[side] * kBucketSlots; slot < (places.bucket[side] + 1) * kBucketSlots; ++slot) {
      if (t.scores[slot] > least + kMostLead) t.write_score(slot, least + kMostLead);
    }
  }
}

struct Inserted {
  int64_t slot;     // of the key, or -1
  int32_t outcome;  // JD_HASH_*
  int64_t evicted;  // the key whose place it took, or kEmptyKey
};

// Counts a sight of a key that is not in the table, and gives how many there were of late.
//
// Counters are halved in turn, eight at a time, all of a partition once in 3 * admission - 4 sights a group (TinyLFU's reset, Einziger et al.
// 2017, bit by bit). Without that they would only grow until every key was admitted at once. Of keys never seen before that admits
// 0.054 of those with admission 2, 0.032 with 3, and less with more: there are as many counters as slots, so that a longer time would admit more.
template <class Table>
JD_HASH_FUNCTION int sights_of(Table &t, int64_t key) {
  const Sights sights = t.geometry.sights(key);
  const int seen[2] = {t.sights[sights.counter[0]], t.sights[sights.counter[1]]};
  const int count = (seen[0] < seen[1] ? seen[0] : seen[1]) + 1;
  for (int i = 0; i < 2; ++i) {
    if (seen[i] < count && count <= t.admission) t.write_sight(sights.counter[i], static_cast<uint8_t>(count));
  }
  // The lower half of the time is sights since the last halving, the upper one the group that comes next, whatever a restored table says.
  uint32_t time = 0;
  for (int i = Sights::kTimeBytes - 1; i >= 0; --i) time = time << 8 | t.sights[sights.time + i];
  const auto pace = static_cast<uint32_t>(3 * t.admission - 4), groups = static_cast<uint32_t>(t.geometry.buckets_each - 1);
  const uint32_t group = time >> 16 < groups ? time >> 16 : 0;
  const bool due = (time & 0xffff) + 1 >= pace;
  const uint32_t next = !due ? time + 1 : group + 1 < groups ? (group + 1) << 16 : 0;
  for (int i = 0; i < Sights::kTimeBytes; ++i) {
    if ((next ^ time) >> 8 * i & 0xff) t.write_sight(sights.time + i, static_cast<uint8_t>(next >> 8 * i));
  }
  if (!due) return count;
  const int64_t first = sights.time + (1 + int64_t{group}) * kBucketSlots;
  for (int64_t at = first; at < first + kBucketSlots; ++at) {
    const int old = t.sights[at];
    if (old > 0) t.write_sight(at, static_cast<uint8_t>(old / 2));
  }
  return count;
}

// Puts a key in, which has these places. The row is the caller's to write, into the slot given back. Table:
//   Bucket, geometry, keys, scores, sights (null without), eviction, admission, tick, search
//   write_key(slot, key), write_score(slot, score), write_sight(at, count), move(from, to)
template <class Table>
JD_HASH_FUNCTION Inserted insert(Table &t, int64_t key, const Places &places, int64_t given_score) {
  if (key == kEmptyKey) return {-1, JD_HASH_REFUSED, kEmptyKey};
  int64_t slot = find<typename Table::Bucket>(t.keys, places, key);
  if (slot >= 0) {
    if (t.eviction == JD_EVICT_LRU) t.write_score(slot, t.tick);
    if (t.eviction == JD_EVICT_LFU) t.write_score(slot, t.scores[slot] + 1);
    if (t.eviction == JD_EVICT_SCORE) t.write_score(slot, given_score);
    return {slot, JD_HASH_ASSIGNED, kEmptyKey};
  }
  if (t.admission > 1 && sights_of(t, key) < t.admission) return {-1, JD_HASH_NOT_ADMITTED, kEmptyKey};
  int64_t score = t.eviction == JD_EVICT_LRU ? t.tick : t.eviction == JD_EVICT_LFU ? 1 : given_score;
  int64_t evicted = kEmptyKey;
  for (int side = 0; side < 2 && slot < 0; ++side) {
    const int free = Table::Bucket::place_of(t.keys + places.bucket[side] * kBucketSlots, kEmptyKey);
    if (free >= 0) slot = places.bucket[side] * kBucketSlots + free;
  }
  if (slot < 0 && t.eviction == JD_EVICT_NONE) {
    slot = make_room<typename Table::Bucket>(t.keys, t.geometry, places, t.search, [&](int64_t from, int64_t to) { t.move(from, to); });
    if (slot < 0) return {-1, JD_HASH_REFUSED, kEmptyKey};
  } else if (slot < 0) {
    slot = slot_to_clear(t, places);
    const int64_t least = t.scores[slot];
    if (t.eviction == JD_EVICT_LFU) {
      age_scores(t, places, least);
      score = least + 1;
    }
    if (least > score) return {-1, JD_HASH_REFUSED, kEmptyKey};
    evicted = t.keys[slot];
  }
  t.write_key(slot, key);
  if (t.eviction != JD_EVICT_NONE) t.write_score(slot, score);
  return {slot, evicted == kEmptyKey ? JD_HASH_INSERTED : JD_HASH_REPLACED, evicted};
}

}  // namespace jindou::hashing

#endif
