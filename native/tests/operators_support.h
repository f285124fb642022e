// What the operator tests share: devices to test, tensors made from numbers and read back, random input, comparison.
//
// The same tests run on every device in the environment variable JINDOU_TEST_DEVICES ("cpu", "cpu,simt", "cuda"...; default
// "cpu"), the emulator's threads in the order of JINDOU_TEST_SEED, and, through ctest, with every instruction set of the CPU (JINDOU_CPU_ISA).
#ifndef JINDOU_TESTS_OPERATORS_SUPPORT_H
#define JINDOU_TESTS_OPERATORS_SUPPORT_H

#include <gtest/gtest.h>
#include <jindou/jindou.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <limits>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "tolerance.h"

namespace jindou::testing {

inline std::vector<std::string> devices() {
  const char *list = std::getenv("JINDOU_TEST_DEVICES");
  std::vector<std::string> names;
  std::stringstream stream(list && *list ? list : "cpu");
  for (std::string name; std::getline(stream, name, ',');) names.push_back(name);
  return names;
}

inline std::string device_label(const ::testing::TestParamInfo<std::string> &info) {
  std::string label = info.param;
  std::replace(label.begin(), label.end(), ':', '_');
  return label;
}

#define JD_INSTANTIATE_ON_DEVICES(suite)                                                             \
  INSTANTIATE_TEST_SUITE_P(Devices, suite, ::testing::ValuesIn(::jindou::testing::devices()), \
                           ::jindou::testing::device_label)

// -- numbers as a dtype holds them ---------------------------------------------------------------------------------------
// 2 to the exponent, of a table: std::ldexp took a tenth of the time of all tests.
inline double power_of_two(int exponent) {
  constexpr int kMost = 1023;
  static const std::array<double, 2 * kMost + 1> powers = [] {
    std::array<double, 2 * kMost + 1> all;
    for (int i = 0; i <= 2 * kMost; ++i) all[static_cast<size_t>(i)] = std::ldexp(1.0, i - kMost);
    return all;
  }();
  return powers[static_cast<size_t>(exponent + kMost)];
}

// std::ilogb of what is no zero; of numbers below 2^-1022, -1023.
inline int exponent_of(double x) {
  uint64_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return static_cast<int>(bits >> 52 & 0x7ff) - 1023;
}

// Nearest even, by arithmetic and not by bits: independent of the conversions under test.
inline double rounded(double x, int32_t dtype) {
  if (dtype == JD_F64 || x == 0 || !std::isfinite(x)) return x;
  if (dtype == JD_F32) return static_cast<float>(x);
  const int digits = dtype == JD_F16 ? 11 : 8;
  const int least = dtype == JD_F16 ? -14 : -126;
  const int exponent = std::max(exponent_of(x), least);
  const double unit = power_of_two(exponent - digits + 1);
  constexpr double kUnitsOfOne = 0x1.8p52;  // the units of numbers so large are whole
  return std::copysign((std::fabs(x) / unit + kUnitsOfOne - kUnitsOfOne) * unit, x);
}

inline uint16_t to_half_bits(double x, int32_t dtype) {
  const int digits = dtype == JD_F16 ? 11 : 8, bias = dtype == JD_F16 ? 15 : 127;
  const double r = rounded(x, dtype);
  const uint16_t sign = std::signbit(x) ? 0x8000 : 0;
  if (std::isnan(r)) return dtype == JD_F16 ? 0x7e00 : 0x7fc0;
  const double largest = (2.0 - power_of_two(1 - digits)) * power_of_two(bias);
  if (std::fabs(r) > largest) return sign | (dtype == JD_F16 ? 0x7c00 : 0x7f80);
  if (r == 0) return sign;
  const int exponent = std::max(exponent_of(r), 1 - bias);
  const auto mantissa = static_cast<uint32_t>(std::fabs(r) * power_of_two(digits - 1 - exponent));
  // A normal number's leading digit adds one to the exponent field.
  return static_cast<uint16_t>(sign | (((static_cast<uint32_t>(exponent + bias - 1)) << (digits - 1)) + mantissa));
}

inline double from_half_bits(uint16_t bits, int32_t dtype) {
  const int digits = dtype == JD_F16 ? 11 : 8, bias = dtype == JD_F16 ? 15 : 127;
  const uint32_t field = (bits & 0x7fff) >> (digits - 1), mantissa = bits & ((1u << (digits - 1)) - 1);
  double x;
  if (field == (dtype == JD_F16 ? 31u : 255u)) {
    x = mantissa ? std::nan("") : INFINITY;
  } else {
    x = (mantissa + (field ? 1u << (digits - 1) : 0u)) * power_of_two(static_cast<int>(field ? field : 1) - bias - digits + 1);
  }
  return bits & 0x8000 ? -x : x;
}

inline std::vector<double> rounded(std::vector<double> values, int32_t dtype) {
  for (double &x : values) x = rounded(x, dtype);
  return values;
}

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  double uniform(double low, double high) { return std::uniform_real_distribution<double>(low, high)(engine_); }
  int64_t integer(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(engine_); }
  // Already rounded to `dtype`.
  std::vector<double> values(int64_t count, int32_t dtype, double scale = 1.0) {
    std::vector<double> v(static_cast<size_t>(count));
    for (double &x : v) x = rounded(uniform(-scale, scale), dtype);
    return v;
  }

 private:
  std::mt19937_64 engine_;
};

inline std::vector<int64_t> offsets_of(const std::vector<int64_t> &lengths) {
  std::vector<int64_t> offsets(1, 0);
  for (const int64_t n : lengths) offsets.push_back(offsets.back() + n);
  return offsets;
}

// -- a device under test -------------------------------------------------------------------------------------------------
struct Error : jd_error {
  Error() : jd_error{} { struct_size = sizeof(jd_error); }
};

class Rig {
 public:
  explicit Rig(const std::string &name, int32_t threads = 0, uint64_t seed = 0) {
    jd_device_options options{};
    options.struct_size = sizeof options;
    options.num_threads = threads;
    options.simt_seed = seed;
    if (const char *seed = std::getenv("JINDOU_TEST_SEED")) options.simt_seed = std::strtoull(seed, nullptr, 10);
    Error error;
    if (jd_device_open(name.c_str(), &options, &device, &error) != JD_OK || jd_stream_create(device, &stream, &error) != JD_OK) {
      ADD_FAILURE() << name << ": " << error.message;
      std::abort();  // nothing else can run
    }
    info.struct_size = sizeof info;
    jd_device_get_info(device, &info, nullptr);
  }
  ~Rig() {
    for (const jd_plan plan : plans_) jd_plan_destroy(plan, nullptr);
    for (const jd_tensor tensor : tensors_) jd_tensor_destroy(tensor, nullptr);
    jd_stream_destroy(stream, nullptr);
    jd_device_close(device, nullptr);
  }
  Rig(const Rig &) = delete;
  Rig &operator=(const Rig &) = delete;

  // Work is cheap here; on the emulator a 64 x 64 tile takes about a millisecond.
  bool fast() const { return std::strcmp(info.backend, "simt") != 0 && !emulated(); }
  // The test library whose AVX-512 is carried out by AVX2.
  static bool emulated() { return std::getenv("JINDOU_TEST_EMULATED") != nullptr; }
  int64_t scaled(int64_t size, int64_t when_slow) const { return fast() ? size : when_slow; }
  void check(jd_status status, const Error &error) const {
    if (status != JD_OK) ADD_FAILURE() << jd_status_name(status) << ": " << error.message;
  }

  // Whether the device has a kernel for what a plan was asked: `status` is the plan's. The cpu backend has them all; where
  // another one refuses, the test's output says what.
  bool has_kernel(jd_status status, const Error &error) const {
    if (status != JD_UNSUPPORTED || std::strcmp(info.backend, "cpu") == 0) {
      check(status, error);
      return true;
    }
    std::cout << "[ REFUSED  ] by " << info.backend << ", not tested: " << error.message << std::endl;
    return false;
  }

  // A dense tensor, or one whose dimensions but the last have strides larger by `padding` elements than they need.
  jd_tensor tensor(int32_t dtype, const std::vector<int64_t> &shape, const std::vector<double> &values,
                   int64_t padding = 0) {
    const std::vector<int64_t> strides = strides_of(shape, padding);
    const int64_t span = span_of(shape, strides);
    std::vector<char> bytes(static_cast<size_t>(span * jd_dtype_size(dtype)), static_cast<char>(0xff));  // gaps: NaN
    for_each(shape, strides, [&](int64_t i, int64_t at) { put(bytes.data(), dtype, at, values.empty() ? NAN : values[i]); });
    Error error;
    jd_tensor whole = 0, view = 0;
    check(jd_tensor_create(device, dtype, 1, &span, &whole, &error), error);
    tensors_.push_back(whole);
    if (span > 0) check(jd_tensor_write(stream, whole, bytes.data(), static_cast<int64_t>(bytes.size()), &error), error);
    check(jd_tensor_view(whole, 0, static_cast<int32_t>(shape.size()), shape.data(), strides.data(), &view, &error), error);
    tensors_.push_back(view);
    return view;
  }

  jd_tensor integers(int32_t dtype, const std::vector<int64_t> &values) {
    return tensor(dtype, {static_cast<int64_t>(values.size())}, std::vector<double>(values.begin(), values.end()));
  }

  // A dense tensor of bytes as they are given, and a view of a tensor.
  jd_tensor bytes(int32_t dtype, const std::vector<int64_t> &shape, const std::vector<uint8_t> &values) {
    Error error;
    jd_tensor t = 0;
    check(jd_tensor_create(device, dtype, static_cast<int32_t>(shape.size()), shape.data(), &t, &error), error);
    tensors_.push_back(t);
    if (!values.empty()) check(jd_tensor_write(stream, t, values.data(), static_cast<int64_t>(values.size()), &error), error);
    return t;
  }
  jd_tensor view(jd_tensor of, const std::vector<int64_t> &shape, const std::vector<int64_t> &strides, int64_t offset = 0) {
    Error error;
    jd_tensor t = 0;
    check(jd_tensor_view(of, offset, static_cast<int32_t>(shape.size()), shape.data(), strides.data(), &t, &error), error);
    tensors_.push_back(t);
    return t;
  }

  // Not a number in every element, gaps included.
  jd_tensor poisoned(int32_t dtype, const std::vector<int64_t> &shape, int64_t padding = 0) {
    return tensor(dtype, shape, {}, padding);
  }

  // The raw bits of every element, in order; `gaps_intact` (optional) tells whether the gaps still hold their poison.
  std::vector<uint32_t> bits(jd_tensor t, bool *gaps_intact = nullptr) {
    jd_tensor_info i = tensor_info(t);
    const int64_t size = jd_dtype_size(i.dtype), span = i.size_bytes / size;
    std::vector<char> bytes(static_cast<size_t>(i.size_bytes));
    Error error;
    jd_tensor flat = 0;
    if (span > 0) {
      check(jd_tensor_view(t, 0, 1, &span, nullptr, &flat, &error), error);
      check(jd_tensor_read(stream, flat, bytes.data(), i.size_bytes, &error), error);
      jd_tensor_destroy(flat, nullptr);
    }
    std::vector<uint32_t> result;
    std::vector<bool> used(static_cast<size_t>(span), false);
    for_each({i.shape, i.shape + i.rank}, {i.strides, i.strides + i.rank}, [&](int64_t, int64_t at) {
      uint32_t x = 0;
      std::memcpy(&x, bytes.data() + at * size, static_cast<size_t>(size));
      result.push_back(x);
      used[static_cast<size_t>(at)] = true;
    });
    if (gaps_intact) {
      *gaps_intact = true;
      for (int64_t at = 0; at < span; ++at) {
        for (int64_t b = 0; b < size && !used[static_cast<size_t>(at)]; ++b) {
          *gaps_intact = *gaps_intact && bytes[static_cast<size_t>(at * size + b)] == static_cast<char>(0xff);
        }
      }
    }
    return result;
  }

  std::vector<double> read(jd_tensor t) {
    const int32_t dtype = tensor_info(t).dtype;
    std::vector<double> values;
    for (const uint32_t x : bits(t)) {
      float f;
      std::memcpy(&f, &x, sizeof f);
      values.push_back(dtype == JD_F32 ? f : from_half_bits(static_cast<uint16_t>(x), dtype));
    }
    return values;
  }

  jd_tensor_info tensor_info(jd_tensor t) const {
    jd_tensor_info i{};
    i.struct_size = sizeof i;
    Error error;
    check(jd_tensor_get_info(t, &i, &error), error);
    return i;
  }

  jd_plan keep(jd_plan plan) {
    plans_.push_back(plan);
    return plan;
  }

  jd_device device = 0;
  jd_stream stream = 0;
  jd_device_info info{};

 private:
  static std::vector<int64_t> strides_of(const std::vector<int64_t> &shape, int64_t padding) {
    std::vector<int64_t> strides(shape.size(), 1);
    for (size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * std::max<int64_t>(shape[i], 1) + padding;
    return strides;
  }
  static int64_t span_of(const std::vector<int64_t> &shape, const std::vector<int64_t> &strides) {
    int64_t span = 1;
    for (size_t i = 0; i < shape.size(); ++i) {
      if (shape[i] == 0) return 0;
      span += (shape[i] - 1) * strides[i];
    }
    return span;
  }
  template <class Function>
  static void for_each(const std::vector<int64_t> &shape, const std::vector<int64_t> &strides, const Function &function) {
    int64_t count = 1;
    for (const int64_t n : shape) count *= n;
    const size_t rank = shape.size();
    int64_t index[JD_MAX_RANK] = {};
    int64_t at = 0;
    for (int64_t i = 0; i < count; ++i) {
      function(i, at);
      for (size_t d = rank; d-- > 0;) {  // the next one, as an odometer turns
        at += strides[d];
        if (++index[d] < shape[d]) break;
        at -= shape[d] * strides[d];
        index[d] = 0;
      }
    }
  }
  static void put(char *bytes, int32_t dtype, int64_t at, double x) {
    switch (dtype) {
      case JD_F32: return put_as(bytes, at, static_cast<float>(x));
      case JD_I32: return put_as(bytes, at, static_cast<int32_t>(x));
      case JD_I64: return put_as(bytes, at, static_cast<int64_t>(x));
      case JD_F8_E4M3:
      case JD_U8:
      case JD_I8: return put_as(bytes, at, std::isnan(x) ? uint8_t{0xff} : static_cast<uint8_t>(static_cast<int>(x)));  // a code
      default: return put_as(bytes, at, to_half_bits(x, dtype));
    }
  }
  template <class T>
  static void put_as(char *bytes, int64_t at, T x) {
    std::memcpy(bytes + at * static_cast<int64_t>(sizeof x), &x, sizeof x);
  }

  std::vector<jd_tensor> tensors_;
  std::vector<jd_plan> plans_;
};

// The largest excess over what is allowed, with its place; a NaN where a number is expected counts as infinitely far.
template <class Allowed>
void expect_near(const std::vector<double> &got, const std::vector<double> &expected, const Allowed &allowed,
                 const std::string &what) {
  ASSERT_EQ(got.size(), expected.size()) << what;
  size_t worst = 0;
  double worst_ratio = -1;
  for (size_t i = 0; i < got.size(); ++i) {
    const double distance = std::fabs(got[i] - expected[i]);
    const double ratio = std::isnan(distance) ? INFINITY : distance / allowed(i);
    if (ratio > worst_ratio) {
      worst_ratio = ratio;
      worst = i;
    }
  }
  if (worst_ratio <= 1) return;
  ADD_FAILURE() << what << ": element " << worst << " is " << got[worst] << ", expected " << expected[worst] << " +- "
                << allowed(worst);
}

}  // namespace jindou::testing

#endif
