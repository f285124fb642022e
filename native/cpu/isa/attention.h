// Run-time dtypes and head dims of the attention kernels become template parameters here, once.
#ifndef JINDOU_CPU_ISA_ATTENTION_H
#define JINDOU_CPU_ISA_ATTENTION_H

#include "cpu/isa/isa.h"

namespace jindou::cpu {
namespace {

// Operator<Isa, kHeadDim, kBf16Pairs> is a kernel over tiles (kernels/attention_tile.h) that is made from its Task and run.
template <template <class, int, bool> class Operator, class Task>
struct Attention {
  // Calls function.template run<kHeadDim, kBf16Pairs>().
  template <class Function>
  static auto choose(int32_t dtype, int32_t head_dim, const Function &function) {
    if constexpr (Isa::kBf16Products) {
      if (dtype == JD_BF16) return choose_dim<true>(head_dim, function);
    }
    (void)dtype;
    return choose_dim<false>(head_dim, function);
  }
  template <bool kBf16Pairs, class Function>
  static auto choose_dim(int32_t head_dim, const Function &function) {
    switch (head_dim) {
      case 32: return function.template run<32, kBf16Pairs>();
      case 64: return function.template run<64, kBf16Pairs>();
      case 96: return function.template run<96, kBf16Pairs>();
      default: return function.template run<128, kBf16Pairs>();
    }
  }

  struct Scratch {
    template <int kHeadDim, bool kBf16Pairs>
    AttentionScratch run() const {
      using O = Operator<Isa, kHeadDim, kBf16Pairs>;
      return {O::kBlockFloats, O::kTileFloats, O::kPartialFloats};
    }
  };
  static AttentionScratch scratch(int32_t dtype, int32_t head_dim) { return choose(dtype, head_dim, Scratch{}); }

  struct Run {
    const Task &task;
    template <int kHeadDim, bool kBf16Pairs>
    void run() const {
      Operator<Isa, kHeadDim, kBf16Pairs>(task).run();
    }
  };
  static void run(const Task &task) { choose(Operator<Isa, 32, false>::computing_dtype(task), task.head_dim, Run{task}); }
};

}  // namespace
}  // namespace jindou::cpu

#endif
