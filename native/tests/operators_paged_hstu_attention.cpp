// hstu_attention over a paged cache: the bits of the run without pages, or, for quantised pages, the float64 reference of what
// the pages stand for.
#include "paged_support.h"
#include "reference/hstu_attention.h"

namespace jindou::testing {
namespace {

using reference::HstuAttentionCase;

struct Problem {
  HstuAttentionCase c;  // all rows of each sequence
  std::vector<int64_t> lengths, asked;
  int32_t dtype = JD_F32;
};

// dim_v: 0 = dim.
Problem make(uint64_t seed, int32_t dtype, int64_t dim, int64_t heads, const std::vector<int64_t> &lengths,
             const std::vector<int64_t> &asked, int64_t dim_v = 0) {
  Random random(seed);
  Problem p;
  p.dtype = dtype;
  p.lengths = lengths;
  p.asked = asked;
  HstuAttentionCase &c = p.c;
  c.heads = heads;
  c.dqk = dim;
  c.dv = dim_v ? dim_v : dim;
  c.alpha = static_cast<float>(1.0 / std::sqrt(static_cast<double>(dim)));
  c.scaling_seqlen = 50;
  c.offsets = offsets_of(lengths);
  c.q_offsets = offsets_of(asked);
  c.queries = random.values(c.q_offsets.back() * heads * dim, dtype, 2);
  c.keys = random.values(c.offsets.back() * heads * dim, dtype, 2);
  c.values = random.values(c.offsets.back() * heads * c.dv, dtype);
  return p;
}

void add_biases(Problem &p, bool position, bool time, bool per_head) {
  Random random(77);
  HstuAttentionCase &c = p.c;
  const int64_t longest = *std::max_element(p.lengths.begin(), p.lengths.end()), sets = per_head ? c.heads : 1;
  c.bias_per_head = per_head;
  if (position) c.position_bias = random.values(sets * (2 * (longest + 3) - 1), JD_F32, 2);
  if (!time) return;
  c.time_bias = random.values(sets * 41, JD_F32, 2);
  int64_t now = 1'700'000'000;
  for (int64_t i = 0; i < c.offsets.back(); ++i) {
    now += static_cast<int64_t>(std::exp(random.uniform(0, 18)));
    c.timestamps.push_back(now);
  }
}

class PagedHstuAttention : public ::testing::TestWithParam<std::string> {
 protected:
  static jd_hstu_attention_desc describe(const Problem &p, int32_t bounds) {
    const HstuAttentionCase &c = p.c;
    jd_hstu_attention_desc desc{};
    desc.struct_size = sizeof desc;
    desc.dtype = p.dtype;
    desc.out_dtype = JD_F32;
    desc.offset_dtype = JD_I64;
    desc.num_heads = static_cast<int32_t>(c.heads);
    desc.head_dim_qk = static_cast<int32_t>(c.dqk);
    desc.head_dim_v = static_cast<int32_t>(c.dv);
    desc.alpha = static_cast<float>(c.alpha);
    desc.scaling_seqlen = static_cast<float>(c.scaling_seqlen);
    desc.causal = c.mask.causal;
    desc.contextual_seq_len = static_cast<int32_t>(c.mask.contextual_seq_len);
    desc.max_attn_len = static_cast<int32_t>(c.mask.max_attn_len);
    desc.min_full_attn_seq_len = static_cast<int32_t>(c.mask.min_full_attn_seq_len);
    desc.bounds = bounds;
    desc.max_batch = std::max<int64_t>(static_cast<int64_t>(p.lengths.size()), 1);
    desc.max_seq_len = std::max<int64_t>(1, p.lengths.empty() ? 1 : *std::max_element(p.lengths.begin(), p.lengths.end()));
    return desc;
  }
  // Whether the device has a kernel for the problem's dtype and head dims.
  static bool available(Rig &rig, const Problem &p) {
    const jd_hstu_attention_desc desc = describe(p, JD_BOUNDS_STRICT);
    Error error;
    jd_plan made = 0;
    const jd_status status = jd_hstu_attention_plan(rig.device, &desc, &made, &error);
    if (made) rig.keep(made);
    return rig.has_kernel(status, error);
  }
  jd_plan plan(Rig &rig, const Problem &p, int32_t bounds = JD_BOUNDS_STRICT) {
    const jd_hstu_attention_desc desc = describe(p, bounds);
    Error error;
    jd_plan made = 0;
    rig.check(jd_hstu_attention_plan(rig.device, &desc, &made, &error), error);
    return rig.keep(made);
  }

  // All but keys and values.
  jd_hstu_attention_args args(Rig &rig, const Problem &p, bool in_pages) {
    const HstuAttentionCase &c = p.c;
    jd_hstu_attention_args a{};
    a.struct_size = sizeof a;
    a.queries = rig.tensor(p.dtype, {c.q_offsets.back(), c.heads, c.dqk}, c.queries, 16);
    a.q_offsets = rig.integers(JD_I64, c.q_offsets);
    if (!c.num_targets.empty()) a.num_targets = rig.integers(JD_I32, c.num_targets);
    if (!c.attn_scale.empty()) a.attn_scale = rig.tensor(JD_F32, {c.q_offsets.back()}, c.attn_scale);
    const auto bias = [&](const std::vector<double> &b) {
      const auto count = static_cast<int64_t>(b.size());
      return rig.tensor(JD_F32, c.bias_per_head ? std::vector<int64_t>{c.heads, count / c.heads} : std::vector<int64_t>{count}, b);
    };
    if (!c.position_bias.empty()) a.position_bias = bias(c.position_bias);
    if (!c.time_bias.empty()) {
      a.time_bias = bias(c.time_bias);
      a.timestamps = in_pages ? timestamps_by_sequence(rig, p) : rig.integers(JD_I64, c.timestamps);
    }
    a.out = rig.poisoned(JD_F32, {c.q_offsets.back(), c.heads, c.dv}, 8);
    return a;
  }
  static jd_tensor timestamps_by_sequence(Rig &rig, const Problem &p) {
    const int64_t batch = static_cast<int64_t>(p.lengths.size());
    const int64_t width = *std::max_element(p.lengths.begin(), p.lengths.end()) + 2;
    std::vector<double> all(static_cast<size_t>(batch * width), -1.0);
    for (int64_t b = 0; b < batch; ++b) {
      for (int64_t i = 0; i < p.lengths[b]; ++i) all[b * width + i] = static_cast<double>(p.c.timestamps[p.c.offsets[b] + i]);
    }
    return rig.tensor(JD_I64, {batch, width}, all, 3);
  }
  jd_tensor run(Rig &rig, jd_plan plan, const jd_hstu_attention_args &a) {
    Error error;
    rig.check(jd_hstu_attention_run(plan, rig.stream, &a, &error), error);
    rig.check(jd_stream_synchronize(rig.stream, &error), error);
    return a.out;
  }
  static void use(jd_hstu_attention_args &a, PagedStore &store) {
    const jd_paged_cache_args pages = store.args();
    a.key_pages = pages.key_pages;
    a.value_pages = pages.value_pages;
    a.page_table = pages.page_table;
    a.seq_lens = pages.seq_lens;
    a.key_scales = pages.key_scales;
    a.value_scales = pages.value_scales;
  }
  static PagedShape shape(const Problem &p, int32_t cache_dtype, int64_t page_size) {
    PagedShape s;
    s.cache_dtype = cache_dtype;
    s.page_size = page_size;
    s.heads = p.c.heads;
    s.dim_k = p.c.dqk;
    s.dim_v = p.c.dv;
    s.batch = static_cast<int64_t>(p.lengths.size());
    s.max_pages = 1;
    for (const int64_t n : p.lengths) s.max_pages = std::max(s.max_pages, (n + page_size - 1) / page_size);
    s.padding = 16;
    return s;
  }

  // Without quantising: bit by bit what the run over rows gives.
  void expect_same_bits(Rig &rig, const Problem &p, int64_t page_size, const std::string &what) {
    const jd_plan made = plan(rig, p);
    jd_hstu_attention_args plain = args(rig, p, false);
    plain.keys = rig.tensor(p.dtype, {p.c.offsets.back(), p.c.heads, p.c.dqk}, p.c.keys);
    plain.values = rig.tensor(p.dtype, {p.c.offsets.back(), p.c.heads, p.c.dv}, p.c.values);
    plain.offsets = rig.integers(JD_I64, p.c.offsets);
    PagedStore store(rig, shape(p, p.dtype, page_size), 5);
    store.append(p.dtype, p.lengths, p.c.keys, p.c.values);
    jd_hstu_attention_args in_pages = args(rig, p, true);
    use(in_pages, store);
    EXPECT_EQ(rig.bits(run(rig, made, in_pages)), rig.bits(run(rig, made, plain))) << what;
    bool gaps_intact = false;
    rig.bits(in_pages.out, &gaps_intact);
    EXPECT_TRUE(gaps_intact) << what;
  }

  void expect_near_reference(Rig &rig, const Problem &p, int32_t cache_dtype, int64_t page_size, const std::string &what) {
    PagedShape s = shape(p, cache_dtype, page_size);
    s.scale_a_page = page_size == 16;
    PagedStore store(rig, s, 6);
    store.append(p.dtype, p.lengths, p.c.keys, p.c.values);
    jd_hstu_attention_args a = args(rig, p, true);
    use(a, store);
    HstuAttentionCase c = p.c;
    const std::vector<int64_t> zeros(p.lengths.size(), 0);
    c.keys = store.as_kept(c.keys, c.dqk, store.key_scale, p.lengths, zeros);
    c.values = store.as_kept(c.values, c.dv, store.value_scale, p.lengths, zeros);
    const reference::HstuAttentionResult expected = reference::hstu_attention(c);
    const int64_t longest = *std::max_element(p.lengths.begin(), p.lengths.end());
    const double score = std::fabs(c.alpha) * 4 * std::sqrt(static_cast<double>(c.dqk)) * 2 + 4;
    expect_near(rig.read(run(rig, plan(rig, p), a)), expected.out, [&](size_t i) {
      return tolerance::hstu_attention(longest, c.dqk, score, expected.terms[i] + 1 / c.scaling_seqlen, expected.out[i], p.dtype,
                                       JD_F32);
    }, what);
  }
};

TEST_P(PagedHstuAttention, bits_of_the_run_without_pages) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    for (const int64_t dim : {32, 64, 96, 128}) {
      for (const int64_t page_size : {16, 32, 64, 128}) {
        if (!rig.fast() && dim != 64 && page_size != dim) continue;
        Problem p = make(static_cast<uint64_t>(dim), dtype, dim, 2, {150, 1, 0, 64, 97}, {20, 1, 0, 64, 33});
        p.c.num_targets = {11, 0, 0, 64, 3};
        expect_same_bits(rig, p, page_size, std::string(jd_dtype_name(dtype)) + ", dim " + std::to_string(dim) + ", pages of " +
                                                std::to_string(page_size));
      }
    }
  }
}

TEST_P(PagedHstuAttention, other_head_dims_and_f16) {
  Rig rig(GetParam());
  struct Dims {
    int64_t qk, v;
  };
  for (const int32_t dtype : {JD_F32, JD_F16, JD_BF16}) {
    for (const Dims d : {Dims{64, 64}, {192, 192}, {256, 256}, {32, 256}, {256, 32}, {96, 64}, {128, 192}}) {
      Problem p = make(static_cast<uint64_t>(d.qk), dtype, d.qk, 2, {150, 1, 0, 64}, {20, 1, 0, 64}, d.v);
      p.c.num_targets = {11, 0, 0, 20};
      if (!available(rig, p)) continue;
      const std::string what =
          std::string(jd_dtype_name(dtype)) + ", dims " + std::to_string(d.qk) + " and " + std::to_string(d.v);
      expect_same_bits(rig, p, d.qk < d.v ? 16 : 64, what);
      add_biases(p, true, true, true);
      for (const int32_t cache : {JD_F8_E4M3, JD_I8}) {
        if (!rig.fast() && (cache == JD_I8) == (d.qk > d.v)) continue;
        expect_near_reference(rig, p, cache, d.qk < d.v ? 128 : 16, what + " over " + jd_dtype_name(cache));
      }
    }
  }
}

TEST_P(PagedHstuAttention, every_mask_and_bias_has_the_bits_of_the_run_without_pages) {
  Rig rig(GetParam());
  int turn = 0;
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    for (const bool causal : {true, false}) {
      for (const int64_t contexts : {0, 5}) {
        for (const int64_t window : {0, 9, 64}) {
          for (const int biases : {0, 1, 2, 3}) {
            for (const bool targets : {false, true}) {
              if (!rig.fast() && ++turn % 3 != 0) continue;
              Problem p = make(3, dtype, dtype == JD_BF16 ? 64 : 32, 2, {130, 64, 7, 200}, {40, 3, 7, 66});
              p.c.mask = {causal, contexts, window, window == 64 ? 40 : 0};
              if (targets) p.c.num_targets = {31, 64, 0, 1};
              add_biases(p, biases & 1, biases & 2, targets);
              if (biases == 3) {
                Random random(4);
                p.c.attn_scale = random.values(p.c.q_offsets.back(), JD_F32);
              }
              expect_same_bits(rig, p, 32, std::string(causal ? "causal" : "both ways") + ", contexts " + std::to_string(contexts) +
                                               ", window " + std::to_string(window) + ", biases " + std::to_string(biases));
            }
          }
        }
      }
    }
  }
}

// Head dims that a GPU of compute capability 9.0 has kernels of its own for, without biases and with.
TEST_P(PagedHstuAttention, every_mask_has_the_bits_of_the_run_without_pages_at_every_head_dim_of_wgmma) {
  Rig rig(GetParam());
  int turn = 0;
  for (const int64_t dim : {64, 128, 256}) {
    for (const bool causal : {true, false}) {
      for (const int64_t contexts : {0, 5}) {
        for (const int64_t window : {0, 9, 64}) {
          if (++turn % rig.scaled(2, 3) != 0) continue;
          Problem p = make(static_cast<uint64_t>(turn), JD_BF16, dim, 1, {130, 64, 7, 200}, {40, 3, 7, 66});
          p.c.mask = {causal, contexts, window, window == 64 ? 40 : 0};
          if (turn % 2) p.c.num_targets = {31, 64, 0, 1};
          if (turn % 4 < 2) add_biases(p, turn % 4 == 0, true, true);
          expect_same_bits(rig, p, 16 << turn % 4, "dim " + std::to_string(dim) + (causal ? ", causal" : ", both ways") + ", contexts " +
                                                       std::to_string(contexts) + ", window " + std::to_string(window));
        }
      }
    }
  }
}

// Two pieces of keys.
TEST_P(PagedHstuAttention, long_caches_have_the_bits_of_the_run_without_pages) {
  Rig rig(GetParam(), 1);
  for (const int64_t dim : {32, 64, 256}) {
    Problem p = make(8, JD_BF16, dim, 1, {1070, 40}, {140, 3});
    p.c.mask = {true, 3, dim == 64 ? 0 : 200, 30};
    expect_same_bits(rig, p, 64, "dim " + std::to_string(dim));
  }
}

TEST_P(PagedHstuAttention, quantised_pages_match_the_reference) {
  Rig rig(GetParam());
  for (const int32_t cache : {JD_F8_E4M3, JD_I8}) {
    for (const int32_t dtype : {JD_F32, JD_BF16}) {
      for (const int64_t dim : {32, 64, 96, 128}) {
        for (const int64_t page_size : {16, 128}) {
          if (!rig.fast() && (page_size == 16) == (dim % 64 == 0)) continue;
          Problem p = make(static_cast<uint64_t>(dim), dtype, dim, 2, {150, 1, 0, 64}, {20, 1, 0, 64});
          p.c.num_targets = {11, 0, 0, 20};
          p.c.mask = {true, page_size == 16 ? 3 : 0, 60, 30};
          if (dim == 32) add_biases(p, true, true, true);
          expect_near_reference(rig, p, cache, page_size, std::string(jd_dtype_name(dtype)) + " over " + jd_dtype_name(cache) +
                                                              ", dim " + std::to_string(dim));
        }
      }
    }
  }
}

// Every mask, with targets, contexts and few queries, over codes alone: on a GPU of compute capability 9.0 they have kernels of their own.
TEST_P(PagedHstuAttention, quantised_pages_under_every_mask) {
  Rig rig(GetParam());
  int turn = 0;
  for (const int64_t dim : {64, 128, 256}) {
    for (const int32_t cache : {JD_F8_E4M3, JD_I8}) {
      for (const bool causal : {true, false}) {
        for (const int64_t contexts : {0, 5}) {
          for (const int64_t window : {0, 9, 64}) {
            for (const bool targets : {false, true}) {
              ++turn;
              if (turn % rig.scaled(5, 11) != 0) continue;
              Problem p = make(static_cast<uint64_t>(turn), JD_BF16, dim, 2, {130, 64, 7, 200, 0, 257}, {40, 3, 7, 66, 0, 1});
              p.c.mask = {causal, contexts, window, window == 64 ? 40 : 0};
              if (targets) p.c.num_targets = {31, 64, 0, 130, 0, 1};
              if (turn % 2) {
                Random random(4);
                p.c.attn_scale = random.values(p.c.q_offsets.back(), JD_F32);
              }
              const int64_t page_size = 16 << turn % 4;
              expect_near_reference(rig, p, cache, page_size, std::string(jd_dtype_name(cache)) + ", dim " + std::to_string(dim) +
                                                                  ", pages of " + std::to_string(page_size) + (causal ? ", causal" : "") +
                                                                  ", contexts " + std::to_string(contexts) + ", window " +
                                                                  std::to_string(window));
            }
          }
        }
      }
    }
  }
}

// Long enough for its keys to be cut, on devices that do.
TEST_P(PagedHstuAttention, the_last_rows_have_the_bits_of_the_whole_run_over_quantised_pages) {
  Rig rig(GetParam(), 0, 1);
  for (const int64_t dim : {64, 128, 256}) {
    for (const int32_t cache : {JD_F8_E4M3, JD_I8}) {
      if (!rig.fast() && (cache == JD_I8) != (dim == 128)) continue;
      const int64_t n = 1060;
      Problem all = make(21, JD_BF16, dim, 1, {n}, {150});
      all.c.num_targets = {30};
      PagedStore store(rig, shape(all, cache, 32), 3);
      store.append(JD_BF16, all.lengths, all.c.keys, all.c.values);
      const auto bits_of = [&](const Problem &p) {
        jd_hstu_attention_args a = args(rig, p, true);
        use(a, store);
        return rig.bits(run(rig, plan(rig, p), a));
      };
      Problem few = all;
      few.asked = {20};
      few.c.q_offsets = {0, 20};
      few.c.queries.assign(all.c.queries.end() - 20 * dim, all.c.queries.end());
      const std::vector<uint32_t> whole = bits_of(all), last = bits_of(few);
      EXPECT_TRUE(std::equal(last.begin(), last.end(), whole.end() - 20 * dim)) << jd_dtype_name(cache) << ", dim " << dim;
      expect_near_reference(rig, few, cache, 16, std::string(jd_dtype_name(cache)) + ", dim " + std::to_string(dim) + ", 1,060 keys");
    }
  }
}

// Nor, emulated, on the order in which threads run and copies land.
TEST_P(PagedHstuAttention, a_sequence_does_not_depend_on_the_batch_nor_on_its_pages) {
  Rig rig(GetParam(), 2);
  struct Kind {
    int32_t dtype, cache;
    int64_t dim;
  };
  for (const Kind k : {Kind{JD_F32, JD_F32, 32}, {JD_F32, JD_F8_E4M3, 32}, {JD_F32, JD_I8, 32}, {JD_BF16, JD_F8_E4M3, 64},
                       {JD_BF16, JD_I8, 128}, {JD_BF16, JD_F8_E4M3, 256}}) {
    const std::string what = std::string(jd_dtype_name(k.dtype)) + " over " + jd_dtype_name(k.cache) + ", dim " + std::to_string(k.dim);
    const Problem p = make(9, k.dtype, k.dim, 2, {60, 131, 9}, {10, 131, 9});
    const int64_t width = 2 * k.dim;
    PagedStore store(rig, shape(p, k.cache, 16), 1);
    store.append(k.dtype, p.lengths, p.c.keys, p.c.values);
    jd_hstu_attention_args a = args(rig, p, true);
    use(a, store);
    const std::vector<uint32_t> together = rig.bits(run(rig, plan(rig, p), a));
    for (size_t b = 0; b < p.lengths.size(); ++b) {
      Rig another(GetParam(), 1, b + 1);
      Problem alone = p;
      alone.lengths = {p.lengths[b]};
      alone.asked = {p.asked[b]};
      alone.c.offsets = offsets_of(alone.lengths);
      alone.c.q_offsets = offsets_of(alone.asked);
      const auto part = [&](const std::vector<double> &rows, const std::vector<int64_t> &offsets) {
        return std::vector<double>(rows.begin() + offsets[b] * width, rows.begin() + offsets[b + 1] * width);
      };
      alone.c.queries = part(p.c.queries, p.c.q_offsets);
      PagedStore other(another, shape(alone, k.cache, b == 2 ? 128 : 16), 50 + b);
      if (k.cache == JD_F8_E4M3) {  // the same scale
        other.key_scales = another.tensor(JD_F32, {1}, store.key_scale);
        other.value_scales = another.tensor(JD_F32, {1}, store.value_scale);
      }
      other.append(k.dtype, alone.lengths, part(p.c.keys, p.c.offsets), part(p.c.values, p.c.offsets));
      jd_hstu_attention_args one = args(another, alone, true);
      use(one, other);
      const std::vector<uint32_t> bits = another.bits(run(another, plan(another, alone), one));
      EXPECT_TRUE(std::equal(bits.begin(), bits.end(), together.begin() + p.c.q_offsets[b] * width)) << what << ", sequence " << b;
    }
  }
}

// What the mask hides may be a NaN, or its scale: the first of two targets is seen by itself alone.
TEST_P(PagedHstuAttention, a_hidden_key_of_codes_may_be_no_number) {
  Rig rig(GetParam());
  for (const int64_t dim : {64, 256}) {
    for (const int32_t cache : {JD_F8_E4M3, JD_I8}) {
      Problem p = make(30, JD_BF16, dim, 1, {70}, {9});
      p.c.num_targets = {2};
      const auto bits = [&] {
        PagedStore store(rig, shape(p, cache, 16), 2);
        store.append(JD_BF16, p.lengths, p.c.keys, p.c.values);
        jd_hstu_attention_args a = args(rig, p, true);
        use(a, store);
        return rig.bits(run(rig, plan(rig, p), a));
      };
      const std::vector<uint32_t> good = bits();
      p.c.keys[68 * dim + 3] = NAN;
      std::vector<uint32_t> result = bits();
      std::copy(good.begin() + 7 * dim, good.begin() + 8 * dim, result.begin() + 7 * dim);  // its own
      EXPECT_EQ(result, good) << jd_dtype_name(cache) << ", dim " << dim;
    }
  }
}

TEST_P(PagedHstuAttention, refused_pages_lengths_and_targets) {
  Rig rig(GetParam());
  for (const auto &[dtype, cache] : {std::pair{JD_F32, JD_F32}, {JD_BF16, JD_BF16}, {JD_BF16, JD_F8_E4M3}}) {
    Problem p = make(10, dtype, 64, 2, {40, 40, 40}, {5, 40, 5});
    PagedStore store(rig, shape(p, cache, 16));
    store.append(dtype, p.lengths, p.c.keys, p.c.values);
    const std::vector<uint32_t> good = [&] {
      jd_hstu_attention_args a = args(rig, p, true);
      use(a, store);
      return rig.bits(run(rig, plan(rig, p), a));
    }();
    const auto refused = [&](const std::vector<std::string> &parts) {
      jd_hstu_attention_args a = args(rig, p, true);
      use(a, store);
      Error error;
      rig.check(jd_hstu_attention_run(plan(rig, p), rig.stream, &a, &error), error);
      EXPECT_EQ(jd_stream_synchronize(rig.stream, &error), JD_OUT_OF_BOUNDS);
      for (const std::string &part : parts) EXPECT_NE(std::string(error.message).find(part), std::string::npos) << error.message;
      // Skipped: the other sequences are computed.
      a.out = rig.poisoned(JD_F32, {50, 2, 64});
      rig.check(jd_hstu_attention_run(plan(rig, p, JD_BOUNDS_ZERO), rig.stream, &a, &error), error);
      rig.check(jd_stream_synchronize(rig.stream, &error), error);
      int64_t skipped = 0;
      jd_stream_take_skipped(rig.stream, &skipped, &error);
      EXPECT_EQ(skipped, 1);
      const std::vector<uint32_t> bits = rig.bits(a.out);
      EXPECT_TRUE(std::equal(bits.begin(), bits.begin() + 5 * 128, good.begin()));
      EXPECT_TRUE(std::equal(bits.begin() + 45 * 128, bits.end(), good.begin() + 45 * 128));
    };
    for (const int64_t bad : {int64_t{-1}, store.num_pages, int64_t{INT32_MAX}}) {
      const int64_t page = store.table[4];
      store.table[4] = bad;
      refused({"hstu_attention: argument 'page_table': expected a page in 0..11", "got " + std::to_string(bad) + " at position 4"});
      store.table[4] = page;
    }
    for (const int64_t bad : {-5, 49, 41, INT32_MAX}) {  // 48 rows in 3 pages, 40 declared
      store.lengths[1] = bad;
      refused({"argument 'seq_lens': expected 0..40", "got " + std::to_string(bad) + " in sequence 1"});
    }
    store.lengths[1] = 39;
    refused({"argument 'q_offsets': expected at most 39 queries", "got 40 in sequence 1"});
    store.lengths[1] = 40;
    p.c.num_targets = {0, 41, 0};
    refused({"argument 'num_targets': expected 0..40", "got 41 at position 1"});
  }
}

TEST_P(PagedHstuAttention, one_sequence_of_10007_rows) {
  Rig rig(GetParam());
  const int64_t n = rig.scaled(10007, 1009), asked = rig.scaled(256, 64);
  const Problem p = make(1, JD_BF16, 64, 1, {n}, {asked});
  expect_same_bits(rig, p, 128, std::to_string(n) + " rows");
}

JD_INSTANTIATE_ON_DEVICES(PagedHstuAttention);

}  // namespace
}  // namespace jindou::testing
