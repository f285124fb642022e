// hstu_attention: from a description to a plan, and from a run to a kernel launch (dispatch.h).
#ifndef JINDOU_KERNELS_ATTENTION_HSTU_ATTENTION_LAUNCH_H
#define JINDOU_KERNELS_ATTENTION_HSTU_ATTENTION_LAUNCH_H

#include <cstdio>
#include <memory>

#include "attention/fma_core.h"
#include "attention/hopper_hstu_attention.h"
#include "attention/hopper_hstu_codes.h"
#include "attention/hstu_attention.h"
#include "attention/hstu_attention_merge.h"
#include "attention/launch_support.h"
#include "attention/mma_core.h"
#include "decode/pages_launch.h"
#include "plan.h"

namespace jindou {

namespace attention {

template <int kColumns, int kRows, bool kOptions = false>
using HstuAttentionHalf = HstuAttentionKernel<MmaCore<MmaTraits<kColumns, kRows>>, kOptions>;
template <int kColumns, bool kOptions = false>
using HstuAttentionF32 = HstuAttentionKernel<FmaCore<FmaTraits<kColumns>>, kOptions>;

using HstuAttentionKernels =
    KernelList<HstuAttentionHalf<32, kLargeTile>, HstuAttentionHalf<64, kLargeTile>, HstuAttentionHalf<96, kLargeTile>,
               HstuAttentionHalf<128, kLargeTile>, HstuAttentionHalf<32, kSmallTile>, HstuAttentionHalf<64, kSmallTile>,
               HstuAttentionHalf<96, kSmallTile>, HstuAttentionHalf<128, kSmallTile>, HstuAttentionHalf<192, kSmallTile>,
               HstuAttentionHalf<256, kSmallTile>, HstuAttentionF32<32>, HstuAttentionF32<64>,
               HstuAttentionF32<128>, HstuAttentionF32<256>>;

// With position or time bias, or keys and values in pages. Look-ups bound the one and calls with a cache have few rows
// of queries, so the larger tile would bring little, as would more numbers of columns.
using HstuAttentionOptionKernels =
    KernelList<HstuAttentionHalf<64, kSmallTile, true>, HstuAttentionHalf<128, kSmallTile, true>,
               HstuAttentionHalf<256, kSmallTile, true>, HstuAttentionF32<64, true>, HstuAttentionF32<128, true>,
               HstuAttentionF32<256, true>>;

// On a GPU of compute capability 9.0, bf16 ...
template <int kHeadDim>
using HopperHstuAttentionBf16 = HopperHstuAttentionKernel<HopperCore<HopperTraits<kHeadDim>>>;
using HopperHstuAttentionKernels =
    KernelList<HopperHstuAttentionBf16<64>, HopperHstuAttentionBf16<128>, HopperHstuAttentionBf16<256>>;

// ... with biases ...
template <int kHeadDim>
using HopperHstuBiasedBf16 = HopperHstuAttentionKernel<HopperCore<HopperBiasTraits<kHeadDim>>>;
using HopperHstuBiasedKernels = KernelList<HopperHstuBiasedBf16<64>, HopperHstuBiasedBf16<128>, HopperHstuBiasedBf16<256>>;

// ... and bf16 queries over pages of fp8 or int8 codes.
template <int kHeadDim>
using HopperHstuCodesBf16 = HopperHstuCodesKernel<HopperCore<HopperCodesTraits<kHeadDim>>>;
using HopperHstuCodesKernels = KernelList<HopperHstuCodesBf16<64>, HopperHstuCodesBf16<128>, HopperHstuCodesBf16<256>>;

}  // namespace attention

// How a run is spread over blocks. Every choice gives the same bits.
struct HstuAttentionSchedule {
  int32_t pieces;  // items of a tile: 1, or the pieces of the longest sequence that a run can have
  int64_t window;  // query rows of a launch
  bool parks;      // blocks take pieces in turn
};

// Scratch: the table of time buckets and, where a sequence can have several pieces, what becomes of their sums: one or the other in a run.
struct HstuAttentionPlan : KernelPlan {
  // Sums of pieces of a split run are float, rows * heads * pieces * dv: never more than this.
  static constexpr int64_t kScratchBudget = int64_t{64} << 20;
  // Launches of fewer rows than this would cost a split run more than it gains.
  static constexpr int64_t kLeastWindow = 64;
  // Without a split each block parks the totals of one tile between pieces. Of any kernel but Hopper's at d 256, which is alone on its
  // multiprocessor and takes twice that.
  static constexpr int64_t kParkingBlocksAMultiprocessor = 4;
  static constexpr int64_t kTileFloats = int64_t{128} * 128;

  HstuAttentionPlan(const PlanResources &resources, const jd_hstu_attention_desc &description)
      : KernelPlan(JDB_OP_HSTU_ATTENTION, resources), desc(description),
        shape{description.dtype, description.head_dim_qk, description.head_dim_v},
        columns(attention::HstuAttentionKernels::columns(shape)),
        on_hopper(resources.hopper && attention::has_hopper_kernel<attention::HopperHstuAttentionKernels>(shape)),
        most_pieces(attention::HstuPieces::of(description.max_seq_len)) {
    if (most_pieces == 1) return;
    const int64_t all_rows = most_rows(desc.max_batch);
    const int64_t split_rows = std::min(attention::bounded_product(all_rows, desc.num_heads), split_limit() * attention::kLargeTile);
    scratch_floats = std::min(split_rows * most_pieces * desc.head_dim_v, kScratchBudget / int64_t{sizeof(float)});
    const bool one_parks = on_hopper && items(1, desc.max_seq_len, attention::kLargeTile) > split_limit_of_one(false);
    if (one_parks || !splits(desc.max_batch, all_rows, most_pieces, split_limit()))
      scratch_floats = std::max(scratch_floats, kParkingBlocksAMultiprocessor * multiprocessors * kTileFloats);
  }

  static jd_status create(const PlanResources &resources, const jd_hstu_attention_desc &desc, KernelPlan **plan,
                          jd_error *error) {
    auto made = std::make_unique<HstuAttentionPlan>(resources, desc);
    if (made->columns == 0) return attention::refuse_head_dims(error, "hstu_attention", made->shape);
    void *memory = nullptr;
    if (const jd_status status = made->buffers.alloc(sizeof(TimeBuckets), &memory, error)) return status;
    const TimeBuckets table = TimeBuckets::make();
    if (const jd_status status = resources.upload(resources.upload_context, memory, &table, sizeof table, error)) return status;
    made->buckets = static_cast<const TimeBuckets *>(memory);
    if (made->scratch_floats > 0) {
      void *sums = nullptr;
      const auto bytes = static_cast<size_t>(made->scratch_floats) * sizeof(float);
      if (const jd_status status = made->buffers.alloc(bytes, &sums, error)) return status;
      made->partials = static_cast<float *>(sums);
    }
    *plan = made.release();
    return JD_OK;
  }

  void describe(char *text, size_t capacity) const override {
    snprintf(text, capacity, "hstu_attention %s, head dims %d and %d in %d: %s, tiles of %s keys",
             attention::dtype_name(desc.dtype), desc.head_dim_qk, desc.head_dim_v, columns,
             attention::core_name(desc.dtype), attention::tile_names(desc.dtype, columns));
    if (on_hopper)
      attention::append_hopper_text<attention::HopperHstuAttentionKernels>(
          text, capacity, "rows or pages of bf16, and without biases pages of fp8 or int8 widened to it, that the copy engine can address",
          shape);
    if (most_pieces > 1) {
      const size_t length = strlen(text);
      snprintf(text + length, capacity - length, "; keys summed in pieces of %d, by blocks of their own in runs of up to %lld tiles of 128 rows",
               attention::HstuPieces::kKeys, static_cast<long long>(split_limit()));
    }
  }

  HstuAttentionSchedule schedule(const jdb_hstu_attention_args &args) const {
    const bool is_paged = args.key_pages.dtype != 0;
    const int64_t keys = is_paged ? args.page_table.shape[1] * args.key_pages.shape[1] : args.keys.shape[0];
    const int64_t rows = args.queries.shape[0];
    const int32_t pieces = attention::HstuPieces::of(std::min(keys, desc.max_seq_len));
    if (pieces == 1) return HstuAttentionSchedule{1, rows, false};
    const bool grows = desc.causal != 0 && desc.max_attn_len == 0 && args.q_offsets.dtype == 0 && args.num_targets.dtype == 0;
    const int64_t limit = may_run_on_hopper(args) && args.batch == 1 ? split_limit_of_one(grows) : split_limit();
    if (!splits(args.batch, std::min(rows, most_rows(args.batch)), pieces, limit)) return HstuAttentionSchedule{1, rows, true};
    return HstuAttentionSchedule{pieces, std::max<int64_t>(std::min(window, room(pieces)), 1), false};
  }

  static bool has_biases(const jdb_hstu_attention_args &args) { return args.position_bias.dtype != 0 || args.time_bias.dtype != 0; }
  bool has_codes(const jdb_hstu_attention_args &args) const { return args.key_pages.dtype != 0 && args.key_pages.dtype != desc.dtype; }
  // If the copy engine can address its tensors.
  bool may_run_on_hopper(const jdb_hstu_attention_args &args) const { return on_hopper && !(has_codes(args) && has_biases(args)); }

  // A run is split that would leave multiprocessors idle otherwise, if there is room for the sums of enough rows. One that is not, of all that
  // a plan allows, is that of most rows and pieces, if any.
  bool splits(int64_t batch, int64_t rows, int32_t pieces, int64_t limit) const {
    return items(batch, rows, attention::kLargeTile) <= limit && room(pieces) >= std::min(rows, kLeastWindow);
  }
  // In rows.
  int64_t room(int32_t pieces) const { return scratch_floats / (int64_t{desc.num_heads} * pieces * desc.head_dim_v); }
  // That so many sequences can have together; a tensor may have more.
  int64_t most_rows(int64_t batch) const { return attention::bounded_product(batch, desc.max_seq_len); }

  // Blocks in a grid, one of which parks so many floats.
  int64_t most_blocks(const HstuAttentionSchedule &s, int64_t tile_floats, int64_t a_multiprocessor) const {
    const int64_t most = a_multiprocessor * multiprocessors;
    return s.parks ? std::min(most, scratch_floats / tile_floats) : most;
  }

  // Tiles of 128 rows, all heads counted: two blocks a multiprocessor are busy without a split.
  int64_t split_limit() const { return int64_t{2} * multiprocessors; }
  // Of one sequence on Hopper, where items are dealt by their costs, fewer: sums, and a piece more a tile, cost more than idle multiprocessors.
  // grows: the last tile meets all keys, the mean one half. (Of several sequences one may be much longer than the others.)
  int64_t split_limit_of_one(bool grows) const { return int64_t{multiprocessors} * (grows ? 5 : 3) / 4; }

  // Rows of the tiles of a run.
  int32_t tile_rows(int64_t batch, int64_t rows, bool with_options, int32_t pieces = 1) const {
    if (with_options) return attention::small_tile(desc.dtype, columns);
    return attention::tile_rows_for(desc.dtype, columns, items(batch, rows, attention::kLargeTile, pieces), multiprocessors);
  }

  int64_t items(int64_t batch, int64_t rows, int32_t tile_rows, int32_t pieces = 1) const {
    return attention::max_tiles(rows, 1, batch, tile_rows) * desc.num_heads * pieces;
  }

  const jd_hstu_attention_desc desc;
  const attention::HeadShape shape;
  const int32_t columns;
  const bool on_hopper;
  const int32_t most_pieces;  // of a sequence
  int64_t scratch_floats = 0;
  int64_t window = INT64_MAX;  // query rows of a split launch at most: tests have fewer than there is room for
  const TimeBuckets *buckets = nullptr;
  float *partials = nullptr;
};

namespace attention {

inline HstuBias hstu_bias(const HstuAttentionPlan &plan, const jdb_hstu_attention_args &args) {
  const auto last = [](const jdb_tensor &t) { return t.dtype ? t.shape[t.rank - 1] : 0; };
  const auto head_stride = [](const jdb_tensor &t) { return t.rank == 2 ? stride_of(t, 0) : 0; };
  HstuBias bias{};
  bias.position = static_cast<const float *>(args.position_bias.data);
  bias.position_head_stride = head_stride(args.position_bias);
  bias.center = static_cast<int32_t>(last(args.position_bias) / 2);
  bias.time = static_cast<const float *>(args.time_bias.data);
  bias.time_head_stride = head_stride(args.time_bias);
  bias.num_buckets = static_cast<int32_t>(last(args.time_bias)) - 1;
  bias.timestamps = static_cast<const int64_t *>(args.timestamps.data);
  bias.buckets = plan.buckets;
  return bias;
}

inline HstuPages hstu_pages(const HstuAttentionPlan &plan, const jdb_hstu_attention_args &args) {
  HstuPages pages{};
  pages.table = paged::page_table_of(args.page_table, args.key_pages);
  pages.keys = paged::pages_of(args.key_pages);
  pages.values = paged::pages_of(args.value_pages);
  pages.key_scales = paged::scales_of(args.key_scales);
  pages.value_scales = paged::scales_of(args.value_scales);
  pages.seq_lens = static_cast<const int32_t *>(args.seq_lens.data);
  pages.timestamp_stride = args.timestamps.rank == 2 ? stride_of(args.timestamps, 0) : 0;
  pages.most_rows = std::min(plan.desc.max_seq_len, args.page_table.shape[1] * args.key_pages.shape[1]);
  if (args.timestamps.rank == 2) pages.most_rows = std::min(pages.most_rows, args.timestamps.shape[1]);
  pages.dtype = args.key_pages.dtype;
  return pages;
}

// The query rows of a launch.
struct HstuWindow {
  int64_t first, end;
  HstuAttentionSchedule schedule;
  int64_t rows() const { return end - first; }
};

// Parameters of any of the kernels.
template <class Element, class Exec>
HstuAttentionParams<Element> hstu_attention_params(Exec &exec, const HstuAttentionPlan &plan, const jdb_hstu_attention_args &args,
                                                   const HstuWindow &window) {
  const jd_hstu_attention_desc &desc = plan.desc;
  HstuAttentionParams<Element> params{};
  params.queries = rows_of<Element>(args.queries);
  params.keys = rows_of<Element>(args.keys);
  params.values = rows_of<Element>(args.values);
  params.out = out_rows_of(args.out);
  params.offsets = offsets_of(args.offsets);
  params.q_offsets = offsets_of(args.q_offsets);
  params.num_targets = static_cast<const int32_t *>(args.num_targets.data);
  params.attn_scale = static_cast<const float *>(args.attn_scale.data);
  params.batch = args.batch;
  params.rows = args.keys.shape[0];
  params.query_rows = args.queries.shape[0];
  params.max_seq_len = desc.max_seq_len;
  params.heads = desc.num_heads;
  params.shape = plan.shape;
  params.mask = HstuMaskParams{desc.causal, desc.contextual_seq_len, desc.max_attn_len, desc.min_full_attn_seq_len};
  params.alpha = desc.alpha;
  params.norm = 1.0f / desc.scaling_seqlen;
  if (args.position_bias.dtype != 0 || args.time_bias.dtype != 0) params.bias = hstu_bias(plan, args);
  if (args.key_pages.dtype != 0) params.pages = hstu_pages(plan, args);
  params.sink = FaultSink{exec.faults(), exec.launch_number(), JDB_OP_HSTU_ATTENTION, desc.bounds};
  params.split = window.schedule.pieces > 1;
  params.most_pieces = window.schedule.pieces;
  params.first_query = window.first;
  params.end_query = window.end;
  params.partials = plan.partials;
  return params;
}

}  // namespace attention

template <class Kernels, class Exec>
jd_status launch_hstu_attention_of(Exec &exec, const HstuAttentionPlan &plan, const jdb_hstu_attention_args &args,
                                   const attention::HstuWindow &window, bool with_options) {
  using namespace attention;
  const int32_t tile_rows = plan.tile_rows(args.batch, window.rows(), with_options, window.schedule.pieces);
  jd_status status = JD_INTERNAL;
  Kernels::select(plan.shape, tile_rows, [&](auto tag) {
    using Kernel = typename decltype(tag)::type;
    const int64_t items = plan.items(args.batch, window.rows(), tile_rows, window.schedule.pieces);
    const int64_t most = plan.most_blocks(window.schedule, int64_t{Kernel::kTileRows} * Kernel::kColumns, kBlocksAMultiprocessor);
    status = exec.template launch<Kernel>(grid_for(items, most), hstu_attention_params<typename Kernel::Element>(exec, plan, args, window));
  });
  return status;
}

// In a file of its own (launch_hstu_attention_options), so that the kernels build in parallel.
template <class Exec>
jd_status launch_hstu_attention_options(Exec &exec, const HstuAttentionPlan &plan, const jdb_hstu_attention_args &args,
                                        const attention::HstuWindow &window) {
  return launch_hstu_attention_of<attention::HstuAttentionOptionKernels>(exec, plan, args, window, true);
}

// The kernels of sm_90a. `launched` stays false, and nothing is launched, where they do not serve: the portable ones do. Each list in a file
// of its own, too.
template <class Kernels, class Exec>
jd_status launch_hopper_hstu_of(Exec &exec, const HstuAttentionPlan &plan, const jdb_hstu_attention_args &args,
                                const attention::HstuWindow &window, bool &launched) {
  using namespace attention;
  jd_status status = JD_OK;
  Kernels::select(plan.shape, kLargeTile, [&](auto tag) {
    using Kernel = typename decltype(tag)::type;
    HopperHstuParams params{};
    const bool paged = args.key_pages.dtype != 0;
    const auto tiles = [&](const jdb_tensor &rows, const jdb_tensor &pages) {
      return paged ? page_geometry(pages, Kernel::kTileKeys, plan.buckets) : tile_geometry(rows, Kernel::kTileKeys, plan.buckets);
    };
    const bool addressable = exec.tensor_map(tile_geometry(args.queries, Kernel::kTileRows, plan.buckets), &params.queries.map) &&
                             exec.tensor_map(tiles(args.keys, args.key_pages), &params.keys.map) &&
                             exec.tensor_map(tiles(args.values, args.value_pages), &params.values.map);
    if (!addressable) return;
    params.problem = hstu_attention_params<typename Kernel::Element>(exec, plan, args, window);
    launched = true;
    const int64_t items = plan.items(args.batch, window.rows(), kLargeTile, window.schedule.pieces);
    const int64_t most = plan.most_blocks(window.schedule, int64_t{Kernel::kTileRows} * Kernel::kColumns, 1);
    status = exec.template launch<Kernel>(hopper_grid(items, most), params);
  });
  return status;
}

// Rows or pages of bf16.
template <class Exec>
jd_status launch_hstu_attention_hopper(Exec &exec, const HstuAttentionPlan &plan, const jdb_hstu_attention_args &args,
                                       const attention::HstuWindow &window, bool &launched) {
  return launch_hopper_hstu_of<attention::HopperHstuAttentionKernels>(exec, plan, args, window, launched);
}

// ... with biases.
template <class Exec>
jd_status launch_hstu_attention_biased(Exec &exec, const HstuAttentionPlan &plan, const jdb_hstu_attention_args &args,
                                       const attention::HstuWindow &window, bool &launched) {
  return launch_hopper_hstu_of<attention::HopperHstuBiasedKernels>(exec, plan, args, window, launched);
}

// Pages of codes.
template <class Exec>
jd_status launch_hstu_attention_codes(Exec &exec, const HstuAttentionPlan &plan, const jdb_hstu_attention_args &args,
                                      const attention::HstuWindow &window, bool &launched) {
  return launch_hopper_hstu_of<attention::HopperHstuCodesKernels>(exec, plan, args, window, launched);
}

// The first kernel of a window's.
template <class Exec>
jd_status launch_hstu_attention_window(Exec &exec, const HstuAttentionPlan &plan, const jdb_hstu_attention_args &args,
                                       const attention::HstuWindow &window) {
  const bool is_paged = args.key_pages.dtype != 0, is_biased = plan.has_biases(args);
  if (plan.may_run_on_hopper(args)) {
    bool launched = false;
    const jd_status status = plan.has_codes(args) ? launch_hstu_attention_codes(exec, plan, args, window, launched)
                             : is_biased          ? launch_hstu_attention_biased(exec, plan, args, window, launched)
                                                  : launch_hstu_attention_hopper(exec, plan, args, window, launched);
    if (launched) return status;
  }
  if (is_paged || is_biased) return launch_hstu_attention_options(exec, plan, args, window);
  return launch_hstu_attention_of<attention::HstuAttentionKernels>(exec, plan, args, window, false);
}

template <class Exec>
jd_status launch_hstu_attention(Exec &exec, const HstuAttentionPlan &plan, const jdb_hstu_attention_args &args) {
  using namespace attention;
  if (args.batch == 0) return JD_OK;
  const int64_t rows = args.queries.shape[0];
  const HstuAttentionSchedule schedule = plan.schedule(args);
  if (schedule.pieces == 1) return launch_hstu_attention_window(exec, plan, args, HstuWindow{0, rows, schedule});
  // Offsets of a batch without queries are looked at too.
  for (int64_t first = 0; first == 0 || first < rows; first += schedule.window) {
    const HstuWindow window{first, std::min(rows, first + schedule.window), schedule};
    if (const jd_status status = launch_hstu_attention_window(exec, plan, args, window)) return status;
    const auto merge = [&](auto element) {
      using Kernel = HstuAttentionMergeKernel<decltype(element)>;
      const int64_t groups = int64_t{plan.desc.num_heads} * (plan.desc.head_dim_v / 4);
      const int64_t items = max_tiles(window.rows(), groups, args.batch, Kernel::kThreads);
      return exec.template launch<Kernel>(grid_for(items, kBlocksAMultiprocessor * plan.multiprocessors),
                                          hstu_attention_params<decltype(element)>(exec, plan, args, window));
    };
    if (const jd_status status = plan.desc.dtype == JD_F32 ? merge(float{}) : merge(uint16_t{})) return status;
  }
  return JD_OK;
}

}  // namespace jindou

#endif
