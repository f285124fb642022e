// Rows of f32, f16 or bf16, chosen at run time: some lanes read as f32, or rounded to nearest even and written.
#ifndef JINDOU_CPU_KERNELS_TYPED_ROWS_H
#define JINDOU_CPU_KERNELS_TYPED_ROWS_H

#include "cpu/kernels/kernel_table.h"
#include "cpu/simd/simd.h"

namespace jindou::cpu {
namespace {

inline int64_t size_of(int32_t dtype) { return dtype == JD_F32 ? 4 : 2; }

// Elements at..at+lanes-1.
template <class Isa>
JD_SIMD typename Isa::F load_typed(const void *row, int32_t dtype, int64_t at, int lanes) {
  const bool all = lanes == Isa::kWidth;
  if (dtype == JD_F32) {
    const float *p = static_cast<const float *>(row) + at;
    return all ? Isa::load(p) : Isa::load_first(p, lanes);
  }
  const uint16_t *p = static_cast<const uint16_t *>(row) + at;
  if (dtype == JD_F16) return all ? Isa::load_f16(p) : Isa::load_first_f16(p, lanes);
  return all ? Isa::load_bf16(p) : Isa::load_first_bf16(p, lanes);
}

template <class Isa>
JD_SIMD void store_typed(void *row, int32_t dtype, int64_t at, int lanes, typename Isa::F x) {
  const bool all = lanes == Isa::kWidth;
  if (dtype == JD_F32) {
    float *p = static_cast<float *>(row) + at;
    return all ? Isa::store(p, x) : Isa::store_first(p, x, lanes);
  }
  uint16_t *p = static_cast<uint16_t *>(row) + at;
  if (dtype == JD_F16) return all ? Isa::store_f16(p, x) : Isa::store_first_f16(p, x, lanes);
  return all ? Isa::store_bf16(p, x) : Isa::store_first_bf16(p, x, lanes);
}

}  // namespace
}  // namespace jindou::cpu

#endif
