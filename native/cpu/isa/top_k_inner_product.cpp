#include "cpu/isa/isa.h"
#include "cpu/kernels/top_k_inner_product.h"

namespace jindou::cpu {
namespace {

template <bool kPairs>
void search(const TopKTask &task) {
  if (task.lanes <= ItemLanes<Isa, kPairs>::kMostQueries) return ItemLanes<Isa, kPairs>(task).run();
  QueryLanes<Isa, kPairs>(task).run();
}

void top_k(const TopKTask &task) {
  if constexpr (Isa::kBf16Products) {
    if (task.dtype == JD_BF16) return search<true>(task);
  }
  search<false>(task);
}

}  // namespace

namespace JINDOU_ISA_NAMESPACE {

extern const TopKKernels kTopKKernels;
const TopKKernels kTopKKernels = {SearchTile<Isa, false>::kBlockFloats, top_k};

}  // namespace JINDOU_ISA_NAMESPACE
}  // namespace jindou::cpu
