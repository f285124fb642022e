// ldmatrix and mma.m16n8k16 against the tables of the PTX ISA, transcribed element by element.
#include <cstring>
#include <random>

#include "block_test.h"

namespace jindou::simt {
namespace {

// "Matrix Fragments for mma.m16n8k16 with floating point type": groupID = laneid >> 2, threadID_in_group = laneid % 4.
struct Place {
  int row, column;
};
Place place_of_a(int lane, int i) {  // a0..a7
  const int group = lane >> 2, thread = lane % 4;
  const bool upper = (0 <= i && i < 2) || (4 <= i && i < 6);
  return {upper ? group : group + 8, thread * 2 + (i & 1) + (i >= 4 ? 8 : 0)};
}
Place place_of_b(int lane, int i) {  // b0..b3
  return {(lane % 4) * 2 + (i & 1) + (i >= 2 ? 8 : 0), lane >> 2};
}
Place place_of_c(int lane, int i) {  // c0..c3
  return {i < 2 ? lane >> 2 : (lane >> 2) + 8, (lane % 4) * 2 + (i & 1)};
}

template <class T>
struct Tiles {
  uint16_t a[16][16], b[16][8];
  float c[16][8];
  double d[16][8];

  // Integers small enough for every sum to be exact, or fractions.
  explicit Tiles(uint32_t seed, bool exact) {
    std::mt19937 random(seed);
    std::uniform_int_distribution<int> integer(-8, 8);
    std::uniform_real_distribution<float> real(-1.0f, 1.0f);
    const auto value = [&] { return exact ? static_cast<float>(integer(random)) : real(random); };
    for (auto &row : a) for (uint16_t &x : row) x = prim::from_float<T>(value()).bits;
    for (auto &row : b) for (uint16_t &x : row) x = prim::from_float<T>(value()).bits;
    for (auto &row : c) for (float &x : row) x = value();
    for (int i = 0; i < 16; ++i) {
      for (int j = 0; j < 8; ++j) {
        d[i][j] = c[i][j];
        for (int k = 0; k < 16; ++k) {
          d[i][j] += static_cast<double>(prim::to_float(T{a[i][k]})) * static_cast<double>(prim::to_float(T{b[k][j]}));
        }
      }
    }
  }

  void fragments(int lane, uint32_t ra[4], uint32_t rb[2], float rc[4]) const {
    for (int i = 0; i < 8; i += 2) {
      const Place low = place_of_a(lane, i), high = place_of_a(lane, i + 1);
      ra[i / 2] = a[low.row][low.column] | static_cast<uint32_t>(a[high.row][high.column]) << 16;
    }
    for (int i = 0; i < 4; i += 2) {
      const Place low = place_of_b(lane, i), high = place_of_b(lane, i + 1);
      rb[i / 2] = b[low.row][low.column] | static_cast<uint32_t>(b[high.row][high.column]) << 16;
    }
    for (int i = 0; i < 4; ++i) rc[i] = c[place_of_c(lane, i).row][place_of_c(lane, i).column];
  }
};

template <class T>
void mma_multiplies_and_adds() {
  for (const uint64_t seed : kSeeds) {
    for (const bool exact : {true, false}) {
      const Tiles<T> tiles(static_cast<uint32_t>(seed) + 100, exact);
      run_block<64>([&](char *) {
        uint32_t a[4], b[2];
        float d[4];
        tiles.fragments(prim::lane_id(), a, b, d);
        prim::mma_m16n8k16<T>(d, a, b);
        for (int i = 0; i < 4; ++i) {
          const Place p = place_of_c(prim::lane_id(), i);
          // 16 additions of terms up to 1 to a sum below 17.
          ASSERT_NEAR(d[i], tiles.d[p.row][p.column], exact ? 0.0 : 16 * 17 * 0x1p-24);
        }
      }, seeded(seed));
    }
  }
}

TEST(Matrix, mma_bf16_multiplies_and_adds) { mma_multiplies_and_adds<prim::bf16>(); }
TEST(Matrix, mma_f16_multiplies_and_adds) { mma_multiplies_and_adds<prim::f16>(); }

TEST(Matrix, mma_of_a_nan_gives_nans_in_its_row_alone) {
  run_block<32>([](char *) {
    uint32_t a[4] = {0x3f803f80u, 0x3f803f80u, 0x3f803f80u, 0x3f803f80u};
    const uint32_t b[2] = {0, 0};
    float d[4] = {1, 1, 1, 1};
    if (prim::lane_id() == 4 * 3) a[1] |= 0x7fff;  // row 3 + 8
    prim::mma_m16n8k16_bf16(d, a, b);
    const bool nan_row = prim::lane_id() / 4 == 3;
    EXPECT_EQ(d[0], 1.0f);
    EXPECT_EQ(d[2] != d[2], nan_row);
  });
}

// Row i of matrix m is at the address of lane 8m + i; a lane gets of matrix m the elements (lane / 4, 2 (lane % 4)) and the
// next, of the matrix or, with .trans, of its transpose.
template <int kMatrices, bool kTranspose>
void ldmatrix_loads() {
  for (const uint64_t seed : kSeeds) {
    uint16_t element[4][8][8];
    uint16_t next = 1;
    for (auto &matrix : element) for (auto &row : matrix) for (uint16_t &x : row) x = next++;
    std::vector<int> slot(32);  // rows lie anywhere
    for (int i = 0; i < 32; ++i) slot[i] = (i * 13 + 5) % 32;
    run_block<32, 32 * 16>([&](char *shared) {
      const int lane = prim::lane_id();
      if (lane < 8 * kMatrices) memcpy(shared + 16 * slot[lane], element[lane / 8][lane % 8], 16);
      prim::sync_warp();
      uint32_t r[4] = {7, 7, 7, 7};
      const void *row = lane < 8 * kMatrices ? shared + 16 * slot[lane] : nullptr;
      if (kMatrices == 4 && !kTranspose) prim::ldmatrix_x4(r, row);
      if (kMatrices == 4 && kTranspose) prim::ldmatrix_x4_trans(r, row);
      if (kMatrices == 2 && !kTranspose) prim::ldmatrix_x2(r, row);
      if (kMatrices == 2 && kTranspose) prim::ldmatrix_x2_trans(r, row);
      for (int m = 0; m < kMatrices; ++m) {
        for (int i = 0; i < 2; ++i) {
          const int row_index = lane / 4, column = 2 * (lane % 4) + i;
          const uint16_t want = kTranspose ? element[m][column][row_index] : element[m][row_index][column];
          ASSERT_EQ(r[m] >> (16 * i) & 0xffffu, want) << "matrix " << m << " lane " << lane;
        }
      }
      for (int m = kMatrices; m < 4; ++m) ASSERT_EQ(r[m], 7u);
    }, seeded(seed));
  }
}

TEST(Matrix, ldmatrix_x4) { ldmatrix_loads<4, false>(); }
TEST(Matrix, ldmatrix_x4_trans) { ldmatrix_loads<4, true>(); }
TEST(Matrix, ldmatrix_x2) { ldmatrix_loads<2, false>(); }
TEST(Matrix, ldmatrix_x2_trans) { ldmatrix_loads<2, true>(); }

// As kernels use them: A from a [16][16] tile, B from [k][n] with .trans and from [n][k] without.
TEST(Matrix, ldmatrix_feeds_mma) {
  const Tiles<prim::bf16> tiles(1, true);
  run_block<32, 16 * 16 * 2 + 2 * 16 * 8 * 2>([&](char *shared) {
    auto *a_tile = reinterpret_cast<uint16_t *>(shared);
    uint16_t *b_kn = a_tile + 256, *b_nk = b_kn + 128;
    const int lane = prim::lane_id();
    if (lane < 16) {
      for (int k = 0; k < 16; ++k) a_tile[lane * 16 + k] = tiles.a[lane][k];
      for (int n = 0; n < 8; ++n) {
        b_kn[lane * 8 + n] = tiles.b[lane][n];
        b_nk[n * 16 + lane] = tiles.b[lane][n];
      }
    }
    prim::sync_warp();
    uint32_t a[4], want_a[4], b[2], want_b[2];
    float d[4];
    tiles.fragments(lane, want_a, want_b, d);
    prim::ldmatrix_x4(a, a_tile + (lane % 16) * 16 + lane / 16 * 8);
    EXPECT_EQ(memcmp(a, want_a, sizeof a), 0);
    prim::ldmatrix_x2_trans(b, b_kn + lane % 16 * 8);
    EXPECT_EQ(memcmp(b, want_b, sizeof b), 0);
    prim::ldmatrix_x2(b, b_nk + lane % 8 * 16 + lane / 8 % 2 * 8);
    EXPECT_EQ(memcmp(b, want_b, sizeof b), 0);
  });
}

// The loads happen before any lane goes on: one that overwrites its row afterwards does no harm.
TEST(Matrix, ldmatrix_reads_before_any_lane_goes_on) {
  for (const uint64_t seed : kSeeds) {
    run_block<32, 512>([](char *shared) {
      const int lane = prim::lane_id();
      memset(shared + 16 * lane, lane, 16);
      prim::sync_warp();
      uint32_t r[4];
      prim::ldmatrix_x4(r, shared + 16 * lane);
      memset(shared + 16 * lane, 99, 16);
      for (int m = 0; m < 4; ++m) ASSERT_EQ(r[m], 0x01010101u * static_cast<uint32_t>(8 * m + lane / 4));
    }, seeded(seed));
  }
}

TEST(Matrix, bad_row_addresses_are_reported) {
  EXPECT_TRUE(has(error_of<32, 512>([](char *s) {
    uint32_t r[4];
    prim::ldmatrix_x4(r, s + 2 * prim::lane_id());
  }), "not aligned to 16"));
  EXPECT_TRUE(has(error_of<32, 256>([](char *s) {
    uint32_t r[4];
    prim::ldmatrix_x4(r, s + 16 * prim::lane_id());
  }), "ldmatrix: 16 bytes at byte 256"));
}

TEST(Matrix, a_diverged_warp_is_reported) {
  for (const uint64_t seed : kSeeds) {
    const std::string error = error_of<32>([](char *) {
      uint32_t a[4] = {}, b[2] = {};
      float d[4] = {};
      if (prim::lane_id() % 2 == 0) {
        prim::mma_m16n8k16_f16(d, a, b);
      } else {
        prim::mma_m16n8k16_f16(d, a, b);
      }
    }, seeded(seed));
    EXPECT_TRUE(has(error, "mma, while lane")) << error;
  }
}

}  // namespace
}  // namespace jindou::simt
