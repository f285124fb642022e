// How errors name things.
#ifndef JINDOU_SIMT_RUNTIME_REPORT_H
#define JINDOU_SIMT_RUNTIME_REPORT_H

#include <string>
#include <vector>

#include "primitives/dim3.h"
#include "primitives/site.h"

namespace jindou::simt {

// Fixed storage: a thread that reports an error is abandoned, so nothing it holds is ever freed.
struct SiteText {
  char text[256];
};

// "kernels/attention/tile.h:120"
SiteText site_text(prim::Site site);

// "jindou::FooKernel<jindou::FooTraits<64>>", from __PRETTY_FUNCTION__ of simt::kernel_name<K>.
std::string kernel_text(const char *pretty_function);

// "block (3, 0, 0)"
std::string block_text(prim::Dim3 block_idx);

// "threads 0..31, 64, 96..127", of ascending numbers
std::string threads_text(const std::vector<int> &threads);

}  // namespace jindou::simt

#endif
