// din_attention: from a description to scratch, and from a run to kernel launches (dispatch.h).
//
// Kernels, by the widest rows and second layer they hold; narrower ones are filled up with zeros that nothing is read for:
//   narrow   d <= 64,  h2 <= 64          medium   d <= 128, h2 <= 64          wide   d <= 256, h2 <= 256
#ifndef JINDOU_KERNELS_ATTENTION_DIN_ATTENTION_LAUNCH_H
#define JINDOU_KERNELS_ATTENTION_DIN_ATTENTION_LAUNCH_H

#include <cstdio>
#include <memory>
#include <type_traits>

#include "attention/din_attention.h"
#include "attention/launch_support.h"
#include "plan.h"

namespace jindou {

namespace din {

template <class T>
using NarrowMma = DinMmaCore<T, 64, 64, 2, 96, 2, 3>;
template <class T>
using MediumMma = DinMmaCore<T, 128, 64, 1, 96, 2, 2>;
template <class T>
using WideMma = DinMmaCore<T, 256, 256, 1, 32, 1, 2>;
using NarrowFma = DinFmaCore<64, 64, 8, 32, 2>;
using MediumFma = DinFmaCore<128, 64, 4, 32, 2>;
using WideFma = DinFmaCore<256, 256, 2, 16, 2>;

// f(DinAttentionKernel<Core> *) for the kernel of a description.
template <class F>
void select_kernel(const jd_din_attention_desc &d, const F &f) {
  const auto of_width = [&](auto narrow, auto medium, auto wide) {
    if (d.hidden_2 > 64 || d.dim > 128) return f(static_cast<DinAttentionKernel<decltype(wide)> *>(nullptr));
    if (d.dim > 64) return f(static_cast<DinAttentionKernel<decltype(medium)> *>(nullptr));
    return f(static_cast<DinAttentionKernel<decltype(narrow)> *>(nullptr));
  };
  using prim::bf16;
  using prim::f16;
  if (d.dtype == JD_F32) return of_width(NarrowFma{}, MediumFma{}, WideFma{});
  if (d.dtype == JD_F16) return of_width(NarrowMma<f16>{}, MediumMma<f16>{}, WideMma<f16>{});
  of_width(NarrowMma<bf16>{}, MediumMma<bf16>{}, WideMma<bf16>{});
}

}  // namespace din

struct DinAttentionPlan : KernelPlan {
  // A split run keeps candidates * pieces * (dv + 2) floats of partial results: never more than this.
  static constexpr int64_t kScratchBudget = int64_t{64} << 20;

  DinAttentionPlan(const PlanResources &resources, const jd_din_attention_desc &description)
      : KernelPlan(JDB_OP_DIN_ATTENTION, resources),
        desc(description),
        most_pieces(din::din_pieces().most_up_to(std::min(description.max_history, description.num_latest))) {}

  static jd_status create(const PlanResources &resources, const jd_din_attention_desc &desc, KernelPlan **plan, jd_error *error) {
    auto made = std::make_unique<DinAttentionPlan>(resources, desc);
    if (const jd_status status = made->allocate(error)) return status;
    *plan = made.release();
    return JD_OK;
  }

  void describe(char *text, size_t capacity) const override {
    din::select_kernel(desc, [&](auto *kernel) {
      using Kernel = std::remove_pointer_t<decltype(kernel)>;
      const int64_t pair = int64_t{desc.dim} * desc.hidden_1 + int64_t{desc.hidden_1} * desc.hidden_2 + desc.hidden_2;
      snprintf(text, capacity,
               "din_attention %s: first layer folded into one %d x %d matrix a candidate%s, %lld multiply-adds and %d activations a pair; "
               "%s, %d candidates x %d events a tile",
               desc.dtype == JD_F32 ? "f32" : desc.dtype == JD_F16 ? "f16" : "bf16", desc.hidden_1, desc.dim,
               desc.hidden_1 <= Kernel::kGroup ? "" : ", again for every tile", static_cast<long long>(pair),
               desc.hidden_1 + desc.hidden_2, desc.dtype == JD_F32 ? "FMA" : "mma.sync m16n8k16", Kernel::kCandidates, Kernel::kTile);
    });
  }

  // Whether blocks take one piece each: where there is room, and where candidates alone would not fill the device.
  bool split(int64_t batch, int64_t candidates) const {
    return most_pieces > 1 && candidates <= split_rows && items(batch, candidates) < int64_t{4} * multiprocessors;
  }
  int64_t items(int64_t batch, int64_t candidates) const {
    int64_t together = 1;
    din::select_kernel(desc, [&](auto *kernel) { together = std::remove_pointer_t<decltype(kernel)>::kCandidates; });
    return attention::max_tiles(candidates, 1, batch, together);
  }

  const jd_din_attention_desc desc;
  const int32_t most_pieces;
  int64_t split_rows = 0;  // candidates of the largest run that is split
  float *partial_outputs = nullptr;
  attention::SoftmaxState *partial_states = nullptr;

 private:
  jd_status allocate(jd_error *error) {
    if (most_pieces == 1) return JD_OK;
    const int64_t a_row = most_pieces * (int64_t{desc.dim_v} * 4 + int64_t{sizeof(attention::SoftmaxState)});
    // More candidates than that fill the device by themselves.
    const int64_t useful = std::min(attention::bounded_product(desc.max_batch, desc.max_candidates), int64_t{8} * multiprocessors);
    split_rows = std::min(useful, std::max<int64_t>(kScratchBudget / a_row, 1));
    void *outputs = nullptr, *states = nullptr;
    jd_status status = buffers.alloc(static_cast<size_t>(split_rows * most_pieces * desc.dim_v) * sizeof(float), &outputs, error);
    if (status == JD_OK) {
      status = buffers.alloc(static_cast<size_t>(split_rows * most_pieces) * sizeof(attention::SoftmaxState), &states, error);
    }
    partial_outputs = static_cast<float *>(outputs);
    partial_states = static_cast<attention::SoftmaxState *>(states);
    return status;
  }
};

namespace din {

inline Matrix matrix_of(const jdb_tensor &t) { return Matrix{t.data, attention::stride_of(t, 0)}; }

inline Layer layer_of(const jdb_tensor &weight, const jdb_tensor &bias, const jdb_tensor &slope, const jdb_tensor &mean,
                      const jdb_tensor &variance) {
  const auto floats = [](const jdb_tensor &t) { return static_cast<const float *>(t.data); };
  return Layer{matrix_of(weight), floats(bias), floats(slope), floats(mean), floats(variance)};
}

inline DinProblem problem_of(const DinAttentionPlan &plan, const jdb_din_attention_args &args, FaultRecord *record, uint32_t launch) {
  const jd_din_attention_desc &desc = plan.desc;
  DinProblem p{};
  p.candidate_offsets = attention::offsets_of(args.candidate_offsets);
  p.history_offsets = attention::offsets_of(args.history_offsets);
  p.batch = args.batch;
  p.candidate_rows = args.candidates.shape[0];
  p.history_rows = args.keys.shape[0];
  p.max_candidates = desc.max_candidates;
  p.max_history = desc.max_history;
  p.num_latest = desc.num_latest;
  p.dim = desc.dim;
  p.dim_v = desc.dim_v;
  p.hidden_1 = desc.hidden_1;
  p.hidden_2 = desc.hidden_2;
  p.activation = desc.activation;
  p.softmax = desc.softmax;
  p.scale = desc.softmax ? desc.scale * 1.4426950408889634f : desc.scale;
  p.dice_eps = desc.dice_eps;
  p.candidates = matrix_of(args.candidates);
  p.keys = matrix_of(args.keys);
  p.values = matrix_of(args.values);
  p.first = layer_of(args.weight_1, args.bias_1, args.slope_1, args.mean_1, args.variance_1);
  p.second = layer_of(args.weight_2, args.bias_2, args.slope_2, args.mean_2, args.variance_2);
  p.weight_3 = static_cast<const float *>(args.weight_3.data);
  p.bias_3 = static_cast<const float *>(args.bias_3.data);
  p.out = args.out.data;
  p.out_stride = attention::stride_of(args.out, 0);
  p.out_dtype = args.out.dtype;
  p.split = plan.split(args.batch, p.candidate_rows);
  p.most_pieces = plan.most_pieces;
  p.partial_outputs = plan.partial_outputs;
  p.partial_states = plan.partial_states;
  p.sink = FaultSink{record, launch, JDB_OP_DIN_ATTENTION, desc.bounds};
  return p;
}

}  // namespace din

template <class Exec>
jd_status launch_din_attention(Exec &exec, const DinAttentionPlan &plan, const jdb_din_attention_args &args) {
  if (args.batch == 0) return JD_OK;
  const din::DinProblem problem = din::problem_of(plan, args, exec.faults(), exec.launch_number());
  const int64_t most_blocks = attention::kBlocksAMultiprocessor * plan.multiprocessors;
  const int64_t items = plan.items(args.batch, problem.candidate_rows) * (problem.split ? plan.most_pieces : 1);
  jd_status status = JD_INTERNAL;
  din::select_kernel(plan.desc, [&](auto *kernel) {
    status = exec.template launch<std::remove_pointer_t<decltype(kernel)>>(attention::grid_for(items, most_blocks), problem);
  });
  if (status != JD_OK || !problem.split) return status;
  using Merge = din::DinAttentionMergeKernel;
  const int64_t merging = attention::max_tiles(problem.candidate_rows, problem.dim_v, problem.batch, Merge::kThreads);
  return exec.template launch<Merge>(attention::grid_for(merging, most_blocks), problem);
}

}  // namespace jindou

#endif
