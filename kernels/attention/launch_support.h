// Host side, shared by the attention operators: from the backend table's tensors to kernel parameters, lists of
// kernels, and bounds of how much work a jagged batch can hold. No CUDA.
#ifndef JINDOU_KERNELS_ATTENTION_LAUNCH_SUPPORT_H
#define JINDOU_KERNELS_ATTENTION_LAUNCH_SUPPORT_H

#include <algorithm>
#include <cstdint>

#include "attention/jagged.h"

namespace jindou::attention {

// The kernels of an operator: what is compiled, what is tested, and where run-time values become traits. A kernel has
// kDtype, kHeadDim and kTileRows.
template <class... Kernels>
struct KernelList {
  static constexpr int kSize = sizeof...(Kernels);

  template <class Kernel>
  struct Tag {
    using type = Kernel;
  };

  // f(Tag<Kernel>{}) for each kernel until one returns true; whether one did.
  template <class F>
  static bool visit(F &&f) {
    return (f(Tag<Kernels>{}) || ...);
  }

  // f(Tag<Kernel>{}) for the kernel of these values; false when there is none.
  template <class F>
  static bool select(int32_t dtype, int32_t head_dim, int32_t tile_rows, F &&f) {
    return visit([&](auto tag) {
      using Kernel = typename decltype(tag)::type;
      if (Kernel::kDtype != dtype || Kernel::kHeadDim != head_dim || Kernel::kTileRows != tile_rows) return false;
      f(tag);
      return true;
    });
  }

  static bool has(int32_t dtype, int32_t head_dim, int32_t tile_rows) {
    return select(dtype, head_dim, tile_rows, [](auto) {});
  }
};

// Strides of dimensions of one element may be anything.
inline int64_t stride_of(const jdb_tensor &tensor, int dimension) {
  return tensor.shape[dimension] > 1 ? tensor.strides[dimension] : 0;
}

// All zero for an absent tensor.
template <class T>
Rows<const T> rows_of(const jdb_tensor &tensor) {
  return Rows<const T>{static_cast<const T *>(tensor.data), stride_of(tensor, 0), stride_of(tensor, 1)};
}

inline OutRows out_rows_of(const jdb_tensor &tensor) {
  return OutRows{tensor.data, stride_of(tensor, 0), stride_of(tensor, 1), tensor.dtype == JD_BF16};
}

inline Offsets offsets_of(const jdb_tensor &tensor) { return Offsets{tensor.data, tensor.dtype == JD_I64}; }

// Large enough to be "more than any launch has", small enough to multiply by another such number.
constexpr int64_t kMany = int64_t{1} << 31;

inline int64_t bounded_product(int64_t a, int64_t b) {
  return std::min(std::min(a, kMany) * std::min(b, kMany), kMany);
}

// Upper bound of sum_b ceil(n_b * each / size), n_b >= 0 adding up to `total` over `batch` sequences; exact for one
// sequence.
inline int64_t max_tiles(int64_t total, int64_t each, int64_t batch, int64_t size) {
  const int64_t units = bounded_product(total, each);
  return std::min((units + (size - 1) * std::min({batch, total, kMany})) / size, kMany);
}

// A grid for that many items (work_list.h): one block at least, which looks at the offsets.
inline prim::Grid grid_for(int64_t items, int64_t most) {
  return prim::Grid{static_cast<uint32_t>(std::max<int64_t>(1, std::min(items, most))), 1, 1};
}

// bf16 has tiles of 128 rows, the faster, and of 64, for when the others would not give each multiprocessor two blocks;
// f32 has tiles of 64. The bits of the results are the same.
constexpr int32_t kLargeTile = 128;
constexpr int32_t kSmallTile = 64;

inline int32_t tile_rows_for(int32_t dtype, int64_t large_tiles, int32_t multiprocessors) {
  return dtype == JD_BF16 && large_tiles >= int64_t{2} * multiprocessors ? kLargeTile : kSmallTile;
}

// Blocks a multiprocessor in a grid: enough for the hardware's scheduler to even out items of different length.
constexpr int64_t kBlocksAMultiprocessor = 16;

}  // namespace jindou::attention

#endif
