#include "cpu/isa/isa.h"
#include "cpu/kernels/hash_table.h"
#include "cpu/kernels/hash_write.h"

namespace jindou::cpu {
namespace {

void hash_lookup(const HashLookupTask &task, HashFindings &findings) { HashLookup<Isa>(task, findings).run(); }
void hash_insert(const HashWriteTask &task, HashWritten &written) { HashWrite<Isa>(task).insert(written); }
void hash_erase(const HashWriteTask &task, HashWritten &written) { HashWrite<Isa>(task).erase(written); }

}  // namespace

namespace JINDOU_ISA_NAMESPACE {

extern const HashKernels kHashKernels;
const HashKernels kHashKernels = {hash_lookup, hash_insert, hash_erase};

}  // namespace JINDOU_ISA_NAMESPACE
}  // namespace jindou::cpu
