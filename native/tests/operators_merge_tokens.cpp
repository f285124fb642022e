// merge_tokens through the C ABI: every byte of the merged tokens against its reference.
#include <algorithm>
#include <functional>

#include "operators_support.h"
#include "reference/merge_tokens.h"

namespace jindou::testing {
namespace {

struct Variant {
  int32_t dtype = JD_F32, offset_dtype = JD_I64, bounds = JD_BOUNDS_STRICT;
  int64_t dim = 8, padding = 0;  // elements between rows
};

class MergeTokens : public ::testing::TestWithParam<std::string> {
 protected:
  static std::vector<uint8_t> random_bytes(uint64_t seed, int64_t count) {
    std::mt19937_64 engine(seed);
    std::vector<uint8_t> bytes(static_cast<size_t>(count));
    for (uint8_t &x : bytes) x = static_cast<uint8_t>(engine());
    return bytes;
  }

  // A view with gaps of a tensor of bytes as given, or of poison.
  static jd_tensor rows(Rig &rig, int32_t dtype, int64_t count, int64_t columns, int64_t padding, const std::vector<uint8_t> &bytes) {
    const int64_t size = jd_dtype_size(dtype), stride = (columns + padding) * size, row = columns * size;
    std::vector<uint8_t> all(static_cast<size_t>(count * stride), 0xff);
    for (int64_t i = 0; i < count && !bytes.empty(); ++i) std::copy_n(bytes.begin() + i * row, row, all.begin() + i * stride);
    const jd_tensor whole = rig.bytes(dtype, {count, columns + padding}, all);
    return rig.view(whole, {count, columns}, {columns + padding, 1});
  }

  static std::vector<uint8_t> bytes_of(Rig &rig, jd_tensor whole_rows, int64_t count, int64_t columns, int64_t padding, int32_t dtype) {
    const int64_t size = jd_dtype_size(dtype);
    std::vector<uint8_t> result(static_cast<size_t>(count * columns * size));
    for (int64_t i = 0; i < count; ++i) {
      const jd_tensor one = rig.view(whole_rows, {columns}, {1}, i * (columns + padding));
      Error error;
      rig.check(jd_tensor_read(rig.stream, one, result.data() + i * columns * size, columns * size, &error), error);
    }
    return result;
  }

  struct Result {
    jd_status status = JD_OK;
    std::string message;
    std::vector<uint8_t> out;
  };

  static Result run(Rig &rig, const std::vector<int64_t> &offsets, const std::vector<int64_t> &out_offsets, int64_t k,
                    const std::vector<uint8_t> &x, const Variant &s, int64_t x_rows = -1) {
    jd_merge_tokens_args a{};
    a.struct_size = sizeof a;
    a.k = static_cast<int32_t>(k);
    a.bounds = s.bounds;
    const int64_t out_rows = out_offsets.back();
    a.x = rows(rig, s.dtype, x_rows < 0 ? offsets.back() : x_rows, s.dim, s.padding, x);
    a.offsets = rig.integers(s.offset_dtype, offsets);
    a.out = rows(rig, s.dtype, out_rows, s.dim * k, s.padding, {});
    a.out_offsets = rig.integers(s.offset_dtype, out_offsets);
    Error error;
    Result r;
    r.status = jd_merge_tokens(rig.stream, &a, &error);
    if (r.status == JD_OK) r.status = jd_stream_synchronize(rig.stream, &error);
    if (r.status != JD_OK) r.message = error.message;
    r.out = bytes_of(rig, a.out, out_rows, s.dim * k, s.padding, s.dtype);
    if (s.padding > 0 && jd_dtype_size(s.dtype) <= 4) {
      bool gaps_intact = false;
      rig.bits(a.out, &gaps_intact);
      EXPECT_TRUE(gaps_intact);
    }
    return r;
  }

  static std::vector<uint8_t> expected(const reference::MergedTokens &merged, const std::vector<uint8_t> &x, int64_t row_bytes) {
    std::vector<uint8_t> all;
    for (const int64_t event : merged.events) {
      if (event < 0) {
        all.insert(all.end(), static_cast<size_t>(row_bytes), 0);
      } else {
        all.insert(all.end(), x.begin() + event * row_bytes, x.begin() + (event + 1) * row_bytes);
      }
    }
    return all;
  }

  static void compare(Rig &rig, const std::vector<int64_t> &lengths, int64_t k, const Variant &s, const std::string &what) {
    const std::vector<int64_t> offsets = offsets_of(lengths);
    const int64_t row_bytes = s.dim * jd_dtype_size(s.dtype);
    const std::vector<uint8_t> x = random_bytes(static_cast<uint64_t>(k * 31 + s.dim), offsets.back() * row_bytes);
    const reference::MergedTokens merged = reference::merge_tokens(offsets, k);
    const Result r = run(rig, offsets, merged.offsets, k, x, s);
    EXPECT_EQ(r.message, "") << what;
    EXPECT_TRUE(r.out == expected(merged, x, row_bytes)) << what;
  }
};

TEST_P(MergeTokens, elements_of_every_dtype_are_copied_as_they_are) {
  Rig rig(GetParam());
  for (const int32_t dtype : {JD_F32, JD_F16, JD_BF16, JD_F8_E4M3, JD_I8, JD_U8, JD_I32, JD_I64, JD_BOOL, JD_F64}) {
    for (const int64_t padding : {0, 16}) {
      Variant s;
      s.dtype = dtype;
      s.dim = 48;
      s.padding = padding;
      s.offset_dtype = padding ? JD_I32 : JD_I64;
      compare(rig, {7, 0, 1, 12, 5}, 4, s, std::string(jd_dtype_name(dtype)) + ", padding " + std::to_string(padding));
    }
  }
}

TEST_P(MergeTokens, lengths_around_multiples_of_k) {
  Rig rig(GetParam());
  for (const int64_t k : {1, 2, 3, 4, 7, 8, 31, 1024}) {
    for (const int64_t dim : {4, 12, 64}) {
      if (k == 1024 && (dim > 4 || !rig.fast())) continue;
      Variant s;
      s.dim = dim;
      compare(rig, {0, 1, k - 1, k, k + 1, 2 * k - 1, 2 * k, 2 * k + 1, 101}, k, s, "k " + std::to_string(k) + ", d " + std::to_string(dim));
    }
  }
}

// Runs of 16 KiB of a sequence begin anywhere in its rows.
TEST_P(MergeTokens, long_sequences_and_wide_rows) {
  Rig rig(GetParam());
  Variant s;
  s.dim = 20;
  compare(rig, {rig.scaled(10007, 701), 3}, 5, s, "long");
  s.dim = 5120;
  compare(rig, {11, 2}, 3, s, "wide");
  s.dim = 4100;
  s.padding = 4;
  compare(rig, {5}, 2, s, "wide with gaps");
}

TEST_P(MergeTokens, many_short_sequences) {
  Rig rig(GetParam(), 3);
  std::vector<int64_t> lengths;
  for (int64_t i = 0; i < rig.scaled(3000, 400); ++i) lengths.push_back(i * 7 % 5);
  Variant s;
  s.dim = 4;
  compare(rig, lengths, 2, s, "short");
}

TEST_P(MergeTokens, nothing_to_merge) {
  Rig rig(GetParam());
  compare(rig, {}, 3, Variant(), "no sequence");
  compare(rig, {0, 0}, 3, Variant(), "empty sequences");
}

// Sequences in another order, and each alone, are merged to the same bytes.
TEST_P(MergeTokens, a_sequence_depends_on_itself_alone) {
  Rig rig(GetParam(), 2);
  const std::vector<int64_t> lengths = {5, 70, 1, 33};
  const std::vector<int64_t> offsets = offsets_of(lengths);
  Variant s;
  const int64_t k = 4, row = s.dim * 4;
  const std::vector<uint8_t> x = random_bytes(1, offsets.back() * row);
  const reference::MergedTokens merged = reference::merge_tokens(offsets, k);
  const std::vector<uint8_t> all = run(rig, offsets, merged.offsets, k, x, s).out;
  for (size_t b = 0; b < lengths.size(); ++b) {
    const std::vector<uint8_t> own(x.begin() + offsets[b] * row, x.begin() + offsets[b + 1] * row);
    const int64_t first = merged.offsets[b], last = merged.offsets[b + 1];
    const std::vector<uint8_t> alone = run(rig, {0, lengths[b]}, {0, last - first}, k, own, s).out;
    EXPECT_TRUE(std::equal(alone.begin(), alone.end(), all.begin() + first * k * row)) << b;
  }
}

TEST_P(MergeTokens, refused_sequences_leave_the_others_alone) {
  Rig rig(GetParam());
  const bool on_host = rig.info.host_memory != 0;
  Variant s;
  const int64_t k = 2, row = s.dim * 4;
  const std::vector<uint8_t> x = random_bytes(2, 9 * row);
  const auto refused = [&](const std::vector<int64_t> &offsets, const std::vector<int64_t> &out_offsets, const std::string &part,
                           const std::vector<int64_t> &good) {
    for (const int32_t bounds : {JD_BOUNDS_STRICT, JD_BOUNDS_ZERO}) {
      Variant variant = s;
      variant.bounds = bounds;
      const Result r = run(rig, offsets, out_offsets, k, x, variant, 9);
      int64_t skipped = 0;
      Error error;
      jd_stream_take_skipped(rig.stream, &skipped, &error);
      if (on_host) {
        EXPECT_EQ(r.status, JD_INVALID_ARGUMENT);
        EXPECT_NE(r.message.find("merge_tokens: argument " + part), std::string::npos) << r.message;
        continue;
      }
      EXPECT_EQ(r.status, bounds == JD_BOUNDS_STRICT ? JD_OUT_OF_BOUNDS : JD_OK) << part;
      EXPECT_EQ(skipped > 0, bounds == JD_BOUNDS_ZERO) << part;
      if (bounds == JD_BOUNDS_STRICT) {
        EXPECT_NE(r.message.find("merge_tokens: argument " + part), std::string::npos) << r.message;
      }
      for (size_t b = 0; b + 1 < offsets.size(); ++b) {
        const bool is_good = std::find(good.begin(), good.end(), static_cast<int64_t>(b)) != good.end();
        if (out_offsets[b + 1] <= out_offsets[b]) continue;
        const auto first = r.out.begin() + out_offsets[b] * k * row, last = r.out.begin() + out_offsets[b + 1] * k * row;
        if (!is_good) {
          EXPECT_TRUE(std::all_of(first, last, [](uint8_t byte) { return byte == 0xff; })) << part << ": wrote sequence " << b;
          continue;
        }
        const std::vector<uint8_t> wanted = expected(reference::merge_tokens({offsets[b], offsets[b + 1]}, k), x, row);
        EXPECT_TRUE(std::equal(first, last, wanted.begin(), wanted.end())) << part << ": sequence " << b;
      }
    }
  };
  refused({0, 4, 6, 9}, {0, 2, 4, 6}, "'out_offsets': expected 1 rows", {0, 2});
  refused({0, 4, 6, 9}, {0, 2, 2, 4}, "'out_offsets': expected 1 rows", {0, 2});
  refused({0, 4, 3, 9}, {0, 2, 3, 6}, "'offsets': expected non-decreasing offsets", {0, 2});
  refused({0, 4, 6, 8}, {0, 2, 3, 4}, "'offsets': expected the last offset to be 9", {0, 1});
  refused({1, 4, 6, 9}, {0, 2, 3, 5}, "'offsets': expected the first offset to be 0", {1, 2});
}

JD_INSTANTIATE_ON_DEVICES(MergeTokens);

}  // namespace
}  // namespace jindou::testing
