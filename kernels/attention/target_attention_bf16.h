// target_attention, bf16, on tensor cores (mma.sync m16n8k16, sm_80 and up).
//
//   out_i = sum_j softmax_j(scale * q_i . k_j) v_j      j over the user's latest events and, with self_key, i's own row
//
// Shapes: candidates [sum nc, H, d], keys and values [sum nk, Hkv, d], out [sum nc, H, d] in bf16 or f32; d = 32, 64, 96, 128.
//
// A block owns kRows packed query rows (target_attention_problem.h) of one user and key/value head, against one piece of the
// history or all of it. Four warps of kRows/4 rows each. Tiles of 64 keys and values pass through a ring of asynchronous
// copies; scores and weights never leave registers. 128 rows read each tile of the history from shared memory half as often per
// product (mma_tiles.h) and from L2 half as often; 64 rows make twice as many blocks when there is little work. A row's
// arithmetic is the same in both.
//
// i's own key needs no product on tensor cores: it is one dot product a row, and starts the online softmax as its first key.
//
// FLOPs 4 * d * H * sum(nc * nk). Bytes: the history once from HBM, ceil(nc * group / kRows) times from L2; kRows FLOPs a byte
// of L2. Bound: tensor cores for nc * group of 64 and more, else HBM.
#ifndef JINDOU_KERNELS_ATTENTION_TARGET_ATTENTION_BF16_H
#define JINDOU_KERNELS_ATTENTION_TARGET_ATTENTION_BF16_H

#include "attention/key_value_loop.h"
#include "attention/mma_tiles.h"
#include "attention/target_attention_problem.h"
#include "attention/work_list.h"

namespace jindou::attention {

template <int kHeadDim, int kTileRows>
struct TargetAttentionBf16Traits {
  static constexpr int kD = kHeadDim;
  static constexpr int kRows = kTileRows;
  static constexpr int kKeys = kD == 128 ? 32 : 64;  // 128 rows x 64 keys x d = 128 do not fit 255 registers
  static constexpr int kThreads = 128;
  static constexpr int kMTiles = kRows / 64;
  static constexpr int kSlots = kD == 96 ? 3 : kD == 128 ? 6 : 4;
  static constexpr bool kQueriesInRegisters = kD <= 64;
  // As many blocks as registers allow: 2 x 128 threads x 255, 3 x 168, 4 x 128.
  static constexpr int kMinBlocks = kMTiles == 2 ? 2 : (kD == 32 ? 4 : 3);
};

template <class Traits>
struct TargetAttentionBf16Kernel {
  using T = Traits;
  using Params = TargetAttentionParams<prim::bf16>;
  using Tile = Bf16Tile<T::kD>;
  using TileCopy = Bf16TileCopy<T::kD, T::kThreads>;

  static constexpr int kThreads = T::kThreads;
  static constexpr int kMinBlocks = T::kMinBlocks;
  static constexpr int kScores = T::kKeys / 8;   // accumulators n of a tile of scores
  static constexpr int kColumns = T::kD / 8;     // and of the outputs
  static constexpr int kSlotBytes = T::kKeys * Tile::kRowBytes;

  struct Shared {
    alignas(1024) char queries[T::kRows * Tile::kRowBytes];
    alignas(1024) char ring[T::kSlots * kSlotBytes];
    WorkListShared<kThreads> list;
    TargetAttentionItem item;  // here rather than in every thread's registers, as is
    float *parked_outputs;     // this block's scratch between pieces
    SoftmaxState *parked_states;
  };
  static constexpr size_t shared_bytes() { return sizeof(Shared); }

  // Scratch of one block that takes all pieces of its tiles, in floats and states.
  static constexpr int64_t kBlockOutputs = int64_t{T::kRows} * T::kD;
  static constexpr int64_t kBlockStates = int64_t{kThreads} * T::kMTiles * 2;

  JD_DEVICE static void run(const Params &p, char *shared_memory) {
    Shared &shared = *reinterpret_cast<Shared *>(shared_memory);
    for_each_item(
        p.users.batch, shared.list, [&](int64_t b) { return count_items<T::kRows>(p.users, b); },
        [&](int64_t b, uint32_t item) {
          if (prim::thread_idx().x == 0) {
            shared.item = read_item<T::kRows>(p.users, b, item);
            shared.parked_outputs = p.users.partial_outputs + prim::block_idx().x * kBlockOutputs;
            shared.parked_states = p.users.partial_states + prim::block_idx().x * kBlockStates;
          }
          prim::sync_threads();
          run_item(p, shared);
        });
  }

 private:
  // What a thread keeps of its rows: row (m, half) of its warp is m * 16 + half * 8 + lane / 4.
  struct Accumulators {
    float out[T::kMTiles][kColumns][4];
    float top[T::kMTiles][2];
    float sum[T::kMTiles][2];
  };

  // Which part of the tile a thread has. Made anew in every phase: see opaque_thread_index.
  struct Place {
    int thread, lane, first_row;  // first_row: of its warp
    int quad;                     // its columns of each 8: 2 * quad, 2 * quad + 1

    JD_DEVICE explicit Place(int t = prim::opaque_thread_index())
        : thread(t), lane(t & 31), first_row((t >> 5) * T::kMTiles * 16), quad(t & 3) {}
    JD_DEVICE int row(int m, int half) const { return first_row + m * 16 + half * 8 + lane / 4; }
  };

  JD_DEVICE static void run_item(const Params &p, Shared &shared) {
    const TargetAttentionItem &work = shared.item;
    copy_queries(p, shared, work);

    for (int32_t piece = work.first_piece; piece < work.last_piece; ++piece) {
      // Phase 1: copies start.
      const int32_t length = piece_length(work.user.history.length);
      const int32_t left = work.user.history.length - piece * length;
      const int32_t keys = left < length ? left : length;
      const TileCopy mine(prim::opaque_thread_index());
      const int64_t token = work.user.history.begin + piece * length + mine.row;
      const prim::bf16 *next_keys = p.keys.at(token, work.kv_head) + mine.chunk * 8;
      const prim::bf16 *next_values = p.values.at(token, work.kv_head) + mine.chunk * 8;
      int32_t keys_left = keys;
      const auto copy = [&](int i, char *slot) {
        const TileCopy tile_copy(prim::opaque_thread_index());
        if (i % 2 == 0) {
          tile_copy.template copy_async<T::kKeys>(slot, next_keys, p.keys.token_stride, keys_left);
          next_keys += T::kKeys * p.keys.token_stride;
        } else {
          tile_copy.template copy_async<T::kKeys>(slot, next_values, p.values.token_stride, keys_left);
          next_values += T::kKeys * p.values.token_stride;
          keys_left -= T::kKeys;
        }
      };
      const int tiles = (keys + T::kKeys - 1) / T::kKeys;
      KeyValueLoop<T::kSlots, kSlotBytes> loop(shared.ring, tiles, copy);

      // Phase 2: queries arrive; the rows' own keys, if any, are the first.
      if (piece == work.first_piece) {
        loop.wait_for_earlier_copies();
        if (p.scale < 0.0f) negate_queries(shared);
        prim::sync_threads();
      }
      Accumulators acc;
      const Place before;
      start(p, shared, work, before, piece == 0 && p.self_key, acc);
      const QueryFragments<T::kMTiles, T::kD, T::kQueriesInRegisters> queries(shared.queries, before.first_row, before.lane);
      const float scale = positive_scale(p);

      // Phase 3: the history.
      float scores[T::kMTiles][kScores][4];
      loop.run(
          tiles, copy,
          [&](int tile, const char *slot) {
            multiply_queries_keys(scores, queries, slot, prim::opaque_thread_index() & 31);
            if (keys - tile * T::kKeys < T::kKeys) hide_keys_from(scores, keys - tile * T::kKeys);
            weigh(scores, scale, acc);
          },
          [&](int, const char *slot) {
            multiply_weights_values<T::kMTiles, kScores, T::kD>(acc.out, scores, slot, prim::opaque_thread_index() & 31);
          });

      // Phase 4: this piece's result.
      const Place place;
#pragma unroll
      for (int m = 0; m < T::kMTiles; ++m) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          acc.sum[m][half] += prim::shfl_xor(acc.sum[m][half], 1);
          acc.sum[m][half] += prim::shfl_xor(acc.sum[m][half], 2);
          acc.top[m][half] *= scale;
        }
      }
      if (piece > work.first_piece) merge_into(shared, place, acc);
      if (piece + 1 < work.last_piece) {
        save(shared, place, acc);
      } else if (work.pieces > 1 && p.users.split) {
        store_partial(p, work, place, piece, acc);
      } else {
        store_out(p, work, place, acc);
      }
    }
  }

  // Rows past the user's last become zeros.
  JD_DEVICE static void copy_queries(const Params &p, Shared &shared, const TargetAttentionItem &work) {
    TileCopy(prim::opaque_thread_index()).template for_each_chunk<T::kRows>([&](int local, int chunk, int offset) {
      const TargetAttentionRow row = read_row(p.users, work, local);
      prim::cp_async_16(shared.queries + offset, p.candidates.at(row.candidate, row.head) + chunk * 8, row.valid);
    });
    prim::cp_async_commit();
  }

  // The online softmax wants a positive scale: (-scale) q. Each thread negates what it copied itself.
  JD_DEVICE static void negate_queries(Shared &shared) {
    TileCopy(prim::opaque_thread_index()).template for_each_chunk<T::kRows>([&](int, int, int offset) {
      char *at = shared.queries + offset;
      prim::Vec4u words = prim::load_shared16(at);
      words.x ^= 0x80008000u;
      words.y ^= 0x80008000u;
      words.z ^= 0x80008000u;
      words.w ^= 0x80008000u;
      prim::store_shared16(at, words);
    });
  }

  // Scale 0 weighs all keys alike; a hidden score of -inf must stay -inf, so the smallest normal number stands for 0.
  JD_DEVICE static float positive_scale(const Params &p) {
    return prim::max(p.scale < 0.0f ? -p.scale : p.scale, 1.17549435e-38f);
  }

  // No key yet, or the row's own.
  JD_DEVICE static void start(const Params &p, const Shared &shared, const TargetAttentionItem &work, const Place &place,
                              bool with_self, Accumulators &acc) {
#pragma unroll
    for (int m = 0; m < T::kMTiles; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        acc.top[m][half] = -INFINITY;
        acc.sum[m][half] = 0.0f;
#pragma unroll
        for (int n = 0; n < kColumns; ++n) acc.out[m][n][half * 2] = acc.out[m][n][half * 2 + 1] = 0.0f;
        if (!with_self) continue;

        const int local = place.row(m, half);
        const TargetAttentionRow row = read_row(p.users, work, local);
        float dot = 0.0f;  // the four threads of a row take every fourth chunk
        if (row.valid) {
          const prim::bf16 *key = p.candidate_keys.at(row.candidate, work.kv_head);
          for (int chunk = place.quad; chunk < Tile::kChunks; chunk += 4) {
            const prim::Vec4u query = prim::load_shared16(shared.queries + Tile::offset(local, chunk));
            const prim::Vec4u own = prim::load16(key + chunk * 8);
            dot = add_products(query.x, own.x, dot);
            dot = add_products(query.y, own.y, dot);
            dot = add_products(query.z, own.z, dot);
            dot = add_products(query.w, own.w, dot);
          }
        }
        dot += prim::shfl_xor(dot, 1);
        dot += prim::shfl_xor(dot, 2);
        if (!row.valid) continue;
        acc.top[m][half] = dot;
        acc.sum[m][half] = place.quad == 0 ? 1.0f : 0.0f;
        const prim::bf16 *value = p.candidate_values.at(row.candidate, work.kv_head) + place.quad * 2;
#pragma unroll
        for (int n = 0; n < kColumns; ++n)
          prim::unpack2<prim::bf16>(prim::load4(value + n * 8), acc.out[m][n][half * 2], acc.out[m][n][half * 2 + 1]);
      }
    }
  }

  JD_DEVICE static float add_products(uint32_t a, uint32_t b, float sum) {
    float a0, a1, b0, b1;
    prim::unpack2<prim::bf16>(a, a0, a1);
    prim::unpack2<prim::bf16>(b, b0, b1);
    return prim::fma(a1, b1, prim::fma(a0, b0, sum));
  }

  JD_DEVICE static void hide_keys_from(float (&scores)[T::kMTiles][kScores][4], int32_t valid) {
    const Place place;
#pragma unroll
    for (int n = 0; n < kScores; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (n * 8 + place.quad * 2 + i % 2 < valid) continue;
#pragma unroll
        for (int m = 0; m < T::kMTiles; ++m) scores[m][n][i] = -INFINITY;
      }
    }
  }

  // After the first tiles the maximum of a row rarely rises: then nothing is rescaled.
  JD_DEVICE static void weigh(float (&scores)[T::kMTiles][kScores][4], float scale, Accumulators &acc) {
    float factor[T::kMTiles][2];
    bool risen = false;
#pragma unroll
    for (int m = 0; m < T::kMTiles; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        factor[m][half] = weigh_row<kScores * 2>(
            [&](int i) -> float & { return scores[m][i / 2][half * 2 + i % 2]; }, scale, acc.top[m][half],
            acc.sum[m][half], [](float x) {
              x = prim::max(x, prim::shfl_xor(x, 1));
              return prim::max(x, prim::shfl_xor(x, 2));
            });
        risen |= factor[m][half] != 1.0f;
      }
    }
    if (!prim::any(risen)) return;
#pragma unroll
    for (int m = 0; m < T::kMTiles; ++m) {
#pragma unroll
      for (int n = 0; n < kColumns; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) acc.out[m][n][i] *= factor[m][i / 2];
      }
    }
  }

  // Between pieces a thread parks its own accumulators in its own words of scratch.
  template <class F>
  JD_DEVICE static void for_each_parked(const Shared &shared, const Place &place, const F &f) {
    float *outputs = shared.parked_outputs + place.thread;
    SoftmaxState *states = shared.parked_states + place.thread;
#pragma unroll
    for (int m = 0; m < T::kMTiles; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int row = m * 2 + half;
        f(m, half, states[row * kThreads], [=](int column) -> float & {  // column 0 .. 2 * kColumns - 1
          return outputs[(row * kColumns * 2 + column) * kThreads];
        });
      }
    }
  }

  JD_DEVICE static void save(const Shared &shared, const Place &place, const Accumulators &acc) {
    for_each_parked(shared, place, [&](int m, int half, SoftmaxState &state, const auto &parked) {
      state = SoftmaxState{acc.top[m][half], acc.sum[m][half]};
#pragma unroll
      for (int i = 0; i < 2 * kColumns; ++i) parked(i) = acc.out[m][i / 2][half * 2 + i % 2];
    });
  }

  JD_DEVICE static void merge_into(const Shared &shared, const Place &place, Accumulators &acc) {
    for_each_parked(shared, place, [&](int m, int half, const SoftmaxState &state, const auto &parked) {
      SoftmaxState older = state;
      const MergeFactors factors = merge(older, SoftmaxState{acc.top[m][half], acc.sum[m][half]});
      acc.top[m][half] = older.top;
      acc.sum[m][half] = older.sum;
#pragma unroll
      for (int i = 0; i < 2 * kColumns; ++i) {
        float &newer = acc.out[m][i / 2][half * 2 + i % 2];
        newer = merge_outputs(parked(i), newer, factors);
      }
    });
  }

  JD_DEVICE static void store_partial(const Params &p, const TargetAttentionItem &work, const Place &place,
                                      int32_t piece, const Accumulators &acc) {
#pragma unroll
    for (int m = 0; m < T::kMTiles; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const TargetAttentionRow row = read_row(p.users, work, place.row(m, half));
        if (!row.valid) continue;
        const int64_t at = partial_row(p.users, piece, row.candidate, row.head);
        if (place.quad == 0) p.users.partial_states[at] = SoftmaxState{acc.top[m][half], acc.sum[m][half]};
        float *out = p.users.partial_outputs + at * T::kD + place.quad * 2;
#pragma unroll
        for (int n = 0; n < kColumns; ++n) {
          prim::store8(out + n * 8, prim::Vec2u{prim::as_uint(acc.out[m][n][half * 2]),
                                                prim::as_uint(acc.out[m][n][half * 2 + 1])});
        }
      }
    }
  }

  JD_DEVICE static void store_out(const Params &p, const TargetAttentionItem &work, const Place &place,
                                  const Accumulators &acc) {
#pragma unroll
    for (int m = 0; m < T::kMTiles; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const TargetAttentionRow row = read_row(p.users, work, place.row(m, half));
        if (!row.valid) continue;
        const float normalizer = softmax_normalizer(acc.sum[m][half]);
        const int64_t at = p.users.out.at(row.candidate, row.head) + place.quad * 2;
#pragma unroll
        for (int n = 0; n < kColumns; ++n)
          p.users.out.store_pair(at + n * 8, acc.out[m][n][half * 2] * normalizer, acc.out[m][n][half * 2 + 1] * normalizer);
      }
    }
  }
};

}  // namespace jindou::attention

#endif
