// What the architecture promises of every attention operator, as properties: a user's result has the same bits whatever the batch, its
// order and its parts, whichever candidates are asked beside each other; and what is computed over parts of the keys adds up to
// the whole.
#include <functional>
#include <map>

#include "operators_support.h"

namespace jindou::testing {
namespace {

using Bits = std::vector<uint32_t>;
using Order = std::vector<size_t>;  // numbers of users, or of a user's rows

constexpr int64_t kHeads = 4, kKvHeads = 2, kDim = 64;

// Rows of every user.
struct Rows {
  int64_t width = 1;
  std::vector<std::vector<double>> of;  // [users][rows * width]

  static Rows random(uint64_t seed, const std::vector<int64_t> &lengths, int64_t width, int32_t dtype) {
    Rows rows{width, {}};
    Random random(seed);
    for (const int64_t n : lengths) rows.of.push_back(random.values(n * width, dtype, 1.5));
    return rows;
  }
  int64_t count(size_t user) const { return static_cast<int64_t>(of[user].size()) / width; }
  std::vector<int64_t> counts(const Order &users) const {
    std::vector<int64_t> all;
    for (const size_t u : users) all.push_back(count(u));
    return all;
  }
  std::vector<double> joined(const Order &users) const {
    std::vector<double> all;
    for (const size_t u : users) all.insert(all.end(), of[u].begin(), of[u].end());
    return all;
  }
  // Every user's rows, of user `user` those of `chosen` in that order.
  Rows with(size_t user, const Order &chosen) const {
    Rows rows = *this;
    rows.of[user].clear();
    for (const size_t i : chosen) {
      const auto begin = of[user].begin() + static_cast<int64_t>(i) * width;
      rows.of[user].insert(rows.of[user].end(), begin, begin + width);
    }
    return rows;
  }
};

// A few users of an operator: `asking` rows (queries, candidates, beams) and what they ask about.
struct Problem {
  int32_t dtype = JD_F32;
  std::vector<int64_t> asking, asked;
  Rows queries, keys, values, own_keys, own_values, bias, lists, signatures, event_signatures, suffix_keys, suffix_values;
  bool self_key = true, silu = false, softmax = true;

  Problem(int32_t d, const std::vector<int64_t> &candidates, const std::vector<int64_t> &events)
      : dtype(d),
        asking(candidates),
        asked(events),
        queries(Rows::random(1, candidates, kHeads * kDim, d)),
        keys(Rows::random(2, events, kKvHeads * kDim, d)),
        values(Rows::random(3, events, kKvHeads * kDim, d)),
        own_keys(Rows::random(4, candidates, kKvHeads * kDim, d)),
        own_values(Rows::random(5, candidates, kKvHeads * kDim, d)),
        bias(Rows::random(6, events, 1, JD_F32)),
        lists{20, {}},
        signatures(words(7, candidates)),
        event_signatures(words(8, events)) {
    Random random(9);
    for (size_t u = 0; u < candidates.size(); ++u) {
      lists.of.emplace_back();
      for (int64_t i = 0; i < candidates[u] * 20; ++i) {
        lists.of[u].push_back(static_cast<double>(random.integer(-1, std::max<int64_t>(events[u] - 1, -1))));
      }
    }
  }

  static Rows words(uint64_t seed, const std::vector<int64_t> &lengths) {
    Rows rows{2, {}};
    Random random(seed);
    for (const int64_t n : lengths) {
      rows.of.emplace_back();
      for (int64_t i = 0; i < 2 * n; ++i) rows.of.back().push_back(static_cast<double>(random.integer(0, 255)));
    }
    return rows;
  }

  Order users() const {
    Order all;
    for (size_t u = 0; u < asking.size(); ++u) all.push_back(u);
    return all;
  }

  // User u with these of its asking rows, in this order.
  Problem asked_by(size_t u, const Order &rows) const {
    Problem p = *this;
    for (Rows Problem::*member : {&Problem::queries, &Problem::own_keys, &Problem::own_values, &Problem::lists, &Problem::signatures}) {
      p.*member = (this->*member).with(u, rows);
    }
    return p;
  }
  // User u with the events first..last-1 only.
  Problem about(size_t u, int64_t first, int64_t last) const {
    Problem p = *this;
    Order chosen;
    for (int64_t i = first; i < last; ++i) chosen.push_back(static_cast<size_t>(i));
    for (Rows Problem::*member : {&Problem::keys, &Problem::values, &Problem::bias, &Problem::event_signatures}) {
      p.*member = (this->*member).with(u, chosen);
    }
    return p;
  }
};

// Results: tensors of `width` numbers an asking row.
struct Results {
  std::vector<std::pair<jd_tensor, int64_t>> tensors;
};

// Runs some users of a problem as one batch.
using Operator = std::function<Results(Rig &, const Problem &, const Order &)>;

template <class Desc>
Desc described(const Problem &p, const Order &users) {
  Desc d{};
  d.struct_size = sizeof d;
  d.dtype = p.dtype;
  d.offset_dtype = JD_I64;
  d.max_batch = std::max<int64_t>(static_cast<int64_t>(users.size()), 1);
  return d;
}
template <class Desc>
void with_heads(Desc &d, const Problem &) {
  d.out_dtype = JD_F32;
  d.num_heads = kHeads;
  d.num_kv_heads = kKvHeads;
  d.head_dim_qk = d.head_dim_v = kDim;
  d.scale = 0.125f;
}

template <class Desc, class Args>
void execute(Rig &rig, const Desc &desc, const Args &args, jd_status (*plan_function)(jd_device, const Desc *, jd_plan *, jd_error *),
             jd_status (*run_function)(jd_plan, jd_stream, const Args *, jd_error *)) {
  Error error;
  jd_plan plan = 0;
  rig.check(plan_function(rig.device, &desc, &plan, &error), error);
  rig.keep(plan);
  rig.check(run_function(plan, rig.stream, &args, &error), error);
  rig.check(jd_stream_synchronize(rig.stream, &error), error);
}

jd_tensor joined(Rig &rig, const Problem &p, const Rows &rows, const Order &users, int64_t heads) {
  const std::vector<double> values = rows.joined(users);
  return rig.tensor(p.dtype, {static_cast<int64_t>(values.size()) / rows.width, heads, rows.width / heads}, values);
}
jd_tensor offsets(Rig &rig, const Rows &rows, const Order &users) { return rig.integers(JD_I64, offsets_of(rows.counts(users))); }
int64_t total(const Rows &rows, const Order &users) { return offsets_of(rows.counts(users)).back(); }

Results target_attention(Rig &rig, const Problem &p, const Order &users) {
  auto d = described<jd_target_attention_desc>(p, users);
  with_heads(d, p);
  d.self_key = p.self_key;
  d.activation = p.silu ? JD_ACTIVATION_SILU : JD_ACTIVATION_SOFTMAX;
  d.scaling_seqlen = 30;
  d.max_candidates = 4096;
  d.max_history = 131072;
  jd_target_attention_args a{};
  a.struct_size = sizeof a;
  a.candidates = joined(rig, p, p.queries, users, kHeads);
  a.candidate_offsets = offsets(rig, p.queries, users);
  a.keys = joined(rig, p, p.keys, users, kKvHeads);
  a.values = joined(rig, p, p.values, users, kKvHeads);
  a.history_offsets = offsets(rig, p.keys, users);
  if (p.self_key) {
    a.candidate_keys = joined(rig, p, p.own_keys, users, kKvHeads);
    a.candidate_values = joined(rig, p, p.own_values, users, kKvHeads);
  }
  a.out = rig.poisoned(JD_F32, {total(p.queries, users), kHeads, kDim});
  execute(rig, d, a, jd_target_attention_plan, jd_target_attention_run);
  return {{{a.out, kHeads * kDim}}};
}

// Every asking row is a target; history and targets are the rows of a sequence.
Results hstu_attention(Rig &rig, const Problem &p, const Order &users) {
  auto d = described<jd_hstu_attention_desc>(p, users);
  d.out_dtype = JD_F32;
  d.num_heads = kKvHeads;
  d.head_dim_qk = d.head_dim_v = kDim;
  d.alpha = 0.125f;
  d.scaling_seqlen = 30;
  d.causal = 1;
  d.max_seq_len = 131072;
  std::vector<int64_t> lengths, targets;
  std::vector<double> keys, values;
  for (const size_t u : users) {
    lengths.push_back(p.keys.count(u) + p.queries.count(u));
    targets.push_back(p.queries.count(u));
    for (const Rows *rows : {&p.keys, &p.own_keys}) keys.insert(keys.end(), rows->of[u].begin(), rows->of[u].end());
    for (const Rows *rows : {&p.values, &p.own_values}) values.insert(values.end(), rows->of[u].begin(), rows->of[u].end());
  }
  const int64_t rows = offsets_of(lengths).back();
  jd_hstu_attention_args a{};
  a.struct_size = sizeof a;
  a.queries = joined(rig, p, p.own_values, users, kKvHeads);  // as many heads as keys have
  a.q_offsets = offsets(rig, p.queries, users);
  a.keys = rig.tensor(p.dtype, {rows, kKvHeads, kDim}, keys);
  a.values = rig.tensor(p.dtype, {rows, kKvHeads, kDim}, values);
  a.offsets = rig.integers(JD_I64, offsets_of(lengths));
  a.num_targets = rig.integers(JD_I32, targets);
  a.out = rig.poisoned(JD_F32, {total(p.queries, users), kKvHeads, kDim});
  execute(rig, d, a, jd_hstu_attention_plan, jd_hstu_attention_run);
  return {{{a.out, kKvHeads * kDim}}};
}

Results softmax_attention(Rig &rig, const Problem &p, const Order &users) {
  auto d = described<jd_softmax_attention_desc>(p, users);
  with_heads(d, p);
  d.mask = JD_MASK_NONE;
  d.max_queries = d.max_keys = 1 << 20;
  jd_softmax_attention_args a{};
  a.struct_size = sizeof a;
  a.queries = joined(rig, p, p.queries, users, kHeads);
  a.q_offsets = offsets(rig, p.queries, users);
  a.keys = joined(rig, p, p.keys, users, kKvHeads);
  a.values = joined(rig, p, p.values, users, kKvHeads);
  a.k_offsets = offsets(rig, p.keys, users);
  a.out = rig.poisoned(JD_F32, {total(p.queries, users), kHeads, kDim});
  a.lse = rig.poisoned(JD_F32, {total(p.queries, users), kHeads});
  execute(rig, d, a, jd_softmax_attention_plan, jd_softmax_attention_run);
  return {{{a.out, kHeads * kDim}, {a.lse, kHeads}}};
}

// Pages of every user's events, one after the other.
struct Pages {
  jd_tensor keys, values, table, lengths;

  Pages(Rig &rig, const Problem &p, const Order &users) {
    constexpr int64_t kRows = 16;
    int64_t most = 1, next = 0;
    for (const size_t u : users) most = std::max(most, (p.keys.count(u) + kRows - 1) / kRows);
    std::vector<double> pages_of_keys, pages_of_values, numbers;
    for (const size_t u : users) {
      const int64_t used = (p.keys.count(u) + kRows - 1) / kRows;
      for (auto [rows, pages] : {std::pair{&p.keys, &pages_of_keys}, {&p.values, &pages_of_values}}) {
        pages->insert(pages->end(), rows->of[u].begin(), rows->of[u].end());
        pages->resize(static_cast<size_t>((next + used) * kRows * rows->width), NAN);
      }
      for (int64_t i = 0; i < most; ++i) numbers.push_back(static_cast<double>(i < used ? next + i : -1));
      next += used;
    }
    keys = rig.tensor(p.dtype, {next, kRows, kKvHeads, kDim}, pages_of_keys);
    values = rig.tensor(p.dtype, {next, kRows, kKvHeads, kDim}, pages_of_values);
    table = rig.tensor(JD_I32, {static_cast<int64_t>(users.size()), most}, numbers);
    lengths = rig.integers(JD_I32, p.keys.counts(users));
  }
};

Results decode_attention(Rig &rig, const Problem &p, const Order &users) {
  auto d = described<jd_decode_attention_desc>(p, users);
  with_heads(d, p);
  d.max_queries = 16;
  d.max_seq_len = 131072;
  const Pages pages(rig, p, users);
  jd_decode_attention_args a{};
  a.struct_size = sizeof a;
  a.queries = joined(rig, p, p.queries, users, kHeads);
  a.q_offsets = offsets(rig, p.queries, users);
  a.key_pages = pages.keys;
  a.value_pages = pages.values;
  a.page_table = pages.table;
  a.seq_lens = pages.lengths;
  a.out = rig.poisoned(JD_F32, {total(p.queries, users), kHeads, kDim});
  a.lse = rig.poisoned(JD_F32, {total(p.queries, users), kHeads});
  execute(rig, d, a, jd_decode_attention_plan, jd_decode_attention_run);
  return {{{a.out, kHeads * kDim}, {a.lse, kHeads}}};
}

// Beams: the asking rows; each has a suffix of one level, its own row. `with_suffix` and `with_prefix`: of the two sides.
Results beam_attention_of(Rig &rig, const Problem &p, const Order &users, bool with_prefix, bool with_suffix) {
  auto d = described<jd_beam_attention_desc>(p, users);
  with_heads(d, p);
  d.max_beams = 4096;
  d.max_prefix = 131072;
  int64_t slots = 1;
  for (const size_t u : users) slots = std::max(slots, p.queries.count(u));
  jd_beam_attention_args a{};
  a.struct_size = sizeof a;
  a.queries = joined(rig, p, p.queries, users, kHeads);
  a.beam_offsets = offsets(rig, p.queries, users);
  if (with_prefix) {
    a.keys = joined(rig, p, p.keys, users, kKvHeads);
    a.values = joined(rig, p, p.values, users, kKvHeads);
    a.prefix_offsets = offsets(rig, p.keys, users);
  } else {
    a.keys = rig.tensor(p.dtype, {0, kKvHeads, kDim}, {});
    a.values = rig.tensor(p.dtype, {0, kKvHeads, kDim}, {});
    a.prefix_offsets = rig.integers(JD_I64, std::vector<int64_t>(users.size() + 1, 0));
  }
  if (with_suffix) {
    const auto batch = static_cast<int64_t>(users.size());
    std::vector<double> keys, values, ancestry;
    for (const size_t u : users) {
      for (auto [rows, all] : {std::pair{&p.own_keys, &keys}, {&p.own_values, &values}}) {
        const size_t end = all->size() + static_cast<size_t>(slots * rows->width);
        all->insert(all->end(), rows->of[u].begin(), rows->of[u].end());
        all->resize(end, NAN);
      }
      for (int64_t w = 0; w < slots; ++w) ancestry.push_back(static_cast<double>(w < p.queries.count(u) ? w : 0));
    }
    a.suffix_keys = rig.tensor(p.dtype, {batch, 1, slots, kKvHeads, kDim}, keys);
    a.suffix_values = rig.tensor(p.dtype, {batch, 1, slots, kKvHeads, kDim}, values);
    a.ancestry = rig.tensor(JD_I32, {batch, 1, slots}, ancestry);
  }
  a.out = rig.poisoned(JD_F32, {total(p.queries, users), kHeads, kDim});
  a.lse = rig.poisoned(JD_F32, {total(p.queries, users), kHeads});
  execute(rig, d, a, jd_beam_attention_plan, jd_beam_attention_run);
  return {{{a.out, kHeads * kDim}, {a.lse, kHeads}}};
}
Results beam_attention(Rig &rig, const Problem &p, const Order &users) { return beam_attention_of(rig, p, users, true, true); }

// Candidates: the asking rows; each has one global token of its own, there is no shared one, and no event asks.
Results longer_attention(Rig &rig, const Problem &p, const Order &users) {
  auto d = described<jd_longer_attention_desc>(p, users);
  with_heads(d, p);
  d.num_global = 1;
  d.candidates_only = 1;
  d.max_candidates = 4096;
  d.max_history = 131072;
  jd_longer_attention_args a{};
  a.struct_size = sizeof a;
  a.queries = joined(rig, p, p.queries, users, kHeads);
  a.q_offsets = offsets(rig, p.queries, users);
  a.global_keys = joined(rig, p, p.own_keys, users, kKvHeads);
  a.global_values = joined(rig, p, p.own_values, users, kKvHeads);
  a.global_offsets = offsets(rig, p.own_keys, users);
  a.keys = joined(rig, p, p.keys, users, kKvHeads);
  a.values = joined(rig, p, p.values, users, kKvHeads);
  a.k_offsets = offsets(rig, p.keys, users);
  a.out = rig.poisoned(JD_F32, {total(p.queries, users), kHeads, kDim});
  a.lse = rig.poisoned(JD_F32, {total(p.queries, users), kHeads});
  execute(rig, d, a, jd_longer_attention_plan, jd_longer_attention_run);
  return {{{a.out, kHeads * kDim}, {a.lse, kHeads}}};
}

// Rows of 16 numbers: the first of each key, and of each query.
Results din_attention(Rig &rig, const Problem &p, const Order &users) {
  constexpr int64_t kWidth = 16, kUnits = 8;
  auto d = described<jd_din_attention_desc>(p, users);
  d.out_dtype = JD_F32;
  d.dim = d.dim_v = kWidth;
  d.hidden_1 = d.hidden_2 = kUnits;
  d.activation = JD_DIN_SIGMOID;
  d.softmax = p.softmax;
  d.scale = 0.5f;
  d.max_candidates = 4096;
  d.max_history = 131072;
  const auto narrow = [&](const Rows &rows) {
    std::vector<double> firsts;
    const std::vector<double> all = rows.joined(users);
    for (size_t at = 0; at < all.size(); at += static_cast<size_t>(rows.width)) firsts.insert(firsts.end(), &all[at], &all[at] + kWidth);
    return rig.tensor(p.dtype, {static_cast<int64_t>(firsts.size()) / kWidth, kWidth}, firsts);
  };
  const auto weights = [&](uint64_t seed, const std::vector<int64_t> &shape) {
    int64_t count = 1;
    for (const int64_t n : shape) count *= n;
    return rig.tensor(JD_F32, shape, Random(seed).values(count, JD_F32));
  };
  jd_din_attention_args a{};
  a.struct_size = sizeof a;
  a.candidates = narrow(p.queries);
  a.candidate_offsets = offsets(rig, p.queries, users);
  a.keys = narrow(p.keys);
  a.values = narrow(p.values);
  a.history_offsets = offsets(rig, p.keys, users);
  a.weight_1 = weights(11, {kUnits, 4 * kWidth});
  a.bias_1 = weights(12, {kUnits});
  a.weight_2 = weights(13, {kUnits, kUnits});
  a.bias_2 = weights(14, {kUnits});
  a.weight_3 = weights(15, {1, kUnits});
  a.bias_3 = weights(16, {1});
  a.out = rig.poisoned(JD_F32, {total(p.queries, users), kWidth});
  execute(rig, d, a, jd_din_attention_plan, jd_din_attention_run);
  return {{{a.out, kWidth}}};
}

Results search_attention(Rig &rig, const Problem &p, const Order &users) {
  auto d = described<jd_search_attention_desc>(p, users);
  with_heads(d, p);
  d.activation = p.silu ? JD_ACTIVATION_SILU : JD_ACTIVATION_SOFTMAX;
  d.scaling_seqlen = 30;
  d.k = static_cast<int32_t>(p.lists.width);
  d.max_candidates = 4096;
  d.max_history = 131072;
  jd_search_attention_args a{};
  a.struct_size = sizeof a;
  a.candidates = joined(rig, p, p.queries, users, kHeads);
  a.candidate_offsets = offsets(rig, p.queries, users);
  a.keys = joined(rig, p, p.keys, users, kKvHeads);
  a.values = joined(rig, p, p.values, users, kKvHeads);
  a.history_offsets = offsets(rig, p.keys, users);
  a.indices = rig.tensor(JD_I32, {total(p.lists, users), p.lists.width}, p.lists.joined(users));
  a.out = rig.poisoned(JD_F32, {total(p.queries, users), kHeads, kDim});
  Results results{{{a.out, kHeads * kDim}}};
  if (!p.silu) {
    a.lse = rig.poisoned(JD_F32, {total(p.queries, users), kHeads});
    results.tensors.push_back({a.lse, kHeads});
  }
  execute(rig, d, a, jd_search_attention_plan, jd_search_attention_run);
  return results;
}

// Rows of 384 numbers (wide) or 128: what the keys are, and the queries.
template <int32_t kPath, bool kWide>
Results stca_attention(Rig &rig, const Problem &p, const Order &users) {
  constexpr int64_t kModel = kWide ? 384 : 128, kStcaHeads = 2, kHeadDim = 32, kWidth = kStcaHeads * kHeadDim;
  auto d = described<jd_stca_attention_desc>(p, users);
  d.out_dtype = JD_F32;
  d.model_dim = kModel;
  d.num_heads = kStcaHeads;
  d.head_dim = kHeadDim;
  d.scale = 0.1f;
  d.path = kPath;
  d.max_batch = 4;  // the same plan for every batch
  d.max_candidates = 16;
  d.max_history = 4096;
  d.max_total_candidates = 64;
  d.max_total_events = 8192;
  const auto side_by_side = [&](std::initializer_list<const Rows *> sides) {
    std::vector<double> all;
    std::map<const Rows *, std::vector<double>> joined_sides;
    for (const Rows *rows : sides) joined_sides[rows] = rows->joined(users);
    const int64_t count = total(**sides.begin(), users);
    for (int64_t i = 0; i < count; ++i) {
      const size_t end = all.size() + kModel;
      for (const Rows *rows : sides) {
        const std::vector<double> &from = joined_sides.at(rows);
        if (all.size() < end) all.insert(all.end(), from.begin() + i * rows->width, from.begin() + (i + 1) * rows->width);
      }
      all.resize(end);
    }
    return rig.tensor(p.dtype, {count, kModel}, all);
  };
  const auto weights = [&](uint64_t seed) { return rig.tensor(JD_F32, {kWidth, kModel}, Random(seed).values(kWidth * kModel, JD_F32, 0.1)); };
  jd_stca_attention_args a{};
  a.struct_size = sizeof a;
  a.candidates = side_by_side({&p.queries, &p.own_keys});
  a.candidate_offsets = offsets(rig, p.queries, users);
  a.events = side_by_side({&p.keys, &p.values, &p.keys});
  a.history_offsets = offsets(rig, p.keys, users);
  a.query_weight = weights(17);
  a.key_weight = weights(18);
  a.value_weight = weights(19);
  a.out = rig.poisoned(JD_F32, {total(p.queries, users), kWidth});
  execute(rig, d, a, jd_stca_attention_plan, jd_stca_attention_run);
  return {{{a.out, kWidth}}};
}

template <int32_t kMethod>
Results history_search(Rig &rig, const Problem &p, const Order &users) {
  constexpr int64_t kFound = 9;
  auto d = described<jd_history_search_desc>(p, users);
  d.method = kMethod;
  d.k = kFound;
  d.max_candidates = 64;  // the workspace grows with it times the history, and the emulator poisons it all
  d.max_history = 131072;
  jd_history_search_args a{};
  a.struct_size = sizeof a;
  a.candidate_offsets = offsets(rig, p.queries, users);
  a.history_offsets = offsets(rig, p.keys, users);
  const int64_t candidates = total(p.queries, users), events = total(p.keys, users);
  if (kMethod == JD_SEARCH_DOT) {
    d.dim = kDim;
    const auto first_head = [&](const Rows &rows) {
      return rig.view(joined(rig, p, rows, users, 1), {total(rows, users), kDim}, {rows.width, 1});
    };
    a.queries = first_head(p.queries);
    a.keys = first_head(p.keys);
    a.bias = rig.tensor(JD_F32, {events}, p.bias.joined(users));
  } else {
    d.dtype = JD_I64;
    d.dim = kMethod == JD_SEARCH_LSH ? 128 : 0;
    const auto words = [&](const Rows &rows) {
      std::vector<double> all = rows.joined(users);
      if (kMethod == JD_SEARCH_LSH) return rig.tensor(JD_I64, {total(rows, users), 2}, all);
      std::vector<double> categories;
      for (size_t i = 0; i < all.size(); i += 2) categories.push_back(static_cast<double>(static_cast<int64_t>(all[i]) % 5));
      return rig.tensor(JD_I64, {total(rows, users)}, categories);
    };
    a.queries = words(p.signatures);
    a.keys = words(p.event_signatures);
  }
  a.indices = rig.poisoned(JD_I32, {candidates, kFound});
  Results results{{{a.indices, kFound}}};
  if (kMethod != JD_SEARCH_HARD) {
    a.scores = rig.poisoned(JD_F32, {candidates, kFound});
    results.tensors.push_back({a.scores, kFound});
  }
  execute(rig, d, a, jd_history_search_plan, jd_history_search_run);
  return results;
}

struct Named {
  const char *name;
  Operator run;
};
const std::vector<Named> kOperators = {{"target_attention", target_attention},
                                       {"hstu_attention", hstu_attention},
                                       {"softmax_attention", softmax_attention},
                                       {"decode_attention", decode_attention},
                                       {"beam_attention", beam_attention},
                                       {"longer_attention", longer_attention},
                                       {"din_attention", din_attention},
                                       {"search_attention", search_attention},
                                       {"stca_attention, materialised", stca_attention<JD_STCA_MATERIALISED, false>},
                                       {"stca_attention, reordered", stca_attention<JD_STCA_REORDERED, false>},
                                       {"stca_attention, reordered and wide", stca_attention<JD_STCA_REORDERED, true>},
                                       {"history_search, hard", history_search<JD_SEARCH_HARD>},
                                       {"history_search, dot", history_search<JD_SEARCH_DOT>},
                                       {"history_search, lsh", history_search<JD_SEARCH_LSH>}};

class Properties : public ::testing::TestWithParam<std::string> {
 protected:
  // Of each user of a run the bits of its results.
  static std::vector<Bits> bits(Rig &rig, const Operator &run, const Problem &p, const Order &users) {
    const Results results = run(rig, p, users);
    std::vector<Bits> all(users.size());
    for (const auto &[tensor, width] : results.tensors) {
      const Bits whole = rig.bits(tensor);
      auto at = whole.begin();
      for (size_t i = 0; i < users.size(); ++i) {
        const auto end = at + p.queries.count(users[i]) * width;
        all[i].insert(all[i].end(), at, end);
        at = end;
      }
    }
    return all;
  }
  // ... of user u, one row after the other.
  static std::vector<Bits> bits_of_rows(Rig &rig, const Operator &run, const Problem &p, size_t u) {
    const Results results = run(rig, p, {u});
    std::vector<Bits> all(static_cast<size_t>(p.queries.count(u)));
    for (const auto &[tensor, width] : results.tensors) {
      const Bits whole = rig.bits(tensor);
      for (size_t i = 0; i < all.size(); ++i) {
        const auto begin = whole.begin() + static_cast<int64_t>(i) * width;
        all[i].insert(all[i].end(), begin, begin + width);
      }
    }
    return all;
  }

  template <class Function>
  static void for_each(const Function &function) {
    for (const Named &op : kOperators) {
      for (const int32_t dtype : {JD_F32, JD_BF16}) function(op, dtype, std::string(op.name) + ", " + jd_dtype_name(dtype));
    }
  }

  // Pairs (results over one part, over the other) of a softmax become one.
  static Results merged(Rig &rig, const Results &a, const Results &b) {
    const std::vector<int64_t> shape = shape_of(rig, a.tensors[0].first);
    jd_merge_attention_states_args m{};
    m.struct_size = sizeof m;
    m.out_a = a.tensors[0].first;
    m.lse_a = a.tensors[1].first;
    m.out_b = b.tensors[0].first;
    m.lse_b = b.tensors[1].first;
    m.out = rig.poisoned(JD_F32, shape);
    m.lse = rig.poisoned(JD_F32, {shape[0], shape[1]});
    Error error;
    rig.check(jd_merge_attention_states(rig.stream, &m, &error), error);
    rig.check(jd_stream_synchronize(rig.stream, &error), error);
    return {{{m.out, a.tensors[0].second}, {m.lse, a.tensors[1].second}}};
  }
  static std::vector<int64_t> shape_of(Rig &rig, jd_tensor t) {
    const jd_tensor_info info = rig.tensor_info(t);
    return {info.shape, info.shape + info.rank};
  }

  // Two f32 results of one softmax whose weights are rounded to `dtype` at most.
  static void expect_equal_softmax(Rig &rig, const Results &got, const Results &expected, int32_t dtype, const std::string &what) {
    const double rounded = dtype == JD_F32 ? 0 : tolerance::unit_roundoff(dtype);
    for (size_t i = 0; i < expected.tensors.size(); ++i) {
      expect_near(rig.read(got.tensors[i].first), rig.read(expected.tensors[i].first),
                  [&](size_t) { return 1.5 * 2 * rounded + 2e-5; }, what + ", result " + std::to_string(i));
    }
  }
};

TEST_P(Properties, a_batch_has_the_same_bits_in_any_order_in_parts_and_one_by_one) {
  Rig rig(GetParam());
  for_each([&](const Named &op, int32_t dtype, const std::string &what) {
    const Problem p(dtype, {3, 1, 7, 2}, {70, 5, 131, 16});
    const std::vector<Bits> whole = bits(rig, op.run, p, p.users());
    const std::vector<Order> few = {{3, 1, 0, 2}, {0, 1}, {2, 3}}, all = {{3, 1, 0, 2}, {0, 1}, {2, 3}, {0}, {1}, {2}, {3}, {2, 2, 0}};
    for (const Order &users : rig.fast() ? all : few) {
      const std::vector<Bits> part = bits(rig, op.run, p, users);
      for (size_t i = 0; i < users.size(); ++i) EXPECT_EQ(part[i], whole[users[i]]) << what << ": user " << users[i];
    }
  });
}

// Beside a user of many candidates and events, and on any number of threads.
TEST_P(Properties, a_large_neighbour_changes_no_bit) {
  Rig one(GetParam(), 1), two(GetParam(), 2);
  for_each([&](const Named &op, int32_t dtype, const std::string &what) {
    const Problem p(dtype, {3, 16}, {70, one.scaled(3001, 300)});
    const Bits alone = bits(one, op.run, p, {0})[0];
    EXPECT_EQ(bits(one, op.run, p, {1, 0})[1], alone) << what;
    EXPECT_EQ(bits(two, op.run, p, {0, 1})[0], alone) << what;
    EXPECT_EQ(bits(two, op.run, p, {1})[0], bits(one, op.run, p, {0, 1})[1]) << what << ", the neighbour";
  });
}

TEST_P(Properties, candidates_have_the_same_bits_in_any_order_and_in_parts) {
  Rig rig(GetParam());
  for_each([&](const Named &op, int32_t dtype, const std::string &what) {
    const std::string name = op.name;
    // Of decode_attention and hstu_attention, the position of a query says what it sees; the last of them alone is the last.
    const bool by_position = name == "decode_attention", targets = name == "hstu_attention";
    if (targets) return;  // operators_hstu_attention: last_rows_alone_have_the_same_bits, targets_ignore_other_targets
    const Problem p(dtype, {9}, {131});
    const std::vector<Bits> whole = bits_of_rows(rig, op.run, p, 0);
    const std::vector<Order> orders = by_position ? std::vector<Order>{{8}, {7, 8}, {4, 5, 6, 7, 8}}
                                                  : std::vector<Order>{{8, 2, 5, 0, 1, 7, 3, 6, 4}, {0, 1, 2, 3}, {4, 5, 6, 7, 8}, {6}};
    for (const Order &rows : orders) {
      const std::vector<Bits> part = bits_of_rows(rig, op.run, p.asked_by(0, rows), 0);
      for (size_t i = 0; i < rows.size(); ++i) EXPECT_EQ(part[i], whole[rows[i]]) << what << ": row " << rows[i];
    }
  });
}

TEST_P(Properties, softmaxes_over_parts_of_the_keys_merge_into_the_whole) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    Problem p(dtype, {5}, {131});
    const std::string type = jd_dtype_name(dtype);
    for (const int64_t cut : {0, 1, 64, 130}) {
      const Problem first = p.about(0, 0, cut), second = p.about(0, cut, 131);
      const std::string what = type + ", cut at " + std::to_string(cut);
      const Results whole = softmax_attention(rig, p, {0});
      const Results both = merged(rig, softmax_attention(rig, first, {0}), softmax_attention(rig, second, {0}));
      expect_equal_softmax(rig, both, whole, dtype, "softmax_attention, " + what);

      // A candidate's global token is a key of its own.
      p.self_key = true;
      expect_equal_softmax(rig, Results{{longer_attention(rig, p, {0}).tensors[0]}}, target_attention(rig, p, {0}), dtype,
                           "longer_attention, " + what);

      // target_attention has no lse, and without own keys is the same function.
      p.self_key = false;
      expect_equal_softmax(rig, target_attention(rig, p, {0}), Results{{both.tensors[0]}}, dtype, "target_attention, " + what);

      const Problem one = p.asked_by(0, {4});  // decode_attention's last query sees all keys
      if (cut > 0) {
        const Problem a = one.about(0, 0, cut), b = one.about(0, cut, 131);
        expect_equal_softmax(rig, merged(rig, decode_attention(rig, a, {0}), decode_attention(rig, b, {0})), decode_attention(rig, one, {0}),
                             dtype, "decode_attention, " + what);
      }
      const Results prefix = merged(rig, beam_attention_of(rig, first, {0}, true, false), beam_attention_of(rig, second, {0}, true, false));
      expect_equal_softmax(rig, merged(rig, prefix, beam_attention_of(rig, p, {0}, false, true)), beam_attention(rig, p, {0}), dtype,
                           "beam_attention, " + what);
    }
    // The list of each candidate in two parts.
    Problem left = p, right = p;
    for (size_t i = 0; i < p.lists.of[0].size(); ++i) (i % 20 < 7 ? right : left).lists.of[0][i] = -1;
    expect_equal_softmax(rig, merged(rig, search_attention(rig, left, {0}), search_attention(rig, right, {0})), search_attention(rig, p, {0}),
                         dtype, "search_attention, " + type);
  }
}

// Without a softmax, results over parts of the keys add up.
TEST_P(Properties, sums_over_parts_of_the_keys_add_up) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    Problem p(dtype, {5}, {131});
    p.self_key = p.softmax = false;
    p.silu = true;
    const auto expect_sum = [&](const Operator &run, const Problem &whole, const std::vector<std::pair<Problem, double>> &parts,
                                const std::string &what) {
      const std::vector<double> expected = rig.read(run(rig, whole, {0}).tensors[0].first);
      std::vector<double> sum(expected.size(), 0.0);
      double most = 1;
      for (const auto &[part, factor] : parts) {
        const std::vector<double> x = rig.read(run(rig, part, {0}).tensors[0].first);
        for (size_t i = 0; i < sum.size(); ++i) {
          sum[i] += factor * x[i];
          most = std::max(most, std::fabs(x[i]));
        }
      }
      const double rounded = dtype == JD_F32 ? 0 : tolerance::unit_roundoff(dtype);
      expect_near(sum, expected, [&](size_t) { return most * (8 * rounded + 5e-5); }, what + ", " + jd_dtype_name(dtype));
    };
    const Problem first = p.about(0, 0, 64), second = p.about(0, 64, 131), none = p.about(0, 0, 0);
    expect_sum(target_attention, p, {{first, 1}, {second, 1}}, "target_attention");
    expect_sum(din_attention, p, {{first, 1}, {second, 1}}, "din_attention");
    // Each target sees itself besides, in both parts.
    expect_sum(hstu_attention, p, {{first, 1}, {second, 1}, {none, -1}}, "hstu_attention");
    Problem left = p, right = p;
    for (size_t i = 0; i < p.lists.of[0].size(); ++i) (i % 20 < 7 ? right : left).lists.of[0][i] = -1;
    expect_sum(search_attention, p, {{left, 1}, {right, 1}}, "search_attention");
  }
}

// The best of the whole history are the best of the best of its parts: exactly, ties to the more recent event.
TEST_P(Properties, searches_of_parts_of_a_history_merge_into_the_whole) {
  Rig rig(GetParam());
  constexpr int64_t kFound = 9, kEvents = 131;
  const auto check = [&](const Operator &run, int32_t dtype, bool smaller_is_better, const std::string &what) {
    const Problem p(dtype, {5}, {kEvents});
    for (const int64_t cut : {0, 1, 64, 130}) {
      struct Found {
        int64_t index;
        double score;
      };
      std::vector<std::vector<Found>> lists(5);
      for (const auto &[begin, end] : {std::pair<int64_t, int64_t>{0, cut}, {cut, kEvents}}) {
        const Results part = run(rig, p.about(0, begin, end), {0});
        const Bits indices = rig.bits(part.tensors[0].first);
        const std::vector<double> scores = part.tensors.size() > 1 ? rig.read(part.tensors[1].first) : std::vector<double>(indices.size(), 0);
        for (size_t i = 0; i < indices.size(); ++i) {
          const auto index = static_cast<int32_t>(indices[i]);
          if (index >= 0) lists[i / kFound].push_back({begin + index, smaller_is_better ? -scores[i] : scores[i]});
        }
      }
      const Bits whole = rig.bits(run(rig, p, {0}).tensors[0].first);
      for (size_t c = 0; c < 5; ++c) {
        std::sort(lists[c].begin(), lists[c].end(),
                  [](const Found &a, const Found &b) { return a.score != b.score ? a.score > b.score : a.index > b.index; });
        for (size_t i = 0; i < kFound; ++i) {
          const int64_t expected = i < lists[c].size() ? lists[c][i].index : -1;
          EXPECT_EQ(static_cast<int32_t>(whole[c * kFound + i]), expected) << what << ", cut at " << cut << ", candidate " << c;
        }
      }
    }
  };
  check(history_search<JD_SEARCH_HARD>, JD_F32, false, "hard");
  check(history_search<JD_SEARCH_LSH>, JD_F32, true, "lsh");
  check(history_search<JD_SEARCH_DOT>, JD_F32, false, "dot, f32");
  check(history_search<JD_SEARCH_DOT>, JD_BF16, false, "dot, bf16");
}

// merge_attention_states: in any order of the rows, and in parts.
TEST_P(Properties, merging_states_is_a_matter_of_each_row) {
  Rig rig(GetParam());
  const std::vector<double> out_a = Random(1).values(9 * 64, JD_F32), out_b = Random(2).values(9 * 64, JD_F32);
  const std::vector<double> lse_a = Random(3).values(18, JD_F32, 4), lse_b = Random(4).values(18, JD_F32, 4);
  const auto merge = [&](const Order &rows) {
    const auto chosen = [&](const std::vector<double> &all, size_t width) {
      std::vector<double> some;
      for (const size_t r : rows) some.insert(some.end(), all.begin() + r * width, all.begin() + (r + 1) * width);
      return some;
    };
    const auto n = static_cast<int64_t>(rows.size());
    const Results a{{{rig.tensor(JD_F32, {n, 2, 32}, chosen(out_a, 64)), 64}, {rig.tensor(JD_F32, {n, 2}, chosen(lse_a, 2)), 2}}};
    const Results b{{{rig.tensor(JD_F32, {n, 2, 32}, chosen(out_b, 64)), 64}, {rig.tensor(JD_F32, {n, 2}, chosen(lse_b, 2)), 2}}};
    const Bits bits = rig.bits(merged(rig, a, b).tensors[0].first);
    std::vector<Bits> each;
    for (int64_t i = 0; i < n; ++i) each.emplace_back(bits.begin() + i * 64, bits.begin() + (i + 1) * 64);
    return each;
  };
  const std::vector<Bits> whole = merge({0, 1, 2, 3, 4, 5, 6, 7, 8});
  for (const Order &rows : {Order{8, 1, 0, 3, 2, 7, 5, 6, 4}, {0, 1, 2}, {3, 4, 5, 6, 7, 8}, {5}}) {
    const std::vector<Bits> part = merge(rows);
    for (size_t i = 0; i < rows.size(); ++i) EXPECT_EQ(part[i], whole[rows[i]]) << "row " << rows[i];
  }
}

JD_INSTANTIATE_ON_DEVICES(Properties);

}  // namespace
}  // namespace jindou::testing
