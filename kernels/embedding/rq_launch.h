// rq_encode and rq_decode: which tile for which shape, and the launches.
#ifndef JINDOU_KERNELS_EMBEDDING_RQ_LAUNCH_H
#define JINDOU_KERNELS_EMBEDDING_RQ_LAUNCH_H

#include <cstdio>
#include <memory>

#include "embedding/rq_decode.h"
#include "embedding/rq_encode.h"
#include "plan.h"

namespace jindou {

struct RqEncodePlan : KernelPlan {
  RqEncodePlan(const PlanResources &resources, const jd_rq_encode_desc &d) : KernelPlan(JDB_OP_RQ_ENCODE, resources), desc(d) {}

  static jd_status create(const PlanResources &resources, const jd_rq_encode_desc &desc, KernelPlan **plan, jd_error *) {
    *plan = std::make_unique<RqEncodePlan>(resources, desc).release();
    return JD_OK;
  }

  // Rows of a block where there are many.
  int32_t rows_of_block() const { return desc.dim <= 256 ? 64 : 16; }

  void describe(char *text, size_t capacity) const override {
    snprintf(text, capacity, "rq_encode: %d levels of %d codes, %d x 64 tiles of f32 FMAs (16 x 64 for few rows)", desc.num_levels,
             desc.num_codes, rows_of_block());
  }

  const jd_rq_encode_desc desc;
};

namespace embedding {

template <class Traits, class Exec>
jd_status launch_rq_encode_tile(Exec &exec, const RqEncodePlan &plan, const jdb_rq_encode_args &args) {
  using Kernel = RqEncodeKernel<Traits>;
  typename Kernel::Params p{};
  p.x = args.x.data;
  p.codebooks = static_cast<const float *>(args.codebooks.data);
  p.codes = static_cast<int32_t *>(args.codes.data);
  p.residual_norm = static_cast<float *>(args.residual_norm.data);
  p.n = args.x.shape[0];
  p.x_stride = args.x.strides[0];
  p.level_stride = args.codebooks.strides[0];
  p.code_stride = args.codebooks.strides[1];
  p.codes_stride = args.codes.strides[0];
  p.dtype = plan.desc.dtype;
  p.levels = plan.desc.num_levels;
  p.num_codes = plan.desc.num_codes;
  p.dim = plan.desc.dim;
  return exec.template launch<Kernel>(prim::Grid{static_cast<uint32_t>((p.n + Traits::kRows - 1) / Traits::kRows), 1, 1}, p);
}

}  // namespace embedding

template <class Exec>
jd_status launch_rq_encode(Exec &exec, const RqEncodePlan &plan, const jdb_rq_encode_args &args) {
  using namespace embedding;
  const bool many = args.x.shape[0] > 64 * static_cast<int64_t>(plan.multiprocessors);
  if (many && plan.desc.dim <= RqNarrow::kMaxDim) return launch_rq_encode_tile<RqNarrow>(exec, plan, args);
  if (many && plan.desc.dim <= RqMiddle::kMaxDim) return launch_rq_encode_tile<RqMiddle>(exec, plan, args);
  return launch_rq_encode_tile<RqFewRows>(exec, plan, args);
}

template <class Exec>
jd_status launch_rq_decode(Exec &exec, const jdb_rq_decode_args &args) {
  using Kernel = embedding::RqDecodeKernel;
  Kernel::Params p{};
  p.codes = static_cast<const int32_t *>(args.codes.data);
  p.codebooks = static_cast<const float *>(args.codebooks.data);
  p.out = args.out.data;
  p.n = args.codes.shape[0];
  p.codes_stride = args.codes.strides[0];
  p.level_stride = args.codebooks.strides[0];
  p.code_stride = args.codebooks.strides[1];
  p.out_stride = args.out.strides[0];
  p.out_dtype = args.out.dtype;
  p.levels = static_cast<int32_t>(args.codebooks.shape[0]);
  p.num_codes = static_cast<int32_t>(args.codebooks.shape[1]);
  p.vectors = static_cast<int32_t>(args.codebooks.shape[2] / 4);
  p.sink = FaultSink{exec.faults(), exec.launch_number(), JDB_OP_RQ_DECODE, args.bounds};
  const int64_t blocks = (p.n * p.vectors + Kernel::kThreads - 1) / Kernel::kThreads;
  return exec.template launch<Kernel>(prim::Grid{static_cast<uint32_t>(blocks), 1, 1}, p);
}

}  // namespace jindou

#endif
