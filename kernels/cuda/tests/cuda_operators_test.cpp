// The attention operators through the C ABI, against their float64 references, on a GPU; JINDOU_TEST_DEVICES=simt (or cpu)
// runs the same cases there. Exits with 77 (skipped) and the reason where the device is absent. Names with `small` are the
// cases that a memory checker can afford.
#include <gtest/gtest.h>
#include <jindou/jindou.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "reference/hstu_attention.h"
#include "reference/target_attention.h"
#include "tolerance.h"

namespace {

std::string test_device() {
  const char *named = getenv("JINDOU_TEST_DEVICES");
  return named && *named ? named : "cuda";
}

template <class T>
T make() {
  T value;
  std::memset(&value, 0, sizeof value);
  value.struct_size = sizeof value;
  return value;
}

uint16_t bf16_of(float value) {  // round to nearest even
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}
float of_bf16(uint16_t half) {
  const uint32_t bits = static_cast<uint32_t>(half) << 16;
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

std::vector<int64_t> offsets_of(const std::vector<int64_t> &lengths) {
  std::vector<int64_t> offsets{0};
  for (const int64_t length : lengths) offsets.push_back(offsets.back() + length);
  return offsets;
}

class CudaOperators : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(jd_device_open(test_device().c_str(), nullptr, &device, &error), JD_OK) << error.message;
    ASSERT_EQ(jd_stream_create(device, &stream, &error), JD_OK) << error.message;
  }
  void TearDown() override {
    for (const jd_tensor tensor : tensors_) EXPECT_EQ(jd_tensor_destroy(tensor, nullptr), JD_OK);
    EXPECT_EQ(jd_stream_destroy(stream, nullptr), JD_OK);
    EXPECT_EQ(jd_device_close(device, nullptr), JD_OK);
  }

  // Values as the kernels will see them: already rounded to the dtype.
  std::vector<double> draw(int64_t count, int32_t dtype) {
    std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
    std::vector<double> values(count);
    for (double &value : values) {
      const float x = uniform(random_);
      value = dtype == JD_BF16 ? of_bf16(bf16_of(x)) : x;
    }
    return values;
  }

  jd_tensor tensor(int32_t dtype, const std::vector<int64_t> &shape) {
    jd_tensor made = 0;
    EXPECT_EQ(jd_tensor_create(device, dtype, static_cast<int32_t>(shape.size()), shape.data(), &made, &error), JD_OK)
        << error.message;
    tensors_.push_back(made);
    return made;
  }
  template <class T>
  jd_tensor filled(int32_t dtype, const std::vector<int64_t> &shape, const std::vector<T> &values) {
    const jd_tensor made = tensor(dtype, shape);
    EXPECT_EQ(jd_tensor_write(stream, made, values.data(), static_cast<int64_t>(values.size() * sizeof(T)), &error), JD_OK)
        << error.message;
    return made;
  }
  jd_tensor rows(int32_t dtype, const std::vector<int64_t> &shape, const std::vector<double> &values) {
    if (dtype == JD_F32) return filled(dtype, shape, std::vector<float>(values.begin(), values.end()));
    std::vector<uint16_t> halves;
    for (const double value : values) halves.push_back(bf16_of(static_cast<float>(value)));
    return filled(dtype, shape, halves);
  }
  jd_tensor poisoned(int32_t dtype, const std::vector<int64_t> &shape) {
    const jd_tensor made = tensor(dtype, shape);
    EXPECT_EQ(jd_tensor_fill(stream, made, 0xff, &error), JD_OK) << error.message;
    return made;
  }
  std::vector<float> read(jd_tensor from, int32_t dtype, size_t count) {
    std::vector<float> values(count);
    if (dtype == JD_F32) {
      EXPECT_EQ(jd_tensor_read(stream, from, values.data(), count * 4, &error), JD_OK) << error.message;
      return values;
    }
    std::vector<uint16_t> halves(count);
    EXPECT_EQ(jd_tensor_read(stream, from, halves.data(), count * 2, &error), JD_OK) << error.message;
    std::transform(halves.begin(), halves.end(), values.begin(), of_bf16);
    return values;
  }

  struct Target {
    std::vector<int64_t> candidates, history;
    int64_t d;
    int32_t dtype;
    bool self_key = false;
    int64_t num_latest = 0;
    int64_t heads = 4, kv_heads = 2;
  };
  void check_target(const Target &t);

  struct Hstu {
    std::vector<int64_t> lengths, targets;
    int64_t d;
    int32_t dtype;
    jindou::reference::HstuMaskParams mask;
    int64_t heads = 2;
  };
  void check_hstu(const Hstu &h);

  jd_device device = 0;
  jd_stream stream = 0;
  jd_error error = make<jd_error>();

 private:
  std::mt19937 random_{7};
  std::vector<jd_tensor> tensors_;
};

// Largest magnitude of scale * q . k over all rows: bounds the scores.
double largest(const std::vector<double> &values) {
  double most = 0;
  for (const double value : values) most = std::max(most, std::fabs(value));
  return most;
}

void CudaOperators::check_target(const Target &t) {
  SCOPED_TRACE("target_attention d " + std::to_string(t.d) + " dtype " + std::to_string(t.dtype) + " self_key " +
               std::to_string(t.self_key));
  jindou::reference::TargetAttentionCase c;
  c.heads = t.heads;
  c.kv_heads = t.kv_heads;
  c.dqk = c.dv = t.d;
  c.scale = 1.0f / std::sqrt(static_cast<float>(t.d));
  c.self_key = t.self_key;
  c.num_latest = t.num_latest;
  c.candidate_offsets = offsets_of(t.candidates);
  c.history_offsets = offsets_of(t.history);
  const int64_t nc = c.candidate_offsets.back(), nk = c.history_offsets.back();
  c.candidates = draw(nc * t.heads * t.d, t.dtype);
  c.keys = draw(nk * t.kv_heads * t.d, t.dtype);
  c.values = draw(nk * t.kv_heads * t.d, t.dtype);
  if (t.self_key) {
    c.candidate_keys = draw(nc * t.kv_heads * t.d, t.dtype);
    c.candidate_values = draw(nc * t.kv_heads * t.d, t.dtype);
  }

  jd_target_attention_desc desc = make<jd_target_attention_desc>();
  desc.dtype = t.dtype;
  desc.out_dtype = JD_F32;
  desc.offset_dtype = JD_I64;
  desc.num_heads = static_cast<int32_t>(t.heads);
  desc.num_kv_heads = static_cast<int32_t>(t.kv_heads);
  desc.head_dim_qk = desc.head_dim_v = static_cast<int32_t>(t.d);
  desc.scale = static_cast<float>(c.scale);
  desc.self_key = t.self_key;
  desc.num_latest = t.num_latest;
  desc.max_batch = static_cast<int64_t>(t.candidates.size());
  desc.max_candidates = std::max<int64_t>(1, *std::max_element(t.candidates.begin(), t.candidates.end()));
  desc.max_history = std::max<int64_t>(1, *std::max_element(t.history.begin(), t.history.end()));
  jd_plan plan = 0;
  ASSERT_EQ(jd_target_attention_plan(device, &desc, &plan, &error), JD_OK) << error.message;
  jd_target_attention_args args = make<jd_target_attention_args>();
  args.candidates = rows(t.dtype, {nc, t.heads, t.d}, c.candidates);
  args.candidate_offsets = filled(JD_I64, {desc.max_batch + 1}, c.candidate_offsets);
  args.keys = rows(t.dtype, {nk, t.kv_heads, t.d}, c.keys);
  args.values = rows(t.dtype, {nk, t.kv_heads, t.d}, c.values);
  args.history_offsets = filled(JD_I64, {desc.max_batch + 1}, c.history_offsets);
  if (t.self_key) {
    args.candidate_keys = rows(t.dtype, {nc, t.kv_heads, t.d}, c.candidate_keys);
    args.candidate_values = rows(t.dtype, {nc, t.kv_heads, t.d}, c.candidate_values);
  }
  args.out = poisoned(JD_F32, {nc, t.heads, t.d});
  ASSERT_EQ(jd_target_attention_run(plan, stream, &args, &error), JD_OK) << error.message;
  const std::vector<float> out = read(args.out, JD_F32, nc * t.heads * t.d);
  EXPECT_EQ(jd_plan_destroy(plan, nullptr), JD_OK);

  const std::vector<double> expected = jindou::reference::target_attention(c);
  const double score = c.scale * static_cast<double>(t.d) * largest(c.candidates) *
                       std::max(largest(c.keys), largest(c.candidate_keys));
  const double value = std::max(largest(c.values), largest(c.candidate_values));
  for (size_t i = 0; i < expected.size(); ++i) {
    const double allowed =
        jindou::tolerance::softmax_attention(t.d, score, value, expected[i], t.dtype, JD_F32);
    ASSERT_NEAR(out[i], expected[i], allowed) << "element " << i;
  }
}

void CudaOperators::check_hstu(const Hstu &h) {
  SCOPED_TRACE("hstu_attention d " + std::to_string(h.d) + " dtype " + std::to_string(h.dtype));
  jindou::reference::HstuAttentionCase c;
  c.heads = h.heads;
  c.dqk = c.dv = h.d;
  c.alpha = 1.0f / std::sqrt(static_cast<float>(h.d));
  c.scaling_seqlen = 64;
  c.mask = h.mask;
  c.offsets = offsets_of(h.lengths);
  c.num_targets = h.targets;
  const int64_t total = c.offsets.back(), batch = static_cast<int64_t>(h.lengths.size());
  c.queries = draw(total * h.heads * h.d, h.dtype);
  c.keys = draw(total * h.heads * h.d, h.dtype);
  c.values = draw(total * h.heads * h.d, h.dtype);

  jd_hstu_attention_desc desc = make<jd_hstu_attention_desc>();
  desc.dtype = h.dtype;
  desc.out_dtype = JD_F32;
  desc.offset_dtype = JD_I64;
  desc.num_heads = static_cast<int32_t>(h.heads);
  desc.head_dim_qk = desc.head_dim_v = static_cast<int32_t>(h.d);
  desc.alpha = static_cast<float>(c.alpha);
  desc.scaling_seqlen = 64;
  desc.causal = h.mask.causal;
  desc.contextual_seq_len = static_cast<int32_t>(h.mask.contextual_seq_len);
  desc.max_attn_len = static_cast<int32_t>(h.mask.max_attn_len);
  desc.min_full_attn_seq_len = static_cast<int32_t>(h.mask.min_full_attn_seq_len);
  desc.max_batch = batch;
  desc.max_seq_len = std::max<int64_t>(1, *std::max_element(h.lengths.begin(), h.lengths.end()));
  jd_plan plan = 0;
  ASSERT_EQ(jd_hstu_attention_plan(device, &desc, &plan, &error), JD_OK) << error.message;
  jd_hstu_attention_args args = make<jd_hstu_attention_args>();
  args.queries = rows(h.dtype, {total, h.heads, h.d}, c.queries);
  args.keys = rows(h.dtype, {total, h.heads, h.d}, c.keys);
  args.values = rows(h.dtype, {total, h.heads, h.d}, c.values);
  args.offsets = filled(JD_I64, {batch + 1}, c.offsets);
  if (!h.targets.empty()) {
    args.num_targets = filled(JD_I32, {batch}, std::vector<int32_t>(h.targets.begin(), h.targets.end()));
  }
  args.out = poisoned(JD_F32, {total, h.heads, h.d});
  ASSERT_EQ(jd_hstu_attention_run(plan, stream, &args, &error), JD_OK) << error.message;
  const std::vector<float> out = read(args.out, JD_F32, total * h.heads * h.d);
  EXPECT_EQ(jd_plan_destroy(plan, nullptr), JD_OK);

  const jindou::reference::HstuAttentionResult expected = jindou::reference::hstu_attention(c);
  const double score = c.alpha * static_cast<double>(h.d) * largest(c.queries) * largest(c.keys);
  const double spread = static_cast<double>(desc.max_seq_len) / 64 * largest(c.values);
  for (size_t i = 0; i < out.size(); ++i) {
    const double allowed = jindou::tolerance::hstu_attention(desc.max_seq_len, h.d, score, expected.terms[i],
                                                             expected.out[i], h.dtype, JD_F32) +
                           jindou::tolerance::hstu_scores(h.d, score, spread);
    ASSERT_NEAR(out[i], expected.out[i], allowed) << "element " << i;
  }
}

TEST_F(CudaOperators, target_attention_small) {
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    for (const int64_t d : {32, 64, 96, 128}) {
      check_target({{3, 0, 1, 17}, {65, 5, 0, 16}, d, dtype, d % 64 != 0});
    }
  }
}

TEST_F(CudaOperators, hstu_attention_small) {
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    for (const int64_t d : {32, 64, 96, 128}) check_hstu({{5, 0, 67, 1}, {2, 0, 9, 1}, d, dtype, {true, 2, 0, 0}});
  }
}

TEST_F(CudaOperators, target_attention_tile_edges_and_long_histories) {
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    check_target({{64, 63, 65, 1}, {127, 128, 129, 1009}, 64, dtype, true});
    check_target({{16, 15, 17}, {0, 255, 257}, 128, dtype, true});
    check_target({{33}, {2503}, 32, dtype, false, 1009});
    check_target({{7, 2}, {10'007, 3}, 64, dtype, false, 0, 2, 1});
  }
}

TEST_F(CudaOperators, hstu_attention_every_mask) {
  const std::vector<jindou::reference::HstuMaskParams> masks{
      {true, 0, 0, 0}, {true, 3, 0, 0}, {true, 0, 40, 0}, {true, 0, 40, 20}, {true, 5, 17, 9}, {false, 0, 0, 0}, {false, 4, 33, 0}};
  for (const int32_t dtype : {JD_F32, JD_BF16}) {
    for (const jindou::reference::HstuMaskParams &mask : masks) {
      check_hstu({{64, 63, 65, 129, 211}, {0, 7, 65, 20, 1}, 64, dtype, mask});
      check_hstu({{100, 31}, {}, 96, dtype, mask});
    }
  }
}

}  // namespace

int main(int argc, char **argv) {
  testing::InitGoogleTest(&argc, argv);
  jd_error error = make<jd_error>();
  int32_t count = 0;
  if (jd_device_count(test_device().c_str(), &count, &error) != JD_OK) {
    printf("skipped: %s\n", error.message);
    return 77;
  }
  return RUN_ALL_TESTS();
}
