#include "cpu/isa/isa.h"
#include "cpu/kernels/embedding_bag.h"

namespace jindou::cpu {
namespace {

void embedding_bag(const EmbeddingTask &task, EmbeddingFindings &findings) {
  switch (task.elements) {
    case RowElements::f32: return EmbeddingBag<Isa, RowElements::f32>(task, findings).run();
    case RowElements::f16: return EmbeddingBag<Isa, RowElements::f16>(task, findings).run();
    case RowElements::bf16: return EmbeddingBag<Isa, RowElements::bf16>(task, findings).run();
    case RowElements::e4m3: return EmbeddingBag<Isa, RowElements::e4m3>(task, findings).run();
    case RowElements::u8: return EmbeddingBag<Isa, RowElements::u8>(task, findings).run();
    case RowElements::u4: return EmbeddingBag<Isa, RowElements::u4>(task, findings).run();
    case RowElements::u2: return EmbeddingBag<Isa, RowElements::u2>(task, findings).run();
  }
}

// Of codes only: the others are numbers already.
void widen_rows(const EmbeddingTask &task) {
  EmbeddingFindings none{};
  switch (task.elements) {
    case RowElements::e4m3: return EmbeddingBag<Isa, RowElements::e4m3>(task, none).widen_rows();
    case RowElements::u8: return EmbeddingBag<Isa, RowElements::u8>(task, none).widen_rows();
    case RowElements::u4: return EmbeddingBag<Isa, RowElements::u4>(task, none).widen_rows();
    default: return EmbeddingBag<Isa, RowElements::u2>(task, none).widen_rows();
  }
}

}  // namespace

namespace JINDOU_ISA_NAMESPACE {

extern const EmbeddingKernels kEmbeddingKernels;
const EmbeddingKernels kEmbeddingKernels = {embedding_bag, widen_rows};

}  // namespace JINDOU_ISA_NAMESPACE
}  // namespace jindou::cpu
