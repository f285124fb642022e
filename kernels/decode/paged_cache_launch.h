// paged_append and paged_gather: from a run to a kernel launch (dispatch.h). Their plans hold no memory.
#ifndef JINDOU_KERNELS_DECODE_PAGED_CACHE_LAUNCH_H
#define JINDOU_KERNELS_DECODE_PAGED_CACHE_LAUNCH_H

#include <cstdio>
#include <memory>

#include "decode/paged_cache.h"
#include "decode/pages_launch.h"
#include "plan.h"

namespace jindou {

struct PagedCachePlan : KernelPlan {
  PagedCachePlan(int32_t op, const PlanResources &resources, const jd_paged_cache_desc &description)
      : KernelPlan(op, resources), desc(description) {}

  static jd_status create(int32_t op, const PlanResources &resources, const jd_paged_cache_desc &desc, KernelPlan **plan,
                          jd_error *) {
    *plan = std::make_unique<PagedCachePlan>(op, resources, desc).release();
    return JD_OK;
  }

  void describe(char *text, size_t capacity) const override {
    snprintf(text, capacity, "%s %s, pages of %d rows in %s, %d threads a block of 16 rows",
             op == JDB_OP_PAGED_APPEND ? "paged_append" : "paged_gather", dtype_label(desc.dtype), desc.page_size,
             dtype_label(desc.cache_dtype), paged::PagedCopyKernel<true>::kThreads);
  }

  static const char *dtype_label(int32_t dtype) {
    switch (dtype) {
      case JD_F32: return "f32";
      case JD_F16: return "f16";
      case JD_BF16: return "bf16";
      case JD_F8_E4M3: return "f8_e4m3";
      default: return "i8";
    }
  }

  const jd_paged_cache_desc desc;
};

template <class Exec>
jd_status launch_paged_cache(Exec &exec, const PagedCachePlan &plan, const jdb_paged_cache_args &args) {
  using namespace paged;
  if (args.batch == 0) return JD_OK;
  const jd_paged_cache_desc &desc = plan.desc;
  const auto side_of = [](const jdb_tensor &rows, const jdb_tensor &pages, const jdb_tensor &scales, int32_t dim) {
    return PagedCopySide{{static_cast<char *>(rows.data), attention::stride_of(rows, 0), attention::stride_of(rows, 1)},
                         pages_of(pages), scales_of(scales), dim};
  };
  PagedCopyParams params{};
  params.sides[0] = side_of(args.keys, args.key_pages, args.key_scales, desc.head_dim_k);
  params.sides[1] = side_of(args.values, args.value_pages, args.value_scales, desc.head_dim_v);
  params.offsets = attention::offsets_of(args.offsets);
  params.table = page_table_of(args.page_table, args.key_pages);
  params.seq_lens = static_cast<const int32_t *>(args.seq_lens.data);
  params.batch = args.batch;
  params.total = args.keys.shape[0];
  params.heads = desc.num_kv_heads;
  params.dtype = desc.dtype;
  params.cache_dtype = desc.cache_dtype;
  params.lanes = 4;
  while (params.lanes * 8 < std::max(desc.head_dim_k, desc.head_dim_v)) params.lanes *= 2;
  params.sink = FaultSink{exec.faults(), exec.launch_number(), plan.op, desc.bounds};
  const int64_t items = attention::max_tiles(params.total, 1, args.batch, PagedCopyKernel<true>::kRows);
  const prim::Grid grid = attention::grid_for(items, attention::kBlocksAMultiprocessor * plan.multiprocessors);
  if (plan.op == JDB_OP_PAGED_APPEND) return exec.template launch<PagedCopyKernel<true>>(grid, params);
  return exec.template launch<PagedCopyKernel<false>>(grid, params);
}

}  // namespace jindou

#endif
