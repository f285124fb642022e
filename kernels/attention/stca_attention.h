// The reordered way of an STCA layer, for models of more than 256 columns: all heads of a user's candidates attend to the events themselves.
//
//   e_ih = sum_j softmax_j(scale * q_ih . x_j) x_j          q_ih = (c_i Wq_h^T) Wk_h; the output is e_ih Wv_h^T (stca_products.h)
//
// Shapes: q [sum nc, H, D], events x [sum n, D] in bf16, f16 or f32; e [sum nc, H, D] f32. D up to Core::kD, a multiple of 32: columns past it are
// zeros that nothing is read for. (Up to 256 columns it is target_attention with one key/value head.)
//
// A block of eight warps owns Core::kRows packed rows (candidate, head) of one user (stca_attention_problem.h), against one piece of the history or
// all of it. The events are keys and values at once: a tile is copied once. Two tiles of shared memory, one of them on its way.
//   1. tile here                          every warp: its columns' part of the scores -> shared memory
//   2. parts here                         eight threads a row add the parts in the order of the warps, online softmax, weights -> shared memory
//   3. weights here                       every warp: its columns of the outputs
//
// FLOPs 4 * D * H a candidate and event. Bytes: the events once from HBM, once a tile of rows from L2: kRows FLOPs a byte of L2 in 16 bit.
// Bound: shared memory as much as the tensor cores, from a few candidates on; below, HBM.
#ifndef JINDOU_KERNELS_ATTENTION_STCA_ATTENTION_H
#define JINDOU_KERNELS_ATTENTION_STCA_ATTENTION_H

#include "attention/stca_attention_problem.h"
#include "attention/stca_core.h"
#include "attention/target_attention_rows.h"
#include "attention/work_list.h"

namespace jindou::attention {

template <class T>
struct StcaAttentionParams {
  StcaUsers users;
  Rows<const T> candidates, events;
  float scale;  // log2(e) * scale
};

template <class Core>
struct StcaAttentionKernel {
  using Element = typename Core::Element;
  using Params = StcaAttentionParams<Element>;

  static constexpr int kThreads = Core::kThreads;
  static constexpr int kMinBlocks = 1;
  static constexpr int32_t kColumns = Core::kD;
  static constexpr int32_t kTileRows = Core::kRows;

  struct Shared {
    alignas(128) char slots[2][Core::kSlotBytes];
    alignas(16) char queries[Core::kQueryBytes + 16];
    alignas(16) float scores[Core::kScoreParts][Core::kRows * Core::kScoreStride];
    alignas(16) char weights[Core::kWeightBytes];
    float factors[Core::kRows];
    SoftmaxState states[Core::kRows];
    WorkListShared<kThreads> list;
    TargetAttentionItem item;
    ParkedRows parked;
  };
  static constexpr size_t shared_bytes() { return sizeof(Shared); }
  static_assert(sizeof(Shared) <= 99 * 1024, "what every GPU has");

  using Parking = ParkingSpace<Core>;

  JD_DEVICE static void run(const Params &p, char *shared_memory) {
    Shared &shared = *reinterpret_cast<Shared *>(shared_memory);
    for_each_item(
        p.users.batch, shared.list, [&](int64_t b) { return count_items<Core::kRows>(p.users, b); },
        [&](int64_t b, uint32_t item) {
          if (prim::thread_idx().x == 0) {
            shared.item = read_item<Core::kRows>(p.users, b, item);
            shared.parked = Parking::of_block(p.users.partial_outputs, p.users.partial_states);
          }
          prim::sync_threads();
          run_item(p, shared);
        });
  }

 private:
  using Place = typename Core::Place;
  using Tile = typename Core::Tile;
  static constexpr int kMyKeys = Core::kKeys / kStcaScoreLanes;  // of a thread between the products
  static constexpr int kScoreThreads = Core::kRows * kStcaScoreLanes;
  static_assert(kScoreThreads % 32 == 0 && kScoreThreads <= kThreads, "whole warps");

  JD_DEVICE static void run_item(const Params &p, Shared &shared) {
    const TargetAttentionItem &work = shared.item;
    typename Core::Queries queries;
    Core::load_queries(queries, shared.queries, p.users.shape.dim_qk, [&](int local) -> const Element * {
      const TargetAttentionRow row = read_row(p.users, work, local);
      return row.valid ? p.candidates.at(row.candidate, row.head) : nullptr;
    });
    // A scale of 0 weighs all events alike; a hidden score of -inf must stay -inf, so the smallest normal number stands for 0.
    const float scale = prim::max(prim::abs(p.scale), 1.17549435e-38f);

    for (int32_t piece = work.first_piece; piece < work.last_piece; ++piece) {
      const int32_t length = p.users.pieces().length(work.user.history.length);
      const int32_t left = work.user.history.length - piece * length;
      const int32_t keys = left < length ? left : length;
      const int tiles = (keys + Core::kKeys - 1) / Core::kKeys;
      const Element *next = p.events.at(work.user.history.begin + int64_t{piece} * length, 0);
      TileResults<Core> acc;
      start_empty(false, acc);
      float top = -INFINITY, sum = 0.0f;  // of a row, in the threads that share its scores

      if (tiles > 0) copy_tile(p, shared.slots[0], next, keys);
      prim::cp_async_commit();
      for (int tile = 0; tile < tiles; ++tile) {
        // Phase 1: the tile (and, before the first, the queries) is here, and everyone is done with the one before.
        prim::cp_async_wait<0>();
        prim::sync_threads();
        const char *events = shared.slots[tile & 1];
        const int32_t here = keys - tile * Core::kKeys;
        if (here > Core::kKeys) {
          next += Core::kKeys * p.events.token_stride;
          copy_tile(p, shared.slots[(tile & 1) ^ 1], next, here - Core::kKeys);
          prim::cp_async_commit();
        }
        Core::multiply_keys(queries, shared.queries, events, shared.scores[0], p.users.shape.dtype);
        prim::sync_threads();

        // Phase 2
        if (prim::opaque_thread_index() < kScoreThreads) weigh(p, shared, scale, here, top, sum);
        prim::sync_threads();

        // Phase 3
        rescale(shared, acc);
        Core::multiply_values(acc, shared.weights, events, p.users.shape.dtype);
      }
      prim::cp_async_wait<0>();  // the queries of a user without events

      share_states(shared, scale, top, sum, acc);
      const Place place;
      if (piece > work.first_piece) merge_parked<kThreads>(shared.parked, place, acc);
      if (piece + 1 < work.last_piece) {
        park<kThreads>(shared.parked, place, acc);
      } else if (work.pieces > 1 && p.users.split) {
        store_partial(p.users, work, place, piece, acc);
      } else {
        store_out(p.users, work, place, acc);
      }
      prim::sync_threads();  // states, slots and queries may be written again
    }
  }

  // Rows from `valid` on become zeros.
  JD_DEVICE static void copy_tile(const Params &p, char *slot, const Element *rows, int32_t valid) {
    constexpr int kCopies = Core::kKeys * Tile::kChunks;
    static_assert(kCopies % kThreads == 0, "");
    const int thread = prim::opaque_thread_index();
#pragma unroll
    for (int at = 0; at < kCopies; at += kThreads) {
      const int row = (at + thread) / Tile::kChunks, chunk = (at + thread) % Tile::kChunks;
      const bool inside = row < valid && chunk * Core::kChunkElements < p.users.shape.dim_qk;
      prim::cp_async_16(slot + Tile::offset(row, chunk), inside ? rows + row * p.events.token_stride + chunk * Core::kChunkElements : rows, inside);
    }
  }

  // Parts of scores -> weights. Events from `valid` on get none.
  JD_DEVICE static void weigh(const Params &p, Shared &shared, float scale, int32_t valid, float &top, float &sum) {
    const int thread = prim::opaque_thread_index();
    const int row = thread / kStcaScoreLanes, first = thread % kStcaScoreLanes * kMyKeys;
    float scores[kMyKeys] = {};
#pragma unroll
    for (int part = 0; part < Core::kScoreParts; ++part) {
#pragma unroll
      for (int i = 0; i < kMyKeys; ++i) scores[i] += shared.scores[part][row * Core::kScoreStride + first + i];
    }
#pragma unroll
    for (int i = 0; i < kMyKeys; ++i) {
      if (p.scale < 0.0f) scores[i] = -scores[i];
      if (first + i >= valid) scores[i] = -INFINITY;
    }
    const float factor = weigh_row<kMyKeys>([&](int i) -> float & { return scores[i]; }, scale, top, sum, [](float x) {
#pragma unroll
      for (int lanes = 1; lanes < kStcaScoreLanes; lanes *= 2) x = prim::max(x, prim::shfl_xor(x, lanes));
      return x;
    });
    Core::store_weights(shared.weights, row, first, scores, p.users.shape.dtype);
    if (first == 0) shared.factors[row] = factor;
  }

  // After the first tiles the maximum of a row rarely rises: then nothing is rescaled.
  JD_DEVICE static void rescale(const Shared &shared, TileResults<Core> &acc) {
    const Place place;
    float factor[TileResults<Core>::kRows];
    bool risen = false;
#pragma unroll
    for (int r = 0; r < TileResults<Core>::kRows; ++r) {
      factor[r] = shared.factors[place.row(r)];
      risen |= factor[r] != 1.0f;
    }
    if (!prim::any(risen)) return;
#pragma unroll
    for (int r = 0; r < TileResults<Core>::kRows; ++r) {
#pragma unroll
      for (int c = 0; c < TileResults<Core>::kColumns; ++c) acc.out(r, c) *= factor[r];
    }
  }

  // A row's maximum, in units of log 2, and sum, from the threads that weighed it to all that hold outputs of it.
  JD_DEVICE static void share_states(Shared &shared, float scale, float top, float sum, TileResults<Core> &acc) {
    const int thread = prim::opaque_thread_index();
    if (thread < kScoreThreads) {
#pragma unroll
      for (int lanes = 1; lanes < kStcaScoreLanes; lanes *= 2) sum += prim::shfl_xor(sum, lanes);
      if (thread % kStcaScoreLanes == 0) shared.states[thread / kStcaScoreLanes] = SoftmaxState{prim::fma(top, scale, 0.0f), sum};
    }
    prim::sync_threads();
    const Place place;
#pragma unroll
    for (int r = 0; r < TileResults<Core>::kRows; ++r) {
      acc.top[r] = shared.states[place.row(r)].top;
      acc.sum[r] = shared.states[place.row(r)].sum;
    }
  }
};

}  // namespace jindou::attention

#endif
