// The mask of softmax_attention, once: for the CUDA kernels, their emulation and the CPU backend. Depends on nothing.
//
// Query row i of a sequence with nq queries and nk keys stands at p_i = nk - nq + i and sees key j (jindou/softmax_attention.h) if
//   p_i - left <= j <= p_i + right                       (a side of -1 is unbounded)
//   or j < sink  or  j < num_global  or  (p_i < prefix and j < prefix)  or  i < num_global
//
// So a row sees its first keys and a window, [0, head) and [low, high): an interval with at most one hole (`row_keys`). Behind the
// global rows low and high never fall and head never rises as i grows: what a tile of rows sees is again an interval with one hole
// (`tile_keys`), and what all of its rows see follows from the first and the last row on each side of the prefix (`classify`).
#ifndef JINDOU_KERNELS_ATTENTION_SOFTMAX_MASK_H
#define JINDOU_KERNELS_ATTENTION_SOFTMAX_MASK_H

#include <stdint.h>

#include "attention/tile_mask.h"

namespace jindou {

struct SoftmaxMask {
  int32_t keys;     // nk
  int32_t shift;    // nk - nq: p_i = shift + i
  int32_t left, right;
  int32_t sink;     // of num_global and sink the larger
  int32_t prefix, globals;

  // queries and keys in 0..2^29; the others as the operator has them (left and right -1 for none), any 32-bit numbers. Past the
  // sequence's length they change nothing, and are cut there so that no sum below can overflow.
  JD_MASK_FUNCTION SoftmaxMask(int32_t num_queries, int32_t num_keys, int32_t left_keys, int32_t right_keys, int32_t sink_keys,
                               int32_t prefix_keys, int32_t num_global)
      : keys(num_keys),
        shift(num_keys - num_queries),
        left(cut(left_keys, num_queries + num_keys)),
        right(cut(right_keys, num_queries + num_keys)),
        sink(smaller(larger(sink_keys, num_global), num_keys)),
        prefix(smaller(prefix_keys, num_keys)),
        globals(smaller(num_global, num_queries)) {}

  // What row i sees: [begin, end) without [hole_begin, hole_end). Without a hole hole_begin = hole_end; of no key begin = end.
  struct Keys {
    int32_t begin, end, hole_begin, hole_end;
    JD_MASK_FUNCTION bool contains(int32_t j) const {
      return j >= begin && j < end && !(j >= hole_begin && j < hole_end);
    }
    // Some key of [key_begin, key_end), which is not empty, is seen.
    JD_MASK_FUNCTION bool meets(int32_t key_begin, int32_t key_end) const {
      return key_begin < end && key_end > begin && !(key_begin >= hole_begin && key_end <= hole_end);
    }
  };

  JD_MASK_FUNCTION Keys row_keys(int32_t i) const {
    return i < globals ? join(keys, 0, keys) : join(head(shift + i), low(shift + i), high(shift + i));
  }

  JD_MASK_FUNCTION bool allowed(int32_t i, int32_t j) const { return row_keys(i).contains(j); }

  // The keys that rows [row_begin, row_end), at least one, see together.
  JD_MASK_FUNCTION Keys tile_keys(int32_t row_begin, int32_t row_end) const {
    if (row_begin < globals) return join(keys, 0, keys);
    const int32_t first = shift + row_begin, last = shift + row_end - 1;
    return join(head(first), low(first), high(last));
  }

  // The keys that all of these rows see, as two intervals [0, first) and [begin, end): keys of both sort may lie elsewhere, where
  // some rows see them as their first keys and the others in their window.
  struct FullKeys {
    int32_t first, begin, end;
    JD_MASK_FUNCTION bool contain(int32_t key_begin, int32_t key_end) const {
      return key_end <= first || (key_begin >= begin && key_end <= end);
    }
  };

  JD_MASK_FUNCTION FullKeys full_keys(int32_t row_begin, int32_t row_end) const {
    if (row_end <= globals) return {keys, 0, keys};
    const int32_t first = shift + larger(row_begin, globals), last = shift + row_end - 1;
    FullKeys full = {smaller(reach(first), reach(last)), low(last), high(first)};
    if (first < prefix && last >= prefix) {  // the rows on each side of the prefix's end have ends of their own
      full.first = smaller(full.first, smaller(reach(prefix - 1), reach(prefix)));
    }
    return full;
  }

  // What the mask leaves of rows [row_begin, row_end) x keys [key_begin, key_end), both inside the sequence and not empty. kEmpty and
  // kFull are certain; kPartial may be full in rare tiles (see FullKeys).
  JD_MASK_FUNCTION TileMask classify(int32_t row_begin, int32_t row_end, int32_t key_begin, int32_t key_end) const {
    if (!tile_keys(row_begin, row_end).meets(key_begin, key_end)) return TileMask::kEmpty;
    return full_keys(row_begin, row_end).contain(key_begin, key_end) ? TileMask::kFull : TileMask::kPartial;
  }

 private:
  // Of the row at position p: its first keys [0, head) and its window [low, high), high >= low.
  JD_MASK_FUNCTION int32_t head(int32_t p) const { return p < prefix ? larger(sink, prefix) : sink; }
  JD_MASK_FUNCTION int32_t low(int32_t p) const { return left < 0 ? 0 : between(p - left, 0, keys); }
  JD_MASK_FUNCTION int32_t high(int32_t p) const { return right < 0 ? keys : between(p + right + 1, 0, keys); }
  // All keys [0, reach) are seen.
  JD_MASK_FUNCTION int32_t reach(int32_t p) const {
    const int32_t h = head(p);
    return low(p) <= h ? larger(h, high(p)) : h;
  }

  // [0, head) and [low, high) as one.
  static JD_MASK_FUNCTION Keys join(int32_t head, int32_t low, int32_t high) {
    if (high <= low) return {0, head, head, head};
    if (head == 0) return {low, high, high, high};
    if (low <= head) return {0, larger(head, high), larger(head, high), larger(head, high)};
    return {0, high, head, low};
  }

  static JD_MASK_FUNCTION int32_t cut(int32_t side, int32_t most) { return side < 0 ? -1 : smaller(side, most); }
  static JD_MASK_FUNCTION int32_t smaller(int32_t a, int32_t b) { return a < b ? a : b; }
  static JD_MASK_FUNCTION int32_t larger(int32_t a, int32_t b) { return a < b ? b : a; }
  static JD_MASK_FUNCTION int32_t between(int32_t x, int32_t least, int32_t most) {
    return x < least ? least : x > most ? most : x;
  }
};

}  // namespace jindou

#endif
