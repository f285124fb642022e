// beam_attention through the C ABI against its float64 reference.
#include <numeric>

#include "paged_support.h"
#include "reference/beam_attention.h"

namespace jindou::testing {
namespace {

using reference::BeamAttentionCase;

struct Variant {
  int32_t dtype = JD_F32, out_dtype = JD_F32;
  int32_t cache_dtype = 0;                 // of pages; 0: dtype
  bool paged = false;
  int64_t page_size = 16, padding = 0;
  int32_t offset_dtype = JD_I64, bounds = JD_BOUNDS_STRICT;
  bool lse = true, scale_a_page = false;
  int64_t max_beams = 0, max_prefix = 0;   // 0: what the case has
  uint64_t seed = 5;                       // of the page table
};

struct Shape {
  int64_t dqk = 32, heads = 2, kv_heads = 2, dv = 0;  // dv 0: dqk
  std::vector<int64_t> beams{1}, prefix{1};
  int64_t levels = 3, slots = 0;                      // slots 0: the most beams
  std::vector<int64_t> suffix_lens;                   // empty: all levels
};

struct Problem {
  BeamAttentionCase c;
  std::vector<int64_t> beams, prefix;
};

Problem make(uint64_t seed, int32_t dtype, const Shape &s) {
  Random random(seed);
  Problem p;
  p.beams = s.beams;
  p.prefix = s.prefix;
  BeamAttentionCase &c = p.c;
  c.heads = s.heads;
  c.kv_heads = s.kv_heads;
  c.dqk = s.dqk;
  c.dv = s.dv ? s.dv : s.dqk;
  c.levels = s.levels;
  c.slots = s.slots;
  for (const int64_t w : s.beams) c.slots = std::max(c.slots, w);
  c.slots = std::max<int64_t>(c.slots, 1);
  c.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(s.dqk)));
  c.beam_offsets = offsets_of(s.beams);
  c.prefix_offsets = offsets_of(s.prefix);
  c.queries = random.values(c.beam_offsets.back() * c.heads * c.dqk, dtype, 2);
  c.keys = random.values(c.prefix_offsets.back() * c.kv_heads * c.dqk, dtype, 2);
  c.values = random.values(c.prefix_offsets.back() * c.kv_heads * c.dv, dtype);
  const int64_t batch = static_cast<int64_t>(s.beams.size()), places = batch * c.levels * c.slots;
  c.suffix_keys = random.values(places * c.kv_heads * c.dqk, dtype, 2);
  c.suffix_values = random.values(places * c.kv_heads * c.dv, dtype);
  for (int64_t i = 0; i < places; ++i) c.ancestry.push_back(random.integer(0, c.slots - 1));
  c.suffix_lens = s.suffix_lens.empty() ? std::vector<int64_t>(s.beams.size(), c.levels) : s.suffix_lens;
  return p;
}

// Request b of a problem, as a batch of its own.
Problem alone(const Problem &p, size_t b) {
  Problem one = p;
  const auto part = [&](const std::vector<double> &x, int64_t first, int64_t last, int64_t width) {
    return std::vector<double>(x.begin() + first * width, x.begin() + last * width);
  };
  const BeamAttentionCase &c = p.c;
  one.beams = {p.beams[b]};
  one.prefix = {p.prefix[b]};
  one.c.beam_offsets = {0, p.beams[b]};
  one.c.prefix_offsets = {0, p.prefix[b]};
  one.c.suffix_lens = {c.suffix_lens[b]};
  one.c.queries = part(c.queries, c.beam_offsets[b], c.beam_offsets[b + 1], c.heads * c.dqk);
  one.c.keys = part(c.keys, c.prefix_offsets[b], c.prefix_offsets[b + 1], c.kv_heads * c.dqk);
  one.c.values = part(c.values, c.prefix_offsets[b], c.prefix_offsets[b + 1], c.kv_heads * c.dv);
  const int64_t at = static_cast<int64_t>(b) * c.levels, places = c.slots * c.kv_heads;
  one.c.suffix_keys = part(c.suffix_keys, at, at + c.levels, places * c.dqk);
  one.c.suffix_values = part(c.suffix_values, at, at + c.levels, places * c.dv);
  one.c.ancestry = {c.ancestry.begin() + at * c.slots, c.ancestry.begin() + (at + c.levels) * c.slots};
  return one;
}

class BeamAttention : public ::testing::TestWithParam<std::string> {
 protected:
  struct Tensors {
    jd_tensor out = 0, lse = 0;
    jd_status status = JD_OK;
    std::string message;
  };

  static PagedShape shape_of(const Problem &p, const Variant &s) {
    PagedShape shape;
    shape.cache_dtype = s.cache_dtype ? s.cache_dtype : s.dtype;
    shape.page_size = s.page_size;
    shape.heads = p.c.kv_heads;
    shape.dim_k = p.c.dqk;
    shape.dim_v = p.c.dv;
    shape.batch = static_cast<int64_t>(p.prefix.size());
    shape.max_pages = 1;
    for (const int64_t n : p.prefix) shape.max_pages = std::max(shape.max_pages, (n + s.page_size - 1) / s.page_size);
    shape.scale_a_page = s.scale_a_page;
    shape.padding = s.padding;
    return shape;
  }

  // The tensors of a run; `store` is null for a prefix in rows.
  jd_beam_attention_args args_of(Rig &rig, const Problem &p, const Variant &s, PagedStore *store) {
    const BeamAttentionCase &c = p.c;
    jd_beam_attention_args a{};
    a.struct_size = sizeof a;
    a.queries = rig.tensor(s.dtype, {c.beam_offsets.back(), c.heads, c.dqk}, c.queries, s.padding);
    a.beam_offsets = rig.integers(s.offset_dtype, c.beam_offsets);
    if (store) {
      const jd_paged_cache_args pages = store->args();
      a.key_pages = pages.key_pages;
      a.value_pages = pages.value_pages;
      a.page_table = pages.page_table;
      a.seq_lens = pages.seq_lens;
      a.key_scales = pages.key_scales;
      a.value_scales = pages.value_scales;
    } else {
      a.keys = rig.tensor(s.dtype, {c.prefix_offsets.back(), c.kv_heads, c.dqk}, c.keys, s.padding);
      a.values = rig.tensor(s.dtype, {c.prefix_offsets.back(), c.kv_heads, c.dv}, c.values, s.padding);
      a.prefix_offsets = rig.integers(s.offset_dtype, c.prefix_offsets);
    }
    const int64_t batch = static_cast<int64_t>(p.beams.size());
    if (c.levels > 0) {
      a.suffix_keys = rig.tensor(s.dtype, {batch, c.levels, c.slots, c.kv_heads, c.dqk}, c.suffix_keys, s.padding);
      a.suffix_values = rig.tensor(s.dtype, {batch, c.levels, c.slots, c.kv_heads, c.dv}, c.suffix_values, s.padding);
      a.ancestry = rig.tensor(JD_I32, {batch, c.levels, c.slots}, std::vector<double>(c.ancestry.begin(), c.ancestry.end()), s.padding);
      const bool all = std::all_of(c.suffix_lens.begin(), c.suffix_lens.end(), [&](int64_t n) { return n == c.levels; });
      if (!all) a.suffix_lens = rig.integers(JD_I32, c.suffix_lens);
    }
    a.out = rig.poisoned(s.out_dtype ? s.out_dtype : s.dtype, {c.beam_offsets.back(), c.heads, c.dv}, s.padding);
    if (s.lse) a.lse = rig.poisoned(JD_F32, {c.beam_offsets.back(), c.heads}, s.padding);
    return a;
  }

  jd_plan plan_of(Rig &rig, const Problem &p, const Variant &s) {
    const BeamAttentionCase &c = p.c;
    jd_beam_attention_desc desc{};
    desc.struct_size = sizeof desc;
    desc.dtype = s.dtype;
    desc.out_dtype = s.out_dtype;
    desc.cache_dtype = s.cache_dtype;
    desc.offset_dtype = s.offset_dtype;
    desc.num_heads = static_cast<int32_t>(c.heads);
    desc.num_kv_heads = static_cast<int32_t>(c.kv_heads);
    desc.head_dim_qk = static_cast<int32_t>(c.dqk);
    desc.head_dim_v = static_cast<int32_t>(c.dv);
    desc.scale = static_cast<float>(c.scale);
    desc.bounds = s.bounds;
    desc.max_beams = static_cast<int32_t>(s.max_beams);
    desc.max_prefix = s.max_prefix;
    for (size_t b = 0; b < p.beams.size(); ++b) {
      if (!s.max_beams) desc.max_beams = std::max(desc.max_beams, static_cast<int32_t>(p.beams[b]));
      if (!s.max_prefix) desc.max_prefix = std::max(desc.max_prefix, p.prefix[b]);
    }
    desc.max_beams = std::max(desc.max_beams, 1);
    desc.max_prefix = std::max<int64_t>(desc.max_prefix, 1);
    desc.max_batch = std::max<int64_t>(static_cast<int64_t>(p.beams.size()), 1);
    Error error;
    jd_plan plan = 0;
    rig.check(jd_beam_attention_plan(rig.device, &desc, &plan, &error), error);
    return rig.keep(plan);
  }

  Tensors run(Rig &rig, jd_plan plan, const jd_beam_attention_args &a) {
    Error error;
    rig.check(jd_beam_attention_run(plan, rig.stream, &a, &error), error);
    Tensors t{a.out, a.lse, JD_OK, ""};
    t.status = jd_stream_synchronize(rig.stream, &error);
    if (t.status != JD_OK) t.message = error.message;
    return t;
  }

  Tensors run(Rig &rig, const Problem &p, const Variant &s) {
    if (!s.paged) return run(rig, plan_of(rig, p, s), args_of(rig, p, s, nullptr));
    PagedStore store(rig, shape_of(p, s), s.seed);
    store.append(s.dtype, p.prefix, p.c.keys, p.c.values);
    return run(rig, plan_of(rig, p, s), args_of(rig, p, s, &store));
  }

  // Of out, then of lse.
  std::vector<uint32_t> bits_of(Rig &rig, const Problem &p, const Variant &s) {
    const Tensors t = run(rig, p, s);
    EXPECT_EQ(t.message, "");
    std::vector<uint32_t> all = rig.bits(t.out);
    if (!t.lse) return all;
    const std::vector<uint32_t> lse = rig.bits(t.lse);
    all.insert(all.end(), lse.begin(), lse.end());
    return all;
  }

  void expect_results(Rig &rig, const BeamAttentionCase &c, const Tensors &t, const Variant &s, const std::string &what) {
    const reference::BeamAttentionResult expected = reference::beam_attention(c);
    const double score = std::fabs(c.scale) * 4 * std::sqrt(static_cast<double>(c.dqk)) * 2;
    const int32_t out_dtype = s.out_dtype ? s.out_dtype : s.dtype;
    double most = 1;  // of the values
    for (const double x : c.values) most = std::max(most, std::fabs(x));
    expect_near(rig.read(t.out), expected.out, [&](size_t i) {
      return tolerance::softmax_attention(c.dqk, score, most, expected.out[i], s.dtype, out_dtype);
    }, what);
    if (s.lse) {
      std::vector<double> lse = rig.read(t.lse), wanted = expected.lse;
      for (size_t i = 0; i < lse.size(); ++i) {  // -inf is compared as such
        if (std::isinf(wanted[i]) && wanted[i] == lse[i]) wanted[i] = lse[i] = 0;
      }
      // Where bf16 is multiplied in pairs weights are rounded to bf16, and their exponentials good to 1.1e-4.
      const double weights = s.dtype == JD_BF16 ? 1.1e-4 : 0;
      expect_near(lse, wanted, [&](size_t i) {
        return weights + tolerance::softmax_attention(c.dqk, score, 1, wanted[i], JD_F32, JD_F32) + 4e-7 * std::fabs(wanted[i]);
      }, what + ", lse");
    }
    bool gaps_intact = false;
    rig.bits(t.out, &gaps_intact);
    EXPECT_TRUE(gaps_intact) << what << ": wrote between the rows of out";
  }

  void compare(Rig &rig, const Problem &p, const Variant &s, const std::string &what) {
    BeamAttentionCase c = p.c;
    if (!s.paged) {
      const Tensors t = run(rig, p, s);
      EXPECT_EQ(t.message, "") << what;
      return expect_results(rig, c, t, s, what);
    }
    PagedStore store(rig, shape_of(p, s), s.seed);
    store.append(s.dtype, p.prefix, p.c.keys, p.c.values);
    const Tensors t = run(rig, plan_of(rig, p, s), args_of(rig, p, s, &store));
    EXPECT_EQ(t.message, "") << what;
    const std::vector<int64_t> zeros(p.prefix.size(), 0);
    c.keys = store.as_kept(c.keys, c.dqk, store.key_scale, p.prefix, zeros);
    c.values = store.as_kept(c.values, c.dv, store.value_scale, p.prefix, zeros);
    expect_results(rig, c, t, s, what);
  }
};

TEST_P(BeamAttention, matches_the_reference_for_every_dtype_and_head_dim) {
  Rig narrow(GetParam(), 1), wide(GetParam(), 16);  // multiprocessors of simt: large tiles, small tiles
  for (const int32_t dtype : {JD_F32, JD_F16, JD_BF16}) {
    for (const int32_t cache : {0, static_cast<int32_t>(dtype), static_cast<int32_t>(JD_F8_E4M3), static_cast<int32_t>(JD_I8)}) {
      for (const int64_t dim : {32, 64, 96, 128, 192, 256}) {
        Variant s;
        s.dtype = dtype;
        s.paged = cache != 0;
        s.cache_dtype = cache;
        s.out_dtype = dim % 64 == 0 ? JD_F32 : 0;
        s.page_size = dim >= 128 ? 128 : 16;
        s.scale_a_page = dim % 128 == 0;
        s.padding = 16;
        Shape shape;
        shape.dqk = dim;
        shape.heads = 4;
        shape.beams = {5, 1, 9};
        shape.prefix = {133, 1, 70};
        shape.slots = 11;
        shape.suffix_lens = {3, 1, 2};
        compare(dim % 64 == 0 ? wide : narrow, make(static_cast<uint64_t>(dim), dtype, shape), s,
                std::string(jd_dtype_name(dtype)) + " over " + (cache ? jd_dtype_name(cache) : "rows") + ", dim " + std::to_string(dim));
      }
    }
  }
}

TEST_P(BeamAttention, head_dims_of_keys_and_values_may_differ) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    for (const auto &[dqk, dv] : {std::pair<int64_t, int64_t>{192, 128}, {32, 256}, {64, 32}}) {
      for (const int32_t cache : {0, static_cast<int32_t>(JD_I8)}) {
        Variant s;
        s.dtype = dtype;
        s.paged = cache != 0;
        s.cache_dtype = cache;
        Shape shape;
        shape.dqk = dqk;
        shape.dv = dv;
        shape.heads = 3;
        shape.kv_heads = 1;
        shape.beams = {7};
        shape.prefix = {90};
        compare(rig, make(3, dtype, shape), s, std::to_string(dqk) + " and " + std::to_string(dv));
      }
    }
  }
}

TEST_P(BeamAttention, beams_and_prefixes_around_every_tile_page_and_piece) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    for (const int64_t n : {0, 1, 15, 17, 31, 32, 33, 63, 64, 65, 127, 129, 1023, 1024, 1025, 2047, 2049}) {
      for (const int64_t beams : {1, 15, 17, 47, 48, 49, 64, 65, 127, 128, 129}) {
        if (n > 129 && beams % 3 != n % 3) continue;
        if (!rig.fast() && (n > 129 ? beams > 17 : (n + beams) % 5 != 1)) continue;
        Variant s;
        s.dtype = dtype;
        s.paged = n % 2 == 1;
        s.page_size = n % 3 ? 16 : 64;
        s.offset_dtype = n % 2 ? JD_I32 : JD_I64;
        Shape shape;
        shape.heads = shape.kv_heads = 1;
        shape.beams = {beams};
        shape.prefix = {n};
        shape.levels = 1 + n % 5;
        compare(rig, make(static_cast<uint64_t>(n), dtype, shape), s,
                std::to_string(n) + " keys, " + std::to_string(beams) + " beams, " + jd_dtype_name(dtype));
      }
    }
  }
}

TEST_P(BeamAttention, groups_of_heads) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    for (const auto &[heads, kv_heads] : {std::pair<int64_t, int64_t>{1, 1}, {5, 5}, {6, 2}, {17, 1}, {32, 2}}) {
      Variant s;
      s.dtype = dtype;
      s.paged = heads % 2 == 0;
      s.page_size = 32;
      Shape shape;
      shape.heads = heads;
      shape.kv_heads = kv_heads;
      shape.beams = {8, 13};
      shape.prefix = {40, 77};
      compare(rig, make(7, dtype, shape), s, std::to_string(heads) + " over " + std::to_string(kv_heads));
    }
  }
}

TEST_P(BeamAttention, many_beams_over_10007_keys) {
  Rig rig(GetParam());
  for (const int32_t cache : {JD_BF16, JD_F8_E4M3}) {
    Variant s;
    s.dtype = JD_BF16;
    s.paged = true;
    s.cache_dtype = cache;
    s.page_size = 128;
    Shape shape;
    shape.dqk = 64;
    shape.heads = shape.kv_heads = 1;
    shape.beams = {rig.scaled(100, 20)};
    shape.prefix = {rig.scaled(10007, 2101)};
    compare(rig, make(1, JD_BF16, shape), s, std::to_string(shape.prefix[0]) + " keys");
  }
}

TEST_P(BeamAttention, extreme_scales) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    for (const double scale : {0.0, -0.5, 20.0}) {
      Shape shape;
      shape.beams = {6};
      shape.prefix = {200};
      Problem p = make(2, dtype, shape);
      p.c.scale = scale;
      Variant s;
      s.dtype = dtype;
      compare(rig, p, s, "scale " + std::to_string(scale));
    }
  }
}

TEST_P(BeamAttention, without_prefix_suffix_or_both) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    for (const bool paged : {false, true}) {
      for (const int64_t levels : {0, 2}) {
        Variant s;
        s.dtype = dtype;
        s.paged = paged;
        Shape some, no_beam, no_request;
        some.levels = no_beam.levels = no_request.levels = levels;
        some.beams = {3, 5, 0, 4};
        some.prefix = {0, 20, 30, 0};
        if (levels) some.suffix_lens = {2, 0, 1, 0};
        no_beam.beams = {0};
        no_beam.prefix = {5};
        compare(rig, make(4, dtype, some), s, std::to_string(levels) + " levels");
        compare(rig, make(4, dtype, no_beam), s, "no beam");
        no_request.beams.clear();
        no_request.prefix.clear();
        compare(rig, make(4, dtype, no_request), s, "no request");
      }
    }
  }
}

// Rows of a prefix in pages of the same dtype or one after the other: the same bits.
TEST_P(BeamAttention, pages_change_no_bit) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_F16, JD_BF16}) {
    Shape shape;
    shape.dqk = 64;
    shape.heads = 4;
    shape.beams = {17, 3};
    shape.prefix = {1100, 45};
    const Problem p = make(6, dtype, shape);
    Variant rows;
    rows.dtype = dtype;
    Variant pages = rows;
    pages.paged = true;
    pages.page_size = 32;
    pages.padding = 8;
    EXPECT_EQ(bits_of(rig, p, rows), bits_of(rig, p, pages)) << jd_dtype_name(dtype);
  }
}

// Every slot that no beam descends from is poison.
TEST_P(BeamAttention, a_beam_sees_its_ancestors_alone) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    Shape shape;
    shape.beams = {4, 6};
    shape.prefix = {70, 33};
    shape.slots = 9;
    shape.suffix_lens = {2, 3};
    Problem p = make(8, dtype, shape);
    BeamAttentionCase &c = p.c;
    for (int64_t b = 0; b < 2; ++b) {
      for (int64_t l = 0; l < c.levels; ++l) {
        for (int64_t slot = 0; slot < c.slots; ++slot) {
          const int64_t level = b * c.levels + l;
          const auto first = c.ancestry.begin() + level * c.slots;
          if (l < c.suffix_lens[b] && std::count(first, first + p.beams[b], slot) > 0) continue;
          const int64_t at = (level * c.slots + slot) * c.kv_heads;
          std::fill_n(c.suffix_keys.begin() + at * c.dqk, c.kv_heads * c.dqk, NAN);
          std::fill_n(c.suffix_values.begin() + at * c.dv, c.kv_heads * c.dv, NAN);
        }
        // Entries past the beams and levels that count are nobody's.
        const int64_t level = (b * c.levels + l) * c.slots;
        for (int64_t w = l < c.suffix_lens[b] ? p.beams[b] : 0; w < c.slots; ++w) c.ancestry[level + w] = -7;
      }
    }
    Variant s;
    s.dtype = dtype;
    compare(rig, p, s, jd_dtype_name(dtype));
  }
}

// Neither on the batch, nor on what the plan declared, nor on where pages lie, nor on threads.
TEST_P(BeamAttention, bits_depend_on_the_request_alone) {
  Rig rig(GetParam(), 2), one(GetParam(), 1), seven(GetParam(), 7);
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    for (const int32_t cache : {0, static_cast<int32_t>(JD_I8)}) {
      Shape shape;
      shape.heads = 2;
      shape.kv_heads = 1;
      shape.beams = {3, 70, 1, 5};
      shape.prefix = {rig.scaled(5000, 1300), 60, 2100, 0};
      shape.suffix_lens = {3, 2, 0, 1};
      for (int i = 0; i < 20; ++i) {
        shape.beams.push_back(1 + i % 3);
        shape.prefix.push_back(20 + i);
        shape.suffix_lens.push_back(i % 4);
      }
      const Problem p = make(9, dtype, shape);
      Variant s;
      s.dtype = dtype;
      s.paged = cache != 0;
      s.cache_dtype = cache;
      const std::vector<uint32_t> together = bits_of(rig, p, s);
      EXPECT_EQ(bits_of(one, p, s), together);
      EXPECT_EQ(bits_of(seven, p, s), together);
      const int64_t width = p.c.heads * p.c.dv, total = p.c.beam_offsets.back() * width;
      for (const size_t b : {0, 1, 2, 3, 10}) {
        Variant other = s;
        other.seed = 60 + b;
        other.max_prefix = 131072;
        other.max_beams = 512;
        other.page_size = 64;
        const std::vector<uint32_t> bits = bits_of(b % 2 ? one : seven, alone(p, b), other);
        const int64_t first = p.c.beam_offsets[b], count = p.beams[b];
        EXPECT_TRUE(std::equal(bits.begin(), bits.begin() + count * width, together.begin() + first * width)) << b;
        EXPECT_TRUE(std::equal(bits.begin() + count * width, bits.end(), together.begin() + total + first * p.c.heads)) << b;
      }
    }
  }
}

// Beams in another order, with their columns of the ancestry; and some of them alone.
TEST_P(BeamAttention, permuting_beams_permutes_their_results) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    Shape shape;
    shape.heads = 6;
    shape.kv_heads = 2;
    shape.beams = {50};
    shape.prefix = {rig.scaled(2500, 300)};
    const Problem p = make(11, dtype, shape);
    Variant s;
    s.dtype = dtype;
    const std::vector<uint32_t> before = bits_of(rig, p, s);
    std::vector<int64_t> order(50);
    std::iota(order.begin(), order.end(), 0);
    std::mt19937_64 engine(3);
    std::shuffle(order.begin(), order.end(), engine);
    for (const int64_t count : {50, 11}) {
      Problem q = p;
      q.beams = {count};
      q.c.beam_offsets = {0, count};
      const int64_t width = p.c.heads * p.c.dqk, out = p.c.heads * p.c.dv;
      q.c.queries.resize(count * width);
      for (int64_t w = 0; w < count; ++w) {
        std::copy_n(p.c.queries.begin() + order[w] * width, width, q.c.queries.begin() + w * width);
        for (int64_t l = 0; l < p.c.levels; ++l) q.c.ancestry[l * 50 + w] = p.c.ancestry[l * 50 + order[w]];
      }
      const std::vector<uint32_t> after = bits_of(rig, q, s);
      for (int64_t w = 0; w < count; ++w) {
        EXPECT_TRUE(std::equal(after.begin() + w * out, after.begin() + (w + 1) * out, before.begin() + order[w] * out)) << w;
        EXPECT_TRUE(std::equal(after.begin() + count * out + w * 6, after.begin() + count * out + (w + 1) * 6,
                               before.begin() + 50 * out + order[w] * 6)) << w;
      }
    }
  }
}

// A search of four steps, as the header says: one cache in which nothing moves, with its ancestry, against one whose rows are copied
// to the beams that descend from them at every step.
TEST_P(BeamAttention, reordering_beams_copies_no_cache) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    const int64_t beams = 12, levels = 4;
    Shape shape;
    shape.beams = {beams};
    shape.prefix = {100};
    shape.levels = levels;
    Problem kept = make(12, dtype, shape);
    std::fill(kept.c.ancestry.begin(), kept.c.ancestry.end(), -1);
    Problem copied = kept;
    const int64_t row = kept.c.kv_heads * kept.c.dqk;  // dv = dqk
    for (std::vector<double> *x : {&kept.c.suffix_keys, &kept.c.suffix_values, &copied.c.suffix_keys, &copied.c.suffix_values}) {
      std::fill(x->begin(), x->end(), NAN);
    }
    Random random(21);
    Variant s;
    s.dtype = dtype;
    for (int64_t t = 0; t < levels; ++t) {
      std::vector<int64_t> parent(beams);
      for (int64_t &x : parent) x = random.integer(0, beams - 1);
      const Problem old_kept = kept, old_copied = copied;
      for (int64_t w = 0; w < beams; ++w) {
        for (int64_t l = 0; l < t; ++l) {
          kept.c.ancestry[l * beams + w] = old_kept.c.ancestry[l * beams + parent[w]];
          const int64_t to = (l * beams + w) * row, from = (l * beams + parent[w]) * row;
          std::copy_n(old_copied.c.suffix_keys.begin() + from, row, copied.c.suffix_keys.begin() + to);
          std::copy_n(old_copied.c.suffix_values.begin() + from, row, copied.c.suffix_values.begin() + to);
        }
        kept.c.ancestry[t * beams + w] = w;
        for (int64_t l = 0; l <= t; ++l) copied.c.ancestry[l * beams + w] = w;
      }
      const std::vector<double> k = random.values(beams * row, dtype, 2), v = random.values(beams * row, dtype);
      for (Problem *p : {&kept, &copied}) {
        std::copy(k.begin(), k.end(), p->c.suffix_keys.begin() + t * beams * row);
        std::copy(v.begin(), v.end(), p->c.suffix_values.begin() + t * beams * row);
        p->c.queries = k;  // any will do; heads = kv_heads
        p->c.suffix_lens = {t + 1};
      }
      compare(rig, kept, s, "step " + std::to_string(t));
      EXPECT_EQ(bits_of(rig, kept, s), bits_of(rig, copied, s)) << "step " << t;
    }
  }
}

TEST_P(BeamAttention, an_ancestor_that_is_none_is_reported_or_skipped) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    Shape shape;
    shape.heads = 4;
    shape.beams = {5, 7};
    shape.prefix = {40, 1030};
    shape.slots = 8;
    shape.suffix_lens = {3, 2};
    Problem p = make(13, dtype, shape);
    p.c.ancestry[(1 * 3 + 1) * 8 + 4] = 8;
    p.c.ancestry[(0 * 3 + 2) * 8 + 3] = -1;
    p.c.ancestry[(1 * 3 + 0) * 8 + 6] = INT32_MIN;
    p.c.ancestry[(0 * 3 + 1) * 8 + 5] = 99;  // of no beam
    p.c.ancestry[(1 * 3 + 2) * 8 + 0] = 99;  // of no level
    for (const bool paged : {false, true}) {
      Variant s;
      s.dtype = dtype;
      s.paged = paged;
      const Tensors strict = run(rig, p, s);
      EXPECT_EQ(strict.status, JD_OUT_OF_BOUNDS);
      for (const char *part : {"beam_attention: argument 'ancestry': expected a slot in 0..7, got -1 at position 19"}) {
        EXPECT_NE(strict.message.find(part), std::string::npos) << strict.message;
      }
      s.bounds = JD_BOUNDS_ZERO;
      compare(rig, p, s, "skipping");
      int64_t skipped = 0;
      Error error;
      jd_stream_take_skipped(rig.stream, &skipped, &error);
      EXPECT_EQ(skipped, 3);
    }
  }
}

TEST_P(BeamAttention, refused_requests_leave_the_others_alone) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    Shape shape;
    shape.beams = {2, 3, 1};
    shape.prefix = {40, 40, 40};
    Problem p = make(10, dtype, shape);
    Variant s;
    s.dtype = dtype;
    s.paged = true;
    PagedStore store(rig, shape_of(p, s), 2);
    store.append(dtype, p.prefix, p.c.keys, p.c.values);
    const int64_t width = p.c.heads * p.c.dv;
    std::vector<uint32_t> good;
    const auto refused = [&](const std::vector<std::string> &parts) {
      for (const int32_t bounds : {JD_BOUNDS_STRICT, JD_BOUNDS_ZERO}) {
        Variant variant = s;
        variant.bounds = bounds;
        const Tensors t = run(rig, plan_of(rig, p, variant), args_of(rig, p, variant, &store));
        int64_t skipped = 0;
        Error error;
        jd_stream_take_skipped(rig.stream, &skipped, &error);
        if (parts.empty()) {
          good = rig.bits(t.out);
          EXPECT_EQ(t.message, "");
          continue;
        }
        EXPECT_EQ(t.status, bounds == JD_BOUNDS_STRICT ? JD_OUT_OF_BOUNDS : JD_OK);
        EXPECT_EQ(skipped, bounds == JD_BOUNDS_STRICT ? 0 : 1);
        if (bounds == JD_BOUNDS_STRICT) {
          for (const std::string &part : parts) EXPECT_NE(t.message.find(part), std::string::npos) << t.message;
        }
        const std::vector<uint32_t> bits = rig.bits(t.out);
        EXPECT_TRUE(std::equal(bits.begin(), bits.begin() + 2 * width, good.begin()));
        EXPECT_TRUE(std::equal(bits.begin() + 5 * width, bits.end(), good.begin() + 5 * width));
      }
    };
    p.c.suffix_lens = {2, 2, 2};  // given, not left out
    refused({});
    for (const int64_t bad : {int64_t{-1}, store.num_pages, int64_t{INT32_MIN}}) {
      const int64_t page = store.table[4];
      store.table[4] = bad;
      refused({"beam_attention: argument 'page_table': expected a page in 0..11", "got " + std::to_string(bad) + " at position 4"});
      store.table[4] = page;
    }
    for (const int64_t bad : {-1, 41, 49}) {
      store.lengths[1] = bad;
      refused({"argument 'seq_lens': expected 0..40", "in sequence 1"});
    }
    store.lengths[1] = 40;
    for (const int64_t bad : {-1, 4}) {
      p.c.suffix_lens[1] = bad;
      refused({"argument 'suffix_lens': expected 0..3 (the levels of suffix_keys), got " + std::to_string(bad) + " at position 1"});
    }
  }
}

// On the cpu these are refused before the run (error_beam_attention_test).
TEST_P(BeamAttention, offsets_that_only_the_device_sees) {
  if (GetParam() == "cpu") return;
  Rig rig(GetParam());
  Shape shape;
  shape.beams = {2, 3, 1};
  shape.prefix = {40, 30, 20};
  const Problem p = make(15, JD_BF16, shape);
  Variant s;
  s.dtype = JD_BF16;
  s.offset_dtype = JD_I32;
  s.max_beams = 3;
  s.max_prefix = 40;
  const auto refused = [&](const std::vector<int64_t> &beams, const std::vector<int64_t> &prefix, const std::string &part) {
    jd_beam_attention_args a = args_of(rig, p, s, nullptr);
    if (!beams.empty()) a.beam_offsets = rig.integers(JD_I32, beams);
    if (!prefix.empty()) a.prefix_offsets = rig.integers(JD_I32, prefix);
    const Tensors t = run(rig, plan_of(rig, p, s), a);
    EXPECT_EQ(t.status, JD_OUT_OF_BOUNDS);
    EXPECT_NE(t.message.find(part), std::string::npos) << t.message;
  };
  refused({1, 2, 5, 6}, {}, "argument 'beam_offsets': expected the first offset to be 0, got 1");
  refused({0, 4, 5, 6}, {}, "argument 'beam_offsets': expected sequences of at most 3 rows");
  refused({0, 3, 2, 5}, {}, "argument 'beam_offsets': expected non-decreasing offsets");
  refused({0, 2, 5, 9}, {}, "argument 'beam_offsets': expected offsets of at most 6, got 9");
  refused({}, {0, 40, 30, 90}, "argument 'prefix_offsets': expected non-decreasing offsets");
  refused({}, {0, 50, 70, 90}, "argument 'prefix_offsets': expected sequences of at most 40 rows");
  refused({}, {0, 40, 70, 80}, "argument 'prefix_offsets': expected the last offset to be 90, got 80");
}

// A refused request has rows too, so that tensors may have more of them than a plan's requests can have together: whatever keeps partial results of
// the others' pieces must not go by them. (On the cpu the host refuses such offsets.)
TEST_P(BeamAttention, many_rows_of_refused_requests) {
  if (GetParam() == "cpu") return;
  Rig rig(GetParam(), 2);
  for (const bool paged : {false, true}) {
    // Few enough to be split over pieces if there were room, and too many.
    for (const int64_t refused : {100, 1000}) {
      for (const size_t good : {0, 1}) {
        Shape shape;
        shape.heads = shape.kv_heads = shape.levels = 1;
        shape.beams = {refused, refused};
        shape.prefix = {3, 3};
        shape.beams[good] = 4;
        shape.prefix[good] = 1030;
        const int32_t dtype = paged ? JD_BF16 : JD_F32;
        const Problem p = make(16, dtype, shape);
        Variant s;
        s.dtype = dtype;
        s.paged = paged;
        s.bounds = JD_BOUNDS_ZERO;
        s.lse = false;
        s.max_beams = 4;
        const std::vector<uint32_t> all = bits_of(rig, p, s), one = bits_of(rig, alone(p, good), s);
        EXPECT_TRUE(std::equal(one.begin(), one.end(), all.begin() + p.c.beam_offsets[good] * 32)) << refused << ", " << good;
        int64_t skipped = 0;
        Error error;
        jd_stream_take_skipped(rig.stream, &skipped, &error);
        EXPECT_EQ(skipped, 1);
      }
    }
  }
}

JD_INSTANTIATE_ON_DEVICES(BeamAttention);

}  // namespace
}  // namespace jindou::testing
