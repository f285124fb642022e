#include "simt/runtime/matrix.h"

#include <cstdint>
#include <cstring>

#include "primitives/types.h"

namespace jindou::simt {

void load_matrices(void *const *registers, const void *const *rows, int matrices, bool transpose) {
  for (int m = 0; m < matrices; ++m) {
    uint16_t element[8][8];
    for (int i = 0; i < 8; ++i) memcpy(element[i], rows[8 * m + i], 16);
    for (int lane = 0; lane < 32; ++lane) {
      const int g = lane / 4;
      const int t = lane % 4;
      const uint32_t low = transpose ? element[2 * t][g] : element[g][2 * t];
      const uint32_t high = transpose ? element[2 * t + 1][g] : element[g][2 * t + 1];
      static_cast<uint32_t *>(registers[lane])[m] = low | high << 16;
    }
  }
}

template <class Element>
void multiply_accumulate_m16n8k16(void *const *d, const void *const *a, const void *const *b) {
  float a_tile[16][16];
  alignas(Row) float b_tile[16][8];
  for (int lane = 0; lane < 32; ++lane) {
    const int g = lane / 4;
    const int t = lane % 4;
    const auto *ra = static_cast<const uint32_t *>(a[lane]);
    const auto *rb = static_cast<const uint32_t *>(b[lane]);
    prim::unpack2<Element>(ra[0], a_tile[g][2 * t], a_tile[g][2 * t + 1]);
    prim::unpack2<Element>(ra[1], a_tile[g + 8][2 * t], a_tile[g + 8][2 * t + 1]);
    prim::unpack2<Element>(ra[2], a_tile[g][2 * t + 8], a_tile[g][2 * t + 9]);
    prim::unpack2<Element>(ra[3], a_tile[g + 8][2 * t + 8], a_tile[g + 8][2 * t + 9]);
    prim::unpack2<Element>(rb[0], b_tile[2 * t][g], b_tile[2 * t + 1][g]);
    prim::unpack2<Element>(rb[1], b_tile[2 * t + 8][g], b_tile[2 * t + 9][g]);
  }
  // Products of two 16-bit floats are exact in float, so fused or not, the sums are the same on every machine.
  Row sum[16];
  for (int row = 0; row < 16; ++row) {
    Row total = {};
    for (int k = 0; k < 16; ++k) total += a_tile[row][k] * reinterpret_cast<const Row &>(b_tile[k]);
    sum[row] = total;
  }
  for (int lane = 0; lane < 32; ++lane) {
    const int g = lane / 4;
    const int t = lane % 4;
    auto *rd = static_cast<float *>(d[lane]);
    rd[0] += sum[g][2 * t];
    rd[1] += sum[g][2 * t + 1];
    rd[2] += sum[g + 8][2 * t];
    rd[3] += sum[g + 8][2 * t + 1];
  }
}

template void multiply_accumulate_m16n8k16<prim::bf16>(void *const *, const void *const *, const void *const *);
template void multiply_accumulate_m16n8k16<prim::f16>(void *const *, const void *const *, const void *const *);

}  // namespace jindou::simt
