// hstu_attention on sm_90a, for bf16: the function of hstu_attention.h (pages of codes: hopper_hstu_codes.h) with tensor copies and wgmma.
//
//   a_ij = SiLU(alpha * q_i . k_j + rab_ij) * norm_i * m_ij      out_i = sum_j a_ij v_j
//
// Biases (kernels of their own, of this text with HopperBiasTraits): hopper_hstu_bias.h.
//
// Shapes: queries, keys, values [total, H, d], out [total, H, d] in bf16 or f32; d = 64, 128, 256.
//
// One block a multiprocessor: a producer warp and two consumer warpgroups of 64 query rows (hopper_pipeline.h), over the items that the
// schedule gives it (hopper_schedule.h): tiles of 128 rows of one sequence and head. Tiles of 128 keys (64 at d = 256). No tile is copied
// that the mask empties for both warpgroups, none multiplied that it empties for the one; only tiles that are neither full nor empty, or
// end the sequence, are masked element by element.
//
// FLOPs 4 * d * H * allowed pairs. A pair needs 4 d / 4096 clocks of a multiprocessor's tensor cores, and 1.5 special functions (exp2,
// half a reciprocal) at 16 a clock: 0.094; so d = 64 (0.0625) is bound by the special functions, d = 128 (0.125) and 256 by the tensor
// cores. Bytes: queries and out once, keys and values rows / 128 / 2 times from L2 (causal): 128 FLOPs a byte of L2.
#ifndef JINDOU_KERNELS_ATTENTION_HOPPER_HSTU_ATTENTION_H
#define JINDOU_KERNELS_ATTENTION_HOPPER_HSTU_ATTENTION_H

#include "attention/hopper_hstu_bias.h"
#include "attention/hopper_pipeline.h"
#include "attention/hopper_schedule.h"
#include "attention/hstu_attention_rows.h"
#include "attention/silu.h"

namespace jindou::attention {

struct HopperHstuParams {
  TileSource queries, keys, values;  // boxes of kRows, kKeys, kKeys rows; of pages: 64 columns of a page, of kKeys of its rows at most
  HstuAttentionParams<uint16_t> problem;
};

// What the kernels over rows or pages of bf16 and over pages of codes have in common.
template <class Core>
struct HopperHstuTiles {
  using Params = HopperHstuParams;
  static constexpr bool kHopper = true;
  static constexpr int kThreads = Core::kThreads;
  static constexpr int kMinBlocks = 1;
  using Element = uint16_t;  // bf16
  static constexpr int32_t kColumns = Core::kD;
  static constexpr int32_t kTileRows = Core::kRows;
  static constexpr int32_t kTileKeys = Core::kKeys;

  // All threads.
  JD_DEVICE static void make_schedule(const HstuAttentionParams<uint16_t> &p, HopperSchedule &schedule) {
    if (p.pages.seq_lens != nullptr) check_pages(p);
    schedule.make(
        p.batch, p.heads, true, [&](int64_t b) { return costs(p, read_hstu_sequence(p, b)); },
        [&](int64_t b) {
          const Fault fault = read_hstu_sequence(p, b).fault;
          if (fault.fault != JDB_FAULT_NONE && p.first_query == 0) report_fault(p.sink, fault);
        });
  }

  // The producers' items: copy_tiles(item) copies the keys and values of its tiles.
  template <class Producer, class CopyTiles>
  JD_DEVICE static void produce(const Params &p, HopperSchedule &schedule, Producer &producer, const CopyTiles &copy_tiles) {
    for (;;) {
      producer.lead([&] {
        schedule.advance(p.problem.batch, p.problem.heads, [&](int64_t b) { return costs(p.problem, read_hstu_sequence(p.problem, b)); });
      });
      const HstuItem &item = producer.begin_item([&](HstuItem &made) { read_item(p.problem, schedule.work(), made); });
      if (item.tiles < 0) break;
      // A half may have no row; nor does the second kernel look at a piece without keys.
      const bool empty = item.first_row >= item.last_row || (item.piece >= 0 && item.tiles == 0);
      producer.sync();
      if (empty) continue;
      producer.copy_queries([&](char *target, prim::Mbarrier *barrier) {
        p.queries.copy(target, item.first_query + item.first_row, item.head, barrier);
      });
      copy_tiles(item);
    }
    producer.end();
  }

  // weights.begin(consumer, item, tile, partial, scores) makes weights of the scores of a tile, hiding what the mask hides where it is
  // `partial`; weights.finish(consumer, scores) does the rest when no product is on its way.
  template <class Shared, class Consumer, class Weights>
  JD_DEVICE static void consume(const HstuAttentionParams<uint16_t> &p, Shared &shared, Consumer consumer, const Weights &weights) {
    int begin = 0;  // of the next piece of an item, in its tiles; one loop over all pieces: two, one in the other, take more registers
#pragma unroll 1
    for (;;) {
      if (begin == 0) consumer.wait_for_item();
      const HstuItem &item = consumer.item();
      if (prim::shfl(item.tiles, 0) < 0) return;
      const int group = prim::shfl(typename Core::Place().group, 0);
      const int end = prim::shfl(item.template piece_end<Core::kKeys>(begin), 0);
      typename Core::Accumulators acc;
#pragma unroll
      for (float &sum : acc.sums) sum = 0.0f;
      TileMask state = TileMask::kEmpty;
      hopper_loop<Core>(
          consumer, shared.queries, group, begin, end, acc,
          [&](int tile) {
            const int32_t key = item.tile(tile) * Core::kKeys;
            state = static_cast<TileMask>(prim::shfl(static_cast<int>(classify(item, group, key)), 0));
            return state == TileMask::kEmpty;
          },
          [&](int tile, typename Core::Scores &scores) { weights.begin(consumer, item, tile, state == TileMask::kPartial, scores); },
          [&](typename Core::Accumulators &, typename Core::Scores &scores) { weights.finish(consumer, scores); });
      // What is known from the item's memory takes no register during the loop.
      const bool first = end == item.template piece_end<Core::kKeys>(0), last = end >= item.tiles;
      begin = prim::shfl(last ? 0 : end, 0);
      if (begin == 0) consumer.release_queries();
      add_up_pieces<Core, kThreads - prim::kWarpgroupThreads>(p, first, last, acc);
      if (begin == 0) store_hstu_rows<Core>(p, item, acc);
    }
  }

 private:
  // Of no tiles, -1, if there is no work.
  JD_DEVICE static void read_item(const HstuAttentionParams<uint16_t> &p, const HopperWork &work, HstuItem &made) {
    if (work.sequence < 0) {
      made.tiles = -1;
      return;
    }
    const int32_t begin = work.tile * Core::kRows + work.before(Core::kRows);
    made = make_hstu_item<Core::kKeys>(p, work.sequence, read_hstu_sequence(p, work.sequence), begin, work.count(Core::kRows), work.head,
                                       work.piece);
  }

  // Here, where threads and registers are many: a sequence's pages by a block, or of more sequences than blocks by a warp.
  JD_DEVICE static void check_pages(const HstuAttentionParams<uint16_t> &p) {
    const bool by_block = p.batch <= prim::grid_dim().x;
    const int64_t parts = by_block ? 1 : kThreads / 32, part = by_block ? 0 : prim::warp_id();
    for (int64_t b = prim::block_idx().x * parts + part; b < p.batch; b += prim::grid_dim().x * parts) {
      const HstuSequence sequence = read_hstu_sequence(p, b);
      if (sequence.queries.length == 0 || !p.begins(b)) continue;
      check_hstu_pages(p, b, sequence.rows.length, by_block ? static_cast<int>(prim::thread_idx().x) : prim::lane_id(), by_block ? kThreads : 32);
    }
  }

  // What the mask leaves a tile of rows, about, in tiles of 128 keys: earlier ones, or all, without the targets. Of those within a window all
  // pieces are taken for alike: which ones they fall into is not asked.
  JD_DEVICE static TileCosts costs(const HstuAttentionParams<uint16_t> &p, const HstuSequence &sequence) {
    const auto tiles = [](int64_t rows) { return static_cast<int32_t>((rows + Core::kRows - 1) / Core::kRows); };
    const int32_t n = sequence.rows.length;
    const int32_t pieces = p.pieces(n), row_tiles = tiles(sequence.queries.length);
    int32_t most = tiles(n - sequence.targets) + (sequence.targets > 0 ? 1 : 0);
    const int32_t near = tiles((p.mask.causal != 0 ? 1 : 2) * int64_t{p.mask.max_attn_len}) + 1;
    const bool windowed = p.mask.max_attn_len > 0 && near < most;
    if (windowed) most = near;
    const int32_t first = p.mask.causal != 0 ? tiles(sequence.first_row) : most;
    if (pieces == 1) return TileCosts{row_tiles, 1, first, most, most > 0 ? most : 1};
    constexpr int32_t kPiece = HstuPieces::kKeys / Core::kRows;
    if (!windowed) return TileCosts{row_tiles, pieces, first, most < pieces * kPiece ? most : pieces * kPiece, kPiece};
    const int32_t each = (most + pieces - 1) / pieces;
    return TileCosts{row_tiles, pieces, each * pieces, each * pieces, each};
  }

  // What the mask leaves this warpgroup of a tile of keys. One that ends the sequence holds rows of others: masked.
  JD_DEVICE static TileMask classify(const HstuItem &item, int group, int32_t key) {
    const int32_t first = item.first_row + group * 64;
    if (first >= item.last_row) return TileMask::kEmpty;
    const int32_t last = item.last_row - first < 64 ? item.last_row : first + 64;
    const bool ends = item.sequence.length - key < Core::kKeys;
    const TileMask state = item.mask.classify(first, last, key, ends ? item.sequence.length : key + Core::kKeys);
    return ends && state == TileMask::kFull ? TileMask::kPartial : state;
  }
};

template <class Core>
struct HopperHstuAttentionKernel : HopperHstuTiles<Core> {
  using Tiles = HopperHstuTiles<Core>;
  using Params = HopperHstuParams;

  struct Shared {
    HopperShared<Core, HstuItem> pipeline;
    HopperSchedule schedule;
    HopperBiasIf<Core> bias;
  };
  static constexpr size_t shared_bytes() { return sizeof(Shared); }

  JD_DEVICE static void run(const Params &p, char *shared_memory) {
    Shared &shared = *reinterpret_cast<Shared *>(shared_memory);
    shared.pipeline.init();
    Tiles::make_schedule(p.problem, shared.schedule);
    const int warp = prim::shfl(prim::warp_id(), 0);
    if (warp < 4) {
      prim::give_up_registers<Core::kProducerRegisters>();
      if (warp == 0) produce(p, shared);
      if constexpr (Core::kBiased) {
        if (warp == 1) copy_tiles(p, shared);
        if (warp == 2) HopperBiasTimes<Core>(p.problem, shared.bias).produce(shared.pipeline);
        if (warp == 3) HopperBiasPositions<Core>(p.problem, shared.bias).produce(shared.pipeline);
      }
    } else {
      prim::take_registers<Core::kConsumerRegisters>();
      Tiles::consume(p.problem, shared.pipeline, HopperConsumer<Core, HstuItem>(shared.pipeline), Weights{p.problem, shared.bias});
    }
  }

 private:
  // Keys or values of a tile that lie in pages: a box for each page and 64 columns. Rows past the end of the sequence's pages and
  // those of refused pages come from outside of the tensor: zeros.
  struct PagedTile {
    const TileSource &source;
    const paged::PageTable &table;
    const HstuItem &item;
    int32_t key;

    JD_DEVICE void operator()(char *slot, prim::Mbarrier *barrier) const {
      const int32_t page_rows = 1 << table.shift, box = page_rows < Core::kKeys ? page_rows : Core::kKeys;
#pragma unroll 1
      for (int32_t row = 0; row < Core::kKeys; row += box) {
        int32_t page = -1;
        if (key + row < item.sequence.length) page = item.pages[table.index(key + row)];
        if (!table.valid(page)) page = -1;
#pragma unroll 1
        for (int panel = 0; panel < Core::kPanels; ++panel) {
          prim::tensor_copy(slot + (panel * Core::kKeys + row) * prim::kTensorRowBytes, source.map, panel * 64, table.within(key + row),
                            item.head, page, barrier);
        }
      }
    }
  };

  // Masked before the weights are computed: a pair of them shares a reciprocal, and SiLU(0) = 0.
  struct Weights {
    const HstuAttentionParams<uint16_t> &p;
    const HopperBiasIf<Core> &bias;
    template <class Consumer>
    JD_DEVICE void begin(const Consumer &consumer, const HstuItem &item, int tile, bool partial, typename Core::Scores &scores) const {
      if constexpr (Core::kBiased) {
        HopperBiasConsumer<Core>(p, bias).add(scores, p.alpha, item, tile, consumer.item_number(), consumer.tile_number());
      }
      if (partial) hide_masked<Core>(scores, item, item.tile(tile) * Core::kKeys);
      weigh_silu_by_twos(scores, Core::kBiased ? 1.0f : p.alpha);
    }
    template <class Consumer>
    JD_DEVICE void finish(const Consumer &, typename Core::Scores &) const {}
  };

  JD_DEVICE static void produce(const Params &p, Shared &shared) {
    prim::prefetch_tensor_map(p.queries.map);
    prim::prefetch_tensor_map(p.keys.map);
    prim::prefetch_tensor_map(p.values.map);
    HopperProducer<Core, HstuItem> producer(shared.pipeline);
    Tiles::produce(p, shared.schedule, producer, [&](const HstuItem &item) {
      if constexpr (!Core::kBiased) copy_tiles(p, producer, item);
    });
  }

  // By the warp of this alone: the registers of a schedule and of copies together are more than a producer has beside biases.
  JD_DEVICE static void copy_tiles(const Params &p, Shared &shared) {
    HopperConsumer<Core, HstuItem> items(shared.pipeline);
    HopperProducer<Core, HstuItem> producer(shared.pipeline);
    for (;;) {
      const HstuItem &item = items.next_item();
      if (prim::shfl(item.tiles, 0) < 0) return;
      copy_tiles(p, producer, item);
    }
  }

  JD_DEVICE static void copy_tiles(const Params &p, HopperProducer<Core, HstuItem> &producer, const HstuItem &item) {
    const bool paged = p.problem.pages.seq_lens != nullptr;
    for (int32_t i = 0; i < item.tiles; ++i) {
      const int32_t key = item.tile(i) * Core::kKeys;
      if (paged) {
        producer.template fill_slot<false>(PagedTile{p.keys, p.problem.pages.table, item, key}, 0);
        producer.template fill_slot<true>(PagedTile{p.values, p.problem.pages.table, item, key}, item.sequence.length - key);
        continue;
      }
      producer.template copy_tile<false>(p.keys, item.sequence.begin + key, item.head, 0);
      producer.template copy_tile<true>(p.values, item.sequence.begin + key, item.head, item.sequence.length - key);
    }
  }
};

}  // namespace jindou::attention

#endif
