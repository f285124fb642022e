// Operators of the CPU backend against the limits of this machine, measured side by side in one process: each repetition
// times the limit, the operator, and the limit again, and the ratio is taken within the repetition. Printed are the median and
// the best ratio, so that a machine shared with others still tells something.
//
//   bench_cpu [operator] [threads...]      operator: target, hstu, hstu_bias, hstu_cached, hstu_jagged,
//                                          softmax, search, top_k, din, linear, embedding, hash or all
//
// A ratio of 1.00 is the limit itself: FMAs (or bf16 dot products) in registers, or a prefetched gather of rows on huge pages.
#include "bench.h"

using namespace jindou::bench;

namespace {

void bench_target(int32_t threads) {
  Device d(threads);
  const int64_t nk = 10000, H = 4, dim = 64;
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    for (const int64_t nc : {int64_t{512}, int64_t{2048}, int64_t{64}, int64_t{1}}) {
      jd_target_attention_desc desc{};
      desc.struct_size = sizeof desc;
      desc.dtype = dtype;
      desc.offset_dtype = JD_I64;
      desc.num_heads = H;
      desc.head_dim_qk = desc.head_dim_v = dim;
      desc.scale = 0.125f;
      desc.max_batch = 1;
      desc.max_candidates = nc;
      desc.max_history = nk;
      jd_plan plan = 0;
      must(jd_target_attention_plan(d.device, &desc, &plan, &d.error), d.error);
      jd_target_attention_args a{};
      a.struct_size = sizeof a;
      a.candidates = d.tensor(dtype, {nc, H, dim});
      a.candidate_offsets = d.tensor(JD_I64, {2}, [&](int64_t i) { return i * nc; });
      a.keys = d.tensor(dtype, {nk, H, dim});
      a.values = d.tensor(dtype, {nk, H, dim});
      a.history_offsets = d.tensor(JD_I64, {2}, [&](int64_t i) { return i * nk; });
      a.out = d.tensor(dtype, {nc, H, dim});
      char what[128];
      std::snprintf(what, sizeof what, "target_attention %s, %lld x 10,000, H=4, d=64 (%s)", jd_dtype_name(dtype),
                    static_cast<long long>(nc), d.info.isa);
      flops_line(what, threads, 4.0 * static_cast<double>(nc * nk * H * dim), dtype == JD_BF16 && jl_has_bf16_dot(),
                 [&] { must(jd_target_attention_run(plan, d.stream, &a, &d.error), d.error); });
      jd_plan_destroy(plan, nullptr);
      for (const jd_tensor t : {a.candidates, a.candidate_offsets, a.keys, a.values, a.history_offsets, a.out}) {
        jd_tensor_destroy(t, nullptr);
      }
    }
  }
}

// DIN's activation unit, with the layers of its paper's code.
void bench_din(int32_t threads) {
  Device d(threads);
  const int64_t dim = 64, h1 = 80, h2 = 40;
  for (const int32_t activation : {JD_DIN_SIGMOID, JD_DIN_PRELU, JD_DIN_DICE}) {
    for (const int32_t dtype : {JD_F32, JD_BF16}) {
      for (const auto &[nc, nk] : {std::pair<int64_t, int64_t>{512, 1000}, {512, 100}, {1, 1000}}) {
        if (activation != JD_DIN_SIGMOID && nc * nk < 100000) continue;
        jd_din_attention_desc desc{};
        desc.struct_size = sizeof desc;
        desc.dtype = dtype;
        desc.offset_dtype = JD_I64;
        desc.dim = desc.dim_v = dim;
        desc.hidden_1 = h1;
        desc.hidden_2 = h2;
        desc.activation = activation;
        desc.scale = 1;
        desc.dice_eps = 1e-5f;
        desc.max_batch = 1;
        desc.max_candidates = nc;
        desc.max_history = nk;
        jd_plan plan = 0;
        must(jd_din_attention_plan(d.device, &desc, &plan, &d.error), d.error);
        jd_din_attention_args a{};
        a.struct_size = sizeof a;
        a.candidates = d.tensor(dtype, {nc, dim});
        a.candidate_offsets = d.tensor(JD_I64, {2}, [&](int64_t i) { return i * nc; });
        a.keys = d.tensor(dtype, {nk, dim});
        a.values = d.tensor(dtype, {nk, dim});
        a.history_offsets = d.tensor(JD_I64, {2}, [&](int64_t i) { return i * nk; });
        a.weight_1 = d.tensor(JD_F32, {h1, 4 * dim});
        a.bias_1 = d.tensor(JD_F32, {h1});
        a.weight_2 = d.tensor(JD_F32, {h2, h1});
        a.bias_2 = d.tensor(JD_F32, {h2});
        a.weight_3 = d.tensor(JD_F32, {1, h2});
        a.bias_3 = d.tensor(JD_F32, {1});
        if (activation != JD_DIN_SIGMOID) a.slope_1 = a.bias_1, a.slope_2 = a.bias_2;
        if (activation == JD_DIN_DICE) {
          a.mean_1 = a.bias_1, a.mean_2 = a.bias_2;
          a.variance_1 = a.bias_1, a.variance_2 = a.bias_2;
        }
        a.out = d.tensor(dtype, {nc, dim});
        const auto work = [&] { must(jd_din_attention_run(plan, d.stream, &a, &d.error), d.error); };
        char what[80];
        std::snprintf(what, sizeof what, "din_attention %s, %s, %lld x %lld", jd_dtype_name(dtype),
                      activation == JD_DIN_SIGMOID ? "sigmoid" : activation == JD_DIN_PRELU ? "prelu" : "dice",
                      static_cast<long long>(nc), static_cast<long long>(nk));
        const double pair = 2.0 * (dim * h1 + h1 * h2 + h2 + dim);
        flops_line(what, threads, pair * static_cast<double>(nc * nk), dtype == JD_BF16 && jl_has_bf16_dot(), work);
        jd_plan_destroy(plan, nullptr);
      }
    }
  }
}

void bench_softmax(int32_t threads) {
  Device d(threads);
  struct Shape {
    const char *what;
    int64_t batch, queries, keys, dim;
    int32_t mask, left, bias;
    float softcap;
  };
  const int64_t H = 4;
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    for (const Shape s : {Shape{"causal", 1, 2048, 2048, 64, JD_MASK_CAUSAL, -1, JD_BIAS_NONE, 0},
                          Shape{"causal", 1, 8192, 8192, 128, JD_MASK_CAUSAL, -1, JD_BIAS_NONE, 0},
                          Shape{"no mask", 1, 2048, 2048, 64, JD_MASK_NONE, -1, JD_BIAS_NONE, 0},
                          Shape{"window 256", 1, 8192, 8192, 64, JD_MASK_WINDOW, 255, JD_BIAS_NONE, 0},
                          Shape{"causal", 64, 100, 100, 64, JD_MASK_CAUSAL, -1, JD_BIAS_NONE, 0},
                          Shape{"no mask", 1, 4, 65536, 64, JD_MASK_NONE, -1, JD_BIAS_NONE, 0},
                          Shape{"causal, ALiBi", 1, 2048, 2048, 64, JD_MASK_CAUSAL, -1, JD_BIAS_ALIBI, 0},
                          Shape{"causal, T5", 1, 2048, 2048, 64, JD_MASK_CAUSAL, -1, JD_BIAS_T5, 0},
                          Shape{"causal, dense bias", 1, 2048, 2048, 64, JD_MASK_CAUSAL, -1, JD_BIAS_DENSE, 0},
                          Shape{"causal, soft-cap", 1, 2048, 2048, 64, JD_MASK_CAUSAL, -1, JD_BIAS_NONE, 50}}) {
      jd_softmax_attention_desc desc{};
      desc.struct_size = sizeof desc;
      desc.dtype = dtype;
      desc.offset_dtype = JD_I64;
      desc.num_heads = H;
      desc.head_dim_qk = desc.head_dim_v = static_cast<int32_t>(s.dim);
      desc.scale = 0.125f;
      desc.softcap = s.softcap;
      desc.mask = s.mask;
      desc.left = s.left;
      desc.bias = s.bias;
      desc.t5_num_buckets = 32;
      desc.t5_max_distance = 128;
      desc.max_batch = s.batch;
      desc.max_queries = s.queries;
      desc.max_keys = s.keys;
      jd_plan plan = 0;
      must(jd_softmax_attention_plan(d.device, &desc, &plan, &d.error), d.error);
      jd_softmax_attention_args a{};
      a.struct_size = sizeof a;
      a.queries = d.tensor(dtype, {s.batch * s.queries, H, s.dim});
      a.q_offsets = d.tensor(JD_I64, {s.batch + 1}, [&](int64_t i) { return i * s.queries; });
      a.keys = d.tensor(dtype, {s.batch * s.keys, H, s.dim});
      a.values = d.tensor(dtype, {s.batch * s.keys, H, s.dim});
      a.k_offsets = d.tensor(JD_I64, {s.batch + 1}, [&](int64_t i) { return i * s.keys; });
      if (s.bias == JD_BIAS_ALIBI) a.alibi_slopes = d.tensor(JD_F32, {H});
      if (s.bias == JD_BIAS_T5) a.t5_bias = d.tensor(JD_F32, {32, H});
      if (s.bias == JD_BIAS_DENSE) a.bias = d.tensor(JD_F32, {H, s.queries, s.keys});
      a.out = d.tensor(dtype, {s.batch * s.queries, H, s.dim});
      double pairs = 0;
      for (int64_t i = 0; i < s.queries; ++i) {
        const int64_t end = s.mask == JD_MASK_NONE ? s.keys : s.keys - s.queries + i + 1;
        pairs += static_cast<double>(s.mask == JD_MASK_WINDOW ? std::min<int64_t>(end, s.left + 1) : end);
      }
      char what[128];
      std::snprintf(what, sizeof what, "softmax_attention %s, %s, %lld x %lld x %lld, H=4, d=%lld", jd_dtype_name(dtype), s.what,
                    static_cast<long long>(s.batch), static_cast<long long>(s.queries), static_cast<long long>(s.keys),
                    static_cast<long long>(s.dim));
      flops_line(what, threads, 4.0 * pairs * static_cast<double>(s.batch * H * s.dim), dtype == JD_BF16 && jl_has_bf16_dot(),
                 [&] { must(jd_softmax_attention_run(plan, d.stream, &a, &d.error), d.error); });
      jd_plan_destroy(plan, nullptr);
      for (const jd_tensor t : {a.queries, a.q_offsets, a.keys, a.values, a.k_offsets, a.alibi_slopes, a.t5_bias, a.bias, a.out}) {
        if (t) jd_tensor_destroy(t, nullptr);
      }
    }
  }
}

void bench_linear(int32_t threads) {
  Device d(threads);
  struct Shape {
    int64_t n, k, m;
  };
  for (const Shape s : {Shape{256, 64, 23716}, Shape{10000, 64, 256}, Shape{1, 64, 23716}, Shape{1024, 1024, 1024}}) {
    jd_linear_args a{};
    a.struct_size = sizeof a;
    a.x = d.tensor(JD_F32, {s.n, s.k});
    a.weight = d.tensor(JD_F32, {s.m, s.k});
    a.out = d.tensor(JD_F32, {s.n, s.m});
    char what[128];
    std::snprintf(what, sizeof what, "linear x[%lld, %lld] W[%lld, %lld]", static_cast<long long>(s.n),
                  static_cast<long long>(s.k), static_cast<long long>(s.m), static_cast<long long>(s.k));
    flops_line(what, threads, 2.0 * static_cast<double>(s.n * s.k * s.m), false,
               [&] { must(jd_linear(d.stream, &a, &d.error), d.error); });
  }
}

// Rows of a table as numbers of `dtype` or as codes of `format`, aligned to 16 bytes.
struct BagTable {
  const char *name;
  int32_t dtype, format;
  int64_t header, bits;
};
constexpr BagTable kBagTables[] = {{"f32", JD_F32, JD_ROWS_PLAIN, 0, 32},   {"f16", JD_F16, JD_ROWS_PLAIN, 0, 16},
                                   {"bf16", JD_BF16, JD_ROWS_PLAIN, 0, 16}, {"fp8", JD_F8_E4M3, JD_ROWS_PLAIN, 0, 8},
                                   {"int8", JD_U8, JD_ROWS_INT8, 4, 8},     {"int4", JD_U8, JD_ROWS_INT4, 4, 4},
                                   {"int2", JD_U8, JD_ROWS_INT2, 4, 2}};

// Bags of each kind of rows against a gather of rows of that size, and against our own f32 bags over the same ids.
void bench_embedding(int32_t threads) {
  Device d(threads);
  struct Shape {
    int64_t rows, dim, batch, bag;
  };
  for (const Shape s : {Shape{1000000, 128, 512, 20}, Shape{1000000, 128, 4096, 20}, Shape{1000000, 128, 4096, 100},
                        Shape{1000000, 128, 4096, 1}, Shape{10000000, 64, 4096, 20}}) {
    const int64_t ids = s.batch * s.bag, rotations = std::max<int64_t>(1, 400000 / ids);
    std::mt19937_64 random(1);
    std::vector<jd_embedding_bag_args> args;
    for (int64_t r = 0; r < rotations; ++r) {
      jd_embedding_bag_args a{};
      a.struct_size = sizeof a;
      a.ids = d.tensor(JD_I64, {ids}, [&](int64_t) { return static_cast<int64_t>(random() % static_cast<uint64_t>(s.rows)); });
      a.offsets = d.tensor(JD_I64, {s.batch + 1}, [&](int64_t i) { return i * s.bag; });
      a.out = d.tensor(JD_F32, {s.batch, s.dim});
      args.push_back(a);
    }
    jd_tensor f32_table = 0;
    jd_plan f32_plan = 0;
    const auto run = [&](jd_plan plan) {
      for (const jd_embedding_bag_args &a : args) must(jd_embedding_bag_run(plan, d.stream, &a, &d.error), d.error);
    };
    for (const BagTable &kind : kBagTables) {
      const int64_t used = s.dim * kind.bits / 8 + kind.header, row_bytes = (used + 15) / 16 * 16;
      jd_tensor table = d.tensor(kind.dtype, {s.rows, kind.dtype == JD_U8 ? row_bytes : s.dim});
      const int32_t dim = static_cast<int32_t>(s.dim);
      jd_embedding_bag_desc desc{};
      desc.struct_size = sizeof desc;
      desc.num_tables = 1;
      desc.tables = &table;
      desc.row_formats = &kind.format;
      desc.dims = &dim;
      desc.index_dtype = desc.offset_dtype = JD_I64;
      desc.max_batch = s.batch;
      desc.max_ids = ids;
      jd_plan plan = 0;
      must(jd_embedding_bag_plan(d.device, &desc, &plan, &d.error), d.error);
      const void *rows = d.data(table);
      const auto gather = [&](int32_t ahead) {
        for (const jd_embedding_bag_args &a : args) {
          jl_gather_rows(rows, row_bytes, used, static_cast<const int64_t *>(d.data(a.ids)), ids, ahead, threads);
        }
      };
      // The best prefetch distance is the machine's affair: the limit is the fastest of several.
      int32_t ahead = 0;
      double fastest = 1e9;
      for (const int32_t distance : {4, 8, 16, 24, 32, 64}) {
        const double t = std::min(time_of(threads, [&] { gather(distance); }), time_of(threads, [&] { gather(distance); }));
        if (t < fastest) ahead = distance, fastest = t;
      }
      const Ratio r = compare(threads, 9, [&] { gather(ahead); }, [&] { run(plan); });
      char what[128];
      std::snprintf(what, sizeof what, "embedding_bag %s %lldk x %lld, %lld bags of %lld (limit ahead %d)", kind.name,
                    static_cast<long long>(s.rows / 1000), static_cast<long long>(s.dim), static_cast<long long>(s.batch),
                    static_cast<long long>(s.bag), ahead);
      print(what, threads, {r.median, r.best, r.seconds / static_cast<double>(rotations)}, static_cast<double>(ids * used),
            "GB/s");
      if (!f32_plan) {
        f32_table = table;
        f32_plan = plan;
        continue;
      }
      const Ratio gain = compare(threads, 9, [&] { run(f32_plan); }, [&] { run(plan); });
      std::printf("    %.2f times as fast as f32 (best %.2f)\n", 1 / gain.median, 1 / gain.best);
      jd_plan_destroy(plan, nullptr);
      jd_tensor_destroy(table, nullptr);
    }
    jd_plan_destroy(f32_plan, nullptr);
    jd_tensor_destroy(f32_table, nullptr);
    for (const jd_embedding_bag_args &a : args) {
      for (const jd_tensor t : {a.ids, a.offsets, a.out}) jd_tensor_destroy(t, nullptr);
    }
  }
}

// hash_lookup at a load factor of 0.9 against embedding_bag without pooling over a dense table of as many rows.
void bench_hash(int32_t threads) {
  Device d(threads);
  struct Shape {
    int64_t keys, dim;
  };
  for (const Shape s : {Shape{1000000, 128}, Shape{4000000, 64}, Shape{4000000, 32}}) {
    const int64_t n = 20000, rotations = 20;
    const int64_t slots = jd_hash_table_slots(s.keys * 37 / 36);  // of 0.925 at capacity
    const auto key_of = [](int64_t i) { return i * 0x9E3779B1ll + 12345; };
    jd_hash_table_desc desc{};
    desc.struct_size = sizeof desc;
    desc.dtype = JD_F32;
    desc.dim = static_cast<int32_t>(s.dim);
    desc.admission = 1;
    jd_plan lookup = 0, insert = 0, bags = 0;
    must(jd_hash_lookup_plan(d.device, &desc, &lookup, &d.error), d.error);
    must(jd_hash_insert_plan(d.device, &desc, &insert, &d.error), d.error);
    jd_hash_table_args table{};
    table.struct_size = sizeof table;
    table.table_keys = d.tensor(JD_I64, {slots / 8, 8}, [](int64_t) { return -1; });
    table.table_rows = d.tensor(JD_F32, {slots, s.dim});
    jd_tensor dense = d.tensor(JD_F32, {s.keys, s.dim});
    {
      jd_hash_table_args a = table;
      a.table_size = d.tensor(JD_I64, {1}, [](int64_t) { return 0; });
      a.keys = d.tensor(JD_I64, {s.keys}, key_of);
      a.rows = dense;
      const double t = time_of(threads, [&] { must(jd_hash_insert_run(insert, d.stream, &a, &d.error), d.error); });
      must(jd_stream_synchronize(d.stream, &d.error), d.error);
      std::printf("hash_insert of %lldk keys x %lld, one call, %d threads: %.1f million a second\n", static_cast<long long>(s.keys / 1000),
                  static_cast<long long>(s.dim), threads, static_cast<double>(s.keys) / t * 1e-6);
      jd_tensor_destroy(a.keys, nullptr);
      jd_tensor_destroy(a.table_size, nullptr);
    }
    jd_embedding_bag_desc bag{};
    bag.struct_size = sizeof bag;
    bag.num_tables = 1;
    bag.tables = &dense;
    bag.index_dtype = bag.offset_dtype = JD_I64;
    bag.pooling = JD_POOL_NONE;
    bag.max_batch = 1;
    bag.max_ids = n;
    must(jd_embedding_bag_plan(d.device, &bag, &bags, &d.error), d.error);
    std::mt19937_64 random(1);
    std::vector<jd_hash_table_args> by_key;
    std::vector<jd_embedding_bag_args> by_row;
    const jd_tensor out = d.tensor(JD_F32, {n, s.dim}), offsets = d.tensor(JD_I64, {2}, [&](int64_t i) { return i * n; });
    for (int64_t r = 0; r < rotations; ++r) {
      std::vector<int64_t> ids;
      for (int64_t i = 0; i < n; ++i) ids.push_back(static_cast<int64_t>(random() % static_cast<uint64_t>(s.keys)));
      jd_hash_table_args a = table;
      a.keys = d.tensor(JD_I64, {n}, [&](int64_t i) { return key_of(ids[static_cast<size_t>(i)]); });
      a.rows = out;
      by_key.push_back(a);
      jd_embedding_bag_args b{};
      b.struct_size = sizeof b;
      b.ids = d.tensor(JD_I64, {n}, [&](int64_t i) { return ids[static_cast<size_t>(i)]; });
      b.offsets = offsets;
      b.out = out;
      by_row.push_back(b);
    }
    const Ratio r = compare(
        threads, 9, [&] { for (const auto &b : by_row) must(jd_embedding_bag_run(bags, d.stream, &b, &d.error), d.error); },
        [&] { for (const auto &a : by_key) must(jd_hash_lookup_run(lookup, d.stream, &a, &d.error), d.error); });
    std::printf("hash_lookup %lldk x %lld at load %.2f, %d threads: %.2f of the rate of dense rows (best %.2f), %.1f million keys a second\n",
                static_cast<long long>(s.keys / 1000), static_cast<long long>(s.dim),
                static_cast<double>(s.keys) / static_cast<double>(slots), threads, 1 / r.median, 1 / r.best,
                static_cast<double>(n * rotations) / r.seconds * 1e-6);
    for (const auto &a : by_key) jd_tensor_destroy(a.keys, nullptr);
    for (const auto &b : by_row) jd_tensor_destroy(b.ids, nullptr);
    for (const jd_tensor t : {out, offsets, dense, table.table_keys, table.table_rows}) jd_tensor_destroy(t, nullptr);
    for (const jd_plan plan : {lookup, insert, bags}) jd_plan_destroy(plan, nullptr);
  }
}

// Dot products against the FMAs (bf16 dot products) of scoring alone; signatures and categories, which have no such limit, beside the
// same f32 FMAs of 64 dimensions.
void bench_search(int32_t threads) {
  Device d(threads);
  struct Search {
    int32_t method, dtype;
    int64_t candidates, events, dim, k;
  };
  std::mt19937_64 random(1);
  for (const Search s : {Search{JD_SEARCH_DOT, JD_F32, 512, 100000, 64, 64}, Search{JD_SEARCH_DOT, JD_BF16, 512, 100000, 64, 64},
                         Search{JD_SEARCH_DOT, JD_F16, 512, 100000, 64, 64}, Search{JD_SEARCH_DOT, JD_F32, 512, 100000, 64, 1024},
                         Search{JD_SEARCH_DOT, JD_F32, 512, 100000, 16, 64}, Search{JD_SEARCH_DOT, JD_F32, 1, 1000000, 64, 64},
                         Search{JD_SEARCH_DOT, JD_F32, 32, 100000, 64, 64}, Search{JD_SEARCH_DOT, JD_F32, 512, 10000, 64, 64},
                         Search{JD_SEARCH_LSH, JD_I64, 512, 100000, 64, 64}, Search{JD_SEARCH_LSH, JD_I64, 512, 100000, 256, 64},
                         Search{JD_SEARCH_HARD, JD_I64, 512, 100000, 0, 64}}) {
    jd_history_search_desc desc{};
    desc.struct_size = sizeof desc;
    desc.method = s.method;
    desc.dtype = s.dtype;
    desc.offset_dtype = JD_I64;
    desc.dim = static_cast<int32_t>(s.dim);
    desc.k = static_cast<int32_t>(s.k);
    desc.max_batch = 1;
    desc.max_candidates = s.candidates;
    desc.max_history = s.events;
    jd_plan plan = 0;
    must(jd_history_search_plan(d.device, &desc, &plan, &d.error), d.error);
    const auto rows = [&](int64_t n) {
      if (s.method == JD_SEARCH_DOT) return d.tensor(s.dtype, {n, s.dim});
      if (s.method == JD_SEARCH_LSH) return d.tensor(JD_I64, {n, s.dim / 64}, [&](int64_t) { return static_cast<int64_t>(random()); });
      return d.tensor(JD_I64, {n}, [&](int64_t) { return static_cast<int64_t>(random() % 500); });
    };
    jd_history_search_args a{};
    a.struct_size = sizeof a;
    a.queries = rows(s.candidates);
    a.keys = rows(s.events);
    a.candidate_offsets = d.tensor(JD_I64, {2}, [&](int64_t i) { return i * s.candidates; });
    a.history_offsets = d.tensor(JD_I64, {2}, [&](int64_t i) { return i * s.events; });
    a.indices = d.tensor(JD_I32, {s.candidates, s.k});
    if (s.method != JD_SEARCH_HARD) a.scores = d.tensor(JD_F32, {s.candidates, s.k});
    char what[128];
    std::snprintf(what, sizeof what, "history_search %s %s, %lld x %lldk, d=%lld, k=%lld",
                  s.method == JD_SEARCH_DOT ? "dot" : s.method == JD_SEARCH_LSH ? "lsh" : "hard", jd_dtype_name(s.dtype),
                  static_cast<long long>(s.candidates), static_cast<long long>(s.events / 1000), static_cast<long long>(s.dim),
                  static_cast<long long>(s.k));
    const double dim = s.method == JD_SEARCH_DOT ? static_cast<double>(s.dim) : 64;
    flops_line(what, threads, 2.0 * static_cast<double>(s.candidates * s.events) * dim, s.dtype == JD_BF16 && jl_has_bf16_dot(),
               [&] { must(jd_history_search_run(plan, d.stream, &a, &d.error), d.error); });
    jd_plan_destroy(plan, nullptr);
    for (const jd_tensor t : {a.queries, a.keys, a.candidate_offsets, a.history_offsets, a.indices, a.scores}) {
      if (t) jd_tensor_destroy(t, nullptr);
    }
  }
}

}  // namespace

int main(int count, char **arguments) {
  const std::string wanted = count > 1 ? arguments[1] : "all";
  std::vector<int32_t> threads;
  for (int i = 2; i < count; ++i) threads.push_back(std::atoi(arguments[i]));
  if (threads.empty()) threads = {1, 2};
  for (const int32_t n : threads) {
    if (wanted == "all" || wanted == "target") bench_target(n);
    if (wanted == "all" || wanted == "hstu") bench_hstu(n);
    if (wanted == "all" || wanted == "hstu_bias") bench_hstu_bias(n);
    if (wanted == "all" || wanted == "hstu_cached") bench_hstu_cached(n);
    if (wanted == "all" || wanted == "hstu_jagged") bench_hstu_jagged(n);
    if (wanted == "all" || wanted == "softmax") bench_softmax(n);
    if (wanted == "all" || wanted == "search") bench_search(n);
    if (wanted == "all" || wanted == "top_k") bench_top_k(n);
    if (wanted == "all" || wanted == "din") bench_din(n);
    if (wanted == "all" || wanted == "linear") bench_linear(n);
    if (wanted == "all" || wanted == "embedding") bench_embedding(n);
    if (wanted == "all" || wanted == "hash") bench_hash(n);
  }
  return 0;
}
