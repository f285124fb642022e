// cp.async: when bytes arrive, what stands there before, groups, and copies nobody waits for.
#include <cmath>
#include <cstring>
#include <numeric>

#include "block_test.h"

namespace jindou::simt {
namespace {

class AsyncCopy : public ::testing::Test {
 protected:
  AsyncCopy() { std::iota(data_, data_ + 256, 1); }
  alignas(16) uint32_t data_[256];
};

constexpr uint32_t kPoison = 0xffffffffu;

Options completing(Completion completion, uint64_t seed = 1) {
  Options options = seeded(seed);
  options.completion = completion;
  return options;
}

TEST_F(AsyncCopy, lazy_copies_land_at_the_wait_and_the_target_is_poisoned_until_then) {
  run_block<32, 512>([&](char *shared) {
    auto *mine = reinterpret_cast<uint32_t *>(shared) + 4 * prim::lane_id();
    prim::store_shared16(mine, {9, 9, 9, 9});
    prim::cp_async_16(mine, data_ + 4 * prim::lane_id());
    EXPECT_EQ(mine[0], kPoison);
    EXPECT_EQ(mine[3], kPoison);
    prim::cp_async_commit();
    prim::sync_threads();
    EXPECT_EQ(mine[0], kPoison);
    prim::cp_async_wait<0>();
    for (int i = 0; i < 4; ++i) EXPECT_EQ(mine[i], data_[4 * prim::lane_id() + i]);
  }, completing(Completion::lazy));
}

TEST_F(AsyncCopy, eager_copies_land_at_once) {
  run_block<32, 512>([&](char *shared) {
    auto *mine = reinterpret_cast<uint32_t *>(shared) + 4 * prim::lane_id();
    prim::cp_async_16(mine, data_ + 4 * prim::lane_id());
    EXPECT_EQ(mine[3], data_[4 * prim::lane_id() + 3]);
    prim::cp_async_commit();
    prim::cp_async_wait<0>();
  }, completing(Completion::eager));
}

TEST_F(AsyncCopy, random_copies_land_now_or_later_but_by_the_wait) {
  int early = 0, late = 0;
  for (uint64_t seed = 0; seed < 8; ++seed) {
    run_block<32, 512>([&](char *shared) {
      auto *mine = reinterpret_cast<uint32_t *>(shared) + 4 * prim::lane_id();
      prim::cp_async_16(mine, data_ + 4 * prim::lane_id());
      prim::cp_async_commit();
      ++(mine[0] == kPoison ? late : early);
      prim::cp_async_wait<0>();
      EXPECT_EQ(mine[0], data_[4 * prim::lane_id()]);
    }, completing(Completion::random, seed));
  }
  EXPECT_GT(early, 30);
  EXPECT_GT(late, 30);
}

TEST_F(AsyncCopy, wait_leaves_the_latest_groups_on_their_way) {
  run_block<32, 32 * 64>([&](char *shared) {
    auto *mine = reinterpret_cast<uint32_t *>(shared) + 16 * prim::lane_id();
    for (int g = 0; g < 4; ++g) {
      prim::cp_async_16(mine + 4 * g, data_ + 4 * g);
      prim::cp_async_commit();
    }
    const auto landed = [&](int g) { return mine[4 * g] == data_[4 * g]; };
    prim::cp_async_wait<4>();
    EXPECT_FALSE(landed(0));
    prim::cp_async_wait<2>();
    EXPECT_TRUE(landed(0) && landed(1));
    EXPECT_FALSE(landed(2) || landed(3));
    prim::cp_async_wait<2>();
    EXPECT_FALSE(landed(2));
    prim::cp_async_commit();  // an empty group counts
    prim::cp_async_wait<2>();
    EXPECT_TRUE(landed(2));
    EXPECT_FALSE(landed(3));
    prim::cp_async_wait<0>();
    EXPECT_TRUE(landed(3));
  });
}

TEST_F(AsyncCopy, a_long_pipeline) {
  for (const Completion completion : {Completion::lazy, Completion::eager, Completion::random}) {
    run_block<32, 32 * 64>([&](char *shared) {
      auto *mine = reinterpret_cast<uint32_t *>(shared) + 16 * prim::lane_id();
      for (int i = 0; i < 3; ++i) {
        prim::cp_async_16(mine + 4 * i, data_ + 4 * i);
        prim::cp_async_commit();
      }
      for (int i = 0; i < 300; ++i) {
        prim::cp_async_wait<2>();
        ASSERT_EQ(mine[4 * (i % 4)], data_[4 * (i % 64)]);
        if (i + 3 < 300) prim::cp_async_16(mine + 4 * ((i + 3) % 4), data_ + 4 * ((i + 3) % 64));
        prim::cp_async_commit();
      }
    }, completing(completion));
  }
}

TEST_F(AsyncCopy, without_predicate_zeros_are_written_and_nothing_is_read) {
  for (const Completion completion : {Completion::lazy, Completion::eager, Completion::random}) {
    run_block<32, 512>([&](char *shared) {
      auto *mine = reinterpret_cast<uint32_t *>(shared) + 4 * prim::lane_id();
      prim::cp_async_16(mine, nullptr, false);
      prim::cp_async_commit();
      prim::cp_async_wait<0>();
      for (int i = 0; i < 4; ++i) EXPECT_EQ(mine[i], 0u);
    }, completing(completion));
  }
}

TEST_F(AsyncCopy, narrow_copies) {
  run_block<32, 512>([&](char *shared) {
    auto *mine = reinterpret_cast<uint32_t *>(shared) + 4 * prim::lane_id();
    prim::cp_async_8(mine, data_ + 2);
    prim::cp_async_4(mine + 2, data_ + 7);
    prim::cp_async_4(mine + 3, data_, false);
    prim::cp_async_commit();
    EXPECT_EQ(mine[1], kPoison);
    prim::cp_async_wait<0>();
    EXPECT_EQ(mine[0], data_[2]);
    EXPECT_EQ(mine[1], data_[3]);
    EXPECT_EQ(mine[2], data_[7]);
    EXPECT_EQ(mine[3], 0u);
  });
}

TEST_F(AsyncCopy, a_copy_that_nobody_waits_for_is_reported) {
  for (const Completion completion : {Completion::lazy, Completion::eager, Completion::random}) {
    for (const bool commit : {false, true}) {
      int line = 0;
      const std::string error = error_of<32, 512>([&](char *shared) {
        line = __LINE__ + 1;
        prim::cp_async_16(shared + 16 * prim::lane_id(), data_);
        if (commit) prim::cp_async_commit();
        prim::cp_async_wait<1>();
      }, completing(completion));
      EXPECT_TRUE(has(error, "without waiting for its cp_async")) << error;
      EXPECT_TRUE(has(error, "async_copy_test.cpp:" + std::to_string(line))) << error;
    }
  }
}

TEST_F(AsyncCopy, empty_groups_need_no_wait) {
  run_block<32, 512>([&](char *) {
    prim::cp_async_commit();
    prim::cp_async_commit();
  });
}

TEST_F(AsyncCopy, bad_addresses_are_reported) {
  const auto error = [&](auto issue) { return error_of<32, 256>([&](char *shared) { issue(shared); }); };
  EXPECT_TRUE(has(error([&](char *s) { prim::cp_async_16(s + 8, data_); }), "not aligned to 16"));
  EXPECT_TRUE(has(error([&](char *s) { prim::cp_async_16(s, data_ + 1); }), "not aligned to 16"));
  EXPECT_TRUE(has(error([&](char *s) { prim::cp_async_8(s + 4, data_); }), "not aligned to 8"));
  EXPECT_TRUE(has(error([&](char *s) { prim::cp_async_4(s + 2, data_); }), "not aligned to 4"));
  EXPECT_TRUE(has(error([&](char *s) { prim::cp_async_16(s + 256, data_); }), "byte 256"));
  EXPECT_TRUE(has(error([&](char *) { prim::cp_async_16(data_, data_); }), "of shared memory"));
}

}  // namespace
}  // namespace jindou::simt
