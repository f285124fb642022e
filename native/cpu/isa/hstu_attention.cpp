#include "cpu/isa/attention.h"
#include "cpu/kernels/hstu_attention.h"

namespace jindou::cpu {
namespace JINDOU_ISA_NAMESPACE {

extern const HstuAttentionKernels kHstuAttentionKernels;
const HstuAttentionKernels kHstuAttentionKernels = {Attention<HstuAttention, HstuAttentionTask>::scratch,
                                                  Attention<HstuAttention, HstuAttentionTask>::run};

}  // namespace JINDOU_ISA_NAMESPACE
}  // namespace jindou::cpu
