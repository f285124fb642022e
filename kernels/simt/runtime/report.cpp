#include "simt/runtime/report.h"

#include <cstdio>
#include <cstring>

namespace jindou::simt {

SiteText site_text(prim::Site site) {
  const char *file = site.file != nullptr ? site.file : "?";
  // From the source tree's root on, whatever path the compiler was given.
  for (const char *at = file; (at = strstr(at, "/kernels/")) != nullptr; ++at) file = at + 1;
  SiteText text;
  snprintf(text.text, sizeof text.text, "%s:%d", file, site.line);
  return text;
}

std::string kernel_text(const char *pretty_function) {
  const char *name = strstr(pretty_function, "K = ");
  if (name == nullptr) return pretty_function;
  std::string text(name + 4);
  if (!text.empty() && text.back() == ']') text.pop_back();
  return text;
}

std::string block_text(prim::Dim3 block_idx) {
  char text[64];
  snprintf(text, sizeof text, "block (%u, %u, %u)", block_idx.x, block_idx.y, block_idx.z);
  return text;
}

std::string threads_text(const std::vector<int> &threads) {
  std::string text = threads.size() == 1 ? "thread " : "threads ";
  for (size_t i = 0; i < threads.size();) {
    size_t last = i;
    while (last + 1 < threads.size() && threads[last + 1] == threads[last] + 1) ++last;
    if (i != 0) text += ", ";
    text += std::to_string(threads[i]);
    if (last != i) text += ".." + std::to_string(threads[last]);
    i = last + 1;
  }
  return text;
}

}  // namespace jindou::simt
