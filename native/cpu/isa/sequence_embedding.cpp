#include "cpu/isa/isa.h"
#include "cpu/kernels/sequence_embedding.h"

namespace jindou::cpu {
namespace {

void sequence_embedding(const SequenceTask &task, SequenceFindings &findings) {
  SequenceEmbedding<Isa>{task, findings}.run();
}

}  // namespace

namespace JINDOU_ISA_NAMESPACE {

extern const SequenceKernels kSequenceKernels;
const SequenceKernels kSequenceKernels = {sequence_embedding};

}  // namespace JINDOU_ISA_NAMESPACE
}  // namespace jindou::cpu
