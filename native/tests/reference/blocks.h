// linear, layer_norm and l2_normalize in float64, straight from jindou/blocks.h. Dense, contiguous, row-major.
#ifndef JINDOU_TESTS_REFERENCE_BLOCKS_H
#define JINDOU_TESTS_REFERENCE_BLOCKS_H

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace jindou::reference {

// out[n, m] = activation(x[n, k] w[m, k]^T + bias[m]) + residual[n, m]; bias and residual may be empty.
inline std::vector<double> linear(int64_t n, int64_t k, int64_t m, const std::vector<double> &x,
                                  const std::vector<double> &w, const std::vector<double> &bias,
                                  const std::vector<double> &residual, bool silu) {
  std::vector<double> out(n * m);
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t o = 0; o < m; ++o) {
      double s = bias.empty() ? 0.0 : bias[o];
      for (int64_t d = 0; d < k; ++d) s += x[i * k + d] * w[o * k + d];
      if (silu) s = s / (1.0 + std::exp(-s));
      out[i * m + o] = s + (residual.empty() ? 0.0 : residual[i * m + o]);
    }
  }
  return out;
}

// multiplier may be empty.
inline std::vector<double> layer_norm(int64_t n, int64_t d, const std::vector<double> &x, const std::vector<double> &weight,
                                      const std::vector<double> &bias, const std::vector<double> &multiplier, double eps) {
  std::vector<double> out(n * d);
  for (int64_t i = 0; i < n; ++i) {
    double mean = 0, variance = 0;
    for (int64_t j = 0; j < d; ++j) mean += x[i * d + j];
    mean /= static_cast<double>(d);
    for (int64_t j = 0; j < d; ++j) variance += (x[i * d + j] - mean) * (x[i * d + j] - mean);
    variance /= static_cast<double>(d);
    for (int64_t j = 0; j < d; ++j) {
      const double y = (x[i * d + j] - mean) / std::sqrt(variance + eps) * weight[j] + bias[j];
      out[i * d + j] = multiplier.empty() ? y : y * multiplier[i * d + j];
    }
  }
  return out;
}

inline std::vector<double> l2_normalize(int64_t n, int64_t d, const std::vector<double> &x, double eps) {
  std::vector<double> out(n * d);
  for (int64_t i = 0; i < n; ++i) {
    double square = 0;
    for (int64_t j = 0; j < d; ++j) square += x[i * d + j] * x[i * d + j];
    const double norm = std::max(std::sqrt(square), eps);
    for (int64_t j = 0; j < d; ++j) out[i * d + j] = x[i * d + j] / norm;
  }
  return out;
}

}  // namespace jindou::reference

#endif
