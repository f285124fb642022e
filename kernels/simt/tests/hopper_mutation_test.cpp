// sm_90's instructions together: the kernel of hopper_mutants.h passes under every seed, and every mutant of it fails.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "hopper_mutants.h"
#include "simt/runtime/launch.h"
#include "simt/runtime/tensor_copies.h"

namespace jindou::simt::mutants {
namespace {

constexpr int kRows = 128, kD = 128;

prim::TensorMap rows_map(const prim::bf16 *data, uint64_t rows, uint32_t box_rows) {
  return encode_tensor_map({data, {64, rows, kD / 64, 1}, {kD * 2, 128, 16}, {64, box_rows, kD / 64, 1}});
}

template <Hopper kBug>
std::string run(const Options &options) {
  constexpr int keys = 300, guard = 20;  // 5 tiles in 2 stages
  std::mt19937 random(23);
  std::uniform_int_distribution<int> small(-1, 1), value(-3, 3);
  struct alignas(16) Chunk {
    prim::bf16 x[8];
  };
  const auto draw = [&](int rows, auto &distribution) {  // rows of NaNs after them
    std::vector<Chunk> v(static_cast<size_t>((rows + guard) * kD / 8));
    for (size_t i = 0; i < v.size() * 8; ++i) {
      v[i / 8].x[i % 8] = i < static_cast<size_t>(rows * kD) ? prim::from_float<prim::bf16>(static_cast<float>(distribution(random)))
                                                             : prim::bf16{0x7fff};
    }
    return v;
  };
  const auto q = draw(kRows, small), k = draw(keys, small), v = draw(keys, value);
  const auto at = [](const std::vector<Chunk> &m, int row, int column) {
    return prim::to_float(m[static_cast<size_t>(row * kD + column) / 8].x[column % 8]);
  };
  std::vector<float> out(kRows * kD, std::numeric_limits<float>::quiet_NaN());
  using Kernel = HopperKernel<kBug>;
  const typename Kernel::Params params{rows_map(q[0].x, kRows + guard, 64), rows_map(k[0].x, keys + guard, Kernel::kKeys),
                                       rows_map(v[0].x, keys + guard, Kernel::kKeys), out.data(), keys};
  try {
    launch<Kernel>({1, 1, 1}, params, options);
  } catch (const Error &e) {
    return e.what();
  }
  std::vector<float> scores(keys);
  for (int i = 0; i < kRows; ++i) {  // of integers below 256: exact, in bf16 too
    for (int j = 0; j < keys; ++j) {
      scores[j] = 0;
      for (int c = 0; c < kD; ++c) scores[j] += at(q, i, c) * at(k, j, c);
    }
    for (int c = 0; c < kD; ++c) {
      float sum = 0;
      for (int j = 0; j < keys; ++j) sum += scores[j] * at(v, j, c);
      if (out[static_cast<size_t>(i * kD + c)] != sum)
        return "out[" + std::to_string(i) + "][" + std::to_string(c) + "]: " + std::to_string(out[static_cast<size_t>(i * kD + c)]);
    }
  }
  return {};
}

struct Mutant {
  const char *name;
  std::string (*run)(const Options &);
};

class HopperMutants : public ::testing::TestWithParam<Mutant> {};

TEST(HopperKernel, passes_under_every_seed_and_every_moment_of_landing) {
  for (uint64_t seed = 0; seed <= 5; ++seed) {
    for (const Completion completion : {Completion::lazy, Completion::eager, Completion::random}) {
      Options options;
      options.seed = seed;
      options.completion = completion;
      EXPECT_EQ(run<Hopper::correct>(options), "") << "with seed " << seed;
    }
  }
}

TEST_P(HopperMutants, is_caught_under_every_seed) {
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    Options options;
    options.seed = seed;
    EXPECT_NE(GetParam().run(options), "") << "not caught with seed " << seed;
  }
}

#define JINDOU_MUTANT(bug) \
  Mutant { #bug, run<Hopper::bug> }

INSTANTIATE_TEST_SUITE_P(
    Simt, HopperMutants,
    ::testing::Values(JINDOU_MUTANT(no_full_wait), JINDOU_MUTANT(wrong_full_parity), JINDOU_MUTANT(no_empty_wait),
                      JINDOU_MUTANT(wrong_empty_parity), JINDOU_MUTANT(no_expect), JINDOU_MUTANT(expect_too_few),
                      JINDOU_MUTANT(expect_too_many), JINDOU_MUTANT(no_arrive_on_empty), JINDOU_MUTANT(empty_count_too_small),
                      JINDOU_MUTANT(release_before_wait), JINDOU_MUTANT(no_product_wait), JINDOU_MUTANT(weak_product_wait),
                      JINDOU_MUTANT(no_product_fence), JINDOU_MUTANT(no_commit), JINDOU_MUTANT(no_proxy_fence),
                      JINDOU_MUTANT(no_init_fence), JINDOU_MUTANT(no_sync_after_init), JINDOU_MUTANT(no_tail_zeros),
                      JINDOU_MUTANT(skipped_product), JINDOU_MUTANT(scores_changed_in_flight), JINDOU_MUTANT(transposed_values),
                      JINDOU_MUTANT(bad_panel_stride), JINDOU_MUTANT(tile_not_aligned), JINDOU_MUTANT(queries_not_waited_for)),
    [](const ::testing::TestParamInfo<Mutant> &info) { return std::string(info.param.name); });

}  // namespace
}  // namespace jindou::simt::mutants
