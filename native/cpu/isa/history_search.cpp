#include "cpu/isa/isa.h"
#include "cpu/kernels/history_search.h"
#include "cpu/kernels/lsh_signatures.h"

namespace jindou::cpu {
namespace {

void search(const SearchTask &task) {
  if (task.dtype == JD_I64) return LshSearch<Isa>(task).run();
  if constexpr (Isa::kBf16Products) {
    if (task.dtype == JD_BF16) return DotSearch<Isa, true>(task).run();
  }
  DotSearch<Isa, false>(task).run();
}

void lsh_signatures(const SignatureTask &task) {
  if constexpr (Isa::kBf16Products) {
    if (task.dtype == JD_BF16) return LshSignatures<Isa, true>(task).run();
  }
  LshSignatures<Isa, false>(task).run();
}

}  // namespace

namespace JINDOU_ISA_NAMESPACE {

extern const SearchKernels kSearchKernels;
const SearchKernels kSearchKernels = {SearchTile<Isa, false>::kLanes, SearchTile<Isa, false>::kBlockFloats, search, lsh_signatures};

}  // namespace JINDOU_ISA_NAMESPACE
}  // namespace jindou::cpu
