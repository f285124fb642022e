// What the sanitizers must be told: which fiber runs (both), what is accessible (AddressSanitizer), what is ordered before
// what (ThreadSanitizer). Nothing in ordinary builds.
//
// AddressSanitizer instruments the emulator itself, so it is known at compile time. ThreadSanitizer instruments kernels
// only (see README.md): whether it is there shows at run time, by its functions.
#ifndef JINDOU_SIMT_RUNTIME_SANITIZER_H
#define JINDOU_SIMT_RUNTIME_SANITIZER_H

#include <stddef.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

extern "C" {
void *__tsan_create_fiber(unsigned flags) __attribute__((weak));
void __tsan_destroy_fiber(void *fiber) __attribute__((weak));
void *__tsan_get_current_fiber() __attribute__((weak));
void __tsan_switch_to_fiber(void *fiber, unsigned flags) __attribute__((weak));
void __tsan_acquire(void *address) __attribute__((weak));
void __tsan_release(void *address) __attribute__((weak));
// Under other names: to GCC these are built-in functions that can only be called.
void jindou_tsan_read_range(void *address, unsigned long size) __asm__("__tsan_read_range") __attribute__((weak));
void jindou_tsan_write_range(void *address, unsigned long size) __asm__("__tsan_write_range") __attribute__((weak));
}

namespace jindou::simt {

// -- AddressSanitizer ----------------------------------------------------------------------------------------------------
inline void make_accessible(const void *address, size_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(address, bytes);
#endif
  (void)address, (void)bytes;
}

inline void make_inaccessible(const void *address, size_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
  __asan_poison_memory_region(address, bytes);
#endif
  (void)address, (void)bytes;
}

// -- ThreadSanitizer -----------------------------------------------------------------------------------------------------
inline bool checks_races() { return __tsan_create_fiber != nullptr; }

// What happened in threads that released `order` happened before what follows in those that acquire it.
inline void acquire(void *order) {
  if (__tsan_acquire) __tsan_acquire(order);
}
inline void release(void *order) {
  if (__tsan_release) __tsan_release(order);
}

// Memory that the emulator reads or writes on behalf of the current thread.
inline void note_read(const void *address, size_t bytes) {
  if (jindou_tsan_read_range) jindou_tsan_read_range(const_cast<void *>(address), bytes);
}
inline void note_write(void *address, size_t bytes) {
  if (jindou_tsan_write_range) jindou_tsan_write_range(address, bytes);
}

}  // namespace jindou::simt

#endif
