// Host side, shared by the attention operators: from the backend table's tensors to kernel parameters, lists of
// kernels, and bounds of how much work a jagged batch can hold. No CUDA.
#ifndef JINDOU_KERNELS_ATTENTION_LAUNCH_SUPPORT_H
#define JINDOU_KERNELS_ATTENTION_LAUNCH_SUPPORT_H

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>

#include "attention/jagged.h"
#include "core/error.h"

namespace jindou::attention {

// The kernels of an operator: what is compiled, what is tested, and where run-time values become traits. A kernel has
// an Element (uint16_t stands for bf16 and f16), kColumns and kTileRows.
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

  // The least number of columns compiled that holds both head dims; 0 when none does.
  static int32_t columns(const HeadShape &shape) {
    int32_t best = 0;
    visit([&](auto tag) {
      using Kernel = typename decltype(tag)::type;
      const bool holds = takes<Kernel>(shape.dtype) && Kernel::kColumns >= std::max(shape.dim_qk, shape.dim_v);
      if (holds && (best == 0 || Kernel::kColumns < best)) best = Kernel::kColumns;
      return false;
    });
    return best;
  }

  // f(Tag<Kernel>{}) for the kernel of these values; false when there is none.
  template <class F>
  static bool select(const HeadShape &shape, int32_t tile_rows, F &&f) {
    const int32_t wanted = columns(shape);
    return visit([&](auto tag) {
      using Kernel = typename decltype(tag)::type;
      if (!takes<Kernel>(shape.dtype) || Kernel::kColumns != wanted || Kernel::kTileRows != tile_rows) return false;
      f(tag);
      return true;
    });
  }

 private:
  template <class Kernel>
  static bool takes(int32_t dtype) {
    return (dtype == JD_F32) == (sizeof(typename Kernel::Element) == 4);
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
  return OutRows{tensor.data, stride_of(tensor, 0), stride_of(tensor, 1), tensor.dtype};
}

inline Offsets offsets_of(const jdb_tensor &tensor) { return Offsets{tensor.data, tensor.dtype == JD_I64}; }

// Of a dimension of a tensor of elements of so many bytes, in bytes, as tensor maps take it: one without a stride has one row, and any
// will do.
inline uint64_t map_stride(const jdb_tensor &tensor, int dimension, int64_t element_bytes = 2) {
  const int64_t stride = stride_of(tensor, dimension);
  return static_cast<uint64_t>(stride != 0 ? stride * element_bytes : 128);
}

// How tiles of `box_rows` rows of a tensor [rows, heads, d] of 16-bit elements are copied by the copy engine: d as panels of 64 columns.
// A stride of a dimension of one element may be any. Nothing is copied of a tensor without rows: `instead`, device memory, stands for it.
inline prim::TensorGeometry tile_geometry(const jdb_tensor &tensor, int32_t box_rows, const void *instead) {
  const auto bytes = [&](int dimension) { return map_stride(tensor, dimension); };
  const auto d = static_cast<uint64_t>(tensor.shape[2]);
  const bool empty = tensor.shape[0] == 0;
  return prim::TensorGeometry{empty ? instead : tensor.data,
                              {64, empty ? 1 : static_cast<uint64_t>(tensor.shape[0]), d / 64, static_cast<uint64_t>(tensor.shape[1])},
                              {bytes(0), 128, bytes(1)},
                              {64, static_cast<uint32_t>(box_rows), static_cast<uint32_t>(d / 64), 1}};
}

// Boxes of 64 columns of a head in rows of a page, `box_rows` at most, of pages [num_pages, page_size, heads, d]: at (column, row, head,
// page). Codes of one byte are copied by twos, a column each; of 64 (32 columns) the rest of a box is zeros.
inline prim::TensorGeometry page_geometry(const jdb_tensor &pages, int32_t box_rows, const void *instead) {
  const int64_t element = pages.dtype == JD_F8_E4M3 || pages.dtype == JD_I8 ? 1 : 2;
  const auto bytes = [&](int dimension) { return map_stride(pages, dimension, element); };
  const auto size = [&](int dimension) { return static_cast<uint64_t>(pages.shape[dimension]); };
  const bool empty = pages.shape[0] == 0;
  const auto rows = static_cast<uint32_t>(std::min<int64_t>(box_rows, pages.shape[1]));
  return prim::TensorGeometry{empty ? instead : pages.data,
                              {size(3) * static_cast<uint64_t>(element) / 2, size(1), size(2), empty ? 1 : size(0)},
                              {bytes(1), bytes(2), bytes(0)},
                              {64, rows, 1, 1}};
}

// Boxes of `rows` packed rows: `group` heads of each of rows / group tokens of a tensor [tokens, heads, d].
inline prim::TensorGeometry packed_geometry(const jdb_tensor &queries, int32_t group, int32_t rows, const void *instead) {
  const prim::TensorGeometry one = tile_geometry(queries, 1, instead);
  return prim::TensorGeometry{one.data,
                              {64, one.sizes[3], one.sizes[1], one.sizes[2]},
                              {one.strides[2], one.strides[0], one.strides[1]},
                              {64, static_cast<uint32_t>(group), static_cast<uint32_t>(rows / group), one.box[2]}};
}

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

// ... whose items the blocks may deal by halves (hopper_schedule.h).
inline prim::Grid hopper_grid(int64_t items, int64_t most) { return grid_for(2 * items, most); }

// Kernels of 16-bit rows with up to 128 columns have tiles of 128 rows, the faster, and of 64, for when the others would
// not give each multiprocessor two blocks; those with more columns, and of f32, have one tile each (mma_core.h,
// fma_core.h). The bits of the results are the same.
constexpr int32_t kLargeTile = 128;
constexpr int32_t kSmallTile = 64;
constexpr int32_t kSmallestTile = 32;

inline int32_t small_tile(int32_t dtype, int32_t columns) {
  return dtype == JD_F32 && columns > 128 ? kSmallestTile : kSmallTile;
}

inline int32_t tile_rows_for(int32_t dtype, int32_t columns, int64_t large_tiles, int32_t multiprocessors) {
  const bool large = dtype != JD_F32 && columns <= 128 && large_tiles >= int64_t{2} * multiprocessors;
  return large ? kLargeTile : small_tile(dtype, columns);
}

inline jd_status refuse_head_dims(jd_error *error, const char *op, const HeadShape &shape) {
  return fail(error, JD_UNSUPPORTED, "%s: head dims %d and %d have no kernel here; those up to 256 have", op,
              shape.dim_qk, shape.dim_v);
}

// For descriptions of plans.
inline const char *dtype_name(int32_t dtype) { return dtype == JD_F32 ? "f32" : dtype == JD_F16 ? "f16" : "bf16"; }
inline const char *core_name(int32_t dtype) { return dtype == JD_F32 ? "FMA" : "mma.sync m16n8k16"; }
inline const char *tile_names(int32_t dtype, int32_t columns) {
  return dtype == JD_F32 ? columns > 128 ? "32 rows x 16" : "64 rows x 32"
         : columns > 128 ? "64 rows x 32"
         : columns >= 96 ? "128 or 64 rows x 32"
                         : "128 or 64 rows x 64";
}

// Whether the kernels of sm_90a have this shape: bf16, both head dims equal to the columns of one of them.
template <class HopperKernels>
bool has_hopper_kernel(const HeadShape &shape) {
  return shape.dtype == JD_BF16 && shape.dim_qk == shape.dim_v && HopperKernels::columns(shape) == shape.dim_qk;
}
// For descriptions of plans: after the portable kernels'.
template <class HopperKernels>
void append_hopper_text(char *text, size_t capacity, const char *where, const HeadShape &shape) {
  HopperKernels::select(shape, kLargeTile, [&](auto tag) {
    using Kernel = typename decltype(tag)::type;
    const size_t length = strlen(text);
    snprintf(text + length, capacity - length, "; %s: wgmma of sm_90a, tiles of %d rows x %d keys", where, Kernel::kTileRows,
             Kernel::kTileKeys);
  });
}

// Blocks a multiprocessor in a grid: enough for the hardware's scheduler to even out items of different length.
constexpr int64_t kBlocksAMultiprocessor = 16;

}  // namespace jindou::attention

#endif
