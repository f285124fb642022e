// What the benchmarks of the CPU backend share (bench_cpu.cpp).
#ifndef JINDOU_CPU_BENCH_BENCH_H
#define JINDOU_CPU_BENCH_BENCH_H

#include <jindou/jindou.h>
#include <time.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "limits.h"

namespace jindou::bench {

// Of one thread the time on the processor, which says more than the clock on a machine that others use too.
inline double seconds(int32_t threads) {
  timespec t;
  clock_gettime(threads == 1 ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

inline double time_of(int32_t threads, const std::function<void()> &work) {
  const double start = seconds(threads);
  work();
  return seconds(threads) - start;
}

inline void must(jd_status status, const jd_error &error) {
  if (status == JD_OK) return;
  std::fprintf(stderr, "%s: %s\n", jd_status_name(status), error.message);
  std::exit(1);
}

struct Device {
  jd_device device = 0;
  jd_stream stream = 0;
  jd_error error{};
  jd_device_info info{};

  explicit Device(int32_t threads) {
    error.struct_size = sizeof error;
    info.struct_size = sizeof info;
    jd_device_options options{};
    options.struct_size = sizeof options;
    options.num_threads = threads;
    must(jd_device_open("cpu", &options, &device, &error), error);
    must(jd_stream_create(device, &stream, &error), error);
    must(jd_device_get_info(device, &info, &error), error);
  }
  ~Device() {
    jd_stream_destroy(stream, nullptr);
    jd_device_close(device, nullptr);
  }

  // Random numbers in -1..1, or the integers given by `integer`.
  jd_tensor tensor(int32_t dtype, std::vector<int64_t> shape, const std::function<int64_t(int64_t)> &integer = nullptr) {
    jd_tensor t = 0;
    must(jd_tensor_create(device, dtype, static_cast<int32_t>(shape.size()), shape.data(), &t, &error), error);
    jd_tensor_info i{};
    i.struct_size = sizeof i;
    must(jd_tensor_get_info(t, &i, &error), error);
    const int64_t count = i.size_bytes / jd_dtype_size(dtype);
    uint32_t state = 12345;
    for (int64_t e = 0; e < count; ++e) {
      state = state * 1664525u + 1013904223u;
      const float x = static_cast<float>(static_cast<int32_t>(state)) * 0x1p-31f;
      uint32_t bits;
      std::memcpy(&bits, &x, sizeof bits);
      if (dtype == JD_F32) static_cast<float *>(i.data)[e] = x;
      if (dtype == JD_BF16) static_cast<uint16_t *>(i.data)[e] = static_cast<uint16_t>(bits >> 16);
      if (dtype == JD_F16) static_cast<_Float16 *>(i.data)[e] = static_cast<_Float16>(x);
      if (dtype == JD_U8 || dtype == JD_F8_E4M3) static_cast<uint8_t *>(i.data)[e] = static_cast<uint8_t>(state >> 26);  // 0..63
      if (dtype == JD_I64) static_cast<int64_t *>(i.data)[e] = integer(e);
    }
    return t;
  }
  void *data(jd_tensor t) {
    jd_tensor_info i{};
    i.struct_size = sizeof i;
    must(jd_tensor_get_info(t, &i, &error), error);
    return i.data;
  }
};

struct Ratio {
  double median, best, seconds;
};

// Time of `work` over time of `limit`.
inline Ratio compare(int32_t threads, int repetitions, const std::function<void()> &limit, const std::function<void()> &work) {
  std::vector<double> ratios, times;
  work();
  for (int i = 0; i < repetitions; ++i) {
    const double before = time_of(threads, limit), t = time_of(threads, work), after = time_of(threads, limit);
    ratios.push_back(2 * t / (before + after));
    times.push_back(t);
  }
  std::sort(ratios.begin(), ratios.end());
  std::sort(times.begin(), times.end());
  return {ratios[ratios.size() / 2], ratios[0], times[0]};
}

inline void print(const char *what, int32_t threads, const Ratio &r, double amount, const char *unit) {
  std::printf("%-58s %2d thread%s  %9.3f ms  %8.1f %s  ratio to limit: median %.3f best %.3f\n", what, threads,
              threads == 1 ? " " : "s", r.seconds * 1e3, amount / r.seconds * 1e-9, unit, r.median, r.best);
  std::fflush(stdout);
}

// The best time.
inline double flops_line(const char *what, int32_t threads, double flops, bool bf16_dot, const std::function<void()> &work) {
  const auto limit = [&] { bf16_dot ? jl_bf16_dot(flops, threads) : jl_fma(flops, threads); };
  const Ratio ratio = compare(threads, 9, limit, work);
  print(what, threads, ratio, flops, "GFLOP/s");
  return ratio.seconds;
}

void bench_hstu(int32_t threads);
void bench_hstu_bias(int32_t threads);
void bench_hstu_cached(int32_t threads);
void bench_hstu_jagged(int32_t threads);
void bench_top_k(int32_t threads);

}  // namespace jindou::bench

#endif
