// softmax_attention: attention over jagged sequences with a mask and, in kernels of their own, a soft-cap and biases. One
// text; the core does the arithmetic, on tensor cores for bf16 and f16 (mma_core.h), with FMA for f32 (fma_core.h).
//
//   s_ij = cap(scale * q_i . k_j + bias_ij)      out_i = sum_j softmax_j(s_ij) v_j      lse_i = log sum_j exp(s_ij)
//
// Shapes: queries [sum nq, H, dqk], keys [sum nk, Hkv, dqk], values [sum nk, Hkv, dv], out [sum nq, H, dv] in the inputs'
// dtype or f32, lse [sum nq, H] f32; dqk and dv up to Core::kD columns. Columns past a row's dim are zeros that no memory
// is read for.
//
// A block owns Core::kRows packed query rows (softmax_attention_problem.h) of one sequence and key/value head, against one
// piece of the keys or all of them. It visits the tiles of keys that the mask (softmax_mask.h) leaves something of; a warp
// skips those that are empty for its own rows, and masks element by element only where a tile is neither full nor empty.
// Up to 128 columns 16-bit rows have tiles of 128 rows, and of 64 for when there is little work. A row's arithmetic is the
// same in both, bit for bit.
//
// kOptions: bias and soft-cap are put on the scores between the products, pair by pair; nothing is laid out as a matrix.
//
// FLOPs 2 * (dqk + dv) * H * allowed pairs, plus one exp2 a pair. Bytes: queries and out once; keys and values once from
// HBM, visited tiles / kRows of the rows times from L2: kRows FLOPs a byte of L2 in 16 bit. Bound: tensor cores (FMA units)
// from about 64 packed rows a sequence on, else HBM; with options the score arithmetic, 5 to 30 instructions a pair.
#ifndef JINDOU_KERNELS_ATTENTION_SOFTMAX_ATTENTION_H
#define JINDOU_KERNELS_ATTENTION_SOFTMAX_ATTENTION_H

#include "attention/key_value_loop.h"
#include "attention/softmax_attention_rows.h"
#include "attention/work_list.h"

namespace jindou::attention {

template <class Core, bool kWithOptions>
struct SoftmaxAttentionKernel {
  using Element = typename Core::Element;
  using Params = SoftmaxAttentionParams<Element>;
  using Parking = ParkingSpace<Core>;

  static constexpr int kThreads = Core::kThreads;
  // The options take registers that a third block would not leave.
  static constexpr int kMinBlocks = kWithOptions && Core::kMinBlocks > 2 ? 2 : Core::kMinBlocks;
  static constexpr int32_t kColumns = Core::kD;
  static constexpr int32_t kTileRows = Core::kRows;
  static constexpr bool kOptions = kWithOptions;

  // The queries that a warp has rows of, [first, end).
  struct WarpQueries {
    int32_t first, end;
  };

  struct Shared {
    alignas(1024) char queries[Core::kQueryBytes];
    alignas(1024) char ring[Core::kSlots * Core::kSlotBytes];
    alignas(16) char weights[Core::kWeightBytes + 16];
    WorkListShared<kThreads> list;
    alignas(8) char item[sizeof(SoftmaxItem)];  // a SoftmaxItem: here rather than in every thread's registers
    WarpQueries warps[kThreads / 32];
    ParkedRows parked;
  };
  static constexpr size_t shared_bytes() { return sizeof(Shared); }

  JD_DEVICE static void run(const Params &p, char *shared_memory) {
    Shared &shared = *reinterpret_cast<Shared *>(shared_memory);
    for_each_item(
        p.sequences.batch, shared.list, [&](int64_t b) { return count_softmax_items<Core::kRows>(p.sequences, b); },
        [&](int64_t b, uint32_t index) {
          SoftmaxItem &item = *reinterpret_cast<SoftmaxItem *>(shared.item);
          if (prim::thread_idx().x == 0) {
            item = read_softmax_item<Core::kRows>(p.sequences, b, index);
            shared.parked = Parking::of_block(p.sequences.partial_outputs, p.sequences.partial_states);
          }
          prim::sync_threads();
          const int warp = static_cast<int>(prim::thread_idx().x);
          if (warp < kThreads / 32) shared.warps[warp] = queries_of_warp(p, item, warp);
          run_item(p, shared, item);
        });
  }

 private:
  using Place = typename Core::Place;
  using TileCopy = typename Core::TileCopy;

  JD_DEVICE static void run_item(const Params &p, Shared &shared, SoftmaxItem &item) {
    const bool split = p.sequences.split && item.pieces.count > 1;
    float scale = 1.0f;
    bool started = false, parks = false;
    for (int32_t piece = item.first_piece; piece < item.last_piece; ++piece) {
      // Phase 1: which tiles of keys the piece has for these rows.
      prim::sync_threads();
      if (prim::thread_idx().x == 0) item.template visit<Core::kKeys>(piece);
      prim::sync_threads();
      const bool last = piece + 1 == item.last_piece;
      if (item.tiles == 0 && split) store_empty(p, item, piece);
      if (item.tiles == 0 && (split || !last)) continue;

      // Phase 2: copies start, queries arrive.
      if (!started) copy_queries(p, shared, item);
      const auto copy = [&](int i, char *slot) { copy_keys_values(p, item, i, slot); };
      KeyValueLoop<Core::kSlots, Core::kSlotBytes> loop(shared.ring, item.tiles, copy);
      if (!started) {
        loop.wait_for_earlier_copies();
        scale = Core::prepare_softmax(shared.queries, p.scale);
        prim::sync_threads();
        started = true;
      }
      TileResults<Core> acc;
      start_empty(false, acc);
      const typename Core::Queries queries = Core::queries(shared.queries);

      // Phase 3: the keys. Whether a tile is empty for the warp is known from its keys on.
      typename Core::Scores scores;
      TileMask state = TileMask::kEmpty;
      loop.run(
          item.tiles, copy,
          [&](int i, const char *slot) {
            const int32_t key = item.tile(i) * Core::kKeys;
            state = classify(shared, item, key);
            if (state == TileMask::kEmpty) return;
            Core::multiply_keys(scores, queries, slot, p.sequences.shape);
            if constexpr (kOptions) apply_options(p, item, key, scale, scores);
            if (state == TileMask::kPartial) hide(p, item, key, scores);
            weigh_tile<Place>(scores, kOptions ? 1.0f : scale, acc);
          },
          [&](int, const char *slot) {
            if (state == TileMask::kEmpty) return;
            Core::multiply_values(acc, scores, slot, shared.weights, p.sequences.shape);
          });

      // Phase 4: this piece's result.
      const Place place;
      finish_states(place, kOptions ? 1.0f : scale, acc);
      if (parks) merge_parked<kThreads>(shared.parked, place, acc);
      if (!last) {
        park<kThreads>(shared.parked, place, acc);
        parks = true;
      } else if (split) {
        store_partial(p.sequences, item, place, piece, acc);
      } else {
        store_out(p.sequences, item, place, acc);
      }
    }
  }

  // Rows past the tile's last become zeros.
  JD_DEVICE static void copy_queries(const Params &p, Shared &shared, const SoftmaxItem &item) {
    TileCopy(prim::opaque_thread_index())
        .template for_each_chunk<Core::kRows>([&](int local, int element, int offset) {
          const SoftmaxRow row = read_row(p.sequences, item, local);
          prim::cp_async_16(shared.queries + offset, p.queries.at(row.token, row.head) + element,
                            row.valid && element < p.sequences.shape.dim_qk);
        });
    prim::cp_async_commit();
  }

  // The i-th tile of keys (even i) or values of the visited. Rows past the end become zeros.
  JD_DEVICE static void copy_keys_values(const Params &p, const SoftmaxItem &item, int i, char *slot) {
    const TileCopy mine(prim::opaque_thread_index());
    const bool is_keys = i % 2 == 0;
    const Rows<const Element> &rows = is_keys ? p.keys : p.values;
    const int32_t key = item.tile(i / 2) * Core::kKeys;
    mine.template copy<Core::kKeys>(slot, mine.first(rows.at(item.keys.begin + key, item.kv_head), rows.token_stride),
                                    rows.token_stride, item.keys.length - key,
                                    is_keys ? p.sequences.shape.dim_qk : p.sequences.shape.dim_v);
  }

  JD_DEVICE static WarpQueries queries_of_warp(const Params &p, const SoftmaxItem &item, int warp) {
    const int32_t first = item.first_row + Place(warp * 32).first_row;
    if (first >= item.last_row) return WarpQueries{0, 0};
    const int32_t last = item.last_row - first < Core::kWarpRows ? item.last_row : first + Core::kWarpRows;
    return WarpQueries{query_of(p.sequences, first), query_of(p.sequences, last - 1) + 1};
  }

  // What the mask leaves this warp of a tile of keys, of which one at least exists.
  JD_DEVICE static TileMask classify(const Shared &shared, const SoftmaxItem &item, int32_t key) {
    const WarpQueries mine = shared.warps[prim::opaque_thread_index() / 32];
    if (mine.end == 0) return TileMask::kEmpty;
    const bool whole = item.keys.length - key >= Core::kKeys;
    const TileMask left = item.mask.classify(mine.first, mine.end, key, whole ? key + Core::kKeys : item.keys.length);
    return left == TileMask::kFull && !whole ? TileMask::kPartial : left;
  }

  // Rows and keys past the end take the last one's bias.
  JD_DEVICE static void apply_options(const Params &p, const SoftmaxItem &item, int32_t key, float scale,
                                      typename Core::Scores &scores) {
    const Place place;
    const int32_t last = item.keys.length - 1;
#pragma unroll
    for (int r = 0; r < Core::Scores::kRows; ++r) {
      const SoftmaxRow row = read_row(p.sequences, item, place.row(r));
      attention::apply_options<Core::Scores::kCount>(
          p.options, ScoreRow{item.index, row.head, row.query, item.mask.shift + row.query}, scale,
          [&](int i) -> float & { return scores.at(r, i); },
          [&](int i) {
            const int32_t column = key + place.key(i);
            return column < last ? column : last;
          });
    }
  }

  JD_DEVICE static void hide(const Params &p, const SoftmaxItem &item, int32_t key, typename Core::Scores &scores) {
    const Place place;
#pragma unroll
    for (int r = 0; r < Core::Scores::kRows; ++r) {
      const SoftmaxMask::Keys seen = item.mask.row_keys(read_row(p.sequences, item, place.row(r)).query);
#pragma unroll
      for (int i = 0; i < Core::Scores::kCount; ++i) {
        if (!seen.contains(key + place.key(i))) scores.at(r, i) = -INFINITY;
      }
    }
  }

  // A piece in which these rows see nothing: the merge looks no further than their states.
  JD_DEVICE static void store_empty(const Params &p, const SoftmaxItem &item, int32_t piece) {
    for (int local = static_cast<int>(prim::thread_idx().x); local < Core::kRows; local += kThreads) {
      const SoftmaxRow row = read_row(p.sequences, item, local);
      if (!row.valid) continue;
      p.sequences.partial_states[partial_row(p.sequences, piece, row.token, row.head)] = SoftmaxState{-INFINITY, 0.0f};
    }
  }
};

}  // namespace jindou::attention

#endif
