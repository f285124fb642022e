// Where the codes, the scale and the bias of an embedding row lie (jindou/embedding.h), for all backends.
#ifndef JINDOU_CORE_ROW_FORMATS_H
#define JINDOU_CORE_ROW_FORMATS_H

#include <jindou/embedding.h>

#include <cstdint>

namespace jindou {

// What stands beside the codes of a row.
enum RowHeader : int32_t {
  kHeaderNone = 0,   // scale 1, bias 0
  kHeaderHalves = 1, // f16 scale, f16 bias
  kHeaderFloats = 2, // f32 scale, f32 bias
  kHeaderScale = 3   // f32 scale; bias 0
};

struct RowLayout {
  int32_t bits;       // of a code
  RowHeader header;
  int32_t codes_at;   // bytes from the beginning of the row
  int32_t header_at;
  int64_t row_bytes;  // at least
};

constexpr RowLayout row_layout(int32_t format, int64_t dim) {
  const int32_t bits = format == JD_ROWS_INT4 || format == JD_ROWS_INT4_LAST   ? 4
                       : format == JD_ROWS_INT2 || format == JD_ROWS_INT2_LAST ? 2
                                                                               : 8;
  const int32_t codes = static_cast<int32_t>(dim * bits / 8);
  switch (format) {
    case JD_ROWS_INT8:
    case JD_ROWS_INT4:
    case JD_ROWS_INT2: return {bits, kHeaderHalves, 4, 0, codes + 4};
    case JD_ROWS_INT8_FLOAT: return {bits, kHeaderFloats, 0, codes, codes + 8};
    case JD_ROWS_INT4_LAST:
    case JD_ROWS_INT2_LAST: return {bits, kHeaderHalves, 0, codes, codes + 4};
    case JD_ROWS_E4M3: return {bits, kHeaderScale, 4, 0, codes + 4};
    default: return {bits, kHeaderNone, 0, 0, codes};  // plain fp8
  }
}

}  // namespace jindou

#endif
