// hstu_attention on sm_90a over pages of codes (fp8 e4m3, int8): queries are bf16, keys and values stand for code * scale.
//
//   a_ij = SiLU(alpha * ks_j * q_i . k_j) * vs_j * norm_i * m_ij      out_i = sum_j a_ij v_j      k, v: codes, exact in bf16
//
// Shapes: queries [total, H, d] bf16, out likewise or f32, pages [num_pages, page_size, H, d] of codes; d = 64, 128, 256.
//
// hopper_hstu_attention.h with another producer (hopper_widening.h), four warps that widen codes on their way to the consumers, and
// scales, one a key, in the consumers' weights: ks_j takes alpha's place; vs_j multiplies the weight in f32, before it is rounded to bf16.
//
// Why not fp8 products: they would round queries and weights to e4m3 too (README.md, "On Hopper", with numbers).
//
// FLOPs as there. Bytes: keys and values half of what bf16 takes, of memory and of L2. A multiprocessor's shared memory is the limit at
// d = 128 and 256: 1.19 and 1.28 times what the tensor cores need; special functions at d = 64.
#ifndef JINDOU_KERNELS_ATTENTION_HOPPER_HSTU_CODES_H
#define JINDOU_KERNELS_ATTENTION_HOPPER_HSTU_CODES_H

#include "attention/hopper_hstu_attention.h"
#include "attention/hopper_widening.h"

namespace jindou::attention {

template <class Core>
struct HopperHstuCodesKernel : HopperHstuTiles<Core> {
  using Tiles = HopperHstuTiles<Core>;
  using Params = HopperHstuParams;

  struct More {
    HopperStages<Core> codes;
    HopperSchedule schedule;
  };
  using Shared = HopperShared<Core, HstuItem, More>;
  static constexpr size_t shared_bytes() { return sizeof(Shared); }

  JD_DEVICE static void run(const Params &p, char *shared_memory) {
    Shared &shared = *reinterpret_cast<Shared *>(shared_memory);
    if (prim::thread_idx().x == 0) shared.more.codes.init();
    shared.init();
    Tiles::make_schedule(p.problem, shared.more.schedule);
    const int warp = prim::shfl(prim::warp_id(), 0);
    if (warp < 4) {
      prim::give_up_registers<Core::kProducerRegisters>();
      produce(p, shared, warp);
    } else {
      prim::take_registers<Core::kConsumerRegisters>();
      Tiles::consume(p.problem, shared, HopperConsumer<Core, HstuItem, More>(shared), Weights{shared.more.codes});
    }
  }

 private:
  // An item's codes and scales as one producer thread asks for them. Numbers of pages come a tile before they are needed.
  class PagedCodes {
   public:
    JD_DEVICE PagedCodes(const Params &params, const HstuItem &of, int thread) : p(params), item(of), thread_(thread) {
      box_page_ = box_page(0);
      scale_page_ = scale_page(0);
      ask_scales(0);
    }

    JD_DEVICE bool is_i8() const { return p.problem.pages.dtype == JD_I8; }
    JD_DEVICE int32_t valid(int tile) const { return item.sequence.length - item.tile(tile) * Core::kKeys; }

    // By warp 0. A box for each page and 128 codes of its rows; those of no page come from outside of the tensor: zeros.
    JD_DEVICE void copy(int step, char *stage, prim::Mbarrier *barrier, bool leads) {
      const paged::PageTable &table = p.problem.pages.table;
      const TileSource &source = step % 2 == 0 ? p.keys : p.values;
      const int32_t key = item.tile(step / 2) * Core::kKeys, box = box_rows();
#pragma unroll 1
      for (int32_t row = 0, i = 0; row < Core::kKeys; row += box, ++i) {
        const int32_t page = prim::shfl(box_page_, i);
        if (!leads) continue;
        for (int panel = 0; panel < HopperStages<Core>::kPanels; ++panel) {
          prim::tensor_copy(stage + (panel * Core::kKeys + row) * prim::kTensorRowBytes, source.map, panel * 64, table.within(key + row),
                            item.head, table.valid(page) ? page : -1, barrier);
        }
      }
      if (step % 2 == 1) box_page_ = box_page(step / 2 + 1);
    }

    // Of this thread's key: those of keys with alpha.
    JD_DEVICE void next_scales(float &key_scale, float &value_scale) {
      key_scale = p.problem.alpha * key_scale_;
      value_scale = value_scale_;
      ask_scales(++tile_);
    }

   private:
    JD_DEVICE int32_t box_rows() const {
      const int32_t page_rows = 1 << p.problem.pages.table.shift;
      return page_rows < Core::kKeys ? page_rows : Core::kKeys;
    }
    // As the table has it, to be looked at when it is used; -1: of no row.
    JD_DEVICE int32_t page_of(int tile, int32_t row) const {
      if (tile >= item.tiles || row >= Core::kKeys) return -1;
      const int32_t key = item.tile(tile) * Core::kKeys + row;
      return key < item.sequence.length ? item.pages[p.problem.pages.table.index(key)] : -1;
    }
    JD_DEVICE int32_t box_page(int tile) const { return page_of(tile, prim::lane_id() * box_rows()); }
    JD_DEVICE int32_t scale_page(int tile) const { return page_of(tile, thread_); }

    // scale_page_: of that tile.
    JD_DEVICE void ask_scales(int tile) {
      const HstuPages &pages = p.problem.pages;
      key_scale_ = value_scale_ = 0.0f;
      if (pages.table.valid(scale_page_)) {
        const int32_t within = pages.table.within(item.tile(tile) * Core::kKeys + thread_);
        key_scale_ = *pages.key_scales.at(scale_page_, within, item.head);
        value_scale_ = *pages.value_scales.at(scale_page_, within, item.head);
      }
      scale_page_ = scale_page(tile + 1);
    }

    const Params &p;
    const HstuItem &item;
    const int thread_;
    int tile_ = 0;
    int32_t box_page_;    // of the tile that is copied next, box lane_id
    int32_t scale_page_;  // of the tile after tile_
    float key_scale_, value_scale_;
  };

  // The keys' scales come before the mask: that of a hidden key may be a NaN. The values' come when the weights of the tile before are gone,
  // whose registers they need.
  struct Weights {
    const HopperStages<Core> &codes;

    template <class Consumer>
    JD_DEVICE void begin(const Consumer &consumer, const HstuItem &item, int tile, bool partial, typename Core::Scores &scores) const {
      scale_columns(scores, codes.scales_of(consumer.tile_number())[0]);
      if (partial) hide_masked<Core>(scores, item, item.tile(tile) * Core::kKeys);
      weigh_silu_by_twos(scores, 1.0f);
    }
    template <class Consumer>
    JD_DEVICE void finish(const Consumer &consumer, typename Core::Scores &scores) const {
      scale_columns(scores, codes.scales_of(consumer.tile_number())[1]);
    }
  };

  JD_DEVICE static void scale_columns(typename Core::Scores &scores, const float *scales) {
    const float *mine = scales + typename Core::Place().quad * 4;
#pragma unroll
    for (int i = 0; i < Core::Scores::kCount; i += 4) {
      const prim::Vec4u bits = prim::load_shared16(mine + i * 4);
      const float four[4] = {prim::as_float(bits.x), prim::as_float(bits.y), prim::as_float(bits.z), prim::as_float(bits.w)};
#pragma unroll
      for (int j = 0; j < 4; ++j) {
#pragma unroll
        for (int r = 0; r < Core::Scores::kRows; ++r) scores.at(r, i + j) *= four[j];
      }
    }
  }

  JD_DEVICE static void produce(const Params &p, Shared &shared, int warp) {
    prim::prefetch_tensor_map(p.queries.map);
    prim::prefetch_tensor_map(p.keys.map);
    prim::prefetch_tensor_map(p.values.map);
    HopperWideningProducer<Core, HstuItem, More> producer(shared, warp);
    const int thread = static_cast<int>(prim::thread_idx().x);
    Tiles::produce(p, shared.more.schedule, producer, [&](const HstuItem &item) {
      PagedCodes codes(p, item, thread);
      producer.widen(codes, item.tiles);
    });
  }
};

}  // namespace jindou::attention

#endif
