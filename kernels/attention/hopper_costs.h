// What the items of a sequence cost, by a formula, so that no block has to look at every item: where they lie in the order of sequences,
// and how many of them cost how much.
//
// Tile t of a sequence's rows meets min(first + t + 1, most) units of keys. They are cut into pieces of `piece` units, and an item is a piece
// of a tile: it costs 1, and 1 more for each unit. Of a sequence that is not cut `piece` is `most` or more.
#ifndef JINDOU_KERNELS_ATTENTION_HOPPER_COSTS_H
#define JINDOU_KERNELS_ATTENTION_HOPPER_COSTS_H

#include "primitives/primitives.h"

namespace jindou::attention {

struct TileCosts {
  int32_t tiles, pieces;       // pieces: of each tile, some of them perhaps without keys; together no less than `most` units
  int32_t first, most, piece;  // in units; piece > 0

  JD_DEVICE uint64_t items() const { return static_cast<uint64_t>(tiles) * static_cast<uint64_t>(pieces); }
  JD_DEVICE int32_t units(int32_t t) const { return first + t + 1 < most ? first + t + 1 : most; }
  JD_DEVICE uint32_t of(int32_t t, int32_t p) const {
    const int64_t left = units(t) - int64_t{p} * piece;
    return static_cast<uint32_t>(1 + (left < 0 ? 0 : left < piece ? left : piece));
  }

  // -- in order: tile by tile, piece by piece --
  // Of all tiles before t.
  JD_DEVICE uint64_t before(int32_t t) const {
    const uint64_t m = static_cast<uint64_t>(growing(t)), flat = static_cast<uint64_t>(t) - m;
    return static_cast<uint64_t>(t) * static_cast<uint64_t>(pieces) + m * static_cast<uint64_t>(first) + m * (m + 1) / 2 +
           flat * static_cast<uint64_t>(most);
  }
  JD_DEVICE uint64_t before(int32_t t, int32_t p) const {
    const int64_t units_before = int64_t{p} * piece, all = units(t);
    return before(t) + static_cast<uint64_t>(p + (units_before < all ? units_before : all));
  }
  JD_DEVICE uint64_t total() const { return before(tiles); }

  // -- by cost: of sequences whose items have 32 bits --
  JD_DEVICE uint32_t dearest() const {
    const int32_t most_units = tiles > 0 ? units(tiles - 1) : 0;
    return tiles > 0 ? static_cast<uint32_t>(1 + (most_units < piece ? most_units : piece)) : 0;
  }
  // How many items cost so much or more.
  JD_DEVICE uint32_t reaching(uint32_t cost) const {
    if (cost <= 1) return static_cast<uint32_t>(items());
    const uint32_t wanted = cost - 1, size = static_cast<uint32_t>(piece);
    if (wanted > size) return 0;
    // Of x units that is (x + size - wanted) / size items.
    const uint32_t m = static_cast<uint32_t>(growing(tiles)), more = size - wanted, least = static_cast<uint32_t>(first) + more;
    return whole_pieces(least + m) - whole_pieces(least) +
           (static_cast<uint32_t>(tiles) - m) * ((static_cast<uint32_t>(most) + more) / size);
  }
  // Of tile t those that cost exactly so much: neighbours.
  struct Equals {
    int32_t first_piece, count;
  };
  JD_DEVICE Equals equals(int32_t t, uint32_t cost) const {
    const int32_t wanted = static_cast<int32_t>(cost) - 1, full = units(t) / piece, rest = units(t) % piece, some = rest > 0 ? 1 : 0;
    if (wanted == piece) return Equals{0, full};
    if (wanted == 0) return Equals{full + some, pieces - full - some};
    return Equals{full, wanted == rest ? 1 : 0};
  }

 private:
  // Of the tiles before t those that meet more than the one before.
  JD_DEVICE int32_t growing(int32_t t) const {
    const int32_t room = most - first;
    return room < 0 ? 0 : room < t ? room : t;
  }
  // The sum of x / piece for x of 0..n.
  JD_DEVICE uint32_t whole_pieces(uint32_t n) const {
    const uint32_t size = static_cast<uint32_t>(piece), whole = n / size, rest = n - whole * size;
    return whole * (rest + 1) + (whole > 0 ? whole * (whole - 1) / 2 * size : 0);
  }
};

}  // namespace jindou::attention

#endif
