// quantize_rows and dequantize_rows: from arguments to launches.
#ifndef JINDOU_KERNELS_EMBEDDING_QUANTIZE_LAUNCH_H
#define JINDOU_KERNELS_EMBEDDING_QUANTIZE_LAUNCH_H

#include "core/dtype.h"
#include "embedding/quantize_rows.h"
#include "plan.h"

namespace jindou {

namespace embedding {

template <class Exec>
QuantizeParams quantize_params(Exec &exec, int32_t op, const jdb_quantize_rows_args &args) {
  QuantizeParams p{};
  p.numbers = static_cast<char *>(args.numbers.data);
  p.rows = static_cast<char *>(args.rows.data);
  p.n = args.numbers.shape[0];
  p.number_stride = args.numbers.strides[0] * core::element_size(args.numbers.dtype);
  p.row_stride = args.rows.strides[0];
  p.row_bytes = args.rows.shape[1];
  p.dtype = args.numbers.dtype;
  p.vectors = static_cast<int32_t>(args.numbers.shape[1] / 4);
  p.layout = row_layout(args.format, args.numbers.shape[1]);
  const bool words = p.layout.header_at % 4 == 0 && p.row_stride % 4 == 0 && reinterpret_cast<uintptr_t>(p.rows) % 4 == 0;
  p.code_layout = CodeLayout::of(p.layout, args.format == JD_ROWS_E4M3, words);
  p.sink = FaultSink{exec.faults(), exec.launch_number(), op, args.bounds};
  return p;
}

}  // namespace embedding

template <class Exec>
jd_status launch_quantize_rows(Exec &exec, const jdb_quantize_rows_args &args) {
  using Kernel = embedding::QuantizeRowsKernel;
  const auto p = embedding::quantize_params(exec, JDB_OP_QUANTIZE_ROWS, args);
  const int64_t rows = Kernel::kThreads / 32;
  return exec.template launch<Kernel>(prim::Grid{static_cast<uint32_t>((p.n + rows - 1) / rows), 1, 1}, p);
}

template <class Exec>
jd_status launch_dequantize_rows(Exec &exec, const jdb_quantize_rows_args &args) {
  using Kernel = embedding::DequantizeRowsKernel;
  const auto p = embedding::quantize_params(exec, JDB_OP_DEQUANTIZE_ROWS, args);
  const int64_t blocks = (p.n * p.vectors + Kernel::kThreads - 1) / Kernel::kThreads;
  return exec.template launch<Kernel>(prim::Grid{static_cast<uint32_t>(blocks), 1, 1}, p);
}

}  // namespace jindou

#endif
