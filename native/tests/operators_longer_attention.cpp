// longer_attention through the C ABI against its float64 reference; and that all ways to the same rows give the same bits.
#include <functional>
#include <numeric>

#include "paged_support.h"
#include "reference/longer_attention.h"

namespace jindou::testing {
namespace {

using reference::LongerAttentionCase;

struct Variant {
  int32_t dtype = JD_F32, out_dtype = JD_F32;
  int32_t cache_dtype = 0;  // of pages; 0: dtype
  bool paged = false;
  int64_t page_size = 16, padding = 0;
  int32_t offset_dtype = JD_I64, bounds = JD_BOUNDS_STRICT;
  bool lse = true, scale_a_page = false;
  int64_t max_candidates = 0, max_recent = -1, max_history = 0;  // what the case has
  uint64_t seed = 5;                                            // of the page table
};

struct User {
  int64_t candidates, recent, history;
};

struct Shape {
  int64_t dqk = 32, heads = 2, kv_heads = 2, dv = 0;  // dv 0: dqk
  int64_t num_global = 3, num_shared = 1;
  std::vector<User> users = std::vector<User>(1);
};

struct Problem {
  LongerAttentionCase c;
  std::vector<User> users;
  int64_t own() const { return c.num_global - c.num_shared; }
  int64_t globals(size_t b) const { return c.num_shared + own() * users[b].candidates; }
  std::vector<int64_t> histories() const {
    std::vector<int64_t> n;
    for (const User &u : users) n.push_back(u.history);
    return n;
  }
};

Problem make(uint64_t seed, int32_t dtype, const Shape &s) {
  Random random(seed);
  Problem p;
  p.users = s.users;
  LongerAttentionCase &c = p.c;
  c.heads = s.heads;
  c.kv_heads = s.kv_heads;
  c.dqk = s.dqk;
  c.dv = s.dv ? s.dv : s.dqk;
  c.num_global = s.num_global;
  c.num_shared = s.num_shared;
  c.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(s.dqk)));
  std::vector<int64_t> rows, globals;
  for (size_t b = 0; b < p.users.size(); ++b) {
    globals.push_back(p.globals(b));
    rows.push_back(globals.back() + p.users[b].recent);
  }
  c.q_offsets = offsets_of(rows);
  c.global_offsets = offsets_of(globals);
  c.k_offsets = offsets_of(p.histories());
  c.queries = random.values(c.q_offsets.back() * c.heads * c.dqk, dtype, 2);
  c.keys = random.values(c.k_offsets.back() * c.kv_heads * c.dqk, dtype, 2);
  c.values = random.values(c.k_offsets.back() * c.kv_heads * c.dv, dtype);
  c.global_keys = random.values(c.global_offsets.back() * c.kv_heads * c.dqk, dtype, 2);
  c.global_values = random.values(c.global_offsets.back() * c.kv_heads * c.dv, dtype);
  return p;
}

// Which rows of a user stay, and whether its globals of candidates do: lists of rows of the tensors.
struct Choice {
  std::vector<int64_t> rows, globals;
};

// A problem of the users b of `order` with the rows and globals chosen for each.
Problem chosen(const Problem &p, const std::vector<size_t> &order, const std::vector<Choice> &choices, bool candidates_only) {
  Problem q = p;
  LongerAttentionCase &c = q.c;
  c.candidates_only = candidates_only;
  q.users.clear();
  for (auto *x : {&c.queries, &c.keys, &c.values, &c.global_keys, &c.global_values}) x->clear();
  const auto append = [](std::vector<double> &to, const std::vector<double> &from, int64_t row, int64_t width) {
    to.insert(to.end(), from.begin() + row * width, from.begin() + (row + 1) * width);
  };
  std::vector<int64_t> rows, globals;
  for (size_t i = 0; i < order.size(); ++i) {
    const size_t b = order[i];
    User user = p.users[b];
    const int64_t kept = static_cast<int64_t>(choices[i].globals.size());
    user.candidates = p.own() > 0 ? (kept - p.c.num_shared) / p.own() : 0;
    user.recent = static_cast<int64_t>(choices[i].rows.size()) - (candidates_only ? kept - p.c.num_shared : kept);
    q.users.push_back(user);
    rows.push_back(static_cast<int64_t>(choices[i].rows.size()));
    globals.push_back(kept);
    for (const int64_t row : choices[i].rows) append(c.queries, p.c.queries, row, p.c.heads * p.c.dqk);
    for (const int64_t row : choices[i].globals) {
      append(c.global_keys, p.c.global_keys, row, p.c.kv_heads * p.c.dqk);
      append(c.global_values, p.c.global_values, row, p.c.kv_heads * p.c.dv);
    }
    for (int64_t row = p.c.k_offsets[b]; row < p.c.k_offsets[b + 1]; ++row) {
      append(c.keys, p.c.keys, row, p.c.kv_heads * p.c.dqk);
      append(c.values, p.c.values, row, p.c.kv_heads * p.c.dv);
    }
  }
  c.q_offsets = offsets_of(rows);
  c.global_offsets = offsets_of(globals);
  c.k_offsets = offsets_of(q.histories());
  return q;
}

class LongerAttention : public ::testing::TestWithParam<std::string> {
 protected:
  struct Tensors {
    jd_tensor out = 0, lse = 0;
    jd_status status = JD_OK;  // of the run or of the synchronisation
    std::string message;
  };

  static PagedShape shape_of(const Problem &p, const Variant &s) {
    PagedShape shape;
    shape.cache_dtype = s.cache_dtype ? s.cache_dtype : s.dtype;
    shape.page_size = s.page_size;
    shape.heads = p.c.kv_heads;
    shape.dim_k = p.c.dqk;
    shape.dim_v = p.c.dv;
    shape.batch = static_cast<int64_t>(p.users.size());
    shape.max_pages = 1;
    for (const int64_t n : p.histories()) shape.max_pages = std::max(shape.max_pages, (n + s.page_size - 1) / s.page_size);
    shape.scale_a_page = s.scale_a_page;
    shape.padding = s.padding;
    return shape;
  }

  // The tensors of a run; `store` is null for a history in rows.
  jd_longer_attention_args args_of(Rig &rig, const Problem &p, const Variant &s, PagedStore *store) {
    const LongerAttentionCase &c = p.c;
    jd_longer_attention_args a{};
    a.struct_size = sizeof a;
    a.queries = rig.tensor(s.dtype, {c.q_offsets.back(), c.heads, c.dqk}, c.queries, s.padding);
    a.q_offsets = rig.integers(s.offset_dtype, c.q_offsets);
    if (c.num_global > 0) {
      a.global_keys = rig.tensor(s.dtype, {c.global_offsets.back(), c.kv_heads, c.dqk}, c.global_keys, s.padding);
      a.global_values = rig.tensor(s.dtype, {c.global_offsets.back(), c.kv_heads, c.dv}, c.global_values, s.padding);
      a.global_offsets = rig.integers(s.offset_dtype, c.global_offsets);
    }
    if (store) {
      const jd_paged_cache_args pages = store->args();
      a.key_pages = pages.key_pages;
      a.value_pages = pages.value_pages;
      a.page_table = pages.page_table;
      a.seq_lens = pages.seq_lens;
      a.key_scales = pages.key_scales;
      a.value_scales = pages.value_scales;
    } else {
      a.keys = rig.tensor(s.dtype, {c.k_offsets.back(), c.kv_heads, c.dqk}, c.keys, s.padding);
      a.values = rig.tensor(s.dtype, {c.k_offsets.back(), c.kv_heads, c.dv}, c.values, s.padding);
      a.k_offsets = rig.integers(s.offset_dtype, c.k_offsets);
    }
    a.out = rig.poisoned(s.out_dtype ? s.out_dtype : s.dtype, {c.q_offsets.back(), c.heads, c.dv}, s.padding);
    if (s.lse) a.lse = rig.poisoned(JD_F32, {c.q_offsets.back(), c.heads}, s.padding);
    return a;
  }

  jd_plan plan_of(Rig &rig, const Problem &p, const Variant &s) {
    const LongerAttentionCase &c = p.c;
    jd_longer_attention_desc desc{};
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
    desc.num_global = static_cast<int32_t>(c.num_global);
    desc.num_shared_globals = static_cast<int32_t>(c.num_shared);
    desc.candidates_only = c.candidates_only;
    desc.bounds = s.bounds;
    for (const User &u : p.users) {
      desc.max_candidates = std::max(desc.max_candidates, u.candidates);
      desc.max_recent = std::max(desc.max_recent, u.recent);
      desc.max_history = std::max(desc.max_history, u.history);
    }
    desc.max_batch = std::max<int64_t>(static_cast<int64_t>(p.users.size()), 1);
    desc.max_candidates = std::max<int64_t>(s.max_candidates ? s.max_candidates : desc.max_candidates, 1);
    desc.max_history = std::max<int64_t>(s.max_history ? s.max_history : desc.max_history, 1);
    if (s.max_recent >= 0) desc.max_recent = s.max_recent;
    Error error;
    jd_plan plan = 0;
    rig.check(jd_longer_attention_plan(rig.device, &desc, &plan, &error), error);
    return rig.keep(plan);
  }

  Tensors run(Rig &rig, jd_plan plan, const jd_longer_attention_args &a) {
    Error error;
    Tensors t{a.out, a.lse, JD_OK, ""};
    t.status = jd_longer_attention_run(plan, rig.stream, &a, &error);
    if (t.status == JD_OK) t.status = jd_stream_synchronize(rig.stream, &error);
    if (t.status != JD_OK) t.message = error.message;
    return t;
  }

  Tensors run(Rig &rig, const Problem &p, const Variant &s) {
    if (!s.paged) return run(rig, plan_of(rig, p, s), args_of(rig, p, s, nullptr));
    PagedStore store(rig, shape_of(p, s), s.seed);
    store.append(s.dtype, p.histories(), p.c.keys, p.c.values);
    return run(rig, plan_of(rig, p, s), args_of(rig, p, s, &store));
  }

  // A row is the bits of its outputs and its lse.
  using Row = std::vector<uint32_t>;
  std::vector<Row> rows_of(Rig &rig, const Problem &p, const Variant &s) {
    const Tensors t = run(rig, p, s);
    EXPECT_EQ(t.message, "");
    const std::vector<uint32_t> out = rig.bits(t.out), lse = rig.bits(t.lse);
    std::vector<Row> rows;
    const int64_t width = p.c.heads * p.c.dv;
    for (int64_t i = 0; i < p.c.q_offsets.back(); ++i) {
      Row row(out.begin() + i * width, out.begin() + (i + 1) * width);
      row.insert(row.end(), lse.begin() + i * p.c.heads, lse.begin() + (i + 1) * p.c.heads);
      rows.push_back(row);
    }
    return rows;
  }

  void expect_results(Rig &rig, const LongerAttentionCase &c, const Tensors &t, const Variant &s, const std::string &what) {
    EXPECT_EQ(t.message, "") << what;
    const reference::LongerAttentionResult expected = reference::longer_attention(c);
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
      expect_near(lse, wanted, [&](size_t i) { return tolerance::log_sum_exp(c.dqk, score, wanted[i], s.dtype); }, what + ", lse");
    }
    bool gaps_intact = false;
    rig.bits(t.out, &gaps_intact);
    EXPECT_TRUE(gaps_intact) << what << ": wrote between the rows of out";
  }

  void compare(Rig &rig, const Problem &p, const Variant &s, const std::string &what) {
    LongerAttentionCase c = p.c;
    if (!s.paged) return expect_results(rig, c, run(rig, p, s), s, what);
    PagedStore store(rig, shape_of(p, s), s.seed);
    store.append(s.dtype, p.histories(), p.c.keys, p.c.values);
    const Tensors t = run(rig, plan_of(rig, p, s), args_of(rig, p, s, &store));
    const std::vector<int64_t> zeros(p.users.size(), 0);
    c.keys = store.as_kept(c.keys, c.dqk, store.key_scale, p.histories(), zeros);
    c.values = store.as_kept(c.values, c.dv, store.value_scale, p.histories(), zeros);
    expect_results(rig, c, t, s, what);
  }

  // User b: its shared globals and events; its candidates' globals; all.
  static Choice without_candidates(const Problem &p, size_t b) {
    Choice c;
    const int64_t globals = p.globals(b);
    for (int64_t i = 0; i < p.c.num_shared; ++i) {
      c.rows.push_back(p.c.q_offsets[b] + i);
      c.globals.push_back(p.c.global_offsets[b] + i);
    }
    for (int64_t i = 0; i < p.users[b].recent; ++i) c.rows.push_back(p.c.q_offsets[b] + globals + i);
    return c;
  }
  static Choice of_candidates(const Problem &p, size_t b, const std::vector<int64_t> &candidates) {
    Choice c;
    for (int64_t i = 0; i < p.c.num_shared; ++i) c.globals.push_back(p.c.global_offsets[b] + i);
    for (const int64_t candidate : candidates) {
      for (int64_t i = 0; i < p.own(); ++i) {
        const int64_t at = p.c.num_shared + candidate * p.own() + i;
        c.rows.push_back(p.c.q_offsets[b] + at);
        c.globals.push_back(p.c.global_offsets[b] + at);
      }
    }
    return c;
  }
  static Choice everything(const Problem &p, size_t b) {
    Choice c;
    for (int64_t i = p.c.q_offsets[b]; i < p.c.q_offsets[b + 1]; ++i) c.rows.push_back(i);
    for (int64_t i = p.c.global_offsets[b]; i < p.c.global_offsets[b + 1]; ++i) c.globals.push_back(i);
    return c;
  }

  // The rows of a run of these users and choices are those of `all`.
  void expect_rows(Rig &rig, const Problem &p, const std::vector<size_t> &order, const std::vector<Choice> &choices,
                   bool candidates_only, const Variant &s, const std::vector<Row> &all, const std::string &what) {
    const std::vector<Row> some = rows_of(rig, chosen(p, order, choices, candidates_only), s);
    size_t at = 0;
    for (const Choice &choice : choices) {
      for (const int64_t row : choice.rows) {
        ASSERT_LT(at, some.size());
        EXPECT_EQ(some[at], all[row]) << what << ": row " << row;
        ++at;
      }
    }
    EXPECT_EQ(at, some.size()) << what;
  }
};

TEST_P(LongerAttention, matches_the_reference_for_every_dtype_and_head_dim) {
  Rig narrow(GetParam(), 1), wide(GetParam(), 16);  // multiprocessors of simt: large tiles, small tiles
  for (const int32_t dtype : {JD_F32, JD_F16, JD_BF16}) {
    for (const int32_t cache : {0, static_cast<int32_t>(dtype), static_cast<int32_t>(JD_F8_E4M3), static_cast<int32_t>(JD_I8)}) {
      for (const int64_t dim : {32, 64, 96, 128, 160, 256}) {
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
        shape.num_global = dim % 64 == 0 ? 5 : 3;
        shape.num_shared = 2;
        shape.users = {{2, 9, 133}, {0, 1, 1}, {3, 40, 70}};
        compare(dim % 64 == 0 ? wide : narrow, make(static_cast<uint64_t>(dim), dtype, shape), s,
                std::string(jd_dtype_name(dtype)) + " over " + (cache ? jd_dtype_name(cache) : "rows") + ", dim " + std::to_string(dim));
      }
    }
  }
}

TEST_P(LongerAttention, head_dims_of_keys_and_values_may_differ_and_heads_be_grouped) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    for (const auto &[dqk, dv] : {std::pair<int64_t, int64_t>{192, 128}, {32, 256}, {64, 32}}) {
      for (const auto &[heads, kv_heads] : {std::pair<int64_t, int64_t>{3, 1}, {6, 2}, {17, 1}}) {
        Variant s;
        s.dtype = dtype;
        s.paged = heads == 6;
        s.cache_dtype = heads == 6 ? JD_I8 : 0;
        Shape shape;
        shape.dqk = dqk;
        shape.dv = dv;
        shape.heads = heads;
        shape.kv_heads = kv_heads;
        shape.users = {{2, 7, 45}, {1, 12, 12}};
        compare(rig, make(3, dtype, shape), s, std::to_string(dqk) + " and " + std::to_string(dv) + ", " + std::to_string(heads));
      }
    }
  }
}

TEST_P(LongerAttention, histories_and_rows_around_every_tile_page_and_piece) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    for (const int64_t n : {0, 1, 15, 17, 31, 32, 33, 63, 64, 65, 127, 129, 1023, 1025, 2047, 2049}) {
      for (const int64_t recent : {0, 1, 16, 31, 47, 48, 49, 63, 64, 65, 127, 129}) {
        if (recent > n || (n > 129 && recent % 3 != n % 3)) continue;
        if (!rig.fast() && (n > 129 ? recent > 17 : (n + recent) % 5 != 1)) continue;
        Variant s;
        s.dtype = dtype;
        s.paged = n % 2 == 1;
        s.page_size = n % 3 ? 16 : 64;
        s.offset_dtype = n % 2 ? JD_I32 : JD_I64;
        Shape shape;
        shape.heads = shape.kv_heads = 1;
        shape.num_global = 1 + n % 4;
        shape.num_shared = n % 2;
        shape.users = {{recent % 4, recent, n}};
        compare(rig, make(static_cast<uint64_t>(n), dtype, shape), s,
                std::to_string(n) + " events, " + std::to_string(recent) + " rows, " + jd_dtype_name(dtype));
      }
    }
  }
}

// More shared globals than a tile of keys, more globals of a candidate than rows of a tile.
TEST_P(LongerAttention, many_globals) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    for (const auto &[g, shared] : {std::pair<int64_t, int64_t>{31, 31}, {33, 32}, {65, 64}, {70, 0}, {67, 66}, {256, 256}}) {
      if (!rig.fast() && g > 70) continue;
      for (const int32_t cache : {0, static_cast<int32_t>(JD_F8_E4M3)}) {
        Variant s;
        s.dtype = dtype;
        s.paged = cache != 0;
        s.cache_dtype = cache;
        Shape shape;
        shape.heads = shape.kv_heads = 1;
        shape.num_global = g;
        shape.num_shared = shared;
        shape.users = {{shared < g ? 2 : 0, 5, 40}};
        compare(rig, make(static_cast<uint64_t>(g), dtype, shape), s, std::to_string(g) + " globals, shared " + std::to_string(shared));
      }
    }
  }
}

TEST_P(LongerAttention, without_globals_candidates_rows_or_history) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    for (const bool paged : {false, true}) {
      for (const auto &[g, shared] : {std::pair<int64_t, int64_t>{0, 0}, {1, 0}, {1, 1}, {3, 2}}) {
        Variant s;
        s.dtype = dtype;
        s.paged = paged;
        Shape some, none, no_user;
        some.num_global = none.num_global = no_user.num_global = g;
        some.num_shared = none.num_shared = no_user.num_shared = shared;
        const int64_t many = shared < g ? 3 : 0, one = shared < g ? 1 : 0;
        some.users = {{many, 0, 0}, {0, 0, 20}, {one, 30, 30}, {0, 0, 0}, {many, 5, 33}};
        none.users = {{0, 0, 0}};
        no_user.users.clear();
        const std::string what = std::to_string(g) + " globals, shared " + std::to_string(shared);
        compare(rig, make(4, dtype, some), s, what);
        compare(rig, make(4, dtype, none), s, what + ", no row");
        compare(rig, make(4, dtype, no_user), s, what + ", no user");
      }
    }
  }
}

TEST_P(LongerAttention, extreme_scales) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    for (const double scale : {0.0, -0.5, 20.0}) {
      Shape shape;
      shape.users = {{2, 40, 100}};
      Problem p = make(2, dtype, shape);
      p.c.scale = scale;
      Variant s;
      s.dtype = dtype;
      compare(rig, p, s, "scale " + std::to_string(scale));
    }
  }
}

TEST_P(LongerAttention, the_layer_behind_is_causal_among_its_own_rows) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    Variant s;
    s.dtype = dtype;
    Shape shape;
    shape.num_global = shape.num_shared = 4;
    const int64_t rows = rig.scaled(700, 150);
    shape.users = {{0, rows, rows}, {0, 3, 3}};
    compare(rig, make(14, dtype, shape), s, jd_dtype_name(dtype));
  }
}

TEST_P(LongerAttention, a_history_of_10007_events) {
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
    shape.users = {{rig.scaled(20, 3), rig.scaled(100, 10), rig.scaled(10007, 2101)}};
    compare(rig, make(1, JD_BF16, shape), s, std::to_string(shape.users[0].history) + " events");
  }
}

// Where all globals are shared the mask is softmax_attention's with num_global, over globals and events in one tensor.
TEST_P(LongerAttention, globals_that_see_everything_are_those_of_softmax_attention) {
  Rig rig(GetParam());
  Shape shape;
  shape.num_global = shape.num_shared = 3;
  shape.users = {{0, 20, 50}, {0, 1, 7}};
  const Problem p = make(15, JD_F32, shape);
  const LongerAttentionCase &c = p.c;
  jd_softmax_attention_desc d{};
  d.struct_size = sizeof d;
  d.dtype = JD_F32;
  d.offset_dtype = JD_I64;
  d.num_heads = static_cast<int32_t>(c.heads);
  d.head_dim_qk = d.head_dim_v = static_cast<int32_t>(c.dqk);
  d.scale = static_cast<float>(c.scale);
  d.mask = JD_MASK_CAUSAL;
  d.num_global = 3;
  d.max_batch = 2;
  d.max_queries = d.max_keys = 64;
  std::vector<double> keys, values;
  for (size_t b = 0; b < 2; ++b) {
    const int64_t width = c.kv_heads * c.dqk;
    const auto join = [&](std::vector<double> &to, const std::vector<double> &globals, const std::vector<double> &events) {
      to.insert(to.end(), globals.begin() + c.global_offsets[b] * width, globals.begin() + c.global_offsets[b + 1] * width);
      to.insert(to.end(), events.begin() + c.k_offsets[b] * width, events.begin() + c.k_offsets[b + 1] * width);
    };
    join(keys, c.global_keys, c.keys);
    join(values, c.global_values, c.values);
  }
  Error error;
  jd_plan plan = 0;
  rig.check(jd_softmax_attention_plan(rig.device, &d, &plan, &error), error);
  rig.keep(plan);
  jd_softmax_attention_args a{};
  a.struct_size = sizeof a;
  a.queries = rig.tensor(JD_F32, {c.q_offsets.back(), c.heads, c.dqk}, c.queries);
  a.q_offsets = rig.integers(JD_I64, c.q_offsets);
  a.keys = rig.tensor(JD_F32, {63, c.kv_heads, c.dqk}, keys);
  a.values = rig.tensor(JD_F32, {63, c.kv_heads, c.dv}, values);
  a.k_offsets = rig.integers(JD_I64, {0, 53, 63});
  a.out = rig.poisoned(JD_F32, {c.q_offsets.back(), c.heads, c.dv});
  rig.check(jd_softmax_attention_run(plan, rig.stream, &a, &error), error);
  const std::vector<double> expected = rig.read(a.out), got = rig.read(run(rig, p, Variant()).out);
  expect_near(got, expected, [](size_t) { return 2e-5; }, "softmax_attention with num_global");
}

// The user's own rows in one run and the candidates' in others, over rows or pages, are the rows of one run of all: bit by bit.
TEST_P(LongerAttention, cached_is_uncached) {
  Rig rig(GetParam(), 2), one(GetParam(), 1), seven(GetParam(), 7);
  for (const int32_t dtype : {JD_F32, JD_F16, JD_BF16}) {
    for (const int32_t cache : {0, static_cast<int32_t>(dtype), static_cast<int32_t>(JD_F8_E4M3), static_cast<int32_t>(JD_I8)}) {
      Shape shape;
      shape.dqk = 64;
      shape.heads = 4;
      shape.num_global = 5;
      shape.num_shared = 2;
      shape.users = {{5, 30, rig.scaled(2500, 1100)}, {1, 17, 100}, {9, 3, 3}};
      if (!rig.fast()) shape.users[0].recent = 9;
      const Problem p = make(20, dtype, shape);
      Variant s;
      s.dtype = dtype;
      s.paged = cache != 0;
      s.cache_dtype = cache;
      s.page_size = 32;
      const std::string what = std::string(jd_dtype_name(dtype)) + " over " + (cache ? jd_dtype_name(cache) : "rows");
      const std::vector<Row> all = rows_of(rig, p, s);
      expect_rows(seven, p, {2, 0, 1}, {without_candidates(p, 2), without_candidates(p, 0), without_candidates(p, 1)}, false, s, all,
                  what + ", users");
      Variant other = s;
      other.max_candidates = 300;
      other.max_history = 131072;
      if (cache != JD_F8_E4M3) other.seed = 9;  // it also draws the scales of fp8
      other.page_size = 64;
      expect_rows(one, p, {1, 2, 0}, {of_candidates(p, 1, {0}), of_candidates(p, 2, {8, 0, 3, 4, 1, 2, 7, 6, 5}),
                                      of_candidates(p, 0, {4, 0, 2})}, true, other, all, what + ", candidates");
      for (const int64_t candidate : {0, 4}) {
        expect_rows(rig, p, {0}, {of_candidates(p, 0, {candidate})}, true, other, all, what + ", one candidate");
      }
      if (cache == dtype) {  // pages of the same dtype change no bit
        Variant rows = s;
        rows.paged = false;
        EXPECT_EQ(rows_of(rig, p, rows), all) << what;
      }
    }
  }
}

// Neither on the batch, nor on what the plan declared, nor on threads.
TEST_P(LongerAttention, bits_depend_on_the_user_alone) {
  Rig rig(GetParam(), 2), one(GetParam(), 1), seven(GetParam(), 7);
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    for (const int32_t cache : {0, static_cast<int32_t>(JD_I8)}) {
      Shape shape;
      shape.heads = 2;
      shape.kv_heads = 1;
      shape.users = {{3, 20, rig.scaled(5000, 1300)}, {40, 60, 60}, {1, 7, 2100}, {2, 0, 0}};
      for (int i = 0; i < 12; ++i) shape.users.push_back({i % 4, i, 20 + i});
      const Problem p = make(9, dtype, shape);
      Variant s;
      s.dtype = dtype;
      s.paged = cache != 0;
      s.cache_dtype = cache;
      const std::vector<Row> together = rows_of(rig, p, s);
      EXPECT_EQ(rows_of(one, p, s), together);
      EXPECT_EQ(rows_of(seven, p, s), together);
      std::vector<size_t> order(p.users.size());
      std::iota(order.begin(), order.end(), size_t{0});
      std::mt19937_64 engine(3);
      std::shuffle(order.begin(), order.end(), engine);
      std::vector<Choice> choices;
      for (const size_t b : order) choices.push_back(everything(p, b));
      expect_rows(rig, p, order, choices, false, s, together, "permuted");
      for (const size_t b : {0, 1, 2, 3, 10}) {
        Variant other = s;
        other.seed = 60 + b;
        other.max_history = 131072;
        other.max_recent = 500;
        other.max_candidates = 64;
        other.page_size = 64;
        expect_rows(b % 2 ? one : seven, p, {b}, {everything(p, b)}, false, other, together, "alone");
      }
    }
  }
}

// A candidate of NaNs changes no row but its own.
TEST_P(LongerAttention, nobody_sees_a_candidate_but_itself) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    Shape shape;
    shape.num_global = 4;
    shape.num_shared = 1;
    shape.users = {{3, 12, 70}, {2, 4, 4}};
    const Problem p = make(8, dtype, shape);
    Variant s;
    s.dtype = dtype;
    const std::vector<Row> before = rows_of(rig, p, s);
    for (const int64_t candidate : {0, 1}) {
      Problem q = p;
      const int64_t first = q.c.num_shared + candidate * q.own(), last = first + q.own();
      std::fill(q.c.global_keys.begin() + first * 64, q.c.global_keys.begin() + last * 64, NAN);
      std::fill(q.c.global_values.begin() + first * 64, q.c.global_values.begin() + last * 64, NAN);
      const std::vector<Row> after = rows_of(rig, q, s);
      for (size_t i = 0; i < before.size(); ++i) {
        const bool own = static_cast<int64_t>(i) >= first && static_cast<int64_t>(i) < last;
        EXPECT_EQ(before[i] == after[i], !own) << "row " << i << ", candidate " << candidate;
      }
    }
  }
}

// Events behind a row's own and rows of the page table behind the history are not looked at by it, whatever they are.
TEST_P(LongerAttention, an_event_does_not_see_later_ones) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    Shape shape;
    shape.users = {{1, 60, 70}};
    const Problem p = make(18, dtype, shape);
    Variant s;
    s.dtype = dtype;
    const std::vector<Row> before = rows_of(rig, p, s);
    Problem q = p;
    const int64_t changed = 40;
    for (int64_t i = changed * 64; i < 70 * 64; ++i) {
      q.c.keys[i] = -q.c.keys[i];
      q.c.values[i] = 3;
    }
    const std::vector<Row> after = rows_of(rig, q, s);
    for (int64_t i = 0; i < static_cast<int64_t>(before.size()); ++i) {
      const int64_t event = 10 + i - p.globals(0);
      EXPECT_EQ(before[i] == after[i], i >= p.globals(0) && event < changed) << "row " << i;
    }
  }
}

TEST_P(LongerAttention, refused_users_leave_the_others_alone) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    Shape shape;
    shape.num_global = 3;
    shape.num_shared = 1;
    shape.users = {{1, 2, 40}, {2, 4, 40}, {1, 1, 40}};
    const Problem p = make(10, dtype, shape);
    Variant s;
    s.dtype = dtype;
    s.paged = true;
    PagedStore store(rig, shape_of(p, s), 2);
    store.append(dtype, p.histories(), p.c.keys, p.c.values);
    const std::vector<uint32_t> good = rig.bits(run(rig, plan_of(rig, p, s), args_of(rig, p, s, &store)).out);
    const int64_t width = p.c.heads * p.c.dv;
    const auto refused = [&](const std::string &part, const std::function<void(jd_longer_attention_args &)> &change) {
      for (const int32_t bounds : {JD_BOUNDS_STRICT, JD_BOUNDS_ZERO}) {
        Variant variant = s;
        variant.bounds = bounds;
        jd_longer_attention_args a = args_of(rig, p, variant, &store);
        change(a);
        const Tensors t = run(rig, plan_of(rig, p, variant), a);
        int64_t skipped = 0;
        Error error;
        jd_stream_take_skipped(rig.stream, &skipped, &error);
        EXPECT_EQ(t.status, bounds == JD_BOUNDS_STRICT ? JD_OUT_OF_BOUNDS : JD_OK) << part;
        EXPECT_EQ(skipped, bounds == JD_BOUNDS_STRICT ? 0 : 1) << part;
        if (bounds == JD_BOUNDS_STRICT) {
          EXPECT_NE(t.message.find("longer_attention: argument " + part), std::string::npos) << t.message;
        }
        const std::vector<uint32_t> bits = rig.bits(t.out);
        const int64_t first = p.c.q_offsets[1] * width, last = p.c.q_offsets[2] * width;
        EXPECT_TRUE(std::equal(bits.begin(), bits.begin() + first, good.begin())) << part;
        EXPECT_TRUE(std::equal(bits.begin() + last, bits.end(), good.begin() + last)) << part;
      }
    };
    refused("'q_offsets': expected at most 3 queries behind the globals (the events of the history, to max_recent of the plan; none with candidates_only), "
            "got 4 in sequence 1", [&](auto &a) { a.seq_lens = rig.integers(JD_I32, {40, 3, 40}); });
    refused("'seq_lens'", [&](auto &a) { a.seq_lens = rig.integers(JD_I32, {40, -1, 40}); });
    refused("'page_table': expected a page", [&](auto &a) {
      std::vector<double> table(store.table.begin(), store.table.end());
      table[4] = -1;
      a.page_table = rig.tensor(JD_I32, {3, store.shape.max_pages}, table);
    });
  }
}

// Not the sum of candidates and events alone: what one user leaves of its candidates is not another's events. The host knows a user's
// events on the cpu, whatever its history is in; elsewhere the kernels find them.
TEST_P(LongerAttention, no_user_has_more_events_among_its_queries_than_declared) {
  Rig rig(GetParam());
  const bool on_host = std::strcmp(rig.info.backend, "cpu") == 0;
  for (const bool paged : {false, true}) {
    Shape shape;
    shape.users = {{2, 3, 40}, {1, 4, 40}, {2, 1, 40}};  // 2 globals a candidate: user 1 has room for 6 events by the sum
    const Problem p = make(21, JD_F32, shape);
    Variant s;
    s.paged = paged;
    const Tensors allowed = run(rig, p, s);
    ASSERT_EQ(allowed.message, "");
    const std::vector<uint32_t> good = rig.bits(allowed.out);
    const int64_t width = p.c.heads * p.c.dv;
    for (const int32_t bounds : {JD_BOUNDS_STRICT, JD_BOUNDS_ZERO}) {
      Variant fewer = s;
      fewer.max_recent = 3;
      fewer.bounds = bounds;
      const Tensors t = run(rig, p, fewer);
      int64_t skipped = 0;
      Error error;
      jd_stream_take_skipped(rig.stream, &skipped, &error);
      const bool refused = on_host || bounds == JD_BOUNDS_STRICT;
      EXPECT_EQ(t.status, on_host ? JD_INVALID_ARGUMENT : refused ? JD_OUT_OF_BOUNDS : JD_OK);
      EXPECT_EQ(skipped, refused ? 0 : 1);
      if (refused) {
        EXPECT_NE(t.message.find("longer_attention: argument 'q_offsets': expected at most 3 queries behind the globals"),
                  std::string::npos) << t.message;
        EXPECT_NE(t.message.find("got 4 in sequence 1"), std::string::npos) << t.message;
      }
      const std::vector<uint32_t> bits = rig.bits(t.out);
      if (on_host) {
        for (const double x : rig.read(t.out)) EXPECT_TRUE(std::isnan(x)) << "nothing is written";
        continue;
      }
      const int64_t first = p.c.q_offsets[1] * width, last = p.c.q_offsets[2] * width;
      EXPECT_TRUE(std::equal(bits.begin(), bits.begin() + first, good.begin()));
      EXPECT_TRUE(std::equal(bits.begin() + last, bits.end(), good.begin() + last));
    }
  }
}

// One user whose numbers do not fit.
TEST_P(LongerAttention, rows_and_globals_have_to_fit_together) {
  Rig rig(GetParam());
  const auto refused = [&](int64_t rows, int64_t globals, int64_t events, bool candidates_only, const std::string &part) {
    Problem p;
    LongerAttentionCase &c = p.c;
    p.users = {{5, 10, events}};
    c.num_global = 3;
    c.num_shared = 1;
    c.candidates_only = candidates_only;
    c.q_offsets = {0, rows};
    c.global_offsets = {0, globals};
    c.k_offsets = {0, events};
    c.queries.assign(rows * c.dqk, 1);
    c.global_keys.assign(globals * c.dqk, 1);
    c.global_values.assign(globals * c.dv, 1);
    c.keys.assign(events * c.dqk, 1);
    c.values.assign(events * c.dv, 1);
    const Tensors t = run(rig, p, Variant());
    EXPECT_NE(t.status, JD_OK) << part;
    EXPECT_NE(t.message.find("longer_attention: argument " + part), std::string::npos) << t.message;
    for (const double x : rig.read(t.out)) EXPECT_TRUE(std::isnan(x)) << "nothing is written";
  };
  refused(4, 4, 9, false, "'global_offsets': expected 1 shared globals and whole candidates behind them, got 4 globals in sequence 0");
  refused(4, 0, 9, false, "'global_offsets': expected 1 shared globals and whole candidates behind them, got 0 globals in sequence 0");
  refused(4, 5, 9, false, "'q_offsets': expected at least 5 queries (the globals asked for), got 4 in sequence 0");
  refused(3, 5, 9, true, "'q_offsets': expected at least 4 queries (the globals asked for), got 3 in sequence 0");
  refused(8, 5, 2, false, "'q_offsets': expected at most 2 queries behind the globals");
  refused(5, 5, 9, true, "'q_offsets': expected at most 0 queries behind the globals");
}

// A refused user has rows too, so that tensors may have more of them than a plan's users can have together: whatever keeps partial results of
// the others' pieces must not go by them. (On the cpu the host refuses such offsets.)
TEST_P(LongerAttention, many_rows_of_refused_users) {
  if (GetParam() == "cpu") return;
  Rig rig(GetParam(), 2);
  // Few enough to be split over pieces if there were room, and too many.
  for (const int64_t refused : {100, 1000}) {
    for (const size_t good : {0, 1}) {
      Shape shape;
      shape.heads = shape.kv_heads = 1;
      shape.users = {{1, refused, refused}, {1, refused, refused}};
      shape.users[good] = {1, 2, 1030};
      const Problem p = make(17, JD_BF16, shape);
      Variant s;
      s.dtype = JD_BF16;
      s.bounds = JD_BOUNDS_ZERO;
      s.max_recent = 2;
      const std::vector<Row> all = rows_of(rig, p, s);
      expect_rows(rig, p, {good}, {everything(p, good)}, false, s, all, std::to_string(refused) + " refused");
      int64_t skipped = 0;
      Error error;
      jd_stream_take_skipped(rig.stream, &skipped, &error);
      EXPECT_EQ(skipped, 1);
    }
  }
}

JD_INSTANTIATE_ON_DEVICES(LongerAttention);

}  // namespace
}  // namespace jindou::testing
