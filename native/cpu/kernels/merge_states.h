// merge_attention_states: the softmax over two sets of keys from the results over each (jindou/softmax_attention.h).
//
//   lse = log(exp(lse_a) + exp(lse_b))      out = exp(lse_a - lse) * out_a + exp(lse_b - lse) * out_b
//
// Bound by memory: three rows and three numbers. A side that saw no key, lse = -infinity, is not read.
#ifndef JINDOU_CPU_KERNELS_MERGE_STATES_H
#define JINDOU_CPU_KERNELS_MERGE_STATES_H

#include "cpu/kernels/attention_tile.h"

namespace jindou::cpu {
namespace {

template <class Isa>
struct MergeStates {
  using F = typename Isa::F;
  using Tile = AttentionTile<Isa, false>;

  const MergeStatesTask &t;

  explicit MergeStates(const MergeStatesTask &task) : t(task) {}

  void run() const {
    for (int64_t i = t.first; i < t.last; ++i) merge(i / t.heads, i % t.heads);
  }

  void merge(int64_t row, int64_t head) const {
    const float none = -__builtin_inff();
    const float a = t.lse[0][row * t.lse_row[0] + head], b = t.lse[1][row * t.lse_row[1] + head];
    float from_a = 0, from_b = 0, lse = none;
    if (a == none || b == none) {
      from_a = a == none ? 0.0f : 1.0f;
      from_b = b == none ? 0.0f : 1.0f;
      lse = a == none ? b : a;
    } else {
      const float top = a < b ? b : a;
      from_a = __builtin_expf(a - top);
      from_b = __builtin_expf(b - top);
      const float sum = from_a + from_b;
      lse = top + __builtin_logf(sum);
      from_a /= sum;
      from_b /= sum;
    }
    const int bytes = element_bytes(t.dtype);
    const char *rows[2];
    for (int side = 0; side < 2; ++side) {
      rows[side] = static_cast<const char *>(t.out[side]) + (row * t.out_row[side] + head * t.out_head[side]) * bytes;
    }
    char *out = static_cast<char *>(t.merged) + (row * t.merged_row + head * t.merged_head) * element_bytes(t.out_dtype);
    for (int d = 0; d < t.dim; d += Isa::kWidth) {
      F x = from_a != 0 ? Isa::mul(load(rows[0], d), Isa::set(from_a)) : Isa::zero();
      if (from_b != 0) x = Isa::fma(load(rows[1], d), Isa::set(from_b), x);
      switch (t.out_dtype) {
        case JD_F32: Isa::store(reinterpret_cast<float *>(out) + d, x); break;
        case JD_F16: Isa::store_f16(reinterpret_cast<uint16_t *>(out) + d, x); break;
        default: Isa::store_bf16(reinterpret_cast<uint16_t *>(out) + d, x); break;
      }
    }
    if (t.merged_lse) t.merged_lse[row * t.merged_lse_row + head] = lse;
  }

  F load(const char *row, int d) const {
    switch (t.dtype) {
      case JD_F32: return Tile::template load<JD_F32>(row, d);
      case JD_F16: return Tile::template load<JD_F16>(row, d);
      default: return Tile::template load<JD_BF16>(row, d);
    }
  }
};

}  // namespace
}  // namespace jindou::cpu

#endif
