// A paged cache as kernels see it (jindou/paged_cache.h): where a row of a sequence lies, and what its elements stand for.
#ifndef JINDOU_KERNELS_DECODE_PAGES_H
#define JINDOU_KERNELS_DECODE_PAGES_H

#include "faults.h"

namespace jindou::paged {

// page_table [batch, max_pages].
struct PageTable {
  const int32_t *data;
  int64_t row_stride;
  int32_t max_pages;
  int32_t num_pages;  // of the pool
  int32_t shift;      // a page has 1 << shift rows

  JD_DEVICE const int32_t *row(int64_t sequence) const { return data + sequence * row_stride; }
  // A page number is looked at before it is used: one out of range names no page.
  JD_DEVICE bool valid(int32_t page) const { return static_cast<uint32_t>(page) < static_cast<uint32_t>(num_pages); }
  JD_DEVICE int64_t rows() const { return int64_t{max_pages} << shift; }
  JD_DEVICE int32_t index(int32_t row) const { return row >> shift; }
  JD_DEVICE int32_t within(int32_t row) const { return row & ((1 << shift) - 1); }
};

// [num_pages, page_size, heads, dim], strides in elements.
struct Pages {
  void *data;
  int64_t page_stride, row_stride, head_stride;

  JD_DEVICE int64_t at(int32_t page, int32_t row, int32_t head) const {
    return page * page_stride + row * row_stride + head * head_stride;
  }
};

// What codes are multiplied by. One scale for all, or one a page and head, or one a row and head: the strides say which. Null:
// the pages are not quantised.
struct PageScales {
  float *data;
  int64_t page_stride, row_stride, head_stride;

  JD_DEVICE float *at(int32_t page, int32_t row, int32_t head) const {
    return data + page * page_stride + row * row_stride + head * head_stride;
  }
};

// Eight elements from element `at` on, as they lie in memory.
JD_DEVICE inline void load_elements(const void *data, int64_t at, int32_t dtype, float (&x)[8]) {
  switch (dtype) {
    case JD_F32: {
      const float *p = static_cast<const float *>(data) + at;
      const prim::Vec4u a = prim::load16(p), b = prim::load16(p + 4);
      const uint32_t words[8] = {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w};
#pragma unroll
      for (int i = 0; i < 8; ++i) x[i] = prim::as_float(words[i]);
      return;
    }
    case JD_F8_E4M3:
    case JD_I8: {
      const prim::Vec2u v = prim::load8(static_cast<const uint8_t *>(data) + at);
      float low[4], high[4];
      if (dtype == JD_I8) {
        prim::unpack_i8x4(v.x, low);
        prim::unpack_i8x4(v.y, high);
      } else {
        prim::unpack_e4m3x4(v.x, low);
        prim::unpack_e4m3x4(v.y, high);
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        x[i] = low[i];
        x[i + 4] = high[i];
      }
      return;
    }
    default: {
      const prim::Vec4u v = prim::load16(static_cast<const uint16_t *>(data) + at);
      const uint32_t words[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (dtype == JD_F16) {
          prim::unpack2<prim::f16>(words[i], x[2 * i], x[2 * i + 1]);
        } else {
          prim::unpack2<prim::bf16>(words[i], x[2 * i], x[2 * i + 1]);
        }
      }
    }
  }
}

JD_DEVICE inline void store_elements(void *data, int64_t at, int32_t dtype, const float (&x)[8]) {
  switch (dtype) {
    case JD_F32: {
      float *p = static_cast<float *>(data) + at;
      prim::store16(p, prim::Vec4u{prim::as_uint(x[0]), prim::as_uint(x[1]), prim::as_uint(x[2]), prim::as_uint(x[3])});
      prim::store16(p + 4, prim::Vec4u{prim::as_uint(x[4]), prim::as_uint(x[5]), prim::as_uint(x[6]), prim::as_uint(x[7])});
      return;
    }
    case JD_F8_E4M3:
    case JD_I8: {
      const float low[4] = {x[0], x[1], x[2], x[3]}, high[4] = {x[4], x[5], x[6], x[7]};
      prim::store8(static_cast<uint8_t *>(data) + at,
                   dtype == JD_I8 ? prim::Vec2u{prim::pack_i8x4(low), prim::pack_i8x4(high)}
                                  : prim::Vec2u{prim::pack_e4m3x4(low), prim::pack_e4m3x4(high)});
      return;
    }
    default: {
      uint32_t words[4];
#pragma unroll
      for (int i = 0; i < 4; ++i)
        words[i] = dtype == JD_F16 ? prim::pack_f16x2(x[2 * i], x[2 * i + 1]) : prim::pack_bf16x2(x[2 * i], x[2 * i + 1]);
      prim::store16(static_cast<uint16_t *>(data) + at, prim::Vec4u{words[0], words[1], words[2], words[3]});
    }
  }
}

// 16 bytes of T from its codes: 8 for a 16-bit T, the 4 of the low word for f32. Exact.
template <class T>
JD_DEVICE prim::Vec4u widen_codes(prim::Vec2u codes, bool is_i8) {
  float low[4];
  if (is_i8) {
    prim::unpack_i8x4(codes.x, low);
  } else {
    prim::unpack_e4m3x4(codes.x, low);
  }
  if constexpr (sizeof(T) == 4) {
    return prim::Vec4u{prim::as_uint(low[0]), prim::as_uint(low[1]), prim::as_uint(low[2]), prim::as_uint(low[3])};
  } else {
    float high[4];
    if (is_i8) {
      prim::unpack_i8x4(codes.y, high);
    } else {
      prim::unpack_e4m3x4(codes.y, high);
    }
    return prim::Vec4u{prim::pack2<T>(low[0], low[1]), prim::pack2<T>(low[2], low[3]), prim::pack2<T>(high[0], high[1]),
                       prim::pack2<T>(high[2], high[3])};
  }
}

}  // namespace jindou::paged

#endif
