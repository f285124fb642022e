// Every kernel the library can launch, with what ptxas cannot report: its dynamic shared memory. For the budget check.
#ifndef JINDOU_KERNELS_CUDA_KERNEL_LIST_H
#define JINDOU_KERNELS_CUDA_KERNEL_LIST_H

#include <stddef.h>

#include <typeinfo>

namespace jindou::cuda_backend {

struct ListedKernel {
  ListedKernel(const char *kernel_type, int block_threads, int blocks, size_t shared)
      : type(kernel_type), threads(block_threads), min_blocks(blocks), shared_bytes(shared), next(first()) {
    first() = this;
  }
  static const ListedKernel *&first() {
    static const ListedKernel *head = nullptr;
    return head;
  }

  const char *const type;  // mangled
  const int threads;
  const int min_blocks;
  const size_t shared_bytes;
  const ListedKernel *const next;
};

// One for each kernel that is launched somewhere, entered when the library is loaded.
template <class K>
const ListedKernel listed_kernel{typeid(K).name(), K::kThreads, K::kMinBlocks, K::shared_bytes()};

}  // namespace jindou::cuda_backend

#endif
