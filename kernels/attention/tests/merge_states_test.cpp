// merge_attention_states in the emulator against the float64 reference.
#include <cmath>
#include <vector>

#include "attention/softmax_attention_launch.h"
#include "attention/tests/rows.h"
#include "simt/backend/executor.h"
#include "tests/reference/softmax_attention.h"
#include "tests/tolerance.h"

namespace jindou {
namespace {

using testing::Gaps;
using testing::random_values;
using testing::RowsInMemory;

enum class Target { apart, first, second };

struct MergeCase {
  int64_t rows = 5, heads = 3, d = 64;
  int32_t dtype = JD_BF16, out_dtype = JD_BF16;
  Gaps gaps;
  Target target = Target::apart;
  bool with_lse = true;
  uint64_t seed = 1;
};

jdb_tensor lse_tensor(const RowsInMemory &rows, int64_t heads) {
  jdb_tensor t = rows.tensor();  // [rows, 1, heads]
  t.rank = 2;
  t.shape[1] = heads;
  t.strides[1] = 1;
  return t;
}

void run_and_expect_close(const MergeCase &c) {
  const auto draw = [&](uint64_t seed) {
    return random_values(static_cast<size_t>(c.rows * c.heads * c.d), c.dtype, c.seed * 8 + seed);
  };
  std::vector<float> out_a = draw(0), out_b = draw(1);
  std::vector<float> lse_a = random_values(static_cast<size_t>(c.rows * c.heads), JD_F32, c.seed * 8 + 2);
  std::vector<float> lse_b = random_values(static_cast<size_t>(c.rows * c.heads), JD_F32, c.seed * 8 + 3);
  for (size_t i = 0; i < lse_a.size(); ++i) {
    lse_a[i] = lse_a[i] * 20 + (i % 4 == 3 ? 300.0f : 0.0f);
    lse_b[i] = lse_b[i] * 20;
    const auto no_key = [&](std::vector<float> &lse, std::vector<float> &out) {
      lse[i] = -INFINITY;
      testing::poison_rows(out, c.d, static_cast<int64_t>(i), static_cast<int64_t>(i) + 1);
    };
    if (i % 5 == 1 || i % 7 == 6) no_key(lse_a, out_a);
    if (i % 5 == 2 || i % 7 == 6) no_key(lse_b, out_b);
  }
  const reference::AttentionState expected = reference::merge_attention_states(
      {{out_a.begin(), out_a.end()}, {lse_a.begin(), lse_a.end()}},
      {{out_b.begin(), out_b.end()}, {lse_b.begin(), lse_b.end()}}, c.d);

  RowsInMemory a(c.dtype, c.rows, c.heads, c.d, c.gaps), b(c.dtype, c.rows, c.heads, c.d, c.gaps);
  RowsInMemory a_lse(JD_F32, c.rows, 1, c.heads, c.gaps), b_lse(JD_F32, c.rows, 1, c.heads, c.gaps);
  a.fill(out_a);
  b.fill(out_b);
  a_lse.fill(lse_a);
  b_lse.fill(lse_b);
  const RowsInMemory out(c.out_dtype, c.rows, c.heads, c.d, c.gaps), lse(JD_F32, c.rows, 1, c.heads, c.gaps);
  const RowsInMemory &to = c.target == Target::apart ? out : c.target == Target::first ? a : b;
  const RowsInMemory &lse_to = c.target == Target::apart ? lse : c.target == Target::first ? a_lse : b_lse;
  jdb_merge_attention_states_args args{};
  args.out_a = a.tensor();
  args.out_b = b.tensor();
  args.lse_a = lse_tensor(a_lse, c.heads);
  args.lse_b = lse_tensor(b_lse, c.heads);
  args.out = to.tensor();
  if (c.with_lse) args.lse = lse_tensor(lse_to, c.heads);

  for (const uint64_t seed : {0, 3}) {
    if (seed != 0 && c.target != Target::apart) break;  // in place: once
    simt_backend::Device device{2, seed};
    simt_backend::Stream stream{};
    stream.device = &device;
    jd_error error{};
    error.struct_size = sizeof error;
    simt_backend::Executor executor(stream, &error);
    ASSERT_EQ(launch_merge_attention_states(executor, args), JD_OK) << error.message;
  }
  EXPECT_TRUE(to.gaps_untouched());
  EXPECT_TRUE(lse_to.gaps_untouched());
  const std::vector<float> got = to.dense(), got_lse = lse_to.dense();
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_TRUE(std::fabs(got[i] - expected.out[i]) <= tolerance::merged_states(1, expected.out[i], c.out_dtype))
        << "element " << i << ": got " << got[i] << ", expected " << expected.out[i];
  }
  for (size_t i = 0; c.with_lse && i < got_lse.size(); ++i) {
    const double wanted = expected.lse[i];
    ASSERT_TRUE(got_lse[i] == wanted || std::fabs(got_lse[i] - wanted) <= 1e-6 + 1e-6 * std::fabs(wanted))
        << "lse " << i << ": got " << got_lse[i] << ", expected " << wanted;
  }
}

TEST(MergeStates, equals_the_reference_for_every_dtype_and_dim) {
  for (const int32_t dtype : {JD_F32, JD_F16, JD_BF16}) {
    for (const int64_t d : {32, 64, 96, 128, 192, 256}) {
      MergeCase c;
      c.dtype = c.out_dtype = dtype;
      c.d = d;
      run_and_expect_close(c);
      c.out_dtype = dtype == JD_F32 ? JD_F16 : JD_F32;
      c.gaps = {8, 16};
      c.with_lse = false;
      c.seed = 2;
      run_and_expect_close(c);
    }
  }
}

TEST(MergeStates, may_write_over_either_input) {
  for (const Target target : {Target::first, Target::second}) {
    for (const int64_t d : {32, 96, 256}) {
      MergeCase c;
      c.d = d;
      c.target = target;
      c.rows = 41;
      run_and_expect_close(c);
    }
  }
}

TEST(MergeStates, many_rows_and_none) {
  MergeCase c;
  c.rows = 1009;
  c.heads = 1;
  c.d = 32;
  run_and_expect_close(c);
  c.rows = 0;
  run_and_expect_close(c);
}

}  // namespace
}  // namespace jindou
