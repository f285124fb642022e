// linear, layer_norm, l2_normalize: every rule of jindou/blocks.h, broken one at a time.
#include <cmath>
#include <functional>

#include "core_fixture.h"

namespace jindou::test {
namespace {

class BlockErrors : public CoreTest {
 protected:
  template <class Args>
  void refused(jd_status (*run)(jd_stream, const Args *, jd_error *), const char *operation, const Args &good,
               std::function<void(Args &)> change, std::initializer_list<const char *> parts,
               jd_status expected = JD_INVALID_ARGUMENT) {
    Args a = good;
    change(a);
    const int64_t runs = state()->runs;
    expect_refused(run(stream, &a, &error), expected, error, parts);
    expect_refused(expected, expected, error, {operation});
    EXPECT_EQ(state()->runs, runs);
    ASSERT_EQ(run(stream, &good, &error), JD_OK) << error.message;
  }
};

TEST_F(BlockErrors, linear) {
  using A = jd_linear_args;
  A good = make<A>();
  good.x = tensor(JD_F32, {5, 8});
  good.weight = tensor(JD_F32, {12, 8});
  good.bias = tensor(JD_F32, {12});
  good.residual = tensor(JD_F32, {5, 12});
  good.out = tensor(JD_F32, {5, 12});
  const auto bad = [&](std::function<void(A &)> change, std::initializer_list<const char *> parts,
                       jd_status status = JD_INVALID_ARGUMENT) {
    refused<A>(jd_linear, "linear: ", good, change, parts, status);
  };
  bad([](A &a) { a.struct_size = 7; }, {"argument 'args'", "struct_size", "got 7"});
  bad([](A &a) { a.activation = 2; }, {"argument 'activation'", "0..1", "got 2"});
  bad([](A &a) { a.x = 0; }, {"argument 'x'", "null handle"}, JD_INVALID_HANDLE);
  bad([&](A &a) { a.weight = closed_tensor(); }, {"argument 'weight'", "closed"}, JD_CLOSED);
  bad([&](A &a) { a.residual = stream; }, {"argument 'residual'", "a stream"}, JD_INVALID_HANDLE);
  bad([&](A &a) { a.x = tensor(JD_BF16, {5, 8}); }, {"argument 'x'", "f32", "bf16"});
  bad([&](A &a) { a.x = tensor(JD_F32, {5, 2, 4}); }, {"argument 'x'", "rank 2", "rank 3"});
  bad([&](A &a) { a.x = tensor(JD_F32, {5, 6}); }, {"argument 'x'", "multiple of 4", "[5, 6]"});
  bad([&](A &a) { a.x = tensor(JD_F32, {5, 0}); }, {"argument 'x'", "at least 4", "[5, 0]"});
  bad([&](A &a) { a.x = tensor(JD_F32, {5, 8}, {10, 1}); }, {"argument 'x'", "multiples of 16 bytes", "[10, 1]"});
  bad([&](A &a) { a.x = tensor(JD_F32, {5, 8}, {}, 4); }, {"argument 'x'", "aligned to 16 bytes"});
  bad([&](A &a) { a.x = tensor(JD_F32, {5, 8}, {16, 2}); }, {"argument 'x'", "stride 1"});
  bad([&](A &a) { a.weight = tensor(JD_F32, {12, 4}); }, {"argument 'weight'", "[*, 8]", "[12, 4]"});
  bad([&](A &a) { a.weight = tensor(JD_F32, {10, 8}); }, {"argument 'weight'", "multiple of 4 rows", "[10, 8]"});
  bad([&](A &a) { a.weight = tensor(JD_F32, {0, 8}); }, {"argument 'weight'", "at least 4"});
  bad([&](A &a) { a.bias = tensor(JD_F32, {8}); }, {"argument 'bias'", "[12]", "[8]"});
  bad([&](A &a) { a.bias = tensor(JD_F32, {12}, {}, 8); }, {"argument 'bias'", "aligned to 16 bytes"});
  bad([&](A &a) { a.bias = tensor(JD_F32, {12}, {2}); }, {"argument 'bias'", "stride 1"});
  bad([&](A &a) { a.residual = tensor(JD_F32, {4, 12}); }, {"argument 'residual'", "[5, 12]", "[4, 12]"});
  bad([&](A &a) { a.out = tensor(JD_F32, {5, 8}); }, {"argument 'out'", "[5, 12]", "[5, 8]"});
  bad([&](A &a) { a.out = tensor(JD_F32, {5, 12}, {8, 1}); }, {"argument 'out'", "an address of its own"});
  bad(
      [&](A &a) {
        a.out = wrap(device, data<void>(good.x), JD_F32, {5, 12}, {4, 1});
      },
      {"argument 'out'", "an address of its own"});
  bad(
      [&](A &a) {
        a.out = wrap(device, data<char>(good.weight) + 64, JD_F32, {5, 12});
      },
      {"argument 'out'", "apart from 'weight'"});
  const jd_tensor wide = tensor(JD_F32, {6, 16});
  bad(
      [&](A &a) {
        a.residual = view(wide, 0, {5, 12}, {16, 1});
        a.out = view(wide, 4, {5, 12}, {16, 1});
      },
      {"argument 'out'", "apart from 'residual' or exactly the same tensor"});
  bad(
      [&](A &a) {
        a.residual = view(wide, 0, {5, 12}, {16, 1});
        a.out = view(wide, 0, {5, 12}, {12, 1});
      },
      {"argument 'out'", "'residual'"});
  expect_refused(jd_linear(stream, nullptr, &error), JD_INVALID_ARGUMENT, error, {"argument 'args'", "NULL"});
  expect_refused(jd_linear(0, &good, &error), JD_INVALID_HANDLE, error, {"linear: argument 'stream'"});

  A in_place = good;
  in_place.residual = in_place.out;
  EXPECT_EQ(jd_linear(stream, &in_place, &error), JD_OK) << error.message;
  in_place.residual = view(wide, 0, {5, 12}, {16, 1});
  in_place.out = view(wide, 0, {5, 12}, {16, 1});
  EXPECT_EQ(jd_linear(stream, &in_place, &error), JD_OK) << error.message;
  A bare = good;
  bare.bias = bare.residual = 0;
  EXPECT_EQ(jd_linear(stream, &bare, &error), JD_OK) << error.message;
  EXPECT_EQ(state()->last_args.linear.bias.dtype, 0);
  bare.x = tensor(JD_F32, {0, 8});
  bare.out = tensor(JD_F32, {0, 12});
  EXPECT_EQ(jd_linear(stream, &bare, &error), JD_OK) << error.message;
}

TEST_F(BlockErrors, layer_norm) {
  using A = jd_layer_norm_args;
  A good = make<A>();
  good.eps = 1e-6f;
  good.x = tensor(JD_F32, {5, 8});
  good.weight = tensor(JD_F32, {8});
  good.bias = tensor(JD_F32, {8});
  good.multiplier = tensor(JD_F32, {5, 8});
  good.out = tensor(JD_F32, {5, 8});
  const auto bad = [&](std::function<void(A &)> change, std::initializer_list<const char *> parts,
                       jd_status status = JD_INVALID_ARGUMENT) {
    refused<A>(jd_layer_norm, "layer_norm: ", good, change, parts, status);
  };
  bad([](A &a) { a.eps = NAN; }, {"argument 'eps'", "finite", "nan"});
  bad([](A &a) { a.eps = -1; }, {"argument 'eps'", ">= 0", "got -1"});
  bad([](A &a) { a.eps = INFINITY; }, {"argument 'eps'", "inf"});
  bad([](A &a) { a.weight = 0; }, {"argument 'weight'", "null handle"}, JD_INVALID_HANDLE);
  bad([](A &a) { a.bias = 0; }, {"argument 'bias'", "null handle"}, JD_INVALID_HANDLE);
  bad([&](A &a) { a.x = tensor(JD_F32, {5, 7}); }, {"argument 'x'", "multiple of 4 columns in 4..8192", "[5, 7]"});
  bad([&](A &a) { a.x = tensor(JD_F32, {1, 8196}); }, {"argument 'x'", "4..8192", "[1, 8196]"});
  bad([&](A &a) { a.weight = tensor(JD_F32, {4}); }, {"argument 'weight'", "[8]", "[4]"});
  bad([&](A &a) { a.bias = tensor(JD_F32, {8, 1}); }, {"argument 'bias'", "rank 1"});
  bad([&](A &a) { a.multiplier = tensor(JD_F32, {5, 4}); }, {"argument 'multiplier'", "[5, 8]", "[5, 4]"});
  bad([&](A &a) { a.out = tensor(JD_F32, {6, 8}); }, {"argument 'out'", "[5, 8]", "[6, 8]"});
  bad([](A &a) { a.out = a.multiplier; }, {"argument 'out'", "apart from 'multiplier'"});
  bad(
      [&](A &a) {
        a.out = wrap(device, data<char>(good.x) + 16, JD_F32, {5, 8});
      },
      {"argument 'out'", "apart from 'x' or exactly the same"});
  A in_place = good;
  in_place.out = in_place.x;
  in_place.multiplier = 0;
  in_place.eps = 0;
  EXPECT_EQ(jd_layer_norm(stream, &in_place, &error), JD_OK) << error.message;
}

TEST_F(BlockErrors, l2_normalize) {
  using A = jd_l2_normalize_args;
  A good = make<A>();
  good.eps = 1e-6f;
  good.x = tensor(JD_F32, {5, 8});
  good.out = tensor(JD_F32, {5, 8});
  const auto bad = [&](std::function<void(A &)> change, std::initializer_list<const char *> parts,
                       jd_status status = JD_INVALID_ARGUMENT) {
    refused<A>(jd_l2_normalize, "l2_normalize: ", good, change, parts, status);
  };
  bad([](A &a) { a.eps = 0; }, {"argument 'eps'", "> 0", "got 0"});
  bad([](A &a) { a.eps = NAN; }, {"argument 'eps'", "nan"});
  bad([](A &a) { a.out = 0; }, {"argument 'out'", "null handle"}, JD_INVALID_HANDLE);
  bad([&](A &a) { a.x = tensor(JD_F32, {5, 2}); }, {"argument 'x'", "[5, 2]"});
  bad([&](A &a) { a.x = tensor(JD_F8_E4M3, {5, 16}); }, {"argument 'x': expected f32, f16 or bf16"});
  bad([&](A &a) { a.out = tensor(JD_I8, {5, 16}); }, {"argument 'out': expected f32, f16 or bf16, got i8"});
  bad([&](A &a) { a.x = tensor(JD_F16, {5, 12}); }, {"argument 'x': expected strides"});
  bad([&](A &a) { a.out = tensor(JD_BF16, {5, 8}, {12, 1}); }, {"argument 'out': expected strides"});
  bad([&](A &a) { a.out = tensor(JD_F16, {4, 8}); }, {"argument 'out': expected shape [5, 8], got [4, 8]"});
  bad([&](A &a) { a.out = wrap(device, data<char>(a.x), JD_F16, {5, 8}); }, {"argument 'out'", "exactly the same"});
  bad([&](A &a) { a.out = tensor(JD_F32, {5, 8}, {0, 1}); }, {"argument 'out'", "an address of its own"});
  bad(
      [&](A &a) {
        a.out = wrap(device, data<char>(good.x) + 32, JD_F32, {5, 8});
      },
      {"argument 'out'", "exactly the same"});
  good.out = good.x;
  EXPECT_EQ(jd_l2_normalize(stream, &good, &error), JD_OK) << error.message;
  for (const int32_t dtype : {JD_F16, JD_BF16}) {
    good.out = tensor(dtype, {5, 8});
    EXPECT_EQ(jd_l2_normalize(stream, &good, &error), JD_OK) << error.message;
    good.x = tensor(dtype, {5, 8});
    EXPECT_EQ(jd_l2_normalize(stream, &good, &error), JD_OK) << error.message;
  }
}

}  // namespace
}  // namespace jindou::test
