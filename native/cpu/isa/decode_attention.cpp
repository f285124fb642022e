#include "cpu/isa/isa.h"
#include "cpu/kernels/decode_attention.h"

namespace jindou::cpu {
namespace {

void decode_piece(const DecodeTask &task) {
  if constexpr (Isa::kBf16Products) {
    if (task.dtype == JD_BF16 && task.keys.dtype == JD_BF16 && task.values.dtype == JD_BF16) return DecodeAttention<Isa, true>(task).run();
  }
  DecodeAttention<Isa, false>(task).run();
}

}  // namespace

namespace JINDOU_ISA_NAMESPACE {

extern const DecodeKernels kDecodeKernels;
const DecodeKernels kDecodeKernels = {DecodeAttention<Isa, false>::kScratchFloats, decode_piece, DecodeAttention<Isa, false>::merge,
                                    DecodeAttention<Isa, false>::finish};

}  // namespace JINDOU_ISA_NAMESPACE
}  // namespace jindou::cpu
