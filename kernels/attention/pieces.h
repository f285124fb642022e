// How a sequence of keys is cut into pieces that are summed each from nothing and merged in order: by its length alone, so that no bit follows
// from who takes which piece. Every operator that cuts keys says what its pieces are like; the rule is here, for the kernels and the CPU
// backend. Depends on nothing.
#ifndef JINDOU_KERNELS_ATTENTION_PIECES_H
#define JINDOU_KERNELS_ATTENTION_PIECES_H

#include <stdint.h>

#include "primitives/compiler.h"

namespace jindou::attention {

// Pieces of `least` keys, or, where that would be more than `most` pieces, of equal ones that are whole granules. All but the last are of the
// same length, and none is empty. `least` is whole granules, or 0.
// Sums are unsigned: every length is good up to 2^31 - 1, less a granule where `most` is 1.
struct Pieces {
  int32_t least, most, granule;

  // Keys of a piece; the last one has what is left.
  JD_HOST_DEVICE constexpr int32_t length(int32_t keys) const {
    const uint32_t of = static_cast<uint32_t>(most), whole = static_cast<uint32_t>(granule);
    const int32_t even = static_cast<int32_t>(((static_cast<uint32_t>(keys) + of - 1) / of + whole - 1) / whole * whole);
    return even > least ? even : least;
  }

  // At least one, so that rows without a key still get an answer.
  JD_HOST_DEVICE constexpr int32_t number(int32_t keys) const {
    const int32_t each = length(keys);
    return keys <= each ? 1 : static_cast<int32_t>((static_cast<uint32_t>(keys) + each - 1) / each);
  }

  // The most that a sequence of up to `keys` keys has: past most * least keys a longer one may have fewer pieces.
  JD_HOST_DEVICE constexpr int32_t most_up_to(int64_t keys) const {
    return keys >= int64_t{most} * least ? most : number(static_cast<int32_t>(keys));
  }
};

}  // namespace jindou::attention

#endif
