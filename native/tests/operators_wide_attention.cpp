// Attention over tensors of more than 2^31 elements, 2^31 rows and 2^32 bytes (wide_memory.h). A call over them has the very bits
// of the same call over a few dense rows.
#include "wide_memory.h"

namespace jindou::testing {
namespace {

constexpr int64_t kHeads = 4, kKvHeads = 2;

class WideAttention : public WideTest {
 protected:
  // The same numbers whichever memory they are put into.
  static std::vector<double> numbers(uint64_t seed, const std::vector<int64_t> &shape, int32_t dtype) {
    int64_t count = 1;
    for (const int64_t n : shape) count *= n;
    return Random(seed).values(count, dtype, 1.5);
  }
  static jd_tensor strided(WideMemory &m, uint64_t seed, int32_t dtype, const std::vector<int64_t> &shape) {
    return m.strided(dtype, shape, numbers(seed, shape, dtype));
  }
  static jd_tensor behind(WideMemory &m, int64_t before, uint64_t seed, int32_t dtype, const std::vector<int64_t> &shape) {
    return m.behind(before, dtype, shape, numbers(seed, shape, dtype));
  }
  static int64_t sum(const std::vector<int64_t> &lengths) { return offsets_of(lengths).back(); }

  // Of these lengths, many enough that what follows them lies behind 2^31 rows.
  static int64_t sequences_before(int64_t length) { return kFar / length; }

  // On a device whose kernels read the offsets themselves a sequence that is longer than declared is skipped and counted
  // (JD_BOUNDS_ZERO), so that the rows of queries behind it have numbers past 2^31 and none of the rows before is computed. Where the
  // host reads them, such a run is refused whole.
  bool skips_refused() const { return !rig->info.host_memory; }

  static jd_target_attention_desc target(int32_t dtype, int64_t dqk, int64_t dv, int64_t batch) {
    jd_target_attention_desc d{};
    d.struct_size = sizeof d;
    d.dtype = dtype;
    d.out_dtype = JD_F32;
    d.offset_dtype = JD_I64;
    d.num_heads = kHeads;
    d.num_kv_heads = kKvHeads;
    d.head_dim_qk = static_cast<int32_t>(dqk);
    d.head_dim_v = static_cast<int32_t>(dv);
    d.scale = 0.2f;
    d.max_batch = batch;
    d.max_candidates = 16;
    d.max_history = 131072;
    return d;
  }
  static jd_softmax_attention_desc softmax(int32_t dtype, int64_t dqk, int64_t dv, int64_t batch) {
    jd_softmax_attention_desc d{};
    d.struct_size = sizeof d;
    d.dtype = dtype;
    d.out_dtype = JD_F32;
    d.offset_dtype = JD_I64;
    d.num_heads = kHeads;
    d.num_kv_heads = kKvHeads;
    d.head_dim_qk = static_cast<int32_t>(dqk);
    d.head_dim_v = static_cast<int32_t>(dv);
    d.scale = 0.2f;
    d.mask = JD_MASK_WINDOW;
    d.left = 30;
    d.right = 2;
    d.sink = 3;
    d.max_batch = batch;
    d.max_queries = 1024;
    d.max_keys = 1 << 20;
    return d;
  }
  static jd_hstu_attention_desc hstu(int32_t dtype, int64_t dqk, int64_t dv, int64_t batch) {
    jd_hstu_attention_desc d{};
    d.struct_size = sizeof d;
    d.dtype = dtype;
    d.out_dtype = JD_F32;
    d.offset_dtype = JD_I64;
    d.num_heads = kKvHeads;
    d.head_dim_qk = static_cast<int32_t>(dqk);
    d.head_dim_v = static_cast<int32_t>(dv);
    d.alpha = 0.2f;
    d.scaling_seqlen = 20;
    d.causal = 1;
    d.max_batch = batch;
    d.max_seq_len = 131072;
    return d;
  }
};

TEST_P(WideAttention, target_attention_strides) {
  for (const int32_t dtype : {JD_F32, JD_F16, JD_BF16}) {
    for (const bool self_key : {false, true}) {
      expect_same_bits(jd_dtype_name(dtype), [&](WideMemory &m) {
        const std::vector<int64_t> candidates = {3, 2}, history = {70, 9};
        jd_target_attention_desc d = target(dtype, 64, 64, 2);
        d.self_key = self_key;
        jd_target_attention_args a{};
        a.struct_size = sizeof a;
        a.candidates = strided(m, 1, dtype, {5, kHeads, 64});
        a.candidate_offsets = m.offsets(0, 0, candidates);
        a.keys = strided(m, 2, dtype, {79, kKvHeads, 64});
        a.values = strided(m, 3, dtype, {79, kKvHeads, 64});
        a.history_offsets = m.offsets(0, 0, history);
        if (self_key) {
          a.candidate_keys = strided(m, 4, dtype, {5, kKvHeads, 64});
          a.candidate_values = strided(m, 5, dtype, {5, kKvHeads, 64});
        }
        a.out = m.strided_out(JD_F32, {5, kHeads, 64});
        run(d, a, jd_target_attention_plan, jd_target_attention_run);
        return std::vector<jd_tensor>{a.out};
      });
    }
  }
}

TEST_P(WideAttention, target_attention_histories_behind_2_31_rows) {
  const int64_t before = sequences_before(131072);
  for (const int32_t dtype : {JD_F32, JD_F16}) {
    expect_same_bits(jd_dtype_name(dtype), [&](WideMemory &m) {
      jd_target_attention_desc d = target(dtype, 32, 64, before + 2);
      jd_target_attention_args a{};
      a.struct_size = sizeof a;
      a.candidates = strided(m, 1, dtype, {5, kHeads, 32});
      a.candidate_offsets = m.offsets(before, 0, {3, 2});
      a.keys = behind(m, kFar, 2, dtype, {79, kKvHeads, 32});
      a.values = behind(m, kFar, 3, dtype, {79, kKvHeads, 64});
      a.history_offsets = m.offsets(before, 131072, {70, 9});
      a.out = m.strided_out(JD_F32, {5, kHeads, 64});
      run(d, a, jd_target_attention_plan, jd_target_attention_run);
      return std::vector<jd_tensor>{a.out};
    });
  }
}

// The largest token numbers that the copy engine of sm_90a takes.
TEST_P(WideAttention, target_attention_histories_of_2_31_rows) {
  const int64_t before = sequences_before(131072) - 1;
  expect_same_bits("bf16", [&](WideMemory &m) {
    jd_target_attention_desc d = target(JD_BF16, 64, 64, before + 3);
    jd_target_attention_args a{};
    a.struct_size = sizeof a;
    a.candidates = strided(m, 1, JD_BF16, {5, kHeads, 64});
    a.candidate_offsets = m.offsets(before, 0, {0, 3, 2});
    a.keys = behind(m, kFar - 79, 2, JD_BF16, {79, kKvHeads, 64});
    a.values = behind(m, kFar - 79, 3, JD_BF16, {79, kKvHeads, 64});
    a.history_offsets = m.offsets(before, 131072, {m.wide ? 131072 - 79 : 0, 70, 9});
    a.out = m.strided_out(JD_F32, {5, kHeads, 64});
    run(d, a, jd_target_attention_plan, jd_target_attention_run);
    return std::vector<jd_tensor>{a.out};
  });
}

TEST_P(WideAttention, softmax_attention_strides) {
  for (const int32_t dtype : {JD_F32, JD_F16, JD_BF16}) {
    expect_same_bits(jd_dtype_name(dtype), [&](WideMemory &m) {
      jd_softmax_attention_desc d = softmax(dtype, 64, 64, 2);
      jd_softmax_attention_args a{};
      a.struct_size = sizeof a;
      a.queries = strided(m, 1, dtype, {12, kHeads, 64});
      a.q_offsets = m.offsets(0, 0, {5, 7});
      a.keys = strided(m, 2, dtype, {79, kKvHeads, 64});
      a.values = strided(m, 3, dtype, {79, kKvHeads, 64});
      a.k_offsets = m.offsets(0, 0, {70, 9});
      a.out = m.strided_out(JD_F32, {12, kHeads, 64});
      a.lse = m.strided_out(JD_F32, {12, kHeads});
      run(d, a, jd_softmax_attention_plan, jd_softmax_attention_run);
      return std::vector<jd_tensor>{a.out, a.lse};
    });
  }
}

TEST_P(WideAttention, softmax_attention_biases) {
  for (const int32_t bias : {JD_BIAS_T5, JD_BIAS_DENSE}) {
    expect_same_bits(bias == JD_BIAS_T5 ? "T5" : "dense", [&](WideMemory &m) {
      jd_softmax_attention_desc d = softmax(JD_F32, 32, 32, 2);
      d.bias = bias;
      d.t5_num_buckets = 32;
      d.t5_max_distance = 128;
      d.t5_bidirectional = 1;
      jd_softmax_attention_args a{};
      a.struct_size = sizeof a;
      a.queries = strided(m, 1, JD_F32, {12, kHeads, 32});
      a.q_offsets = m.offsets(0, 0, {5, 7});
      a.keys = strided(m, 2, JD_F32, {79, kKvHeads, 32});
      a.values = strided(m, 3, JD_F32, {79, kKvHeads, 32});
      a.k_offsets = m.offsets(0, 0, {70, 9});
      if (bias == JD_BIAS_T5) {
        a.t5_bias = strided(m, 4, JD_F32, {32, kHeads});
      } else {
        a.bias = strided(m, 4, JD_F32, {2, kHeads, 7, 70});
      }
      a.out = m.strided_out(JD_F32, {12, kHeads, 32});
      run(d, a, jd_softmax_attention_plan, jd_softmax_attention_run);
      return std::vector<jd_tensor>{a.out};
    });
  }
}

TEST_P(WideAttention, softmax_attention_keys_behind_2_31_rows) {
  const int64_t before = sequences_before(1 << 20);
  for (const int32_t dtype : {JD_F32, JD_F16}) {
    expect_same_bits(jd_dtype_name(dtype), [&](WideMemory &m) {
      jd_softmax_attention_desc d = softmax(dtype, 64, 32, before + 2);
      jd_softmax_attention_args a{};
      a.struct_size = sizeof a;
      a.queries = strided(m, 1, dtype, {12, kHeads, 64});
      a.q_offsets = m.offsets(before, 0, {5, 7});
      a.keys = behind(m, kFar, 2, dtype, {79, kKvHeads, 64});
      a.values = behind(m, kFar, 3, dtype, {79, kKvHeads, 32});
      a.k_offsets = m.offsets(before, 1 << 20, {70, 9});
      a.out = m.strided_out(JD_F32, {12, kHeads, 32});
      run(d, a, jd_softmax_attention_plan, jd_softmax_attention_run);
      return std::vector<jd_tensor>{a.out};
    });
  }
}

// Two queries over the last keys of a sequence of 2^20: the window leaves the others untouched.
TEST_P(WideAttention, softmax_attention_of_one_sequence_past_2_31_elements) {
  for (const auto &[dtype, tolerance] : {std::pair<int32_t, double>{JD_F32, 1e-5}, {JD_BF16, 2e-2}}) {
    const int32_t type = dtype;
    expect_close(jd_dtype_name(type), tolerance, [&](WideMemory &m) {
      const int64_t keys = m.wide ? 1 << 20 : 64;
      jd_softmax_attention_desc d = softmax(type, 256, 256, 1);
      d.num_kv_heads = kHeads;
      d.sink = 0;
      jd_softmax_attention_args a{};
      a.struct_size = sizeof a;
      a.queries = strided(m, 1, type, {2, kHeads, 256});
      a.q_offsets = m.offsets(0, 0, {2});
      // Rows 3,072 elements apart: 2^20 of them are 2^31.6.
      const auto rows = [&](uint64_t seed) {
        return m.last_rows(type, {keys, kHeads, 256}, {3072, 256, 1}, 64, numbers(seed, {64, kHeads, 256}, type));
      };
      a.keys = rows(2);
      a.values = rows(3);
      a.k_offsets = m.offsets(0, 0, {keys});
      a.out = m.strided_out(JD_F32, {2, kHeads, 256});
      run(d, a, jd_softmax_attention_plan, jd_softmax_attention_run);
      return a.out;
    });
  }
}

TEST_P(WideAttention, merge_attention_states) {
  for (const int32_t dtype : {JD_F32, JD_F16}) {
    expect_same_bits(jd_dtype_name(dtype), [&](WideMemory &m) {
      jd_merge_attention_states_args a{};
      a.struct_size = sizeof a;
      a.out_a = strided(m, 1, dtype, {9, kHeads, 32});
      a.out_b = strided(m, 2, dtype, {9, kHeads, 32});
      a.lse_a = strided(m, 3, JD_F32, {9, kHeads});
      a.lse_b = strided(m, 4, JD_F32, {9, kHeads});
      a.out = m.strided_out(dtype, {9, kHeads, 32});
      a.lse = m.strided_out(JD_F32, {9, kHeads});
      run(a, jd_merge_attention_states);
      return std::vector<jd_tensor>{a.out, a.lse};
    });
  }
}

TEST_P(WideAttention, hstu_attention_strides) {
  for (const int32_t dtype : {JD_F32, JD_F16, JD_BF16}) {
    for (const bool options : {false, true}) {
      expect_same_bits(jd_dtype_name(dtype), [&](WideMemory &m) {
        jd_hstu_attention_desc d = hstu(dtype, 64, 64, 2);
        d.max_seq_len = 70;
        jd_hstu_attention_args a{};
        a.struct_size = sizeof a;
        a.queries = strided(m, 1, dtype, {79, kKvHeads, 64});
        a.keys = strided(m, 2, dtype, {79, kKvHeads, 64});
        a.values = strided(m, 3, dtype, {79, kKvHeads, 64});
        a.offsets = m.offsets(0, 0, {70, 9});
        if (options) {
          a.position_bias = strided(m, 4, JD_F32, {kKvHeads, 139});
          a.time_bias = strided(m, 5, JD_F32, {kKvHeads, 20});
          std::vector<double> times;
          for (int64_t i = 0; i < 79; ++i) times.push_back(static_cast<double>(i * i * 1000));
          a.timestamps = rig->tensor(JD_I64, {79}, times);
        }
        a.out = m.strided_out(JD_F32, {79, kKvHeads, 64});
        run(d, a, jd_hstu_attention_plan, jd_hstu_attention_run);
        return std::vector<jd_tensor>{a.out};
      });
    }
  }
}

TEST_P(WideAttention, hstu_attention_keys_behind_2_31_rows) {
  const int64_t before = sequences_before(131072);
  for (const int32_t dtype : {JD_F32, JD_F16}) {
    for (const bool times : {false, true}) {
      expect_same_bits(jd_dtype_name(dtype), [&](WideMemory &m) {
        jd_hstu_attention_desc d = hstu(dtype, 64, 32, before + 2);
        jd_hstu_attention_args a{};
        a.struct_size = sizeof a;
        a.queries = strided(m, 1, dtype, {14, kKvHeads, 64});
        a.q_offsets = m.offsets(before, 0, {5, 9});
        a.keys = behind(m, kFar, 2, dtype, {79, kKvHeads, 64});
        a.values = behind(m, kFar, 3, dtype, {79, kKvHeads, 32});
        a.offsets = m.offsets(before, 131072, {70, 9});
        if (times) {
          a.time_bias = strided(m, 5, JD_F32, {kKvHeads, 20});
          std::vector<double> at;
          for (int64_t i = 0; i < 79; ++i) at.push_back(static_cast<double>(i * i * 1000));
          a.timestamps = m.behind(kFar, JD_I64, {79}, at);
        }
        a.out = m.strided_out(JD_F32, {14, kKvHeads, 32});
        run(d, a, jd_hstu_attention_plan, jd_hstu_attention_run);
        return std::vector<jd_tensor>{a.out};
      });
    }
  }
}

TEST_P(WideAttention, hstu_attention_keys_of_2_31_rows) {
  const int64_t before = sequences_before(131072) - 1;
  expect_same_bits("bf16", [&](WideMemory &m) {
    jd_hstu_attention_desc d = hstu(JD_BF16, 64, 64, before + 3);
    jd_hstu_attention_args a{};
    a.struct_size = sizeof a;
    a.queries = strided(m, 1, JD_BF16, {14, kKvHeads, 64});
    a.q_offsets = m.offsets(before, 0, {0, 5, 9});
    a.keys = behind(m, kFar - 79, 2, JD_BF16, {79, kKvHeads, 64});
    a.values = behind(m, kFar - 79, 3, JD_BF16, {79, kKvHeads, 64});
    a.offsets = m.offsets(before, 131072, {m.wide ? 131072 - 79 : 0, 70, 9});
    a.out = m.strided_out(JD_F32, {14, kKvHeads, 64});
    run(d, a, jd_hstu_attention_plan, jd_hstu_attention_run);
    return std::vector<jd_tensor>{a.out};
  });
}

// Queries, candidates and beams behind 2^31 rows that are refused (see skips_refused).
TEST_P(WideAttention, queries_behind_2_31_refused_rows) {
  const int64_t refused = skips_refused() ? 1 : 0, before = refused * kFar;
  if (!skips_refused()) {
    jd_softmax_attention_desc d = softmax(JD_F32, 32, 32, 2);
    WideMemory m(*rig, true);
    jd_softmax_attention_args a{};
    a.struct_size = sizeof a;
    a.queries = behind(m, kFar, 1, JD_F32, {5, kHeads, 32});
    a.q_offsets = m.offsets(1, kFar, {5});
    a.keys = behind(m, 0, 2, JD_F32, {79, kKvHeads, 32});
    a.values = behind(m, 0, 3, JD_F32, {79, kKvHeads, 32});
    a.k_offsets = m.offsets(1, 0, {79});
    a.out = m.behind_out(kFar, JD_F32, {5, kHeads, 32});
    Error error;
    jd_plan plan = 0;
    rig->check(jd_softmax_attention_plan(rig->device, &d, &plan, &error), error);
    EXPECT_EQ(jd_softmax_attention_run(plan, rig->stream, &a, &error), JD_INVALID_ARGUMENT);
    EXPECT_NE(std::string(error.message).find("2147483648"), std::string::npos) << error.message;
    jd_plan_destroy(plan, nullptr);
    return;
  }
  expect_same_bits("softmax_attention", [&](WideMemory &m) {
    jd_softmax_attention_desc d = softmax(JD_F32, 32, 32, 2);
    d.bounds = JD_BOUNDS_ZERO;
    jd_softmax_attention_args a{};
    a.struct_size = sizeof a;
    a.queries = behind(m, before, 1, JD_F32, {5, kHeads, 32});
    a.q_offsets = m.offsets(refused, kFar, {5});
    a.keys = strided(m, 2, JD_F32, {79, kKvHeads, 32});
    a.values = strided(m, 3, JD_F32, {79, kKvHeads, 32});
    a.k_offsets = m.offsets(refused, 0, {79});
    a.out = m.behind_out(before, JD_F32, {5, kHeads, 32});
    a.lse = m.behind_out(before, JD_F32, {5, kHeads});
    run(d, a, jd_softmax_attention_plan, jd_softmax_attention_run);
    return std::vector<jd_tensor>{a.out, a.lse};
  });
  for (const int32_t dtype : {JD_F32, JD_F16}) {
    expect_same_bits("target_attention", [&](WideMemory &m) {
      jd_target_attention_desc d = target(dtype, 32, 32, 2);
      d.bounds = JD_BOUNDS_ZERO;
      d.self_key = 1;
      jd_target_attention_args a{};
      a.struct_size = sizeof a;
      a.candidates = behind(m, before, 1, dtype, {5, kHeads, 32});
      a.candidate_offsets = m.offsets(refused, kFar, {5});
      a.keys = strided(m, 2, dtype, {79, kKvHeads, 32});
      a.values = strided(m, 3, dtype, {79, kKvHeads, 32});
      a.history_offsets = m.offsets(refused, 0, {79});
      a.candidate_keys = behind(m, before, 4, dtype, {5, kKvHeads, 32});
      a.candidate_values = behind(m, before, 5, dtype, {5, kKvHeads, 32});
      a.out = m.behind_out(before, JD_F32, {5, kHeads, 32});
      run(d, a, jd_target_attention_plan, jd_target_attention_run);
      return std::vector<jd_tensor>{a.out};
    });
    expect_same_bits("hstu_attention", [&](WideMemory &m) {
      jd_hstu_attention_desc d = hstu(dtype, 32, 32, 2);
      d.bounds = JD_BOUNDS_ZERO;
      jd_hstu_attention_args a{};
      a.struct_size = sizeof a;
      a.queries = behind(m, before, 1, dtype, {70, kKvHeads, 32});
      a.keys = behind(m, before, 2, dtype, {70, kKvHeads, 32});
      a.values = behind(m, before, 3, dtype, {70, kKvHeads, 32});
      a.offsets = m.offsets(refused, kFar, {70});
      a.attn_scale = behind(m, before, 4, JD_F32, {70});
      a.out = m.behind_out(before, JD_F32, {70, kKvHeads, 32});
      run(d, a, jd_hstu_attention_plan, jd_hstu_attention_run);
      return std::vector<jd_tensor>{a.out};
    });
  }
  // As far as the copy engine of sm_90a goes.
  const int64_t near = kFar - 70;
  expect_same_bits("hstu_attention, bf16", [&](WideMemory &m) {
    jd_hstu_attention_desc d = hstu(JD_BF16, 64, 64, 2);
    d.bounds = JD_BOUNDS_ZERO;
    jd_hstu_attention_args a{};
    a.struct_size = sizeof a;
    a.queries = behind(m, near, 1, JD_BF16, {70, kKvHeads, 64});
    a.keys = behind(m, near, 2, JD_BF16, {70, kKvHeads, 64});
    a.values = behind(m, near, 3, JD_BF16, {70, kKvHeads, 64});
    a.offsets = m.offsets(1, near, {70});
    a.out = m.behind_out(near, JD_F32, {70, kKvHeads, 64});
    run(d, a, jd_hstu_attention_plan, jd_hstu_attention_run);
    return std::vector<jd_tensor>{a.out};
  });
  expect_same_bits("target_attention, bf16", [&](WideMemory &m) {
    jd_target_attention_desc d = target(JD_BF16, 64, 64, 2);
    d.bounds = JD_BOUNDS_ZERO;
    jd_target_attention_args a{};
    a.struct_size = sizeof a;
    a.candidates = behind(m, near, 1, JD_BF16, {5, kHeads, 64});
    a.candidate_offsets = m.offsets(1, near, {5});
    a.keys = strided(m, 2, JD_BF16, {79, kKvHeads, 64});
    a.values = strided(m, 3, JD_BF16, {79, kKvHeads, 64});
    a.history_offsets = m.offsets(1, 0, {79});
    a.out = m.behind_out(near, JD_F32, {5, kHeads, 64});
    run(d, a, jd_target_attention_plan, jd_target_attention_run);
    return std::vector<jd_tensor>{a.out};
  });
}

TEST_P(WideAttention, search_attention) {
  // Events of a history of 2^30 rows of 64 elements: 2^36.
  constexpr int64_t kEvents = 1 << 30;
  for (const int32_t dtype : {JD_F32, JD_F16, JD_BF16}) {
    for (const bool strides : {false, true}) {
      expect_same_bits(jd_dtype_name(dtype), [&](WideMemory &m) {
        jd_search_attention_desc d{};
        d.struct_size = sizeof d;
        d.dtype = dtype;
        d.out_dtype = JD_F32;
        d.offset_dtype = JD_I64;
        d.num_heads = kHeads;
        d.num_kv_heads = kKvHeads;
        d.head_dim_qk = d.head_dim_v = 32;
        d.scale = 0.2f;
        d.k = 20;
        d.max_batch = 4;
        d.max_candidates = 3;
        d.max_history = kEvents;
        // Two users of 2^30 events without candidates, then one whose last 30 events are listed.
        const int64_t before = strides ? 0 : 3 * kEvents - 30, shift = m.wide && !strides ? kEvents - 30 : 0;
        jd_search_attention_args a{};
        a.struct_size = sizeof a;
        a.candidates = strided(m, 1, dtype, {3, kHeads, 32});
        a.candidate_offsets = m.offsets(strides ? 0 : 2, 0, {3});
        a.keys = strides ? strided(m, 2, dtype, {30, kKvHeads, 32}) : behind(m, before, 2, dtype, {30, kKvHeads, 32});
        a.values = strides ? strided(m, 3, dtype, {30, kKvHeads, 32}) : behind(m, before, 3, dtype, {30, kKvHeads, 32});
        a.history_offsets = m.offsets(strides ? 0 : 2, kEvents, {m.wide && !strides ? kEvents : 30});
        std::vector<double> listed;
        for (int64_t i = 0; i < 60; ++i) listed.push_back(static_cast<double>(i % 7 == 3 ? -1 : shift + i * 11 % 30));
        a.indices = m.strided(JD_I32, {3, 20}, listed);
        a.out = m.strided_out(JD_F32, {3, kHeads, 32});
        a.lse = m.strided_out(JD_F32, {3, kHeads});
        run(d, a, jd_search_attention_plan, jd_search_attention_run);
        return std::vector<jd_tensor>{a.out, a.lse};
      });
    }
  }
}

TEST_P(WideAttention, din_attention) {
  for (const int32_t dtype : {JD_F32, JD_F16, JD_BF16}) {
    for (const bool strides : {false, true}) {
      const int64_t sequences = strides ? 0 : sequences_before(131072), before = strides ? 0 : kFar;
      expect_same_bits(jd_dtype_name(dtype), [&](WideMemory &m) {
        jd_din_attention_desc d{};
        d.struct_size = sizeof d;
        d.dtype = dtype;
        d.out_dtype = JD_F32;
        d.offset_dtype = JD_I64;
        d.dim = d.dim_v = 16;
        d.hidden_1 = 8;
        d.hidden_2 = 4;
        d.activation = JD_DIN_SIGMOID;
        d.softmax = 1;
        d.scale = 1;
        d.max_batch = sequences + 2;
        d.max_candidates = 8;
        d.max_history = 131072;
        jd_din_attention_args a{};
        a.struct_size = sizeof a;
        a.candidates = strided(m, 1, dtype, {5, 16});
        a.candidate_offsets = m.offsets(sequences, 0, {3, 2});
        a.keys = strides ? strided(m, 2, dtype, {79, 16}) : behind(m, before, 2, dtype, {79, 16});
        a.values = strides ? strided(m, 3, dtype, {79, 16}) : behind(m, before, 3, dtype, {79, 16});
        a.history_offsets = m.offsets(sequences, 131072, {70, 9});
        a.weight_1 = strided(m, 4, JD_F32, {8, 64});
        a.bias_1 = rig->tensor(JD_F32, {8}, numbers(5, {8}, JD_F32));
        a.weight_2 = strided(m, 6, JD_F32, {4, 8});
        a.bias_2 = rig->tensor(JD_F32, {4}, numbers(7, {4}, JD_F32));
        a.weight_3 = rig->tensor(JD_F32, {1, 4}, numbers(8, {4}, JD_F32));
        a.bias_3 = rig->tensor(JD_F32, {1}, {0.3});
        a.out = m.strided_out(JD_F32, {5, 16});
        run(d, a, jd_din_attention_plan, jd_din_attention_run);
        return std::vector<jd_tensor>{a.out};
      });
    }
  }
}

// Reordered, keys and values that would not fit are never stored.
TEST_P(WideAttention, stca_attention) {
  for (const int32_t dtype : {JD_F32, JD_F16, JD_BF16}) {
    for (const auto &[path, dim, strides] : {std::tuple<int32_t, int32_t, bool>{JD_STCA_MATERIALISED, 64, true},
                                             {JD_STCA_REORDERED, 64, true},
                                             {JD_STCA_REORDERED, 288, true},
                                             {JD_STCA_REORDERED, 64, false},
                                             {JD_STCA_REORDERED, 288, false}}) {
      const int32_t way = path, model = dim;
      const int64_t sequences = strides ? 0 : kFar / dim / 131072 + 1, before = sequences * 131072;
      const bool apart = strides;
      expect_same_bits(std::string(jd_dtype_name(dtype)) + ", " + std::to_string(model), [&](WideMemory &m) {
        jd_stca_attention_desc d{};
        d.struct_size = sizeof d;
        d.dtype = dtype;
        d.out_dtype = JD_F32;
        d.offset_dtype = JD_I64;
        d.model_dim = model;
        d.num_heads = 2;
        d.head_dim = 32;
        d.scale = 0.01f;
        d.path = way;
        d.max_batch = sequences + 2;
        d.max_candidates = 8;
        d.max_history = 131072;
        d.max_total_events = apart ? 79 : int64_t{1} << 31;
        jd_stca_attention_args a{};
        a.struct_size = sizeof a;
        a.candidates = strided(m, 1, dtype, {5, model});
        a.candidate_offsets = m.offsets(sequences, 0, {3, 2});
        a.events = apart ? strided(m, 2, dtype, {79, model}) : behind(m, before, 2, dtype, {79, model});
        a.history_offsets = m.offsets(sequences, 131072, {70, 9});
        a.query_weight = strided(m, 3, JD_F32, {64, model});
        a.key_weight = strided(m, 4, JD_F32, {64, model});
        a.value_weight = strided(m, 5, JD_F32, {64, model});
        a.out = m.strided_out(JD_F32, {5, 64});
        run(d, a, jd_stca_attention_plan, jd_stca_attention_run);
        return std::vector<jd_tensor>{a.out};
      });
    }
  }
}

// -- paged caches ----------------------------------------------------------------------------------------------------------
// Two sequences of 40 and 19 rows in five pages of 16. Wide: the pool's last pages, or pages, rows and heads 2^31 elements and more apart.
struct Pool {
  static constexpr int64_t kPages = 5, kPageRows = 16, kDim = 32;
  jd_paged_cache_args args{};
  const int64_t dim;

  Pool(WideMemory &m, int32_t cache_dtype, bool strides, int64_t head_dim = kDim) : dim(head_dim) {
    const int64_t before = strides ? 0 : kBefore;
    args.struct_size = sizeof args;
    const std::vector<int64_t> pages = {kPages, kPageRows, kKvHeads, dim}, scales = {kPages, kPageRows, kKvHeads};
    const auto out = [&](int32_t dtype, const std::vector<int64_t> &shape) {
      return strides ? m.strided_out(dtype, shape) : m.behind_out(before, dtype, shape);
    };
    args.key_pages = out(cache_dtype, pages);
    args.value_pages = out(cache_dtype, pages);
    if (cache_dtype == JD_I8) {
      args.key_scales = out(JD_F32, scales);
      args.value_scales = out(JD_F32, scales);
    } else if (cache_dtype == JD_F8_E4M3) {
      const std::vector<double> numbers = Random(9).values(kPages * kKvHeads, JD_F32);
      std::vector<double> positive;
      for (const double x : numbers) positive.push_back(0.01 + 0.01 * std::fabs(x));
      args.key_scales = strides ? m.strided(JD_F32, {kPages, kKvHeads}, positive) : m.behind(before, JD_F32, {kPages, kKvHeads}, positive);
      args.value_scales = args.key_scales;
    }
    const double first = static_cast<double>(m.wide ? before : 0);
    args.page_table = m.strided(JD_I32, {2, 3}, {first + 3, first + 0, first + 4, first + 1, first + 2, -1});
  }

  // The pages, to be read by an operator's arguments.
  template <class Args>
  void lend(Args &a) const {
    a.key_pages = args.key_pages;
    a.value_pages = args.value_pages;
    a.page_table = args.page_table;
    a.seq_lens = args.seq_lens;
    a.key_scales = args.key_scales;
    a.value_scales = args.value_scales;
  }

  static constexpr int64_t kBefore = INT32_MAX - kPages;  // page numbers have 31 bits
};

class WidePages : public WideAttention {
 protected:
  void append(WideMemory &m, Pool &pool, int32_t dtype, int32_t cache_dtype) {
    jd_paged_cache_args a = pool.args;
    a.keys = strided(m, 1, dtype, {59, kKvHeads, pool.dim});
    a.values = strided(m, 2, dtype, {59, kKvHeads, pool.dim});
    a.offsets = m.offsets(0, 0, {40, 19});
    a.seq_lens = m.integers(0, 0, {0, 0});
    run(description(dtype, cache_dtype, pool.dim), a, jd_paged_append_plan, jd_paged_append_run);
    pool.args.seq_lens = m.integers(0, 0, {40, 19});
  }
  static jd_paged_cache_desc description(int32_t dtype, int32_t cache_dtype, int64_t dim = Pool::kDim) {
    jd_paged_cache_desc d{};
    d.struct_size = sizeof d;
    d.dtype = dtype;
    d.cache_dtype = cache_dtype;
    d.offset_dtype = JD_I64;
    d.page_size = Pool::kPageRows;
    d.num_kv_heads = kKvHeads;
    d.head_dim_k = d.head_dim_v = static_cast<int32_t>(dim);
    d.max_batch = 2;
    return d;
  }

  // call(memory, pool, dtype, cache dtype) over pools whose last pages, and whose strides, lie far.
  template <class Call>
  void over_pools(const Call &call) {
    for (const bool strides : {false, true}) {
      for (const auto &[dtype, cache] : {std::pair<int32_t, int32_t>{JD_F32, JD_F32}, {JD_F16, JD_F16}, {JD_BF16, JD_F8_E4M3}, {JD_F32, JD_I8}}) {
        const int32_t of_rows = dtype, of_cache = cache;
        expect_same_bits(std::string(jd_dtype_name(of_cache)) + (strides ? ", strides" : ", last pages"), [&](WideMemory &m) {
          Pool pool(m, of_cache, strides);
          append(m, pool, of_rows, of_cache);
          return call(m, pool, of_rows, of_cache);
        });
      }
    }
  }
};

TEST_P(WidePages, rows_come_back) {
  over_pools([&](WideMemory &m, Pool &pool, int32_t dtype, int32_t cache_dtype) {
    jd_paged_cache_args a = pool.args;
    a.keys = m.strided_out(dtype, {47, kKvHeads, Pool::kDim});
    a.values = m.strided_out(dtype, {47, kKvHeads, Pool::kDim});
    a.offsets = m.offsets(0, 0, {30, 17});
    run(description(dtype, cache_dtype), a, jd_paged_gather_plan, jd_paged_gather_run);
    return std::vector<jd_tensor>{a.keys, a.values};
  });
}

TEST_P(WidePages, decode_attention) {
  over_pools([&](WideMemory &m, Pool &pool, int32_t dtype, int32_t cache_dtype) {
    jd_decode_attention_desc d{};
    d.struct_size = sizeof d;
    d.dtype = dtype;
    d.out_dtype = JD_F32;
    d.cache_dtype = cache_dtype;
    d.offset_dtype = JD_I64;
    d.num_heads = kHeads;
    d.num_kv_heads = kKvHeads;
    d.head_dim_qk = d.head_dim_v = Pool::kDim;
    d.scale = 0.2f;
    d.max_queries = 2;
    d.max_batch = 2;
    d.max_seq_len = 48;
    jd_decode_attention_args a{};
    a.struct_size = sizeof a;
    a.queries = strided(m, 3, dtype, {3, kHeads, Pool::kDim});
    a.q_offsets = m.offsets(0, 0, {1, 2});
    pool.lend(a);
    a.out = m.strided_out(JD_F32, {3, kHeads, Pool::kDim});
    a.lse = m.strided_out(JD_F32, {3, kHeads});
    run(d, a, jd_decode_attention_plan, jd_decode_attention_run);
    return std::vector<jd_tensor>{a.out, a.lse};
  });
}

TEST_P(WidePages, hstu_attention) {
  over_pools([&](WideMemory &m, Pool &pool, int32_t dtype, int32_t) {
    jd_hstu_attention_desc d = hstu(dtype, Pool::kDim, Pool::kDim, 2);
    d.max_seq_len = 48;
    jd_hstu_attention_args a{};
    a.struct_size = sizeof a;
    a.queries = strided(m, 3, dtype, {7, kKvHeads, Pool::kDim});
    a.q_offsets = m.offsets(0, 0, {3, 4});
    pool.lend(a);
    a.time_bias = strided(m, 5, JD_F32, {kKvHeads, 20});
    std::vector<double> times;
    for (int64_t i = 0; i < 96; ++i) times.push_back(static_cast<double>(i * i * 1000));
    a.timestamps = m.strided(JD_I64, {2, 48}, times);
    a.out = m.strided_out(JD_F32, {7, kKvHeads, Pool::kDim});
    run(d, a, jd_hstu_attention_plan, jd_hstu_attention_run);
    return std::vector<jd_tensor>{a.out};
  });
}

// What the kernels of compute capability 9.0 take.
TEST_P(WidePages, hstu_attention_of_bf16_without_biases) {
  constexpr int64_t kDim = 64;
  for (const bool strides : {false, true}) {
    for (const int32_t cache : {JD_BF16, JD_F8_E4M3, JD_I8}) {
      expect_same_bits(std::string(jd_dtype_name(cache)) + (strides ? ", strides" : ", last pages"), [&](WideMemory &m) {
        Pool pool(m, cache, strides, kDim);
        append(m, pool, JD_BF16, cache);
        jd_hstu_attention_desc d = hstu(JD_BF16, kDim, kDim, 2);
        d.max_seq_len = 48;
        jd_hstu_attention_args a{};
        a.struct_size = sizeof a;
        a.queries = m.behind(0, JD_BF16, {7, kKvHeads, kDim}, Random(3).values(7 * kKvHeads * kDim, JD_BF16));
        a.q_offsets = m.offsets(0, 0, {3, 4});
        pool.lend(a);
        a.out = m.strided_out(JD_F32, {7, kKvHeads, kDim});
        run(d, a, jd_hstu_attention_plan, jd_hstu_attention_run);
        return std::vector<jd_tensor>{a.out};
      });
    }
  }
}

TEST_P(WidePages, beam_attention_with_suffixes) {
  over_pools([&](WideMemory &m, Pool &pool, int32_t dtype, int32_t cache_dtype) {
    constexpr int64_t kLevels = 3, kSlots = 4;
    jd_beam_attention_desc d{};
    d.struct_size = sizeof d;
    d.dtype = dtype;
    d.out_dtype = JD_F32;
    d.cache_dtype = cache_dtype;
    d.offset_dtype = JD_I64;
    d.num_heads = kHeads;
    d.num_kv_heads = kKvHeads;
    d.head_dim_qk = d.head_dim_v = Pool::kDim;
    d.scale = 0.2f;
    d.max_beams = kSlots;
    d.max_batch = 2;
    d.max_prefix = 48;
    jd_beam_attention_args a{};
    a.struct_size = sizeof a;
    a.queries = strided(m, 3, dtype, {7, kHeads, Pool::kDim});
    a.beam_offsets = m.offsets(0, 0, {3, 4});
    pool.lend(a);
    a.suffix_keys = strided(m, 4, dtype, {2, kLevels, kSlots, kKvHeads, Pool::kDim});
    a.suffix_values = strided(m, 5, dtype, {2, kLevels, kSlots, kKvHeads, Pool::kDim});
    std::vector<double> ancestry;
    for (int64_t i = 0; i < 2 * kLevels * kSlots; ++i) ancestry.push_back(static_cast<double>(i * 5 % kSlots));
    a.ancestry = m.strided(JD_I32, {2, kLevels, kSlots}, ancestry);
    a.out = m.strided_out(JD_F32, {7, kHeads, Pool::kDim});
    a.lse = m.strided_out(JD_F32, {7, kHeads});
    run(d, a, jd_beam_attention_plan, jd_beam_attention_run);
    return std::vector<jd_tensor>{a.out, a.lse};
  });
}

// The pool's two users as users of longer_attention: a shared global, candidates of two more each, the latest events.
TEST_P(WidePages, longer_attention_with_globals_far_apart) {
  over_pools([&](WideMemory &m, Pool &pool, int32_t dtype, int32_t cache_dtype) {
    jd_longer_attention_desc d{};
    d.struct_size = sizeof d;
    d.dtype = dtype;
    d.out_dtype = JD_F32;
    d.cache_dtype = cache_dtype;
    d.offset_dtype = JD_I64;
    d.num_heads = kHeads;
    d.num_kv_heads = kKvHeads;
    d.head_dim_qk = d.head_dim_v = Pool::kDim;
    d.scale = 0.2f;
    d.num_global = 3;
    d.num_shared_globals = 1;
    d.max_batch = 2;
    d.max_candidates = 2;
    d.max_recent = 4;
    d.max_history = 48;
    jd_longer_attention_args a{};
    a.struct_size = sizeof a;
    a.queries = strided(m, 3, dtype, {15, kHeads, Pool::kDim});
    a.q_offsets = m.offsets(0, 0, {5 + 4, 3 + 3});
    a.global_keys = strided(m, 4, dtype, {8, kKvHeads, Pool::kDim});
    a.global_values = strided(m, 5, dtype, {8, kKvHeads, Pool::kDim});
    a.global_offsets = m.offsets(0, 0, {5, 3});
    pool.lend(a);
    a.out = m.strided_out(JD_F32, {15, kHeads, Pool::kDim});
    a.lse = m.strided_out(JD_F32, {15, kHeads});
    run(d, a, jd_longer_attention_plan, jd_longer_attention_run);
    return std::vector<jd_tensor>{a.out, a.lse};
  });
}

TEST_P(WideAttention, merge_tokens_of_rows_far_apart) {
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    expect_same_bits(jd_dtype_name(dtype), [&](WideMemory &m) {
      jd_merge_tokens_args a{};
      a.struct_size = sizeof a;
      a.k = 3;
      a.x = strided(m, 1, dtype, {7, 16});
      a.offsets = m.offsets(0, 0, {5, 0, 2});
      a.out = m.strided_out(dtype, {3, 48});
      a.out_offsets = m.offsets(0, 0, {2, 0, 1});
      run(a, jd_merge_tokens);
      return std::vector<jd_tensor>{a.out};
    });
  }
}

TEST_P(WideAttention, beam_attention_prefixes_behind_2_31_rows) {
  const int64_t before = sequences_before(131072);
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    expect_same_bits(jd_dtype_name(dtype), [&](WideMemory &m) {
      jd_beam_attention_desc d{};
      d.struct_size = sizeof d;
      d.dtype = dtype;
      d.out_dtype = JD_F32;
      d.offset_dtype = JD_I64;
      d.num_heads = kHeads;
      d.num_kv_heads = kKvHeads;
      d.head_dim_qk = d.head_dim_v = 64;
      d.scale = 0.2f;
      d.max_beams = 8;
      d.max_batch = before + 2;
      d.max_prefix = 131072;
      jd_beam_attention_args a{};
      a.struct_size = sizeof a;
      a.queries = strided(m, 1, dtype, {7, kHeads, 64});
      a.beam_offsets = m.offsets(before, 0, {3, 4});
      a.keys = behind(m, kFar, 2, dtype, {79, kKvHeads, 64});
      a.values = behind(m, kFar, 3, dtype, {79, kKvHeads, 64});
      a.prefix_offsets = m.offsets(before, 131072, {70, 9});
      a.out = m.strided_out(JD_F32, {7, kHeads, 64});
      run(d, a, jd_beam_attention_plan, jd_beam_attention_run);
      return std::vector<jd_tensor>{a.out};
    });
  }
}

JD_INSTANTIATE_ON_DEVICES(WideAttention);
JD_INSTANTIATE_ON_DEVICES(WidePages);

}  // namespace
}  // namespace jindou::testing
