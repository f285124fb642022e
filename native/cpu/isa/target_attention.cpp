#include "cpu/isa/attention.h"
#include "cpu/kernels/target_attention.h"

namespace jindou::cpu {
namespace JINDOU_ISA_NAMESPACE {

extern const TargetAttentionKernels kTargetAttentionKernels;
const TargetAttentionKernels kTargetAttentionKernels = {Isa::kVectors * Isa::kWidth, Isa::kWidth,
                                                      Attention<TargetAttention, TargetAttentionTask>::scratch,
                                                      Attention<TargetAttention, TargetAttentionTask>::run};

}  // namespace JINDOU_ISA_NAMESPACE
}  // namespace jindou::cpu
