#include "cpu/isa/isa.h"
#include "cpu/kernels/linear.h"
#include "cpu/kernels/rows.h"

namespace jindou::cpu {
namespace {

void linear(const LinearTask &task) { Linear<Isa>(task).run(); }

}  // namespace

namespace JINDOU_ISA_NAMESPACE {

extern const BlockKernels kBlockKernels;
const BlockKernels kBlockKernels = {Linear<Isa>::kLanes, Linear<Isa>::kScratchFloats, linear, widen<Isa>,
                                  narrow<Isa>, layer_norm<Isa>, l2_normalize<Isa>};

}  // namespace JINDOU_ISA_NAMESPACE
}  // namespace jindou::cpu
