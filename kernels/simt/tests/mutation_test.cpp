// The emulator must find bugs: every mutant of mutants.h fails (a wrong result, a NaN, a report) under every seed, and the
// kernels without a bug pass under all of them.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "mutants.h"
#include "simt/runtime/launch.h"

namespace jindou::simt::mutants {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// Each runs one kernel and says what is wrong, or nothing.

template <Gemm kBug>
std::string run_gemm(const Options &options) {
  constexpr int m = 61, n = 45, k = 200;
  // Guard rows of NaNs: what a kernel reads past a tensor must show.
  constexpr int kGuard = 256;
  std::mt19937 random(17);
  std::uniform_int_distribution<int> value(-4, 4);
  std::vector<prim::bf16> a(m * k + kGuard, prim::bf16{0x7fff}), b(n * k + kGuard, prim::bf16{0x7fff});
  for (int i = 0; i < m * k; ++i) a[i] = prim::from_float<prim::bf16>(static_cast<float>(value(random)));
  for (int i = 0; i < n * k; ++i) b[i] = prim::from_float<prim::bf16>(static_cast<float>(value(random)));
  // Rows of 400 bytes from an aligned start are aligned to 16.
  std::vector<float> c(m * n, kNan);
  launch<GemmKernel<kBug>>({(n + 31) / 32, (m + 31) / 32, 1}, {a.data(), b.data(), c.data(), m, n, k}, options);
  for (int i = 0; i < m; ++i) {
    for (int j = 0; j < n; ++j) {
      float sum = 0;  // of small integers: exact
      for (int l = 0; l < k; ++l) sum += prim::to_float(a[i * k + l]) * prim::to_float(b[j * k + l]);
      if (c[i * n + j] != sum) return "c[" + std::to_string(i) + "][" + std::to_string(j) + "]";
    }
  }
  return {};
}

template <Sum kBug>
std::string run_sum(const Options &options) {
  using Kernel = SumKernel<kBug>;
  constexpr int rounds = 6, n = 201;
  std::vector<int32_t> in(rounds * n), out(rounds * Kernel::kThreads, -1);
  for (size_t i = 0; i < in.size(); ++i) in[i] = static_cast<int32_t>(i * i % 1009);
  launch<Kernel>({1, 1, 1}, {in.data(), out.data(), rounds, n}, options);
  for (int r = 0; r < rounds; ++r) {
    int32_t sum = 0;
    for (int i = 0; i < n; ++i) sum += in[r * n + i];
    for (int t = 0; t < Kernel::kThreads; ++t) {
      if (out[r * Kernel::kThreads + t] != sum) return "round " + std::to_string(r) + ", thread " + std::to_string(t);
    }
  }
  return {};
}

template <Transpose kBug>
std::string run_transpose(const Options &options) {
  constexpr int tiles = 4;
  std::vector<int32_t> in(tiles * 1024), out(tiles * 1024, -1);
  for (size_t i = 0; i < in.size(); ++i) in[i] = static_cast<int32_t>(i);
  launch<TransposeKernel<kBug>>({1, 1, 1}, {in.data(), out.data(), tiles}, options);
  for (int t = 0; t < tiles; ++t) {
    for (int i = 0; i < 1024; ++i) {
      if (out[t * 1024 + i] != in[t * 1024 + i % 32 * 32 + i / 32]) return "tile " + std::to_string(t);
    }
  }
  return {};
}

template <Relay kBug>
std::string run_relay(const Options &options) {
  constexpr int steps = 6;
  std::vector<int32_t> in(steps * 64), out(steps * 64, -1);
  for (size_t i = 0; i < in.size(); ++i) in[i] = static_cast<int32_t>(i);
  launch<RelayKernel<kBug>>({1, 1, 1}, {in.data(), out.data(), steps}, options);
  for (int s = 0; s < steps; ++s) {
    for (int i = 0; i < 64; ++i) {
      if (out[s * 64 + i] != in[s * 64 + 63 - i]) return "step " + std::to_string(s);
    }
  }
  return {};
}

template <Histogram kBug>
std::string run_histogram(const Options &options) {
  using Kernel = HistogramKernel<kBug>;
  constexpr int blocks = 5;
  std::vector<int32_t> ids(blocks * Kernel::kThreads * 4 + 4), counts(Kernel::kBins), expected(Kernel::kBins);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(i * 7919 % 64);
  for (size_t i = 0; i + 4 < ids.size(); ++i) ++expected[ids[i]];
  uint32_t lock = 0;
  launch<Kernel>({blocks, 1, 1}, {ids.data(), counts.data(), &lock}, options);
  return counts == expected ? "" : "counts";
}

struct Subject {
  const char *name;
  std::string (*run)(const Options &);
};

std::string outcome(const Subject &subject, const Options &options) {
  try {
    return subject.run(options);
  } catch (const Error &e) {
    return e.what();
  }
}

class Mutants : public ::testing::TestWithParam<Subject> {};
class Kernels : public ::testing::TestWithParam<Subject> {};

std::string name_of(const ::testing::TestParamInfo<Subject> &info) { return info.param.name; }

TEST_P(Mutants, is_caught_under_every_seed) {
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    Options options;
    options.seed = seed;
    EXPECT_NE(outcome(GetParam(), options), "") << "not caught with seed " << seed;
  }
}

TEST_P(Kernels, passes_under_every_seed) {
  for (uint64_t seed = 0; seed <= 20; ++seed) {
    for (const Completion completion : {Completion::lazy, Completion::eager, Completion::random}) {
      for (const bool poison : {true, false}) {
        Options options;
        options.seed = seed;
        options.completion = completion;
        options.poison = poison;
        EXPECT_EQ(outcome(GetParam(), options), "") << "with seed " << seed;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Simt, Kernels,
                         ::testing::Values(Subject{"gemm", run_gemm<Gemm::correct>}, Subject{"sum", run_sum<Sum::correct>},
                                           Subject{"transpose", run_transpose<Transpose::correct>},
                                           Subject{"relay", run_relay<Relay::correct>},
                                           Subject{"histogram", run_histogram<Histogram::correct>}),
                         name_of);

#define JINDOU_MUTANT(kernel, Bugs, bug) \
  Subject { #kernel "_" #bug, run_##kernel<Bugs::bug> }

INSTANTIATE_TEST_SUITE_P(
    Simt, Mutants,
    ::testing::Values(
        JINDOU_MUTANT(gemm, Gemm, no_barrier), JINDOU_MUTANT(gemm, Gemm, no_wait), JINDOU_MUTANT(gemm, Gemm, weak_wait),
        JINDOU_MUTANT(gemm, Gemm, wait_after_barrier), JINDOU_MUTANT(gemm, Gemm, copy_before_barrier),
        JINDOU_MUTANT(gemm, Gemm, copy_into_current_stage), JINDOU_MUTANT(gemm, Gemm, no_commit),
        JINDOU_MUTANT(gemm, Gemm, no_commit_at_the_end), JINDOU_MUTANT(gemm, Gemm, no_predicate),
        JINDOU_MUTANT(gemm, Gemm, no_zero_fill), JINDOU_MUTANT(gemm, Gemm, odd_pitch),
        JINDOU_MUTANT(gemm, Gemm, arena_one_stage_short), JINDOU_MUTANT(gemm, Gemm, diverged_mma),
        JINDOU_MUTANT(sum, Sum, no_barrier_before_read), JINDOU_MUTANT(sum, Sum, no_barrier_after_read),
        JINDOU_MUTANT(sum, Sum, short_shuffle), JINDOU_MUTANT(sum, Sum, early_return),
        JINDOU_MUTANT(sum, Sum, one_barrier_skipped), JINDOU_MUTANT(transpose, Transpose, no_sync_before_read),
        JINDOU_MUTANT(transpose, Transpose, no_sync_after_read),
        JINDOU_MUTANT(transpose, Transpose, sync_of_half_the_lanes), JINDOU_MUTANT(relay, Relay, wrong_count),
        JINDOU_MUTANT(relay, Relay, no_arrive), JINDOU_MUTANT(relay, Relay, no_full_wait),
        JINDOU_MUTANT(relay, Relay, no_empty_wait), JINDOU_MUTANT(relay, Relay, empty_is_full),
        JINDOU_MUTANT(relay, Relay, producer_warp_lost), JINDOU_MUTANT(histogram, Histogram, not_zeroed),
        JINDOU_MUTANT(histogram, Histogram, no_barrier_after_zeroing),
        JINDOU_MUTANT(histogram, Histogram, no_barrier_before_adding),
        JINDOU_MUTANT(histogram, Histogram, lock_not_released), JINDOU_MUTANT(histogram, Histogram, vector_misaligned)),
    name_of);

}  // namespace
}  // namespace jindou::simt::mutants
