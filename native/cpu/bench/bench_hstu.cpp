// hstu_attention: causal and with targets, with position and time bias, over a cache, over jagged batches.
#include "bench.h"

namespace jindou::bench {
namespace {

struct Case {
  const char *name;
  int64_t heads = 4, dim = 64;
  std::vector<int64_t> lengths;  // rows, targets included
  int64_t targets = 0;           // of each sequence
  int64_t asked = 0;             // last rows that are queries; 0: all
  int64_t page_size = 0;         // 0: keys and values as rows
  int32_t page_dtype = 0;        // 0: the inputs'
  bool position = false, time = false;
};

// Row i of a sequence sees the history up to itself; a target the history and itself.
double pairs_of(const Case &c) {
  double pairs = 0;
  for (const int64_t n : c.lengths) {
    const int64_t history = n - c.targets;
    for (int64_t i = c.asked ? n - c.asked : 0; i < n; ++i) pairs += static_cast<double>(std::min(i, history) + 1);
  }
  return pairs * static_cast<double>(c.heads);
}

// Prints the case beside the limit; the time of its best run.
double run(int32_t threads, int32_t dtype, const Case &c) {
  Device d(threads);
  const auto batch = static_cast<int64_t>(c.lengths.size());
  const int64_t longest = *std::max_element(c.lengths.begin(), c.lengths.end());
  std::vector<int64_t> first(1, 0);
  for (const int64_t n : c.lengths) first.push_back(first.back() + n);
  jd_hstu_attention_desc desc{};
  desc.struct_size = sizeof desc;
  desc.dtype = dtype;
  desc.offset_dtype = JD_I64;
  desc.num_heads = static_cast<int32_t>(c.heads);
  desc.head_dim_qk = desc.head_dim_v = static_cast<int32_t>(c.dim);
  desc.alpha = 0.125f;
  desc.scaling_seqlen = 2048;
  desc.causal = 1;
  desc.max_batch = batch;
  desc.max_seq_len = longest;
  jd_plan plan = 0;
  must(jd_hstu_attention_plan(d.device, &desc, &plan, &d.error), d.error);

  std::vector<jd_tensor> made;
  const auto keep = [&](jd_tensor t) {
    made.push_back(t);
    return t;
  };
  const auto int32s = [&](std::vector<int64_t> shape, const std::function<int64_t(int64_t)> &value) {
    jd_tensor t = 0;
    must(jd_tensor_create(d.device, JD_I32, static_cast<int32_t>(shape.size()), shape.data(), &t, &d.error), d.error);
    int64_t count = 1;
    for (const int64_t n : shape) count *= n;
    for (int64_t i = 0; i < count; ++i) static_cast<int32_t *>(d.data(t))[i] = static_cast<int32_t>(value(i));
    return keep(t);
  };
  jd_hstu_attention_args a{};
  a.struct_size = sizeof a;
  const int64_t queries = c.asked ? batch * c.asked : first.back();
  a.queries = keep(d.tensor(dtype, {queries, c.heads, c.dim}));
  a.out = keep(d.tensor(dtype, {queries, c.heads, c.dim}));
  if (c.asked) a.q_offsets = keep(d.tensor(JD_I64, {batch + 1}, [&](int64_t i) { return i * c.asked; }));
  a.num_targets = int32s({batch}, [&](int64_t) { return c.targets; });
  if (c.page_size) {
    const int32_t pages = c.page_dtype ? c.page_dtype : dtype;
    const int64_t of_user = (longest + c.page_size - 1) / c.page_size, count = of_user * batch;
    a.key_pages = keep(d.tensor(pages, {count, c.page_size, c.heads, c.dim}));
    a.value_pages = keep(d.tensor(pages, {count, c.page_size, c.heads, c.dim}));
    // Users' pages between each other's, as a cache in service has them.
    a.page_table = int32s({batch, of_user}, [&](int64_t i) { return i % of_user * batch + i / of_user; });
    a.seq_lens = int32s({batch}, [&](int64_t b) { return c.lengths[static_cast<size_t>(b)]; });
    if (pages == JD_I8) {
      a.key_scales = keep(d.tensor(JD_F32, {count, c.page_size, c.heads}));
      a.value_scales = keep(d.tensor(JD_F32, {count, c.page_size, c.heads}));
    }
  } else {
    a.keys = keep(d.tensor(dtype, {first.back(), c.heads, c.dim}));
    a.values = keep(d.tensor(dtype, {first.back(), c.heads, c.dim}));
    a.offsets = keep(d.tensor(JD_I64, {batch + 1}, [&](int64_t i) { return first[static_cast<size_t>(i)]; }));
  }
  if (c.position) a.position_bias = keep(d.tensor(JD_F32, {2 * longest - 1}));
  if (c.time) {
    // Seconds to days apart.
    std::mt19937_64 random(3);
    int64_t now = 1700000000;
    a.timestamps = keep(d.tensor(JD_I64, {first.back()}, [&](int64_t) {
      return now += static_cast<int64_t>(std::exp(std::uniform_real_distribution<double>(0, 12)(random)));
    }));
    a.time_bias = keep(d.tensor(JD_F32, {65}));
  }
  char what[128];
  std::snprintf(what, sizeof what, "hstu %s d=%lld %s", jd_dtype_name(dtype), static_cast<long long>(c.dim), c.name);
  const double seconds =
      flops_line(what, threads, 4.0 * pairs_of(c) * static_cast<double>(c.dim), dtype == JD_BF16 && jl_has_bf16_dot(),
                 [&] { must(jd_hstu_attention_run(plan, d.stream, &a, &d.error), d.error); });
  jd_plan_destroy(plan, nullptr);
  for (const jd_tensor t : made) jd_tensor_destroy(t, nullptr);
  return seconds;
}

// Histories of a mean of 1,024 with a long tail, and equal ones with as many pairs; 512 targets each.
std::vector<int64_t> histories(bool long_tail) {
  std::mt19937_64 random(11);
  std::normal_distribution<double> normal;
  std::vector<double> drawn;
  double sum = 0;
  for (int b = 0; b < 32; ++b) sum += drawn.emplace_back(std::exp(normal(random)));
  std::vector<int64_t> lengths;
  for (const double x : drawn) lengths.push_back(512 + std::min<int64_t>(4096, std::llround(x * 1024 * 32 / sum)));
  if (long_tail) return lengths;
  const auto pairs = [](int64_t n) { return pairs_of({"", 1, 64, std::vector<int64_t>(32, n), 512}); };
  const double wanted = pairs_of({"", 1, 64, lengths, 512});
  int64_t n = 513;
  while (pairs(n + 1) <= wanted) ++n;
  return std::vector<int64_t>(32, n);
}

}  // namespace

void bench_hstu(int32_t threads) {
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    run(threads, dtype, {"n=2048", 4, 64, {2048}});
    run(threads, dtype, {"n=2560, targets 512", 4, 128, {2560}, 512});
    run(threads, dtype, {"n=2560, targets 512", 4, 256, {2560}, 512});
  }
}

void bench_hstu_bias(int32_t threads) {
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    Case c{"n=2048, no bias", 4, 64, {2048}};
    const double plain = run(threads, dtype, c);
    c.name = "n=2048, position bias";
    c.position = true;
    const double position = run(threads, dtype, c);
    c.name = "n=2048, position and time bias";
    c.time = true;
    const double both = run(threads, dtype, c);
    std::printf("    position bias %.2f, time bias %.2f of the time without\n", position / plain - 1, (both - position) / plain);
  }
}

void bench_hstu_cached(int32_t threads) {
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    for (const int64_t dim : {64, 128}) {
      const double whole = run(threads, dtype, {"n=4224", 4, dim, {4224}});
      const auto cached = [&](const char *name, int64_t page_size, int32_t page_dtype) {
        const double t = run(threads, dtype, {name, 4, dim, {4224}, 0, 256, page_size, page_dtype});
        std::printf("    %.2f times as fast as the whole run\n", whole / t);
      };
      cached("256 of 4224, rows", 0, 0);
      cached("256 of 4224, pages of 32", 32, 0);
      cached("256 of 4224, pages of 128", 128, 0);
      cached("256 of 4224, int8 pages of 32", 32, JD_I8);
      cached("256 of 4224, int8 pages of 128", 128, JD_I8);
    }
  }
}

void bench_hstu_jagged(int32_t threads) {
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    const double even = run(threads, dtype, {"32 equal sequences, 512 targets", 4, 64, histories(false), 512});
    const double tail = run(threads, dtype, {"32 with a long tail, 512 targets", 4, 64, histories(true), 512});
    std::printf("    the long tail takes %.3f of the time of equal sequences\n", tail / even);
    for (const int64_t batch : {1, 2, 8}) {
      run(threads, dtype, {"a few short sequences, 64 targets", 4, 64, std::vector<int64_t>(static_cast<size_t>(batch), 320), 64});
    }
    run(threads, dtype, {"64 targets of 1088", 4, 64, {1088}, 64, 64});
  }
}

}  // namespace jindou::bench
