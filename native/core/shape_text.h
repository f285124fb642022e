// "[3, *, 64]": a shape or strides as messages show them; kAny is shown as *.
#ifndef JINDOU_CORE_SHAPE_TEXT_H
#define JINDOU_CORE_SHAPE_TEXT_H

#include <cinttypes>
#include <cstdint>
#include <cstdio>

namespace jindou::core {

constexpr int64_t kAny = INT64_MIN;  // in an expected shape: any size

struct ShapeText {
  ShapeText(const int64_t *values, int32_t rank) {
    int at = snprintf(text, sizeof text, "[");
    for (int32_t i = 0; i < rank; ++i) {
      const char *separator = i == 0 ? "" : ", ";
      at += values[i] == kAny ? snprintf(text + at, sizeof text - at, "%s*", separator)
                              : snprintf(text + at, sizeof text - at, "%s%" PRId64, separator, values[i]);
    }
    snprintf(text + at, sizeof text - at, "]");
  }
  char text[160];
};

}  // namespace jindou::core

#endif
