// The mask of hstu_attention, once: for the CUDA kernels, their emulation and the CPU backend. Depends on nothing.
//
// For a sequence of n rows with t targets and c contextual rows (jindou/attention.h; generative-recommenders,
// _get_valid_attn_mask):
//   id(i)  = min(c > 0 ? max(i - c + 1, 0) : i, max_id)        max_id = (c > 0 ? n - c + 1 : n) - t
//   allowed(i, j) = i == j  or  id(i) > id(j)                  (causal = 0: id(i) != id(j))
//       and, with max_attn_len w > 0:  id(i) - id(j) <= w      (causal = 0: |id(i) - id(j)| <= w)
//                    or, with min_full_attn_seq_len f > 0:     id(i) >= max_id - f
//     or  c > 0 and id(i) == 0 and id(j) < max_id
//
// id is non-decreasing in i. That is all the structure a kernel needs: the keys a row sees are its own (the diagonal)
// and one interval with at most one hole (`row_keys`); the keys a tile of rows sees are one interval and the tile's
// diagonal (`tile_keys`), with nothing in between computed: a tile of targets skips the targets before it.
#ifndef JINDOU_KERNELS_ATTENTION_HSTU_MASK_H
#define JINDOU_KERNELS_ATTENTION_HSTU_MASK_H

#include <stdint.h>

#include "attention/tile_mask.h"

namespace jindou {

struct HstuMask {
  int32_t causal, n, contexts, window, full_tail, max_id;

  // n in 0..2^30, targets in 0..n; the others are the operator's parameters, any non-negative 32-bit numbers. Past the
  // sequence's length they change nothing, and are cut there so that no sum below can overflow.
  JD_MASK_FUNCTION HstuMask(bool is_causal, int32_t rows, int32_t targets, int32_t contextual_seq_len,
                            int32_t max_attn_len, int32_t min_full_attn_seq_len)
      : causal(is_causal),
        n(rows),
        contexts(smaller(contextual_seq_len, rows + 1)),
        window(smaller(max_attn_len, rows + 1)),
        full_tail(smaller(min_full_attn_seq_len, rows + 1)),
        max_id((contexts > 0 ? rows - contexts + 1 : rows) - targets) {}

  JD_MASK_FUNCTION int32_t id(int32_t i) const {
    return smaller(contexts > 0 ? larger(i - contexts + 1, 0) : i, max_id);
  }

  // Row i ignores the window.
  JD_MASK_FUNCTION bool sees_far(int32_t id_i) const {
    return window == 0 || (full_tail > 0 && id_i >= max_id - full_tail);
  }

  JD_MASK_FUNCTION bool allowed(int32_t i, int32_t j) const {
    const int32_t row = id(i), col = id(j);
    int32_t distance = row - col;
    if (!causal && distance < 0) distance = -distance;
    const bool pair = (i == j || distance > 0) && (distance <= window || sees_far(row));
    return pair || (contexts > 0 && row == 0 && col < max_id);
  }

  // The smallest j in 0..n with id(j) >= v.
  JD_MASK_FUNCTION int32_t first_with_id(int32_t v) const {
    if (v > max_id) return n;
    if (v <= 0) return 0;
    return smaller(contexts > 0 ? v + contexts - 1 : v, n);
  }

  // Exactly the keys row i sees: i itself, and [begin, end) without [hole_begin, hole_end).
  struct RowKeys {
    int32_t begin, end, hole_begin, hole_end;
    JD_MASK_FUNCTION bool contains(int32_t i, int32_t j) const {
      // Without branches: kernels ask it for every pair of a tile.
      return (j == i) | ((j >= begin) & (j < end) & !((j >= hole_begin) & (j < hole_end)));
    }
    // The same, with keys (and the row) counted from `key`.
    JD_MASK_FUNCTION RowKeys from(int32_t key) const {
      return RowKeys{begin - key, end - key, hole_begin - key, hole_end - key};
    }
    // Some key of [key_begin, key_end), which is not empty, is seen by row i.
    JD_MASK_FUNCTION bool meets(int32_t i, int32_t key_begin, int32_t key_end) const {
      const bool before = begin < hole_begin && key_begin < hole_begin && key_end > begin;
      const bool after = hole_end < end && key_begin < end && key_end > hole_end;
      return before || after || (i >= key_begin && i < key_end);
    }
  };

  JD_MASK_FUNCTION RowKeys row_keys(int32_t i) const {
    const int32_t v = id(i);
    const bool far = sees_far(v);
    RowKeys keys;
    keys.begin = far ? 0 : first_with_id(v - window);
    keys.hole_begin = first_with_id(v);
    keys.hole_end = keys.end = keys.hole_begin;
    if (!causal) {
      keys.hole_end = first_with_id(v + 1);
      keys.end = far ? n : first_with_id(v + window + 1);
    }
    if (contexts > 0 && v == 0 && max_id > 0) {  // a contextual row: the whole history besides
      keys.begin = keys.hole_begin = keys.hole_end = 0;
      keys.end = larger(keys.end, first_with_id(max_id));
    }
    return keys;
  }

  // The keys that rows [row_begin, row_end) see together: [begin, end) and the rows' own keys. Every tile of keys that
  // meets [begin, end) holds an allowed pair, or is met by the diagonal.
  struct TileKeys {
    int32_t begin, end;
  };

  JD_MASK_FUNCTION TileKeys tile_keys(int32_t row_begin, int32_t row_end) const {
    const int32_t first = id(row_begin), last = id(row_end - 1);
    TileKeys keys;
    keys.begin = sees_far(last) ? 0 : first_with_id(first - window);  // rows that see far come last
    keys.end = first_with_id(last);
    if (!causal && first < max_id) keys.end = sees_far(last) ? n : first_with_id(last + window + 1);
    if (contexts > 0 && first == 0 && max_id > 0) {
      keys.begin = 0;
      keys.end = larger(keys.end, first_with_id(max_id));
    }
    return keys;
  }

  // What the mask leaves of rows [row_begin, row_end) x keys [key_begin, key_end), both inside the sequence and not
  // empty. kEmpty and kFull are certain; kPartial may be either in rare mixed tiles (contextual and other rows in one
  // tile).
  JD_MASK_FUNCTION TileMask classify(int32_t row_begin, int32_t row_end, int32_t key_begin, int32_t key_end) const {
    const TileKeys seen = tile_keys(row_begin, row_end);
    const bool meets_range = key_begin < seen.end && key_end > seen.begin;
    const bool meets_diagonal = key_begin < row_end && key_end > row_begin;
    if (!meets_range && !meets_diagonal) return TileMask::kEmpty;

    const int32_t first_row = id(row_begin), last_row = id(row_end - 1);
    const int32_t first_key = id(key_begin), last_key = id(key_end - 1);
    const bool before = last_key < first_row && (last_row - first_key <= window || sees_far(first_row));
    const bool after = !causal && first_key > last_row && (last_key - first_row <= window || sees_far(first_row));
    const bool context = contexts > 0 && first_row == 0 && last_row == 0 && last_key < max_id;
    return before || after || context ? TileMask::kFull : TileMask::kPartial;
  }

 private:
  static JD_MASK_FUNCTION int32_t smaller(int32_t a, int32_t b) { return a < b ? a : b; }
  static JD_MASK_FUNCTION int32_t larger(int32_t a, int32_t b) { return a < b ? b : a; }
};

}  // namespace jindou

#endif
