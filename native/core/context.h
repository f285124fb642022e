// What every entry point shares: where its messages go, how they begin, how structs of other versions are read.
#ifndef JINDOU_CORE_CONTEXT_H
#define JINDOU_CORE_CONTEXT_H

#include <cstdint>
#include <cstring>
#include <exception>
#include <new>

#include "core/error.h"

namespace jindou::core {

// `operation` begins each message ("target_attention: ..."); null for functions that are no operators.
struct Context {
  jd_error *error;
  const char *operation = nullptr;
};

// "target_attention: argument 'keys': <text>"
__attribute__((format(printf, 4, 5), cold)) jd_status fail_argument(const Context &context, jd_status status,
                                                                    const char *argument, const char *format, ...);

// "target_attention: <text>"
__attribute__((format(printf, 3, 4), cold)) jd_status fail_operation(const Context &context, jd_status status,
                                                                     const char *format, ...);

template <class T>
jd_status expect_pointer(const Context &context, const char *argument, const T *pointer) {
  if (!pointer) return fail_argument(context, JD_INVALID_ARGUMENT, argument, "expected a pointer, got NULL");
  return JD_OK;
}

// The size of a struct in the first version of the ABI that had it. A struct that grows later keeps its first size
// here: add a specialisation when a field is appended.
template <class T>
constexpr uint32_t kFirstSize = sizeof(T);

// Checks the pointer and the struct_size of a struct that the caller passed.
template <class T>
jd_status expect_struct(const Context &context, const char *argument, const T *given) {
  if (!given) return expect_pointer(context, argument, given);
  if (given->struct_size < kFirstSize<T> || given->struct_size > sizeof(T)) {
    return fail_argument(context, JD_INVALID_ARGUMENT, argument, "expected struct_size %zu, got %u", sizeof(T),
                         given->struct_size);
  }
  return JD_OK;
}

// Reads a struct of this or an older version; fields it lacks are zero.
template <class T>
jd_status read_struct(const Context &context, const char *argument, const T *given, T *value) {
  if (const jd_status status = expect_struct(context, argument, given)) return status;
  std::memcpy(value, given, given->struct_size);
  std::memset(reinterpret_cast<char *>(value) + given->struct_size, 0, sizeof(T) - given->struct_size);
  value->struct_size = sizeof(T);
  return JD_OK;
}

// Writes `value` into a struct of this or an older version that expect_struct has passed.
template <class T>
void write_struct(T *target, const T &value) {
  const uint32_t size = target->struct_size;
  std::memcpy(target, &value, size);
  target->struct_size = size;
}

// Runs the body of an entry point; no exception leaves the library.
template <class Body>
jd_status guarded(jd_error *error, Body &&body) noexcept {
  try {
    return body();
  } catch (const std::bad_alloc &) {
    return fail(error, JD_OUT_OF_MEMORY, "out of host memory");
  } catch (const std::exception &exception) {
    return fail(error, JD_INTERNAL, "unexpected exception: %s", exception.what());
  } catch (...) {
    return fail(error, JD_INTERNAL, "unexpected exception");
  }
}

// A backend's failure as it is passed on: its own message, or at least its function's name where it left none.
inline jd_status backend_result(jd_error *error, jd_status status, const char *function) {
  if (__builtin_expect(status != JD_OK, 0) && writable(error) && error->status != status) {
    return fail(error, status, "the backend's %s failed (%s)", function, jd_status_name(status));
  }
  return status;
}

}  // namespace jindou::core

#endif
