// The arithmetic of ldmatrix and mma over a whole warp: arrays of 32 lanes' registers. Layouts: primitives/matrix.h.
#ifndef JINDOU_SIMT_RUNTIME_MATRIX_H
#define JINDOU_SIMT_RUNTIME_MATRIX_H

namespace jindou::simt {

// Eight columns of a row as one value: added up at a time, and looked at by sanitizers once instead of eight times.
typedef float Row __attribute__((vector_size(32), may_alias));

// registers[lane]: uint32_t[matrices] to fill; rows[8 m + i]: 16 bytes, row i of matrix m.
void load_matrices(void *const *registers, const void *const *rows, int matrices, bool transpose);

// d[lane]: float[4]; a[lane]: uint32_t[4]; b[lane]: uint32_t[2]. Element: prim::bf16 or prim::f16.
template <class Element>
void multiply_accumulate_m16n8k16(void *const *d, const void *const *a, const void *const *b);

}  // namespace jindou::simt

#endif
