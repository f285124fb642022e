// rq_encode and rq_decode: vectors to codes of residual quantisation, and back (jindou/rq.h).
//
//   score_k = r . c_k - |c_k|^2 / 2,  code = argmax_k score_k (the first of equals),  r = r - c_code,  level by level
//
// x [n, d], codebooks [L, K, d]. FLOPs 2 * n * L * K * d: the FMA rate is the bound. Codes are the lanes of vectors: before a run
// the codebooks are packed by panels of kLanes codes ([d][kLanes], zeros past the last code) with -|c|^2 / 2 of each, which is
// what a score's chain of FMAs over d starts from; past the last code it is -inf, and never wins.
//
// A task owns rows of x and takes kGroup of them at a time through all levels. Their residuals (8 KiB for d = 64 and AVX-512) and
// a panel (12 KiB) stay in L1; the panel serves all rows of the group. Register tile as in linear.h: kRows residuals, broadcast
// as they lie, times kVectors vectors of codes. Each lane keeps the best score it has met and the panel of it, so that scores are
// never stored; the lanes of a row are compared once a level. A row's scores are the same chains in whatever tile it falls.
#ifndef JINDOU_CPU_KERNELS_RQ_H
#define JINDOU_CPU_KERNELS_RQ_H

#include "cpu/kernels/rows.h"
#include "cpu/kernels/typed_rows.h"

namespace jindou::cpu {
namespace {

template <class Isa>
struct RqEncode {
  using F = typename Isa::F;
  static constexpr int kWidth = Isa::kWidth;
  static constexpr int kVectors = Isa::kVectors;
  static constexpr int kRows = Isa::kRows;
  static constexpr int kLanes = kVectors * kWidth;
  static constexpr int kGroup = 4 * kRows;

  // Of a worker, in floats: residuals, and each lane's best score and where it was met.
  static size_t scratch(int32_t dim) { return static_cast<size_t>(kGroup) * (dim + 2 * kWidth); }

  const RqEncodeTask &t;
  float *const residuals, *const best, *const place;

  explicit RqEncode(const RqEncodeTask &task)
      : t(task), residuals(t.scratch), best(residuals + kGroup * t.dim), place(best + kGroup * kWidth) {}

  void run() const {
    for (int64_t row = t.first_row; row < t.last_row; row += kGroup) {
      encode(row, t.last_row - row < kGroup ? static_cast<int>(t.last_row - row) : kGroup);
    }
  }

  void encode(int64_t first, int rows) const {
    for (int r = 0; r < rows; ++r) {
      const char *x = static_cast<const char *>(t.x) + (first + r) * t.x_stride * size_of(t.dtype);
      for_vectors<Isa>(t.dim, [&](int64_t at, int lanes) {
        store_lanes<Isa>(residuals + r * t.dim + at, load_typed<Isa>(x, t.dtype, at, lanes), lanes);
      });
    }
    for (int level = 0; level < t.levels; ++level) {
      find_best(level, rows);
      for (int r = 0; r < rows; ++r) {
        const int32_t code = best_of(r);
        t.codes[(first + r) * t.codes_stride + level] = code;
        const float *c = t.codebooks + level * t.level_stride + code * t.code_stride;
        float *residual = residuals + r * t.dim;
        for_vectors<Isa>(t.dim, [&](int64_t at, int lanes) {
          const F rest = Isa::sub(load_lanes<Isa>(residual + at, lanes), load_lanes<Isa>(c + at, lanes));
          store_lanes<Isa>(residual + at, rest, lanes);
        });
      }
    }
    if (!t.residual_norm) return;
    for (int r = 0; r < rows; ++r) t.residual_norm[first + r] = norm(residuals + r * t.dim);
  }

  float norm(const float *residual) const {
    F squares = Isa::zero();
    for_vectors<Isa>(t.dim, [&](int64_t at, int lanes) {
      const F x = load_lanes<Isa>(residual + at, lanes);
      squares = Isa::fma(x, x, squares);
    });
    return __builtin_sqrtf(Isa::sum(squares));
  }

  void find_best(int level, int rows) const {
    for (int i = 0; i < rows * kWidth; i += kWidth) {
      Isa::store(best + i, Isa::set(-__builtin_inff()));
      Isa::store(place + i, Isa::zero());
    }
    const float *panel = t.packed + level * t.panels * t.dim * kLanes, *start = t.start + level * t.panels * kLanes;
    for (int64_t code = 0; code < t.num_codes; code += kLanes, panel += t.dim * kLanes, start += kLanes) {
      const int64_t left = t.num_codes - code;  // vectors past the last code are left out
      switch (left < kLanes ? (left + kWidth - 1) / kWidth : kVectors) {
        case 1: score_rows<1>(panel, start, code, rows); break;
        case 2: score_rows<2>(panel, start, code, rows); break;
        case 3: score_rows<3>(panel, start, code, rows); break;
      }
    }
  }
  static_assert(kVectors == 3, "the cases of find_best");

  template <int N>
  void score_rows(const float *panel, const float *start, int64_t first_code, int rows) const {
    int row = 0;
    for (; row + kRows <= rows; row += kRows) score<kRows, N>(panel, start, first_code, row);
    for (; row < rows; ++row) score<1, N>(panel, start, first_code, row);
  }

  template <int kRowsHere, int N>
  __attribute__((noinline)) void score(const float *panel, const float *start, int64_t first_code, int row) const {
    const float *residual = residuals + row * t.dim;
    const int64_t dim = t.dim;
    F sum[kRowsHere][N];
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) {
      const F from = Isa::load(start + n * kWidth);
#pragma GCC unroll 8
      for (int r = 0; r < kRowsHere; ++r) sum[r][n] = from;
    }
#pragma GCC unroll 2
    for (int64_t d = 0; d < dim; ++d) {
      F codes[N];
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) codes[n] = Isa::load(panel + d * kLanes + n * kWidth);
#pragma GCC unroll 8
      for (int r = 0; r < kRowsHere; ++r) {
        const F value = Isa::set(residual[r * dim + d]);
#pragma GCC unroll 4
        for (int n = 0; n < N; ++n) sum[r][n] = Isa::fma(value, codes[n], sum[r][n]);
      }
    }
    // A NaN is not more than anything, an equal score not more than an earlier one.
#pragma GCC unroll 8
    for (int r = 0; r < kRowsHere; ++r) {
      float *own_best = best + (row + r) * kWidth, *own_place = place + (row + r) * kWidth;
      F highest = Isa::load(own_best), where = Isa::load(own_place);
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) {
        const auto more = Isa::less(highest, sum[r][n]);
        highest = Isa::choose(more, sum[r][n], highest);
        where = Isa::choose(more, Isa::set(static_cast<float>(first_code + n * kWidth)), where);
      }
      Isa::store(own_best, highest);
      Isa::store(own_place, where);
    }
  }

  // Where no lane has met a score above -inf: code 0.
  int32_t best_of(int row) const {
    const float *scores = best + row * kWidth, *places = place + row * kWidth;
    float highest = -__builtin_inff();
    int32_t code = 0;
    for (int lane = 0; lane < kWidth; ++lane) {
      const int32_t own = static_cast<int32_t>(places[lane]) + lane;
      const bool better = scores[lane] > highest || (scores[lane] == highest && own < code);
      highest = better ? scores[lane] : highest;
      code = better ? own : code;
    }
    return code;
  }

  // One panel of one level: packed[d][i] = code first + i, and what its scores start from.
  static void pack(const RqPackTask &p) {
    for (int i = 0; i < kLanes; i += kWidth) {
      F squares = Isa::zero();
      for (int d = 0; d < p.dim; d += kWidth) {
        const int steps = p.dim - d < kWidth ? p.dim - d : kWidth;
        F block[kWidth];
        for (int lane = 0; lane < kWidth; ++lane) {
          block[lane] = i + lane < p.codes ? load_lanes<Isa>(p.from + (i + lane) * p.code_stride + d, steps) : Isa::zero();
        }
        Isa::transpose(block);
        for (int step = 0; step < steps; ++step) {
          Isa::store(p.packed + (d + step) * kLanes + i, block[step]);
          squares = Isa::fma(block[step], block[step], squares);
        }
      }
      Isa::store(p.start + i, Isa::mul(Isa::set(-0.5f), squares));
    }
    for (int i = p.codes; i < kLanes; ++i) p.start[i] = -__builtin_inff();
  }
};

// out = the sum of the rows that a row of codes names, in the order of levels.
template <class Isa>
void rq_decode(const RqDecodeTask &t, RqFindings &findings) {
  using F = typename Isa::F;
  for (int64_t row = t.first_row; row < t.last_row; ++row) {
    const float *rows[64];
    int count = 0;
    for (int level = 0; level < t.levels; ++level) {
      const int32_t code = t.codes[row * t.codes_stride + level];
      if (t.bounds != JD_BOUNDS_TRUST && static_cast<uint32_t>(code) >= static_cast<uint32_t>(t.num_codes)) {
        if (findings.bad_codes++ == 0) {  // rows and levels rise: the first is the lowest
          findings.position = row * t.levels + level;
          findings.level = level;
          findings.code = code;
        }
        continue;
      }
      rows[count++] = t.codebooks + level * t.level_stride + code * t.code_stride;
    }
    char *out = static_cast<char *>(t.out) + row * t.out_stride * size_of(t.out_dtype);
    for_vectors<Isa>(t.dim, [&](int64_t at, int lanes) {
      F sum = Isa::zero();
      for (int i = 0; i < count; ++i) sum = Isa::add(sum, load_lanes<Isa>(rows[i] + at, lanes));
      store_typed<Isa>(out, t.out_dtype, at, lanes, sum);
    });
  }
}

}  // namespace
}  // namespace jindou::cpu

#endif
