// quantize_rows and dequantize_rows through the C ABI: every byte against the reference, the promised distance, and what cannot be held.
#include "operators_support.h"
#include "reference/quantize.h"

namespace jindou::testing {
namespace {

using reference::numbers_of_row;
using reference::quantized_row;
using reference::RowShape;

constexpr int32_t kFormats[] = {JD_ROWS_INT8,      JD_ROWS_INT4,      JD_ROWS_INT2, JD_ROWS_INT8_FLOAT,
                                JD_ROWS_INT4_LAST, JD_ROWS_INT2_LAST, JD_ROWS_E4M3};

class QuantizeRows : public ::testing::TestWithParam<std::string> {
 protected:
  // The bytes of n rows, `length` each and `gap` apart, that begin `first` bytes into their memory.
  struct Rows {
    jd_tensor whole, rows;
    int64_t n, length, stride, first;
  };

  static Rows make(Rig &rig, int64_t n, int64_t length, int64_t gap, int64_t first, uint8_t fill) {
    Rows r{0, 0, n, length, length + gap, first};
    const int64_t bytes = first + n * r.stride;
    r.whole = rig.bytes(JD_U8, {bytes}, std::vector<uint8_t>(static_cast<size_t>(bytes), fill));
    r.rows = rig.view(r.whole, {n, length}, {r.stride, 1}, first);
    return r;
  }
  static std::vector<uint8_t> read(Rig &rig, const Rows &r) {
    std::vector<uint8_t> bytes;
    for (const uint32_t x : rig.bits(r.whole)) bytes.push_back(static_cast<uint8_t>(x));
    return bytes;
  }

  struct RoundTrip {
    std::vector<double> numbers;
    jd_status status;  // after quantising
    Error error;
  };

  // Quantises, compares every byte, and gives the numbers back as dequantize_rows reads them.
  static RoundTrip round_trip(Rig &rig, int32_t format, int64_t n, int64_t dim, const std::vector<double> &x, int32_t dtype,
                                        int64_t extra, int64_t gap, int64_t first, int32_t out_dtype, int32_t bounds,
                                        const std::string &what) {
    const int64_t length = RowShape::of(format).bytes(dim) + extra;
    const Rows rows = make(rig, n, length, gap, first, 0xee);
    Error error;
    jd_quantize_rows_args q{};
    q.struct_size = sizeof q;
    q.format = format;
    q.bounds = bounds;
    const int64_t aligned = dtype == JD_F32 ? 0 : (8 - dim % 8) % 8;
    q.x = rig.tensor(dtype, {n, dim}, x, aligned);
    q.rows = rows.rows;
    rig.check(jd_quantize_rows(rig.stream, &q, &error), error);
    RoundTrip result;
    result.status = jd_stream_synchronize(rig.stream, &result.error);
    const std::vector<uint8_t> got = read(rig, rows);
    std::vector<uint8_t> expected(got.size(), 0xee);
    for (int64_t r = 0; r < n; ++r) {
      const auto row = quantized_row(format, x.data() + r * dim, dim, length);
      std::copy(row.begin(), row.end(), expected.begin() + first + r * rows.stride);
    }
    for (size_t i = 0; i < got.size(); ++i) {
      if (got[i] == expected[i]) continue;
      const int64_t at = static_cast<int64_t>(i) - first;
      ADD_FAILURE() << what << ", format " << format << ": byte " << at % rows.stride << " of row " << at / rows.stride << " is "
                    << int{got[i]} << ", expected " << int{expected[i]};
      break;
    }
    jd_dequantize_rows_args d{};
    d.struct_size = sizeof d;
    d.format = format;
    d.rows = rows.rows;
    d.out = rig.poisoned(out_dtype, {n, dim}, out_dtype == JD_F32 ? 4 : (8 - dim % 8) % 8);
    rig.check(jd_dequantize_rows(rig.stream, &d, &error), error);
    bool gaps_intact = false;
    rig.bits(d.out, &gaps_intact);
    EXPECT_TRUE(gaps_intact) << what;
    const std::vector<double> back = rig.read(d.out);
    std::vector<double> numbers;
    for (int64_t r = 0; r < n; ++r) {
      const auto row = numbers_of_row(format, got.data() + first + r * rows.stride, dim);
      numbers.insert(numbers.end(), row.begin(), row.end());
    }
    // Product and sum are rounded once, to f32, on every device and instruction set; then that to the output.
    for (size_t i = 0; i < back.size(); ++i) {
      const double expected = rounded(rounded(numbers[i], JD_F32), out_dtype);
      if (back[i] == expected) continue;
      ADD_FAILURE() << what << ", format " << format << ": element " << i << " is " << back[i] << ", expected " << expected;
      break;
    }
    result.numbers = numbers;
    return result;
  }

  // Rows of every kind: narrow and wide, around zero and far from it, of one number, of zeros.
  static std::vector<double> values(Random &random, int64_t n, int64_t dim, int32_t dtype) {
    std::vector<double> x;
    for (int64_t r = 0; r < n; ++r) {
      const double scale = std::ldexp(1.0, static_cast<int>(random.integer(-12, 8)));
      const double shift = r % 3 == 0 ? 0 : scale * random.uniform(-20, 20);
      for (int64_t d = 0; d < dim; ++d) {
        x.push_back(rounded(r % 11 == 10 ? (r % 2 ? 0.0 : -0.0) : r % 7 == 6 ? shift : scale * random.uniform(-1, 1) + shift, dtype));
      }
    }
    return x;
  }
};

TEST_P(QuantizeRows, every_format_dtype_and_dim) {
  Rig rig(GetParam(), 2);
  for (const int32_t format : kFormats) {
    for (const int32_t dtype : {JD_F32, JD_F16, JD_BF16}) {
      for (const int64_t dim : {4, 8, 12, 20, 64, 124, 128, 132, 260, 2048}) {
        if (!rig.fast() && (dim > 260 || (dtype != JD_F32 && dim > 64))) continue;
        Random random(static_cast<uint64_t>(dim + format));
        const int64_t n = rig.scaled(67, 19);
        const RoundTrip done = round_trip(rig, format, n, dim, values(random, n, dim, dtype), dtype, dim % 3, dim % 5, dim % 7, dtype,
                                          JD_BOUNDS_STRICT, "dim " + std::to_string(dim) + ", dtype " + std::to_string(dtype));
        EXPECT_EQ(done.status, JD_OK) << done.error.message;
      }
    }
  }
}

// The worst-case error that docs and header promise, for many rows of every kind.
TEST_P(QuantizeRows, elements_are_as_near_as_promised) {
  Rig rig(GetParam());
  for (const int32_t format : kFormats) {
    Random random(static_cast<uint64_t>(format));
    const int64_t n = rig.scaled(3000, 150), dim = 20;
    const std::vector<double> x = values(random, n, dim, JD_F32);
    const std::vector<double> back =
        round_trip(rig, format, n, dim, x, JD_F32, 0, 0, 0, JD_F32, JD_BOUNDS_STRICT, "near").numbers;
    const double codes = (1 << RowShape::of(format).bits) - 1;
    for (int64_t r = 0; r < n; ++r) {
      const auto row = x.begin() + r * dim;
      const double min = *std::min_element(row, row + dim), max = *std::max_element(row, row + dim);
      const double largest = std::max(std::fabs(min), std::fabs(max));
      for (int64_t d = 0; d < dim; ++d) {
        double allowed = (max - min) / (2 * codes);
        if (RowShape::of(format).halves) {  // the rounding of bias and scale to f16, subnormals included
          allowed += 0x1p-11 * (max - min + std::fabs(min)) + 0x1p-25 * (codes + 1);
        }
        if (format == JD_ROWS_E4M3) allowed = std::max(std::fabs(row[d]) * 0x1p-4, largest / 448 * 0x1p-10);
        EXPECT_LE(std::fabs(back[static_cast<size_t>(r * dim + d)] - row[d]), allowed * 1.0001 + 0x1p-22 * largest)
            << "format " << format << ", row " << r << " of " << min << " to " << max;
      }
    }
  }
}

TEST_P(QuantizeRows, rows_that_no_format_can_hold) {
  for (const int32_t bounds : {JD_BOUNDS_STRICT, JD_BOUNDS_ZERO, JD_BOUNDS_TRUST}) {
    for (const int32_t format : kFormats) {
      Rig rig(GetParam(), 2);
      Random random(3);
      const int64_t n = 40, dim = 36;
      std::vector<double> x = values(random, n, dim, JD_F32);
      x[7 * dim + 35] = NAN;
      x[9 * dim] = INFINITY;
      x[30 * dim + 3] = -INFINITY;
      x[33 * dim + 5] = -1e6;  // past f16
      const bool halves = RowShape::of(format).halves;
      const RoundTrip done =
          round_trip(rig, format, n, dim, x, JD_F32, 5, 0, 0, JD_F32, bounds, "bounds " + std::to_string(bounds));
      int64_t skipped = 0;
      jd_stream_take_skipped(rig.stream, &skipped, nullptr);
      EXPECT_EQ(done.status, bounds == JD_BOUNDS_STRICT ? JD_OUT_OF_BOUNDS : JD_OK);
      EXPECT_EQ(skipped, bounds == JD_BOUNDS_ZERO ? 3 + halves : 0);
      if (bounds != JD_BOUNDS_STRICT) continue;
      EXPECT_EQ(done.error.position, 7);
      EXPECT_NE(std::string(done.error.message).find("quantize_rows: argument 'x': expected finite numbers"), std::string::npos)
          << done.error.message;
    }
  }
}

TEST_P(QuantizeRows, no_rows) {
  Rig rig(GetParam());
  round_trip(rig, JD_ROWS_INT4, 0, 8, {}, JD_F32, 0, 0, 0, JD_F32, JD_BOUNDS_STRICT, "none");
}

JD_INSTANTIATE_ON_DEVICES(QuantizeRows);

}  // namespace
}  // namespace jindou::testing
