// What the tests of core share: a device of the fake backend, a stream, tensors over memory of the test, and the check at
// the end of every test that nothing is left.
#ifndef JINDOU_TESTS_CORE_FIXTURE_H
#define JINDOU_TESTS_CORE_FIXTURE_H

#include <gtest/gtest.h>
#include <jindou/jindou.h>

#include <cstring>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "fake_backend.h"

namespace jindou::test {

struct Error : jd_error {
  Error() {
    std::memset(static_cast<jd_error *>(this), 0xEE, sizeof(jd_error));
    struct_size = sizeof(jd_error);
  }
};

// A struct of the ABI: zero but for struct_size.
template <class T>
T make() {
  T value;
  std::memset(&value, 0, sizeof value);
  value.struct_size = sizeof value;
  return value;
}

// The call failed with this status, and its message holds all of `parts`.
inline void expect_refused(jd_status actual, jd_status expected, const Error &error,
                           std::initializer_list<const char *> parts) {
  EXPECT_EQ(jd_status_name(actual), std::string(jd_status_name(expected)));
  if (actual == JD_OK) return;
  EXPECT_EQ(error.status, expected);
  const std::string message = error.message;
  for (const char *part : parts)
    EXPECT_NE(message.find(part), std::string::npos) << "no \"" << part << "\" in: " << message;
}

class CoreTest : public testing::Test {
 protected:
  void SetUp() override {
    objects_before_ = jd_live_objects();
    ASSERT_EQ(jd_device_open(backend(), nullptr, &device, &error), JD_OK) << error.message;
    ASSERT_EQ(jd_stream_create(device, &stream, &error), JD_OK) << error.message;
  }

  void TearDown() override {
    for (const jd_tensor tensor : tensors_) jd_tensor_destroy(tensor, nullptr);
    for (const jd_plan plan : plans_) jd_plan_destroy(plan, nullptr);
    jd_stream_destroy(stream, nullptr);
    jd_memory_info memory = make<jd_memory_info>();
    EXPECT_EQ(jd_device_memory(device, &memory, nullptr), JD_OK);
    EXPECT_EQ(memory.used_bytes, 0);
    jd_device_close(device, nullptr);
    EXPECT_EQ(jd_live_objects(), objects_before_);
    const fake::State &s = *state();
    EXPECT_EQ(s.violations, 0);
    EXPECT_EQ(s.devices + s.streams + s.events + s.plans + s.graphs + s.allocations + s.bytes, 0);
  }

  virtual const char *backend() const { return "cpu"; }
  virtual fake::State *state() const { return fake::fake_state(); }

  // A tensor over zeroed memory of the test, 64-byte aligned plus `shift` bytes.
  jd_tensor tensor(int32_t dtype, const std::vector<int64_t> &shape, const std::vector<int64_t> &strides = {},
                   int64_t shift = 0) {
    int64_t span = 1;
    for (size_t i = 0; i < shape.size(); ++i) {
      if (shape[i] == 0) span = 0;
    }
    if (strides.empty()) {
      for (const int64_t d : shape) span *= d;
    } else if (span > 0) {
      for (size_t i = 0; i < shape.size(); ++i) span += (shape[i] - 1) * strides[i];
    }
    memory_.emplace_back(span * jd_dtype_size(dtype) + 128, 0);
    char *base = memory_.back().data();
    base += (64 - reinterpret_cast<uintptr_t>(base) % 64) % 64 + shift;
    return wrap(device, base, dtype, shape, strides);
  }

  jd_tensor wrap(jd_device on, void *data, int32_t dtype, const std::vector<int64_t> &shape,
                 const std::vector<int64_t> &strides = {}) {
    jd_tensor handle = 0;
    EXPECT_EQ(jd_tensor_wrap(on, data, dtype, static_cast<int32_t>(shape.size()), shape.data(),
                             strides.empty() ? nullptr : strides.data(), &handle, &error),
              JD_OK)
        << error.message;
    tensors_.push_back(handle);
    return handle;
  }

  template <class T>
  jd_tensor vector_of(int32_t dtype, std::initializer_list<T> values) {
    const jd_tensor handle = tensor(dtype, {static_cast<int64_t>(values.size())});
    std::copy(values.begin(), values.end(), data<T>(handle));
    return handle;
  }
  jd_tensor i32(std::initializer_list<int32_t> values) { return vector_of<int32_t>(JD_I32, values); }
  jd_tensor i64(std::initializer_list<int64_t> values) { return vector_of<int64_t>(JD_I64, values); }

  jd_tensor view(jd_tensor parent, int64_t offset, const std::vector<int64_t> &shape,
                 const std::vector<int64_t> &strides = {}) {
    jd_tensor handle = 0;
    EXPECT_EQ(jd_tensor_view(parent, offset, static_cast<int32_t>(shape.size()), shape.data(),
                             strides.empty() ? nullptr : strides.data(), &handle, &error),
              JD_OK)
        << error.message;
    tensors_.push_back(handle);
    return handle;
  }

  // A tensor that has been destroyed.
  jd_tensor closed_tensor() {
    jd_tensor handle = tensor(JD_F32, {4, 4});
    EXPECT_EQ(jd_tensor_destroy(handle, &error), JD_OK);
    return handle;
  }

  template <class T>
  static T *data(jd_tensor handle) {
    jd_tensor_info info = make<jd_tensor_info>();
    EXPECT_EQ(jd_tensor_get_info(handle, &info, nullptr), JD_OK);
    return static_cast<T *>(info.data);
  }

  jd_plan keep(jd_plan plan) {
    plans_.push_back(plan);
    return plan;
  }

  jd_device device = 0;
  jd_stream stream = 0;
  Error error;

 private:
  int64_t objects_before_ = 0;
  std::vector<jd_tensor> tensors_;
  std::vector<jd_plan> plans_;
  std::vector<std::vector<char>> memory_;
};

}  // namespace jindou::test

#endif
