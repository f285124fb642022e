// A run allocates nothing. malloc is counted by replacing it in this program; what a call costs is printed, not judged.
#include <malloc.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>

#include "core_fixture.h"

namespace {
std::atomic<int64_t> allocations{0};
}

extern "C" {
void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void *malloc(size_t bytes) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  return __libc_malloc(bytes);
}
void *calloc(size_t count, size_t bytes) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  return __libc_calloc(count, bytes);
}
void *realloc(void *memory, size_t bytes) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  return __libc_realloc(memory, bytes);
}
}

namespace jindou::test {
namespace {

class SteadyState : public CoreTest {
 protected:
  template <class Call>
  void expect_no_allocation(const char *name, Call call) {
    for (int i = 0; i < 100; ++i) ASSERT_EQ(call(), JD_OK) << error.message;
    constexpr int kRounds = 100, kCalls = 200;
    const int64_t before = allocations;
    jd_status status = JD_OK;
    double best = 1e300;  // of a round: the others were disturbed
    for (int round = 0; round < kRounds; ++round) {
      const auto start = std::chrono::steady_clock::now();
      for (int i = 0; i < kCalls; ++i) status |= call();
      const std::chrono::duration<double, std::nano> elapsed = std::chrono::steady_clock::now() - start;
      best = std::min(best, elapsed.count() / kCalls);
    }
    EXPECT_EQ(status, JD_OK);
    EXPECT_EQ(allocations - before, 0) << name;
    printf("%-40s %.0f ns a call\n", name, best);
  }
};

TEST_F(SteadyState, malloc_is_counted) {
  const int64_t before = allocations;
  free(malloc(100));
  EXPECT_GE(allocations - before, 1);
}

TEST_F(SteadyState, calls_allocate_nothing) {
  expect_no_allocation("jd_noop", [&] { return jd_noop(device, &error); });
  expect_no_allocation("jd_stream_synchronize", [&] { return jd_stream_synchronize(stream, &error); });

  jd_linear_args linear = make<jd_linear_args>();
  linear.x = tensor(JD_F32, {1, 8});
  linear.weight = tensor(JD_F32, {8, 8});
  linear.bias = tensor(JD_F32, {8});
  linear.out = tensor(JD_F32, {1, 8});
  expect_no_allocation("jd_linear", [&] { return jd_linear(stream, &linear, &error); });

  const jd_tensor tables[] = {tensor(JD_F32, {100, 8}), tensor(JD_F32, {100, 8})};
  jd_embedding_bag_desc bag = make<jd_embedding_bag_desc>();
  bag.num_tables = 2;
  bag.tables = tables;
  bag.index_dtype = JD_I64;
  bag.offset_dtype = JD_I32;
  bag.max_batch = bag.max_ids = 8;
  jd_plan plan;
  ASSERT_EQ(jd_embedding_bag_plan(device, &bag, &plan, &error), JD_OK) << error.message;
  keep(plan);
  jd_embedding_bag_args ids = make<jd_embedding_bag_args>();
  ids.ids = i64({1, 2, 3});
  ids.offsets = i32({0, 1, 3});
  ids.out = tensor(JD_F32, {1, 16});
  expect_no_allocation("jd_embedding_bag_run", [&] { return jd_embedding_bag_run(plan, stream, &ids, &error); });

  jd_sequence_embedding_desc sequence = make<jd_sequence_embedding_desc>();
  sequence.num_tables = 2;
  sequence.tables = tables;
  sequence.index_dtype = sequence.offset_dtype = JD_I64;
  sequence.position_table = tensor(JD_F32, {4, 16});
  sequence.time_table = tensor(JD_F32, {4, 16});
  sequence.scale = 1;
  sequence.time_unit = 60;
  sequence.max_batch = sequence.max_events = 8;
  jd_plan sequence_plan;
  ASSERT_EQ(jd_sequence_embedding_plan(device, &sequence, &sequence_plan, &error), JD_OK) << error.message;
  keep(sequence_plan);
  jd_sequence_embedding_args events = make<jd_sequence_embedding_args>();
  events.ids = tensor(JD_I64, {2, 3});
  events.offsets = i64({0, 1, 3});
  events.timestamps = tensor(JD_I64, {3});
  events.out = tensor(JD_F32, {3, 16});
  expect_no_allocation("jd_sequence_embedding_run", [&] { return jd_sequence_embedding_run(sequence_plan, stream, &events, &error); });

  jd_rq_encode_desc rq = make<jd_rq_encode_desc>();
  rq.dtype = JD_F32;
  rq.dim = 8;
  rq.num_levels = 2;
  rq.num_codes = 4;
  jd_plan rq_plan;
  ASSERT_EQ(jd_rq_encode_plan(device, &rq, &rq_plan, &error), JD_OK) << error.message;
  keep(rq_plan);
  jd_rq_encode_args encode = make<jd_rq_encode_args>();
  encode.x = tensor(JD_F32, {3, 8});
  encode.codebooks = tensor(JD_F32, {2, 4, 8});
  encode.codes = tensor(JD_I32, {3, 2});
  encode.residual_norm = tensor(JD_F32, {3});
  expect_no_allocation("jd_rq_encode_run", [&] { return jd_rq_encode_run(rq_plan, stream, &encode, &error); });
  jd_rq_decode_args decode = make<jd_rq_decode_args>();
  decode.codes = encode.codes;
  decode.codebooks = encode.codebooks;
  decode.out = encode.x;
  expect_no_allocation("jd_rq_decode", [&] { return jd_rq_decode(stream, &decode, &error); });

  jd_quantize_rows_args quantize = make<jd_quantize_rows_args>();
  quantize.format = JD_ROWS_INT8;
  quantize.x = tensor(JD_F32, {3, 8});
  quantize.rows = tensor(JD_U8, {3, 12});
  expect_no_allocation("jd_quantize_rows", [&] { return jd_quantize_rows(stream, &quantize, &error); });
  jd_dequantize_rows_args dequantize = make<jd_dequantize_rows_args>();
  dequantize.format = JD_ROWS_INT8;
  dequantize.rows = quantize.rows;
  dequantize.out = tensor(JD_F32, {3, 8});
  expect_no_allocation("jd_dequantize_rows", [&] { return jd_dequantize_rows(stream, &dequantize, &error); });

  jd_target_attention_desc target = make<jd_target_attention_desc>();
  target.dtype = JD_F32;
  target.offset_dtype = JD_I32;
  target.num_heads = 2;
  target.head_dim_qk = target.head_dim_v = 64;
  target.self_key = 1;
  target.max_batch = target.max_candidates = target.max_history = 8;
  jd_plan target_plan;
  ASSERT_EQ(jd_target_attention_plan(device, &target, &target_plan, &error), JD_OK) << error.message;
  keep(target_plan);
  jd_target_attention_args attention = make<jd_target_attention_args>();
  attention.candidates = tensor(JD_F32, {4, 2, 64});
  attention.candidate_offsets = i32({0, 4});
  attention.keys = tensor(JD_F32, {8, 2, 64});
  attention.values = tensor(JD_F32, {8, 2, 64});
  attention.history_offsets = i32({0, 8});
  attention.candidate_keys = tensor(JD_F32, {4, 2, 64});
  attention.candidate_values = tensor(JD_F32, {4, 2, 64});
  attention.out = tensor(JD_F32, {4, 2, 64});
  expect_no_allocation("jd_target_attention_run (8 tensors)",
                       [&] { return jd_target_attention_run(target_plan, stream, &attention, &error); });

  jd_softmax_attention_desc softmax = make<jd_softmax_attention_desc>();
  softmax.dtype = JD_F32;
  softmax.offset_dtype = JD_I32;
  softmax.num_heads = 2;
  softmax.head_dim_qk = softmax.head_dim_v = 64;
  softmax.mask = JD_MASK_CAUSAL;
  softmax.max_batch = softmax.max_queries = softmax.max_keys = 8;
  jd_plan softmax_plan;
  ASSERT_EQ(jd_softmax_attention_plan(device, &softmax, &softmax_plan, &error), JD_OK) << error.message;
  keep(softmax_plan);
  jd_softmax_attention_args rows = make<jd_softmax_attention_args>();
  rows.queries = tensor(JD_F32, {4, 2, 64});
  rows.q_offsets = i32({0, 4});
  rows.keys = tensor(JD_F32, {8, 2, 64});
  rows.values = tensor(JD_F32, {8, 2, 64});
  rows.k_offsets = i32({0, 8});
  rows.out = tensor(JD_F32, {4, 2, 64});
  rows.lse = tensor(JD_F32, {4, 2});
  expect_no_allocation("jd_softmax_attention_run (7 tensors)",
                       [&] { return jd_softmax_attention_run(softmax_plan, stream, &rows, &error); });
  jd_history_search_desc search = make<jd_history_search_desc>();
  search.method = JD_SEARCH_DOT;
  search.dtype = JD_F32;
  search.offset_dtype = JD_I32;
  search.dim = 64;
  search.k = 4;
  search.max_batch = search.max_candidates = search.max_history = 8;
  jd_plan search_plan;
  ASSERT_EQ(jd_history_search_plan(device, &search, &search_plan, &error), JD_OK) << error.message;
  keep(search_plan);
  jd_history_search_args found = make<jd_history_search_args>();
  found.queries = tensor(JD_F32, {4, 64});
  found.candidate_offsets = i32({0, 4});
  found.keys = tensor(JD_F32, {8, 64});
  found.history_offsets = i32({0, 8});
  found.indices = tensor(JD_I32, {4, 4});
  found.scores = tensor(JD_F32, {4, 4});
  found.counts = tensor(JD_I32, {4});
  expect_no_allocation("jd_history_search_run", [&] { return jd_history_search_run(search_plan, stream, &found, &error); });

  jd_top_k_inner_product_desc best = make<jd_top_k_inner_product_desc>();
  best.dtype = JD_F32;
  best.dim = 64;
  best.k = 4;
  best.max_queries = 4;
  jd_plan best_plan;
  ASSERT_EQ(jd_top_k_inner_product_plan(device, &best, &best_plan, &error), JD_OK) << error.message;
  keep(best_plan);
  jd_top_k_inner_product_args items = make<jd_top_k_inner_product_args>();
  items.queries = found.queries;
  items.items = found.keys;
  items.allowed = tensor(JD_U8, {1});
  items.indices = tensor(JD_I64, {4, 4});
  items.scores = found.scores;
  expect_no_allocation("jd_top_k_inner_product_run",
                       [&] { return jd_top_k_inner_product_run(best_plan, stream, &items, &error); });

  jd_search_attention_desc after = make<jd_search_attention_desc>();
  after.dtype = JD_F32;
  after.offset_dtype = JD_I32;
  after.num_heads = 2;
  after.head_dim_qk = after.head_dim_v = 64;
  after.k = 4;
  after.max_batch = after.max_candidates = after.max_history = 8;
  jd_plan after_plan;
  ASSERT_EQ(jd_search_attention_plan(device, &after, &after_plan, &error), JD_OK) << error.message;
  keep(after_plan);
  jd_search_attention_args attended = make<jd_search_attention_args>();
  attended.candidates = attention.candidates;
  attended.candidate_offsets = attention.candidate_offsets;
  attended.keys = attention.keys;
  attended.values = attention.values;
  attended.history_offsets = attention.history_offsets;
  attended.indices = found.indices;
  attended.out = attention.out;
  expect_no_allocation("jd_search_attention_run", [&] { return jd_search_attention_run(after_plan, stream, &attended, &error); });

  jd_din_attention_desc din = make<jd_din_attention_desc>();
  din.dtype = JD_F32;
  din.offset_dtype = JD_I32;
  din.dim = din.dim_v = 8;
  din.hidden_1 = din.hidden_2 = 4;
  din.activation = JD_DIN_DICE;
  din.dice_eps = 1e-5f;
  din.max_batch = din.max_candidates = din.max_history = 8;
  jd_plan din_plan;
  ASSERT_EQ(jd_din_attention_plan(device, &din, &din_plan, &error), JD_OK) << error.message;
  keep(din_plan);
  jd_din_attention_args network = make<jd_din_attention_args>();
  network.candidates = network.keys = network.values = tensor(JD_F32, {8, 8});
  network.candidate_offsets = network.history_offsets = i32({0, 8});
  network.weight_1 = tensor(JD_F32, {4, 32});
  network.bias_1 = network.slope_1 = network.mean_1 = network.variance_1 = tensor(JD_F32, {4});
  network.bias_2 = network.slope_2 = network.mean_2 = network.variance_2 = network.bias_1;
  network.weight_2 = tensor(JD_F32, {4, 4});
  network.weight_3 = tensor(JD_F32, {1, 4});
  network.bias_3 = tensor(JD_F32, {1});
  network.out = tensor(JD_F32, {8, 8});
  expect_no_allocation("jd_din_attention_run (18 tensors)", [&] { return jd_din_attention_run(din_plan, stream, &network, &error); });

  jd_longer_attention_desc longer = make<jd_longer_attention_desc>();
  longer.dtype = JD_F32;
  longer.offset_dtype = JD_I32;
  longer.num_heads = 2;
  longer.head_dim_qk = longer.head_dim_v = 64;
  longer.num_global = 2;
  longer.num_shared_globals = 1;
  longer.max_batch = longer.max_candidates = longer.max_recent = longer.max_history = 8;
  jd_plan longer_plan;
  ASSERT_EQ(jd_longer_attention_plan(device, &longer, &longer_plan, &error), JD_OK) << error.message;
  keep(longer_plan);
  jd_longer_attention_args tokens = make<jd_longer_attention_args>();
  tokens.queries = tensor(JD_F32, {5, 2, 64});
  tokens.q_offsets = i32({0, 5});
  tokens.global_keys = tokens.global_values = tensor(JD_F32, {3, 2, 64});
  tokens.global_offsets = i32({0, 3});
  tokens.keys = tokens.values = tensor(JD_F32, {8, 2, 64});
  tokens.k_offsets = i32({0, 8});
  tokens.out = tensor(JD_F32, {5, 2, 64});
  expect_no_allocation("jd_longer_attention_run (9 tensors)",
                       [&] { return jd_longer_attention_run(longer_plan, stream, &tokens, &error); });
  jd_merge_tokens_args merged = make<jd_merge_tokens_args>();
  merged.k = 2;
  merged.x = tensor(JD_F32, {5, 8});
  merged.offsets = i32({0, 5});
  merged.out = tensor(JD_F32, {3, 16});
  merged.out_offsets = i32({0, 3});
  expect_no_allocation("jd_merge_tokens", [&] { return jd_merge_tokens(stream, &merged, &error); });

  jd_graph graph;
  ASSERT_EQ(jd_stream_begin_capture(stream, &error), JD_OK);
  ASSERT_EQ(jd_target_attention_run(target_plan, stream, &attention, &error), JD_OK);
  ASSERT_EQ(jd_stream_end_capture(stream, &graph, &error), JD_OK);
  expect_no_allocation("jd_graph_launch", [&] { return jd_graph_launch(graph, stream, &error); });
  jd_graph_destroy(graph, nullptr);

  // Neither does a refused call.
  attention.out = 0;
  const int64_t before = allocations;
  for (int i = 0; i < 100; ++i)
    EXPECT_EQ(jd_target_attention_run(target_plan, stream, &attention, &error), JD_INVALID_HANDLE);
  EXPECT_EQ(allocations - before, 0);
}

TEST_F(SteadyState, attention_to_pages_and_beams_allocates_nothing) {
  const jd_tensor queries = tensor(JD_F32, {4, 2, 32}), out = tensor(JD_F32, {4, 2, 32}), lse = tensor(JD_F32, {4, 2});
  const jd_tensor rows = tensor(JD_F32, {8, 2, 32}), pages = tensor(JD_F32, {2, 16, 2, 32});
  const jd_tensor page_table = i32({1}), table = view(page_table, 0, {1, 1}), seq_lens = i32({8});

  jd_hstu_attention_desc hstu = make<jd_hstu_attention_desc>();
  hstu.dtype = JD_F32;
  hstu.offset_dtype = JD_I32;
  hstu.num_heads = 2;
  hstu.head_dim_qk = hstu.head_dim_v = 32;
  hstu.scaling_seqlen = 8;
  hstu.causal = 1;
  hstu.contextual_seq_len = 1;
  hstu.max_attn_len = 3;
  hstu.max_batch = hstu.max_seq_len = 8;
  jd_plan plan;
  ASSERT_EQ(jd_hstu_attention_plan(device, &hstu, &plan, &error), JD_OK) << error.message;
  const jd_plan hstu_plan = keep(plan);
  jd_hstu_attention_args sequence = make<jd_hstu_attention_args>();
  sequence.queries = queries;
  sequence.q_offsets = i32({0, 4});
  sequence.keys = sequence.values = rows;
  sequence.offsets = i32({0, 8});
  sequence.num_targets = i32({1});
  sequence.timestamps = tensor(JD_I64, {8});
  sequence.position_bias = tensor(JD_F32, {15});
  sequence.time_bias = tensor(JD_F32, {9});
  sequence.out = out;
  expect_no_allocation("jd_hstu_attention_run", [&] { return jd_hstu_attention_run(hstu_plan, stream, &sequence, &error); });
  sequence.keys = sequence.values = sequence.offsets = 0;
  sequence.key_pages = sequence.value_pages = pages;
  sequence.page_table = table;
  sequence.seq_lens = seq_lens;
  sequence.timestamps = tensor(JD_I64, {1, 8});
  expect_no_allocation("jd_hstu_attention_run (pages)",
                       [&] { return jd_hstu_attention_run(hstu_plan, stream, &sequence, &error); });

  jd_decode_attention_desc decode = make<jd_decode_attention_desc>();
  decode.dtype = JD_F32;
  decode.offset_dtype = JD_I32;
  decode.num_heads = 2;
  decode.head_dim_qk = decode.head_dim_v = 32;
  decode.max_queries = 4;
  decode.max_batch = decode.max_seq_len = 8;
  ASSERT_EQ(jd_decode_attention_plan(device, &decode, &plan, &error), JD_OK) << error.message;
  const jd_plan decode_plan = keep(plan);
  jd_decode_attention_args newest = make<jd_decode_attention_args>();
  newest.queries = queries;
  newest.q_offsets = sequence.q_offsets;
  newest.key_pages = newest.value_pages = pages;
  newest.page_table = table;
  newest.seq_lens = seq_lens;
  newest.out = out;
  newest.lse = lse;
  expect_no_allocation("jd_decode_attention_run", [&] { return jd_decode_attention_run(decode_plan, stream, &newest, &error); });

  jd_beam_attention_desc beam = make<jd_beam_attention_desc>();
  beam.dtype = JD_F32;
  beam.offset_dtype = JD_I32;
  beam.num_heads = 2;
  beam.head_dim_qk = beam.head_dim_v = 32;
  beam.max_beams = 4;
  beam.max_batch = beam.max_prefix = 8;
  ASSERT_EQ(jd_beam_attention_plan(device, &beam, &plan, &error), JD_OK) << error.message;
  const jd_plan beam_plan = keep(plan);
  jd_beam_attention_args beams = make<jd_beam_attention_args>();
  beams.queries = queries;
  beams.beam_offsets = sequence.q_offsets;
  beams.keys = beams.values = rows;
  beams.prefix_offsets = i32({0, 8});
  beams.suffix_keys = beams.suffix_values = tensor(JD_F32, {1, 3, 4, 2, 32});
  beams.ancestry = tensor(JD_I32, {1, 3, 4});
  beams.suffix_lens = i32({2});
  beams.out = out;
  beams.lse = lse;
  expect_no_allocation("jd_beam_attention_run", [&] { return jd_beam_attention_run(beam_plan, stream, &beams, &error); });
  beams.keys = beams.values = beams.prefix_offsets = 0;
  beams.key_pages = beams.value_pages = pages;
  beams.page_table = table;
  beams.seq_lens = seq_lens;
  expect_no_allocation("jd_beam_attention_run (pages)",
                       [&] { return jd_beam_attention_run(beam_plan, stream, &beams, &error); });

  jd_merge_attention_states_args states = make<jd_merge_attention_states_args>();
  states.out_a = states.out_b = tensor(JD_F32, {4, 2, 32});
  states.lse_a = states.lse_b = tensor(JD_F32, {4, 2});
  states.out = out;
  states.lse = lse;
  expect_no_allocation("jd_merge_attention_states", [&] { return jd_merge_attention_states(stream, &states, &error); });

  jd_paged_cache_desc cache = make<jd_paged_cache_desc>();
  cache.dtype = cache.cache_dtype = JD_F32;
  cache.offset_dtype = JD_I32;
  cache.page_size = 16;
  cache.num_kv_heads = 2;
  cache.head_dim_k = cache.head_dim_v = 32;
  cache.max_batch = 8;
  ASSERT_EQ(jd_paged_append_plan(device, &cache, &plan, &error), JD_OK) << error.message;
  const jd_plan append_plan = keep(plan);
  ASSERT_EQ(jd_paged_gather_plan(device, &cache, &plan, &error), JD_OK) << error.message;
  const jd_plan gather_plan = keep(plan);
  jd_paged_cache_args copied = make<jd_paged_cache_args>();
  copied.keys = rows;
  copied.values = tensor(JD_F32, {8, 2, 32});
  copied.offsets = i32({0, 8});
  copied.key_pages = pages;
  copied.value_pages = tensor(JD_F32, {2, 16, 2, 32});
  copied.page_table = table;
  copied.seq_lens = seq_lens;
  expect_no_allocation("jd_paged_append_run", [&] { return jd_paged_append_run(append_plan, stream, &copied, &error); });
  expect_no_allocation("jd_paged_gather_run", [&] { return jd_paged_gather_run(gather_plan, stream, &copied, &error); });
}

TEST_F(SteadyState, stca_attention_allocates_nothing) {
  for (const int32_t path : {JD_STCA_MATERIALISED, JD_STCA_REORDERED}) {
    jd_stca_attention_desc desc = make<jd_stca_attention_desc>();
    desc.dtype = JD_F32;
    desc.offset_dtype = JD_I32;
    desc.model_dim = 64;
    desc.num_heads = 2;
    desc.head_dim = 32;
    desc.path = path;
    desc.max_batch = desc.max_candidates = desc.max_history = 8;
    jd_plan plan;
    ASSERT_EQ(jd_stca_attention_plan(device, &desc, &plan, &error), JD_OK) << error.message;
    keep(plan);
    jd_stca_attention_args args = make<jd_stca_attention_args>();
    args.candidates = tensor(JD_F32, {3, 64});
    args.candidate_offsets = i32({0, 3});
    args.events = tensor(JD_F32, {8, 64});
    args.history_offsets = i32({0, 8});
    args.query_weight = args.key_weight = args.value_weight = tensor(JD_F32, {64, 64});
    args.out = tensor(JD_F32, {3, 64});
    expect_no_allocation(path == JD_STCA_REORDERED ? "jd_stca_attention_run (reordered)" : "jd_stca_attention_run (materialised)",
                         [&] { return jd_stca_attention_run(plan, stream, &args, &error); });
  }
}

TEST_F(SteadyState, blocks_and_signatures_allocate_nothing) {
  const jd_tensor x = tensor(JD_F32, {3, 8});
  jd_layer_norm_args norm = make<jd_layer_norm_args>();
  norm.eps = 1e-5f;
  norm.x = norm.out = x;
  norm.weight = norm.bias = tensor(JD_F32, {8});
  expect_no_allocation("jd_layer_norm", [&] { return jd_layer_norm(stream, &norm, &error); });
  jd_l2_normalize_args unit = make<jd_l2_normalize_args>();
  unit.eps = 1e-5f;
  unit.x = unit.out = x;
  expect_no_allocation("jd_l2_normalize", [&] { return jd_l2_normalize(stream, &unit, &error); });
  jd_lsh_signatures_args signatures = make<jd_lsh_signatures_args>();
  signatures.x = x;
  signatures.projection = tensor(JD_F32, {64, 8});
  signatures.signatures = tensor(JD_I64, {3, 1});
  expect_no_allocation("jd_lsh_signatures", [&] { return jd_lsh_signatures(stream, &signatures, &error); });
}

TEST_F(SteadyState, hash_tables_allocate_nothing) {
  const int64_t slots = jd_hash_table_slots(100);
  jd_hash_table_desc desc = make<jd_hash_table_desc>();
  desc.dtype = JD_F32;
  desc.dim = 8;
  desc.admission = 1;
  jd_plan plan;
  ASSERT_EQ(jd_hash_insert_plan(device, &desc, &plan, &error), JD_OK) << error.message;
  const jd_plan insert = keep(plan);
  ASSERT_EQ(jd_hash_lookup_plan(device, &desc, &plan, &error), JD_OK) << error.message;
  const jd_plan lookup = keep(plan);
  ASSERT_EQ(jd_hash_erase_plan(device, &desc, &plan, &error), JD_OK) << error.message;
  const jd_plan erase = keep(plan);
  jd_hash_table_args args = make<jd_hash_table_args>();
  args.table_keys = tensor(JD_I64, {slots / 8, 8});
  std::fill_n(data<int64_t>(args.table_keys), slots, -1);
  args.table_rows = tensor(JD_F32, {slots, 8});
  args.table_size = tensor(JD_I64, {1});
  args.keys = i64({1, 2, 3});
  args.rows = tensor(JD_F32, {3, 8});
  args.slots = tensor(JD_I64, {3});
  args.outcomes = tensor(JD_I32, {3});
  expect_no_allocation("jd_hash_insert_run", [&] { return jd_hash_insert_run(insert, stream, &args, &error); });
  args.table_size = 0;
  expect_no_allocation("jd_hash_lookup_run", [&] { return jd_hash_lookup_run(lookup, stream, &args, &error); });
  args.rows = 0;
  args.table_size = tensor(JD_I64, {1});
  expect_no_allocation("jd_hash_erase_run", [&] { return jd_hash_erase_run(erase, stream, &args, &error); });
}

}  // namespace
}  // namespace jindou::test
