// Shuffles and votes against the PTX ISA's definition of shfl.sync and vote.sync.
#include <random>

#include "block_test.h"

namespace jindou::simt {
namespace {

// PTX ISA, shfl.sync: c holds the segment mask and the clamp value; j is the source lane unless out of range.
int ptx_source(char mode, int lane, int b, int width) {
  const int segment = (32 - width) & 31;
  const int clamp = mode == 'u' ? 0 : 31;
  const int max_lane = (lane & segment) | (clamp & ~segment);
  const int min_lane = lane & segment;
  int j = 0;
  bool in_range = false;
  switch (mode) {
    case 'u': j = lane - b; in_range = j >= max_lane; break;
    case 'd': j = lane + b; in_range = j <= max_lane; break;
    case 'x': j = lane ^ b; in_range = j <= max_lane; break;
    case 'i': j = min_lane | (b & ~segment & 31); in_range = j <= max_lane; break;
  }
  return in_range ? j : lane;
}

TEST(Warp, shuffles_of_every_width_and_distance) {
  for (const uint64_t seed : {0, 1}) {
    for (const int width : {1, 2, 4, 8, 16, 32}) {
      run_block<64>([&](char *) {
        const int lane = prim::lane_id();
        const int base = prim::warp_id() * 1000;
        for (int b = 0; b < 32; ++b) {
          EXPECT_EQ(prim::shfl(base + lane, b, width), base + ptx_source('i', lane, b, width));
          EXPECT_EQ(prim::shfl_up(base + lane, b, width), base + ptx_source('u', lane, b, width));
          EXPECT_EQ(prim::shfl_down(base + lane, b, width), base + ptx_source('d', lane, b, width));
          EXPECT_EQ(prim::shfl_xor(base + lane, b, width), base + ptx_source('x', lane, b, width));
        }
      }, seeded(seed));
    }
  }
}

TEST(Warp, shuffles_move_every_type_of_4_and_8_bytes) {
  run_block<32>([](char *) {
    const int lane = prim::lane_id();
    EXPECT_EQ(prim::shfl(static_cast<float>(lane) + 0.5f, 3), 3.5f);
    EXPECT_EQ(prim::shfl(static_cast<double>(lane) + 0.25, 4), 4.25);
    EXPECT_EQ(prim::shfl(uint64_t{0x100000000u} * static_cast<uint64_t>(lane) + 7, 5), 0x500000007u);
    EXPECT_EQ(prim::shfl(int64_t{-1} - lane, 6), -7);
    EXPECT_EQ(prim::shfl(static_cast<unsigned>(lane), 7), 7u);
    const int array[32] = {};
    EXPECT_EQ(prim::shfl(array + lane, lane), array + lane);
    EXPECT_EQ(prim::shfl(prim::Vec2u{static_cast<uint32_t>(lane), 9}, 8).x, 8u);
  });
}

TEST(Warp, lanes_may_ask_different_lanes) {
  for (const uint64_t seed : kSeeds) {
    run_block<32>([](char *) {
      const int lane = prim::lane_id();
      EXPECT_EQ(prim::shfl(lane * lane, 31 - lane), (31 - lane) * (31 - lane));
    }, seeded(seed));
  }
}

TEST(Warp, a_source_outside_the_mask_gives_a_nan) {
  run_block<32>([](char *) {
    if (prim::lane_id() < 16) {
      EXPECT_NE(prim::shfl(1.0f, 20, 32, 0xffffu), prim::shfl(1.0f, 20, 32, 0xffffu));
    }
  });
}

TEST(Warp, groups_with_masks_of_their_own_do_not_meet) {
  for (const uint64_t seed : kSeeds) {
    run_block<32>([](char *) {
      const int lane = prim::lane_id();
      const int group = lane / 4;
      int sum = lane;
      for (int i = 0; i <= group; ++i) {  // unequally often
        sum = lane;
        for (int d = 1; d < 4; d *= 2) sum += prim::shfl_xor(sum, d, 32, 0xfu << (4 * group));
      }
      EXPECT_EQ(sum, 16 * group + 6);
    }, seeded(seed));
  }
}

TEST(Warp, a_width_that_is_no_power_of_two_is_reported) {
  EXPECT_TRUE(has(error_of<32>([](char *) { prim::shfl(1, 0, 12); }), "width 12"));
}

TEST(Warp, votes) {
  for (const uint64_t seed : kSeeds) {
    std::mt19937 random(11);
    std::vector<uint32_t> predicates(20);
    for (uint32_t &p : predicates) p = random();
    predicates[0] = 0;
    predicates[1] = 0xffffffffu;
    run_block<64>([&](char *) {
      const int lane = prim::lane_id();
      for (const uint32_t p : predicates) {
        const bool mine = (p >> lane & 1u) != 0;
        EXPECT_EQ(prim::ballot(mine), p);
        EXPECT_EQ(prim::any(mine), p != 0);
        EXPECT_EQ(prim::all(mine), p == 0xffffffffu);
        if (lane < 16) {
          EXPECT_EQ(prim::ballot(mine, 0xffffu), p & 0xffffu);
          EXPECT_EQ(prim::any(mine, 0xffffu), (p & 0xffffu) != 0);
          EXPECT_EQ(prim::all(mine, 0xffffu), (p & 0xffffu) == 0xffffu);
        }
      }
      EXPECT_TRUE(prim::active_mask() >> lane & 1u);
    }, seeded(seed));
  }
}

}  // namespace
}  // namespace jindou::simt
