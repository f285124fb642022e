// hstu_attention: from a description to a plan, and from a run to a kernel launch (dispatch.h).
#ifndef JINDOU_KERNELS_ATTENTION_HSTU_ATTENTION_LAUNCH_H
#define JINDOU_KERNELS_ATTENTION_HSTU_ATTENTION_LAUNCH_H

#include <cstdio>
#include <memory>

#include "attention/fma_core.h"
#include "attention/hstu_attention.h"
#include "attention/launch_support.h"
#include "attention/mma_core.h"
#include "decode/pages_launch.h"
#include "plan.h"

namespace jindou {

namespace attention {

template <int kHeadDim, int kRows, bool kBias = false>
using HstuAttentionBf16 = HstuAttentionKernel<MmaCore<MmaTraits<kHeadDim, kRows>>, kBias>;
template <int kHeadDim, bool kBias = false>
using HstuAttentionF32 = HstuAttentionKernel<FmaCore<FmaTraits<kHeadDim>>, kBias>;

using HstuAttentionKernels =
    KernelList<HstuAttentionBf16<32, kLargeTile>, HstuAttentionBf16<64, kLargeTile>, HstuAttentionBf16<96, kLargeTile>,
               HstuAttentionBf16<128, kLargeTile>, HstuAttentionBf16<32, kSmallTile>, HstuAttentionBf16<64, kSmallTile>,
               HstuAttentionBf16<96, kSmallTile>, HstuAttentionBf16<128, kSmallTile>, HstuAttentionF32<32>,
               HstuAttentionF32<64>, HstuAttentionF32<96>, HstuAttentionF32<128>>;

// With position or time bias: bound by its look-ups, so the larger tile would bring nothing.
using BiasedHstuAttentionKernels =
    KernelList<HstuAttentionBf16<32, kSmallTile, true>, HstuAttentionBf16<64, kSmallTile, true>,
               HstuAttentionBf16<96, kSmallTile, true>, HstuAttentionBf16<128, kSmallTile, true>,
               HstuAttentionF32<32, true>, HstuAttentionF32<64, true>, HstuAttentionF32<96, true>,
               HstuAttentionF32<128, true>>;

// Keys and values in pages: calls with a cache have few rows of queries, so the larger tile would bring little.
template <int kHeadDim>
using PagedHstuAttentionBf16 = HstuAttentionKernel<MmaCore<MmaTraits<kHeadDim, kSmallTile>>, false, true>;
template <int kHeadDim>
using PagedHstuAttentionF32 = HstuAttentionKernel<FmaCore<FmaTraits<kHeadDim>>, false, true>;
using PagedHstuAttentionKernels =
    KernelList<PagedHstuAttentionBf16<32>, PagedHstuAttentionBf16<64>, PagedHstuAttentionBf16<96>, PagedHstuAttentionBf16<128>,
               PagedHstuAttentionF32<32>, PagedHstuAttentionF32<64>, PagedHstuAttentionF32<96>, PagedHstuAttentionF32<128>>;

}  // namespace attention

// No scratch but the table of time buckets.
struct HstuAttentionPlan : KernelPlan {
  HstuAttentionPlan(const PlanResources &resources, const jd_hstu_attention_desc &description)
      : KernelPlan(JDB_OP_HSTU_ATTENTION, resources), desc(description) {}

  static jd_status create(const PlanResources &resources, const jd_hstu_attention_desc &desc, KernelPlan **plan,
                          jd_error *error) {
    if (desc.head_dim_v != desc.head_dim_qk ||
        !attention::HstuAttentionKernels::has(desc.dtype, desc.head_dim_qk, attention::kSmallTile)) {
      return fail(error, JD_UNSUPPORTED,
                  "hstu_attention: head dims %d and %d have no kernel here; equal ones of 32, 64, 96 and 128 have",
                  desc.head_dim_qk, desc.head_dim_v);
    }
    auto made = std::make_unique<HstuAttentionPlan>(resources, desc);
    void *memory = nullptr;
    if (const jd_status status = made->buffers.alloc(sizeof(TimeBuckets), &memory, error)) return status;
    const TimeBuckets table = TimeBuckets::make();
    if (const jd_status status = resources.upload(resources.upload_context, memory, &table, sizeof table, error)) return status;
    made->buckets = static_cast<const TimeBuckets *>(memory);
    *plan = made.release();
    return JD_OK;
  }

  void describe(char *text, size_t capacity) const override {
    const bool bf16 = desc.dtype == JD_BF16;
    snprintf(text, capacity, "hstu_attention %s, head dim %d: %s, tiles of %s rows x %d keys", bf16 ? "bf16" : "f32",
             desc.head_dim_qk, bf16 ? "mma.sync m16n8k16" : "FMA", bf16 ? "128 or 64" : "64",
             bf16 ? (desc.head_dim_qk >= 96 ? 32 : 64) : 32);
  }

  // Rows of the tiles of a run.
  int32_t tile_rows(int64_t batch, int64_t rows, bool biased) const {
    if (biased) return attention::kSmallTile;
    return attention::tile_rows_for(desc.dtype, items(batch, rows, attention::kLargeTile), multiprocessors);
  }

  int64_t items(int64_t batch, int64_t rows, int32_t tile_rows) const {
    return attention::max_tiles(rows, 1, batch, tile_rows) * desc.num_heads;
  }

  const jd_hstu_attention_desc desc;
  const TimeBuckets *buckets = nullptr;
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

}  // namespace attention

namespace attention {

// Parameters of any of the kernels but for its inputs' rows.
template <class Kernel, class Exec>
typename Kernel::Params hstu_attention_params(Exec &exec, const HstuAttentionPlan &plan, const jdb_hstu_attention_args &args) {
  using Element = typename Kernel::Element;
  const jd_hstu_attention_desc &desc = plan.desc;
  typename Kernel::Params params{};
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
  params.mask = HstuMaskParams{desc.causal, desc.contextual_seq_len, desc.max_attn_len, desc.min_full_attn_seq_len};
  params.alpha = desc.alpha;
  params.norm = 1.0f / desc.scaling_seqlen;
  if (args.position_bias.dtype != 0 || args.time_bias.dtype != 0) params.bias = hstu_bias(plan, args);
  params.sink = FaultSink{exec.faults(), exec.launch_number(), JDB_OP_HSTU_ATTENTION, desc.bounds};
  return params;
}

}  // namespace attention

// Keys and values in pages. In a file of its own (launch_hstu_attention_paged), so that the kernels build in parallel.
template <class Exec>
jd_status launch_hstu_attention_paged(Exec &exec, const HstuAttentionPlan &plan, const jdb_hstu_attention_args &args) {
  using namespace attention;
  jd_status status = JD_INTERNAL;
  PagedHstuAttentionKernels::select(plan.desc.dtype, plan.desc.head_dim_qk, kSmallTile, [&](auto tag) {
    using Kernel = typename decltype(tag)::type;
    typename Kernel::Params params = hstu_attention_params<Kernel>(exec, plan, args);
    params.pages.table = paged::page_table_of(args.page_table, args.key_pages);
    params.pages.keys = paged::pages_of(args.key_pages);
    params.pages.values = paged::pages_of(args.value_pages);
    params.pages.key_scales = paged::scales_of(args.key_scales);
    params.pages.value_scales = paged::scales_of(args.value_scales);
    params.pages.seq_lens = static_cast<const int32_t *>(args.seq_lens.data);
    params.pages.timestamp_stride = args.timestamps.rank == 2 ? stride_of(args.timestamps, 0) : 0;
    params.pages.most_rows = std::min(plan.desc.max_seq_len, args.page_table.shape[1] * args.key_pages.shape[1]);
    if (args.timestamps.rank == 2) params.pages.most_rows = std::min(params.pages.most_rows, args.timestamps.shape[1]);
    params.pages.dtype = args.key_pages.dtype;
    const int64_t items = plan.items(args.batch, args.queries.shape[0], kSmallTile);
    status = exec.template launch<Kernel>(grid_for(items, kBlocksAMultiprocessor * plan.multiprocessors), params);
  });
  return status;
}

template <class Exec>
jd_status launch_hstu_attention(Exec &exec, const HstuAttentionPlan &plan, const jdb_hstu_attention_args &args) {
  using namespace attention;
  if (args.batch == 0) return JD_OK;
  if (args.key_pages.dtype != 0) return launch_hstu_attention_paged(exec, plan, args);
  const bool biased = args.position_bias.dtype != 0 || args.time_bias.dtype != 0;
  const int64_t rows = args.queries.shape[0];
  const int32_t tile_rows = plan.tile_rows(args.batch, rows, biased);

  jd_status status = JD_INTERNAL;
  const auto launch = [&](auto tag) {
    using Kernel = typename decltype(tag)::type;
    const int64_t items = plan.items(args.batch, rows, tile_rows);
    status = exec.template launch<Kernel>(grid_for(items, kBlocksAMultiprocessor * plan.multiprocessors),
                                          hstu_attention_params<Kernel>(exec, plan, args));
  };
  if (biased) {
    BiasedHstuAttentionKernels::select(plan.desc.dtype, plan.desc.head_dim_qk, tile_rows, launch);
  } else {
    HstuAttentionKernels::select(plan.desc.dtype, plan.desc.head_dim_qk, tile_rows, launch);
  }
  return status;
}

}  // namespace jindou

#endif
