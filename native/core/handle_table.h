// Handles: 64-bit names of reference-counted objects.
//
//   handle = kind (8 bits) | generation (32) | slot (24)
//
// A slot holds one object at a time; its generation goes up when the object is gone, so a number is never issued twice.
// All that a call needs to know about a slot is one atomic word,
//
//   state = generation (32) | open (1) | issued (1) | references (30)
//
// so that looking an object up and keeping it alive is a single compare-and-swap, and a handle closed by another thread
// at that moment is either still open (the object lives until the call ends) or seen to be closed. `open` is the user's
// own reference; the objects that use this one (a plan its tables, a tensor its device) count as further references.
#ifndef JINDOU_CORE_HANDLE_TABLE_H
#define JINDOU_CORE_HANDLE_TABLE_H

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

#include "core/context.h"

namespace jindou::core {

enum class Kind : uint8_t { device = 1, stream = 2, event = 3, tensor = 4, plan = 5, graph = 6, host_memory = 7 };

struct Slot;

// What a handle names. Destroyed when the last reference goes.
class Object {
 public:
  explicit Object(Kind kind) : kind_(kind) {}
  Object(const Object &) = delete;
  Object &operator=(const Object &) = delete;
  virtual ~Object() = default;

  Kind kind() const { return kind_; }

 private:
  friend uint64_t publish(std::unique_ptr<Object> object);
  friend void retain(Object *object);
  friend void release(Object *object);

  const Kind kind_;
  Slot *slot_ = nullptr;
};

// Gives an object its handle, with one reference: the handle's own.
uint64_t publish(std::unique_ptr<Object> object);

void retain(Object *object);
void release(Object *object);

// A counted reference.
template <class T>
class Ref {
 public:
  Ref() = default;
  Ref(const Ref &other) : object_(other.object_) {
    if (object_) retain(object_);
  }
  template <class U>
  Ref(const Ref<U> &other) : object_(other.get()) {
    if (object_) retain(object_);
  }
  Ref(Ref &&other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  Ref &operator=(Ref other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  ~Ref() {
    if (object_) release(object_);
  }

  // Takes over a reference that is already counted.
  static Ref adopt(T *object) {
    Ref ref;
    ref.object_ = object;
    return ref;
  }
  // Counts another reference to an object that is known to be alive.
  static Ref share(T *object) {
    retain(object);
    return adopt(object);
  }

  T *get() const { return object_; }
  T *operator->() const { return object_; }
  T &operator*() const { return *object_; }
  explicit operator bool() const { return object_ != nullptr; }

 private:
  T *object_ = nullptr;
};

// The object of an open handle with one reference more, or null.
Object *acquire_object(uint64_t handle, Kind kind);
// Closes the handle: it is refused from now on. Gives the handle's own reference, or null when it was not open.
Object *close_object(uint64_t handle, Kind kind);
// Says what is wrong with a handle that could not be acquired: JD_INVALID_HANDLE or JD_CLOSED.
jd_status refuse_handle(const Context &context, const char *argument, uint64_t handle, Kind kind);

// T names its kind: `static constexpr Kind kKind`.
template <class T>
jd_status acquire(const Context &context, const char *argument, uint64_t handle, Ref<T> *ref) {
  Object *object = acquire_object(handle, T::kKind);
  if (!object) {
    const jd_status status = refuse_handle(context, argument, handle, T::kKind);
    if (status == JD_OK) __builtin_unreachable();
    return status;
  }
  *ref = Ref<T>::adopt(static_cast<T *>(object));
  return JD_OK;
}

template <class T>
jd_status close(const Context &context, const char *argument, uint64_t handle, Ref<T> *ref) {
  Object *object = close_object(handle, T::kKind);
  if (!object) {
    const jd_status status = refuse_handle(context, argument, handle, T::kKind);
    if (status == JD_OK) __builtin_unreachable();
    return status;
  }
  *ref = Ref<T>::adopt(static_cast<T *>(object));
  return JD_OK;
}

int64_t live_objects();

}  // namespace jindou::core

#endif
