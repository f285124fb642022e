// din_attention through the C ABI against its float64 reference.
#include "operators_support.h"
#include "reference/din_attention.h"

namespace jindou::testing {
namespace {

using reference::DinAttentionCase;
using reference::DinLayer;

struct Variant {
  int32_t dtype = JD_F32, out_dtype = 0, offset_dtype = JD_I64, bounds = JD_BOUNDS_STRICT;
  int64_t padding = 0;
  int64_t max_batch = 0, max_candidates = 0, max_history = 0;  // 0: what the case has
};

struct Sizes {
  int64_t d = 16, dv = 8, h1 = 12, h2 = 8;
};

DinLayer make_layer(Random &random, int64_t units, int64_t inputs) {
  // As trained ones are: sums of the inputs' products of the order of 1.
  const double width = std::sqrt(3.0 / static_cast<double>(inputs));
  DinLayer layer;
  layer.weight = random.values(units * inputs, JD_F32, width);
  layer.bias = random.values(units, JD_F32, 0.5);
  layer.slope = random.values(units, JD_F32, 0.9);
  layer.mean = random.values(units, JD_F32, 0.5);
  for (int64_t i = 0; i < units; ++i) layer.variance.push_back(rounded(random.uniform(0.3, 2), JD_F32));
  return layer;
}

DinAttentionCase make(uint64_t seed, int32_t dtype, const Sizes &n, int32_t activation, const std::vector<int64_t> &candidates,
                      const std::vector<int64_t> &history) {
  Random random(seed);
  DinAttentionCase c;
  c.d = n.d;
  c.dv = n.dv;
  c.activation = activation;
  c.dice_eps = static_cast<float>(1e-5);
  c.candidate_offsets = offsets_of(candidates);
  c.history_offsets = offsets_of(history);
  c.candidates = random.values(c.candidate_offsets.back() * n.d, dtype);
  c.keys = random.values(c.history_offsets.back() * n.d, dtype);
  c.values = random.values(c.history_offsets.back() * n.dv, dtype);
  c.first = make_layer(random, n.h1, 4 * n.d);
  c.second = make_layer(random, n.h2, n.h1);
  c.weight_3 = random.values(n.h2, JD_F32, 0.5);
  c.bias_3 = rounded(random.uniform(-0.5, 0.5), JD_F32);
  return c;
}

int64_t longest(const std::vector<int64_t> &offsets) {
  int64_t most = 1;
  for (size_t i = 1; i < offsets.size(); ++i) most = std::max(most, offsets[i] - offsets[i - 1]);
  return most;
}

class DinAttention : public ::testing::TestWithParam<std::string> {
 protected:
  struct Result {
    jd_tensor out = 0;
    jd_status status = JD_OK;
    std::string message;
  };

  static jd_din_attention_desc describe(const DinAttentionCase &c, const Variant &s) {
    jd_din_attention_desc desc{};
    desc.struct_size = sizeof desc;
    desc.dtype = s.dtype;
    desc.out_dtype = s.out_dtype;
    desc.offset_dtype = s.offset_dtype;
    desc.dim = static_cast<int32_t>(c.d);
    desc.dim_v = static_cast<int32_t>(c.dv);
    desc.hidden_1 = static_cast<int32_t>(c.first.bias.size());
    desc.hidden_2 = static_cast<int32_t>(c.second.bias.size());
    desc.activation = c.activation;
    desc.softmax = c.softmax;
    desc.scale = static_cast<float>(c.scale);
    desc.dice_eps = static_cast<float>(c.dice_eps);
    desc.bounds = s.bounds;
    desc.num_latest = c.num_latest;
    desc.max_batch = s.max_batch ? s.max_batch : std::max<int64_t>(1, static_cast<int64_t>(c.candidate_offsets.size()) - 1);
    desc.max_candidates = s.max_candidates ? s.max_candidates : longest(c.candidate_offsets);
    desc.max_history = s.max_history ? s.max_history : longest(c.history_offsets);
    return desc;
  }

  Result run(Rig &rig, const DinAttentionCase &c, const Variant &s) {
    const jd_din_attention_desc desc = describe(c, s);
    Error error;
    jd_plan plan = 0;
    rig.check(jd_din_attention_plan(rig.device, &desc, &plan, &error), error);
    rig.keep(plan);
    const int64_t nc = static_cast<int64_t>(c.candidates.size()) / c.d, nk = static_cast<int64_t>(c.keys.size()) / c.d;
    const int64_t h1 = desc.hidden_1, h2 = desc.hidden_2;
    jd_din_attention_args a{};
    a.struct_size = sizeof a;
    a.candidates = rig.tensor(s.dtype, {nc, c.d}, c.candidates, s.padding);
    a.candidate_offsets = rig.integers(s.offset_dtype, c.candidate_offsets);
    a.keys = rig.tensor(s.dtype, {nk, c.d}, c.keys, s.padding);
    a.values = rig.tensor(s.dtype, {nk, c.dv}, c.values, s.padding);
    a.history_offsets = rig.integers(s.offset_dtype, c.history_offsets);
    a.weight_1 = rig.tensor(JD_F32, {h1, 4 * c.d}, c.first.weight, s.padding);
    a.bias_1 = rig.tensor(JD_F32, {h1}, c.first.bias);
    a.weight_2 = rig.tensor(JD_F32, {h2, h1}, c.second.weight, s.padding);
    a.bias_2 = rig.tensor(JD_F32, {h2}, c.second.bias);
    if (c.activation != JD_DIN_SIGMOID) {
      a.slope_1 = rig.tensor(JD_F32, {h1}, c.first.slope);
      a.slope_2 = rig.tensor(JD_F32, {h2}, c.second.slope);
    }
    if (c.activation == JD_DIN_DICE) {
      a.mean_1 = rig.tensor(JD_F32, {h1}, c.first.mean);
      a.variance_1 = rig.tensor(JD_F32, {h1}, c.first.variance);
      a.mean_2 = rig.tensor(JD_F32, {h2}, c.second.mean);
      a.variance_2 = rig.tensor(JD_F32, {h2}, c.second.variance);
    }
    a.weight_3 = rig.tensor(JD_F32, {1, h2}, c.weight_3);
    a.bias_3 = rig.tensor(JD_F32, {1}, {c.bias_3});
    a.out = rig.poisoned(s.out_dtype ? s.out_dtype : s.dtype, {nc, c.dv}, s.padding);
    Result r;
    r.out = a.out;
    r.status = jd_din_attention_run(plan, rig.stream, &a, &error);
    if (r.status == JD_OK) r.status = jd_stream_synchronize(rig.stream, &error);
    if (r.status != JD_OK) r.message = error.message;
    return r;
  }

  void compare(Rig &rig, const DinAttentionCase &c, const Variant &s, const std::string &what) {
    const Result got = run(rig, c, s);
    EXPECT_EQ(got.message, "") << what;
    const int32_t out_dtype = s.out_dtype ? s.out_dtype : s.dtype;
    const double u = s.dtype == JD_F32 ? 0 : tolerance::unit_roundoff(s.dtype);
    const reference::DinAttentionResult expected = reference::din_attention(c, u, tolerance::unit_roundoff(JD_F32));
    expect_near(rig.read(got.out), expected.out, [&](size_t i) {
      return tolerance::din_attention(expected.error[i / static_cast<size_t>(c.dv)], expected.out[i], out_dtype);
    }, what);
    bool gaps_intact = false;
    rig.bits(got.out, &gaps_intact);
    EXPECT_TRUE(gaps_intact) << what << ": wrote between the rows of out";
  }

  // One user's candidates [from, to) by themselves.
  static DinAttentionCase part(const DinAttentionCase &c, size_t user, int64_t from, int64_t to) {
    DinAttentionCase alone = c;
    const int64_t first = c.candidate_offsets[user] + from, begin = c.history_offsets[user], end = c.history_offsets[user + 1];
    alone.candidate_offsets = {0, to - from};
    alone.history_offsets = {0, end - begin};
    alone.candidates.assign(c.candidates.begin() + first * c.d, c.candidates.begin() + (first + to - from) * c.d);
    alone.keys.assign(c.keys.begin() + begin * c.d, c.keys.begin() + end * c.d);
    alone.values.assign(c.values.begin() + begin * c.dv, c.values.begin() + end * c.dv);
    return alone;
  }
};

constexpr int32_t kDtypes[] = {JD_F32, JD_F16, JD_BF16};
constexpr int32_t kActivations[] = {JD_DIN_SIGMOID, JD_DIN_PRELU, JD_DIN_DICE};
const char *name_of(int32_t activation) { return activation == JD_DIN_SIGMOID ? "sigmoid" : activation == JD_DIN_PRELU ? "prelu" : "dice"; }

TEST_P(DinAttention, matches_the_reference_for_every_dtype_and_activation) {
  Rig rig(GetParam());
  for (const int32_t dtype : kDtypes) {
    for (const int32_t activation : kActivations) {
      for (const bool softmax : {false, true}) {
        DinAttentionCase c = make(3, dtype, {64, 32, 80, 40}, activation, {3, 1, 2}, {133, 1, 70});
        c.softmax = softmax;
        c.scale = softmax ? 3 : 0.125;
        Variant s;
        s.dtype = dtype;
        s.out_dtype = softmax ? JD_F32 : 0;
        s.padding = 16;
        compare(rig, c, s, std::string(jd_dtype_name(dtype)) + ", " + name_of(activation) + (softmax ? ", softmax" : ""));
      }
    }
  }
}

TEST_P(DinAttention, rows_and_layers_of_every_width) {
  Rig rig(GetParam());
  const std::vector<Sizes> all = {{8, 8, 4, 4},      {8, 256, 36, 20},   {16, 40, 256, 4},    {24, 24, 4, 256},  {32, 16, 100, 12},
                                  {64, 64, 96, 64},  {72, 72, 100, 68},  {128, 64, 80, 40},   {136, 8, 28, 44},  {200, 128, 64, 72},
                                  {256, 256, 12, 8}, {256, 96, 256, 256}};
  for (size_t i = 0; i < all.size(); ++i) {
    for (const int32_t dtype : kDtypes) {
      if (!rig.fast() && all[i].h1 * all[i].h2 > 20000 && dtype == JD_F16) continue;
      DinAttentionCase c = make(i, dtype, all[i], kActivations[i % 3], {2}, {rig.scaled(77, 21)});
      c.softmax = i % 2 == 1;
      Variant s;
      s.dtype = dtype;
      compare(rig, c, s, std::string(jd_dtype_name(dtype)) + ", d " + std::to_string(c.d) + ", h " + std::to_string(all[i].h1) + ", " +
                             std::to_string(all[i].h2));
    }
  }
}

TEST_P(DinAttention, history_lengths_around_every_block) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    for (const int64_t n : {1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 48, 49, 63, 64, 65, 95, 96, 97, 127, 128, 129, 149}) {
      DinAttentionCase c = make(static_cast<uint64_t>(n), dtype, {}, kActivations[n % 3], {2}, {n});
      c.softmax = n % 2 == 1;
      Variant s;
      s.dtype = dtype;
      compare(rig, c, s, std::string(jd_dtype_name(dtype)) + ", " + std::to_string(n) + " events");
    }
  }
}

TEST_P(DinAttention, histories_around_a_segment) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    for (const int64_t n : {239, 240, 241, 481, 1023, 1024, 1025, 2049}) {
      if (!rig.fast() && n != 1025 && n != 241) continue;
      DinAttentionCase c = make(static_cast<uint64_t>(n), dtype, {256, 8, 8, 4}, JD_DIN_PRELU, {2}, {n});
      c.softmax = n % 2 == 1;
      Variant s;
      s.dtype = dtype;
      compare(rig, c, s, std::to_string(n) + " events");
    }
  }
}

TEST_P(DinAttention, numbers_of_candidates) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    for (const int64_t n : {1, 2, 3, 4, 5, 31, 32, 33, 67}) {
      if (!rig.fast() && n > 5) continue;
      Variant s;
      s.dtype = dtype;
      compare(rig, make(static_cast<uint64_t>(n), dtype, {}, JD_DIN_DICE, {n}, {50}), s, std::to_string(n) + " candidates");
    }
  }
}

TEST_P(DinAttention, one_history_of_10007_events) {
  Rig rig(GetParam());
  const int64_t n = rig.scaled(10007, 2500);
  for (const bool softmax : {false, true}) {
    DinAttentionCase c = make(1, JD_BF16, {32, 16, 16, 8}, JD_DIN_SIGMOID, {1}, {n});
    c.softmax = softmax;
    Variant s;
    s.dtype = JD_BF16;
    compare(rig, c, s, std::to_string(n) + " events");
  }
}

TEST_P(DinAttention, offsets_of_both_widths) {
  Rig rig(GetParam());
  for (const int32_t offset_dtype : {JD_I32, JD_I64}) {
    Variant s;
    s.offset_dtype = offset_dtype;
    compare(rig, make(2, JD_F32, {}, JD_DIN_SIGMOID, {2, 0, 3}, {7, 2, 11}), s, jd_dtype_name(offset_dtype));
  }
}

TEST_P(DinAttention, empty_users_histories_and_batches) {
  Rig rig(GetParam());
  for (const int32_t dtype : kDtypes) {
    for (const bool softmax : {false, true}) {
      Variant s;
      s.dtype = dtype;
      for (const auto &[candidates, history] :
           {std::pair<std::vector<int64_t>, std::vector<int64_t>>{{0, 2, 1, 0}, {3, 0, 4, 0}}, {{2}, {0}}, {{0}, {5}}, {{0}, {0}}, {{}, {}}}) {
        DinAttentionCase c = make(4, dtype, {}, JD_DIN_DICE, candidates, history);
        c.softmax = softmax;
        compare(rig, c, s, "empty");
      }
    }
  }
}

TEST_P(DinAttention, a_candidate_without_events_gives_zeros) {
  Rig rig(GetParam());
  for (const bool softmax : {false, true}) {
    DinAttentionCase c = make(4, JD_F32, {}, JD_DIN_SIGMOID, {3}, {0});
    c.softmax = softmax;
    for (const uint32_t bits : rig.bits(run(rig, c, {}).out)) EXPECT_EQ(bits, 0u);
  }
}

TEST_P(DinAttention, num_latest_sees_the_last_events_only) {
  Rig rig(GetParam());
  for (const int64_t latest : {1, 16, 39, 40, 41, 1000}) {
    DinAttentionCase c = make(5, JD_F32, {}, JD_DIN_PRELU, {2, 1}, {40, 90});
    c.num_latest = latest;
    c.softmax = latest % 2 == 1;
    compare(rig, c, {}, "the last " + std::to_string(latest));
    // What is before them may hold anything.
    if (latest >= 40) continue;
    const std::vector<uint32_t> before = rig.bits(run(rig, c, {}).out);
    for (size_t user = 0; user < 2; ++user) {
      for (int64_t j = c.history_offsets[user]; j < c.history_offsets[user + 1] - latest; ++j) {
        for (int64_t e = 0; e < c.d; ++e) c.keys[j * c.d + e] = NAN;
        for (int64_t e = 0; e < c.dv; ++e) c.values[j * c.dv + e] = NAN;
      }
    }
    EXPECT_EQ(rig.bits(run(rig, c, {}).out), before);
  }
}

TEST_P(DinAttention, logits_far_apart_and_all_equal) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    Variant s;
    s.dtype = dtype;
    for (const double scale : {0.0, -2.0, 100.0}) {
      DinAttentionCase c = make(6, dtype, {}, JD_DIN_PRELU, {2}, {150});
      c.softmax = true;
      c.scale = scale;
      compare(rig, c, s, "scale " + std::to_string(scale));
    }
    DinAttentionCase c = make(6, dtype, {}, JD_DIN_SIGMOID, {2}, {150});
    for (double &w : c.first.weight) w = rounded(w * 300, JD_F32);  // sigmoids of great numbers: 0 and 1
    compare(rig, c, s, "saturated");
  }
}

// With W3 = 0 every logit is the bias: sums of values.
TEST_P(DinAttention, equal_weights_add_the_values) {
  Rig rig(GetParam());
  DinAttentionCase c = make(7, JD_F32, {8, 8, 4, 4}, JD_DIN_SIGMOID, {1}, {100});
  for (double &w : c.weight_3) w = 0;
  for (double &v : c.values) v = std::nearbyint(v * 8);
  c.bias_3 = 0.5;
  std::vector<double> sums(8, 0.0);
  for (size_t i = 0; i < c.values.size(); ++i) sums[i % 8] += 0.5 * c.values[i];
  EXPECT_EQ(rig.read(run(rig, c, {}).out), sums);
}

// Neither on the batch, nor on other candidates, nor on what the plan declared, nor on threads: so not on how work is cut.
TEST_P(DinAttention, bits_depend_on_the_candidate_and_its_history_alone) {
  Rig rig(GetParam(), 2), one(GetParam(), 1), seven(GetParam(), 7);
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    for (const bool softmax : {false, true}) {
      const int64_t long_history = rig.scaled(2100, 1100);
      DinAttentionCase c = make(8, dtype, {64, 24, 20, 8}, JD_DIN_DICE, {3, 2, 1}, {long_history, 60, 130});
      c.softmax = softmax;
      Variant s;
      s.dtype = dtype;
      const std::vector<uint32_t> together = rig.bits(run(rig, c, s).out);
      EXPECT_EQ(one.bits(run(one, c, s).out), together);
      EXPECT_EQ(seven.bits(run(seven, c, s).out), together);
      for (size_t user = 0; user < 3; ++user) {
        const int64_t count = c.candidate_offsets[user + 1] - c.candidate_offsets[user];
        for (int64_t i = 0; i < count; ++i) {
          Variant wide = s;
          wide.max_batch = 40;
          wide.max_candidates = 100;
          wide.max_history = 20000;
          const std::vector<uint32_t> bits = rig.bits(run(rig, part(c, user, i, i + 1), i % 2 ? s : wide).out);
          EXPECT_TRUE(std::equal(bits.begin(), bits.end(), together.begin() + (c.candidate_offsets[user] + i) * c.dv)) << user << ", " << i;
        }
      }
    }
  }
}

TEST_P(DinAttention, many_users_of_every_size) {
  Rig rig(GetParam(), 3);
  Random random(9);
  std::vector<int64_t> candidates, history;
  for (int i = 0; i < rig.scaled(300, 140); ++i) {
    candidates.push_back(random.integer(0, 3));
    history.push_back(random.integer(0, 12));
  }
  compare(rig, make(9, JD_F32, {8, 8, 4, 4}, JD_DIN_SIGMOID, candidates, history), {}, "many users");
}

TEST_P(DinAttention, refused_offsets) {
  Rig rig(GetParam());
  const bool host = std::strcmp(rig.info.backend, "cpu") == 0;
  DinAttentionCase c = make(10, JD_F32, {}, JD_DIN_SIGMOID, {2, 3, 1}, {40, 50, 60});
  const std::vector<uint32_t> good = rig.bits(run(rig, c, {}).out);
  const auto refused = [&](std::vector<int64_t> DinAttentionCase::*offsets, size_t at, int64_t value, const std::string &part, size_t user) {
    DinAttentionCase bad = c;
    (bad.*offsets)[at] = value;
    Variant s;
    s.max_candidates = 3;
    s.max_history = 60;
    const Result strict = run(rig, bad, s);
    EXPECT_EQ(strict.status, host ? JD_INVALID_ARGUMENT : JD_OUT_OF_BOUNDS);
    EXPECT_NE(strict.message.find("din_attention: argument '" + part), std::string::npos) << strict.message;
    if (host) return;
    s.bounds = JD_BOUNDS_ZERO;
    const Result zero = run(rig, bad, s);
    EXPECT_EQ(zero.message, "");
    int64_t skipped = 0;
    Error error;
    jd_stream_take_skipped(rig.stream, &skipped, &error);
    EXPECT_GE(skipped, 1);
    const std::vector<uint32_t> bits = rig.bits(zero.out);
    const int64_t begin = c.candidate_offsets[user] * c.dv, end = c.candidate_offsets[user + 1] * c.dv;
    EXPECT_TRUE(std::equal(bits.begin() + begin, bits.begin() + end, good.begin() + begin)) << "user " << user << " was not to blame";
  };
  refused(&DinAttentionCase::candidate_offsets, 2, 1, "candidate_offsets'", 0);
  refused(&DinAttentionCase::candidate_offsets, 3, 1000, "candidate_offsets'", 0);
  refused(&DinAttentionCase::candidate_offsets, 3, 5, "candidate_offsets'", 0);
  refused(&DinAttentionCase::history_offsets, 1, 70, "history_offsets'", 2);
  refused(&DinAttentionCase::history_offsets, 2, -5, "history_offsets'", 0);
  refused(&DinAttentionCase::history_offsets, 3, 151, "history_offsets'", 1);
}

TEST_P(DinAttention, a_plan_says_what_it_does) {
  Rig rig(GetParam());
  const DinAttentionCase c = make(11, JD_F32, {64, 8, 80, 40}, JD_DIN_SIGMOID, {1}, {1});
  const jd_din_attention_desc desc = describe(c, {});
  Error error;
  jd_plan plan = 0;
  rig.check(jd_din_attention_plan(rig.device, &desc, &plan, &error), error);
  rig.keep(plan);
  char text[512] = "";
  rig.check(jd_plan_describe(plan, text, sizeof text, &error), error);
  EXPECT_NE(std::string(text).find("din_attention"), std::string::npos) << text;
  EXPECT_NE(std::string(text).find("8360 multiply-adds"), std::string::npos) << text;
}

// A refused user has rows too, so that tensors may have more of them than a plan's users can have together: whatever keeps partial results of
// the others' pieces must not go by them. (On the cpu the host refuses such offsets.)
TEST_P(DinAttention, many_rows_of_refused_users) {
  if (GetParam() == "cpu") return;
  Rig rig(GetParam(), 2);
  for (const int64_t refused : {6, 1000}) {
    for (const size_t good : {0, 1}) {
      std::vector<int64_t> candidates = {refused, refused}, history = {3, 3};
      candidates[good] = 2;
      history[good] = 1030;
      const DinAttentionCase c = make(12, JD_F32, {}, JD_DIN_SIGMOID, candidates, history);
      Variant s;
      s.bounds = JD_BOUNDS_ZERO;
      s.max_candidates = 2;
      const Result together = run(rig, c, s);
      EXPECT_EQ(together.message, "");
      const std::vector<uint32_t> all = rig.bits(together.out), alone = rig.bits(run(rig, part(c, good, 0, 2), s).out);
      EXPECT_TRUE(std::equal(alone.begin(), alone.end(), all.begin() + c.candidate_offsets[good] * c.dv)) << refused << ", " << good;
      int64_t skipped = 0;
      Error error;
      jd_stream_take_skipped(rig.stream, &skipped, &error);
      EXPECT_EQ(skipped, 1);
    }
  }
}

JD_INSTANTIATE_ON_DEVICES(DinAttention);

}  // namespace
}  // namespace jindou::testing
