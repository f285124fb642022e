// An open device: its backend, its memory account, and the gate that closing it shuts.
#ifndef JINDOU_CORE_DEVICE_H
#define JINDOU_CORE_DEVICE_H

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>

#include "core/backend.h"
#include "core/handle_table.h"
#include "core/memory.h"

namespace jindou::core {

class Device final : public Object {
 public:
  static constexpr Kind kKind = Kind::device;

  Device(const jd_backend &owner, void *native_device, const char *name, const jd_device_options &options);
  ~Device() override { backend.device_close(native); }

  // "cuda:0 (#3)": the name and a number of its own, since a physical device may be open more than once.
  const char *label() const { return label_; }

  // A call that uses the device passes the gate first; false when the device has been closed.
  bool enter();
  void leave();
  // Shuts the gate and waits until every call inside has left.
  void shut();

  const jd_backend &backend;
  void *const native;
  const bool late_streams;  // see jd_device_options
  MemoryAccount memory;
  std::atomic<int32_t> capturing{0};  // streams that are capturing now

 private:
  static constexpr uint64_t kShut = uint64_t{1} << 63;
  std::atomic<uint64_t> gate_{0};  // kShut | number of calls inside
  std::mutex mutex_;
  std::condition_variable left_;
  char label_[48];
};

// A call's stay inside a device. Declare it after the reference that keeps the device alive.
class DeviceUse {
 public:
  DeviceUse() = default;
  DeviceUse(const DeviceUse &) = delete;
  DeviceUse &operator=(const DeviceUse &) = delete;
  ~DeviceUse() {
    if (device_) device_->leave();
  }
  // `argument` is the object that belongs to the device.
  jd_status enter(const Context &context, const char *argument, Device &device) {
    if (!device.enter()) return refuse(context, argument, device);
    device_ = &device;
    return JD_OK;
  }

 private:
  __attribute__((cold)) static jd_status refuse(const Context &context, const char *argument, const Device &device);
  Device *device_ = nullptr;
};

// JD_INVALID_HANDLE for an object of another device than the rest of the call.
jd_status refuse_foreign(const Context &context, const char *argument, const Device &actual, const char *other,
                         const Device &expected);

}  // namespace jindou::core

#endif
