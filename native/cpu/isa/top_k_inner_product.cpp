#include "cpu/isa/isa.h"
#include "cpu/kernels/top_k_inner_product.h"

namespace jindou::cpu {
namespace {

template <class Vectors, bool kPairs>
void search(const TopKTask &task) {
  if constexpr (Vectors::Half::kWidth < Vectors::kWidth) {
    if (task.lanes <= Vectors::Half::kWidth) return TopKSearch<typename Vectors::Half, kPairs>(task).run();
  }
  TopKSearch<Vectors, kPairs>(task).run();
}

void top_k(const TopKTask &task) {
  if constexpr (Isa::kBf16Products) {
    if (task.dtype == JD_BF16 && !task.codes) return search<Isa, true>(task);
  }
  search<Isa, false>(task);
}

}  // namespace

namespace JINDOU_ISA_NAMESPACE {

extern const TopKKernels kTopKKernels;
const TopKKernels kTopKKernels = {top_k};

}  // namespace JINDOU_ISA_NAMESPACE
}  // namespace jindou::cpu
