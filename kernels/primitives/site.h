// Where in a kernel's source a primitive was called. The emulator prints it when threads wait for ever or an address is
// bad; on a GPU it is empty and costs nothing. Primitives take it as their last argument, `Site site = Site::here()`.
#ifndef JINDOU_PRIMITIVES_SITE_H
#define JINDOU_PRIMITIVES_SITE_H

#include "primitives/compiler.h"

namespace jindou::prim {

#if defined(__CUDACC__)
struct Site {
  JD_HOST_DEVICE static constexpr Site here() { return {}; }
};
#else
struct Site {
  const char *file;
  int line;
  static constexpr Site here(const char *file = __builtin_FILE(), int line = __builtin_LINE()) { return {file, line}; }
};
#endif

}  // namespace jindou::prim

#endif
