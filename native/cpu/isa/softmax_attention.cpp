#include "cpu/kernels/softmax_attention.h"

#include "cpu/isa/attention.h"
#include "cpu/kernels/merge_states.h"

namespace jindou::cpu {
namespace {

void merge_states(const MergeStatesTask &task) { MergeStates<Isa>(task).run(); }

}  // namespace

namespace JINDOU_ISA_NAMESPACE {

extern const SoftmaxAttentionKernels kSoftmaxAttentionKernels;
const SoftmaxAttentionKernels kSoftmaxAttentionKernels = {Attention<SoftmaxAttention, SoftmaxAttentionTask>::scratch,
                                                          Attention<SoftmaxAttention, SoftmaxAttentionTask>::run, merge_states};

}  // namespace JINDOU_ISA_NAMESPACE
}  // namespace jindou::cpu
