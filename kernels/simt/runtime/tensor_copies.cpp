#include "simt/runtime/tensor_copies.h"

#include <cstring>

namespace jindou::simt {

namespace {

constexpr uint64_t kMagic = 0x4a494e444f55544d;

using Half = uint16_t __attribute__((may_alias));

}  // namespace

prim::TensorMap encode_tensor_map(const prim::TensorGeometry &g) {
  prim::TensorMap map{};
  map.words[0] = reinterpret_cast<uintptr_t>(g.data);
  for (int i = 0; i < 4; ++i) map.words[1 + i] = g.sizes[i];
  for (int i = 0; i < 3; ++i) map.words[5 + i] = g.strides[i];
  for (int i = 0; i < 4; ++i) map.words[8 + i] = g.box[i];
  map.words[15] = kMagic;
  return map;
}

bool decode_tensor_map(const prim::TensorMap &map, prim::TensorGeometry &g) {
  if (map.words[15] != kMagic) return false;
  g.data = reinterpret_cast<const void *>(map.words[0]);
  for (int i = 0; i < 4; ++i) g.sizes[i] = map.words[1 + i];
  for (int i = 0; i < 3; ++i) g.strides[i] = map.words[5 + i];
  for (int i = 0; i < 4; ++i) g.box[i] = static_cast<uint32_t>(map.words[8 + i]);
  return true;
}

int TensorCopy::bytes() const {
  return static_cast<int>(geometry.box[0] * geometry.box[1] * geometry.box[2] * geometry.box[3]) * prim::kTensorElementBytes;
}

void TensorCopy::land(uint32_t window_address) const {
  const prim::TensorGeometry &g = geometry;
  const auto inside = [&](int dimension, int64_t index) {
    return index >= 0 && index < static_cast<int64_t>(g.sizes[dimension]);
  };
  uint32_t offset = 0;
  for (int64_t i3 = at[3]; i3 < at[3] + int64_t{g.box[3]}; ++i3) {
    for (int64_t i2 = at[2]; i2 < at[2] + int64_t{g.box[2]}; ++i2) {
      for (int64_t i1 = at[1]; i1 < at[1] + int64_t{g.box[1]}; ++i1) {
        const bool row_inside = inside(1, i1) && inside(2, i2) && inside(3, i3);
        const char *row = nullptr;
        if (row_inside) {
          row = static_cast<const char *>(g.data) + i1 * static_cast<int64_t>(g.strides[0]) +
                i2 * static_cast<int64_t>(g.strides[1]) + i3 * static_cast<int64_t>(g.strides[2]);
        }
        for (int64_t i0 = at[0]; i0 < at[0] + int64_t{g.box[0]}; ++i0, offset += prim::kTensorElementBytes) {
          const uint32_t address = window_address + offset;
          const uint32_t swizzled = address ^ ((address >> 7 & 7u) << 4);
          const Half value = row_inside && inside(0, i0) ? reinterpret_cast<const Half *>(row)[i0] : Half{0};
          *reinterpret_cast<Half *>(target + (swizzled - window_address)) = value;
        }
      }
    }
  }
}

}  // namespace jindou::simt
