// din_attention in float64, straight from jindou/din_attention.h: the four parts of the input side by side.
#ifndef JINDOU_TESTS_REFERENCE_DIN_ATTENTION_H
#define JINDOU_TESTS_REFERENCE_DIN_ATTENTION_H

#include <jindou/din_attention.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace jindou::reference {

// A hidden layer: weights [units, inputs] and, for each unit, what its activation needs.
struct DinLayer {
  std::vector<double> weight, bias, slope, mean, variance;
};

struct DinAttentionCase {
  int64_t d = 8, dv = 8;
  int32_t activation = JD_DIN_SIGMOID;
  bool softmax = false;
  double scale = 1, dice_eps = 1e-5;
  int64_t num_latest = 0;  // 0: all
  std::vector<int64_t> candidate_offsets, history_offsets;
  std::vector<double> candidates, keys, values;
  DinLayer first, second;
  std::vector<double> weight_3;
  double bias_3 = 0;
};

struct DinAttentionResult {
  std::vector<double> out;
  std::vector<double> error;  // of each candidate: how far its outputs may be off before they are rounded (tolerance.h)
};

inline double din_activation(const DinAttentionCase &c, const DinLayer &layer, int64_t unit, double x) {
  if (c.activation == JD_DIN_SIGMOID) return 1 / (1 + std::exp(-x));
  if (c.activation == JD_DIN_PRELU) return x > 0 ? x : layer.slope[unit] * x;
  const double p = 1 / (1 + std::exp(-(x - layer.mean[unit]) / std::sqrt(layer.variance[unit] + c.dice_eps)));
  return p * x + (1 - p) * layer.slope[unit] * x;
}

// How much an activation can magnify a small change of its argument; slopes are at most 1 in magnitude. Dice: |f'| = |p + (1 - p)
// slope + x p' (1 - slope)| with |p'| <= 1 / (4 sqrt(variance)), and x p' falls off beyond a few deviations from the mean.
inline double din_steepness(const DinAttentionCase &c, const DinLayer &layer, int64_t unit) {
  if (c.activation == JD_DIN_SIGMOID) return 0.25;
  if (c.activation == JD_DIN_PRELU) return 1;
  const double deviation = std::sqrt(layer.variance[unit] + c.dice_eps);
  return 1 + 2 * (0.25 * std::fabs(layer.mean[unit]) / deviation + 0.5);
}

// u: the unit roundoff of what 16-bit kernels round (the weights folded for a candidate, the first layer's hidden units, the second's
// weights; 0 for f32). u32: that of f32, in which all sums are. Each number's error goes with it, layer by layer: roundings within a
// sum are as good as independent, so their squares add up; those of a candidate's events are not, so they add up as they are.
inline DinAttentionResult din_attention(const DinAttentionCase &c, double u = 0, double u32 = 0) {
  const int64_t h1 = static_cast<int64_t>(c.first.bias.size()), h2 = static_cast<int64_t>(c.second.bias.size());
  const size_t batch = c.candidate_offsets.size() - 1;
  DinAttentionResult r;
  r.out.assign(c.candidate_offsets[batch] * c.dv, 0.0);
  r.error.assign(c.candidate_offsets[batch], 0.0);
  for (size_t b = 0; b < batch; ++b) {
    const int64_t end = c.history_offsets[b + 1];
    const int64_t begin = c.num_latest > 0 ? std::max(c.history_offsets[b], end - c.num_latest) : c.history_offsets[b];
    for (int64_t i = c.candidate_offsets[b]; i < c.candidate_offsets[b + 1]; ++i) {
      std::vector<double> weights, errors;
      for (int64_t j = begin; j < end; ++j) {
        std::vector<double> x;
        for (int part = 0; part < 4; ++part) {
          for (int64_t e = 0; e < c.d; ++e) {
            const double q = c.candidates[i * c.d + e], k = c.keys[j * c.d + e];
            x.push_back(part == 0 ? q : part == 1 ? k : part == 2 ? q - k : q * k);
          }
        }
        const auto square = [](double x) { return x * x; };
        std::vector<double> hidden, hidden_error;  // squares
        for (int64_t unit = 0; unit < h1; ++unit) {
          const double *w = &c.first.weight[unit * 4 * c.d];
          double sum = c.first.bias[unit], squares = square(sum);
          for (int64_t e = 0; e < 4 * c.d; ++e) sum += w[e] * x[e];
          for (int64_t e = 0; e < c.d; ++e) {
            const double folded = std::fabs(w[c.d + e]) + std::fabs(w[2 * c.d + e]) + std::fabs(w[3 * c.d + e] * x[e]);
            squares += square(folded * x[c.d + e]) + square((std::fabs(w[e]) + std::fabs(w[2 * c.d + e])) * x[e]) * square(u32 / (u + u32));
          }
          const double y = din_activation(c, c.first, unit, sum);
          const double rounded = squares * (square(u) + square((std::sqrt(static_cast<double>(c.d)) + 4) * u32));
          hidden.push_back(y);
          hidden_error.push_back(rounded * square(din_steepness(c, c.first, unit)) + square((u + 8 * u32) * (std::fabs(y) + 0.5)));
        }
        double logit = c.bias_3, error = square(logit * u32);
        for (int64_t unit = 0; unit < h2; ++unit) {
          const double *w = &c.second.weight[unit * h1];
          double sum = c.second.bias[unit], squares = square(sum), carried = 0;
          for (int64_t e = 0; e < h1; ++e) {
            sum += w[e] * hidden[e];
            squares += square(w[e] * hidden[e]);
            carried += square(w[e]) * hidden_error[e];
          }
          carried += squares * (square(u) + square((std::sqrt(static_cast<double>(h1)) + 4) * u32));
          const double y = din_activation(c, c.second, unit, sum);
          const double own = (std::fmin(u, std::ldexp(1.0, -11)) + 8 * u32) * (std::fabs(y) + 0.5);  // the GPU's tanh: 2^-11
          logit += c.weight_3[unit] * y;
          error += square(c.weight_3[unit]) * (carried * square(din_steepness(c, c.second, unit)) + square(own));
        }
        error = 3 * std::sqrt(error) + u32 * std::fabs(logit);
        weights.push_back(c.scale * logit);
        errors.push_back(std::fabs(c.scale) * error);
      }
      if (weights.empty()) continue;
      double top = -INFINITY, sum = 0, worst = 0;
      for (const double s : weights) top = std::max(top, s);
      for (const double e : errors) worst = std::max(worst, e);
      if (c.softmax) {
        for (double &s : weights) sum += s = std::exp(s - top);
        for (double &s : weights) s /= sum;
      }
      double most = 0;
      for (size_t j = 0; j < weights.size(); ++j) {
        const double *v = &c.values[(begin + static_cast<int64_t>(j)) * c.dv];
        double largest = 0;
        for (int64_t e = 0; e < c.dv; ++e) {
          r.out[i * c.dv + e] += weights[j] * v[e];
          largest = std::max(largest, std::fabs(v[e]));
        }
        most = std::max(most, largest);
        const double second = 4 * std::sqrt(static_cast<double>(weights.size()) + 1) * u32;
        r.error[i] += (errors[j] * !c.softmax + second * std::fabs(weights[j])) * largest;
      }
      if (c.softmax) r.error[i] += (2 * worst + 8 * u32 * (std::fabs(top) + 1)) * most;
    }
  }
  return r;
}

}  // namespace jindou::reference

#endif
