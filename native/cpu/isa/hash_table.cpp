#include "cpu/isa/isa.h"
#include "cpu/kernels/hash_table.h"

namespace jindou::cpu {
namespace {

void hash_lookup(const HashLookupTask &task, HashFindings &findings) { HashLookup<Isa>(task, findings).run(); }

}  // namespace

namespace JINDOU_ISA_NAMESPACE {

extern const HashKernels kHashKernels;
const HashKernels kHashKernels = {hash_lookup};

}  // namespace JINDOU_ISA_NAMESPACE
}  // namespace jindou::cpu
