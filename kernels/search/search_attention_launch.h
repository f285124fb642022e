// search_attention: from a run to a kernel launch (dispatch.h). Its plan holds no memory.
#ifndef JINDOU_KERNELS_SEARCH_SEARCH_ATTENTION_LAUNCH_H
#define JINDOU_KERNELS_SEARCH_SEARCH_ATTENTION_LAUNCH_H

#include <cstdio>
#include <memory>

#include "attention/launch_support.h"
#include "plan.h"
#include "search/search_attention.h"

namespace jindou {

struct SearchAttentionPlan : KernelPlan {
  SearchAttentionPlan(const PlanResources &resources, const jd_search_attention_desc &description)
      : KernelPlan(JDB_OP_SEARCH_ATTENTION, resources), desc(description) {}

  static jd_status create(const PlanResources &resources, const jd_search_attention_desc &desc, KernelPlan **plan, jd_error *) {
    *plan = std::make_unique<SearchAttentionPlan>(resources, desc).release();
    return JD_OK;
  }

  void describe(char *text, size_t capacity) const override {
    snprintf(text, capacity, "search_attention %s%s, head dims %d and %d in %d: a warp a candidate and %s",
             desc.dtype == JD_F32 ? "f32" : desc.dtype == JD_F16 ? "f16" : "bf16",
             desc.activation == JD_ACTIVATION_SILU ? ", silu" : "", desc.head_dim_qk, desc.head_dim_v, kernel_dim(),
             grouped() ? "up to 4 heads of a key/value head" : "head");
  }

  // Kernels have 64, 128 and 256 columns; heads between them are filled up with zeros that no memory is read for.
  int32_t kernel_dim() const {
    const int32_t dim = std::max(desc.head_dim_qk, desc.head_dim_v);
    return dim <= 64 ? 64 : dim <= 128 ? 128 : 256;
  }
  bool grouped() const { return desc.num_heads > desc.num_kv_heads; }

  const jd_search_attention_desc desc;
};

namespace search {

// f(kernel pointer) for the kernel of these values: element type x columns x heads at once.
template <class F>
void select_attention_kernel(int32_t dtype, int32_t dim, bool grouped, const F &f) {
  const auto of_type = [&](auto element) {
    using T = decltype(element);
    const auto of_dim = [&](auto *one, auto *four) { grouped ? f(four) : f(one); };
    if (dim == 64) {
      of_dim(static_cast<SearchAttentionKernel<T, 64, 1> *>(nullptr), static_cast<SearchAttentionKernel<T, 64, 4> *>(nullptr));
    } else if (dim == 128) {
      of_dim(static_cast<SearchAttentionKernel<T, 128, 1> *>(nullptr), static_cast<SearchAttentionKernel<T, 128, 4> *>(nullptr));
    } else {
      of_dim(static_cast<SearchAttentionKernel<T, 256, 1> *>(nullptr), static_cast<SearchAttentionKernel<T, 256, 4> *>(nullptr));
    }
  };
  if (dtype == JD_F32) return of_type(float{});
  if (dtype == JD_F16) return of_type(prim::f16{});
  of_type(prim::bf16{});
}

}  // namespace search

template <class Exec>
jd_status launch_search_attention(Exec &exec, const SearchAttentionPlan &plan, const jdb_search_attention_args &args) {
  using namespace search;
  if (args.batch == 0) return JD_OK;
  const jd_search_attention_desc &desc = plan.desc;
  SearchAttentionProblem problem{};
  problem.candidate_offsets = attention::offsets_of(args.candidate_offsets);
  problem.history_offsets = attention::offsets_of(args.history_offsets);
  problem.batch = args.batch;
  problem.candidate_rows = args.candidates.shape[0];
  problem.history_rows = args.keys.shape[0];
  problem.max_candidates = desc.max_candidates;
  problem.max_history = desc.max_history;
  problem.k = desc.k;
  problem.kv_heads = desc.num_kv_heads;
  problem.group = desc.num_heads / desc.num_kv_heads;
  problem.dim_qk = desc.head_dim_qk;
  problem.dim_v = desc.head_dim_v;
  const bool silu = desc.activation == JD_ACTIVATION_SILU;
  problem.scale = silu ? desc.scale : desc.scale * 1.4426950408889634f;
  problem.silu_norm = silu ? 1.0f / desc.scaling_seqlen : 0.0f;
  problem.indices = static_cast<const int32_t *>(args.indices.data);
  problem.index_row = attention::stride_of(args.indices, 0);
  problem.out = args.out.data;
  problem.out_row = attention::stride_of(args.out, 0);
  problem.out_head = attention::stride_of(args.out, 1);
  problem.out_dtype = args.out.dtype;
  problem.lse = static_cast<float *>(args.lse.data);
  if (args.lse.dtype != 0) {
    problem.lse_row = attention::stride_of(args.lse, 0);
    problem.lse_head = attention::stride_of(args.lse, 1);
  }
  problem.sink = FaultSink{exec.faults(), exec.launch_number(), JDB_OP_SEARCH_ATTENTION, desc.bounds};

  jd_status status = JD_INTERNAL;
  select_attention_kernel(desc.dtype, plan.kernel_dim(), plan.grouped(), [&](auto *kernel) {
    using Kernel = std::remove_pointer_t<decltype(kernel)>;
    typename Kernel::Params params{};
    params.problem = problem;
    params.candidates = attention::rows_of<typename Kernel::Element>(args.candidates);
    params.keys = attention::rows_of<typename Kernel::Element>(args.keys);
    params.values = attention::rows_of<typename Kernel::Element>(args.values);
    const int64_t units = int64_t{desc.num_kv_heads} * ((problem.group + Kernel::kHeads - 1) / Kernel::kHeads);
    const int64_t items = attention::max_tiles(problem.candidate_rows, units, args.batch, Kernel::kWarps);
    status = exec.template launch<Kernel>(attention::grid_for(items, attention::kBlocksAMultiprocessor * plan.multiprocessors), params);
  });
  return status;
}

}  // namespace jindou

#endif
