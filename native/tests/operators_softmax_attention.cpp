// softmax_attention through the C ABI against its float64 reference.
#include <functional>

#include "operators_support.h"
#include "reference/softmax_attention.h"

namespace jindou::testing {
namespace {

using reference::AttentionState;
using reference::SoftmaxAttentionCase;
using reference::SoftmaxMaskKind;
using reference::SoftmaxMaskParams;

struct Variant {
  int32_t dtype = JD_F32, out_dtype = 0, offset_dtype = JD_I64;  // out_dtype 0: dtype
  int64_t padding = 0;                                           // elements between heads and between rows
  bool lse = true;
  int32_t bounds = JD_BOUNDS_STRICT;
  int64_t max_queries = 0, max_keys = 0, max_batch = 0;          // 0: what the case has
};

// dim_v: 0 = dim.
SoftmaxAttentionCase make(uint64_t seed, int32_t dtype, int64_t dim, int64_t heads, int64_t kv_heads,
                          const std::vector<int64_t> &queries, const std::vector<int64_t> &keys, SoftmaxMaskParams mask = {},
                          int64_t dim_v = 0) {
  Random random(seed);
  SoftmaxAttentionCase c;
  c.heads = heads;
  c.kv_heads = kv_heads;
  c.dqk = dim;
  c.dv = dim_v ? dim_v : dim;
  c.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(dim)));
  c.mask = mask;
  c.q_offsets = offsets_of(queries);
  c.k_offsets = offsets_of(keys);
  const int64_t nq = c.q_offsets.back(), nk = c.k_offsets.back();
  c.queries = random.values(nq * heads * dim, dtype, 2);
  c.keys = random.values(nk * kv_heads * dim, dtype, 2);
  c.values = random.values(nk * kv_heads * c.dv, dtype);
  return c;
}

SoftmaxMaskParams causal() { return {SoftmaxMaskKind::causal}; }
SoftmaxMaskParams window(int64_t left, int64_t right) { return {SoftmaxMaskKind::window, left, right}; }

std::string name(const SoftmaxMaskParams &m) {
  const char *kinds[] = {"none", "causal", "window"};
  return std::string(kinds[static_cast<int>(m.kind)]) + " " + std::to_string(m.left) + "," + std::to_string(m.right) + " sink " +
         std::to_string(m.sink) + " prefix " + std::to_string(m.prefix) + " global " + std::to_string(m.num_global);
}

int64_t longest(const std::vector<int64_t> &offsets) {
  int64_t n = 1;
  for (size_t b = 1; b < offsets.size(); ++b) n = std::max(n, offsets[b] - offsets[b - 1]);
  return n;
}

double largest(const std::vector<double> &v) {
  double x = 0;
  for (const double each : v) x = std::isfinite(each) ? std::max(x, std::fabs(each)) : x;
  return x;
}

// Rows begin..end-1 of a dense tensor whose rows have `width` elements.
template <class T>
std::vector<T> rows(const std::vector<T> &v, int64_t begin, int64_t end, int64_t width) {
  return std::vector<T>(v.begin() + begin * width, v.begin() + end * width);
}

// Some sequences of a case, in the order given; a bias of each sequence goes with it.
SoftmaxAttentionCase select(const SoftmaxAttentionCase &c, const std::vector<size_t> &which) {
  SoftmaxAttentionCase x = c;
  x.q_offsets = x.k_offsets = {0};
  x.queries.clear();
  x.keys.clear();
  x.values.clear();
  if (c.bias_batch) x.bias.clear();
  const auto append = [](std::vector<double> &to, const std::vector<double> &part) { to.insert(to.end(), part.begin(), part.end()); };
  for (const size_t b : which) {
    append(x.queries, rows(c.queries, c.q_offsets[b], c.q_offsets[b + 1], c.heads * c.dqk));
    append(x.keys, rows(c.keys, c.k_offsets[b], c.k_offsets[b + 1], c.kv_heads * c.dqk));
    append(x.values, rows(c.values, c.k_offsets[b], c.k_offsets[b + 1], c.kv_heads * c.dv));
    if (c.bias_batch) {
      append(x.bias, rows(c.bias, static_cast<int64_t>(b), static_cast<int64_t>(b) + 1, c.heads * c.bias_rows * c.bias_keys));
    }
    x.q_offsets.push_back(x.q_offsets.back() + c.q_offsets[b + 1] - c.q_offsets[b]);
    x.k_offsets.push_back(x.k_offsets.back() + c.k_offsets[b + 1] - c.k_offsets[b]);
  }
  return x;
}

class SoftmaxAttention : public ::testing::TestWithParam<std::string> {
 protected:
  struct Outputs {
    jd_tensor out = 0, lse = 0;
    jd_status status = JD_OK;
    std::string message;
  };

  static jd_softmax_attention_desc describe(const SoftmaxAttentionCase &c, const Variant &s) {
    jd_softmax_attention_desc desc{};
    desc.struct_size = sizeof desc;
    desc.dtype = s.dtype;
    desc.out_dtype = s.out_dtype;
    desc.offset_dtype = s.offset_dtype;
    desc.num_heads = static_cast<int32_t>(c.heads);
    desc.num_kv_heads = static_cast<int32_t>(c.kv_heads);
    desc.head_dim_qk = static_cast<int32_t>(c.dqk);
    desc.head_dim_v = static_cast<int32_t>(c.dv);
    desc.scale = static_cast<float>(c.scale);
    desc.softcap = static_cast<float>(c.softcap);
    desc.mask = static_cast<int32_t>(c.mask.kind);
    desc.left = static_cast<int32_t>(c.mask.left);
    desc.right = static_cast<int32_t>(c.mask.right);
    desc.sink = static_cast<int32_t>(c.mask.sink);
    desc.prefix = static_cast<int32_t>(c.mask.prefix);
    desc.num_global = static_cast<int32_t>(c.mask.num_global);
    desc.bias = !c.alibi_slopes.empty() ? JD_BIAS_ALIBI : !c.t5_bias.empty() ? JD_BIAS_T5 : !c.bias.empty() ? JD_BIAS_DENSE : JD_BIAS_NONE;
    desc.t5_num_buckets = static_cast<int32_t>(c.t5_num_buckets);
    desc.t5_max_distance = static_cast<int32_t>(c.t5_max_distance);
    desc.t5_bidirectional = c.t5_bidirectional;
    desc.bounds = s.bounds;
    desc.max_batch = s.max_batch ? s.max_batch : std::max<int64_t>(static_cast<int64_t>(c.q_offsets.size()) - 1, 1);
    desc.max_queries = s.max_queries ? s.max_queries : longest(c.q_offsets);
    desc.max_keys = s.max_keys ? s.max_keys : longest(c.k_offsets);
    return desc;
  }

  // Whether the device has a kernel for the case.
  static bool available(Rig &rig, const SoftmaxAttentionCase &c, const Variant &s) {
    const jd_softmax_attention_desc desc = describe(c, s);
    Error error;
    jd_plan plan = 0;
    const jd_status status = jd_softmax_attention_plan(rig.device, &desc, &plan, &error);
    if (plan) rig.keep(plan);
    return rig.has_kernel(status, error);
  }

  static Outputs run(Rig &rig, const SoftmaxAttentionCase &c, const Variant &s) {
    const jd_softmax_attention_desc desc = describe(c, s);
    Error error;
    jd_plan plan = 0;
    rig.check(jd_softmax_attention_plan(rig.device, &desc, &plan, &error), error);
    rig.keep(plan);
    const int64_t nq = static_cast<int64_t>(c.queries.size()) / (c.heads * c.dqk);
    const int64_t nk = static_cast<int64_t>(c.keys.size()) / (c.kv_heads * c.dqk);
    jd_softmax_attention_args a{};
    a.struct_size = sizeof a;
    a.queries = rig.tensor(s.dtype, {nq, c.heads, c.dqk}, c.queries, s.padding);
    a.q_offsets = rig.integers(s.offset_dtype, c.q_offsets);
    a.keys = rig.tensor(s.dtype, {nk, c.kv_heads, c.dqk}, c.keys, s.padding);
    a.values = rig.tensor(s.dtype, {nk, c.kv_heads, c.dv}, c.values, s.padding);
    a.k_offsets = rig.integers(s.offset_dtype, c.k_offsets);
    if (!c.alibi_slopes.empty()) a.alibi_slopes = rig.tensor(JD_F32, {c.heads}, c.alibi_slopes);
    if (!c.t5_bias.empty()) a.t5_bias = rig.tensor(JD_F32, {c.t5_num_buckets, c.heads}, c.t5_bias, s.padding ? 3 : 0);
    if (!c.bias.empty()) {
      std::vector<int64_t> shape = {c.heads, c.bias_rows, c.bias_keys};
      if (c.bias_batch) shape.insert(shape.begin(), static_cast<int64_t>(c.q_offsets.size()) - 1);
      a.bias = rig.tensor(JD_F32, shape, c.bias, s.padding ? 5 : 0);
    }
    Outputs o;
    a.out = o.out = rig.poisoned(s.out_dtype ? s.out_dtype : s.dtype, {nq, c.heads, c.dv}, s.padding);
    if (s.lse) a.lse = o.lse = rig.poisoned(JD_F32, {nq, c.heads}, s.padding ? 3 : 0);
    o.status = jd_softmax_attention_run(plan, rig.stream, &a, &error);
    if (o.status == JD_OK) o.status = jd_stream_synchronize(rig.stream, &error);
    if (o.status != JD_OK) o.message = error.message;
    return o;
  }

  // Both outputs, as one.
  static std::vector<uint32_t> bits(Rig &rig, const SoftmaxAttentionCase &c, const Variant &s) {
    const Outputs o = run(rig, c, s);
    EXPECT_EQ(o.message, "");
    std::vector<uint32_t> all = rig.bits(o.out), lse = rig.bits(o.lse);
    all.insert(all.end(), lse.begin(), lse.end());
    return all;
  }

  // What a row's error is measured by: scores of random vectors, generously, and the biases that can lie near the largest.
  static double score_of(const SoftmaxAttentionCase &c) {
    double score = std::fabs(c.scale) * largest(c.queries) * largest(c.keys) * std::sqrt(static_cast<double>(c.dqk)) * 2;
    double bias = std::max(largest(c.t5_bias), std::min(largest(c.bias), 100.0));
    if (!c.alibi_slopes.empty()) {
      bias = largest(c.alibi_slopes) * static_cast<double>(std::max(longest(c.k_offsets), longest(c.q_offsets)));
    }
    return c.softcap > 0 ? std::min(score + bias, 4 * c.softcap) : score + bias;
  }

  static void compare(Rig &rig, const SoftmaxAttentionCase &c, const Variant &s, const std::string &what) {
    const Outputs o = run(rig, c, s);
    EXPECT_EQ(o.message, "") << what;
    const AttentionState expected = reference::softmax_attention(c);
    const double score = score_of(c), value = largest(c.values);
    const int32_t out_dtype = s.out_dtype ? s.out_dtype : s.dtype;
    const std::vector<double> out = rig.read(o.out);
    expect_near(out, expected.out, [&](size_t i) {
      return tolerance::softmax_attention(c.dqk, score, value, expected.out[i], s.dtype, out_dtype);
    }, what);
    bool gaps_intact = false;
    rig.bits(o.out, &gaps_intact);
    EXPECT_TRUE(gaps_intact) << what << ": wrote between the rows of out";
    if (!s.lse) return;
    std::vector<double> lse = rig.read(o.lse), expected_lse = expected.lse;
    for (size_t i = 0; i < lse.size(); ++i) {
      if (expected_lse[i] != -INFINITY || lse[i] != -INFINITY) continue;
      lse[i] = expected_lse[i] = 0;  // equal: their difference is not a number
      for (int64_t d = 0; d < c.dv; ++d) EXPECT_EQ(out[i * c.dv + d], 0.0) << what << ": a row that sees no key";
    }
    expect_near(lse, expected_lse, [&](size_t i) { return tolerance::log_sum_exp(c.dqk, score, expected_lse[i], s.dtype); }, what + ", lse");
    rig.bits(o.lse, &gaps_intact);
    EXPECT_TRUE(gaps_intact) << what << ": wrote between the rows of lse";
  }
};

TEST_P(SoftmaxAttention, every_dtype_and_pair_of_head_dims) {
  Rig rig(GetParam());
  int turn = 0;
  for (const int32_t dtype : {JD_F32, JD_F16, JD_BF16}) {
    for (const int64_t dim : {32, 64, 96, 128, 192, 256}) {
      for (const int64_t dim_v : {32, 64, 96, 128, 192, 256}) {
        if (!rig.fast() && dim != dim_v && ++turn % 5 != 0) continue;
        Variant s;
        s.dtype = dtype;
        s.out_dtype = (dim + dim_v) % 64 ? 0 : static_cast<int32_t>(JD_F32);
        s.padding = dim < dim_v ? 16 : 0;
        s.lse = dim != dim_v;
        const SoftmaxAttentionCase c = make(dim + dim_v, dtype, dim, 2, 1, {37, 5}, {70, 131}, causal(), dim_v);
        if (!available(rig, c, s)) continue;
        compare(rig, c, s, std::string(jd_dtype_name(dtype)) + ", " + std::to_string(dim) + " and " + std::to_string(dim_v));
      }
    }
  }
}

TEST_P(SoftmaxAttention, every_mask_with_sink_prefix_and_global_rows) {
  Rig rig(GetParam());
  const std::vector<int64_t> queries = {100, 30, 77, 1}, keys = {100, 141, 20, 65};
  int turn = 0;
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    for (const SoftmaxMaskParams &kind : {SoftmaxMaskParams{}, causal(), window(20, 0), window(0, 0), window(-1, 9), window(9, -1),
                                          window(70, 3), window(INT32_MAX, INT32_MAX)}) {
      for (const int64_t sink : {0, 3, 66}) {
        for (const int64_t prefix : {0, 5, 70}) {
          for (const int64_t global : {0, 2, 50}) {
            SoftmaxMaskParams mask = kind;
            mask.sink = sink;
            mask.prefix = prefix;
            mask.num_global = global;
            if (!rig.fast() && ++turn % 9 != 0) continue;
            const SoftmaxAttentionCase c = make(3, dtype, 32, 1, 1, queries, keys, mask);
            Variant s;
            s.dtype = dtype;
            if (!available(rig, c, s)) return;
            compare(rig, c, s, std::string(jd_dtype_name(dtype)) + ", " + name(mask));
          }
        }
      }
    }
  }
}

TEST_P(SoftmaxAttention, lengths_around_every_tile_and_block) {
  Rig rig(GetParam());
  int turn = 0;
  for (const int32_t dtype : {JD_F32, JD_F16, JD_BF16}) {
    for (const int64_t n : {1, 2, 3, 4, 7, 8, 9, 11, 12, 13, 15, 16, 17, 23, 24, 25, 31, 32, 33, 47, 48, 49, 63, 64, 65, 97, 127, 128, 129}) {
      for (const int64_t more : {0, 1, 66, -1}) {
        if (n + more < 1 || (!rig.fast() && ++turn % 4 != 0)) continue;
        for (const SoftmaxMaskParams &mask : {SoftmaxMaskParams{}, causal()}) {
          const SoftmaxAttentionCase c = make(n, dtype, 64, 1, 1, {n}, {n + more}, mask);
          Variant s;
          s.dtype = dtype;
          if (!available(rig, c, s)) return;
          compare(rig, c, s, std::to_string(n) + " queries, " + std::to_string(n + more) + " keys, " + name(mask));
        }
      }
    }
  }
}

TEST_P(SoftmaxAttention, softcap) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_F16, JD_BF16}) {
    for (const double cap : {0.25, 3.0, 50.0, 1e4}) {
      for (const double scale : {0.01, 0.4, -2.0}) {
        SoftmaxAttentionCase c = make(5, dtype, 64, 2, 1, {50}, {90}, causal());
        c.softcap = static_cast<float>(cap);
        c.scale = static_cast<float>(scale);
        Variant s;
        s.dtype = dtype;
        if (!available(rig, c, s)) return;
        compare(rig, c, s, "cap " + std::to_string(cap) + ", scale " + std::to_string(scale));
      }
    }
  }
}

TEST_P(SoftmaxAttention, alibi) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    for (const auto &[heads, kv_heads] : {std::pair<int64_t, int64_t>{4, 4}, {4, 1}}) {
      for (const SoftmaxMaskParams &mask : {SoftmaxMaskParams{}, causal(), window(30, 5)}) {
        SoftmaxAttentionCase c = make(6, dtype, 32, heads, kv_heads, {70, 3, 90}, {70, 100, 40}, mask);
        c.alibi_slopes = {0.5, 0.25, 0.0, -0.125};
        c.softcap = mask.kind == SoftmaxMaskKind::window ? 2 : 0;
        Variant s;
        s.dtype = dtype;
        if (!available(rig, c, s)) return;
        compare(rig, c, s, std::to_string(kv_heads) + " key heads, " + name(mask));
      }
    }
  }
}

TEST_P(SoftmaxAttention, t5_bias) {
  Rig rig(GetParam());
  struct Buckets {
    int64_t count, distance;
    bool bidirectional;
  };
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    for (const Buckets &b : {Buckets{32, 128, true}, {32, 128, false}, {4, 2, true}, {2, 2, false}, {33, 1000, false}, {320, 800, true}}) {
      for (const auto &[heads, kv_heads] : {std::pair<int64_t, int64_t>{2, 2}, {4, 1}}) {
        SoftmaxAttentionCase c = make(7, dtype, 32, heads, kv_heads, {130, 3, 60}, {130, 200, 9},
                                      b.bidirectional ? SoftmaxMaskParams{} : causal());
        Random random(8);
        c.t5_num_buckets = b.count;
        c.t5_max_distance = b.distance;
        c.t5_bidirectional = b.bidirectional;
        c.t5_bias = random.values(b.count * heads, JD_F32, 3);
        Variant s;
        s.dtype = dtype;
        s.padding = kv_heads == 1 ? 16 : 0;
        if (!available(rig, c, s)) return;
        compare(rig, c, s, std::to_string(b.count) + " buckets to " + std::to_string(b.distance));
      }
    }
  }
}

TEST_P(SoftmaxAttention, dense_bias) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    for (const auto &[heads, kv_heads] : {std::pair<int64_t, int64_t>{2, 2}, {4, 2}}) {
      for (const bool batch : {false, true}) {
        for (const SoftmaxMaskParams &mask : {SoftmaxMaskParams{}, causal()}) {
          SoftmaxAttentionCase c = make(9, dtype, 32, heads, kv_heads, {70, 3, 49}, {67, 130, 20}, mask);
          Random random(10);
          c.bias_batch = batch;
          c.bias_rows = 73;  // more than are asked
          c.bias_keys = 131;
          c.bias = random.values((batch ? 3 : 1) * heads * c.bias_rows * c.bias_keys, JD_F32, 3);
          for (double &x : c.bias) x = random.uniform(0, 1) < 0.2 ? -INFINITY : x;
          for (int64_t i = 0; i < c.bias_keys; ++i) c.bias[2 * c.bias_keys + i] = -INFINITY;  // all keys of a row
          for (int64_t i = 0; i < c.bias_keys; ++i) c.bias[1 * c.bias_keys + i] = -3e38f;     // and of another
          Variant s;
          s.dtype = dtype;
          s.padding = batch ? 16 : 0;
          if (!available(rig, c, s)) return;
          compare(rig, c, s, std::string(batch ? "of each sequence, " : "of all, ") + name(mask));
        }
      }
    }
  }
}

// -- a soft-cap of biased scores ---------------------------------------------------------------------------------------
// Biases of a case of sequences of 70, 3 and 49 queries, larger than the caps below: they cannot be taken for uncapped ones.
using AddBias = void (*)(SoftmaxAttentionCase &);
const std::pair<const char *, AddBias> kBiases[] = {
    {"alibi",
     [](SoftmaxAttentionCase &c) {
       c.alibi_slopes = {0.5, 0.0625, 0.0, -0.125};
       c.alibi_slopes.resize(static_cast<size_t>(c.heads));
     }},
    {"t5, bidirectional",
     [](SoftmaxAttentionCase &c) {
       c.t5_num_buckets = 32;
       c.t5_max_distance = 100;
       c.t5_bidirectional = true;
       c.t5_bias = Random(31).values(32 * c.heads, JD_F32, 5);
     }},
    {"t5",
     [](SoftmaxAttentionCase &c) {
       c.t5_num_buckets = 20;
       c.t5_max_distance = 60;
       c.t5_bias = Random(32).values(20 * c.heads, JD_F32, 5);
     }},
    {"dense",  // Key 7 has a bias so low that it is capped, and counts; some are hidden, by row 2 all.
     [](SoftmaxAttentionCase &c) {
       c.bias_batch = c.heads == 2;
       c.bias_rows = 71;
       c.bias_keys = 131;
       Random random(33);
       c.bias = random.values((c.bias_batch ? 3 : 1) * c.heads * c.bias_rows * c.bias_keys, JD_F32, 5);
       for (size_t i = 0; i < c.bias.size(); ++i) {
         const int64_t key = static_cast<int64_t>(i) % c.bias_keys, row = static_cast<int64_t>(i) / c.bias_keys % c.bias_rows;
         if (random.uniform(0, 1) < 0.2) c.bias[i] = random.uniform(0, 1) < 0.5 ? -INFINITY : -3e38f;
         if (key == 7) c.bias[i] = row % 2 ? -1e29f : -1e4f;
         if (row == 2) c.bias[i] = -INFINITY;
       }
     }},
};

TEST_P(SoftmaxAttention, a_soft_cap_bounds_the_score_with_every_bias) {
  Rig rig(GetParam());
  int turn = 0;
  for (const int32_t dtype : {JD_F32, JD_F16, JD_BF16}) {
    for (const auto &[bias, add] : kBiases) {
      for (const double cap : {0.25, 2.0, 30.0}) {
        for (const auto &[heads, kv_heads] : {std::pair<int64_t, int64_t>{2, 2}, {4, 1}}) {
          for (const SoftmaxMaskParams &mask : {SoftmaxMaskParams{}, causal(), window(30, 5)}) {
            if (!rig.fast() && ++turn % 4 != 0) continue;
            SoftmaxAttentionCase c = make(30, dtype, 32, heads, kv_heads, {70, 3, 49}, {67, 130, 20}, mask);
            add(c);
            c.softcap = static_cast<float>(cap);
            Variant s;
            s.dtype = dtype;
            s.padding = heads == 2 ? 16 : 0;
            if (!available(rig, c, s)) return;
            compare(rig, c, s, std::string(jd_dtype_name(dtype)) + ", " + bias + ", cap " + std::to_string(cap) + ", " +
                                   std::to_string(kv_heads) + " key heads, " + name(mask));
          }
        }
      }
    }
  }
}

// A mask added as -infinity, or as the lowest finite number (what torch.finfo(dtype).min is for): a row of which it hides every key gives zeros.
TEST_P(SoftmaxAttention, a_row_whose_keys_a_bias_hides_sees_none) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    for (const double lowest : {-3.4028234663852886e38, -1e38, -2e30, -static_cast<double>(INFINITY)}) {
      SoftmaxAttentionCase c = make(37, dtype, 32, 2, 1, {9, 20}, {1, 90});
      c.bias_rows = 20;
      c.bias_keys = 90;
      c.bias = Random(38).values(2 * 20 * 90, JD_F32, 3);
      for (size_t i = 0; i < c.bias.size(); ++i) {
        if (i / 90 % 3 == 1 || i % 7 == 0) c.bias[i] = lowest;
      }
      Variant s;
      s.dtype = dtype;
      if (!available(rig, c, s)) return;
      compare(rig, c, s, std::string(jd_dtype_name(dtype)) + ", hidden by " + std::to_string(lowest));
    }
  }
}

TEST_P(SoftmaxAttention, a_bias_of_zeros_under_a_soft_cap_changes_no_bit) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    SoftmaxAttentionCase c = make(34, dtype, 32, 2, 1, {70, 3, 49}, {67, 130, 20}, window(40, 0));
    c.softcap = 1.5;
    Variant s;
    s.dtype = dtype;
    if (!available(rig, c, s)) return;
    const std::vector<uint32_t> without = bits(rig, c, s);
    for (const auto &[bias, add] : kBiases) {
      SoftmaxAttentionCase zeros = c;
      add(zeros);
      for (std::vector<double> *numbers : {&zeros.alibi_slopes, &zeros.t5_bias, &zeros.bias}) {
        std::fill(numbers->begin(), numbers->end(), 0.0);
      }
      EXPECT_EQ(bits(rig, zeros, s), without) << bias << ", " << jd_dtype_name(dtype);
    }
  }
}

// What is not a number shows in its rows, whether there is a cap or not, and also where the bias hides the key.
TEST_P(SoftmaxAttention, a_soft_cap_keeps_nan) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    for (const double cap : {0.0, 2.0}) {
      SoftmaxAttentionCase c = make(35, dtype, 32, 1, 1, {20}, {90});
      c.softcap = cap;
      c.bias_rows = 20;
      c.bias_keys = 90;
      c.bias = Random(36).values(20 * 90, JD_F32, 3);
      Variant s;
      s.dtype = dtype;
      if (!available(rig, c, s)) return;
      const auto expect_nan = [&](const SoftmaxAttentionCase &x, const std::function<bool(int64_t)> &in_row, const std::string &what) {
        const Outputs o = run(rig, x, s);
        const std::vector<double> out = rig.read(o.out), lse = rig.read(o.lse);
        for (int64_t i = 0; i < 20; ++i) {
          for (int64_t d = 0; d < 32; ++d) EXPECT_EQ(std::isnan(out[i * 32 + d]), in_row(i)) << what << ", row " << i << ", cap " << cap;
          EXPECT_EQ(std::isnan(lse[i]), in_row(i)) << what << ", lse " << i << ", cap " << cap;
        }
      };
      SoftmaxAttentionCase x = c;
      x.queries[3 * 32 + 5] = NAN;
      expect_nan(x, [](int64_t i) { return i == 3; }, "a query");
      x = c;
      x.bias[4 * 90 + 70] = NAN;
      expect_nan(x, [](int64_t i) { return i == 4; }, "a bias");
      x = c;
      x.keys[70 * 32 + 1] = NAN;
      for (int64_t i = 0; i < 20; i += 2) x.bias[i * 90 + 70] = -INFINITY;
      expect_nan(x, [](int64_t) { return true; }, "a key");
    }
  }
}

TEST_P(SoftmaxAttention, one_bias_of_all_heads_by_stride_0) {
  Rig rig(GetParam());
  SoftmaxAttentionCase c = make(11, JD_F32, 32, 2, 2, {20}, {30});
  Random random(12);
  const std::vector<double> matrix = random.values(20 * 30, JD_F32, 3);
  c.bias_rows = 20;
  c.bias_keys = 30;
  for (int h = 0; h < 2; ++h) c.bias.insert(c.bias.end(), matrix.begin(), matrix.end());
  if (!available(rig, c, {})) return;
  const jd_softmax_attention_desc desc = describe(c, {});
  Error error;
  jd_plan plan = 0;
  rig.check(jd_softmax_attention_plan(rig.device, &desc, &plan, &error), error);
  rig.keep(plan);
  jd_softmax_attention_args a{};
  a.struct_size = sizeof a;
  a.queries = rig.tensor(JD_F32, {20, 2, 32}, c.queries);
  a.q_offsets = rig.integers(JD_I64, c.q_offsets);
  a.keys = rig.tensor(JD_F32, {30, 2, 32}, c.keys);
  a.values = rig.tensor(JD_F32, {30, 2, 32}, c.values);
  a.k_offsets = rig.integers(JD_I64, c.k_offsets);
  a.bias = rig.view(rig.tensor(JD_F32, {20, 30}, matrix), {2, 20, 30}, {0, 30, 1});
  a.out = rig.poisoned(JD_F32, {20, 2, 32});
  rig.check(jd_softmax_attention_run(plan, rig.stream, &a, &error), error);
  rig.check(jd_stream_synchronize(rig.stream, &error), error);
  EXPECT_EQ(rig.bits(a.out), rig.bits(run(rig, c, {}).out));
}

TEST_P(SoftmaxAttention, groups_of_heads) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    for (const auto &[heads, kv_heads] : {std::pair<int64_t, int64_t>{6, 3}, {5, 1}, {17, 1}, {32, 2}}) {
      for (const SoftmaxMaskParams &mask : {causal(), window(7, 2)}) {
        const SoftmaxAttentionCase c = make(13, dtype, 32, heads, kv_heads, {1, 9, 50, 16}, {70, 40, 60, 2}, mask);
        Variant s;
        s.dtype = dtype;
        if (!available(rig, c, s)) return;
        compare(rig, c, s, std::to_string(heads) + " over " + std::to_string(kv_heads) + ", " + name(mask));
      }
    }
  }
}

TEST_P(SoftmaxAttention, offsets_of_both_widths_and_strided_tensors) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_F16, JD_BF16}) {
    for (const int32_t offset_dtype : {JD_I32, JD_I64}) {
      const SoftmaxAttentionCase c = make(14, dtype, 64, 3, 3, {18, 4, 0, 9}, {75, 20, 3, 0}, causal(), 32);
      Variant s;
      s.dtype = dtype;
      s.offset_dtype = offset_dtype;
      s.padding = 16;
      if (!available(rig, c, s)) return;
      compare(rig, c, s, jd_dtype_name(offset_dtype));
    }
  }
}

TEST_P(SoftmaxAttention, empty_sequences_and_batches) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    Variant s;
    s.dtype = dtype;
    if (!available(rig, make(15, dtype, 32, 2, 2, {1}, {1}), s)) return;
    for (const SoftmaxMaskParams &mask : {SoftmaxMaskParams{}, causal()}) {
      compare(rig, make(15, dtype, 32, 2, 2, {4, 0, 3, 2, 0}, {0, 9, 0, 5, 0}, mask), s, "some empty");
      compare(rig, make(15, dtype, 32, 2, 2, {3}, {0}, mask), s, "no key");
      compare(rig, make(15, dtype, 32, 2, 2, {0}, {3}, mask), s, "no query");
      compare(rig, make(15, dtype, 32, 2, 2, {}, {}, mask), s, "no sequence");
    }
  }
}

TEST_P(SoftmaxAttention, rows_before_the_first_key_see_nothing) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_F16, JD_BF16}) {
    const SoftmaxAttentionCase c = make(16, dtype, 32, 2, 1, {80}, {30}, causal());
    Variant s;
    s.dtype = dtype;
    if (!available(rig, c, s)) return;
    const Outputs o = run(rig, c, s);
    const std::vector<double> out = rig.read(o.out), lse = rig.read(o.lse);
    for (int64_t i = 0; i < 50 * 2 * 32; ++i) EXPECT_EQ(out[i], 0.0) << i;
    for (int64_t i = 0; i < 80 * 2; ++i) EXPECT_EQ(lse[i] == -INFINITY, i < 50 * 2) << i;
  }
}

TEST_P(SoftmaxAttention, scores_far_apart_and_all_equal) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    Variant s;
    s.dtype = dtype;
    SoftmaxAttentionCase c = make(17, dtype, 32, 1, 1, {20}, {150}, causal());
    if (!available(rig, c, s)) return;
    for (const double scale : {0.0, 1e-6, -0.5, 3.0, 40.0}) {
      c.scale = static_cast<float>(scale);
      compare(rig, c, s, "scale " + std::to_string(scale));
    }
    c.scale = 1;
    for (double &x : c.keys) x = 0.25;
    compare(rig, c, s, "equal keys");
  }
}

TEST_P(SoftmaxAttention, scores_that_rise_and_fall_along_the_keys) {
  Rig rig(GetParam());
  for (const double slope : {0.05, -0.05}) {
    SoftmaxAttentionCase c = make(18, JD_F32, 32, 1, 1, {60}, {200}, causal());
    if (!available(rig, c, {})) return;
    for (int64_t j = 0; j < 200; ++j) {
      for (int64_t d = 0; d < 32; ++d) c.keys[static_cast<size_t>(j * 32 + d)] = rounded(slope * static_cast<double>(j), JD_F32);
    }
    for (double &x : c.queries) x = std::fabs(x);
    compare(rig, c, {}, "slope " + std::to_string(slope));
  }
}

// A window of few keys over a long sequence; few rows over many keys.
TEST_P(SoftmaxAttention, one_sequence_of_10007) {
  Rig rig(GetParam());
  const int64_t n = rig.scaled(10007, 601);
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    Variant s;
    s.dtype = dtype;
    SoftmaxMaskParams mask = window(40, 0);
    mask.sink = 4;
    const SoftmaxAttentionCase narrow = make(19, dtype, 32, 1, 1, {n}, {n}, mask), few = make(20, dtype, 64, 2, 1, {5}, {n}, causal());
    if (!available(rig, few, s)) return;
    compare(rig, few, s, "few rows");
    if (rig.fast()) compare(rig, narrow, s, "a window");
  }
}

TEST_P(SoftmaxAttention, lengths_around_a_piece_of_keys) {
  Rig one(GetParam(), 1), three(GetParam(), 3);
  for (const int64_t n : {2047, 2048, 2049, 4097}) {
    if (!one.fast() && n != 2049) continue;
    for (const SoftmaxMaskParams &mask : {causal(), window(1000, 5)}) {
      const SoftmaxAttentionCase c = make(21, JD_F32, 32, 2, 1, {3, 1}, {n, 7}, mask);
      if (!available(one, c, {})) return;
      compare(three, c, {}, std::to_string(n) + " keys, " + name(mask));
      if (!one.fast()) continue;
      EXPECT_EQ(bits(one, c, {}), bits(three, c, {})) << n;
    }
  }
}

TEST_P(SoftmaxAttention, a_row_ignores_the_keys_it_does_not_see) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    SoftmaxAttentionCase c = make(22, dtype, 64, 2, 1, {100}, {120}, window(15, 0));
    Variant s;
    s.dtype = dtype;
    if (!available(rig, c, s)) return;
    const std::vector<uint32_t> before = rig.bits(run(rig, c, s).out);
    for (int64_t j = 50; j < 60; ++j) {  // seen by rows at positions 50..74
      for (int64_t d = 0; d < 64; ++d) c.keys[j * 64 + d] = c.values[j * 64 + d] = 1.5;
    }
    const std::vector<uint32_t> after = rig.bits(run(rig, c, s).out);
    for (int64_t i = 0; i < 100; ++i) {
      const bool same = std::equal(before.begin() + i * 128, before.begin() + (i + 1) * 128, after.begin() + i * 128);
      EXPECT_EQ(same, i + 20 < 50 || i + 20 > 74) << i;
    }
  }
}

// Neither on the batch, nor its order, nor on what the plan declared, nor on threads.
TEST_P(SoftmaxAttention, bits_depend_on_the_sequence_alone) {
  Rig rig(GetParam(), 2), one(GetParam(), 1), seven(GetParam(), 7);
  for (const int32_t dtype : {JD_F32, JD_F16, JD_BF16}) {
    for (int bias = 0; bias < 4; ++bias) {
      if (!rig.fast() && bias != static_cast<int>(dtype) % 4) continue;
      const std::vector<int64_t> queries = {50, 1, 130, 0, 3}, keys = {90, 200, 130, 10, bias == 3 ? 140 : rig.scaled(5000, 140)};
      SoftmaxAttentionCase c = make(23, dtype, 32, 2, 1, queries, keys, window(100, 0));
      c.mask.sink = 2;
      Random random(24);
      if (bias == 1) c.alibi_slopes = {0.5, 0.03125};
      if (bias == 2) {
        c.t5_num_buckets = 32;
        c.t5_max_distance = 128;
        c.t5_bias = random.values(64, JD_F32);
      }
      if (bias == 3) {
        c.bias_batch = true;
        c.bias_rows = 130;
        c.bias_keys = longest(c.k_offsets);
        c.bias = random.values(5 * 2 * c.bias_rows * c.bias_keys, JD_F32);
      }
      Variant s;
      s.dtype = dtype;
      if (!available(rig, c, s)) return;
      const std::vector<uint32_t> together = bits(rig, c, s);
      EXPECT_EQ(bits(one, c, s), together) << "one thread";
      EXPECT_EQ(bits(seven, c, s), together) << "seven threads";
      const int64_t out = c.q_offsets.back() * 2 * c.dv;
      const auto check = [&](const std::vector<uint32_t> &got, const std::vector<size_t> &which, const std::string &what) {
        std::vector<uint32_t> expected;
        for (const size_t b : which) {
          const auto part = rows(together, c.q_offsets[b], c.q_offsets[b + 1], 2 * c.dv);
          expected.insert(expected.end(), part.begin(), part.end());
        }
        for (const size_t b : which) {
          expected.insert(expected.end(), together.begin() + out + c.q_offsets[b] * 2, together.begin() + out + c.q_offsets[b + 1] * 2);
        }
        EXPECT_EQ(got, expected) << what << ", " << jd_dtype_name(dtype) << ", bias " << bias;
      };
      check(bits(rig, select(c, {4, 2, 0, 3, 1}), s), {4, 2, 0, 3, 1}, "permuted");
      check(bits(rig, select(c, {0, 1}), s), {0, 1}, "a part of the batch");
      check(bits(rig, select(c, {2, 3, 4}), s), {2, 3, 4}, "the other part");
      Variant declared = s;
      declared.max_batch = 100;
      declared.max_queries = 1000;
      declared.max_keys = 100000;
      for (size_t b = 0; b < queries.size(); ++b) check(bits(seven, select(c, {b}), declared), {b}, "alone");
    }
  }
}

// The last rows alone have the bits that the whole sequence gives them: row i keeps its position.
TEST_P(SoftmaxAttention, the_last_rows_alone_have_the_same_bits) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    const SoftmaxAttentionCase c = make(25, dtype, 64, 2, 1, {150}, {150}, causal());
    Variant s;
    s.dtype = dtype;
    if (!available(rig, c, s)) return;
    const std::vector<uint32_t> whole = rig.bits(run(rig, c, s).out);
    for (const int64_t last : {1, 5, 64, 149}) {
      SoftmaxAttentionCase part = c;
      part.queries = rows(c.queries, 150 - last, 150, 128);
      part.q_offsets = {0, last};
      EXPECT_EQ(rig.bits(run(rig, part, s).out), rows(whole, 150 - last, 150, 128)) << last;
    }
  }
}

TEST_P(SoftmaxAttention, global_rows_lead_queries_and_keys) {
  Rig rig(GetParam());
  SoftmaxMaskParams mask = causal();
  mask.num_global = 6;
  for (const int32_t dtype : {JD_F32, JD_BF16}) {  // LONGER: 6 globals, the last 40 rows of a history of 130
    const SoftmaxAttentionCase c = make(26, dtype, 64, 2, 2, {46}, {136}, mask);
    Variant s;
    s.dtype = dtype;
    if (!available(rig, c, s)) return;
    compare(rig, c, s, jd_dtype_name(dtype));
  }
}

TEST_P(SoftmaxAttention, refused_offsets) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    const SoftmaxAttentionCase good = make(27, dtype, 32, 2, 1, {20, 30, 10}, {40, 50, 60}, causal());
    Variant s;
    s.dtype = dtype;
    s.max_queries = 30;
    s.max_keys = 60;
    if (!available(rig, good, s)) return;
    const bool on_host = std::strcmp(rig.info.backend, "cpu") == 0;
    // Sequence 1 is refused; 0 and 2 are computed where the host does not see the offsets.
    const auto refused = [&](const SoftmaxAttentionCase &bad, Variant with, const std::vector<std::string> &parts) {
      const Outputs strict = run(rig, bad, with);
      EXPECT_EQ(strict.status, on_host ? JD_INVALID_ARGUMENT : JD_OUT_OF_BOUNDS);
      for (const std::string &part : parts) EXPECT_NE(strict.message.find(part), std::string::npos) << strict.message;
      if (on_host) return;
      Variant generous = with;
      generous.max_queries = generous.max_keys = 100;
      const std::vector<uint32_t> expected = rig.bits(run(rig, bad, generous).out);
      with.bounds = JD_BOUNDS_ZERO;
      const Outputs zero = run(rig, bad, with);
      EXPECT_EQ(zero.message, "");
      int64_t skipped = 0;
      Error error;
      jd_stream_take_skipped(rig.stream, &skipped, &error);
      EXPECT_EQ(skipped, 1);
      for (const Outputs &o : {strict, zero}) {
        const std::vector<uint32_t> bits = rig.bits(o.out);
        EXPECT_EQ(rows(bits, 0, 20, 64), rows(expected, 0, 20, 64));
        EXPECT_EQ(rows(bits, 50, 60, 64), rows(expected, 50, 60, 64));
      }
    };
    Variant shorter = s;
    shorter.max_queries = 29;
    refused(good, shorter, {"softmax_attention: argument 'q_offsets'", "at most 29", "got 30 in sequence 1"});
    SoftmaxAttentionCase bad = make(28, dtype, 32, 2, 1, {20, 30, 10}, {40, 70, 60}, causal());
    refused(bad, s, {"softmax_attention: argument 'k_offsets'", "at most 60", "got 70 in sequence 1"});
    if (!on_host) continue;  // which sequences a broken order takes with it is the kernel's choice
    bad = good;
    bad.k_offsets = {0, 40, 30, 150};
    refused(bad, s, {"argument 'k_offsets'", "non-decreasing"});
    bad.k_offsets = {0, 40, 90, 151};
    refused(bad, s, {"argument 'k_offsets'", "at most 150"});
  }
}

// A refused sequence has rows too, so that tensors may have more of them than a plan's sequences can have together: whatever keeps partial results of
// the others' pieces must not go by them. (On the cpu the host refuses such offsets.)
TEST_P(SoftmaxAttention, many_rows_of_refused_sequences) {
  if (GetParam() == "cpu") return;
  Rig rig(GetParam(), 2);
  for (const int64_t refused : {100, 1000}) {
    for (const size_t good : {0, 1}) {
      std::vector<int64_t> queries = {refused, refused}, keys = {3, 3};
      queries[good] = 4;
      keys[good] = 530;
      const SoftmaxAttentionCase c = make(29, JD_F32, 32, 1, 1, queries, keys);
      Variant s;
      s.bounds = JD_BOUNDS_ZERO;
      s.max_queries = 4;
      const Outputs together = run(rig, c, s);
      EXPECT_EQ(together.message, "");
      const int64_t first = c.q_offsets[good];
      EXPECT_EQ(rows(rig.bits(together.out), first, first + 4, 32), rig.bits(run(rig, select(c, {good}), s).out)) << refused << ", " << good;
      int64_t skipped = 0;
      Error error;
      jd_stream_take_skipped(rig.stream, &skipped, &error);
      EXPECT_EQ(skipped, 1);
    }
  }
}

JD_INSTANTIATE_ON_DEVICES(SoftmaxAttention);

}  // namespace
}  // namespace jindou::testing
