// target_attention: every candidate of a user against the user's history. One kernel; the core does the arithmetic, on
// tensor cores for bf16 and f16 (mma_core.h), with FMA for f32 (fma_core.h).
//
//   out_i = sum_j softmax_j(scale * q_i . k_j) v_j      j over the user's latest events and, with self_key, i's own row
//   out_i = sum_j SiLU(scale * q_i . k_j) v_j * norm    where a norm is given: a branch a tile
//
// Shapes: candidates [sum nc, H, dqk], keys [sum nk, Hkv, dqk], values [sum nk, Hkv, dv], out [sum nc, H, dv] in the
// inputs' dtype or f32; dqk and dv up to Core::kD columns. Columns past a row's dim are zeros that no memory is read for.
//
// A block owns Core::kRows packed query rows (target_attention_problem.h) of one user and key/value head, against one
// piece of the history or all of it. Tiles of keys and values pass through a ring of asynchronous copies. Up to
// 128 columns 16-bit rows have two tile sizes: 128 rows read each tile of the history from shared memory and L2 half as
// often per product; 64 rows make twice as many blocks when there is little work. A row's arithmetic is the same in
// both, bit for bit.
//
// i's own key needs no product of tiles: it is one dot product a row, and starts the online softmax as its first key.
//
// FLOPs 2 * (dqk + dv) * H * sum(nc * nk), of which the tensor cores do 4 * kD for 2 * (dqk + dv). Bytes: the history
// once from HBM, ceil(nc * group / kRows) times from L2: kRows FLOPs a byte of L2 in 16 bit. Bound: tensor cores (FMA units) for nc * group of 64 and more, else HBM.
#ifndef JINDOU_KERNELS_ATTENTION_TARGET_ATTENTION_H
#define JINDOU_KERNELS_ATTENTION_TARGET_ATTENTION_H

#include "attention/key_value_loop.h"
#include "attention/target_attention_rows.h"
#include "attention/work_list.h"

namespace jindou::attention {

template <class Core>
struct TargetAttentionKernel {
  using Element = typename Core::Element;
  using Params = TargetAttentionParams<Element>;

  static constexpr int kThreads = Core::kThreads;
  static constexpr int kMinBlocks = Core::kMinBlocks;
  static constexpr int32_t kColumns = Core::kD;
  static constexpr int32_t kTileRows = Core::kRows;

  struct Shared {
    alignas(1024) char queries[Core::kQueryBytes];
    alignas(1024) char ring[Core::kSlots * Core::kSlotBytes];
    alignas(16) char weights[Core::kWeightBytes + 16];
    WorkListShared<kThreads> list;
    TargetAttentionItem item;  // here rather than in every thread's registers, as is
    ParkedRows parked;
  };
  static constexpr size_t shared_bytes() { return sizeof(Shared); }

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
  using TileCopy = typename Core::TileCopy;

  JD_DEVICE static void run_item(const Params &p, Shared &shared) {
    const TargetAttentionItem &work = shared.item;
    copy_queries(p, shared, work);

    float scale = 1.0f;
    for (int32_t piece = work.first_piece; piece < work.last_piece; ++piece) {
      // Phase 1: copies start.
      const int32_t length = target_pieces().length(work.user.history.length);
      const int32_t left = work.user.history.length - piece * length;
      const int32_t keys = left < length ? left : length;
      const int64_t token = work.user.history.begin + piece * length;
      const Element *next_keys = nullptr, *next_values = nullptr;
      if (keys > 0) {
        const TileCopy mine(prim::opaque_thread_index());
        next_keys = mine.first(p.keys.at(token, work.kv_head), p.keys.token_stride);
        next_values = mine.first(p.values.at(token, work.kv_head), p.values.token_stride);
      }
      int32_t keys_left = keys;
      const auto copy = [&](int i, char *slot) {
        const TileCopy mine(prim::opaque_thread_index());
        if (i % 2 == 0) {
          mine.template copy<Core::kKeys>(slot, next_keys, p.keys.token_stride, keys_left, p.users.shape.dim_qk);
          next_keys += Core::kKeys * p.keys.token_stride;
        } else {
          mine.template copy<Core::kKeys>(slot, next_values, p.values.token_stride, keys_left, p.users.shape.dim_v);
          next_values += Core::kKeys * p.values.token_stride;
          keys_left -= Core::kKeys;
        }
      };
      const int tiles = (keys + Core::kKeys - 1) / Core::kKeys;
      KeyValueLoop<Core::kSlots, Core::kSlotBytes> loop(shared.ring, tiles, copy);

      // Phase 2: queries arrive; the rows' own keys, if any, are the first.
      if (piece == work.first_piece) {
        loop.wait_for_earlier_copies();
        if (!p.users.is_silu()) scale = Core::prepare_softmax(shared.queries, p.scale);
        prim::sync_threads();
      }
      TileResults<Core> acc;
      start_empty(p.users.is_silu(), acc);
      if (piece == 0 && p.self_key) {
        const Place place;
        start_with_own_keys(
            p, work, place,
            [&](int row, const Element *key) {
              return Core::dot(shared.queries, place, row, Core::load_part(place, key, p.users.shape), p.users.shape);
            },
            acc);
      }
      const typename Core::Queries queries = Core::queries(shared.queries);

      // Phase 3: the history.
      typename Core::Scores scores;
      loop.run(
          tiles, copy,
          [&](int tile, const char *slot) {
            Core::multiply_keys(scores, queries, slot, p.users.shape);
            if (p.users.is_silu()) {
              weigh_silu(scores, p.scale);  // keys past the end are zeros, and SiLU(0) = 0
            } else {
              if (keys - tile * Core::kKeys < Core::kKeys) hide_keys_from<Core>(scores, keys - tile * Core::kKeys);
              weigh_tile<Place>(scores, scale, acc);
            }
          },
          [&](int, const char *slot) { Core::multiply_values(acc, scores, slot, shared.weights, p.users.shape); });

      // Phase 4: this piece's result.
      const Place place;
      finish_states(place, scale, acc);
      if (piece > work.first_piece) merge_parked<kThreads>(shared.parked, place, acc);
      if (piece + 1 < work.last_piece) {
        park<kThreads>(shared.parked, place, acc);
      } else if (work.pieces > 1 && p.users.split) {
        store_partial(p.users, work, place, piece, acc);
      } else {
        store_out(p.users, work, place, acc);
      }
    }
  }

  // Rows past the user's last become zeros.
  JD_DEVICE static void copy_queries(const Params &p, Shared &shared, const TargetAttentionItem &work) {
    TileCopy(prim::opaque_thread_index())
        .template for_each_chunk<Core::kRows>([&](int local, int element, int offset) {
          const TargetAttentionRow row = read_row(p.users, work, local);
          prim::cp_async_16(shared.queries + offset, p.candidates.at(row.candidate, row.head) + element,
                            row.valid && element < p.users.shape.dim_qk);
        });
    prim::cp_async_commit();
  }
};

}  // namespace jindou::attention

#endif
