// The table of an instruction set's kernels: run-time dtypes and head dims become template parameters here, once.
#ifndef JINDOU_CPU_KERNELS_TABLE_H
#define JINDOU_CPU_KERNELS_TABLE_H

#include "cpu/kernels/decode_attention.h"
#include "cpu/kernels/embedding_bag.h"
#include "cpu/kernels/hstu_attention.h"
#include "cpu/kernels/kernel_table.h"
#include "cpu/kernels/linear.h"
#include "cpu/kernels/rows.h"
#include "cpu/kernels/target_attention.h"

namespace jindou::cpu {
namespace {

// Operator is TargetAttention or HstuAttention.
template <class Isa, template <class, int, bool> class Operator>
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

  // Codes are multiplied as f32, whatever the queries' dtype.
  static int32_t computing_dtype(const TargetAttentionTask &task) { return task.dtype; }
  static int32_t computing_dtype(const HstuAttentionTask &task) { return task.paged_keys.scales ? JD_F32 : task.dtype; }

  struct Scratch {
    template <int kHeadDim, bool kBf16Pairs>
    AttentionScratch run() const {
      using O = Operator<Isa, kHeadDim, kBf16Pairs>;
      return {O::kBlockFloats, O::kTileFloats, O::kPartialFloats};
    }
  };
  static AttentionScratch scratch(int32_t dtype, int32_t head_dim) { return choose(dtype, head_dim, Scratch{}); }

  template <class Task>
  struct Run {
    const Task &task;
    template <int kHeadDim, bool kBf16Pairs>
    void run() const {
      Operator<Isa, kHeadDim, kBf16Pairs>(task).run();
    }
  };
  template <class Task>
  static void run(const Task &task) {
    choose(computing_dtype(task), task.head_dim, Run<Task>{task});
  }
};

template <class Isa>
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

template <class Isa>
void decode_piece(const DecodeTask &task) {
  DecodeAttention<Isa>(task).run();
}

template <class Isa>
void linear(const LinearTask &task) {
  Linear<Isa>(task).run();
}

template <class Isa>
constexpr KernelTable kernel_table() {
  return {Isa::kName,
          Isa::kVectors * Isa::kWidth,
          Attention<Isa, TargetAttention>::scratch,
          Attention<Isa, HstuAttention>::scratch,
          Attention<Isa, TargetAttention>::template run<TargetAttentionTask>,
          Attention<Isa, HstuAttention>::template run<HstuAttentionTask>,
          DecodeAttention<Isa>::kScratchFloats,
          decode_piece<Isa>,
          DecodeAttention<Isa>::merge,
          DecodeAttention<Isa>::finish,
          embedding_bag<Isa>,
          Linear<Isa>::kLanes,
          Linear<Isa>::kScratchFloats,
          linear<Isa>,
          layer_norm<Isa>,
          l2_normalize<Isa>};
}

}  // namespace
}  // namespace jindou::cpu

#endif
