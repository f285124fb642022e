// Indices and grids: every thread of every block runs once, and knows which it is.
#include <set>
#include <tuple>

#include "block_test.h"

namespace jindou::simt {
namespace {

TEST(Index, every_thread_of_every_block_runs_once) {
  for (const uint64_t seed : kSeeds) {
    for (const int os_threads : {1, 3}) {
      Options options = seeded(seed);
      options.os_threads = os_threads;
      std::vector<int> runs(3 * 5 * 2 * 96);
      run_grid<96>({3, 5, 2}, [&](char *) {
        const prim::Dim3 block = prim::block_idx();
        EXPECT_EQ(prim::grid_dim().x, 3u);
        EXPECT_EQ(prim::grid_dim().y, 5u);
        EXPECT_EQ(prim::grid_dim().z, 2u);
        EXPECT_EQ(prim::block_dim().x, 96u);
        EXPECT_EQ(prim::block_dim().y, 1u);
        EXPECT_EQ(prim::block_dim().z, 1u);
        EXPECT_EQ(prim::lane_id(), static_cast<int>(prim::thread_idx().x % 32));
        EXPECT_EQ(prim::warp_id(), static_cast<int>(prim::thread_idx().x / 32));
        EXPECT_EQ(prim::thread_idx().y + prim::thread_idx().z, 0u);
        ++runs[((block.z * 5 + block.y) * 3 + block.x) * 96 + prim::thread_idx().x];
      }, options);
      for (const int n : runs) ASSERT_EQ(n, 1);
    }
  }
}

TEST(Index, shuffled_blocks_are_a_permutation) {
  for (const uint32_t blocks : {1u, 2u, 7u, 12u, 100u, 1009u}) {
    for (uint64_t seed = 1; seed < 20; ++seed) {
      std::set<uint32_t> seen;
      run_grid<32>({blocks, 1, 1}, [&](char *) {
        if (prim::thread_idx().x == 0) seen.insert(prim::block_idx().x);
      }, seeded(seed));
      ASSERT_EQ(seen.size(), blocks);
    }
  }
}

TEST(Index, an_empty_grid_runs_nothing) {
  run_grid<32>({0, 1, 1}, [](char *) { FAIL(); });
  run_grid<32>({1, 0, 1}, [](char *) { FAIL(); });
  run_grid<32>({1, 1, 0}, [](char *) { FAIL(); });
}

TEST(Index, a_grid_past_the_hardware_limits_is_an_error) {
  EXPECT_THROW(run_grid<32>({1, 65536, 1}, [](char *) {}), Error);
  EXPECT_THROW(run_grid<32>({0x80000000u, 1, 1}, [](char *) {}), Error);
}

TEST(Index, seeds_give_different_orders_and_each_is_repeatable) {
  const auto order_of = [](uint64_t seed) {
    std::vector<uint32_t> order;
    run_block<128>([&](char *) { order.push_back(prim::thread_idx().x); }, seeded(seed));
    return order;
  };
  std::set<std::vector<uint32_t>> orders;
  for (const uint64_t seed : kSeeds) {
    EXPECT_EQ(order_of(seed), order_of(seed));
    orders.insert(order_of(seed));
  }
  EXPECT_EQ(orders.size(), std::size(kSeeds));
  const std::vector<uint32_t> in_order = order_of(0);
  for (uint32_t i = 0; i < 128; ++i) EXPECT_EQ(in_order[i], i);
}

TEST(Index, what_a_block_does_does_not_depend_on_os_threads) {
  const auto orders_of = [](int os_threads) {
    std::vector<std::vector<uint32_t>> orders(8);
    Options options = seeded(5);
    options.os_threads = os_threads;
    run_grid<64>({8, 1, 1}, [&](char *) { orders[prim::block_idx().x].push_back(prim::thread_idx().x); }, options);
    return orders;
  };
  EXPECT_EQ(orders_of(1), orders_of(4));
}

}  // namespace
}  // namespace jindou::simt
