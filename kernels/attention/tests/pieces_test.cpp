// What every operator that cuts keys relies on (pieces.h): pieces cover a sequence exactly, none is empty, and scratch memory that is made for
// the longest sequence of a plan has room for the pieces of every one.
#include "attention/pieces.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "attention/din_attention_problem.h"
#include "attention/softmax_attention_problem.h"
#include "attention/stca_attention_problem.h"
#include "decode/decode_attention_problem.h"

namespace jindou::attention {
namespace {

// Of the kernels, and of the CPU backend (softmax_attention; decode_attention is as target_attention); and small ones, where every border is near.
std::vector<Pieces> all_pieces() {
  std::vector<Pieces> all{target_pieces(), din::din_pieces(), decode::decode_pieces(), {2048, 64, 64}, {4, 3, 2}, {0, 1, 128}, {0, 5, 1}, {1, 1, 1}};
  for (const int64_t candidates : {1, 2, 3, 64, 4096}) all.push_back(stca_pieces(stca_piece_keys(candidates, 16)));
  for (const int32_t most : {2, 3, 64}) all.push_back({SoftmaxPieces::kLeastKeys, most, SoftmaxPieces::kGranule});
  return all;
}

void expect_exact(const Pieces &p, int32_t n) {
  const int64_t length = p.length(n), number = p.number(n);
  ASSERT_EQ(length % p.granule, 0) << n;
  ASSERT_GE(length, p.least) << n;
  ASSERT_GE(number, 1) << n;
  ASSERT_LE(number, p.most) << n;
  ASSERT_GE(length * number, n) << n << ": keys are left";
  if (number > 1) {
    ASSERT_LT(length * (number - 1), n) << n << ": an empty piece";
    if (length > p.least) {
      ASSERT_LE((length - p.granule) * p.most, n) << n << ": longer than it need be";
    }
  }
}

// Whatever is a border to some piece, and what lies beside it.
std::vector<int32_t> lengths(const Pieces &p) {
  const int64_t longest = p.most == 1 ? INT32_MAX - p.granule : INT32_MAX, step = int64_t{p.granule} * p.most;
  std::vector<int32_t> all;
  const auto add = [&](int64_t n) { all.push_back(static_cast<int32_t>(std::clamp<int64_t>(n, 0, longest))); };
  for (int64_t n = 0; n <= 8000; ++n) add(n);
  std::mt19937_64 random(1);
  for (int i = 0; i < 20000; ++i) {
    add(static_cast<int64_t>(random() % (longest / step + 1)) * step + static_cast<int64_t>(random() % 5) - 2);
    add(static_cast<int64_t>(random() % (uint64_t{1} << (1 + random() % 31))));
  }
  for (int64_t n = 0; n < 300; ++n) add(longest - n);
  return all;
}

TEST(Pieces, cover_every_sequence_exactly) {
  for (const Pieces &p : all_pieces()) {
    SCOPED_TRACE(testing::Message() << p.least << ", " << p.most << ", " << p.granule);
    for (const int32_t n : lengths(p)) ASSERT_NO_FATAL_FAILURE(expect_exact(p, n));
  }
}

// A shorter sequence may be cut into more pieces than a longer one; the bound is the most of them, no more.
TEST(Pieces, their_bound_is_the_most_of_any_shorter_sequence) {
  for (const Pieces &p : all_pieces()) {
    SCOPED_TRACE(testing::Message() << p.least << ", " << p.most << ", " << p.granule);
    const int32_t limit = std::max(8000, std::min(4 * p.most * p.least, 150000));
    int32_t most = 1;
    for (int32_t n = 0; n <= limit; ++n) {
      most = std::max(most, p.number(n));
      if (p.least > 0) {
        ASSERT_EQ(p.most_up_to(n), most) << n;
      } else {
        ASSERT_GE(p.most_up_to(n), most) << n;
      }
    }
    std::vector<int32_t> all = lengths(p);
    std::sort(all.begin(), all.end());
    for (const int32_t n : all) {
      most = std::max(most, p.number(n));
      ASSERT_GE(p.most_up_to(std::max(n, limit)), most) << n;
    }
    ASSERT_EQ(p.most_up_to(int64_t{1} << 40), p.most) << "more than a sequence can have";
  }
}

// The same in 64 bits, from the definition: ceil(n / most) keys, up to whole granules, and `least` at least.
TEST(Pieces, are_what_the_definition_says) {
  for (const Pieces &p : all_pieces()) {
    for (const int32_t n : lengths(p)) {
      const int64_t each = (int64_t{n} + p.most - 1) / p.most;
      const int64_t length = std::max<int64_t>((each + p.granule - 1) / p.granule * p.granule, p.least);
      ASSERT_EQ(p.length(n), length) << n;
      ASSERT_EQ(p.number(n), std::max<int64_t>(1, length == 0 ? 1 : (int64_t{n} + length - 1) / length)) << n;
    }
  }
}

}  // namespace
}  // namespace jindou::attention
