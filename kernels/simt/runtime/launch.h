// simt::launch<K>: runs a kernel (primitives/launch.h says what one is) on this machine's CPU.
//
// Returns when all blocks have ended; throws simt::Error if the kernel broke a rule. May be called from several OS threads.
#ifndef JINDOU_SIMT_RUNTIME_LAUNCH_H
#define JINDOU_SIMT_RUNTIME_LAUNCH_H

#include <stddef.h>

#include "primitives/dim3.h"
#include "primitives/launch.h"
#include "simt/runtime/options.h"

namespace jindou::simt {

// A launch without its types.
struct Launch {
  const char *kernel;  // __PRETTY_FUNCTION__ of something that names it
  prim::Grid grid;
  int threads;
  size_t shared_bytes;
  void (*run)(const void *params, char *shared);
  const void *params;
};

// Runs it. The text of the error, or an empty string; with a C interface because the race-checking build keeps the run
// time in a library of its own: `text` holds up to `capacity` bytes, the result is the length.
size_t run_launch(const Launch &launch, const Options &options, char *text, size_t capacity);

template <class K>
const char *kernel_name() {
  return __PRETTY_FUNCTION__;
}

template <class K>
void launch(prim::Grid grid, const typename K::Params &params, const Options &options = {}) {
  static_assert(prim::KernelCheck<K>::kValid);
  const auto run = [](const void *p, char *shared) { K::run(*static_cast<const typename K::Params *>(p), shared); };
  char text[8192];
  const Launch what{kernel_name<K>(), grid, K::kThreads, K::shared_bytes(), run, &params};
  if (run_launch(what, options, text, sizeof text) != 0) throw Error(text);
}

}  // namespace jindou::simt

#endif
