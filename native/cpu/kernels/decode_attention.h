// decode_attention: a few query rows of one sequence and key/value head against a piece of its paged cache (jindou/decode.h).
//
// Vectors run along the head: a score is a dot product, an output a sum of rows. (The other attention kernels put query rows into
// lanes; here there are too few.) Keys are taken in blocks of 64: their rows are widened to f32 once, into a buffer of the worker,
// or read where they lie if they are f32, and serve all query rows, some at a time; the next block is on its way into the cache
// meanwhile, its rows asked for one by one between the products. A vector of dot products is added up at once (Isa::sums).
// kPairs: an instruction multiplies bf16; keys of bf16 are then multiplied where they lie, and their products scaled; values are widened on
// their way into registers.
//
// FLOPs 2 * (dqk + dv) * rows a key; bytes (dqk + dv) * element a key: bound by memory up to some four rows in bf16.
//
// The rows of keys and values may also be single ones listed by number (pages of one row: search_attention), and weights SiLU
// instead of a softmax.
//
// A row's state over some keys: maximum (base 2 logarithm), sum of weights, weighted sum of values; states of pieces are merged
// in order. Rows never meet: a row's bits depend on its query and the keys it sees alone.
#ifndef JINDOU_CPU_KERNELS_DECODE_ATTENTION_H
#define JINDOU_CPU_KERNELS_DECODE_ATTENTION_H

#include "cpu/kernels/kernel_table.h"
#include "cpu/simd/math.h"

namespace jindou::cpu {
namespace {

template <class Isa, bool kPairs>
struct DecodeAttention {
  using F = typename Isa::F;
  static constexpr int kWidth = Isa::kWidth;
  static constexpr int kMaxDim = 256;
  static constexpr int kRowsAbreast = kWidth == 16 ? 4 : 2;  // of queries: as many sums as registers hold
  static constexpr int kVectorsAbreast = 4;                  // of an output
  // Keys and values of a block, and the scores of the rows abreast.
  static constexpr size_t kScratchFloats = 2 * size_t{kKeyBlock} * kMaxDim + kRowsAbreast * kKeyBlock;

  const DecodeTask &t;
  float *const keys, *const values, *const s, *const q;
  const float *key_rows[kKeyBlock], *value_rows[kKeyBlock];

  explicit DecodeAttention(const DecodeTask &task)
      : t(task),
        keys(t.scratch),
        values(keys + size_t{kKeyBlock} * kMaxDim),
        s(values + size_t{kKeyBlock} * kMaxDim),
        q(task.scaled_queries) {}

  static int64_t row_floats(int dim_v) { return 2 + dim_v; }
  float *state(int row) const { return t.state + row * row_floats(t.dim_v); }

  JD_SIMD F load(const char *row, int32_t dtype, int at, float scale) {
    switch (dtype) {
      case JD_F32: return Isa::load(reinterpret_cast<const float *>(row) + at);
      case JD_F16: return Isa::load_f16(reinterpret_cast<const uint16_t *>(row) + at);
      case JD_BF16: return Isa::load_bf16(reinterpret_cast<const uint16_t *>(row) + at);
      case JD_I8: return Isa::mul(Isa::load_i8(reinterpret_cast<const int8_t *>(row) + at), Isa::set(scale));
      default: return Isa::mul(Isa::load_e4m3(reinterpret_cast<const uint8_t *>(row) + at), Isa::set(scale));
    }
  }
  static int bytes(int32_t dtype) { return dtype == JD_F32 ? 4 : dtype == JD_F16 || dtype == JD_BF16 ? 2 : 1; }

  F scale() const { return Isa::set(t.silu_norm != 0 ? t.scale : t.scale * kLog2E); }
  int query_floats() const { return kPairs ? t.dim_qk / 2 : t.dim_qk; }

  void load_queries() const {
    const F scale = this->scale();
    for (int row = 0; row < t.rows; ++row) {
      const int64_t at = row / t.group * t.query_row + row % t.group * t.query_head;
      const char *from = static_cast<const char *>(t.queries) + at * bytes(t.dtype);
      if constexpr (kPairs) {
        __builtin_memcpy(q + int64_t{row} * query_floats(), from, sizeof(float) * static_cast<size_t>(query_floats()));
        continue;
      }
      for (int d = 0; d < t.dim_qk; d += kWidth) {
        Isa::store(q + int64_t{row} * t.dim_qk + d, Isa::mul(load(from, t.dtype, d, 1.0f), scale));
      }
    }
  }

  JD_SIMD const char *row_of(const PagedRows &rows, int64_t at) {
    return rows.data + rows.pages[at >> rows.shift] * rows.page_bytes + (at & (rows.page_size - 1)) * rows.row_bytes;
  }
  // Rows first..first+count-1, as far as the piece has them.
  void ask_for(const PagedRows &rows, int dim, int64_t first, int count) const {
    const int row_bytes = dim * bytes(rows.dtype);
    for (int64_t at = first; at < first + count && at < t.end_key; ++at) {
      const char *row = row_of(rows, at);
      for (int line = 0; line < row_bytes; line += 64) prefetch(row + line);
    }
  }

  // Rows first..first+count-1 as f32, or where they lie.
  template <bool kAsTheyLie>
  void unpack(const PagedRows &rows, int dim, int64_t first, int count, float *to, const float **pointers) const {
    for (int j = 0; j < count; ++j) {
      const int64_t at = first + j, page = rows.pages[at >> rows.shift], within = at & (rows.page_size - 1);
      const char *row = row_of(rows, at);
      if (kAsTheyLie || rows.dtype == JD_F32) {
        pointers[j] = reinterpret_cast<const float *>(row);
        continue;
      }
      const float scale = rows.scales ? rows.scales[page * rows.page_scales + within * rows.row_scales] : 1.0f;
      pointers[j] = to + j * dim;
      switch (rows.dtype) {
        case JD_F16: widen<JD_F16>(row, dim, scale, to + j * dim); break;
        case JD_BF16: widen<JD_BF16>(row, dim, scale, to + j * dim); break;
        case JD_I8: widen<JD_I8>(row, dim, scale, to + j * dim); break;
        default: widen<JD_F8_E4M3>(row, dim, scale, to + j * dim); break;
      }
    }
  }
  template <int32_t kDtype>
  static void widen(const char *row, int dim, float scale, float *to) {
    for (int d = 0; d < dim; d += kWidth) Isa::store(to + d, load(row, kDtype, d, scale));
  }

  void begin() const {
    load_queries();
    for (int row = 0; row < t.rows; ++row) {
      float *x = state(row);
      x[0] = -__builtin_inff();
      x[1] = 0;
      for (int d = 0; d < t.dim_v; ++d) x[2 + d] = 0;
    }
    ask_for(t.keys, t.dim_qk, t.first_key, kKeyBlock);
    ask_for(t.values, t.dim_v, t.first_key, kKeyBlock);
  }

  void run() {
    if (!t.continues) begin();
    for (int64_t first = t.first_key; first < t.last_key; first += kKeyBlock) {
      const int count = t.last_key - first < kKeyBlock ? static_cast<int>(t.last_key - first) : kKeyBlock;
      unpack<kPairs>(t.keys, t.dim_qk, first, count, keys, key_rows);
      unpack<kPairs>(t.values, t.dim_v, first, count, values, value_rows);
      attend<kRowsAbreast>(0, first, count);
    }
  }

  // Keys of the block that a row sees.
  int seen(int row, int64_t first, int count) const {
    const int64_t keys_seen = t.first_position + row / t.group + 1 - first;
    return keys_seen < 0 ? 0 : keys_seen < count ? static_cast<int>(keys_seen) : count;
  }

  // Rows row.. to the last, N of them abreast, then fewer. What a row adds does not depend on those beside it: sums are a row's own, keys
  // past its last have weight 0.
  template <int N>
  void attend(int row, int64_t first, int count) const {
    for (; row + N <= t.rows; row += N) {
      score<N>(row, first, count);
      float factor[N];
      int most = 0;
      for (int n = 0; n < N; ++n) {
        const int visible = seen(row + n, first, count);
        factor[n] = t.silu_norm != 0 ? activate(s + n * kKeyBlock, visible, count)
                                     : soften(s + n * kKeyBlock, visible, count, state(row + n));
        if (visible > most) most = visible;
      }
      if (most > 0) weigh<N>(row, first, most, factor);
    }
    if constexpr (N > 1) attend<N / 2>(row, first, count);
  }

  // A vector of sums at a time: N rows, kWidth / N keys. The first rows ask for the keys of the next block.
  template <int N>
  void score(int row, int64_t first, int count) const {
    constexpr int kKeys = kWidth / N;
    const float *queries = q + int64_t{row} * query_floats();
    const F factor = kPairs ? scale() : Isa::set(1.0f);
    for (int j = 0; j < count; j += kKeys) {
      if (row == 0) ask_for(t.keys, t.dim_qk, first + kKeyBlock + j, kKeys);
      const float *k[kKeys];
      for (int i = 0; i < kKeys; ++i) k[i] = key_rows[j + i < count ? j + i : count - 1];
      F sum[N * kKeys];
#pragma GCC unroll 16
      for (int i = 0; i < N * kKeys; ++i) sum[i] = Isa::zero();
      for (int d = 0; d < query_floats(); d += kWidth) {
        F x[N];
#pragma GCC unroll 4
        for (int n = 0; n < N; ++n) x[n] = Isa::load(queries + n * query_floats() + d);
#pragma GCC unroll 16
        for (int i = 0; i < kKeys; ++i) {
          const F y = Isa::load(k[i] + d);
#pragma GCC unroll 4
          for (int n = 0; n < N; ++n) {
            F &all = sum[n * kKeys + i];
            if constexpr (kPairs) {
              all = Isa::fma_bf16_pairs(x[n], y, all);
            } else {
              all = Isa::fma(x[n], y, all);
            }
          }
        }
      }
      float all[kWidth];
      Isa::store(all, kPairs ? Isa::mul(Isa::sums(sum), factor) : Isa::sums(sum));
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) __builtin_memcpy(s + n * kKeyBlock + j, all + n * kKeys, sizeof(float) * kKeys);
    }
  }

  // Scores of one row become weights, zeros from `visible` on; gives the factor by which the row's older sums shrink.
  static float soften(float *scores, int visible, int count, float *x) {
    if (visible == 0) {  // but the row beside it may see some
      for (int j = 0; j < count; ++j) scores[j] = 0;
      return 1.0f;
    }
    float top = x[0];
    if (visible >= kWidth) {
      F best = Isa::load(scores);
      for (int j = kWidth; j + kWidth <= visible; j += kWidth) best = Isa::max(best, Isa::load(scores + j));
      float all[kWidth];
      Isa::store(all, best);
      for (int i = 0; i < kWidth; ++i) top = all[i] > top ? all[i] : top;
    }
    for (int j = visible / kWidth * kWidth; j < visible; ++j) top = scores[j] > top ? scores[j] : top;
    const float older = one_exp2(x[0] - top);
    F sum = Isa::zero();
    int j = 0;
    for (; j + kWidth <= visible; j += kWidth) {
      const F weight = exp2<Isa>(Isa::sub(Isa::load(scores + j), Isa::set(top)));
      sum = Isa::add(sum, weight);
      Isa::store(scores + j, weight);
    }
    if (j < visible) {
      float last[kWidth];  // the hidden keys' weights are 0
      Isa::store(last, exp2<Isa>(Isa::sub(Isa::load_first(scores + j, visible - j), Isa::set(top))));
      for (int i = visible - j; i < kWidth; ++i) last[i] = 0;
      sum = Isa::add(sum, Isa::load(last));
      Isa::store(scores + j, Isa::load(last));
      j += kWidth;
    }
    for (; j < count; ++j) scores[j] = 0;
    x[0] = top;
    x[1] = x[1] * older + Isa::sum(sum);
    return older;
  }
  // Scores of one row become SiLU(score), zeros from `visible` on. Nothing older shrinks.
  static float activate(float *scores, int visible, int count) {
    for (int j = 0; j < visible; j += kWidth) {
      const int left = visible - j;
      F x[1] = {left < kWidth ? Isa::load_first(scores + j, left) : Isa::load(scores + j)};
      silu<Isa, 5>(x);
      if (left < kWidth) {
        Isa::store_first(scores + j, x[0], left);
      } else {
        Isa::store(scores + j, x[0]);
      }
    }
    for (int j = visible; j < count; ++j) scores[j] = 0;
    return 1.0f;
  }
  static float one_exp2(float x) {
    float all[kWidth];
    Isa::store(all, exp2<Isa>(Isa::set(x)));
    return all[0];
  }

  // The first rows ask for the values of the next block.
  template <int N>
  void weigh(int row, int64_t first, int count, const float (&factor)[N]) const {
    for (int d = 0; d < t.dim_v; d += kVectorsAbreast * kWidth) {
      const int vectors = (t.dim_v - d) / kWidth;
      const bool asks = row == 0 && d == 0;
      if (vectors >= kVectorsAbreast) {
        weigh_columns<N, kVectorsAbreast>(row, first, count, factor, d, asks);
      } else if (vectors == 2) {  // dim 32 of AVX-512: dims are multiples of 32
        weigh_columns<N, 2>(row, first, count, factor, d, asks);
      }
    }
  }
  static_assert(32 % kWidth == 0 && (32 / kWidth) % 2 == 0, "whole pairs of vectors");

  template <int N, int kVectors>
  void weigh_columns(int row, int64_t first, int count, const float (&factor)[N], int d, bool asks) const {
    F sum[N][kVectors];
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) {
#pragma GCC unroll 8
      for (int i = 0; i < kVectors; ++i) sum[n][i] = Isa::mul(Isa::load(state(row + n) + 2 + d + i * kWidth), Isa::set(factor[n]));
    }
    for (int j = 0; j < count; ++j) {
      if (asks) ask_for(t.values, t.dim_v, first + kKeyBlock + j, 1);
      const float *v = value_rows[j];
      F weight[N];
#pragma GCC unroll 8
      for (int n = 0; n < N; ++n) weight[n] = Isa::set(s[n * kKeyBlock + j]);
#pragma GCC unroll 8
      for (int i = 0; i < kVectors; ++i) {
        const F x = kPairs ? Isa::load_bf16(reinterpret_cast<const uint16_t *>(v) + d + i * kWidth) : Isa::load(v + d + i * kWidth);
#pragma GCC unroll 8
        for (int n = 0; n < N; ++n) sum[n][i] = Isa::fma(weight[n], x, sum[n][i]);
      }
    }
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) {
#pragma GCC unroll 8
      for (int i = 0; i < kVectors; ++i) Isa::store(state(row + n) + 2 + d + i * kWidth, sum[n][i]);
    }
  }

  // total := total and newer together, for `rows` rows. Either may have seen no key.
  static void merge(float *total, const float *newer, int rows, int dim_v) {
    for (int row = 0; row < rows; ++row, total += row_floats(dim_v), newer += row_floats(dim_v)) {
      if (newer[1] == 0) continue;
      const float top = total[0] > newer[0] ? total[0] : newer[0];
      const float a = total[1] == 0 ? 0.0f : one_exp2(total[0] - top), b = one_exp2(newer[0] - top);
      total[0] = top;
      total[1] = total[1] * a + newer[1] * b;
      for (int d = 0; d < dim_v; d += kWidth) {
        float *at = total + 2 + d;
        Isa::store(at, Isa::fma(Isa::load(newer + 2 + d), Isa::set(b), Isa::mul(Isa::load(at), Isa::set(a))));
      }
    }
  }

  static void finish(const DecodeTask &t) {
    for (int row = 0; row < t.rows; ++row) {
      const float *x = t.state + row * row_floats(t.dim_v);
      const F factor = Isa::set(t.silu_norm != 0 ? t.silu_norm : x[1] == 0 ? 0.0f : 1.0f / x[1]);
      char *out = static_cast<char *>(t.out) + (row / t.group * t.out_row + row % t.group * t.out_head) * bytes(t.out_dtype);
      for (int d = 0; d < t.dim_v; d += kWidth) {
        const F y = Isa::mul(Isa::load(x + 2 + d), factor);
        switch (t.out_dtype) {
          case JD_F32: Isa::store(reinterpret_cast<float *>(out) + d, y); break;
          case JD_F16: Isa::store_f16(reinterpret_cast<uint16_t *>(out) + d, y); break;
          default: Isa::store_bf16(reinterpret_cast<uint16_t *>(out) + d, y); break;
        }
      }
      if (t.lse) {
        t.lse[row / t.group * t.lse_row + row % t.group * t.lse_head] =
            x[1] == 0 ? -__builtin_inff() : (x[0] + __builtin_log2f(x[1])) * 0.693147180559945309f;
      }
    }
  }
};

}  // namespace
}  // namespace jindou::cpu

#endif
