// hstu_attention through the C ABI against its float64 reference.
#include "operators_support.h"
#include "reference/hstu_attention.h"

namespace jindou::testing {
namespace {

using reference::HstuAttentionCase;

struct Variant {
  int32_t dtype = JD_F32, out_dtype = 0, offset_dtype = JD_I64;
  int64_t padding = 0;
  int64_t max_batch = 0, max_seq_len = 0;  // 0: what the case has
  int32_t bounds = JD_BOUNDS_STRICT;
};

// dim_v: 0 = dim.
HstuAttentionCase make(Random &random, int32_t dtype, int64_t dim, int64_t heads, const std::vector<int64_t> &lengths,
                       const std::vector<int64_t> &targets = {}, int64_t dim_v = 0) {
  HstuAttentionCase c;
  c.heads = heads;
  c.dqk = dim;
  c.dv = dim_v ? dim_v : dim;
  c.alpha = static_cast<float>(1.0 / std::sqrt(static_cast<double>(dim)));
  c.scaling_seqlen = 50;
  c.offsets = offsets_of(lengths);
  c.num_targets = targets;
  const int64_t count = c.offsets.back() * heads;
  c.queries = random.values(count * c.dqk, dtype, 2);
  c.keys = random.values(count * c.dqk, dtype, 2);
  c.values = random.values(count * c.dv, dtype);
  return c;
}

class HstuAttention : public ::testing::TestWithParam<std::string> {
 protected:
  static jd_hstu_attention_desc describe(const HstuAttentionCase &c, const Variant &s) {
    const int64_t batch = static_cast<int64_t>(c.offsets.size()) - 1;
    jd_hstu_attention_desc desc{};
    desc.struct_size = sizeof desc;
    desc.dtype = s.dtype;
    desc.out_dtype = s.out_dtype;
    desc.offset_dtype = s.offset_dtype;
    desc.num_heads = static_cast<int32_t>(c.heads);
    desc.head_dim_qk = static_cast<int32_t>(c.dqk);
    desc.head_dim_v = static_cast<int32_t>(c.dv);
    desc.alpha = static_cast<float>(c.alpha);
    desc.scaling_seqlen = static_cast<float>(c.scaling_seqlen);
    desc.causal = c.mask.causal;
    desc.contextual_seq_len = static_cast<int32_t>(c.mask.contextual_seq_len);
    desc.max_attn_len = static_cast<int32_t>(c.mask.max_attn_len);
    desc.min_full_attn_seq_len = static_cast<int32_t>(c.mask.min_full_attn_seq_len);
    desc.max_batch = std::max<int64_t>(batch, 1);
    desc.max_seq_len = 1;
    for (int64_t b = 0; b < batch; ++b) desc.max_seq_len = std::max(desc.max_seq_len, c.offsets[b + 1] - c.offsets[b]);
    if (s.max_batch) desc.max_batch = s.max_batch;
    if (s.max_seq_len) desc.max_seq_len = s.max_seq_len;
    desc.bounds = s.bounds;
    return desc;
  }

  // Whether the device has a kernel for the case's dtypes and head dims.
  static bool available(Rig &rig, const HstuAttentionCase &c, const Variant &s) {
    const jd_hstu_attention_desc desc = describe(c, s);
    Error error;
    jd_plan plan = 0;
    const jd_status status = jd_hstu_attention_plan(rig.device, &desc, &plan, &error);
    if (plan) rig.keep(plan);
    return rig.has_kernel(status, error);
  }

  jd_tensor run(Rig &rig, const HstuAttentionCase &c, const Variant &s) {
    const int64_t total = c.offsets.back();
    const jd_hstu_attention_desc desc = describe(c, s);
    Error error;
    jd_plan plan = 0;
    rig.check(jd_hstu_attention_plan(rig.device, &desc, &plan, &error), error);
    rig.keep(plan);
    jd_hstu_attention_args a{};
    a.struct_size = sizeof a;
    const int64_t queries = c.q_offsets.empty() ? total : c.q_offsets.back();
    a.queries = rig.tensor(s.dtype, {queries, c.heads, c.dqk}, c.queries, s.padding);
    a.keys = rig.tensor(s.dtype, {total, c.heads, c.dqk}, c.keys, s.padding);
    a.values = rig.tensor(s.dtype, {total, c.heads, c.dv}, c.values, s.padding);
    a.offsets = rig.integers(s.offset_dtype, c.offsets);
    if (!c.num_targets.empty()) a.num_targets = rig.integers(JD_I32, c.num_targets);
    if (!c.attn_scale.empty()) a.attn_scale = rig.tensor(JD_F32, {queries}, c.attn_scale);
    if (!c.q_offsets.empty()) a.q_offsets = rig.integers(s.offset_dtype, c.q_offsets);
    if (!c.timestamps.empty()) a.timestamps = rig.integers(JD_I64, c.timestamps);
    if (!c.position_bias.empty()) a.position_bias = rig.tensor(JD_F32, bias_shape(c, c.position_bias), c.position_bias);
    if (!c.time_bias.empty()) a.time_bias = rig.tensor(JD_F32, bias_shape(c, c.time_bias), c.time_bias);
    a.out = rig.poisoned(s.out_dtype ? s.out_dtype : s.dtype, {queries, c.heads, c.dv}, s.padding);
    rig.check(jd_hstu_attention_run(plan, rig.stream, &a, &error), error);
    rig.check(jd_stream_synchronize(rig.stream, &error), error);
    return a.out;
  }

  static std::vector<int64_t> bias_shape(const HstuAttentionCase &c, const std::vector<double> &bias) {
    const auto count = static_cast<int64_t>(bias.size());
    return c.bias_per_head ? std::vector<int64_t>{c.heads, count / c.heads} : std::vector<int64_t>{count};
  }

  // Only the last rows of each sequence ask.
  static HstuAttentionCase last_rows(const HstuAttentionCase &c, const std::vector<int64_t> &counts) {
    HstuAttentionCase part = c;
    part.q_offsets = offsets_of(counts);
    part.queries.clear();
    part.attn_scale.clear();
    const int64_t width = c.heads * c.dqk;
    for (size_t b = 0; b < counts.size(); ++b) {
      const int64_t last = c.offsets[b + 1], first = last - counts[b];
      part.queries.insert(part.queries.end(), c.queries.begin() + first * width, c.queries.begin() + last * width);
      if (c.attn_scale.empty()) continue;
      part.attn_scale.insert(part.attn_scale.end(), c.attn_scale.begin() + first, c.attn_scale.begin() + last);
    }
    return part;
  }

  static void add_biases(HstuAttentionCase &c, Random &random, bool position, bool time, bool per_head) {
    int64_t longest = 1;
    for (size_t b = 1; b < c.offsets.size(); ++b) longest = std::max(longest, c.offsets[b] - c.offsets[b - 1]);
    const int64_t sets = per_head ? c.heads : 1;
    c.bias_per_head = per_head;
    if (position) c.position_bias = random.values(sets * (2 * (longest + 3) - 1), JD_F32, 2);
    if (!time) return;
    c.time_bias = random.values(sets * 41, JD_F32, 2);
    int64_t now = 1'700'000'000;
    for (int64_t i = 0; i < c.offsets.back(); ++i) {
      // Seconds, minutes, days and years apart, and now and then back in time.
      now += static_cast<int64_t>(std::exp(random.uniform(0, 18))) * (random.uniform(0, 1) < 0.2 ? -1 : 1);
      c.timestamps.push_back(now);
    }
  }

  void compare(Rig &rig, const HstuAttentionCase &c, const Variant &s, const std::string &what) {
    const jd_tensor out = run(rig, c, s);
    const reference::HstuAttentionResult expected = reference::hstu_attention(c);
    int64_t longest = 1;
    for (size_t b = 1; b < c.offsets.size(); ++b) longest = std::max(longest, c.offsets[b] - c.offsets[b - 1]);
    double norm = 1 / c.scaling_seqlen;
    for (const double x : c.attn_scale) norm = std::max(norm, std::fabs(x));
    double score = std::fabs(c.alpha) * 4 * std::sqrt(static_cast<double>(c.dqk)) * 2;  // of random vectors, generously
    if (!c.position_bias.empty()) score += 2;
    if (!c.time_bias.empty()) score += 2;
    const int32_t out_dtype = s.out_dtype ? s.out_dtype : s.dtype;
    expect_near(rig.read(out), expected.out, [&](size_t i) {
      return tolerance::hstu_attention(longest, c.dqk, score, expected.terms[i] + norm, expected.out[i], s.dtype, out_dtype);
    }, what);
    bool gaps_intact = false;
    rig.bits(out, &gaps_intact);
    EXPECT_TRUE(gaps_intact) << what << ": wrote between the rows of out";
  }

  static std::string name(const HstuAttentionCase &c) {
    return std::string(c.mask.causal ? "causal" : "both ways") + ", contexts " + std::to_string(c.mask.contextual_seq_len) +
           ", window " + std::to_string(c.mask.max_attn_len) + ", full tail " + std::to_string(c.mask.min_full_attn_seq_len) +
           (c.num_targets.empty() ? "" : ", targets");
  }
};

TEST_P(HstuAttention, matches_the_reference_for_every_dtype_and_head_dim) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    for (const int32_t out_dtype : {0, static_cast<int32_t>(JD_F32)}) {
      for (const int64_t dim : {32, 64, 96, 128}) {
        Random random(dim);
        Variant s;
        s.dtype = dtype;
        s.out_dtype = out_dtype;
        compare(rig, make(random, dtype, dim, 2, {33, 70}, {5, 0}), s, "dim " + std::to_string(dim));
      }
    }
  }
}

TEST_P(HstuAttention, every_pair_of_head_dims_and_f16) {
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
        HstuAttentionCase c = make(random, dtype, dim, 2, {50, 0, 67}, {9, 0, 0}, dim_v);
        if (!available(rig, c, s)) continue;
        const std::string what = std::string(jd_dtype_name(dtype)) + ", dims " + std::to_string(dim) + " and " + std::to_string(dim_v);
        compare(rig, c, s, what);
        c.mask = {true, 3, 20, 10};
        add_biases(c, random, true, true, true);
        compare(rig, last_rows(c, {7, 0, 66}), s, what + ", last rows");
      }
    }
  }
}

TEST_P(HstuAttention, f16_around_every_tile_and_block) {
  Rig rig(GetParam());
  for (const int32_t out_dtype : {JD_F16, JD_F32}) {
    Variant s;
    s.dtype = JD_F16;
    s.out_dtype = out_dtype;
    for (const int64_t n : {1, 15, 16, 17, 48, 63, 64, 65, 97, 129}) {
      Random random(n);
      const HstuAttentionCase c = make(random, JD_F16, 64, 1, {n}, {n / 3}, 96);
      if (!available(rig, c, s)) return;
      compare(rig, c, s, std::to_string(n) + " rows");
    }
  }
}

TEST_P(HstuAttention, every_combination_of_the_mask) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    for (const bool causal : {true, false}) {
      for (const int64_t contexts : {0, 1, 5, 70}) {
        for (const int64_t window : {0, 1, 9, 64, 500}) {
          for (const int64_t tail : {0, 3, 40}) {
            for (const bool targets : {false, true}) {
              if (tail > 0 && window == 0) continue;  // no effect
              if (!rig.fast() && (dtype == JD_BF16) == causal) continue;
              Random random(contexts * 1000 + window * 10 + tail);
              HstuAttentionCase c = make(random, dtype, 32, 1, {130, 64, 7, 1});
              if (targets) c.num_targets = {31, 64, 0, 1};
              c.mask = {causal, contexts, window, tail};
              Variant s;
              s.dtype = dtype;
              compare(rig, c, s, name(c));
            }
          }
        }
      }
    }
  }
}

TEST_P(HstuAttention, lengths_around_every_tile_and_block) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    Variant s;
    s.dtype = dtype;
    for (const int64_t n : {1, 2, 7, 8, 9, 15, 16, 17, 23, 24, 25, 47, 48, 49, 63, 64, 65, 95, 97, 127, 128, 129, 193}) {
      Random random(n);
      compare(rig, make(random, dtype, 32, 1, {n}, {n / 3}), s, std::to_string(n) + " rows");
    }
  }
}

TEST_P(HstuAttention, one_sequence_of_10007_rows) {
  Rig rig(GetParam());
  const int64_t n = rig.scaled(10007, 509);
  Random random(1);
  HstuAttentionCase c = make(random, JD_F32, 32, 1, {n}, {rig.scaled(512, 64)});
  c.mask.max_attn_len = rig.scaled(700, 100);  // the reference takes all pairs otherwise
  compare(rig, c, {}, std::to_string(n) + " rows");
}

TEST_P(HstuAttention, a_scale_for_every_row) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    Random random(4);
    HstuAttentionCase c = make(random, dtype, 64, 2, {50, 0, 21});
    c.attn_scale = random.values(71, JD_F32);
    Variant s;
    s.dtype = dtype;
    compare(rig, c, s, jd_dtype_name(dtype));
  }
}

TEST_P(HstuAttention, position_and_time_bias) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    for (const int kinds : {1, 2, 3}) {
      for (const bool per_head : {false, true}) {
        for (const bool causal : {true, false}) {
          Random random(kinds);
          HstuAttentionCase c = make(random, dtype, dtype == JD_BF16 ? 64 : 32, 2, {1, 70, 0, 131}, {0, 9, 0, 40});
          c.mask = {causal, per_head ? 4 : 0, causal ? 0 : 50, 10};
          add_biases(c, random, kinds & 1, kinds & 2, per_head);
          Variant s;
          s.dtype = dtype;
          s.padding = per_head ? 8 : 0;
          compare(rig, c, s, name(c) + ", biases " + std::to_string(kinds));
        }
      }
    }
  }
}

TEST_P(HstuAttention, biases_for_every_head_dim) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    for (const int64_t dim : {32, 64, 96, 128}) {
      Random random(dim);
      HstuAttentionCase c = make(random, dtype, dim, 2, {33, 70, 64}, {5, 0, 64});
      add_biases(c, random, true, true, true);
      Variant s;
      s.dtype = dtype;
      compare(rig, c, s, "dim " + std::to_string(dim));
      compare(rig, last_rows(c, {3, 65, 20}), s, "last rows, dim " + std::to_string(dim));
    }
  }
}

TEST_P(HstuAttention, time_differences_of_every_size) {
  Rig rig(GetParam());
  Random random(3);
  HstuAttentionCase c = make(random, JD_F32, 32, 1, {57});
  c.time_bias = random.values(148, JD_F32, 2);
  c.timestamps = {0, INT64_MIN, int64_t{1} << 62};  // what float64 holds exactly
  for (int bits = 0; c.timestamps.size() < 57; ++bits) c.timestamps.push_back((int64_t{1} << bits) - 1);
  compare(rig, c, {}, "powers of two");
}

// Times close together, far apart, in and out of order, equal, and at the ends of what 64 bits hold: many buckets in one block of
// keys, one, and everything between. The buckets themselves are compared with float64 above.
TEST_P(HstuAttention, time_bias_for_every_spread_of_times) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    for (int kind = 0; kind < 7; ++kind) {
      for (const int64_t buckets : {1, 20, 148}) {
        if (!rig.fast() && (kind % 2 == 0) == (dtype == JD_BF16)) continue;
        Random random(kind);
        HstuAttentionCase c = make(random, dtype, dtype == JD_BF16 ? 64 : 32, 2, {rig.scaled(300, 90), 7}, {20, 0});
        c.mask.causal = kind != 3;
        c.bias_per_head = true;
        c.time_bias = random.values(2 * buckets, JD_F32, 2);
        int64_t now = kind == 5 ? INT64_MIN : 1'700'000'000;
        for (int64_t i = 0; i < c.offsets.back(); ++i) {
          switch (kind) {
            case 0: now += 1; break;                                                         // a second each
            case 1: now += static_cast<int64_t>(std::exp(random.uniform(0, 14))); break;     // seconds to weeks
            case 2: break;                                                                   // all at once
            case 3: now = random.integer(0, int64_t{1} << 40); break;                        // in no order
            case 4: now += i % 40 == 39 ? 86400 * 365 : i % 3; break;                        // sessions years apart
            case 5: now = i % 2 ? INT64_MIN + i * 8192 : (int64_t{1} << 62) - i * 1024; break;  // differences past 2^62, exact in float64
            default: now -= static_cast<int64_t>(std::exp(random.uniform(0, 6))); break;     // backwards
          }
          c.timestamps.push_back(now);
        }
        Variant s;
        s.dtype = dtype;
        compare(rig, c, s, std::string(jd_dtype_name(dtype)) + ", times of kind " + std::to_string(kind) + ", " +
                               std::to_string(buckets) + " buckets");
      }
    }
  }
}

// Keys and values from a cache: the bits of the last rows are those of the whole sequence's run.
TEST_P(HstuAttention, last_rows_alone_have_the_same_bits) {
  Rig rig(GetParam());
  const std::vector<int64_t> lengths = {150, 1, 0, 64, 97}, targets = {20, 1, 0, 64, 0};
  struct Kind {
    int32_t dtype;
    int64_t dim;
  };
  for (const Kind k : {Kind{JD_F32, 32}, {JD_BF16, 32}, {JD_BF16, 64}, {JD_BF16, 128}, {JD_BF16, 256}}) {
    for (const bool biased : {false, true}) {
      if (biased && k.dim > 64 && !rig.fast()) continue;
      const int32_t dtype = k.dtype;
      const int64_t width = 2 * k.dim;
      Random random(12);
      HstuAttentionCase c = make(random, dtype, k.dim, 2, lengths, targets);
      c.mask = {true, 3, 60, 30};
      c.attn_scale = random.values(c.offsets.back(), JD_F32);
      if (biased) add_biases(c, random, true, true, true);
      Variant s;
      s.dtype = dtype;
      s.padding = 16;
      const std::vector<uint32_t> whole = rig.bits(run(rig, c, s));
      for (const std::vector<int64_t> &counts :
           {std::vector<int64_t>{1, 1, 0, 1, 1}, {70, 0, 0, 64, 33}, {150, 1, 0, 64, 97}, {0, 0, 0, 0, 0}}) {
        const HstuAttentionCase part = last_rows(c, counts);
        compare(rig, part, s, "last rows");
        const std::vector<uint32_t> bits = rig.bits(run(rig, part, s));
        for (size_t b = 0; b < counts.size(); ++b) {
          const int64_t begin = part.q_offsets[b] * width, end = part.q_offsets[b + 1] * width;
          EXPECT_TRUE(std::equal(bits.begin() + begin, bits.begin() + end, whole.begin() + (c.offsets[b + 1] - counts[b]) * width))
              << "sequence " << b << ", dim " << k.dim;
        }
      }
    }
  }
}

TEST_P(HstuAttention, strided_inputs_and_out) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    Random random(5);
    Variant s;
    s.dtype = dtype;
    s.padding = 24;
    compare(rig, make(random, dtype, 64, 3, {41, 30}, {4, 30}), s, jd_dtype_name(dtype));
  }
}

TEST_P(HstuAttention, offsets_of_both_widths) {
  Rig rig(GetParam());
  for (const int32_t offset_dtype : {JD_I32, JD_I64}) {
    Random random(6);
    Variant s;
    s.offset_dtype = offset_dtype;
    compare(rig, make(random, JD_F32, 32, 2, {12, 3}), s, jd_dtype_name(offset_dtype));
  }
}

TEST_P(HstuAttention, empty_sequences_and_batches) {
  Rig rig(GetParam());
  Random random(7);
  compare(rig, make(random, JD_F32, 32, 2, {0, 5, 0, 0, 3, 0}, {0, 2, 0, 0, 3, 0}), {}, "some empty");
  compare(rig, make(random, JD_F32, 32, 2, {0}), {}, "one empty");
  compare(rig, make(random, JD_F32, 32, 2, {}), {}, "no sequence");
}

TEST_P(HstuAttention, extreme_scores) {
  Rig rig(GetParam());
  for (const double alpha : {0.0, -1.0, 8.0, 300.0}) {
    Random random(8);
    HstuAttentionCase c = make(random, JD_F32, 32, 1, {60});
    c.alpha = alpha;
    compare(rig, c, {}, "alpha " + std::to_string(alpha));
  }
}

TEST_P(HstuAttention, targets_ignore_other_targets) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    Random random(9);
    Variant s;
    s.dtype = dtype;
    const int64_t n = 110, targets = 45, width = 2 * 32;
    const HstuAttentionCase c = make(random, dtype, 32, 2, {n}, {targets});
    const std::vector<uint32_t> before = rig.bits(run(rig, c, s));
    const int64_t kept = n - targets + 20;
    HstuAttentionCase changed = c;
    for (int64_t i = n - targets; i < n; ++i) {
      if (i == kept) continue;
      for (int64_t e = i * width; e < (i + 1) * width; ++e) {
        changed.queries[e] = 1;
        changed.keys[e] = -2;
        changed.values[e] = 3;
      }
    }
    const std::vector<uint32_t> after = rig.bits(run(rig, changed, s));
    EXPECT_TRUE(std::equal(before.begin(), before.begin() + (n - targets) * width, after.begin())) << "the history's rows";
    EXPECT_TRUE(std::equal(before.begin() + kept * width, before.begin() + (kept + 1) * width, after.begin() + kept * width));
  }
}

TEST_P(HstuAttention, causal_rows_ignore_what_follows) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    Random random(10);
    Variant s;
    s.dtype = dtype;
    const HstuAttentionCase c = make(random, dtype, 32, 1, {150});
    const std::vector<uint32_t> whole = rig.bits(run(rig, c, s));
    for (const int64_t cut : {1, 50, 101}) {
      HstuAttentionCase head = c;
      head.offsets = {0, cut};
      for (auto member : {&HstuAttentionCase::queries, &HstuAttentionCase::keys, &HstuAttentionCase::values}) {
        (head.*member).resize(static_cast<size_t>(cut * 32));
      }
      const std::vector<uint32_t> bits = rig.bits(run(rig, head, s));
      EXPECT_TRUE(std::equal(bits.begin(), bits.end(), whole.begin())) << cut;
    }
  }
}

TEST_P(HstuAttention, a_sequence_does_not_depend_on_the_batch) {
  Rig rig(GetParam(), 2);
  for (const int32_t dtype : {JD_F32, JD_BF16, JD_F16}) {
    Random random(11);
    Variant s;
    s.dtype = dtype;
    const std::vector<int64_t> lengths = {60, 0, 131, 9, 64};
    HstuAttentionCase c = make(random, dtype, 32, 2, lengths, {10, 0, 5, 9, 0}, dtype == JD_F16 ? 64 : 32);
    c.mask = {true, 3, 40, 6};
    if (dtype == JD_F16 && !available(rig, c, s)) continue;
    const std::vector<uint32_t> together = rig.bits(run(rig, c, s));
    for (size_t b = 0; b < lengths.size(); ++b) {
      HstuAttentionCase alone = c;
      alone.offsets = {0, lengths[b]};
      alone.num_targets = {c.num_targets[b]};
      const auto cut = [&](std::vector<double> HstuAttentionCase::*member, int64_t width) {
        (alone.*member).assign((c.*member).begin() + c.offsets[b] * width, (c.*member).begin() + c.offsets[b + 1] * width);
      };
      cut(&HstuAttentionCase::queries, 2 * c.dqk);
      cut(&HstuAttentionCase::keys, 2 * c.dqk);
      cut(&HstuAttentionCase::values, 2 * c.dv);
      const std::vector<uint32_t> bits = rig.bits(run(rig, alone, s));
      EXPECT_TRUE(std::equal(bits.begin(), bits.end(), together.begin() + c.offsets[b] * 2 * c.dv)) << "sequence " << b;
    }
  }
}

TEST_P(HstuAttention, thread_count_changes_no_bit) {
  Rig one(GetParam(), 1), two(GetParam(), 2), seven(GetParam(), 7);
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    Random random(12);
    Variant s;
    s.dtype = dtype;
    const HstuAttentionCase c = make(random, dtype, 64, 2, {one.scaled(700, 60), 80, one.scaled(500, 30)}, {70, 0, 12});
    HstuAttentionCase valid = c;
    valid.num_targets[0] = std::min<int64_t>(70, c.offsets[1]);
    const std::vector<uint32_t> expected = one.bits(run(one, valid, s));
    EXPECT_EQ(two.bits(run(two, valid, s)), expected);
    EXPECT_EQ(seven.bits(run(seven, valid, s)), expected);
  }
}

// Tasks of one and two vectors of rows.
TEST_P(HstuAttention, small_batches_on_many_threads_have_the_same_bits) {
  Rig one(GetParam(), 1);
  for (const int threads : {3, 16, 61}) {
    Rig many(GetParam(), threads);
    for (const int32_t dtype : {JD_F32, JD_BF16}) {
      for (const int64_t asked : {1, 20, 70, 130}) {
        Random random(asked);
        Variant s;
        s.dtype = dtype;
        HstuAttentionCase c = make(random, dtype, 64, 1, {one.scaled(1030, 140), 131}, {9, 60});
        c.mask.max_attn_len = asked == 70 ? 50 : 0;
        const HstuAttentionCase part = last_rows(c, {asked, 1});
        EXPECT_EQ(many.bits(run(many, part, s)), one.bits(run(one, part, s))) << threads << " threads, " << asked << " rows";
      }
    }
  }
}

TEST_P(HstuAttention, few_rows_over_long_sequences) {
  Rig rig(GetParam());
  const std::vector<int64_t> lengths = {1100, 513, 0, 512, 3}, counts = {5, 70, 0, 1, 3}, targets = {9, 0, 0, 2, 1};
  for (const int32_t dtype : {JD_F32, JD_BF16, JD_F16}) {
    for (const reference::HstuMaskParams &mask :
         {reference::HstuMaskParams{true, 0, 0, 0}, {false, 0, 0, 0}, {true, 0, 600, 0}, {true, 3, 100, 20}, {false, 3, 300, 0}}) {
      if (!rig.fast() && dtype == JD_F16 && mask.max_attn_len > 0) continue;
      Random random(31);
      Variant s;
      s.dtype = dtype;
      s.padding = 16;
      HstuAttentionCase c = make(random, dtype, 64, 2, lengths, targets);
      c.mask = mask;
      c.attn_scale = random.values(c.offsets.back(), JD_F32);
      const HstuAttentionCase part = last_rows(c, counts);
      if (!available(rig, part, s)) return;
      compare(rig, part, s, name(c));
    }
  }
}

// The bits of a row follow from its sequence: not from how many rows are asked for, who else is in the batch, what the plan allows, nor the
// size of the device. Keys enough for two pieces, where devices sum in pieces: one thread, a small device, takes them in turn, many do not.
TEST_P(HstuAttention, plans_and_batches_change_no_bit) {
  Rig small(GetParam(), 1), large(GetParam(), 16);
  struct Kind {
    int32_t dtype;
    int64_t dim;
  };
  for (const Kind k : {Kind{JD_F32, 64}, {JD_BF16, 32}, {JD_BF16, 64}, {JD_BF16, 128}, {JD_BF16, 256}, {JD_F16, 64}}) {
    Random random(33);
    HstuAttentionCase c = make(random, k.dtype, k.dim, 1, {1040, 40, 1025}, {20, 1, 0});
    c.mask = {true, 3, k.dim == 64 ? 0 : 300, 30};
    Variant s;
    s.dtype = k.dtype;
    if (!available(small, c, s)) continue;
    const HstuAttentionCase many = last_rows(c, {140, 40, 130});
    compare(small, many, s, "dim " + std::to_string(k.dim));
    const std::vector<uint32_t> expected = small.bits(run(small, many, s));
    s.max_batch = 1000;
    EXPECT_EQ(large.bits(run(large, many, s)), expected) << "a large plan, dim " << k.dim;
    for (const int64_t asked : {1, 70}) {
      // The first sequence alone.
      HstuAttentionCase one = last_rows(c, {asked, 0, 0});
      const int64_t count = c.offsets[1] * k.dim;
      one.offsets = {0, c.offsets[1]};
      one.q_offsets = {0, asked};
      one.num_targets.resize(1);
      one.keys.resize(static_cast<size_t>(count));
      one.values.resize(static_cast<size_t>(count));
      for (Rig *rig : {&small, &large}) {
        for (const int64_t max_batch : {1, 1000}) {
          s.max_batch = max_batch;
          const std::vector<uint32_t> bits = rig->bits(run(*rig, one, s));
          EXPECT_TRUE(std::equal(bits.begin(), bits.end(), expected.begin() + (140 - asked) * k.dim))
              << asked << " rows, plan for " << max_batch << ", dim " << k.dim;
        }
      }
    }
  }
}

TEST_P(HstuAttention, last_rows_of_long_sequences_have_the_same_bits) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    for (const bool biased : {false, true}) {
      Random random(32);
      const int64_t dim = dtype == JD_BF16 ? 64 : 32;
      HstuAttentionCase c = make(random, dtype, dim, 1, {1100, 40}, {20, 1});
      c.mask = {true, 3, 700, 30};
      if (biased) add_biases(c, random, false, true, true);
      Variant s;
      s.dtype = dtype;
      const std::vector<uint32_t> whole = rig.bits(run(rig, c, s));
      compare(rig, c, s, "whole");
      for (const std::vector<int64_t> &counts : {std::vector<int64_t>{1, 1}, {130, 0}, {3, 40}}) {
        const HstuAttentionCase part = last_rows(c, counts);
        const std::vector<uint32_t> bits = rig.bits(run(rig, part, s));
        for (size_t b = 0; b < counts.size(); ++b) {
          EXPECT_TRUE(std::equal(bits.begin() + part.q_offsets[b] * dim, bits.begin() + part.q_offsets[b + 1] * dim,
                                 whole.begin() + (c.offsets[b + 1] - counts[b]) * dim)) << "sequence " << b;
        }
      }
    }
  }
}

// A refused sequence has rows too, so that tensors may have more of them than a plan's sequences can have together: whatever keeps partial results of
// the others' pieces must not go by them. (On the cpu the host refuses such offsets.)
TEST_P(HstuAttention, many_rows_of_refused_sequences) {
  if (GetParam() == "cpu") return;
  Rig rig(GetParam(), 2);
  for (const size_t good : {0, 1}) {
    Random random(20);
    std::vector<int64_t> lengths = {3000, 3000}, asked = {3000, 3000};
    lengths[good] = 1030;
    asked[good] = 4;
    const HstuAttentionCase c = last_rows(make(random, JD_F32, 32, 1, lengths), asked);
    Variant s;
    s.bounds = JD_BOUNDS_ZERO;
    s.max_seq_len = 1030;
    const std::vector<uint32_t> all = rig.bits(run(rig, c, s));
    const auto part = [&](const std::vector<double> &x, const std::vector<int64_t> &offsets) {
      return std::vector<double>(x.begin() + offsets[good] * 32, x.begin() + offsets[good + 1] * 32);
    };
    HstuAttentionCase alone = c;
    alone.queries = part(c.queries, c.q_offsets);
    alone.keys = part(c.keys, c.offsets);
    alone.values = part(c.values, c.offsets);
    alone.offsets = {0, 1030};
    alone.q_offsets = {0, 4};
    const std::vector<uint32_t> one = rig.bits(run(rig, alone, s));
    EXPECT_TRUE(std::equal(one.begin(), one.end(), all.begin() + c.q_offsets[good] * 32)) << good;
    int64_t skipped = 0;
    Error error;
    jd_stream_take_skipped(rig.stream, &skipped, &error);
    EXPECT_EQ(skipped, 1);
  }
}

JD_INSTANTIATE_ON_DEVICES(HstuAttention);

}  // namespace
}  // namespace jindou::testing
