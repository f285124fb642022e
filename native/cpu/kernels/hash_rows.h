// Rows of a hash table, at random places: asked for and copied by cache lines.
#ifndef JINDOU_CPU_KERNELS_HASH_ROWS_H
#define JINDOU_CPU_KERNELS_HASH_ROWS_H

#include <stdint.h>
#include <string.h>

#include "cpu/simd/simd.h"

namespace jindou::cpu {
namespace {

constexpr int64_t kLine = 64;
constexpr int64_t kMostPrefetched = 1024;  // bytes of a row; the hardware fetches the rest behind them

// function(line) for the lines that a row of so many bytes lies in, as many as are prefetched.
template <class Function>
inline __attribute__((always_inline)) void for_lines(const char *row, int64_t bytes, const Function &function) {
  const char *const end = row + (bytes < kMostPrefetched ? bytes : kMostPrefetched);
  for (const char *line = row - reinterpret_cast<uintptr_t>(row) % kLine; line < end; line += kLine) function(line);
}

// Whole lines without a call. Both may be the same.
JD_SIMD void copy_row(char *to, const char *from, int64_t bytes) {
  int64_t at = 0;
  for (; at + kLine <= bytes; at += kLine) {
    char line[kLine];  // by a register
    memcpy(line, from + at, kLine);
    memcpy(to + at, line, kLine);
  }
  if (at < bytes && from != to) memcpy(to + at, from + at, static_cast<size_t>(bytes - at));
}

}  // namespace
}  // namespace jindou::cpu

#endif
