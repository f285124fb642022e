// A tensor: a resolved description plus what keeps its memory alive.
#ifndef JINDOU_CORE_TENSOR_H
#define JINDOU_CORE_TENSOR_H

#include <cstdint>
#include <memory>

#include "core/backend.h"
#include "core/device.h"
#include "core/dtype.h"
#include "core/handle_table.h"

namespace jindou::core {

// Memory under one or more tensors (a tensor and its views): allocated here, or wrapped.
struct Storage {
  Storage(Ref<Device> owner, void *memory, int64_t bytes_allocated)
      : device(std::move(owner)), data(memory), bytes(bytes_allocated) {}
  ~Storage() { deallocate(*device, data, bytes); }
  const Ref<Device> device;
  void *const data;
  const int64_t bytes;  // 0: wrapped, or empty; nothing to give back
};

class Tensor final : public Object {
 public:
  static constexpr Kind kKind = Kind::tensor;

  Tensor(Ref<Device> owner, std::shared_ptr<Storage> memory, bool is_owned, const jdb_tensor &description,
         int64_t elements_spanned);

  int64_t bytes_spanned() const { return span * element_size(t.dtype); }

  const Ref<Device> device;
  const std::shared_ptr<Storage> storage;
  const jdb_tensor t;
  const int64_t span;  // elements from the first to the last, 0 when there are none
  const int64_t elements;
  const bool contiguous;  // row-major without gaps
  const bool owned;
};

// Acquires a tensor of `expected`, the device of `other`.
jd_status acquire_tensor(const Context &context, const char *argument, jd_tensor handle, const Device &expected,
                         const char *other, Ref<Tensor> *tensor);

}  // namespace jindou::core

#endif
