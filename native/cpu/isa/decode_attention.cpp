#include "cpu/isa/isa.h"
#include "cpu/kernels/decode_attention.h"

namespace jindou::cpu {
namespace {

void decode_piece(const DecodeTask &task) { DecodeAttention<Isa>(task).run(); }

}  // namespace

namespace JINDOU_ISA_NAMESPACE {

extern const DecodeKernels kDecodeKernels;
const DecodeKernels kDecodeKernels = {DecodeAttention<Isa>::kScratchFloats, decode_piece, DecodeAttention<Isa>::merge,
                                    DecodeAttention<Isa>::finish};

}  // namespace JINDOU_ISA_NAMESPACE
}  // namespace jindou::cpu
