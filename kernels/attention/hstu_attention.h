// hstu_attention: pointwise (SiLU) attention with HSTU's mask. One kernel; the core does the arithmetic, on tensor
// cores for bf16 and f16 (mma_core.h), with FMA for f32 (fma_core.h).
//
//   a_ij = SiLU(alpha * q_i . k_j + rab_ij) * norm_i * m_ij      out_i = sum_j a_ij v_j      SiLU(x) = x / (1 + exp(-x))
//
// The mask m is hstu_mask.h's. norm_i, 1 / scaling_seqlen or attn_scale[i], multiplies the finished row. No softmax: no
// running maximum, nothing to rescale.
//
// Queries may be the last rows of each sequence only.
//
// kOptions, branches a tile or outside that the other kernels do without:
// rab is looked up for each pair: by distance in a table of 2 N - 1, by the bucket of the time difference (time_buckets.h)
// in another; both stay in L1.
// Keys and values lie in pages (decode/pages.h), found row by row through the page table; what is computed, and its bits,
// are the same. fp8 and int8 codes are exact in bf16, f16 and f32: they are multiplied as they are, and their scales, one a
// key, meet the scores and the weights.
//
// Shapes: queries, keys [total, H, dqk], values, out [total, H, dv], out in the inputs' dtype or f32; dqk and dv up to
// Core::kD columns. Columns past a row's dim are zeros that no memory is read for.
//
// A block owns Core::kRows query rows of one sequence and head. It visits the tiles of keys of which the mask leaves
// something (hstu_attention_problem.h); a warp skips those that are empty for its own rows, and masks element by
// element only where a tile is neither full nor empty. Up to 128 columns 16-bit rows have tiles of 128 rows, and of 64 for
// batches with little work.
//
// FLOPs 2 * (dqk + dv) * H * allowed pairs, plus 2 special functions (exp2, reciprocal) a pair: at d = 64 these need as long as
// the tensor cores. Bytes: queries, keys, values and out once from HBM, keys and values rows / kRows / 2 times from L2
// (causal). Bound: tensor cores and special functions from a few hundred rows on.
#ifndef JINDOU_KERNELS_ATTENTION_HSTU_ATTENTION_H
#define JINDOU_KERNELS_ATTENTION_HSTU_ATTENTION_H

#include "attention/hstu_attention_rows.h"
#include "attention/key_value_loop.h"
#include "attention/silu.h"
#include "attention/work_list.h"

namespace jindou::attention {

template <class Core, bool kWithOptions>
struct HstuAttentionKernel {
  using Element = typename Core::Element;
  using Params = HstuAttentionParams<Element>;

  static constexpr int kThreads = Core::kThreads;
  // The options take registers that a third block would not leave.
  static constexpr int kMinBlocks = kWithOptions && Core::kMinBlocks > 2 ? 2 : Core::kMinBlocks;
  static constexpr int32_t kColumns = Core::kD;
  static constexpr int32_t kTileRows = Core::kRows;
  static constexpr bool kOptions = kWithOptions;

  struct Shared {
    alignas(1024) char queries[Core::kQueryBytes];
    alignas(1024) char ring[Core::kSlots * Core::kSlotBytes];
    alignas(16) char weights[Core::kWeightBytes + 16];
    alignas(16) float scales[kOptions ? Core::kSlots * Core::kKeys : 4];  // of the keys or values in each slot of the ring
    WorkListShared<kThreads> list;
    alignas(8) char item[sizeof(HstuItem)];  // an HstuItem: here rather than in every thread's registers
  };
  static constexpr size_t shared_bytes() { return sizeof(Shared); }

  JD_DEVICE static void run(const Params &p, char *shared_memory) {
    Shared &shared = *reinterpret_cast<Shared *>(shared_memory);
    for_each_item(
        p.batch, shared.list, [&](int64_t b) { return count_hstu_items<Core::kRows>(p, b); },
        [&](int64_t b, uint32_t index) {
          HstuItem &item = *reinterpret_cast<HstuItem *>(shared.item);
          if (prim::thread_idx().x == 0) item = read_hstu_item<Core::kRows, Core::kKeys>(p, b, index);
          prim::sync_threads();
          if constexpr (kOptions) {
            if (index == 0 && is_paged(p) && p.begins(b)) {
              check_hstu_pages(p, b, item.sequence.length, static_cast<int>(prim::thread_idx().x), kThreads);
            }
          }
          run_item(p, shared, item);
        });
  }

 private:
  using Place = typename Core::Place;
  using TileCopy = typename Core::TileCopy;

  JD_DEVICE static void run_item(const Params &p, Shared &shared, const HstuItem &item) {
    if (item.piece >= 0 && item.tiles == 0) return;  // nor does the second kernel look at it
    // Phase 1: copies start.
    const Element *first_keys = nullptr, *first_values = nullptr;
    {
      const TileCopy mine(prim::opaque_thread_index());
      const int64_t row = item.first_query + item.first_row;
      mine.template copy<Core::kRows>(shared.queries, mine.first(p.queries.at(row, item.head), p.queries.token_stride),
                                      p.queries.token_stride, item.last_row - item.first_row, p.shape.dim_qk);
      prim::cp_async_commit();
      if (!is_paged(p)) {
        first_keys = mine.first(p.keys.at(item.sequence.begin, item.head), p.keys.token_stride);
        first_values = mine.first(p.values.at(item.sequence.begin, item.head), p.values.token_stride);
      }
    }
    const auto copy = [&](int i, char *slot) {
      if constexpr (kOptions) {
        if (is_paged(p)) return copy_paged(p, shared, item, i, slot);
      }
      const TileCopy mine(prim::opaque_thread_index());
      const int32_t key = item.tile(i / 2) * Core::kKeys;
      const int64_t stride = i % 2 == 0 ? p.keys.token_stride : p.values.token_stride;
      mine.template copy<Core::kKeys>(slot, (i % 2 == 0 ? first_keys : first_values) + key * stride, stride,
                                      item.sequence.length - key, i % 2 == 0 ? p.shape.dim_qk : p.shape.dim_v);
    };
    KeyValueLoop<Core::kSlots, Core::kSlotBytes> loop(shared.ring, item.tiles, copy);

    // Phase 2: queries arrive.
    loop.wait_for_earlier_copies();
    prim::sync_threads();
    typename Core::Accumulators acc;
    const typename Core::Queries queries = Core::queries(shared.queries);

    // Phase 3: the keys, piece by piece. Whether a tile is empty for the warp is known from its keys on.
    typename Core::Scores scores;
    TileMask state = TileMask::kEmpty;
    int begin = 0;
    do {
      const int end = item.template piece_end<Core::kKeys>(begin);
#pragma unroll
      for (int r = 0; r < Core::Accumulators::kRows; ++r) {
#pragma unroll
        for (int c = 0; c < Core::Accumulators::kColumns; ++c) acc.out(r, c) = 0.0f;
      }
      loop.advance(
          begin, end, copy,
          [&](int i, const char *slot) {
            const int32_t key = item.tile(i) * Core::kKeys;
            state = classify(item, key);
            if (state == TileMask::kEmpty) return;
            Core::multiply_keys(scores, queries, slot, p.shape);
            float alpha = p.alpha;
            if constexpr (kOptions) {
              if (p.pages.key_scales.data != nullptr) scale_columns(scores, shared, slot);
              if (p.bias.position != nullptr || p.bias.time != nullptr) {
                add_bias(scores, p, item, key);
                alpha = 1.0f;
              }
            }
            weigh_silu(scores, alpha);  // keys past the end are zeros, and SiLU(0) = 0
            if (state == TileMask::kPartial) hide_masked<Core>(scores, item, key);
          },
          [&](int, const char *slot) {
            if (state == TileMask::kEmpty) return;
            if constexpr (kOptions) {
              if (p.pages.value_scales.data != nullptr) scale_columns(scores, shared, slot);
            }
            Core::multiply_values(acc, scores, slot, shared.weights, p.shape);
          });
      add_up_pieces<Core, kThreads>(p, begin == 0, end >= item.tiles, acc);
      begin = end;
    } while (begin < item.tiles);
    loop.finish();

    // Phase 4: out.
    store_hstu_rows<Core>(p, item, acc);
  }

  JD_DEVICE static bool is_paged(const Params &p) { return kOptions && p.pages.seq_lens != nullptr; }

  // The i-th tile of keys (even i) or values, through the page table. Rows past the end and those of refused pages are zeros.
  JD_DEVICE static void copy_paged(const Params &p, Shared &shared, const HstuItem &item, int i, char *slot) {
    const int thread = prim::opaque_thread_index();
    const TileCopy mine(thread);
    const paged::Pages &pages = i % 2 == 0 ? p.pages.keys : p.pages.values;
    const paged::PageScales &scales = i % 2 == 0 ? p.pages.key_scales : p.pages.value_scales;
    const int32_t dim = i % 2 == 0 ? p.shape.dim_qk : p.shape.dim_v;
    const int32_t key = item.tile(i / 2) * Core::kKeys;
    // f(page, row of the page) where the row exists, else `missing`.
    const auto find = [&](int row, auto missing, const auto &f) {
      if (key + row >= item.sequence.length) return missing;
      const int32_t page = item.pages[p.pages.table.index(key + row)];
      return p.pages.table.valid(page) ? f(page, p.pages.table.within(key + row)) : missing;
    };
    if (scales.data == nullptr) {
      const Element *data = static_cast<const Element *>(pages.data);
      const auto row_of = [&](int row) {
        return find(row, static_cast<const Element *>(nullptr),
                    [&](int32_t page, int32_t within) { return data + pages.at(page, within, item.head); });
      };
      mine.template copy_scattered<Core::kKeys>(slot, row_of, dim);
      return;
    }
    const uint8_t *data = static_cast<const uint8_t *>(pages.data);
    const auto row_of = [&](int row) {
      return find(row, static_cast<const uint8_t *>(nullptr),
                  [&](int32_t page, int32_t within) { return data + pages.at(page, within, item.head); });
    };
    const bool is_i8 = p.pages.dtype == JD_I8;
    mine.template copy_codes<Core::kKeys>(slot, row_of, dim, [&](prim::Vec2u codes) {
      if constexpr (sizeof(Element) == 4) {
        return paged::widen_codes<float>(codes, is_i8);
      } else {
        return p.shape.dtype == JD_F16 ? paged::widen_codes<prim::f16>(codes, is_i8)
                                       : paged::widen_codes<prim::bf16>(codes, is_i8);
      }
    });
    if (thread < Core::kKeys) {
      const int in_ring = static_cast<int>(slot - shared.ring) / Core::kSlotBytes;
      shared.scales[in_ring * Core::kKeys + thread] =
          find(thread, 0.0f, [&](int32_t page, int32_t within) { return *scales.at(page, within, item.head); });
    }
  }

  // Every score, or weight, of a key times that key's scale.
  JD_DEVICE static void scale_columns(typename Core::Scores &scores, const Shared &shared, const char *slot) {
    const Place place;
    const float *scales = shared.scales + static_cast<int>(slot - shared.ring) / Core::kSlotBytes * Core::kKeys;
#pragma unroll
    for (int i = 0; i < Core::Scores::kCount; ++i) {
      const float scale = scales[place.key(i)];
#pragma unroll
      for (int r = 0; r < Core::Scores::kRows; ++r) scores.at(r, i) *= scale;
    }
  }

  // What the mask leaves this warp of a tile of keys.
  JD_DEVICE static TileMask classify(const HstuItem &item, int32_t key) {
    const int32_t first = item.first_row + Place().first_row;
    if (first >= item.last_row) return TileMask::kEmpty;
    const int32_t last = item.last_row - first < Core::kWarpRows ? item.last_row : first + Core::kWarpRows;
    const int32_t key_end = item.sequence.length - key < Core::kKeys ? item.sequence.length : key + Core::kKeys;
    return item.mask.classify(first, last, key, key_end);
  }

  // Scores become alpha * score + rab. Rows and keys past the end take the last one's: their weights meet zeros.
  JD_DEVICE static void add_bias(typename Core::Scores &scores, const Params &p, const HstuItem &item, int32_t key) {
    const Place place;
    const float *position = p.bias.position == nullptr ? nullptr : p.bias.position + item.head * p.bias.position_head_stride;
    const float *time = p.bias.time == nullptr ? nullptr : p.bias.time + item.head * p.bias.time_head_stride;
    const int64_t *timestamps = time == nullptr ? nullptr : p.bias.timestamps + item.sequence.begin;
    const int32_t last = item.sequence.length - 1;
#pragma unroll
    for (int r = 0; r < Core::Scores::kRows; ++r) {
      const int32_t asked = item.first_row + place.row(r);
      const int32_t row = asked < last ? asked : last;
#pragma unroll
      for (int i = 0; i < Core::Scores::kCount; ++i) {
        const int32_t wanted = key + place.key(i), column = wanted < last ? wanted : last;
        float bias = position == nullptr ? 0.0f : position[p.bias.center + column - row];
        if (time != nullptr) {
          const uint64_t distance = TimeBuckets::distance(timestamps[row], timestamps[column]);
          bias += time[p.bias.buckets->bucket(distance, p.bias.num_buckets)];
        }
        scores.at(r, i) = prim::fma(scores.at(r, i), p.alpha, bias);
      }
    }
  }
};

}  // namespace jindou::attention

#endif
