// Jagged rows in memory for the attention tests: [rows, heads, d] with gaps between heads and tokens, the gaps
// poisoned.
#ifndef JINDOU_KERNELS_ATTENTION_TESTS_ROWS_H
#define JINDOU_KERNELS_ATTENTION_TESTS_ROWS_H

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "testing/device_array.h"

namespace jindou::testing {

// Elements left free after each head and each token. Multiples of 8: whole 16 bytes in every dtype.
struct Gaps {
  int64_t head = 0;
  int64_t token = 0;
};

class RowsInMemory {
 public:
  RowsInMemory(int32_t dtype, int64_t rows, int64_t heads, int64_t d, Gaps gaps)
      : rows_(rows),
        heads_(heads),
        d_(d),
        head_stride_(d + gaps.head),
        token_stride_(heads * head_stride_ + gaps.token),
        array_(dtype,
               rows == 0 ? 0 : static_cast<size_t>((rows - 1) * token_stride_ + (heads - 1) * head_stride_ + d)) {}

  // values: dense [rows, heads, d]
  void fill(const std::vector<float> &values) {
    for (int64_t r = 0; r < rows_; ++r) {
      for (int64_t h = 0; h < heads_; ++h) {
        for (int64_t i = 0; i < d_; ++i)
          array_.set(at(r, h, i), values[static_cast<size_t>((r * heads_ + h) * d_ + i)]);
      }
    }
  }

  std::vector<float> dense() const {
    std::vector<float> values;
    for (int64_t r = 0; r < rows_; ++r) {
      for (int64_t h = 0; h < heads_; ++h) {
        for (int64_t i = 0; i < d_; ++i) values.push_back(array_.get(at(r, h, i)));
      }
    }
    return values;
  }

  // Whether everything between heads and tokens still holds the poison.
  bool gaps_untouched() const {
    const std::vector<unsigned char> bytes = array_.bytes();
    const size_t element = array_.size() == 0 ? 1 : bytes.size() / array_.size();
    size_t next = 0;
    for (int64_t r = 0; r < rows_; ++r) {
      for (int64_t h = 0; h < heads_; ++h) {
        const size_t first = at(r, h, 0);
        for (size_t b = next * element; b < first * element; ++b) {
          if (bytes[b] != 0xff) return false;
        }
        next = first + static_cast<size_t>(d_);
      }
    }
    return true;
  }

  jdb_tensor tensor() const { return array_.tensor({rows_, heads_, d_}, {token_stride_, head_stride_, 1}); }

 private:
  size_t at(int64_t r, int64_t h, int64_t i) const {
    return static_cast<size_t>(r * token_stride_ + h * head_stride_ + i);
  }

  int64_t rows_, heads_, d_, head_stride_, token_stride_;
  DeviceArray array_;
};

// Numbers in (-1, 1) as the dtype holds them, from a seed.
inline std::vector<float> random_values(size_t count, int32_t dtype, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<float> values(count);
  for (float &v : values)
    v = rounded(static_cast<float>(static_cast<int64_t>(random() % 16383) - 8191) / 8192.0f, dtype);
  return values;
}

// Rows [first, last) of dense rows of `width` elements become NaN: whoever reads them shows it.
inline void poison_rows(std::vector<float> &values, int64_t width, int64_t first, int64_t last) {
  for (int64_t i = first * width; i < last * width; ++i)
    values[static_cast<size_t>(i)] = std::numeric_limits<float>::quiet_NaN();
}

inline std::vector<int64_t> offsets_of_lengths(const std::vector<int64_t> &lengths) {
  std::vector<int64_t> offsets{0};
  for (const int64_t n : lengths) offsets.push_back(offsets.back() + n);
  return offsets;
}

inline void expect_same_bits(const std::vector<float> &a, const std::vector<float> &b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) ASSERT_EQ(prim::as_uint(a[i]), prim::as_uint(b[i])) << "element " << i;
}

}  // namespace jindou::testing

#endif
