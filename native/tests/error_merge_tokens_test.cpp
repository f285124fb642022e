// merge_tokens: every rule of jindou/merge_tokens.h, broken one at a time.
#include <functional>

#include "core_fixture.h"

namespace jindou::test {
namespace {

// 3 sequences of 5, 0 and 2 rows of 8, three of them in one.
class MergeTokensErrors : public CoreTest {
 protected:
  using Args = jd_merge_tokens_args;

  void SetUp() override {
    CoreTest::SetUp();
    args = make<Args>();
    args.k = 3;
    args.x = tensor(JD_F32, {7, 8});
    args.offsets = i32({0, 5, 5, 7});
    args.out = tensor(JD_F32, {3, 24});
    args.out_offsets = i32({0, 2, 2, 3});
  }
  void refused(std::function<void(Args &)> change, std::initializer_list<const char *> parts,
               jd_status expected = JD_INVALID_ARGUMENT) {
    Args a = args;
    change(a);
    const int64_t runs = state()->runs;
    expect_refused(jd_merge_tokens(stream, &a, &error), expected, error, parts);
    expect_refused(expected, expected, error, {"merge_tokens: "});
    EXPECT_EQ(state()->runs, runs) << "nothing may reach the backend";
    ASSERT_EQ(jd_merge_tokens(stream, &args, &error), JD_OK) << error.message;
  }

  Args args;
};

TEST_F(MergeTokensErrors, a_good_call_passes) {
  ASSERT_EQ(jd_merge_tokens(stream, &args, &error), JD_OK) << error.message;
  EXPECT_EQ(state()->last_args.merge_tokens.batch, 3);
  EXPECT_EQ(state()->last_args.merge_tokens.k, 3);
}

TEST_F(MergeTokensErrors, arguments) {
  refused([](Args &a) { a.struct_size = 8; }, {"struct_size"});
  refused([](Args &a) { a.reserved = 1; }, {"argument 'reserved'"});
  refused([](Args &a) { a.k = 0; }, {"argument 'k': expected 1..1024, got 0"});
  refused([](Args &a) { a.k = 1025; }, {"argument 'k'"});
  refused([](Args &a) { a.bounds = JD_BOUNDS_TRUST; }, {"argument 'bounds'"});
  refused([](Args &a) { a.x = 0; }, {"argument 'x'"}, JD_INVALID_HANDLE);
  refused([&](Args &a) { a.x = closed_tensor(); }, {"argument 'x'"}, JD_CLOSED);
  refused([&](Args &a) { a.x = tensor(JD_F32, {7, 2, 4}); }, {"argument 'x': expected rank 2"});
  refused([&](Args &a) { a.x = tensor(JD_F32, {7, 6}); }, {"argument 'x': expected rows of a multiple of 16 bytes", "got 6 elements of f32"});
  refused([&](Args &a) { a.x = tensor(JD_I8, {7, 8}); }, {"argument 'x': expected rows of a multiple of 16 bytes", "got 8 elements of i8"});
  refused([&](Args &a) { a.x = tensor(JD_F32, {7, 0}); }, {"argument 'x': expected rows of a multiple of 16 bytes"});
  refused([&](Args &a) { a.x = tensor(JD_F32, {7, 8}, {9, 1}); }, {"argument 'x'", "16 bytes"});
  refused([&](Args &a) { a.x = tensor(JD_F32, {7, 8}, {16, 2}); }, {"argument 'x'", "stride 1"});
  refused([&](Args &a) { a.offsets = tensor(JD_F32, {4}); }, {"argument 'offsets': expected i32 or i64"});
  refused([&](Args &a) { a.offsets = tensor(JD_I32, {0}); }, {"argument 'offsets'"});
  refused([&](Args &a) { a.out = tensor(JD_F32, {3, 16}); }, {"argument 'out': expected shape"});
  refused([&](Args &a) { a.out = tensor(JD_BF16, {3, 24}); }, {"argument 'out': expected dtype f32"});
  refused([&](Args &a) { a.out = tensor(JD_F32, {3, 24}, {0, 1}); }, {"argument 'out'", "an address of its own"});
  refused([&](Args &a) { a.out = view(a.x, 0, {2, 24}); }, {"argument 'out'", "'x'"});
  refused([&](Args &a) { a.out_offsets = i64({0, 2, 2, 3}); }, {"argument 'out_offsets': expected dtype i32"});
  refused([&](Args &a) { a.out_offsets = i32({0, 2, 3}); }, {"argument 'out_offsets': expected shape [4]"});
}

TEST_F(MergeTokensErrors, offsets) {
  refused([&](Args &a) { a.offsets = i32({1, 5, 5, 7}); }, {"argument 'offsets'", "first offset to be 0"});
  refused([&](Args &a) { a.offsets = i32({0, 6, 5, 7}); }, {"argument 'offsets'", "non-decreasing"});
  refused([&](Args &a) { a.offsets = i32({0, 5, 5, 6}); }, {"argument 'offsets'", "last offset to be 7"});
  refused([&](Args &a) { a.offsets = i32({0, 5, 5, 8}); }, {"argument 'offsets'", "at most 7"});
  refused([&](Args &a) { a.out_offsets = i32({0, 1, 2, 3}); },
          {"argument 'out_offsets': expected 2 rows (ceil(5 / 3)), got 1 in sequence 0"});
  refused([&](Args &a) { a.out_offsets = i32({0, 2, 3, 3}); },
          {"argument 'out_offsets': expected 0 rows (ceil(0 / 3)), got 1 in sequence 1"});
  refused([&](Args &a) { a.out_offsets = i32({0, 2, 2, 2}); }, {"argument 'out_offsets'", "last offset to be 3"});
}

}  // namespace
}  // namespace jindou::test
