#include "cpu/isa/isa.h"
#include "cpu/kernels/din_attention.h"

namespace jindou::cpu {
namespace {

// Calls function.template run<kBf16Pairs>().
template <class Function>
auto choose(int32_t dtype, const Function &function) {
  if constexpr (Isa::kBf16Products) {
    if (dtype == JD_BF16) return function.template run<true>();
  }
  (void)dtype;
  return function.template run<false>();
}

struct NetworkFloats {
  const DinShape &shape;
  template <bool kPairs>
  size_t run() const {
    return typename DinAttention<Isa, kPairs>::Network(shape, nullptr).floats;
  }
};
struct ScratchFloats {
  const DinShape &shape;
  template <bool kPairs>
  size_t run() const {
    return typename DinAttention<Isa, kPairs>::Scratch(shape, nullptr).floats;
  }
};
struct Pack {
  const DinNetwork &network;
  float *packed;
  template <bool kPairs>
  void run() const {
    DinAttention<Isa, kPairs>::pack(network, packed);
  }
};
struct Attend {
  const DinTask &task;
  template <bool kPairs>
  void run() const {
    DinAttention<Isa, kPairs>(task).run();
  }
};

size_t network_floats(const DinShape &shape, int32_t dtype) { return choose(dtype, NetworkFloats{shape}); }
size_t scratch_floats(const DinShape &shape, int32_t dtype) { return choose(dtype, ScratchFloats{shape}); }
void pack(const DinNetwork &network, int32_t dtype, float *packed) { choose(dtype, Pack{network, packed}); }
void attend(const DinTask &task) { choose(task.dtype, Attend{task}); }

}  // namespace

namespace JINDOU_ISA_NAMESPACE {

extern const DinKernels kDinKernels;
const DinKernels kDinKernels = {network_floats, scratch_floats, pack, attend};

}  // namespace JINDOU_ISA_NAMESPACE
}  // namespace jindou::cpu
