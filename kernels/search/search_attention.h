// search_attention: each candidate attends to events of its own (jindou/search_attention.h).
//
//   out_i = sum_j softmax_j(scale * q_i . k_e) v_e      or SiLU weights;  e = indices[i, j]
//
// Shapes: candidates [sum nc, H, dqk], keys and values [sum nk, Hkv, d], indices [sum nc, k], out [sum nc, H, dv]; head dims up to kDim.
//
// Two candidates share no rows, so there is nothing to tile: a warp owns one candidate, one key/value head and up to kHeads of the
// query heads that read it. kLanes neighbours read a row of keys and one of values, 16 or 32 bytes each; kPlaces = 32 / kLanes rows are
// under way at once, and each of the kPlaces groups keeps a softmax of its own over every kPlaces-th place of the list. The
// groups merge once. All in registers.
//
// Bytes: (dqk + dv) * element a listed event and key/value head, gathered: bound by memory. FLOPs 2 * (dqk + dv) * H an event.
#ifndef JINDOU_KERNELS_SEARCH_SEARCH_ATTENTION_H
#define JINDOU_KERNELS_SEARCH_SEARCH_ATTENTION_H

#include "attention/silu.h"
#include "attention/users.h"
#include "attention/work_list.h"

namespace jindou::search {

struct SearchAttentionProblem {
  attention::Offsets candidate_offsets, history_offsets;
  int64_t batch;
  int64_t candidate_rows, history_rows;
  int64_t max_candidates, max_history;
  int32_t k;
  int32_t kv_heads, group;
  int32_t dim_qk, dim_v;
  float scale;                // softmax: * log2(e)
  float silu_norm;            // 0: softmax
  const int32_t *indices;
  int64_t index_row;          // stride
  void *out;
  int64_t out_row, out_head;  // strides
  int32_t out_dtype;
  float *lse;                 // or null
  int64_t lse_row, lse_head;
  FaultSink sink;
};

template <class T>
struct SearchAttentionParams {
  SearchAttentionProblem problem;
  attention::Rows<const T> candidates, keys, values;
};

// Four neighbouring elements of out.
JD_DEVICE inline void store_four(void *out, int64_t at, int32_t dtype, const float *x) {
  if (dtype == JD_F32) {
    prim::store16(static_cast<float *>(out) + at,
                  prim::Vec4u{prim::as_uint(x[0]), prim::as_uint(x[1]), prim::as_uint(x[2]), prim::as_uint(x[3])});
  } else if (dtype == JD_F16) {
    prim::store8(static_cast<uint16_t *>(out) + at, prim::Vec2u{prim::pack_f16x2(x[0], x[1]), prim::pack_f16x2(x[2], x[3])});
  } else {
    prim::store8(static_cast<uint16_t *>(out) + at, prim::Vec2u{prim::pack_bf16x2(x[0], x[1]), prim::pack_bf16x2(x[2], x[3])});
  }
}

template <class T, int kDimension, int kHeadsAtOnce>
struct SearchAttentionKernel {
  using Element = T;
  using Params = SearchAttentionParams<T>;
  static constexpr int kDim = kDimension, kHeads = kHeadsAtOnce;
  static constexpr int kThreads = 128;
  static constexpr int kWarps = kThreads / 32;
  static constexpr int kMinBlocks = 4;

  static constexpr int kChunk = 16 / static_cast<int>(sizeof(T));  // elements
  static constexpr int kChunks = kDim / kChunk;
  static constexpr int kLanes = kChunks < 32 ? kChunks : 32;
  static constexpr int kRuns = kChunks / kLanes;  // chunks of a row that a thread reads
  static constexpr int kMine = kRuns * kChunk;    // elements
  static constexpr int kPlaces = 32 / kLanes;

  using Shared = attention::WorkListShared<kThreads>;
  static constexpr size_t shared_bytes() { return sizeof(Shared); }

  JD_DEVICE static void run(const Params &p, char *shared_memory) {
    attention::for_each_item(
        p.problem.batch, *reinterpret_cast<Shared *>(shared_memory), [&](int64_t b) { return count_items(p.problem, b); },
        [&](int64_t b, uint32_t item) {
          const User user = attention::read_whole_user(p.problem, b);
          const int64_t unit = int64_t{item} * kWarps + prim::warp_id();
          if (unit < units(p.problem, user)) attend(p, user, unit);
        });
  }

 private:
  using User = attention::User;

  JD_DEVICE static int32_t head_parts(const SearchAttentionProblem &p) { return (p.group + kHeads - 1) / kHeads; }
  JD_DEVICE static int64_t units(const SearchAttentionProblem &p, const User &user) {
    return int64_t{user.candidates.length} * p.kv_heads * head_parts(p);
  }
  JD_DEVICE static uint32_t count_items(const SearchAttentionProblem &p, int64_t b) {
    const User user = attention::read_whole_user(p, b);
    if (user.fault.fault != JDB_FAULT_NONE && prim::block_idx().x == 0) report_fault(p.sink, user.fault);
    return static_cast<uint32_t>((units(p, user) + kWarps - 1) / kWarps);
  }

  // Softmax over some places of the list, scores in units of log 2; without one only x.
  struct State {
    float top[kHeads], sum[kHeads];
    float x[kHeads][kMine];
  };

  JD_DEVICE static void attend(const Params &p, const User &user, int64_t unit) {
    const SearchAttentionProblem &problem = p.problem;
    const int lane = prim::lane_id(), part = lane % kLanes, place = lane / kLanes;
    const int32_t parts = head_parts(problem);
    const int32_t head_part = static_cast<int32_t>(unit % parts);
    const int32_t kv_head = static_cast<int32_t>(unit / parts % problem.kv_heads);
    const int64_t row = user.candidates.begin + unit / parts / problem.kv_heads;
    const int32_t first_head = kv_head * problem.group + head_part * kHeads;
    const int32_t heads = problem.group - head_part * kHeads < kHeads ? problem.group - head_part * kHeads : kHeads;

    float q[kHeads][kMine];
    State state;
#pragma unroll
    for (int h = 0; h < kHeads; ++h) {
      load(q[h], p.candidates.at(row, first_head + (h < heads ? h : 0)), problem.dim_qk, part, true);
      state.top[h] = -INFINITY;
      state.sum[h] = 0.0f;
#pragma unroll
      for (int e = 0; e < kMine; ++e) {
        q[h][e] *= problem.scale;
        state.x[h][e] = 0.0f;
      }
    }

    const int32_t *list = problem.indices + row * problem.index_row;
    for (int32_t first = 0; first < problem.k; first += 32) {
      int32_t mine = first + lane < problem.k ? list[first + lane] : -1;
      if (mine < -1 || mine >= user.history.length) {
        if (kv_head == 0 && head_part == 0) {
          report_fault(problem.sink, Fault{JDB_FAULT_INDEX, -1, row * problem.k + first + lane, mine, user.history.length});
        }
        mine = -1;
      }
      if (!prim::any(mine >= 0)) continue;
#pragma unroll 2
      for (int step = 0; step < 32; step += kPlaces) {
        const int32_t event = prim::shfl(mine, step + place);
        const bool present = event >= 0;
        const int64_t at = user.history.begin + (present ? event : 0);
        float k[kMine], v[kMine];
        load(k, p.keys.at(at, kv_head), problem.dim_qk, part, present);
        load(v, p.values.at(at, kv_head), problem.dim_v, part, present);
#pragma unroll
        for (int h = 0; h < kHeads; ++h) {
          float score = 0.0f;
#pragma unroll
          for (int e = 0; e < kMine; ++e) score = prim::fma(q[h][e], k[e], score);
#pragma unroll
          for (int lanes = kLanes / 2; lanes > 0; lanes /= 2) score += prim::shfl_xor(score, lanes);
          add(problem, state, h, score, v, present);
        }
      }
    }
#pragma unroll
    for (int lanes = kLanes; lanes < 32; lanes *= 2) merge(problem, state, lanes);
    if (place != 0) return;
#pragma unroll
    for (int h = 0; h < kHeads; ++h) {
      if (h < heads) finish(problem, state, h, row, first_head + h, part);
    }
  }

  // This thread's elements of a row; zeros past its end, or where there is none, of which nothing is read.
  JD_DEVICE static void load(float (&x)[kMine], const T *row, int32_t dim, int part, bool present) {
#pragma unroll
    for (int run = 0; run < kRuns; ++run) {
      const int column = (run * kLanes + part) * kChunk;
      prim::Vec4u chunk{0, 0, 0, 0};
      if (present && column < dim) chunk = prim::load16(row + column);
      const uint32_t words[4] = {chunk.x, chunk.y, chunk.z, chunk.w};
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if constexpr (sizeof(T) == 4) {
          x[run * kChunk + i] = prim::as_float(words[i]);
        } else {
          prim::unpack2<T>(words[i], x[run * kChunk + 2 * i], x[run * kChunk + 2 * i + 1]);
        }
      }
    }
  }

  JD_DEVICE static void add(const SearchAttentionProblem &p, State &state, int h, float score, const float (&v)[kMine],
                            bool present) {
    float weight, factor = 1.0f;
    if (p.silu_norm != 0.0f) {
      weight = present ? attention::silu(score) : 0.0f;
    } else {
      const float top = present ? prim::max(state.top[h], score) : state.top[h];
      const float base = top == -INFINITY ? 0.0f : top;  // no event yet
      factor = prim::exp2_approx(state.top[h] - base);
      weight = present ? prim::exp2_approx(score - base) : 0.0f;
      state.top[h] = top;
      state.sum[h] = prim::fma(state.sum[h], factor, weight);
    }
#pragma unroll
    for (int e = 0; e < kMine; ++e) state.x[h][e] = prim::fma(weight, v[e], state.x[h][e] * factor);
  }

  // The groups of lanes `lanes` apart become one.
  JD_DEVICE static void merge(const SearchAttentionProblem &p, State &state, int lanes) {
#pragma unroll
    for (int h = 0; h < kHeads; ++h) {
      float mine = 1.0f, theirs = 1.0f;
      if (p.silu_norm == 0.0f) {
        const float other_top = prim::shfl_xor(state.top[h], lanes), other_sum = prim::shfl_xor(state.sum[h], lanes);
        const float top = prim::max(state.top[h], other_top), base = top == -INFINITY ? 0.0f : top;
        mine = prim::exp2_approx(state.top[h] - base);
        theirs = prim::exp2_approx(other_top - base);
        state.top[h] = top;
        state.sum[h] = prim::fma(state.sum[h], mine, other_sum * theirs);
      }
#pragma unroll
      for (int e = 0; e < kMine; ++e) {
        state.x[h][e] = prim::fma(state.x[h][e], mine, prim::shfl_xor(state.x[h][e], lanes) * theirs);
      }
    }
  }

  JD_DEVICE static void finish(const SearchAttentionProblem &p, State &state, int h, int64_t row, int32_t head, int part) {
    const float norm = p.silu_norm != 0.0f ? p.silu_norm : state.sum[h] == 0.0f ? 0.0f : prim::rcp_approx(state.sum[h]);
#pragma unroll
    for (int e = 0; e < kMine; e += 4) {
      const int column = (e / kChunk * kLanes + part) * kChunk + e % kChunk;
      if (column >= p.dim_v) continue;
      const float four[4] = {state.x[h][e] * norm, state.x[h][e + 1] * norm, state.x[h][e + 2] * norm, state.x[h][e + 3] * norm};
      store_four(p.out, row * p.out_row + head * p.out_head + column, p.out_dtype, four);
    }
    if (p.lse != nullptr && part == 0) {
      p.lse[row * p.lse_row + head * p.lse_head] =
          state.sum[h] == 0.0f ? -INFINITY : (state.top[h] + prim::log2_approx(state.sum[h])) * 0.6931471805599453f;
    }
  }
};

}  // namespace jindou::search

#endif
