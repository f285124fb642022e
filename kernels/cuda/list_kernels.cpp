// Prints every kernel of libjindou_cuda.so: <mangled type>,<dynamic shared bytes>. Linked with the library's objects; needs no GPU.
#include <cstdio>

#include "cuda/kernel_list.h"

int main() {
  using jindou::cuda_backend::ListedKernel;
  for (const ListedKernel *k = ListedKernel::first(); k; k = k->next) printf("%s,%zu\n", k->type, k->shared_bytes);
  return 0;
}
