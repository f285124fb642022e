// Memory for kernel tests: exactly as many bytes as asked for, 256-byte aligned and poisoned with 0xff (NaN, -1), each
// array in an allocation of its own, so that AddressSanitizer sees the first byte a kernel touches outside.
#ifndef JINDOU_KERNELS_TESTING_DEVICE_ARRAY_H
#define JINDOU_KERNELS_TESTING_DEVICE_ARRAY_H

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <new>
#include <vector>

#include "core/backend.h"
#include "primitives/types.h"

namespace jindou::testing {

inline size_t element_size(int32_t dtype) {
  switch (dtype) {
    case JD_F16:
    case JD_BF16: return 2;
    case JD_I64: return 8;
    default: return 4;
  }
}

// A value as the dtype holds it.
inline float rounded(float value, int32_t dtype) {
  switch (dtype) {
    case JD_F16: return prim::to_float(prim::from_float<prim::f16>(value));
    case JD_BF16: return prim::to_float(prim::from_float<prim::bf16>(value));
    default: return value;
  }
}

class DeviceArray {
 public:
  DeviceArray(int32_t dtype, size_t elements)
      : dtype_(dtype), elements_(elements), bytes_(elements * element_size(dtype)) {
    if (posix_memalign(&data_, 256, bytes_ > 0 ? bytes_ : 1) != 0) throw std::bad_alloc();
    poison();
  }
  DeviceArray(DeviceArray &&o) noexcept : dtype_(o.dtype_), elements_(o.elements_), bytes_(o.bytes_), data_(o.data_) {
    o.data_ = nullptr;
  }
  DeviceArray(const DeviceArray &) = delete;
  DeviceArray &operator=(const DeviceArray &) = delete;
  DeviceArray &operator=(DeviceArray &&) = delete;
  ~DeviceArray() { free(data_); }

  static DeviceArray floats(int32_t dtype, const std::vector<float> &values) {
    DeviceArray array(dtype, values.size());
    for (size_t i = 0; i < values.size(); ++i) array.set(i, values[i]);
    return array;
  }
  static DeviceArray integers(int32_t dtype, const std::vector<int64_t> &values) {
    DeviceArray array(dtype, values.size());
    for (size_t i = 0; i < values.size(); ++i) {
      if (dtype == JD_I32) {
        static_cast<int32_t *>(array.data_)[i] = static_cast<int32_t>(values[i]);
      } else {
        static_cast<int64_t *>(array.data_)[i] = values[i];
      }
    }
    return array;
  }

  void poison() { memset(data_, 0xff, bytes_); }

  void set(size_t i, float value) {
    switch (dtype_) {
      case JD_F16: static_cast<prim::f16 *>(data_)[i] = prim::from_float<prim::f16>(value); break;
      case JD_BF16: static_cast<prim::bf16 *>(data_)[i] = prim::from_float<prim::bf16>(value); break;
      default: static_cast<float *>(data_)[i] = value;
    }
  }
  float get(size_t i) const {
    switch (dtype_) {
      case JD_F16: return prim::to_float(static_cast<const prim::f16 *>(data_)[i]);
      case JD_BF16: return prim::to_float(static_cast<const prim::bf16 *>(data_)[i]);
      default: return static_cast<const float *>(data_)[i];
    }
  }

  // All of it, or part of it when `shape` and `strides` are given, as core would hand it to a backend.
  jdb_tensor tensor(std::initializer_list<int64_t> shape, std::initializer_list<int64_t> strides = {},
                    size_t offset = 0) const {
    jdb_tensor t{};
    t.data = elements_ == 0 ? nullptr : static_cast<char *>(data_) + offset * element_size(dtype_);
    t.dtype = dtype_;
    t.rank = static_cast<int32_t>(shape.size());
    int i = 0;
    for (const int64_t n : shape) t.shape[i++] = n;
    if (strides.size() == 0) {
      int64_t stride = 1;
      for (int k = t.rank - 1; k >= 0; --k) {
        t.strides[k] = stride;
        stride *= t.shape[k];
      }
    } else {
      i = 0;
      for (const int64_t n : strides) t.strides[i++] = n;
    }
    return t;
  }

  std::vector<unsigned char> bytes() const {
    const auto *p = static_cast<const unsigned char *>(data_);
    return {p, p + bytes_};
  }
  size_t size() const { return elements_; }
  void *data() const { return data_; }

 private:
  int32_t dtype_;
  size_t elements_, bytes_;
  void *data_ = nullptr;
};

}  // namespace jindou::testing

#endif
