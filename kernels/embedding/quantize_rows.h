// quantize_rows and dequantize_rows: numbers to rows of codes with their scale and bias, and back (jindou/quantize.h).
//
// Layouts: numbers [n, D] f32, f16 or bf16; rows [n, bytes], as core/row_formats.h says, at any address.
//
// Work, quantising: a warp owns a row. It reads the row once for the least and the largest element, joins them by shuffles, and
// once more, out of L1, for the codes; a lane reads and encodes four elements at a time. Dequantising: a thread owns four elements.
//
// Floor: bytes = n * (D * size + row bytes): a copy, bandwidth bound; quantising takes a float64 division an element, which GPUs with
// few float64 units feel. It is work done once a table.
#ifndef JINDOU_KERNELS_EMBEDDING_QUANTIZE_ROWS_H
#define JINDOU_KERNELS_EMBEDDING_QUANTIZE_ROWS_H

#include "embedding/bags.h"
#include "embedding/row_codes.h"
#include "embedding/table.h"

namespace jindou::embedding {

struct QuantizeParams {
  char *numbers;
  char *rows;
  int64_t n;
  int64_t number_stride;  // bytes from row to row
  int64_t row_stride;     // bytes from row to row
  int64_t row_bytes;      // written of a row
  int32_t dtype;          // of numbers
  int32_t vectors;        // D / 4
  RowLayout layout;
  CodeLayout code_layout;
  FaultSink sink;
};

struct QuantizeRowsKernel {
  static constexpr int kThreads = 256;
  static constexpr int kMinBlocks = 4;
  static constexpr size_t shared_bytes() { return 0; }
  using Params = QuantizeParams;

  JD_DEVICE static void run(const Params &p, char *) {
    const int lane = prim::lane_id();
    const int64_t row = static_cast<int64_t>(prim::block_idx().x) * (kThreads / 32) + prim::thread_idx().x / 32;
    if (row >= p.n) return;  // the whole warp
    const char *from = p.numbers + row * p.number_stride;
    char *to = p.rows + row * p.row_stride;

    float least = prim::as_float(0x7f800000u), largest = prim::as_float(0xff800000u);
    bool finite = true;
#pragma unroll 1
    for (int v = lane; v < p.vectors; v += 32) {
      float x[4];
      load(p, from, v, x);
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        finite = finite && RowScale::is_finite(x[e]);
        least = x[e] < least ? x[e] : least;
        largest = x[e] > largest ? x[e] : largest;
      }
    }
#pragma unroll
    for (int step = 16; step > 0; step /= 2) {
      const float a = prim::shfl_xor(least, step), b = prim::shfl_xor(largest, step);
      least = a < least ? a : least;
      largest = b > largest ? b : largest;
    }
    const RowScale scale = RowScale::of(p.layout, least, largest, !prim::any(!finite));
    if (!scale.holds && p.sink.bounds != JD_BOUNDS_TRUST && lane == 0) {
      report_fault(p.sink, Fault{JDB_FAULT_ROW, -1, row, row, p.n});
    }

    const int bytes = p.layout.bits / 2;  // of four codes
#pragma unroll 1
    for (int v = lane; v < p.vectors; v += 32) {
      uint32_t codes = 0;
      if (scale.holds) {
        float x[4];
        load(p, from, v, x);
        codes = scale.codes(p.layout, x);
      }
      store(to + p.layout.codes_at + bytes * v, codes, bytes);
    }
    if (lane < 2 && lane < header_words(p.layout)) store(to + p.layout.header_at + 4 * lane, scale.holds ? scale.header[lane] : 0u, 4);
    for (int64_t at = p.layout.row_bytes + lane; at < p.row_bytes; at += 32) to[at] = 0;
  }

 private:
  JD_DEVICE JD_INLINE static int header_words(const RowLayout &layout) { return layout.header == kHeaderFloats ? 2 : 1; }

  JD_DEVICE JD_INLINE static void load(const Params &p, const char *row, int vector, float (&x)[4]) {
    if (p.dtype == JD_F32) {
      RowF32::widen(RowF32::load(row, vector, CodeLayout{0u}), CodeLayout{0u}, x);
    } else if (p.dtype == JD_F16) {
      Row16Narrow<prim::f16>::widen(Row16Narrow<prim::f16>::load(row, vector, CodeLayout{0u}), CodeLayout{0u}, x);
    } else {
      Row16Narrow<prim::bf16>::widen(Row16Narrow<prim::bf16>::load(row, vector, CodeLayout{0u}), CodeLayout{0u}, x);
    }
  }

  // Rows begin at any address.
  JD_DEVICE JD_INLINE static void store(char *to, uint32_t word, int bytes) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (i < bytes) to[i] = static_cast<char>(word >> (8 * i));
    }
  }
};

struct DequantizeRowsKernel {
  static constexpr int kThreads = 256;
  static constexpr int kMinBlocks = 6;
  static constexpr size_t shared_bytes() { return 0; }
  using Params = QuantizeParams;

  JD_DEVICE static void run(const Params &p, char *) {
    const int64_t at = static_cast<int64_t>(prim::block_idx().x) * kThreads + prim::thread_idx().x;
    const int64_t row = at / p.vectors;
    if (row >= p.n) return;
    const auto vector = static_cast<uint32_t>(at % p.vectors);
    float x[4];
    RowCodesNarrow::widen(RowCodesNarrow::load(p.rows + row * p.row_stride, vector, p.code_layout), p.code_layout, x);
    const int size = p.dtype == JD_F32 ? 4 : 2;
    store_row(p.numbers + row * p.number_stride + 4 * size * static_cast<int64_t>(vector), p.dtype, x);
  }
};

}  // namespace jindou::embedding

#endif
