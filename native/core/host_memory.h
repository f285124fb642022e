// Host memory for copies that a stream orders.
#ifndef JINDOU_CORE_HOST_MEMORY_H
#define JINDOU_CORE_HOST_MEMORY_H

#include <cstdint>

#include "core/backend.h"
#include "core/device.h"
#include "core/handle_table.h"

namespace jindou::core {

class HostMemory final : public Object {
 public:
  static constexpr Kind kKind = Kind::host_memory;

  HostMemory(Ref<Device> owner, void *memory, int64_t allocated)
      : Object(kKind), device(std::move(owner)), data(memory), bytes(allocated) {}
  ~HostMemory() override {
    if (data) device->backend.host_free(device->native, data, static_cast<size_t>(bytes));
  }

  const Ref<Device> device;
  void *const data;
  const int64_t bytes;
};

}  // namespace jindou::core

#endif
