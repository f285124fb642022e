#include "cpu/isa/attention.h"
#include "cpu/kernels/beam_attention.h"

namespace jindou::cpu {
namespace JINDOU_ISA_NAMESPACE {

extern const BeamAttentionKernels kBeamAttentionKernels;
const BeamAttentionKernels kBeamAttentionKernels = {Attention<BeamAttention, BeamAttentionTask>::scratch,
                                                    Attention<BeamAttention, BeamAttentionTask>::run};

}  // namespace JINDOU_ISA_NAMESPACE
}  // namespace jindou::cpu
