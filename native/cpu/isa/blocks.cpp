#include "cpu/isa/isa.h"
#include "cpu/kernels/linear.h"
#include "cpu/kernels/rows.h"

namespace jindou::cpu {
namespace {

void linear(const LinearTask &task) { Linear<Isa>(task).run(); }

// Null where no instruction multiplies bf16.
template <class I>
constexpr auto linear_bf16() -> void (*)(const LinearTask &) {
  if constexpr (I::kBf16Products) {
    return [](const LinearTask &task) { Linear<I, true>(task).run(); };
  } else {
    return nullptr;
  }
}

}  // namespace

namespace JINDOU_ISA_NAMESPACE {

extern const BlockKernels kBlockKernels;
const BlockKernels kBlockKernels = {Linear<Isa>::kLanes, Linear<Isa>::kScratchFloats, linear, linear_bf16<Isa>(), widen<Isa>,
                                  narrow<Isa>, layer_norm<Isa>, l2_normalize<Isa>};

}  // namespace JINDOU_ISA_NAMESPACE
}  // namespace jindou::cpu
