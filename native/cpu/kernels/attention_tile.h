// The pieces that target_attention and hstu_attention share: one tile of query rows against one block of keys.
//
//   S[j][i] = k_j . q_i          O[d][i] = O[d][i] * factor_i + sum_j P[j][i] v_j[d]
//
// Query rows are the lanes of vectors (i), keys and value columns are broadcast. So the softmax or SiLU in between works
// lane by lane without a reduction across lanes, a row's bits do not depend on the rows beside it, and the history is used
// as it lies in memory: a block of keys is only copied together (and bf16 widened), never transposed; the few query rows are.
//
// Layouts, in floats; L = kLanes = kVectors * kWidth:
//   q [dim_qk][L], k [kKeyBlock][dim_qk], v [dim_v / kRows][kKeyBlock][kRows], s [kKeyBlock][L], o [dim_v][L]
// Where an instruction multiplies bf16 (kPairs), a float of q, k, v and of the weights in s holds two bf16, neighbours along the
// dimension that is summed over (d for q and k, keys for v and s), and that dimension has half the length. f16 is widened.
//
// Head dims are multiples of 32 to kMaxHeadDim, of keys and values apart, and known at run time only: they are lengths of
// loops, the register tile does not depend on them. So the code is one for all of them.
//
// Register tile: kRows x kVectors sums; each step of the sum is kVectors loads, kRows broadcasts, kRows * kVectors FMAs.
// AVX2: 4 x 3 = 12 sums + 3 + 1 = 16 registers, 7 loads for 12 FMAs (two loads and two FMAs a cycle). AVX-512: 8 x 3.
//
// A block of 64 keys of width 64 is 16 KiB each of k and v: in L2 for all tiles of a task, read once from memory.
#ifndef JINDOU_CPU_KERNELS_ATTENTION_TILE_H
#define JINDOU_CPU_KERNELS_ATTENTION_TILE_H

#include <stddef.h>
#include <stdint.h>

#include "cpu/kernels/kernel_table.h"
#include "cpu/simd/math.h"

namespace jindou::cpu {
namespace {

// A dtype at compile time.
template <int32_t kValue>
struct Dtype {
  static constexpr int32_t value = kValue;
};

inline int element_bytes(int32_t dtype) { return dtype == JD_F32 ? 4 : dtype == JD_F16 || dtype == JD_BF16 ? 2 : 1; }

template <class Isa, bool kBf16Pairs>
struct AttentionTile {
  using F = typename Isa::F;
  static constexpr bool kPairs = kBf16Pairs;
  static constexpr int kWidth = Isa::kWidth;
  static constexpr int kVectors = Isa::kVectors;
  static constexpr int kRows = Isa::kRows;
  static constexpr int kLanes = kVectors * kWidth;
  static constexpr int kValueRows = kPairs ? kKeyBlock / 2 : kKeyBlock;
  static constexpr int kLeastDim = 32;  // and what every other is a multiple of
  static_assert(kLeastDim % kRows == 0 && kLeastDim / 2 % kWidth == 0 && kKeyBlock % (2 * kRows) == 0, "whole register tiles");

  const int dim_qk, dim_v;
  const int steps;  // floats of a row of q and k

  AttentionTile(int qk, int v) : dim_qk(qk), dim_v(v), steps(kPairs ? qk / 2 : qk) {}

  static constexpr size_t kScoreFloats = size_t{kKeyBlock} * kLanes;
  size_t query_floats() const { return size_t(steps) * kLanes; }
  size_t out_floats() const { return size_t(dim_v) * kLanes; }
  size_t key_floats() const { return size_t{kKeyBlock} * steps; }
  size_t value_floats() const { return size_t{kValueRows} * dim_v; }
  // A block's scores, keys and values; or, when no block is at hand, a row a lane.
  size_t block_floats() const {
    const size_t block = kScoreFloats + key_floats() + value_floats();
    const size_t rows = size_t(dim_qk > dim_v ? dim_qk : dim_v) * kLanes;
    return block > rows ? block : rows;
  }

  JD_SIMD F product(F a, F b, F sum) {
    if constexpr (kPairs) {
      return Isa::fma_bf16_pairs(a, b, sum);
    } else {
      return Isa::fma(a, b, sum);
    }
  }

  // kWidth elements of a row as f32; codes are to be multiplied by their scale.
  template <int32_t kDtype>
  JD_SIMD F load(const char *row, int at) {
    if constexpr (kDtype == JD_F32) return Isa::load(reinterpret_cast<const float *>(row) + at);
    if constexpr (kDtype == JD_F16) return Isa::load_f16(reinterpret_cast<const uint16_t *>(row) + at);
    if constexpr (kDtype == JD_BF16) return Isa::load_bf16(reinterpret_cast<const uint16_t *>(row) + at);
    if constexpr (kDtype == JD_I8) return Isa::load_i8(reinterpret_cast<const int8_t *>(row) + at);
    if constexpr (kDtype == JD_F8_E4M3) return Isa::load_e4m3(reinterpret_cast<const uint8_t *>(row) + at);
  }

  // Calls function(Dtype<dtype>()): loops over elements are compiled for each dtype. Pairs are made of bf16 and codes.
  template <class Function>
  JD_SIMD void with_dtype(int32_t dtype, const Function &function) {
    switch (dtype) {
      case JD_BF16: return function(Dtype<JD_BF16>());
      case JD_F32:
        if constexpr (!kPairs) return function(Dtype<JD_F32>());
        return;
      case JD_F16:
        if constexpr (!kPairs) return function(Dtype<JD_F16>());
        return;
      case JD_I8: return function(Dtype<JD_I8>());
      default: return function(Dtype<JD_F8_E4M3>());
    }
  }

  // to[0..dim-1] = a row as f32.
  static void widen_row(const char *row, int32_t dtype, float scale, int dim, float *to) {
    with_dtype(dtype, [&](auto of) {
      for (int at = 0; at < dim; at += kWidth) {
        Isa::store(to + at, Isa::mul(load<decltype(of)::value>(row, at), Isa::set(scale)));
      }
    });
  }

  // Transposes the rows of one vector of lanes: to[at][lane] = factor * row(lane)[at], zero in lanes past `count`.
  // `row_of(lane)` gives the address of a row's first element. kRaw: bf16 pairs as they lie in memory, factor unused.
  template <bool kRaw, class RowOf>
  static void gather_lanes(const RowOf &row_of, int dim, int count, int32_t dtype, float factor, float *to) {
    const int floats = kRaw ? dim / 2 : dim;
    const F factors = Isa::set(factor);
    for (int at = 0; at < floats; at += kWidth) {
      F block[kWidth];
      for (int lane = 0; lane < kWidth; ++lane) {
        if (lane >= count) {
          block[lane] = Isa::zero();
          continue;
        }
        const char *row = row_of(lane);
        if constexpr (kRaw) {
          block[lane] = Isa::load(reinterpret_cast<const float *>(row) + at);
        } else {
          const F x = dtype == JD_F32 ? load<JD_F32>(row, at) : dtype == JD_F16 ? load<JD_F16>(row, at) : load<JD_BF16>(row, at);
          block[lane] = Isa::mul(x, factors);
        }
      }
      Isa::transpose(block);
      for (int i = 0; i < kWidth; ++i) Isa::store(to + size_t(at + i) * kLanes, block[i]);
    }
  }

  // The way back: row(lane)[d] = o[d][lane] * factor[lane].
  template <class RowOf>
  static void scatter_lanes(const float *o, F factor, const RowOf &row_of, int dim, int count, int32_t dtype) {
    if (count > kWidth) count = kWidth;
    for (int d = 0; d < dim; d += kWidth) {
      F block[kWidth];
      for (int i = 0; i < kWidth; ++i) block[i] = Isa::mul(Isa::load(o + size_t(d + i) * kLanes), factor);
      Isa::transpose(block);
      for (int lane = 0; lane < count; ++lane) {
        switch (dtype) {
          case JD_F32: Isa::store(reinterpret_cast<float *>(row_of(lane)) + d, block[lane]); break;
          case JD_F16: Isa::store_f16(reinterpret_cast<uint16_t *>(row_of(lane)) + d, block[lane]); break;
          default: Isa::store_bf16(reinterpret_cast<uint16_t *>(row_of(lane)) + d, block[lane]); break;
        }
      }
    }
  }

  // Codes have few enough bits for bf16 pairs to hold them exactly. There they are not multiplied by their scales: those meet
  // the scores (`factors` of scores<>) and the weights.

  // Keys of a block, rows up to the next multiple of kRows set to zero.
  void pack_keys(const HeadRows &rows, int64_t first, int count, float *k) const {
    const int64_t bytes = rows.stride * element_bytes(rows.dtype);
    const char *row = static_cast<const char *>(rows.data) + first * bytes;
    pack_key_rows(row, bytes, rows.dtype, count, [](int) { return 1.0f; }, k);
    clear_keys(count, k);
  }

  // ... that lie in pages: key j of the block is row first + j. A block begins at a multiple of kKeyBlock, so that it holds
  // whole pages or lies in one.
  void pack_keys(const PagedRows &rows, int64_t first, int count, float *k) const {
    for (int j = 0, run = 0; j < count; j += run) {
      run = run_of(rows, count - j);
      pack_key_rows(address(rows, first + j), rows.row_bytes, rows.dtype, run,
                    [&](int i) { return scale_of(rows, first + j + i); }, k + j * steps);
    }
    clear_keys(count, k);
  }

  template <class ScaleOf>
  void pack_key_rows(const char *row, int64_t row_bytes, int32_t dtype, int count, const ScaleOf &scale_of_row, float *k) const {
    with_dtype(dtype, [&](auto of) {
      constexpr int32_t kDtype = decltype(of)::value;
      for (int j = 0; j < count; ++j, row += row_bytes, k += steps) {
        const F scale = Isa::set(is_code(kDtype) && !kPairs ? scale_of_row(j) : 1.0f);
        for (int chunk = 0; chunk < dim_qk; chunk += kLeastDim) {
          float *to = k + (kPairs ? chunk / 2 : chunk);
#pragma GCC unroll 8
          for (int i = 0; i < kLeastDim; i += kPairs ? 2 * kWidth : kWidth) Isa::store(to + (kPairs ? i / 2 : i), key<kDtype>(row, chunk + i, scale));
        }
      }
    });
  }

  // A vector of a packed key.
  template <int32_t kDtype>
  JD_SIMD F key(const char *row, int at, F scale) {
    if constexpr (kPairs && is_code(kDtype)) {
      return Isa::bf16_sequence(load<kDtype>(row, at), load<kDtype>(row, at + kWidth));
    } else if constexpr (kPairs) {
      return load<JD_F32>(row, at / 2);
    } else {
      return is_code(kDtype) ? Isa::mul(load<kDtype>(row, at), scale) : load<kDtype>(row, at);
    }
  }

  void clear_keys(int count, float *k) const {
    for (int j = count; j % kRows != 0; ++j) {
      for (int at = 0; at < steps; at += kWidth) Isa::store(k + j * steps + at, Isa::zero());
    }
  }

  void pack_values(const HeadRows &rows, int64_t first, int count, float *v) const {
    const int64_t bytes = rows.stride * element_bytes(rows.dtype);
    const char *row = static_cast<const char *>(rows.data) + first * bytes;
    pack_value_rows(row, bytes, rows.dtype, count, [](int) { return 1.0f; }, v, 0);
  }

  void pack_values(const PagedRows &rows, int64_t first, int count, float *v) const {
    for (int j = 0, run = 0; j < count; j += run) {
      run = run_of(rows, count - j);
      pack_value_rows(address(rows, first + j), rows.row_bytes, rows.dtype, run,
                      [&](int i) { return scale_of(rows, first + j + i); }, v, j);
    }
  }

  // `first`, even: the row of the block that the first one becomes.
  template <class ScaleOf>
  void pack_value_rows(const char *row, int64_t row_bytes, int32_t dtype, int count, const ScaleOf &scale_of_row, float *v,
                       int first) const {
    constexpr int kAtOnce = kPairs ? 2 : 1;
    v += first / kAtOnce * kRows;
    with_dtype(dtype, [&](auto of) {
      constexpr int32_t kDtype = decltype(of)::value;
      for (int j = 0; j < count; j += kAtOnce, row += kAtOnce * row_bytes, v += kRows) {
        const F scale = Isa::set(is_code(kDtype) && !kPairs ? scale_of_row(j) : 1.0f);
        const char *odd = j + 1 < count ? row + row_bytes : nullptr;
        for (int chunk = 0; chunk < dim_v; chunk += kLeastDim) {
          float *to = v + chunk * kValueRows;
#pragma GCC unroll 8
          for (int i = 0; i < kLeastDim; i += kWidth) {
            Isa::store_groups(to + i / kRows * kRows * kValueRows + i % kRows, kValueRows * kRows, value<kDtype>(row, odd, chunk + i, scale));
          }
        }
      }
    });
  }

  // kWidth columns of a packed value, or of two; `odd` may be null: zeros.
  template <int32_t kDtype>
  JD_SIMD F value(const char *row, const char *odd, int at, F scale) {
    if constexpr (kPairs && is_code(kDtype)) {
      return Isa::bf16_pairs(load<kDtype>(row, at), odd ? load<kDtype>(odd, at) : Isa::zero());
    } else if constexpr (kPairs) {
      return Isa::interleave_bf16(reinterpret_cast<const uint16_t *>(row) + at,
                                  odd ? reinterpret_cast<const uint16_t *>(odd) + at : nullptr);
    } else {
      return is_code(kDtype) ? Isa::mul(load<kDtype>(row, at), scale) : load<kDtype>(row, at);
    }
  }

  static constexpr bool is_code(int32_t dtype) { return dtype == JD_I8 || dtype == JD_F8_E4M3; }

  static const char *address(const HeadRows &rows, int64_t j) {
    return static_cast<const char *>(rows.data) + j * rows.stride * element_bytes(rows.dtype);
  }
  static int run_of(const PagedRows &rows, int left) { return left < rows.page_size ? left : rows.page_size; }
  static const char *address(const PagedRows &rows, int64_t j) {
    return rows.data + rows.pages[j >> rows.shift] * rows.page_bytes + (j & (rows.page_size - 1)) * rows.row_bytes;
  }
  static float scale_of(const PagedRows &rows, int64_t j) {
    return rows.scales[rows.pages[j >> rows.shift] * rows.page_scales + (j & (rows.page_size - 1)) * rows.row_scales];
  }

  // The rows of a head lie apart: the hardware does not guess the next one. Into L2: in L1 they would push out what is at work.
  JD_SIMD void prefetch_row(const char *row, int bytes) {
    for (int line = 0; line < bytes; line += 64) prefetch(row + line);
  }

  // to[j] = factor * the scale of row first + j.
  static void scale_factors(const PagedRows &rows, int64_t first, int count, float factor, float *to) {
    for (int j = 0; j < count; ++j) to[j] = factor * (rows.scales ? scale_of(rows, first + j) : 1.0f);
  }

  // Rows of keys and values, `count` from row `first` on of a block, to fetch into the cache while scores are computed. Row i of
  // the block is row i % 2^shift of piece i / 2^shift: a page, or the whole block.
  struct Ahead {
    static constexpr int kPieces = 4;  // pages of 16 rows
    const char *keys[kPieces], *values[kPieces];
    int64_t key_stride, value_stride;  // bytes
    int key_bytes, value_bytes;        // of a row
    int shift;
    int first, count;
  };
  static_assert(kKeyBlock <= 16 * Ahead::kPieces, "pages of a block");

  // The block of `size` rows from row `at` on.
  Ahead ahead(const HeadRows &keys, const HeadRows &values, int64_t at, int size) const {
    Ahead block = {};
    block.shift = 6;
    if (size <= 0) return block;
    block.keys[0] = address(keys, at);
    block.values[0] = address(values, at);
    block.key_stride = keys.stride * element_bytes(keys.dtype);
    block.value_stride = values.stride * element_bytes(values.dtype);
    block.key_bytes = dim_qk * element_bytes(keys.dtype);
    block.value_bytes = dim_v * element_bytes(values.dtype);
    return block;
  }
  static_assert(kKeyBlock == 1 << 6, "one piece");
  Ahead ahead(const PagedRows &keys, const PagedRows &values, int64_t at, int size) const {
    Ahead block = {};
    block.shift = keys.shift < 6 ? keys.shift : 6;
    for (int i = 0; i < size; i += 1 << block.shift) {
      block.keys[i >> block.shift] = address(keys, at + i);
      block.values[i >> block.shift] = address(values, at + i);
    }
    block.key_stride = keys.row_bytes;
    block.value_stride = values.row_bytes;
    block.key_bytes = dim_qk * element_bytes(keys.dtype);
    block.value_bytes = dim_v * element_bytes(values.dtype);
    return block;
  }
  // Gives each tile of a task a share of the block's `size` rows.
  static void share(Ahead &block, int size, int tile, int tiles) {
    block.first = size * tile / tiles;
    block.count = size * (tile + 1) / tiles - block.first;
  }

  // What scores are multiplied by, one number or one for each key.
  struct OneFactor {
    float x;
    F of(int) const { return Isa::set(x); }
  };
  struct KeyFactors {
    const float *x;
    F of(int j) const { return Isa::set(x[j]); }
  };

  // s[j][i] = factor of j * k_j . q_i for j in begin..end-1, N vectors of lanes; begin is a multiple of kRows, and s and factors
  // have room up to the next multiple after end. Factors are used for bf16 pairs only: f32 queries and keys carry them already.
  // kMaximum: top[i] = the larger of top[i] and all s[j][i].
  template <int N, bool kMaximum, class Factor>
  static __attribute__((noinline)) void scores(const float *q, const float *k, int steps, int begin, int end,
                                               const Factor &factor, float *s, float *top, const Ahead &ahead) {
    const int each = (ahead.count + kKeyBlock / kRows - 1) / (kKeyBlock / kRows), last = ahead.first + ahead.count;
    for (int j = begin, fetched = ahead.first; j < end; j += kRows) {
      for (const int due = fetched + each < last ? fetched + each : last; fetched < due; ++fetched) {
        const int piece = fetched >> ahead.shift, within = fetched & ((1 << ahead.shift) - 1);
        prefetch_row(ahead.keys[piece] + within * ahead.key_stride, ahead.key_bytes);
        prefetch_row(ahead.values[piece] + within * ahead.value_stride, ahead.value_bytes);
      }
      const float *rows = k + j * steps;
      F sum[kRows][N];
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
        for (int n = 0; n < N; ++n) sum[r][n] = Isa::zero();
      }
#pragma GCC unroll 2
      for (int d = 0; d < steps; ++d) {
        F lanes[N];
#pragma GCC unroll 4
        for (int n = 0; n < N; ++n) lanes[n] = Isa::load(q + d * kLanes + n * kWidth);
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
          const F x = Isa::set(rows[r * steps + d]);
#pragma GCC unroll 4
          for (int n = 0; n < N; ++n) sum[r][n] = product(x, lanes[n], sum[r][n]);
        }
      }
      if constexpr (kPairs) {
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
          for (int n = 0; n < N; ++n) sum[r][n] = Isa::mul(sum[r][n], factor.of(j + r));
        }
      }
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
        for (int n = 0; n < N; ++n) Isa::store(s + (j + r) * kLanes + n * kWidth, sum[r][n]);
      }
      if constexpr (kMaximum) {
        const int rows_here = end - j < kRows ? end - j : kRows;
        if (__builtin_expect(rows_here == kRows, 1)) {
#pragma GCC unroll 4
          for (int n = 0; n < N; ++n) {
            F best = Isa::load(top + n * kWidth);
#pragma GCC unroll 8
            for (int r = 0; r < kRows; ++r) best = Isa::max(best, sum[r][n]);
            Isa::store(top + n * kWidth, best);
          }
        } else {
          for (int r = 0; r < rows_here; ++r) {
            for (int n = 0; n < N; ++n) {
              float *best = top + n * kWidth;
              Isa::store(best, Isa::max(Isa::load(best), Isa::load(s + (j + r) * kLanes + n * kWidth)));
            }
          }
        }
      }
    }
  }

  // o[d][i] = o[d][i] * factor[i] + sum of p[j][i] v_j[d] over j in begin..end-1 (pairs of keys for bf16 pairs). Without
  // kRescale there is no factor.
  template <int N, bool kRescale>
  static __attribute__((noinline)) void weigh(const float *p, const float *v, int dim_v, int begin, int end, const float *factor,
                                              float *o) {
    for (int d = 0; d < dim_v; d += kRows) {
      const float *columns = v + d * kValueRows;
      F sum[kRows][N];
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
        for (int n = 0; n < N; ++n) sum[r][n] = Isa::zero();
      }
#pragma GCC unroll 2
      for (int j = begin; j < end; ++j) {
        F lanes[N];
#pragma GCC unroll 4
        for (int n = 0; n < N; ++n) lanes[n] = Isa::load(p + j * kLanes + n * kWidth);
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
          const F x = Isa::set(columns[j * kRows + r]);
#pragma GCC unroll 4
          for (int n = 0; n < N; ++n) sum[r][n] = product(x, lanes[n], sum[r][n]);
        }
      }
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
        for (int n = 0; n < N; ++n) {
          float *at = o + (d + r) * kLanes + n * kWidth;
          Isa::store(at, kRescale ? Isa::fma(Isa::load(at), Isa::load(factor + n * kWidth), sum[r][n])
                                  : Isa::add(Isa::load(at), sum[r][n]));
        }
      }
    }
  }
};

}  // namespace
}  // namespace jindou::cpu

#endif
