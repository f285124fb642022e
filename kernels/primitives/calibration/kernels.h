// One little kernel for each primitive, or for a few that belong together: words in, words out. The same source runs in the
// emulator and on a GPU (calibration.h lists the inputs and compares).
#ifndef JINDOU_PRIMITIVES_CALIBRATION_KERNELS_H
#define JINDOU_PRIMITIVES_CALIBRATION_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#include "primitives/primitives.h"

namespace jindou::calibration {

// `out` is zero when the kernel starts.
struct Words {
  const uint32_t *in;
  uint32_t *out;
};

template <int kThreadCount, size_t kSharedBytes = 0>
struct KernelBase {
  using Params = Words;
  static constexpr int kThreads = kThreadCount;
  static constexpr int kMinBlocks = 1;
  static constexpr size_t shared_bytes() { return kSharedBytes; }
};

JD_DEVICE JD_INLINE int linear_thread() {
  const prim::Dim3 block = prim::block_idx(), grid = prim::grid_dim();
  const uint32_t number = (block.z * grid.y + block.y) * grid.x + block.x;
  return static_cast<int>(number * prim::block_dim().x + prim::thread_idx().x);
}

// -- scalars -------------------------------------------------------------------------------------------------------------
// in: n floats; out: [n][4]: bf16 and f16 of it, both widened again.
struct Conversions : KernelBase<64> {
  JD_DEVICE static void run(const Words &p, char *) {
    const int i = linear_thread();
    const float x = prim::as_float(p.in[i]);
    const prim::bf16 b = prim::from_float<prim::bf16>(x);
    const prim::f16 h = prim::from_float<prim::f16>(x);
    p.out[4 * i + 0] = b.bits;
    p.out[4 * i + 1] = h.bits;
    p.out[4 * i + 2] = prim::as_uint(prim::to_float(b));
    p.out[4 * i + 3] = prim::pack_bf16x2(x, prim::to_float(h)) ^ prim::pack_f16x2(prim::to_float(b), x);
  }
};

// in: n words, each two 16-bit floats; out: [n][4]: the pair as bf16 and as f16, widened.
struct Widening : KernelBase<64> {
  JD_DEVICE static void run(const Words &p, char *) {
    const int i = linear_thread();
    float low, high;
    prim::unpack2<prim::bf16>(p.in[i], low, high);
    p.out[4 * i + 0] = prim::as_uint(low);
    p.out[4 * i + 1] = prim::as_uint(high);
    prim::unpack2<prim::f16>(p.in[i], low, high);
    p.out[4 * i + 2] = prim::as_uint(low);
    p.out[4 * i + 3] = prim::as_uint(high);
  }
};

// in: n words; out: [n][3].
struct BitCounts : KernelBase<64> {
  JD_DEVICE static void run(const Words &p, char *) {
    const int i = linear_thread();
    p.out[3 * i + 0] = static_cast<uint32_t>(prim::popc(p.in[i]));
    p.out[3 * i + 1] = static_cast<uint32_t>(prim::ffs(p.in[i]));
    p.out[3 * i + 2] = static_cast<uint32_t>(prim::clz(p.in[i]));
  }
};

// in: [n][3] floats a, b, c; out: [n][7].
struct ExactMath : KernelBase<64> {
  JD_DEVICE static void run(const Words &p, char *) {
    const int i = linear_thread();
    const float a = prim::as_float(p.in[3 * i]), b = prim::as_float(p.in[3 * i + 1]), c = prim::as_float(p.in[3 * i + 2]);
    p.out[7 * i + 0] = prim::as_uint(prim::fma(a, b, c));
    p.out[7 * i + 1] = prim::as_uint(prim::div(a, b));
    p.out[7 * i + 2] = prim::as_uint(prim::sqrt(prim::abs(c)));
    p.out[7 * i + 3] = prim::as_uint(prim::max(a, b));
    p.out[7 * i + 4] = prim::as_uint(prim::min(a, b));
    p.out[7 * i + 5] = prim::as_uint(prim::abs(a));
    p.out[7 * i + 6] = prim::as_uint(prim::max_or_nan(a, b));
  }
};

// in: n floats; out: n.
enum class Function { exp2, exp, log2, rcp, rsqrt, tanh };
template <Function kFunction>
struct ApproximateMath : KernelBase<64> {
  JD_DEVICE static void run(const Words &p, char *) {
    const int i = linear_thread();
    const float x = prim::as_float(p.in[i]);
    float y = 0.0f;
    if constexpr (kFunction == Function::exp2) y = prim::exp2_approx(x);
    if constexpr (kFunction == Function::exp) y = prim::exp_approx(x);
    if constexpr (kFunction == Function::log2) y = prim::log2_approx(x);
    if constexpr (kFunction == Function::rcp) y = prim::rcp_approx(x);
    if constexpr (kFunction == Function::rsqrt) y = prim::rsqrt_approx(x);
    if constexpr (kFunction == Function::tanh) y = prim::tanh_approx(x);
    p.out[i] = prim::as_uint(y);
  }
};

// -- threads -------------------------------------------------------------------------------------------------------------
// out: [threads of the grid][2].
struct Indices : KernelBase<64> {
  JD_DEVICE static void run(const Words &p, char *) {
    const int i = linear_thread();
    const prim::Dim3 t = prim::thread_idx(), b = prim::block_idx(), d = prim::block_dim(), g = prim::grid_dim();
    p.out[2 * i] = t.x | t.y << 8 | t.z << 10 | b.x << 12 | b.y << 16 | b.z << 20 | d.y << 24 | d.z << 28;
    p.out[2 * i + 1] = d.x | g.x << 8 | g.y << 12 | g.z << 16 | static_cast<uint32_t>(prim::lane_id()) << 20 |
                       static_cast<uint32_t>(prim::warp_id()) << 28;
  }
};

// in: 32 words, one a lane; out: [width of 2, 8, 32][distance of 0, 1, 5, 16, 31][mode][lane].
struct Shuffles : KernelBase<32> {
  JD_DEVICE static void run(const Words &p, char *) {
    const int lane = prim::lane_id();
    const uint32_t x = p.in[lane];
    uint32_t *out = p.out + lane;
    for (const int width : {2, 8, 32}) {
      for (const int b : {0, 1, 5, 16, 31}) {
        out[0] = prim::shfl(x, b, width);
        out[32] = prim::shfl_up(x, b, width);
        out[64] = prim::shfl_down(x, b, width);
        out[96] = prim::shfl_xor(x, b, width);
        out += 128;
      }
    }
    // 8 bytes, and lanes that ask different lanes.
    const uint64_t wide = static_cast<uint64_t>(x) << 32 | p.in[31 - lane];
    const uint64_t got = prim::shfl(wide, lane * 7 + 3);
    out[0] = static_cast<uint32_t>(got);
    out[32] = static_cast<uint32_t>(got >> 32);
    // Groups with masks of their own.
    out[64] = prim::shfl_xor(x, 3, 32, 0xffu << (lane / 8 * 8));
  }
};

// in: [16][32] predicates; out: [16][3][32].
struct Votes : KernelBase<32> {
  JD_DEVICE static void run(const Words &p, char *) {
    const int lane = prim::lane_id();
    for (int i = 0; i < 16; ++i) {
      const bool predicate = (p.in[i * 32 + lane] & 1u) != 0;
      uint32_t *out = p.out + i * 96 + lane;
      const uint32_t half = 0xffffu << (lane / 16 * 16);
      out[0] = prim::ballot(predicate);
      out[32] = prim::ballot(predicate, half);
      out[64] = (prim::any(predicate) ? 1u : 0u) | (prim::all(predicate) ? 2u : 0u) | (prim::any(predicate, half) ? 4u : 0u) |
                (prim::all(predicate, half) ? 8u : 0u) | (prim::active_mask() >> lane & 1u) << 4;
    }
  }
};

// in: [4][128]; out: the same, turned around by way of shared memory: whole block, each warp, and two warps to two others.
struct Barriers : KernelBase<128, 128 * sizeof(uint32_t)> {
  JD_DEVICE static void run(const Words &p, char *shared) {
    auto *buffer = reinterpret_cast<uint32_t *>(shared);
    const int t = static_cast<int>(prim::thread_idx().x);
    for (int i = 0; i < 2; ++i) {
      buffer[t] = p.in[i * 128 + t];
      prim::sync_threads();
      p.out[i * 128 + t] = buffer[127 - t];
      prim::sync_threads();
    }
    buffer[t] = p.in[256 + t];
    prim::sync_warp();
    p.out[256 + t] = buffer[t ^ 31];
    prim::sync_threads();
    for (int i = 0; i < 2; ++i) {
      if (t < 64) {
        if (i > 0) prim::named_barrier_sync(2, 128);
        buffer[t] = p.in[384 + i * 64 + t];
        prim::threadfence_block();
        prim::named_barrier_arrive(1, 128);
      } else {
        prim::named_barrier_sync(1, 128);
        p.out[384 + i * 64 + t - 64] = buffer[127 - t];
        if (i == 0) prim::named_barrier_arrive(2, 128);
      }
    }
  }
};

// out: results that do not depend on the order of the 128 threads.
template <class T>
struct Atomics : KernelBase<128, 64> {
  JD_DEVICE static void run(const Words &p, char *shared) {
    auto *global = reinterpret_cast<T *>(p.out);     // 8 cells
    auto *local = reinterpret_cast<T *>(shared);     // 8 cells
    const int t = static_cast<int>(prim::thread_idx().x);
    if (t < 8) local[t] = 0;
    prim::sync_threads();
    const T x = static_cast<T>(uint64_t{p.in[t]} * 40503u - 0x7fffffffu);
    for (T *cells : {global, local}) {
      prim::atomic_add(&cells[0], x);
      prim::atomic_min(&cells[1], x);
      prim::atomic_max(&cells[2], x);
      prim::atomic_or(&cells[3], static_cast<T>(T{1} << (t % 31)));
      prim::atomic_and(&cells[4], static_cast<T>(t));
      const T taken = prim::atomic_cas(&cells[5], 0, static_cast<T>(77));  // one thread finds 0
      prim::atomic_add(&cells[6], taken == 0 ? static_cast<T>(1) : static_cast<T>(0));
      prim::atomic_add(&cells[7], prim::atomic_exch(&cells[5], static_cast<T>(77)));
    }
    prim::sync_threads();
    if (t < 8) global[8 + t] = local[t];
  }
};

// A spin lock around a plain sum, then a flag that goes from warp to warp. out: [0] sum, [1] lock, [2] flag, [3..6] its values.
struct Locks : KernelBase<128> {
  JD_DEVICE static void run(const Words &p, char *) {
    volatile uint32_t *out = p.out;
    if (prim::lane_id() == 0) {
      while (prim::atomic_cas(&p.out[1], 0u, 1u) != 0u) {
      }
      prim::threadfence();
      out[0] = out[0] + p.in[prim::warp_id()];
      prim::threadfence();
      prim::atomic_exch(&p.out[1], 0u);

      const auto turn = static_cast<uint32_t>(prim::warp_id());
      while (prim::load_acquire(&p.out[2]) != turn) {
      }
      out[3 + turn] = turn == 0 ? 5 : out[3 + turn - 1] * 3;
      prim::store_release(&p.out[2], turn + 1);
    }
  }
};

// -- memory --------------------------------------------------------------------------------------------------------------
// in: [32][16] words; out: the same, each lane's by way of loads and stores of every width.
struct Vectors : KernelBase<32, 32 * 16 * sizeof(uint32_t)> {
  JD_DEVICE static void run(const Words &p, char *shared) {
    const int lane = prim::lane_id();
    const uint32_t *in = p.in + lane * 16;
    uint32_t *out = p.out + lane * 16;
    char *mine = shared + lane * 64;
    prim::store_shared16(mine, prim::load16(in));
    prim::store16(out, prim::load_shared16(mine));
    prim::store_shared8(mine + 16, prim::load8(in + 4));
    prim::store8(out + 4, prim::load_shared8(mine + 16));
    prim::store4(out + 6, prim::load4(in + 6));
    prim::store4(out + 7, prim::smem_addr(mine) - prim::smem_addr(shared) + prim::smem_addr(shared) % 1024);
    prim::Vec4u v[2] = {prim::load16_streaming(in + 8), prim::load16_streaming(in + 12)};
    prim::keep(v);
    prim::store16_streaming(out + 8, v[0]);
    prim::Vec2u w[2] = {{v[1].x, v[1].y}, {v[1].z, v[1].w}};
    prim::keep(w);
    prim::store8(out + 12, w[0]);
    prim::store8(out + 14, w[1]);
  }
};

// in: [6][32][4] words; out: [6][32][4]. Groups in flight, zero-fill, all widths.
struct AsyncCopies : KernelBase<32, 6 * 32 * 16> {
  JD_DEVICE static void run(const Words &p, char *shared) {
    const int lane = prim::lane_id();
    const auto slot = [&](int g) { return shared + (g * 32 + lane) * 16; };
    const auto source = [&](int g) { return p.in + (g * 32 + lane) * 4; };
    const auto result = [&](int g) { prim::store16(p.out + (g * 32 + lane) * 4, prim::load_shared16(slot(g))); };
    for (int g = 0; g < 6; ++g) prim::store_shared16(slot(g), {7, 7, 7, 7});
    prim::cp_async_16(slot(0), source(0));
    prim::cp_async_commit();
    prim::cp_async_16(slot(1), source(1), lane % 3 != 0);
    prim::cp_async_commit();
    prim::cp_async_8(slot(2), source(2) + 2);
    prim::cp_async_8(slot(2) + 8, source(2), lane % 2 == 0);
    prim::cp_async_commit();
    prim::cp_async_4(slot(3), source(3) + 3);
    prim::cp_async_4(slot(3) + 12, source(3), lane % 5 != 0);
    prim::cp_async_commit();
    prim::cp_async_wait<2>();
    result(0);
    result(1);
    prim::cp_async_16(slot(4), source(4));
    prim::cp_async_commit();
    prim::cp_async_commit();  // an empty group
    prim::cp_async_16(slot(5), source(5));
    prim::cp_async_commit();
    prim::cp_async_wait<1>();
    for (int g = 2; g < 5; ++g) result(g);
    prim::cp_async_wait<0>();
    result(5);
  }
};

// -- matrices ------------------------------------------------------------------------------------------------------------
// in: [32][4] words, 32 rows of 16 bytes; out: [12][32]: registers of x4, x4_trans, x2, x2_trans.
struct LoadMatrices : KernelBase<32, 32 * 16> {
  JD_DEVICE static void run(const Words &p, char *shared) {
    const int lane = prim::lane_id();
    prim::store_shared16(shared + 16 * lane, prim::load16(p.in + 4 * lane));
    prim::sync_warp();
    const char *row = shared + 16 * ((lane * 13 + 5) % 32);
    uint32_t r[12];
    prim::ldmatrix_x4(r, row);
    prim::ldmatrix_x4_trans(r + 4, row);
    prim::ldmatrix_x2(r + 8, row);
    prim::ldmatrix_x2_trans(r + 10, row);
    for (int i = 0; i < 12; ++i) p.out[i * 32 + lane] = r[i];
  }
};

// in: [10][32]: registers a[4], b[2], d[4]; out: [4][32].
template <class T>
struct MultiplyAdd : KernelBase<32> {
  JD_DEVICE static void run(const Words &p, char *) {
    const int lane = prim::lane_id();
    uint32_t a[4], b[2];
    float d[4];
    for (int i = 0; i < 4; ++i) a[i] = p.in[i * 32 + lane];
    for (int i = 0; i < 2; ++i) b[i] = p.in[(4 + i) * 32 + lane];
    for (int i = 0; i < 4; ++i) d[i] = prim::as_float(p.in[(6 + i) * 32 + lane]);
    prim::mma_m16n8k16<T>(d, a, b);
    for (int i = 0; i < 4; ++i) p.out[i * 32 + lane] = prim::as_uint(d[i]);
  }
};

}  // namespace jindou::calibration

#endif
