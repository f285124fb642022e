// Memory of the CPU device. Large blocks ask for huge pages: a random gather over an embedding table of 4 KiB pages spends
// more time on address translation than on the rows.
#ifndef JINDOU_CPU_MEMORY_H
#define JINDOU_CPU_MEMORY_H

#include <cstddef>

namespace jindou::cpu {

constexpr size_t kAlignment = 256;  // bytes, of every block

// Null when there is no memory. Contents are undefined.
void *allocate(size_t bytes);
void release(void *block, size_t bytes);

}  // namespace jindou::cpu

#endif
