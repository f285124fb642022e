// Barriers: what was written before is seen after, and no thread passes early; and what is reported when they are misused.
#include "block_test.h"

namespace jindou::simt {
namespace {

TEST(Sync, sync_threads_separates_phases) {
  for (const uint64_t seed : kSeeds) {
    std::vector<int> phase(256);
    run_block<256>([&](char *) {
      const auto t = prim::thread_idx().x;
      for (int step = 1; step <= 20; ++step) {
        phase[t] = step;
        prim::sync_threads();
        for (const int p : phase) ASSERT_EQ(p, step);
        prim::sync_threads();
      }
    }, seeded(seed));
  }
}

TEST(Sync, sync_warp_separates_phases_of_a_warp) {
  for (const uint64_t seed : kSeeds) {
    std::vector<int> phase(64);
    run_block<64>([&](char *) {
      const int t = static_cast<int>(prim::thread_idx().x);
      for (int step = 1; step <= 20; ++step) {
        phase[t] = step;
        prim::sync_warp();
        for (int i = t / 32 * 32; i < t / 32 * 32 + 32; ++i) ASSERT_EQ(phase[i], step);
        prim::sync_warp();
      }
    }, seeded(seed));
  }
}

TEST(Sync, sync_warp_of_some_lanes_leaves_the_others_alone) {
  for (const uint64_t seed : kSeeds) {
    std::vector<int> phase(32);
    run_block<32>([&](char *) {
      const int lane = prim::lane_id();
      const int group = lane / 8;
      for (int step = 1; step <= 3 * (group + 1); ++step) {  // groups go around unequally often
        phase[lane] = step;
        prim::sync_warp(0xffu << (8 * group));
        for (int i = 8 * group; i < 8 * group + 8; ++i) ASSERT_EQ(phase[i], step);
        prim::sync_warp(0xffu << (8 * group));
      }
    }, seeded(seed));
  }
}

// Two producer warps fill, two consumer warps read; "full" and "empty" barriers hand the buffer over.
TEST(Sync, named_barriers_hand_a_buffer_over) {
  for (const uint64_t seed : kSeeds) {
    std::vector<int> buffer(64);
    run_block<128>([&](char *) {
      const int t = static_cast<int>(prim::thread_idx().x);
      constexpr int kFull = 1, kEmpty = 2;
      for (int step = 1; step <= 10; ++step) {
        if (t < 64) {
          if (step > 1) prim::named_barrier_sync(kEmpty, 128);
          buffer[t] = step;
          prim::named_barrier_arrive(kFull, 128);
        } else {
          prim::named_barrier_sync(kFull, 128);
          for (const int b : buffer) ASSERT_EQ(b, step);
          if (step < 10) prim::named_barrier_arrive(kEmpty, 128);
        }
      }
    }, seeded(seed));
  }
}

TEST(Sync, named_barriers_of_some_warps_leave_the_others_alone) {
  for (const uint64_t seed : kSeeds) {
    run_block<128>([&](char *) {
      const int pair = prim::warp_id() / 2;
      for (int i = 0; i < 5 * (pair + 1); ++i) prim::named_barrier_sync(1 + pair, 64);
    }, seeded(seed));
  }
}

TEST(Sync, a_deadlock_names_every_place_where_threads_wait) {
  for (const uint64_t seed : kSeeds) {
    int barrier_line = 0, shuffle_line = 0;
    const std::string error = error_of<128>([&](char *) {
      const auto t = prim::thread_idx().x;
      if (t < 64) {
        barrier_line = __LINE__ + 1;
        prim::sync_threads();
      } else if (t < 94) {
        shuffle_line = __LINE__ + 1;
        prim::shfl(t, 0);
      }
    }, seeded(seed));
    EXPECT_TRUE(has(error, "deadlock")) << error;
    EXPECT_TRUE(has(error, "block (0, 0, 0)")) << error;
    EXPECT_TRUE(has(error, "sync_threads at kernels/simt/tests/sync_test.cpp:" + std::to_string(barrier_line) +
                               ": threads 0..63; 64 of 128 arrived"))
        << error;
    EXPECT_TRUE(has(error, "shfl at kernels/simt/tests/sync_test.cpp:" + std::to_string(shuffle_line) + ": threads 64..93"))
        << error;
    EXPECT_TRUE(has(error, "returned: threads 94..127")) << error;
  }
}

TEST(Sync, a_thread_that_returned_before_a_barrier_is_reported) {
  for (const uint64_t seed : kSeeds) {
    const std::string error = error_of<64>([](char *) {
      if (prim::thread_idx().x != 17) prim::sync_threads();
    }, seeded(seed));
    EXPECT_TRUE(has(error, "deadlock") && has(error, "returned: thread 17")) << error;
  }
}

TEST(Sync, a_diverged_warp_at_barriers_in_two_places_is_reported) {
  for (const uint64_t seed : kSeeds) {
    const std::string error = error_of<64>([](char *) {
      if (prim::lane_id() < 16) {
        prim::sync_threads();
      } else {
        prim::sync_threads();
      }
    }, seeded(seed));
    EXPECT_TRUE(has(error, "sync_threads, while lane")) << error;
  }
}

TEST(Sync, lanes_that_meet_in_different_primitives_are_reported) {
  for (const uint64_t seed : kSeeds) {
    const std::string error = error_of<32>([](char *) {
      if (prim::lane_id() == 3) {
        prim::ballot(true);
      } else {
        prim::shfl(1, 0);
      }
    }, seeded(seed));
    EXPECT_TRUE(has(error, "while lane")) << error;
  }
}

TEST(Sync, a_wrong_named_barrier_is_reported) {
  EXPECT_TRUE(has(error_of<64>([](char *) { prim::named_barrier_sync(16, 64); }), "there are 1..15"));
  EXPECT_TRUE(has(error_of<64>([](char *) { prim::named_barrier_sync(0, 64); }), "there are 1..15"));
  EXPECT_TRUE(has(error_of<64>([](char *) { prim::named_barrier_sync(1, 48); }), "whole warps"));
  EXPECT_TRUE(has(error_of<64>([](char *) { prim::named_barrier_sync(1, 96); }), "whole warps"));
  EXPECT_TRUE(has(error_of<96>([](char *) { prim::named_barrier_sync(1, prim::warp_id() == 2 ? 64 : 96); }), "but for"));
  EXPECT_TRUE(has(error_of<64>([](char *) { prim::named_barrier_sync(1 + prim::lane_id() % 2, 64); }), "of its warp"));
}

TEST(Sync, a_caller_outside_its_mask_is_reported) {
  EXPECT_TRUE(has(error_of<32>([](char *) { prim::sync_warp(0x0000ffffu); }), "called by lane"));
}

TEST(Sync, a_loop_that_spins_for_ever_is_reported) {
  uint32_t lock = 1;
  const std::string error = error_of<64>([&](char *) {
    while (prim::atomic_cas(&lock, 0u, 1u) != 0u) {
    }
  }, seeded(1));
  EXPECT_TRUE(has(error, "deadlock") && has(error, "spinning at")) << error;
}

TEST(Sync, an_exception_in_a_kernel_is_reported) {
  EXPECT_TRUE(has(error_of<32>([](char *) { throw std::runtime_error("boom"); }), "threw an exception: boom"));
}

TEST(Sync, the_emulator_is_good_for_another_launch_after_an_error) {
  for (int i = 0; i < 50; ++i) {
    EXPECT_FALSE(error_of<128>([](char *) {
      if (prim::lane_id() != 31) prim::sync_threads();
    }, seeded(static_cast<uint64_t>(i))).empty());
    int sum = 0;
    run_block<128>([&](char *) {
      prim::sync_threads();
      ++sum;
    }, seeded(static_cast<uint64_t>(i)));
    ASSERT_EQ(sum, 128);
  }
}

TEST(Sync, one_bad_block_of_many_is_named) {
  for (const int os_threads : {1, 2}) {
    Options options = seeded(1);
    options.os_threads = os_threads;
    try {
      run_grid<32>({50, 2, 1}, [](char *) {
        if (prim::block_idx().x == 31 && prim::block_idx().y == 1 && prim::lane_id() == 0) return;
        prim::sync_threads();
      }, options);
      FAIL() << "no error";
    } catch (const Error &e) {
      EXPECT_TRUE(has(e.what(), "block (31, 1, 0)")) << e.what();
    }
  }
}

}  // namespace
}  // namespace jindou::simt
