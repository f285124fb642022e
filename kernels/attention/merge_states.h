// merge_attention_states: the softmax over two disjoint sets of keys, from the results over each.
//
//   lse = log(exp(lse_a) + exp(lse_b))      out = exp(lse_a - lse) * out_a + exp(lse_b - lse) * out_b
//
// out_a, out_b, out [rows, H, d] with free strides, in f32, f16 or bf16; lse [rows, H] f32. A side with lse = -inf is not
// looked at. A thread owns eight neighbouring columns of a row and head; out may be one of the inputs, element for
// element, and so may lse: the thread of a row's first columns writes it after the others of its row, all in one block,
// have read. Bytes: both inputs and the output once, a handful of FLOPs each: bound by HBM.
#ifndef JINDOU_KERNELS_ATTENTION_MERGE_STATES_H
#define JINDOU_KERNELS_ATTENTION_MERGE_STATES_H

#include "attention/jagged.h"
#include "decode/pages.h"

namespace jindou::attention {

// [rows, heads, d] of any dtype, and [rows, heads] f32.
struct StateRows {
  void *out;
  int64_t out_row, out_head;
  int32_t dtype;
  float *lse;  // null: not wanted
  int64_t lse_row;

  JD_DEVICE int64_t out_at(int64_t row, int32_t head) const { return row * out_row + head * out_head; }
  JD_DEVICE int64_t lse_at(int64_t row, int32_t head) const { return row * lse_row + head; }
};

struct MergeStatesParams {
  StateRows a, b, merged;
  int64_t rows;
  int32_t heads, dim;
};

struct MergeStatesKernel {
  using Params = MergeStatesParams;
  static constexpr int kThreads = 256;
  static constexpr int kMinBlocks = 4;
  static constexpr size_t shared_bytes() { return 0; }

  // Row and heads of a block: whole ones, so that its barrier parts reading lse from writing it.
  JD_HOST_DEVICE static int32_t rows_a_block(int32_t dim) { return kThreads / (dim / 8); }

  JD_DEVICE static void run(const Params &p, char *) {
    const int32_t threads_a_row = p.dim / 8, each = rows_a_block(p.dim);
    const int32_t thread = static_cast<int32_t>(prim::thread_idx().x);
    const int32_t local = thread / threads_a_row, column = thread % threads_a_row * 8;
    const int64_t all = p.rows * p.heads;
    for (int64_t first = int64_t{prim::block_idx().x} * each; first < all; first += int64_t{prim::grid_dim().x} * each) {
      const int64_t at = first + local;
      const bool mine = local < each && at < all;
      const int64_t row = mine ? at / p.heads : 0;
      const int32_t head = static_cast<int32_t>(mine ? at % p.heads : 0);
      const float lse_a = mine ? p.a.lse[p.a.lse_at(row, head)] : 0.0f;
      const float lse_b = mine ? p.b.lse[p.b.lse_at(row, head)] : 0.0f;
      prim::sync_threads();
      if (mine) merge(p, row, head, column, lse_a, lse_b);
    }
  }

 private:
  JD_DEVICE static void merge(const Params &p, int64_t row, int32_t head, int32_t column, float lse_a, float lse_b) {
    const float top = prim::max(lse_a, lse_b);
    const float from_a = lse_a == -INFINITY ? 0.0f : prim::exp_approx(lse_a - top);
    const float from_b = lse_b == -INFINITY ? 0.0f : prim::exp_approx(lse_b - top);
    const float sum = from_a + from_b, normalizer = sum == 0.0f ? 0.0f : prim::rcp_approx(sum);
    float out[8] = {};
    add(p.a, p.a.out_at(row, head) + column, from_a * normalizer, out);
    add(p.b, p.b.out_at(row, head) + column, from_b * normalizer, out);
    paged::store_elements(p.merged.out, p.merged.out_at(row, head) + column, p.merged.dtype, out);
    if (p.merged.lse != nullptr && column == 0) {
      p.merged.lse[p.merged.lse_at(row, head)] =
          sum == 0.0f ? -INFINITY : top + prim::log2_approx(sum) * 0.6931471805599453f;
    }
  }

  // Not through the read-only path: the launch may write where it reads.
  JD_DEVICE static void load(const StateRows &from, int64_t at, float (&x)[8]) {
    if (from.dtype == JD_F32) {
      const auto *words = reinterpret_cast<const prim::Vec4u *>(static_cast<const float *>(from.out) + at);
      const prim::Vec4u low = words[0], high = words[1];
      const uint32_t bits[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
      for (int i = 0; i < 8; ++i) x[i] = prim::as_float(bits[i]);
    } else {
      const prim::Vec4u pairs = *reinterpret_cast<const prim::Vec4u *>(static_cast<const uint16_t *>(from.out) + at);
      const uint32_t bits[4] = {pairs.x, pairs.y, pairs.z, pairs.w};
#pragma unroll
      for (int i = 0; i < 4; ++i) unpack_pair(bits[i], from.dtype, x[2 * i], x[2 * i + 1]);
    }
  }

  JD_DEVICE static void add(const StateRows &from, int64_t at, float weight, float (&out)[8]) {
    if (weight == 0.0f) return;
    float x[8];
    load(from, at, x);
#pragma unroll
    for (int i = 0; i < 8; ++i) out[i] = prim::fma(x[i], weight, out[i]);
  }
};

}  // namespace jindou::attention

#endif
