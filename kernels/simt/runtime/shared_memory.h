// The shared memory of a running block: an arena whose bounds are checked.
#ifndef JINDOU_SIMT_RUNTIME_SHARED_MEMORY_H
#define JINDOU_SIMT_RUNTIME_SHARED_MEMORY_H

#include <stddef.h>
#include <stdint.h>

namespace jindou::simt {

class SharedMemory {
 public:
  SharedMemory() = default;
  SharedMemory(const SharedMemory &) = delete;
  SharedMemory &operator=(const SharedMemory &) = delete;
  ~SharedMemory();

  // Makes room for a block; what was there before is not kept.
  void reset(size_t bytes, bool poison);

  char *data() const { return data_; }
  size_t bytes() const { return bytes_; }

  bool contains(const void *address, size_t bytes) const {
    const uintptr_t offset = reinterpret_cast<uintptr_t>(address) - reinterpret_cast<uintptr_t>(data_);
    return offset <= bytes_ && bytes <= bytes_ - offset;
  }

  // The address as the hardware's shared window has it: the first KiB is not the block's, and 0 is no address.
  uint32_t window_address(const void *address) const {
    return kWindowStart + static_cast<uint32_t>(static_cast<const char *>(address) - data_);
  }

  // Plain stores just past the arena are found when the block ends (a sanitizer finds them where they happen). The offset
  // of the first, or -1.
  ptrdiff_t first_byte_written_past_end() const;

 private:
  static constexpr uint32_t kWindowStart = 1024;
  static constexpr size_t kAlignment = 1024;
  static constexpr size_t kGuardBytes = 1024;
  static constexpr unsigned char kGuard = 0xa5;

  char *data_ = nullptr;
  size_t bytes_ = 0;
  size_t capacity_ = 0;  // without the guard
};

}  // namespace jindou::simt

#endif
