// The primitives of sm_90, one by one: mbarriers, tensor copies, products of warpgroups, and what is reported about them.
#include <algorithm>
#include <cstring>
#include <numeric>
#include <random>

#include "block_test.h"
#include "simt/runtime/tensor_copies.h"

namespace jindou::simt {
namespace {

constexpr int kMore = 64;  // shared memory for mbarriers

prim::Mbarrier *barriers_at(char *shared, size_t offset) { return reinterpret_cast<prim::Mbarrier *>(shared + offset); }

// By thread 0, then all.
void init(prim::Mbarrier *barrier, int count) {
  if (prim::thread_idx().x == 0) {
    prim::mbarrier_init(barrier, count);
    prim::fence_mbarrier_init();
  }
  prim::sync_threads();
}

// -- mbarriers -----------------------------------------------------------------------------------------------------------------
TEST(Mbarrier, phases_complete_when_all_have_arrived) {
  for (const uint64_t seed : kSeeds) {
    int arrived = 0;
    run_block<128, kMore>([&](char *shared) {
      prim::Mbarrier *b = barriers_at(shared, 0);
      init(b, 64);
      prim::mbarrier_wait(b, 1);  // before phase 0 that of odd parity counts as complete
      prim::sync_threads();
      for (int phase = 0; phase < 3; ++phase) {
        if (prim::thread_idx().x < 64) {
          ++arrived;
          prim::mbarrier_arrive(b);
        }
        prim::mbarrier_wait(b, static_cast<uint32_t>(phase % 2));
        EXPECT_GE(arrived, 64 * (phase + 1));
        prim::sync_threads();
      }
    }, seeded(seed));
    EXPECT_EQ(arrived, 192);
  }
}

TEST(Mbarrier, a_wait_that_never_ends_is_reported_with_what_lacks) {
  const std::string error = error_of<32, kMore>([](char *shared) {
    prim::Mbarrier *b = barriers_at(shared, 16);
    init(b, 3);
    if (prim::lane_id() < 2) prim::mbarrier_arrive(b);
    prim::mbarrier_wait(b, 0);
  });
  EXPECT_TRUE(has(error, "deadlock")) << error;
  EXPECT_TRUE(has(error, "mbarrier at byte 16: phase 0 lacks 1 of 3 arrivals and 0 bytes")) << error;
  EXPECT_TRUE(has(error, "hopper_test.cpp")) << error;
}

TEST(Mbarrier, misuse_is_reported) {
  EXPECT_TRUE(has(error_of<32, kMore>([](char *s) { prim::mbarrier_arrive(barriers_at(s, 0)); }), "no mbarrier_init"));
  EXPECT_TRUE(has(error_of<32, kMore>([](char *s) {
    if (prim::lane_id() == 0) prim::mbarrier_init(barriers_at(s, 0), 1);
    prim::sync_warp();
    prim::mbarrier_arrive(barriers_at(s, 0));
  }), "no barrier since thread 0's mbarrier_init"));
  EXPECT_TRUE(has(error_of<32, kMore>([](char *s) { prim::mbarrier_init(barriers_at(s, 4), 1); }), "not aligned to 8"));
  EXPECT_TRUE(has(error_of<32, kMore>([](char *s) { prim::mbarrier_init(barriers_at(s, 0), 0); }), "count of 0"));
}

// -- elect_one -----------------------------------------------------------------------------------------------------------------
TEST(ElectOne, is_true_for_one_lane_and_always_the_same) {
  for (const uint64_t seed : kSeeds) {
    int elected[32] = {};
    run_block<32>([&](char *) {
      for (int i = 0; i < 5; ++i) elected[prim::lane_id()] += prim::elect_one() ? 1 : 0;
    }, seeded(seed));
    EXPECT_EQ(std::accumulate(elected, elected + 32, 0), 5);
    EXPECT_EQ(*std::max_element(elected, elected + 32), 5);
  }
}

// -- tensor copies ---------------------------------------------------------------------------------------------------------------
// A tensor [3 heads][37 tokens][128 columns] that is stored [token][head][column], boxes of 16 tokens x 128 columns.
class TensorCopies : public ::testing::Test {
 protected:
  static constexpr int kTokens = 37, kHeads = 3, kColumns = 128, kBox = 16, kBytes = kBox * kColumns * 2;

  TensorCopies() : data_(kTokens * kHeads * kColumns / 8) {
    for (int i = 0; i < kTokens * kHeads * kColumns; ++i) data_[i / 8].x[i % 8] = static_cast<uint16_t>(i + 1);
    map_ = encode_tensor_map({data_.data(),
                              {64, kTokens, kColumns / 64, kHeads},
                              {kHeads * kColumns * 2, 128, kColumns * 2},
                              {64, kBox, kColumns / 64, 1}});
  }
  uint16_t at(int token, int head, int column) const {
    if (token < 0 || token >= kTokens) return 0;
    const int i = (token * kHeads + head) * kColumns + column;
    return data_[i / 8].x[i % 8];
  }
  static uint16_t in_box(const char *box, int row, int column) {
    uint16_t value;
    memcpy(&value, box + column / 64 * kBox * 128 + row * 128 + ((column % 64 / 8) ^ row % 8) * 16 + column % 8 * 2, 2);
    return value;
  }

  struct alignas(16) Chunk {
    uint16_t x[8];
  };
  std::vector<Chunk> data_;
  prim::TensorMap map_;
};

TEST_F(TensorCopies, bring_swizzled_panels_and_zeros_from_outside) {
  for (const Completion completion : {Completion::lazy, Completion::eager, Completion::random}) {
    for (const int first : {0, 5, 30, -3, 37}) {
      Options options = seeded(3);
      options.completion = completion;
      run_block<32, kBytes + kMore>([&](char *shared) {
        prim::Mbarrier *b = barriers_at(shared, kBytes);
        init(b, 1);
        if (prim::elect_one()) {
          prim::mbarrier_arrive_expect(b, kBytes);
          prim::tensor_copy(shared, map_, 0, first, 0, 2, b);
        }
        prim::mbarrier_wait(b, 0);
        for (int row = 0; row < kBox; ++row) {
          for (int column = prim::lane_id(); column < kColumns; column += 32)
            ASSERT_EQ(in_box(shared, row, column), at(first + row, 2, column)) << first << " " << row << " " << column;
        }
      }, options);
    }
  }
}

TEST_F(TensorCopies, land_when_somebody_waits_and_the_target_is_poisoned_until_then) {
  run_block<64, 2 * kBytes + kMore>([&](char *shared) {
    prim::Mbarrier *b = barriers_at(shared, 2 * kBytes);
    init(b, 1);
    prim::Mbarrier *other = b + 1;
    init(other, 1);
    if (prim::thread_idx().x == 0) {
      prim::mbarrier_arrive_expect(b, kBytes);
      prim::tensor_copy(shared, map_, 0, 0, 0, 0, b);
      prim::mbarrier_arrive_expect(other, kBytes);
      prim::tensor_copy(shared + kBytes, map_, 0, 0, 0, 0, other);
    }
    prim::sync_threads();
    EXPECT_EQ(in_box(shared, 3, 7), 0xffff);
    prim::mbarrier_wait(other, 0);
    EXPECT_EQ(in_box(shared + kBytes, 3, 7), at(3, 0, 7));
    EXPECT_EQ(in_box(shared, 3, 7), 0xffff);
    prim::sync_threads();
    prim::mbarrier_wait(b, 0);
    EXPECT_EQ(in_box(shared, 3, 7), at(3, 0, 7));
  });
}

TEST_F(TensorCopies, misuse_is_reported) {
  const auto error = [&](int offset, bool fences, const prim::TensorMap &map) {
    return error_of<32, 2 * kBytes + kMore>([&](char *shared) {
      prim::Mbarrier *b = barriers_at(shared, 2 * kBytes);
      if (prim::lane_id() == 0) {
        prim::mbarrier_init(b, 1);
        if (fences) prim::fence_mbarrier_init();
        prim::mbarrier_arrive_expect(b, kBytes);
        prim::tensor_copy(shared + offset, map, 0, 0, 0, 0, b);
      }
    });
  };
  EXPECT_TRUE(has(error(0, true, map_), "ended while a tensor_copy"));
  EXPECT_TRUE(has(error(128, true, map_), "not aligned to 1024"));
  EXPECT_TRUE(has(error(0, false, map_), "no fence_mbarrier_init"));
  EXPECT_TRUE(has(error(0, true, prim::TensorMap{}), "no tensor map"));
  EXPECT_TRUE(has(error(2048, true, map_), "ended while")) << error(2048, true, map_);
  EXPECT_TRUE(has(error(kBytes + 1024, true, map_), "of shared memory"));
}

TEST(TensorGeometry, what_can_be_described) {
  alignas(16) char data[16];
  const prim::TensorGeometry good{data, {64, 1, 1, 1}, {128, 128, 16}, {64, 256, 1, 1}};
  EXPECT_TRUE(prim::is_describable(good));
  const auto with = [&](auto change) {
    prim::TensorGeometry g = good;
    change(g);
    return prim::is_describable(g);
  };
  EXPECT_FALSE(with([&](auto &g) { g.data = data + 8; }));
  EXPECT_FALSE(with([](auto &g) { g.data = nullptr; }));
  EXPECT_FALSE(with([](auto &g) { g.sizes[1] = 0; }));
  EXPECT_FALSE(with([](auto &g) { g.strides[1] = 8; }));
  EXPECT_FALSE(with([](auto &g) { g.strides[2] = uint64_t{1} << 40; }));
  EXPECT_FALSE(with([](auto &g) { g.box[1] = 257; }));
  EXPECT_FALSE(with([](auto &g) { g.box[0] = 32; }));
}

// -- products --------------------------------------------------------------------------------------------------------------------
// D = A B + D0 for 64 x N x 64, integers: exact.
template <int kN, bool kColumns, bool kRegisters>
void expect_product(const Options &options) {
  std::mt19937 random(7);
  std::vector<float> a(64 * 64), b(static_cast<size_t>(kN) * 64);
  for (float &x : a) x = static_cast<float>(static_cast<int>(random() % 9) - 4);
  for (float &x : b) x = static_cast<float>(static_cast<int>(random() % 9) - 4);  // [k][n] or [n][k]
  const auto b_at = [&](int k, int n) { return b[static_cast<size_t>(kColumns ? k * kN + n : n * 64 + k)]; };
  run_block<128, 64 * 128 + kN * 128>([&](char *shared) {
    const int t = static_cast<int>(prim::thread_idx().x), g = t % 32 / 4, q = t % 4;
    char *right = shared + 64 * 128;
    const auto place = [](char *to, int rows, int row, int column, const float *x) {
      prim::store_shared16(to + column / 64 * rows * 128 + row * 128 + (column % 64 / 8 ^ row % 8) * 16,
                           {prim::pack_bf16x2(x[0], x[1]), prim::pack_bf16x2(x[2], x[3]), prim::pack_bf16x2(x[4], x[5]),
                            prim::pack_bf16x2(x[6], x[7])});
    };
    for (int i = t; i < 64 * 8; i += 128) place(shared, 64, i / 8, i % 8 * 8, &a[static_cast<size_t>(i) * 8]);
    for (int i = t; i < kN * 8; i += 128) {
      if (kColumns) {
        place(right, 64, i / (kN / 8), i % (kN / 8) * 8, &b[static_cast<size_t>(i) * 8]);
      } else {
        place(right, kN, i / 8, i % 8 * 8, &b[static_cast<size_t>(i) * 8]);
      }
    }
    prim::fence_proxy_async();
    prim::sync_threads();
    float d[kN / 2];
    for (int i = 0; i < kN / 2; ++i) d[i] = static_cast<float>(i);
    prim::wgmma_fence();
    for (int k = 0; k < 4; ++k) {
      constexpr prim::Operand kRight = kColumns ? prim::Operand::columns : prim::Operand::rows;
      const prim::MatrixOperand from = kColumns ? prim::column_operand(right, 64 * 128) + k * 2048 : prim::row_operand(right) + k * 32;
      if constexpr (kRegisters) {
        const float *row = &a[static_cast<size_t>((t / 32 * 16 + g) * 64 + k * 16 + 2 * q)];
        const uint32_t registers[4] = {prim::pack_bf16x2(row[0], row[1]), prim::pack_bf16x2(row[8 * 64], row[8 * 64 + 1]),
                                       prim::pack_bf16x2(row[8], row[9]), prim::pack_bf16x2(row[8 * 64 + 8], row[8 * 64 + 9])};
        prim::wgmma_bf16<kRight>(d, registers, from, true);
      } else {
        prim::wgmma_bf16<kRight>(d, prim::row_operand(shared) + k * 32, from, true);
      }
    }
    prim::wgmma_commit();
    prim::wgmma_wait<0>();
    for (int i = 0; i < kN / 2; ++i) {
      const int row = t / 32 * 16 + g + i % 4 / 2 * 8, column = i / 4 * 8 + 2 * q + i % 2;
      float sum = static_cast<float>(i);
      for (int k = 0; k < 64; ++k) sum += a[static_cast<size_t>(row * 64 + k)] * b_at(k, column);
      ASSERT_EQ(d[i], sum) << "row " << row << " column " << column;
    }
  }, options);
}

TEST(Wgmma, multiplies_every_form_at_every_moment) {
  for (const Completion completion : {Completion::lazy, Completion::eager, Completion::random}) {
    Options options = seeded(4);
    options.completion = completion;
    expect_product<64, false, false>(options);
    expect_product<64, true, false>(options);
    expect_product<64, true, true>(options);
    expect_product<128, false, false>(options);
    expect_product<128, true, true>(options);
    expect_product<256, false, true>(options);
    expect_product<256, true, true>(options);
  }
}

// A block of `kThreads` in which body(shared, d) issues products of zeros.
template <int kThreads>
std::string error_of_products(const std::function<void(char *, float (&)[32])> &body) {
  return error_of<kThreads, 16384>([&](char *shared) {
    for (int i = static_cast<int>(prim::thread_idx().x); i < 1024; i += kThreads) prim::store_shared16(shared + i * 16, {0, 0, 0, 0});
    prim::fence_proxy_async();
    if (prim::thread_idx().x == 0) prim::mbarrier_init(barriers_at(shared, 16376), 1);
    prim::sync_threads();
    float d[32] = {};
    body(shared, d);
  });
}

void multiply(float (&d)[32], const char *shared) {
  prim::wgmma_bf16<prim::Operand::rows>(d, prim::row_operand(shared), prim::row_operand(shared), false);
}

TEST(Wgmma, sums_are_poison_until_waited_for_group_by_group) {
  const std::string error = error_of_products<128>([](char *shared, float (&d)[32]) {
    float e[32] = {};
    prim::wgmma_fence();
    multiply(d, shared);
    prim::wgmma_commit();
    multiply(e, shared);
    prim::wgmma_commit();
    EXPECT_TRUE(d[0] != d[0] && e[5] != e[5]);
    prim::wgmma_wait<1>();
    EXPECT_TRUE(d[0] == 0.0f && e[5] != e[5]);
    prim::wgmma_wait<0>();
    EXPECT_TRUE(e[5] == 0.0f);
  });
  EXPECT_EQ(error, "");
}

TEST(Wgmma, misuse_is_reported) {
  const auto error = [](auto body) { return error_of_products<128>(body); };
  EXPECT_TRUE(has(error([](char *s, float (&d)[32]) { multiply(d, s); }), "without a wgmma_fence"));
  EXPECT_TRUE(has(error([](char *s, float (&d)[32]) {
    prim::wgmma_fence();
    multiply(d, s);
    prim::wgmma_commit();
  }), "returned without waiting for its wgmma"));
  EXPECT_TRUE(has(error([](char *s, float (&d)[32]) {
    prim::wgmma_fence();
    multiply(d, s + 512);
    prim::wgmma_commit();
    prim::wgmma_wait<0>();
  }), "does not begin with a group of 8 rows"));
  EXPECT_TRUE(has(error([](char *s, float (&d)[32]) {
    prim::wgmma_fence();
    multiply(d, s + 15360);
    prim::wgmma_commit();
    prim::wgmma_wait<0>();
  }), "outside of shared memory"));
  EXPECT_TRUE(has(error([](char *s, float (&d)[32]) {
    if (prim::thread_idx().x == 5) prim::store_shared16(s, {1, 1, 1, 1});
    prim::sync_threads();
    prim::wgmma_fence();
    multiply(d, s);
    prim::wgmma_commit();
    prim::wgmma_wait<0>();
  }), "without a fence_proxy_async"));
  EXPECT_TRUE(has(error([](char *s, float (&d)[32]) {
    prim::wgmma_fence();
    if (prim::warp_id() != 2) multiply(d, s);
    prim::wgmma_commit();
    prim::wgmma_wait<0>();
  }), "waiting for products the other warps of its warpgroup have not issued"));
  EXPECT_TRUE(has(error([](char *s, float (&d)[32]) {
    prim::wgmma_fence();
    multiply(d, s + (prim::warp_id() == 1 ? 1024 : 0));
    prim::wgmma_commit();
    prim::wgmma_wait<0>();
  }), "another warp of the warpgroup had a different one"));
}

TEST(Wgmma, writing_sums_in_flight_is_reported) {
  const std::string error = error_of_products<128>([](char *shared, float (&d)[32]) {
    prim::wgmma_fence();
    multiply(d, shared);
    prim::wgmma_commit();
    d[1] = 3.0f;
    prim::wgmma_wait<0>();
  });
  EXPECT_TRUE(has(error, "written while a product was on its way")) << error;
}

}  // namespace
}  // namespace jindou::simt
