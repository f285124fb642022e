#include "cpu/memory.h"

#include <stdlib.h>
#include <sys/mman.h>

#include <cstdint>

namespace jindou::cpu {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

// Blocks of at least this size are mapped on their own, at a huge page's boundary. Under AddressSanitizer the allocator
// serves all sizes, so that the bytes around a block are watched.
#if defined(__SANITIZE_ADDRESS__)
constexpr size_t kMapped = SIZE_MAX;
#else
constexpr size_t kMapped = 2 * kHugePage;
#endif

size_t whole_pages(size_t bytes) { return (bytes + kHugePage - 1) / kHugePage * kHugePage; }

void *map(size_t bytes) {
  if (bytes > SIZE_MAX / 2) return nullptr;
  const size_t wanted = whole_pages(bytes);
  void *mapped = mmap(nullptr, wanted + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  const uintptr_t begin = reinterpret_cast<uintptr_t>(mapped);
  const uintptr_t aligned = (begin + kHugePage - 1) / kHugePage * kHugePage;
  const size_t before = aligned - begin, after = kHugePage - before;
  if (before) munmap(mapped, before);
  if (after) munmap(reinterpret_cast<void *>(aligned + wanted), after);
  madvise(reinterpret_cast<void *>(aligned), wanted, MADV_HUGEPAGE);
  return reinterpret_cast<void *>(aligned);
}

}  // namespace

void *allocate(size_t bytes) {
  if (bytes >= kMapped) return map(bytes);
  void *block = nullptr;
  return posix_memalign(&block, kAlignment, bytes ? bytes : 1) == 0 ? block : nullptr;
}

void release(void *block, size_t bytes) {
  if (!block) return;
  if (bytes >= kMapped) {
    munmap(block, whole_pages(bytes));
  } else {
    free(block);
  }
}

}  // namespace jindou::cpu
