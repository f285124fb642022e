// target_attention through the C ABI against its float64 reference.
#include "operators_support.h"
#include "reference/target_attention.h"

namespace jindou::testing {
namespace {

using reference::TargetAttentionCase;

struct Variant {
  int32_t dtype = JD_F32, out_dtype = 0, offset_dtype = JD_I64;
  int64_t padding = 0;  // elements between heads and between rows
  int32_t bounds = JD_BOUNDS_STRICT;
  int64_t max_candidates = 0;  // 0: what the case has
};

// dim_v: 0 = dim.
TargetAttentionCase make(Random &random, int32_t dtype, int64_t dim, int64_t heads, int64_t kv_heads,
                         const std::vector<int64_t> &candidates, const std::vector<int64_t> &history, bool self_key,
                         int64_t dim_v = 0) {
  TargetAttentionCase c;
  c.heads = heads;
  c.kv_heads = kv_heads;
  c.dqk = dim;
  c.dv = dim_v ? dim_v : dim;
  c.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(dim)));
  c.self_key = self_key;
  c.candidate_offsets = offsets_of(candidates);
  c.history_offsets = offsets_of(history);
  const int64_t nc = c.candidate_offsets.back(), nk = c.history_offsets.back();
  c.candidates = random.values(nc * heads * dim, dtype, 2);
  c.keys = random.values(nk * kv_heads * dim, dtype, 2);
  c.values = random.values(nk * kv_heads * c.dv, dtype);
  if (self_key) {
    c.candidate_keys = random.values(nc * kv_heads * dim, dtype, 2);
    c.candidate_values = random.values(nc * kv_heads * c.dv, dtype);
  }
  return c;
}

// Rows begin..end-1 of a dense tensor whose rows have `width` elements.
std::vector<double> rows(const std::vector<double> &v, int64_t begin, int64_t end, int64_t width) {
  return v.empty() ? v : std::vector<double>(v.begin() + begin * width, v.begin() + end * width);
}

// One user alone.
TargetAttentionCase user(const TargetAttentionCase &c, size_t u) {
  TargetAttentionCase x = c;
  const int64_t c0 = c.candidate_offsets[u], c1 = c.candidate_offsets[u + 1];
  const int64_t k0 = c.history_offsets[u], k1 = c.history_offsets[u + 1];
  x.candidate_offsets = {0, c1 - c0};
  x.history_offsets = {0, k1 - k0};
  x.candidates = rows(c.candidates, c0, c1, c.heads * c.dqk);
  x.keys = rows(c.keys, k0, k1, c.kv_heads * c.dqk);
  x.values = rows(c.values, k0, k1, c.kv_heads * c.dv);
  x.candidate_keys = rows(c.candidate_keys, c0, c1, c.kv_heads * c.dqk);
  x.candidate_values = rows(c.candidate_values, c0, c1, c.kv_heads * c.dv);
  return x;
}

class TargetAttention : public ::testing::TestWithParam<std::string> {
 protected:
  static jd_target_attention_desc describe(const TargetAttentionCase &c, const Variant &s) {
    const int64_t batch = static_cast<int64_t>(c.candidate_offsets.size()) - 1;
    jd_target_attention_desc desc{};
    desc.struct_size = sizeof desc;
    desc.dtype = s.dtype;
    desc.out_dtype = s.out_dtype;
    desc.offset_dtype = s.offset_dtype;
    desc.num_heads = static_cast<int32_t>(c.heads);
    desc.num_kv_heads = static_cast<int32_t>(c.kv_heads);
    desc.head_dim_qk = static_cast<int32_t>(c.dqk);
    desc.head_dim_v = static_cast<int32_t>(c.dv);
    desc.scale = static_cast<float>(c.scale);
    desc.self_key = c.self_key;
    desc.num_latest = c.num_latest;
    if (c.scaling_seqlen != 0) {
      desc.activation = JD_ACTIVATION_SILU;
      desc.scaling_seqlen = static_cast<float>(c.scaling_seqlen);
    }
    desc.max_batch = std::max<int64_t>(batch, 1);
    desc.bounds = s.bounds;
    desc.max_candidates = desc.max_history = 1;
    for (int64_t b = 0; b < batch; ++b) {
      desc.max_candidates = std::max(desc.max_candidates, c.candidate_offsets[b + 1] - c.candidate_offsets[b]);
      desc.max_history = std::max(desc.max_history, c.history_offsets[b + 1] - c.history_offsets[b]);
    }
    if (s.max_candidates) desc.max_candidates = s.max_candidates;
    return desc;
  }

  // Whether the device has a kernel for the case's dtypes and head dims.
  static bool available(Rig &rig, const TargetAttentionCase &c, const Variant &s) {
    const jd_target_attention_desc desc = describe(c, s);
    Error error;
    jd_plan plan = 0;
    const jd_status status = jd_target_attention_plan(rig.device, &desc, &plan, &error);
    if (plan) rig.keep(plan);
    return rig.has_kernel(status, error);
  }

  jd_tensor run(Rig &rig, const TargetAttentionCase &c, const Variant &s) {
    const int64_t nc = c.candidate_offsets.back(), nk = c.history_offsets.back();
    const int64_t H = c.heads, Hkv = c.kv_heads;
    const jd_target_attention_desc desc = describe(c, s);
    Error error;
    jd_plan plan = 0;
    rig.check(jd_target_attention_plan(rig.device, &desc, &plan, &error), error);
    rig.keep(plan);
    jd_target_attention_args a{};
    a.struct_size = sizeof a;
    a.candidates = rig.tensor(s.dtype, {nc, H, c.dqk}, c.candidates, s.padding);
    a.candidate_offsets = rig.integers(s.offset_dtype, c.candidate_offsets);
    a.keys = rig.tensor(s.dtype, {nk, Hkv, c.dqk}, c.keys, s.padding);
    a.values = rig.tensor(s.dtype, {nk, Hkv, c.dv}, c.values, s.padding);
    a.history_offsets = rig.integers(s.offset_dtype, c.history_offsets);
    if (c.self_key) {
      a.candidate_keys = rig.tensor(s.dtype, {nc, Hkv, c.dqk}, c.candidate_keys, s.padding);
      a.candidate_values = rig.tensor(s.dtype, {nc, Hkv, c.dv}, c.candidate_values, s.padding);
    }
    a.out = rig.poisoned(s.out_dtype ? s.out_dtype : s.dtype, {nc, H, c.dv}, s.padding);
    rig.check(jd_target_attention_run(plan, rig.stream, &a, &error), error);
    rig.check(jd_stream_synchronize(rig.stream, &error), error);
    return a.out;
  }

  void compare(Rig &rig, const TargetAttentionCase &c, const Variant &s, const std::string &what) {
    const jd_tensor out = run(rig, c, s);
    std::vector<double> terms;
    const std::vector<double> expected = reference::target_attention(c, &terms);
    int64_t longest = 1;
    for (size_t b = 1; b < c.history_offsets.size(); ++b) {
      longest = std::max(longest, c.history_offsets[b] - c.history_offsets[b - 1] + 1);
    }
    const double q = largest(c.candidates), k = std::max(largest(c.keys), largest(c.candidate_keys));
    const double score = std::fabs(c.scale) * q * k * std::sqrt(static_cast<double>(c.dqk)) * 2;  // of random vectors, generously
    const double value = std::max(largest(c.values), largest(c.candidate_values));
    const int32_t out_dtype = s.out_dtype ? s.out_dtype : s.dtype;
    expect_near(rig.read(out), expected, [&](size_t i) {
      if (c.scaling_seqlen != 0) {
        return tolerance::hstu_attention(longest, c.dqk, score, terms[i] + 1 / c.scaling_seqlen, expected[i], s.dtype, out_dtype);
      }
      return tolerance::softmax_attention(c.dqk, score, value, expected[i], s.dtype, out_dtype);
    }, what);
    bool gaps_intact = false;
    rig.bits(out, &gaps_intact);
    EXPECT_TRUE(gaps_intact) << what << ": wrote between the rows of out";
  }

  static double largest(const std::vector<double> &v) {
    double x = 0;
    for (const double each : v) x = std::max(x, std::fabs(each));
    return x;
  }
};

std::string name(int64_t dim, int32_t dtype) {
  return "dim " + std::to_string(dim) + ", " + jd_dtype_name(dtype);
}

TEST_P(TargetAttention, silu_for_every_dtype_and_head_dim) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    for (const int64_t dim : {32, 64, 96, 128}) {
      for (const bool self_key : {false, true}) {
        Random random(dim);
        Variant s;
        s.dtype = dtype;
        s.padding = self_key ? 16 : 0;
        TargetAttentionCase c = make(random, dtype, dim, 4, 2, {7, 0, 40, 3}, {70, 9, 65, 0}, self_key);
        c.scaling_seqlen = 50;
        compare(rig, c, s, "silu, dim " + std::to_string(dim));
        c.num_latest = 33;
        c.scale = -c.scale;
        compare(rig, c, s, "silu, latest 33, dim " + std::to_string(dim));
      }
    }
  }
}

// Histories that are cut into pieces: one thread or block takes them all, or each one.
TEST_P(TargetAttention, silu_over_long_histories_in_pieces) {
  Rig one(GetParam(), 1), two(GetParam(), 2);
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    Random random(77);
    Variant s;
    s.dtype = dtype;
    TargetAttentionCase c = make(random, dtype, 32, 1, 1, {3, 2}, {one.scaled(10007, 2500), 100}, true);
    c.scaling_seqlen = 300;
    compare(one, c, s, "silu, long");
    EXPECT_EQ(one.bits(run(one, c, s)), two.bits(run(two, c, s))) << "threads";
    const TargetAttentionCase alone = user(c, 0);
    const std::vector<uint32_t> together = two.bits(run(two, c, s)), first = two.bits(run(two, alone, s));
    EXPECT_TRUE(std::equal(first.begin(), first.end(), together.begin()));
  }
}

TEST_P(TargetAttention, matches_the_reference_for_every_dtype_and_head_dim) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    for (const int32_t out_dtype : {0, static_cast<int32_t>(JD_F32)}) {
      for (const int64_t dim : {32, 64, 96, 128}) {
        for (const bool self_key : {false, true}) {
          Random random(dim);
          Variant s;
          s.dtype = dtype;
          s.out_dtype = out_dtype;
          compare(rig, make(random, dtype, dim, 2, 2, {5, 37}, {70, 131}, self_key), s,
                  name(dim, dtype) + (self_key ? ", self key" : ""));
        }
      }
    }
  }
}

TEST_P(TargetAttention, every_pair_of_head_dims_and_f16) {
  Rig rig(GetParam());
  int turn = 0;
  for (const int32_t dtype : {JD_F32, JD_F16, JD_BF16}) {
    for (const int64_t dim : {32, 64, 96, 128, 192, 256}) {
      for (const int64_t dim_v : {32, 64, 96, 128, 192, 256}) {
        if (!rig.fast() && ++turn % 5 != 0) continue;
        Random random(dim + dim_v);
        Variant s;
        s.dtype = dtype;
        s.out_dtype = (dim + dim_v) % 64 ? 0 : static_cast<int32_t>(JD_F32);
        s.padding = dim < dim_v ? 16 : 0;
        TargetAttentionCase c = make(random, dtype, dim, 2, 1, {5, 37}, {70, 131}, true, dim_v);
        if (!available(rig, c, s)) continue;
        const std::string what = name(dim, dtype) + ", of values " + std::to_string(dim_v);
        compare(rig, c, s, what);
        c.scaling_seqlen = 50;
        c.num_latest = 66;
        compare(rig, c, s, what + ", silu");
      }
    }
  }
}

TEST_P(TargetAttention, f16_around_every_tile_block_and_segment) {
  Rig rig(GetParam());
  for (const int32_t out_dtype : {JD_F16, JD_F32}) {
    Variant s;
    s.dtype = JD_F16;
    s.out_dtype = out_dtype;
    for (const int64_t n : {1, 7, 8, 9, 47, 48, 49, 64, 65, 130}) {
      Random random(n);
      const TargetAttentionCase c = make(random, JD_F16, 64, 2, 2, {n, 3}, {n + 1, 64}, n % 2 == 0, 96);
      if (!available(rig, c, s)) return;
      compare(rig, c, s, std::to_string(n) + " candidates");
    }
    Random random(3);
    compare(rig, make(random, JD_F16, 32, 1, 1, {3}, {rig.scaled(4159, 140)}, true, 64), s, "a long history");
  }
}

TEST_P(TargetAttention, numbers_of_candidates_around_every_tile) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    Variant s;
    s.dtype = dtype;
    for (const int64_t nc : {1, 3, 4, 7, 8, 9, 11, 12, 13, 15, 16, 17, 23, 24, 25, 31, 33, 47, 48, 49, 63, 64, 65, 97}) {
      Random random(nc);
      compare(rig, make(random, dtype, 64, 1, 1, {nc}, {67}, true), s, std::to_string(nc) + " candidates");
    }
  }
}

TEST_P(TargetAttention, history_lengths_around_every_block) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    Variant s;
    s.dtype = dtype;
    for (const int64_t nk : {1, 2, 3, 4, 5, 7, 8, 9, 15, 17, 31, 33, 63, 64, 65, 127, 128, 129, 191, 193, 257}) {
      Random random(nk);
      compare(rig, make(random, dtype, 32, 1, 1, {10}, {nk}, false), s, std::to_string(nk) + " events");
    }
  }
}

TEST_P(TargetAttention, histories_around_a_segment) {
  Rig rig(GetParam());
  if (!rig.fast()) GTEST_SKIP() << "2,048 events take minutes on this device; its segments have tests of their own";
  for (const int threads : {1, 3}) {
    Rig other(GetParam(), threads);
    for (const int64_t nk : {2047, 2048, 2049, 4096, 4159}) {
      Random random(nk);
      compare(other, make(random, JD_F32, 32, 2, 1, {3}, {nk}, true), {}, std::to_string(nk) + " events");
    }
  }
}

TEST_P(TargetAttention, one_history_of_10007_events) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    Random random(10007);
    Variant s;
    s.dtype = dtype;
    compare(rig, make(random, dtype, 64, 1, 1, {rig.scaled(29, 5)}, {rig.scaled(10007, 1009)}, true), s, jd_dtype_name(dtype));
  }
}

TEST_P(TargetAttention, grouped_query_heads) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    for (const int64_t kv_heads : {1, 2, 3, 6}) {
      Random random(kv_heads);
      Variant s;
      s.dtype = dtype;
      compare(rig, make(random, dtype, 32, 6, kv_heads, {9, 1, 20}, {40, 66, 3}, true), s,
              std::to_string(kv_heads) + " key heads");
    }
  }
}

TEST_P(TargetAttention, strided_inputs_and_out) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    Random random(2);
    Variant s;
    s.dtype = dtype;
    s.padding = 16;
    compare(rig, make(random, dtype, 64, 3, 3, {18, 4}, {75, 20}, true), s, jd_dtype_name(dtype));
  }
}

TEST_P(TargetAttention, offsets_of_both_widths) {
  Rig rig(GetParam());
  for (const int32_t offset_dtype : {JD_I32, JD_I64}) {
    Random random(2);
    Variant s;
    s.offset_dtype = offset_dtype;
    compare(rig, make(random, JD_F32, 32, 2, 2, {3, 0, 8}, {12, 5, 30}, false), s, jd_dtype_name(offset_dtype));
  }
}

TEST_P(TargetAttention, empty_users_histories_and_batches) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    Variant s;
    s.dtype = dtype;
    for (const bool self_key : {false, true}) {
      Random random(6);
      compare(rig, make(random, dtype, 32, 2, 2, {4, 0, 3, 2, 0}, {0, 9, 0, 5, 0}, self_key), s, "some empty");
      compare(rig, make(random, dtype, 32, 2, 2, {3}, {0}, self_key), s, "no history");
      compare(rig, make(random, dtype, 32, 2, 2, {0}, {3}, self_key), s, "no candidate");
      compare(rig, make(random, dtype, 32, 2, 2, {}, {}, self_key), s, "no user");
    }
  }
}

TEST_P(TargetAttention, a_candidate_without_any_key_gives_zeros) {
  Rig rig(GetParam());
  Random random(6);
  const TargetAttentionCase c = make(random, JD_F32, 32, 1, 1, {3}, {0}, false);
  for (const double x : rig.read(run(rig, c, {}))) EXPECT_EQ(x, 0.0);
}

TEST_P(TargetAttention, num_latest_sees_the_last_events_only) {
  Rig rig(GetParam());
  for (const int64_t latest : {1, 2, 63, 64, 65, 100, 1000}) {
    Random random(latest);
    TargetAttentionCase c = make(random, JD_F32, 32, 2, 2, {7, 5, 6}, {150, 64, 3}, true);
    c.num_latest = latest;
    compare(rig, c, {}, std::to_string(latest) + " latest");
    // The bits are those of a history that holds nothing else.
    TargetAttentionCase only = user(c, 0);
    const int64_t n = std::min<int64_t>(latest, 150);
    only.keys = rows(only.keys, 150 - n, 150, 2 * 32);
    only.values = rows(only.values, 150 - n, 150, 2 * 32);
    only.history_offsets = {0, n};
    only.num_latest = 0;
    EXPECT_EQ(rig.bits(run(rig, user(c, 0), {})), rig.bits(run(rig, only, {})));
  }
}

TEST_P(TargetAttention, scores_far_apart_and_all_equal) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    Variant s;
    s.dtype = dtype;
    Random random(8);
    TargetAttentionCase c = make(random, dtype, 32, 1, 1, {20}, {200}, true);
    for (const double scale : {0.0, 1e-6, -0.5, 3.0, 40.0}) {
      c.scale = static_cast<float>(scale);
      compare(rig, c, s, "scale " + std::to_string(scale));
    }
    c.scale = 1;
    for (double &x : c.keys) x = 0.25;
    compare(rig, c, s, "equal keys");
  }
}

TEST_P(TargetAttention, scores_that_rise_and_fall_along_the_history) {
  Rig rig(GetParam());
  for (const double slope : {0.5, -0.5}) {
    Random random(9);
    TargetAttentionCase c = make(random, JD_F32, 32, 1, 1, {6}, {300}, true);
    for (int64_t j = 0; j < 300; ++j) {
      for (int64_t d = 0; d < 32; ++d) c.keys[static_cast<size_t>(j * 32 + d)] = rounded(slope * 0.1 * static_cast<double>(j), JD_F32);
    }
    for (double &x : c.candidates) x = std::fabs(x);
    compare(rig, c, {}, "slope " + std::to_string(slope));
  }
}

TEST_P(TargetAttention, target_attention_ignores_other_candidates) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    for (const int64_t at : {0, 17, 40}) {
      Random random(12);
      Variant s;
      s.dtype = dtype;
      const TargetAttentionCase c = make(random, dtype, 64, 2, 2, {41}, {90}, true);
      const std::vector<uint32_t> before = rig.bits(run(rig, c, s));
      TargetAttentionCase changed = c;  // everything of every other candidate
      for (int64_t i = 0; i < 41; ++i) {
        if (i == at) continue;
        for (int64_t e = i * 128; e < (i + 1) * 128; ++e) {
          changed.candidates[e] = rounded(-3 * changed.candidates[e], dtype);
          changed.candidate_keys[e] = 5;
          changed.candidate_values[e] = std::nan("");
        }
      }
      const std::vector<uint32_t> after = rig.bits(run(rig, changed, s));
      EXPECT_TRUE(std::equal(before.begin() + at * 128, before.begin() + (at + 1) * 128, after.begin() + at * 128));
    }
  }
}

TEST_P(TargetAttention, a_user_does_not_depend_on_the_batch) {
  Rig rig(GetParam(), 2);
  for (const int32_t dtype : {JD_F32, JD_BF16, JD_F16}) {
    Random random(14);
    Variant s;
    s.dtype = dtype;
    const std::vector<int64_t> candidates = {30, 1, 70, 0, 25}, history = {100, 260, 64, 10, 1};
    const TargetAttentionCase c = make(random, dtype, 64, 2, 1, candidates, history, true, dtype == JD_F16 ? 32 : 64);
    if (dtype == JD_F16 && !available(rig, c, s)) continue;
    const std::vector<uint32_t> together = rig.bits(run(rig, c, s));
    for (size_t u = 0; u < candidates.size(); ++u) {
      const std::vector<uint32_t> alone = rig.bits(run(rig, user(c, u), s));
      EXPECT_TRUE(std::equal(alone.begin(), alone.end(), together.begin() + c.candidate_offsets[u] * 2 * c.dv)) << "user " << u;
    }
  }
}

TEST_P(TargetAttention, permuted_candidates_give_permuted_rows) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    Random random(15);
    Variant s;
    s.dtype = dtype;
    const int64_t nc = 53, width = 2 * 32;
    const TargetAttentionCase c = make(random, dtype, 32, 2, 2, {nc}, {150}, true);
    TargetAttentionCase reversed = c;
    const auto reverse = [&](std::vector<double> &v) {
      for (int64_t i = 0; i < nc / 2; ++i) {
        std::swap_ranges(v.begin() + i * width, v.begin() + (i + 1) * width, v.begin() + (nc - 1 - i) * width);
      }
    };
    reverse(reversed.candidates);
    reverse(reversed.candidate_keys);
    reverse(reversed.candidate_values);
    const std::vector<uint32_t> a = rig.bits(run(rig, c, s)), b = rig.bits(run(rig, reversed, s));
    for (int64_t i = 0; i < nc; ++i) {
      EXPECT_TRUE(std::equal(a.begin() + i * width, a.begin() + (i + 1) * width, b.begin() + (nc - 1 - i) * width)) << i;
    }
  }
}

TEST_P(TargetAttention, thread_count_changes_no_bit) {
  Rig one(GetParam(), 1), two(GetParam(), 2), seven(GetParam(), 7);
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    Variant s;
    s.dtype = dtype;
    // Many candidates: tiles are shared out. Few: the segments of the history are, and merged.
    for (const int64_t nc : {one.scaled(150, 20), int64_t{2}}) {
      Random random(16);
      const int64_t nk = one.scaled(5003, 130);
      const TargetAttentionCase c = make(random, dtype, 64, 2, 2, {nc, 1}, {nk, nk / 2}, true);
      const std::vector<uint32_t> expected = one.bits(run(one, c, s));
      EXPECT_EQ(two.bits(run(two, c, s)), expected) << nc;
      EXPECT_EQ(seven.bits(run(seven, c, s)), expected) << nc;
    }
  }
}

TEST_P(TargetAttention, splitting_the_candidates_over_runs_changes_no_bit) {
  Rig rig(GetParam());
  Random random(18);
  const TargetAttentionCase c = make(random, JD_F32, 32, 1, 1, {60}, {100}, true);
  const std::vector<uint32_t> whole = rig.bits(run(rig, c, {}));
  for (const int64_t cut : {1, 13, 59}) {
    TargetAttentionCase head = c, tail = c;
    head.candidate_offsets = {0, cut};
    tail.candidate_offsets = {0, 60 - cut};
    for (auto member : {&TargetAttentionCase::candidates, &TargetAttentionCase::candidate_keys,
                        &TargetAttentionCase::candidate_values}) {
      head.*member = rows(c.*member, 0, cut, 32);
      tail.*member = rows(c.*member, cut, 60, 32);
    }
    std::vector<uint32_t> joined = rig.bits(run(rig, head, {}));
    const std::vector<uint32_t> second = rig.bits(run(rig, tail, {}));
    joined.insert(joined.end(), second.begin(), second.end());
    EXPECT_EQ(joined, whole) << "cut at " << cut;
  }
}

// A refused user has rows too, so that tensors may have more of them than a plan's users can have together: whatever keeps partial results of
// the others' pieces must not go by them. (On the cpu the host refuses such offsets.)
TEST_P(TargetAttention, many_rows_of_refused_users) {
  if (GetParam() == "cpu") return;
  Rig rig(GetParam(), 2);
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    // Few enough to be split over pieces if there were room, and too many.
    for (const int64_t refused : {100, 1000}) {
      for (const size_t good : {0, 1}) {
        Random random(19);
        Variant s;
        s.dtype = dtype;
        s.bounds = JD_BOUNDS_ZERO;
        s.max_candidates = 4;
        std::vector<int64_t> candidates = {refused, refused}, history = {3, 3};
        candidates[good] = 4;
        history[good] = 1030;
        const TargetAttentionCase c = make(random, dtype, 32, 1, 1, candidates, history, false);
        const std::vector<uint32_t> all = rig.bits(run(rig, c, s)), alone = rig.bits(run(rig, user(c, good), s));
        EXPECT_TRUE(std::equal(alone.begin(), alone.end(), all.begin() + c.candidate_offsets[good] * 32)) << refused << ", " << good;
        int64_t skipped = 0;
        Error error;
        jd_stream_take_skipped(rig.stream, &skipped, &error);
        EXPECT_EQ(skipped, 1);
      }
    }
  }
}

JD_INSTANTIATE_ON_DEVICES(TargetAttention);

}  // namespace
}  // namespace jindou::testing
