// The shared memory of a running block: an arena whose bounds are checked.
#ifndef JINDOU_SIMT_RUNTIME_SHARED_MEMORY_H
#define JINDOU_SIMT_RUNTIME_SHARED_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#include <vector>

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

  // The inverse; null unless all the bytes are the block's.
  const void *at_window_address(uint32_t address, size_t bytes) const {
    const char *at = data_ + (static_cast<int64_t>(address) - kWindowStart);
    return contains(at, bytes) ? at : nullptr;
  }

  // Which thread's plain stores a product or tensor copy may not see yet, by 16 bytes: kept once `track_stores` was called.
  void track_stores() {
    if (writers_.empty()) writers_.assign(bytes_ / 16 + 1, 0);
  }
  bool tracks_stores() const { return !writers_.empty(); }
  void note_store(const void *address, size_t bytes, int thread) { mark(address, bytes, static_cast<uint16_t>(thread + 1)); }
  void forget_stores(const void *address, size_t bytes) { mark(address, bytes, 0); }
  void fence(int thread) {
    for (uint16_t &writer : writers_) writer = writer == thread + 1 ? 0 : writer;
  }
  // Thread + 1 of an unfenced store, or 0.
  int written_by(const void *address) const {
    return writers_.empty() ? 0 : writers_[static_cast<size_t>(static_cast<const char *>(address) - data_) / 16];
  }

  // Plain stores just past the arena are found when the block ends (a sanitizer finds them where they happen). The offset
  // of the first, or -1.
  ptrdiff_t first_byte_written_past_end() const;

 private:
  static constexpr uint32_t kWindowStart = 1024;
  static constexpr size_t kAlignment = 1024;
  static constexpr size_t kGuardBytes = 1024;
  static constexpr unsigned char kGuard = 0xa5;

  void mark(const void *address, size_t bytes, uint16_t writer) {
    if (writers_.empty()) return;
    const size_t first = static_cast<size_t>(static_cast<const char *>(address) - data_) / 16;
    for (size_t i = first; i < first + (bytes + 15) / 16; ++i) writers_[i] = writer;
  }

  std::vector<uint16_t> writers_;
  char *data_ = nullptr;
  size_t bytes_ = 0;
  size_t capacity_ = 0;  // without the guard
};

}  // namespace jindou::simt

#endif
