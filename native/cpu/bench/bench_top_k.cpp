// top_k_inner_product: few queries beside reading the items, many beside their multiply-adds.
#include "bench.h"

namespace jindou::bench {
namespace {

struct Search {
  int32_t dtype;
  int64_t queries, items, dim, k;
  double allowed;  // share of the items that the bitmap allows; 0: no bitmap
};

void run(int32_t threads, const Search &s) {
  Device d(threads);
  jd_top_k_inner_product_desc desc{};
  desc.struct_size = sizeof desc;
  desc.dtype = s.dtype;
  desc.dim = static_cast<int32_t>(s.dim);
  desc.k = static_cast<int32_t>(s.k);
  desc.max_queries = s.queries;
  jd_plan plan = 0;
  must(jd_top_k_inner_product_plan(d.device, &desc, &plan, &d.error), d.error);
  jd_top_k_inner_product_args a{};
  a.struct_size = sizeof a;
  a.queries = d.tensor(s.dtype, {s.queries, s.dim});
  a.items = d.tensor(s.dtype, {s.items, s.dim});
  a.indices = d.tensor(JD_I64, {s.queries, s.k}, [](int64_t) { return 0; });
  a.scores = d.tensor(JD_F32, {s.queries, s.k});
  if (s.allowed > 0) {
    a.allowed = d.tensor(JD_U8, {(s.items + 7) / 8});
    std::mt19937_64 random(1);
    auto *bits = static_cast<uint8_t *>(d.data(a.allowed));
    std::memset(bits, 0, static_cast<size_t>((s.items + 7) / 8));
    for (int64_t j = 0; j < s.items; ++j) bits[j / 8] |= static_cast<uint8_t>((random() * 0x1p-64 < s.allowed) << (j % 8));
  }
  // Every line of the items, pages in order.
  const int64_t bytes = s.items * s.dim * jd_dtype_size(s.dtype);
  std::vector<int64_t> pages(static_cast<size_t>(bytes / 4096));
  for (size_t i = 0; i < pages.size(); ++i) pages[i] = static_cast<int64_t>(i);
  const void *table = d.data(a.items);
  const auto read = [&] { jl_gather(table, 4096, pages.data(), static_cast<int64_t>(pages.size()), 2, threads); };
  const auto work = [&] { must(jd_top_k_inner_product_run(plan, d.stream, &a, &d.error), d.error); };
  char what[160];
  std::snprintf(what, sizeof what, "top_k %s, %lld x %lldk, d=%lld, k=%lld", jd_dtype_name(s.dtype), static_cast<long long>(s.queries),
                static_cast<long long>(s.items / 1000), static_cast<long long>(s.dim), static_cast<long long>(s.k));
  if (s.allowed > 0) std::snprintf(what + std::strlen(what), 32, ", %.2f allowed", s.allowed);
  const size_t end = std::strlen(what);
  std::strcpy(what + end, " (read)");
  print(what, threads, compare(threads, 9, read, work), static_cast<double>(bytes), "GB/s");
  std::strcpy(what + end, " (FMA)");
  if (s.queries > 8) {
    flops_line(what, threads, 2.0 * static_cast<double>(s.queries * s.items) * static_cast<double>(s.dim),
               s.dtype == JD_BF16 && jl_has_bf16_dot(), work);
  }
  jd_plan_destroy(plan, nullptr);
  for (const jd_tensor t : {a.queries, a.items, a.allowed, a.indices, a.scores}) {
    if (t) jd_tensor_destroy(t, nullptr);
  }
}

}  // namespace

void bench_top_k(int32_t threads) {
  constexpr int64_t kMillion = 1000000;
  for (const int64_t queries : {1, 2, 4, 8, 12, 16, 32, 48, 512}) {
    run(threads, {JD_F32, queries, queries > 48 ? kMillion / 10 : kMillion, 64, 100, 0});
  }
  for (const int64_t queries : {1, 8, 16, 48, 512}) {
    run(threads, {JD_BF16, queries, queries > 48 ? kMillion / 10 : kMillion, 64, 100, 0});
  }
  run(threads, {JD_F16, 16, kMillion, 64, 100, 0});
  run(threads, {JD_F32, 16, kMillion, 64, 1024, 0});
  run(threads, {JD_F32, 16, kMillion, 64, 10, 0});
  for (const int64_t dim : {256, 384, 768, 1024}) {
    run(threads, {JD_F32, 16, kMillion * 64 / dim, dim, 100, 0});
    run(threads, {JD_BF16, 16, kMillion * 64 / dim, dim, 100, 0});
  }
  run(threads, {JD_F32, 16, kMillion, 64, 100, 0.1});
  run(threads, {JD_F32, 16, kMillion, 64, 100, 0.9});
  run(threads, {JD_F32, 1, kMillion, 64, 100, 0.1});
}

}  // namespace jindou::bench
