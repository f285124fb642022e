// HstuMask against the reference's own mask, exhaustively over small sequences.
#include "attention/hstu_mask.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/reference/hstu_attention.h"

namespace jindou {
namespace {

struct Case {
  reference::HstuMaskParams p;
  int64_t n, t;
};

template <class F>
void for_each_case(F f) {
  for (int64_t n : {1, 2, 5, 9, 13})
    for (int64_t t = 0; t <= n; t += n > 5 ? 3 : 1)
      for (bool causal : {true, false})
        for (int64_t c : {int64_t{0}, int64_t{1}, int64_t{2}, int64_t{4}, n, n + 1, n + 2, int64_t{2147483647}})
          for (int64_t w : {0, 1, 2, 5, 2147483647})
            for (int64_t full : {0, 1, 3, 2147483647}) f(Case{{causal, c, w, full}, n, t});
}

HstuMask make(const Case &c) {
  return HstuMask(c.p.causal, static_cast<int32_t>(c.n), static_cast<int32_t>(c.t),
                  static_cast<int32_t>(c.p.contextual_seq_len), static_cast<int32_t>(c.p.max_attn_len),
                  static_cast<int32_t>(c.p.min_full_attn_seq_len));
}

std::string name(const Case &c) {
  return "n=" + std::to_string(c.n) + " t=" + std::to_string(c.t) + " causal=" + std::to_string(c.p.causal) +
         " c=" + std::to_string(c.p.contextual_seq_len) + " w=" + std::to_string(c.p.max_attn_len) +
         " f=" + std::to_string(c.p.min_full_attn_seq_len);
}

TEST(HstuMask, allowed_and_row_keys_equal_the_reference) {
  for_each_case([](const Case &c) {
    const HstuMask mask = make(c);
    for (int32_t i = 0; i < c.n; ++i) {
      const HstuMask::RowKeys keys = mask.row_keys(i);
      for (int32_t j = 0; j < c.n; ++j) {
        const bool expected = reference::hstu_allowed(c.p, c.n, c.t, i, j);
        ASSERT_EQ(mask.allowed(i, j), expected) << name(c) << " i=" << i << " j=" << j;
        ASSERT_EQ(keys.contains(i, j), expected) << name(c) << " i=" << i << " j=" << j;
        ASSERT_EQ(keys.from(j / 2).contains(i - j / 2, j - j / 2), expected) << name(c) << " i=" << i << " j=" << j;
      }
    }
  });
}

TEST(HstuMask, tiles_are_skipped_exactly_when_the_mask_empties_them) {
  for_each_case([](const Case &c) {
    const HstuMask mask = make(c);
    for (int32_t i0 = 0; i0 < c.n; ++i0) {
      for (int32_t i1 = i0 + 1; i1 <= c.n; i1 += 2) {
        for (int32_t j0 = 0; j0 < c.n; ++j0) {
          for (int32_t j1 = j0 + 1; j1 <= c.n; j1 += 2) {
            int64_t allowed = 0;
            for (int32_t i = i0; i < i1; ++i)
              for (int32_t j = j0; j < j1; ++j) allowed += reference::hstu_allowed(c.p, c.n, c.t, i, j);
            const TileMask state = mask.classify(i0, i1, j0, j1);
            ASSERT_EQ(state == TileMask::kEmpty, allowed == 0)
                << name(c) << " rows " << i0 << ".." << i1 << " keys " << j0 << ".." << j1;
            if (state == TileMask::kFull) {
              ASSERT_EQ(allowed, int64_t{i1 - i0} * (j1 - j0))
                  << name(c) << " rows " << i0 << ".." << i1 << " keys " << j0 << ".." << j1;
            }
          }
        }
      }
    }
  });
}

// Nothing is masked element by element without need: away from the diagonal of plain causal attention every tile is
// full.
TEST(HstuMask, tiles_before_the_diagonal_are_full) {
  const HstuMask causal(true, 1000, 0, 0, 0, 0);
  EXPECT_EQ(causal.classify(512, 640, 0, 64), TileMask::kFull);
  EXPECT_EQ(causal.classify(512, 640, 448, 512), TileMask::kFull);
  EXPECT_EQ(causal.classify(512, 640, 512, 576), TileMask::kPartial);
  EXPECT_EQ(causal.classify(512, 576, 576, 640), TileMask::kEmpty);

  const HstuMask targets(true, 1000, 300, 0, 0, 0);
  EXPECT_EQ(targets.classify(896, 960, 0, 64), TileMask::kFull);
  EXPECT_EQ(targets.classify(896, 960, 636, 700), TileMask::kFull);
  EXPECT_EQ(targets.classify(896, 960, 704, 768), TileMask::kEmpty);

  const HstuMask window(true, 1000, 0, 0, 256, 0);
  EXPECT_EQ(window.classify(512, 576, 0, 64), TileMask::kEmpty);
  EXPECT_EQ(window.classify(512, 576, 320, 384), TileMask::kFull);
}

}  // namespace
}  // namespace jindou
