// embedding_bag: pooled rows of a table (jindou/embedding.h).
//
//   sum, mean   out[b] = sum_i w_i * row(id_i) / denominator     max   out[b] = max_i w_i * row(id_i)
//   none        out[i] = w_i * row(id_i)
//
// A row holds numbers, or codes that stand for code * scale + bias with scale and bias in the row (core/row_formats.h).
//
// Bytes: every row once, from random places in memory, which is the bound; FLOPs 2 * dim a row. So what matters is that
// enough rows are on their way at any moment: while a row is added, the one kAheadBytes further in the list of ids (across the
// ends of bags) is prefetched, all its lines. They are prefetched into L2, not L1: L1 keeps few misses in flight, and a core that has
// used them all up waits, while L2 takes several times as many (Zen 4, rows of 132 bytes at random: 9 ns a row, and 22 through L1).
// Numbers are prefetched a batch at a time, so that the sums between the prefetches leave no gap; codes, whose sums take longer than
// their rows, one by one.
//
// Ids are first turned into rows and weights, up to kBatch at a time, whatever bags they are of: bounds and padding are looked at once
// an id, and where every id of a batch is good and is a row, all at once. An id of a table with key functions (core/table_keys.h) has a
// row for each, one after the other.
// Then the columns are summed in chunks of up to 8 vectors kept in registers, in the order of the ids: a bag's bits depend on
// the bag alone. A task owns the bags first_bag..last_bag-1 of one table (pooling none: the ids first_id..last_id-1).
#ifndef JINDOU_CPU_KERNELS_EMBEDDING_BAG_H
#define JINDOU_CPU_KERNELS_EMBEDDING_BAG_H

#include "cpu/kernels/kernel_table.h"
#include "cpu/simd/fused.h"
#include "cpu/simd/simd.h"

namespace jindou::cpu {
namespace {

template <class Isa, RowElements kElements>
struct EmbeddingBag {
  using F = typename Isa::F;
  static constexpr int kWidth = Isa::kWidth;
  static constexpr bool kCodes = kElements >= RowElements::e4m3;
  static constexpr int kBits = kElements == RowElements::f32                                          ? 32
                               : kElements == RowElements::f16 || kElements == RowElements::bf16 ? 16
                               : kElements == RowElements::u4                                    ? 4
                               : kElements == RowElements::u2                                    ? 2
                                                                                                 : 8;
  static constexpr int kMaxDim = 2048;
  // Measured, as is the rest of the prefetching.
  static constexpr bool kTogether = !kCodes;  // prefetches of a batch
  static constexpr int kBatch = kCodes ? 32 : 64;
  static constexpr int64_t kAheadBytes = kCodes ? 8192 : 16384;

  const EmbeddingTask &t;
  EmbeddingFindings &findings;
  const int bytes;             // read of a row
  const bool whole_lines;
  const int functions;         // rows an id
  const int64_t ahead, batch;  // ids

  EmbeddingBag(const EmbeddingTask &task, EmbeddingFindings &f)
      : t(task),
        findings(f),
        bytes(kCodes ? static_cast<int>(task.layout.row_bytes) : task.dim * kBits / 8),
        whole_lines((task.row_bytes | static_cast<int64_t>(reinterpret_cast<uintptr_t>(task.rows))) % 64 == 0),
        functions(task.num_functions > 1 ? task.num_functions : 1),
        ahead(ids_in(kAheadBytes, 64)),
        batch(ids_in(32768, kBatch)) {}

  int64_t ids_in(int64_t all, int64_t most) const {
    const int64_t rows = all / bytes, ids = (rows < 4 ? 4 : rows < most ? rows : most) / functions;
    return ids > 1 ? ids : 1;
  }

  // The rows of one batch of ids that count, `functions` an id.
  struct Rows {
    int count = 0;
    int64_t begin = 0, end = 0;  // the ids
    const char *row[kBatch];
    const char *prefetch[kBatch];  // null: none
    float weight[kBatch];
    float scale[kBatch], bias[kBatch];  // of codes
    int64_t position[kBatch];
  };

  int64_t id_at(int64_t i) const {
    return t.index_dtype == JD_I32 ? static_cast<const int32_t *>(t.ids)[i] : static_cast<const int64_t *>(t.ids)[i];
  }
  int64_t offset_at(int64_t bag) const {
    return t.offset_dtype == JD_I32 ? static_cast<const int32_t *>(t.offsets)[bag]
                                    : static_cast<const int64_t *>(t.offsets)[bag];
  }
  bool in_range(int64_t id) const {
    return static_cast<uint64_t>(id) < static_cast<uint64_t>(t.limit) || t.limit == keys::kAnyId;
  }
  // Of a good id, by one of its functions.
  const char *row(int64_t id, int function) const {
    return t.rows + (t.num_functions == 0 ? id : t.functions[function].row(id)) * t.row_bytes;
  }

  // Where rows are not whole lines, they need not begin with one: the last byte may lie in one more.
  inline __attribute__((always_inline)) void prefetch(const char *row, int bytes) const {
    for (int line = 0; line < bytes; line += 64) cpu::prefetch(row + line);
    if (kCodes || !whole_lines) cpu::prefetch(row + bytes - 1);
  }

  void prefetch_all(const Rows &rows) const {
    for (int i = 0; i < rows.count; ++i) {
      if (rows.prefetch[i]) prefetch(rows.prefetch[i], bytes);
    }
  }

  JD_SIMD float load_float(const char *p) {
    float x;
    memcpy(&x, p, sizeof x);
    return x;
  }

  void read_header(const char *row, float &scale, float &bias) const {
    const char *header = row + t.layout.header_at;
    scale = 1.0f;
    bias = 0.0f;
    if (t.layout.header == kHeaderHalves) {
      uint16_t halves[2];
      memcpy(halves, header, sizeof halves);
      scale = Isa::half(halves[0]);
      bias = Isa::half(halves[1]);
    } else if (t.layout.header != kHeaderNone) {
      scale = load_float(header);
      if (t.layout.header == kHeaderFloats) bias = load_float(header + 4);
    }
  }

  // Ids begin..end-1. Nothing past the task's last id is looked at.
  void resolve(int64_t begin, int64_t end, int64_t last_id, Rows &rows) const {
    rows.begin = begin;
    rows.end = end;
    const bool all = t.index_dtype == JD_I32 ? resolve_all(static_cast<const int32_t *>(t.ids), begin, end, last_id, rows)
                                             : resolve_all(static_cast<const int64_t *>(t.ids), begin, end, last_id, rows);
    if (!all) resolve_each(begin, end, last_id, rows);
    if constexpr (kCodes) {
      for (int i = 0; i < rows.count; ++i) {
        read_header(rows.row[i], rows.scale[i], rows.bias[i]);
        rows.row[i] += t.layout.codes_at;
      }
    }
  }

  // Where every id is good and is a row, with loops that have no branches; false: one is not, and nothing is done.
  template <class Id>
  bool resolve_all(const Id *ids, int64_t begin, int64_t end, int64_t last_id, Rows &rows) const {
    if (t.num_functions > 0 || t.has_padding_id) return false;
    const int n = static_cast<int>(end - begin);
    if (t.bounds != JD_BOUNDS_TRUST) {
      int bad = 0;
      for (int i = 0; i < n; ++i) bad |= !in_range(ids[begin + i]);
      if (bad) return false;
    }
    for (int i = 0; i < n; ++i) {
      rows.row[i] = t.rows + ids[begin + i] * t.row_bytes;
      rows.position[i] = begin + i;
    }
    const int64_t left = last_id - ahead - begin;
    const int coming = static_cast<int>(left < 0 ? 0 : left < n ? left : n);
    for (int i = 0; i < coming; ++i) {
      const int64_t id = ids[begin + ahead + i];
      rows.prefetch[i] = t.rows + (in_range(id) ? id : 0) * t.row_bytes;
    }
    for (int i = coming; i < n; ++i) rows.prefetch[i] = nullptr;
    for (int i = 0; i < n; ++i) rows.weight[i] = t.weights ? t.weights[begin + i] : 1.0f;
    rows.count = n;
    return true;
  }

  void resolve_each(int64_t begin, int64_t end, int64_t last_id, Rows &rows) const {
    rows.count = 0;
    for (int64_t i = begin; i < end; ++i) {
      const bool more = i + ahead < last_id;
      const int64_t coming = more ? id_at(i + ahead) : 0;
      const bool prefetches = more && in_range(coming);
      const int64_t id = id_at(i);
      const bool padding = t.has_padding_id && id == t.padding_id;
      if (padding || (t.bounds != JD_BOUNDS_TRUST && __builtin_expect(!in_range(id), 0))) {
        for (int f = 0; prefetches && f < functions; ++f) prefetch(row(coming, f), bytes);
        if (padding) continue;
        if (findings.bad_ids++ == 0) {  // ids come in rising order: the first is the lowest
          findings.position = i;
          findings.id = id;
        }
        continue;
      }
      for (int f = 0; f < functions; ++f) {
        const char *const found = row(id, f);
        rows.row[rows.count] = found;
        rows.prefetch[rows.count] = prefetches ? row(coming, f) : nullptr;
        rows.weight[rows.count] = t.weights ? t.weights[i] : 1.0f;
        rows.position[rows.count] = i;
        ++rows.count;
      }
    }
  }

  // What would have been prefetched before the task's first id.
  void start(int64_t first_id, int64_t last_id) const {
    const int64_t end = first_id + ahead < last_id ? first_id + ahead : last_id;
    for (int64_t i = first_id; i < end; ++i) {
      const int64_t id = id_at(i);
      for (int f = 0; in_range(id) && f < functions; ++f) prefetch(row(id, f), bytes);
    }
  }

  // `lanes` elements of a row from element `at` on; codes as they are.
  JD_SIMD F load(const char *row, int at, int lanes) {
    if constexpr (kElements == RowElements::f32) {
      const float *p = reinterpret_cast<const float *>(row) + at;
      return lanes == kWidth ? Isa::load(p) : Isa::load_first(p, lanes);
    } else if constexpr (!kCodes) {
      const uint16_t *p = reinterpret_cast<const uint16_t *>(row) + at;
      if constexpr (kElements == RowElements::f16) return lanes == kWidth ? Isa::load_f16(p) : Isa::load_first_f16(p, lanes);
      return lanes == kWidth ? Isa::load_bf16(p) : Isa::load_first_bf16(p, lanes);
    } else {
      const uint8_t *p = reinterpret_cast<const uint8_t *>(row) + at * kBits / 8;
      if (lanes == kWidth) return load_codes(p);
      uint8_t first[16] = {};
      memcpy(first, p, lanes * kBits / 8);
      return load_codes(first);
    }
  }
  JD_SIMD F load_codes(const uint8_t *p) {
    if constexpr (kElements == RowElements::e4m3) return Isa::load_e4m3(p);
    if constexpr (kElements == RowElements::u8) return Isa::load_u8(p);
    if constexpr (kElements == RowElements::u4) return Isa::load_u4(p);
    return Isa::load_u2(p);
  }
  // The same of row i of a batch, as the numbers they stand for.
  inline __attribute__((always_inline)) F load(const Rows &rows, int i, int at, int lanes) const {
    const F x = load(rows.row[i], at, lanes);
    if constexpr (!kCodes) return x;
    const F scale = Isa::set(rows.scale[i]), bias = Isa::set(rows.bias[i]);
    // Products with a scale of f16 are exact, and e4m3 has no bias: floats alone would be rounded twice.
    if (!kHasFma && t.layout.header == kHeaderFloats) return fused<Isa>(x, scale, bias);
    return Isa::fma(x, scale, bias);
  }

  void store(char *row, int at, int lanes, F x) const {
    uint16_t *halves = reinterpret_cast<uint16_t *>(row) + at;
    switch (t.out_dtype) {
      case JD_F32: {
        float *p = reinterpret_cast<float *>(row) + at;
        return lanes == kWidth ? Isa::store(p, x) : Isa::store_first(p, x, lanes);
      }
      case JD_F16: return lanes == kWidth ? Isa::store_f16(halves, x) : Isa::store_first_f16(halves, x, lanes);
      default: return lanes == kWidth ? Isa::store_bf16(halves, x) : Isa::store_first_bf16(halves, x, lanes);
    }
  }

  // The first row of a batch that is of an id at or behind `end`.
  int rows_before(const Rows &rows, int from, int64_t end) const {
    if (end >= rows.end) return rows.count;
    if (rows.count == rows.end - rows.begin && functions == 1) return static_cast<int>(end - rows.begin);
    while (from < rows.count && rows.position[from] < end) ++from;
    return from;
  }

  // Adds rows from..to-1 to pooled[at..], N vectors wide (the last one `lanes` wide), or begins with them.
  template <int N>
  inline __attribute__((always_inline)) void add(const Rows &rows, int from, int to, int at, int lanes, int prefetch_bytes, bool begin,
                                                 float *pooled) const {
    F sum[N];
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) sum[n] = begin ? Isa::zero() : Isa::load(pooled + at + n * kWidth);
    for (int i = from; i < to; ++i) {
      if (!kTogether && prefetch_bytes > 0 && rows.prefetch[i]) prefetch(rows.prefetch[i], prefetch_bytes);
      const F weight = Isa::set(rows.weight[i]);
#pragma GCC unroll 8
      for (int n = 0; n < N; ++n) sum[n] = Isa::fma(weight, load(rows, i, at + n * kWidth, n + 1 < N ? kWidth : lanes), sum[n]);
    }
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) Isa::store(pooled + at + n * kWidth, sum[n]);
  }

  // The same by maximum. A maximum leaves out a NaN, and to keep it would cost two instructions a vector: half of one finds whether there is
  // one at all, in two vectors at a time; then the rows are read again.
  template <bool kWeighted, int N>
  inline __attribute__((always_inline)) void take_larger(const Rows &rows, int from, int to, int at, int lanes, int prefetch_bytes,
                                                         bool begin, float *pooled) const {
    F most[N];
    typename Isa::M ordered = Isa::ordered(Isa::zero(), Isa::zero());
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) most[n] = begin ? Isa::set(-__builtin_inff()) : Isa::load(pooled + at + n * kWidth);
    for (int i = from; i < to; ++i) {
      if (!kTogether && prefetch_bytes > 0 && rows.prefetch[i]) prefetch(rows.prefetch[i], prefetch_bytes);
      const auto weigh = [&](F x) { return kWeighted ? Isa::mul(Isa::set(rows.weight[i]), x) : x; };
#pragma GCC unroll 8
      for (int n = 0; n < N; n += 2) {
        const F x = weigh(load(rows, i, at + n * kWidth, n + 1 < N ? kWidth : lanes));
        const F y = n + 1 < N ? weigh(load(rows, i, at + (n + 1) * kWidth, n + 2 < N ? kWidth : lanes)) : x;
        ordered = Isa::both(ordered, Isa::ordered(x, y));
        most[n] = Isa::max(x, most[n]);
        if (n + 1 < N) most[n + 1] = Isa::max(y, most[n + 1]);
      }
    }
    for (int i = from; Isa::bits(ordered) != (1u << kWidth) - 1 && i < to; ++i) {
      const auto weigh = [&](F x) { return kWeighted ? Isa::mul(Isa::set(rows.weight[i]), x) : x; };
#pragma GCC unroll 8
      for (int n = 0; n < N; ++n) {
        const F x = weigh(load(rows, i, at + n * kWidth, n + 1 < N ? kWidth : lanes));
        most[n] = Isa::choose(Isa::ordered(x, x), most[n], x);
      }
    }
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) Isa::store(pooled + at + n * kWidth, most[n]);
  }

  template <bool kMax, bool kWeighted, int N>
  inline __attribute__((always_inline)) void pool(const Rows &rows, int from, int to, int at, int lanes, int prefetch_bytes, bool begin,
                                                  float *pooled) const {
    if constexpr (kMax) {
      take_larger<kWeighted, N>(rows, from, to, at, lanes, prefetch_bytes, begin, pooled);
    } else {
      add<N>(rows, from, to, at, lanes, prefetch_bytes, begin, pooled);
    }
  }

  template <bool kMax, bool kWeighted>
  void pool_all(const Rows &rows, int from, int to, bool begin, float *pooled) const {
    int at = 0;
    for (; at + 8 * kWidth <= t.dim; at += 8 * kWidth) {
      pool<kMax, kWeighted, 8>(rows, from, to, at, kWidth, at == 0 ? bytes : 0, begin, pooled);
    }
    for (; at + 4 * kWidth <= t.dim; at += 4 * kWidth) {
      pool<kMax, kWeighted, 4>(rows, from, to, at, kWidth, at == 0 ? bytes : 0, begin, pooled);
    }
    for (; at < t.dim; at += kWidth) {
      const int lanes = t.dim - at < kWidth ? t.dim - at : kWidth;
      pool<kMax, kWeighted, 1>(rows, from, to, at, lanes, at == 0 ? bytes : 0, begin, pooled);
    }
  }

  void run() const {
    if (t.pooling == JD_POOL_NONE) return copy_rows();
    const int64_t first_id = offset_at(t.first_bag), last_id = offset_at(t.last_bag);
    start(first_id, last_id);
    const bool weighs = t.pooling == JD_POOL_MEAN && t.mean_denominator != JD_MEAN_LENGTH;
    float pooled[kMaxDim + kWidth];
    Rows rows;
    rows.end = first_id;
    int next = 0;  // row of the batch
    int64_t end = first_id;
    for (int64_t bag = t.first_bag; bag < t.last_bag; ++bag) {
      const int64_t begin = end;
      end = offset_at(bag + 1);
      bool empty = true;
      float weights = 0;
      for (;;) {
        const int to = rows_before(rows, next, end);
        if (to > next) {
          for (int j = next; weighs && j < to; j += functions) weights += rows.weight[j];
          if (t.pooling != JD_POOL_MAX) {
            pool_all<false, true>(rows, next, to, empty, pooled);
          } else if (t.weights) {
            pool_all<true, true>(rows, next, to, empty, pooled);
          } else {
            pool_all<true, false>(rows, next, to, empty, pooled);
          }
          empty = false;
          next = to;
        }
        if (rows.end >= end) break;
        resolve(rows.end, rows.end + batch < last_id ? rows.end + batch : last_id, last_id, rows);
        if constexpr (kTogether) prefetch_all(rows);
        next = 0;
      }
      if (t.mean_denominator == JD_MEAN_LENGTH) weights = static_cast<float>(end - begin);
      write(bag, empty, weights, pooled);
    }
  }

  void write(int64_t bag, bool empty, float denominator, const float *pooled) const {
    char *out = t.out + bag * t.out_row_bytes;
    const bool mean = t.pooling == JD_POOL_MEAN;
    const bool zero = empty || (mean && denominator == 0.0f);
    if (t.out_dtype == JD_I8) return write_codes(bag, zero, mean ? denominator : 1.0f, pooled);
    for (int at = 0; at < t.dim; at += kWidth) {
      const int lanes = t.dim - at < kWidth ? t.dim - at : kWidth;
      F x = zero ? Isa::zero() : Isa::load(pooled + at);
      if (mean && !zero) x = Isa::div(x, Isa::set(denominator));
      store(out, at, lanes, x);
    }
  }

  void write_codes(int64_t bag, bool zero, float denominator, const float *pooled) const {
    float x[kMaxDim + kWidth];
    for (int at = 0; at < t.dim; at += kWidth) Isa::store(x + at, zero ? Isa::zero() : Isa::div(Isa::load(pooled + at), Isa::set(denominator)));
    write_codes(bag, x);
  }

  // Row `row` of the output.
  void write_codes(int64_t row, const float *x) const {
    int8_t *codes = reinterpret_cast<int8_t *>(t.out + row * t.out_row_bytes);
    // Magnitudes are compared as integers: a NaN is larger than an infinity, and that than any number.
    uint32_t most = 0;
    for (int d = 0; d < t.dim; ++d) {
      uint32_t bits;
      memcpy(&bits, x + d, sizeof bits);
      most = (bits & 0x7fffffffu) > most ? bits & 0x7fffffffu : most;
    }
    float largest;
    memcpy(&largest, &most, sizeof largest);
    const float scale = most < 0x7f800000u ? largest / 127.0f : __builtin_nanf("");
    t.scales[row * t.scale_stride] = scale;
    for (int d = 0; d < t.dim; ++d) {
      const float code = scale > 0.0f ? __builtin_rintf(x[d] / scale) : 0.0f;
      // Past 127 where the scale is subnormal.
      codes[d] = static_cast<int8_t>(code > 127.0f ? 127.0f : code < -127.0f ? -127.0f : code);
    }
  }

  // Rows first_id..last_id - 1 in order.
  void widen_rows() const {
    Rows rows;
    rows.count = 1;
    for (int64_t r = t.first_id; r < t.last_id; ++r) {
      const char *const found = t.rows + r * t.row_bytes;
      if constexpr (kCodes) read_header(found, rows.scale[0], rows.bias[0]);
      rows.row[0] = kCodes ? found + t.layout.codes_at : found;
      for (int at = 0; at < t.dim; at += kWidth) {
        const int lanes = t.dim - at < kWidth ? t.dim - at : kWidth;
        store(t.out + r * t.out_row_bytes, at, lanes, load(rows, 0, at, lanes));
      }
    }
  }

  void copy_rows() const {
    start(t.first_id, t.last_id);
    const bool codes = t.out_dtype == JD_I8;
    float numbers[kMaxDim + kWidth];
    Rows rows;
    for (int64_t i = t.first_id; i < t.last_id; i += batch) {
      const int64_t end = i + batch < t.last_id ? i + batch : t.last_id;
      resolve(i, end, t.last_id, rows);
      if constexpr (kTogether) prefetch_all(rows);
      int next = 0;
      for (int64_t position = i; position < end; ++position) {
        const bool present = next < rows.count && rows.position[next] == position;
        char *out = t.out + position * t.out_row_bytes;
        if (!kTogether && present && rows.prefetch[next]) prefetch(rows.prefetch[next], bytes);
        for (int at = 0; at < t.dim; at += kWidth) {
          const int lanes = t.dim - at < kWidth ? t.dim - at : kWidth;
          const F x = present ? Isa::mul(Isa::set(rows.weight[next]), load(rows, next, at, lanes)) : Isa::zero();
          if (codes) {
            Isa::store(numbers + at, x);
          } else {
            store(out, at, lanes, x);
          }
        }
        if (codes) write_codes(position, numbers);
        next += present;
      }
    }
  }
};

}  // namespace
}  // namespace jindou::cpu

#endif
