#include "simt/runtime/shared_memory.h"

#include <cstdlib>
#include <cstring>
#include <new>

#include "simt/runtime/sanitizer.h"

namespace jindou::simt {

SharedMemory::~SharedMemory() {
  make_accessible(data_, capacity_ + kGuardBytes);
  free(data_);
}

void SharedMemory::reset(size_t bytes, bool poison) {
  if (data_ == nullptr || bytes > capacity_) {
    if (data_ != nullptr) make_accessible(data_, capacity_ + kGuardBytes);
    free(data_);
    data_ = nullptr;
    capacity_ = (bytes + kAlignment - 1) / kAlignment * kAlignment;
    void *memory = nullptr;
    if (posix_memalign(&memory, kAlignment, capacity_ + kGuardBytes) != 0) throw std::bad_alloc();
    data_ = static_cast<char *>(memory);
  }
  bytes_ = bytes;
  writers_.clear();
  make_accessible(data_, capacity_ + kGuardBytes);
  // 0xff bytes are a NaN in float, bf16 and f16, and -1.
  if (poison) memset(data_, 0xff, bytes);
  memset(data_ + bytes, kGuard, kGuardBytes);
  make_inaccessible(data_ + bytes, capacity_ + kGuardBytes - bytes);
}

ptrdiff_t SharedMemory::first_byte_written_past_end() const {
#if !defined(__SANITIZE_ADDRESS__)
  for (size_t i = 0; i < kGuardBytes; ++i) {
    if (static_cast<unsigned char>(data_[bytes_ + i]) != kGuard) return static_cast<ptrdiff_t>(bytes_ + i);
  }
#endif
  return -1;
}

}  // namespace jindou::simt
