// The table metadata that embedding kernels read from device memory, and how a lane reads its share of a row.
//
// A lane reads one vector of a row. Numbers: 16 bytes, or 8 where a 16-bit row has a dim or a row stride that is a multiple of 4
// elements only (f16 rows of dim 4 are 8 bytes long). Codes (jindou/embedding.h, JD_ROWS_*): 8 of them, in 8, 4 or 2 bytes, and
// the row's scale and bias, which are the same address for all lanes; or 4 of them, byte by byte where a row begins anywhere.
#ifndef JINDOU_KERNELS_EMBEDDING_TABLE_H
#define JINDOU_KERNELS_EMBEDDING_TABLE_H

#include <stdint.h>

#include <type_traits>

#include "core/row_formats.h"
#include "core/table_keys.h"
#include "primitives/float8.h"
#include "primitives/keep.h"
#include "primitives/primitives.h"

namespace jindou::embedding {

// Elements of a row and how many of them a lane reads at once.
enum RowKind : int32_t {
  kRowF32 = 0,
  kRowF16 = 1,
  kRowBF16 = 2,
  kRowF16Narrow = 3,
  kRowBF16Narrow = 4,
  kRowBytes = 5,        // 8 codes of a byte, unsigned or fp8 e4m3
  kRowInt4 = 6,         // 8 codes
  kRowInt2 = 7,         // 8 codes
  kRowCodesNarrow = 8,  // 4 codes of any size, at any address
  kRowKinds = 9
};

// Where codes, scale and bias of a row lie, in one register: tables of one kind may differ in it.
struct CodeLayout {
  uint32_t packed;

  static CodeLayout of(const RowLayout &row, bool e4m3, bool words) {
    return {static_cast<uint32_t>(row.header_at) | static_cast<uint32_t>(row.codes_at) << 16 |
            static_cast<uint32_t>(row.bits) << 20 | static_cast<uint32_t>(row.header) << 24 | (e4m3 ? 1u : 0u) << 26 |
            (words ? 1u : 0u) << 27};
  }
  JD_DEVICE JD_INLINE uint32_t header_at() const { return packed & 0xffffu; }
  JD_DEVICE JD_INLINE uint32_t codes_at() const { return packed >> 16 & 15u; }
  JD_DEVICE JD_INLINE uint32_t bits() const { return packed >> 20 & 15u; }
  JD_DEVICE JD_INLINE uint32_t header() const { return packed >> 24 & 3u; }
  JD_DEVICE JD_INLINE bool e4m3() const { return (packed >> 26 & 1u) != 0; }
  JD_DEVICE JD_INLINE bool words() const { return (packed >> 27 & 1u) != 0; }  // all parts begin at multiples of 4 bytes
};

// One table, or one of the rows side by side that its ids have. The array of a plan is sorted by launch geometry; `table` keeps the
// caller's numbering.
struct TableMeta {
  const void *data;    // row 0, 16-byte aligned (narrow kinds: 8; codes: 4 or 1)
  int64_t limit;       // ids 0..limit - 1 are good; keys::kAnyId: all are
  const keys::Function *functions;  // from an id to its rows
  int64_t row_bytes;   // from one row to the next
  int64_t out_column;  // first column of the output
  int64_t table_column;   // and of its table
  int64_t table_columns;  // of its table
  keys::Divisor by_functions;  // num_functions, at least 1
  int32_t vectors;     // vectors a row: dim / elements a vector
  int32_t table;       // the caller's number: offsets, reports
  int32_t pooling;     // JD_POOL_*
  int32_t kind;        // RowKind
  CodeLayout layout;   // of codes
  int32_t num_functions;  // 0: an id is a row
  int32_t reports;        // 1: of a table's parts the one that tells of bad ids
  int32_t part;           // its number among all parts of the caller's tables
  int32_t dim;
  int32_t dim_step;  // dim less that of the table before; of the first 0

  // Of a good id, by one of its functions.
  JD_DEVICE JD_INLINE uint64_t row(int64_t id, int function) const {
    const int64_t at = num_functions == 0 ? id : functions[function].row(id);
    return reinterpret_cast<uint64_t>(data) + at * row_bytes;
  }
};

// Each Row reads vector `vector` of the row at `row`, and widens what it read. kMaximum: it can be pooled by maximum.
struct RowF32 {
  static constexpr int kElements = 4;
  static constexpr bool kCodes = false, kMaximum = true;
  using Vector = prim::Vec4u;
  JD_DEVICE JD_INLINE static Vector load(const char *row, uint32_t vector, CodeLayout) {
    return prim::load16(row + 16 * vector);
  }
  JD_DEVICE JD_INLINE static void widen(const Vector &v, CodeLayout, float (&x)[kElements]) {
    x[0] = prim::as_float(v.x);
    x[1] = prim::as_float(v.y);
    x[2] = prim::as_float(v.z);
    x[3] = prim::as_float(v.w);
  }
};

template <class Element>
struct Row16 {
  static constexpr int kElements = 8;
  static constexpr bool kCodes = false, kMaximum = true;
  using Vector = prim::Vec4u;
  JD_DEVICE JD_INLINE static Vector load(const char *row, uint32_t vector, CodeLayout) {
    return prim::load16(row + 16 * vector);
  }
  JD_DEVICE JD_INLINE static void widen(const Vector &v, CodeLayout, float (&x)[kElements]) {
    prim::unpack2<Element>(v.x, x[0], x[1]);
    prim::unpack2<Element>(v.y, x[2], x[3]);
    prim::unpack2<Element>(v.z, x[4], x[5]);
    prim::unpack2<Element>(v.w, x[6], x[7]);
  }
};

template <class Element>
struct Row16Narrow {
  static constexpr int kElements = 4;
  static constexpr bool kCodes = false, kMaximum = true;
  using Vector = prim::Vec2u;
  JD_DEVICE JD_INLINE static Vector load(const char *row, uint32_t vector, CodeLayout) {
    return prim::load8(row + 8 * vector);
  }
  JD_DEVICE JD_INLINE static void widen(const Vector &v, CodeLayout, float (&x)[kElements]) {
    prim::unpack2<Element>(v.x, x[0], x[1]);
    prim::unpack2<Element>(v.y, x[2], x[3]);
  }
};

// What the header of a row says. Uniform branches: all rows of a batch have one layout.
JD_DEVICE JD_INLINE void scale_and_bias(CodeLayout layout, uint32_t first, uint32_t second, float &scale, float &bias) {
  scale = 1.0f;
  bias = 0.0f;
  if (layout.header() == kHeaderHalves) {
    prim::unpack2<prim::f16>(first, scale, bias);
  } else if (layout.header() != kHeaderNone) {
    scale = prim::as_float(first);
    if (layout.header() == kHeaderFloats) bias = prim::as_float(second);
  }
}

// A code of up to 23 bits as a float: 2^23 with the code in its last places, less 2^23.
JD_DEVICE JD_INLINE float code_to_float(uint32_t code) { return prim::as_float(0x4b000000u | code) - 8388608.0f; }

// Four bytes, unsigned or fp8 e4m3.
JD_DEVICE JD_INLINE void widen_bytes(uint32_t word, CodeLayout layout, float *x) {
  if (layout.e4m3()) {
    float codes[4];
    prim::unpack_e4m3x4(word, codes);
#pragma unroll
    for (int e = 0; e < 4; ++e) x[e] = codes[e];
  } else {
#pragma unroll
    for (int e = 0; e < 4; ++e) x[e] = code_to_float(word >> (8 * e) & 0xffu);
  }
}

// Eight codes of kBits. All parts of the row begin at multiples of 4 bytes, and its header is a word at most (registers
// are what limits the rows in flight).
template <int kBits>
struct RowCodes {
  static constexpr int kElements = 8;
  static constexpr bool kCodes = true, kMaximum = false;
  using Vector = std::conditional_t<kBits == 8, prim::Vec3u, prim::Vec2u>;  // header, codes
  JD_DEVICE JD_INLINE static Vector load(const char *row, uint32_t vector, CodeLayout layout) {
    const char *codes = row + layout.codes_at() + kBits * vector;
    Vector v{};
    if (layout.header() != kHeaderNone) v.x = prim::load4(row + layout.header_at());
    if constexpr (kBits == 2) {
      v.y = prim::load2(codes);
    } else {
      v.y = prim::load4(codes);
      if constexpr (kBits == 8) v.z = prim::load4(codes + 4);
    }
    return v;
  }
  JD_DEVICE JD_INLINE static void widen(const Vector &v, CodeLayout layout, float (&x)[kElements]) {
    if constexpr (kBits == 8) {
      widen_bytes(v.y, layout, x);
      widen_bytes(v.z, layout, x + 4);
    } else {
#pragma unroll
      for (int e = 0; e < kElements; ++e) x[e] = code_to_float(v.y >> (kBits * e) & ((1u << kBits) - 1u));
    }
    float scale, bias;
    scale_and_bias(layout, v.x, 0u, scale, bias);
#pragma unroll
    for (int e = 0; e < kElements; ++e) x[e] = prim::fma(x[e], scale, bias);
  }
};

// Four codes of 8, 4 or 2 bits in rows of any alignment.
struct RowCodesNarrow {
  static constexpr int kElements = 4;
  static constexpr bool kCodes = true, kMaximum = true;
  using Vector = prim::Vec3u;  // header, header, codes
  JD_DEVICE JD_INLINE static uint32_t load_bytes(const char *address, uint32_t count) {
    uint32_t word = 0;
#pragma unroll
    for (uint32_t i = 0; i < 4; ++i) {
      if (i < count) word |= static_cast<uint32_t>(static_cast<unsigned char>(address[i])) << (8 * i);
    }
    return word;
  }
  JD_DEVICE JD_INLINE static Vector load(const char *row, uint32_t vector, CodeLayout layout) {
    const uint32_t bytes = layout.bits() / 2;
    const char *codes = row + layout.codes_at() + bytes * vector;
    const char *header = row + layout.header_at();
    Vector v{0u, 0u, 0u};
    if (layout.words() && bytes == 4) {
      v.z = prim::load4(codes);
    } else {
      v.z = load_bytes(codes, bytes);
    }
    if (layout.header() != kHeaderNone) v.x = layout.words() ? prim::load4(header) : load_bytes(header, 4);
    if (layout.header() == kHeaderFloats) v.y = layout.words() ? prim::load4(header + 4) : load_bytes(header + 4, 4);
    return v;
  }
  JD_DEVICE JD_INLINE static void widen(const Vector &v, CodeLayout layout, float (&x)[kElements]) {
    const uint32_t bits = layout.bits();
    if (bits == 8) {
      widen_bytes(v.z, layout, x);
    } else {
#pragma unroll
      for (uint32_t e = 0; e < kElements; ++e) x[e] = code_to_float(v.z >> (bits * e) & ((1u << bits) - 1u));
    }
    float scale, bias;
    scale_and_bias(layout, v.x, v.y, scale, bias);
#pragma unroll
    for (int e = 0; e < kElements; ++e) x[e] = prim::fma(x[e], scale, bias);
  }
};

}  // namespace jindou::embedding

#endif
