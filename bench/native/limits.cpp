#include "limits.h"

#include <sys/mman.h>

#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <thread>
#include <vector>

// The constraint that keeps a vector in a register, so that the loop is neither folded nor spilled.
#if defined(__x86_64__)
#define JL_IN_REGISTER(v) "+v"(v)
#else
#define JL_IN_REGISTER(v) "+w"(v)
#endif

namespace {

template <class Work>
void in_parallel(int32_t threads, Work work) {
  std::vector<std::thread> others;
  for (int32_t t = 1; t < threads; ++t) others.emplace_back(work, t);
  work(0);
  for (std::thread &other : others) other.join();
}

typedef float Vector4 __attribute__((vector_size(16)));
typedef float Vector8 __attribute__((vector_size(32)));
typedef float Vector16 __attribute__((vector_size(64)));

// Twelve independent chains hide the latency of a multiply-add on every core of today.
constexpr int kChains = 12;

#if defined(__x86_64__)
// The instructions are written out so that the compiler can neither fold the chains nor choose others.
__attribute__((target("avx512f"))) float fma_avx512(int64_t rounds) {
  Vector16 s0 = {}, s1 = {}, s2 = {}, s3 = {}, s4 = {}, s5 = {}, s6 = {}, s7 = {}, s8 = {}, s9 = {}, s10 = {}, s11 = {};
  Vector16 a = {0.5f}, b = {0.5f};
  for (int64_t r = 0; r < rounds; ++r) {
    __asm__ volatile(
        "vfmadd231ps %12, %13, %0\n vfmadd231ps %12, %13, %1\n vfmadd231ps %12, %13, %2\n vfmadd231ps %12, %13, %3\n"
        "vfmadd231ps %12, %13, %4\n vfmadd231ps %12, %13, %5\n vfmadd231ps %12, %13, %6\n vfmadd231ps %12, %13, %7\n"
        "vfmadd231ps %12, %13, %8\n vfmadd231ps %12, %13, %9\n vfmadd231ps %12, %13, %10\n vfmadd231ps %12, %13, %11\n"
        : "+v"(s0), "+v"(s1), "+v"(s2), "+v"(s3), "+v"(s4), "+v"(s5), "+v"(s6), "+v"(s7), "+v"(s8),
          "+v"(s9), "+v"(s10), "+v"(s11)
        : "v"(a), "v"(b));
  }
  s0 += s1 + s2 + s3 + s4 + s5 + s6 + s7 + s8 + s9 + s10 + s11;
  return s0[0];
}

__attribute__((target("avx2,fma"))) float fma_avx2(int64_t rounds) {
  Vector8 s0 = {}, s1 = {}, s2 = {}, s3 = {}, s4 = {}, s5 = {}, s6 = {}, s7 = {}, s8 = {}, s9 = {}, s10 = {}, s11 = {};
  Vector8 a = {0.5f}, b = {0.5f};
  for (int64_t r = 0; r < rounds; ++r) {
    __asm__ volatile(
        "vfmadd231ps %12, %13, %0\n vfmadd231ps %12, %13, %1\n vfmadd231ps %12, %13, %2\n vfmadd231ps %12, %13, %3\n"
        "vfmadd231ps %12, %13, %4\n vfmadd231ps %12, %13, %5\n vfmadd231ps %12, %13, %6\n vfmadd231ps %12, %13, %7\n"
        "vfmadd231ps %12, %13, %8\n vfmadd231ps %12, %13, %9\n vfmadd231ps %12, %13, %10\n vfmadd231ps %12, %13, %11\n"
        : "+x"(s0), "+x"(s1), "+x"(s2), "+x"(s3), "+x"(s4), "+x"(s5), "+x"(s6), "+x"(s7), "+x"(s8),
          "+x"(s9), "+x"(s10), "+x"(s11)
        : "x"(a), "x"(b));
  }
  s0 += s1 + s2 + s3 + s4 + s5 + s6 + s7 + s8 + s9 + s10 + s11;
  return s0[0];
}

__attribute__((target("avx512f,avx512bf16"))) float bf16_dot_avx512(int64_t rounds) {
  Vector16 s0 = {}, s1 = {}, s2 = {}, s3 = {}, s4 = {}, s5 = {}, s6 = {}, s7 = {}, s8 = {}, s9 = {}, s10 = {}, s11 = {};
  Vector16 a = {0.5f}, b = {0.5f};
  for (int64_t r = 0; r < rounds; ++r) {
    __asm__ volatile(
        "vdpbf16ps %12, %13, %0\n vdpbf16ps %12, %13, %1\n vdpbf16ps %12, %13, %2\n vdpbf16ps %12, %13, %3\n"
        "vdpbf16ps %12, %13, %4\n vdpbf16ps %12, %13, %5\n vdpbf16ps %12, %13, %6\n vdpbf16ps %12, %13, %7\n"
        "vdpbf16ps %12, %13, %8\n vdpbf16ps %12, %13, %9\n vdpbf16ps %12, %13, %10\n vdpbf16ps %12, %13, %11\n"
        : "+v"(s0), "+v"(s1), "+v"(s2), "+v"(s3), "+v"(s4), "+v"(s5), "+v"(s6), "+v"(s7), "+v"(s8),
          "+v"(s9), "+v"(s10), "+v"(s11)
        : "v"(a), "v"(b));
  }
  s0 += s1 + s2 + s3 + s4 + s5 + s6 + s7 + s8 + s9 + s10 + s11;
  return s0[0];
}
#endif

// 128-bit vectors, which every 64-bit CPU has; the barrier keeps the chains apart.
float fma_plain(int64_t rounds) {
  Vector4 sum[kChains] = {}, a = {0.5f}, b = {0.5f};
  for (int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 12
    for (int c = 0; c < kChains; ++c) {
      sum[c] += a * b;
      __asm__ volatile("" : JL_IN_REGISTER(sum[c]));
    }
  }
  float total = 0;
  for (const Vector4 &s : sum) total += s[0];
  return total;
}

// Two operations a lane and chain in each round.
int64_t rounds(double flops, int lanes) { return static_cast<int64_t>(flops / (2.0 * kChains * lanes)) + 1; }

float run_fma(double flops) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) return fma_avx512(rounds(flops, 16));
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return fma_avx2(rounds(flops, 8));
#endif
  return fma_plain(rounds(flops, 4));
}

}  // namespace

float jl_fma(double flops, int32_t threads) {
  std::vector<float> totals(threads);
  in_parallel(threads, [&](int32_t t) { totals[t] = run_fma(flops / threads); });
  float total = 0;
  for (float t : totals) total += t;
  return total;
}

int32_t jl_has_bf16_dot(void) {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512bf16") ? 1 : 0;
#else
  return 0;
#endif
}

float jl_bf16_dot(double flops, int32_t threads) {
#if defined(__x86_64__)
  if (jl_has_bf16_dot()) {
    std::vector<float> totals(threads);
    // A lane of a bf16 dot does two multiply-adds.
    in_parallel(threads, [&](int32_t t) { totals[t] = bf16_dot_avx512(rounds(flops / threads, 32)); });
    return totals[0];
  }
#endif
  (void)flops;
  (void)threads;
  return NAN;
}

uint64_t jl_gather(const void *table, int64_t row_bytes, const int64_t *ids, int64_t count, int32_t ahead,
                   int32_t threads) {
  return jl_gather_rows(table, row_bytes, row_bytes, ids, count, ahead, threads);
}

// Into L2, which takes more misses at a time than L1. GCC takes a loop that only prefetches for an empty one, hence the assembly.
static inline void prefetch(const char *p) {
  __builtin_prefetch(p, 0, 2);
  asm volatile("");
}

uint64_t jl_gather_rows(const void *table, int64_t row_bytes, int64_t used_bytes, const int64_t *ids, int64_t count,
                        int32_t ahead, int32_t threads) {
  const char *base = static_cast<const char *>(table);
  std::vector<uint64_t> totals(threads);
  in_parallel(threads, [&](int32_t t) {
    const int64_t begin = count * t / threads, end = count * (t + 1) / threads;
    uint64_t total = 0;
    constexpr int64_t kTogether = 64;  // prefetches in a row disturb the reads less
    for (int64_t first = begin; first < end; first += kTogether) {
      const int64_t last = std::min(first + kTogether, end);
      for (int64_t i = first + ahead; i < std::min(last + ahead, end); ++i) {
        const char *next = base + ids[i] * row_bytes;
        for (int64_t at = 0; at < used_bytes; at += 64) prefetch(next + at);
        if (used_bytes % 64 != 0) prefetch(next + used_bytes - 1);  // a row need not begin with a line
      }
      for (int64_t i = first; i < last; ++i) {
        const char *row = base + ids[i] * row_bytes;
        for (int64_t at = 0; at + 8 <= used_bytes; at += 64) total += *reinterpret_cast<const uint64_t *>(row + at);
        if (used_bytes % 64 != 0) total += row[used_bytes - 1];
      }
    }
    totals[t] = total;
  });
  uint64_t total = 0;
  for (uint64_t t : totals) total += t;
  return total;
}

void *jl_alloc(int64_t bytes) {
  constexpr size_t kHuge = 2u << 20;
  const size_t size = (static_cast<size_t>(bytes) + kHuge - 1) / kHuge * kHuge;
  void *memory = nullptr;
  if (posix_memalign(&memory, kHuge, size) != 0) return nullptr;
  madvise(memory, size, MADV_HUGEPAGE);
  return memory;
}

void jl_free(void *memory, int64_t) { free(memory); }

int32_t jl_repeat_run(int32_t (*run)(uint64_t, uint64_t, const void *, void *), uint64_t plan, uint64_t stream,
                      const void *args, void *error, int64_t times) {
  int32_t status = 0;
  for (int64_t i = 0; i < times; ++i) status = run(plan, stream, args, error);
  return status;
}

void Java_io_jindou_bench_CallBenchmark_jniNoop(void *, void *) {}
