// The run-time dtype of the attention kernels becomes a template parameter here, once: only whether products are of bf16
// pairs is one. Head dims stay what they are, the lengths of loops.
#ifndef JINDOU_CPU_ISA_ATTENTION_H
#define JINDOU_CPU_ISA_ATTENTION_H

#include "cpu/isa/isa.h"

namespace jindou::cpu {
namespace {

// Operator<Isa, kBf16Pairs> is a kernel over tiles (kernels/attention_tile.h) that is made from its Task and run.
template <template <class, bool> class Operator, class Task>
struct Attention {
  // Calls function.template run<kBf16Pairs>().
  template <class Function>
  static auto choose(int32_t dtype, const Function &function) {
    if constexpr (Isa::kBf16Products) {
      if (dtype == JD_BF16) return function.template run<true>();
    }
    (void)dtype;
    return function.template run<false>();
  }

  struct Scratch {
    int32_t dim_qk, dim_v;
    template <bool kBf16Pairs>
    AttentionScratch run() const {
      return Operator<Isa, kBf16Pairs>::scratch(dim_qk, dim_v);
    }
  };
  static AttentionScratch scratch(int32_t dtype, int32_t dim_qk, int32_t dim_v) { return choose(dtype, Scratch{dim_qk, dim_v}); }

  struct Run {
    const Task &task;
    template <bool kBf16Pairs>
    void run() const {
      Operator<Isa, kBf16Pairs>(task).run();
    }
  };
  static void run(const Task &task) { choose(Operator<Isa, false>::computing_dtype(task), Run{task}); }
};

}  // namespace
}  // namespace jindou::cpu

#endif
