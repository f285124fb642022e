// Vector loads and stores, the shared arena, and what is reported about bad addresses.
#include <cmath>
#include <cstring>

#include "block_test.h"

namespace jindou::simt {
namespace {

TEST(Memory, global_vectors) {
  alignas(16) uint32_t in[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  alignas(16) uint32_t out[24] = {};
  run_block<32>([&](char *) {
    if (prim::thread_idx().x != 0) return;
    prim::store16(out, prim::load16(in));
    prim::store16_streaming(out + 4, prim::load16_streaming(in + 4));
    prim::store8(out + 8, prim::load8(in + 2));
    prim::store4(out + 10, prim::load4(in + 7));
  });
  const uint32_t expected[11] = {1, 2, 3, 4, 5, 6, 7, 8, 3, 4, 8};
  EXPECT_EQ(memcmp(out, expected, sizeof expected), 0);
  EXPECT_EQ(out[11], 0u);
}

TEST(Memory, shared_vectors) {
  run_block<32, 64>([](char *shared) {
    if (prim::thread_idx().x != 0) return;
    prim::store_shared16(shared + 16, {1, 2, 3, 4});
    prim::store_shared8(shared + 40, {5, 6});
    EXPECT_EQ(prim::load_shared16(shared + 16).w, 4u);
    EXPECT_EQ(prim::load_shared8(shared + 16).y, 2u);
    EXPECT_EQ(prim::load_shared8(shared + 40).x, 5u);
  });
}

TEST(Memory, shared_addresses_are_aligned_offsets) {
  run_block<32, 4096>([](char *shared) {
    EXPECT_EQ(reinterpret_cast<uintptr_t>(shared) % 1024, 0u);
    EXPECT_EQ(prim::smem_addr(shared) % 1024, 0u);
    EXPECT_EQ(prim::smem_addr(shared + 100), prim::smem_addr(shared) + 100);
    EXPECT_NE(prim::smem_addr(shared), 0u);
  });
}

TEST(Memory, shared_memory_starts_as_nan_in_every_block) {
  run_grid<64, 4096>({5, 1, 1}, [](char *shared) {
    const auto *values = reinterpret_cast<const float *>(shared);
    for (int i = 0; i < 1024; ++i) ASSERT_TRUE(std::isnan(values[i]));
    ASSERT_TRUE(std::isnan(prim::to_float(prim::f16{reinterpret_cast<const uint16_t *>(shared)[7]})));
    prim::sync_threads();
    if (prim::thread_idx().x == 0) memset(shared, 0, 4096);
  });
}

TEST(Memory, without_poison_shared_memory_is_left_as_it_is) {
  Options options;
  options.poison = false;
  run_grid<32, 64>({2, 1, 1}, [](char *shared) {
    if (prim::block_idx().x == 1) {
      EXPECT_EQ(shared[5], 42);
    }
    prim::sync_threads();
    shared[5] = 42;
  }, options);
}

TEST(Memory, misaligned_global_addresses_are_reported) {
  alignas(16) char data[64] = {};
  for (const uint64_t seed : {0, 1}) {
    EXPECT_TRUE(has(error_of<32>([&](char *) { prim::load16(data + 8); }, seeded(seed)), "load16: address"));
    EXPECT_TRUE(has(error_of<32>([&](char *) { prim::load16_streaming(data + 4); }, seeded(seed)), "not aligned to 16"));
    EXPECT_TRUE(has(error_of<32>([&](char *) { prim::load8(data + 4); }, seeded(seed)), "not aligned to 8"));
    EXPECT_TRUE(has(error_of<32>([&](char *) { prim::load4(data + 2); }, seeded(seed)), "not aligned to 4"));
    EXPECT_TRUE(has(error_of<32>([&](char *) { prim::store16(data + 8, {}); }, seeded(seed)), "store16: address"));
    EXPECT_TRUE(has(error_of<32>([&](char *) { prim::store16_streaming(data + 8, {}); }, seeded(seed)), "not aligned"));
    EXPECT_TRUE(has(error_of<32>([&](char *) { prim::store8(data + 2, {}); }, seeded(seed)), "store8: address"));
    EXPECT_TRUE(has(error_of<32>([&](char *) { prim::store4(data + 1, 0); }, seeded(seed)), "store4: address"));
  }
}

TEST(Memory, bad_shared_addresses_are_reported_with_their_place) {
  alignas(16) char outside[64] = {};
  const auto error = [&](auto access) {
    return error_of<32, 256>([&](char *shared) {
      if (prim::thread_idx().x == 9) access(shared);
    });
  };
  int line = 0;
  const std::string text = error([&](char *shared) {
    line = __LINE__ + 1;
    prim::load_shared16(shared + 256);
  });
  EXPECT_TRUE(has(text, "kernels/simt/tests/memory_test.cpp:" + std::to_string(line) +
                            ": load_shared16: 16 bytes at byte 256 of shared memory, which has 256"))
      << text;
  EXPECT_TRUE(has(text, "thread 9 (warp 0, lane 9)")) << text;
  EXPECT_TRUE(has(error([](char *s) { prim::store_shared16(s + 248, {}); }), "byte 248"));
  EXPECT_TRUE(has(error([](char *s) { prim::store_shared16(s + 8, {}); }), "not aligned to 16"));
  EXPECT_TRUE(has(error([](char *s) { prim::store_shared8(s + 4, {}); }), "not aligned to 8"));
  EXPECT_TRUE(has(error([](char *s) { prim::load_shared8(s - 8); }), "byte -8"));
  EXPECT_TRUE(has(error([&](char *) { prim::load_shared16(outside); }), "of shared memory, which has 256"));
  EXPECT_TRUE(has(error([&](char *) { prim::smem_addr(outside); }), "smem_addr"));
}

#if !defined(__SANITIZE_ADDRESS__)  // which stops the program at the store itself
TEST(Memory, a_plain_store_past_the_arena_is_reported_when_the_block_ends) {
  const std::string error = error_of<32, 100>([](char *shared) {
    if (prim::thread_idx().x == 0) shared[100] = 1;
  });
  EXPECT_TRUE(has(error, "wrote past the end of shared memory, at byte 100 of 100")) << error;
}
#else
TEST(MemoryDeathTest, a_plain_store_past_the_arena_stops_the_program) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH((run_block<32, 100>([](char *shared) {
                 if (prim::thread_idx().x == 0) shared[100] = 1;
               })),
               "use-after-poison");
}
#endif

TEST(MemoryDeathTest, a_primitive_outside_of_a_kernel_stops_the_program) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(prim::sync_threads(), "outside of a kernel");
}

}  // namespace
}  // namespace jindou::simt
