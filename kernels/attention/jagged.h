// Jagged tensors as the attention kernels see them: rows with free strides, and offsets that are checked before use.
#ifndef JINDOU_KERNELS_ATTENTION_JAGGED_H
#define JINDOU_KERNELS_ATTENTION_JAGGED_H

#include "faults.h"

namespace jindou::attention {

// [rows, heads, headDim], last dimension contiguous; strides in elements, multiples of 16 bytes. bf16 and f16 are both
// uint16_t: what tells them apart is a dtype beside them, a uniform branch where they are multiplied or converted, so
// that one kernel serves both.
template <class T>
struct Rows {
  T *data;
  int64_t token_stride;
  int64_t head_stride;

  JD_DEVICE T *at(int64_t token, int32_t head) const { return data + token * token_stride + head * head_stride; }
};

// What rows of queries, keys and values are, where a kernel learns it at run time.
struct HeadShape {
  int32_t dtype;
  int32_t dim_qk, dim_v;  // multiples of 32, at most the kernel's columns
};

// Two neighbouring elements, 2 * sizeof aligned.
JD_DEVICE inline void unpack_pair(uint32_t bits, int32_t dtype, float &low, float &high) {
  if (dtype == JD_F16) {
    prim::unpack2<prim::f16>(bits, low, high);
  } else {
    prim::unpack2<prim::bf16>(bits, low, high);
  }
}
JD_DEVICE inline void load_pair(const uint16_t *address, int32_t dtype, float &low, float &high) {
  unpack_pair(prim::load4(address), dtype, low, high);
}
JD_DEVICE inline void load_pair(const float *address, int32_t, float &low, float &high) {
  const prim::Vec2u pair = prim::load8(address);
  low = prim::as_float(pair.x);
  high = prim::as_float(pair.y);
}

// The output, in the inputs' dtype or f32. Two neighbouring elements at a time: what one thread of a tile holds.
struct OutRows {
  void *data;
  int64_t token_stride;
  int64_t head_stride;
  int32_t dtype;

  JD_DEVICE int64_t at(int64_t token, int32_t head) const { return token * token_stride + head * head_stride; }

  JD_DEVICE void store_pair(int64_t element, float low, float high) const {
    if (dtype == JD_F32) {
      prim::store8(static_cast<float *>(data) + element, prim::Vec2u{prim::as_uint(low), prim::as_uint(high)});
    } else {
      const uint32_t pair = dtype == JD_F16 ? prim::pack_f16x2(low, high) : prim::pack_bf16x2(low, high);
      prim::store4(static_cast<uint16_t *>(data) + element, pair);
    }
  }
};

// offsets [batch + 1], int32 or int64.
struct Offsets {
  const void *data;
  int32_t wide;  // 1: int64

  JD_DEVICE int64_t operator[](int64_t i) const {
    return wide ? static_cast<const int64_t *>(data)[i] : static_cast<const int32_t *>(data)[i];
  }
};

// Rows [begin, begin + length) of a tensor.
struct Sequence {
  int64_t begin;
  int32_t length;
};

// Tiles of kRows rows that a sequence's rows fill when each stands for `each` (the query heads of a key/value head, say). The product
// is 64-bit, and of every operator's largest sequence and number of heads the tiles have 31 bits: so has every packed row.
template <int kRows>
JD_HOST_DEVICE inline uint32_t packed_tiles(const Sequence &rows, int32_t each) {
  return static_cast<uint32_t>((int64_t{rows.length} * each + kRows - 1) / kRows);
}

// Reads sequence b of a batch over a tensor of `rows` rows. A sequence with any fault is refused: its length is 0.
JD_DEVICE inline Fault read_sequence(const Offsets &offsets, int64_t b, int64_t batch, int64_t rows, int64_t max_length,
                                     Sequence &sequence) {
  const int64_t begin = offsets[b], end = offsets[b + 1];
  sequence = Sequence{0, 0};
  if (b == 0 && begin != 0) return Fault{JDB_FAULT_OFFSET_START, -1, b, begin, 0};
  if (end < begin) return Fault{JDB_FAULT_OFFSET_ORDER, -1, b, end, begin};
  if (begin < 0) return Fault{JDB_FAULT_OFFSET_ORDER, -1, b, begin, 0};  // a sequence before it is the first offender
  if (end > rows || (b == batch - 1 && end != rows)) return Fault{JDB_FAULT_OFFSET_OVERRUN, -1, b, end, rows};
  if (end - begin > max_length) return Fault{JDB_FAULT_LENGTH, -1, b, end - begin, max_length};
  sequence = Sequence{begin, static_cast<int32_t>(end - begin)};
  return Fault{JDB_FAULT_NONE, -1, 0, 0, 0};
}

}  // namespace jindou::attention

#endif
