// The pieces that target_attention and hstu_attention share: one tile of query rows against one block of keys.
//
//   S[j][i] = k_j . q_i          O[d][i] = O[d][i] * factor_i + sum_j P[j][i] v_j[d]
//
// Query rows are the lanes of vectors (i), keys and value columns are broadcast. So the softmax or SiLU in between works
// lane by lane without a reduction across lanes, a row's bits do not depend on the rows beside it, and the history is used
// as it lies in memory: a block of keys is only copied together (and bf16 widened), never transposed; the few query rows are.
//
// Layouts, in floats; L = kLanes = kVectors * kWidth:
//   q [kDim][L], k [kKeyBlock][kDim], v [kDim / kRows][kKeyBlock][kRows], s [kKeyBlock][L], o [kDim][L]
// Where an instruction multiplies bf16 (kPairs), a float of q, k, v and of the weights in s holds two bf16, neighbours along the
// dimension that is summed over (d for q and k, keys for v and s), and that dimension has half the length.
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

template <class Isa, int kHeadDim, bool kBf16Pairs>
struct AttentionTile {
  using F = typename Isa::F;
  static constexpr bool kPairs = kBf16Pairs;
  static constexpr int kDim = kHeadDim;
  static constexpr int kWidth = Isa::kWidth;
  static constexpr int kVectors = Isa::kVectors;
  static constexpr int kRows = Isa::kRows;
  static constexpr int kLanes = kVectors * kWidth;
  static constexpr int kSteps = kPairs ? kDim / 2 : kDim;  // floats of a row of q and k
  static_assert(kDim % kRows == 0 && kSteps % kWidth == 0 && kKeyBlock % (2 * kRows) == 0, "whole register tiles");

  static constexpr size_t kQueryFloats = size_t{kSteps} * kLanes;
  static constexpr size_t kOutFloats = size_t{kDim} * kLanes;
  static constexpr size_t kScoreFloats = size_t{kKeyBlock} * kLanes;
  static constexpr size_t kKeyFloats = size_t{kKeyBlock} * kSteps;
  static constexpr int kValueRows = kPairs ? kKeyBlock / 2 : kKeyBlock;
  static constexpr size_t kValueFloats = size_t{kValueRows} * kDim;

  JD_SIMD F product(F a, F b, F sum) {
    if constexpr (kPairs) {
      return Isa::fma_bf16_pairs(a, b, sum);
    } else {
      return Isa::fma(a, b, sum);
    }
  }

  // kWidth elements of a row as f32.
  JD_SIMD F load_row(const void *row, int32_t dtype, int64_t at) {
    return dtype == JD_F32 ? Isa::load(static_cast<const float *>(row) + at)
                           : Isa::load_bf16(static_cast<const uint16_t *>(row) + at);
  }

  JD_SIMD const void *row(const void *rows, int32_t dtype, int64_t j, int64_t stride) {
    return static_cast<const char *>(rows) + j * stride * (dtype == JD_F32 ? 4 : 2);
  }

  // The rows of a head lie apart: the hardware does not guess the next one. Into L2: in L1 they would push out what is at work.
  JD_SIMD void prefetch_row(const void *rows, int32_t dtype, int64_t j, int64_t stride) {
    const uintptr_t address = reinterpret_cast<uintptr_t>(rows) + j * stride * (dtype == JD_F32 ? 4 : 2);
    for (int line = 0; line < (dtype == JD_F32 ? 4 : 2) * kDim; line += 64) {
      __builtin_prefetch(reinterpret_cast<const void *>(address + line), 0, 2);
    }
  }

  // Transposes the rows of one vector of lanes: to[at][lane] = factor * row(lane)[at], zero in lanes past `count`.
  // `row_of(lane)` gives the address of a row's first element. kRaw: bf16 pairs as they lie in memory, factor unused.
  template <bool kRaw, class RowOf>
  static void gather_lanes(const RowOf &row_of, int count, int32_t dtype, float factor, float *to) {
    constexpr int kFloats = kRaw ? kDim / 2 : kDim;
    const F factors = Isa::set(factor);
    for (int at = 0; at < kFloats; at += kWidth) {
      F block[kWidth];
      for (int lane = 0; lane < kWidth; ++lane) {
        if (lane >= count) {
          block[lane] = Isa::zero();
        } else if constexpr (kRaw) {
          block[lane] = Isa::load(reinterpret_cast<const float *>(row_of(lane)) + at);
        } else {
          block[lane] = Isa::mul(load_row(row_of(lane), dtype, at), factors);
        }
      }
      Isa::transpose(block);
      for (int i = 0; i < kWidth; ++i) Isa::store(to + size_t(at + i) * kLanes, block[i]);
    }
  }

  // The way back: row(lane)[d] = o[d][lane] * factor[lane].
  template <class RowOf>
  static void scatter_lanes(const float *o, F factor, const RowOf &row_of, int count, int32_t dtype) {
    if (count > kWidth) count = kWidth;
    for (int d = 0; d < kDim; d += kWidth) {
      F block[kWidth];
      for (int i = 0; i < kWidth; ++i) block[i] = Isa::mul(Isa::load(o + size_t(d + i) * kLanes), factor);
      Isa::transpose(block);
      for (int lane = 0; lane < count; ++lane) {
        if (dtype == JD_F32) {
          Isa::store(reinterpret_cast<float *>(row_of(lane)) + d, block[lane]);
        } else {
          Isa::store_bf16(reinterpret_cast<uint16_t *>(row_of(lane)) + d, block[lane]);
        }
      }
    }
  }

  // Keys of a block, rows up to the next multiple of kRows set to zero.
  static void pack_keys(const void *keys, int64_t stride, int32_t dtype, int count, float *k) {
    for (int j = 0; j < count; ++j) {
      for (int at = 0; at < kSteps; at += kWidth) {
        F x;
        if constexpr (kPairs) {
          x = Isa::load(reinterpret_cast<const float *>(row(keys, dtype, j, stride)) + at);
        } else {
          x = load_row(row(keys, dtype, j, stride), dtype, at);
        }
        Isa::store(k + j * kSteps + at, x);
      }
    }
    for (int j = count; j % kRows != 0; ++j) {
      for (int at = 0; at < kSteps; at += kWidth) Isa::store(k + j * kSteps + at, Isa::zero());
    }
  }

  // Values d..d+kWidth-1 of row j.
  JD_SIMD void store_columns(float *v, int d, int j, F x) {
    Isa::store_groups(v + (d / kRows * kValueRows + j) * kRows + d % kRows, kValueRows * kRows, x);
  }

  // `first`, even: the row of the block that the first one becomes.
  static void pack_values(const void *values, int64_t stride, int32_t dtype, int count, float *v, int first = 0) {
    if constexpr (kPairs) {
      const uint16_t *rows = static_cast<const uint16_t *>(values);
      for (int j = 0; j < count; j += 2) {
        const uint16_t *even = rows + j * stride;
        for (int d = 0; d < kDim; d += kWidth) {
          store_columns(v, d, (first + j) / 2, Isa::interleave_bf16(even + d, j + 1 < count ? even + stride + d : nullptr));
        }
      }
    } else {
      for (int j = 0; j < count; ++j) {
        for (int d = 0; d < kDim; d += kWidth) {
          store_columns(v, d, first + j, load_row(row(values, dtype, j, stride), dtype, d));
        }
      }
    }
  }

  // Keys and values of a block in pages: key j of the block is row first + j. A block begins at a multiple of kKeyBlock, so
  // that it holds whole pages or lies in one.
  static void pack_keys(const PagedRows &rows, int64_t first, int count, float *k) {
    for (int j = 0, run = 0; j < count; j += run) {
      run = run_of(rows, count - j);
      const char *row = address(rows, first + j);
      if (!rows.scales) {
        pack_keys(row, rows.row_bytes / element_bytes(rows.dtype), rows.dtype, run, k + j * kSteps);
        continue;
      }
      if constexpr (!kPairs) {
        for (int i = 0; i < run; ++i) {
          const float scale = scale_of(rows, first + j + i);
          for (int at = 0; at < kDim; at += kWidth) {
            Isa::store(k + (j + i) * kSteps + at, load_codes(row + i * rows.row_bytes + at, rows.dtype, scale));
          }
        }
        for (int i = j + run; i % kRows != 0; ++i) {
          for (int at = 0; at < kSteps; at += kWidth) Isa::store(k + i * kSteps + at, Isa::zero());
        }
      }
    }
  }

  static void pack_values(const PagedRows &rows, int64_t first, int count, float *v) {
    for (int j = 0, run = 0; j < count; j += run) {
      run = run_of(rows, count - j);
      const char *row = address(rows, first + j);
      if (!rows.scales) {
        pack_values(row, rows.row_bytes / element_bytes(rows.dtype), rows.dtype, run, v, j);
        continue;
      }
      if constexpr (!kPairs) {
        for (int i = 0; i < run; ++i) {
          const float scale = scale_of(rows, first + j + i);
          for (int d = 0; d < kDim; d += kWidth) {
            store_columns(v, d, j + i, load_codes(row + i * rows.row_bytes + d, rows.dtype, scale));
          }
        }
      }
    }
  }

  // One row as f32, wherever it lies.
  static void unpack_row(const PagedRows &rows, int64_t j, float *to) {
    const char *row = address(rows, j);
    const float scale = rows.scales ? scale_of(rows, j) : 1.0f;
    for (int at = 0; at < kDim; at += kWidth) {
      Isa::store(to + at, rows.scales ? load_codes(row + at, rows.dtype, scale) : load_row(row, rows.dtype, at));
    }
  }

  static int64_t element_bytes(int32_t dtype) { return dtype == JD_F32 ? 4 : 2; }
  static int run_of(const PagedRows &rows, int left) { return left < rows.page_size ? left : rows.page_size; }
  static const char *address(const PagedRows &rows, int64_t j) {
    return rows.data + rows.pages[j >> rows.shift] * rows.page_bytes + (j & (rows.page_size - 1)) * rows.row_bytes;
  }
  static void prefetch(const PagedRows &rows, int64_t j) {
    const int bytes = rows.scales ? kDim : static_cast<int>(element_bytes(rows.dtype)) * kDim;
    for (int line = 0; line < bytes; line += 64) __builtin_prefetch(address(rows, j) + line, 0, 2);
  }
  static float scale_of(const PagedRows &rows, int64_t j) {
    return rows.scales[rows.pages[j >> rows.shift] * rows.page_scales + (j & (rows.page_size - 1)) * rows.row_scales];
  }
  JD_SIMD F load_codes(const char *codes, int32_t dtype, float scale) {
    const F x = dtype == JD_I8 ? Isa::load_i8(reinterpret_cast<const int8_t *>(codes))
                               : Isa::load_e4m3(reinterpret_cast<const uint8_t *>(codes));
    return Isa::mul(x, Isa::set(scale));
  }

  // Rows of keys and values to fetch into the cache while scores are computed.
  struct Ahead {
    const HeadRows *keys, *values;
    int64_t begin, end;
    int32_t dtype;
  };

  // s[j][i] = factor * k_j . q_i for j in begin..end-1, N vectors of lanes; begin is a multiple of kRows, and s has room up to
  // the next multiple after end. The factor is used for bf16 pairs only: f32 queries carry it already.
  // kMaximum: top[i] = the larger of top[i] and all s[j][i].
  template <int N, bool kMaximum>
  static __attribute__((noinline)) void scores(const float *q, const float *k, int begin, int end, float factor, float *s,
                                               float *top, const Ahead &ahead) {
    int64_t fetch = ahead.begin;
    for (int j = begin; j < end; j += kRows) {
      if (fetch < ahead.end) {
        prefetch_row(ahead.keys->data, ahead.dtype, fetch, ahead.keys->stride);
        prefetch_row(ahead.values->data, ahead.dtype, fetch, ahead.values->stride);
        ++fetch;
      }
      const float *rows = k + j * kSteps;
      F sum[kRows][N];
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
        for (int n = 0; n < N; ++n) sum[r][n] = Isa::zero();
      }
#pragma GCC unroll 2
      for (int d = 0; d < kSteps; ++d) {
        F lanes[N];
#pragma GCC unroll 4
        for (int n = 0; n < N; ++n) lanes[n] = Isa::load(q + d * kLanes + n * kWidth);
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
          const F x = Isa::set(rows[r * kSteps + d]);
#pragma GCC unroll 4
          for (int n = 0; n < N; ++n) sum[r][n] = product(x, lanes[n], sum[r][n]);
        }
      }
      if constexpr (kPairs) {
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
          for (int n = 0; n < N; ++n) sum[r][n] = Isa::mul(sum[r][n], Isa::set(factor));
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
  static __attribute__((noinline)) void weigh(const float *p, const float *v, int begin, int end, const float *factor,
                                              float *o) {
    for (int d = 0; d < kDim; d += kRows) {
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
