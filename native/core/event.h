// An event: a mark in the order of a stream's work.
#ifndef JINDOU_CORE_EVENT_H
#define JINDOU_CORE_EVENT_H

#include <atomic>
#include <mutex>

#include "core/backend.h"
#include "core/device.h"
#include "core/handle_table.h"

namespace jindou::core {

class Event final : public Object {
 public:
  static constexpr Kind kKind = Kind::event;

  Event(Ref<Device> owner, void *native_event) : Object(kKind), device(std::move(owner)), native(native_event) {}
  ~Event() override { device->backend.event_destroy(native); }

  const Ref<Device> device;
  void *const native;
  std::mutex mutex;  // one record, wait, query or measurement at a time; not held while a caller blocks
  std::atomic<bool> recorded{false};
  jd_stream recorded_on = 0;  // where streams run late
};

}  // namespace jindou::core

#endif
