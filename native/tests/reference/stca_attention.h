// stca_attention in float64, straight from jindou/stca_attention.h: queries, keys and values laid out.
#ifndef JINDOU_TESTS_REFERENCE_STCA_ATTENTION_H
#define JINDOU_TESTS_REFERENCE_STCA_ATTENTION_H

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace jindou::reference {

struct StcaAttentionCase {
  int64_t dim = 32, heads = 1, head_dim = 32;
  double scale = 1;
  std::vector<int64_t> candidate_offsets, history_offsets;
  std::vector<double> candidates, events;
  std::vector<double> query_weight, key_weight, value_weight;  // [heads * head_dim, dim]
};

struct StcaAttentionResult {
  std::vector<double> out, keys, values;
  std::vector<double> error;              // how far each number of `out` may be off before it is rounded (tolerance.h)
  std::vector<double> keys_error, values_error;
};

namespace stca {

// Rows times W^T, and of each number the root of the sum of its terms' squares.
struct Projection {
  std::vector<double> values, terms;
};
inline Projection project(const std::vector<double> &rows, const std::vector<double> &weight, int64_t dim) {
  const int64_t count = static_cast<int64_t>(rows.size()) / dim, width = static_cast<int64_t>(weight.size()) / dim;
  Projection p;
  for (int64_t i = 0; i < count; ++i) {
    for (int64_t r = 0; r < width; ++r) {
      double sum = 0, squares = 0;
      for (int64_t e = 0; e < dim; ++e) {
        const double term = rows[i * dim + e] * weight[r * dim + e];
        sum += term;
        squares += term * term;
      }
      p.values.push_back(sum);
      p.terms.push_back(std::sqrt(squares));
    }
  }
  return p;
}

}  // namespace stca

// u: the unit roundoff of what 16-bit inputs round (queries, keys, values; 0 for f32), u32 that of the sums. The errors of both ways are
// covered: those of q_h, k_h and of their product, those of q_h Wk_h and of its product with an event. weight_u: the unit roundoff of what
// weights are rounded to before they are multiplied (0 where they are not).
inline StcaAttentionResult stca_attention(const StcaAttentionCase &c, double u = 0, double u32 = 0, double weight_u = 0) {
  const int64_t width = c.heads * c.head_dim;
  const size_t batch = c.candidate_offsets.size() - 1;
  const auto square = [](double x) { return x * x; };
  const double sums = 4 * (std::sqrt(static_cast<double>(std::max(c.dim, c.head_dim))) + 4) * u32;
  const stca::Projection q = stca::project(c.candidates, c.query_weight, c.dim);
  const stca::Projection k = stca::project(c.events, c.key_weight, c.dim), v = stca::project(c.events, c.value_weight, c.dim);
  StcaAttentionResult r;
  r.keys = k.values;
  r.values = v.values;
  for (size_t i = 0; i < k.terms.size(); ++i) {
    r.keys_error.push_back((sums + 3 * weight_u) * k.terms[i]);
    r.values_error.push_back((sums + 3 * weight_u) * v.terms[i]);
  }
  r.out.assign(c.candidate_offsets[batch] * width, 0.0);
  r.error.assign(c.candidate_offsets[batch] * width, 0.0);
  for (size_t b = 0; b < batch; ++b) {
    const int64_t begin = c.history_offsets[b], end = c.history_offsets[b + 1];
    for (int64_t i = c.candidate_offsets[b]; i < c.candidate_offsets[b + 1] && begin < end; ++i) {
      for (int64_t h = 0; h < c.heads; ++h) {
        std::vector<double> reordered(c.dim, 0.0);  // q_h Wk_h
        for (int64_t x = 0; x < c.head_dim; ++x) {
          for (int64_t e = 0; e < c.dim; ++e) {
            reordered[e] += q.values[i * width + h * c.head_dim + x] * c.key_weight[(h * c.head_dim + x) * c.dim + e];
          }
        }
        std::vector<double> s;
        double top = -INFINITY, sum = 0, worst = 0;
        for (int64_t j = begin; j < end; ++j) {
          double score = 0, carried = 0, products = 0, wide = 0;
          for (int64_t x = 0; x < c.head_dim; ++x) {
            const int64_t at = i * width + h * c.head_dim + x, key = j * width + h * c.head_dim + x;
            score += q.values[at] * k.values[key];
            products += square(q.values[at] * k.values[key]);
            carried += square(q.terms[at] * k.values[key]) + square(q.values[at] * k.terms[key]);
          }
          for (int64_t e = 0; e < c.dim; ++e) wide += square(reordered[e] * c.events[j * c.dim + e]);
          const double error = square(sums) * (carried + products + wide) + square(u) * (2 * products + wide) + square(weight_u) * carried;
          worst = std::max(worst, 3 * std::fabs(c.scale) * std::sqrt(error) + 8 * u32 * std::fabs(c.scale * score));
          s.push_back(c.scale * score);
          top = std::max(top, s.back());
        }
        for (double &x : s) sum += x = std::exp(x - top);
        for (int64_t x = 0; x < c.head_dim; ++x) {
          const int64_t column = h * c.head_dim + x;
          double most = 0, rounded = 0;
          for (int64_t j = begin; j < end; ++j) {
            r.out[i * width + column] += s[j - begin] / sum * v.values[j * width + column];
            most = std::max(most, std::fabs(v.values[j * width + column]));
            rounded = std::max(rounded, u * std::fabs(v.values[j * width + column]) + (sums + 3 * weight_u) * v.terms[j * width + column]);
          }
          r.error[i * width + column] = most * (2 * worst + u + 16 * u32) + rounded;
        }
      }
    }
  }
  return r;
}

}  // namespace jindou::reference

#endif
