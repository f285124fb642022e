// embedding_bag where some tables are pooled and others are not: the two kernels side by side, in a file of their own to compile.
#ifndef JINDOU_KERNELS_EMBEDDING_EMBEDDING_MIXED_LAUNCH_H
#define JINDOU_KERNELS_EMBEDDING_EMBEDDING_MIXED_LAUNCH_H

#include "embedding/embedding_bag_launch.h"
#include "embedding/embedding_mixed.h"

namespace jindou {

namespace embedding {

template <class Kernel>
Work<Kernel> side_by_side(const Work<typename Kernel::First> &first, const Work<typename Kernel::Second> &second) {
  Work<Kernel> both;
  both.params.first = first.params;
  both.params.second = second.params;
  both.params.first_blocks = static_cast<uint32_t>(first.blocks);
  both.blocks = first.blocks + second.blocks;
  return both;
}

}  // namespace embedding

template <class Exec>
jd_status launch_embedding_mixed(Exec &exec, const EmbeddingBagPlan &plan, const jdb_embedding_bag_args &args,
                                 const embedding::Jagged &in) {
  using namespace embedding;
  const auto pooled = pooled_work(plan, args, in);
  if (plan.desc.out_dtype != JD_I8) {
    using Kernel = EmbeddingMixedKernel;
    return side_by_side<Kernel>(pooled, rows_work<Kernel::Second>(plan, args, in)).launch(exec);
  }
  using Kernel = EmbeddingMixedCodesKernel;
  if (const jd_status status = pooled.launch(exec)) return status;
  return side_by_side<Kernel>(codes_work(plan, args), row_codes_work<Kernel::Second>(plan, args, in)).launch(exec);
}

}  // namespace jindou

#endif
