// search_attention through the C ABI against its float64 reference, and behind history_search.
#include "operators_support.h"
#include "reference/search_attention.h"

namespace jindou::testing {
namespace {

using reference::SearchAttentionCase;

struct Variant {
  int32_t dtype = JD_F32, out_dtype = 0, offset_dtype = JD_I64;
  int32_t bounds = JD_BOUNDS_STRICT;
  int64_t padding = 0;
  bool lse = true;
  int64_t max_history = 0;  // 0: what the case has
};

SearchAttentionCase make(uint64_t seed, int32_t dtype, int64_t dqk, int64_t dv, int64_t heads, int64_t kv_heads, int64_t k,
                         const std::vector<int64_t> &candidates, const std::vector<int64_t> &events) {
  Random random(seed);
  SearchAttentionCase c;
  c.heads = heads;
  c.kv_heads = kv_heads;
  c.dqk = dqk;
  c.dv = dv;
  c.k = k;
  c.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(dqk)));
  c.candidate_offsets = offsets_of(candidates);
  c.history_offsets = offsets_of(events);
  c.candidates = random.values(c.candidate_offsets.back() * heads * dqk, dtype, 2);
  c.keys = random.values(c.history_offsets.back() * kv_heads * dqk, dtype, 2);
  c.values = random.values(c.history_offsets.back() * kv_heads * dv, dtype);
  for (size_t b = 0; b < candidates.size(); ++b) {
    for (int64_t n = 0; n < candidates[b] * k; ++n) {
      c.indices.push_back(random.integer(0, 5) == 0 ? -1 : random.integer(-1, events[b] - 1));  // some absent, anywhere
    }
  }
  return c;
}

class SearchAttention : public ::testing::TestWithParam<std::string> {
 protected:
  struct Tensors {
    jd_tensor out = 0, lse = 0;
    jd_status status = JD_OK;
    std::string message;
  };

  static Tensors run(Rig &rig, const SearchAttentionCase &c, const Variant &v = {}, jd_tensor indices = 0) {
    jd_search_attention_desc d{};
    d.struct_size = sizeof d;
    d.dtype = v.dtype;
    d.out_dtype = v.out_dtype;
    d.offset_dtype = v.offset_dtype;
    d.num_heads = static_cast<int32_t>(c.heads);
    d.num_kv_heads = static_cast<int32_t>(c.kv_heads);
    d.head_dim_qk = static_cast<int32_t>(c.dqk);
    d.head_dim_v = static_cast<int32_t>(c.dv);
    d.scale = static_cast<float>(c.scale);
    d.activation = c.scaling_seqlen != 0 ? JD_ACTIVATION_SILU : JD_ACTIVATION_SOFTMAX;
    d.scaling_seqlen = static_cast<float>(c.scaling_seqlen);
    d.k = static_cast<int32_t>(c.k);
    d.bounds = v.bounds;
    const auto longest = [](const std::vector<int64_t> &offsets) {
      int64_t most = 1;
      for (size_t i = 1; i < offsets.size(); ++i) most = std::max(most, offsets[i] - offsets[i - 1]);
      return most;
    };
    d.max_batch = std::max<int64_t>(1, static_cast<int64_t>(c.candidate_offsets.size()) - 1);
    d.max_candidates = longest(c.candidate_offsets);
    d.max_history = v.max_history ? v.max_history : longest(c.history_offsets);
    Error error;
    jd_plan plan = 0;
    rig.check(jd_search_attention_plan(rig.device, &d, &plan, &error), error);
    rig.keep(plan);
    jd_search_attention_args a{};
    a.struct_size = sizeof a;
    const int64_t candidates = c.candidate_offsets.back(), events = c.history_offsets.back();
    a.candidates = rig.tensor(v.dtype, {candidates, c.heads, c.dqk}, c.candidates, v.padding);
    a.candidate_offsets = rig.integers(v.offset_dtype, c.candidate_offsets);
    a.keys = rig.tensor(v.dtype, {events, c.kv_heads, c.dqk}, c.keys, v.padding);
    a.values = rig.tensor(v.dtype, {events, c.kv_heads, c.dv}, c.values, v.padding);
    a.history_offsets = rig.integers(v.offset_dtype, c.history_offsets);
    a.indices = indices ? indices
                        : rig.tensor(JD_I32, {candidates, c.k}, std::vector<double>(c.indices.begin(), c.indices.end()), v.padding);
    a.out = rig.poisoned(v.out_dtype ? v.out_dtype : v.dtype, {candidates, c.heads, c.dv}, v.padding);
    if (v.lse && c.scaling_seqlen == 0) a.lse = rig.poisoned(JD_F32, {candidates, c.heads}, v.padding);
    rig.check(jd_search_attention_run(plan, rig.stream, &a, &error), error);
    Tensors t{a.out, a.lse, JD_OK, ""};
    t.status = jd_stream_synchronize(rig.stream, &error);
    if (t.status != JD_OK) t.message = error.message;
    return t;
  }

  static void compare(Rig &rig, const SearchAttentionCase &c, const Variant &v, const std::string &what, jd_tensor indices = 0) {
    const Tensors t = run(rig, c, v, indices);
    ASSERT_EQ(t.message, "") << what;
    const reference::SearchAttentionResult expected = reference::search_attention(c);
    const double score = std::fabs(c.scale) * 4 * std::sqrt(static_cast<double>(c.dqk)) * 2;
    const int32_t out_dtype = v.out_dtype ? v.out_dtype : v.dtype;
    expect_near(rig.read(t.out), expected.out, [&](size_t i) {
      if (c.scaling_seqlen == 0) return tolerance::softmax_attention(c.dqk, score, 1, expected.out[i], v.dtype, out_dtype);
      return tolerance::hstu_attention(c.k, c.dqk, score, expected.terms[i], expected.out[i], v.dtype, out_dtype) +
             tolerance::hstu_scores(c.dqk, score, static_cast<double>(c.k) / c.scaling_seqlen);
    }, what);
    if (t.lse) {
      // An empty row's is -infinity, which is at no distance from itself.
      std::vector<double> got = rig.read(t.lse), wanted = expected.lse;
      for (size_t i = 0; i < wanted.size(); ++i) {
        if (!std::isinf(wanted[i])) continue;
        EXPECT_EQ(got[i], wanted[i]) << what;
        got[i] = wanted[i] = 0;
      }
      expect_near(got, wanted, [&](size_t i) {
        return tolerance::softmax_attention(c.dqk, score, 1, wanted[i], JD_F32, JD_F32) + 4e-7 * std::fabs(wanted[i]);
      }, what + ", lse");
    }
    bool intact = false;
    rig.bits(t.out, &intact);
    EXPECT_TRUE(intact) << what << ": wrote between the rows of out";
  }

  static std::vector<uint32_t> all_bits(Rig &rig, const SearchAttentionCase &c, const Variant &v) {
    const Tensors t = run(rig, c, v);
    EXPECT_EQ(t.message, "");
    std::vector<uint32_t> all = rig.bits(t.out);
    if (t.lse) {
      const std::vector<uint32_t> lse = rig.bits(t.lse);
      all.insert(all.end(), lse.begin(), lse.end());
    }
    return all;
  }
};

TEST_P(SearchAttention, matches_the_reference_for_every_dtype_and_head_dim) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_F16, JD_BF16}) {
    for (const int64_t dim : {32, 64, 96, 128, 160, 192, 256}) {
      for (const double seqlen : {0.0, 30.0}) {
        SearchAttentionCase c = make(static_cast<uint64_t>(dim), dtype, dim, dim, 4, 2, 21, {3, 0, 5}, {40, 7, 90});
        c.scaling_seqlen = seqlen;
        Variant v;
        v.dtype = dtype;
        v.out_dtype = dim % 64 == 0 ? JD_F32 : 0;
        v.offset_dtype = dim % 64 == 0 ? JD_I32 : JD_I64;
        v.padding = 16;
        compare(rig, c, v, std::string(jd_dtype_name(dtype)) + ", dim " + std::to_string(dim) + (seqlen != 0 ? ", silu" : ""));
      }
    }
  }
}

TEST_P(SearchAttention, head_dims_of_keys_and_values_may_differ) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    for (const auto &[dqk, dv] : {std::pair<int64_t, int64_t>{192, 128}, {32, 256}, {64, 32}, {256, 64}}) {
      Variant v;
      v.dtype = dtype;
      compare(rig, make(3, dtype, dqk, dv, 3, 1, 10, {5}, {60}), v, std::to_string(dqk) + " and " + std::to_string(dv));
    }
  }
}

TEST_P(SearchAttention, numbers_of_events_around_every_step) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    for (const int64_t k : {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 513, 2048}) {
      if (!rig.fast() && k > 200) continue;
      Variant v;
      v.dtype = dtype;
      compare(rig, make(static_cast<uint64_t>(k), dtype, 64, 64, 2, 2, k, {3}, {77}), v, std::to_string(k) + " events");
    }
  }
}

TEST_P(SearchAttention, groups_of_heads) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_F16, JD_BF16}) {
    for (const auto &[heads, kv_heads] : {std::pair<int64_t, int64_t>{1, 1}, {5, 5}, {6, 3}, {6, 2}, {17, 1}, {32, 2}}) {
      for (const double seqlen : {0.0, 10.0}) {
        SearchAttentionCase c = make(7, dtype, 32, 32, heads, kv_heads, 9, {2, 3}, {40, 77});
        c.scaling_seqlen = seqlen;
        Variant v;
        v.dtype = dtype;
        compare(rig, c, v, std::to_string(heads) + " over " + std::to_string(kv_heads));
      }
    }
  }
}

TEST_P(SearchAttention, extreme_scales) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    for (const double scale : {0.0, -0.5, 20.0}) {
      SearchAttentionCase c = make(2, dtype, 32, 32, 2, 2, 70, {3}, {100});
      c.scale = scale;
      Variant v;
      v.dtype = dtype;
      compare(rig, c, v, "scale " + std::to_string(scale));
    }
  }
}

TEST_P(SearchAttention, candidates_without_events_and_events_listed_twice) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    for (const double seqlen : {0.0, 10.0}) {
      Variant v;
      v.dtype = dtype;
      SearchAttentionCase c = make(4, dtype, 64, 64, 2, 1, 12, {4, 2, 3}, {30, 0, 5});
      c.scaling_seqlen = seqlen;
      for (int64_t n = 0; n < 12; ++n) {
        c.indices[n] = -1;
        c.indices[12 + n] = 7;
        c.indices[24 + n] = n == 11 ? 29 : -1;
      }
      compare(rig, c, v, "absent and repeated");
      for (const std::vector<int64_t> &candidates : std::vector<std::vector<int64_t>>{{}, {0}, {0, 2, 0}}) {
        compare(rig, make(5, dtype, 32, 32, 1, 1, 3, candidates, std::vector<int64_t>(candidates.size(), 0)), v, "no events");
      }
    }
  }
}

TEST_P(SearchAttention, bits_depend_on_the_candidate_and_its_events_alone) {
  Rig rig(GetParam(), 2), one(GetParam(), 1), five(GetParam(), 5);
  for (const int32_t dtype : {JD_F32, JD_F16, JD_BF16}) {
    for (const double seqlen : {0.0, 10.0}) {
      const std::vector<int64_t> candidates = {5, rig.scaled(40, 11), 0, 3}, events = {50, 200, 9, 20};
      SearchAttentionCase c = make(9, dtype, 64, 64, 4, 2, 40, candidates, events);
      c.scaling_seqlen = seqlen;
      Variant v;
      v.dtype = dtype;
      const std::vector<uint32_t> together = all_bits(rig, c, v);
      EXPECT_EQ(all_bits(one, c, v), together);
      EXPECT_EQ(all_bits(five, c, v), together);
      const int64_t total = c.candidate_offsets.back(), width = c.heads * c.dv;
      for (const size_t b : {0, 1, 3}) {
        // The last candidate of a user alone, its events moved to the end of a longer history.
        const int64_t i = c.candidate_offsets[b + 1] - 1, shift = 13, key = c.kv_heads * c.dqk;
        SearchAttentionCase alone = c;
        alone.candidate_offsets = {0, 1};
        alone.history_offsets = {0, events[b] + shift};
        alone.candidates.assign(c.candidates.begin() + i * c.heads * c.dqk, c.candidates.begin() + (i + 1) * c.heads * c.dqk);
        const auto moved = [&](const std::vector<double> &x) {
          std::vector<double> y(static_cast<size_t>(shift * key), NAN);
          y.insert(y.end(), x.begin() + c.history_offsets[b] * key, x.begin() + c.history_offsets[b + 1] * key);
          return y;
        };
        alone.keys = moved(c.keys);
        alone.values = moved(c.values);
        alone.indices.assign(c.indices.begin() + i * c.k, c.indices.begin() + (i + 1) * c.k);
        for (int64_t &index : alone.indices) index += index >= 0 ? shift : 0;
        Variant wide = v;
        wide.max_history = 1 << 30;
        const std::vector<uint32_t> bits = all_bits(five, alone, wide);
        EXPECT_TRUE(std::equal(bits.begin(), bits.begin() + width, together.begin() + i * width)) << b;
        EXPECT_TRUE(std::equal(bits.begin() + width, bits.end(), together.begin() + total * width + i * c.heads)) << b;
      }
    }
  }
}

TEST_P(SearchAttention, refused_indices_follow_the_bounds_mode) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    for (const int64_t bad : {int64_t{-2}, int64_t{INT32_MIN}, int64_t{20}, int64_t{INT32_MAX}}) {
      SearchAttentionCase c = make(10, dtype, 64, 64, 4, 2, 6, {3, 4}, {30, 20});
      c.indices[4 * 6 + 2] = bad;
      c.indices[6 * 6 + 5] = bad;
      Variant v;
      v.dtype = dtype;
      const Tensors strict = run(rig, c, v);
      EXPECT_EQ(strict.status, JD_OUT_OF_BOUNDS);
      for (const std::string &part : {std::string("search_attention: argument 'indices': expected -1 or an event in 0..19"),
                                      "got " + std::to_string(bad) + " at position 26"}) {
        EXPECT_NE(strict.message.find(part), std::string::npos) << strict.message;
      }
      v.bounds = JD_BOUNDS_ZERO;
      compare(rig, c, v, "skipping");  // as if they were -1
      int64_t skipped = 0;
      Error error;
      rig.check(jd_stream_take_skipped(rig.stream, &skipped, &error), error);
      EXPECT_EQ(skipped, 2);
    }
  }
}

// SIM: search by inner products, then attend to what was found; the lists never leave the device.
TEST_P(SearchAttention, follows_history_search) {
  Rig rig(GetParam());
  const int64_t n = rig.scaled(3000, 150), nc = 9, k = 16, dim = 64;
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    SearchAttentionCase c = make(11, dtype, dim, dim, 1, 1, k, {nc}, {n});
    jd_history_search_desc d{};
    d.struct_size = sizeof d;
    d.method = JD_SEARCH_DOT;
    d.dtype = dtype;
    d.offset_dtype = JD_I64;
    d.dim = dim;
    d.k = k;
    d.max_batch = 1;
    d.max_candidates = nc;
    d.max_history = n;
    Error error;
    jd_plan plan = 0;
    rig.check(jd_history_search_plan(rig.device, &d, &plan, &error), error);
    rig.keep(plan);
    jd_history_search_args a{};
    a.struct_size = sizeof a;
    a.queries = rig.tensor(dtype, {nc, dim}, c.candidates);
    a.keys = rig.tensor(dtype, {n, dim}, c.keys);
    a.candidate_offsets = rig.integers(JD_I64, {0, nc});
    a.history_offsets = rig.integers(JD_I64, {0, n});
    a.indices = rig.poisoned(JD_I32, {nc, k});
    rig.check(jd_history_search_run(plan, rig.stream, &a, &error), error);
    const std::vector<uint32_t> found = rig.bits(a.indices);
    for (size_t i = 0; i < found.size(); ++i) c.indices[i] = static_cast<int32_t>(found[i]);
    Variant v;
    v.dtype = dtype;
    compare(rig, c, v, "found", a.indices);
  }
}

JD_INSTANTIATE_ON_DEVICES(SearchAttention);

}  // namespace
}  // namespace jindou::testing
