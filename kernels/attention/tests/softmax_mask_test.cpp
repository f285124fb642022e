// SoftmaxMask and T5Buckets against the operator's definitions, exhaustively over small sequences.
#include "attention/softmax_mask.h"

#include <gtest/gtest.h>

#include <climits>
#include <string>

#include "attention/t5_buckets.h"
#include "tests/reference/softmax_attention.h"

namespace jindou {
namespace {

using reference::SoftmaxMaskKind;
using reference::SoftmaxMaskParams;

struct Case {
  SoftmaxMaskParams p;
  int64_t nq, nk;
};

template <class F>
void for_each_case(F f) {
  const SoftmaxMaskParams kinds[] = {{SoftmaxMaskKind::none},        {SoftmaxMaskKind::causal},
                                     {SoftmaxMaskKind::window, 0, 0}, {SoftmaxMaskKind::window, 2, 0},
                                     {SoftmaxMaskKind::window, -1, 1}, {SoftmaxMaskKind::window, 1, -1},
                                     {SoftmaxMaskKind::window, 3, 2}, {SoftmaxMaskKind::window, INT_MAX, INT_MAX}};
  const int64_t sizes[][2] = {{1, 1}, {1, 9}, {9, 1}, {9, 9}, {4, 11}, {11, 4}, {12, 12}, {3, 0}};
  for (const auto &[nq, nk] : sizes)
    for (const SoftmaxMaskParams &kind : kinds)
      for (const int64_t sink : {0, 1, 4, INT_MAX})
        for (const int64_t prefix : {0, 1, 5, INT_MAX})
          for (const int64_t globals : {0, 1, 3, INT_MAX}) {
            Case c = {kind, nq, nk};
            c.p.sink = sink;
            c.p.prefix = prefix;
            c.p.num_global = globals;
            f(c);
          }
}

// The window of each kind, as core gives it to backends.
SoftmaxMask make(const Case &c) {
  const bool window = c.p.kind == SoftmaxMaskKind::window, causal = c.p.kind == SoftmaxMaskKind::causal;
  return SoftmaxMask(static_cast<int32_t>(c.nq), static_cast<int32_t>(c.nk), window ? static_cast<int32_t>(c.p.left) : -1,
                     window ? static_cast<int32_t>(c.p.right) : causal ? 0 : -1, static_cast<int32_t>(c.p.sink),
                     static_cast<int32_t>(c.p.prefix), static_cast<int32_t>(c.p.num_global));
}

std::string name(const Case &c) {
  return std::to_string(c.nq) + " x " + std::to_string(c.nk) + " kind=" + std::to_string(static_cast<int>(c.p.kind)) +
         " left=" + std::to_string(c.p.left) + " right=" + std::to_string(c.p.right) + " sink=" + std::to_string(c.p.sink) +
         " prefix=" + std::to_string(c.p.prefix) + " globals=" + std::to_string(c.p.num_global);
}

TEST(SoftmaxMask, allowed_and_row_keys_equal_the_reference) {
  for_each_case([](const Case &c) {
    const SoftmaxMask mask = make(c);
    for (int32_t i = 0; i < c.nq; ++i) {
      const SoftmaxMask::Keys keys = mask.row_keys(i);
      ASSERT_TRUE(0 <= keys.begin && keys.begin <= keys.end && keys.end <= c.nk) << name(c) << " i=" << i;
      ASSERT_TRUE(keys.hole_begin <= keys.hole_end && keys.begin <= keys.hole_begin && keys.hole_end <= keys.end)
          << name(c) << " i=" << i;
      for (int32_t j = 0; j < c.nk; ++j) {
        const bool expected = reference::softmax_allowed(c.p, c.nq, c.nk, i, j);
        ASSERT_EQ(mask.allowed(i, j), expected) << name(c) << " i=" << i << " j=" << j;
      }
    }
  });
}

TEST(SoftmaxMask, tiles_are_empty_and_full_as_their_rows_are) {
  for_each_case([](const Case &c) {
    const SoftmaxMask mask = make(c);
    for (int32_t i0 = 0; i0 < c.nq; ++i0) {
      for (int32_t i1 = i0 + 1; i1 <= c.nq; i1 += i1 - i0) {
        const SoftmaxMask::Keys seen = mask.tile_keys(i0, i1);
        for (int32_t j = 0; j < c.nk; ++j) {
          bool any = false;
          for (int32_t i = i0; i < i1; ++i) any = any || reference::softmax_allowed(c.p, c.nq, c.nk, i, j);
          ASSERT_EQ(seen.contains(j), any) << name(c) << " rows " << i0 << ".." << i1 << " key " << j;
        }
        for (int32_t j0 = 0; j0 < c.nk; ++j0) {
          for (int32_t j1 = j0 + 1; j1 <= c.nk; j1 += 3) {
            int64_t allowed = 0;
            for (int32_t i = i0; i < i1; ++i)
              for (int32_t j = j0; j < j1; ++j) allowed += reference::softmax_allowed(c.p, c.nq, c.nk, i, j);
            const TileMask state = mask.classify(i0, i1, j0, j1);
            ASSERT_EQ(state == TileMask::kEmpty, allowed == 0)
                << name(c) << " rows " << i0 << ".." << i1 << " keys " << j0 << ".." << j1;
            if (state == TileMask::kFull) {
              ASSERT_EQ(allowed, int64_t{i1 - i0} * (j1 - j0))
                  << name(c) << " rows " << i0 << ".." << i1 << " keys " << j0 << ".." << j1;
            }
            if (i1 == i0 + 1) {
              ASSERT_EQ(state == TileMask::kFull, allowed == j1 - j0) << name(c) << " row " << i0 << " keys " << j0 << ".." << j1;
            }
          }
        }
      }
    }
  });
}

// Nothing is masked element by element without need.
TEST(SoftmaxMask, tiles_beside_the_edges_are_full) {
  const SoftmaxMask causal(1000, 1000, -1, 0, 0, 0, 0);
  EXPECT_EQ(causal.classify(512, 640, 448, 512), TileMask::kFull);
  EXPECT_EQ(causal.classify(512, 640, 512, 576), TileMask::kPartial);
  EXPECT_EQ(causal.classify(512, 576, 576, 640), TileMask::kEmpty);

  const SoftmaxMask window(1000, 1000, 255, 0, 64, 0, 0);
  EXPECT_EQ(window.classify(512, 576, 0, 64), TileMask::kFull);  // the sink
  EXPECT_EQ(window.classify(512, 576, 64, 128), TileMask::kEmpty);
  EXPECT_EQ(window.classify(512, 576, 320, 384), TileMask::kFull);

  const SoftmaxMask prefix(1000, 1000, -1, 0, 0, 96, 0);
  EXPECT_EQ(prefix.classify(0, 64, 0, 96), TileMask::kFull);
  EXPECT_EQ(prefix.classify(64, 128, 0, 96), TileMask::kFull);
  EXPECT_EQ(prefix.classify(64, 128, 96, 128), TileMask::kPartial);

  const SoftmaxMask globals(100, 1000, -1, 0, 0, 0, 8);
  EXPECT_EQ(globals.classify(0, 8, 0, 1000), TileMask::kFull);
  EXPECT_EQ(globals.classify(0, 64, 896, 960), TileMask::kPartial);
  EXPECT_EQ(globals.classify(0, 64, 832, 896), TileMask::kFull);

  const SoftmaxMask more_queries(1000, 100, -1, 0, 0, 0, 0);
  EXPECT_EQ(more_queries.classify(0, 900, 0, 100), TileMask::kEmpty);
  EXPECT_EQ(more_queries.classify(999, 1000, 0, 100), TileMask::kFull);
}

TEST(T5Buckets, equal_the_formula_at_every_distance) {
  struct Parameters {
    int32_t num_buckets, max_distance;
    bool bidirectional;
  };
  for (const Parameters &p : {Parameters{32, 128, true}, {32, 128, false}, {4, 2, true}, {2, 2, false}, {3, 5, false}, {6, 9, true},
                              {320, 800, true}, {64, 256, true}, {1024, 4096, true}, {1024, 1048576, false}, {33, 77, false}}) {
    const T5Buckets table = T5Buckets::make(p.num_buckets, p.max_distance, p.bidirectional);
    for (int32_t r = -5000; r <= 5000; ++r) {
      ASSERT_EQ(table.bucket(r), reference::t5_bucket(r, p.num_buckets, p.max_distance, p.bidirectional))
          << p.num_buckets << ", " << p.max_distance << ", " << p.bidirectional << ": " << r;
    }
    for (const int32_t r : {131071, 1048575, -131071, -1048575}) {
      ASSERT_EQ(table.bucket(r), reference::t5_bucket(r, p.num_buckets, p.max_distance, p.bidirectional)) << r;
    }
  }
}

// T5's own parameters.
TEST(T5Buckets, known_values) {
  const T5Buckets both = T5Buckets::make(32, 128, true), past = T5Buckets::make(32, 128, false);
  const int32_t relative[] = {-200, -128, -127, -91, -64, -32, -16, -12, -11, -8, -7, -1, 0, 1, 7, 8, 12, 16, 64, 127, 128, 200};
  const int32_t of_both[] = {15, 15, 15, 15, 14, 12, 10, 9, 8, 8, 7, 1, 0, 17, 23, 24, 25, 26, 30, 31, 31, 31};
  const int32_t of_past[] = {31, 31, 31, 29, 26, 21, 16, 12, 11, 8, 7, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
  for (size_t i = 0; i < sizeof relative / sizeof *relative; ++i) {
    EXPECT_EQ(both.bucket(relative[i]), of_both[i]) << relative[i];
    EXPECT_EQ(past.bucket(relative[i]), of_past[i]) << relative[i];
  }
}

}  // namespace
}  // namespace jindou
