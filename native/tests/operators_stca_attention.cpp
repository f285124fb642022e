// stca_attention through the C ABI, both ways, against its float64 reference.
#include "operators_support.h"
#include "reference/stca_attention.h"

namespace jindou::testing {
namespace {

using reference::StcaAttentionCase;

constexpr int32_t kWays[] = {JD_STCA_MATERIALISED, JD_STCA_REORDERED};
constexpr int32_t kDtypes[] = {JD_F32, JD_F16, JD_BF16};

struct Variant {
  int32_t dtype = JD_F32, out_dtype = 0, offset_dtype = JD_I64, path = JD_STCA_MATERIALISED, bounds = JD_BOUNDS_STRICT;
  bool keep_keys = false;
  int64_t padding = 0;
  int64_t max_batch = 0, max_candidates = 0, max_history = 0, max_totals = 0;  // 0: what the case has
};

std::string text_of(const Variant &s) {
  return std::string(jd_dtype_name(s.dtype)) + (s.path == JD_STCA_REORDERED ? ", reordered" : ", materialised");
}

StcaAttentionCase make(uint64_t seed, int32_t dtype, int64_t dim, int64_t heads, int64_t head_dim, const std::vector<int64_t> &candidates,
                       const std::vector<int64_t> &history) {
  Random random(seed);
  StcaAttentionCase c;
  c.dim = dim;
  c.heads = heads;
  c.head_dim = head_dim;
  c.scale = static_cast<float>(1 / std::sqrt(static_cast<double>(head_dim)));
  c.candidate_offsets = offsets_of(candidates);
  c.history_offsets = offsets_of(history);
  c.candidates = random.values(c.candidate_offsets.back() * dim, dtype, 1.7);
  c.events = random.values(c.history_offsets.back() * dim, dtype, 1.7);  // as a layer norm leaves them
  const double width = std::sqrt(3.0 / static_cast<double>(dim));
  c.query_weight = random.values(heads * head_dim * dim, JD_F32, width);
  c.key_weight = random.values(heads * head_dim * dim, JD_F32, width);
  c.value_weight = random.values(heads * head_dim * dim, JD_F32, width);
  return c;
}

int64_t longest(const std::vector<int64_t> &offsets) {
  int64_t most = 1;
  for (size_t i = 1; i < offsets.size(); ++i) most = std::max(most, offsets[i] - offsets[i - 1]);
  return most;
}

class StcaAttention : public ::testing::TestWithParam<std::string> {
 protected:
  struct Result {
    jd_tensor out = 0, keys = 0, values = 0;
    jd_status status = JD_OK;
    std::string message, description;
  };

  static jd_stca_attention_desc describe(const StcaAttentionCase &c, const Variant &s) {
    jd_stca_attention_desc desc{};
    desc.struct_size = sizeof desc;
    desc.dtype = s.dtype;
    desc.out_dtype = s.out_dtype;
    desc.offset_dtype = s.offset_dtype;
    desc.model_dim = static_cast<int32_t>(c.dim);
    desc.num_heads = static_cast<int32_t>(c.heads);
    desc.head_dim = static_cast<int32_t>(c.head_dim);
    desc.scale = static_cast<float>(c.scale);
    desc.path = s.path;
    desc.keep_keys = s.keep_keys;
    desc.bounds = s.bounds;
    desc.max_batch = s.max_batch ? s.max_batch : std::max<int64_t>(1, static_cast<int64_t>(c.candidate_offsets.size()) - 1);
    desc.max_candidates = s.max_candidates ? s.max_candidates : longest(c.candidate_offsets);
    desc.max_history = s.max_history ? s.max_history : longest(c.history_offsets);
    desc.max_total_candidates = std::max<int64_t>(s.max_totals, static_cast<int64_t>(c.candidates.size()) / c.dim);
    desc.max_total_events = std::max<int64_t>(s.max_totals, static_cast<int64_t>(c.events.size()) / c.dim);
    return desc;
  }

  Result run(Rig &rig, const StcaAttentionCase &c, const Variant &s) {
    const jd_stca_attention_desc desc = describe(c, s);
    Error error;
    jd_plan plan = 0;
    rig.check(jd_stca_attention_plan(rig.device, &desc, &plan, &error), error);
    rig.keep(plan);
    const int64_t nc = static_cast<int64_t>(c.candidates.size()) / c.dim, nk = static_cast<int64_t>(c.events.size()) / c.dim;
    const int64_t width = c.heads * c.head_dim;
    jd_stca_attention_args a{};
    a.struct_size = sizeof a;
    a.candidates = rig.tensor(s.dtype, {nc, c.dim}, c.candidates, s.padding);
    a.candidate_offsets = rig.integers(s.offset_dtype, c.candidate_offsets);
    a.events = rig.tensor(s.dtype, {nk, c.dim}, c.events, s.padding);
    a.history_offsets = rig.integers(s.offset_dtype, c.history_offsets);
    a.query_weight = rig.tensor(JD_F32, {width, c.dim}, c.query_weight, s.padding);
    a.key_weight = rig.tensor(JD_F32, {width, c.dim}, c.key_weight, s.padding);
    a.value_weight = rig.tensor(JD_F32, {width, c.dim}, c.value_weight, s.padding);
    if (s.keep_keys) {
      a.keys = rig.poisoned(s.dtype, {nk, width}, s.padding);
      a.values = rig.poisoned(s.dtype, {nk, width}, s.padding);
    }
    a.out = rig.poisoned(s.out_dtype ? s.out_dtype : s.dtype, {nc, width}, s.padding);
    Result r;
    r.out = a.out;
    r.keys = a.keys;
    r.values = a.values;
    char text[512] = "";
    rig.check(jd_plan_describe(plan, text, sizeof text, &error), error);
    r.description = text;
    r.status = jd_stca_attention_run(plan, rig.stream, &a, &error);
    if (r.status == JD_OK) r.status = jd_stream_synchronize(rig.stream, &error);
    if (r.status != JD_OK) r.message = error.message;
    return r;
  }

  void compare(Rig &rig, const StcaAttentionCase &c, const Variant &s, const std::string &what) {
    const Result got = run(rig, c, s);
    EXPECT_EQ(got.message, "") << what;
    const int32_t out_dtype = s.out_dtype ? s.out_dtype : s.dtype;
    const double u = s.dtype == JD_F32 ? 0 : tolerance::unit_roundoff(s.dtype);
    // Tensor cores multiply by weights of the inputs' dtype, and so does a CPU that multiplies bf16.
    const bool cpu = std::strcmp(rig.info.backend, "cpu") == 0, bf16_products = std::strcmp(rig.info.isa, "avx512bf16") == 0;
    const double weight_u = !cpu || (bf16_products && s.dtype == JD_BF16) ? u : 0;
    const reference::StcaAttentionResult expected = reference::stca_attention(c, u, tolerance::unit_roundoff(JD_F32), weight_u);
    const auto near = [&](jd_tensor t, const std::vector<double> &wanted, const std::vector<double> &errors, int32_t dtype, const char *name) {
      expect_near(rig.read(t), wanted, [&](size_t i) { return errors[i] + tolerance::output(wanted[i], dtype) + 1e-30; },
                  what + ", " + text_of(s) + ", " + name);
      bool gaps_intact = false;
      rig.bits(t, &gaps_intact);
      EXPECT_TRUE(gaps_intact) << what << ": wrote between the rows of " << name;
    };
    near(got.out, expected.out, expected.error, out_dtype, "out");
    if (!s.keep_keys) return;
    near(got.keys, expected.keys, expected.keys_error, s.dtype, "keys");
    near(got.values, expected.values, expected.values_error, s.dtype, "values");
  }

  // One user's candidates [from, to) by themselves.
  static StcaAttentionCase part(const StcaAttentionCase &c, size_t user, int64_t from, int64_t to) {
    StcaAttentionCase alone = c;
    const int64_t first = c.candidate_offsets[user] + from, begin = c.history_offsets[user], end = c.history_offsets[user + 1];
    alone.candidate_offsets = {0, to - from};
    alone.history_offsets = {0, end - begin};
    alone.candidates.assign(c.candidates.begin() + first * c.dim, c.candidates.begin() + (first + to - from) * c.dim);
    alone.events.assign(c.events.begin() + begin * c.dim, c.events.begin() + end * c.dim);
    return alone;
  }
};

TEST_P(StcaAttention, both_ways_match_the_reference_for_every_dtype) {
  Rig rig(GetParam());
  for (const int32_t dtype : kDtypes) {
    for (const int32_t path : kWays) {
      Variant s;
      s.dtype = dtype;
      s.path = path;
      s.padding = 16;
      s.out_dtype = path == JD_STCA_REORDERED ? JD_F32 : 0;
      compare(rig, make(1, dtype, 256, 4, 64, {3, 0, 2}, {70, 5, 33}), s, "256 in 4 heads");
      s.out_dtype = path == JD_STCA_REORDERED ? 0 : JD_F32;
      compare(rig, make(2, dtype, 96, 3, 32, {2}, {40}), s, "96 in 3 heads");
    }
  }
}

TEST_P(StcaAttention, widths_of_model_and_heads) {
  Rig rig(GetParam());
  struct Size {
    int64_t dim, heads, head_dim;
  };
  for (const Size n : {Size{32, 1, 32}, {32, 2, 64}, {64, 3, 96}, {160, 1, 128}, {288, 2, 192}, {512, 2, 64}, {544, 1, 256}, {1024, 2, 64}}) {
    for (const int32_t dtype : {JD_F32, JD_BF16}) {
      for (const int32_t path : kWays) {
        Variant s;
        s.dtype = dtype;
        s.path = path;
        compare(rig, make(static_cast<uint64_t>(n.dim), dtype, n.dim, n.heads, n.head_dim, {2}, {rig.scaled(67, 19)}), s,
                std::to_string(n.dim) + " in " + std::to_string(n.heads) + " heads of " + std::to_string(n.head_dim));
      }
    }
  }
}

TEST_P(StcaAttention, sixteen_heads_of_a_model_of_1024) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    for (const int32_t path : kWays) {
      if (!rig.fast() && path == JD_STCA_MATERIALISED) continue;  // 21 M multiply-adds
      Variant s;
      s.dtype = dtype;
      s.path = path;
      compare(rig, make(3, dtype, 1024, 16, 64, {rig.scaled(3, 1)}, {rig.scaled(130, 10)}), s, "1024 in 16 heads");
    }
  }
}

TEST_P(StcaAttention, history_lengths_around_every_tile_and_piece) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    for (const int64_t n : {1, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257, 513, 2047, 2049}) {
      if (!rig.fast() && n > 300) continue;
      Variant s;
      s.dtype = dtype;
      s.path = JD_STCA_REORDERED;
      compare(rig, make(static_cast<uint64_t>(n), dtype, 32, 2, 32, {1}, {n}), s, std::to_string(n) + " events");
    }
  }
}

TEST_P(StcaAttention, numbers_of_candidates) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    for (const int32_t path : kWays) {
      for (const int64_t n : {1, 2, 5, 8, 9, 16, 17, 33}) {
        if (!rig.fast() && n > 9) continue;
        Variant s;
        s.dtype = dtype;
        s.path = path;
        compare(rig, make(static_cast<uint64_t>(n), dtype, 64, 3, 32, {n}, {40}), s, std::to_string(n) + " candidates");
      }
    }
  }
}

TEST_P(StcaAttention, the_two_ways_agree) {
  Rig rig(GetParam());
  StcaAttentionCase c = make(4, JD_F32, 128, 4, 32, {4}, {90});
  Variant s;
  const std::vector<double> materialised = rig.read(run(rig, c, s).out);
  s.path = JD_STCA_REORDERED;
  expect_near(rig.read(run(rig, c, s).out), materialised, [](size_t) { return 2e-6; }, "f32");
}

TEST_P(StcaAttention, a_plan_takes_the_way_of_fewer_operations_and_says_so) {
  Rig rig(GetParam());
  const StcaAttentionCase c = make(5, JD_F32, 128, 4, 32, {2}, {10});  // 128 * 32 / 96 = 42.7
  for (const auto &[most, keep, way] : {std::tuple<int64_t, bool, const char *>{42, false, "reordered"},
                                        {43, false, "materialised"},
                                        {1, true, "materialised"}}) {
    Variant s;
    s.path = JD_STCA_AUTO;
    s.max_candidates = most;
    s.keep_keys = keep;
    const Result r = run(rig, c, s);
    EXPECT_NE(r.description.find(std::string("stca_attention ") + way), std::string::npos) << r.description;
    EXPECT_NE(r.description.find("42 candidates"), std::string::npos) << r.description;
    Variant forced = s;
    forced.path = std::string(way) == "reordered" ? JD_STCA_REORDERED : JD_STCA_MATERIALISED;
    EXPECT_EQ(rig.bits(r.out), rig.bits(run(rig, c, forced).out));
  }
}

TEST_P(StcaAttention, keys_and_values_are_kept) {
  Rig rig(GetParam());
  for (const int32_t dtype : kDtypes) {
    Variant s;
    s.dtype = dtype;
    s.keep_keys = true;
    s.padding = 32;
    compare(rig, make(6, dtype, 96, 2, 64, {2, 1}, {17, 40}), s, "kept");
    compare(rig, make(6, dtype, 96, 2, 64, {0}, {5}), s, "for later candidates");
  }
}

TEST_P(StcaAttention, offsets_of_both_widths) {
  Rig rig(GetParam());
  for (const int32_t offset_dtype : {JD_I32, JD_I64}) {
    for (const int32_t path : kWays) {
      Variant s;
      s.offset_dtype = offset_dtype;
      s.path = path;
      compare(rig, make(7, JD_F32, 32, 1, 32, {2, 0, 3}, {7, 2, 11}), s, jd_dtype_name(offset_dtype));
    }
  }
}

TEST_P(StcaAttention, empty_users_histories_and_batches) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    for (const int32_t path : kWays) {
      Variant s;
      s.dtype = dtype;
      s.path = path;
      for (const auto &[candidates, history] :
           {std::pair<std::vector<int64_t>, std::vector<int64_t>>{{0, 2, 1, 0}, {3, 0, 4, 0}}, {{2}, {0}}, {{0}, {5}}, {{0}, {0}}, {{}, {}}}) {
        compare(rig, make(8, dtype, 64, 2, 32, candidates, history), s, "empty");
      }
    }
  }
}

TEST_P(StcaAttention, extreme_scales) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    for (const int32_t path : kWays) {
      for (const double scale : {0.0, -0.5, 8.0}) {
        StcaAttentionCase c = make(9, dtype, 64, 2, 32, {2}, {90});
        c.scale = scale;
        Variant s;
        s.dtype = dtype;
        s.path = path;
        compare(rig, c, s, "scale " + std::to_string(scale));
      }
    }
  }
}

// More than 256 columns: the reordered way has a kernel of its own on GPUs, whose rows, columns, tiles and pieces end in other places.
TEST_P(StcaAttention, wide_models_around_every_tile_and_piece) {
  Rig rig(GetParam());
  for (const int32_t dtype : kDtypes) {
    for (const auto &[candidates, heads, history] : {std::tuple<int64_t, int64_t, int64_t>{1, 1, 1},
                                                     {1, 2, 15},
                                                     {2, 4, 16},
                                                     {3, 3, 17},
                                                     {11, 3, 33},
                                                     {1, 2, 95},
                                                     {1, 2, 96},
                                                     {1, 2, 97},
                                                     {1, 3, 193}}) {
      Variant s;
      s.dtype = dtype;
      s.path = JD_STCA_REORDERED;
      s.padding = 8;
      s.offset_dtype = history % 2 ? JD_I32 : JD_I64;
      compare(rig, make(static_cast<uint64_t>(history), dtype, history % 2 ? 320 : 288, heads, 32, {candidates}, {history}), s,
              std::to_string(candidates) + " candidates of " + std::to_string(heads) + " heads, " + std::to_string(history) + " events");
    }
  }
}

TEST_P(StcaAttention, wide_models_of_several_users) {
  Rig rig(GetParam());
  for (const int32_t dtype : kDtypes) {
    Variant s;
    s.dtype = dtype;
    s.path = JD_STCA_REORDERED;
    compare(rig, make(12, dtype, 544, 2, 32, {0, 2, 1, 0, 3}, {3, 0, 130, 0, 20}), s, "empty histories and users");
    compare(rig, make(12, dtype, 288, 2, 32, {0}, {5}), s, "no candidates");
    compare(rig, make(12, dtype, 288, 2, 32, {}, {}), s, "no users");
    for (const double scale : {0.0, -0.5, 8.0}) {
      StcaAttentionCase c = make(13, dtype, 288, 2, 32, {2}, {110});
      c.scale = scale;
      compare(rig, c, s, "scale " + std::to_string(scale));
    }
  }
}

// Neither on the batch, nor on other candidates, nor on threads.
TEST_P(StcaAttention, bits_depend_on_the_candidate_and_its_events_alone) {
  Rig rig(GetParam(), 2), one(GetParam(), 1), seven(GetParam(), 7);
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    for (const auto &[path, dim] : {std::pair<int32_t, int64_t>{JD_STCA_MATERIALISED, 64}, {JD_STCA_REORDERED, 64}, {JD_STCA_REORDERED, 288}}) {
      const StcaAttentionCase c = make(10, dtype, dim, 2, 32, {3, 2, 1}, {rig.scaled(2500, 300), 60, 130});
      Variant s;
      s.dtype = dtype;
      s.path = path;
      s.max_batch = 3;
      s.max_candidates = 3;
      s.max_history = rig.scaled(2500, 300);
      s.max_totals = rig.scaled(2700, 500);
      const std::vector<uint32_t> together = rig.bits(run(rig, c, s).out);
      EXPECT_EQ(one.bits(run(one, c, s).out), together);
      EXPECT_EQ(seven.bits(run(seven, c, s).out), together);
      for (size_t user = 0; user < 3; ++user) {
        for (int64_t i = 0; i < c.candidate_offsets[user + 1] - c.candidate_offsets[user]; ++i) {
          const std::vector<uint32_t> bits = rig.bits(run(rig, part(c, user, i, i + 1), s).out);
          EXPECT_TRUE(std::equal(bits.begin(), bits.end(), together.begin() + (c.candidate_offsets[user] + i) * 64)) << user << ", " << i;
        }
      }
    }
  }
}

TEST_P(StcaAttention, refused_offsets) {
  Rig rig(GetParam());
  const bool host = std::strcmp(rig.info.backend, "cpu") == 0;
  for (const auto &[path, dim] : {std::pair<int32_t, int64_t>{JD_STCA_MATERIALISED, 32}, {JD_STCA_REORDERED, 32}, {JD_STCA_REORDERED, 288}}) {
    const StcaAttentionCase c = make(11, JD_F32, dim, 1, 32, {2, 3, 1}, {40, 50, 60});
    Variant s;
    s.path = path;
    s.max_candidates = 3;
    s.max_history = 60;
    const std::vector<uint32_t> good = rig.bits(run(rig, c, s).out);
    const auto refused = [&](std::vector<int64_t> StcaAttentionCase::*offsets, size_t at, int64_t value, const std::string &part, size_t user) {
      StcaAttentionCase bad = c;
      (bad.*offsets)[at] = value;
      const Result strict = run(rig, bad, s);
      EXPECT_EQ(strict.status, host ? JD_INVALID_ARGUMENT : JD_OUT_OF_BOUNDS);
      EXPECT_NE(strict.message.find("argument '" + part), std::string::npos) << strict.message;
      EXPECT_EQ(strict.message.find("stca_attention: "), 0u) << strict.message;
      if (host) return;
      Variant zero = s;
      zero.bounds = JD_BOUNDS_ZERO;
      const Result skipping = run(rig, bad, zero);
      EXPECT_EQ(skipping.message, "");
      int64_t skipped = 0;
      Error error;
      jd_stream_take_skipped(rig.stream, &skipped, &error);
      EXPECT_GE(skipped, 1);
      const std::vector<uint32_t> bits = rig.bits(skipping.out);
      const int64_t begin = c.candidate_offsets[user] * 32, end = c.candidate_offsets[user + 1] * 32;
      EXPECT_TRUE(std::equal(bits.begin() + begin, bits.begin() + end, good.begin() + begin)) << "user " << user << " was not to blame";
    };
    refused(&StcaAttentionCase::candidate_offsets, 2, 1, "candidate_offsets'", 0);
    refused(&StcaAttentionCase::candidate_offsets, 3, 1000, "candidate_offsets'", 0);
    refused(&StcaAttentionCase::history_offsets, 1, 70, "history_offsets'", 2);
    refused(&StcaAttentionCase::history_offsets, 2, -5, "history_offsets'", 0);
  }
}

// A refused user has rows too, so that tensors may have more of them than a plan's users can have together: whatever keeps partial results of
// the others' pieces must not go by them. (On the cpu the host refuses such offsets.)
TEST_P(StcaAttention, many_rows_of_refused_users) {
  if (GetParam() == "cpu") return;
  Rig rig(GetParam(), 2);
  for (const auto &[path, dim] : {std::pair<int32_t, int64_t>{JD_STCA_MATERIALISED, 32}, {JD_STCA_REORDERED, 32}, {JD_STCA_REORDERED, 288}}) {
    for (const size_t good : {0, 1}) {
      std::vector<int64_t> candidates = {100, 100}, history = {3, 3};
      candidates[good] = 2;
      history[good] = dim > 256 ? 130 : 1030;
      const StcaAttentionCase c = make(12, JD_F32, dim, 1, 32, candidates, history);
      Variant s;
      s.path = path;
      s.bounds = JD_BOUNDS_ZERO;
      s.max_candidates = 2;
      s.max_totals = 1100;
      const Result together = run(rig, c, s);
      EXPECT_EQ(together.message, "");
      const std::vector<uint32_t> all = rig.bits(together.out), alone = rig.bits(run(rig, part(c, good, 0, 2), s).out);
      EXPECT_TRUE(std::equal(alone.begin(), alone.end(), all.begin() + c.candidate_offsets[good] * 32)) << text_of(s) << ", " << good;
      int64_t skipped = 0;
      Error error;
      jd_stream_take_skipped(rig.stream, &skipped, &error);
      EXPECT_EQ(skipped, 1);
    }
  }
}

JD_INSTANTIATE_ON_DEVICES(StcaAttention);

}  // namespace
}  // namespace jindou::testing
