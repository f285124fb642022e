// How a grid of one block a multiprocessor shares a jagged batch whose offsets only the device knows, without atomics: every item, a piece of
// the keys for a tile of 128 rows of a sequence and head, has a cost (hopper_costs.h). Which block does an item never changes its result.
//
// Few sequences with few items: these are dealt in the order of their costs, the dearest first, to the blocks in turn and back again: blocks
// 0, 1, ... n-1, n-1, ... 1, 0, 0, 1, ... Where an item's cost is as much as a block's share, or half of it, nothing else comes near the mean:
// one causal sequence of 8,192 rows and four heads on 132 blocks takes 1.02 times it, the other way 1.8 times. Items left over from whole
// rounds of equal costs, or all of them if there are so few, are dealt by halves of 64 rows if the blocks suffice for twice as many: one
// warpgroup multiplies them, in little more than half the time (README.md, "On Hopper").
//
// Many: costs are laid end to end, and block k takes the items whose middles lie in the k-th of grid equal parts. What a block does differs
// from the mean by less than its dearest item, and its consecutive items read the same keys and values.
#ifndef JINDOU_KERNELS_ATTENTION_HOPPER_SCHEDULE_H
#define JINDOU_KERNELS_ATTENTION_HOPPER_SCHEDULE_H

#include "attention/hopper_costs.h"

namespace jindou::attention {

// An item.
struct HopperWork {
  int64_t sequence;  // -1: no item
  int32_t head, tile, piece;
  int32_t half;  // of the tile's rows: 0, 1; -1: both

  // Rows of the tile before it, and of it, of so many.
  JD_DEVICE int32_t before(int32_t rows) const { return half > 0 ? rows / 2 : 0; }
  JD_DEVICE int32_t count(int32_t rows) const { return half < 0 ? rows : rows / 2; }
};

class HopperSchedule {
 public:
  static constexpr int kRuns = 128;   // of many sequences, as even as can be: one a thread that sums
  static constexpr int kFew = 32;     // sequences: one a lane
  static constexpr int kRounds = 24;  // of dealt items

  // All threads. costs(sequence); halves: items may be halved; check(sequence) is called once in the grid. Ends with a barrier.
  template <class Costs, class Check>
  JD_DEVICE void make(int64_t batch, int32_t heads, bool halves, const Costs &costs, const Check &check) {
    const int thread = static_cast<int>(prim::thread_idx().x);
    if (prim::block_idx().x == 0) {
      for (int64_t b = thread; b < batch; b += prim::block_dim().x) check(b);
    }
    if (batch <= kFew) {
      if (thread < kFew) dealt_.costs[thread] = thread < batch ? costs(thread) : TileCosts{0, 0, 0, 0, 1};
      prim::sync_threads();
      if (deal(static_cast<int>(batch), heads, halves)) return;
    }
    lay(batch, heads, costs);
  }

  // This block's next item, in shared memory: a producer's registers are few. By one thread, always the same; costs as above.
  template <class Costs>
  JD_DEVICE void advance(int64_t batch, int32_t heads, const Costs &costs) {
    work_.sequence = -1;
    if (dealt_count_ >= 0) {
      if (dealt_next_ == dealt_count_) return;
      const Packed &item = dealt_.items[dealt_next_++];
      work_ = HopperWork{item.sequence, item.head, item.tile, item.piece, item.half};
      return;
    }
    if (next_.sequence == stop_.sequence && next_.head == stop_.head && next_.tile == stop_.tile && next_.piece == stop_.piece) return;
    work_ = HopperWork{next_.sequence, next_.head, next_.tile, next_.piece, -1};
    if (++next_.piece < next_.pieces) return;
    next_.piece = 0;
    if (++next_.tile < next_.tiles) return;
    next_.tile = 0;
    if (++next_.head < heads) return;
    next_ = first_from(next_.sequence + 1, batch, costs);
  }
  JD_DEVICE const HopperWork &work() const { return work_; }

 private:
  struct Packed {
    int8_t sequence, half;
    int16_t head, tile, piece;
  };
  struct Dealt {
    TileCosts costs[kFew];
    Packed items[kRounds];  // of this block
  };
  // In the order of sequences, heads, tiles and pieces; and how many of these the sequence has.
  struct Position {
    int64_t sequence;
    int32_t head, tile, piece, tiles, pieces;
  };

  union {
    Dealt dealt_;
    uint64_t before_[kRuns + 1];  // costs of what lies before each run
  };
  union {
    uint64_t warp_totals_[kRuns / 32];
    Position next_;
  };
  Position stop_;
  HopperWork work_;
  int32_t dealt_count_, dealt_next_;  // -1: the items [next_, stop_)

  // -- many: end to end ---------------------------------------------------------------------------------------------------
  template <class Costs>
  JD_DEVICE void lay(int64_t batch, int32_t heads, const Costs &costs) {
    const int thread = static_cast<int>(prim::thread_idx().x), lane = thread % 32, warp = thread / 32;
    uint64_t mine = 0, sum = 0;
    if (thread < kRuns) {
      const int64_t run = run_length(batch);
      for (int64_t b = thread * run; b < (thread + 1) * run && b < batch; ++b) mine += costs(b).total() * static_cast<uint64_t>(heads);
      sum = mine;
#pragma unroll
      for (int step = 1; step < 32; step *= 2) {
        const uint64_t below = prim::shfl_up(sum, step);
        if (lane >= step) sum += below;
      }
      if (lane == 31) warp_totals_[warp] = sum;
    }
    prim::sync_threads();
    if (thread < kRuns) {
      for (int w = 0; w < warp; ++w) sum += warp_totals_[w];
      before_[thread] = sum - mine;
      if (thread == kRuns - 1) before_[kRuns] = sum;
    }
    prim::sync_threads();
    if (thread == 0 || thread == 32) {  // where this block's share begins and the next one's
      const Position found = first_behind(before_[kRuns] * 2 * (prim::block_idx().x + warp) / prim::grid_dim().x, batch, heads, costs);
      (thread == 0 ? next_ : stop_) = found;
      dealt_count_ = -1;
    }
    prim::sync_threads();
  }

  JD_DEVICE static int64_t run_length(int64_t batch) { return (batch + kRuns - 1) / kRuns; }

  // The first item of sequence b, or of the next that has any.
  template <class Costs>
  JD_DEVICE static Position first_from(int64_t b, int64_t batch, const Costs &costs) {
    for (; b < batch; ++b) {
      const TileCosts c = costs(b);
      if (c.tiles > 0) return Position{b, 0, 0, 0, c.tiles, c.pieces};
    }
    return Position{batch, 0, 0, 0, 0, 0};
  }

  // The first item whose middle does not lie before `where`, in half costs.
  template <class Costs>
  JD_DEVICE Position first_behind(uint64_t where, int64_t batch, int32_t heads, const Costs &costs) const {
    int run = 0;  // the last that begins at or before it
#pragma unroll
    for (int half = kRuns / 2; half > 0; half /= 2) run += before_[run + half] * 2 <= where ? half : 0;
    uint64_t at = before_[run] * 2;
    for (int64_t b = run * run_length(batch); b < batch; ++b) {
      const TileCosts c = costs(b);
      const uint64_t a_head = c.total() * 2, head = a_head == 0 ? 0 : (where - at) / a_head;
      if (head >= static_cast<uint64_t>(heads) || a_head == 0) {
        at += a_head * static_cast<uint64_t>(heads);
        continue;
      }
      where -= at + head * a_head;  // from the head's beginning
      const auto lies_before = [&](int32_t t, int32_t p) { return c.before(t, p) * 2 + c.of(t, p) < where; };
      int32_t low = 0, high = c.tiles;  // the first tile whose last piece's middle is not before it
      while (low < high) {
        const int32_t t = (low + high) / 2;
        if (lies_before(t, c.pieces - 1)) {
          low = t + 1;
        } else {
          high = t;
        }
      }
      Position found{b, static_cast<int32_t>(head), low, 0, c.tiles, c.pieces};
      if (low == c.tiles) {  // the next head's first
        found.tile = 0;
        if (++found.head == heads) return first_from(b + 1, batch, costs);
        return found;
      }
      while (lies_before(low, found.piece)) ++found.piece;
      return found;
    }
    return Position{batch, 0, 0, 0, 0, 0};
  }

  // -- few: in the order of costs -----------------------------------------------------------------------------------------
  // The sequences' costs, one a lane, by a whole warp. Lanes past the last repeat them, so that sums need no more steps than sequences do.
  struct Lanes {
    const TileCosts *costs;
    int width;  // a power of two
    uint32_t heads;
    TileCosts mine;

    JD_DEVICE Lanes(const TileCosts *all, int batch, int32_t num_heads) : costs(all), width(1), heads(static_cast<uint32_t>(num_heads)) {
      while (width < batch) width *= 2;
      mine = costs[prim::lane_id() % width];
    }
    template <class T>
    JD_DEVICE T sum(T x) const {
      for (int step = 1; step < width; step *= 2) x += prim::shfl_xor(x, step);
      return x;
    }
    JD_DEVICE uint64_t items() const { return sum(mine.items() * heads); }
    JD_DEVICE uint32_t reaching(uint32_t cost) const { return sum(mine.reaching(cost) * heads); }
    JD_DEVICE uint32_t dearest() const {
      uint32_t most = mine.dearest();
      for (int step = 1; step < width; step *= 2) {
        const uint32_t other = prim::shfl_xor(most, step);
        most = other > most ? other : most;
      }
      return most;
    }

    // Of counts, one a lane, which holds number `at`, and which of its own that is; -1 if they are fewer: `at` less their sum then.
    JD_DEVICE static int find(uint32_t count, uint32_t &at) {
      uint32_t end = count;
#pragma unroll
      for (int step = 1; step < 32; step *= 2) {
        const uint32_t below = prim::shfl_up(end, step);
        if (prim::lane_id() >= step) end += below;
      }
      const uint32_t reach = prim::ballot(at < end);
      if (reach == 0) {
        at -= prim::shfl(end, 31);
        return -1;
      }
      const int lane = prim::ffs(reach) - 1;
      at -= prim::shfl(end - count, lane);
      return lane;
    }

    // The item before which `rank` lie in the order of costs; of equals sequence by sequence, head by head.
    JD_DEVICE Packed item(uint32_t rank, uint32_t dearest) const {
      uint32_t cost = 1, high = dearest;  // the greatest that more than `rank` reach
      while (cost < high) {
        const uint32_t middle = cost + (high - cost + 1) / 2;
        if (reaching(middle) > rank) {
          cost = middle;
        } else {
          high = middle - 1;
        }
      }
      uint32_t at = rank - reaching(cost + 1);
      const uint32_t a_head = mine.reaching(cost) - mine.reaching(cost + 1);
      const int b = find(prim::lane_id() < width ? a_head * heads : 0, at);
      const uint32_t of_head = prim::shfl(a_head, b), head = at / of_head;
      at -= head * of_head;
      const TileCosts c = costs[b];
      for (int32_t first = 0;; first += 32) {
        const int32_t tile = first + prim::lane_id();
        const TileCosts::Equals equals = tile < c.tiles ? c.equals(tile, cost) : TileCosts::Equals{0, 0};
        const int lane = find(static_cast<uint32_t>(equals.count), at);
        if (lane < 0) continue;
        const int32_t piece = prim::shfl(equals.first_piece, lane) + static_cast<int32_t>(at);
        return Packed{static_cast<int8_t>(b), -1, static_cast<int16_t>(head), static_cast<int16_t>(first + lane), static_cast<int16_t>(piece)};
      }
    }
  };

  // Every warp finds some of the block's items. Whether they were dealt; ends with a barrier.
  JD_DEVICE bool deal(int batch, int32_t heads, bool halves) {
    const Lanes lanes(dealt_.costs, batch, heads);
    const uint32_t blocks = prim::grid_dim().x, block = prim::block_idx().x;
    const uint64_t items = lanes.items();
    if (items > uint64_t{kRounds - 1} * blocks || items > INT16_MAX || heads > INT16_MAX) {
      prim::sync_threads();  // all have read what is about to be overwritten
      return false;
    }
    // Items that meet no key, by the formula, come last and are not counted here.
    const uint32_t dearest = lanes.dearest(), some = lanes.reaching(2), whole_rounds = some / blocks * blocks;
    const bool halved = halves && (some - whole_rounds) * 2 <= blocks && lanes.reaching(dearest) > whole_rounds;
    const uint32_t whole = halved ? whole_rounds : some, rest = some - whole, slots = static_cast<uint32_t>(items) + rest;
    const int warps = static_cast<int>(prim::block_dim().x) / 32;
    for (uint32_t round = static_cast<uint32_t>(prim::warp_id()); round * blocks < slots; round += static_cast<uint32_t>(warps)) {
      const uint32_t slot = slot_of(round, block, blocks);
      if (slot >= slots) continue;
      const bool half = slot >= whole && slot < whole + 2 * rest;
      Packed item = lanes.item(slot < whole ? slot : half ? whole + (slot - whole) / 2 : slot - rest, dearest);
      if (half) item.half = static_cast<int8_t>((slot - whole) % 2);
      if (prim::lane_id() == 0) dealt_.items[round] = item;
    }
    if (prim::thread_idx().x == 0) {
      const uint32_t rounds = slots / blocks;  // and perhaps one more
      dealt_count_ = static_cast<int32_t>(rounds + (slot_of(rounds, block, blocks) < slots ? 1 : 0));
      dealt_next_ = 0;
    }
    prim::sync_threads();
    return true;
  }

  JD_DEVICE static uint32_t slot_of(uint32_t round, uint32_t block, uint32_t blocks) {
    return round * blocks + (round % 2 == 0 ? block : blocks - 1 - block);
  }
};

}  // namespace jindou::attention

#endif
