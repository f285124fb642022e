// The table metadata that embedding kernels read from device memory, and how a lane reads its share of a row.
//
// A lane reads one vector of a row: 16 bytes, or 8 where a 16-bit row has a dim or a row stride that is a multiple of 4
// elements only (f16 rows of dim 4 are 8 bytes long).
#ifndef JINDOU_KERNELS_EMBEDDING_TABLE_H
#define JINDOU_KERNELS_EMBEDDING_TABLE_H

#include <stdint.h>

#include "primitives/keep.h"
#include "primitives/primitives.h"

namespace jindou::embedding {

// Dtype of a row and bytes a lane reads at once.
enum RowKind : int32_t { kRowF32 = 0, kRowF16 = 1, kRowBF16 = 2, kRowF16Narrow = 3, kRowBF16Narrow = 4, kRowKinds = 5 };

// One table. The array of a plan is sorted by launch geometry; `table` keeps the caller's numbering.
struct TableMeta {
  const void *data;    // row 0, 16-byte aligned (narrow kinds: 8)
  int64_t rows;
  int64_t row_bytes;   // from one row to the next
  int64_t out_column;  // first column of the output
  int32_t vectors;     // vectors a row: dim / elements a vector
  int32_t table;       // the caller's number: offsets, reports
  int32_t pooling;     // JD_POOL_*
  int32_t kind;        // RowKind
};

struct RowF32 {
  static constexpr int kElements = 4;
  using Vector = prim::Vec4u;
  JD_DEVICE JD_INLINE static Vector load(const char *address) { return prim::load16(address); }
  JD_DEVICE JD_INLINE static void widen(const Vector &v, float (&x)[kElements]) {
    x[0] = prim::as_float(v.x);
    x[1] = prim::as_float(v.y);
    x[2] = prim::as_float(v.z);
    x[3] = prim::as_float(v.w);
  }
};

template <class Element>
struct Row16 {
  static constexpr int kElements = 8;
  using Vector = prim::Vec4u;
  JD_DEVICE JD_INLINE static Vector load(const char *address) { return prim::load16(address); }
  JD_DEVICE JD_INLINE static void widen(const Vector &v, float (&x)[kElements]) {
    prim::unpack2<Element>(v.x, x[0], x[1]);
    prim::unpack2<Element>(v.y, x[2], x[3]);
    prim::unpack2<Element>(v.z, x[4], x[5]);
    prim::unpack2<Element>(v.w, x[6], x[7]);
  }
};

template <class Element>
struct Row16Narrow {
  static constexpr int kElements = 4;
  using Vector = prim::Vec2u;
  JD_DEVICE JD_INLINE static Vector load(const char *address) { return prim::load8(address); }
  JD_DEVICE JD_INLINE static void widen(const Vector &v, float (&x)[kElements]) {
    prim::unpack2<Element>(v.x, x[0], x[1]);
    prim::unpack2<Element>(v.y, x[2], x[3]);
  }
};

}  // namespace jindou::embedding

#endif
