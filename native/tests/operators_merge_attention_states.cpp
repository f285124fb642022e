// merge_attention_states through the C ABI: against its float64 reference, and against attention over all keys.
#include <tuple>

#include "operators_support.h"
#include "reference/softmax_attention.h"

namespace jindou::testing {
namespace {

using reference::AttentionState;

class MergeAttentionStates : public ::testing::TestWithParam<std::string> {
 protected:
  struct Tensors {
    jd_tensor out_a, lse_a, out_b, lse_b, out, lse;
  };

  // Whether the device has the operator.
  static bool available(Rig &rig) {
    const AttentionState one = random_state(1, 1, 32, JD_F32, 1);
    const Tensors t = upload(rig, {one, one}, 1, 1, JD_F32, JD_F32);
    Error error;
    return rig.has_kernel(merge(rig, t, error), error);
  }

  static AttentionState random_state(uint64_t seed, int64_t rows, int64_t d, int32_t dtype, double spread) {
    Random random(seed);
    AttentionState s;
    s.out = random.values(rows * d, dtype, 2);
    s.lse = random.values(rows, JD_F32, spread);
    return s;
  }

  static Tensors upload(Rig &rig, const std::vector<AttentionState> &sides, int64_t n, int64_t heads, int32_t dtype,
                        int32_t out_dtype, int64_t padding = 0) {
    const int64_t width = n == 0 ? 32 : static_cast<int64_t>(sides[0].out.size()) / (n * heads);
    Tensors t{};
    t.out_a = rig.tensor(dtype, {n, heads, width}, sides[0].out, padding);
    t.lse_a = rig.tensor(JD_F32, {n, heads}, sides[0].lse, padding ? 3 : 0);
    t.out_b = rig.tensor(dtype, {n, heads, width}, sides[1].out, padding);
    t.lse_b = rig.tensor(JD_F32, {n, heads}, sides[1].lse, padding ? 1 : 0);
    t.out = rig.poisoned(out_dtype, {n, heads, width}, padding);
    t.lse = rig.poisoned(JD_F32, {n, heads}, padding ? 2 : 0);
    return t;
  }

  static jd_status merge(Rig &rig, const Tensors &t, Error &error) {
    jd_merge_attention_states_args a{};
    a.struct_size = sizeof a;
    a.out_a = t.out_a;
    a.lse_a = t.lse_a;
    a.out_b = t.out_b;
    a.lse_b = t.lse_b;
    a.out = t.out;
    a.lse = t.lse;
    const jd_status status = jd_merge_attention_states(rig.stream, &a, &error);
    return status != JD_OK ? status : jd_stream_synchronize(rig.stream, &error);
  }

  static void compare(Rig &rig, const Tensors &t, const AttentionState &expected, int32_t out_dtype, const std::string &what) {
    Error error;
    rig.check(merge(rig, t, error), error);
    expect_near(rig.read(t.out), expected.out, [&](size_t i) {
      return tolerance::merged_states(4, expected.out[i], out_dtype);  // of two values below 2
    }, what);
    bool gaps_intact = false;
    rig.bits(t.out, &gaps_intact);
    EXPECT_TRUE(gaps_intact) << what << ": wrote between the rows of out";
    if (t.lse == 0) return;
    std::vector<double> lse = rig.read(t.lse), expected_lse = expected.lse;
    for (size_t i = 0; i < lse.size(); ++i) {
      if (lse[i] == -INFINITY && expected_lse[i] == -INFINITY) lse[i] = expected_lse[i] = 0;
    }
    expect_near(lse, expected_lse, [&](size_t i) { return 4e-7 * (1 + std::fabs(expected_lse[i])); }, what + ", lse");
    rig.bits(t.lse, &gaps_intact);
    EXPECT_TRUE(gaps_intact) << what << ": wrote between the rows of lse";
  }
};

TEST_P(MergeAttentionStates, every_dtype_and_width) {
  Rig rig(GetParam());
  if (!available(rig)) return;
  for (const int32_t dtype : {JD_F32, JD_F16, JD_BF16}) {
    for (const int32_t out_dtype : {JD_F32, JD_F16, JD_BF16}) {
      if (dtype != JD_F32 && out_dtype != dtype && out_dtype != JD_F32) continue;
      for (const int64_t d : {32, 64, 96, 128, 160, 192, 224, 256}) {
        for (const int64_t n : {0, 1, 7, 130}) {
          const int64_t heads = n == 7 ? 5 : 2, padding = n == 7 ? 8 : 0;
          const AttentionState a = random_state(2, n * heads, d, dtype, 3), b = random_state(3, n * heads, d, dtype, 3);
          const Tensors t = upload(rig, {a, b}, n, heads, dtype, out_dtype, padding);
          if (n == 0) {
            Error error;
            rig.check(merge(rig, t, error), error);
            continue;
          }
          compare(rig, t, reference::merge_attention_states(a, b, d), out_dtype,
                  std::string(jd_dtype_name(dtype)) + " to " + jd_dtype_name(out_dtype) + ", " + std::to_string(d) + " x " + std::to_string(n));
        }
      }
    }
  }
}

TEST_P(MergeAttentionStates, sides_without_a_key_and_sums_far_apart) {
  Rig rig(GetParam());
  if (!available(rig)) return;
  const double none = -INFINITY;
  const std::vector<double> a = {none, none, 1, 1e4, -1e4, 3e38, -3e38, 0, 80, -104}, b = {none, 2, none, -1e4, -1e4, 3e38, 3e38, 0, -80, -104};
  for (const int32_t dtype : {JD_F32, JD_F16, JD_BF16}) {
    AttentionState x = random_state(4, 10, 64, dtype, 1), y = random_state(5, 10, 64, dtype, 1);
    x.lse = rounded(a, JD_F32);
    y.lse = rounded(b, JD_F32);
    compare(rig, upload(rig, {x, y}, 5, 2, dtype, dtype), reference::merge_attention_states(x, y, 64), dtype, jd_dtype_name(dtype));
    // What a side without a key holds is not looked at.
    AttentionState poisoned = x;
    for (int64_t i = 0; i < 2 * 64; ++i) poisoned.out[i] = NAN;
    Error error;
    const Tensors clean = upload(rig, {x, y}, 5, 2, dtype, dtype), dirty = upload(rig, {poisoned, y}, 5, 2, dtype, dtype);
    rig.check(merge(rig, clean, error), error);
    rig.check(merge(rig, dirty, error), error);
    EXPECT_EQ(rig.bits(clean.out), rig.bits(dirty.out));
    const std::vector<double> out = rig.read(clean.out), lse = rig.read(clean.lse);
    for (int64_t d = 0; d < 64; ++d) {
      EXPECT_EQ(out[d], 0.0);                    // neither side saw a key
      EXPECT_EQ(out[64 + d], y.out[64 + d]);     // one did: its row, to the bit
      EXPECT_EQ(out[128 + d], x.out[128 + d]);
    }
    EXPECT_EQ(lse[0], none);
    EXPECT_EQ(lse[1], 2.0);
  }
}

TEST_P(MergeAttentionStates, in_place_on_either_side) {
  Rig rig(GetParam());
  if (!available(rig)) return;
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    const AttentionState a = random_state(6, 33 * 3, 96, dtype, 3), b = random_state(7, 33 * 3, 96, dtype, 3);
    const Tensors apart = upload(rig, {a, b}, 33, 3, dtype, dtype);
    Error error;
    rig.check(merge(rig, apart, error), error);
    for (const bool second : {false, true}) {
      Tensors t = upload(rig, {a, b}, 33, 3, dtype, dtype);
      t.out = second ? t.out_b : t.out_a;
      t.lse = second ? t.lse_b : t.lse_a;
      rig.check(merge(rig, t, error), error);
      EXPECT_EQ(rig.bits(t.out), rig.bits(apart.out));
      EXPECT_EQ(rig.bits(t.lse), rig.bits(apart.lse));
    }
    Tensors without = upload(rig, {a, b}, 33, 3, dtype, dtype);
    without.lse = 0;
    rig.check(merge(rig, without, error), error);
    EXPECT_EQ(rig.bits(without.out), rig.bits(apart.out));
  }
}

TEST_P(MergeAttentionStates, merging_is_symmetric_to_the_bit) {
  Rig rig(GetParam());
  if (!available(rig)) return;
  const AttentionState a = random_state(8, 40, 32, JD_F32, 0), b = a;  // equal sums: half of each
  const Tensors t = upload(rig, {a, b}, 40, 1, JD_F32, JD_F32);
  Error error;
  rig.check(merge(rig, t, error), error);
  EXPECT_EQ(rig.bits(t.out), rig.bits(t.out_a));
}

// Attention over all keys is attention over the first and the last of them, merged.
TEST_P(MergeAttentionStates, split_keys_give_the_whole_softmax) {
  Rig rig(GetParam());
  if (!available(rig)) return;
  const int64_t nq = 21, nk = rig.scaled(700, 130), heads = 2, d = 64;
  for (const int32_t dtype : {JD_F32, JD_F16, JD_BF16}) {
    Random random(9);
    const std::vector<double> queries = random.values(nq * heads * d, dtype, 2), keys = random.values(nk * d, dtype, 2),
                              values = random.values(nk * d, dtype);
    jd_softmax_attention_desc desc{};
    desc.struct_size = sizeof desc;
    desc.dtype = dtype;
    desc.out_dtype = JD_F32;
    desc.offset_dtype = JD_I64;
    desc.num_heads = heads;
    desc.num_kv_heads = 1;
    desc.head_dim_qk = desc.head_dim_v = d;
    desc.scale = 0.3f;
    desc.max_batch = 1;
    desc.max_queries = nq;
    desc.max_keys = nk;
    Error error;
    jd_plan plan = 0;
    if (!rig.has_kernel(jd_softmax_attention_plan(rig.device, &desc, &plan, &error), error)) return;
    rig.keep(plan);
    const auto attend = [&](int64_t begin, int64_t end) {
      jd_softmax_attention_args a{};
      a.struct_size = sizeof a;
      a.queries = rig.tensor(dtype, {nq, heads, d}, queries);
      a.q_offsets = rig.integers(JD_I64, {0, nq});
      a.keys = rig.tensor(dtype, {end - begin, 1, d}, {keys.begin() + begin * d, keys.begin() + end * d});
      a.values = rig.tensor(dtype, {end - begin, 1, d}, {values.begin() + begin * d, values.begin() + end * d});
      a.k_offsets = rig.integers(JD_I64, {0, end - begin});
      a.out = rig.poisoned(JD_F32, {nq, heads, d});
      a.lse = rig.poisoned(JD_F32, {nq, heads});
      rig.check(jd_softmax_attention_run(plan, rig.stream, &a, &error), error);
      return std::pair<jd_tensor, jd_tensor>(a.out, a.lse);
    };
    const auto [whole, whole_lse] = attend(0, nk);
    const std::vector<double> expected = rig.read(whole), expected_lse = rig.read(whole_lse);
    for (const int64_t cut : {int64_t{0}, int64_t{1}, int64_t{64}, nk / 2, nk}) {
      Tensors t{};
      std::tie(t.out_a, t.lse_a) = attend(0, cut);
      std::tie(t.out_b, t.lse_b) = attend(cut, nk);
      t.out = rig.poisoned(JD_F32, {nq, heads, d});
      t.lse = rig.poisoned(JD_F32, {nq, heads});
      rig.check(merge(rig, t, error), error);
      expect_near(rig.read(t.out), expected, [&](size_t i) {
        return 2 * tolerance::softmax_attention(d, 10, 1, expected[i], dtype, JD_F32);
      }, "cut at " + std::to_string(cut));
      expect_near(rig.read(t.lse), expected_lse, [&](size_t i) { return 2 * tolerance::log_sum_exp(d, 10, expected_lse[i], dtype); }, "lse");
    }
  }
}

JD_INSTANTIATE_ON_DEVICES(MergeAttentionStates);

}  // namespace
}  // namespace jindou::testing
