// decode_attention through the C ABI against its float64 reference.
#include "paged_support.h"
#include "reference/decode_attention.h"

namespace jindou::testing {
namespace {

using reference::DecodeAttentionCase;

struct Variant {
  int32_t dtype = JD_F32, out_dtype = JD_F32, cache_dtype = 0;  // 0: dtype
  int64_t page_size = 16, padding = 0;
  int32_t bounds = JD_BOUNDS_STRICT;
  bool lse = true, scale_a_page = false;
  int64_t max_seq_len = 0, max_queries = 0;  // 0: what the case has
  uint64_t seed = 5;                         // of the page table
};

struct Problem {
  DecodeAttentionCase c;
  std::vector<int64_t> lengths, asked;
};

Problem make(uint64_t seed, int32_t dtype, int64_t dim, int64_t heads, int64_t kv_heads, const std::vector<int64_t> &lengths,
             const std::vector<int64_t> &asked, int64_t dim_v = 0) {
  Random random(seed);
  Problem p;
  p.lengths = lengths;
  p.asked = asked;
  DecodeAttentionCase &c = p.c;
  c.heads = heads;
  c.kv_heads = kv_heads;
  c.dqk = dim;
  c.dv = dim_v ? dim_v : dim;
  c.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(dim)));
  c.k_offsets = offsets_of(lengths);
  c.q_offsets = offsets_of(asked);
  c.queries = random.values(c.q_offsets.back() * heads * c.dqk, dtype, 2);
  c.keys = random.values(c.k_offsets.back() * kv_heads * c.dqk, dtype, 2);
  c.values = random.values(c.k_offsets.back() * kv_heads * c.dv, dtype);
  return p;
}

PagedShape shape_of(const Problem &p, const Variant &s) {
  PagedShape shape;
  shape.cache_dtype = s.cache_dtype ? s.cache_dtype : s.dtype;
  shape.page_size = s.page_size;
  shape.heads = p.c.kv_heads;
  shape.dim_k = p.c.dqk;
  shape.dim_v = p.c.dv;
  shape.batch = static_cast<int64_t>(p.lengths.size());
  shape.max_pages = 1;
  for (const int64_t n : p.lengths) shape.max_pages = std::max(shape.max_pages, (n + s.page_size - 1) / s.page_size);
  shape.scale_a_page = s.scale_a_page;
  shape.padding = s.padding;
  return shape;
}

class DecodeAttention : public ::testing::TestWithParam<std::string> {
 protected:
  struct Tensors {
    jd_tensor out = 0, lse = 0;
    jd_status status = JD_OK;
    std::string message;
  };

  Tensors run(Rig &rig, const Problem &p, const Variant &s, PagedStore &store) {
    const DecodeAttentionCase &c = p.c;
    jd_decode_attention_desc desc{};
    desc.struct_size = sizeof desc;
    desc.dtype = s.dtype;
    desc.out_dtype = s.out_dtype;
    desc.cache_dtype = s.cache_dtype;
    desc.offset_dtype = JD_I64;
    desc.num_heads = static_cast<int32_t>(c.heads);
    desc.num_kv_heads = static_cast<int32_t>(c.kv_heads);
    desc.head_dim_qk = static_cast<int32_t>(c.dqk);
    desc.head_dim_v = static_cast<int32_t>(c.dv);
    desc.scale = static_cast<float>(c.scale);
    desc.bounds = s.bounds;
    desc.max_queries = static_cast<int32_t>(s.max_queries);
    desc.max_seq_len = s.max_seq_len;
    for (size_t b = 0; b < p.lengths.size(); ++b) {
      if (!s.max_queries) desc.max_queries = std::max<int32_t>(desc.max_queries, static_cast<int32_t>(p.asked[b]));
      if (!s.max_seq_len) desc.max_seq_len = std::max(desc.max_seq_len, p.lengths[b]);
    }
    desc.max_queries = std::max(desc.max_queries, 1);
    desc.max_seq_len = std::max<int64_t>(desc.max_seq_len, 1);
    desc.max_batch = std::max<int64_t>(static_cast<int64_t>(p.lengths.size()), 1);
    Error error;
    jd_plan plan = 0;
    rig.check(jd_decode_attention_plan(rig.device, &desc, &plan, &error), error);
    rig.keep(plan);
    const jd_paged_cache_args pages = store.args();
    jd_decode_attention_args a{};
    a.struct_size = sizeof a;
    a.queries = rig.tensor(s.dtype, {c.q_offsets.back(), c.heads, c.dqk}, c.queries, s.padding);
    a.q_offsets = rig.integers(JD_I64, c.q_offsets);
    a.key_pages = pages.key_pages;
    a.value_pages = pages.value_pages;
    a.page_table = pages.page_table;
    a.seq_lens = pages.seq_lens;
    a.key_scales = pages.key_scales;
    a.value_scales = pages.value_scales;
    a.out = rig.poisoned(s.out_dtype ? s.out_dtype : s.dtype, {c.q_offsets.back(), c.heads, c.dv}, s.padding);
    if (s.lse) a.lse = rig.poisoned(JD_F32, {c.q_offsets.back(), c.heads}, s.padding);
    rig.check(jd_decode_attention_run(plan, rig.stream, &a, &error), error);
    Tensors t{a.out, a.lse, JD_OK, ""};
    t.status = jd_stream_synchronize(rig.stream, &error);
    if (t.status != JD_OK) t.message = error.message;
    return t;
  }

  void compare(Rig &rig, const Problem &p, const Variant &s, const std::string &what) {
    PagedStore store(rig, shape_of(p, s), s.seed);
    store.append(s.dtype, p.lengths, p.c.keys, p.c.values);
    const Tensors t = run(rig, p, s, store);
    EXPECT_EQ(t.message, "") << what;
    DecodeAttentionCase c = p.c;
    const std::vector<int64_t> zeros(p.lengths.size(), 0);
    c.keys = store.as_kept(c.keys, c.dqk, store.key_scale, p.lengths, zeros);
    c.values = store.as_kept(c.values, c.dv, store.value_scale, p.lengths, zeros);
    const reference::DecodeAttentionResult expected = reference::decode_attention(c);
    const double score = std::fabs(c.scale) * 4 * std::sqrt(static_cast<double>(c.dqk)) * 2;
    const int32_t out_dtype = s.out_dtype ? s.out_dtype : s.dtype;
    double most = 1;  // of the values
    for (const double x : c.values) most = std::max(most, std::fabs(x));
    expect_near(rig.read(t.out), expected.out, [&](size_t i) {
      return tolerance::softmax_attention(c.dqk, score, most, expected.out[i], s.dtype, out_dtype);
    }, what);
    if (s.lse) {
      expect_near(rig.read(t.lse), expected.lse, [&](size_t i) {
        return tolerance::softmax_attention(c.dqk, score, 1, expected.lse[i], JD_F32, JD_F32) + 4e-7 * std::fabs(expected.lse[i]);
      }, what + ", lse");
    }
    bool gaps_intact = false;
    rig.bits(t.out, &gaps_intact);
    EXPECT_TRUE(gaps_intact) << what << ": wrote between the rows of out";
  }
};

TEST_P(DecodeAttention, matches_the_reference_for_every_dtype_and_head_dim) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_F16, JD_BF16}) {
    for (const int32_t cache : {0, static_cast<int32_t>(JD_F8_E4M3), static_cast<int32_t>(JD_I8)}) {
      for (const int64_t dim : {32, 64, 96, 128, 192, 256}) {
        Variant s;
        s.dtype = dtype;
        s.cache_dtype = cache;
        s.out_dtype = dim % 64 == 0 ? JD_F32 : 0;
        s.page_size = dim >= 128 ? 128 : 16;
        s.scale_a_page = dim % 128 == 0;
        s.padding = 16;
        compare(rig, make(static_cast<uint64_t>(dim), dtype, dim, 4, 2, {133, 1, 70}, {1, 1, 4}), s,
                std::string(jd_dtype_name(dtype)) + " over " + (cache ? jd_dtype_name(cache) : "the same") + ", dim " +
                    std::to_string(dim));
      }
    }
  }
}

TEST_P(DecodeAttention, head_dims_of_keys_and_values_may_differ) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    for (const auto &[dqk, dv] : {std::pair<int64_t, int64_t>{192, 128}, {32, 256}, {64, 32}}) {
      for (const int32_t cache : {dtype, static_cast<int32_t>(JD_I8)}) {
        Variant s;
        s.dtype = dtype;
        s.cache_dtype = cache;
        compare(rig, make(3, dtype, dqk, 3, 1, {90}, {2}, dv), s, std::to_string(dqk) + " and " + std::to_string(dv));
      }
    }
  }
}

TEST_P(DecodeAttention, lengths_around_every_tile_page_and_piece) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    for (const int64_t n : {1, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 127, 129, 511, 512, 513, 1023, 1024, 1025, 1537}) {
      for (const int64_t asked : {1, 3, 16}) {
        if (asked > n || (!rig.fast() && asked != 1 + n % 3)) continue;
        Variant s;
        s.dtype = dtype;
        s.page_size = n % 2 ? 16 : 64;
        compare(rig, make(static_cast<uint64_t>(n), dtype, 64, 2, 1, {n}, {asked}), s,
                std::to_string(n) + " keys, " + std::to_string(asked) + " queries");
      }
    }
  }
}

// Rows are taken in pairs: of two, the first stands before a block of keys and the second in it.
TEST_P(DecodeAttention, a_row_before_a_block_beside_a_row_in_it) {
  Rig rig(GetParam());
  for (const int64_t heads : {1, 3}) {
    for (const int64_t n : {65, 66, 129}) {
      for (const int64_t asked : {2, 3, 4}) {
        compare(rig, make(static_cast<uint64_t>(n), JD_F32, 32, heads, 1, {n}, {asked}), Variant{},
                std::to_string(n) + " keys, " + std::to_string(asked) + " queries of " + std::to_string(heads) + " heads");
      }
    }
  }
}

TEST_P(DecodeAttention, groups_of_heads) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    for (const auto &[heads, kv_heads] : {std::pair<int64_t, int64_t>{1, 1}, {5, 5}, {6, 2}, {17, 1}, {32, 2}}) {
      Variant s;
      s.dtype = dtype;
      s.page_size = 32;
      compare(rig, make(7, dtype, 32, heads, kv_heads, {40, 77}, {1, 5}), s, std::to_string(heads) + " over " + std::to_string(kv_heads));
    }
  }
}

TEST_P(DecodeAttention, one_query_over_10007_keys) {
  Rig rig(GetParam());
  const int64_t n = rig.scaled(10007, 3001);
  for (const int32_t cache : {JD_BF16, JD_F8_E4M3}) {
    Variant s;
    s.dtype = JD_BF16;
    s.cache_dtype = cache;
    s.page_size = 128;
    compare(rig, make(1, JD_BF16, 64, 2, 1, {n}, {1}), s, std::to_string(n) + " keys");
  }
}

TEST_P(DecodeAttention, extreme_scales) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    for (const double scale : {0.0, -0.5, 20.0}) {
      Problem p = make(2, dtype, 32, 2, 2, {600}, {2});
      p.c.scale = scale;
      Variant s;
      s.dtype = dtype;
      compare(rig, p, s, "scale " + std::to_string(scale));
    }
  }
}

TEST_P(DecodeAttention, a_query_ignores_the_keys_behind_it) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    Problem p = make(4, dtype, 64, 2, 1, {100}, {5});
    Variant s;
    s.dtype = dtype;
    PagedStore store(rig, shape_of(p, s), 1);
    store.append(dtype, p.lengths, p.c.keys, p.c.values);
    const std::vector<uint32_t> before = rig.bits(run(rig, p, s, store).out);
    for (int64_t i = 97 * 64; i < 100 * 64; ++i) p.c.keys[i] = p.c.values[i] = 1.5;
    PagedStore changed(rig, shape_of(p, s), 1);
    changed.append(dtype, p.lengths, p.c.keys, p.c.values);
    const std::vector<uint32_t> after = rig.bits(run(rig, p, s, changed).out);
    EXPECT_TRUE(std::equal(before.begin(), before.begin() + 2 * 128, after.begin()));
    EXPECT_FALSE(std::equal(before.begin() + 2 * 128, before.end(), after.begin() + 2 * 128));
  }
}

// Neither on the batch, nor on what the plan declared, nor on where pages lie, nor on threads: so not on how pieces are spread.
TEST_P(DecodeAttention, bits_depend_on_the_sequence_alone) {
  Rig rig(GetParam(), 2), one(GetParam(), 1), seven(GetParam(), 7);
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    for (const int32_t cache : {dtype, static_cast<int32_t>(JD_I8)}) {
      std::vector<int64_t> lengths = {1300, 60, 2100}, asked = {2, 1, 1};
      for (int i = 0; i < 20; ++i) {
        lengths.push_back(20 + i);
        asked.push_back(1);
      }
      const Problem p = make(9, dtype, 64, 2, 1, lengths, asked);
      Variant s;
      s.dtype = dtype;
      s.cache_dtype = cache;
      const auto bits_of = [&](Rig &r, const Problem &problem, const Variant &variant) {
        PagedStore store(r, shape_of(problem, variant), variant.seed);
        store.append(dtype, problem.lengths, problem.c.keys, problem.c.values);
        const Tensors t = run(r, problem, variant, store);
        std::vector<uint32_t> all = r.bits(t.out), lse = r.bits(t.lse);
        all.insert(all.end(), lse.begin(), lse.end());
        return all;
      };
      const std::vector<uint32_t> together = bits_of(rig, p, s);
      EXPECT_EQ(bits_of(one, p, s), together);
      EXPECT_EQ(bits_of(seven, p, s), together);
      const int64_t total = p.c.q_offsets.back() * 2 * 64;
      for (const size_t b : {0, 1, 2, 10}) {
        Problem alone = p;
        alone.lengths = {lengths[b]};
        alone.asked = {asked[b]};
        alone.c.k_offsets = {0, lengths[b]};
        alone.c.q_offsets = {0, asked[b]};
        const auto part = [&](const std::vector<double> &x, const std::vector<int64_t> &o, int64_t width) {
          return std::vector<double>(x.begin() + o[b] * width, x.begin() + o[b + 1] * width);
        };
        alone.c.queries = part(p.c.queries, p.c.q_offsets, 2 * 64);
        alone.c.keys = part(p.c.keys, p.c.k_offsets, 64);
        alone.c.values = part(p.c.values, p.c.k_offsets, 64);
        Variant other = s;
        other.seed = 60 + b;
        other.max_seq_len = 131072;
        other.max_queries = 16;
        other.page_size = 64;
        const std::vector<uint32_t> bits = bits_of(rig, alone, other);
        const int64_t count = asked[b] * 2;
        EXPECT_TRUE(std::equal(bits.begin(), bits.begin() + count * 64, together.begin() + p.c.q_offsets[b] * 2 * 64)) << b;
        EXPECT_TRUE(std::equal(bits.begin() + count * 64, bits.end(), together.begin() + total + p.c.q_offsets[b] * 2)) << b;
      }
    }
  }
}

// A plan for 33,000 keys cuts them into 31 pieces, and 32,768 keys into 32: what it keeps of them has room for both. (The kernels' pieces:
// kernels/testing/wide_index_test.cpp.)
TEST_F(DecodeAttention, a_shorter_sequence_may_have_more_pieces) {
  Rig one("cpu", 1), four("cpu", 4);
  Problem p = make(12, JD_F32, 32, 1, 1, {32768, 32768}, {1, 1});
  Variant s;
  s.page_size = 128;
  s.max_seq_len = 33000;
  const auto bits_of = [&](Rig &rig, const Variant &variant) {
    PagedStore store(rig, shape_of(p, variant), 3);
    store.append(JD_F32, p.lengths, p.c.keys, p.c.values);
    return rig.bits(run(rig, p, variant, store).out);
  };
  const std::vector<uint32_t> expected = bits_of(one, s);
  EXPECT_EQ(bits_of(four, s), expected);
  s.max_seq_len = 32768;
  EXPECT_EQ(bits_of(four, s), expected);
}

TEST_P(DecodeAttention, refused_pages_and_lengths) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    const Problem p = make(10, dtype, 64, 2, 1, {40, 40, 40}, {2, 3, 1});
    Variant s;
    s.dtype = dtype;
    PagedStore store(rig, shape_of(p, s), 2);
    store.append(dtype, p.lengths, p.c.keys, p.c.values);
    const std::vector<uint32_t> good = rig.bits(run(rig, p, s, store).out);
    const auto refused = [&](const std::vector<std::string> &parts) {
      const Tensors strict = run(rig, p, s, store);
      EXPECT_EQ(strict.status, JD_OUT_OF_BOUNDS);
      for (const std::string &part : parts) EXPECT_NE(strict.message.find(part), std::string::npos) << strict.message;
      Variant zero = s;
      zero.bounds = JD_BOUNDS_ZERO;
      const Tensors skipping = run(rig, p, zero, store);
      EXPECT_EQ(skipping.message, "");
      int64_t skipped = 0;
      Error error;
      jd_stream_take_skipped(rig.stream, &skipped, &error);
      EXPECT_EQ(skipped, 1);
      const std::vector<uint32_t> bits = rig.bits(skipping.out);
      EXPECT_TRUE(std::equal(bits.begin(), bits.begin() + 2 * 128, good.begin()));
      EXPECT_TRUE(std::equal(bits.begin() + 5 * 128, bits.end(), good.begin() + 5 * 128));
    };
    for (const int64_t bad : {int64_t{-1}, store.num_pages, int64_t{INT32_MIN}}) {
      const int64_t page = store.table[4];
      store.table[4] = bad;
      refused({"decode_attention: argument 'page_table': expected a page in 0..11", "got " + std::to_string(bad) + " at position 4"});
      store.table[4] = page;
    }
    for (const int64_t bad : {-1, 41, 49}) {
      store.lengths[1] = bad;
      refused({"argument 'seq_lens': expected 0..40", "in sequence 1"});
    }
    store.lengths[1] = 2;
    refused({"argument 'q_offsets': expected at most 2 queries", "got 3 in sequence 1"});
    store.lengths[1] = 40;
  }
}

TEST_P(DecodeAttention, empty_sequences_and_batches) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    Variant s;
    s.dtype = dtype;
    s.lse = false;
    compare(rig, make(7, dtype, 32, 2, 2, {0, 5, 9, 0}, {0, 2, 0, 0}), s, "some empty");
    compare(rig, make(7, dtype, 32, 2, 2, {3}, {0}), s, "no query");
    compare(rig, make(7, dtype, 32, 2, 2, {}, {}), s, "no sequence");
  }
}

// A refused sequence has rows too, so that tensors may have more of them than a plan's sequences can have together: whatever keeps partial results of
// the others' pieces must not go by them. (On the cpu the host refuses such offsets.)
TEST_P(DecodeAttention, many_rows_of_refused_sequences) {
  if (GetParam() == "cpu") return;
  Rig rig(GetParam(), 2);
  const auto bits_of = [&](const Problem &p, const Variant &s) {
    PagedStore store(rig, shape_of(p, s), s.seed);
    store.append(s.dtype, p.lengths, p.c.keys, p.c.values);
    const Tensors t = run(rig, p, s, store);
    EXPECT_EQ(t.message, "");
    return rig.bits(t.out);
  };
  for (const int64_t refused : {50, 1000}) {
    for (const size_t good : {0, 1}) {
      std::vector<int64_t> lengths = {refused, refused}, asked = {refused, refused};
      lengths[good] = 530;
      asked[good] = 2;
      const Problem p = make(11, JD_F32, 32, 1, 1, lengths, asked);
      Variant s;
      s.bounds = JD_BOUNDS_ZERO;
      s.max_queries = 2;
      Problem alone = p;
      alone.lengths = {530};
      alone.asked = {2};
      alone.c.k_offsets = {0, 530};
      alone.c.q_offsets = {0, 2};
      const auto part = [&](const std::vector<double> &x, const std::vector<int64_t> &offsets) {
        return std::vector<double>(x.begin() + offsets[good] * 32, x.begin() + offsets[good + 1] * 32);
      };
      alone.c.queries = part(p.c.queries, p.c.q_offsets);
      alone.c.keys = part(p.c.keys, p.c.k_offsets);
      alone.c.values = part(p.c.values, p.c.k_offsets);
      const std::vector<uint32_t> all = bits_of(p, s), one = bits_of(alone, s);
      EXPECT_TRUE(std::equal(one.begin(), one.end(), all.begin() + p.c.q_offsets[good] * 32)) << refused << ", " << good;
      int64_t skipped = 0;
      Error error;
      jd_stream_take_skipped(rig.stream, &skipped, &error);
      EXPECT_EQ(skipped, 1);
    }
  }
}

JD_INSTANTIATE_ON_DEVICES(DecodeAttention);

}  // namespace
}  // namespace jindou::testing
