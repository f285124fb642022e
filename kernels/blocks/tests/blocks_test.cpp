// linear, layer_norm and l2_normalize in the emulator, against the float64 references.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "blocks/blocks_launch.h"
#include "simt/backend/executor.h"
#include "testing/device_array.h"
#include "tests/reference/blocks.h"
#include "tests/tolerance.h"

namespace jindou::testing {
namespace {

using Doubles = std::vector<double>;

// A device with one stream.
struct Emulator {
  explicit Emulator(uint64_t seed = 0, int32_t multiprocessors = 2) : device{multiprocessors, seed} {
    stream.device = &device;
    error.struct_size = sizeof error;
  }
  simt_backend::Executor executor() { return simt_backend::Executor(stream, &error); }

  simt_backend::Device device;
  simt_backend::Stream stream{};
  jd_error error{};
};

// A matrix whose rows are `stride` floats apart; what lies between rows stays NaN.
struct Matrix {
  Matrix(int64_t rows, int64_t columns, int64_t padding = 0)
      : n(rows), d(columns), stride(columns + padding),
        array(JD_F32, rows == 0 ? 0 : static_cast<size_t>((rows - 1) * stride + columns)) {}

  static Matrix random(int64_t rows, int64_t columns, uint64_t seed, int64_t padding = 0, float shift = 0.0f) {
    Matrix m(rows, columns, padding);
    std::mt19937_64 draw(seed);
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < columns; ++j) {
        m.at(i, j, shift + static_cast<float>(static_cast<int64_t>(draw() % 4001) - 2000) / 1000.0f);
      }
    }
    return m;
  }

  void at(int64_t i, int64_t j, float value) { array.set(static_cast<size_t>(i * stride + j), value); }
  float at(int64_t i, int64_t j) const { return array.get(static_cast<size_t>(i * stride + j)); }
  jdb_tensor tensor() const { return array.tensor({n, d}, {stride, 1}); }
  jdb_tensor vector() const { return array.tensor({d}); }
  Doubles doubles() const {
    Doubles values;
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = 0; j < d; ++j) values.push_back(at(i, j));
    }
    return values;
  }
  void expect_untouched_between_rows() const {
    for (int64_t i = 0; i + 1 < n; ++i) {
      for (int64_t j = d; j < stride; ++j) ASSERT_TRUE(std::isnan(at(i, j))) << "row " << i << " column " << j;
    }
  }

  int64_t n, d, stride;
  DeviceArray array;
};

// -- linear
// --------------------------------------------------------------------------------------------------------------

struct LinearShape {
  int64_t n, k, m;
};

class LinearShapes : public ::testing::TestWithParam<LinearShape> {};

void expect_linear(const Matrix &out, const Matrix &x, const Matrix &w, const Doubles &bias, const Doubles &residual,
                   bool silu) {
  const Doubles expected = reference::linear(x.n, x.d, w.n, x.doubles(), w.doubles(), bias, residual, silu);
  for (int64_t i = 0; i < x.n; ++i) {
    for (int64_t o = 0; o < w.n; ++o) {
      double terms = bias.empty() ? 0.0 : std::fabs(bias[o]);
      for (int64_t d = 0; d < x.d; ++d) terms += std::fabs(static_cast<double>(x.at(i, d)) * w.at(o, d));
      if (!residual.empty()) terms += std::fabs(residual[i * w.n + o]);
      ASSERT_TRUE(std::fabs(out.at(i, o) - expected[i * w.n + o]) <= tolerance::linear(x.d, terms))
          << "row " << i << " column " << o << ": got " << out.at(i, o) << ", expected " << expected[i * w.n + o];
    }
  }
}

TEST_P(LinearShapes, matches_the_reference) {
  const auto [n, k, m] = GetParam();
  for (const uint64_t seed : {0, 1, 2}) {
    const int64_t padding = seed == 1 ? 4 : 0;
    const Matrix x = Matrix::random(n, k, seed * 10 + 1, padding), w = Matrix::random(m, k, seed * 10 + 2, padding);
    const Matrix bias = Matrix::random(1, m, seed * 10 + 3);
    const Matrix residual = Matrix::random(n, m, seed * 10 + 4, padding);
    const Matrix out(n, m, padding);
    Emulator emulator(seed, seed == 2 ? 64 : 2);
    auto executor = emulator.executor();
    jdb_linear_args args{};
    args.x = x.tensor();
    args.weight = w.tensor();
    args.out = out.tensor();
    args.activation = seed == 2 ? JD_LINEAR_SILU : JD_LINEAR_IDENTITY;
    if (seed > 0) args.bias = bias.vector();
    if (seed > 0) args.residual = residual.tensor();
    ASSERT_EQ(JD_OK, launch_linear(executor, args)) << emulator.error.message;
    expect_linear(out, x, w, seed > 0 ? bias.doubles() : Doubles{}, seed > 0 ? residual.doubles() : Doubles{},
                  seed == 2);
    out.expect_untouched_between_rows();
  }
}

INSTANTIATE_TEST_SUITE_P(
    shapes, LinearShapes,
    ::testing::Values(LinearShape{0, 8, 8}, LinearShape{1, 4, 4}, LinearShape{1, 64, 260}, LinearShape{3, 20, 100},
                      LinearShape{15, 16, 60}, LinearShape{16, 52, 64}, LinearShape{17, 12, 68},
                      LinearShape{63, 32, 64}, LinearShape{64, 36, 60}, LinearShape{65, 44, 68},
                      LinearShape{127, 28, 128}, LinearShape{128, 16, 132}, LinearShape{129, 64, 252},
                      LinearShape{257, 20, 8}),
    [](const auto &info) {
      return std::to_string(info.param.n) + "x" + std::to_string(info.param.k) + "x" + std::to_string(info.param.m);
    });

TEST(Linear, adds_to_its_residual_in_place) {
  const Matrix x = Matrix::random(70, 24, 1), w = Matrix::random(40, 24, 2), out = Matrix::random(70, 40, 3);
  const Doubles residual = out.doubles();
  Emulator emulator;
  auto executor = emulator.executor();
  jdb_linear_args args{};
  args.x = x.tensor();
  args.weight = w.tensor();
  args.residual = args.out = out.tensor();
  ASSERT_EQ(JD_OK, launch_linear(executor, args));
  expect_linear(out, x, w, {}, residual, false);
}

// The choice of tile follows the number of rows, so this is what makes a row independent of its batch.
TEST(Linear, every_tile_gives_the_same_bits) {
  const Matrix x = Matrix::random(130, 52, 1), w = Matrix::random(132, 52, 2), bias = Matrix::random(1, 132, 3);
  jdb_linear_args args{};
  args.x = x.tensor();
  args.weight = w.tensor();
  args.bias = bias.vector();
  args.activation = JD_LINEAR_SILU;
  const Matrix few(130, 132), medium(130, 132), large(130, 132);
  Emulator emulator(3);
  auto executor = emulator.executor();
  args.out = few.tensor();
  ASSERT_EQ(JD_OK, blocks::launch_linear_tile<blocks::LinearFewRows>(executor, args));
  args.out = medium.tensor();
  ASSERT_EQ(JD_OK, blocks::launch_linear_tile<blocks::LinearMedium>(executor, args));
  args.out = large.tensor();
  ASSERT_EQ(JD_OK, blocks::launch_linear_tile<blocks::LinearLarge>(executor, args));
  EXPECT_EQ(few.array.bytes(), medium.array.bytes());
  EXPECT_EQ(few.array.bytes(), large.array.bytes());
}

TEST(Linear, a_row_does_not_depend_on_the_others) {
  const Matrix x = Matrix::random(40, 32, 1), w = Matrix::random(72, 32, 2), out(40, 72), one(1, 72);
  Emulator emulator;
  auto executor = emulator.executor();
  jdb_linear_args args{};
  args.x = x.tensor();
  args.weight = w.tensor();
  args.out = out.tensor();
  ASSERT_EQ(JD_OK, launch_linear(executor, args));
  for (const int64_t row : {0, 17, 39}) {
    args.x = x.array.tensor({1, 32}, {32, 1}, static_cast<size_t>(row * 32));
    args.out = one.tensor();
    ASSERT_EQ(JD_OK, launch_linear(executor, args));
    for (int64_t j = 0; j < 72; ++j) ASSERT_EQ(out.at(row, j), one.at(0, j));
  }
}

// -- layer_norm and l2_normalize
// -------------------------------------------------------------------------------------------

class RowWidths : public ::testing::TestWithParam<int64_t> {};  // d

void run_layer_norm(Emulator &emulator, const Matrix &x, const Matrix &weight, const Matrix &bias,
                    const Matrix *multiplier, const Matrix &out, float eps) {
  auto executor = emulator.executor();
  jdb_layer_norm_args args{};
  args.eps = eps;
  args.x = x.tensor();
  args.weight = weight.vector();
  args.bias = bias.vector();
  if (multiplier) args.multiplier = multiplier->tensor();
  args.out = out.tensor();
  ASSERT_EQ(JD_OK, launch_layer_norm(executor, args)) << emulator.error.message;
}

TEST_P(RowWidths, layer_norm_matches_the_reference) {
  const int64_t d = GetParam();
  for (const int64_t n : {0, 1, 5}) {
    for (const uint64_t seed : {0, 1}) {
      const Matrix x = Matrix::random(n, d, 1 + seed, seed ? 4 : 0), weight = Matrix::random(1, d, 3),
                   bias = Matrix::random(1, d, 4), multiplier = Matrix::random(n, d, 5, seed ? 8 : 0);
      const Matrix out(n, d, seed ? 12 : 0);
      Emulator emulator(seed);
      run_layer_norm(emulator, x, weight, bias, seed ? &multiplier : nullptr, out, 1e-5f);
      const Doubles expected = reference::layer_norm(n, d, x.doubles(), weight.doubles(), bias.doubles(),
                                                     seed ? multiplier.doubles() : Doubles{}, 1e-5f);
      for (int64_t i = 0; i < n; ++i) {
        for (int64_t j = 0; j < d; ++j) {
          // |(x - mean) / sd| <= 4 here, |weight|, |bias|, |multiplier| <= 2.
          ASSERT_NEAR(expected[i * d + j], out.at(i, j), 20 * 4e-7) << "row " << i << " column " << j;
        }
      }
      out.expect_untouched_between_rows();
    }
  }
}

TEST_P(RowWidths, l2_normalize_matches_the_reference) {
  const int64_t d = GetParam();
  for (const int64_t n : {0, 1, 5}) {
    for (const uint64_t seed : {0, 1}) {
      const Matrix x = Matrix::random(n, d, 7 + seed, seed ? 4 : 0);
      const Matrix out(n, d, seed ? 12 : 0);
      Emulator emulator(seed);
      auto executor = emulator.executor();
      jdb_l2_normalize_args args{};
      args.eps = 1e-12f;
      args.x = x.tensor();
      args.out = out.tensor();
      ASSERT_EQ(JD_OK, launch_l2_normalize(executor, args)) << emulator.error.message;
      const Doubles expected = reference::l2_normalize(n, d, x.doubles(), 1e-12f);
      for (int64_t i = 0; i < n; ++i) {
        for (int64_t j = 0; j < d; ++j) {
          ASSERT_NEAR(expected[i * d + j], out.at(i, j), 1e-6 * std::fabs(expected[i * d + j]) + 1e-30);
        }
      }
      out.expect_untouched_between_rows();
    }
  }
}

INSTANTIATE_TEST_SUITE_P(widths, RowWidths,
                         ::testing::Values(4, 8, 60, 124, 128, 132, 256, 260, 508, 512, 516, 1024, 1028, 2048, 2052,
                                           4096, 4100, 8188, 8192));

TEST(LayerNorm, works_in_place) {
  for (const int64_t d : {64, 1536}) {
    const Matrix x = Matrix::random(6, d, 1), weight = Matrix::random(1, d, 2), bias = Matrix::random(1, d, 3);
    const Matrix out(6, d);
    Emulator emulator(2);
    run_layer_norm(emulator, x, weight, bias, nullptr, out, 1e-5f);
    run_layer_norm(emulator, x, weight, bias, nullptr, x, 1e-5f);
    EXPECT_EQ(out.array.bytes(), x.array.bytes());
  }
}

// E[x^2] - E[x]^2 in f32 would have no digit left here.
TEST(LayerNorm, keeps_its_digits_far_from_zero) {
  const int64_t d = 512;
  const Matrix x = Matrix::random(2, d, 1, 0, 4096.0f), out(2, d);
  Matrix weight(1, d), bias(1, d);
  for (int64_t j = 0; j < d; ++j) {
    weight.at(0, j, 1.0f);
    bias.at(0, j, 0.0f);
  }
  Emulator emulator;
  run_layer_norm(emulator, x, weight, bias, nullptr, out, 0.0f);
  const Doubles expected = reference::layer_norm(2, d, x.doubles(), weight.doubles(), bias.doubles(), {}, 0.0);
  // The mean is good to an ulp of 4096 (2^-12 * few), the standard deviation is about 1.15.
  for (int64_t i = 0; i < 2 * d; ++i) ASSERT_NEAR(expected[i], out.at(i / d, i % d), 1e-3);
}

TEST(LayerNorm, a_constant_row_gives_the_bias) {
  const int64_t d = 100;
  Matrix x(1, d);
  for (int64_t j = 0; j < d; ++j) x.at(0, j, 3.0f);
  const Matrix weight = Matrix::random(1, d, 2), bias = Matrix::random(1, d, 3), out(1, d);
  Emulator emulator;
  run_layer_norm(emulator, x, weight, bias, nullptr, out, 1e-5f);
  for (int64_t j = 0; j < d; ++j) ASSERT_EQ(bias.at(0, j), out.at(0, j));
}

TEST(L2Normalize, divides_by_eps_where_the_norm_is_less) {
  Matrix x(3, 8);
  for (int64_t j = 0; j < 8; ++j) {
    x.at(0, j, 0.0f);
    x.at(1, j, 1e-4f);
    x.at(2, j, 1.0f);
  }
  const Matrix out(3, 8);
  Emulator emulator;
  auto executor = emulator.executor();
  jdb_l2_normalize_args args{};
  args.eps = 0.01f;
  args.x = x.tensor();
  args.out = out.tensor();
  ASSERT_EQ(JD_OK, launch_l2_normalize(executor, args));
  EXPECT_EQ(0.0f, out.at(0, 3));
  EXPECT_FLOAT_EQ(0.01f, out.at(1, 3));
  EXPECT_FLOAT_EQ(1.0f / std::sqrt(8.0f), out.at(2, 3));
}

TEST(Rows, bits_do_not_depend_on_the_batch_or_the_order_of_threads) {
  for (const int64_t d : {36, 1028}) {
    const Matrix x = Matrix::random(9, d, 1), weight = Matrix::random(1, d, 2), bias = Matrix::random(1, d, 3);
    const Matrix together(9, d);
    Emulator emulator;
    run_layer_norm(emulator, x, weight, bias, nullptr, together, 1e-5f);
    for (const uint64_t seed : {1, 2, 3}) {
      const Matrix out(9, d);
      Emulator shuffled(seed, 3);
      run_layer_norm(shuffled, x, weight, bias, nullptr, out, 1e-5f);
      EXPECT_EQ(together.array.bytes(), out.array.bytes());
    }
    for (int64_t i = 0; i < 9; ++i) {
      Matrix row(1, d), out(1, d);
      for (int64_t j = 0; j < d; ++j) row.at(0, j, x.at(i, j));
      run_layer_norm(emulator, row, weight, bias, nullptr, out, 1e-5f);
      for (int64_t j = 0; j < d; ++j) ASSERT_EQ(together.at(i, j), out.at(0, j));
    }
  }
}

}  // namespace
}  // namespace jindou::testing
