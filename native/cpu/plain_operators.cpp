// Every operator as its formula reads, one scalar at a time.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <vector>

#include "attention/hstu_mask.h"
#include "cpu/plan.h"

namespace jindou::cpu {
namespace {

float from_bf16(uint16_t h) {
  const uint32_t bits = static_cast<uint32_t>(h) << 16;
  float f;
  memcpy(&f, &bits, 4);
  return f;
}
uint16_t to_bf16(float f) {
  uint32_t bits;
  memcpy(&bits, &f, 4);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x40);
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}
float from_f16(uint16_t h) {
  const uint32_t sign = (h & 0x8000u) << 16, exponent = (h >> 10) & 31, mantissa = h & 0x3ffu;
  float f;
  if (exponent == 0) {
    f = std::ldexp(static_cast<float>(mantissa), -24);
    return sign ? -f : f;
  }
  const uint32_t bits = sign | ((exponent == 31 ? 255u : exponent + 112) << 23) | (mantissa << 13);
  memcpy(&f, &bits, 4);
  return f;
}
uint16_t to_f16(float f) { const _Float16 h = static_cast<_Float16>(f); uint16_t u; memcpy(&u, &h, 2); return u; }

float load(const void *p, int32_t dtype, int64_t i) {
  if (dtype == JD_F32) return static_cast<const float *>(p)[i];
  const uint16_t h = static_cast<const uint16_t *>(p)[i];
  return dtype == JD_BF16 ? from_bf16(h) : from_f16(h);
}
void store(void *p, int32_t dtype, int64_t i, float v) {
  if (dtype == JD_F32) static_cast<float *>(p)[i] = v;
  else static_cast<uint16_t *>(p)[i] = dtype == JD_BF16 ? to_bf16(v) : to_f16(v);
}
int64_t index(const jdb_tensor &t, int64_t i) {
  return t.dtype == JD_I32 ? static_cast<const int32_t *>(t.data)[i] : static_cast<const int64_t *>(t.data)[i];
}
float silu(float x) { return x / (1.0f + std::exp(-x)); }

struct EmbeddingBag final : Plan {
  EmbeddingBag(Device &d, const jdb_allocator &a, const jdb_embedding_bag_desc &desc)
      : Plan(d, a), desc_(desc.d), sum_dims(desc.sum_dims), tables(desc.tables, desc.tables + desc.d.num_tables) {
    for (int t = 0; t < desc_.num_tables; ++t) pooling.push_back(desc.table_pooling ? desc.table_pooling[t] : desc_.pooling);
  }
  void describe(char *text, size_t capacity) const override { snprintf(text, capacity, "embedding_bag: plain"); }
  jd_status run(Stream &s, const void *args, jd_error *) override {
    const auto &a = *static_cast<const jdb_embedding_bag_args *>(args);
    std::vector<int64_t> column(1, 0);
    for (const auto &t : tables) column.push_back(column.back() + t.shape[1]);
    std::mutex m;
    int64_t first = INT64_MAX;
    device.pool.run(desc_.num_tables * a.batch, [&](int64_t bag, int) {
      const int64_t t = bag / a.batch, b = bag % a.batch;
      const jdb_tensor &table = tables[t];
      const int64_t dim = table.shape[1], rows = table.shape[0];
      const int64_t begin = index(a.offsets, bag), end = index(a.offsets, bag + 1);
      std::vector<float> sum(dim, 0.0f);
      float denominator = 0;
      bool any = false;
      for (int64_t i = begin; i < end; ++i) {
        const int64_t id = index(a.ids, i);
        if (pooling[t] == JD_POOL_NONE) {
          for (int64_t d = 0; d < dim; ++d) store(a.out.data, a.out.dtype, i * a.out.strides[0] + d, 0.0f);
        }
        if (desc_.has_padding_id && id == desc_.padding_id) continue;
        if (desc_.bounds != JD_BOUNDS_TRUST && (id < 0 || id >= rows)) {
          std::lock_guard<std::mutex> lock(m);
          if (desc_.bounds == JD_BOUNDS_ZERO) ++s.report.skipped;
          else if (i < first && !(s.report.has_error && first == INT64_MAX)) {
            first = i;
            s.report = {1, JDB_FAULT_ID, JDB_OP_EMBEDDING_BAG, (int32_t)t, i, id, rows, s.report.skipped};
          }
          continue;
        }
        const float w = a.weights.data ? static_cast<const float *>(a.weights.data)[i] : 1.0f;
        for (int64_t d = 0; d < dim; ++d) {
          const float x = w * load(table.data, table.dtype, id * table.strides[0] + d);
          if (pooling[t] == JD_POOL_NONE) store(a.out.data, a.out.dtype, i * a.out.strides[0] + d, x);
          else if (pooling[t] == JD_POOL_MAX) sum[d] = any ? std::max(sum[d], x) : x;
          else sum[d] += x;
        }
        any = true;
        denominator += w;
      }
      if (pooling[t] == JD_POOL_NONE) return;
      if (pooling[t] == JD_POOL_MEAN) {
        if (desc_.mean_denominator == JD_MEAN_LENGTH) denominator = static_cast<float>(end - begin);
        for (float &x : sum) x = denominator == 0 ? 0.0f : x / denominator;
      }
      for (int64_t d = 0; d < dim; ++d) store(a.out.data, a.out.dtype, b * a.out.strides[0] + column[t] + d, sum[d]);
    });
    return JD_OK;
  }
  jd_embedding_bag_desc desc_;
  int64_t sum_dims;
  std::vector<jdb_tensor> tables;
  std::vector<int32_t> pooling;
};

struct TargetAttention final : Plan {
  TargetAttention(Device &d, const jdb_allocator &a, const jd_target_attention_desc &desc) : Plan(d, a), desc_(desc) {}
  void describe(char *text, size_t capacity) const override { snprintf(text, capacity, "target_attention: plain"); }
  jd_status run(Stream &, const void *args, jd_error *) override {
    const auto &a = *static_cast<const jdb_target_attention_args *>(args);
    const int64_t dim = desc_.head_dim_qk;
    for (int64_t u = 0; u < a.batch; ++u) {
      const int64_t c0 = index(a.candidate_offsets, u), c1 = index(a.candidate_offsets, u + 1);
      const int64_t k1 = index(a.history_offsets, u + 1), k0 = std::max(index(a.history_offsets, u), k1 - std::min(desc_.num_latest, k1));
      device.pool.run((c1 - c0) * desc_.num_heads, [&](int64_t task, int) {
        const int64_t c = c0 + task / desc_.num_heads, h = task % desc_.num_heads;
        const int64_t kv = h / (desc_.num_heads / desc_.num_kv_heads);
        std::vector<float> out(dim, 0.0f);
        float m = -INFINITY, l = 0;
        auto see = [&](const jdb_tensor &keys, const jdb_tensor &values, int64_t j) {
          float s = 0;
          for (int64_t d = 0; d < dim; ++d) {
            s += load(a.candidates.data, desc_.dtype, c * a.candidates.strides[0] + h * a.candidates.strides[1] + d) *
                 load(keys.data, desc_.dtype, j * keys.strides[0] + kv * keys.strides[1] + d);
          }
          s *= desc_.scale;
          const float top = std::max(m, s), alpha = std::exp(m - top), p = std::exp(s - top);
          for (int64_t d = 0; d < dim; ++d) out[d] = out[d] * alpha + p * load(values.data, desc_.dtype, j * values.strides[0] + kv * values.strides[1] + d);
          l = l * alpha + p;
          m = top;
        };
        for (int64_t j = k0; j < k1; ++j) see(a.keys, a.values, j);
        if (desc_.self_key) see(a.candidate_keys, a.candidate_values, c);
        for (int64_t d = 0; d < dim; ++d) store(a.out.data, a.out.dtype, c * a.out.strides[0] + h * a.out.strides[1] + d, l > 0 ? out[d] / l : 0.0f);
      });
    }
    return JD_OK;
  }
  jd_target_attention_desc desc_;
};

struct HstuAttention final : Plan {
  HstuAttention(Device &d, const jdb_allocator &a, const jd_hstu_attention_desc &desc) : Plan(d, a), desc_(desc) {}
  void describe(char *text, size_t capacity) const override { snprintf(text, capacity, "hstu_attention: plain"); }
  jd_status run(Stream &, const void *args, jd_error *) override {
    const auto &a = *static_cast<const jdb_hstu_attention_args *>(args);
    const int64_t dim = desc_.head_dim_qk;
    for (int64_t u = 0; u < a.batch; ++u) {
      const int64_t r0 = index(a.offsets, u), n = index(a.offsets, u + 1) - r0;
      const HstuMask mask(desc_.causal, n, a.num_targets.data ? static_cast<const int32_t *>(a.num_targets.data)[u] : 0,
                          desc_.contextual_seq_len, desc_.max_attn_len, desc_.min_full_attn_seq_len);
      device.pool.run(n * desc_.num_heads, [&](int64_t task, int) {
        const int64_t i = task / desc_.num_heads, h = task % desc_.num_heads;
        std::vector<float> out(dim, 0.0f);
        for (int64_t j = 0; j < n; ++j) {
          if (!mask.allowed(i, j)) continue;
          float s = 0;
          for (int64_t d = 0; d < dim; ++d) {
            s += load(a.queries.data, desc_.dtype, (r0 + i) * a.queries.strides[0] + h * a.queries.strides[1] + d) *
                 load(a.keys.data, desc_.dtype, (r0 + j) * a.keys.strides[0] + h * a.keys.strides[1] + d);
          }
          const float p = silu(s * desc_.alpha);
          for (int64_t d = 0; d < dim; ++d) out[d] += p * load(a.values.data, desc_.dtype, (r0 + j) * a.values.strides[0] + h * a.values.strides[1] + d);
        }
        const float norm = a.attn_scale.data ? static_cast<const float *>(a.attn_scale.data)[r0 + i] : 1.0f / desc_.scaling_seqlen;
        for (int64_t d = 0; d < dim; ++d) store(a.out.data, a.out.dtype, (r0 + i) * a.out.strides[0] + h * a.out.strides[1] + d, out[d] * norm);
      });
    }
    return JD_OK;
  }
  jd_hstu_attention_desc desc_;
};

const float *row(const jdb_tensor &t, int64_t i) { return static_cast<const float *>(t.data) + i * t.strides[0]; }
float *mutable_row(const jdb_tensor &t, int64_t i) { return static_cast<float *>(t.data) + i * t.strides[0]; }

}  // namespace

jd_status create_embedding_bag(Device &d, const jdb_embedding_bag_desc &desc, const jdb_allocator &a, Plan **plan, jd_error *) {
  *plan = new EmbeddingBag(d, a, desc);
  return JD_OK;
}
jd_status create_target_attention(Device &d, const jd_target_attention_desc &desc, const jdb_allocator &a, Plan **plan, jd_error *) {
  *plan = new TargetAttention(d, a, desc);
  return JD_OK;
}
jd_status create_hstu_attention(Device &d, const jd_hstu_attention_desc &desc, const jdb_allocator &a, Plan **plan, jd_error *) {
  *plan = new HstuAttention(d, a, desc);
  return JD_OK;
}

jd_status run_linear(Stream &s, const jdb_linear_args &a, jd_error *) {
  s.device.pool.run(a.x.shape[0], [&](int64_t i, int) {
    for (int64_t o = 0; o < a.out.shape[1]; ++o) {
      float sum = a.bias.data ? static_cast<const float *>(a.bias.data)[o] : 0.0f;
      const float *x = row(a.x, i), *w = row(a.weight, o);
      for (int64_t k = 0; k < a.x.shape[1]; ++k) sum += x[k] * w[k];
      if (a.activation == JD_LINEAR_SILU) sum = silu(sum);
      mutable_row(a.out, i)[o] = sum + (a.residual.data ? row(a.residual, i)[o] : 0.0f);
    }
  });
  return JD_OK;
}

jd_status run_layer_norm(Stream &s, const jdb_layer_norm_args &a, jd_error *) {
  const int64_t d = a.x.shape[1];
  s.device.pool.run(a.x.shape[0], [&](int64_t i, int) {
    double mean = 0, variance = 0;
    const float *x = row(a.x, i);
    for (int64_t j = 0; j < d; ++j) mean += x[j];
    mean /= d;
    for (int64_t j = 0; j < d; ++j) variance += (x[j] - mean) * (x[j] - mean);
    const float scale = 1.0f / std::sqrt(static_cast<float>(variance / d) + a.eps);
    for (int64_t j = 0; j < d; ++j) {
      const float y = (x[j] - static_cast<float>(mean)) * scale * static_cast<const float *>(a.weight.data)[j] + static_cast<const float *>(a.bias.data)[j];
      mutable_row(a.out, i)[j] = a.multiplier.data ? y * row(a.multiplier, i)[j] : y;
    }
  });
  return JD_OK;
}

jd_status run_l2_normalize(Stream &s, const jdb_l2_normalize_args &a, jd_error *) {
  const int64_t d = a.x.shape[1];
  s.device.pool.run(a.x.shape[0], [&](int64_t i, int) {
    float sum = 0;
    for (int64_t j = 0; j < d; ++j) sum += row(a.x, i)[j] * row(a.x, i)[j];
    const float norm = std::max(std::sqrt(sum), a.eps);
    for (int64_t j = 0; j < d; ++j) mutable_row(a.out, i)[j] = row(a.x, i)[j] / norm;
  });
  return JD_OK;
}

}  // namespace jindou::cpu
