// rq_encode and rq_decode in float64, straight from the specification (jindou/rq.h).
#ifndef JINDOU_TESTS_REFERENCE_RQ_H
#define JINDOU_TESTS_REFERENCE_RQ_H

#include <cmath>
#include <cstdint>
#include <vector>

namespace jindou::reference {

struct RqCase {
  int64_t n = 0, levels = 1, codes = 1, dim = 4;
  std::vector<double> x;          // [n, dim]
  std::vector<double> codebooks;  // [levels, codes, dim]

  const double *code(int64_t level, int64_t k) const { return codebooks.data() + (level * codes + k) * dim; }
};

inline double squared_norm(const double *x, int64_t dim) {
  double sum = 0;
  for (int64_t d = 0; d < dim; ++d) sum += x[d] * x[d];
  return sum;
}

inline double squared_distance(const double *x, const double *y, int64_t dim) {
  double sum = 0;
  for (int64_t d = 0; d < dim; ++d) sum += (x[d] - y[d]) * (x[d] - y[d]);
  return sum;
}

// One level of one row, seen from the residual that the given codes of the levels before leave: what codes a result may have is
// judged level by level, because a code that rounding decided changes all that follow.
struct RqLevel {
  double best = 0;           // the least squared distance
  int64_t nearest = 0;       // the first code that has it
  double chosen = 0;         // the squared distance of the code given
  double residual = 0;       // |r|^2
  double code = 0;           // the largest |c|^2
};

// `codes [n, levels]` must be in range. Also gives each row's final residual norm.
inline std::vector<RqLevel> rq_levels(const RqCase &c, const std::vector<int64_t> &codes, std::vector<double> *norms) {
  std::vector<RqLevel> all;
  norms->clear();
  for (int64_t i = 0; i < c.n; ++i) {
    std::vector<double> r(c.x.begin() + i * c.dim, c.x.begin() + (i + 1) * c.dim);
    for (int64_t level = 0; level < c.levels; ++level) {
      RqLevel l;
      l.residual = squared_norm(r.data(), c.dim);
      for (int64_t k = 0; k < c.codes; ++k) {
        const double distance = squared_distance(r.data(), c.code(level, k), c.dim);
        if (k == 0 || distance < l.best) {
          l.best = distance;
          l.nearest = k;
        }
        l.code = std::fmax(l.code, squared_norm(c.code(level, k), c.dim));
      }
      const double *chosen = c.code(level, codes[i * c.levels + level]);
      l.chosen = squared_distance(r.data(), chosen, c.dim);
      for (int64_t d = 0; d < c.dim; ++d) r[d] -= chosen[d];
      all.push_back(l);
    }
    norms->push_back(std::sqrt(squared_norm(r.data(), c.dim)));
  }
  return all;
}

inline std::vector<double> rq_decode(const RqCase &c, const std::vector<int64_t> &codes, std::vector<double> *terms) {
  std::vector<double> out(c.n * c.dim, 0.0);
  terms->assign(out.size(), 0.0);
  for (int64_t i = 0; i < c.n; ++i) {
    for (int64_t level = 0; level < c.levels; ++level) {
      const int64_t k = codes[i * c.levels + level];
      if (k < 0 || k >= c.codes) continue;
      for (int64_t d = 0; d < c.dim; ++d) {
        out[i * c.dim + d] += c.code(level, k)[d];
        (*terms)[i * c.dim + d] += std::fabs(c.code(level, k)[d]);
      }
    }
  }
  return out;
}

}  // namespace jindou::reference

#endif
