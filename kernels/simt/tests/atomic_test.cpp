// Atomics: values, what they return, and locks made of them.
#include <algorithm>
#include <limits>

#include "block_test.h"

namespace jindou::simt {
namespace {

template <class T>
void read_modify_write() {
  for (const uint64_t seed : {0, 1, 2}) {
    for (const int os_threads : {1, 2}) {
      Options options = seeded(seed);
      options.os_threads = os_threads;
      constexpr int kCount = 4 * 64;
      T sum = 5, low = 1000, high = 0, bits_or = 0, bits_and = static_cast<T>(~T{0});
      std::vector<T> before(kCount);
      run_grid<64>({4, 1, 1}, [&](char *) {
        const auto i = prim::block_idx().x * 64 + prim::thread_idx().x;
        before[i] = prim::atomic_add(&sum, 3);
        prim::atomic_min(&low, static_cast<T>(2 + i));
        prim::atomic_max(&high, static_cast<T>(i));
        prim::atomic_or(&bits_or, static_cast<T>(1) << (i % 20));
        prim::atomic_and(&bits_and, static_cast<T>(~(T{1} << (i % 20))));
      }, options);
      EXPECT_EQ(sum, static_cast<T>(5 + 3 * kCount));
      EXPECT_EQ(low, static_cast<T>(2));
      EXPECT_EQ(high, static_cast<T>(kCount - 1));
      EXPECT_EQ(bits_or, static_cast<T>(0xfffff));
      EXPECT_EQ(bits_and, static_cast<T>(~T{0xfffff}));
      std::sort(before.begin(), before.end());
      for (int i = 0; i < kCount; ++i) EXPECT_EQ(before[i], static_cast<T>(5 + 3 * i));
    }
  }
}

TEST(Atomic, read_modify_write_i32) { read_modify_write<int32_t>(); }
TEST(Atomic, read_modify_write_u32) { read_modify_write<uint32_t>(); }
TEST(Atomic, read_modify_write_i64) { read_modify_write<int64_t>(); }
TEST(Atomic, read_modify_write_u64) { read_modify_write<uint64_t>(); }
TEST(Atomic, read_modify_write_unsigned_long_long) { read_modify_write<unsigned long long>(); }

TEST(Atomic, min_and_max_know_the_sign) {
  run_block<32>([](char *) {
    int32_t s = 0;
    prim::atomic_min(&s, -1);
    EXPECT_EQ(s, -1);
    EXPECT_EQ(prim::atomic_max(&s, 5), -1);
    uint32_t u = 1;
    prim::atomic_max(&u, 0x80000000u);
    EXPECT_EQ(u, 0x80000000u);
    int64_t w = std::numeric_limits<int64_t>::min();
    prim::atomic_max(&w, -1);
    EXPECT_EQ(w, -1);
  });
}

TEST(Atomic, exchange_and_compare_and_swap_return_the_old_value) {
  run_block<32>([](char *) {
    uint32_t x = 7;
    EXPECT_EQ(prim::atomic_exch(&x, 8u), 7u);
    EXPECT_EQ(prim::atomic_cas(&x, 9u, 10u), 8u);
    EXPECT_EQ(x, 8u);
    EXPECT_EQ(prim::atomic_cas(&x, 8u, 10u), 8u);
    EXPECT_EQ(x, 10u);
  });
}

TEST(Atomic, in_shared_memory) {
  for (const uint64_t seed : kSeeds) {
    run_block<128, 64>([](char *shared) {
      auto *count = reinterpret_cast<uint32_t *>(shared);
      if (prim::thread_idx().x == 0) *count = 0;
      prim::sync_threads();
      prim::atomic_add(count, 1);
      prim::sync_threads();
      EXPECT_EQ(*count, 128u);
    }, seeded(seed));
  }
}

// A holder that lets others run in the middle of the critical section, so that they must spin.
TEST(Atomic, a_spin_lock_excludes_and_makes_progress) {
  for (const uint64_t seed : kSeeds) {
    for (const int os_threads : {1, 2}) {
      Options options = seeded(seed);
      options.os_threads = os_threads;
      uint32_t lock = 0;
      int inside = 0, entries = 0;
      run_grid<64>({4, 1, 1}, [&](char *) {
        for (bool done = false; !done;) {
          if (prim::atomic_cas(&lock, 0u, 1u) != 0u) continue;
          prim::threadfence();
          EXPECT_EQ(++inside, 1);
          for (int i = 0; i < 4; ++i) prim::threadfence();
          --inside;
          ++entries;
          prim::threadfence();
          prim::atomic_exch(&lock, 0u);
          done = true;
        }
      }, options);
      EXPECT_EQ(entries, 256);
    }
  }
}

TEST(Atomic, a_flag_passes_from_thread_to_thread) {
  for (const uint64_t seed : kSeeds) {
    uint64_t flag = 0;
    std::vector<int> data(64, -1);
    run_block<64>([&](char *) {
      const uint64_t t = prim::thread_idx().x;
      while (prim::load_acquire(&flag) != t) {
      }
      if (t > 0) {
        EXPECT_EQ(data[t - 1], static_cast<int>(t) - 1);
      }
      data[t] = static_cast<int>(t);
      prim::store_release(&flag, t + 1);
    }, seeded(seed));
  }
}

}  // namespace
}  // namespace jindou::simt
