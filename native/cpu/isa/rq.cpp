#include "cpu/isa/isa.h"
#include "cpu/kernels/rq.h"

namespace jindou::cpu {
namespace {

void rq_encode(const RqEncodeTask &task) { RqEncode<Isa>(task).run(); }

}  // namespace

namespace JINDOU_ISA_NAMESPACE {

extern const RqKernels kRqKernels;
const RqKernels kRqKernels = {RqEncode<Isa>::kLanes, RqEncode<Isa>::kGroup, RqEncode<Isa>::scratch, RqEncode<Isa>::pack,
                              rq_encode, rq_decode<Isa>};

}  // namespace JINDOU_ISA_NAMESPACE
}  // namespace jindou::cpu
